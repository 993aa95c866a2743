"""Embeddings that have seen the labels of the rows they are fused on: found out, and said."""

import warnings

import numpy as np

from sklfusion._logistic import row_losses
from sklfusion.exceptions import DataWarning
from sklfusion.fusion._certificate import found_right, vote_right
from sklfusion.fusion._folds import N_FOLDS, equal_rows

#: Fewer different rows than this, or fewer that an LLM gets wrong, prove nothing.
_LEAST_DIFFERENT, _LEAST_WRONG = 40, 8
#: Share of rows that an LLM must get wrong for the texts not to be easy.
_NOT_EASY = 0.05
#: Out of fold, an encoder that knows the labels errs on less than this share of the rows, ...
_NO_ERROR = 0.01
#: ... is sure of them to this log-loss, ...
_SURE = 0.05
#: ... and has drawn texts of one class together: the classes explain this share of the variance
#: of its columns. For class scores of an encoder trained on other texts it is two thirds; vectors
#: of a lightly trained one stay below and pass, for simple texts in a frozen encoder look alike.
_COLLAPSED = 0.8


def warn_of_own_rows(est, X, Y, fitted):
    """Warn where the encoder's columns are too good out of fold to be honest on these rows.

    Parameters
    ----------
    est : FusionClassifier
        With fitted inputs.
    X, Y : ndarray of shape (n, p) and (n, K)
        The rows of the fit.
    fitted : Fitted
        With the out-of-fold logits of its encoders.

    Warns
    -----
    DataWarning
        If every LLM errs where an encoder hardly does, is sure of it, and has drawn the texts of
        a class together.

    Notes
    -----
    A sign, not a proof: texts that every encoder tells apart and an LLM does not look the same.
    """
    llms = [
        b for b, own in zip(est.inputs_.blocks, est.inputs_.is_encoder, strict=True) if not own
    ]
    if not llms or not fitted.encoder_logits:
        return
    once = np.unique(equal_rows(X, N_FOLDS, False), return_index=True)[1]
    X, Y = X[once], Y[once]
    wrong = min((~vote_right(est, X, Y, block)).sum() for block in llms)
    if len(Y) < _LEAST_DIFFERENT or wrong < max(_LEAST_WRONG, _NOT_EASY * len(Y)):
        return
    for logits in fitted.encoder_logits:
        errors = 1 - found_right(logits[once], Y, est.multilabel_, (0.5, False)).mean()
        loss = row_losses(logits[once], Y, est.inputs_.family).mean()
        if errors < _NO_ERROR and loss < _SURE and _explained(est, X, Y) > _COLLAPSED:
            _say(est, len(Y), errors, wrong)
            return


def _blocks(est, own):
    """The score blocks of the encoder (own) or of the LLMs."""
    pairs = zip(est.inputs_.blocks, est.inputs_.is_encoder, strict=True)
    return [block for block, is_encoder in pairs if is_encoder == own]


def _explained(est, X, Y):
    """Share of the variance of the encoder's columns that the classes explain, for chance."""
    scores = (est.inputs_.scores(X, block)[0] for block in _blocks(est, own=True))
    parts = [est.inputs_.features(X), *scores]
    columns = np.hstack(parts)
    columns = columns - columns.mean(axis=0)
    A = Y - Y.mean(axis=0)
    left = columns - A @ np.linalg.lstsq(A, columns, rcond=None)[0]
    free = len(Y) - np.linalg.matrix_rank(A) - 1
    if free < 1 or not columns.any():
        return 0.0
    return 1 - (left**2).sum() / (columns**2).sum() * (len(Y) - 1) / free


def _say(est, n, errors, wrong):
    warnings.warn(
        f"{type(est).__name__} got encoder columns that tell the class of {1 - errors:.0%} of "
        f"{n} different rows out of fold, texts of a class close together, where the LLM is "
        f"wrong on {wrong}. So look columns of an encoder that was trained on these rows: the "
        "fusion then trusts it too far on new texts. Fit the fusion on other rows, or on columns "
        "that are out of fold (fit_transform of RobertaEmbedder(fine_tune=True), or "
        "JointFusionClassifier); if the encoder was trained on other texts, nothing is wrong.",
        DataWarning,
        stacklevel=6,
    )
