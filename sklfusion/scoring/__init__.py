"""Estimators that turn what an LLM says about texts into score columns or labels.

``_strategies`` knows how one text is asked about, ``_asking`` asks about many, ``_to_annotations``
makes arrays of what came of it; ``_base`` holds what all estimators share.
"""

from sklfusion._lazy import attach as _attach

__getattr__, __dir__, __all__ = _attach(__name__)
