"""What a student without LLM and encoder keeps of its teacher, and of an LLM with few labels.

    python -m benchmarks.quality.distill [--quick] [--data NAME ...]

Per draw, half of the rows are for testing (or the data set's own test rows), some of the others
have a label, and the rest is an unlabelled pool that was answered by the LLM. Fusion and encoder
alone are fitted on the labelled rows. *Static, labels only* is the same small head on the same
labelled rows. *Student of the fusion* has seen the fusion's probabilities of the pool and no label
of its own; *student of LLM and labels* has the LLM's answers on the pool and the labelled rows.
The first two need an encoder, the fusion the LLM as well; the students neither, but for the last
row, which has the encoder's vectors. The intervals are of Student's t over families of data sets
(the CSS tasks are one). The last column of the second table is how often the interval that
`distill` stated, from the pool alone, held the agreement on the test rows.
"""

import argparse
import os
import tempfile
import time
import warnings
from functools import partial
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from benchmarks._common import CACHE, data_dir, earlier, embed, print_table, write_json
from benchmarks._intervals import family, t_interval
from benchmarks.quality import _contest
from benchmarks.quality._llm_sets import load
from sklfusion import RobertaEmbedder, StaticEmbedder, StudentClassifier, distill, persistence

SIZES = (20, 100, 400)
DRAWS = 2  # of training and test rows
MAX_POOL = 1000
MAX_TEST = 1000
#: One LLM per data set; the better one where there are several.
LLMS = {
    ("AG News", "gpt-5-nano"),
    ("FPB", "chatgpt"),
    ("BABE", "gpt_4"),
    ("SemEval", "mixtral-8x22b"),
    ("MR", "chatgpt"),
    ("Reuters", "gpt-5-nano"),
    ("Global warming", "gpt"),
}
NAMES = (
    "LLM alone",
    "fusion (LLM and encoder)",
    "encoder alone",
    "static, labels only",
    "student of the fusion",
    "student of LLM and labels",
    "the same on the encoder",
)
#: What the results file says about its making.
MADE = {
    "seeds": f"draws 0 to {DRAWS - 1}",
    "interval": "95 % by t over families of data sets",
}


class Told:
    """A teacher whose probabilities of some texts are known."""

    def __init__(self, texts, proba, multilabel):
        self._known = dict(zip(texts, proba, strict=True))
        self.classes_ = np.arange(proba.shape[1])
        self.multilabel_ = multilabel

    def predict_proba(self, X):
        """Probabilities (n, K) of texts."""
        return np.array([self._known[text] for text in X])


def sets():
    """One entry per data set."""
    for data in load(data_dir()):
        css = data.name.startswith("CSS") and data.llm == "flan-ul2"
        if css or (data.name, data.llm) in LLMS:
            yield data


def targets(data, rows, known):
    """Labels of rows, with nothing where ``known`` is off."""
    if data.multilabel:
        return np.where(known[:, None], data.y[rows].astype(float), np.nan)
    return [int(label) if has else None for label, has in zip(data.y[rows], known, strict=True)]


def compare(data, E, train, pool, test, seed):
    """Share of hits of everyone on the test rows of one draw, and what `distill` stated."""
    y, votes = data.y[train], data.votes[0]
    X = np.hstack([E, votes])
    texts = np.array(data.texts, dtype=object)
    fused = _contest.fusion(data, seed, n_embedding=E.shape[1]).fit(X[train], y)
    teacher = Told(texts[pool], fused.predict_proba(X[pool]), data.multilabel)
    both = np.concatenate([train, pool])
    said = np.where(np.ptp(votes, axis=1)[:, None] > 0, votes, np.nan)
    llm = Told(texts[both], said[both], data.multilabel)
    gold = targets(data, both, np.arange(len(both)) < len(train))
    static = StaticEmbedder(memory=CACHE)
    settings = {"embedder": static, "cv": 3, "random_state": seed}
    of_fusion = distill(teacher, texts[pool], **settings)
    of_llm = distill(llm, texts[both], y=gold, **settings)
    on_encoder = distill(
        llm, texts[both], y=gold, **{**settings, "embedder": RobertaEmbedder(memory=CACHE)}
    )
    alone = StudentClassifier(static, random_state=seed).fit(texts[train], y)
    answers = {
        "LLM alone": _contest.llm_alone(votes[test], y),
        "fusion (LLM and encoder)": fused.predict(X[test]),
        "encoder alone": _contest.fit_encoder(E[train], y, seed).predict(E[test]),
        "static, labels only": alone.predict(texts[test]),
        "student of the fusion": of_fusion.predict(texts[test]),
        "student of LLM and labels": of_llm.predict(texts[test]),
        "the same on the encoder": on_encoder.predict(texts[test]),
    }
    hits = {name: _contest.hits(answer, data.y[test]) for name, answer in answers.items()}
    agreement = _agreement(answers, data.multilabel)
    stated = of_fusion.report_["agreement"]
    return {
        "score": {name: float(value.mean()) for name, value in hits.items()},
        "agreement": agreement,
        "stated": stated,
        "held": bool(stated["low"] <= agreement <= stated["high"]),
    }


def _agreement(answers, multilabel):
    one, other = answers["student of the fusion"], answers["fusion (LLM and encoder)"]
    if not multilabel:
        return float(np.mean(one == other))
    total = (one + other).sum(axis=1)
    both = 2 * (one * other).sum(axis=1)
    return float(np.mean(np.where(total == 0, 1.0, both / np.maximum(total, 1))))


