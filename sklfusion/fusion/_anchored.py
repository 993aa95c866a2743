"""Anchored fusion: how far to trust each source, learnt on out-of-fold evidence.

``logits = log prior + a * encoder + sum_m b_m * llm_m + mix @ W + c``. The trusts a, b_m start at
a Gaussian prior of fixed strength, so its pull fades as rows come in. The better the LLMs explain
the classes, the less the encoder starts with. W, which lets one label's vote speak about another,
exists only if cross-validation likes it.
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit, log_softmax

from sklfusion.fusion._folds import fold_masks
from sklfusion.fusion._linear import mean_loss, row_losses

LLM_TRUST = 1.0
#: Share of the prior's log-loss that each kind of source is expected to explain, and the rows that
#: this is worth against what it explains out of fold. A probe's share of few rows says little: it
#: was fitted on these very rows, and where it is high by luck it is lower than usual on others.
_EXPECTED_SHARES = {"llm": (0.25, 10.0), "proba": (0.0, 10.0), "probe": (0.1, 40.0)}
_LEAST_SHARE = 0.05  # credit to the encoder, so that it is heard before it has proved anything
#: Precision of the trusts by kind of source.
_TRUST_PRECISION = {"probe": 10.0, "proba": 8.0, "llm": 8.0}
_BIAS_PRECISION = 2.0
#: Below this many rows a mixing matrix is noise, whatever cross-validation says.
_MIX_FROM = 100
#: Precisions of the mixing matrix.
_MIX_PENALTIES = (30.0, 10.0, 3.0, 1.0, 0.3)


@dataclass
class Trust:
    """Fitted trust per source, bias per class and mixing matrix (or None)."""

    weights: np.ndarray
    bias: np.ndarray
    mix: np.ndarray | None
    mix_penalty: float | None
    oof_logits: np.ndarray
    oof_losses: np.ndarray


def _explained(loss, prior_loss, kind, total):
    """Share of the prior's log-loss that evidence of ``total`` rows takes away, at least 0.

    Drawn towards the share expected of this kind of source, since few rows tell little.
    """
    expected, rows = _EXPECTED_SHARES[kind]
    share = total * (1 - loss / prior_loss) + rows * expected
    return max(0.0, float(share / (total + rows)))


def prior_trust(sources, kinds, offset, Y, weights, family):
    """Prior means of the trusts, shape (J,).

    LLMs are taken at their word. The encoder starts with its part of what both explain: beside
    LLMs that explain nothing it is taken at its word too, beside good ones most of what it knows
    has been said already. Sources of one kind divide their trust, because they err together.

    Parameters
    ----------
    sources, kinds, offset, Y, weights, family
        As in :func:`fit_trust`.
    """
    is_encoder = np.asarray(kinds) != "llm"
    n_encoder, n_llm = is_encoder.sum(), (~is_encoder).sum()
    means = np.where(is_encoder, 1.0 / max(n_encoder, 1), LLM_TRUST / np.sqrt(max(n_llm, 1)))
    if 0 < n_encoder < len(is_encoder):
        prior_loss = mean_loss(np.zeros(Y.shape), Y, weights, offset, family)
        encoder = "probe" if "probe" in kinds else "proba"
        shares = {}
        for kind, members in (("llm", ~is_encoder), (encoder, is_encoder)):
            evidence = np.tensordot(means[members], sources[members], 1)
            loss = mean_loss(evidence, Y, weights, offset, family)
            shares[kind] = _explained(loss, prior_loss, kind, weights.sum())
        own = shares[encoder] + _LEAST_SHARE
        means[is_encoder] *= own / (own + shares["llm"])
    return means


def _solve(sources, features, offset, Y, masks, family, prior, penalty, start):
    """Joint L-BFGS over all groups; returns (trust (G, J), W (r, G, K)).

    ``prior`` is the means and the precisions of the trusts, each of shape (J,).
    """
    means, tightness = prior
    n_sources, n, n_classes = sources.shape
    r, n_groups = features.shape[1], masks.shape[1]
    precision = np.full((r, 1, 1), penalty if penalty is not None else 1.0)
    precision[-1] = _BIAS_PRECISION
    n_trust = n_groups * n_sources

    def objective(flat):
        trust = flat[:n_trust].reshape(n_groups, n_sources)
        W = flat[n_trust:].reshape(r, n_groups, n_classes)
        logits = offset[:, None, :] + np.einsum("gj,jnk->ngk", trust, sources)
        logits += (features @ W.reshape(r, -1)).reshape(n, n_groups, n_classes)
        if family == "softmax":
            logp = log_softmax(logits, axis=2)
            loss = -(Y[:, None, :] * logp).sum(2)
            residual = np.exp(logp) - Y[:, None, :]
        else:
            loss = (np.logaddexp(0, logits) - Y[:, None, :] * logits).sum(2)
            residual = expit(logits) - Y[:, None, :]
        residual *= masks[:, :, None]
        pull = tightness * (trust - means)
        g_trust = np.einsum("ngk,jnk->gj", residual, sources) + pull
        g_W = (features.T @ residual.reshape(n, -1)).reshape(W.shape) + precision * W
        value = (masks * loss).sum() + 0.5 * (precision * W**2).sum()
        value += 0.5 * (pull * (trust - means)).sum()
        return float(value), np.concatenate([g_trust.ravel(), g_W.ravel()])

    bounds = [(0.0, None)] * n_trust + [(None, None)] * (r * n_groups * n_classes)
    result = minimize(
        objective,
        np.concatenate([start[0].ravel(), start[1].ravel()]),
        jac=True,
        method="L-BFGS-B",
        bounds=bounds,
        options={"maxiter": 100, "ftol": 1e-9, "gtol": 1e-6},
    )
    return (
        result.x[:n_trust].reshape(n_groups, n_sources),
        result.x[n_trust:].reshape(r, n_groups, n_classes),
    )


def fit_trust(sources, mix_features, kinds, offset, Y, weights, folds, family, allow_mix=True):
    """Fit the trusts, and the mixing matrix if out-of-fold loss gains more than its own noise.

    Parameters
    ----------
    sources : ndarray of shape (J, n, K)
        Out-of-fold evidence of each source.
    mix_features : ndarray of shape (n, r)
        What a mixing matrix may use: the encoder's evidence and the coded votes.
    kinds : sequence of J str
        ``"probe"`` on the embedding, ``"proba"`` for an encoder's own probabilities, ``"llm"``.
    offset : ndarray of shape (K,)
        Logit of the class frequencies.
    Y, weights, folds, family
        As in :func:`~sklfusion.fusion._probe.fit_probe`.
    allow_mix : bool
        Whether to try the mixing matrix, given rows enough.

    Returns
    -------
    Trust
    """
    masks = fold_masks(folds, weights)
    means = prior_trust(sources, kinds, offset, Y, weights, family)
    prior = means, np.array([_TRUST_PRECISION[kind] for kind in kinds])
    ones = np.ones((len(Y), 1))
    problem = (sources, np.broadcast_to(offset, Y.shape), Y, masks, folds, family)
    start = np.tile(means, (masks.shape[1], 1)), np.zeros((1, masks.shape[1], Y.shape[1]))
    plain, (trust, _) = _fit(*problem, ones, prior, None, start)
    if not allow_mix or weights.sum() < _MIX_FROM:
        return plain
    chosen, A = plain, np.hstack([mix_features, ones])
    start = trust, np.zeros((A.shape[1], masks.shape[1], Y.shape[1]))
    for penalty in _MIX_PENALTIES:
        found, start = _fit(*problem, A, prior, penalty, start)
        gain = weights @ (chosen.oof_losses - found.oof_losses)
        if gain > 0:
            chosen = found
        elif gain < -0.01 * weights.sum():
            break
    return chosen if beats(chosen.oof_losses, plain.oof_losses, weights) else plain


def _fit(sources, base, Y, masks, folds, family, A, prior, penalty, start):
    """One fit of the trusts with W on the columns of A, as a `Trust`; also where it ended."""
    trust, W = _solve(sources, A, base, Y, masks, family, prior, penalty, start)
    logits = base + np.einsum("nj,jnk->nk", trust[folds], sources)
    logits = logits + np.einsum("nr,rnk->nk", A, W[:, folds, :])
    mix = None if penalty is None else W[:-1, -1]
    losses = row_losses(logits, Y, family)
    return Trust(trust[-1], W[-1, -1], mix, penalty, logits, losses), (trust, W)


def beats(challenger, holder, weights, n_errors=1.0):
    """Whether the challenger's loss is lower by over ``n_errors`` paired standard errors."""
    total = weights.sum()
    gain = holder - challenger
    mean = weights @ gain / total
    variance = weights @ (gain - mean) ** 2 / total
    effective = total**2 / (weights**2).sum()
    return bool(mean > n_errors * np.sqrt(variance / effective))
