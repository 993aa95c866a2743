"""The answers of both stages of a fitted cascade, text by text."""

from typing import NamedTuple

import numpy as np

from sklfusion._scores import ScoreColumns
from sklfusion.multilabel._targets import label_scores


class Stages(NamedTuple):
    """What a cascade says about n texts, stage by stage.

    ``first`` (n, K) and ``doubt`` (n,) are those of the first stage, ``asked`` (n,) tells where
    the LLM was asked, ``scores`` (n, p) what it said (NaN elsewhere; None if it said nothing at
    all), ``proba`` (n, K) is the answer.
    """

    first: np.ndarray
    doubt: np.ndarray
    asked: np.ndarray
    scores: ScoreColumns | None
    proba: np.ndarray


def stages(cascade, X, *, ask=True):
    """Return the `Stages` of texts.

    Parameters
    ----------
    cascade : CascadeClassifier
        Fitted.
    X : sequence of n str
    ask : bool
        Whether the LLM may be asked at all.
    """
    texts, rows, first, doubt = cascade._first_answers(X)
    chosen = cascade._choose(texts, doubt) if ask else np.empty(0, dtype=int)
    cascade.asked_["texts"] += len(texts)
    asked = np.zeros(len(texts), dtype=bool)
    asked[chosen] = True
    proba, said = first.copy(), None
    if len(chosen):
        scores, told = cascade._ask([texts[i] for i in chosen], "predict")
        said = _among_all(scores, chosen, len(texts))[rows]
        chosen, scores = chosen[told], scores[told]
    if len(chosen):
        proba[chosen] = label_scores(cascade.fusion_, np.hstack([proba[chosen], scores]))
    return Stages(first[rows], doubt[rows], asked[rows], said, proba[rows])


def _among_all(scores, chosen, n):
    """Return score columns of n rows that hold ``scores`` in the rows ``chosen``."""
    values = np.full((n, scores.shape[1]), np.nan)
    values[chosen] = scores
    answers = np.zeros((n, scores.answers.shape[1]), dtype=bool)
    answers[chosen] = scores.answers
    return ScoreColumns(values, scores.blocks, answers)
