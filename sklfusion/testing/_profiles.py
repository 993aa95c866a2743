"""Faults as data, and profiles that choose them by (seed, text, attempt) and nothing else."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

# kind -> (what the server does, is it billed, can the client use the reply)
FAULT_KINDS = {
    "status": ("answers with `status`, `headers` and `body`", False, False),
    "reset": ("resets the connection before any byte", False, False),
    "hang": ("never answers; holds the connection `seconds`, then closes it", False, False),
    "reset_body": ("resets the connection in the middle of the body", True, False),
    "short": ("promises a longer body than it sends, then closes", True, False),
    "chunked": ("starts a chunked body and closes without its end", True, False),
    "late": ("answers `seconds` later", True, True),
    "drip": ("sends `bytes` of the body every `seconds`", True, True),
    "body": ("answers 200 with `body` as it is", True, False),
    "truncated": ("answers 200 with half of the JSON", True, False),
    "big": ("answers 200 with `bytes` of body", True, False),
    "gzip_bomb": ("answers 200 with `bytes` of zeros, compressed", True, False),
    "many_headers": ("answers 200 with `count` headers of `bytes` each", True, False),
    "bad_utf8": ("answers 200 with a body that is not UTF-8", True, False),
    "content": ("answers properly, but the message says `content`, with `status`", True, False),
    "merge": ("answers properly, with `fields` laid over the completion", True, False),
    "drip_head": ("sends `bytes` of the head every `seconds`, then resets", True, False),
    "informational": ("sends a reply 103 every `seconds`, then resets", False, False),
    "stray": ("sends a second reply that says `content` behind the first", True, True),
    "trailing": ("sends `body` behind the reply", True, True),
    "packed": ("answers 200 with `bytes` of blanks packed as `encodings` say", True, False),
    "refuse": ("answers, but refuses the questions at the places in `questions`", True, True),
    "rounded": ("answers with probabilities of so many `decimals`", True, True),
    "close": ("answers properly and then closes the idle connection", True, True),
}


@dataclass(frozen=True)
class ScriptedFault:
    """One fault.

    Parameters
    ----------
    kind : str
        One of the names below.
    options : dict
        The words in backquotes in the list of kinds.
    billed, usable : bool or None
        Whether the endpoint would charge for the request, and whether the client can use what
        arrives. None takes what the kind says.
    """

    kind: str
    options: dict[str, Any] = field(default_factory=dict)
    billed: bool | None = None
    usable: bool | None = None

    def __post_init__(self) -> None:
        if self.kind not in FAULT_KINDS:
            raise ValueError(f"unknown fault {self.kind!r}; known are {', '.join(FAULT_KINDS)}.")

    @property
    def is_billed(self) -> bool:
        """Whether the request counts as paid."""
        return FAULT_KINDS[self.kind][1] if self.billed is None else self.billed

    @property
    def is_usable(self) -> bool:
        """Whether what is sent can be used, if it arrives."""
        return FAULT_KINDS[self.kind][2] if self.usable is None else self.usable

    def get(self, name: str, default: Any) -> Any:
        """Return an option."""
        return self.options.get(name, default)


def fault_from_json(value: dict[str, Any]) -> ScriptedFault:
    """Return the fault described by ``{"kind": ..., option: value, ...}``."""
    options = {k: v for k, v in value.items() if k not in ("kind", "billed", "usable")}
    return ScriptedFault(value["kind"], options, value.get("billed"), value.get("usable"))


def status(code: int, retry_after: float | None = None, **options: Any) -> ScriptedFault:
    """Return the fault of an HTTP status."""
    headers = {} if retry_after is None else {"retry-after-ms": str(int(retry_after * 1000))}
    return ScriptedFault("status", {"status": code, "headers": headers, **options})


def unit(seed: int, digest: str, attempt: int, salt: str = "") -> float:
    """Return a number in [0, 1) that depends on nothing else than the arguments."""
    raw = hashlib.sha256(f"{seed}/{digest}/{attempt}/{salt}".encode()).digest()
    return int.from_bytes(raw[:7], "big") / 2**56


# Free faults may hit any of the first three attempts, paid ones only the first: so every text has
# a usable answer at the latest at the fourth attempt, and totals can be stated exactly.
_FREE = [
    (3, status(429, 0.05)),
    (2, status(500)),
    (1, status(502)),
    (2, status(503)),
    (1, status(504)),
    (1, status(408)),
]
_PAID = [
    (2, ScriptedFault("reset_body")),
    (2, ScriptedFault("short")),
    (1, ScriptedFault("chunked")),
    (3, ScriptedFault("truncated")),
    (1, ScriptedFault("body", {"body": "<html>busy</html>", "content_type": "text/html"})),
    (1, ScriptedFault("content", {"content": "no such label"})),
]
PROFILES: dict[
    str, tuple[float, list[tuple[int, ScriptedFault]], list[tuple[int, ScriptedFault]]]
] = {
    "none": (0.0, _FREE, _PAID),
    "free20": (0.2, _FREE, []),
    "mixed10": (0.1, _FREE, _PAID),
    "mixed20": (0.2, _FREE, _PAID),
    "mixed50": (0.5, _FREE, _PAID),
}


def choose(profile: str, seed: int, digest: str, attempt: int) -> ScriptedFault | None:
    """Return the fault of one attempt (counted from 1) for the text with this digest.

    Examples
    --------
    >>> choose("mixed20", 7, "ab" * 32, 1) == choose("mixed20", 7, "ab" * 32, 1)
    True
    >>> choose("none", 7, "ab" * 32, 1) is None
    True
    """
    rate, free, paid = PROFILES[profile]
    if attempt > 3 or unit(seed, digest, attempt) >= rate:
        return None
    options = free + paid if attempt == 1 else free
    point = unit(seed, digest, attempt, "kind") * sum(weight for weight, _ in options)
    for weight, fault in options:
        point -= weight
        if point < 0:
            return fault
    return options[-1][1]


def expected_billed(profile: str, seed: int, digests: list[str]) -> tuple[int, int, int]:
    """Return (attempts, billed, injected paid faults) if every text is asked until it is answered.

    Parameters
    ----------
    profile, seed : str, int
        Of the server.
    digests : list of str
        Of the texts, by :func:`~sklfusion.testing.text_digest`.

    Returns
    -------
    tuple of three int
        Attempts, those charged for, and those charged for that the server spoilt.

    See Also
    --------
    FaultServer : Whose ledger it foretells.
    text_digest : Digest of a text.

    Examples
    --------
    >>> from sklfusion.testing import expected_billed, text_digest
    >>> expected_billed("none", 0, [text_digest("a"), text_digest("b")])
    (2, 2, 0)
    """
    attempts = billed = injected = 0
    for digest in digests:
        for attempt in range(1, 5):
            fault = choose(profile, seed, digest, attempt)
            attempts += 1
            if fault is None:
                billed += 1
                break
            billed += fault.is_billed
            injected += fault.is_billed and not fault.is_usable
            if fault.is_usable:
                break
    return attempts, billed, injected
