"""Requests gathered into batches for one worker thread, behind a bounded queue."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from sklfusion.exceptions import SklFusionError
from sklfusion.serve._errors import Refusal
from sklfusion.serve._settings import LOGGER

#: How much the last batch counts in the running mean of seconds per text.
_NEW = 0.2


@dataclass(eq=False)
class _Job:
    key: Hashable
    texts: Sequence[str]
    future: asyncio.Future[Any]


class Batcher:
    """One worker thread that answers texts in batches.

    Parameters
    ----------
    run : callable
        ``run(key, texts)`` returns one answer per text; called in the worker thread. Only texts
        of equal keys come in one call.
    max_queue : int
        Most texts that wait.
    max_batch : int
        Most texts of one call, unless a single request has more.
    wait : float
        Seconds that an idle worker waits for company.
    observe : callable
        ``observe(n_texts, seconds)`` after each call.
    """

    def __init__(
        self,
        run: Callable[[Hashable, list[str]], Sequence[Any]],
        *,
        max_queue: int,
        max_batch: int,
        wait: float,
        observe: Callable[[int, float], None],
    ) -> None:
        self._run, self._observe = run, observe
        self.max_queue, self._max_batch, self._wait = max_queue, max_batch, wait
        self._jobs: deque[_Job] = deque()
        self._wake = asyncio.Event()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="sklfusion-serve")
        self._task: asyncio.Task[None] | None = None
        self._seconds_per_text = 0.0
        self._answering = False
        self.waiting = 0

    def start(self) -> None:
        """Start the worker; needs a running event loop."""
        self._task = asyncio.get_running_loop().create_task(self._work())

    async def stop(self) -> None:
        """Answer what waits, then end."""
        while self._jobs or self._answering:
            await asyncio.sleep(self._wait)
        if self._task is not None:
            self._task.cancel()
        self._pool.shutdown(wait=True)

    async def submit(self, key: Hashable, texts: Sequence[str], timeout: float) -> Sequence[Any]:
        """Return the answers for texts.

        Raises
        ------
        Refusal
            413 if they are more than the queue ever holds, 429 if it is too full now, 504 if
            there is no answer in time, and what the model raised.
        """
        if len(texts) > self.max_queue:
            told = f"{len(texts)} texts in one request; at most {self.max_queue} are taken."
            raise Refusal(413, told, "too_many_texts")
        if self.waiting + len(texts) > self.max_queue:
            seconds = max(1, math.ceil(self.waiting * self._seconds_per_text))
            told = f"{self.waiting} texts are waiting; come again in {seconds} s."
            raise Refusal(429, told, "queue_full", headers={"Retry-After": str(seconds)})
        job = _Job(key, texts, asyncio.get_running_loop().create_future())
        self._jobs.append(job)
        self.waiting += len(texts)
        self._wake.set()
        try:
            return await asyncio.wait_for(job.future, timeout)
        except TimeoutError:
            raise Refusal(504, f"No answer within {timeout:g} s.", "timeout") from None
        finally:
            self._drop(job)

    def _drop(self, job: _Job) -> None:
        """Take a job out of the queue, if it is still there."""
        if job in self._jobs:
            self._jobs.remove(job)
            self.waiting -= len(job.texts)

    def _take(self) -> list[_Job]:
        """Take the first job and those behind it that go along in the same call."""
        batch = [self._jobs[0]]
        size = len(batch[0].texts)
        for job in list(self._jobs)[1:]:
            if size >= self._max_batch:
                break
            if job.key == batch[0].key and size + len(job.texts) <= self._max_batch:
                batch.append(job)
                size += len(job.texts)
        for job in batch:
            self._drop(job)
        return batch

    async def _work(self) -> None:
        while True:
            if not self._jobs:
                self._wake.clear()
                await self._wake.wait()
                if self.waiting < self._max_batch:
                    await asyncio.sleep(self._wait)
            if self._jobs:  # else given up meanwhile
                self._answering = True
                await self._answer(self._take())
                self._answering = False

    async def _answer(self, batch: list[_Job]) -> None:
        """Answer a batch; where one text may have spoilt it for the others, one by one."""
        loop = asyncio.get_running_loop()
        texts = [text for job in batch for text in job.texts]
        start = perf_counter()
        try:
            told = await loop.run_in_executor(self._pool, self._run, batch[0].key, texts)
        except Exception as error:
            if len(batch) > 1 and not isinstance(error, SklFusionError):
                for job in batch:
                    await self._answer([job])
                return
            for job in batch:
                if not job.future.done():
                    job.future.set_exception(as_refused(error))
            return
        seconds = perf_counter() - start
        self._seconds_per_text += _NEW * (seconds / len(texts) - self._seconds_per_text)
        self._observe(len(texts), seconds)
        answers = iter(told)
        for job in batch:
            own = [next(answers) for _ in job.texts]
            if not job.future.done():
                job.future.set_result(own)


def where_raised(error: BaseException) -> str:
    """Return type, file and line of an error; its message may quote a text, and is left out."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return type(error).__name__
    return f"{type(error).__name__} at {trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"


def as_refused(error: Exception) -> Refusal:
    """Return what a caller hears of an error in the model."""
    if isinstance(error, Refusal):
        return error
    LOGGER.error("a batch failed: %s", where_raised(error))
    kind = type(error).__name__
    if isinstance(error, SklFusionError):
        told = f"The model's LLM or store gave no answer ({kind})."
        return Refusal(503, told, "no_answer", headers={"Retry-After": "5"})
    return Refusal(500, f"The model failed on this request ({kind}).", "model_failed")
