"""The gate that every request of a run passes: pauses, pacing, the breaker, and the stop."""

from __future__ import annotations

import math
import random
import threading
import time
from collections import deque
from dataclasses import dataclass, field

from sklfusion.llm._faults import Fault

WINDOW = 200
# Fewer outcomes than this say nothing about the endpoint.
MIN_OUTCOMES = 50
MAX_PROBES = 5
# Seconds between probes at most: whoever waits longer misses the end of an outage.
LONGEST_PAUSE = 10.0
# Workers that were told to wait do not all come back in the same instant, but within this share
# of the wait, and within this many seconds: many short waits are not to become long ones.
SPREAD_SHARE = 0.5
SPREAD = 0.4


class GateClock:
    """Monotonic time and waiting; tests pass one that does not wait."""

    def now(self) -> float:
        """Return seconds since some moment."""
        return time.monotonic()

    def wait(self, condition: threading.Condition, seconds: float) -> None:
        """Wait for a change, at most ``seconds``."""
        condition.wait(seconds)


class Stopped(Exception):
    """The run was stopped; the worker is to end without another request."""


@dataclass
class Breaker:
    """Opens when half of the last outcomes are failures, then lets one probe through at a time.

    Parameters
    ----------
    patience : float
        Seconds for which an endpoint may go on refusing without being given up, where the
        refusals cost nothing.
    outcomes : deque of bool
        True for a failure.
    """

    patience: float = 0.0

    outcomes: deque[bool] = field(default_factory=lambda: deque(maxlen=WINDOW))
    open_until: float | None = None
    probing: bool = False
    probes: int = 0
    dear_probes: int = 0
    opened: float = 0.0

    def record(self, failed: bool, now: float, *, free: bool = False) -> None:
        """Take note of an outcome; ``free`` says that a failure certainly was not paid."""
        self.outcomes.append(failed)
        if self.open_until is not None:
            if failed:
                # Only the probe can have come through; the pause doubles.
                if self.probing:
                    self.probes += 1
                    self.dear_probes += not free
                    self.probing = False
                    self.open_until = now + min(2.0**self.probes, LONGEST_PAUSE)
            else:
                self.open_until = None
                self.probing = False
                self.probes = self.dear_probes = 0
                self.outcomes.clear()
            return
        if len(self.outcomes) >= MIN_OUTCOMES and 2 * sum(self.outcomes) >= len(self.outcomes):
            self.open_until = now + 1.0
            self.opened = now

    def hopeless(self, now: float) -> bool:
        """Tell whether the endpoint stayed down over all probes, and as long as texts may wait."""
        if self.probes < MAX_PROBES:
            return False
        return self.dear_probes >= MAX_PROBES or now - self.opened >= self.patience


class Gate:
    """Decides when the next request may go out. Shared by all workers of a run.

    Parameters
    ----------
    requests_per_minute, tokens_per_minute : float or None
        Pace. Requests are spread evenly, so that a limit counted by the second holds as well.
    clock : GateClock
        Source of time.
    patience : float
        Seconds for which an endpoint may refuse without cost before it is given up.

    Attributes
    ----------
    last : Fault or None
        The last one that was the endpoint's trouble.
    """

    def __init__(
        self,
        requests_per_minute: float | None = None,
        tokens_per_minute: float | None = None,
        clock: GateClock | None = None,
        patience: float = 0.0,
    ) -> None:
        self.last: Fault | None = None
        self._per_request = 60.0 / requests_per_minute if requests_per_minute else 0.0
        self._per_token = 60.0 / tokens_per_minute if tokens_per_minute else 0.0
        self._clock = clock or GateClock()
        self._condition = threading.Condition()
        self._next_slot = 0.0
        self._paused_until = 0.0
        self._spread = 0.0
        self._breaker = Breaker(patience)
        self._stopped = False
        self._random = random.Random()

    @property
    def stopped(self) -> bool:
        """Whether no request may go out any more."""
        return self._stopped

    @property
    def hopeless(self) -> bool:
        """Whether the breaker has given the endpoint up."""
        return self._breaker.hopeless(self._clock.now())

    def stop(self) -> None:
        """Let no further request out and wake everybody who waits."""
        with self._condition:
            self._stopped = True
            self._condition.notify_all()

    def enter(self, tokens: int = 0, until: float = math.inf) -> bool:
        """Wait until the next request may go out.

        Parameters
        ----------
        tokens : int
            Expected tokens of the request.
        until : float
            Time of the clock at which it is too late.

        Returns
        -------
        bool
            False if it is too late.

        Raises
        ------
        Stopped
            If the run has been stopped.
        """
        with self._condition:
            slot = max(self._next_slot, self._clock.now())
            self._next_slot = slot + max(self._per_request, self._per_token * tokens)
            # One draw per worker: a new draw at every pause would push all to the far end.
            jitter = self._random.random()
            while True:
                if self._stopped:
                    raise Stopped
                now = self._clock.now()
                if now >= until:
                    return False
                if self._paused_until > now:
                    slot = max(slot, self._paused_until + jitter * self._spread)
                wait = slot - now if slot > now else self._breaker_wait(now)
                if wait <= 0:
                    return True
                self._clock.wait(self._condition, min(wait, until - now))

    def _breaker_wait(self, now: float) -> float:
        breaker = self._breaker
        if breaker.open_until is None:
            return 0.0
        if breaker.open_until > now:
            return breaker.open_until - now
        if breaker.probing:
            return 0.1
        breaker.probing = True
        return 0.0

    def sleep(self, seconds: float) -> None:
        """Wait, but not beyond a stop.

        Raises
        ------
        Stopped
            If the run is stopped meanwhile.
        """
        with self._condition:
            end = self._clock.now() + seconds
            while not self._stopped:
                left = end - self._clock.now()
                if left <= 0:
                    return
                self._clock.wait(self._condition, left)
            raise Stopped

    def pause_all(self, seconds: float) -> None:
        """Let nobody out for a while: the endpoint asked for it."""
        with self._condition:
            until = self._clock.now() + seconds
            if until > self._paused_until:
                self._paused_until = until
                self._spread = min(SPREAD, SPREAD_SHARE * seconds)
            self._condition.notify_all()

    def report(self, fault: Fault | None) -> None:
        """Tell the breaker how an attempt ended."""
        if fault is not None and fault.kind in ("text", "refused", "bad_reply", "stop"):
            fault = None  # the endpoint works; the text or the answer is at fault
        if fault is not None and fault.retry_after is not None:
            # It said when to come back, which is no sign of trouble.
            with self._condition:
                self._breaker.probing = False
            return
        with self._condition:
            self.last = fault or self.last
            free = fault is not None and fault.kind in ("wait", "not_sent")
            self._breaker.record(fault is not None, self._clock.now(), free=free)
            self._condition.notify_all()
