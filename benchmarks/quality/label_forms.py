"""How a model should name its answer: by the class name, by a letter or by a number.

Bank customers' questions with many intents (banking77) are labelled by the embedded LLM without
examples, at 20 and at 77 classes. The accuracy is given without and with score calibration (prior
of the same texts, no labels), beside the coverage and the time of a text. `label_form="auto"`
takes what wins here.

python -m benchmarks.quality.label_forms [--quick]
"""

import time
import warnings

import numpy as np

from benchmarks._common import read
from benchmarks.quality import _contest
from sklfusion import LLMClassifier, ScoringWarning
from sklfusion.scoring._calibration import apply_bias, prior_bias

N_CLASSES, N_TEXTS = (20, 77), 40
FORMS = ("words", "letters", "numbers")
#: What the results file says about its making.
MADE = {
    "seeds": f"one draw of {N_TEXTS} texts",
    "interval": "none: one draw",
}


def questions(n_classes, n_texts, seed=0):
    """Return the names of ``n_classes`` intents, and texts with the position of theirs."""
    rows = read("train/banking77").dropna(subset=["gold_name"])
    rng = np.random.default_rng(seed)
    names = rng.permutation(sorted(rows.gold_name.unique()))[:n_classes]
    names = sorted(names.tolist())
    picked = rows[rows.gold_name.isin(names)].sample(n_texts, random_state=seed)
    return names, picked.text.tolist(), np.array([names.index(g) for g in picked.gold_name])


def classifier(names, form, **params):
    """Return the embedded LLM that answers in one of the forms.

    Beyond 26 classes a letter is followed by a digit.
    """
    if form == "numbers":
        numbers = [str(n) for n in range(1, len(names) + 1)]
        described = dict(zip(numbers, names, strict=True))
        return LLMClassifier(classes=numbers, class_descriptions=described, **params)
    label_form = "words" if form == "words" else "ids"
    return LLMClassifier(classes=names, label_form=label_form, **params)


def measure(names, texts, y, form):
    """Return accuracy, calibrated accuracy, coverage, answered share and seconds of a text."""
    scores = {}
    start = time.perf_counter()
    plain = classifier(names, form, calibrate=False).fit(texts)
    found = plain.annotate(texts)
    seconds = (time.perf_counter() - start) / len(texts)
    scores["accuracy"] = float(np.mean(found.probs.argmax(axis=1) == y))
    # What calibrate="prior" does with these texts, without asking everything again.
    bias = prior_bias(found.probs, multilabel=False)
    calibrated = apply_bias(found.probs, bias, multilabel=False)
    scores["calibrated"] = float(np.mean(calibrated.argmax(axis=1) == y))
    scores["coverage"] = float(np.nanmean(found.coverage))
    scores["answered"] = float(found.ok.mean())
    return scores | {"seconds": seconds}


def run(quick=False):
    """Measure three forms of answer of the embedded LLM at 20 and 77 classes."""
    cells = []
    for n_classes in N_CLASSES[:1] if quick else N_CLASSES:
        names, texts, y = questions(n_classes, 4 if quick else N_TEXTS)
        for form in FORMS[:2] if quick else FORMS:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ScoringWarning)
                scores = measure(names, texts, y, form)
            cells.append({"classes": n_classes, "form": form, "texts": len(texts)} | scores)
            print(cells[-1], flush=True)
    return {"cells": cells}


def table(results):
    """One row per number of classes and form."""
    header = ["classes", "form", "accuracy", "calibrated", "coverage", "answered", "s per text"]
    rows = []
    for cell in results["cells"]:
        numbers = [cell[name] for name in ("accuracy", "calibrated", "coverage", "answered")]
        shares = [f"{number:.3f}" for number in numbers]
        rows.append([cell["classes"], cell["form"], *shares, f"{cell['seconds']:.2f}"])
    return header, rows


def draw(results):
    """One panel per number of classes, forms as rows."""
    panels = {}
    for cell in results["cells"]:
        panel = panels.setdefault(f"{cell['classes']} classes", {})
        panel[cell["form"]] = [cell["calibrated"]]
    return _contest.dot_plot(panels)


if __name__ == "__main__":
    _contest.program("label_forms", run, table, draw, **MADE)
