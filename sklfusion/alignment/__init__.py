"""Multi-label distribution alignment: label probabilities that agree with what people say.

Estimators and metrics work on :class:`~sklfusion.Annotations` and arrays and need no LLM. What
fills the annotations stands apart: :class:`~sklfusion.LabelDistributionCollector`.
"""

from sklfusion.alignment._display import AlignmentDisplay, alignment_table
from sklfusion.alignment._estimator import LabelDistributionEstimator
from sklfusion.alignment._methods import (
    METHODS,
    bradley_terry,
    calls_per_text,
    compare_to_none,
    hard_distribution,
    max_over_steps,
    unary_distribution,
)
from sklfusion.alignment._pool import DistributionPool, expected_f1_sets
from sklfusion.alignment.metrics import (
    alignment_l1,
    alignment_nll,
    annotator_rates,
    example_f1,
    example_f1_scorer,
    jensen_shannon,
    neg_alignment_l1_scorer,
    neg_alignment_nll_scorer,
    neg_jensen_shannon_scorer,
)

__all__ = [
    "METHODS",
    "AlignmentDisplay",
    "DistributionPool",
    "LabelDistributionEstimator",
    "alignment_l1",
    "alignment_nll",
    "alignment_table",
    "annotator_rates",
    "bradley_terry",
    "calls_per_text",
    "compare_to_none",
    "example_f1",
    "example_f1_scorer",
    "expected_f1_sets",
    "hard_distribution",
    "jensen_shannon",
    "max_over_steps",
    "neg_alignment_l1_scorer",
    "neg_alignment_nll_scorer",
    "neg_jensen_shannon_scorer",
    "unary_distribution",
]
