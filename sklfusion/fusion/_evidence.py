"""LLM evidence: what a vote or a score says about the class, learnt from few rows.

Every source yields *evidence relative to the prior*: the log-odds it adds to the class
frequencies. A row without an answer adds zero.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import expit, logit, logsumexp, softmax

from sklfusion.fusion._folds import fold_masks
from sklfusion.fusion._linear import LOG_FLOOR, fit_grouped, mean_loss, row_losses

_STRENGTHS = (4.0, 8.0, 16.0, 32.0, 64.0)
#: The same for what silence about a label means, in rows. Few silent rows hide a positive, so
#: that a single one would tell too much: these rates lean on the pool for longer.
_SILENCE_STRENGTHS = (32.0, 64.0, 128.0)
_PRIOR_ACCURACY = 0.8  # "the LLM is usually right", worth _PRIOR_ROWS rows
_PRIOR_ROWS = 20.0


@dataclass
class Evidence:
    """Linear map from coded scores (n, J) to evidence (n, K), with its out-of-fold values."""

    coding: str
    coef: np.ndarray
    bias: np.ndarray
    oof_evidence: np.ndarray


def code_scores(log_scores, coding, family):
    """Scores in the form the linear map takes.

    ``log_scores`` are log-probabilities (softmax) or logits (sigmoid); ``"vote"`` codes the
    winner as 1, ``"score"`` keeps the clipped value, centred so that "no opinion" is 0.
    """
    if family == "softmax":
        if coding == "vote":
            return np.eye(log_scores.shape[1])[log_scores.argmax(axis=1)]
        clipped = np.maximum(log_scores, LOG_FLOOR)
        return clipped - clipped.mean(axis=1, keepdims=True)
    if coding == "vote":
        return (log_scores > 0).astype(np.float64)
    return np.clip(log_scores, LOG_FLOOR, -LOG_FLOOR)


def find_coding(log_scores, answered, family):
    """``"vote"`` when equal winners always come with equal scores, else ``"score"``."""
    rows = log_scores[answered]
    if not len(rows):
        return "vote"
    if family == "sigmoid":
        return "vote" if len(np.unique(np.round(rows, 4))) <= 2 else "score"
    winner = rows.argmax(axis=1)
    for k in np.unique(winner):
        mine = np.exp(rows[winner == k])
        if np.ptp(mine, axis=0).max() > 1e-3:
            return "score"
    return "vote"


def fit_evidence(log_scores, answered, mapping, Y, weights, folds, log_prior, family, coding=None):
    """Learn what one LLM's scores say about the classes.

    Parameters
    ----------
    log_scores : ndarray of shape (n, J)
        Log-probabilities (softmax) or logits (sigmoid; there J = K, in class order).
    answered : ndarray of shape (n,) of bool
        False where the LLM gave no answer.
    mapping : ndarray of shape (J,) of int
        Class of each score column, -1 for a class that never occurs in the targets.
    Y, weights, folds, log_prior, family
        As in :func:`~sklfusion.fusion._probe.fit_probe`.

    coding : {"vote", "score"}, optional
        How to read the scores; found from their values by default.

    Returns
    -------
    Evidence
    """
    coding = coding or find_coding(log_scores, answered, family)
    Z = code_scores(log_scores, coding, family)
    live = weights * answered
    if coding == "vote":
        fit = _fit_vote_table if family == "softmax" else _fit_vote_rates
        found = fit(Z, mapping, Y, live, log_prior)
    else:
        found = _fit_scaling(Z, mapping, Y, live, folds, log_prior, family)
    found.oof_evidence = found.oof_evidence * answered[:, None]
    return found


def _fit_vote_table(Z, mapping, Y, weights, log_prior):
    """Smoothed confusion table p(class | vote), left-one-out on the training rows.

    Row j of the table is drawn towards "vote j is right with the pooled accuracy, else the
    classes follow their frequencies". How strongly is chosen by leave-one-out likelihood, so
    rare votes lean on the pool and frequent ones speak for themselves.
    """
    counts = (Z * weights[:, None]).T @ Y
    known = mapping >= 0
    right = np.zeros_like(Z)
    right[:, known] = Y[:, mapping[known]]
    hit = (Z * right).sum(axis=1)
    prior = np.exp(log_prior - logsumexp(log_prior))

    n_right, total = weights @ hit, weights.sum()
    accuracy = (n_right + _PRIOR_ACCURACY * _PRIOR_ROWS) / (total + _PRIOR_ROWS)
    loo_accuracy = (n_right - weights * hit + _PRIOR_ACCURACY * _PRIOR_ROWS) / (
        total - weights + _PRIOR_ROWS
    )

    spread = np.tile(prior, (len(mapping), 1))  # how errors of vote j fall on the classes
    spread[known, mapping[known]] = 0.0
    spread /= np.maximum(spread.sum(axis=1, keepdims=True), 1e-12)
    diagonal = np.zeros_like(spread)
    diagonal[known, mapping[known]] = 1.0

    def log_table(counts, base, strength):
        return np.log((counts + strength * base) / (counts.sum(-1, keepdims=True) + strength))

    row_counts, row_diag, row_spread = Z @ counts, Z @ diagonal, Z @ spread
    row_known = (Z @ known.astype(float)) > 0
    left = np.maximum(row_counts - weights[:, None] * Y, 0.0)
    loo_base = loo_accuracy[:, None] * row_diag + (1 - loo_accuracy)[:, None] * row_spread
    loo_base = np.where(row_known[:, None], loo_base, prior)
    base = np.where(known[:, None], accuracy * diagonal + (1 - accuracy) * spread, prior)
    loo = np.stack([log_table(left, loo_base, s) for s in _STRENGTHS])
    full = np.stack([log_table(counts, base, s) for s in _STRENGTHS])
    shares = _average_weights(loo, Y, weights)
    loo = np.maximum(_average(loo, shares) - log_prior, LOG_FLOOR)
    coef = np.maximum(_average(full, shares) - log_prior, LOG_FLOOR)
    live = (weights > 0)[:, None]
    return Evidence("vote", coef, np.zeros(Y.shape[1]), np.where(live, loo, Z @ coef))


def _average_weights(log_proba, Y, weights):
    """Posterior weight of each candidate (S, n, K) under its held-out likelihood."""
    fit = np.array([weights @ (Y * candidate).sum(axis=1) for candidate in log_proba])
    return softmax(fit)


def _average(log_proba, shares):
    """Mixture of the candidates' probabilities, as logs."""
    return logsumexp(log_proba, axis=0, b=shares[:, None, None])


