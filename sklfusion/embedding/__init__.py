"""Texts to vectors or class scores: an encoder, frozen, fine-tuned, or trained with the head."""

from sklfusion._lazy import attach as _attach

__getattr__, __dir__, __all__ = _attach(__name__)
