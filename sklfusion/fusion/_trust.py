"""How far to trust each source, learnt on out-of-fold evidence.

``logits = log prior + a * encoder + sum_m b_m * llm_m + c``, maximum a posteriori: the trusts a,
b_m and the bias c start at a Gaussian prior of fixed strength, whose pull fades as rows come in.
"""

from dataclasses import dataclass

import numpy as np

from sklfusion._logistic import fit_shared

#: An LLM is taken at its word at first; several divide by the root of their number, because they
#: err together. An encoder starts with half a say, since the LLM has said part of it already.
_LLM_START, _ENCODER_START = 1.0, 0.5
#: Precisions of the trusts: a trust a third off its start costs half a unit of log-likelihood.
_LLM_PRECISION, _ENCODER_PRECISION = 8.0, 10.0
#: Precision of the bias per class, which mends what the parts get wrong about the frequencies.
_BIAS_PRECISION = 2.0


@dataclass
class Trust:
    """Trust per source, bias per class, and the logits of each row from fits without it."""

    weights: np.ndarray
    bias: np.ndarray
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


def fit_trust(sources, is_encoder, problem):
    """Fit the trusts.

    Parameters
    ----------
    sources : ndarray of shape (J, n, K)
        Out-of-fold evidence of each source.
    is_encoder : sequence of J bool
        Whether a source is an encoder (True) or an LLM.
    problem : Problem
        Targets, weights, folds and link.

    Returns
    -------
    Trust
    """
    ones = np.ones((len(problem.Y), 1))
    trust, bias = fit_shared(
        sources,
        ones,
        problem.offset,
        problem.Y,
        problem.masks,
        problem.family,
        _BIAS_PRECISION,
        np.zeros((1, problem.masks.shape[1], problem.Y.shape[1])),
        factor_prior=trust_prior(is_encoder),
    )
    logits = problem.offset + np.einsum("nj,jnk->nk", trust[problem.folds], sources)
    return Trust(trust[-1], bias[0, -1], logits + problem.held_out(ones, bias))
