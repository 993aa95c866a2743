"""Probabilities of a model in this process, as the reply of an endpoint for decisions."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from sklfusion._chat import DecisionRequest, Reply, Usage


def told_as_reply(
    request: DecisionRequest, answers: Sequence[Sequence[float]], usage: Usage, model: str
) -> Reply:
    """Return probabilities as the reply of an endpoint for decisions would say them."""
    said = [_answer(*pair) for pair in zip(request.questions, answers, strict=True)]
    content = json.dumps({"dialect": "openai", "answers": said}, separators=(",", ":"))
    return Reply((content,), ("stop",), model, usage)


def _answer(question: Mapping[str, Any], probs: Sequence[float]) -> dict[str, Any]:
    kind = question["type"]
    if kind == "predicate":
        return {"type": kind, "probability": probs[0]}
    if kind == "choice":
        names = [choice["value"] for choice in question["choices"]]
        listed = [{"value": v, "probability": p} for v, p in zip(names, probs, strict=True)]
        return {"type": kind, "probabilities": listed}
    labels = [level["label"] for level in question["levels"]]
    levels = [
        {"value": place, "label": label, "probability": p}
        for place, (label, p) in enumerate(zip(labels, probs, strict=True))
    ]
    score = math.fsum(place * p for place, p in enumerate(probs))
    return {"type": kind, "score": score, "probabilities": levels}
