"""`distill`: a fitted model, or what an LLM said, becomes a small one with a measured gap."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils import check_random_state

from sklfusion._text_input import check_texts, distinct
from sklfusion.distillation._classifier import StudentClassifier
from sklfusion.distillation._gap import gap_report
from sklfusion.distillation._head import fit_student_head
from sklfusion.distillation._lesson import read_lesson
from sklfusion.distillation._teacher import ask
from sklfusion.multilabel._cut import apply_cut, choose_cut

#: Gold label sets from which on they alone choose the cut; what the teacher gives too many or too
#: few of would move it.
_FEWEST_GOLD = 10


def distill(
    model: Any,
    texts: Any,
    *,
    y: Any = None,
    embedder: Any = None,
    cv: int = 5,
    memory: Any = None,
    random_state: int | np.random.RandomState | None = None,
) -> StudentClassifier:
    """Teach a small classifier what a model says, and measure what is lost.

    The student asks no LLM and, unless told otherwise, needs no encoder. It is also the way to
    learn from labels that an LLM wrote, beside a few of your own.

    Parameters
    ----------
    model : fitted classifier or scorer of texts, Annotations, or labels of shape (n,) or (n, K)
        The teacher: :class:`AutoFusionClassifier`, :class:`CascadeClassifier`, a Pipeline, or
        an LLM by itself (:class:`LLMClassifier`, :class:`LLMScorer`, :class:`RecordedScorer`).
        Or what an LLM already said of the texts: :class:`Annotations`, or one label per text,
        None or NaN where it gave none; an indicator with rows of NaN for several labels.
    texts : sequence of n str
        What it is asked about; unlabelled texts like those to come. The more the better.
    y : array-like of shape (n,), or indicator of shape (n, K), optional
        Gold labels where there are some; None or NaN (a row of NaN) elsewhere. They correct the
        teacher, and tell how good student and teacher are. Rows that the teacher was fitted on
        flatter it: leave them without a label.
    embedder : transformer of texts, optional
        By default :class:`StaticEmbedder`. ``RobertaEmbedder()`` makes a student that needs the
        encoder, but no LLM.
    cv : int, default=5
        Folds in which the student is measured.
    memory : None, str or joblib.Memory, default=None
        Where vectors are kept.
    random_state : int, RandomState or None, default=None

    Returns
    -------
    StudentClassifier
        Fitted on all texts. Its ``report_`` says what it loses, on rows that the student measured
        had not seen: ``agreement`` with the teacher, and with ``y`` the ``student`` and
        ``teacher`` scores and their ``gap`` (student minus teacher), each as ``mean``, ``low``
        and ``high`` (95 % interval); ``measure`` is ``"accuracy"``, or for several labels
        ``"samples F1"``. ``n_texts``, ``n_gold`` and ``n_silent`` (no answer of the teacher) are
        counts.

    Raises
    ------
    TypeError, ValueError
        If texts or labels are not usable, or the model has neither probabilities nor scores.
    NotFittedError
        If the model is not fitted.

    See Also
    --------
    StudentClassifier : What comes back.
    CascadeClassifier : Asks the LLM about some texts, in place of none.

    Notes
    -----
    Cost: a model is asked about every distinct text once, with all that this costs where it
    asks an LLM; the student is fitted ``cv + 1`` times, which takes seconds.

    With gold labels on some rows, these say how often each answer is right; through that table
    the other rows teach a probe, and what the gold rows show themselves decides how far it is
    trusted. With one label per text this is averaged with ``NoisyLabelClassifier``, which
    learns from all rows at once. ``benchmarks/quality/label_repair.py`` measures what that gains.

    Examples
    --------
    >>> from sklearn.feature_extraction.text import HashingVectorizer
    >>> from sklfusion import distill
    >>> texts = [f"{word} number {n}" for n in range(20) for word in ("ham", "spam")]
    >>> llm_labels = ["good", "bad"] * 19 + [None, "good"]  # one refused, one wrong
    >>> gold = ["good", "bad"] * 4 + [None] * 32
    >>> student = distill(llm_labels, texts, y=gold, embedder=HashingVectorizer(n_features=64))
    >>> student.predict(["more spam"]).tolist(), student.report_["n_gold"]
    (['bad'], 8)
    """
    texts = check_texts(texts, caller="distill")
    if isinstance(cv, bool) or not isinstance(cv, int | np.integer) or cv < 2:
        raise ValueError(f"distill got cv={cv!r}; it needs an integer from 2 on.")
    told = ask(model, texts, y)
    multilabel = told.multilabel
    rng = check_random_state(random_state)
    student = StudentClassifier(embedder, memory=memory, random_state=random_state)
    lesson = read_lesson(y, told.proba, told.classes, len(texts), "distill", multilabel)
    E = student._embed_anew(texts)
    different, places = distinct(texts)
    folds = (rng.permutation(len(different)) % cv)[places]
    held_out = _held_out(E, lesson, folds, rng)
    student._learn(E, lesson)
    said = _decisions(lesson.taught, multilabel, told.cut, told.fill)
    answers = _decisions(held_out, False, 0.5, False)
    if multilabel:
        wanted, weights = _cut_rows(lesson, said)
        student.cut_, student.fill_empty_ = choose_cut(held_out, wanted, weights)
        answers = _cut_apart(held_out, wanted, weights, folds)
    student.report_ = gap_report(answers, said, lesson)
    return student


def _held_out(E, lesson, folds, rng):
    """Probabilities (n, K) of students that had not seen the row's text."""
    out = np.empty_like(lesson.taught)
    for fold in np.unique(folds):
        rows = folds == fold
        out[rows] = fit_student_head(E[~rows], lesson.rows(~rows), rng).proba(E[rows])
    return out


def _cut_rows(lesson, said):
    """Label sets by which the cut is chosen, and weights of their rows: gold if it is enough."""
    enough = lesson.known.sum() >= _FEWEST_GOLD
    rows = lesson.known if enough else lesson.known | lesson.told
    return np.where(lesson.known[:, None], lesson.gold, said), rows.astype(float)


def _cut_apart(held_out, wanted, weights, folds):
    """Label sets of each fold by the cut that the other folds choose."""
    out = np.empty_like(wanted)
    for fold in np.unique(folds):
        rows = folds == fold
        there = weights[~rows].any()
        cut = choose_cut(held_out[~rows], wanted[~rows], weights[~rows]) if there else (0.5, False)
        out[rows] = apply_cut(held_out[rows], *cut)
    return out


def _decisions(proba, multilabel, cut, fill):
    """Label sets, or classes as rows with a single 1."""
    if multilabel:
        return apply_cut(proba, cut, fill)
    return np.eye(proba.shape[1], dtype=int)[proba.argmax(axis=1)]
