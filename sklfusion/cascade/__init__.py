"""Ask the LLM only where it pays: the classifier, its cost curve, its budget."""

from sklfusion.cascade._classifier import CascadeClassifier

__all__ = ["CascadeClassifier"]
