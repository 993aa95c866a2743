"""`StudentClassifier`: a small classifier of texts that learns from labels, a teacher, or both."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.utils import Tags, check_random_state
from sklearn.utils.validation import check_is_fitted

from sklfusion._hand_over import hand_over
from sklfusion._sklearn_compat import check_parameters
from sklfusion._text_input import TextInputMixin, check_texts
from sklfusion._whole import whole
from sklfusion.distillation._embedder import StaticEmbedder
from sklfusion.distillation._head import fit_student_head
from sklfusion.distillation._lesson import read_lesson
from sklfusion.multilabel._cut import apply_cut


class StudentClassifier(TextInputMixin, ClassifierMixin, BaseEstimator):
    """A linear classifier on static vectors of texts; asks no LLM and needs no encoder.

    It learns from labels, from the probabilities of a teacher, or from both.
    :func:`sklfusion.distill` makes one of a fitted model and measures what is lost.

    Parameters
    ----------
    embedder : transformer of texts, optional
        What makes vectors of the texts; by default ``StaticEmbedder(memory=memory)``. A
        :class:`RobertaEmbedder` makes a student that is slower and more accurate.
    memory : None, str or joblib.Memory, default=None
        Where vectors are kept; reaches an embedder of sklfusion that has none of its own.
    random_state : int, RandomState or None, default=None
        Folds on which penalties and trust are chosen.

    Attributes
    ----------
    classes_ : ndarray of shape (K,)
        Sorted labels; for several labels per text the names of y's columns.
    multilabel_ : bool
        Whether a text may have several labels.
    embedder_ : transformer
        The fitted embedder.
    head_ : object
        The linear head on its vectors.
    cut_, fill_empty_ : float, bool
        Probability from which a label is given, and whether a text without one gets its
        likeliest (several labels only).
    report_ : dict or None
        What :func:`sklfusion.distill` measured.

    See Also
    --------
    sklfusion.distill : From a fitted model to a student in one call.
    CascadeClassifier : Takes one as its first stage.

    Notes
    -----
    Cost: about .1 ms per text for the vectors; the fit takes a second or two for some thousand
    texts. Labels on some rows and a teacher on all: the other rows teach a probe what the teacher
    says, through a table of how often it is right, and the labelled rows decide how far that is
    trusted beside what they show themselves; with one label per text, averaged with
    ``NoisyLabelClassifier`` on all rows.

    Examples
    --------
    >>> from sklearn.feature_extraction.text import HashingVectorizer
    >>> from sklfusion import StudentClassifier
    >>> texts = [f"{word} number {n}" for n in range(20) for word in ("ham", "spam")]
    >>> clf = StudentClassifier(HashingVectorizer(n_features=64), random_state=0)
    >>> clf.fit(texts, ["good", "bad"] * 20).predict(["more spam"]).tolist()
    ['bad']
    """

    _parameter_constraints: dict = {"random_state": ["random_state"]}

    def __init__(
        self,
        embedder: Any = None,
        *,
        memory: Any = None,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.embedder = embedder
        self.memory = memory
        self.random_state = random_state

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        tags.target_tags.required = True
        return tags

    @whole
    def fit(
        self, X: Any, y: Any = None, *, teacher_proba: Any = None, classes: Any = None
    ) -> Self:
        """Learn from labels, a teacher's probabilities, or both.

        Parameters
        ----------
        X : sequence of n str
        y : array-like of shape (n,), or indicator of shape (n, K), optional
            Labels. With a teacher a row may have none: None or NaN, or a row of NaN.
        teacher_proba : array-like of shape (n, K), optional
            The teacher's probabilities; a row of NaN, or of equal numbers, is no answer.
        classes : sequence of K labels, optional
            Class of each of its columns; by default the sorted labels of ``y``.

        Returns
        -------
        self

        Raises
        ------
        TypeError, ValueError
            If texts, labels or probabilities are not usable or do not fit together.
        """
        check_parameters(self)
        texts = check_texts(X, caller="StudentClassifier")
        lesson = read_lesson(y, teacher_proba, classes, len(texts), "StudentClassifier")
        self._learn(self._embed_anew(texts), lesson)
        return self

    def _embed_anew(self, texts):
        """Fit the embedder; return the vectors of its texts."""
        embedder = self.embedder
        if embedder is None:
            embedder = StaticEmbedder()
        told = {"role": "embedder", "memory": self.memory}
        self.embedder_ = clone(hand_over(embedder, caller="StudentClassifier", **told)).fit(texts)
        return self._vectors(texts)

    def _vectors(self, texts):
        E = self.embedder_.transform(texts)
        return np.asarray(E.toarray() if hasattr(E, "toarray") else E, dtype=np.float64)

    def _learn(self, E, lesson):
        self.classes_, self.multilabel_ = lesson.classes, lesson.multilabel
        self.head_ = fit_student_head(E, lesson, check_random_state(self.random_state))
        self.cut_, self.fill_empty_, self.report_ = 0.5, False, None

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return probabilities.

        Parameters
        ----------
        X : sequence of n str

        Returns
        -------
        ndarray of shape (n, K)
            Columns as ``classes_``.
        """
        check_is_fitted(self, "head_")
        texts = check_texts(X, caller="StudentClassifier", allow_empty=True)
        if not texts:
            return np.empty((0, len(self.classes_)))
        return self.head_.proba(self._vectors(texts))

    def predict(self, X: Any) -> np.ndarray:
        """Return classes of shape (n,), or an indicator of shape (n, K).

        Parameters
        ----------
        X : sequence of n str
            Texts.

        Returns
        -------
        ndarray of shape (n,), or (n, K) of int
            Labels out of ``classes_``, or a label indicator.
        """
        proba = self.predict_proba(X)
        if self.multilabel_:
            return apply_cut(proba, self.cut_, self.fill_empty_)
        return self.classes_[proba.argmax(axis=1)]
