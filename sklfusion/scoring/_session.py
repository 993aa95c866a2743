"""Asking about many texts: plans, requests, answers, rows, and what came of each."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from sklfusion.annotations import Annotations
from sklfusion.exceptions import ScoringFailedError, ScoringWarning
from sklfusion.llm._attempt import guess_usage
from sklfusion.llm._backend import Backend
from sklfusion.llm._job import Job
from sklfusion.llm._limits import Gate
from sklfusion.llm._retry import RetryPolicy
from sklfusion.llm._run import Run
from sklfusion.llm._types import ChatRequest, Reply, Usage
from sklfusion.llm._usage import Meter
from sklfusion.prompts import PARSER_VERSION
from sklfusion.replies import request_key
from sklfusion.scoring._packed import Packer, ask_packed
from sklfusion.scoring._plan import Plan, Row

_STATUS = {"refusal": "refused", "content_filter": "refused", "empty_text": "missing"}
_TRANSPORT = ("timeout", "connection_lost", "unreachable")
# Failures that say something about the text or the line, not about what the endpoint can do.
_OWN_CAUSES = ("content_filter", "refusal", "too_long", *_TRANSPORT)
# Texts tried before an endpoint is taken to be unable to do something.
_PROBES = 3


@dataclass
class Ask:
    """A distinct text, the examples shown with it, and its requests.

    Parameters
    ----------
    text : str
        As sent, perhaps shortened.
    examples : sequence
        Shown before it.
    flags : frozenset of str
        Reservations that are known before asking.
    """

    text: str
    examples: Sequence[tuple[str, Any]] = ()
    flags: frozenset[str] = frozenset()
    jobs: Sequence[Job] = ()

    @property
    def cause(self) -> str | None:
        """Why there is no answer, None if there is one."""
        if not self.text.strip():
            return "empty_text"
        return next((job.fault.cause for job in self.jobs if job.fault is not None), None)


class Session:
    """Asks a back end about texts. One object per call of an estimator.

    Parameters
    ----------
    plans : sequence of Plan
        Ways to ask, best first. More than one only for ``strategy="auto"``: the first that the
        endpoint answers is taken.
    backend : Backend
        Who answers.
    store : ReplyStore or None
        Where replies are kept.
    memo : dict
        Answers of this object so far.
    meter : Meter
        Counts.
    pack_size : int
        Texts per request.
    batch : bool
        Whether to use the provider's Batch API.
    """

    def __init__(
        self,
        plans: Sequence[Plan],
        backend: Backend,
        store: Any,
        memo: dict[str, Any],
        meter: Meter,
        *,
        policy: RetryPolicy,
        gate: Callable[[], Gate],
        workers: int,
        cache_only: bool,
        progress: Callable[[int, int], None],
        pack_size: int = 1,
        batch: bool = False,
    ) -> None:
        self._batch = batch
        self._pack_size = pack_size
        self._plans = list(plans)
        self._backend = backend
        self._store = store
        self._memo = memo
        self._meter = meter
        self._policy = policy
        self._gate = gate
        self._workers = workers
        self._cache_only = cache_only
        self._progress = progress
        self._probed: set[str] = set()

    @property
    def plan(self) -> Plan:
        """The way to ask that is in use."""
        return self._plans[0]

    def _execute(self, jobs: Sequence[Job], *, quiet: bool = False) -> None:
        run = Run(
            self._backend,
            self._store,
            self._memo,
            self._meter,
            self._gate(),
            self._policy,
            workers=self._workers,
            cache_only=self._cache_only,
            progress=(lambda done, total: None) if quiet else self._progress,
            batch=self._batch,
        )
        run.execute(jobs)

    def ask(self, asks: Sequence[Ask]) -> None:
        """Answer all asks, in place."""
        open_asks = [ask for ask in asks if ask.text.strip()]
        if not open_asks:
            return
        self._settle_mode(open_asks)
        for ask in open_asks:
            ask.jobs = self.plan.jobs(ask.text, ask.examples)
        probed = {job.first_key for ask in open_asks for job in ask.jobs} & self._probed
        self._meter.add(cached=-len(probed))  # these were answered a moment ago
        if self._pack_size > 1:
            packer = Packer(self.plan, self._pack_size)
            ask_packed(packer, open_asks, self._store, self._memo, self._meter, self._execute)
            return
        self._execute([job for ask in open_asks for job in ask.jobs])
        extra = []
        for ask in open_asks:
            more = self.plan.more_votes(list(ask.jobs))
            ask.jobs = [*ask.jobs, *more]
            extra += more
        if extra:
            self._execute(extra)
            for ask in open_asks:  # a failed extra vote does not cost the text its others
                ask.jobs = [ask.jobs[0], *(job for job in ask.jobs[1:] if job.ok)]

    # ------------------------------------------------------------------------- strategy="auto"

    def _settle_mode(self, asks: Sequence[Ask]) -> None:
        """Find the first plan that the endpoint answers, by asking about the first texts.

        These answers are kept like all others, so where the first plan serves nothing is asked
        twice. Where it does not, the mode is written into the store for the next process.
        """
        if len(self._plans) == 1:
            return
        known = self._recorded_mode()
        if known is None:
            known = next((p for p in self._plans[:-1] if self._serves(p, asks)), self._plans[-1])
            if known is not self._plans[0] and self._store is not None and not self._cache_only:
                self._store.put(self._mode_key(), Reply((known.mode,), model=known.model))
        self._plans = [known]

    def _mode_key(self) -> str:
        plan = self._plans[0]
        modes = [p.mode for p in self._plans]
        question = (("system", "sklfusion: which strategy serves"), ("user", " ".join(modes)))
        return request_key(ChatRequest(plan.origin, plan.model, question))

    def _recorded_mode(self) -> Plan | None:
        if self._store is None:
            return None
        reply = self._store.get_many([self._mode_key()]).get(self._mode_key())
        mode = reply.contents[0] if reply is not None and reply.contents else None
        return next((plan for plan in self._plans if plan.mode == mode), None)

    def _serves(self, plan: Plan, asks: Sequence[Ask]) -> bool:
        """Ask about the first texts until one is answered; their failures may be their own."""
        refused = 0
        for ask in asks[:_PROBES]:
            jobs = plan.jobs(ask.text, ask.examples)[:1]
            self._execute(jobs, quiet=True)
            job = jobs[0]
            if job.ok:
                self._probed.add(job.first_key)
                flags = getattr(job.answer, "flags", frozenset())
                return not flags & {"no_logprobs", "no_label_step"}
            assert job.fault is not None
            refused += job.fault.cause not in _OWN_CAUSES
        return not refused

    # --------------------------------------------------------------------------- what it will cost

    def forecast(self, asks: Sequence[Ask]) -> dict[str, Any]:
        """Return how many requests are missing and the tokens they will take; sends nothing."""
        plan = self._recorded_mode() if len(self._plans) > 1 else None
        plan = plan or self.plan
        jobs: dict[str, Job] = {}
        for ask in asks:
            if ask.text.strip():
                for job in plan.jobs(ask.text, ask.examples):
                    jobs.setdefault(job.key, job)
        known = set(self._memo) & set(jobs)
        stored: dict[str, Reply] = {}
        if self._store is not None:
            stored = self._store.get_many(list(jobs))
        missing = [job for key, job in jobs.items() if key not in known and key not in stored]
        cached = len(jobs) - len(missing)
        if self._pack_size > 1:
            packer = Packer(plan, self._pack_size)
            missing, texts = packer.missing(asks, self._store, self._memo)
            cached = len(jobs) - texts
        scale, answer = _learn(jobs, stored)
        prompt = completion = 0
        for job in missing:
            guess = guess_usage(job.request, job.answer_tokens)
            prompt += round((guess.prompt_tokens or 0) * scale)
            completion += guess.completion_tokens or 0
        if answer is not None:
            completion = round(answer * len(missing))
        return {
            "strategy": plan.mode,
            "distinct_requests": len(jobs),
            "cached": cached,
            "requests": len(missing),
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "usage": Usage(prompt, completion),
        }

    # ----------------------------------------------------------------------------- what came of it

    def annotations(
        self, asks: Sequence[Ask], rows: Sequence[int], classes: Sequence[Any]
    ) -> Annotations:
        """Return annotations of ``len(rows)`` texts; ``rows`` maps each to its ask."""
        task = self.plan.task
        causes = [ask.cause for ask in asks]
        done: list[Row | None] = [
            None if cause else self.plan.combine(ask.jobs)
            for ask, cause in zip(asks, causes, strict=True)
        ]
        self._count(asks, done, causes, rows)
        k = len(task.labels)
        nan = np.full(k, np.nan)
        repeats = [r.repeats for r in done if r is not None and r.repeats is not None]
        arrays: dict[str, Any] = {
            "probs": np.array([nan if r is None else r.probs for r in done]).reshape(-1, k),
            "coverage": np.array([np.nan if r is None else r.coverage for r in done]),
            "status": np.array([_status(cause) for cause in causes], dtype="<U15"),
        }
        if any(r is not None and r.votes is not None for r in done):
            votes = [nan if r is None or r.votes is None else r.votes for r in done]
            arrays["votes"] = np.array(votes)
        if any(r is not None and r.unary is not None for r in done):
            empty = np.full((k, 2), np.nan)
            arrays["unary_logits"] = np.array(
                [empty if r is None or r.unary is None else r.unary for r in done]
            )
        arrays = {name: value[list(rows)] for name, value in arrays.items()}
        if repeats:
            arrays["repeats"] = _stack_repeats([done[i] for i in rows], k)
        if any(r is not None and r.steps is not None for r in done):
            steps = [done[i] for i in rows]
            arrays["step_probs"] = [
                np.zeros((0, k + 1)) if r is None or r.steps is None else r.steps for r in steps
            ]
        return Annotations(
            tuple(classes),
            multilabel=task.multilabel,
            meta=self._meta(asks, done, causes),
            **arrays,
        )

    def _count(
        self,
        asks: Sequence[Ask],
        done: Sequence[Row | None],
        causes: Sequence[str | None],
        rows: Sequence[int],
    ) -> None:
        meter = self._meter
        times = Counter(rows)
        meter.add(texts=len(rows), duplicates=len(rows) - len(times))
        for number, (ask, row) in enumerate(zip(asks, done, strict=True)):
            if row is None:
                meter.failure(causes[number] or "missing", times[number])
            elif ask.flags or row.flags:
                for flag in ask.flags | row.flags:
                    meter.flag(flag, times[number])

    def _meta(
        self,
        asks: Sequence[Ask],
        done: Sequence[Row | None],
        causes: Sequence[str | None],
    ) -> dict[str, Any]:
        plan = self.plan
        answered = sorted({job.model for ask in asks for job in ask.jobs if job.model})
        flags: Counter[str] = Counter()
        for ask, row in zip(asks, done, strict=True):
            if ask.flags or (row is not None and row.flags):
                flags.update(ask.flags | (row.flags if row is not None else frozenset()))
        return {
            "origin": plan.origin,
            "model": plan.model,
            "answered_by": answered,
            "strategy": plan.mode,
            "prompt_version": plan.template.version,
            "parser_version": PARSER_VERSION,
            "label_form": "words" if plan.task.keys == plan.task.labels else "ids",
            "causes": dict(Counter(cause for cause in causes if cause)),
            "flags": dict(flags),
        }


def _learn(jobs: dict[str, Job], stored: dict[str, Reply]) -> tuple[float, float | None]:
    """Learn from stored replies how far the guess of tokens is off, and how long answers are."""
    guessed = counted = answers = n = 0
    for key in list(stored)[:500]:
        usage = stored[key].usage
        if usage.prompt_tokens is not None and usage.completion_tokens is not None:
            guessed += guess_usage(jobs[key].request, 0).prompt_tokens or 0
            counted += usage.prompt_tokens
            answers += usage.completion_tokens
            n += 1
    return (counted / guessed, answers / n) if n and guessed else (1.0, None)


def _status(cause: str | None) -> str:
    if cause is None:
        return "ok"
    if cause in _STATUS:
        return _STATUS[cause]
    if cause in _TRANSPORT or cause.startswith("http_"):
        return "transport_error"
    return "missing" if cause == "too_long" else "parse_error"


def _stack_repeats(rows: Sequence[Row | None], k: int) -> np.ndarray:
    most = max(len(r.repeats) for r in rows if r is not None and r.repeats is not None)
    out = np.full((most, len(rows), k), np.nan)
    for number, row in enumerate(rows):
        if row is not None and row.repeats is not None:
            out[: len(row.repeats), number] = row.repeats
    return out


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
