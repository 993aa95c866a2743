"""Which labels to doubt first: pure functions from what is known to one score per row.

Higher is more doubtful. Labels are codes, -1 where there is none.
"""

import numpy as np
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import KFold, StratifiedKFold

from sklfusion._sklearn_compat import safe_indexing
from sklfusion._threads import one_thread
from sklfusion.noise._labels import codes_for
from sklfusion.noise._prior import KNNLabelPrior


def row_entropy(proba):
    """Entropy in nats of each row of (n, K) probabilities; NaN rows stay NaN."""
    p = np.clip(proba / proba.sum(axis=1, keepdims=True), 1e-12, 1.0)
    return -(p * np.log(p)).sum(axis=1)


def vote_shares(repeats, n_classes):
    """Share of each class among the repeated answers.

    Parameters
    ----------
    repeats : ndarray of shape (n, R) of int
        Codes of R answers per row, -1 for no answer.
    n_classes : int

    Returns
    -------
    ndarray of shape (n, K)
        NaN for rows without any answer.
    """
    shares = np.stack([(repeats == c).sum(axis=1) for c in range(n_classes)], axis=1) * 1.0
    total = shares.sum(axis=1, keepdims=True)
    return np.where(total > 0, shares / np.maximum(total, 1), np.nan)


def disagreement(shares):
    """One minus the largest vote share; ties are broken by the entropy of the shares."""
    score = 1 - shares.max(axis=1)
    return score + 1e-6 * row_entropy(shares)


def out_of_fold_proba(estimator, X, codes, n_classes, *, cv=5, seed=0):
    """Class probabilities of every row from students that did not see it.

    Rows of -1 are predicted but never trained on. Classes missing in a fold get zeros.

    Returns
    -------
    ndarray of shape (n, K)
    """
    known = np.flatnonzero(codes >= 0)
    unknown = np.flatnonzero(codes < 0)
    out = np.zeros((len(codes), n_classes))
    n_splits = min(cv, len(known))
    if n_splits < 2:
        return np.full_like(out, 1 / n_classes)
    rare = np.bincount(codes[known]).min() < n_splits
    folds = (KFold if rare else StratifiedKFold)(n_splits, shuffle=True, random_state=seed)
    for train, test in folds.split(known, codes[known]):
        labels = codes[known[train]]
        rows = np.r_[known[test], unknown]
        if len(np.unique(labels)) < 2:
            proba, columns = np.ones((len(rows), 1)), labels[:1]
        else:
            with one_thread(X, openmp=False):
                student = clone(estimator).fit(safe_indexing(X, known[train]), labels)
            proba, columns = student.predict_proba(safe_indexing(X, rows)), student.classes_
        # rows without a label are in every fold: they get the mean
        scale = np.r_[np.ones(len(test)), np.full(len(unknown), 1 / n_splits)]
        out[np.ix_(rows, columns)] += proba * scale[:, None]
    return out


def self_doubt(proba, codes):
    """One minus the probability of the row's own label."""
    return 1 - proba[np.arange(len(codes)), np.maximum(codes, 0)]


def neighbor_doubt(X, codes):
    """One minus the weight of the own label among the candidates of a neighbour prior."""
    prior = KNNLabelPrior(certain_threshold=1.0, dominant_threshold=1.0).fit(X, codes)
    return self_doubt(prior.prior_, codes)


def in_proportion(doubt, rng):
    """Scores whose largest are a draw without replacement in proportion to `doubt`."""
    # the largest of log weights + Gumbel noise
    return np.log(np.maximum(doubt, 1e-6)) + rng.gumbel(size=len(doubt))


def error_model_scores(features, codes, checked, is_wrong):
    """Probability that a label is wrong, learnt on rows that a human checked.

    Parameters
    ----------
    features : ndarray of shape (n, p)
        Numbers that may tell: embeddings, class probabilities.
    codes : ndarray of shape (n,)
        Noisy labels, one-hot encoded beside the features.
    checked : ndarray of int
        Rows that were checked.
    is_wrong : ndarray of bool, one per checked row
        Whether the label turned out wrong.

    Returns
    -------
    ndarray of shape (n,)
    """
    if len(np.unique(is_wrong)) < 2:
        return np.full(len(codes), float(is_wrong.mean()) if len(is_wrong) else 0.0)
    scale = features[checked].std()
    onehot = np.eye(codes.max() + 1)[np.maximum(codes, 0)] * (codes >= 0)[:, None]
    inputs = np.hstack([features / max(scale, 1e-12), onehot])
    with one_thread(inputs):
        model = LogisticRegression(C=0.1, max_iter=500).fit(inputs[checked], is_wrong)
    return model.predict_proba(inputs)[:, 1]


def evidence(source, classes, llm_proba, llm_repeats, n, *, missing_label):
    """Return what an LLM said of n rows: vote shares and probabilities, (n, K) each or None."""
    shares = proba = None
    if source is not None:
        columns = codes_for(classes, np.array(source.classes), missing_label=None)
        if source.probs is not None and llm_proba is None:
            proba = source.scores("probs")[:, columns]
        if source.repeats is not None and llm_repeats is None:
            shares = source.scores("repeats")[:, columns]
    if llm_proba is not None:
        proba = np.asarray(llm_proba, dtype=float)
        if proba.shape != (n, len(classes)):
            raise ValueError(
                f"llm_proba has shape {proba.shape}; with the classes {classes.tolist()} it "
                f"needs ({n}, {len(classes)})."
            )
    if llm_repeats is not None:
        repeats = np.asarray(llm_repeats)
        if repeats.ndim != 2 or len(repeats) != n:
            raise ValueError(f"llm_repeats has shape {repeats.shape}; it needs ({n}, R).")
        codes = codes_for(repeats.ravel(), classes, missing_label=missing_label)
        shares = vote_shares(codes.reshape(repeats.shape), len(classes))
    return shares, proba