def _fit_vote_rates(Z, mapping, Y, weights, log_prior):
    """How often a label is right where it has a vote, and where it has none, left-one-out.

    Where it has a vote, its rate is drawn towards that of all votes together, in votes: a label
    with two votes, both wrong, is hardly believed less for it. (In rates of hits and false alarms
    two of twenty rows would be many false alarms.) Where it has none, towards the rate that goes
    with this and with the label's frequency. How strongly is averaged by leave-one-out likelihood.
    """
    live, total = weights[:, None], weights.sum()
    prior = expit(log_prior)
    votes, hits = weights @ Z, weights @ (Z * Y)
    silent, missed = weights @ (1 - Z), weights @ ((1 - Z) * Y)
    pooled = (hits.sum() + _PRIOR_ACCURACY * _PRIOR_ROWS) / (votes.sum() + _PRIOR_ROWS)
    vote_rate = (votes + 0.5) / (total + 1)  # smoothed as the class frequencies are
    left_over = (prior - pooled * vote_rate) / (1 - vote_rate)
    silent_base = np.clip(left_over, 0.02 * prior, prior)

    common = Y, weights, log_prior
    on, loo_on = _smoothed_rate(Z, hits, votes, pooled, _STRENGTHS, *common)
    off, loo_off = _smoothed_rate(1 - Z, missed, silent, silent_base, _SILENCE_STRENGTHS, *common)
    loo, full = np.where(Z > 0, loo_on, loo_off), np.where(Z > 0, on, off)
    return Evidence("vote", np.diag(on - off), off, np.where(live > 0, loo, full))


