"""Label distributions from what a language model put out: pure functions of arrays.

K is the number of labels; where an axis has K + 1, the last is "none", the empty set.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import expit, softmax

from sklfusion._threads import one_thread

#: Zero-shot methods, supervised ones, and the row to compare with.
METHODS = (
    "hard", "vote_share", "compare_to_none", "max", "unary", "binary", "probe", "base_rate",
)  # fmt: skip

_TEXTS_AT_ONCE = 1024


def calls_per_text(
    method: str, n_labels: int, *, both_orders: bool = False, n_repeats: int = 1
) -> int | float:
    """Return how many queries one text costs.

    Parameters
    ----------
    method : str
        One of ``METHODS``.
    n_labels : int
        K.
    both_orders : bool, default=False
        Whether each pair is asked both ways round, against position bias.
    n_repeats : int, default=1
        Votes behind "vote_share".

    Returns
    -------
    int or float
        Queries.

    See Also
    --------
    sklfusion.LabelDistributionCollector : Asks the questions.

    Examples
    --------
    >>> from sklfusion.alignment import calls_per_text
    >>> {m: calls_per_text(m, 11) for m in ("hard", "max", "unary", "binary")}
    {'hard': 1, 'max': 1, 'unary': 11, 'binary': 66}
    """
    pairs = n_labels * (n_labels + 1) // 2
    costs = {
        "unary": n_labels,
        "binary": pairs * (2 if both_orders else 1),
        "vote_share": n_repeats,
        "base_rate": 0,
    }
    if method not in METHODS:
        raise ValueError(f"method={method!r}; known are {METHODS}.")
    return costs.get(method, 1)


def hard_distribution(votes: Any, epsilon: float = 1e-8) -> np.ndarray:
    """Return 1 − epsilon where a label was said (share above one half), else epsilon.

    Parameters
    ----------
    votes : array-like of shape (n, K)
        0/1, or shares of votes.
    epsilon : float, default=1e-8
        Keeps 0 and 1 away.

    Returns
    -------
    ndarray of shape (n, K)
        One column per label.

    See Also
    --------
    max_over_steps : By the probabilities of all steps.

    Examples
    --------
    >>> from sklfusion.alignment import hard_distribution
    >>> hard_distribution([[0.8, 0.2]], epsilon=0.01).tolist()
    [[0.99, 0.01]]
    """
    return np.where(np.asarray(votes) > 0.5, 1 - epsilon, epsilon)


def smoothed_shares(repeats, outcomes=2, smoothing=0.5):
    """Return (Σ + s) / (R + outcomes · s) of the votes that came, shape (n, K).

    Parameters
    ----------
    repeats : array of shape (R, n, K)
        Votes in [0, 1]; NaN where none came.
    outcomes : int, default=2
        What a vote can say: yes or no, or K where it names one label.
    smoothing : float, default=0.5
        Pseudo-votes for each outcome (Jeffreys' prior).
    """
    votes = np.asarray(repeats, dtype=float)
    came = (~np.isnan(votes)).sum(axis=0)
    total = np.nansum(votes, axis=0) + smoothing
    return np.where(
        came > 0, total / np.maximum(came + outcomes * smoothing, 1e-300), 1 / outcomes
    )


def compare_to_none(first_step_logits: Any) -> np.ndarray:
    """Return P_l = σ(s_l − s_none) for each label l.

    Parameters
    ----------
    first_step_logits : array-like of shape (n, K + 1)
        Logits or log-probabilities; the last column is "none".

    Returns
    -------
    ndarray of shape (n, K)
        One column per label.

    See Also
    --------
    max_over_steps : All steps, not the first alone.
    unary_distribution : One question per label.

    Examples
    --------
    >>> from sklfusion.alignment import compare_to_none
    >>> compare_to_none([[2.0, 0.0, 0.0]]).round(2).tolist()
    [[0.88, 0.5]]
    """
    s = np.asarray(first_step_logits, dtype=float)
    return expit(s[:, :-1] - s[:, -1:])


def max_over_steps(
    step_probs: Any, first_step_logits: Any = None, epsilon: float = 1e-8
) -> np.ndarray:
    """Return the largest probability that each label had at any label step of the generation.

    Parameters
    ----------
    step_probs : list of n arrays of shape (S_i, K + 1)
        Softmax over labels and none at every step at which a label begins.
    first_step_logits : array of shape (n, K + 1), optional
        Stands in for texts in whose generation no label began.
    epsilon : float
        Value of labels that no step supports.

    Returns
    -------
    ndarray of shape (n, K)

    See Also
    --------
    compare_to_none : The first step alone.
    hard_distribution : What was said, as it was said.

    Examples
    --------
    >>> import numpy as np
    >>> from sklfusion.alignment import max_over_steps
    >>> steps = [np.array([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3]])]  # two labels and "none", two steps
    >>> max_over_steps(steps).round(2).tolist()
    [[0.7, 0.6]]
    """
    rows = []
    for index, steps in enumerate(step_probs):
        steps = np.asarray(steps, dtype=float)
        if not len(steps):
            if first_step_logits is None:
                steps = np.full((1, steps.shape[-1]), epsilon)
            else:
                steps = softmax(np.asarray(first_step_logits[index], dtype=float))[None]
        rows.append(steps[:, :-1].max(axis=0))
    return np.maximum(np.array(rows), epsilon)


def unary_distribution(unary_logits: Any, n_labels: int) -> np.ndarray:
    """Return the probability of "reasonable" of each label, shape (n, K).

    Parameters
    ----------
    unary_logits : array of shape (n, K, 2) or (n, K + 1, 2)
        Logits of "reasonable" and "unreasonable"; a last row for none is left out.
    n_labels : int
        K.

    Returns
    -------
    ndarray of shape (n, K)
        One column per label.

    See Also
    --------
    compare_to_none : One question for all labels.

    Examples
    --------
    >>> from sklfusion.alignment import unary_distribution
    >>> unary_distribution([[[2.0, 0.0], [0.0, 0.0]]], n_labels=2).round(2).tolist()
    [[0.88, 0.5]]
    """
    logits = np.asarray(unary_logits, dtype=float)[:, :n_labels]
    return expit(logits[..., 0] - logits[..., 1])


def bradley_terry(
    pair_probs: Any,
    n_items: int,
    *,
    penalty: float = 0.01,
    max_iter: int = 100,
    tolerance: float = 1e-9,
) -> np.ndarray:
    """Return the strengths θ that explain soft pairwise preferences best.

    Minimises Σ −[p ln σ(θ_i − θ_j) + (1 − p) ln σ(θ_j − θ_i)] + penalty · ‖θ‖² for each text.
    The problem is strictly convex, so it is solved from zero by Newton's method with step
    halving, all texts at once, and has no seed.

    Parameters
    ----------
    pair_probs : array of shape (n, P, 3)
        Rows (i, j, probability that i beats j). A pair may come twice (both orders); NaN
        probabilities are left out.
    n_items : int
        K + 1 with none, which is the last.
    penalty : float, default=0.01
        Larger than 0.
    penalty : float, default=0.01
        Weight of the squared strengths, which keeps them finite.
    max_iter : int, default=100
        Most Newton steps.
    tolerance : float, default=1e-9
        Largest change of a strength at which it ends.

    Returns
    -------
    ndarray of shape (n, n_items)

    Raises
    ------
    ValueError
        If an index is out of range, a probability outside [0, 1] or ``penalty`` not positive.

    See Also
    --------
    calls_per_text : What asking about pairs costs.
    sklfusion.LabelDistributionEstimator : Uses it.

    Examples
    --------
    >>> from sklfusion.alignment import bradley_terry
    >>> theta = bradley_terry([[[0, 1, 0.8], [1, 2, 0.5], [0, 2, 0.8]]], 3, penalty=1e-9)
    >>> (theta[0] - theta[0, 2]).round(4).tolist()  # logit(0.8) = 1.3863
    [1.3863, 0.0, 0.0]
    """
    pairs = np.asarray(pair_probs, dtype=float)
    if pairs.ndim != 3 or pairs.shape[2] != 3:
        raise ValueError(f"pair_probs has shape {pairs.shape}; it needs (n, P, 3).")
    if not penalty > 0:
        raise ValueError(f"penalty={penalty!r}; it must be larger than 0.")
    ends, p = pairs[..., :2], pairs[..., 2]
    known = ~np.isnan(p)
    if ((ends[known] < 0) | (ends[known] >= n_items) | (ends[known] % 1 != 0)).any():
        raise ValueError(f"pair_probs names an item outside 0 to {n_items - 1}.")
    if ((p[known] < 0) | (p[known] > 1)).any():
        raise ValueError("pair_probs holds a probability outside [0, 1].")
    blocks = [
        _bradley_terry_block(
            pairs[start : start + _TEXTS_AT_ONCE], n_items, penalty, max_iter, tolerance
        )
        for start in range(0, len(pairs), _TEXTS_AT_ONCE)
    ]
    return np.concatenate(blocks) if blocks else np.zeros((0, n_items))


@one_thread()
def _bradley_terry_block(pairs, n_items, penalty, max_iter, tolerance):
    weight = (~np.isnan(pairs[..., 2])).astype(float)
    i, j = np.where(weight[..., None] > 0, pairs[..., :2], 0).astype(int).transpose(2, 0, 1)
    p = np.where(weight > 0, pairs[..., 2], 0.5)
    eye = np.eye(n_items)
    design = eye[i] - eye[j]  # (n, P, K + 1): +1 at i, -1 at j

    def loss(theta):
        z = np.einsum("npk,nk->np", design, theta)
        return (weight * (np.logaddexp(0, z) - p * z)).sum(1) + penalty * (theta**2).sum(1)

    theta = np.zeros((len(pairs), n_items))
    value = loss(theta)
    for _ in range(max_iter):
        s = expit(np.einsum("npk,nk->np", design, theta))
        gradient = np.einsum("npk,np->nk", design, weight * (s - p)) + 2 * penalty * theta
        curvature = design * (weight * s * (1 - s))[..., None]
        hessian = design.transpose(0, 2, 1) @ curvature + 2 * penalty * eye
        step = np.linalg.solve(hessian, gradient[..., None])[..., 0]
        size = np.ones(len(pairs))
        for _ in range(40):  # a full step can overshoot where preferences are near certain
            worse = loss(theta - size[:, None] * step) > value + 1e-14
            if not worse.any():
                break
            size[worse] /= 2
        theta = theta - size[:, None] * step
        value = loss(theta)
        if np.abs(size[:, None] * step).max(initial=0) < tolerance:
            break
    return theta


def binary_distribution(pair_probs, n_labels, *, penalty=0.01):
    """Return P_l = σ(θ_l − θ_none) of the Bradley-Terry strengths, shape (n, K)."""
    theta = bradley_terry(pair_probs, n_labels + 1, penalty=penalty)
    return expit(theta[:, :-1] - theta[:, -1:])


def normalize_rows(probabilities, epsilon=1e-8):
    """Turn independent probabilities into a distribution: softmax of their log-odds."""
    p = np.clip(probabilities, epsilon, 1 - epsilon)
    return softmax(np.log(p) - np.log1p(-p), axis=1)
