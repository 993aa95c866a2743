"""How much less accurate the fusion may be than its parts: certified on the rows of the fit.

What the fusion and the encoder alone say of a row comes from fits without it, and an LLM's vote
needs no fit. "At most eps less accurate than this part" is tested for each part at the same
delta. That is enough for all of them together: to be eps worse than the better part is to be eps
worse than one part, whichever that is, and only its test has to err.
"""

import numpy as np
from scipy.special import expit

from sklfusion.fusion._folds import N_FOLDS, equal_rows
from sklfusion.multilabel._cut import apply_cut, choose_cut
from sklfusion.promises._noninferiority import certified_loss

#: Probability that the certificate does not hold.
_DELTA = 0.1


def compare(est, X, Y, fitted):
    """Count the rows that only one of the fusion and a part of it has right.

    Parameters
    ----------
    est : FusionClassifier
        With inputs and cut fitted.
    X, Y : ndarray of shape (n, p) and (n, K)
        The rows of the fit.
    fitted : Fitted
        With out-of-fold logits of the fusion and of its encoders.

    Returns
    -------
    dict
        ``n`` different rows, and for ``llm`` and ``encoder`` a list of [rows that only the part
        has right, rows that only the fusion has right], one per such part.
    """
    votes_alone = not (len(est.inputs_.encoder) or any(est.inputs_.is_encoder))
    once = np.unique(equal_rows(X, N_FOLDS, votes_alone), return_index=True)[1]
    cut = (est.threshold_, est.fill_empty_)
    ours = found_right(fitted.oof_logits, Y, est.multilabel_, cut)[once]
    found: dict = {"n": len(once), "llm": [], "encoder": []}
    for logits in fitted.encoder_logits:
        if est.multilabel_:
            cut = choose_cut(expit(logits), Y, np.ones(len(Y)))
        found["encoder"].append(
            _lost_and_won(ours, found_right(logits, Y, est.multilabel_, cut)[once])
        )
    for block, own in zip(est.inputs_.blocks, est.inputs_.is_encoder, strict=True):
        if not own:
            found["llm"].append(_lost_and_won(ours, vote_right(est, X, Y, block)[once]))
    return found


def found_right(logits, Y, multilabel, cut):
    """Whether the class, or the whole set of labels, is right (n,)."""
    if multilabel:
        return (apply_cut(expit(logits), *cut) == Y).all(axis=1)
    return logits.argmax(axis=1) == Y.argmax(axis=1)


def vote_right(est, X, Y, block):
    """Whether an LLM's own answer is right; without one it is the commonest class, or no label."""
    scores, answered = est.inputs_.scores(X, block)
    if est.multilabel_:
        return (((scores > 0) & answered[:, None]) == Y).all(axis=1)
    said = scores.argmax(axis=1)
    if est.inputs_.family == "softmax":
        said = block.mapping[said]
    said = np.where(answered, said, Y.sum(axis=0).argmax())
    return said == Y.argmax(axis=1)


def _lost_and_won(ours, theirs):
    return [int((theirs & ~ours).sum()), int((ours & ~theirs).sum())]


def against_parts(counts):
    """The certificate of a fusion from what :func:`compare` counted.

    Returns
    -------
    dict or None
        ``llm`` and ``encoder``: the accuracy that the fusion loses at most to that part (the worst
        of several; 1.0 if nothing can be said, None if there is no such part), ``eps`` the larger
        of the two, ``delta`` and ``n``. None without an LLM, or without counts.
    """
    if counts is None or not counts["llm"]:
        return None
    n, found = counts["n"], {}
    for kind in ("llm", "encoder"):
        losses = [certified_loss(lost, won, n, _DELTA) for lost, won in counts[kind]]
        found[kind] = max(losses, default=None)
    eps = max(loss for loss in found.values() if loss is not None)
    return {**found, "eps": eps, "delta": _DELTA, "n": n}
