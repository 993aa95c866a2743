"""Whether failures are the texts' own or the set-up's: what has to end a run, and when."""

from __future__ import annotations

import math
import threading

from sklfusion.exceptions import EndpointError
from sklfusion.llm._decision_route import TOO_LARGE
from sklfusion.llm._faults import Fault, error_from_fault
from sklfusion.llm._retry import RetryPolicy

# What says something about one text only: so many of these never end a run.
_OWN = frozenset({"content_filter", "refusal", "too_long", *TOO_LARGE})


class Verdict:
    """Collects what failed and what worked in one call of an estimator. Thread-safe.

    Parameters
    ----------
    policy : RetryPolicy
        How many failures are enough.
    worked : bool
        Whether texts of the call have answers already.
    judges : bool
        False for trials, which may all fail.

    Notes
    -----
    A run ends when nothing has worked and

    - ``first_k`` texts were refused alike (400, 422, ...) or timed out, or
    - ``first_k`` texts got answers that cannot be read and as many are still to be paid for, or
    - ``first_refusals`` texts were refused by a 403 or 404 that does not say whom it means;

    and when, after answers, ``refusals_in_a_row`` texts meet such a 403 or 404 and nothing else.
    Texts that a content filter refused or that are too long never count.
    """

    def __init__(self, policy: RetryPolicy, *, worked: bool = False, judges: bool = True) -> None:
        self._policy = policy
        self._judges = judges
        self._lock = threading.Lock()
        self.worked = worked
        self._answered = False
        self._failed: list[Fault] = []
        self._refused = 0
        self._in_a_row = 0

    @property
    def doubtful(self) -> bool:
        """Whether texts were refused before any was answered: time to ask one by one."""
        return self._refused > 0 and not self.worked

    def answer(self) -> None:
        """Note that a text was answered."""
        with self._lock:
            self.worked = self._answered = True
            self._in_a_row = 0

    def failure(self, fault: Fault, origin: str, left: float = math.inf) -> EndpointError | None:
        """Note that a text is given up; return the error that ends the run, if it has to end.

        Parameters
        ----------
        fault : Fault
            Why it is given up.
        origin : str
            Where was asked.
        left : float
            Texts that would still be asked about: an end that spares few payments costs more
            answers than it saves.
        """
        if fault.cause in _OWN or not self._judges:
            return None
        with self._lock:
            if fault.kind == "refused":
                return self._refusal(fault, origin)
            if self.worked:
                return None
            self._failed.append(fault)
            return self._first_k(fault, origin, left)

    def _refusal(self, fault: Fault, origin: str) -> EndpointError | None:
        self._refused += 1
        self._in_a_row += 1
        if self.worked:
            enough = self._answered and self._in_a_row >= self._policy.refusals_in_a_row
        else:
            enough = self._refused >= self._policy.first_refusals
        return error_from_fault(fault, origin) if enough else None

    def _first_k(self, fault: Fault, origin: str, left: float) -> EndpointError | None:
        unusable = [f for f in self._failed if f.kind == "bad_reply"]
        if min(len(unusable), left) >= self._policy.first_k:
            return _unreadable(unusable, origin)
        alike = {(f.cause, f.status) for f in self._failed}
        if len(self._failed) < self._policy.first_k or len(alike) > 1:
            return None
        status = fault.status or 0
        if fault.cause != "timeout" and not (400 <= status < 500 and status != 429):
            return None
        advice = "Check model, base_url, strategy and request_params."
        if fault.cause == "timeout":
            advice = "Set a larger timeout=; each of these may have been billed."
        return EndpointError(
            f"The first {len(self._failed)} texts all failed alike ({fault.cause}: "
            f"{fault.message}), which is a matter of the set-up, not of the texts. {advice}",
            status=fault.status,
            code=fault.code,
            origin=origin,
        )


def _unreadable(faults: list[Fault], origin: str) -> EndpointError:
    causes = ", ".join(sorted({f.cause for f in faults}))
    said = next((f.said for f in faults if f.said), "")
    return EndpointError(
        f"No answer to the first {len(faults)} texts can be used ({causes})"
        + (f"; one of them: {said!r}" if said else "")
        + ". The run was stopped before paying for more. Check that the model follows "
        "instructions, and strategy, classes and request_params.",
        origin=origin,
    )


def given_up(last: Fault | None) -> EndpointError:
    """Return the error of an endpoint that stayed down; ``last`` is its last failure."""
    last = last or Fault("unknown", "timeout")
    return EndpointError(
        "The endpoint kept failing over all probes, so the run was stopped (the last failure: "
        f"{last.message or last.cause}). If it is slow, set a larger timeout=; else run again "
        "later: replies that were paid for are kept when memory= is set.",
        status=last.status,
        code=last.code,
    )
