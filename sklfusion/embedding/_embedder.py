"""`RobertaEmbedder`: texts to vectors with a transformer encoder."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted

from sklfusion._sklearn_compat import wrap_output
from sklfusion._text_input import TextInputMixin, check_texts, replace_surrogates
from sklfusion._whole import whole
from sklfusion.embedding._archive import pack_folder, unpack
from sklfusion.embedding._checks import CONSTRAINTS_OF_EMBEDDER, check_embedder
from sklfusion.embedding._vectors import frozen_vectors
from sklfusion.exceptions import ModelLoadError


class RobertaEmbedder(TextInputMixin, TransformerMixin, BaseEstimator):
    """Encode texts with a transformer encoder.

    Takes any encoder that ``transformers.AutoModel`` loads; RoBERTa and its kin are what it was
    made for. The default is an embedded model that needs no network: all-MiniLM-L6-v2, which is
    a BERT (``sklfusion models install``).

    Frozen (the default), it learns nothing from the texts. With ``fine_tune`` it trains the
    encoder on ``y`` and gives class scores instead; ``fit_transform`` then gives *out-of-fold*
    scores, as ``sklearn.preprocessing.TargetEncoder`` does, so that what is fitted on them does
    not see a text scored by a model that was trained on it.

    Parameters
    ----------
    model : str or Path, default="all-minilm-l6-v2"
        Alias of an embedded model, a folder written by ``save_pretrained`` (model and tokenizer),
        or a hub id such as ``"roberta-base"``.
    revision : str, optional
        Branch, tag or commit of a hub id. Give a commit to be reproducible.
    pooling : {"auto", "mean", "cls", "max"}, default="auto"
        How token vectors become one. "auto" follows the model's own pooling file where it has one
        (sentence models) and takes the mean elsewhere.
    max_length : int or None, default=256
        Tokens read at once, special tokens included; `long_texts` says what becomes of longer
        texts, `truncated` which they are. Capped by the model's positions, which None takes all.
    long_texts : {"mean", "truncate", "max"}, default="mean"
        What becomes of a text longer than that. "mean" and "max" read it in windows of even
        length and give the mean of their vectors, or the largest value by dimension, scaled to
        length 1 with `normalize`. "truncate" reads the beginning. A `DataWarning` counts the texts
        that lose their end: with "truncate" all longer ones, else those beyond 64 windows. A
        fine-tuned encoder reads the beginning always.
    batch_size : int or "auto", default="auto"
        Texts per batch of encoding. "auto" fills batches by their number of tokens. Changes speed
        and memory, not the result.
    device : str or torch.device, default="auto"
        "auto" takes the accelerator where there is one.
    dtype : {"float32", "auto", "float16", "bfloat16"}, default="float32"
        Precision of the frozen weights. "auto" is half precision on an accelerator, bfloat16 on a
        CPU that has a unit for it, and float32 elsewhere: about three times as fast with the unit,
        at a cosine of .999 to float32, and then not the same on every machine. The output is
        float32 always.
    backend : {"auto", "torch", "onnx", "openvino"}, default="auto"
        What runs the frozen encoder. "onnx" and "openvino" (extras of these names, CPU) export
        it once, some seconds for a small one, keep the file by the digest of the weights under
        `memory` or in the user's cache folder (``~/.cache/sklfusion``), and check its vectors
        against torch. "auto" is torch, until a call has 2,000 texts to encode: then it times what
        is installed on some of them, once per weights and machine, and takes the fastest from
        there on (`backend_` tells which). With `fine_tune` "torch" or "auto".
    normalize : bool, default=True
        Whether vectors are scaled to length 1.
    memory : None, str, Path or joblib.Memory, default=None
        Folder in which vectors are kept, one row per distinct text, model and settings. Processes
        may share it. Scores of a fine-tuned encoder are not kept.
    fine_tune : bool, "contrastive" or EncoderTraining, default=False
        Whether and how `fit` trains the encoder on ``y``, class labels or a label indicator
        matrix. True is ``EncoderTraining()``, (binary) cross-entropy, for a thousand texts or
        more. "contrastive", ``EncoderTraining("contrastive")``, is for a few dozen to a few
        hundred.
    classes : sequence, optional
        All classes, where ``y`` may show only some of them, so that the scores have a column for
        each; with an indicator ``y`` the names of its columns. By default those of ``y``.
        Fine-tuned only.
    output : {"auto", "scores", "embedding", "both"}, default="auto"
        Columns. "embedding": the vector of the frozen encoder. "scores" (fine-tuned only): one
        ``encoder_<class>`` per class, the log-probability, or with an indicator ``y`` the
        log-odds. "both": the scores, then the frozen vector. "auto": "scores" when fine-tuned.
    cv : int or splitter, default=3
        Folds of the out-of-fold scores in `fit_transform`; each trains one more encoder. An int
        makes (stratified) shuffled folds.
    random_state : int, RandomState instance or None, default=None
        Seeds folds, order of batches, dropout and the first weights of the classification layer.
    store_weights : "auto" or bool, default="auto"
        Whether a pickle carries the weights of the frozen encoder. "auto" does not: the pickle
        holds the name, the revision and a digest that is checked when the model is loaded again.
        True makes the pickle independent of the model's folder or hub. Fine-tuned weights are
        always carried.
    verbose : int, default=0
        1 shows progress.

    Attributes
    ----------
    model_digest_ : str
        sha256 over the model's configuration, tokenizer and weight files.
    n_features_out_ : int
        Number of columns.
    backend_ : str
        What encodes and in which precision, such as "onnx float32".
    classes_ : ndarray of shape (K,)
        Classes in the order of the score columns: sorted, or as the columns of an indicator.
        Fine-tuned only.
    trainer_ : EncoderTrainer
        The fine-tuned encoder; its ``net_`` is a skorch net. Fine-tuned only.

    See Also
    --------
    EncoderTraining : How the encoder is trained.
    JointFusionClassifier : Train the encoder together with the fusion head.

    Notes
    -----
    A fit of the frozen encoder validates parameters, finds the model and notes its width and
    digest; weights are loaded at the first text that is not in `memory`, once per process for all
    clones. Each distinct text is encoded once per call. Texts of like length share a batch, and
    neither their order nor `batch_size` changes a vector by more than float32 rounding.

    Vectors of encoders that were fine-tuned on different folds cannot be compared with each
    other, but their class scores can: hence scores are what comes out.

    Examples
    --------
    >>> from sklfusion import RobertaEmbedder
    >>> embedder = RobertaEmbedder().fit(["Rates rise again.", "A late goal wins the cup."])
    >>> embedder.transform(["The bank keeps its rate."]).shape
    (1, 384)
    >>> embedder.get_feature_names_out()[:2]
    array(['embedding_0', 'embedding_1'], dtype=object)
    """

    _parameter_constraints: dict = CONSTRAINTS_OF_EMBEDDER

    def __init__(
        self,
        model: Any = "all-minilm-l6-v2",
        *,
        revision: str | None = None,
        pooling: str = "auto",
        max_length: int | None = 256,
        long_texts: str = "mean",
        batch_size: int | str = "auto",
        device: Any = "auto",
        dtype: str = "float32",
        backend: str = "auto",
        normalize: bool = True,
        memory: Any = None,
        fine_tune: bool = False,
        classes: Any = None,
        output: str = "auto",
        cv: Any = 3,
        random_state: int | np.random.RandomState | None = None,
        store_weights: str | bool = "auto",
        verbose: int = 0,
    ) -> None:
        self.model = model
        self.revision = revision
        self.pooling = pooling
        self.max_length = max_length
        self.long_texts = long_texts
        self.batch_size = batch_size
        self.device = device
        self.dtype = dtype
        self.backend = backend
        self.normalize = normalize
        self.memory = memory
        self.fine_tune = fine_tune
        self.classes = classes
        self.output = output
        self.cv = cv
        self.random_state = random_state
        self.store_weights = store_weights
        self.verbose = verbose

    @whole
    def fit(self, X: Any, y: Any = None) -> Self:
        """Find the encoder; train it with ``fine_tune``.

        Parameters
        ----------
        X : sequence of n str
            Texts: a list, a 1-d array, a Series, or a frame of one column.
        y : array-like of shape (n,) or (n, K), optional
            Class labels or a label indicator matrix. Ignored without ``fine_tune``.

        Returns
        -------
        self

        Raises
        ------
        TypeError, ValueError
            If a text is missing or not a str (named by index), or a parameter has no legal value.
        ModelLoadError
            If the encoder is unknown, not installed, or cannot be loaded.
        """
        texts = self._prepare_fit(X)
        if self.fine_tune:
            from sklfusion.embedding._finetune import fit_encoder

            fit_encoder(self, texts, y)
        return self

    @whole
    def fit_transform(self, X: Any, y: Any = None) -> Any:
        """Fit, and transform the same texts; with ``fine_tune`` the scores are out of fold.

        Parameters
        ----------
        X : sequence of n str
            Texts.
        y : array-like of shape (n,) or (n, K), optional
            Class labels or a label indicator matrix. Ignored without ``fine_tune``.

        Returns
        -------
        ndarray of shape (n, n_features_out), float32
        """
        if not self.fine_tune:
            return self.fit(X, y).transform(X)
        from sklfusion.embedding._finetune import cross_fit

        texts = self._prepare_fit(X)
        scores = cross_fit(self, texts, y)
        return wrap_output("transform", self._columns(texts, scores), X, self)

    def transform(self, X: Any) -> Any:
        """Encode texts.

        Parameters
        ----------
        X : sequence of n str
            Texts; none at all is legal.

        Returns
        -------
        ndarray of shape (n, n_features_out), float32
        """
        check_is_fitted(self)
        texts = self._texts(X, allow_empty=True)
        if not texts:
            return np.empty((0, self.n_features_out_), dtype=np.float32)
        scores = self.trainer_.scores(texts) if self.fine_tune else None
        return self._columns(texts, scores)

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Return the names of the columns: ``encoder_<class>`` and ``embedding_<i>``.

        Parameters
        ----------
        input_features : ignored
            For the interface only.

        Returns
        -------
        ndarray of str objects
        """
        check_is_fitted(self)
        names = []
        if self.fine_tune:
            names += [f"encoder_{name}" for name in self.classes_]
        if self._gives_embedding():
            names += [f"embedding_{i}" for i in range(self._width)]
        return np.asarray(names, dtype=object)

    def truncated(self, X: Any) -> np.ndarray:
        """Tell which texts are longer than the encoder reads at once (see `long_texts`).

        Parameters
        ----------
        X : sequence of n str
            Texts.

        Returns
        -------
        ndarray of shape (n,), bool
        """
        check_is_fitted(self)
        texts = self._texts(X, allow_empty=True)
        if not texts:
            return np.zeros(0, dtype=bool)
        from sklfusion.embedding._encode import tokenize

        backbone = self._backbone()
        limit = self._length(backbone)
        return np.array([len(row) > limit for row in tokenize(backbone, texts, limit + 1)])

    @property
    def backend_(self) -> str:
        """What encodes and in which precision, such as "onnx float32"."""
        check_is_fitted(self)
        from sklfusion.embedding._engines import chosen, possible

        return str(chosen(self) or possible(self)[0])

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "model_digest_")

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = bool(self.fine_tune)
        tags.target_tags.multi_output = bool(self.fine_tune)
        return tags

    def __getstate__(self):
        state = super().__getstate__().copy()
        if self.store_weights is True and self.__sklearn_is_fitted__():
            if "_files" not in state:
                state["_files"] = pack_folder(self._folder())
        else:
            state.pop("_files", None)
        return state

    def __setstate__(self, state):
        # a model from before these parameters read the beginning of long texts
        super().__setstate__({"long_texts": "truncate", "backend": "auto", **state})

    def _prepare_fit(self, X):
        from sklfusion.embedding._backbone import describe

        check_embedder(self)
        texts = self._texts(X)
        self.__dict__.pop("_files", None)
        description = describe(self.model, self.revision)
        self.model_digest_ = description.digest
        self._width = description.width
        self.n_features_out_ = description.width
        return texts

    def _texts(self, X, allow_empty=False):
        caller = type(self).__name__
        texts = check_texts(X, caller=caller, allow_empty=allow_empty)
        return replace_surrogates(texts, caller=caller)

    def _gives_embedding(self):
        return not self.fine_tune or self.output == "both"

    def _columns(self, texts, scores):
        parts = [] if scores is None else [scores]
        if self._gives_embedding():
            parts.append(frozen_vectors(self, texts))
        return np.hstack(parts) if len(parts) > 1 else parts[0]

    def _pooling(self, backbone):
        return backbone.pooling if self.pooling == "auto" else self.pooling

    def _length(self, backbone):
        limit = backbone.max_positions
        return limit if self.max_length is None else min(self.max_length, limit)

    def _folder(self):
        from sklfusion.embedding._backbone import model_folder

        return model_folder(self._source(), self.revision)

    def _source(self):
        files = self.__dict__.get("_files")
        return self.model if files is None else unpack(files, self.model_digest_)

    def _backbone(self, on_cpu=False):
        """The loaded encoder; `on_cpu` as an export needs it, in float32."""
        from sklfusion.embedding._backbone import load_backbone, resolve_device, resolve_dtype

        device = resolve_device("cpu" if on_cpu else self.device)
        dtype = resolve_dtype("float32" if on_cpu else self.dtype, device)
        source = self._source()
        backbone = load_backbone(source, self.revision, device=device, dtype=dtype)
        if backbone.digest != self.model_digest_:
            raise ModelLoadError(
                f"the encoder {self.model!r} is not the one that this {type(self).__name__} was "
                f"fitted with (digest {backbone.digest[:16]}…, expected "
                f"{self.model_digest_[:16]}…). Pin it with revision=, carry it in the pickle with "
                "store_weights=True, or fit again."
            )
        return backbone
