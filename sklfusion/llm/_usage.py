"""What a run used and cost, counted by reply."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

from sklfusion.llm._prices import Price
from sklfusion.llm._types import Usage


@dataclass
class UsageReport:
    """Counts of everything that was asked, answered and paid by one scorer.

    Attributes
    ----------
    texts : int
        Rows scored, duplicates included.
    requests : int
        Replies that arrived and were paid for.
    attempts : int
        Requests that went out, including those that failed.
    cached : int
        Answers that came from the reply store or from this object's memory.
    duplicates : int
        Rows that shared an answer with another row.
    retries, unknown, reparsed : int
        Further attempts; attempts that may have been paid without an answer; answers that were
        asked for again because they could not be used.
    prompt_tokens, completion_tokens, cached_tokens : int
        As counted by the endpoint.
    uncounted : int
        Replies whose tokens the endpoint did not count.
    cost : float or None
        In the currency of the prices; None if the price is not known.
    failures : dict
        Rows without an answer, by cause.
    flags : dict
        Answers that were used with a reservation (normalised, other model, truncated text, ...).
    """

    texts: int = 0
    requests: int = 0
    attempts: int = 0
    cached: int = 0
    duplicates: int = 0
    retries: int = 0
    unknown: int = 0
    reparsed: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    uncounted: int = 0
    cost: float | None = 0.0
    failures: dict[str, int] = field(default_factory=dict)
    flags: dict[str, int] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)


class Meter:
    """Counts for a :class:`UsageReport` from many threads, and holds the budget.

    Parameters
    ----------
    report : UsageReport
        Counted up in place.
    price : Price or None
        Of the model.
    budget : mapping or None
        Largest "money", "tokens" or "requests" that this object may use.
    """

    def __init__(
        self, report: UsageReport, price: Price | None, budget: dict[str, float] | None = None
    ) -> None:
        self.report = report
        self._price = price
        self._budget = budget or {}
        self._lock = threading.Lock()
        self._reserved: Counter[str] = Counter()
        if price is None:
            report.cost = None

    def add(self, **counts: int) -> None:
        """Count events."""
        with self._lock:
            for name, number in counts.items():
                setattr(self.report, name, getattr(self.report, name) + number)

    def failure(self, cause: str, rows: int = 1) -> None:
        """Count rows without an answer."""
        with self._lock:
            self.report.failures[cause] = self.report.failures.get(cause, 0) + rows

    def flag(self, name: str, rows: int = 1) -> None:
        """Count answers used with a reservation."""
        with self._lock:
            self.report.flags[name] = self.report.flags.get(name, 0) + rows

    def _expected(self, guess: Usage) -> dict[str, float]:
        tokens = (guess.prompt_tokens or 0) + (guess.completion_tokens or 0)
        money = (self._price.cost(guess) or 0.0) if self._price else 0.0
        return {"requests": 1.0, "tokens": float(tokens), "money": money}

    def _spent(self) -> dict[str, float]:
        report = self.report
        return {
            "requests": float(report.requests),
            "tokens": float(report.prompt_tokens + report.completion_tokens),
            "money": report.cost or 0.0,
        }

    def reserve(self, guess: Usage) -> str | None:
        """Set the expected cost of a request aside; return what the budget lacks, if anything."""
        expected = self._expected(guess)
        with self._lock:
            spent = self._spent()
            for name, limit in self._budget.items():
                if spent[name] + self._reserved[name] + expected[name] > limit:
                    under_way = self._reserved[name]
                    return (
                        f"{name}: {spent[name]:.6g} of {limit:.6g} used, {under_way:.6g} under way"
                    )
            for name, amount in expected.items():
                self._reserved[name] += amount  # type: ignore[assignment]
        return None

    def give_back(self, guess: Usage) -> None:
        """End the reservation of a request, whatever came of it."""
        with self._lock:
            for name, amount in self._expected(guess).items():
                self._reserved[name] -= amount  # type: ignore[assignment]

    def paid(self, usage: Usage, guess: Usage) -> None:
        """Count a reply; where the endpoint did not count its tokens the guess stands in."""
        with self._lock:
            report = self.report
            report.requests += 1
            known = usage.prompt_tokens is not None and usage.completion_tokens is not None
            report.uncounted += not known
            counted = usage if known else guess
            report.prompt_tokens += counted.prompt_tokens or 0
            report.completion_tokens += counted.completion_tokens or 0
            report.cached_tokens += usage.cached_tokens or 0
            if self._price is not None and report.cost is not None:
                report.cost += self._price.cost(counted) or 0.0
