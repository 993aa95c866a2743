"""Noisy labels at the door: arrays with holes, or `Annotations`, become codes."""

from dataclasses import replace
from typing import Any

import numpy as np
from sklearn.model_selection import StratifiedShuffleSplit
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import column_or_1d

from sklfusion.annotations import Annotations


def as_annotations(value):
    """Return ``value`` as one `Annotations`, or None if it is something else.

    Metadata routing cuts row-wise objects that are not arrays into a list of single rows; such a
    list is put together again.
    """
    if isinstance(value, Annotations):
        return value
    if isinstance(value, list) and value and all(isinstance(v, Annotations) for v in value):
        first = value[0]
        changes: dict[str, Any] = {"status": np.concatenate([v.status for v in value])}
        for name in ("votes", "probs", "first_step_logits", "coverage", "hidden"):
            if getattr(first, name) is not None:
                changes[name] = np.concatenate([getattr(v, name) for v in value])
        if first.repeats is not None:
            changes["repeats"] = np.concatenate([v.repeats for v in value], axis=1)
        for name in ("unary_logits", "pair_probs", "step_probs"):
            changes[name] = None
        return replace(first, **changes)
    return None


def missing_mask(y, missing_label=-1):
    """Boolean array: which labels are None, NaN or ``missing_label``."""
    y = np.asarray(y)
    if y.dtype.kind == "O":
        mask = np.array([v is None or (isinstance(v, float) and np.isnan(v)) for v in y.ravel()])
        mask = mask.reshape(y.shape)
    elif y.dtype.kind == "f":
        mask = np.isnan(y)
    else:
        mask = np.zeros(y.shape, dtype=bool)
    if missing_label is not None and not (isinstance(missing_label, float | int) and _texty(y)):
        mask = mask | np.asarray(y == missing_label, dtype=bool)
    return mask


def _texty(y):
    return y.dtype.kind in "US"


def encode_labels(y, *, missing_label=-1, caller="this estimator"):
    """Return ``(codes, classes)`` of labels that may have holes.

    Parameters
    ----------
    y : array-like of shape (n,), or Annotations
        Labels. None, NaN and ``missing_label`` stand for "no usable answer".
    missing_label : scalar or None, default=-1
        Further value that stands for "no usable answer".
    caller : str
        Name of the estimator, for messages.

    Returns
    -------
    codes : ndarray of shape (n,) of int
        Index into ``classes``, -1 where there is no label.
    classes : ndarray of shape (K,)
        The classes that occur, sorted.

    Raises
    ------
    ValueError
        If no row has a label, only one class occurs, or the labels are continuous.
    """
    annotations = as_annotations(y)
    if annotations is not None:
        if annotations.multilabel:
            raise ValueError(
                f"{caller} got multi-label annotations; it needs one label per text. "
                "Fit one estimator per label."
            )
        y = annotations.labels()
    y = column_or_1d(y, warn=True)
    if y.dtype.kind == "f" and np.isinf(y).any():
        raise ValueError("Input y contains infinity or a value too large for dtype('float64').")
    missing = missing_mask(y, missing_label)
    known = y[~missing]
    if not len(known):
        raise ValueError(
            f"{caller} got {len(y)} labels, all of them missing; it needs at least two classes. "
            "Were all texts refused?"
        )
    if known.dtype.kind == "O":
        known = np.array(known.tolist())
    check_classification_targets(known)
    classes, known_codes = np.unique(known, return_inverse=True)
    if len(classes) < 2:
        raise ValueError(
            f"{caller} got one class only ({classes[0]!r}, {len(known)} rows); it needs at least "
            "two classes."
        )
    codes = np.full(len(y), -1)
    codes[~missing] = known_codes
    return codes, classes


def codes_for(y, classes, *, missing_label=-1):
    """Index of each label in ``classes``; -1 for missing labels and for unknown classes."""
    annotations = as_annotations(y)
    y = np.asarray(annotations.labels() if annotations is not None else y)
    index = {c: i for i, c in enumerate(classes.tolist())}
    missing = missing_mask(y, missing_label)
    return np.array(
        [-1 if m else index.get(v, -1) for v, m in zip(y.tolist(), missing, strict=True)],
        dtype=int,
    ).reshape(y.shape)


def noisy_target(y, noisy, *, missing_label=-1, caller="this estimator"):
    """Split the arguments of ``fit(X, y, noisy=None)`` into what to learn and what to check by.

    Returns
    -------
    codes, classes : as `encode_labels`
    gold : ndarray of shape (n,) or None
        ``y`` when ``noisy`` was passed beside it: never learnt from, for diagnosis only.
    """
    if noisy is None:
        if y is None:
            raise ValueError(
                f"{caller} requires y to be passed, but the target y is None. Pass the noisy "
                "labels as y, or as noisy= beside gold labels."
            )
        codes, classes = encode_labels(y, missing_label=missing_label, caller=caller)
        return codes, classes, None
    codes, classes = encode_labels(noisy, missing_label=missing_label, caller=caller)
    if y is not None and len(y) != len(codes):
        raise ValueError(f"{caller} got {len(y)} labels y but {len(codes)} noisy labels.")
    return codes, classes, None if y is None else np.asarray(y)


def validation_split(codes, n_classes, fraction, seed):
    """Return training and validation rows; none validate where there are too few.

    Rows of -1 never validate; validation rows hold all classes in their shares.
    """
    known = np.flatnonzero(codes >= 0)
    n_val = int(fraction * len(known))
    everything = np.arange(len(codes))
    if n_val < n_classes or np.bincount(codes[known]).min() < 2:
        return everything, everything[:0]
    splitter = StratifiedShuffleSplit(1, test_size=n_val, random_state=seed)
    _, val = next(splitter.split(known, codes[known]))
    val = np.sort(known[val])
    return np.setdiff1d(everything, val), val
