"""How many cores others leave to a local model.

The threads of a model meet after each of hundreds of small steps per token. Where other work holds
a core, all of them wait, spinning, until it is taken away from that work again: with one too
many, a text costs ten times the processor time and takes a hundred times as long.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

THREADS_ENV = "SKLFUSION_LOCAL_THREADS"
#: More threads than this do not make token after token faster.
MOST_THREADS = 8
#: Seconds over which the first look counts.
_GLANCE = 0.1
#: Seconds between two looks, and before more threads are given again.
_LOOK_EVERY, _RISE_AFTER = 1.0, 30.0
#: Part of a core that others may use while the model still counts on it.
_BUSY_PART = 0.3
_STAT = Path("/proc/stat")


def usable_cores() -> set[int]:
    """Return the numbers of the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return set(os.sched_getaffinity(0))
    return set(range(os.cpu_count() or 1))


def thread_limit() -> tuple[int, bool]:
    """Return how many threads a local model may use at most, and whether that is a wish.

    ``SKLFUSION_LOCAL_THREADS`` is taken as it is, ``OMP_NUM_THREADS`` (which joblib sets in its
    workers so that they share the cores) is an upper bound; neither exceeds the cores.
    """
    cores = len(usable_cores())
    for name in (THREADS_ENV, "OMP_NUM_THREADS"):
        value = os.environ.get(name, "")
        if value.strip().isdigit():
            return max(1, min(int(value), cores)), name == THREADS_ENV
    return max(1, min(cores, MOST_THREADS)), False


class FreeCores:
    """Follows how many threads pay, by what other processes use of our cores.

    Linux tells how busy each core was; elsewhere the limit is always the answer.

    Parameters
    ----------
    limit : int
        Threads at most.
    fixed : bool
        Whether that number is a wish of the user's, not to be lowered.
    """

    def __init__(self, limit: int, fixed: bool) -> None:
        self._limit, self._fixed = limit, fixed
        self._last = self._look()
        self._changed = -_RISE_AFTER
        self.threads = limit
        if self._last is not None and limit > 1 and not fixed:
            time.sleep(_GLANCE)
            self._choose()

    def recheck(self) -> bool:
        """Look again, at most once a second, and return whether ``threads`` has changed."""
        due = self._last is not None and time.monotonic() - self._last[0] >= _LOOK_EVERY
        return due and self._limit > 1 and not self._fixed and self._choose()

    def _choose(self) -> bool:
        now, before = self._look(), self._last
        if now is None or before is None or now[0] <= before[0]:
            return False
        self._last = now
        others = (now[1] - before[1] - (now[2] - before[2])) / (now[0] - before[0])
        free = len(usable_cores()) - max(others, 0.0) + _BUSY_PART
        wanted = max(1, min(self._limit, int(free)))
        if wanted == self.threads or (
            wanted > self.threads and now[0] - self._changed < _RISE_AFTER
        ):
            return False
        self.threads, self._changed = wanted, now[0]
        return True

    @staticmethod
    def _look() -> tuple[float, float, float] | None:
        """Return the time, and the seconds that our cores and our process have worked."""
        own = os.times()
        try:
            busy = busy_seconds(_STAT.read_text(encoding="ascii"), usable_cores())
        except (OSError, ValueError):
            return None
        return time.monotonic(), busy, own.user + own.system


def busy_seconds(stat: str, cores: set[int]) -> float:
    """Return the seconds that ``cores`` have worked since the start, by Linux's ``/proc/stat``.

    Raises
    ------
    ValueError
        If the text names none of the cores.
    """
    ticks, seen = 0, False
    for line in stat.splitlines():
        name, *counts = line.split() or [""]
        if name[:3] == "cpu" and name[3:].isdigit() and int(name[3:]) in cores:
            user, nice, system, _idle, _wait, irq, soft, steal = map(int, counts[:8])
            ticks += user + nice + system + irq + soft + steal
            seen = True
    if not seen:
        raise ValueError("no line for any of our cores")
    return float(ticks / os.sysconf("SC_CLK_TCK"))
