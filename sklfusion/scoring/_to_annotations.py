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
from sklfusion.llm._adapt import Adaptations
from sklfusion.llm._decision_route import NO_ROUTE, TOO_LARGE
from sklfusion.llm._faults import UNEXPLAINED
from sklfusion.llm._usage import Meter
from sklfusion.prompts import PARSER_VERSION
from sklfusion.scoring._read import Row
from sklfusion.scoring._strategies import Plan
from sklfusion.scoring._texts import Texts

_STATUS = {
    "refusal": "refused",
    "content_filter": "refused",
    "http_403": "refused",
    "http_404": "refused",
    "http_410": "refused",
    "http_451": "refused",
    "empty_text": "missing",
    NO_ROUTE: "transport_error",
    **dict.fromkeys(TOO_LARGE, "missing"),
}
TRANSPORT = ("timeout", "connection_lost", "unreachable")


def annotate(plan: Plan, texts: Texts, classes: Sequence[Any], meter: Meter) -> Annotations:
    """Return annotations of all texts of a call and count what came of them.

    Parameters
    ----------
    plan : Plan
        How the texts were asked about.
    texts : Texts
        Answered.
    classes : sequence
        The labels as the user wrote them.
    meter : Meter
        Counted up.
    """
    # Most texts share their row with others: arrays are made of the different ones.
    numbers = list(map(id, texts.rows))
    different = dict(zip(numbers, texts.rows, strict=True))
    index = {number: n for n, number in enumerate(different)}
    row_of = np.fromiter(map(index.__getitem__, numbers), dtype=np.intp, count=len(numbers))
    rows = list(different.values())
    times = np.bincount(texts.rows_of, minlength=len(numbers))
    _count(texts, rows, np.bincount(row_of, times, len(rows)), times, meter)
    status = np.full(len(numbers), "ok", dtype="<U15")
    for place, cause in texts.causes.items():
        status[place] = status_of(cause)
    arrays = _arrays(rows, row_of[texts.rows_of], len(plan.task.labels))
    return Annotations(
        tuple(classes),
        multilabel=plan.task.multilabel,
        status=status[texts.rows_of],
        meta=_meta(plan, texts, rows, np.bincount(row_of, minlength=len(rows))),
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


def _count(
    texts: Texts,
    rows: Sequence[Row | None],
    times_of_rows: np.ndarray,
    times: np.ndarray,
    meter: Meter,
) -> None:
    total = int(times.sum())
    meter.add(texts=total, duplicates=total - int(np.count_nonzero(times)))
    for place, cause in texts.causes.items():
        meter.failure(cause, int(times[place]))
    flags = _count_flags(rows, times_of_rows)
    for place, names in texts.flags.items():
        if texts.rows[place] is not None:
            flags.update(dict.fromkeys(names, int(times[place])))
    for name, count in flags.items():
        meter.flag(name, count)


def _count_flags(rows: Sequence[Row | None], times: np.ndarray) -> Counter[str]:
    flags: Counter[str] = Counter()
    for row, count in zip(rows, times, strict=True):
        if row is not None and row.flags:
            flags.update(dict.fromkeys(row.flags, int(count)))
    return flags


def _meta(
    plan: Plan, texts: Texts, rows: Sequence[Row | None], times: np.ndarray
) -> dict[str, Any]:
    flags = _count_flags(rows, times)
    for names in texts.flags.values():
        flags.update(names)
    return {
        "origin": plan.origin,
        "model": plan.model,
        "answered_by": sorted(texts.models),
        "strategy": plan.mode,
        "prompt_version": plan.template.version,
        "parser_version": PARSER_VERSION,
        "label_form": "words" if plan.task.keys == plan.task.labels else "ids",
        "causes": dict(Counter(texts.causes.values())),
        "said": dict(texts.said),
        "flags": dict(flags),
        **plan.told(),
    }


def status_of(cause: str | None) -> str:
    if cause is None:
        return "ok"
    if cause in _STATUS:
        return _STATUS[cause]
    if cause in TRANSPORT or cause.startswith("http_") or cause == UNEXPLAINED:
        return "transport_error"
    return "missing" if cause == "too_long" else "parse_error"


def report_failures(annotations: Annotations, on_failure: str, caller: str, then: str) -> None:
    """Warn about rows without an answer and say what becomes of them, or raise if asked to.

    Raises
    ------
    ScoringFailedError
        With counts by cause, after everything else was finished and saved.
    """
    failed = int((~annotations.ok).sum())
    if not failed:
        return
    causes = annotations.meta["causes"]
    said = annotations.meta.get("said", {})
    listed = ", ".join(
        f"{cause}: {count}" + (f", such as {said[cause]!r}" if cause in said else "")
        for cause, count in sorted(causes.items())
    )
    message = f"{caller} got no usable answer for {failed} of {len(annotations)} texts ({listed})."
    if "timeout" in causes:
        message += " Where the endpoint is slow, set a larger timeout=."
    if on_failure == "raise":
        raise ScoringFailedError(
            message + " All other answers are kept. Set on_failure='abstain' to give these rows "
            "the uniform prior."
        )
    warnings.warn(f"{message} {then}", ScoringWarning, stacklevel=5)


def report_adapted(adapted: Adaptations, request_params: dict[str, Any] | None) -> None:
    """Warn, once each, of fields that the user set and the endpoint refused."""
    news = adapted.news(request_params or ())
    if news:
        warnings.warn(
            f"The endpoint refused fields of request_params, which were sent otherwise: {news}. "
            "Set them to None, or to what it takes, to be asked as you wish.",
            ScoringWarning,
            stacklevel=5,
        )


def report_shortened(texts: Texts, limit: int | None, caller: str) -> None:
    """Warn of texts that were cut before they were asked about, with their number."""
    cut = [place for place, names in texts.flags.items() if "shortened" in names]
    if cut:
        count = int(np.isin(texts.rows_of, cut).sum())
        warnings.warn(
            f"{caller}: {count} of {len(texts.rows_of)} texts are longer than max_text_tokens="
            f"{limit} and were cut in the middle. Raise it as far as the model's context goes, or "
            "set it to None: then a text that the model cannot take gets no answer.",
            ScoringWarning,
            stacklevel=5,
        )


def with_probs(annotations: Annotations, probs: np.ndarray) -> Annotations:
    """Return annotations with other probabilities."""
    return replace(annotations, probs=probs)
