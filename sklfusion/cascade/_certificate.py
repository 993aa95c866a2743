"""What a cascade promises beside asking about every text: how much accuracy it may lose."""

import warnings
from typing import NamedTuple

import numpy as np

from sklfusion._text_input import distinct
from sklfusion.exceptions import DataWarning
from sklfusion.multilabel._cut import apply_cut, choose_cut
from sklfusion.promises._noninferiority import certified_loss, certified_share, least_rows


class Verdicts(NamedTuple):
    """Per different text: the first stage's doubt, and whether either answer is right."""

    doubt: np.ndarray
    first: np.ndarray
    fused: np.ndarray

    @classmethod
    def of(cls, first, fused, doubt, y, texts, multilabel):
        """Judge out-of-fold probabilities; of equal texts the first one counts.

        ``y`` holds class numbers, or label indicators: then the whole set must be right.
        """
        _, once = np.unique(distinct(texts)[1], return_index=True)
        first, fused, y = first[once], fused[once], y[once]
        return cls(doubt[once], _right(first, y, multilabel), _right(fused, y, multilabel))


def _right(proba, y, multilabel):
    if not multilabel:
        return proba.argmax(axis=1) == y
    cut, fill = choose_cut(proba, y, np.ones(len(y)))
    return (apply_cut(proba, cut, fill) == y).all(axis=1)


def check_risk(risk, delta, cost, scoring, n):
    """Refuse a risk that cannot be promised, before anything is asked.

    Raises
    ------
    ValueError
        If another score than accuracy or a cost is to decide too, or rows are too few.
    """
    if risk is None:
        return
    if scoring != "accuracy" or cost:
        raise ValueError(
            f"CascadeClassifier got risk={risk} with scoring={scoring!r} and cost={cost!r}; the "
            "risk is about accuracy and decides alone how many texts are asked about. Leave out "
            "scoring and cost, or risk."
        )
    least = least_rows(risk, delta)
    if n < least:
        raise ValueError(
            f"CascadeClassifier got risk={risk}, delta={delta} and {n} different texts that the "
            f"LLM is asked about in fit; that can be promised from {least} texts on, if none is "
            "lost. Label more texts, or allow a larger risk."
        )


def share_for(verdicts, risk, delta, most):
    """Return the smallest share of texts asked about that keeps the risk, or the most allowed.

    Warns
    -----
    DataWarning
        If the budget does not allow what the risk takes.
    """
    doubt, first, fused = verdicts
    share = certified_share(doubt, first, fused, risk, delta)
    if share > most:
        warnings.warn(
            f"CascadeClassifier: risk={risk} takes asking about {share:.0%} of the texts, and the "
            f"budget allows {most:.0%}; that is what is asked about, and certificate_ says what "
            "that may lose.",
            DataWarning,
            stacklevel=6,
        )
    return min(share, most)


def certificate(verdicts, share, delta):
    """Return the loss certified of asking about a share of the texts rather than all.

    Returns
    -------
    dict
        ``eps`` (1.0 if nothing is certified), ``delta``, ``n`` texts.
    """
    n = len(verdicts.doubt)
    order = np.argsort(verdicts.doubt, kind="stable")
    kept = order[: n - int(share * n + 1e-9)]
    lost = int((verdicts.fused & ~verdicts.first)[kept].sum())
    won = int((verdicts.first & ~verdicts.fused)[kept].sum())
    return {"eps": certified_loss(lost, won, n, delta), "delta": delta, "n": n}
