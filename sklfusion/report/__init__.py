"""`EvaluationReport`: an honest evaluation as one file to show around."""

from sklfusion.report._report import EvaluationReport

__all__ = ["EvaluationReport"]
