"""`LabelDistributionEstimator`: label probabilities from what an LLM put out."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from scipy.special import expit
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted

from sklfusion._sklearn_compat import check_parameters, integer, number, one_of
from sklfusion._whole import whole
from sklfusion.alignment import _methods
from sklfusion.alignment._pool import expected_f1_sets
from sklfusion.alignment._probe import LinearProbe
from sklfusion.alignment._rates import read_rates
from sklfusion.alignment._reading import read, read_field, ready
from sklfusion.alignment.metrics import alignment_l1, alignment_nll
from sklfusion.annotations import Annotations
from sklfusion.multilabel._calibration import apply_maps, fit_maps, to_logits

_CALIBRATIONS = {
    None: None, "batch": None, "batch_shared": None, "platt": False, "per_label_platt": True,
}  # fmt: skip
_BATCH = ("batch", "batch_shared")
_SOFT = ("compare_to_none", "max", "unary", "binary")


class LabelDistributionEstimator(ClassifierMixin, TransformerMixin, BaseEstimator):
    """Estimate, for each label, the share of people who would choose it.

    A language model that writes a list of labels is nearly certain at every step, so neither
    its answer nor its first-step probabilities are label confidences. The methods read them
    otherwise:

    ================== ============================================== ================
    method             P_l                                            queries per text
    ================== ============================================== ================
    "hard"             1 − ε if the label was said, else ε            1
    "vote_share"       share of repeated votes (models, prompts)      R
    "compare_to_none"  σ(s_l − s_none) at the first step              1
    "max"              largest probability at any step of the list    1
    "unary"            "is this label reasonable?", asked per label   K
    "binary"           "which fits better?", all pairs, Bradley-Terry K (K + 1) / 2
    "probe"            logistic regression on the hidden state        1
    "base_rate"        the mean rate of the training texts            0
    ================== ============================================== ================

    Parameters
    ----------
    method : str, default="max"
        See the table. "probe" and "base_rate" learn from y.
    annotator : object or None, default=None
        Something with ``annotate(texts) -> Annotations``: a
        :class:`~sklfusion.LabelDistributionCollector`, or an :class:`~sklfusion.LLMScorer` with
        ``multilabel=True``, which is fitted to the texts if it is not. With it X can be raw texts.
    calibrate : {None, "batch", "batch_shared", "platt", "per_label_platt"}, default=None
        The first two need no y and are for soft zero-shot methods: they take away what the model
        says of a label whatever the text, by the mean log-odds of each label over the texts of
        ``fit`` (several dozen at least). "batch" brings every mean to 0: label sets get better,
        but rare labels too likely. "batch_shared" brings them to their common mean, which keeps
        the level. The others fit σ(w · logit P_l + b) to y, shared or per label; probes are
        calibrated on held-out folds.
    epsilon : float, default=1e-8
        Probabilities stay within [epsilon, 1 − epsilon].
    threshold : float or "expected_f1", default=0.5
        ``predict`` says yes above it, or says the set of largest expected F1
        (:func:`~sklfusion.alignment.expected_f1_sets`; multi-label only).
    smoothing : float, default=0.5
        Of "vote_share": added to the count of each outcome, so that eight votes of eight are no
        certainty. 0 gives plain shares.
    penalty : float, default=0.01
        Ridge of the Bradley-Terry strengths.
    C : float or "auto", default="auto"
        Inverse ridge of the probe.
    n_components : int, "auto" or None, default="auto"
        Components kept by the probe.
    scoring : {"nll", "l1"}, default="nll"
        What ``score`` returns the negative of.
    random_state : int, RandomState instance or None, default=0
        Folds and decomposition of the probe.

    Attributes
    ----------
    classes_ : ndarray of shape (K,)
        Labels, in the order of the columns.
    calls_per_text_ : int
        Queries that the method costs per text.
    base_rates_ : ndarray of shape (K,)
        Mean rate of the training texts, 0.5 (or 1/K) without y. Texts without an answer get it.
    calibrators_ : list of K maps or None
    shift_ : ndarray of shape (K,) or None
        Added to the log-odds by the batch calibrations.
    probe_ : object or None
    multilabel_ : bool
        False where the annotations are one label per text; rows then sum to one.

    See Also
    --------
    LabelDistributionCollector : Asks the questions.
    sklfusion.alignment.DistributionPool : Pools several sources.
    sklfusion.alignment.alignment_nll : Judges the result.

    Notes
    -----
    The standard deviation scaling of the paper's probe keeps the mean; ours removes it, which
    the intercept absorbs and the solver likes. Rows whose status is not "ok" are left out of
    ``fit``.

    References
    ----------
    Large Language Models Do Multi-Label Classification Differently, arXiv 2505.17510. "batch"
    is that of Zhou et al., "Batch Calibration", ICLR 2024, label by label.

    Examples
    --------
    >>> import numpy as np
    >>> from sklfusion import Annotations
    >>> from sklfusion.alignment import LabelDistributionEstimator
    >>> said = Annotations(["joy", "anger"], multilabel=True,
    ...                    step_probs=[np.array([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3]])])
    >>> LabelDistributionEstimator("max").fit(said).predict_proba(said).tolist()
    [[0.7, 0.6]]
    """

    _parameter_constraints: dict = {
        "method": [one_of(*_methods.METHODS)],
        "calibrate": [one_of(*_CALIBRATIONS)],
        "epsilon": [number(0, 0.5, closed="neither")],
        "threshold": [number(), one_of("expected_f1")],
        "smoothing": [number(0)],
        "penalty": [number(0, closed="neither")],
        "C": [number(0, closed="neither"), one_of("auto")],
        "n_components": [integer(1), one_of("auto", None)],
        "scoring": [one_of("nll", "l1")],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        method: str = "max",
        *,
        annotator: Any = None,
        calibrate: str | None = None,
        epsilon: float = 1e-8,
        threshold: float | str = 0.5,
        smoothing: float = 0.5,
        penalty: float = 0.01,
        C: float | str = "auto",
        n_components: int | str | None = "auto",
        scoring: Any = "nll",
        random_state: int | np.random.RandomState | None = 0,
    ) -> None:
        self.method = method
        self.annotator = annotator
        self.calibrate = calibrate
        self.epsilon = epsilon
        self.threshold = threshold
        self.smoothing = smoothing
        self.penalty = penalty
        self.C = C
        self.n_components = n_components
        self.scoring = scoring
        self.random_state = random_state

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        tags.target_tags.multi_output = True
        tags.target_tags.single_output = False
        tags.target_tags.required = self._learns_from_y()
        return tags

    @whole
    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn what the method needs to learn; nothing for uncalibrated zero-shot methods.

        Parameters
        ----------
        X : Annotations, list of texts (with ``annotator``), or (n, D) features ("probe")
            What the LLM said.
        y : array-like, sparse matrix or DataFrame of shape (n, K), optional
            Rates in [0, 1] or 0/1. With annotations of one label per text each row sums to 1.

        Returns
        -------
        self
        """
        self._fit(self._start(X), y)
        return self

    def _start(self, X):
        """Check the parameters and return annotations or features."""
        check_parameters(self)
        if self.calibrate in _BATCH and self.method not in _SOFT:
            raise ValueError(
                f"calibrate={self.calibrate!r} with method={self.method!r}; it is for the "
                f"methods {_SOFT}."
            )
        self.annotator_ = ready(self.annotator, X)
        return self._annotations(X)

    def _fit(self, X, y):
        if y is None and self._learns_from_y():
            raise ValueError(
                f"method={self.method!r} with calibrate={self.calibrate!r} learns from y; "
                "pass rates or 0/1 of shape (n, K)."
            )
        self.multilabel_ = X.multilabel if isinstance(X, Annotations) else True
        Y, names = (None, None) if y is None else self._rates(X, y)
        self.classes_: Any = np.array(X.classes) if isinstance(X, Annotations) else names
        if self.classes_ is None:
            raise ValueError("Without Annotations the labels are read from y; pass y.")
        k = len(self.classes_)
        repeats = getattr(X, "repeats", None)
        self.calls_per_text_ = _methods.calls_per_text(
            self.method, k, n_repeats=1 if repeats is None else len(repeats)
        )
        if self.calibrate is not None and not self.multilabel_:
            raise ValueError(
                "calibrate is for multi-label annotations; for one label per text use "
                "scikit-learn's CalibratedClassifierCV(method='temperature')."
            )
        self.base_rates_ = np.full(k, 0.5 if self.multilabel_ else 1 / k)
        self.probe_: Any = None
        self.calibrators_, self.shift_ = None, None
        if self.calibrate in _BATCH:
            z = to_logits(self._raw(X)[self._answered(X)])
            level = z.mean() if self.calibrate == "batch_shared" and len(z) else 0.0
            self.shift_ = level - z.mean(axis=0) if len(z) else np.zeros(k)
        if Y is not None:
            self._learn(X, Y)

    def _learns_from_y(self):
        return self.method in ("probe", "base_rate") or self.calibrate not in (None, *_BATCH)

    def _annotations(self, X):
        """Return Annotations, asking the annotator for raw texts, or a feature matrix."""
        if isinstance(X, Annotations):
            return X
        if self.annotator is not None:
            return self.annotator_.annotate(X)
        if self.method in ("probe", "base_rate"):
            X = np.asarray(X)
            if X.ndim == 2 and X.dtype.kind in "fiu":
                if not np.isfinite(X).all():
                    raise ValueError("The features of the probe hold NaN or infinity.")
                return X
        raise TypeError(
            f"{type(self).__name__} got {type(X).__name__}; it needs Annotations, texts together "
            "with annotator=..., or for method='probe' an (n, D) matrix of features."
        )

    def _rates(self, X, y):
        return read_rates(X, y, self.multilabel_, type(self).__name__)

    def _learn(self, X, Y):
        ok = self._answered(X)
        if not ok.any():
            raise ValueError("No row has an answer to learn from (Annotations.status).")
        self.base_rates_ = Y.mean(axis=0)
        if self.method == "probe":
            features = self._features(X)
            self.probe_ = LinearProbe(self.C, self.n_components, self.random_state)
            self.probe_.fit(features[ok], Y[ok])
        if _CALIBRATIONS[self.calibrate] is not None:
            raw = self._held_out(X, Y, ok)
            per_label = _CALIBRATIONS[self.calibrate]
            self.calibrators_ = fit_maps(to_logits(raw[ok]), Y[ok], per_label=per_label)

    def _held_out(self, X, Y, ok):
        """Uncalibrated probabilities by models that did not see the row."""
        if self.method != "probe":
            return self._raw(X)
        features, out = self._features(X), np.full(Y.shape, 0.5)
        rows = np.random.default_rng(0).permutation(np.flatnonzero(ok))
        for test in np.array_split(rows, min(5, len(rows))):
            train = np.setdiff1d(rows, test)
            if len(train):  # with the strength of all rows: to choose it anew costs six times
                probe = LinearProbe(self.probe_.C_, self.n_components, self.random_state)
                out[test] = probe.fit(features[train], Y[train]).predict_proba(features[test])
        return out

    def _features(self, X):
        return read_field(X, "probe") if isinstance(X, Annotations) else X

    @staticmethod
    def _answered(X):
        return X.ok if isinstance(X, Annotations) else np.ones(len(X), dtype=bool)

    def _raw(self, X):
        """Probabilities of the method before calibration, shape (n, K)."""
        if self.method == "base_rate":
            return np.tile(self.base_rates_, (len(X), 1))
        if self.method == "probe":
            return self.probe_.predict_proba(self._features(X))
        return read(
            X,
            self.method,
            epsilon=self.epsilon,
            smoothing=self.smoothing,
            penalty=self.penalty,
        )

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return probabilities of shape (n, K): independent per label, or rows that sum to one.

        Texts without an answer get ``base_rates_``.

        Parameters
        ----------
        X : Annotations, list of texts, or (n, D) features
            As in ``fit``.

        Returns
        -------
        ndarray of shape (n, K)
            Columns as ``classes_``.
        """
        check_is_fitted(self, "classes_")
        return self._finish(self._annotations(X), None)

    def _finish(self, X, raw):
        """Calibrate, fill and clip; ``raw`` stands in for the method's own probabilities."""
        if isinstance(X, Annotations) and tuple(X.classes) != tuple(self.classes_.tolist()):
            raise ValueError(
                f"These annotations have the labels {X.classes}; fitted were "
                f"{tuple(self.classes_.tolist())}."
            )
        if not len(X):
            return np.zeros((0, len(self.classes_)))
        probabilities = self._raw(X) if raw is None else raw
        if self.shift_ is not None:
            probabilities = expit(to_logits(probabilities) + self.shift_)
        if self.calibrators_ is not None:
            probabilities = apply_maps(
                self.calibrators_, to_logits(np.nan_to_num(probabilities, nan=0.5))
            )
        answered = self._answered(X)
        probabilities[~answered] = self.base_rates_
        probabilities = np.clip(probabilities, self.epsilon, 1 - self.epsilon)
        if not self.multilabel_:
            if self.method in ("unary", "probe"):
                probabilities[answered] = _methods.normalize_rows(probabilities[answered])
            probabilities = probabilities / probabilities.sum(axis=1, keepdims=True)
        return probabilities

    def predict(self, X: Any) -> np.ndarray:
        """Return label sets as an int indicator of shape (n, K), or classes of shape (n,).

        Parameters
        ----------
        X : Annotations, list of texts, or (n, D) features
            As in ``fit``.

        Returns
        -------
        ndarray of shape (n, K) of int, or (n,)
            A label indicator, or classes.
        """
        probabilities = self.predict_proba(X)
        if not self.multilabel_:
            return self.classes_[probabilities.argmax(axis=1)]
        if self.threshold == "expected_f1":
            return expected_f1_sets(probabilities)
        return (probabilities > self.threshold).astype(np.int64)

    def transform(self, X: Any) -> Any:
        """Return ``predict_proba(X)``: score columns for a fusion, beside an embedding.

        Parameters
        ----------
        X : Annotations, list of texts, or (n, D) features
            As in ``fit``.

        Returns
        -------
        ndarray or DataFrame of shape (n, K)
            Score columns.
        """
        return self.predict_proba(X)

    @whole
    def fit_transform(self, X: Any, y: Any = None) -> Any:
        """Fit and return the score columns of the same texts, shape (n, K).

        Texts are asked about once. Those of a probe come from folds that did not see the text,
        so that a fusion does not trust it too much.

        Parameters
        ----------
        X : Annotations, list of texts, or (n, D) features
            As in ``fit``.
        y : array-like, sparse matrix or DataFrame of shape (n, K), optional
            As in ``fit``.

        Returns
        -------
        ndarray or DataFrame of shape (n, K)
            Score columns.
        """
        X = self._start(X)
        self._fit(X, y)
        held_out = None
        if self.method == "probe":
            held_out = self._held_out(X, self._rates(X, y)[0], self._answered(X))
        return self._finish(X, held_out)

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Return "method_label" of each column.

        Parameters
        ----------
        input_features : None
            Ignored; scikit-learn passes it.

        Returns
        -------
        ndarray of str
            One name per column.
        """
        check_is_fitted(self, "classes_")
        return np.array([f"{self.method}_{label}" for label in self.classes_], dtype=object)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return minus the alignment NLL (or L1, by ``scoring``); larger is better.

        Parameters
        ----------
        X : Annotations, list of texts, or (n, D) features
            As in ``fit``.
        y : array-like of shape (n, K)
            Rates, or a label indicator.
        sample_weight : array-like of shape (n,), optional
            Weight of each text.

        Returns
        -------
        float
            At most 0.
        """
        check_is_fitted(self, "classes_")
        X = self._annotations(X)
        Y, _ = self._rates(X, y)
        metric = alignment_nll if self.scoring == "nll" else alignment_l1
        return -metric(
            Y, self.predict_proba(X), multilabel=self.multilabel_, sample_weight=sample_weight
        )
