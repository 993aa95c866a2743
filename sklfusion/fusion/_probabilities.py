"""From logits to what `FusionClassifier` answers: log-odds, probabilities and their cut."""

import numpy as np
from scipy.special import expit, log_expit, softmax

from sklfusion.multilabel._cut import resolve_cut


def log_odds(logits, family):
    """Log-probabilities up to a constant per row, of one class per row (n, K)."""
    return logits if family == "softmax" else log_expit(logits)


def probabilities(logits, family, multilabel):
    """Probabilities (n, K); rows sum to 1 unless there are several labels per row."""
    return expit(logits) if multilabel else softmax(log_odds(logits, family), axis=1)


def of_all_rows(logits, live, family, multilabel):
    """Probabilities of the rows as given (n, K), from logits of those that have weight.

    NaN for the others.
    """
    proba = np.full((len(live), logits.shape[1]), np.nan)
    proba[live] = probabilities(logits, family, multilabel)
    return proba


def fit_cut(est, logits, Y, weights):
    """Choose the cut of a `FusionClassifier` on its out-of-fold logits, and set it."""
    est.threshold_, est.fill_empty_ = None, False
    if est.multilabel_:
        # the plain MLP is cut at one half, as in the paper
        proba = None if est.chosen_ == "concat" else expit(logits)
        est.threshold_, est.fill_empty_ = resolve_cut(est.threshold, proba, Y, weights)
