"""LLM evidence: what a vote or a score says about the class, learnt from few rows.

Every source yields *evidence relative to the prior*: the log-odds it adds to the class
frequencies. A row without an answer adds zero.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import expit, logit, logsumexp

from sklfusion._logistic import fit_grouped, fit_lines, row_losses
from sklfusion.fusion._levels import nearness

#: Bound on evidence and on soft scores (log of a probability), so that one confident error cannot
#: weigh without limit.
EVIDENCE_FLOOR = float(np.log(1e-4))
#: Rows that a line of the table of votes is worth before its own votes are counted: it is drawn
#: towards the accuracy of all votes together.
STRENGTH = 16.0
#: The same for what silence about a label means. Few silent rows hide a positive, so that a
#: single one would tell too much: these rates lean on the pool for longer.
SILENCE_STRENGTH = 64.0
#: "The LLM is usually right": its accuracy before any row is seen, worth this many rows.
PRIOR_ACCURACY, PRIOR_ROWS = 0.8, 20.0
#: Silence never says less than this share of the label's frequency.
_LEAST_SILENCE = 0.02
#: Scores of equal winners that differ by less are the same vote, written with rounding.
SAME_VOTE = 1e-3
#: Temperatures tried for soft scores, as slopes, and how firmly they are drawn towards 1 (in log).
_SLOPES, _SLOPE_PRECISION = np.geomspace(0.05, 2.0, 25), 4.0
#: Precisions of the matrix (softmax) around the temperature, and at most that of its bias.
_MATRIX_PENALTIES, _BIAS_PENALTY = (1.0, 10.0, 100.0, 1000.0), 4.0
#: Precision of slope and bias per label (sigmoid) around the common temperature.
_LABEL_PRECISION = 4.0


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
            votes = np.eye(log_scores.shape[1])[log_scores.argmax(axis=1)]
            return votes * (np.ptp(log_scores, axis=1) > SAME_VOTE)[:, None]  # a tie is no vote
        clipped = np.maximum(log_scores, EVIDENCE_FLOOR)
        return clipped - clipped.mean(axis=1, keepdims=True)
    if coding == "vote":
        return (log_scores > 0).astype(np.float64)
    return np.clip(log_scores, EVIDENCE_FLOOR, -EVIDENCE_FLOOR)


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
        if np.ptp(mine, axis=0).max() > SAME_VOTE:
            return "score"
    return "vote"


def fit_evidence(log_scores, answered, mapping, problem, coding=None):
    """Learn what one LLM's scores say about the classes.

    Parameters
    ----------
    log_scores : ndarray of shape (n, J)
        Log-probabilities (softmax) or logits (sigmoid; there J = K, in class order).
    answered : ndarray of shape (n,) of bool
        False where the LLM gave no answer.
    mapping : ndarray of shape (J,) of int
        Class of each score column, -1 for a class that never occurs in the targets.
    problem : Problem
        Targets, weights, folds and link.
    coding : {"vote", "score"}, optional
        How to read the scores; found from their values by default.

    Returns
    -------
    Evidence
    """
    family = problem.family
    coding = coding or find_coding(log_scores, answered, family)
    Z = code_scores(log_scores, coding, family)
    live = problem.only(answered)
    if coding == "score":
        fit = _fit_matrix if family == "softmax" else _fit_slopes
    else:
        fit = _fit_table if family == "softmax" else _fit_rates
    found = fit(Z, mapping, live)
    found.oof_evidence = found.oof_evidence * answered[:, None]
    return found


def drawn_rate(hits, rows, towards, strength):
    """Share of ``hits`` among ``rows``, drawn towards a rate seen in ``strength`` rows before."""
    return (hits + strength * towards) / (rows + strength)


def drawn_table(counts, base, strength):
    """Confusion table: rows of ``counts`` (..., K) as shares, drawn towards those of ``base``."""
    return drawn_rate(counts, counts.sum(axis=-1, keepdims=True), base, strength)


def _pooled_accuracy(hits, votes):
    """Share of votes that are right, drawn towards "usually"."""
    return drawn_rate(hits, votes, PRIOR_ACCURACY, PRIOR_ROWS)


def _fit_table(Z, mapping, problem):
    """Smoothed confusion table p(class | vote), without its own text on each training row.

    Row j of the table is drawn towards "vote j is right with the pooled accuracy, else the
    classes follow their frequencies", so that rare votes lean on the pool and frequent ones
    speak for themselves. Of ordered classes, near ones are likelier errors.
    """
    Y, weights, log_prior = problem.Y, problem.weights, problem.log_prior
    known = mapping >= 0
    diagonal = np.zeros((len(mapping), Y.shape[1]))
    diagonal[known, mapping[known]] = 1.0
    hit = ((Z @ diagonal) * Y).sum(axis=1)
    prior = np.exp(log_prior - logsumexp(log_prior))
    spread = np.tile(prior, (len(mapping), 1))  # how errors of vote j fall on the classes
    spread = spread * nearness(problem.levels, mapping)
    spread[diagonal > 0] = 0.0
    spread /= np.maximum(spread.sum(axis=1, keepdims=True), 1e-12)

    n_right, total = weights @ hit, weights.sum()
    accuracy = _pooled_accuracy(n_right, total)
    own_hits, own_rows = problem.of_own_text(weights * hit), problem.of_own_text(weights)
    loo_accuracy = _pooled_accuracy(n_right - own_hits, total - own_rows)[:, None]
    counts = (Z * weights[:, None]).T @ Y
    left = np.maximum(Z @ counts - problem.of_own_text(weights[:, None] * Y), 0.0)
    base = np.where(known[:, None], accuracy * diagonal + (1 - accuracy) * spread, prior)
    loo_base = loo_accuracy * (Z @ diagonal) + (1 - loo_accuracy) * (Z @ spread)
    loo_base = np.where(Z @ known[:, None] > 0, loo_base, prior)

    coef = np.maximum(np.log(drawn_table(counts, base, STRENGTH)) - log_prior, EVIDENCE_FLOOR)
    loo = np.maximum(np.log(drawn_table(left, loo_base, STRENGTH)) - log_prior, EVIDENCE_FLOOR)
    oof = np.where((weights > 0)[:, None], loo, Z @ coef)
    return Evidence("vote", coef, np.zeros(Y.shape[1]), oof)


def _fit_rates(Z, mapping, problem):
    """How often a label is right where it has a vote, and where not, without the row's own text.

    Where it has a vote, its rate is drawn towards that of all votes together, in votes: a label
    with two votes, both wrong, is hardly believed less for it. (In rates of hits and false alarms
    two of twenty rows would be many false alarms.) Where it has none, towards the rate that goes
    with this and with the label's frequency.
    """
    Y, weights = problem.Y, problem.weights
    total, prior = weights.sum(), expit(problem.log_prior)
    votes, hits = weights @ Z, weights @ (Z * Y)
    pooled = _pooled_accuracy(hits.sum(), votes.sum())
    vote_rate = (votes + 0.5) / (total + 1)  # smoothed as the class frequencies are
    left_over = (prior - pooled * vote_rate) / (1 - vote_rate)
    silent = np.clip(left_over, _LEAST_SILENCE * prior, prior)
    on, loo_on = _smoothed_rates(Z, pooled, STRENGTH, problem)
    off, loo_off = _smoothed_rates(1 - Z, silent, SILENCE_STRENGTH, problem)
    loo, full = np.where(Z > 0, loo_on, loo_off), np.where(Z > 0, on, off)
    return Evidence("vote", np.diag(on - off), off, np.where(weights[:, None] > 0, loo, full))


def _smoothed_rates(seen, base, strength, problem):
    """Evidence of what was ``seen`` (n, K): with all rows (K,), without its own text (n, K)."""
    live = problem.weights[:, None] * seen
    rows, right = live.sum(axis=0), (live * problem.Y).sum(axis=0)

    def evidence(right, rows):
        rate = drawn_rate(right, rows, base, strength)
        return np.clip(logit(rate) - problem.log_prior, EVIDENCE_FLOOR, -EVIDENCE_FLOOR)

    own_right, own_rows = problem.of_own_text(live * problem.Y), problem.of_own_text(live)
    # rounding of sums must not leave less than nothing
    left = np.maximum(right - own_right, 0.0), np.maximum(rows - own_rows, 0.0)
    return evidence(right, rows), evidence(*left)


def _fit_matrix(Z, mapping, problem):
    """Soft scores of one class per row: a matrix drawn towards ``temperature * identity``.

    This is Dirichlet calibration, cross-fitted, with the penalty of least held-out loss. Of
    ordered classes the matrix is of rank one around it: the scores move a text up or down.
    """
    A = np.hstack([Z, np.ones((len(Z), 1))])
    target = np.zeros((A.shape[1], problem.Y.shape[1]))
    known = mapping >= 0
    mapped = np.zeros(problem.Y.shape)
    mapped[:, mapping[known]] = Z[:, known]
    target[np.flatnonzero(known), mapping[known]] = _temperature(mapped, problem)
    best: tuple = ()
    for penalty in _MATRIX_PENALTIES:
        precision = np.full_like(target, penalty)
        precision[-1] = min(penalty, _BIAS_PENALTY)
        W = _fit_around(A, problem.offset, problem.Y, target, precision, problem)
        evidence = problem.held_out(A, W)
        loss = problem.loss(evidence)
        if not best or loss < best[0]:
            best = (loss, W[:, -1, :], evidence)
    _, full, evidence = best
    return Evidence("score", full[:-1], full[-1], evidence)


def _fit_slopes(Z, mapping, problem):
    """Soft scores of several labels: a slope and a bias per label around a common slope."""
    slope = _temperature(Z, problem)
    lines = fit_lines(Z, problem.offset, problem.Y, problem.masks, slope, _LABEL_PRECISION)
    slopes, bias = lines[:, -1]
    by_row = lines[:, problem.folds]
    return Evidence("score", np.diag(slopes), bias, by_row[0] * Z + by_row[1])


def _fit_around(A, offset, Y, target, precision, problem):
    """Coefficients (d, F + 1, K) drawn towards ``target``, which they start from."""
    start = np.repeat(target[:, None, :], problem.masks.shape[1], axis=1)
    told = (Y, problem.masks, problem.family)
    if problem.levels is None:
        return fit_grouped(A, offset, *told, precision, start, target)
    # what is learnt on top of the target may only move a text up or down
    around, zero = offset + A @ target, np.zeros_like(start)
    return start + fit_grouped(A, around, *told, precision[:, :1], zero, levels=problem.levels)


def _temperature(Z, problem):
    """One slope for all classes, penalised towards 1 (log scale), by a short line search."""
    losses = [
        problem.weights @ row_losses(problem.log_prior + s * Z, problem.Y, problem.family)
        + 0.5 * _SLOPE_PRECISION * np.log(s) ** 2
        for s in _SLOPES
    ]
    return float(_SLOPES[int(np.argmin(losses))])
