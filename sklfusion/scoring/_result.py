"""From answered texts to annotations, and to the counts of the report."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from sklfusion.annotations import Annotations
from sklfusion.exceptions import ScoringFailedError, ScoringWarning
from sklfusion.llm._usage import Meter
from sklfusion.prompts import PARSER_VERSION
from sklfusion.scoring._ask import Ask
from sklfusion.scoring._plan import Plan, Row

_STATUS = {"refusal": "refused", "content_filter": "refused", "empty_text": "missing"}
TRANSPORT = ("timeout", "connection_lost", "unreachable")


def annotate(
    plan: Plan, asks: Sequence[Ask], rows: Sequence[int], classes: Sequence[Any], meter: Meter
) -> Annotations:
    """Return annotations of ``len(rows)`` texts and count what came of them.

    Parameters
    ----------
    plan : Plan
        How the texts were asked about.
    asks : sequence of Ask
        One per distinct text, answered.
    rows : sequence of int
        Maps each text to its ask.
    classes : sequence
        The labels as the user wrote them.
    meter : Meter
        Counted up.
    """
    causes = {place: ask.cause for place, ask in enumerate(asks) if ask.row is None}
    place = np.asarray(rows, dtype=np.intp)
    _count(asks, causes, np.bincount(place, minlength=len(asks)), meter)
    # Most texts share their row with others: arrays are made of the different ones.
    index = {id(row): row for row in (ask.row for ask in asks)}
    different = list(index.values())
    number = {one: n for n, one in enumerate(index)}
    row_of = np.fromiter((number[id(ask.row)] for ask in asks), dtype=np.intp, count=len(asks))
    status = np.full(len(asks), "ok", dtype="<U15")
    for failed, cause in causes.items():
        status[failed] = _status(cause)
    arrays = _arrays(different, row_of[place], len(plan.task.labels))
    return Annotations(
        tuple(classes),
        multilabel=plan.task.multilabel,
        status=status[place],
        meta=_meta(plan, asks, causes),
        **arrays,
    )


def _arrays(different: Sequence[Row | None], place: np.ndarray, k: int) -> dict[str, Any]:
    """Return the arrays of texts whose rows are ``different[place]``."""
    nan = np.full(k, np.nan)
    there = [row for row in different if row is not None]
    probs = np.array([nan if r is None else r.probs for r in different]).reshape(-1, k)
    coverage = np.array([np.nan if r is None else r.coverage for r in different])
    arrays: dict[str, Any] = {"probs": probs[place], "coverage": coverage[place]}
    if any(row.votes is not None for row in there):
        votes = [nan if r is None or r.votes is None else r.votes for r in different]
        arrays["votes"] = np.array(votes)[place]
    if any(row.unary is not None for row in there):
        empty = np.full((k, 2), np.nan)
        unary = [empty if r is None or r.unary is None else r.unary for r in different]
        arrays["unary_logits"] = np.array(unary)[place]
    if any(row.repeats is not None for row in there):
        arrays["repeats"] = _stack_repeats(different, k)[:, place]
    if any(row.steps is not None for row in there):
        empty = np.zeros((0, k + 1))
        steps = [empty if r is None or r.steps is None else r.steps for r in different]
        arrays["step_probs"] = [steps[n] for n in place]
    return arrays


def _stack_repeats(rows: Sequence[Row | None], k: int) -> np.ndarray:
    most = max(len(r.repeats) for r in rows if r is not None and r.repeats is not None)
    out = np.full((most, len(rows), k), np.nan)
    for number, row in enumerate(rows):
        if row is not None and row.repeats is not None:
            out[: len(row.repeats), number] = row.repeats
    return out


def _flags(ask: Ask) -> frozenset[str]:
    return ask.flags if ask.row is None else ask.flags | ask.row.flags


def _count(
    asks: Sequence[Ask], causes: dict[int, str | None], times: np.ndarray, meter: Meter
) -> None:
    meter.add(texts=int(times.sum()), duplicates=int(times.sum() - np.count_nonzero(times)))
    failures: Counter[str] = Counter()
    flags: Counter[str] = Counter()
    for place, cause in causes.items():
        failures[cause or "missing"] += int(times[place])
    for place, ask in enumerate(asks):
        if ask.row is not None and (ask.flags or ask.row.flags):
            flags.update(dict.fromkeys(_flags(ask), int(times[place])))
    for cause, count in failures.items():
        meter.failure(cause, count)
    for flag, count in flags.items():
        meter.flag(flag, count)


def _meta(plan: Plan, asks: Sequence[Ask], causes: dict[int, str | None]) -> dict[str, Any]:
    flags: Counter[str] = Counter()
    for ask in asks:
        if ask.flags or (ask.row is not None and ask.row.flags):
            flags.update(_flags(ask))
    answered = {model for models in {ask.models for ask in asks} for model in models if model}
    return {
        "origin": plan.origin,
        "model": plan.model,
        "answered_by": sorted(answered),
        "strategy": plan.mode,
        "prompt_version": plan.template.version,
        "parser_version": PARSER_VERSION,
        "label_form": "words" if plan.task.keys == plan.task.labels else "ids",
        "causes": dict(Counter(causes.values())),
        "flags": dict(flags),
    }


def _status(cause: str | None) -> str:
    if cause is None:
        return "ok"
    if cause in _STATUS:
        return _STATUS[cause]
    if cause in TRANSPORT or cause.startswith("http_"):
        return "transport_error"
    return "missing" if cause == "too_long" else "parse_error"


def report_failures(annotations: Annotations, on_failure: str, caller: str) -> None:
    """Warn about rows without an answer, or raise if that was asked for.

    Raises
    ------
    ScoringFailedError
        With counts by cause, after everything else was finished and saved.
    """
    failed = int((~annotations.ok).sum())
    if not failed:
        return
    causes = annotations.meta["causes"]
    listed = ", ".join(f"{cause}: {count}" for cause, count in sorted(causes.items()))
    message = f"{caller} got no usable answer for {failed} of {len(annotations)} texts ({listed})."
    if "timeout" in causes:
        message += " Where the endpoint is slow, set a larger timeout=."
    if on_failure == "raise":
        raise ScoringFailedError(
            message + " All other answers are kept. Set on_failure='abstain' to give these rows "
            "the uniform prior."
        )
    warnings.warn(message + " They get the uniform prior.", ScoringWarning, stacklevel=4)


def with_probs(annotations: Annotations, probs: np.ndarray) -> Annotations:
    """Return annotations with other probabilities."""
    return replace(annotations, probs=probs)
