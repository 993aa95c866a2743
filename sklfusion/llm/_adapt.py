"""Fields that an endpoint refuses: left out, renamed or changed, once, and remembered.

A request is stored under what was asked; how the endpoint wanted it put is a matter of the wire.
So changes are applied when a request goes out and never show in its key: a run from the store
needs neither the endpoint nor what was learned of it.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from sklfusion._chat import ChatRequest, DecisionRequest
from sklfusion.llm._decision_route import next_way, put
from sklfusion.llm._faults import WAIT_STATUSES, Fault

#: What the limit of generated tokens is called; whatever is sent under one may go under another.
LIMIT_FIELDS = ("max_tokens", "max_completion_tokens")
#: Tokens that a model which thinks first may take before its answer.
THINKING_TOKENS = 2048
#: The instructions, as opposed to a field of the request.
SYSTEM = "system"
# Changes to one request; each takes one more (unpaid) request to find.
_MOST = 10
# Statuses that are never about a field, whatever words come with them.
_NOT_FIELDS = (WAIT_STATUSES | {401, 402, 413}) - {500}
_NOT_CAUSES = ("content_filter", "too_long", "quota", "redirect")

_FIELD_NAMES = {
    "top_logprobs": r"top[ _-]?log[ _-]?prob\w*|logprobs of \d+",
    "logprobs": r"(?<!top_)(?<!top )log[ _-]?prob\w*",
    "response_format": r"response[ _]format|json[ _]schema|json[ _]mode|structured[ _]output",
    "n": r"['\"`‘“]n['\"`’”]|\bn (must|should|has|is|>|=|parameter)|parameter:? n\b|\bn[>=]",
    "max_tokens": r"max_(completion_|output_|new_)?tokens",
    "max_completion_tokens": r"max_(completion_|output_|new_)?tokens",
}
_SYSTEM = re.compile(
    r"\bsystem\b.{0,40}\b(role|message|prompt|instruction)s?\b|\broles?\b.{0,60}\bsystem\b"
    r"|(developer|system)[ _]instruction|only user and assistant|roles must alternate"
)
_TOO_SMALL = re.compile(r"minimum|at least|>=|too small|greater than or|below")
_MOST_WORDS = re.compile(r"maximum|at most|<=|too (large|high|big|many)|less than|between|max ")


class Adaptations:
    """What is known of the wishes of one endpoint and model. Thread-safe.

    A change is tried with the text whose request was refused, and holds for all others once the
    endpoint has answered a request that was put so. A misread refusal costs that text a request
    and nobody else anything.
    """

    def __init__(self) -> None:
        self._changes: dict[str, Any] = {}
        self._told: set[str] = set()
        #: In which shapes typed questions were answered, the one in use last.
        self.shapes: tuple[str, ...] = ()
        self._lock = threading.Lock()

    def known(self) -> dict[str, Any]:
        """Return the changes that hold: field -> None (left out), another name, or a number."""
        with self._lock:
            return dict(self._changes)

    def learn(self, changes: Mapping[str, Any]) -> None:
        """Let changes hold for all requests: one that was put so has been answered."""
        with self._lock:
            self._changes.update(changes)

    def make_room(self) -> None:
        """Let every answer be longer: the model thinks first and was cut before it said anything.

        The limit of all requests grows by :data:`THINKING_TOKENS`.
        """
        self.learn({"thinking_tokens": THINKING_TOKENS})

    def told(self) -> dict[str, Any]:
        """Return the changes as reports tell them, in JSON values."""
        words = {SYSTEM: "in the user message"}
        known = self.known()
        return {f: words.get(f, "left out" if to is None else to) for f, to in known.items()}

    def news(self, fields: Collection[str]) -> dict[str, Any]:
        """Return the changes to some fields that were not returned before."""
        told = self.told()
        with self._lock:
            news = {name: told[name] for name in fields if name in told and name not in self._told}
            self._told.update(news)
        return news


def apply(request: ChatRequest, changes: Mapping[str, Any]) -> ChatRequest:
    """Return the request as the endpoint wants it."""
    if not changes:
        return request
    if isinstance(request, DecisionRequest):
        return put(request, changes)
    params = dict(request.params)
    for field, to in changes.items():
        if field in params:
            value = params.pop(field)
            if to in LIMIT_FIELDS:
                params[to] = value
            elif to is not None:
                params[field] = min(value, to)
    for field in LIMIT_FIELDS:
        if type(params.get(field)) is int:
            limit = params[field] + changes.get("thinking_tokens", 0)
            limit = max(limit, changes.get("least_tokens", 0))
            params[field] = min(limit, changes.get("most_tokens", limit))
    messages = request.messages
    if SYSTEM in changes:
        messages = _without_system(messages)
    return replace(request, messages=messages, params=params)


def _without_system(messages: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    """Return messages whose instructions stand at the beginning of the first user message."""
    told = "\n\n".join(content for role, content in messages if role == "system")
    rest = [message for message in messages if message[0] != "system"]
    for place, (role, content) in enumerate(rest):
        if told and role == "user":
            rest[place] = ("user", f"{told}\n\n{content}")
            break
    return tuple(rest)


def next_change(
    request: ChatRequest,
    changes: Mapping[str, Any],
    fault: Fault,
    essential: Collection[str] = (),
) -> dict[str, Any] | None:
    """Return the changes with which to ask again, None if the refusal is about no field.

    Parameters
    ----------
    request : ChatRequest
        As asked.
    changes : mapping
        With which it was sent.
    fault : Fault
        Why it was refused.
    essential : collection of str
        Fields without which the question has no point; a refusal of one stays a refusal.
    """
    if not _may_be_a_field(fault) or len(changes) >= _MOST:
        return None
    if isinstance(request, DecisionRequest) and request.over_a_wire:
        return next_way(request, changes, fault)
    sent = apply(request, changes)
    field = refused_field(sent, fault)
    if field is None:
        return None
    change = _change(field, sent, fault, changes)
    if any(to is None and name in essential for name, to in change.items()):
        return None
    after = {**changes, **change}
    return None if apply(request, after) == sent else after


def refuses(
    request: ChatRequest, changes: Mapping[str, Any], fault: Fault, fields: Collection[str]
) -> bool:
    """Tell whether a refusal names one of these fields; see :func:`next_change`."""
    if not fields or not _may_be_a_field(fault):
        return False
    return refused_field(apply(request, changes), fault) in fields


def _may_be_a_field(fault: Fault) -> bool:
    if fault.status is None or fault.status in _NOT_FIELDS:
        return False
    return fault.cause not in _NOT_CAUSES


def refused_field(sent: ChatRequest, fault: Fault) -> str | None:
    """Return the field of a request that a refusal names, None if it names none."""
    words = fault.words
    has_system = any(role == "system" for role, _ in sent.messages)
    if fault.param:
        name = re.split(r"[.\[]", fault.param)[0]
        if name == "messages" and has_system and ("role" in fault.param or _SYSTEM.search(words)):
            return SYSTEM
        if name in sent.params:
            return name
    found = []
    for name in sent.params:
        pattern = _FIELD_NAMES.get(name, rf"(?<![a-z_]){re.escape(name.lower())}(?![a-z_])")
        match = re.search(pattern, words)
        if match:
            found.append((match.start(), name))
    if has_system:
        match = _SYSTEM.search(words)
        if match:
            found.append((match.start(), SYSTEM))
    return min(found)[1] if found else None


def _change(
    field: str, sent: ChatRequest, fault: Fault, changes: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what to do about one refused field."""
    if field == SYSTEM:
        return {SYSTEM: "user"}
    if field in LIMIT_FIELDS:
        return _change_limit(field, sent.params[field], fault, changes)
    if field == "logprobs" and "top_logprobs" in sent.params and _MOST_WORDS.search(fault.words):
        field = "top_logprobs"  # "Requested sample logprobs of 20, ... max allowed: 5"
    if field == "top_logprobs":
        asked = sent.params[field]
        lower = [n for n in _numbers(fault.words) if 0 < n < asked]
        return {field: max(lower)} if lower else {field: None}
    if field == "logprobs":
        return {"logprobs": None, "top_logprobs": None}
    return {field: None}


def _change_limit(
    field: str, asked: Any, fault: Fault, changes: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what to do about a limit that is refused for its name or for its size."""
    numbers = _numbers(fault.words)
    more, fewer = [n for n in numbers if n > asked], [n for n in numbers if 0 < n < asked]
    if more and _TOO_SMALL.search(fault.words):
        return {"least_tokens": min(more)}
    if fewer and _MOST_WORDS.search(fault.words):
        return {"most_tokens": max(fewer)}
    other = next(name for name in LIMIT_FIELDS if name != field)
    if changes.get(other) == field:  # it was refused under both names
        return {field: None, other: None}
    if other == "max_completion_tokens":
        # Endpoints that want this name serve models that think within it.
        return {field: other, "thinking_tokens": THINKING_TOKENS}
    return {field: other}


def _numbers(words: str) -> list[int]:
    return [int(n) for n in re.findall(r"(?<![\w.])\d{1,7}(?![\w.]*\w)", words)]
