"""What a run used and cost, counted by reply."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from sklfusion._chat import Usage
from sklfusion._fork import ForkLock
from sklfusion.llm._prices import Price
from sklfusion.replies._spending import Purse

_LOCK = ForkLock()


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


def meter_of(estimator: Any, make: Callable[[UsageReport], Meter]) -> Meter:
    """Return what counts for an estimator over all of its calls and threads.

    Parameters
    ----------
    estimator : estimator
        Its ``usage_`` is what the meter counts up; a new fit begins a new one.
    make : callable
        Makes the meter around a report.
    """
    with _LOCK:
        meter: Meter | None = estimator.__dict__.get("_meter")
        if meter is None or meter.report is not estimator.usage_:
            meter = estimator._meter = make(estimator.usage_)
        return meter


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
    shared : Meter, optional
        What counts along, and whose budget holds, where several calls or objects share one.
    purse : Purse, optional
        What other processes spend on the same job; its sum is held to the budget too.
    """

    def __init__(
        self,
        report: UsageReport,
        price: Price | None,
        budget: dict[str, float] | None = None,
        shared: Meter | None = None,
        purse: Purse | None = None,
    ) -> None:
        self.report = report
        self._shared = shared
        self._purse = purse
        self._price = price
        self._budget = budget or {}
        self._lock = threading.Lock()
        self._reserved: Counter[str] = Counter()
        # Attempts that may have been charged for though no answer came.
        self._perhaps: Counter[str] = Counter()
        if price is None:
            report.cost = None

    def set_terms(
        self,
        price: Price | None,
        budget: dict[str, float] | None,
        shared: Meter | None = None,
    ) -> None:
        """Go on counting at another price, within another budget."""
        with self._lock:
            self._price, self._budget, self._shared = price, budget or {}, shared
            if price is None:
                self.report.cost = None

    def add(self, **counts: int) -> None:
        """Count events."""
        if self._shared is not None:
            self._shared.add(**counts)
        with self._lock:
            for name, number in counts.items():
                setattr(self.report, name, getattr(self.report, name) + number)

    def failure(self, cause: str, rows: int = 1) -> None:
        """Count rows without an answer."""
        if self._shared is not None:
            self._shared.failure(cause, rows)
        with self._lock:
            self.report.failures[cause] = self.report.failures.get(cause, 0) + rows

    def flag(self, name: str, rows: int = 1) -> None:
        """Count answers used with a reservation."""
        if self._shared is not None:
            self._shared.flag(name, rows)
        with self._lock:
            self.report.flags[name] = self.report.flags.get(name, 0) + rows

    @property
    def limits(self) -> dict[str, float]:
        """The budget that holds."""
        return self._budget if self._shared is None else self._shared.limits

    def for_call(self, purse: Purse | None = None) -> Meter:
        """Return a meter with a report of its own that counts into this one."""
        return Meter(UsageReport(), self._price, shared=self, purse=purse)

    def _amounts(self, usage: Usage, requests: int) -> dict[str, float]:
        tokens = (usage.prompt_tokens or 0) + (usage.completion_tokens or 0)
        money = (self._price.cost(usage) or 0.0) if self._price else 0.0
        return {"requests": float(requests), "tokens": float(tokens), "money": money}

    def _spent(self) -> dict[str, float]:
        report = self.report
        return {
            "requests": float(report.requests),
            "tokens": float(report.prompt_tokens + report.completion_tokens),
            "money": report.cost or 0.0,
        }

    def reserve(self, guess: Usage, requests: int = 1) -> str | None:
        """Set the expected cost of requests aside; return what the budget lacks, if anything."""
        if self._shared is None:
            return self._reserve_here(self._amounts(guess, requests))
        lacking = self._shared.reserve(guess, requests)
        if lacking is None and self._purse is not None:
            lacking = self._purse.reserve(self._amounts(guess, requests), self.limits)
            if lacking is not None:
                self._shared.give_back(guess, requests)
        return lacking

    def _reserve_here(self, expected: dict[str, float]) -> str | None:
        with self._lock:
            spent = self._spent()
            for name, limit in self._budget.items():
                used = spent[name] + self._perhaps[name]
                under_way = self._reserved[name]
                if used + under_way + expected[name] > limit:
                    return f"{name}: {used:.6g} of {limit:.6g} used, {under_way:.6g} under way"
            self._reserved.update(expected)
        return None

    def give_back(self, guess: Usage, requests: int = 1) -> None:
        """End the reservation of requests; what they cost is counted before."""
        amounts = self._amounts(guess, requests)
        if self._purse is not None:
            self._purse.change(amounts, -1)
        if self._shared is not None:
            self._shared.give_back(guess, requests)
            return
        with self._lock:
            self._reserved.subtract(amounts)

    def settle(self, guess: Usage, paid: Usage | None = None, *, perhaps: bool = False) -> None:
        """End the reservation of a request and count in the same moment what it has cost.

        Between two moments another thread would find the request counted twice, or not at all.

        Parameters
        ----------
        guess : Usage
            What was set aside.
        paid : Usage or None
            What a reply that was paid for has used.
        perhaps : bool
            Whether it may have been charged for though no answer came; the guess then counts
            towards the budget.
        """
        reserved = self._amounts(guess, 1)
        if self._purse is not None:
            cost = self._amounts(_counted(paid, guess), 1) if paid is not None else {}
            cost = reserved if perhaps else cost
            changes = {name: cost.get(name, 0.0) - reserved[name] for name in reserved}
            self._purse.change(changes, 1)
        if self._shared is not None:
            self._shared.settle(guess, paid, perhaps=perhaps)
        with self._lock:
            if self._shared is None:
                self._reserved.subtract(reserved)
                self._perhaps.update(reserved if perhaps else {})
            if paid is not None:
                self._count(paid, guess)

    def close(self) -> None:
        """Write down what the other processes are to know."""
        if self._purse is not None:
            self._purse.close()

    def paid(self, usage: Usage, guess: Usage) -> None:
        """Count a reply; where the endpoint did not count its tokens the guess stands in."""
        if self._purse is not None:
            self._purse.change(self._amounts(_counted(usage, guess), 1), 1)
        if self._shared is not None:
            self._shared.paid(usage, guess)
        with self._lock:
            self._count(usage, guess)

    def _count(self, usage: Usage, guess: Usage) -> None:
        counted, report = _counted(usage, guess), self.report
        report.requests += 1
        report.uncounted += counted is not usage
        report.prompt_tokens += counted.prompt_tokens or 0
        report.completion_tokens += counted.completion_tokens or 0
        report.cached_tokens += usage.cached_tokens or 0
        if self._price is not None and report.cost is not None:
            report.cost += self._price.cost(counted) or 0.0


def _counted(usage: Usage, guess: Usage) -> Usage:
    """Return the tokens that count: the guess where the endpoint did not say."""
    known = usage.prompt_tokens is not None and usage.completion_tokens is not None
    return usage if known else guess
