"""`VoteStudent`: what LLM answers on unlabelled texts teach the encoder."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_array, check_is_fitted, validate_data

from sklfusion._class_labels import in_names, read_labels
from sklfusion._scores import ScoreBlock, scale_of, told_by
from sklfusion._sklearn_compat import check_parameters, number
from sklfusion._validation import (
    check_cells,
    check_class_target,
    check_indicator,
    check_scores,
    is_multilabel,
    plain_labels,
)
from sklfusion._whole import whole
from sklfusion.fusion._soft_probe import SoftProbe, fit_soft_probe
from sklfusion.fusion._votes import PRIOR_ACCURACY, drawn_rate, drawn_table

# Gold rows that "the LLM is usually right" is worth: few, for there are few.
_USUALLY_ROWS = 4.0


class VoteStudent(TransformerMixin, BaseEstimator):
    """Encoder probe trained on LLM scores of unlabelled texts, for fusion with few labels.

    The gold rows say how often each answer of the LLM is right: a confusion table, smoothed
    towards "usually right" with errors spread evenly. It turns every answer on the unlabelled
    rows into a soft target, and a logistic probe on their embeddings learns these. The probe has
    seen no gold row, so ``FusionClassifier(features="both")`` can weigh its probabilities as one
    more source that stems from the encoder, out of fold and next to the embedding itself: gold
    rows decide how far to trust it.

    Parameters
    ----------
    strength : float, default=4.0
        Gold rows that the smoothing of each row of the confusion table is worth.
    random_state : int, RandomState or None, default=None
        Folds of the choice of the probe's penalty.

    Attributes
    ----------
    classes_ : ndarray of shape (K,)
        Classes, the columns of ``predict_proba``; for several labels per row their numbers.
    confusion_ : ndarray of shape (K, K)
        Probability of each class (column) given the LLM's answer (row). For several labels per
        row, of shape (K, 2): probability of each label when the LLM refuses and when it gives it.
    n_unlabeled_ : int
        Unlabelled rows with an answer.
    penalty_ : float
        Chosen penalty of the probe.

    See Also
    --------
    FusionClassifier : Weighs the student against the other sources with ``features="both"``.

    Notes
    -----
    Cost: one LLM answer per unlabelled text, paid by whoever made the scores; fitting takes a
    second or two for a thousand rows of 384 columns. The gain is measured in
    ``benchmarks/quality/semi_supervised.py``.

    References
    ----------
    .. [1] Dawid and Skene, "Maximum likelihood estimation of observer error-rates using the EM
       algorithm", 1979 (the table of answers and classes, here estimated from gold rows).

    Examples
    --------
    >>> import numpy as np
    >>> from sklfusion.fusion import VoteStudent
    >>> rng = np.random.default_rng(0)
    >>> y = rng.integers(2, size=210)
    >>> E = rng.normal(size=(210, 5)) + 2 * y[:, None]
    >>> votes = np.eye(2)[np.where(rng.random(210) < 0.8, y, 1 - y)]
    >>> student = VoteStudent(random_state=0).fit(
    ...     E[:10], y[:10], scores=votes[:10], X_unlabeled=E[10:], scores_unlabeled=votes[10:]
    ... )
    >>> student.transform(E[:3]).shape
    (3, 7)
    >>> bool(np.mean(student.predict_proba(E).argmax(axis=1) == y) > 0.9)
    True
    """

    _parameter_constraints: dict = {
        "strength": [number(0, closed="neither")],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        *,
        strength: float | str = 4.0,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.strength = strength
        self.random_state = random_state

    @whole
    def fit(
        self,
        X: Any,
        y: Any,
        *,
        scores: Any,
        X_unlabeled: Any,
        scores_unlabeled: Any,
        classes: Any = None,
    ) -> Self:
        """Learn the confusion table from gold rows and the probe from unlabelled ones.

        Parameters
        ----------
        X : array-like of shape (n, d)
            Embeddings of the gold rows.
        y : array-like of shape (n,) or indicator of shape (n, K)
            Gold labels.
        scores : array-like of shape (n, K)
            LLM scores of the gold rows: votes, probabilities or log-probabilities, columns as
            ``classes``. Rows of NaN are no answer, and so are uniform ones (one half for several
            labels), unless they come from a scorer of ours, which knows who answered.
        X_unlabeled : array-like of shape (m, d)
            Embeddings of unlabelled rows, none of them a gold row.
        scores_unlabeled : array-like of shape (m, K)
            Their LLM scores.
        classes : array-like of shape (K,), optional
            Class of each score column; by default what the columns of our scorers know of
            themselves, else the sorted classes of ``y``.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If ``strength`` is not positive, widths do not match, y has a class that is not in
            ``classes``, or fewer than 2 unlabelled rows have an answer.
        """
        check_parameters(self)
        if classes is None and told_by(scores) is not None and not is_multilabel(y):
            classes = scores.blocks[0].classes
        X, targets = self._check_gold(X, y, classes)
        unlabeled = check_cells(check_array(X_unlabeled, dtype=np.float64), caller="VoteStudent")
        if unlabeled.shape[1] != X.shape[1]:
            raise ValueError(
                f"X_unlabeled has {unlabeled.shape[1]} columns, X has {X.shape[1]}; both must be "
                "embeddings of one encoder."
            )
        gold, answered = self._answers(scores, len(X), "scores")
        votes, said = self._answers(scores_unlabeled, len(unlabeled), "scores_unlabeled")
        self.n_unlabeled_ = int(said.sum())
        if self.n_unlabeled_ < 2:
            raise ValueError(
                f"VoteStudent got {self.n_unlabeled_} unlabelled rows with an LLM answer; it "
                "needs at least 2."
            )
        learn = self._rates if self.multilabel_ else self._table
        self.confusion_ = learn(gold[answered], targets[answered])
        self._fit_probe(unlabeled[said], self._soft_targets(votes[said]))
        return self

    def _check_gold(self, X, y, classes):
        self.multilabel_ = is_multilabel(y)
        if self.multilabel_:
            targets = check_indicator(y, caller="VoteStudent").astype(np.float64)
            X = validate_data(self, X, dtype=np.float64)
            self.classes_ = np.arange(targets.shape[1])
        else:
            y = read_labels(y, caller="VoteStudent")
            X, y = validate_data(self, X, y, dtype=np.float64)
            check_class_target(y, caller="VoteStudent")
            y, _ = in_names(y, classes, caller="VoteStudent")
            self.classes_ = np.unique(y) if classes is None else np.array(plain_labels(classes))
            targets = (y[:, None] == self.classes_).astype(np.float64)
        if len(X) != len(targets):
            raise ValueError(f"Got {len(X)} embeddings and {len(targets)} labels.")
        return check_cells(X, caller="VoteStudent"), targets

    def _answers(self, scores, n_rows, name):
        """Return probabilities (n, K) and which rows are answers."""
        told, k = told_by(scores), len(self.classes_)
        if told is not None:
            scores = told.arranged(None)
        scores = check_scores(scores, k, caller=f"VoteStudent({name}=)", allow_nan_rows=True)
        if len(scores) != n_rows:
            raise ValueError(f"{name} has {len(scores)} rows for {n_rows} embeddings.")
        block = ScoreBlock("", np.arange(k), scale=scale_of(scores, self.multilabel_))
        block.silence = "flat" if told is None else "told"
        answered = block.answered(scores, self.multilabel_)
        probs = np.nan_to_num(scores)
        if (probs < 0).any():
            probs = np.exp(np.minimum(probs, 0.0))
        if self.multilabel_:
            return np.clip(probs, 0, 1), answered
        total = probs.sum(axis=1, keepdims=True)
        return probs / np.where(total > 0, total, 1.0), answered & (total[:, 0] > 0)

    def _table(self, votes, targets):
        """P(class | answer), shrunk towards one accuracy for all answers."""
        n_classes = votes.shape[1]
        right = float((votes * targets).sum())
        accuracy = drawn_rate(right, len(votes), PRIOR_ACCURACY, _USUALLY_ROWS)
        base = np.full((n_classes, n_classes), (1 - accuracy) / max(n_classes - 1, 1))
        np.fill_diagonal(base, accuracy)
        return drawn_table(votes.T @ targets, base, self.strength)

    def _rates(self, votes, targets):
        """P(label | refused) and P(label | given), rare labels drawn towards the pooled rates."""
        columns = []
        for given, prior in ((1 - votes, 1 - PRIOR_ACCURACY), (votes, PRIOR_ACCURACY)):
            hits, total = (given * targets).sum(axis=0), given.sum(axis=0)
            pooled = drawn_rate(hits.sum(), total.sum(), prior, _USUALLY_ROWS)
            columns.append(drawn_rate(hits, total, pooled, self.strength))
        return np.column_stack(columns)

    def _soft_targets(self, votes):
        if self.multilabel_:
            return (1 - votes) * self.confusion_[:, 0] + votes * self.confusion_[:, 1]
        return votes @ self.confusion_

    def _fit_probe(self, X, soft):
        family = "sigmoid" if self.multilabel_ else "softmax"
        probe = fit_soft_probe(X, soft, family, check_random_state(self.random_state))
        self._mean, self._scale, self._coef = probe.mean, probe.scale, probe.coef
        self._bias, self.penalty_ = probe.bias, probe.penalty

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return the student's probabilities, columns as ``classes_``.

        Parameters
        ----------
        X : array-like of shape (n, d)
            Embeddings.

        Returns
        -------
        ndarray of shape (n, K)
        """
        check_is_fitted(self, "confusion_")
        X = check_cells(
            validate_data(self, X, reset=False, dtype=np.float64), caller="VoteStudent"
        )
        return self._probabilities(X)

    def _probabilities(self, X):
        family = "sigmoid" if self.multilabel_ else "softmax"
        weights = (self._mean, self._scale, self._coef, self._bias)
        return SoftProbe(*weights, family, self.penalty_).proba(X)

    def transform(self, X: Any) -> Any:
        """Return the embeddings with the student's probabilities as the last K columns.

        Parameters
        ----------
        X : array-like of shape (n, d)
            Embeddings.

        Returns
        -------
        ndarray of shape (n, d + K)
        """
        check_is_fitted(self, "confusion_")
        X = check_cells(
            validate_data(self, X, reset=False, dtype=np.float64), caller="VoteStudent"
        )
        return np.hstack([X, self._probabilities(X)])

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Return the input names, then ``student_<class>``.

        Parameters
        ----------
        input_features : sequence of str, optional
            Names of the columns of ``fit``.

        Returns
        -------
        ndarray of str
            One name per column.
        """
        check_is_fitted(self, "confusion_")
        if input_features is None:
            fallback = [f"embedding_{i}" for i in range(self.n_features_in_)]
            input_features = getattr(self, "feature_names_in_", fallback)
        student = [f"student_{label}" for label in self.classes_]
        return np.array([*input_features, *student], dtype=object)
