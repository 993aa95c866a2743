"""Fuse an LLM and a transformer encoder into one scikit-learn text classifier.

Public names load on first use, so that ``import sklfusion`` brings in neither torch nor
transformers nor openai.
"""

from sklfusion._lazy import attach as _attach

__version__ = "0.1.0"

# The public names, and the modules that they live in, stand in __init__.pyi.
__getattr__, __dir__, __all__ = _attach(__name__)
