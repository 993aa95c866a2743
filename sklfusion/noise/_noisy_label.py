"""`NoisyLabelClassifier`: the simple way to learn from LLM labels, one LLM's or several'."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.metrics import cohen_kappa_score
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_consistent_length, check_is_fitted, validate_data

from sklfusion._sklearn_compat import check_parameters, one_of
from sklfusion._threads import one_thread
from sklfusion._whole import whole
from sklfusion.noise._annotators import (
    annotator_posterior,
    choose_penalty,
    classes_proba,
    fit_logistic,
)
from sklfusion.noise._labels import as_annotations, encode_labels


class NoisyLabelClassifier(ClassifierMixin, BaseEstimator):
    """Logistic regression for LLM labels that does not take over how often the LLM says what.

    An LLM says some classes far too often and others hardly ever. A model of its labels learns
    that first of all. Here the penalty is the strongest that held-out labels allow, and the
    labels' frequencies are divided out of the probabilities, the more the less the labels follow
    from the text. Labels of several LLMs, or some gold labels, tell how each LLM confuses the
    classes (the model of Dawid and Skene [1]_, with the text as a covariate [2]_), and the true
    labels that they make likely are learnt instead.

    Parameters
    ----------
    class_prior : {"auto", "labels"} or array-like of shape (K,), default="auto"
        How frequent the classes are. Noisy labels alone cannot tell it. ``"auto"`` divides the
        label frequencies to the power ``1 - agreement_ ** 2`` out of the probabilities where
        there is one LLM and no gold label, and believes the estimated ones elsewhere.
        ``"labels"`` believes the frequencies of the labels. An array, in the order of
        ``classes_``, says what is known.
    missing_label : scalar or None, default=-1
        Label of a text that the LLM refused; None and NaN always are. In ``gold`` too.
    random_state : int, RandomState or None, default=None
        Seed of the cross-fits.

    Attributes
    ----------
    classes_ : ndarray of shape (K,)
        Classes among the noisy and the gold labels.
    label_proba_ : ndarray of shape (n, K)
        What was learnt of each training row: its label, or the weights of the true classes where
        there are several LLMs or gold labels. Zeros for a row without a label.
    oof_proba_ : ndarray of shape (n, K)
        Probabilities of the training rows by models that did not see them.
    transition_matrices_ : ndarray of shape (L, K, K) or None
        Row z: estimated distribution of an LLM's label where z is true; None where one LLM's
        labels are all there is, for nothing tells them then.
    agreement_ : float
        Cohen's kappa of held-out predictions and labels: 1 if the labels follow from the text.
    C_ : float
        Chosen strength of the logistic regression; small is a strong penalty.
    estimator_ : LogisticRegression or None
        The fitted model; None if what is learnt holds one class only.

    See Also
    --------
    SiDyPClassifier : Label diffusion, the published method.
    LabelRepairClassifier : If gold labels can be asked for.

    Notes
    -----
    A fit makes 26 logistic regressions, and some ten more with several LLMs or gold labels: under
    a second on 500 rows of 384 columns.

    With gold labels at hand :func:`~sklfusion.distill` weighs them against the LLM's and is the
    first thing to try.

    References
    ----------
    .. [1] Dawid and Skene, Maximum likelihood estimation of observer error-rates using the EM
       algorithm, Applied Statistics 28, 1979.
    .. [2] Raykar et al., Learning from crowds, JMLR 11, 2010.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import make_blobs
    >>> from sklfusion import NoisyLabelClassifier
    >>> X, gold = make_blobs(300, centers=3, cluster_std=2, random_state=0)
    >>> llm = np.where(np.arange(300) % 2, 0, gold)  # says class 0 far too often
    >>> model = NoisyLabelClassifier(random_state=0).fit(X, llm)
    >>> bool(model.score(X, gold) > np.mean(llm == gold))
    True
    """

    _parameter_constraints: dict = {
        "class_prior": [one_of("auto", "labels"), "array-like"],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        *,
        class_prior: Any = "auto",
        missing_label: Any = -1,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.class_prior = class_prior
        self.missing_label = missing_label
        self.random_state = random_state

    @whole
    def fit(self, X: Any, y: Any = None, *, noisy: Any = None, gold: Any = None) -> Self:
        """Learn.

        Parameters
        ----------
        X : array-like of shape (n, d)
            Embeddings.
        y : array-like of shape (n,) or (n, L), or Annotations
            Labels of one LLM or of L. Ignored when ``noisy`` is passed.
        noisy : the same, optional
            The labels, as routable metadata.
        gold : array-like of shape (n,), optional
            Gold labels of some rows; None, NaN and ``missing_label`` elsewhere. They are learnt.

        Returns
        -------
        self
        """
        check_parameters(self)
        X = validate_data(self, X, dtype=np.float64, ensure_min_samples=2)
        labels, told = self._read(y if noisy is None else noisy, gold)
        check_consistent_length(X, labels)
        # rows of about length one, as the embeddings are that the penalties were chosen on
        self._scale = float(np.sqrt((X**2).sum(axis=1).mean())) or 1.0
        X = X / self._scale
        rng = np.random.default_rng(check_random_state(self.random_state).randint(2**31 - 1))
        k = len(self.classes_)
        with one_thread():
            if labels.shape[1] == 1 and (told < 0).all():
                self.transition_matrices_ = None
                codes = labels[:, 0]
                weights = np.eye(k)[np.maximum(codes, 0)] * (codes >= 0)[:, None]
            else:
                weights, self.transition_matrices_ = annotator_posterior(X, labels, told, k, rng)
            self.C_, held_out = choose_penalty(X, weights, rng)
            self.estimator_ = fit_logistic(X, weights, self.C_)
        self.label_proba_ = weights
        self._factor = self._frequencies(weights, held_out)
        self.oof_proba_ = _multiplied(held_out, self._factor)
        return self

    def _read(self, y, gold):
        """Codes of all labels (n, L) and of the gold labels (n,); sets the classes."""
        name, missing = type(self).__name__, self.missing_label
        if y is None:
            raise ValueError(f"{name} requires y to be passed, but the target y is None.")
        notes = as_annotations(y)
        y = np.asarray(y if notes is None else notes.labels())
        several = y.ndim == 2 and y.shape[1] > 1
        columns, stacked = (y.shape[1], y.T.ravel()) if several else (1, y)
        told = None
        if gold is not None:
            told = np.asarray(gold, dtype=object)
            if told.shape != (len(y),):
                raise ValueError(
                    f"{name} got gold of shape {told.shape}; it needs one value for each of the "
                    f"{len(y)} rows, None where it is not known."
                )
            stacked = np.concatenate([np.asarray(stacked.ravel(), dtype=object), told])
        codes, self.classes_ = encode_labels(stacked, missing_label=missing, caller=name)
        given, rest = np.split(codes, [columns * len(y)])
        told = np.full(len(y), -1) if gold is None else rest
        return given.reshape(columns, -1).T, told

    def _frequencies(self, weights, held_out):
        """What the probabilities are multiplied by; sets the agreement."""
        k, known = len(self.classes_), weights.sum(axis=1) > 0
        share = (weights.sum(axis=0) + 1) / (weights.sum() + k)
        lift = (held_out[known] / share).argmax(axis=1)
        kappa = cohen_kappa_score(lift, weights[known].argmax(axis=1), labels=np.arange(k))
        self.agreement_ = float(max(0.0, np.nan_to_num(kappa)))
        if isinstance(self.class_prior, str):
            alone = self.transition_matrices_ is None and self.class_prior == "auto"
            return share ** -(1 - self.agreement_**2) if alone else np.ones(k)
        prior = np.asarray(self.class_prior, dtype=float)
        if prior.shape != (k,) or not np.isfinite(prior).all() or (prior <= 0).any():
            raise ValueError(
                f"{type(self).__name__} got class_prior={self.class_prior!r}; it needs one "
                f"positive number for each of the classes {self.classes_.tolist()}."
            )
        return prior / prior.sum() / share

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return class probabilities of shape (n, K).

        Parameters
        ----------
        X : array-like of shape (n, d)
            Rows with the columns of ``fit``.

        Returns
        -------
        ndarray of shape (n, K)
            Columns as ``classes_``.
        """
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float64, reset=False)
        with one_thread(X):
            proba = classes_proba(self.estimator_, X / self._scale, self.label_proba_)
        return _multiplied(proba, self._factor)

    def predict(self, X: Any) -> np.ndarray:
        """Return the most probable class per row.

        Parameters
        ----------
        X : array-like of shape (n, d)
            Rows with the columns of ``fit``.

        Returns
        -------
        ndarray of shape (n,)
            Labels out of ``classes_``.
        """
        proba = self.predict_proba(X)
        return self.classes_[proba.argmax(axis=1)]


def _multiplied(proba, factor):
    """Probabilities times a factor per class, summing to one."""
    proba = proba * factor
    return proba / proba.sum(axis=1, keepdims=True)
