"""From one request to one reply: attempts, pauses and the decision to give up."""

from __future__ import annotations

import datetime
import math
import random
import threading
import time
from dataclasses import replace

from sklfusion._chat import ChatRequest, Reply, Usage
from sklfusion.exceptions import BudgetExceededError
from sklfusion.llm._adapt import apply, next_change, refuses
from sklfusion.llm._call import Call
from sklfusion.llm._decision_route import first_way, told_of_questions
from sklfusion.llm._decision_wire import question_words
from sklfusion.llm._faults import CallError, Fault, without_text
from sklfusion.llm._gate import Gate
from sklfusion.llm._prices import estimate_tokens
from sklfusion.llm._reply import is_filtered
from sklfusion.llm._retry import Attempts, RetryBudget

# Attempts at an endpoint that nobody has reached yet; it is probably not there.
MAX_UNREACHED = 4


def guess_usage(request: ChatRequest, answer_tokens: int) -> Usage:
    """Return the tokens that a request with an answer of this length will probably take."""
    contents = [content for _, content in request.messages] + question_words(request)
    prompt = sum(estimate_tokens(content) + 3 for content in contents)
    return Usage(prompt, answer_tokens * int(request.params.get("n", 1)))


class Attempter:
    """Sends requests through the gate until they are answered or given up. Thread-safe.

    Parameters
    ----------
    call : Call
        Who answers, how often, who counts, and what is known of the wishes of the endpoint.
    gate : Gate
        When.
    """

    def __init__(self, call: Call, gate: Gate) -> None:
        self._call = call
        self._gate = gate
        self._policy = call.policy
        self._meter = call.meter
        self._budget = RetryBudget()
        self._random = random.Random()
        self._reached = False
        self._lock = threading.Lock()

    def may_retry(self, fault: Fault, attempts: Attempts) -> bool:
        """Tell whether another attempt is allowed after an unusable answer, and count it."""
        return attempts.may_retry(fault, self._policy, self._budget)

    def reply(self, request: ChatRequest, attempts: Attempts, answer_tokens: int = 16) -> Reply:
        """Return the reply to a request.

        Parameters
        ----------
        request : ChatRequest
            What to send.
        attempts : Attempts
            What has happened to its text so far; changed in place.
        answer_tokens : int
            Expected length of the answer, for pacing and the budget.

        Raises
        ------
        CallError
            With the last fault, when no further attempt is allowed.
        Stopped
            If the run was stopped meanwhile.
        BudgetExceededError
            If the budget does not cover the request.
        """
        guess = guess_usage(request, answer_tokens)
        tokens = (guess.prompt_tokens or 0) + (guess.completion_tokens or 0)
        changes = first_way(request)
        heard: list[Fault] = []
        fault: Fault | None = None
        while True:
            if not self._gate.enter(tokens, self._end(attempts)):
                raise CallError(_too_late(fault))
            known = self._call.adapted.known()
            changes = {**changes, **known}
            fault, reply = self._once(apply(request, changes), guess, attempts)
            if changes != known and (fault is None or fault.kind == "bad_reply"):
                self._call.adapted.learn(changes)  # put this way, it was processed
            if reply is not None:
                return reply
            assert fault is not None
            other = next_change(request, changes, fault, self._call.essential)
            heard.append(fault)
            if other is not None:
                changes = other
                continue
            fault = told_of_questions(request, heard)
            if refuses(request, changes, fault, self._call.essential):
                raise CallError(replace(fault, kind="text", cause="refused_field"))
            self._pause_or_give_up(fault, attempts)
            self._meter.add(retries=1)

    def _end(self, attempts: Attempts) -> float:
        """Return the time at which no further attempt at a text may begin."""
        return math.inf if attempts.started is None else attempts.started + self._policy.deadline

    def _once(
        self, request: ChatRequest, guess: Usage, attempts: Attempts
    ) -> tuple[Fault | None, Reply | None]:
        lacking = self._meter.reserve(guess)
        if lacking is not None:
            raise BudgetExceededError(
                f"The budget is used up ({lacking}). Replies paid for so far are kept; raise "
                "budget= and run again to continue from here."
            )
        now = time.monotonic()
        if attempts.started is None:
            attempts.started = now
            self._budget.count_request()
        attempts.total += 1
        self._meter.add(attempts=1)
        paid, perhaps = None, False
        try:
            reply = self._call.backend.complete(request, deadline=self._end(attempts))
            paid = None if is_filtered(reply) else reply.usage
        except CallError as error:
            self._reached = self._reached or error.fault.kind not in ("not_sent", "unknown")
            self._gate.report(error.fault)
            # What arrived was charged for, whatever it was.
            paid = Usage() if error.fault.kind == "bad_reply" else None
            perhaps = error.fault.kind == "unknown"
            return without_text(error.fault, request), None
        finally:
            self._meter.settle(guess, paid, perhaps=perhaps)
        self._reached = True
        self._gate.report(None)
        return None, reply

    def _pause_or_give_up(self, fault: Fault, attempts: Attempts) -> None:
        """Wait before the next attempt, or raise if there will be none."""
        if fault.kind == "unknown":
            self._meter.add(unknown=1)
        assert attempts.started is not None
        left = self._end(attempts) - time.monotonic()
        if fault.retry_after is not None:
            if fault.retry_after > left:
                raise CallError(_come_back_later(fault, self._policy.deadline))
            self._gate.pause_all(fault.retry_after)
        if fault.kind == "not_sent" and not self._reached and attempts.total >= MAX_UNREACHED:
            raise CallError(_stopping(fault))
        if not attempts.may_retry(fault, self._policy, self._budget):
            raise CallError(fault)
        pause = 0.0 if fault.retry_after else self._policy.delay(attempts.total, self._random)
        if pause >= left:
            raise CallError(_too_late(fault))
        self._gate.sleep(pause)


def _too_late(fault: Fault | None) -> Fault:
    """Return the fault of a text whose deadline has come."""
    if fault is None:
        return Fault("text", "timeout", "its turn came after the deadline")
    # An endpoint that cannot be reached for a whole deadline is not a text's fault.
    return _stopping(fault) if fault.kind == "not_sent" else fault


def _stopping(fault: Fault) -> Fault:
    return replace(fault, kind="stop")


def _come_back_later(fault: Fault, deadline: float) -> Fault:
    seconds = fault.retry_after or 0.0
    when = "later"
    if seconds < 366 * 86400:
        moment = datetime.datetime.now().astimezone() + datetime.timedelta(seconds=seconds)
        when = f"after {moment:%Y-%m-%d %H:%M:%S %Z}"
    return replace(
        fault,
        kind="stop",
        message=f"The endpoint asks to wait {seconds:.0f} s, which is longer than what is left of "
        f"deadline={deadline:g} s. Run again {when}: replies that were paid for are kept when "
        "memory= is set. "
        f"{fault.message}",
    )
