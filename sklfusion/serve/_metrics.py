"""What the service counts, in the text format of Prometheus."""

from __future__ import annotations

from typing import Any

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)

#: Bounds in seconds: from a small model's answer to an LLM's that had to wait.
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class ServiceMetrics:
    """Counters of one service, in a registry of its own. No label holds anything from a body."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        own: dict[str, Any] = {"registry": self.registry, "namespace": "sklfusion"}
        self.requests = Counter("requests", "Answered requests.", ["route", "status"], **own)
        self.seconds = Histogram(
            "request_seconds", "From the head of a request to its reply.", ["route"],
            buckets=_SECONDS, **own,
        )  # fmt: skip
        self.in_flight = Gauge("requests_in_flight", "Requests being answered.", **own)
        self.waiting = Gauge("texts_waiting", "Texts in the queue.", **own)
        self.batch_texts = Histogram(
            "batch_texts", "Texts in one call of the model.", buckets=_SIZES, **own
        )
        self.batch_seconds = Histogram(
            "batch_seconds", "Time of one call of the model.", buckets=_SECONDS, **own
        )
        self.decisions = Counter("decisions", "Answered questions.", ["source"], **own)
        ProcessCollector(registry=self.registry)
        self.accepted = self.answered = 0

    def batch(self, texts: int, seconds: float) -> None:
        """Count one call of the model."""
        self.batch_texts.observe(texts)
        self.batch_seconds.observe(seconds)

    def page(self) -> bytes:
        """Return all counters as text."""
        return generate_latest(self.registry)
