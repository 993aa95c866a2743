"""One run: many requests through one back end, each answered once, saved, then read.

The order of events for one request is the heart of the package::

    memory of this object -> reply store -> lease -> gate -> endpoint -> reply store -> parser

so no answer that arrived is paid for twice, and a reply is on disk before anything trips over it.
"""

from __future__ import annotations

import contextlib
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from typing import Any

from sklfusion._chat import Reply
from sklfusion.exceptions import CacheError, CacheMissError
from sklfusion.llm._adapt import Adaptations
from sklfusion.llm._attempt import Attempter
from sklfusion.llm._backend import Backend
from sklfusion.llm._faults import CallError, Fault, error_from_fault, without_text
from sklfusion.llm._gate import Gate, Stopped
from sklfusion.llm._job import Job, Memo, is_whole
from sklfusion.llm._reply import only_thought
from sklfusion.llm._retry import RetryPolicy
from sklfusion.llm._signals import interrupted_by_sigterm
from sklfusion.llm._usage import Meter
from sklfusion.llm._verdict import Verdict, given_up
from sklfusion.llm._words import clean
from sklfusion.prompts._parse import FINAL_CAUSES, ReplyError

LEASE_SECONDS = 60.0
# Characters of an unusable answer that an error shows.
_SHOWN_CAUSE = 80
# After an interrupt, what is in flight has this long to arrive and be saved.
INTERRUPT_SECONDS = 1.5
_TICK = 0.1


