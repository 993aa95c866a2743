"""What each input is worth: the votes with these labels, the embedding with these labels, both.

`FusionClassifier` on 12 data sets with recorded answers of LLMs, one LLM each, and the LLM's own
answers, which need no label. For the embedding alone it meets an LLM that never answers.

python -m benchmarks.quality.ablation [--quick]
"""

import warnings

import numpy as np

from benchmarks._intervals import by_group, family, interval_cell
from benchmarks.quality import _contest, distill

WAYS = ("LLM alone", "votes and labels", "encoder alone", "fusion")
SIZES, N_DRAWS, FIRST_DRAW, MAX_TEST = (20, 50, 200), 10, 300, 1000
#: What the results file says about its making.
MADE = {
    "seeds": f"draws {FIRST_DRAW} to {FIRST_DRAW + N_DRAWS - 1}",
    "interval": "95 % by t over families of data sets",
}


def answers(data, X, train, test, seed):
    """What each way says about the test rows."""
    width = len(data.classes)
    E, scores = X[:, :-width], X[:, -width:]
    silent = np.full_like(scores, 0.5 if data.multilabel else 1 / width)
    inputs = {
        "votes and labels": (scores, 0),
        "encoder alone": (np.hstack([E, silent]), E.shape[1]),
        "fusion": (X, E.shape[1]),
    }
    said = {"LLM alone": _contest.llm_alone(scores[test], data.y[train])}
    for name, (Z, n_embedding) in inputs.items():
        clf = _contest.fusion(data, seed, n_embedding=n_embedding)
        said[name] = clf.fit(Z[train], data.y[train]).predict(Z[test])
    return said


def run(quick=False):
    """Measure every choice of inputs on every data set."""
    sizes, n_draws = ((40,), 1) if quick else (SIZES, N_DRAWS)
    cells = []
    for data in distill.sets():
        if quick:
            data = _contest.head(data, 90)
        X = _contest.features(data)
        for size in sizes:
            score = {name: [] for name in WAYS}
            for draw in range(FIRST_DRAW, FIRST_DRAW + n_draws):
                train, test = _contest.split(data, size, draw)
                test = np.random.default_rng(draw).permutation(test)[:MAX_TEST]
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # labels that a small draw never shows
                    said = answers(data, X, train, test, draw)
                for name, predicted in said.items():
                    score[name].append(float(_contest.hits(predicted, data.y[test]).mean()))
            cells.append({"data": data.name, "llm": data.llm, "size": size, "score": score})
        print(f"{data.name}: done", flush=True)
        if quick:
            break
    return {"sizes": list(sizes), "draws": n_draws, "cells": cells}


def over_the_better(score):
    """Fusion minus the better of votes and embedding with the same labels, in hindsight."""
    parts = (np.mean(score[name]) for name in ("votes and labels", "encoder alone"))
    return np.mean(score["fusion"]) - max(parts)


def table(results):
    """One row per number of labels; means over families."""
    rows = []
    for size in results["sizes"]:
        cells = [cell for cell in results["cells"] if cell["size"] == size]
        names = [cell["data"] for cell in cells]
        means = []
        for way in WAYS:
            scores = [np.mean(cell["score"][way]) for cell in cells]
            means.append(f"{by_group(names, scores, family).mean():.3f}")
        gains = [over_the_better(cell["score"]) for cell in cells]
        rows.append([size, *means, interval_cell(names, gains, family)])
    return ["labelled rows", *WAYS, "fusion over the better of the two (95 %)"], rows


def draw(results):
    """One panel per number of labels, data sets as rows."""
    panels = {}
    for cell in results["cells"]:
        shown = {name: cell["score"][name] for name in WAYS[1:]}
        panel = panels.setdefault(f"{cell['size']} labelled rows", {})
        panel[f"{cell['data']}, {cell['llm']}"] = shown
    return _contest.dot_plot(panels, xlabel="accuracy or exact match")


if __name__ == "__main__":
    _contest.program("ablation", run, table, draw, **MADE)
