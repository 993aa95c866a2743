"""A stream of events where a whole reply was asked for: put together, if all of it is there."""

from __future__ import annotations

import json
from typing import Any

_END = "[DONE]"
_BEGINNINGS = (b"data:", b"event:", b"id:", b":")


def completion_of(body: bytes) -> dict[str, Any] | None:
    """Return the completion, or the error, that a stream of events holds.

    Parameters
    ----------
    body : bytes
        Body of a reply.

    Returns
    -------
    dict or None
        In the form of a reply that was not streamed; None if this is no stream or has no end.

    Examples
    --------
    >>> events = b'data: {"choices": [{"delta": {"content": "sp"}}]}\\n\\n'
    >>> events += b'data: {"choices": [{"delta": {"content": "am"}, "finish_reason": "stop"}]}'
    >>> completion_of(events)["choices"][0]["message"]["content"]
    'spam'
    """
    if not body.lstrip().startswith(_BEGINNINGS):
        return None
    whole: dict[str, Any] = {}
    choices: dict[int, dict[str, Any]] = {}
    ended = False
    for line in body.decode("utf-8", "replace").splitlines():
        data = line.removeprefix("data:").strip() if line.startswith("data:") else ""
        ended = ended or data == _END
        event = _object(data)
        if event.get("error"):
            return event
        for name in ("model", "usage"):
            whole[name] = event.get(name) or whole.get(name)
        for choice in _listed(event.get("choices")):
            _add(choices.setdefault(choice.get("index") or 0, _empty()), choice)
    ended = ended or all(choice["finish_reason"] for choice in choices.values())
    return {**whole, "choices": [choices[n] for n in sorted(choices)]} if ended else None


def _object(data: str) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _listed(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _empty() -> dict[str, Any]:
    return {"message": {}, "finish_reason": None, "logprobs": {"content": []}}


def _add(choice: dict[str, Any], piece: dict[str, Any]) -> None:
    """Add a piece of a choice to what is there of it."""
    said = piece.get("delta") or piece.get("message")
    for name in ("content", "refusal"):
        text = said.get(name) if isinstance(said, dict) else None
        if isinstance(text, str):
            choice["message"][name] = choice["message"].get(name, "") + text
    choice["finish_reason"] = piece.get("finish_reason") or choice["finish_reason"]
    listed = piece.get("logprobs")
    if isinstance(listed, dict):
        choice["logprobs"]["content"] += _listed(listed.get("content"))
