"""Taking the bias of a zero-shot model off its scores, without any labels.

A small model prefers some label words whatever the text. The batch prior is one number per class
that, added to the log-scores of the training texts, makes the classes equally frequent on average;
contextual calibration subtracts the log-scores of texts without content. Both are fitted once and
stored, so that one new text can be scored.
"""

import numpy as np
from scipy.special import expit, log_softmax, logit, softmax

_CLIP = 1e-6
# Rows of doubt: with few texts their average says little about the model's bias.
_SHRINK = 5.0
#: Texts without content, whose scores are all bias.
CONTENT_FREE = ("N/A", "[MASK]", "...")


def prior_bias(probs, *, multilabel=False, target=None):
    """Return the bias per class that makes the mean prediction equal a target.

    Parameters
    ----------
    probs : ndarray of shape (n, K)
        Scores of the training texts; rows of NaN are left out.
    multilabel : bool
        Whether classes are independent.
    target : ndarray of shape (K,), optional
        Mean probability wanted; uniform by default (multi-label: 1 / K, one label a text).

    Returns
    -------
    ndarray of shape (K,)
        To be added to log-probabilities (multi-label: to logits).

    Examples
    --------
    >>> import numpy as np
    >>> p = np.tile([[0.9, 0.1], [0.6, 0.4]], (50, 1))
    >>> apply_bias(p, prior_bias(p)).mean(axis=0).round(1).tolist()
    [0.5, 0.5]
    """
    probs = probs[~np.isnan(probs).any(axis=1)]
    n, k = len(probs), probs.shape[1]
    bias = np.zeros(k)
    if n == 0:
        return bias
    target = np.full(k, 1.0 / k) if target is None else target
    scores = _logits(probs, multilabel)
    for _ in range(500):
        mean = _squash(scores + bias, multilabel).mean(axis=0)
        if multilabel:
            step = logit(np.clip(target, _CLIP, 1 - _CLIP)) - logit(
                np.clip(mean, _CLIP, 1 - _CLIP)
            )
        else:
            step = np.log(target) - np.log(np.clip(mean, _CLIP, None))
        bias += step
        if np.abs(step).max() < 1e-6:
            break
    if not multilabel:
        bias -= bias.mean()
    return bias * n / (n + _SHRINK)


def contextual_bias(probs, *, multilabel=False):
    """Return the bias that makes texts without content undecided.

    Parameters
    ----------
    probs : ndarray of shape (m, K)
        Scores of the content-free texts.
    multilabel : bool
        Whether classes are independent.
    """
    probs = probs[~np.isnan(probs).any(axis=1)]
    if len(probs) == 0:
        return np.zeros(probs.shape[1])
    bias = -_logits(probs, multilabel).mean(axis=0)
    return bias if multilabel else bias - bias.mean()


def apply_bias(probs, bias, *, multilabel=False):
    """Return scores with the bias taken into account; rows of NaN stay."""
    return _squash(_logits(probs, multilabel) + bias, multilabel)


def _logits(probs, multilabel):
    clipped = np.clip(probs, _CLIP, 1 - _CLIP if multilabel else None)
    return logit(clipped) if multilabel else log_softmax(np.log(clipped), axis=1)


def _squash(scores, multilabel):
    return expit(scores) if multilabel else softmax(scores, axis=1)