def _smoothed_rate(seen, right, rows, base, strengths, Y, weights, log_prior):
    """Evidence of what was ``seen`` (n, K): with all rows (K,), and left-one-out (n, K).

    Of ``rows`` (K,) rows ``right`` (K,) had the label; drawn towards the rate ``base``.
    """

    def evidence(right, rows, strength):
        rate = (right + strength * base) / (rows + strength)
        return np.clip(logit(rate) - log_prior, LOG_FLOOR, -LOG_FLOOR)

    live = weights[:, None] * seen
    loo = np.stack([evidence(right - live * Y, rows - live, strength) for strength in strengths])
    logits = log_prior + loo
    losses = (live * (np.logaddexp(0, logits) - Y * logits)).sum(axis=(1, 2))
    shares = softmax(-losses)
    full = np.stack([evidence(right, rows, strength) for strength in strengths])
    return np.tensordot(shares, full, 1), np.tensordot(shares, loo, 1)


def _fit_scaling(Z, mapping, Y, weights, folds, log_prior, family):
    """Scaling of soft scores: a temperature and a bias per class, cross-fitted.

    Softmax scores get a full matrix drawn towards ``temperature * identity`` (Dirichlet
    calibration); sigmoid scores a slope and a bias per label, drawn towards shared ones.
    """
    start = _temperature(Z, mapping, Y, weights, log_prior, family)
    masks = fold_masks(folds, weights)
    offset = np.broadcast_to(log_prior, Y.shape)
    if family == "softmax":
        A = np.hstack([Z, np.ones((len(Z), 1))])
        target = np.zeros((A.shape[1], Y.shape[1]))
        known = mapping >= 0
        target[np.flatnonzero(known), mapping[known]] = start
        best = None
        for penalty in (1.0, 10.0, 100.0, 1000.0):
            W = np.repeat(target[:, None, :], masks.shape[1], axis=1)
            precision = np.full_like(target, penalty)
            precision[-1] = min(penalty, 4.0)
            W = fit_grouped(A, offset, Y, masks, family, precision, W, target)
            evidence = np.einsum("nd,ndk->nk", A, W[:, folds, :].transpose(1, 0, 2))
            loss = mean_loss(evidence, Y, weights, log_prior, family)
            if best is None or loss < best[0]:
                best = (loss, W[:, -1, :], evidence)
        _, full, evidence = best
        coef, bias = full[:-1], full[-1]
    else:
        n_labels = Y.shape[1]
        coef, bias = np.zeros((n_labels, n_labels)), np.zeros(n_labels)
        evidence = np.empty_like(Z)
        for k in range(n_labels):
            A = np.column_stack([Z[:, k], np.ones(len(Z))])
            target = np.array([[start], [0.0]])
            W = np.repeat(target[:, None, :], masks.shape[1], axis=1)
            W = fit_grouped(
                A, offset[:, [k]], Y[:, [k]], masks, family, np.array([[4.0], [4.0]]), W, target
            )
            evidence[:, k] = np.einsum("nd,nd->n", A, W[:, folds, 0].T)
            coef[k, k], bias[k] = W[0, -1, 0], W[1, -1, 0]
    return Evidence("score", coef, bias, evidence)


def _temperature(Z, mapping, Y, weights, log_prior, family):
    """One slope for all classes, penalised towards 1 (log scale), by a short line search."""
    if family == "softmax":
        mapped = np.zeros(Y.shape)
        known = mapping >= 0
        mapped[:, mapping[known]] = Z[:, known]
    else:
        mapped = Z
    slopes = np.geomspace(0.05, 2.0, 25)
    losses = [
        weights @ row_losses(log_prior + s * mapped, Y, family) + 2.0 * np.log(s) ** 2
        for s in slopes
    ]
    return float(slopes[int(np.argmin(losses))])
