"""A run through the provider's Batch API: half the price, hours instead of seconds.

The requests go up as JSONL files; the id of every batch is written into the reply store as soon
as it is known, so that a process that ends in between finds its batches again and neither asks nor
pays twice. What comes back is saved like any other reply.
"""

from __future__ import annotations

import hashlib
import json
import random
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

from sklfusion._chat import ChatRequest, Reply, Usage
from sklfusion.exceptions import BudgetExceededError, EndpointError
from sklfusion.llm._attempt import guess_usage
from sklfusion.llm._call import Call
from sklfusion.llm._faults import CallError, Fault, error_from_fault, fault_from_status
from sklfusion.llm._job import Job
from sklfusion.llm._reply import reply_from_value
from sklfusion.llm._retry import RetryPolicy
from sklfusion.llm._words import clean
from sklfusion.prompts._parse import ReplyError
from sklfusion.replies import request_key

MAX_LINES = 50_000
MAX_BYTES = 190_000_000
_FINAL = ("completed", "failed", "expired", "cancelled")
_LEASE = 3600.0
_FIRST_PAUSE, _LAST_PAUSE = 0.2, 60.0
_TRIES = 6


class BatchRun:
    """Answers jobs through batches.

    Parameters
    ----------
    call : Call
        Its back end runs the batches, its store keeps replies and batch ids, its meter counts at
        half the price.
    """

    def __init__(self, call: Call) -> None:
        self._backend: Any = call.backend
        self._store = call.store
        self._meter = call.meter
        self._progress = call.show
        self._owner = uuid.uuid4().hex
        self._policy = RetryPolicy()
        self._random = random.Random()
        self._reserved: list[tuple[Usage, int]] = []

    def execute(self, jobs: Sequence[Job]) -> None:
        """Answer jobs that the store cannot answer, in place.

        Jobs that another process is paying for are waited for.

        Raises
        ------
        EndpointError
            If the endpoint refuses, has no Batch API, or a batch fails as a whole.
        BudgetExceededError
            If the budget does not cover the requests.
        """
        by_key = {job.key: job for job in jobs}
        won = self._store.claim(list(by_key), self._owner, _LEASE)
        try:
            parts = list(_parts([by_key[key] for key in by_key if key in won]))
            open_batches = [(part, self._find_or_start(part)) for part in parts]
            for part, batch_id in open_batches:
                self._collect(part, self._wait(batch_id, [job.key for job in part]))
        finally:
            for guess, requests in self._reserved:
                self._meter.give_back(guess, requests)
            self._store.release(list(won), self._owner)
        self._wait_for_others({key: job for key, job in by_key.items() if key not in won})

    # ---------------------------------------------------------------------------------- starting

    def _find_or_start(self, part: Sequence[Job]) -> str:
        """Return the id of the batch that has exactly these requests, starting it if needed."""
        attempt = 0
        while (known := self._recorded(part, attempt)) is not None:
            if self._may_still_answer(known):
                return known
            attempt += 1
        guess = _guess(part)
        lacking = self._meter.reserve(guess, len(part))
        if lacking is not None:
            raise BudgetExceededError(f"The budget does not cover the batch ({lacking}).")
        self._reserved.append((guess, len(part)))
        lines = "".join(_line(job) for job in part).encode()
        file_id = self._call(lambda: self._backend.upload(lines))
        # A second try after an unknown outcome could start, and pay, a second batch.
        batch_id: str = self._call(lambda: self._backend.create_batch(file_id), unknown=False)
        self._store.put(self._record_key(part, attempt), Reply((batch_id,)))
        return batch_id

    def _may_still_answer(self, batch_id: str) -> bool:
        try:
            status = self._call(lambda: self._backend.batch(batch_id))["status"]
        except EndpointError as error:
            if error.status in (400, 404):
                return False  # providers forget old batches
            raise
        return status not in _FINAL[1:]

    def _record_key(self, part: Sequence[Job], attempt: int) -> str:
        digest = hashlib.sha256("".join(sorted(job.key for job in part)).encode()).hexdigest()
        request = part[0].request
        question = (("system", "sklfusion: id of the batch"), ("user", digest))
        return request_key(ChatRequest(request.origin, request.model, question), attempt)

    def _recorded(self, part: Sequence[Job], attempt: int) -> str | None:
        key = self._record_key(part, attempt)
        reply = self._store.get_many([key]).get(key)
        return reply.contents[0] if reply is not None and reply.contents else None

    # ----------------------------------------------------------------------------------- waiting

    def _wait(self, batch_id: str, keys: list[str]) -> dict[str, Any]:
        pause = _FIRST_PAUSE
        while True:
            batch: dict[str, Any] = self._call(lambda: self._backend.batch(batch_id))
            counts = batch.get("request_counts") or {}
            self._progress(int(counts.get("completed") or 0), len(keys))
            if batch["status"] in _FINAL:
                return batch
            time.sleep(pause)
            pause = min(1.5 * pause, _LAST_PAUSE)
            self._store.renew(keys, self._owner, _LEASE)

    def _wait_for_others(self, jobs: dict[str, Job]) -> None:
        while jobs:
            replies, free = self._store.wait(jobs, owner=self._owner, timeout=10.0)
            for key, reply in replies.items():
                self._read(jobs.pop(key), reply)
            for key in free & set(jobs):
                jobs.pop(key).fault = Fault("unknown", "batch_left", "another process gave it up")

    def _call(self, action: Callable[[], Any], *, unknown: bool = True) -> Any:
        """Return ``action()``, tried again where that is safe."""
        for attempt in range(1, _TRIES + 1):
            try:
                return action()
            except CallError as error:
                fault = error.fault
            again = ("not_sent", "wait", "unknown") if unknown else ("not_sent", "wait")
            if fault.kind not in again or attempt == _TRIES:
                break
            time.sleep(fault.retry_after or self._policy.delay(attempt, self._random))
        raise error_from_fault(fault, self._backend.endpoint.origin)

    # -------------------------------------------------------------------------------- collecting

    def _collect(self, part: Sequence[Job], batch: dict[str, Any]) -> None:
        """Save and read the results; results come in any order and perhaps not all."""
        waiting = {job.key: job for job in part}
        for name in ("output_file_id", "error_file_id"):
            file_id = batch.get(name)
            if not file_id:
                continue
            content: bytes = self._call(partial(self._backend.download, file_id))
            for line in content.splitlines():
                self._take(line, waiting)
        if len(waiting) == len(part) and batch["status"] == "failed":
            raise EndpointError(
                f"The batch {batch.get('id')} failed as a whole: "
                f"{clean(batch.get('errors'), self._backend.secrets)}",
                origin=self._backend.endpoint.origin,
            )
        for job in waiting.values():
            job.fault = Fault("unknown", f"batch_{batch['status']}")

    def _take(self, line: bytes, waiting: dict[str, Job]) -> None:
        try:
            result = json.loads(line)
            job = waiting.pop(result["custom_id"])
            response = result["response"]
            status, body = int(response["status_code"]), response["body"]
        except (ValueError, KeyError, TypeError, RecursionError):
            return  # whatever it was, its job stays without an answer
        if status != 200:
            job.fault = fault_from_status(
                status,
                {},
                json.dumps(body).encode(),
                origin=job.request.origin,
                model=job.request.model,
                key_hint="the key",
                secrets=self._backend.secrets,
            )
            return
        try:
            reply = reply_from_value(body)
        except CallError as error:
            job.fault = error.fault
            return
        guess = guess_usage(job.request, job.answer_tokens)
        self._meter.paid(reply.usage, guess)
        self._read(job, self._store.put(job.key, reply, self._owner))

    def _read(self, job: Job, reply: Reply) -> None:
        try:
            job.answer, job.model = job.read(reply), reply.model
        except ReplyError as error:
            job.fault = Fault("bad_reply", error.cause)


def _guess(part: Sequence[Job]) -> Usage:
    """Return the tokens that a batch will probably take."""
    guesses = [guess_usage(job.request, job.answer_tokens) for job in part]
    return Usage(
        sum(guess.prompt_tokens or 0 for guess in guesses),
        sum(guess.completion_tokens or 0 for guess in guesses),
    )


def _line(job: Job) -> str:
    request = {
        "custom_id": job.key,
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": job.request.body(),
    }
    return json.dumps(request, ensure_ascii=True) + "\n"


def _parts(jobs: Iterable[Job]) -> Iterator[list[Job]]:
    """Cut jobs into files that are small enough."""
    part: list[Job] = []
    size = 0
    for job in jobs:
        length = len(_line(job))
        if part and (len(part) >= MAX_LINES or size + length > MAX_BYTES):
            yield part
            part, size = [], 0
        part.append(job)
        size += length
    if part:
        yield part
