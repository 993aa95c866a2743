"""From the columns of X to the arrays that `FusionMLP` takes."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sklfusion._scores import ScoreBlock, on_simplex, scale_of
from sklfusion.fusion._columns import find_columns
from sklfusion.fusion._score_values import is_score
from sklfusion.fusion._votes import code_scores, find_coding

_BAND = 2.0  # see _column_scale


@dataclass
class Inputs:
    """Scaling of the encoder columns and coding of the score blocks, fitted on training rows."""

    family: str
    multilabel: bool
    encoder: np.ndarray
    blocks: list
    is_encoder: list  # per block: encoder probabilities (True) or an LLM (False)
    mean: Any = None
    scale: Any = None
    codings: list = field(default_factory=list)

    def fit(self, X):
        """Learn centre and scale of the encoder columns and the coding of each block."""
        E = X[:, self.encoder].astype(np.float64)
        self.mean = E.mean(axis=0)
        self.scale = _column_scale(np.sqrt(((E - self.mean) ** 2).mean(axis=0)), self.mean)
        for block, own in zip(self.blocks, self.is_encoder, strict=True):
            scores, answered = self.scores(X, block)
            self.codings.append("score" if own else find_coding(scores, answered, self.family))
        return self

    def features(self, X):
        """Encoder columns, centred, with mean squared row norm 1."""
        return (X[:, self.encoder].astype(np.float64) - self.mean) * self.scale

    def scores(self, X, block):
        """Log-probabilities (softmax) or log-odds (sigmoid) of a block, and who answered."""
        return block.read(X, self.family, self.multilabel)

    def codes(self, X):
        """Coded scores (n, sum of block widths) and answer marks (n, number of blocks)."""
        coded, marks = [np.empty((len(X), 0))], [np.empty((len(X), 0))]
        for block, coding in zip(self.blocks, self.codings, strict=True):
            scores, answered = self.scores(X, block)
            coded.append(code_scores(scores, coding, self.family) * answered[:, None])
            marks.append(answered[:, None].astype(np.float64))
        return np.hstack(coded), np.hstack(marks)

    def transform(self, X):
        """Keyword arguments of :meth:`FusionMLP.forward`."""
        codes, answered = self.codes(X)
        return {"encoder": self.features(X), "codes": codes, "answered": answered}

    def block_sizes(self, n_classes):
        """Width of each coded block."""
        if self.family == "sigmoid":
            return tuple(n_classes for _ in self.blocks)
        return tuple(len(block.columns) for block in self.blocks)

    def input_scale(self, inputs):
        """Factor per MLP input that gives every block the same mean squared row norm."""
        encoder, codes, answered = inputs["encoder"], inputs["codes"], inputs["answered"]
        width = encoder.shape[1] + codes.shape[1] + answered.shape[1]
        parts, norms = [encoder] if encoder.shape[1] else [], []
        if codes.shape[1]:
            sizes = self.block_sizes(codes.shape[1] // max(len(self.blocks), 1))
            parts += np.split(codes, np.cumsum(sizes)[:-1], axis=1)
        for part in parts:
            norm = np.sqrt((part**2).sum(axis=1).mean())
            norms.append(np.full(part.shape[1], np.sqrt(width / len(parts)) / max(norm, 1e-6)))
        return np.concatenate([*norms, np.ones(answered.shape[1])]).astype(np.float32)


def find_inputs(est, X, Y):
    """Return the score columns of a `FusionClassifier`, what told them, and the fitted inputs."""
    names = getattr(est, "feature_names_in_", None)
    told = (est.score_columns, est.score_classes, est.classes_.tolist(), names)
    found = find_columns(X, Y, *told, est.multilabel_)
    encoder, proba = found.encoder, None
    if found.blocks and len(encoder):
        encoder, proba = split_encoder(X, Y, encoder, est.features, est.multilabel_)
    blocks = ([proba] if proba is not None else []) + found.blocks
    own = [block is proba for block in blocks]
    inputs = Inputs(est._family, est.multilabel_, encoder, blocks, own).fit(X)
    return found.scores, found.found_by, inputs


def _column_scale(deviation, mean):
    """Factor per column that leaves a mean squared row norm of 1, shape (d,).

    The columns of an embedding share one scale: on its own scale, a column that hardly varies
    would be blown up to noise, and with 20 rows every deviation is a guess. Only columns whose
    deviation is more than `_BAND` times off the median are brought to the edge of that band, so
    that an outlier dimension, or a column in other units, rules nothing.
    """
    varies = deviation > 1e-12 * np.abs(mean).max(initial=1.0)
    scale = np.zeros(len(deviation))
    if varies.any():
        own = deviation[varies]
        kept = np.clip(own / np.median(own), 1 / _BAND, _BAND)
        scale[varies] = kept / (own * np.sqrt((kept**2).sum()))
    return scale


def split_encoder(X, Y, columns, features, multilabel):
    """Split the encoder columns into embedding and class probabilities, as ``features`` asks.

    Returns the embedding columns and a ScoreBlock of the probabilities (or None). Probabilities
    are looked for in the first and in the last K encoder columns.
    """
    n_classes = Y.shape[1]
    proba = None
    if features != "embedding" or len(columns) > n_classes:
        for candidate in (columns[-n_classes:], columns[:n_classes]):
            if len(candidate) == n_classes and _is_proba(X[:, candidate], Y, multilabel):
                proba = candidate
                break
    rest = columns if proba is None else np.setdiff1d(columns, proba)
    if features == "auto":
        features = "embedding" if proba is None else "both" if len(rest) else "proba"
    if features in ("proba", "both") and proba is None:
        raise ValueError(
            f"features={features!r} needs {n_classes} encoder columns that are class "
            "probabilities, first or last among the columns that are not LLM scores; there are "
            'none. Pass features="embedding", or check score_columns.'
        )
    block = None
    if features != "embedding":
        block = ScoreBlock("encoder_proba" if len(rest) else "encoder", np.asarray(proba))
        block.scale = scale_of(X[:, proba], multilabel)
        block.mapping = np.arange(n_classes)
    return (np.empty(0, dtype=int) if features == "proba" else rest), block


def _is_proba(S, Y, multilabel):
    if not multilabel:
        return on_simplex(S) is not None
    # a collapsed encoder says nothing about its labels, yet its columns are probabilities
    return bool(((S >= 0) & (S <= 1)).all()) and (
        is_score(S, Y, multilabel) or not np.isin(S, (0, 1)).all()
    )
