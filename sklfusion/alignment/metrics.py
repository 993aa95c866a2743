"""How well label probabilities agree with annotators.

Targets are rates: the share of a text's annotators who chose each label, or 0/1 where only one
gold set is known. In multi-label the K rates of a text are independent; with
``multilabel=False`` they sum to one. A constant prediction of the base rates looks well on NLL
and L1 because most labels are rare, so read them beside the F1 and beside the row of the base
rates, which :func:`~sklfusion.alignment.alignment_table` always adds.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from scipy import sparse
from scipy.special import rel_entr

from sklfusion._validation import check_scores
from sklfusion.exceptions import DataWarning

_RATE_TOLERANCE = 1e-6


def _check_pair(y_true, y_prob, multilabel, caller):
    """Return both as float arrays of shape (n, K) with values in [0, 1]."""
    try:
        y_true = y_true.toarray() if sparse.issparse(y_true) else np.asarray(y_true, dtype=float)
    except (TypeError, ValueError):
        raise ValueError(
            f"{caller} needs targets as (n, K) rates or 0/1. Convert label sets with "
            "sklearn.preprocessing.MultiLabelBinarizer."
        ) from None
    if y_true.ndim != 2:
        raise ValueError(
            f"{caller} got a target of shape {y_true.shape}; it needs (n, K) rates or 0/1."
        )
    y_prob = y_prob.toarray() if sparse.issparse(y_prob) else y_prob
    y_prob = check_scores(y_prob, y_true.shape[1], caller=caller)
    if len(y_true) != len(y_prob):
        raise ValueError(f"{caller} got {len(y_true)} targets and {len(y_prob)} predictions.")
    for name, values in (("target", y_true), ("prediction", y_prob)):
        bad = ~((values >= 0) & (values <= 1)).all(axis=1)
        if not multilabel:
            bad |= np.abs(values.sum(axis=1) - 1) > _RATE_TOLERANCE
        if bad.any():
            row = int(np.argmax(bad))
            wanted = "values in [0, 1]" + ("" if multilabel else " that sum to 1")
            raise ValueError(
                f"{caller}: row {row} of the {name} is {values[row].tolist()}; it needs {wanted}."
            )
    return y_true, y_prob


def _average(values, sample_weight):
    return float(np.average(values, weights=sample_weight))


def alignment_nll(
    y_true: Any,
    y_prob: Any,
    *,
    epsilon: float = 1e-8,
    multilabel: bool = True,
    sample_weight: Any = None,
) -> float:
    """Negative log-likelihood of the annotators under the predicted rates, in nats per text.

    Multi-label: −Σ_l [H_l ln P_l + (1 − H_l) ln(1 − P_l)]; one label per text: −Σ_l H_l ln P_l.
    A hard prediction costs −ln(epsilon) = 18.42 nats for each unit of L1.

    Parameters
    ----------
    y_true : array-like or sparse matrix of shape (n, K)
        Rates in [0, 1], or 0/1.
    y_prob : array-like of shape (n, K)
        Predicted probabilities.
    epsilon : float, default=1e-8
        Probabilities are kept within [epsilon, 1 − epsilon].
    multilabel : bool, default=True
        Whether labels are independent.
    sample_weight : array-like of shape (n,), optional
        Weight of each text, for instance its number of annotators.

    Returns
    -------
    float
        Sum over labels, mean over texts; 0 is best only where the targets are 0/1.

    Raises
    ------
    ValueError
        If shapes differ or a row is no distribution; names the row.

    See Also
    --------
    alignment_l1 : In labels, not in nats.
    jensen_shannon : Finite without clipping.
    neg_alignment_nll_scorer : As a scorer.

    Examples
    --------
    >>> from sklfusion.alignment import alignment_nll
    >>> round(alignment_nll([[1, 0]], [[0.5, 0.5]]), 4)  # two coins: 2 ln 2
    1.3863
    """
    y_true, y_prob = _check_pair(y_true, y_prob, multilabel, "alignment_nll")
    p = np.clip(y_prob, epsilon, 1 - epsilon)
    loss = -y_true * np.log(p)
    if multilabel:
        loss = loss - (1 - y_true) * np.log(1 - p)
    return _average(loss.sum(axis=1), sample_weight)


def alignment_l1(
    y_true: Any, y_prob: Any, *, multilabel: bool = True, sample_weight: Any = None
) -> float:
    """Absolute differences summed over labels, mean over texts: the labels that are misplaced.

    Parameters are those of :func:`alignment_nll`.

    Parameters
    ----------
    y_true : array-like of shape (n, K)
        Rates in [0, 1], or a label indicator.
    y_prob : array-like of shape (n, K)
        Probabilities.
    multilabel : bool, default=True
        Whether labels are independent; else rows are distributions over one label.
    sample_weight : array-like of shape (n,), optional
        Weight of each text.

    Returns
    -------
    float
        At least 0; 0 is best.

    See Also
    --------
    alignment_nll : Cross-entropy.
    jensen_shannon : In bits, between 0 and 1.
    neg_alignment_l1_scorer : As a scorer.

    Examples
    --------
    >>> from sklfusion.alignment import alignment_l1
    >>> alignment_l1([[1, 0]], [[0.5, 0.5]])
    1.0
    """
    y_true, y_prob = _check_pair(y_true, y_prob, multilabel, "alignment_l1")
    return _average(np.abs(y_prob - y_true).sum(axis=1), sample_weight)


def jensen_shannon(
    y_true: Any, y_prob: Any, *, multilabel: bool = True, sample_weight: Any = None
) -> float:
    """Jensen-Shannon divergence in bits, in [0, 1].

    Multi-label: between the two coins of each label, mean over labels and texts; one label per
    text: between the two distributions of a text, mean over texts. Unlike the NLL it is finite
    without clipping. Parameters are those of :func:`alignment_nll`.

    Parameters
    ----------
    y_true : array-like of shape (n, K)
        Rates in [0, 1], or a label indicator.
    y_prob : array-like of shape (n, K)
        Probabilities.
    multilabel : bool, default=True
        Whether labels are independent; else rows are distributions over one label.
    sample_weight : array-like of shape (n,), optional
        Weight of each text.

    Returns
    -------
    float
        Bits; 0 is best.

    See Also
    --------
    alignment_nll : Cross-entropy.
    alignment_l1 : In labels.
    neg_jensen_shannon_scorer : As a scorer.

    Examples
    --------
    >>> from sklfusion.alignment import jensen_shannon
    >>> jensen_shannon([[1.0, 0.0]], [[0.0, 1.0]])
    1.0
    """
    y_true, y_prob = _check_pair(y_true, y_prob, multilabel, "jensen_shannon")
    middle = (y_true + y_prob) / 2
    parts = rel_entr(y_true, middle) + rel_entr(y_prob, middle)
    if multilabel:
        parts += rel_entr(1 - y_true, 1 - middle) + rel_entr(1 - y_prob, 1 - middle)
        per_text = parts.mean(axis=1)
    else:
        per_text = parts.sum(axis=1)
    return _average(per_text / (2 * np.log(2)), sample_weight)


def example_f1(
    y_true: Any,
    y_prob: Any,
    *,
    threshold: float = 0.5,
    empty: float = 1.0,
    multilabel: bool = True,
    sample_weight: Any = None,
) -> float:
    """Mean over texts of the F1 between the predicted and the majority label set.

    Parameters
    ----------
    y_true : array-like or sparse matrix of shape (n, K)
        Rates or 0/1; a label is true where its rate is above 0.5.
    y_prob : array-like of shape (n, K)
        Probabilities, or an indicator of predicted sets.
    threshold : float, default=0.5
        A label is predicted where its probability is above this.
    empty : float, default=1.0
        Score of a text where both sets are empty.
    multilabel : bool, default=True
        With False a text has one label: the first of the most probable is said and the first of
        largest rate is true, whatever the threshold, so the mean is the accuracy.
    sample_weight : array-like of shape (n,), optional
        Weight of each text.

    Returns
    -------
    float
        In [0, 1]; 1 is best.

    See Also
    --------
    expected_f1_sets : Label sets that are best for it.
    example_f1_scorer : As a scorer.

    Examples
    --------
    >>> from sklfusion.alignment import example_f1
    >>> example_f1([[1, 1, 0], [0, 0, 0]], [[0.9, 0.1, 0.1], [0.2, 0.1, 0.3]])
    0.8333333333333333
    """
    y_true, y_prob = _check_pair(y_true, y_prob, multilabel, "example_f1")
    truth, on = y_true > 0.5, y_prob > threshold
    if not multilabel:
        labels = np.arange(y_true.shape[1])
        truth, on = (v.argmax(axis=1)[:, None] == labels for v in (y_true, y_prob))
    total = truth.sum(axis=1) + on.sum(axis=1)
    f1 = np.where(total == 0, empty, 2 * (truth & on).sum(axis=1) / np.maximum(total, 1))
    return _average(f1, sample_weight)


def annotator_rates(
    y_annot: Any, items: Any = None, *, smoothing: float = 0.0, return_counts: bool = False
) -> Any:
    """Turn annotators' answers into rates per text and label.

    Parameters
    ----------
    y_annot : array-like
        With ``items``: (m, K), one row per annotator and text, 0/1. Without: (n, A, K), or n
        arrays of shape (A_i, K) where texts have different numbers of annotators. NaN rows are
        annotators who did not answer.
    items : array-like of shape (m,), optional
        The text of each row. Texts come out in sorted order, as in ``numpy.unique``.
    smoothing : float, default=0.0
        Added to the counts of both outcomes: (Σ + s) / (A + 2 s). With few annotators 0.5
        (Jeffreys' prior) keeps rates away from 0 and 1.
    return_counts : bool, default=False
        Whether to return the number of annotators of each text too, to weigh texts by.

    Returns
    -------
    rates : ndarray of shape (n, K)
        In [0, 1], always finite.
    counts : ndarray of shape (n,)
        Only with ``return_counts``.

    Warns
    -----
    DataWarning
        If a text has no annotator; it gets the mean rates of the others, or 0.5 with smoothing.

    See Also
    --------
    alignment_nll : Compares probabilities with them.

    Examples
    --------
    >>> from sklfusion.alignment import annotator_rates
    >>> annotator_rates([[1, 0], [1, 1], [0, 0]], items=["t1", "t1", "t2"]).tolist()
    [[1.0, 0.5], [0.0, 0.0]]
    """
    if smoothing < 0:
        raise ValueError(f"annotator_rates got smoothing={smoothing!r}; it needs 0 or more.")
    answers, item = _long_form(y_annot, items)
    answered = ~np.isnan(answers).any(axis=1)
    bad = answered & ~((answers == 0) | (answers == 1)).all(axis=1)
    if bad.any():
        row = int(np.argmax(bad))
        raise ValueError(
            f"annotator_rates: answer {row} is {answers[row].tolist()}; it needs 0, 1, or NaN for "
            "an annotator who did not answer."
        )
    n = item.max() + 1 if len(item) else 0
    sums = np.zeros((n, answers.shape[1]))
    np.add.at(sums, item[answered], answers[answered])
    counts = np.bincount(item[answered], minlength=n)
    rates = (sums + smoothing) / np.maximum(counts + 2 * smoothing, 1e-300)[:, None]
    empty = counts == 0
    if empty.any():
        if not smoothing:
            rates[empty] = rates[~empty].mean(axis=0) if (~empty).any() else 0.5
        warnings.warn(
            f"annotator_rates: {empty.sum()} text(s) have no annotator, the first is row "
            f"{int(np.argmax(empty))}; they get {'0.5' if smoothing else 'the mean rates'}.",
            DataWarning,
            stacklevel=2,
        )
    return (rates, counts) if return_counts else rates


def _long_form(y_annot, items):
    """Return answers of shape (m, K) and the index of the text of each."""
    if items is not None:
        answers = np.asarray(y_annot, dtype=float)
        if answers.ndim != 2 or len(answers) != len(items):
            raise ValueError(
                f"annotator_rates got answers of shape {answers.shape} for {len(items)} items; "
                "it needs (m, K), one row per item."
            )
        return answers, np.unique(np.asarray(items), return_inverse=True)[1]
    blocks = [np.asarray(block, dtype=float) for block in y_annot]
    width = next((b.shape[1] for b in blocks if b.ndim == 2 and b.size), None)
    if width is None:
        raise ValueError(
            "annotator_rates got no answers; it needs (n, A, K), or (m, K) with items."
        )
    # A text without annotators may come as [] or as an (0, K) array: one row of NaN stands in.
    blocks = [b if b.size else np.full((1, width), np.nan) for b in blocks]
    if any(b.ndim != 2 or b.shape[1] != width for b in blocks):
        raise ValueError("annotator_rates needs arrays of shape (annotators, K) of the same K.")
    return np.concatenate(blocks), np.repeat(np.arange(len(blocks)), [len(b) for b in blocks])


class _ProbabilityScorer:
    """``scorer(estimator, X, y)`` on (n, K) probabilities, larger is better.

    ``make_scorer`` would read a two-label ``predict_proba`` as the two classes of one label.
    """

    def __init__(self, metric, sign):
        self.metric = metric
        self.sign = sign

    def __call__(self, estimator, X, y_true, sample_weight=None):
        probabilities = np.asarray(estimator.predict_proba(X))
        return self.sign * self.metric(y_true, probabilities, sample_weight=sample_weight)

    def __repr__(self):
        return f"<scorer {'-' if self.sign < 0 else ''}{self.metric.__name__}>"


#: Scorers for ``GridSearchCV(scoring=...)`` and ``cross_val_score``.
neg_alignment_nll_scorer = _ProbabilityScorer(alignment_nll, -1)
neg_alignment_l1_scorer = _ProbabilityScorer(alignment_l1, -1)
neg_jensen_shannon_scorer = _ProbabilityScorer(jensen_shannon, -1)
example_f1_scorer = _ProbabilityScorer(example_f1, 1)
