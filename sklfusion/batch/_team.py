"""Worker processes, each with one shard in hand; a worker that dies is replaced."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections import Counter, deque
from collections.abc import Callable, Iterable
from pathlib import Path
from selectors import EVENT_READ, DefaultSelector
from typing import Any

import sklfusion

#: Workers that one shard may cost; the last of them says that it is the shard.
TRIES = 3
#: Seconds that a worker gets to save what it has paid for, when the run is broken off.
_GRACE = 10.0
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class _Member:
    """One process and what it is doing."""

    def __init__(self, settings, threads):
        root = str(Path(sklfusion.__file__).parents[1])
        path = os.pathsep.join(p for p in (root, os.environ.get("PYTHONPATH")) if p)
        limits = {name: os.environ.get(name, str(threads)) for name in _THREADS}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "sklfusion.batch._worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            env={**os.environ, **limits, "PYTHONPATH": path},
        )
        self.jobs: Any = self.process.stdin
        self.answers: Any = self.process.stdout
        self.job: dict[str, str] = {}
        self._send(settings)

    def give(self, job):
        """Hand over a shard."""
        self.job = job
        self._send(job)

    def _send(self, value):
        with contextlib.suppress(BrokenPipeError):  # it is dead, as the end of its answers tells
            self.jobs.write(json.dumps(value) + "\n")
            self.jobs.flush()

    def hear(self):
        """Return its answer, None if it has ended."""
        line = self.answers.readline()
        return json.loads(line) if line.endswith("\n") else None

    def end(self):
        """Let it go, and wait until it has gone; returns its exit status."""
        with contextlib.suppress(BrokenPipeError):
            self.jobs.close()
        try:
            return self.process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()
        finally:
            self.answers.close()


class Team:
    """Has worker processes do jobs.

    Parameters
    ----------
    jobs : iterable of dict
        As for :func:`sklfusion.batch._worker.outcome`.
    settings : dict
        Parameters of the BatchScorer.
    workers : int
        Processes at most; the cores are shared between them.
    tell : callable
        Called with a job and its outcome, in this process. If it returns False, no more jobs
        are given out; those in hand are finished.
    """

    def __init__(
        self,
        jobs: Iterable[dict[str, str]],
        settings: dict[str, Any],
        workers: int,
        tell: Callable[[dict[str, str], dict[str, Any]], bool],
    ) -> None:
        self.waiting = deque(jobs)
        self.settings = settings
        self.workers = workers
        self.tell = tell
        self._deaths: Counter[str] = Counter()
        self._selector = DefaultSelector()

    def run(self) -> None:
        """Do all jobs; returns when the last worker has gone."""
        try:
            for _ in range(min(self.workers, len(self.waiting))):
                self._hire()
            while self._selector.get_map():
                for key, _ in self._selector.select():
                    self._listen(key.data)
        finally:
            for key in list(self._selector.get_map().values()):
                self._dismiss(key.data)
            self._selector.close()

    def _listen(self, member):
        said = member.hear()
        alive = said is not None
        if not alive:
            said = self._after_death(member.job, self._dismiss(member))
        if said is not None and not self.tell(member.job, said):
            self.waiting.clear()
        if not self.waiting:
            if alive:
                self._dismiss(member)
        elif alive:
            member.give(self.waiting.popleft())
        else:
            self._hire()

    def _hire(self):
        member = _Member(self.settings, max(1, (os.cpu_count() or 1) // self.workers))
        self._selector.register(member.answers, EVENT_READ, member)
        member.give(self.waiting.popleft())

    def _dismiss(self, member):
        self._selector.unregister(member.answers)
        return member.end()

    def _after_death(self, job, code):
        """Put the shard of a dead worker back; None unless it has cost several."""
        self._deaths[job["name"]] += 1
        if self._deaths[job["name"]] < TRIES:
            self.waiting.appendleft(job)
            return None
        how = f"signal {-code}" if code < 0 else f"status {code}"
        return {
            "state": "failed",
            "reason": f"{TRIES} workers ended over it (the last with {how}). Is there too little "
            "memory? Try fewer workers or a smaller batch_size.",
        }
