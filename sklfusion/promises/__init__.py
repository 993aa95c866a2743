"""Promises with a probability: what share, how sure, how many labels.

All of them stand on out-of-fold probabilities of labelled rows that were drawn at random. Nothing
here asks an LLM by itself: what a fitted model says of a text is asked of that model once.
"""

from sklfusion._lazy import attach as _attach

__getattr__, __dir__, __all__ = _attach(__name__)
