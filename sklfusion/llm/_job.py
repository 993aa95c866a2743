"""One request and what became of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from sklfusion._chat import ChatRequest, Reply
from sklfusion.llm._faults import Fault
from sklfusion.llm._retry import OLD_ANSWER_SECONDS, Attempts
from sklfusion.replies import request_key
from sklfusion.replies._keys import last_user

# Why a reply ended, where nothing is missing of it.
_WHOLE = (None, "stop", "stop_sequence", "end_turn", "eos_token", "tool_calls", "function_call")


class Memo(dict[str, Any]):
    """Answers of one object by key, and since when it asks.

    Attributes
    ----------
    since : float
        Seconds since the epoch. Unusable answers that are older are of an earlier run.
    """

    def __init__(self, answers: Mapping[str, Any] | None = None, since: float | None = None):
        super().__init__(answers or {})
        self.since = time.time() if since is None else since

    def age(self, reply: Reply) -> float | None:
        """Return the seconds since a reply of an earlier run arrived; None for one of this run."""
        age = time.time() - reply.created
        return age if reply.created < self.since or age > OLD_ANSWER_SECONDS else None


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
    key : str
        Under which the reply is kept; made from the request if it is not known yet.
    absent : bool
        Whether the store was just seen to lack that reply.
    """

    request: ChatRequest
    read: Callable[[Reply], Any]
    sample: int = 0
    answer_tokens: int = 16
    key: str = ""
    absent: bool = False
    answer: Any = None
    fault: Fault | None = None
    model: str | None = None
    attempts: Attempts = field(default_factory=Attempts)
    roomier: bool = False

    def __post_init__(self) -> None:
        self.key = self.first_key = self.key or request_key(self.request, self.sample)

    @property
    def ok(self) -> bool:
        """Whether there is a usable answer."""
        return self.fault is None

    def about(self, content: str, key: str) -> Job:
        """Return the same question with another last message of the user, whose key is known."""
        messages = list(self.request.messages)
        place = last_user(self.request)
        assert place is not None
        messages[place] = ("user", content)
        request = replace(self.request, messages=tuple(messages))
        return Job(request, self.read, self.sample, self.answer_tokens, key)

    def anew(self) -> Job:
        """Return the same request without what became of it."""
        return Job(self.request, self.read, self.sample, self.answer_tokens, self.key)

    def ask_again(self, cause: str) -> None:
        """Become the request that follows an unusable answer.

        What follows depends on nothing but the answers before, so that another run finds them
        all. More room is given once; a model that fills it too would fill any.
        """
        if cause == "truncated" and not self.roomier:
            self.roomier = True
            self.request = with_more_tokens(self.request)
        else:
            self.sample += 1000  # far from the draws of repeated votes
        self.key = request_key(self.request, self.sample)
        self.absent = False


def is_whole(reply: Reply) -> bool:
    """Tell whether a reply is all that the model had to say: content, and an end of its own."""
    reason = reply.finish_reasons[0] if reply.finish_reasons else None
    said = reply.contents[0] if reply.contents else None
    return bool(said and said.strip()) and reason in _WHOLE


def with_more_tokens(request: ChatRequest) -> ChatRequest:
    """Return the request with twice the limit of generated tokens."""
    params = dict(request.params)
    for name in ("max_tokens", "max_completion_tokens"):
        if name in params:
            params[name] = 2 * int(params[name])
    return replace(request, params=params)
