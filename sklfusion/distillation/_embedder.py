"""`StaticEmbedder`: texts to vectors without an encoder at hand."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from sklfusion._sklearn_compat import check_parameters, integer, wrap_output
from sklfusion._text_input import TextInputMixin, check_texts, replace_surrogates
from sklfusion._whole import whole
from sklfusion.distillation._vectors import mean_vectors, token_vectors
from sklfusion.models import DEFAULT_EMBEDDER


class StaticEmbedder(TextInputMixin, TransformerMixin, BaseEstimator):
    """Mean of one stored vector per token: about two hundred times faster than the encoder.

    The vectors are made from an encoder once, by the recipe of model2vec, and kept on disk. A
    fitted object needs neither the encoder nor torch.

    Parameters
    ----------
    model : str or Path, default="all-minilm-l6-v2"
        The encoder: an embedded one, a folder, or a hub id. Its tokenizer must be a fast one.
    dimensions : int, default=128
        Width of a vector; at most that of the encoder.
    memory : None, str or joblib.Memory, default=None
        Folder in which the vectors are kept, by the digest of the encoder; None is
        ``~/.cache/sklfusion`` (``$XDG_CACHE_HOME/sklfusion``).

    Attributes
    ----------
    vectors_ : ndarray of shape (V, d), int8
        One row per token of the vocabulary.
    tokenizer_ : str
        The tokenizer, as the JSON of the package ``tokenizers``.
    model_digest_ : str
        Digest of the encoder.
    n_features_out_ : int
        d.

    See Also
    --------
    RobertaEmbedder : The encoder itself.
    StudentClassifier : A classifier on these vectors.

    Notes
    -----
    Cost: the first ``fit`` on a machine encodes every token of the vocabulary (half a minute on
    one core for the embedded encoder); each further one reads a file of 5 MB. Nothing of a text
    is cut off, and word order plays no part.

    References
    ----------
    .. [1] Tulkens and van Dongen, "Model2Vec: Fast State-of-the-Art Static Embeddings", 2024.
    .. [2] Arora, Liang and Ma, "A Simple but Tough-to-Beat Baseline for Sentence Embeddings",
       2017.

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklfusion import StaticEmbedder
    >>> clf = make_pipeline(StaticEmbedder(), LogisticRegression(C=10))
    >>> clf.fit(texts, labels).predict(new_texts)  # doctest: +SKIP
    """

    _parameter_constraints: dict = {"dimensions": [integer(1)]}

    def __init__(
        self, model: Any = DEFAULT_EMBEDDER, *, dimensions: int = 128, memory: Any = None
    ) -> None:
        self.model = model
        self.dimensions = dimensions
        self.memory = memory

    @whole
    def fit(self, X: Any, y: Any = None) -> Self:
        """Read the vectors, or make them.

        Parameters
        ----------
        X : sequence of n str
            Texts; they are looked at, not learnt from.
        y : ignored
            For the interface only.

        Returns
        -------
        self

        Raises
        ------
        TypeError, ValueError
            If a text is missing or not a str, or ``dimensions`` is no width that can be had.
        ModelLoadError
            If the encoder is not there.
        """
        check_parameters(self)
        self._texts(X)
        found = token_vectors(self.model, self.dimensions, self.memory)
        self.vectors_, self.tokenizer_ = found.vectors, found.tokenizer
        self.model_digest_ = found.digest
        self.n_features_out_ = self.vectors_.shape[1]
        self.__dict__.pop("_open", None)
        self._tokenizer()  # now, so that to transform changes nothing
        return self

    def transform(self, X: Any) -> Any:
        """Return the vectors of texts.

        Parameters
        ----------
        X : sequence of n str
            Texts; none at all is legal.

        Returns
        -------
        ndarray of shape (n, n_features_out), float32
            Rows of length 1; zeros for a text without a known token.
        """
        check_is_fitted(self, "vectors_")
        texts = self._texts(X, allow_empty=True)
        rows = mean_vectors(self._tokenizer(), self.vectors_, texts)
        return wrap_output("transform", rows, X, self)

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Return ``static_<i>`` for each column.

        Parameters
        ----------
        input_features : None
            Ignored; scikit-learn passes it.

        Returns
        -------
        ndarray of str
            One name per column.
        """
        check_is_fitted(self, "vectors_")
        return np.array([f"static_{i}" for i in range(self.n_features_out_)], dtype=object)

    def _texts(self, X, allow_empty=False):
        texts = check_texts(X, caller="StaticEmbedder", allow_empty=allow_empty)
        return replace_surrogates(texts, caller="StaticEmbedder")

    def _tokenizer(self):
        """The tokenizer, read from its JSON once per object and process."""
        if "_open" not in self.__dict__:
            from tokenizers import Tokenizer

            self._open = Tokenizer.from_str(self.tokenizer_)
        return self._open

    def __getstate__(self):
        state = super().__getstate__().copy()
        state.pop("_open", None)
        return state
