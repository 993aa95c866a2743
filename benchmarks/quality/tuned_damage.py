"""What LLM labels cost a fine-tuned encoder: level, and agreement between runs of other seeds.

    python -m benchmarks.quality.tuned_damage [--quick] [--seconds N]

The question of `label_damage` for an encoder that is trained, not frozen: MiniLM on up to 250 rows
of seven data sets, all epochs, once with the labels of one LLM and
once with gold labels of the same rows, each with the same seeds. What differs between runs is the
seed alone: the layer on top, the order of the rows, dropout. Cells are kept as they come; a second
run goes on.
"""

import argparse
import warnings
from functools import partial

import numpy as np
from sklearn.metrics import f1_score

from benchmarks._common import print_table, write_json
from benchmarks._intervals import by_group, family, interval_cell
from benchmarks.quality._resume import resume
from benchmarks.quality.label_damage import labels_of, rows_of, sets
from sklfusion import EncoderTraining, RobertaEmbedder
from sklfusion.exceptions import DataWarning
from sklfusion.noise._metrics import krippendorff_alpha, share_unchanged

NAME = "tuned_damage"
#: One LLM per data set, fixed before anything was measured here.
SETS = {
    "AG News": "gpt-5-nano", "FPB": "h2o", "BABE": "mixtral_8x7b", "SemEval": "mixtral-8x22b",
    "CSS emotion": "chatgpt", "CSS semeval_stance": "flan-ul2",
    "CSS wiki_politeness": "flan-ul2",
}  # fmt: skip
MAX_TRAIN, MAX_TEST, RUNS, MAX_LENGTH = 250, 300, 4, 64
#: Few rows are few steps; the default rate is for thousands.
EPOCHS, LEARNING_RATE = 5, 1e-4
LABELS = ("gold", "llm")
#: Measures of the table, and what they are called there.
MEASURES = {
    "accuracy": "accuracy",
    "macro_f1": "macro-F1",
    "accuracy_std": "deviation of accuracy between runs",
    "macro_f1_std": "deviation of macro-F1 between runs",
    "alpha": "Krippendorff's alpha between runs",
    "unchanged": "share of texts with one answer in all runs",
}
#: What the results file says about its making.
MADE = {
    "seeds": f"draw 0 of the rows, {RUNS} seeds of the training",
    "interval": "95 % by t over families of data sets",
}


def train(texts, labels, new, seed, epochs=EPOCHS):
    """Classes of new texts by an encoder trained on labels."""
    names = np.unique(labels)
    if len(names) < 2:
        return np.full(len(new), names[0])
    training = EncoderTraining(lr=LEARNING_RATE, max_epochs=epochs, validation_fraction=0.0)
    encoder = RobertaEmbedder(fine_tune=training, max_length=MAX_LENGTH, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)  # longer texts, for both kinds of labels
        return names[encoder.fit(texts, labels).transform(new).argmax(axis=1)]


def measure(data, runs=RUNS, epochs=EPOCHS):
    """Level and agreement of the runs with either kind of labels."""
    rows, test = (part[:most] for part, most in zip(rows_of(data, 0), (MAX_TRAIN, MAX_TEST),
                                                    strict=True))  # fmt: skip
    texts, new = ([data.texts[i] for i in part] for part in (rows, test))
    y, names = data.y[test], range(len(data.classes))
    found = {
        "rows": len(rows),
        "right": float(np.mean(labels_of(data)["llm"][rows] == data.y[rows])),
    }
    for name, labels in labels_of(data).items():
        said = np.array([train(texts, labels[rows], new, seed, epochs) for seed in range(runs)])
        accuracy = (said == y).mean(axis=1)
        f1 = [f1_score(y, s, labels=names, average="macro", zero_division=0) for s in said]
        found[name] = {
            "accuracy": float(np.mean(accuracy)),
            "macro_f1": float(np.mean(f1)),
            "accuracy_std": float(np.std(accuracy, ddof=1)),
            "macro_f1_std": float(np.std(f1, ddof=1)),
            "alpha": float(krippendorff_alpha(said)),
            "unchanged": float(share_unchanged(said)),
        }
    return found


def run(seconds=np.inf):
    """All cells; those of an earlier run are read."""
    wanted = {d.name: partial(measure, d) for d in sets() if SETS.get(d.name) == d.llm}
    return {"cells": resume(NAME, wanted, seconds)}


def table(results):
    """One row per measure: gold labels, LLM labels, and the difference."""
    cells = results["cells"]
    rows = []
    for measure_, title in MEASURES.items():
        gold, llm = (np.array([c[name][measure_] for c in cells.values()]) for name in LABELS)
        means = [f"{by_group(list(cells), v, family).mean():.3f}" for v in (gold, llm)]
        below = f"{(llm < gold).sum()} of {len(gold)}"
        rows.append([title, *means, interval_cell(list(cells), llm - gold, family), below])
    return ["mean over families", "gold labels", "LLM labels", "LLM - gold (95 %)", "below"], rows


def sets_table(results):
    """One row per data set."""
    rows = []
    for name, cell in results["cells"].items():
        row = [f"{name}, {SETS[name]}", cell["rows"], f"{cell['right']:.2f}"]
        for measure_ in ("accuracy", "accuracy_std", "alpha"):
            row += [f"{cell[label][measure_]:.3f}" for label in LABELS]
        rows.append(row)
    return ["data, LLM", "rows", "labels right", "accuracy, gold", "LLM", "deviation, gold",
            "LLM", "alpha, gold", "LLM"], rows  # fmt: skip


def main():
    """Run what is missing; without ``--quick`` the results file is written."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one data set, two runs, one epoch")
    parser.add_argument("--seconds", type=float, default=np.inf, help="begin none after so long")
    options = parser.parse_args()
    if options.quick:
        data = next(d for d in sets() if SETS.get(d.name) == d.llm)
        results = {"cells": {data.name: measure(data, 2, 1)}}
    else:
        results = run(options.seconds)
    for show in (table, sets_table):
        print_table(*show(results))
        print()
    if not options.quick:
        write_json(NAME, results, **MADE)


if __name__ == "__main__":
    main()
