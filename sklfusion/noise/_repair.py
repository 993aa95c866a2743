"""`LabelRepairClassifier`: spend a small budget on the labels most likely to hurt."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from numbers import Integral
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin, clone
from sklearn.linear_model import LogisticRegression
from sklearn.utils import Tags, check_random_state, get_tags, indexable
from sklearn.utils.validation import check_consistent_length, check_is_fitted

from sklfusion._sklearn_compat import (
    HasMethods,
    check_parameters,
    integer,
    number,
    one_of,
    safe_indexing,
)
from sklfusion._threads import one_thread
from sklfusion._whole import whole
from sklfusion.exceptions import DataWarning
from sklfusion.noise import _selectors
from sklfusion.noise._gold import Asker, soften, weight_kwargs
from sklfusion.noise._labels import as_annotations, noisy_target

_SELECTORS = {
    "entropy", "disagreement", "student", "error_model", "neighbors", "sampled", "random",
}  # fmt: skip


class LabelRepairClassifier(MetaEstimatorMixin, ClassifierMixin, BaseEstimator):
    """Train a student on LLM labels after repairing the most doubtful ones.

    A selector ranks the rows by doubt, an action does something about the first of them, within a
    budget; then the student is trained on the result [1]_.

    Parameters
    ----------
    estimator : estimator, optional
        The student; ``LogisticRegression`` by default.
    selector : str or callable, default="entropy"
        - ``"entropy"``: of the LLM's class probabilities (``llm_proba``), else of the shares of
          repeated answers (``llm_repeats``), else of an out-of-fold student.
        - ``"disagreement"``: one minus the largest share among ``llm_repeats``.
        - ``"student"``: one minus the out-of-fold probability of the row's own label. Needs
          nothing but the labels and finds the most errors.
        - ``"error_model"``: half of the budget is spent on random rows, from which a model learns
          where the LLM errs; it spends the other half.
        - ``"neighbors"``: one minus the weight of the label among the candidates of a
          :class:`~sklfusion.KNNLabelPrior`, which knows how the LLM confuses classes. Needs
          numeric X.
        - ``"sampled"``: random rows, drawn in proportion to the doubt of ``"neighbors"``. Finds
          fewer errors than the most doubtful rows do, but all over the data.
        - ``"random"``: the control. Any gain must be measured against it.
        - a callable ``(X, codes, proba) -> scores`` with codes -1 for refused rows and ``proba``
          the LLM's probabilities or None.
    budget : float or int, default=0.05
        Rows to act on: a share in [0, 1], rounded up, or a count.
    action : {"gold", "drop", "soft", "weight"}, default="gold"
        Replace the label by gold (needs ``gold``); drop the row; train on the LLM's (or the
        student's) distribution instead of its label; weight the row by ``1 - H / ln K``.
    n_members : int, default=1
        Students with different seeds whose answers are averaged: the direct cure for
        instability.
    vote : {"soft", "hard"}, default="soft"
        Average probabilities or count votes.
    cv : int, default=5
        Folds of the out-of-fold student.
    missing_label : scalar or None, default=-1
        Label of a text that the LLM refused; None and NaN always are. Such rows are the most
        doubtful of all; those that get no gold label are not trained on.
    random_state : int, RandomState or None, default=None
        Seed of the students, folds and random choices.

    Attributes
    ----------
    estimators_ : list of estimators
        The students.
    queried_ : ndarray of int
        Rows acted on, most doubtful first.
    budget_used_ : int
        How many gold labels were read (0 for other actions).
    n_changed_ : int
        How many of those differed from the LLM's label.
    doubt_ : ndarray of shape (n,)
        The selector's scores; infinite for refused rows.
    classes_ : ndarray of shape (K,)
        Classes among the labels trained on.

    See Also
    --------
    SiDyPClassifier : Without any gold label.
    StabilityReport : Measures the damage.
    TrainingDynamicsNoiseDetector : Another look at doubtful labels.

    Notes
    -----
    Gold labels are read on the selected rows only. ``compare_with_random`` gives the control at
    equal budget; without it a gain cannot be told from "more gold". Cost: ``cv`` trainings for
    the selectors that use a student, plus ``n_members``.

    References
    ----------
    .. [1] Feeding LLM annotations to BERT classifiers at your own risk, arXiv 2504.15432.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import make_blobs
    >>> from sklfusion import LabelRepairClassifier
    >>> X, gold = make_blobs(200, centers=2, n_features=4, random_state=0)
    >>> llm = gold.copy()
    >>> llm[:20] = 1 - llm[:20]
    >>> repair = LabelRepairClassifier(selector="student", budget=0.1, random_state=0)
    >>> repair.fit(X, gold, noisy=llm).n_changed_  # gold is read for 20 selected rows only
    20
    """

    _parameter_constraints = {
        "estimator": [HasMethods(["fit", "predict"]), None],
        "selector": [one_of(*_SELECTORS), callable],
        "budget": [integer(0), number(0, 1)],
        "action": [one_of("gold", "drop", "soft", "weight")],
        "n_members": [integer(1)],
        "vote": [one_of("soft", "hard")],
        "cv": [integer(2)],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        estimator: Any = None,
        *,
        selector: str | Callable = "entropy",
        budget: float | int = 0.05,
        action: str = "gold",
        n_members: int = 1,
        vote: str = "soft",
        cv: Any = 5,
        missing_label: Any = -1,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.estimator = estimator
        self.selector = selector
        self.budget = budget
        self.action = action
        self.n_members = n_members
        self.vote = vote
        self.cv = cv
        self.missing_label = missing_label
        self.random_state = random_state

    @whole
    def fit(
        self,
        X: Any,
        y: Any = None,
        *,
        noisy: Any = None,
        gold: Any = None,
        llm_proba: Any = None,
        llm_repeats: Any = None,
    ) -> Self:
        """Select, repair, train.

        Parameters
        ----------
        X : array-like of shape (n, ...)
            Features, or whatever the student takes.
        y : array-like of shape (n,) or Annotations
            The LLM's labels; or gold labels when ``noisy`` is passed.
        noisy : array-like of shape (n,) or Annotations, optional
            The LLM's labels, as routable metadata.
        gold : array-like of shape (n,) or callable, optional
            Human labels, missing where unknown; or ``ask(indices) -> labels``. By default ``y``
            when ``noisy`` is passed.
        llm_proba : array-like of shape (n, K), optional
            The LLM's class probabilities, columns in sorted class order. Taken from annotations
            if they hold some.
        llm_repeats : array-like of shape (n, R), optional
            Labels from R repeated questions. Taken from annotations if they hold some.

        Returns
        -------
        self
        """
        check_parameters(self)
        codes, classes, known_gold = noisy_target(
            y, noisy, missing_label=self.missing_label, caller=type(self).__name__
        )
        (X,) = indexable(X)
        check_consistent_length(X, codes)
        gold = known_gold if gold is None else gold
        if self.action == "gold" and gold is None:
            raise ValueError(
                f'{type(self).__name__} got no gold labels; action="gold" needs gold=, an array '
                "or a callable that asks a human. Or use another action."
            )
        self._seeds = check_random_state(self.random_state).randint(2**31 - 1, size=3)
        source = as_annotations(noisy if noisy is not None else y)
        shares, proba = _selectors.evidence(
            source, classes, llm_proba, llm_repeats, len(codes), missing_label=self.missing_label
        )
        budget = self._n_budget(len(codes))
        asker = Asker(gold, classes, self.missing_label)
        self.doubt_, proba = self._doubt(X, codes, classes, proba, shares, budget, asker)
        self.queried_ = self._pick(budget, asker)
        self._act(X, codes, classes, proba, asker)
        return self

    def _n_budget(self, n):
        if isinstance(self.budget, Integral) and not isinstance(self.budget, bool):
            return min(int(self.budget), n)
        return math.ceil(round(self.budget * n, 9))

    def _doubt(self, X, codes, classes, proba, shares, budget, asker):
        """Return the scores, and the distribution that soft targets and weights use."""
        said = proba if proba is not None else shares
        student = None
        needs_student = self.selector in ("student", "error_model") or (
            said is None and (self.selector == "entropy" or self.action in ("soft", "weight"))
        )
        if needs_student:
            student = _selectors.out_of_fold_proba(
                self._student(self._seeds[0]), X, codes, len(classes), cv=self.cv,
                seed=int(self._seeds[1]),
            )  # fmt: skip
        rng = np.random.default_rng(self._seeds[2])
        if callable(self.selector):
            scores = np.asarray(self.selector(X, codes, said), dtype=float)
        elif self.selector == "random":
            return rng.random(len(codes)), said if said is not None else student
        elif self.selector == "disagreement":
            if shares is None:
                raise ValueError(
                    'selector="disagreement" needs llm_repeats, or annotations with repeats.'
                )
            scores = _selectors.disagreement(shares)
        elif self.selector == "student":
            scores = _selectors.self_doubt(student, codes)
        elif self.selector in ("neighbors", "sampled"):
            scores = _selectors.neighbor_doubt(X, codes)
            if self.selector == "sampled":
                scores = _selectors.in_proportion(scores, rng)
        elif self.selector == "error_model":
            first: Any = rng.permutation(len(codes))[: max(1, budget // 2)] if budget else []
            scores = self._error_model(X, codes, student, np.asarray(first, dtype=int), asker)
        else:
            scores = _selectors.row_entropy(said if said is not None else student)
        if scores.shape != (len(codes),):
            raise ValueError(
                f"The selector gave scores of shape {scores.shape}; it needs ({len(codes)},)."
            )
        scores = np.where((codes < 0) | np.isnan(scores), np.inf, scores)
        return scores, said if said is not None else student

    def _error_model(self, X, codes, student, first, asker):
        """Ask about some random rows, learn from the answers, and put those rows first."""
        if asker.gold is None:
            raise ValueError('selector="error_model" needs gold= to learn from.')
        answers = asker.ask(first)
        usable = (answers >= 0) & (codes[first] >= 0)
        checked = first[usable]
        features = student
        if getattr(X, "ndim", 0) == 2 and np.asarray(X).dtype.kind in "fiu":
            features = np.hstack([np.asarray(X, dtype=float), student])
        scores = _selectors.error_model_scores(
            features, codes, checked, answers[usable] != codes[checked]
        )
        scores[first] = 2.0  # already paid for
        return scores

    def _pick(self, budget, asker):
        # a stable order of equal scores: the row number would favour the start of the data
        tie = np.random.default_rng(self._seeds[2] + 1).random(len(self.doubt_))
        order = np.lexsort((tie, -self.doubt_))
        return order[:budget]

    def _act(self, X, codes, classes, proba, asker):
        rows, labels, weights = np.arange(len(codes)), codes.copy(), np.ones(len(codes))
        picked, weighted = self.queried_, self.action in ("soft", "weight") and len(self.queried_)
        self.budget_used_ = self.n_changed_ = 0
        if self.action == "gold":
            answers = asker.ask(picked)
            got = answers >= 0
            self.budget_used_ = int(got.sum())
            self.n_changed_ = int((answers[got] != codes[picked[got]]).sum())
            if not got.all():
                warnings.warn(
                    f"{int((~got).sum())} of {len(picked)} selected rows have no gold label and "
                    "keep the LLM's.",
                    DataWarning,
                )
            labels[picked[got]] = answers[got]
        elif self.action == "drop":
            labels[picked] = -1
        elif self.action == "weight":
            entropy = np.nan_to_num(
                _selectors.row_entropy(proba[picked]), nan=np.log(len(classes))
            )
            weights[picked] = np.clip(1 - entropy / np.log(len(classes)), 1e-3, 1)
        elif len(picked):
            rows, labels, weights = soften(codes, proba, picked)
        keep = labels >= 0
        self._train(
            X, rows[keep], asker.names()[labels[keep]], weights[keep] if weighted else None
        )

    def _train(self, X, rows, labels, weights):
        if len(np.unique(labels)) < 2:
            raise ValueError(
                f"{type(self).__name__} has {len(rows)} rows of fewer than two classes left after "
                "repair; lower the budget."
            )
        self.estimators_ = []
        # the first two states are spent on folds and choices
        seeds = np.random.RandomState(self._seeds[0]).randint(2**31 - 1, size=self.n_members)
        inputs = safe_indexing(X, rows)
        for seed in seeds:
            student = self._student(seed)
            with one_thread(inputs, openmp=False):
                student.fit(inputs, labels, **weight_kwargs(student, weights))
            self.estimators_.append(student)
        self.classes_ = self.estimators_[0].classes_
        for name in ("n_features_in_", "feature_names_in_"):
            if hasattr(self.estimators_[0], name):
                setattr(self, name, getattr(self.estimators_[0], name))

    def _student(self, seed):
        student = clone(self.estimator) if self.estimator is not None else LogisticRegression()
        params = student.get_params(deep=True)
        names = [k for k in params if k == "random_state" or k.endswith("__random_state")]
        return student.set_params(**{k: int(seed) for k in names})

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return class probabilities of shape (n, K): the students' mean, or vote shares.

        Parameters
        ----------
        X : sequence of length n
            Whatever the estimator takes.

        Returns
        -------
        ndarray of shape (n, K)
            Columns as ``classes_``.
        """
        check_is_fitted(self)
        if self.vote == "soft":
            return np.mean([e.predict_proba(X) for e in self.estimators_], axis=0)
        votes = np.stack([e.predict(X) for e in self.estimators_])
        return np.stack([(votes == c).mean(axis=0) for c in self.classes_], axis=1)

    def predict(self, X: Any) -> np.ndarray:
        """Return the most probable class per row.

        Parameters
        ----------
        X : sequence of length n
            Whatever the estimator takes.

        Returns
        -------
        ndarray of shape (n,)
            Labels out of ``classes_``.
        """
        check_is_fitted(self)
        if len(self.estimators_) == 1:
            return self.estimators_[0].predict(X)
        return self.classes_[self.predict_proba(X).argmax(axis=1)]

    def compare_with_random(
        self,
        X: Any,
        y: Any = None,
        *,
        X_test: Any,
        y_test: Any,
        n_random: int = 5,
        **fit_params: Any,
    ) -> dict:
        """Score this selector beside the control: random rows at the same budget.

        Parameters
        ----------
        X : array-like of shape (n, ...)
            As in :meth:`fit`.
        y : array-like of shape (n,) or Annotations
            As in :meth:`fit`.
        X_test : array-like of shape (n_test, ...)
            Test rows.
        y_test : array-like of shape (n_test,)
            Their gold labels.
        n_random : int, default=5
            Draws of the control.
        **fit_params : dict
            As in :meth:`fit`.

        Returns
        -------
        dict
            ``"selector"``, ``"none"`` (no repair) and ``"random"`` with ``"random_std"``:
            accuracies on the test rows; ``"gain_over_random"``.
        """

        def accuracy(**params):
            model = clone(self).set_params(**params).fit(X, y, **fit_params)
            return float(np.mean(model.predict(X_test) == np.asarray(y_test)))

        base = check_random_state(self.random_state).randint(2**31 - 1, size=n_random)
        random = [accuracy(selector="random", random_state=int(s)) for s in base]
        chosen = accuracy()
        return {
            "selector": chosen,
            "none": accuracy(budget=0),
            "random": float(np.mean(random)),
            "random_std": float(np.std(random, ddof=1)) if n_random > 1 else 0.0,
            "gain_over_random": chosen - float(np.mean(random)),
        }

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        inner = get_tags(self.estimator if self.estimator is not None else LogisticRegression())
        tags.input_tags = inner.input_tags
        tags.classifier_tags.multi_class = inner.classifier_tags.multi_class
        return tags
