"""Reading replies into jobs: those that are there already, and those that have just arrived."""

from __future__ import annotations

from collections.abc import Callable

from sklfusion._chat import Reply
from sklfusion.llm._call import Call
from sklfusion.llm._faults import Fault, without_text
from sklfusion.llm._job import Job, is_whole
from sklfusion.llm._reply import only_thought
from sklfusion.llm._retry import Attempts
from sklfusion.llm._words import clean
from sklfusion.prompts._parse import FINAL_CAUSES, ReplyError

# Characters of an unusable answer that an error shows.
_SHOWN_CAUSE = 80


class ReplyReader:
    """Finds and reads the answers to jobs.

    Parameters
    ----------
    call : Call
        Its memo and its store hold what is known.
    """

    def __init__(self, call: Call) -> None:
        self._call = call
        self._secrets: tuple[str, ...] = getattr(call.backend, "secrets", ())

    def unanswered(self, jobs: list[Job]) -> list[Job]:
        """Return the jobs that have to be asked, as they are to be; answer the others.

        Jobs that the store was just seen to lack are not looked up again.
        """
        memo, store = self._call.memo, self._call.store
        open_jobs = []
        for job in jobs:
            if job.first_key in memo:
                job.answer, job.model = memo[job.first_key]
            else:
                open_jobs.append(job)
        missing = [job for job in open_jobs if job.absent or store is None]
        missing += self._from_store([j for j in open_jobs if not j.absent and store is not None])
        self._call.meter.add(cached=len(jobs) - len(missing))
        if self._call.cache_only:
            # An unusable answer that was never followed by another is what this text has.
            for job in missing:
                if job.attempts.bad or job.attempts.old:
                    job.fault = Fault("bad_reply", job.attempts.cause)
            missing = [job for job in missing if job.ok]
        return missing

    def _from_store(self, pending: list[Job]) -> list[Job]:
        missing: list[Job] = []
        while pending:
            replies = self._call.store.get_many([job.key for job in pending])
            again = []
            for job in pending:
                reply = replies.get(job.key)
                if reply is None:
                    missing.append(job)
                elif not self.read(job, reply):
                    again.append(job)
            pending = again
        return missing

    def read(self, job: Job, reply: Reply) -> bool:
        """Read a reply of the store; return False if another may follow it there."""

        def may_follow(fault: Fault, attempts: Attempts) -> bool:
            age, whole = self._call.memo.age(reply), is_whole(reply)
            return attempts.may_read_on(fault, self._call.policy, age, whole=whole)

        return self._read(job, reply, may_follow) is None or not job.ok

    def read_fresh(
        self, job: Job, reply: Reply, may_retry: Callable[[Fault, Attempts], bool]
    ) -> bool:
        """Read a reply that has just been paid for; return False if the job is to be asked again.

        Parameters
        ----------
        job : Job
            Gets its answer or fault, or becomes the next request.
        reply : Reply
            What arrived, or what the store held before it.
        may_retry : callable
            Tells whether another request is allowed after a fault, and counts it.
        """
        known_as = job.key
        cause = self._read(job, reply, may_retry)
        if cause is None:
            return True
        if self._call.store is not None:
            self._call.store.note(known_as, cause)
        if job.ok and cause == "truncated" and only_thought(reply):
            self._call.adapted.make_room()
        return not job.ok

    def _read(
        self, job: Job, reply: Reply, may_go_on: Callable[[Fault, Attempts], bool]
    ) -> str | None:
        """Read a reply; return why it cannot be used, None if it can.

        What cannot be used gives the job a fault, or makes it the request that follows.
        """
        try:
            answer = job.read(reply)
        except ReplyError as error:
            fault = self._unusable(job, reply, error.cause)
            job.attempts.cause = error.cause
            if may_go_on(fault, job.attempts):
                job.ask_again(error.cause)
            else:
                job.fault = fault
            return error.cause
        job.answer, job.model = answer, reply.model
        self._call.memo[job.first_key] = (answer, reply.model)
        self._call.verdict.answer()
        return None

    def _unusable(self, job: Job, reply: Reply, cause: str) -> Fault:
        said = (reply.contents and reply.contents[0]) or ""
        kind = "text" if cause in FINAL_CAUSES else "bad_reply"
        fault = Fault(kind, cause, said=clean(said, self._secrets, _SHOWN_CAUSE))
        return without_text(fault, job.request)
