"""Forks: no thread is inside SQLite at that moment, and the child starts with nothing inherited.

SQLite has locks of its own. A fork while another thread holds one would leave it held for ever in
the child, so a fork waits until all threads have left SQLite, which takes milliseconds.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Protocol

# A thread that forks while it uses a connection itself would wait for ever.
_LONGEST_WAIT = 10.0


class _Pool(Protocol):
    def forget_inherited(self) -> None: ...


LOCKS: weakref.WeakSet[ForkLock] = weakref.WeakSet()
POOLS: weakref.WeakSet[_Pool] = weakref.WeakSet()

# They belong to the parent. Closing one in the child could drop the parent's work, so they are
# kept until the child ends.
_INHERITED: list[sqlite3.Connection] = []


def keep(connections: Iterable[sqlite3.Connection]) -> None:
    """Keep connections from being collected."""
    _INHERITED.extend(connections)


class ForkBarrier:
    """Lets threads in and out, and closes while the process forks."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._count = 0
        self._closed = False
        self._closer: int | None = None
        self._mine = threading.local()

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Count the calling thread as inside; it may be so already."""
        depth = getattr(self._mine, "depth", 0)
        with self._changed:
            # Garbage collection may close a store in a thread that is inside, or that forks.
            while self._closed and not depth and self._closer != threading.get_ident():
                self._changed.wait()
            self._count += 1
        self._mine.depth = depth + 1
        try:
            yield
        finally:
            self._mine.depth = depth
            with self._changed:
                self._count -= 1
                self._changed.notify_all()

    def close(self) -> None:
        """Let nobody in and wait until all are out."""
        end = time.monotonic() + _LONGEST_WAIT
        with self._changed:
            self._closed = True
            self._closer = threading.get_ident()
            while self._count and time.monotonic() < end:
                self._changed.wait(end - time.monotonic())

    def open(self) -> None:
        """Let threads in again."""
        with self._changed:
            self._closed = False
            self._closer = None
            self._changed.notify_all()


GATE = ForkBarrier()


class ForkLock:
    """A lock that is free in a forked child, whoever held it at that moment."""

    def __init__(self) -> None:
        self.renew()
        LOCKS.add(self)

    def renew(self) -> None:
        """Forget who holds it."""
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *error: object) -> None:
        self._lock.release()


def _in_child() -> None:
    GATE.__init__()  # type: ignore[misc]
    for lock in LOCKS:
        lock.renew()
    for pool in POOLS:
        pool.forget_inherited()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=lambda: GATE.close(),
        after_in_parent=lambda: GATE.open(),
        after_in_child=_in_child,
    )