class Run:
    """Answers jobs. One object per run.

    Parameters
    ----------
    backend : Backend
        Who answers.
    store : ReplyStore or None
        Where replies are kept.
    memo : Memo
        Answers that this object has already had, by key.
    meter : Meter
        Counts and budget.
    gate : Gate
        Pace.
    policy : RetryPolicy
        Retries.
    workers : int
        Requests in flight.
    cache_only : bool
        Whether a missing reply is an error instead of a request.
    progress : callable
        Called with (answered, total) from the calling thread, several times a second.
    batch : bool
        Whether what is missing goes through the provider's Batch API.
    known : int
        Texts of the same call that already have an answer, for progress and messages.
    verdict : Verdict or None
        Decides when failures end the run; shared by the runs of one call.
    adapted : Adaptations or None
        What is known of the wishes of the endpoint.
    essential : collection of str
        Fields of the request that are not given up.
    """

    def __init__(
        self,
        backend: Backend,
        store: Any,
        memo: Memo,
        meter: Meter,
        gate: Gate,
        policy: RetryPolicy,
        *,
        workers: int,
        cache_only: bool = False,
        progress: Callable[[int, int], None] = lambda done, total: None,
        batch: bool = False,
        known: int = 0,
        verdict: Verdict | None = None,
        adapted: Adaptations | None = None,
        essential: Collection[str] = (),
    ) -> None:
        self._backend = backend
        self._secrets: tuple[str, ...] = getattr(backend, "secrets", ())
        self._batch = batch
        self._store = store
        self._memo = memo
        self._meter = meter
        self._gate = gate
        self._policy = policy
        self._attempter = Attempter(backend, gate, policy, meter, adapted, essential)
        self._verdict = verdict or Verdict(policy, worked=known > 0)
        self._workers = workers
        self._cache_only = cache_only
        self._progress = progress
        self._owner = uuid.uuid4().hex
        self._changed = threading.Condition()
        self._queue: deque[Job] = deque()
        self._waiting: dict[str, Job] = {}
        self._active: set[str] = set()
        self._left = 0
        self._error: BaseException | None = None
        self._known = known
        self._busy = 0

    def execute(self, jobs: Iterable[Job]) -> None:
        """Answer every job, in place. Each distinct request is asked once.

        Raises
        ------
        SklFusionError
            What stopped the run; everything that arrived before is saved.
        """
        distinct: dict[str, list[Job]] = {}
        for job in jobs:
            distinct.setdefault(job.first_key, []).append(job)
        pending = self.unanswered([group[0] for group in distinct.values()])
        if pending and self._cache_only:
            raise CacheMissError(
                f"{len(pending)} of {len(distinct) + self._known} replies are not in the reply "
                "store and cache_only=True. Check that model, endpoint, classes, prompt and "
                "parameters are those of the run that filled it, or set cache_only=False to ask "
                "the endpoint."
            )
        self._total = len(distinct)
        self._left = len(pending)
        if pending and self._batch:
            from sklfusion.llm._batch_run import BatchRun

            BatchRun(self._backend, self._store, self._meter, self._show).execute(pending)
        elif pending:
            self._queue.extend(pending)
            self._ask()
        self._show(self._total, self._total)
        for first, *others in distinct.values():
            for job in others:
                job.answer, job.fault, job.model = first.answer, first.fault, first.model

    def _show(self, done: int, total: int) -> None:
        self._progress(done + self._known, total + self._known)

    # ------------------------------------------------------------------- what is known already

    def unanswered(self, jobs: list[Job]) -> list[Job]:
        """Return the jobs that have to be asked, as they are to be; answer the others."""
        pending = []
        for job in jobs:
            if job.first_key in self._memo:
                job.answer, job.model = self._memo[job.first_key]
            else:
                pending.append(job)
        missing = self._from_store(pending) if self._store is not None else pending
        self._meter.add(cached=len(jobs) - len(missing))
        if self._cache_only:
            # An unusable answer that was never followed by another is what this text has.
            for job in missing:
                if job.attempts.bad or job.attempts.old:
                    job.fault = Fault("bad_reply", job.attempts.cause)
            missing = [job for job in missing if job.ok]
        return missing

    def _from_store(self, pending: list[Job]) -> list[Job]:
        missing: list[Job] = []
        while pending:
            replies = self._store.get_many([job.key for job in pending])
            again = []
            for job in pending:
                reply = replies.get(job.key)
                if reply is None:
                    missing.append(job)
                elif not self._read(job, reply, fresh=False):
                    again.append(job)
            pending = again
        return missing

    def _read(self, job: Job, reply: Reply, *, fresh: bool) -> bool:
        """Read a reply; return False if the job is to be asked once more."""
        try:
            answer = job.read(reply)
        except ReplyError as error:
            fault = self._unusable(job, reply, error.cause)
            job.attempts.cause = error.cause
            if fresh and self._store is not None:
                self._store.note(job.key, error.cause)
            if fresh:
                again = self._attempter.may_retry(fault, job.attempts)
            else:
                age, whole = self._memo.age(reply), is_whole(reply)
                again = job.attempts.may_read_on(fault, self._policy, age, whole=whole)
            if again:
                if fresh and error.cause == "truncated" and only_thought(reply):
                    self._attempter.adapted.make_room()
                job.ask_again(error.cause)
                return False
            job.fault = fault
            return True
        job.answer, job.model = answer, reply.model
        self._memo[job.first_key] = (answer, reply.model)
        self._verdict.answer()
        return True

    def _unusable(self, job: Job, reply: Reply, cause: str) -> Fault:
        said = (reply.contents and reply.contents[0]) or ""
        kind = "text" if cause in FINAL_CAUSES else "bad_reply"
        fault = Fault(kind, cause, said=clean(said, self._secrets, _SHOWN_CAUSE))
        return without_text(fault, job.request)

    # ------------------------------------------------------------------------------- the threads

    def _ask(self) -> None:
        prepare = getattr(self._backend, "prepare", None)  # local models load as they are asked
        if prepare is not None:
            prepare()
        count = min(self._workers, len(self._queue))
        threads = [
            threading.Thread(target=self._work, name=f"sklfusion-{n}", daemon=True)
            for n in range(count)
        ]
        patience = INTERRUPT_SECONDS  # until the run has ended by itself
        with interrupted_by_sigterm():
            try:
                for thread in threads:
                    thread.start()
                self._watch()
                patience = threading.TIMEOUT_MAX
            finally:
                # Reached after success, an error or an interrupt alike: start no more, and let
                # those in flight finish and save. A second interrupt ends this wait at once.
                self._gate.stop()
                with self._changed:
                    self._changed.notify_all()
                _join([t for t in threads if t.ident is not None], patience)
                self._release()
        if self._error is not None:
            raise self._error

    def _watch(self) -> None:
        renewed = time.monotonic()
        while True:
            with self._changed:
                if self._left <= 0 or self._error is not None:
                    return
                self._changed.wait(_TICK)
            self._show(self._total - self._left, self._total)
            if self._waiting:
                self._look_at_others()
            if self._store is not None and time.monotonic() - renewed > LEASE_SECONDS / 3:
                renewed = time.monotonic()
                self._store.renew(list(self._active), self._owner, LEASE_SECONDS)
            if self._gate.hopeless:
                self._fail(given_up(self._gate.last))

    def _look_at_others(self) -> None:
        """Take over what other processes have answered or given up."""
        with self._changed:
            waiting = dict(self._waiting)
        replies, free = self._store.wait(waiting, owner=self._owner, timeout=0.0)
        for key, job in waiting.items():
            if key not in replies and key not in free:
                continue
            with self._changed:
                del self._waiting[key]
            if key in replies and self._read(job, replies[key], fresh=False):
                self._meter.add(cached=1)
                self._settle()
            else:
                self._put_back(job)

    def _put_back(self, job: Job) -> None:
        with self._changed:
            self._queue.append(job)
            self._changed.notify_all()

    def _settle(self) -> None:
        with self._changed:
            self._left -= 1
            if self._left <= 0:
                self._changed.notify_all()

    def _fail(self, error: BaseException) -> None:
        with self._changed:
            self._error = self._error or error
            self._changed.notify_all()
        self._gate.stop()

    def _next(self) -> Job | None:
        with self._changed:
            # After a refusal that may be the set-up's, one request shows what all would get.
            while not self._queue or (self._busy and self._verdict.doubtful):
                if self._left <= 0 or self._gate.stopped:
                    return None
                self._changed.wait()
            if self._gate.stopped:
                return None
            self._busy += 1
            return self._queue.popleft()

    def _work(self) -> None:
        while (job := self._next()) is not None:
            try:
                self._do(job)
            except Stopped:
                return
            except BaseException as error:
                self._fail(error)
                return
            finally:
                with self._changed:
                    self._busy -= 1
                    self._changed.notify_all()

    # -------------------------------------------------------------------------------- one request

    def _do(self, job: Job) -> None:
        while True:
            if not self._claim(job):
                return
            try:
                reply = self._attempter.reply(job.request, job.attempts, job.answer_tokens)
            except CallError as error:
                self._give_up(job, error.fault)
                return
            except BaseException:
                self._free(job)
                raise
            reply = self._save(job, reply)
            if self._read(job, reply, fresh=True):
                self._note_failure(job.fault, job.request.origin)
                self._settle()
                return
            self._meter.add(reparsed=1)

    def _claim(self, job: Job) -> bool:
        """Get the right to pay for a job, or leave it to whoever has it."""
        if self._store is None:
            return True
        with self._changed:
            self._active.add(job.key)
        if self._store.claim([job.key], self._owner, LEASE_SECONDS):
            return True
        with self._changed:
            self._active.discard(job.key)
            self._waiting[job.key] = job
        return False

    def _save(self, job: Job, reply: Reply) -> Reply:
        if self._store is None:
            return reply
        try:
            return self._store.put(job.key, reply, self._owner)  # type: ignore[no-any-return]
        except CacheError as error:
            # Paid for and not saved: keep it in this object, and pay for nothing more.
            with contextlib.suppress(ReplyError):
                self._memo[job.first_key] = (job.read(reply), reply.model)
            raise CacheError(
                f"{error} The run was stopped before paying for more; answers that could not be "
                "written stay in the memory of this estimator."
            ) from None
        finally:
            with self._changed:
                self._active.discard(job.key)

    def _free(self, job: Job) -> None:
        if self._store is not None:
            with self._changed:
                self._active.discard(job.key)
            with contextlib.suppress(CacheError):
                self._store.release([job.key], self._owner)

    def _release(self) -> None:
        if self._store is not None and self._active:
            with contextlib.suppress(CacheError):
                self._store.release(list(self._active), self._owner)

    def _give_up(self, job: Job, fault: Fault) -> None:
        self._free(job)
        if fault.kind == "stop":
            self._fail(error_from_fault(fault, job.request.origin))
            return
        job.fault = fault
        if fault.kind == "refused":
            job.fault = replace(fault, cause=f"http_{fault.status}")
        self._note_failure(fault, job.request.origin)
        self._settle()

    def _note_failure(self, fault: Fault | None, origin: str) -> None:
        if fault is None:
            return
        error = self._verdict.failure(fault, origin, self._left - 1)
        if error is not None:
            self._fail(error)


def _join(threads: list[threading.Thread], seconds: float) -> None:
    """Wait for threads, for so long in all. Those left over end at the deadline of their call."""
    end = time.monotonic() + seconds
    for thread in threads:
        thread.join(min(max(end - time.monotonic(), 0.0), threading.TIMEOUT_MAX))
