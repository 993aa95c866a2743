"""The one retry policy. The SDK's is off; nothing else in the package tries anything again."""

from __future__ import annotations

import random
import threading
from dataclasses import dataclass

from sklfusion.llm._faults import UNEXPLAINED, Fault

# An answer that did not come whole (no content, cut, an error inside) is asked for again by every
# later run, but after so many at most once an hour: a grid search makes a run of every fit.
OLD_ANSWERS = 6
OLD_ANSWER_SECONDS = 3600.0
# One that came whole and cannot be read is what the model says; it may say something else later.
WHOLE_ANSWER_SECONDS = 86400.0


@dataclass(frozen=True)
class RetryPolicy:
    """When a failed call is tried again, and after how long.

    Parameters
    ----------
    deadline : float
        Seconds from the first attempt at a text to the end of its last one.
    max_attempts : int
        Attempts at a text whose outcomes may have been paid, or that fails with 500, which may
        well be the text's own doing.
    max_unexplained : int
        Attempts at a text whose replies say that something failed and not what.
    max_unknown : int
        Further tries after an attempt that may have been paid without an answer.
    max_reparse : int
        Further tries after an answer that was paid and is unusable.
    base, cap : float
        First and largest pause in seconds; it doubles between.
    first_k : int
        If so many distinct texts fail in the same way before any succeeds, the set-up is wrong.
    first_refusals : int
        The same for a 403 or 404 that may mean the text, the key or the model.
    refusals_in_a_row : int
        So many of these one after the other end a run in which texts were answered before.
    """

    deadline: float = 180.0
    max_attempts: int = 8
    max_unexplained: int = 4
    max_unknown: int = 1
    max_reparse: int = 1
    base: float = 0.5
    cap: float = 8.0
    first_k: int = 8
    first_refusals: int = 3
    refusals_in_a_row: int = 24

    def most_attempts(self, fault: Fault) -> int | None:
        """Return the attempts at a text that ``fault`` allows, None if the deadline decides."""
        if fault.kind == "not_sent":
            return None
        if fault.cause == UNEXPLAINED:
            return self.max_unexplained
        if fault.kind == "wait" and fault.status != 500:
            return None
        return self.max_attempts

    def delay(self, attempt: int, rng: random.Random) -> float:
        """Return the pause before attempt ``attempt + 1``: exponential, with half as jitter."""
        full = min(self.cap, self.base * 2.0 ** min(attempt - 1, 30))
        return full * rng.uniform(0.5, 1.0)


class RetryBudget:
    """Retries of a whole run: at most 30 % of its requests, and 20.

    It holds a failing endpoint from being paid a multiple of what the answers are worth. What
    certainly was not paid does not count: there the deadline, the growing pauses and the breaker
    are the limit.
    """

    def __init__(self, share: float = 0.3, floor: int = 20) -> None:
        self._share = share
        self._floor = floor
        self._requests = 0
        self._retries = 0
        self._lock = threading.Lock()

    def count_request(self) -> None:
        """Count a first attempt."""
        with self._lock:
            self._requests += 1

    def take(self) -> bool:
        """Take one retry if there is one left."""
        with self._lock:
            if self._retries >= self._share * self._requests + self._floor:
                return False
            self._retries += 1
            return True


@dataclass
class Attempts:
    """What has happened to one text so far in this run."""

    total: int = 0
    unknown: int = 0
    bad: int = 0
    started: float | None = None
    cause: str = ""
    old: int = 0

    def may_read_on(
        self, fault: Fault, policy: RetryPolicy, age: float | None = None, *, whole: bool = False
    ) -> bool:
        """Tell whether a stored answer that is unusable may be followed by another.

        Parameters
        ----------
        fault : Fault
            What is wrong with it.
        policy : RetryPolicy
            Its ``max_reparse`` holds for the answers of this run.
        age : float, optional
            Seconds since the answer arrived, if that was in an earlier run.
        whole : bool
            Whether it is all that the model had to say.
        """
        if fault.kind == "text":
            return False
        if age is None or not policy.max_reparse or (whole and age < WHOLE_ANSWER_SECONDS):
            self.bad += 1
            return self.bad <= policy.max_reparse
        self.old += 1
        return self.old < OLD_ANSWERS or age > OLD_ANSWER_SECONDS

    def may_retry(self, fault: Fault, policy: RetryPolicy, budget: RetryBudget) -> bool:
        """Tell whether the policy allows another attempt after ``fault``, and count it."""
        if fault.kind in ("stop", "text", "refused"):
            return False
        most = policy.most_attempts(fault)
        if most is not None and self.total >= most:
            return False
        if fault.kind == "unknown":
            self.unknown += 1
            # It may have been paid; a second silent payment is the most we risk.
            return self.unknown <= policy.max_unknown and budget.take()
        if fault.kind == "bad_reply":
            self.bad += 1
            return self.bad <= policy.max_reparse and budget.take()
        return True  # "not_sent" and "wait": nothing was processed, so nothing was paid
