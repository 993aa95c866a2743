"""The rights to pay that a run holds in the reply store, so that no text is paid for twice."""

from __future__ import annotations

import contextlib
import threading
import time
import uuid
from collections.abc import Iterable
from typing import Any

from sklfusion._chat import Reply
from sklfusion.exceptions import CacheError

LEASE_SECONDS = 60.0


class Claims:
    """Leases of one run. Thread-safe; without a store everything is free.

    Parameters
    ----------
    store : ReplyStore or None
        Where the processes meet.
    """

    def __init__(self, store: Any) -> None:
        self._store = store
        self._owner = uuid.uuid4().hex
        self._held: set[str] = set()
        self._lock = threading.Lock()
        self._renewed = time.monotonic()

    def take(self, key: str) -> bool:
        """Take the right to pay for a key; False where another has it, or an answer is there.

        The store is asked once more, under its lock: what a look did not find a moment ago may
        have come from another process.
        """
        if self._store is None:
            return True
        with self._lock:
            self._held.add(key)
        if self._store.claim([key], self._owner, LEASE_SECONDS):
            return True
        self._drop(key)
        return False

    def save(self, key: str, reply: Reply) -> Reply:
        """Store the reply that was paid for, and return the one that the store holds."""
        if self._store is None:
            return reply
        try:
            return self._store.put(key, reply, self._owner)  # type: ignore[no-any-return]
        finally:
            self._drop(key)

    def free(self, key: str) -> None:
        """Give a right back without an answer."""
        self._drop(key)
        self._release([key])

    def free_all(self) -> None:
        """Give back whatever is still held."""
        if self._held:
            self._release(list(self._held))

    def _release(self, keys: list[str]) -> None:
        if self._store is not None:
            with contextlib.suppress(CacheError):
                self._store.release(keys, self._owner)

    def renew(self) -> None:
        """Prolong what is held, where it is time to."""
        if self._store is not None and time.monotonic() - self._renewed > LEASE_SECONDS / 3:
            self._renewed = time.monotonic()
            with self._lock:
                held = list(self._held)
            self._store.renew(held, self._owner, LEASE_SECONDS)

    def by_others(self, keys: Iterable[str]) -> tuple[dict[str, Reply], set[str]]:
        """Return what others have answered of keys, and those that they have given up."""
        return self._store.wait(keys, owner=self._owner, timeout=0.0)  # type: ignore[no-any-return]

    def _drop(self, key: str) -> None:
        with self._lock:
            self._held.discard(key)
