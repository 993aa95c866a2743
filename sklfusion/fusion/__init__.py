"""Fusion of encoder features and LLM scores. Imports no LLM code."""

from sklfusion.fusion._classifier import FusionClassifier
from sklfusion.fusion._module import FusionMLP

__all__ = ["FusionClassifier", "FusionMLP"]
