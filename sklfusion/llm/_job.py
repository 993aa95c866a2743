"""One request and what became of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from sklfusion.llm._faults import Fault
from sklfusion.llm._retry import Attempts
from sklfusion.llm._types import ChatRequest, Reply
from sklfusion.replies import request_key


@dataclass(eq=False)
class Job:
    """One request and what became of it.

    Parameters
    ----------
    request : ChatRequest
        What to ask.
    read : callable
        From a Reply to an answer; raises ReplyError. Called again on stored replies, so a better
        parser re-reads and does not pay again.
    sample : int
        Number of the draw.
    answer_tokens : int
        Expected length of the answer.
    """

    request: ChatRequest
    read: Callable[[Reply], Any]
    sample: int = 0
    answer_tokens: int = 16
    answer: Any = None
    fault: Fault | None = None
    model: str | None = None
    attempts: Attempts = field(default_factory=Attempts)

    def __post_init__(self) -> None:
        self.key = self.first_key = request_key(self.request, self.sample)

    @property
    def ok(self) -> bool:
        """Whether there is a usable answer."""
        return self.fault is None

    def ask_again(self, cause: str) -> None:
        """Become the request that follows an unusable answer."""
        if cause == "truncated":
            self.request = with_more_tokens(self.request)
        else:
            self.sample += 1000  # far from the draws of repeated votes
        self.key = request_key(self.request, self.sample)


def with_more_tokens(request: ChatRequest) -> ChatRequest:
    """Return the request with twice the limit of generated tokens."""
    params = dict(request.params)
    for name in ("max_tokens", "max_completion_tokens"):
        if name in params:
            params[name] = 2 * int(params[name])
    return replace(request, params=params)
