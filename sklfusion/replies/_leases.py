"""Who may pay for a key: the rule by which a lease is alive or may be taken over.

A lease is a row (key, owner, holder, boot, mono_until, wall_until, lease_s). Processes on one
machine share one monotonic clock since boot, so between them a jump of the wall clock changes
nothing. Only a lease written before a reboot, or by another machine, is judged by the wall clock,
and then a time of expiry further away than the lease is long counts as a jump: it is expired, so
that a clock set back by an hour does not block the key for an hour.

A holder that is known to be dead loses its leases at once.
"""

from __future__ import annotations

import functools
import os
import platform
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LEASE_TABLE = """
CREATE TABLE leases (
    key TEXT PRIMARY KEY NOT NULL, owner TEXT NOT NULL, holder TEXT NOT NULL, boot TEXT NOT NULL,
    mono_until REAL NOT NULL, wall_until REAL NOT NULL, lease_s REAL NOT NULL
) WITHOUT ROWID
"""
COLUMNS = "key, owner, holder, boot, mono_until, wall_until, lease_s"

# Leases of this process that nobody uses any more, though their rows are still in the file because
# the disk was full when they were to be freed. Owners are unique, so nothing is ever taken out.
_GIVEN_UP: set[tuple[str, str]] = set()

# Two machines that share a folder may disagree by this much about the time, in seconds.
_CLOCK_SLACK = 2.0


@dataclass(frozen=True)
class Clock:
    """The clocks of this machine; tests pass their own.

    Attributes
    ----------
    boot : str
        Names the run of the machine within which monotonic times can be compared.
    """

    boot: str = ""

    def monotonic(self) -> float:
        """Seconds since some moment of this boot; never jumps."""
        return time.monotonic()

    def wall(self) -> float:
        """Seconds since the epoch; may jump."""
        return time.time()


@functools.cache
def boot_id() -> str:
    """Return a name of this boot of this machine."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        # Monotonic times of another boot are then caught by the "further away" rule.
        return f"host:{platform.node()}"


def system_clock() -> Clock:
    """Return the clock of this machine."""
    return Clock(boot_id())


def this_holder() -> str:
    """Return a name of this process that no other process of this boot will have."""
    return _holder(os.getpid())


@functools.lru_cache(maxsize=8)
def _holder(pid: int) -> str:
    namespace = _pid_namespace()
    return f"{namespace}/{pid}/{_start_time(pid)}" if namespace else f"/{pid}/"


@functools.cache
def _pid_namespace() -> str:
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def _start_time(pid: int) -> str:
    """Return the start of a process in clock ticks since boot; '' if there is no such process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return ""
    fields = stat[stat.rfind(b")") + 2 :].split()
    # A zombie has ended: it waits only for its parent to ask how.
    return "" if fields[0] in (b"Z", b"X") else fields[19].decode()


def holder_is_dead(holder: str) -> bool:
    """Tell whether the process that took a lease in this boot has certainly ended."""
    namespace, _, rest = str(holder).partition("/")
    pid, _, start = rest.partition("/")
    if not namespace or namespace != _pid_namespace() or not pid.isdigit() or not start:
        return False
    return _start_time(int(pid)) != start


def is_alive(lease: tuple[str, str, str, str, float, float, float], clock: Clock) -> bool:
    """Tell whether a lease still keeps others from paying for its key."""
    key, owner, holder, boot, mono_until, wall_until, lease_s = lease
    numbers = (mono_until, wall_until, lease_s)
    if (key, owner) in _GIVEN_UP or not all(isinstance(n, float) for n in numbers):
        return False  # given up, or a damaged row
    if boot == clock.boot:
        left = mono_until - clock.monotonic()
        return 0 < left <= lease_s + 1e-6 and not holder_is_dead(holder)
    left = wall_until - clock.wall()
    return 0 < left <= lease_s + _CLOCK_SLACK


def give_up(key: str, owner: str) -> None:
    """Let this process take no more notice of a lease that could not be freed."""
    _GIVEN_UP.add((key, owner))


def make_lease(
    key: str, owner: str, lease_s: float, clock: Clock
) -> tuple[str, str, str, str, float, float, float]:
    """Return the row of a lease that starts now and lasts ``lease_s`` seconds."""
    mono, wall = clock.monotonic() + lease_s, clock.wall() + lease_s
    return (key, owner, this_holder(), clock.boot, mono, wall, lease_s)


def take(connection: Any, keys: list[str], owner: str, lease_s: float, clock: Clock) -> set[str]:
    """Lease those of ``keys`` that nobody else holds, and return them."""
    taken = leased(connection, keys, owner, clock)
    free = [key for key in keys if key not in taken]
    _write_leases(connection, free, owner, lease_s, clock)
    return set(free)


def prolong(
    connection: Any, keys: list[str], owner: str, lease_s: float, clock: Clock
) -> set[str]:
    """Start the leases that ``owner`` holds on ``keys`` anew, and return their keys."""
    mine = [row[0] for row in _read_leases(connection, keys) if row[1] == owner]
    _write_leases(connection, mine, owner, lease_s, clock)
    return set(mine)


def leased(connection: Any, keys: list[str], owner: str, clock: Clock) -> set[str]:
    """Return those of ``keys`` that somebody else holds."""
    rows = _read_leases(connection, keys)
    return {row[0] for row in rows if row[1] != owner and is_alive(row, clock)}


def _read_leases(connection: Any, keys: list[str]) -> list[Any]:
    marks = ", ".join("?" * len(keys))
    query = f"SELECT {COLUMNS} FROM leases WHERE key IN ({marks})"
    return connection.execute(query, keys).fetchall()  # type: ignore[no-any-return]


def _write_leases(
    connection: Any, keys: list[str], owner: str, lease_s: float, clock: Clock
) -> None:
    connection.executemany(
        f"INSERT OR REPLACE INTO leases ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)",
        [make_lease(key, owner, lease_s, clock) for key in keys],
    )
