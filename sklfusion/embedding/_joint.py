"""`JointFusionClassifier`: encoder and fusion head trained together."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from scipy.special import expit, softmax
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.utils import Tags, check_random_state
from sklearn.utils.validation import check_is_fitted

from sklfusion._class_labels import declared_classes, in_names, read_labels
from sklfusion._idle import warn_if_set
from sklfusion._scores import as_matrix, as_told, bounded_codes, told_by
from sklfusion._sklearn_compat import (
    check_parameters,
    check_sample_weight,
    integer,
    number,
    one_of,
)
from sklfusion._text_input import TextInputMixin, check_texts, replace_surrogates
from sklfusion._validation import check_layers, class_weight_rows
from sklfusion._whole import whole
from sklfusion.embedding._training import (
    EVAL_BATCH_SIZE,
    EncoderTraining,
    check_training,
    resolve_training,
    trainer_settings,
)


class JointFusionClassifier(TextInputMixin, ClassifierMixin, BaseEstimator):
    """Train a transformer encoder together with the head that fuses it with LLM scores.

    Where :class:`FusionClassifier` takes the encoder's vectors as they are, this one adapts the
    encoder to the task: a small learning rate for the encoder, a larger one for the head, both
    warmed up and then decayed linearly, gradients clipped, and the weights of the epoch with the
    lowest validation loss kept. It pays from about a thousand labelled texts on.

    LLM scores come from a `scorer` that is applied to the texts, or as ``scores=`` of `fit` and
    `predict_proba`. Without either it is a fine-tuned text classifier.

    Parameters
    ----------
    model : str or Path, default="all-minilm-l6-v2"
        Alias of an embedded model, a folder, or a hub id; see :class:`RobertaEmbedder`.
    scorer : transformer, optional
        Gives one score per class from texts, like :class:`LLMScorer` or :class:`RecordedScorer`.
        Fitted as a clone, ``scorer_``.
    revision : str, optional
        Branch, tag or commit of a hub id.
    pooling : {"auto", "mean", "cls", "max"}, default="auto"
        How token vectors become one.
    max_length : int or None, default=128
        Tokens kept per text. Training time grows with it.
    loss : {"auto", "cross_entropy", "binary_cross_entropy"}, default="auto"
        Cross-entropy for class labels, binary cross-entropy for a label indicator matrix. Only a
        name that matches ``y`` is accepted.
    fusion : {"anchored", "concat"}, default="anchored"
        Head. "anchored": encoder evidence and LLM evidence add up, plus a residual MLP that
        starts at zero, so that training starts from what the LLM says. "concat": one MLP on all.
    hidden_layer_sizes : tuple of int, default=(64,)
        Hidden layers of the MLP. Used only where there are scores; without, the head is linear.
    dropout : float, default=0.1
        Dropout of the MLP.
    training : EncoderTraining, optional
        How encoder and head are trained, ``EncoderTraining()`` by default.
    class_weight : dict, "balanced" or None, default=None
        Weight per class. Multi-class only.
    device : str or torch.device, default="auto"
        "auto" takes the accelerator where there is one.
    random_state : int, RandomState instance or None, default=None
        Seeds validation rows, batches, dropout and the head's first weights.
    verbose : int, default=0
        1 prints a line per epoch.

    Attributes
    ----------
    classes_ : ndarray of shape (K,)
        Classes, or the label names of an indicator ``y``.
    multilabel_ : bool
        Whether ``y`` was a label indicator matrix.
    n_scores_ : int
        Score columns seen in `fit`.
    scorer_ : transformer or None
        The fitted scorer.
    trainer_ : EncoderTrainer
        Holds the trained encoder and head.

    See Also
    --------
    EncoderTraining : How encoder and head are trained.
    FusionClassifier : Head on frozen features; better with few labels.
    RobertaEmbedder : ``fine_tune=True`` gives cross-fitted scores of a fine-tuned encoder.

    Notes
    -----
    Cost: ``training.max_epochs`` passes of forward and backward through the encoder; a few
    thousand short texts take minutes on two cores with the embedded encoder (docs/embedding.md has
    measured times). Nothing changes on an accelerator but the speed. A pickle carries the trained
    weights and needs neither the model's folder nor the hub.

    References
    ----------
    The head without an encoder is that of LabelFusion (FusionMLP); two learning rates for encoder
    and head follow Howard and Ruder, "Universal language model fine-tuning for text
    classification", ACL 2018.

    Examples
    --------
    >>> from sklfusion import EncoderTraining, JointFusionClassifier
    >>> texts = ["the cup final", "a late goal", "the share price", "rates rise"] * 3
    >>> labels = ["sport", "sport", "money", "money"] * 3
    >>> clf = JointFusionClassifier(training=EncoderTraining(max_epochs=1), random_state=0)
    >>> clf = clf.fit(texts, labels)
    >>> clf.predict_proba(["the goal of the final"]).shape
    (1, 2)
    """

    _parameter_constraints: dict = {
        "pooling": [one_of("auto", "mean", "cls", "max")],
        "max_length": [integer(1), None],
        "loss": [one_of("auto", "cross_entropy", "binary_cross_entropy")],
        "fusion": [one_of("anchored", "concat")],
        "dropout": [number(0, 1, closed="left")],
        "class_weight": [dict, list, one_of("balanced", None)],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        model: Any = "all-minilm-l6-v2",
        *,
        scorer: Any = None,
        revision: str | None = None,
        pooling: str = "auto",
        max_length: int | None = 128,
        loss: str = "auto",
        fusion: Any = "anchored",
        hidden_layer_sizes: tuple[int, ...] = (64,),
        dropout: float = 0.1,
        training: Any = None,
        class_weight: dict | str | None = None,
        device: Any = "auto",
        random_state: int | np.random.RandomState | None = None,
        verbose: int = 0,
    ) -> None:
        self.model = model
        self.scorer = scorer
        self.revision = revision
        self.pooling = pooling
        self.max_length = max_length
        self.loss = loss
        self.fusion = fusion
        self.hidden_layer_sizes = hidden_layer_sizes
        self.dropout = dropout
        self.training = training
        self.class_weight = class_weight
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    @whole
    def fit(self, X: Any, y: Any, sample_weight: Any = None, *, scores: Any = None) -> Self:
        """Train encoder and head.

        Parameters
        ----------
        X : sequence of n str
            Texts.
        y : array-like of shape (n,) or (n, K)
            Class labels or a label indicator matrix.
        sample_weight : array-like of shape (n,), optional
            Weight per text.
        scores : array-like of shape (n, m * K), optional
            LLM scores in the order of ``classes_``: probabilities or log-probabilities, a row of
            NaN for a text without an answer. Not together with a `scorer`.

        Returns
        -------
        self

        Raises
        ------
        TypeError, ValueError
            If texts, labels, scores or a parameter are not as described.
        ModelLoadError
            If the encoder cannot be loaded.
        TrainingDivergedError
            If the loss stops being finite.
        """
        from sklfusion.embedding._finetune import Target
        from sklfusion.embedding._trainer import EncoderTrainer

        training = self._check_options()
        caller = type(self).__name__
        texts = replace_surrogates(check_texts(X, caller=caller), caller=caller)
        target = Target(y, len(texts), caller)
        self._check_loss(target)
        weights = self._weights(target, texts, sample_weight)
        self.classes_, self.multilabel_ = target.classes, target.multilabel
        self.scorer_ = None if self.scorer is None else self._fit_scorer(texts, y)
        self.n_scores_: Any = None  # not that of an earlier fit
        columns = self._score_columns(texts, scores)
        self.n_scores_ = 0 if columns is None else columns.shape[1]
        self._warn_of_idle_parameters()
        codes, answered = self._code(columns)
        seed = check_random_state(self.random_state).randint(2**31 - 1)
        self.trainer_ = EncoderTrainer(self.model, self.revision, self._settings(training)).fit(
            texts, target, codes=codes, answered=answered, weights=weights, seed=seed
        )
        return self

    def _fit_scorer(self, texts, y):
        """Fit the scorer on labels in its own names; keep what it calls our classes."""
        self._names = {}
        if not self.multilabel_:
            labels = read_labels(y, caller=type(self).__name__)
            y, _ = in_names(labels, declared_classes(self.scorer), caller=type(self).__name__)
            self._names = dict(zip(labels.tolist(), y.tolist(), strict=True))
        return clone(self.scorer).fit(texts, y)

    def predict_proba(self, X: Any, *, scores: Any = None) -> np.ndarray:
        """Probabilities; rows sum to 1 unless ``y`` was a label indicator matrix.

        Parameters
        ----------
        X : sequence of n str
            Texts; none at all is legal.
        scores : array-like of shape (n, n_scores), optional
            LLM scores, needed if `fit` was given some.

        Returns
        -------
        ndarray of shape (n, K)
        """
        check_is_fitted(self)
        caller = type(self).__name__
        texts = check_texts(X, caller=caller, allow_empty=True)
        texts = replace_surrogates(texts, caller=caller)
        if not texts:
            return np.empty((0, len(self.classes_)))
        codes, answered = self._code(self._score_columns(texts, scores))
        logits = self.trainer_.logits(texts, codes, answered).astype(float)
        return expit(logits) if self.multilabel_ else softmax(logits, axis=1)

    def predict(self, X: Any, *, scores: Any = None) -> np.ndarray:
        """Predict the class of each text, or its label indicator.

        Parameters
        ----------
        X : sequence of n str
            Texts.
        scores : array-like of shape (n, n_scores), optional
            LLM scores, needed if `fit` was given some.

        Returns
        -------
        ndarray
        """
        proba = self.predict_proba(X, scores=scores)
        if self.multilabel_:
            return (proba > 0.5).astype(int)
        return self.classes_[proba.argmax(axis=1)]

    @property
    def net_(self) -> Any:
        """The skorch net; ``net_.history`` has the losses by epoch."""
        check_is_fitted(self)
        return self.trainer_.net_

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "trainer_")

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags

    def _check_options(self):
        check_parameters(self)
        check_layers(self.hidden_layer_sizes, caller=type(self).__name__)
        training = resolve_training(self.training, EncoderTraining(), name="training")
        check_training(training, name="training", methods=("cross_entropy",))
        return training

    def _warn_of_idle_parameters(self):
        if not self.n_scores_:
            idle = ("hidden_layer_sizes", "dropout", "fusion")
            warn_if_set(self, idle, "without LLM scores the head is linear")

    def _check_loss(self, target):
        wanted = "binary_cross_entropy" if target.multilabel else "cross_entropy"
        if self.loss not in ("auto", wanted):
            kind = "a label indicator matrix" if target.multilabel else "one class per text"
            raise ValueError(
                f"loss={self.loss!r} does not fit y, which is {kind}. Use loss={wanted!r} or "
                "'auto'."
            )

    def _weights(self, target, texts, sample_weight):
        if sample_weight is None and self.class_weight is None:
            return None
        weights = check_sample_weight(sample_weight, np.zeros((len(texts), 1)))
        if (weights < 0).any() or not weights.sum() > 0:
            raise ValueError(
                "sample_weight must not be negative, and at least one must be positive."
            )
        if self.class_weight is not None:
            if target.multilabel:
                raise ValueError(
                    "class_weight needs one class per text; y is a label indicator matrix. "
                    "Use sample_weight."
                )
            labels = target.classes[target.labels]
            caller = type(self).__name__
            weights = weights * class_weight_rows(self.class_weight, labels, caller=caller)
        return weights

    def _score_columns(self, texts, scores):
        """Score columns in the order of ``classes_``, or None."""
        if scores is not None and self.scorer is not None:
            raise ValueError("pass either scores= or the parameter scorer, not both.")
        if self.scorer_ is not None:
            columns = self._in_order(self.scorer_.transform(texts))
        elif scores is not None:
            columns = as_matrix(scores)
        elif self.n_scores_:
            raise ValueError(
                f"{type(self).__name__} was fitted with {self.n_scores_} score columns; pass "
                "scores= of that width."
            )
        else:
            return None
        width = self.n_scores_
        n, k = len(texts), len(self.classes_)
        fits = columns.shape[1] == width if width is not None else columns.shape[1] % k == 0
        if len(columns) != n or not fits:
            wanted = f"a multiple of {k}" if width is None else width
            raise ValueError(
                f"{type(self).__name__} got scores of shape {columns.shape} for {n} texts and {k} "
                f"classes; it needs ({n}, {wanted}), one column per class and LLM."
            )
        return columns

    def _in_order(self, columns):
        """Columns of the scorer in our order, NaN where there is no answer."""
        known = getattr(self.scorer_, "classes_", None)
        if known is None and told_by(columns) is None:
            return as_matrix(columns)
        told = as_told(columns, known, self.multilabel_)
        names = getattr(self, "_names", {})  # models saved by earlier versions have none
        ours = [names.get(label, label) for label in self.classes_.tolist()]
        # an indicator without names: the columns are taken in the scorer's order
        unnamed = self.multilabel_ and not told.has_all(ours)
        return told.arranged(None if unnamed else ours)

    def _code(self, columns):
        if columns is None or not columns.shape[1]:
            return None, None
        return bounded_codes(columns, len(self.classes_), self.multilabel_)

    def _settings(self, training):
        k = len(self.classes_)
        sizes = (k,) * (self.n_scores_ // k)
        head = {"block_sizes": sizes, "dropout": self.dropout}
        head["hidden_layer_sizes"] = check_layers(self.hidden_layer_sizes) if sizes else ()
        head["anchor"] = bool(sizes) and self.fusion == "anchored"
        return trainer_settings(
            training,
            head=head,
            eval_batch_size=EVAL_BATCH_SIZE,
            pooling=self.pooling,
            max_length=self.max_length,
            device=str(self.device),
            verbose=self.verbose,
        )
