"""What all requests of one call of an estimator share."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from typing import Any

from sklfusion.llm._adapt import Adaptations
from sklfusion.llm._backend import Backend
from sklfusion.llm._gate import Gate
from sklfusion.llm._job import Memo
from sklfusion.llm._retry import RetryPolicy
from sklfusion.llm._usage import Meter, UsageReport
from sklfusion.llm._verdict import Verdict

# Attempts at a text of a trial that may end in 500, which some servers say to what they do not
# know.
_TRIAL_ATTEMPTS = 2


def _silent(done: int, total: int) -> None:
    """Show no progress."""


@dataclass
class Call:
    """Who answers one call of an estimator, where replies are kept, and within which limits.

    Parameters
    ----------
    backend : Backend
        Who answers.
    store : ReplyStore or None
        Where replies are kept.
    memo : Memo
        Answers that this object has already had, by key.
    meter : Meter
        Counts and budget.
    policy : RetryPolicy
        Retries.
    gate : callable
        Makes the pace of a run.
    workers : int
        Requests in flight.
    cache_only : bool
        Whether a missing reply is an error instead of a request.
    progress : callable
        Called with (answered, total) from the calling thread, several times a second.
    batch : bool
        Whether what is missing goes through the provider's Batch API.
    adapted : Adaptations
        What is known of the wishes of the endpoint; added to.
    essential : collection of str
        Fields without which a question has no point: a refusal of one is not adapted to.
    known : int
        Texts of the call that already have an answer, for progress and messages.

    Attributes
    ----------
    verdict : Verdict
        Decides when failures end the call.
    """

    backend: Backend
    store: Any
    memo: Memo
    meter: Meter
    policy: RetryPolicy
    gate: Callable[[], Gate] = Gate
    workers: int = 1
    cache_only: bool = False
    progress: Callable[[int, int], None] = _silent
    batch: bool = False
    adapted: Adaptations = field(default_factory=Adaptations)
    essential: Collection[str] = ()
    known: int = 0
    judges: bool = True

    def __post_init__(self) -> None:
        self.verdict = Verdict(self.policy, worked=self.known > 0, judges=self.judges)

    def trial(self, essential: Collection[str]) -> Call:
        """Return a call that may fail: it shows whether the endpoint answers a kind of request."""
        policy = replace(self.policy, max_attempts=_TRIAL_ATTEMPTS)
        return replace(self, policy=policy, progress=_silent, essential=essential, judges=False)

    def untold(self) -> Call:
        """Return a call that leaves no trace in what this one knows and counts."""
        memo = Memo(self.memo, self.memo.since)
        return replace(self, memo=memo, meter=Meter(UsageReport(), None), cache_only=False)

    def found(self, known: int) -> None:
        """Note that so many texts have answers already."""
        self.known = known
        self.verdict.worked = known > 0

    def show(self, done: int, total: int) -> None:
        """Show progress over all texts of the call."""
        self.progress(done + self.known, total + self.known)
