"""`SelectiveClassifier`: answers only where it is right often enough, as far as it is promised."""

from __future__ import annotations

import warnings
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.metrics import accuracy_score
from sklearn.utils import Tags, check_random_state, get_tags
from sklearn.utils.validation import check_is_fitted

from sklfusion._class_labels import read_labels
from sklfusion._sklearn_compat import check_parameters, integer, number, one_of
from sklfusion._text_input import distinct
from sklfusion._validation import is_multilabel, plain_label
from sklfusion._whole import whole
from sklfusion.exceptions import DataWarning
from sklfusion.promises._accuracy_bound import (
    find_threshold,
    labels_for_threshold,
    least_labels,
)
from sklfusion.promises._held_out import HeldOut, fit_and_hold_out, proba_of, row_keys
from sklfusion.promises._sample import check_lengths, warn_if_unlike

#: Fewer new texts than this say nothing of whether they are like the labelled ones.
_ENOUGH_TO_COMPARE = 50


class SelectiveClassifier(ClassifierMixin, BaseEstimator):
    """Answers where an accuracy is promised with a probability, and abstains elsewhere.

    A threshold tuned until the labelled rows show 95 % keeps that on new texts about every other
    time. Here it is certified by exact tests on out-of-fold answers: with probability
    1 - ``delta`` over draws of the labelled rows, the answered texts are right in at least
    ``target_accuracy`` of cases.

    **Limits.** The promise is for new texts like the labelled ones, which must be drawn at
    random: rows chosen by a model (active learning) are refused where weights tell of it. It is
    an average over the answered texts, not for each class. With out-of-fold answers it is kept
    by measurement, with held-out ones (``cv="prefit"``) by proof but for the choice of the rows
    tested. It takes labels: at the least, all right, 45 for .95, 22 for .90, 11 for .80.

    Parameters
    ----------
    estimator : classifier with ``predict_proba``
        Any. Its ``oof_proba_`` is used where it keeps one (:class:`FusionClassifier`,
        :class:`AutoFusionClassifier`, :class:`CascadeClassifier`); others are fitted ``cv`` times
        more.
    target_accuracy : float, default=0.95
        Accuracy of what is answered.
    delta : float, default=0.1
        Probability that the promise is broken.
    abstain_label : object, default=None
        What :meth:`predict` gives where it does not answer. None is None for classes that are
        text, and -1 for numbers.
    cv : int or "prefit", default=5
        Folds for classifiers that keep no out-of-fold probabilities; equal texts are in one.
        "prefit" takes a fitted classifier, and rows that it has not seen.
    random_state : int, RandomState or None, default=None

    Attributes
    ----------
    estimator_ : classifier
        Fitted on all rows.
    classes_ : ndarray of shape (K,)
    oof_proba_ : ndarray of shape (n, K)
        Probabilities of the rows by models that had not seen them.
    threshold_ : float
        Largest probability above which a text is answered; infinite if nothing is certified.
    coverage_ : float
        Share of the labelled rows above it.
    accuracy_bound_ : float
        Lower bound of the accuracy above it, at 1 - ``delta``; NaN if there is none.
    n_needed_ : int or None
        Labels with which a threshold would be found four times out of five, if the confidences
        are to be believed; None if no number of labels would do.

    See Also
    --------
    sklfusion.plotting.RiskCoverageDisplay : Draws accuracy against the share that is answered.

    References
    ----------
    Geifman and El-Yaniv, "Selective classification for deep neural networks", NeurIPS 2017.
    Angelopoulos et al., "Learn then test", 2021 (fixed sequence testing).

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import make_classification
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklfusion.promises import SelectiveClassifier
    >>> X, y = make_classification(1200, class_sep=1.5, random_state=0)
    >>> sure = SelectiveClassifier(LogisticRegression(), target_accuracy=0.97, random_state=0)
    >>> sure = sure.fit(X[:400], y[:400])
    >>> answered = sure.answers(X[400:])
    >>> bool(0.5 < answered.mean() < 1), bool(sure.score(X[400:], y[400:]) > 0.97)
    (True, True)
    """

    _parameter_constraints: dict = {
        "target_accuracy": [number(0, 1, "neither")],
        "delta": [number(0, 1, "neither")],
        "cv": [integer(2), one_of("prefit")],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        estimator: Any,
        *,
        target_accuracy: float = 0.95,
        delta: float = 0.1,
        abstain_label: Any = None,
        cv: Any = 5,
        random_state: Any = None,
    ) -> None:
        self.estimator = estimator
        self.target_accuracy = target_accuracy
        self.delta = delta
        self.abstain_label = abstain_label
        self.cv = cv
        self.random_state = random_state

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags = get_tags(self.estimator).input_tags
        return tags

    @whole
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Fit the classifier and certify its threshold.

        Parameters
        ----------
        X : sequence of length n
            Texts, or whatever the classifier takes.
        y : array-like of shape (n,)
        sample_weight : array-like of shape (n,), optional
            Taken so that unequal ones can be refused: rows that were not drawn evenly certify
            nothing.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If ``y`` has several labels per row, weights are unequal, or lengths differ.

        Warns
        -----
        DataWarning
            If no threshold is certified: then nothing is answered; the message says how many
            labels would do.
        """
        check_parameters(self)
        _refuse_several_labels(y)
        _refuse_unequal(sample_weight)
        y, keys = read_labels(y, caller="SelectiveClassifier"), row_keys(X)
        check_lengths(keys, y, caller="SelectiveClassifier")
        held_out = self._held_out(X, y)
        self.estimator_, self.classes_, self.oof_proba_ = held_out
        self._refuse_abstain_label()
        _, once = np.unique(distinct(keys)[1], return_index=True)  # a repeated text tells once
        confidence = self.oof_proba_[once].max(axis=1)
        right = self.classes_[self.oof_proba_[once].argmax(axis=1)] == y[once]
        found = find_threshold(confidence, right, self.target_accuracy, self.delta)
        self.threshold_, self.accuracy_bound_ = found.value, found.bound
        self.coverage_ = found.n_answered / len(once)
        self.n_needed_ = labels_for_threshold(confidence, self.target_accuracy, self.delta)
        if not found.n_answered:
            self._warn_of_nothing(len(once))
        return self

    def _held_out(self, X, y):
        if self.cv != "prefit":
            rng = check_random_state(self.random_state)
            return fit_and_hold_out(self.estimator, X, y, cv=self.cv, rng=rng)
        check_is_fitted(self.estimator)
        classes = np.asarray(self.estimator.classes_)
        return HeldOut(
            self.estimator, classes, proba_of(self.estimator, X, classes, multilabel=False)
        )

    def _refuse_abstain_label(self):
        label = self._abstain_label()
        if label is not None and label in {plain_label(c) for c in self.classes_}:
            raise ValueError(
                f"SelectiveClassifier abstains with {label!r}, which is one of the classes; "
                "choose another abstain_label."
            )

    def _abstain_label(self):
        numbers = self.classes_.dtype.kind in "iufb"
        return -1 if self.abstain_label is None and numbers else self.abstain_label

    def _warn_of_nothing(self, n):
        least = least_labels(self.target_accuracy, self.delta)
        enough = f"about {self.n_needed_} labels would" if self.n_needed_ else "no number would"
        warnings.warn(
            f"SelectiveClassifier answers nothing: {n} labelled texts do not certify an accuracy "
            f"of {self.target_accuracy}. By the model's own confidences {enough} (at least "
            f"{least}, all of them right). Label more texts, or promise less.",
            DataWarning,
            stacklevel=4,
        )

    def answers(self, X: Any) -> np.ndarray:
        """Return which texts are answered.

        Parameters
        ----------
        X : sequence of length n

        Returns
        -------
        ndarray of shape (n,) of bool

        Warns
        -----
        DataWarning
            If the model is much less, or more, sure of 50 or more texts than of the labelled ones.
        """
        return self._answered(self.predict_proba(X))

    def _answered(self, proba):
        if len(proba) >= _ENOUGH_TO_COMPARE:
            warn_if_unlike(self.oof_proba_, proba, caller="SelectiveClassifier")
        return proba.max(axis=1, initial=0) > self.threshold_

    def predict(self, X: Any) -> np.ndarray:
        """Return the class of each text, and ``abstain_label`` where none is promised.

        Parameters
        ----------
        X : sequence of length n

        Returns
        -------
        ndarray of shape (n,)
            Of the classes' own type if all texts are answered or the label fits in, else objects.
        """
        proba = self.predict_proba(X)
        answered = self._answered(proba)
        labels = self.classes_[proba.argmax(axis=1)]
        if answered.all():
            return labels
        label = self._abstain_label()
        fits = isinstance(label, int) and labels.dtype.kind in "if"
        labels = labels if fits else labels.astype(object)
        labels[~answered] = label
        return labels

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return the classifier's own probabilities, of shape (n, K).

        Parameters
        ----------
        X : sequence of length n

        Returns
        -------
        ndarray of shape (n, K)
            Columns as ``classes_``.
        """
        check_is_fitted(self, "threshold_")
        return proba_of(self.estimator_, X, self.classes_, multilabel=False)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return the accuracy on the texts that are answered; NaN if none is.

        Parameters
        ----------
        X : sequence of length n
        y : array-like of shape (n,)
        sample_weight : array-like of shape (n,), optional

        Returns
        -------
        float
            In [0, 1], or NaN.
        """
        proba, y = self.predict_proba(X), read_labels(y, caller="SelectiveClassifier")
        on = proba.max(axis=1, initial=0) > self.threshold_
        if not on.any():
            return float("nan")
        weights = None if sample_weight is None else np.asarray(sample_weight)[on]
        labels = self.classes_[proba.argmax(axis=1)][on]
        return float(accuracy_score(y[on], labels, sample_weight=weights))


def _refuse_several_labels(y):
    if is_multilabel(y):
        raise ValueError(
            "SelectiveClassifier got several labels per text; its promise is about one. Wrap one "
            "classifier per label, e.g. fit it on y[:, k]."
        )


def _refuse_unequal(weights):
    if weights is not None and np.ptp(np.asarray(weights, dtype=np.float64)) > 0:
        raise ValueError(
            "SelectiveClassifier got unequal sample_weight: rows not drawn evenly, as by active "
            "learning (LabelAcquirer), certify no accuracy. Certify on rows drawn at random "
            "(cv='prefit' with a classifier fitted on the others)."
        )
