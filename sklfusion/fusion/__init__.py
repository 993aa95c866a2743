"""Fusion of encoder features and LLM scores. Imports no LLM code."""

from sklfusion._lazy import attach as _attach

__getattr__, __dir__, __all__ = _attach(__name__)
