"""`distill`: a fitted model, or an LLM, becomes a small classifier with a measured gap."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils import check_random_state

from sklfusion._scores import as_told
from sklfusion._text_input import check_texts, distinct
from sklfusion.distillation._classifier import StudentClassifier
from sklfusion.distillation._gap import gap_report
from sklfusion.distillation._head import fit_student_head
from sklfusion.distillation._lesson import adds_up, read_lesson
from sklfusion.multilabel._cut import apply_cut, choose_cut
from sklfusion.multilabel._targets import label_scores


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

    The student asks no LLM and, unless told otherwise, needs no encoder.

    Parameters
    ----------
    model : fitted classifier or scorer of texts
        The teacher: :class:`AutoFusionClassifier`, :class:`CascadeClassifier`, a Pipeline, or
        an LLM by itself (:class:`LLMClassifier`, :class:`LLMScorer`, :class:`RecordedScorer`).
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

    Notes
    -----
    Cost: the teacher is asked about every distinct text once, with all that this costs where it
    asks an LLM; the student is fitted ``cv + 1`` times, which takes seconds.

    Examples
    --------
    >>> from sklearn.feature_extraction.text import HashingVectorizer
    >>> from sklfusion import RecordedScorer, distill
    >>> texts = [f"{word} number {n}" for n in range(20) for word in ("ham", "spam")]
    >>> labels = ["good", "bad"] * 20
    >>> teacher = RecordedScorer(dict(zip(texts, labels, strict=True))).fit(texts, labels)
    >>> student = distill(teacher, texts, embedder=HashingVectorizer(n_features=64))
    >>> student.predict(["more spam"]).tolist(), student.report_["agreement"]["mean"]
    (['bad'], 1.0)
    """
    texts = check_texts(texts, caller="distill")
    if isinstance(cv, bool) or not isinstance(cv, int | np.integer) or cv < 2:
        raise ValueError(f"distill got cv={cv!r}; it needs an integer from 2 on.")
    different, places = distinct(texts)
    proba, classes, multilabel = _ask(model, different)
    rng = check_random_state(random_state)
    student = StudentClassifier(embedder, memory=memory, random_state=random_state)
    lesson = read_lesson(y, proba[places], classes, len(texts), "distill", multilabel)
    E = student._embed_anew(texts)
    folds = (rng.permutation(len(different)) % cv)[places]
    held_out = _held_out(E, lesson, folds, rng)
    student._learn(E, lesson)
    said = _decisions(lesson.taught, multilabel, *_cut_of(model))
    if multilabel:
        wanted = np.where(lesson.known[:, None], lesson.gold, said)
        weights = (lesson.known | lesson.told).astype(float)
        student.cut_, student.fill_empty_ = choose_cut(held_out, wanted, weights)
    answers = _decisions(held_out, multilabel, student.cut_, student.fill_empty_)
    student.report_ = gap_report(answers, said, lesson)
    return student


def _ask(model, texts):
    """Return probabilities (n, K), NaN for no answer, their classes, and if labels are several."""
    parts = [model, *_inner(model)]
    told = [getattr(part, "multilabel_", getattr(part, "multilabel", None)) for part in parts]
    multilabel = next((bool(value) for value in told if value is not None), None)
    if hasattr(model, "predict_proba"):
        proba = np.asarray(label_scores(model, texts), dtype=np.float64)
    elif hasattr(model, "transform") and hasattr(model, "classes_"):
        columns = as_told(model.transform(texts), model.classes_, bool(multilabel))
        scale = columns.blocks[0].scale
        proba = columns.arranged(None)
        proba = np.exp(proba) if scale == "log_proba" else proba
    else:
        raise TypeError(
            f"distill got {type(model).__name__}, which has neither predict_proba nor scores with "
            "classes_; it needs a fitted classifier or scorer of texts."
        )
    if multilabel is None:
        multilabel = not adds_up(proba)
    classes = np.asarray(model.classes_) if not isinstance(model.classes_, list) else None
    return proba, classes, multilabel


def _inner(model):
    """The estimators inside a model that may know more of its decisions."""
    steps = getattr(model, "steps", None)
    return [steps[-1][1]] if steps else [p for p in [getattr(model, "fusion_", None)] if p]


def _cut_of(model):
    """The cut of a teacher's label sets, and whether it fills empty ones."""
    for part in [model, *_inner(model)]:
        for name in ("cut_", "threshold_"):
            if hasattr(part, "fill_empty_") and getattr(part, name, None) is not None:
                return float(getattr(part, name)), bool(part.fill_empty_)
    return 0.5, False


def _held_out(E, lesson, folds, rng):
    """Probabilities (n, K) of students that had not seen the row's text."""
    out = np.empty_like(lesson.taught)
    for fold in np.unique(folds):
        rows = folds == fold
        out[rows] = fit_student_head(E[~rows], lesson.rows(~rows), rng).proba(E[rows])
    return out


def _decisions(proba, multilabel, cut, fill):
    """Label sets, or classes as rows with a single 1."""
    if multilabel:
        return apply_cut(proba, cut, fill)
    return np.eye(proba.shape[1], dtype=int)[proba.argmax(axis=1)]
