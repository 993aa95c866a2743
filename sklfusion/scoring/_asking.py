"""Asking about many texts: which plan, what is known, what has to be requested."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from sklfusion._chat import ChatRequest, Reply, Usage
from sklfusion.llm._adapt import Adaptations
from sklfusion.llm._attempt import guess_usage
from sklfusion.llm._backend import Backend
from sklfusion.llm._gate import Gate
from sklfusion.llm._job import Job, Memo
from sklfusion.llm._retry import RetryPolicy
from sklfusion.llm._run import Run
from sklfusion.llm._usage import Meter, UsageReport
from sklfusion.llm._verdict import Verdict
from sklfusion.replies import request_key
from sklfusion.scoring._packs import Packer, ask_packed
from sklfusion.scoring._strategies import Plan
from sklfusion.scoring._texts import Ask, Texts, recall
from sklfusion.scoring._to_annotations import TRANSPORT

# Failures that say something about the text or the line, not about what the endpoint can do.
_OWN_CAUSES = ("content_filter", "refusal", "too_long", *TRANSPORT)
# Stored replies from which the guess of tokens is corrected.
_LEARN_FROM = 500
# Texts tried before an endpoint is taken to be unable to do something.
_PROBES = 3
# Attempts at each of them that may end in 500, which some servers say to what they do not know.
_PROBE_ATTEMPTS = 2


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
    memo : Memo
        Answers of this object so far.
    meter : Meter
        Counts.
    pack_size : int
        Texts per request.
    batch : bool
        Whether to use the provider's Batch API.
    adapted : Adaptations or None
        What is known of the wishes of the endpoint.
    """

    def __init__(
        self,
        plans: Sequence[Plan],
        backend: Backend,
        store: Any,
        memo: Memo,
        meter: Meter,
        *,
        policy: RetryPolicy,
        gate: Callable[[], Gate],
        workers: int,
        cache_only: bool,
        progress: Callable[[int, int], None],
        pack_size: int = 1,
        batch: bool = False,
        adapted: Adaptations | None = None,
    ) -> None:
        self.adapted = adapted if adapted is not None else Adaptations()
        self._batch = batch
        self._pack_size = pack_size
        self._plans = list(plans)
        self._backend = backend
        self._store = store
        self._memo = memo
        self.meter = meter
        self._policy = policy
        self._gate = gate
        self._workers = workers
        self._cache_only = cache_only
        self._progress = progress
        self._probed: set[str] = set()
        self._known = 0
        self._verdict = Verdict(policy)

    @property
    def plan(self) -> Plan:
        """The way to ask that is in use."""
        return self._plans[0]

    def _execute(self, jobs: Sequence[Job], plan: Plan | None = None) -> None:
        """Answer jobs; with ``plan``, as a trial of it that may fail."""
        policy, verdict = self._policy, self._verdict
        if plan is not None:
            policy = replace(policy, max_attempts=_PROBE_ATTEMPTS)
            verdict = Verdict(policy, judges=False)
        run = Run(
            self._backend,
            self._store,
            self._memo,
            self.meter,
            self._gate(),
            policy,
            workers=self._workers,
            cache_only=self._cache_only,
            progress=self._progress if plan is None else (lambda done, total: None),
            batch=self._batch,
            known=self._known,
            verdict=verdict,
            adapted=self.adapted,
            essential=() if plan is None else plan.essential,
        )
        run.execute(jobs)

    def ask(self, texts: Texts) -> None:
        """Answer all texts, in place."""
        places = texts.open()
        if not places:
            return
        first = texts.asks(places[:_PROBES])
        self._settle_mode(first)
        packer = Packer(self.plan, self._pack_size) if self._pack_size > 1 else None
        entry = packer.entry if packer is not None else None
        missing = recall(self.plan, texts, places, self._store, self._memo, entry)
        self._known = len(places) - len(missing)
        self._verdict.worked = self._known > 0
        self.meter.add(cached=self._known - self._answered_by_probe(first))
        if not missing:
            self._progress(self._known, self._known)
        elif packer is not None:
            ask_packed(packer, texts, missing, self._store, self._memo, self._execute)
        else:
            self._ask_alone(texts, texts.asks(missing))

    def _answered_by_probe(self, asks: Sequence[Ask]) -> int:
        """Count the answers that look as if they were stored but arrived a moment ago."""
        jobs = [job for ask in asks for job in self.plan.jobs(ask.text, ask.examples)]
        return len({job.first_key for job in jobs} & self._probed) if self._probed else 0

    def _ask_alone(self, texts: Texts, asks: Sequence[Ask]) -> None:
        for ask in asks:
            ask.jobs = self.plan.jobs(ask.text, ask.examples)
        self._execute([job for ask in asks for job in ask.jobs])
        extra = []
        for ask in asks:
            more = self.plan.more_votes(list(ask.jobs))
            ask.jobs = [*ask.jobs, *more]
            extra += more
        if extra:
            self._execute(extra)
            for ask in asks:  # a failed extra vote does not cost the text its others
                ask.jobs = [ask.jobs[0], *(job for job in ask.jobs[1:] if job.ok)]
        for ask in asks:
            texts.settle(ask, self.plan)

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
            known = self._first_that_serves(asks)
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

    def _first_that_serves(self, asks: Sequence[Ask]) -> Plan:
        """Return the first plan that the endpoint answers; the last is not tried."""
        failing: list[Plan] = []
        for plan in self._plans[:-1]:
            serves = self._serves(plan, asks)
            if serves is None:
                failing.append(plan)
            elif serves:
                # Was it down a moment ago, or is it these plans that make it fail?
                return next((p for p in failing if self._serves(p, asks[:1])), plan)
        return next((p for p in failing if self._serves(p, asks[:1])), self._plans[-1])

    def _serves(self, plan: Plan, asks: Sequence[Ask]) -> bool | None:
        """Ask about the first texts until one is answered; their failures may be their own.

        Returns
        -------
        bool or None
            None if the endpoint failed over it with a status that may mean anything.
        """
        refused = failed = 0
        for ask in asks:
            jobs = plan.jobs(ask.text, ask.examples)[:1]
            self._execute(jobs, plan)
            job = jobs[0]
            if job.ok:
                self._probed.add(job.first_key)
                flags = getattr(job.answer, "flags", frozenset())
                return not flags & {"no_logprobs", "no_label_step"}
            assert job.fault is not None
            if job.fault.cause == "refused_field":
                return False
            if job.fault.kind == "wait" and job.fault.status != 500:
                return True  # it asked to wait for a whole deadline, which is no word on the plan
            failed += job.fault.status == 500
            refused += job.fault.cause not in _OWN_CAUSES
        return None if failed and failed == refused else not refused

    # --------------------------------------------------------------------------- what it will cost

    def _unanswered(self, jobs: list[Job]) -> list[Job]:
        """Return what a run would send, without a trace in what this object knows or counts."""
        memo = Memo(self._memo, self._memo.since)
        meter = Meter(UsageReport(), None)
        run = Run(self._backend, self._store, memo, meter, self._gate(), self._policy, workers=1)
        return run.unanswered(jobs)

    def forecast(self, texts: Texts) -> dict[str, Any]:
        """Return how many requests are missing and the tokens they will take; sends nothing."""
        plan = self._recorded_mode() if len(self._plans) > 1 else None
        plan = plan or self.plan
        jobs: dict[str, Job] = {}
        places = texts.open()
        for ask in texts.asks(places):
            for job in plan.jobs(ask.text, ask.examples):
                jobs.setdefault(job.key, job)
        missing = self._unanswered(list(jobs.values()))
        stored: dict[str, Reply] = {}
        if self._store is not None:
            stored = self._store.get_many(list(jobs)[:_LEARN_FROM])
        cached = len(jobs) - len(missing)
        if self._pack_size > 1:
            packer = Packer(plan, self._pack_size)
            unknown = recall(plan, texts, places, self._store, self._memo, packer.entry)
            missing = [job for _, job in packer.packs([texts.distinct[n] for n in unknown])]
            cached = len(jobs) - len(unknown)
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


def _learn(jobs: dict[str, Job], stored: dict[str, Reply]) -> tuple[float, float | None]:
    """Learn from stored replies how far the guess of tokens is off, and how long answers are."""
    guessed = counted = answers = n = 0
    for key in stored:
        usage = stored[key].usage
        if usage.prompt_tokens is not None and usage.completion_tokens is not None:
            guessed += guess_usage(jobs[key].request, 0).prompt_tokens or 0
            counted += usage.prompt_tokens
            answers += usage.completion_tokens
            n += 1
    return (counted / guessed, answers / n) if n and guessed else (1.0, None)
