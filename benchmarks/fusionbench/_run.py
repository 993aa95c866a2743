"""Score a classifier on every cell, keep what is done, write an entry."""

import hashlib
import json
import warnings
from functools import partial
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed
from sklearn.base import BaseEstimator, clone
from sklearn.multiclass import OneVsRestClassifier
from sklearn.utils import get_tags
from threadpoolctl import threadpool_limits

from benchmarks._common import CACHE, print_table
from benchmarks.fusionbench import _task
from benchmarks.quality._parts import hits, vectors, wide

#: Scores are stored with five decimals.
ROUNDING = 1e-5


def run(method, *, names=None, sizes=_task.SIZES, draws=_task.DRAWS, jobs=2, kept=None):
    """Score a classifier on FusionBench.

    Parameters
    ----------
    method : estimator or callable
        A scikit-learn classifier, cloned for each cell, its ``random_state`` set to the draw;
        or a callable that takes a :class:`Task` (which columns are scores, how many classes)
        and returns an unfitted one. Where a text has several labels, a classifier that takes
        one gets `OneVsRestClassifier` around it.
    names : sequence of str, optional
        Only these data sets.
    sizes : sequence of int or None
        Numbers of labelled rows; None is half of the data.
    draws : int
        How many of the ten fixed draws.
    jobs : int
        Processes.
    kept : str, optional
        A name under which finished cells are kept, so that a run that was ended goes on.

    Returns
    -------
    dict
        ``"cells"``: data set, LLM, labelled rows, ``score`` by draw (accuracy, or exact match of
        several labels), and mean ``ece`` and ``log_loss`` of the probabilities if it has any;
        ``"data"``: digests of the data.

    Notes
    -----
    1,750 fits in all, of 20 to 2,000 rows and some 400 columns: ten minutes on two cores for
    half a second per fit. Embeddings are made once (some minutes).
    """
    pairs = _task.sets(names)
    E = vectors(pairs)
    cells = []
    with Parallel(n_jobs=jobs) as pool:
        for data in pairs:
            for size in _task.sizes_of(data, sizes):
                score = partial(_score_cell, pool, method, data, E[data.name], size, draws)
                cells.append(_once(kept, [data.name, data.llm, size, draws], score))
    return {
        "draws": draws,
        "data": {f"{s.name}, {s.llm}": _task.digest(s) for s in pairs},
        "cells": cells,
    }


def again(method, entry, jobs=2):
    """One draw of every cell of an entry anew: cell, stored score, score now.

    The draws take turns, so that all of them are looked at.
    """
    pairs = {(s.name, s.llm): s for s in _task.sets()}
    E = vectors(pairs.values())
    tasks = []
    for number, cell in enumerate(entry["cells"]):
        draw = number % len(cell["score"])
        size = None if cell["size"] == "all" else cell["size"]
        tasks.append(((cell["data"], cell["llm"], size), draw, cell["score"][draw]))
    now = Parallel(n_jobs=jobs)(
        delayed(score)(method, pairs[key[:2]], E[key[0]], key[2], draw) for key, draw, _ in tasks
    )
    return [(key, was, new["score"]) for (key, _, was), new in zip(tasks, now, strict=True)]


def show(entry, name="yours"):
    """Print the table of an entry beside the stored ones, on the cells that it has."""
    from benchmarks.fusionbench._entries import stored
    from benchmarks.fusionbench._table import methods_table

    print_table(*methods_table(stored() | {name: entry}, against=name))


def _once(kept, key, compute):
    """Result of a cell, from the folder of finished ones if it is there."""
    if kept is None:
        return compute()
    name = hashlib.sha256(json.dumps(key).encode()).hexdigest()[:16]
    path = Path(CACHE) / "fusionbench" / kept / f"{name}.json"
    if not path.exists():
        result = compute()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(result))
        print(", ".join(map(str, key[:3])), np.mean(result["score"]).round(3), flush=True)
    return json.loads(path.read_text())


def _score_cell(pool, method, data, E, size, draws):
    found = pool(delayed(score)(method, data, E, size, draw) for draw in range(draws))
    means = {
        key: round(float(np.mean([f[key] for f in found])), 5)
        for key in ("ece", "log_loss")
        if key in found[0]
    }
    shown = "all" if size is None else size
    scores = [round(f["score"], 5) for f in found]
    return {"data": data.name, "llm": data.llm, "size": shown, "score": scores, **means}


def score(method, data, E, size, draw):
    """One draw: share of right answers on the test rows, calibration error and log-loss."""
    X, y, train, test, task = _task.cell(data, E, size, draw)
    with warnings.catch_warnings(), threadpool_limits(1):
        warnings.simplefilter("ignore")  # a part that cannot be fitted well is a result here
        model = made(method, task).fit(X[train], y[train])
        found = {"score": float(hits(model.predict(X[test]), y[test]).mean())}
        if hasattr(model, "predict_proba"):
            P = model.predict_proba(X[test])
            P = P if task.multilabel else wide(P, model.classes_, task.n_classes)
            found |= {"ece": calibration_error(P, y[test]), "log_loss": log_loss(P, y[test])}
    return found


def made(method, task):
    """The unfitted classifier for a task."""
    if not isinstance(method, BaseEstimator):
        return method(task)
    model = clone(method)
    if "random_state" in model.get_params():
        model.set_params(random_state=task.seed)
    if task.multilabel and not get_tags(model).classifier_tags.multi_label:
        model = OneVsRestClassifier(model)
    return model


def calibration_error(P, y, n_bins=10):
    """Expected calibration error of the likeliest class (or of every label), equal-mass bins."""
    if y.ndim == 2:
        sure, right = np.maximum(P, 1 - P).ravel(), ((P >= 0.5) == y).ravel()
    else:
        sure, right = P.max(axis=1), P.argmax(axis=1) == y
    bins = np.array_split(np.argsort(sure, kind="stable"), n_bins)
    gaps = [len(b) * abs(sure[b].mean() - right[b].mean()) for b in bins if len(b)]
    return float(sum(gaps) / len(sure))


def log_loss(P, y):
    """Mean log-loss of the classes, or of all labels; probabilities count as at least 0.0001."""
    P = np.clip(P, 1e-4, 1 - 1e-4)
    if y.ndim == 2:
        return float(-np.mean(y * np.log(P) + (1 - y) * np.log(1 - P)))
    return float(-np.mean(np.log(P[np.arange(len(y)), y])))
