"""From a model that asks an LLM to a small one that does not: static vectors and a student."""

from sklfusion._lazy import attach as _attach

__getattr__, __dir__, __all__ = _attach(__name__)
