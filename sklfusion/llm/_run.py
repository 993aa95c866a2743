"""One run: many requests through one back end, each answered once, saved, then read.

The order of events for one request is the heart of the package::

    memory of this object -> reply store -> lease -> gate -> endpoint -> reply store -> parser

so no answer that arrived is paid for twice, and a reply is on disk before anything trips over it.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import replace

from sklfusion._chat import ChatRequest, Reply
from sklfusion.exceptions import CacheError, CacheMissError
from sklfusion.llm._attempt import Attempter
from sklfusion.llm._call import Call
from sklfusion.llm._claims import Claims
from sklfusion.llm._faults import CallError, Fault, error_from_fault
from sklfusion.llm._gate import Stopped
from sklfusion.llm._job import Job
from sklfusion.llm._reader import ReplyReader
from sklfusion.llm._signals import interrupted_by_sigterm
from sklfusion.llm._verdict import given_up
from sklfusion.prompts._parse import ReplyError
from sklfusion.replies._keys import last_user

# After an interrupt, what is in flight has this long to arrive and be saved.
INTERRUPT_SECONDS = 1.5
_TICK = 0.1
# Of the texts that a model in this process is handed at a time: enough for full steps, few enough
# that an interrupt loses seconds and another process finds work.
_GROUP_CHARACTERS = 16_384


class Run:
    """Answers jobs. One object per run.

    Parameters
    ----------
    call : Call
        Who answers, where replies are kept, and within which limits.
    """

    def __init__(self, call: Call) -> None:
        self._call = call
        self._gate = call.gate()
        self._reader = ReplyReader(call)
        self._attempter = Attempter(call, self._gate)
        self._claims = Claims(call.store)
        self._changed = threading.Condition()
        self._queue: deque[Job] = deque()
        self._waiting: dict[str, Job] = {}
        self._left = 0
        self._error: BaseException | None = None
        self._busy = 0
        self._expect: Callable[[list[ChatRequest]], None] | None = None

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
        pending = self._reader.unanswered([group[0] for group in distinct.values()])
        if pending and self._call.cache_only:
            raise CacheMissError(
                f"{len(pending)} of {len(distinct) + self._call.known} replies are not in the "
                "reply store and cache_only=True. Check that model, endpoint, classes, prompt and "
                "parameters are those of the run that filled it, or set cache_only=False to ask "
                "the endpoint."
            )
        self._total = len(distinct)
        self._left = len(pending)
        if pending and self._call.batch:
            from sklfusion.llm._batch_run import BatchRun

            BatchRun(self._call).execute(pending)
        elif pending:
            self._expect = getattr(self._call.backend, "expect", None)
            # A model of this process reads texts of one length together.
            self._queue.extend(sorted(pending, key=_length) if self._expect else pending)
            self._ask()
        self._call.show(self._total, self._total)
        for first, *others in distinct.values():
            for job in others:
                job.answer, job.fault, job.model = first.answer, first.fault, first.model

    # ------------------------------------------------------------------------------- the threads

    def _ask(self) -> None:
        # Local models load as they are asked.
        prepare = getattr(self._call.backend, "prepare", None)
        if prepare is not None:
            prepare()
        count = min(self._call.workers, len(self._queue))
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
                self._claims.free_all()
        if self._error is not None:
            raise self._error

    def _watch(self) -> None:
        while True:
            with self._changed:
                if self._left <= 0 or self._error is not None:
                    return
                self._changed.wait(_TICK)
            self._call.show(self._total - self._left, self._total)
            if self._waiting:
                self._look_at_others()
            self._claims.renew()
            if self._gate.hopeless:
                self._fail(given_up(self._gate.last))

    def _look_at_others(self) -> None:
        """Take over what other processes have answered or given up."""
        with self._changed:
            waiting = dict(self._waiting)
        replies, free = self._claims.by_others(waiting)
        for key, job in waiting.items():
            if key not in replies and key not in free:
                continue
            with self._changed:
                del self._waiting[key]
            if key in replies and self._reader.read(job, replies[key]):
                self._call.meter.add(cached=1)
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

    def _next(self) -> list[Job]:
        with self._changed:
            # After a refusal that may be the set-up's, one request shows what all would get.
            while not self._queue or (self._busy and self._call.verdict.doubtful):
                if self._left <= 0 or self._gate.stopped:
                    return []
                self._changed.wait()
            if self._gate.stopped:
                return []
            self._busy += 1
            return self._take()

    def _take(self) -> list[Job]:
        """Take the next job, and those that the back end may answer in the same step."""
        jobs = [self._queue.popleft()]
        room = _GROUP_CHARACTERS - _length(jobs[0])
        while self._expect and self._queue and room >= (length := _length(self._queue[0])):
            jobs.append(self._queue.popleft())
            room -= length
        return jobs

    def _work(self) -> None:
        while jobs := self._next():
            try:
                mine = [job for job in jobs if self._claim(job)]
                if self._expect:
                    self._expect([job.request for job in mine])
                for job in mine:
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
        """Answer a job whose right is held."""
        while True:
            try:
                reply = self._attempter.reply(job.request, job.attempts, job.answer_tokens)
            except CallError as error:
                self._give_up(job, error.fault)
                return
            except BaseException:
                self._claims.free(job.key)
                raise
            reply = self._save(job, reply)
            if self._reader.read_fresh(job, reply, self._attempter.may_retry):
                self._note_failure(job.fault, job.request.origin)
                self._settle()
                return
            self._call.meter.add(reparsed=1)
            if not self._claim(job):
                return

    def _claim(self, job: Job) -> bool:
        """Get the right to pay for a job, or leave it to whoever has it."""
        if self._claims.take(job.key):
            return True
        with self._changed:
            self._waiting[job.key] = job
        return False

    def _save(self, job: Job, reply: Reply) -> Reply:
        try:
            return self._claims.save(job.key, reply)
        except CacheError as error:
            # Paid for and not saved: keep it in this object, and pay for nothing more.
            with contextlib.suppress(ReplyError):
                self._call.memo[job.first_key] = (job.read(reply), reply.model)
            raise CacheError(
                f"{error} The run was stopped before paying for more; answers that could not be "
                "written stay in the memory of this estimator."
            ) from None

    def _give_up(self, job: Job, fault: Fault) -> None:
        self._claims.free(job.key)
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
        error = self._call.verdict.failure(fault, origin, self._left - 1)
        if error is not None:
            self._fail(error)


def _length(job: Job) -> int:
    """Return the characters of what distinguishes a request: they tell how long it takes."""
    return len(job.request.messages[last_user(job.request) or 0][1])


def _join(threads: list[threading.Thread], seconds: float) -> None:
    """Wait for threads, for so long in all. Those left over end at the deadline of their call."""
    end = time.monotonic() + seconds
    for thread in threads:
        thread.join(min(max(end - time.monotonic(), 0.0), threading.TIMEOUT_MAX))
