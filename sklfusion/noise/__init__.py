"""Training on labels that an LLM wrote: measure the damage, repair it, learn through it.

Nothing here talks to an LLM. The estimators take features (embeddings) and noisy labels: an array
in which -1, None or NaN is a text that the LLM refused, or the
:class:`~sklfusion.Annotations` that a scorer made.
"""

from sklfusion._lazy import attach as _attach

__getattr__, __dir__, __all__ = _attach(__name__)
