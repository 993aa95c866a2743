"""Estimators that turn what an LLM says about texts into score columns or labels.

``_plan`` knows how one text is asked under each strategy, ``_session`` asks many, ``_base`` holds
the parameters that all estimators share.
"""

from sklfusion.scoring._classifier import LLMClassifier
from sklfusion.scoring._recorded import RecordedScorer
from sklfusion.scoring._scorer import LLMScorer

__all__ = ["LLMClassifier", "LLMScorer", "RecordedScorer"]
