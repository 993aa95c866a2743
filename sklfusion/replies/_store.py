"""ReplyStore: replies by key, in one SQLite file that many threads and processes share."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from sklfusion._chat import Reply
from sklfusion.exceptions import CacheError
from sklfusion.replies import _exchange, _forget, _leases, _rows, _tally
from sklfusion.replies._codec import decode_reply, encode_reply
from sklfusion.replies._file import StoreFile
from sklfusion.replies._keys import check_key
from sklfusion.replies._rows import Ticket, chunks, read_all, read_replies, sound, write

T = TypeVar("T")


class ReplyStore(StoreFile):
    """Replies of language models, kept for good.

    Every reply is committed before :meth:`put` returns. Nothing is ever evicted, nothing is
    pickled, and what is read is checked as strictly as what comes from the wire: a value that is
    not a reply counts as absent and is replaced by the next one. The first reply stored under a
    key wins, so that repeated runs agree.

    All methods may be called from any thread and any process, also after a fork. The object can
    be pickled; it then opens the same file.

    Parameters
    ----------
    path : Path or str
        The SQLite file, normally chosen by :func:`~sklfusion.replies.open_store`.
    durability : {"process", "power"}
        What a stored reply survives: the end of the process, even by kill -9 (about 30
        microseconds a reply), or also the loss of power (about 2 ms a reply alone, less when
        several threads store at once, since their commits are joined).
    read_only : bool
        Never write.
    clock : object with ``boot``, ``monotonic()`` and ``wall()``, optional
        For tests of leases.

    Attributes
    ----------
    path : Path
        The file.
    read_only : bool
        Whether :meth:`put` and :meth:`claim` raise :class:`~sklfusion.CacheError`.

    Examples
    --------
    >>> import tempfile
    >>> from sklfusion._chat import ChatRequest, Reply
    >>> from sklfusion.replies import open_store, request_key
    >>> key = request_key(ChatRequest("http://127.0.0.1:1/v1", "m", (("user", "hello"),)))
    >>> with tempfile.TemporaryDirectory() as folder, open_store(folder) as store:
    ...     store.claim([key], owner="me", lease_s=60) == {key}
    ...     _ = store.put(key, Reply(("greeting",)), owner="me")
    ...     store.get_many([key])[key].contents
    True
    ('greeting',)
    """

    def __init__(
        self,
        path: Path | str,
        *,
        durability: str = "process",
        read_only: bool = False,
        clock: _leases.Clock | None = None,
    ):
        super().__init__(path, durability, read_only)
        self._clock = clock or _leases.system_clock()
        self._waiting: list[Ticket] = []

    def __repr__(self) -> str:
        return f"ReplyStore({str(self.path)!r}, durability={self.durability!r})"

    def __reduce__(self) -> tuple[Callable[..., ReplyStore], tuple[Any, ...]]:
        return _reopen, (str(self.path), self.durability, self.read_only)

    def __enter__(self) -> ReplyStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def open(self) -> ReplyStore:
        """Open the file now, so that a fault shows before anything is paid.

        Raises
        ------
        CacheError
            If it cannot be opened or created, or has a newer format.
        """
        self.look_again()
        self._run(lambda connection: connection.execute("SELECT 1").fetchone())
        return self

    # ------------------------------------------------------------------------------- replies

    def get_many(self, keys: Iterable[str]) -> dict[str, Reply]:
        """Return the replies that are there, by key.

        Parameters
        ----------
        keys : iterable of str
            Keys made by :func:`~sklfusion.replies.request_key`. Read in chunks, about 10
            microseconds each.
        """
        self._look()
        found: dict[str, Reply] = {}
        bad: set[str] = set()
        for chunk in chunks(_distinct(keys)):
            found.update(self._run(partial(read_replies, keys=chunk, bad=bad)))
        self._tell(bad)
        return found

    def get_as(self, keys: Iterable[str], parse: Callable[[Reply], T | None]) -> dict[str, T]:
        """Return what ``parse`` makes of the replies that are there, by key.

        Parameters
        ----------
        keys : iterable of str
            Keys made by :func:`~sklfusion.replies.request_key`, about 5 microseconds each.
        parse : callable
            From a Reply to a value, or to None to leave it out. Called once for all replies that
            differ only in ``created``, so it must not use that field; their values are one object.
        """
        self._look()
        common: dict[str | None, T | None] = {}
        bad: set[str] = set()
        wanted = dict.fromkeys(keys)
        found: dict[str, T] = {}
        if self._run(partial(_rows.scan_pays, count=len(wanted))):
            found = self._run(lambda c: _rows.parsed(_rows.scan(c, wanted), parse, common, bad))
        else:
            pick = partial(_rows.pick_as, parse=parse, common=common, bad=bad)
            for chunk in chunks(wanted):
                found |= self._run(partial(pick, keys=chunk))
        self._tell(bad)
        return found

    def put(self, key: str, reply: Reply, owner: str | None = None) -> Reply:
        """Store a reply, free the lease on its key, and return the reply that the store holds.

        That is an earlier one if there was one. Threads that store at the same time share a
        commit; each call returns after the commit that holds its reply.

        Parameters
        ----------
        key : str
            Key made by :func:`~sklfusion.replies.request_key`.
        reply : Reply
            What the endpoint answered, before anything interprets it.
        owner : str, optional
            Who claimed the key. An answer frees the lease whoever holds it.

        Raises
        ------
        CacheError
            If it cannot be written (disk full, read-only). The reply is then not stored, and the
            lease of ``owner`` is given up.
        """
        self._refuse_if_read_only()
        ticket = Ticket(check_key(key), encode_reply(reply))
        with self._pool.queue_lock:
            self._waiting.append(ticket)
        while not ticket.done:
            with self._pool.write_lock:
                if ticket.done:
                    break
                with self._pool.queue_lock:
                    batch, self._waiting = self._waiting, []
                # A fork or an interrupt may have lost the list; storing twice does no harm.
                self._commit(batch if ticket in batch else [*batch, ticket])
        if ticket.error is not None:
            if owner is not None:
                _leases.give_up(key, owner)
            raise ticket.error
        return reply if ticket.stored is None else decode_reply(ticket.stored)

    def _commit(self, batch: list[Ticket]) -> None:
        try:
            self._run(partial(write, batch=batch), locked=True)
        except Exception as error:
            for ticket in batch:
                # One object per thread: raising adds a traceback to it.
                ticket.error = CacheError(str(error))
        for ticket in batch:
            ticket.done = True

    # -------------------------------------------------------------------------------- leases

    def claim(self, keys: Iterable[str], owner: str, lease_s: float) -> set[str]:
        """Take leases on keys that are neither answered nor leased to somebody else.

        Only the holder of a lease should pay for the key; others wait (:meth:`wait`). A lease
        that has expired, or whose process has ended, is taken over.

        Parameters
        ----------
        keys : iterable of str
            Keys wanted.
        owner : str
            Any name of the caller that no other caller uses, e.g. a UUID per run.
        lease_s : float
            Seconds that a lease lasts; longer than one request may take, or renew it.

        Returns
        -------
        set of str
            The keys whose leases are now held by ``owner``.
        """
        self._refuse_if_read_only()
        self._look(paying=True)
        won: set[str] = set()
        for chunk in chunks(_distinct(keys)):

            def take(connection: Any, chunk: list[str] = chunk) -> set[str]:
                answered = read_replies(connection, chunk)
                open_keys = [key for key in chunk if key not in answered]
                return _leases.take(connection, open_keys, owner, lease_s, self._clock)

            won |= self._transact(take)
        return won

    def renew(self, keys: Iterable[str], owner: str, lease_s: float) -> set[str]:
        """Prolong leases and return the keys whose leases ``owner`` still held."""
        self._refuse_if_read_only()
        held: set[str] = set()
        for chunk in chunks(_distinct(keys)):
            held |= self._transact(
                partial(
                    _leases.prolong, keys=chunk, owner=owner, lease_s=lease_s, clock=self._clock
                )
            )
        return held

    def release(self, keys: Iterable[str], owner: str) -> None:
        """Give back leases without an answer, so that others need not wait for their end."""
        rows = [(check_key(key), owner) for key in keys]

        def free(connection: Any) -> None:
            connection.executemany("DELETE FROM leases WHERE key = ? AND owner = ?", rows)

        if rows and not self.read_only:
            try:
                self._transact(free)
            except CacheError:
                for row in rows:
                    _leases.give_up(*row)
                raise

    def wait(
        self, keys: Iterable[str], *, owner: str, timeout: float, interval: float = 0.05
    ) -> tuple[dict[str, Reply], set[str]]:
        """Wait until a key that somebody else holds is answered or becomes free.

        Parameters
        ----------
        keys : iterable of str
            Keys that :meth:`claim` did not win.
        owner : str
            Name of the caller.
        timeout, interval : float
            Longest wait and pause between two looks, in seconds.

        Returns
        -------
        replies : dict
            Those that have arrived.
        free : set of str
            Keys that nobody answers any more; claim them.
        """
        wanted = _distinct(keys)
        end = self._clock.monotonic() + timeout
        while True:
            # Leases first: an answer frees its lease, so the other order could miss both.
            leased: set[str] = set()
            for chunk in chunks(wanted):
                leased |= self._run(
                    partial(_leases.leased, keys=chunk, owner=owner, clock=self._clock)
                )
            replies = self.get_many(wanted)
            free = {key for key in wanted if key not in replies and key not in leased}
            left = end - self._clock.monotonic()
            if replies or free or left <= 0:
                return replies, free
            time.sleep(min(interval, left))

    def note(self, key: str, cause: str) -> None:
        """Write down why a reply could not be used, for :meth:`info` and :meth:`forget`."""
        if not self.read_only:
            self._transact(partial(_tally.note, key=check_key(key), cause=cause))

    # -------------------------------------------------------------------------- whole stores

    def forget(
        self,
        *,
        model: str | None = None,
        status: str | None = None,
        older_than: float | None = None,
        dry_run: bool = True,
    ) -> dict[str, int]:
        """Delete replies to which all of the conditions apply; what they cost stays counted.

        Parameters
        ----------
        model : str, optional
            The model that answered, as :meth:`info` lists it.
        status : str, optional
            Why the reply could not be used ("no_content", "truncated", "unknown_label", ...), as
            :meth:`info` lists it, or "unreadable" for any cause.
        older_than : float, optional
            Days since the reply arrived.
        dry_run : bool, default=True
            Only count.

        Returns
        -------
        dict of str to int
            Numbers of ``replies`` chosen, of their ``prompt_tokens`` and ``completion_tokens``,
            and of replies ``deleted``.

        Raises
        ------
        ValueError
            If there is no condition.

        Notes
        -----
        Cost: the whole store is read (about 10 seconds for a million replies).
        """
        return _forget.forget(self, _forget.Wanted(model, status, older_than), dry_run=dry_run)

    def info(self) -> dict[str, Any]:
        """Return counts: replies by model, tokens, leases, bytes, times (plain JSON values)."""
        return self._run(lambda connection: _exchange.count_rows(connection, self.path))

    def verify(self) -> dict[str, Any]:
        """Check every page and every value; see ``ok``, ``replies``, ``unusable``, ``problems``.

        Reads the whole file (about 10 seconds for a million replies) and changes nothing. Of a
        damaged file the replies that are sound are counted.
        """
        return _exchange.verify(self._pool, self.path, self._damage)

    def export(self, path: Path | str) -> int:
        """Write all sound replies to a JSON Lines file (``.gz`` compresses); return their number.

        The lines are sorted by key and hold no time of export, so that equal stores give equal
        files.
        """
        return _exchange.write_lines(Path(path), self.rows())

    def import_(self, path: Path | str) -> dict[str, int]:
        """Read replies written by :meth:`export`; return ``added``, ``present``, ``refused``."""
        self._refuse_if_read_only()
        return _exchange.read_lines(Path(path), self.insert)

    def rows(self) -> Iterator[tuple[str, str]]:
        """Yield (key, JSON text) of every sound reply, sorted by key."""
        self._look(paying=True)
        last = ""
        bad: set[str] = set()
        while batch := self._run(partial(read_all, after=last)):
            for key, check, value in batch:
                if sound(key, check, value):
                    yield key, value
                else:
                    bad.add(key)
            last = batch[-1][0]
        self._tell(bad)

    def insert(self, rows: Iterable[tuple[str, str]]) -> int:
        """Store (key, JSON text) pairs made by :func:`encode_reply`; return how many were new."""
        self._refuse_if_read_only()
        added = 0
        for chunk in chunks(rows):
            batch = [Ticket(check_key(key), value) for key, value in chunk]
            with self._pool.write_lock:
                added += self._run(partial(write, batch=batch), locked=True)
        return added


def _reopen(path: str, durability: str, read_only: bool) -> ReplyStore:
    return ReplyStore(path, durability=durability, read_only=read_only)


def _distinct(keys: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(check_key(key) for key in keys))
