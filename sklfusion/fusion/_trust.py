"""How far to trust each source, learnt on out-of-fold evidence.

``logits = log prior + a * encoder + sum_m b_m * llm_m + c``, maximum a posteriori: the trusts a,
b_m and the bias c start at a Gaussian prior of fixed strength, whose pull fades as rows come in.
With several labels per text one without a positive row is left to the LLM alone, and a mixing
matrix lets one label's vote speak about another.
"""

from dataclasses import dataclass

import numpy as np

from sklfusion._logistic import fit_shared, row_losses

#: An LLM is taken at its word at first; several divide by the root of their number, because they
#: err together. An encoder starts with half a say, since the LLM has said part of it already.
_LLM_START, _ENCODER_START = 1.0, 0.5
#: Precisions of the trusts: a trust a third off its start costs half a unit of log-likelihood.
_LLM_PRECISION, _ENCODER_PRECISION = 8.0, 10.0
#: Precision of the bias per class, which mends what the parts get wrong about the frequencies.
_BIAS_PRECISION = 2.0
#: Precisions of the mixing matrix, from rigid to free.
_MIX_PENALTIES = (30.0, 10.0, 3.0, 1.0, 0.3)
#: Below this many rows a mixing matrix is noise, whatever cross-validation says.
_MIX_FROM = 100
#: Paired standard errors by which it must lower the out-of-fold log-loss.
_MIX_MARGIN = 1.0


@dataclass
class Trust:
    """Trust per source, bias per class, mixing matrix, and the logits of fits without each row.

    ``by_label`` (J, K) are the trusts of each label; of one class per row all have ``weights``.
    """

    weights: np.ndarray
    by_label: np.ndarray
    bias: np.ndarray
    mix: np.ndarray | None
    oof_logits: np.ndarray


def trust_prior(is_encoder):
    """Means and precisions of the trusts, each of shape (J,).

    Sources of one kind divide their trust, because they err together.
    """
    is_encoder = np.asarray(is_encoder)
    n_encoder, n_llm = is_encoder.sum(), (~is_encoder).sum()
    encoder = (_ENCODER_START if n_llm else 1.0) / max(n_encoder, 1)
    means = np.where(is_encoder, encoder, _LLM_START / np.sqrt(max(n_llm, 1)))
    return means, np.where(is_encoder, _ENCODER_PRECISION, _LLM_PRECISION)


def fit_trust(sources, is_encoder, problem, mix_features=None):
    """Fit the trusts, and with several labels the mixing matrix where it is worth it.

    Parameters
    ----------
    sources : ndarray of shape (J, n, K)
        Out-of-fold evidence of each source.
    is_encoder : sequence of J bool
        Whether a source is an encoder (True) or an LLM.
    problem : Problem
        Targets, weights, folds and link.
    mix_features : ndarray of shape (n, r), optional
        What a mixing matrix may use: the probe's evidence and the coded votes.

    Returns
    -------
    Trust
    """
    is_encoder = np.asarray(is_encoder)
    plain = best = _fit(sources, is_encoder, problem, np.empty((len(problem.Y), 0)), 1.0)
    classes = problem.family == "softmax"  # there a vote's table speaks of every class already
    if mix_features is None or classes or problem.weights.sum() < _MIX_FROM:
        return plain
    losses = lowest = row_losses(plain.oof_logits, problem.Y, problem.family)
    for penalty in _MIX_PENALTIES:
        found = _fit(sources, is_encoder, problem, mix_features, penalty)
        loss = row_losses(found.oof_logits, problem.Y, problem.family)
        if problem.weights @ loss >= problem.weights @ lowest:
            break  # too free from here on
        best, lowest = found, loss
    return best if beats(lowest, losses, problem.weights, _MIX_MARGIN) else plain


def labels_to_learn(is_encoder, problem):
    """Which classes take part in the learnt trusts, (K,) bool: labels with a positive row.

    Rows without one only teach that the label is rare, as if every LLM that saw it were wrong.
    """
    if problem.family == "softmax" or is_encoder.all():
        return np.ones(problem.Y.shape[1], dtype=bool)
    return problem.weights @ problem.Y > 0


def _fit(sources, is_encoder, problem, mix_features, penalty):
    A = np.hstack([mix_features, np.ones((len(problem.Y), 1))])
    precision = np.full((A.shape[1], problem.Y.shape[1]), penalty)
    precision[-1] = _BIAS_PRECISION
    prior, learnt = trust_prior(is_encoder), labels_to_learn(is_encoder, problem)
    llm_alone = np.where(is_encoder, 0.0, prior[0])[:, None] * ~learnt  # (J, K)
    offset = problem.offset + np.einsum("jk,jnk->nk", llm_alone, sources)
    sources = sources * learnt
    trust, W = fit_shared(
        sources,
        A,
        offset,
        problem.Y,
        problem.masks,
        problem.family,
        precision,
        np.zeros((A.shape[1], problem.masks.shape[1], problem.Y.shape[1])),
        factor_prior=prior,
    )
    logits = offset + np.einsum("nj,jnk->nk", trust[problem.folds], sources)
    mix = W[:-1, -1] if mix_features.shape[1] else None
    by_label = llm_alone + learnt * trust[-1][:, None]
    return Trust(trust[-1], by_label, W[-1, -1], mix, logits + problem.held_out(A, W))


def beats(challenger, holder, weights, n_errors):
    """Whether the challenger's loss is lower by over ``n_errors`` paired standard errors."""
    total = weights.sum()
    gain = holder - challenger
    mean = weights @ gain / total
    variance = weights @ (gain - mean) ** 2 / total
    effective = total**2 / (weights**2).sum()
    return bool(mean > n_errors * np.sqrt(variance / effective))
