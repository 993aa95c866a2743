"""The state of the loopback endpoint between two resets: settings, ledger, the next fault."""

from __future__ import annotations

import hashlib
import json
import sys
import time
from dataclasses import dataclass, field
from typing import Any

from sklfusion.testing import _answers, _decisions
from sklfusion.testing._ledger import Entry, Ledger
from sklfusion.testing._profiles import PROFILES, ScriptedFault, choose, fault_from_json, status


@dataclass
class ServerSettings:
    """What ``/__reset__`` can set.

    Parameters
    ----------
    seed : int
        Of the faults.
    profile : str
        One of ``PROFILES``.
    latency_ms : float
        Before every answer.
    script : list of dict
        Rules ``{"fault": {"kind": ...}, "contains": part of the text, "attempts": [1],
        "after": requests received before, "times": uses, "outside": marker}``; every condition
        may be left out, ``attempts`` is then ``"all"``. ``outside`` asks that a marker stands in a
        message other than as part of the text. ``field`` asks that the body has a field (with
        ``above``, one with a number larger than that), ``role`` that a message has that role. A
        rule without ``fault`` asks for a proper answer.
    keep_bodies : bool
        Whether the ledger keeps the bodies of all requests.
    limit_rps : float or None
        Requests per second beyond which the endpoint answers 429.
    storms : list of dict
        ``{"after": requests received, "seconds": s}``: from then on everybody gets 429 with the
        time that is left.
    key_sha256 : str or None
        Digest of the only key that is accepted.
    decisions : dict or bool
        Path to dialect ("openai", "systemone") where typed questions are answered; True for
        ``/v1/decisions`` and ``/v1/systemone``.
    limits : dict
        Most "questions" of a request and most "options" of a question.
    chat : bool
        Whether there is a chat route.
    batch : dict
        ``polls`` before a batch is done (2), its final ``status`` ("completed").
    """

    seed: int = 0
    profile: str = "none"
    latency_ms: float = 0.0
    script: list[dict[str, Any]] = field(default_factory=list)
    keep_bodies: bool = False
    limit_rps: float | None = None
    storms: list[dict[str, float]] = field(default_factory=list)
    key_sha256: str | None = None
    batch: dict[str, Any] = field(default_factory=dict)
    decisions: dict[str, str] | bool = False
    limits: dict[str, int] = field(default_factory=dict)
    chat: bool = True

    def __post_init__(self) -> None:
        if self.profile not in PROFILES:
            raise ValueError(f"unknown profile {self.profile!r}; known are {', '.join(PROFILES)}.")
        for rule in self.script:
            if rule.get("fault") is not None:
                fault_from_json(rule["fault"])


class Script:
    """What the endpoint has seen since the last reset, and what it does next.

    Parameters
    ----------
    settings : ServerSettings
        Of this play.
    """

    def __init__(self, settings: ServerSettings) -> None:
        self.settings = settings
        self.ledger = Ledger()
        self.rule_uses = [0] * len(settings.script)
        self.window = [0.0, 0]
        self.storms = [dict(storm) for storm in settings.storms]
        self.storm_end = 0.0

    def dialect_of(self, path: str) -> str | None:
        """Return what a path speaks: "chat", a dialect of typed questions, or nothing."""
        path = path.partition("?")[0]
        if path.endswith("/chat/completions"):
            return "chat" if self.settings.chat else None
        served = self.settings.decisions
        known = (_decisions.BOTH if served is True else served) or {}
        return known.get(path)

    def replace_rules(self, rules: list[dict[str, Any]]) -> None:
        """Take other rules, and go on with the ledger."""
        self.settings.script = rules
        self.settings.__post_init__()
        self.rule_uses = [0] * len(rules)

    def receive(
        self, body: dict[str, Any], headers: dict[str, str]
    ) -> tuple[Entry, ScriptedFault | None]:
        """Write the request down and choose its fault."""
        text = _answers.read_question(body).text if "messages" in body else None
        text = _decisions.decided_text(body) if text is None else text
        canonical = json.dumps(body, sort_keys=True)
        digest = _answers.text_digest(text)
        request_digest = hashlib.sha256(canonical.encode()).hexdigest()
        entry = self.ledger.receive(digest, request_digest, headers)
        if self.settings.keep_bodies:
            self.ledger.bodies.append(body)
        fault = self.gate(headers)
        rule = self.rule(body, text, entry) if fault is None else None
        if rule is not None:
            fault = fault_from_json(rule["fault"]) if rule.get("fault") else None
        elif fault is None:
            fault = choose(self.settings.profile, self.settings.seed, digest, entry.attempt)
        entry.fault = None if fault is None else fault.get("name", fault.kind)
        return entry, fault

    def gate(self, headers: dict[str, str]) -> ScriptedFault | None:
        """Refuse by key, by storm, or by rate; these hold for all texts alike."""
        now = time.monotonic()
        wanted = self.settings.key_sha256
        if wanted is not None:
            key = headers.get("authorization", "").removeprefix("Bearer ")
            if hashlib.sha256(key.encode()).hexdigest() != wanted:
                return status(401, gate=True, body={"error": {"code": "invalid_api_key"}})
        if self.storms and len(self.ledger.entries) > self.storms[0]["after"]:
            self.storm_end = now + self.storms.pop(0)["seconds"]
        if now < self.storm_end:
            return status(429, self.storm_end - now, gate=True, name="storm")
        if self.settings.limit_rps is not None:
            if now - self.window[0] >= 1:
                self.window = [now, 0]
            self.window[1] += 1
            if self.window[1] > self.settings.limit_rps:
                return status(429, self.window[0] + 1 - now, gate=True, name="rate")
        return None

    def rule(self, body: dict[str, Any], text: str, entry: Entry) -> dict[str, Any] | None:
        """Return the first rule of the script that applies."""
        for number, rule in enumerate(self.settings.script):
            attempts = rule.get("attempts", "all")
            applies = (
                rule.get("contains", "") in text
                and (attempts == "all" or entry.attempt in attempts)
                and entry.number > rule.get("after", 0)
                and self.rule_uses[number] < rule.get("times", sys.maxsize)
                and ("outside" not in rule or stands_outside(rule["outside"], body))
                and ("field" not in rule or has_field(body, rule["field"], rule.get("above")))
                and ("role" not in rule or has_role(body, rule["role"]))
            )
            if applies:
                self.rule_uses[number] += 1
                return rule
        return None


def stands_outside(marker: str, body: dict[str, Any]) -> bool:
    """Tell whether a marker stands in a message other than inside the JSON string of a text."""
    for message in body.get("messages", []):
        content = message.get("content")
        if not isinstance(content, str) or marker not in content:
            continue
        if message.get("role") != "user" or not _answers.is_data(content):
            return True
    return False


def has_field(body: dict[str, Any], name: str, above: float | None) -> bool:
    """Tell whether a request has a field, and one above a number if there is one."""
    value = body.get(name)
    if above is None:
        return value is not None and value is not False
    return isinstance(value, int | float) and value > above


def has_role(body: dict[str, Any], role: str) -> bool:
    """Tell whether a message of a request has a role."""
    return any(message.get("role") == role for message in body.get("messages", []))
