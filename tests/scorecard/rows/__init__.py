"""The rows of the reliability scorecard: one function per fault or bad input."""

from scorecard.rows import (  # noqa: F401 - importing a module registers its rows
    answers,
    bundles,
    cache,
    damage,
    decisions,
    estimators,
    labels,
    network,
    processes,
    refusals,
    replies,
    secrets,
    settings,
    texts,
    wire,
)
from scorecard.rows._base import FAMILIES, NIGHTLY, ROWS, Context, Row, all_ids

__all__ = ["FAMILIES", "NIGHTLY", "ROWS", "Context", "Row", "all_ids"]
