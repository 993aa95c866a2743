"""What the loopback endpoint writes down about every request."""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from typing import Any


class Entry:
    """One request."""

    def __init__(self, number: int, text: str, request: str, attempt: int, started: float):
        self.number = number
        self.text = text  # digest
        self.request = request  # digest of the whole body
        self.attempt = attempt
        self.started = started
        self.fault: str | None = None
        self.status = 0
        self.billed = False
        self.usable = False
        self.delivered = False
        self.ended: float | None = None

    def as_json(self) -> dict[str, Any]:
        """Return the fields as plain values."""
        return dict(vars(self))


class Ledger:
    """Counts of one run, from one reset to the next.

    *Billed* requests are those a provider would charge for. *Delivered* means that all bytes were
    written and the connection was not broken since; *usable* that they hold a whole completion.
    A second billed request with the same body after a usable one was delivered is an *avoidable*
    double payment; one after a reply that was cut, garbled or late is *unavoidable*.
    """

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.attempts: Counter[str] = Counter()
        self.usable_requests: Counter[str] = Counter()
        self.billed_requests: Counter[str] = Counter()
        self.avoidable = 0
        self.in_flight = 0
        self.peak_in_flight = 0
        self.connections = 0
        self.prompt_tokens = 0
        self.completion_tokens = 0
        self.header_names: set[str] = set()
        self.header_sha256: dict[str, set[str]] = {}
        self.paths: set[str] = set()
        self.bodies: list[Any] = []
        self.started = time.monotonic()

    def receive(self, text: str, request: str, headers: dict[str, str]) -> Entry:
        """Write down that a request has arrived."""
        self.attempts[text] += 1
        self.in_flight += 1
        self.peak_in_flight = max(self.peak_in_flight, self.in_flight)
        self.header_names.update(headers)
        for name, value in headers.items():
            digest = hashlib.sha256(value.encode()).hexdigest()
            self.header_sha256.setdefault(name, set()).add(digest)
        now = time.monotonic() - self.started
        entry = Entry(len(self.entries) + 1, text, request, self.attempts[text], now)
        self.entries.append(entry)
        return entry

    def bill(self, entry: Entry, usage: dict[str, int]) -> None:
        """Write down that a request is charged for."""
        entry.billed = True
        self.billed_requests[entry.request] += 1
        if self.usable_requests[entry.request]:
            self.avoidable += 1
        self.prompt_tokens += usage.get("prompt_tokens", usage.get("input_tokens", 0))
        self.completion_tokens += usage.get("completion_tokens", usage.get("output_tokens", 0))

    def deliver(self, entry: Entry) -> None:
        """Write down that all bytes of a reply were handed to the system."""
        entry.delivered = True
        if entry.usable:
            self.usable_requests[entry.request] += 1

    def take_back(self, entry: Entry) -> None:
        """Write down that the connection broke after all: the client may not have the reply."""
        if entry.delivered and entry.usable:
            self.usable_requests[entry.request] -= 1
        entry.delivered = False

    def end(self, entry: Entry) -> None:
        """Write down that the server is done with a request."""
        self.in_flight -= 1
        entry.ended = time.monotonic() - self.started

    def as_json(self, *, events: bool = False) -> dict[str, Any]:
        """Return the totals, the counts per text and, if asked for, every request."""
        texts: dict[str, dict[str, Any]] = {}
        for entry in self.entries:
            row = texts.setdefault(
                entry.text,
                {"received": 0, "billed": 0, "delivered": 0, "usable": 0, "faults": [], "at": []},
            )
            row["received"] += 1
            row["billed"] += entry.billed
            row["delivered"] += entry.delivered
            row["usable"] += entry.delivered and entry.usable
            row["faults"].append(entry.fault)
            row["at"].append(round(entry.started, 4))
        faults = Counter(entry.fault for entry in self.entries if entry.fault)
        value = {
            "received": len(self.entries),
            "billed": sum(entry.billed for entry in self.entries),
            "delivered": sum(entry.delivered for entry in self.entries),
            "usable": sum(entry.delivered and entry.usable for entry in self.entries),
            "distinct": len(texts),
            "injected": dict(faults),
            "injected_billed": sum(e.billed and not e.usable for e in self.entries),
            "avoidable": self.avoidable,
            "unavoidable": sum(max(n - 1, 0) for n in self.billed_requests.values())
            - self.avoidable,
            "in_flight": self.in_flight,
            "peak_in_flight": self.peak_in_flight,
            "connections": self.connections,
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "header_names": sorted(self.header_names),
            "header_sha256": {k: sorted(v) for k, v in self.header_sha256.items()},
            "paths": sorted(self.paths),
            "texts": texts,
        }
        if events:
            value["events"] = [entry.as_json() for entry in self.entries]
            value["bodies"] = self.bodies
        return value
