"""The figures of a report, as plain numbers: metrics with intervals, curves, counts."""

import numpy as np
from scipy.stats import norm
from sklearn.metrics import (
    accuracy_score,
    confusion_matrix,
    f1_score,
    log_loss,
    precision_recall_fscore_support,
)

from sklfusion.cascade._cost_curve import SHARES, doubt
from sklfusion.plotting import expected_calibration_error
from sklfusion.plotting._reliability import bins_of, confidence_and_hits
from sklfusion.promises._share_interval import wilson

#: Two-sided 95 %.
_Z = float(norm.ppf(0.975))
#: Bins of equal width in reliability diagrams.
N_BINS = 10


def hits_interval(hits, n):
    """Return the Wilson 95 % interval of a share of n rows, (low, high).

    Examples
    --------
    >>> [round(float(x), 3) for x in hits_interval(9, 10)]
    [0.596, 0.982]
    """
    low, high = wilson(hits / n, n, _Z)
    # at the rim the two halves cancel but for rounding
    return (low if hits > 0 else 0.0), (high if hits < n else 1.0)


def paired(a, b):
    """Return mean and 95 % interval of a difference of two shares on the same rows.

    The interval is that of Agresti and Min (2005): half a row is added to each of the four cells,
    so that it does not collapse where few rows differ.

    Parameters
    ----------
    a, b : ndarray of shape (n,) of bool
        Which rows each method gets right.
    """
    n, only_a, only_b = len(a), (a & ~b).sum() + 0.5, (~a & b).sum() + 0.5
    middle = (only_a - only_b) / (n + 2)
    error = np.sqrt(max(only_a + only_b - (only_a - only_b) ** 2 / (n + 2), 0)) / (n + 2)
    low, high = max(-1.0, middle - _Z * error), min(1.0, middle + _Z * error)
    return float(a.mean() - b.mean()), (float(low), float(high))


def hits_of(done, name):
    """Return which judged rows a method gets right: for several labels, all of them."""
    labels = done.opinions[name].labels
    if done.table.multilabel:
        return (labels == done.table.y).all(axis=1)
    return labels == numbers_of_truth(done)


def numbers_of_truth(done):
    """Return the number of each row's class."""
    place = {label: number for number, label in enumerate(done.classes)}
    return np.array([place[label] for label in done.table.y.tolist()])


def scores_of(done, name):
    """Return the metrics of a method as a dict of plain numbers."""
    opinion, several = done.opinions[name], done.table.multilabel
    y = done.table.y if several else numbers_of_truth(done)
    hits = hits_of(done, name)
    found = {
        "role": opinion.role,
        "accuracy": float(accuracy_score(y, opinion.labels)),
        "accuracy_interval": list(map(float, hits_interval(hits.sum(), len(hits)))),
        "macro_f1": float(f1_score(y, opinion.labels, average="macro", zero_division=0)),
    }
    if several:
        found["micro_f1"] = float(f1_score(y, opinion.labels, average="micro", zero_division=0))
    found["log_loss"] = found["calibration_error"] = None
    if opinion.proba is not None:
        found["log_loss"] = _log_loss(y, opinion.proba, several)
        classes = None if several else np.arange(len(done.classes))
        error = expected_calibration_error(y, opinion.proba, classes=classes, n_bins=N_BINS)
        found["calibration_error"] = float(error)
    if opinion.answered is not None:
        found["rows_without_answer"] = int((~opinion.answered).sum())
    return found


def _log_loss(y, proba, several):
    if several:
        return float(
            np.mean([log_loss(t, p, labels=[0, 1]) for t, p in zip(y.T, proba.T, strict=True)])
        )
    return float(log_loss(y, proba, labels=np.arange(proba.shape[1])))


def reliability_of(done, name):
    """Return confidence, accuracy and share of rows per bin, bins without rows left out."""
    several = done.table.multilabel
    y = done.table.y if several else numbers_of_truth(done)
    classes = None if several else np.arange(len(done.classes))
    pair = confidence_and_hits(y, done.opinions[name].proba, classes)
    _, accuracy, mean, share = bins_of(pair[0], pair[1], N_BINS)
    columns = {"confidence": mean, "accuracy": accuracy, "share": share}
    return {name: values.tolist() for name, values in columns.items()}


