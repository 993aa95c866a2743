"""The way to put typed questions, found out by the first that is asked.

Neither the path nor the model tells the dialect, so a question that is refused for its form is put
in the next way. What was refused costs nothing, and what is answered is kept: nothing is asked
twice.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from sklfusion._chat import ChatRequest, DecisionRequest
from sklfusion.llm._faults import Fault
from sklfusion.llm.deciders import Way, ways_to

NO_ROUTE = "no_route"
TOO_MANY_OPTIONS = "too_many_options"
TOO_MANY_QUESTIONS = "too_many_questions"
#: Refusals that a smaller request avoids.
TOO_LARGE = (TOO_MANY_OPTIONS, TOO_MANY_QUESTIONS)
#: The least number of options that an endpoint is known to take.
FEWEST_OPTIONS = 26

_NOT_SERVED = (404, 405, 501)
_COMPLAINTS = (400, 422)
# What endpoints say of a body in the other dialect.
_FORM = re.compile(
    r"extra|unexpected|unrecogni[sz]ed|required|missing|unknown (field|param|arg)|not permitted"
    r"|valid (dictionary|list|dict|object|array|string|type)|must be|should be|expected|\bstate\b"
)
_AMOUNT = r"at most|maximum|max\b|too many|more than|exceed|limit|fewer|less than|up to|between|<="
_COUNT = re.compile(_AMOUNT)
_OF_OPTIONS = re.compile(r"option|choice|criteri|label|categor|letter|class")


def first_way(request: ChatRequest) -> dict[str, Any]:
    """Return the way in which a request is put first; nothing for one that is no question."""
    if not isinstance(request, DecisionRequest) or not request.over_a_wire:
        return {}
    return _as_changes(_ways(request)[0])


def put(request: DecisionRequest, changes: Mapping[str, Any]) -> DecisionRequest:
    """Return the request as it is put, without the fields that the endpoint refused."""
    params = {name: v for name, v in request.params.items() if changes.get(name, "") is not None}
    way = {name: changes[name] for name in ("path", "dialect")}
    return replace(request, params={**params, **way})


def next_way(
    request: DecisionRequest, changes: Mapping[str, Any], fault: Fault
) -> dict[str, Any] | None:
    """Return the changes with which to ask again, None if this refusal is about something else.

    Parameters
    ----------
    request : DecisionRequest
        As asked.
    changes : mapping
        With which it was sent.
    fault : Fault
        Why it was refused.
    """
    refused = _refused_extra(request, changes, fault)
    if refused is not None:
        return {**changes, refused: None}
    ways = _ways(request)
    now = (changes["path"], changes["dialect"])
    later = ways[ways.index(now) + 1 :] if now in ways else ways
    if _not_served(fault):
        later = [way for way in later if way[0] != now[0]]
    elif not _complains_of_form(request, fault):
        return None
    return {**changes, **_as_changes(later[0])} if later else None


def _refused_extra(
    request: DecisionRequest, changes: Mapping[str, Any], fault: Fault
) -> str | None:
    """Return the field of the user's own that a refusal names, None if it names none."""
    if fault.status not in _COMPLAINTS:
        return None
    named = (fault.param or "").split(".")[0]
    for name in sorted(set(request.params) - {"questions", "path", "dialect"}):
        said = re.search(rf"(?<![a-z_]){re.escape(name.lower())}(?![a-z_])", fault.words)
        if changes.get(name, "") is not None and (name == named or said):
            return name
    return None


def told_of_questions(request: ChatRequest, faults: Sequence[Fault]) -> Fault:
    """Return the last fault of a request, told in terms of its questions.

    Parameters
    ----------
    request : ChatRequest
        As asked.
    faults : sequence of Fault
        Why each way to put it was refused, in order.
    """
    last = faults[-1]
    if not isinstance(request, DecisionRequest) or not request.over_a_wire:
        return last
    if not _not_served(last):
        return _too_many(request, last)
    complaint = next((fault for fault in faults if fault.status in _COMPLAINTS), None)
    if complaint is not None:
        return _too_many(request, complaint)
    tried = ", ".join(f"{path} ({dialect})" for path, dialect in _ways(request))
    message = (
        f"no route for decisions answers here; tried {tried}. Set path= and dialect= of "
        f"LLMEndpoint, or another strategy. It says ({last.status}): {last.said or 'nothing'}"
    )
    return replace(last, kind="text", cause=NO_ROUTE, message=message)


def _ways(request: DecisionRequest) -> list[Way]:
    params = request.params
    return ways_to(request.origin, request.model, params.get("path"), params.get("dialect"))


def _as_changes(way: Way) -> dict[str, Any]:
    return {"path": way[0], "dialect": way[1]}


def _not_served(fault: Fault) -> bool:
    """Tell whether nobody listens to questions there; a 404 may be about the model instead."""
    return fault.status in _NOT_SERVED and fault.kind != "stop"


def _complains_of_form(request: DecisionRequest, fault: Fault) -> bool:
    if fault.status not in _COMPLAINTS or fault.kind == "stop":
        return False
    return bool(_FORM.search(fault.words)) and _too_many(request, fault) is fault


def _too_many(request: DecisionRequest, fault: Fault) -> Fault:
    """Return the fault, by the name of what there was too much of if it says so."""
    options = max(len(question.get("choices", ())) for question in request.questions)
    counted = fault.status in (*_COMPLAINTS, 413) and _COUNT.search(fault.words)
    # A context that is too small for all options may have room for one question each.
    large = fault.cause == "too_long" or fault.status == 413
    many = bool(counted and _OF_OPTIONS.search(fault.words))
    if options and len(request.questions) == 1:
        return _renamed(fault, TOO_MANY_OPTIONS, many or (large and options > FEWEST_OPTIONS))
    # Of several tasks in one request each asks less alone, whatever there was too much of.
    many = bool(counted and "question" in fault.words) or bool(options and many)
    return _renamed(fault, TOO_MANY_QUESTIONS, (many or large) and len(request.questions) > 1)


def _renamed(fault: Fault, cause: str, applies: bool) -> Fault:
    return replace(fault, kind="text", cause=cause) if applies else fault