def speed(texts):
    """CPU seconds per text of encoder and student, one thread, and bytes of the saved student."""
    import torch

    torch.set_num_threads(1)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    labels = [i % 4 for i in range(len(texts))]
    student = StudentClassifier(StaticEmbedder(memory=CACHE), random_state=0).fit(texts, labels)
    encoder, many = RobertaEmbedder().fit(texts), texts * 20
    times = {"encoder": [], "student": []}
    for _ in range(3):  # turn about, so that what slows the machine slows both
        for name, run, count in (
            ("encoder", lambda: encoder.transform(texts), len(texts)),
            ("student", lambda: student.predict_proba(many), len(many)),
        ):
            start = time.process_time()
            run()
            times[name].append((time.process_time() - start) / count)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "student.sklf"
        persistence.save(student, path)
        size = path.stat().st_size
    return {name: min(found) for name, found in times.items()} | {"bytes": size}


def measure(data, sizes, n_draws):
    """The cells of one data set, one per number of labels that leaves a pool."""
    E, cells = embed(data.texts), []
    for size in sizes:
        draws = []
        for rows, test, seed in _contest.splits(data, None, n_draws):
            train = _contest.take(data, rows, size, seed)
            pool = np.setdiff1d(rows, train)[:MAX_POOL]
            if len(pool) < 100 or len(np.unique(data.y[train], axis=0)) < 2:
                continue
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                draws.append(compare(data, E, train, pool, test[:MAX_TEST], seed))
        if draws:
            cells.append({"data": data.name, "llm": data.llm, "size": size, "draws": draws})
    return cells


def run(names=None, keep=None):
    """Measure every contestant on the data sets named, by default all.

    ``keep`` is called with the results after each data set, beside what an earlier run found of
    the others: a run that is ended has not worked for nothing.
    """
    results = {"draws": DRAWS, "max_pool": MAX_POOL, **earlier("distill")}
    if "speed" not in results:
        results["speed"] = speed(next(load(data_dir())).texts[:100])
    for data in sets():
        if names and data.name not in names:
            continue
        cells = [c for c in results.get("cells", []) if c["data"] != data.name]
        results["cells"] = [*cells, *measure(data, SIZES, DRAWS)]
        print(f"{data.name}: done", flush=True)
        if keep is not None:
            keep(results)
    return results


def quick_run():
    """One draw of one data set."""
    data = next(d for d in sets() if d.name == "AG News")
    told = speed(data.texts[:100])
    return {"draws": 1, "max_pool": MAX_POOL, "cells": measure(data, (20,), 1), "speed": told}


def means(results, size, value):
    """Mean over draws of ``value(draw)``, then over the data sets of a family."""
    found = {}
    for cell in results["cells"]:
        if cell["size"] == size:
            mean = np.mean([value(draw) for draw in cell["draws"]])
            found.setdefault(family(cell["data"]), []).append(mean)
    return np.array([np.mean(v) for v in found.values()])


def table(results):
    """One row per contestant: mean score, and what it is above or below the fusion."""
    sizes = sorted({cell["size"] for cell in results["cells"]})
    header, rows = [""], []
    for size in sizes:
        n = len(means(results, size, lambda d: 0))
        header += [f"{size} labels ({n} families)", "minus fusion (95 %)"]
    for name in NAMES:
        row = [name]
        for size in sizes:
            score = means(results, size, lambda d, name=name: d["score"][name]).mean()
            gap = means(
                results,
                size,
                lambda d, name=name: d["score"][name] - d["score"]["fusion (LLM and encoder)"],
            )
            mean, low, _ = t_interval(gap)
            fused = name.startswith("fusion")
            row += [f"{score:.3f}", "" if fused else f"{mean:+.3f} ± {mean - low:.3f}"]
        rows.append(row)
    return header, rows


def sets_table(results):
    """One row per data set: fusion, students and encoder by number of labels; what was stated."""
    shown = {
        "fusion": "fusion (LLM and encoder)",
        "encoder": "encoder alone",
        "static": "static, labels only",
        "student": "student of the fusion",
        "of LLM and labels": "student of LLM and labels",
    }
    rows = []
    for cell in results["cells"]:
        draws = cell["draws"]
        scores = [np.mean([d["score"][name] for d in draws]) for name in shown.values()]
        stated = np.mean([d["stated"]["mean"] for d in draws])
        found = np.mean([d["agreement"] for d in draws])
        held = sum(d["held"] for d in draws)
        rows.append(
            [
                f"{cell['data']}, {cell['llm']}",
                cell["size"],
                *(f"{score:.3f}" for score in scores),
                f"{stated:.3f}",
                f"{found:.3f}",
                f"{held} of {len(draws)}",
            ]
        )
    return [
        "data, LLM",
        "labels",
        *shown,
        "agreement stated",
        "on the test rows",
        "interval held",
    ], rows


def speed_table(results):
    """Texts per CPU second, and what is on disk."""
    told = results["speed"]
    return ["", "texts per CPU second", "times the encoder", "file, MB"], [
        ["encoder, fp32", f"{1 / told['encoder']:.0f}", "1", ""],
        [
            "student",
            f"{1 / told['student']:.0f}",
            f"{told['encoder'] / told['student']:.0f}",
            f"{told['bytes'] / 1e6:.1f}",
        ],
    ]


def main():
    """Run the comparison, print its tables and unless ``--quick`` write its file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one data set, one draw")
    parser.add_argument("--data", nargs="*", metavar="NAME", help="only these; others as before")
    options = parser.parse_args()
    keep = partial(write_json, "distill", kept=True, **MADE)
    results = quick_run() if options.quick else run(options.data, keep)
    for show in (table, sets_table, speed_table):
        print_table(*show(results))
        print()


if __name__ == "__main__":
    main()