def per_class(done, name):
    """Return one dict per class: rows, precision, recall and F1 of a method."""
    several = done.table.multilabel
    y = done.table.y if several else numbers_of_truth(done)
    numbers = np.arange(len(done.classes))
    columns = precision_recall_fscore_support(
        y, done.opinions[name].labels, labels=numbers, zero_division=0, average=None
    )
    names = ("precision", "recall", "f1", "rows")
    rows = [dict(zip(names, map(float, row), strict=True)) for row in zip(*columns, strict=True)]
    return [
        {"label": c, **row, "rows": int(row["rows"])}
        for c, row in zip(done.classes, rows, strict=True)
    ]


def compared(done):
    """Return how far the subject is ahead of its best part, or None where it has none."""
    parts = [n for n, opinion in done.opinions.items() if opinion.role == "part"]
    if not parts:
        return None
    hits = {name: hits_of(done, name) for name in [done.subject, *parts]}
    best = max(parts, key=lambda name: hits[name].mean())
    mean, interval = paired(hits[done.subject], hits[best])
    return {"best_part": best, "difference": mean, "interval": list(interval)}


def confusion(done):
    """Return the confusion matrix (truth in rows) of the subject, or None for several labels."""
    if done.table.multilabel:
        return None
    numbers = np.arange(len(done.classes))
    matrix = confusion_matrix(
        numbers_of_truth(done), done.opinions[done.subject].labels, labels=numbers
    )
    return matrix.tolist()


def accuracy_by_share(done):
    """Return the accuracy when only the texts that the encoder doubts most go to the LLM.

    Out-of-fold answers of the encoder alone and of the fusion, at each share of texts asked; of a
    cascade its own cost curve. None where there is no encoder or no LLM.
    """
    if done.curve is not None:
        return {"share": SHARES.tolist(), "accuracy": done.curve.tolist()}
    parts = done.opinions
    if "encoder alone" not in parts or not any(n.startswith("LLM alone") for n in parts):
        return None
    first = hits_of(done, "encoder alone").astype(float)
    fused = hits_of(done, done.subject).astype(float)
    proba = parts["encoder alone"].proba
    unsure = doubt(proba, np.zeros(len(proba), bool), done.table.multilabel)
    order = np.argsort(-unsure, kind="stable")
    gain = np.concatenate([[0.0], np.cumsum((fused - first)[order])])
    asked = (SHARES * len(first) + 1e-9).astype(int)
    return {
        "share": SHARES.tolist(),
        "accuracy": ((first.sum() + gain[asked]) / len(first)).tolist(),
    }


def disagreements(done, most):
    """Return the judged rows on which the sources disagree most.

    The measure is the largest total variation between two sources (several labels: the largest
    gap on one label); rows that an LLM did not answer do not count.

    Returns
    -------
    list of (int, float)
        Position among the judged rows, and the measure.
    """
    parts = [o for o in done.opinions.values() if o.role == "part" and o.proba is not None]
    if len(parts) < 2:
        return []
    apart = np.zeros(len(done.table.y))
    for number, one in enumerate(parts):
        for other in parts[:number]:
            gap = np.abs(one.proba - other.proba)
            gap = gap.max(axis=1) if done.table.multilabel else gap.sum(axis=1) / 2
            for opinion in (one, other):
                gap = gap if opinion.answered is None else gap * opinion.answered
            apart = np.maximum(apart, gap)
    order = np.argsort(-apart, kind="stable")[:most]
    return [(int(row), float(apart[row])) for row in order if apart[row] > 0]


def data_sheet(table, train=None):
    """Return what the rows are: counts of classes, repeats, lengths, what is missing."""
    found = {"rows": len(table.y), "missing": dict(table.missing)}
    if table.multilabel:
        found["classes"] = [
            [c, int(n)] for c, n in zip(table.labels, table.y.sum(axis=0), strict=True)
        ]
        found["labels_per_row"] = float(table.y.sum(axis=1).mean())
    else:
        labels, counts = np.unique(table.y, return_counts=True)
        found["classes"] = sorted(
            map(list, zip(labels.tolist(), counts.tolist(), strict=True)), key=lambda c: -c[1]
        )
    if table.texts is not None:
        lengths = np.array([len(text) for text in table.texts])
        found["repeated_texts"] = len(table.texts) - len(set(table.texts))
        found["empty_texts"] = int(sum(not text.strip() for text in table.texts))
        quantiles = np.quantile(lengths, [0, 0.25, 0.5, 0.75, 1])
        found["characters"] = [int(q) for q in quantiles]
        if train is not None and train.texts is not None:
            known = set(train.texts)
            found["also_in_training"] = sum(text in known for text in table.texts)
    else:
        found["columns"] = int(np.shape(table.X)[1])
    return found
