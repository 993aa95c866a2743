"""`LLMClassifier`: the LLM alone, zero- or few-shot, as a scikit-learn classifier."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted

from sklfusion._class_labels import read_labels
from sklfusion._parameters import with_parameters_of
from sklfusion._sklearn_compat import number
from sklfusion._validation import plain_label
from sklfusion._whole import whole
from sklfusion.models import DEFAULT_LLM
from sklfusion.scoring._scorer import LLMScorer


class LLMClassifier(ClassifierMixin, LLMScorer):
    """Classify texts with an LLM, zero-shot or with examples.

    The baseline of every fusion, and the cheap start. Nothing is invented: a text without a
    usable answer gets ``abstain_label``; where none is set, the most frequent class of the ``y``
    that it was fitted with, as a model without features would; and without ``y`` None, which is
    no label. A warning says how many there are, ``annotate(X).status`` which.

    Parameters
    ----------
    model : str or LLMEndpoint, default="local/smollm2-135m"
        Where to ask, as in :class:`LLMScorer`.
    classes, multilabel, class_descriptions, instructions, strategy, output : object
        As in :class:`LLMScorer`, which this is with ``predict`` added.
    add_indicator, calibrate, examples, n_shots, shot_selection, memory : object
        As in :class:`LLMScorer`.
    random_state, verbose, n_votes, order_swap, label_form, template : object
        As in :class:`LLMScorer`. Settings of :class:`LLMEndpoint` are taken by name too.
    threshold : float, default=0.5
        Multi-label: a class is predicted from this probability on.
    abstain_below : float, default=0.0
        Multi-class: largest probability below which the classifier abstains as well. Above 0 it
        needs ``abstain_label``, or ``y`` in ``fit``.
    abstain_label : label, optional
        What ``predict`` returns for abstentions. By default the most frequent training class;
        without ``y`` in ``fit`` there is none, and ``predict`` returns None for such rows.

    Attributes
    ----------
    classes_ : ndarray of shape (K,)
        Sorted classes, the columns of ``predict_proba``. For multi-label the declared order.
        Where ``y`` held codes 0..K-1 of the sorted names in ``classes``, these codes. The columns
        of ``transform`` keep the declared order, and the names.

    See Also
    --------
    LLMScorer : The scores alone, for a fusion.
    FusionClassifier : Learns when to believe them.

    Notes
    -----
    Cost: one request per distinct text that is not stored.

    Examples
    --------
    >>> from sklfusion import LLMClassifier
    >>> clf = LLMClassifier("openai/gpt-5-nano", classes=["ham", "spam"])
    >>> clf.fit(["see you at 5", "win money"], ["ham", "spam"]).classes_.tolist()
    ['ham', 'spam']
    """

    _parameter_constraints: dict = {
        **LLMScorer._parameter_constraints,
        "threshold": [number(0, 1)],
        "abstain_below": [number(0, 1)],
    }

    @with_parameters_of(LLMScorer)
    def __init__(
        self,
        model: Any = DEFAULT_LLM,
        *,
        threshold: float = 0.5,
        abstain_below: float = 0.0,
        abstain_label: Any = None,
        **scoring: Any,
    ) -> None:
        super().__init__(model, **scoring)
        self.threshold = threshold
        self.abstain_below = abstain_below
        self.abstain_label = abstain_label

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = self.multilabel
        tags.target_tags.required = self.classes is None or bool(self.n_shots)
        return tags

    @whole(keep=("usage_",))
    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn the classes, the examples to choose from, and the score calibration.

        Parameters
        ----------
        X : list, array or Series of str
            Training texts.
        y : array-like, optional
            Labels, or codes 0..K-1 of the sorted names in ``classes`` (as scikit-learn's
            meta-estimators hand them); for multi-label an (n, K) indicator matrix in the order
            of ``classes``.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If a parameter, the classes or the texts are not usable; if ``classes`` and
            ``class_descriptions`` are None and y holds consecutive numbers, which name nothing.
        """
        texts = self._fit_task(X, y)
        self._columns = np.arange(len(self.classes_))
        self._fallback = None if self.multilabel else self._fit_fallback(y)
        self._fit_bias(texts)
        if self.multilabel:
            return self
        self._columns = np.argsort(self.classes_)
        self.classes_ = self.classes_[self._columns] if self._codes is None else self._codes
        return self

    def _fit_fallback(self, y):
        """Return what an abstention is predicted as, None if nothing tells."""
        if self.abstain_label is not None:
            return self.abstain_label
        if y is not None:
            seen, counts = np.unique(read_labels(y), return_counts=True)
            return seen[counts.argmax()]
        if self.abstain_below > 0:
            raise ValueError(
                f"abstain_below={self.abstain_below} needs a label for abstentions: set "
                "abstain_label=, or fit with y."
            )
        return None

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return the probability of each class, columns as ``classes_``.

        Parameters
        ----------
        X : sequence of n str
            Texts.

        Returns
        -------
        ndarray of shape (n, K)
            Rows sum to 1, or independent probabilities for multi-label. Rows without an answer
            are uniform (multi-label: 0.5).
        """
        probs = self.annotate(X).scores()[:, self._columns]
        probs[np.isnan(probs).any(axis=1)] = 0.5 if self.multilabel else 1.0 / probs.shape[1]
        return probs

    def predict(self, X: Any) -> np.ndarray:
        """Return the predicted labels.

        Parameters
        ----------
        X : sequence of n str
            Texts.

        Returns
        -------
        ndarray of shape (n,), or an int array of shape (n, K) for multi-label
            Abstentions are ``abstain_label`` (see there); for multi-label they have no label.
            Of dtype object where one of them is None.

        Warns
        -----
        ScoringWarning
            If texts have no answer: how many, why, and what they are predicted as.
        """
        check_is_fitted(self, "classes_")
        probs = self._answers(X, self._told()).scores()[:, self._columns]
        failed = np.isnan(probs).any(axis=1)
        if self.multilabel:
            return ((probs >= self.threshold) & ~failed[:, None]).astype(int)
        filled = np.where(failed[:, None], 0.0, probs)
        abstains = failed | (filled.max(axis=1, initial=0.0) < self.abstain_below)
        labels = self.classes_[filled.argmax(axis=1)]
        return _with_label(labels, abstains, self._fallback) if abstains.any() else labels

    def _told(self):
        """Say what becomes of rows without an answer, for the warning about them."""
        if self.multilabel:
            return "They are predicted to have no label."
        if self._fallback is None:
            return "They are predicted as None; abstain_label= names another label."
        kind = (
            "abstain_label" if self.abstain_label is not None else "most frequent training class"
        )
        return f"They are predicted as {plain_label(self._fallback)!r}, the {kind}."


def _with_label(labels, rows, label):
    """Return labels with one of them at some rows, in a type that holds both unchanged."""
    other = np.array([label])
    same = label is not None and (labels.dtype.kind in "US") == (other.dtype.kind in "US")
    out = labels.astype(np.result_type(labels, other) if same else object)
    out[rows] = label
    return out
