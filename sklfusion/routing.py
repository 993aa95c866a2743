"""`ClassRoutingClassifier`: each class is decided by the member that knows it best."""

from __future__ import annotations

from numbers import Integral
from typing import Any, Self

import numpy as np
from joblib import Parallel, delayed
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.metrics import f1_score
from sklearn.model_selection import check_cv, cross_val_predict
from sklearn.preprocessing import LabelEncoder
from sklearn.utils import Bunch, Tags, get_tags
from sklearn.utils.validation import check_is_fitted

from sklfusion._class_labels import read_labels
from sklfusion._sklearn_compat import BaseComposition, check_parameters, one_of
from sklfusion._threads import one_thread
from sklfusion._validation import check_class_target, is_multilabel, plain_label
from sklfusion._whole import whole
from sklfusion.multilabel._splitting import check_multilabel_cv
from sklfusion.multilabel._targets import (
    check_target,
    f1_per_label,
    label_scores,
    out_of_fold_scores,
)


class ClassRoutingClassifier(ClassifierMixin, BaseComposition, BaseEstimator):
    """Ensemble in which every class has one responsible member.

    One label per row: each member's answer scores 1, or 2 where that member is the one
    responsible for the class it names; the highest sum wins, ties go to the answer whose
    responsible member gives it the larger probability, then to the first class. With
    ``voting="soft"`` probabilities are summed with the same weights. Several labels per row:
    label k is taken from its responsible member alone.

    Parameters
    ----------
    estimators : list of (str, classifier)
        The members, as in :class:`~sklearn.ensemble.VotingClassifier`.
    rules : dict or "auto", default="auto"
        Maps class (label index or name in multi-label) to the name of its member. Classes left
        out go to ``default``. "auto" gives each class to the member of largest cross-validated
        F1 on it; among equals to the first.
    default : str or None, default=None
        Member responsible for classes without a rule; None is the first.
    voting : {"hard", "soft"}, default="hard"
        See above. "soft" needs ``predict_proba`` of all members. Ignored in multi-label.
    cv : int, splitter or None, default=None
        Folds for ``rules="auto"``.
    n_jobs : int or None, default=None
        Members fitted at once.

    Attributes
    ----------
    estimators_ : list of classifiers
        Fitted members.
    named_estimators_ : Bunch
        The same by name.
    rules_ : dict
        Class to member name, all classes.
    class_scores_ : ndarray of shape (n_members, K) or None
        Cross-validated F1 behind ``rules="auto"``.
    classes_ : ndarray of shape (K,)
        Classes, or names of the labels.

    See Also
    --------
    FusionClassifier : Learns how far to trust each source, for all classes.
    CascadeClassifier : Chooses by text, not by class.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.tree import DecisionTreeClassifier
    >>> from sklfusion import ClassRoutingClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> members = [("tree", DecisionTreeClassifier(random_state=0)),
    ...            ("linear", LogisticRegression(max_iter=1000))]
    >>> clf = ClassRoutingClassifier(members, rules={0: "tree"}, default="linear").fit(X, y)
    >>> clf.rules_[0], clf.rules_[2]
    ('tree', 'linear')
    """

    _parameter_constraints: dict = {
        "rules": [dict, one_of("auto")],
        "default": [str, None],
        "voting": [one_of("hard", "soft")],
        "cv": ["cv_object"],
        "n_jobs": [Integral, None],
    }

    def __init__(
        self,
        estimators: Any,
        *,
        rules: Any = "auto",
        default: str | None = None,
        voting: str = "hard",
        cv: Any = None,
        n_jobs: int | None = None,
    ) -> None:
        self.estimators = estimators
        self.rules = rules
        self.default = default
        self.voting = voting
        self.cv = cv
        self.n_jobs = n_jobs

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters, with those of the members as ``name__param``.

        Parameters
        ----------
        deep : bool, default=True
            Whether to return those of the members too.

        Returns
        -------
        dict
            Name to value.
        """
        return self._get_params("estimators", deep=deep)

    def set_params(self, **params: Any) -> Self:
        """Set parameters, also of members; a member's name replaces the member.

        Parameters
        ----------
        **params : dict
            Name to value; ``member__param`` for those of a member.

        Returns
        -------
        self
            With the new values.
        """
        self._set_params("estimators", **params)
        return self

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        if self.estimators:
            tags.input_tags = get_tags(self.estimators[0][1]).input_tags
        return tags

    @whole
    def fit(self, X: Any, y: Any) -> Self:
        """Fit the members and, with ``rules="auto"``, choose who is responsible for what.

        Parameters
        ----------
        X : sequence of length n
            Whatever the members take.
        y : array-like of shape (n,) or (n, K)
            Classes, or a label indicator matrix (dense, sparse or a frame).

        Returns
        -------
        self
        """
        check_parameters(self)
        names = self._check_members()
        if y is None:
            raise ValueError(
                f"{type(self).__name__} requires y to be passed, but the target y is None."
            )
        self.multilabel_ = is_multilabel(y)
        if self.multilabel_:
            target, self.classes_ = check_target(y, caller=type(self).__name__)
        else:
            target = read_labels(y, caller=type(self).__name__)
            check_class_target(target, caller=type(self).__name__)
            self._encoder = LabelEncoder().fit(target)
            self.classes_ = self._encoder.classes_
        self.class_scores_ = None
        if isinstance(self.rules, str) and self.rules == "auto":
            with one_thread(X, openmp=False):
                self.class_scores_ = self._class_scores(X, target)
            responsible = self.class_scores_.argmax(axis=0)
        else:
            responsible = self._read_rules(names)
        self._responsible = responsible
        self.rules_ = {
            c: names[m] for c, m in zip(self.classes_.tolist(), responsible, strict=True)
        }
        with one_thread(X, openmp=False):
            self.estimators_ = Parallel(n_jobs=self.n_jobs)(
                delayed(clone(member).fit)(X, target) for _, member in self.estimators
            )
        self.named_estimators_ = Bunch(**dict(zip(names, self.estimators_, strict=True)))
        if hasattr(self.estimators_[0], "n_features_in_"):
            self.n_features_in_ = self.estimators_[0].n_features_in_
        return self

    def _check_members(self):
        if not self.estimators:
            raise ValueError("estimators is empty; it needs (name, classifier) pairs.")
        names = [name for name, _ in self.estimators]
        self._validate_names(names)
        if self.default is not None and self.default not in names:
            raise ValueError(f"default={self.default!r} is none of the members {names}.")
        return names

    def _read_rules(self, names):
        rules = {plain_label(label): member for label, member in self.rules.items()}
        unknown = set(rules) - set(self.classes_.tolist())
        if unknown:
            raise ValueError(f"rules name classes that y lacks: {sorted(map(str, unknown))}.")
        fallback = self.default if self.default is not None else names[0]
        chosen = [rules.get(c, fallback) for c in self.classes_.tolist()]
        strangers = sorted({m for m in chosen if m not in names})
        if strangers:
            raise ValueError(f"rules name members that are not there: {strangers}; have {names}.")
        return np.array([names.index(m) for m in chosen])

    def _class_scores(self, X, target):
        scores = []
        for _, member in self.estimators:
            if self.multilabel_:
                splits = list(check_multilabel_cv(self.cv, target, 0).split(X, target))
                on = out_of_fold_scores(
                    member, X, target, splits, method="predict", params={}, n_jobs=self.n_jobs
                )
                scores.append(f1_per_label(target, on))
            else:
                cv = check_cv(self.cv, target, classifier=True)
                predicted = cross_val_predict(member, X, target, cv=cv, n_jobs=self.n_jobs)
                scores.append(
                    f1_score(
                        target, predicted, labels=self.classes_, average=None, zero_division=0
                    )
                )
        return np.array(scores)

    def predict(self, X: Any) -> np.ndarray:
        """Return classes of shape (n,), or an int indicator matrix of shape (n, K).

        Parameters
        ----------
        X : sequence of length n
            Whatever the members take.

        Returns
        -------
        ndarray of shape (n,), or (n, K) of int
            Labels out of ``classes_``, or a label indicator.
        """
        check_is_fitted(self, "estimators_")
        if self.multilabel_:
            votes = [np.asarray(m.predict(X)) for m in self.estimators_]
            return np.column_stack([votes[m][:, k] for k, m in enumerate(self._responsible)])
        return self.classes_[self._sums(X).argmax(axis=1)]

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return probabilities of shape (n, K).

        One label per row: the routed sums, normalised. Multi-label: of the responsible members,
        independent per label.

        Parameters
        ----------
        X : sequence of length n
            Whatever the members take.

        Returns
        -------
        ndarray of shape (n, K)
            Columns as ``classes_``.
        """
        check_is_fitted(self, "estimators_")
        if self.multilabel_:
            probs = [label_scores(m, X) for m in self.estimators_]
            return np.column_stack([probs[m][:, k] for k, m in enumerate(self._responsible)])
        sums = self._sums(X)
        return sums / sums.sum(axis=1, keepdims=True)

    def _sums(self, X):
        """Routed score of each class, shape (n, K)."""
        weights = 1 + (np.arange(len(self.estimators_))[:, None] == self._responsible)
        if self.voting == "soft":
            return sum(
                w * m.predict_proba(X) for w, m in zip(weights, self.estimators_, strict=True)
            )
        votes = [self._encoder.transform(m.predict(X)) for m in self.estimators_]
        sums = np.zeros((len(votes[0]), len(self.classes_)))
        for weight, codes in zip(weights, votes, strict=True):
            sums[np.arange(len(codes)), codes] += weight[codes]
        tie_break = np.zeros_like(sums)
        for k, member in enumerate(self._responsible):
            if hasattr(self.estimators_[member], "predict_proba"):
                tie_break[:, k] = self.estimators_[member].predict_proba(X)[:, k]
        return sums + 1e-6 * tie_break * (sums > 0)
