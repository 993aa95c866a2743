"""Texts to vectors: a transformer encoder as a scikit-learn transformer, frozen or fine-tuned."""

from sklfusion.embedding._embedder import RobertaEmbedder

__all__ = ["RobertaEmbedder"]
