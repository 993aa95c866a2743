"""`PrevalenceEstimator`: what share of many texts is of each class, with an interval."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import Tags, check_random_state, get_tags
from sklearn.utils.validation import check_is_fitted

from sklfusion._class_labels import read_labels
from sklfusion._sklearn_compat import check_parameters, integer, number, one_of, safe_indexing
from sklfusion._validation import is_multilabel
from sklfusion._whole import whole
from sklfusion.multilabel._targets import check_target
from sklfusion.promises import _plan, _sample
from sklfusion.promises._held_out import fit_and_hold_out, proba_of, row_keys
from sklfusion.promises._shares import Shares, estimate_shares


class PrevalenceEstimator(BaseEstimator):
    """Shares of the classes among many texts, from few labels and a classifier, with intervals.

    Counting what a classifier predicts carries its errors into the share. Here the labelled
    texts tell how far it errs: the estimate is the classifier's mean probability over all texts,
    less its mean error on labelled texts that it had not seen. The interval holds whatever the
    classifier is worth; a good one makes it narrower.

    **Limits.** The labelled texts must be drawn at random from the texts that are asked about, or
    with known probabilities given as ``sample_weight``. Shares of rare classes (fewer than about
    five labelled) gain nothing over counting the labelled texts alone.

    Parameters
    ----------
    estimator : classifier with ``predict_proba``
        Any, on whatever it takes: texts, or numbers. Its ``oof_proba_`` is used where it keeps one
        (:class:`FusionClassifier`, :class:`AutoFusionClassifier`, :class:`CascadeClassifier`);
        others are fitted ``cv`` times more.
    confidence : float, default=0.95
        Of the intervals, each by itself.
    target : {"pool", "process"}, default="pool"
        "pool": the share of just the texts given to :meth:`estimate`. "process": that of what
        they are a random sample of, which is less sure.
    simultaneous : bool, default=False
        Whether all classes' intervals hold together with ``confidence`` (Bonferroni).
    cv : int, default=5
        Folds for classifiers that keep no out-of-fold probabilities; equal texts are in one.
    random_state : int, RandomState or None, default=None

    Attributes
    ----------
    estimator_ : classifier
        Fitted on all labelled texts.
    oof_proba_ : ndarray of shape (n, K)
        Probabilities of the labelled texts by models that had not seen them.
    classes_ : ndarray of shape (K,)
        Classes, or names of the labels.
    multilabel_ : bool

    See Also
    --------
    sklfusion.plotting.PrevalenceDisplay : Draws the answer.

    Notes
    -----
    Cost: one fit, and one prediction per text that is not labelled. An LLM inside the classifier
    is asked once per distinct text; give it ``memory`` so that another estimate asks for none.

    References
    ----------
    Angelopoulos, Duchi and Zrnic, "PPI++: Efficient prediction-powered inference", 2023.
    Särndal, Swensson and Wretman, "Model assisted survey sampling", 1992, chapter 6.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklfusion.promises import PrevalenceEstimator
    >>> rng = np.random.default_rng(0)
    >>> truth = rng.random(2000) < 0.3
    >>> X = truth[:, None] + rng.normal(scale=0.4, size=(2000, 1))
    >>> labelled = rng.choice(2000, 100, replace=False)
    >>> shares = PrevalenceEstimator(LogisticRegression(), random_state=0)
    >>> shares = shares.fit(X[labelled], truth[labelled])
    >>> answer = shares.estimate(X)
    >>> bool(answer.low[1] < truth.mean() < answer.high[1])
    True
    >>> bool(answer.labels_worth[1] > 2)  # as sure as twice the labels alone
    True
    """

    _parameter_constraints: dict = {
        "confidence": [number(0, 1, "neither")],
        "target": [one_of("pool", "process")],
        "simultaneous": ["boolean"],
        "cv": [integer(2)],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        estimator: Any,
        *,
        confidence: float = 0.95,
        target: str = "pool",
        simultaneous: bool = False,
        cv: int = 5,
        random_state: Any = None,
    ) -> None:
        self.estimator = estimator
        self.confidence = confidence
        self.target = target
        self.simultaneous = simultaneous
        self.cv = cv
        self.random_state = random_state

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags = get_tags(self.estimator).input_tags
        tags.target_tags.required = True
        return tags

    @whole
    def fit(self, X: Any, y: Any) -> Self:
        """Fit the classifier on the labelled texts.

        Parameters
        ----------
        X : sequence of length n
            The labelled texts, or whatever the classifier takes.
        y : array-like of shape (n,) or (n, L)
            Their classes, or a label indicator matrix.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If X and y differ in length, or a label is missing.

        Warns
        -----
        DataWarning
            If all labels are of one class: then nothing is learnt, and texts are only counted.
        """
        check_parameters(self)
        self.multilabel_ = is_multilabel(y)
        if self.multilabel_:
            y, names = check_target(y, caller="PrevalenceEstimator")
        else:
            y = read_labels(y, caller="PrevalenceEstimator")
            _sample.warn_of_one_class(y)
        keys = row_keys(X)
        _sample.check_lengths(keys, y)
        rng = check_random_state(self.random_state)
        fitted = fit_and_hold_out(self.estimator, X, y, cv=self.cv, rng=rng)
        self.estimator_, self.classes_, self.oof_proba_ = fitted
        self.classes_ = names if self.multilabel_ else self.classes_
        self._indicators = y if self.multilabel_ else y[:, None] == self.classes_
        self._keys = keys
        return self

    def estimate(self, X_all: Any, by: Any = None, sample_weight: Any = None) -> Shares:
        """Return the share of each class, with an interval.

        Parameters
        ----------
        X_all : sequence of length N
            All texts, the labelled ones among them.
        by : array-like of shape (N,), optional
            Group of each text; each gets its own shares.
        sample_weight : array-like of shape (n,), optional
            For labelled texts that were not drawn with equal probability: one over the
            probability of each, up to a factor, in the order of ``fit``
            (``LabelAcquirer.weights_``).

        Returns
        -------
        Bunch
            ``classes`` (K,), and arrays of shape (K,), or (G, K) with groups: ``share``, ``low``,
            ``high``, ``labels_worth`` (how many labels without a model tell as much as one here),
            ``n_labelled``, ``n_total``; with groups ``group`` (G,). ``to_frame()`` is a pandas
            DataFrame of one row per group and class.

        Raises
        ------
        ValueError
            If only a part of the labelled texts is in ``X_all``, lengths differ, or weights are
            not positive.

        Warns
        -----
        DataWarning
            If the labelled texts look unlike the others and no weights are given, if a group has
            too few, or if ``X_all`` holds none of them (they are counted in then).
        """
        check_is_fitted(self, "oof_proba_")
        labelled, n_outside = _sample.find(self._keys, row_keys(X_all), by)
        rest = np.setdiff1d(np.arange(_sample.length(X_all)), labelled[labelled >= 0])
        proba = self._proba_of_rest(X_all, rest)
        weights = _sample.check_weights(sample_weight, len(self._keys))
        if weights is None:
            _sample.warn_if_unlike(self.oof_proba_, proba)
        given = _sample.LabelledSample(
            self._indicators, self.oof_proba_, proba, labelled, rest, weights, n_outside
        )
        answer = estimate_shares(given, self.classes_, by, self._settings())
        if by is None:
            self._last = (dict(answer), tuple(_plan.strata(given, self.classes_)))
        return answer

    def _proba_of_rest(self, X_all, rest):
        if not len(rest):
            return np.empty((0, len(self.classes_)))
        rows = safe_indexing(X_all, rest)
        return proba_of(self.estimator_, rows, self.classes_, multilabel=self.multilabel_)

    def _settings(self):
        miss = (1 - self.confidence) / (len(self.classes_) if self.simultaneous else 1)
        return {
            "confidence": 1 - miss,
            "finite": self.target == "pool",
            "sums_to_one": not self.multilabel_,
        }

    def plan(self, width: float) -> _plan.LabelPlan:
        """Return how many more labels bring the intervals to a width, and where to draw them.

        Parameters
        ----------
        width : float
            Wanted distance from ``low`` to ``high``.

        Returns
        -------
        Bunch
            ``classes`` (K,); ``labels_needed`` (K,), in all, and ``labels_more`` (K,), beyond
            those there; ``stratum`` (K,), the class that the model finds likeliest (for several
            labels: most above its mean), ``stratum_total`` and ``stratum_more``, how many of the
            labels for the most demanding class to draw from each. They are drawn in proportion,
            which is a simple random sample, except where the share of that class is below a
            tenth: there strata in which it is found are drawn up to three times as often, and
            ``stratum_weight`` is to be given to :meth:`estimate` for the new labels.

        Raises
        ------
        ValueError
            If the width is not between 0 and 1, or there is no estimate to start from.
        """
        check_is_fitted(self, "oof_proba_")
        if not hasattr(self, "_last"):
            raise ValueError(
                "PrevalenceEstimator.plan starts from an estimate: call estimate(X_all) first."
            )
        if not 0 < width < 1:
            raise ValueError(
                f"PrevalenceEstimator.plan got width={width!r}; it is the distance from low to "
                "high, above 0 and below 1, e.g. width=0.06."
            )
        answer, told = self._last
        confidence = self._settings()["confidence"]
        return _plan.plan(Shares(**answer), _plan.Strata(*told), width, confidence)
