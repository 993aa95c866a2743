"""All displays: accuracy by budget, reliability, trust, cost, stability, alignment, promises."""

from sklfusion._lazy import attach as _attach

__getattr__, __dir__, __all__ = _attach(__name__)
