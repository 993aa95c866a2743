"""A loopback endpoint that speaks the OpenAI chat API, fails on purpose and keeps a ledger.

::

    python -m sklfusion.testing.server --port 0 --seed 7 --profile mixed20 --latency-ms 50

prints one JSON line ``{"port": ..., "pid": ...}`` and serves 127.0.0.1 until its parent process
ends. It is meant to run as a process of its own: a server in a thread of the client would share
its interpreter and hide races. :class:`sklfusion.testing.FaultServer` starts one.

Besides ``/v1/chat/completions``, ``/v1/models``, ``/v1/files`` and ``/v1/batches`` there are

- ``GET /__ledger__`` (``?events=1`` for every request),
- ``POST /__reset__`` with any of the settings: a new ledger and new settings,
- ``POST /__script__`` with a list of rules, which go before the profile,
- ``POST /__outage__`` with ``{"seconds": s}``: all connections are reset and new ones refused.

What it answers is told in ``_answers``, which faults there are in ``_profiles``.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import socket
import ssl
import struct
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from sklfusion.testing import _answers, _batch, _wire
from sklfusion.testing._ledger import Entry, Ledger
from sklfusion.testing._profiles import PROFILES, Fault, choose, fault_from_json, status

_MAX_HEAD = 1 << 20


@dataclass
class Settings:
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

    def __post_init__(self) -> None:
        if self.profile not in PROFILES:
            raise ValueError(f"unknown profile {self.profile!r}; known are {', '.join(PROFILES)}.")
        for rule in self.script:
            if rule.get("fault") is not None:
                fault_from_json(rule["fault"])


class Endpoint:
    """The server's state."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.connections: set[asyncio.StreamWriter] = set()
        self.server: asyncio.Server | None = None
        self.port = 0
        self.ssl: ssl.SSLContext | None = None
        self.reset(settings)

    def reset(self, settings: Settings) -> None:
        """Begin a new ledger. Requests that are under way still write into the old one."""
        self.settings = settings
        self.ledger = Ledger()
        self.rule_uses = [0] * len(settings.script)
        self.window = [0.0, 0]
        self.storms = [dict(storm) for storm in settings.storms]
        self.storm_end = 0.0
        self.batches = _batch.Batches()

    # --------------------------------------------------------------------------- connections

    async def listen(self, port: int) -> None:
        """Accept connections on 127.0.0.1."""
        self.server = await asyncio.start_server(
            self.serve, "127.0.0.1", port, limit=_MAX_HEAD, ssl=self.ssl, backlog=1024
        )
        self.port = self.server.sockets[0].getsockname()[1]

    async def outage(self, seconds: float) -> None:
        """Reset all connections and refuse new ones for a while."""
        assert self.server is not None
        self.server.close()
        for writer in list(self.connections):
            reset_connection(writer)
        await asyncio.sleep(seconds)
        await self.listen(self.port)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection, one after the other."""
        self.connections.add(writer)
        ledger, last = self.ledger, None
        ledger.connections += 1
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            while (request := await _wire.read_request(reader)) is not None:
                ledger, last = self.ledger, None
                ledger.paths.add(request.path)
                if request.path.partition("?")[0].endswith("/chat/completions"):
                    last, alive = await self.chat(request, reader, writer)
                else:
                    alive = await self.other(request, writer)
                if not alive:
                    break
        except (ConnectionError, TimeoutError, ssl.SSLError):
            if last is not None:
                ledger.take_back(last)
        finally:
            self.connections.discard(writer)
            writer.close()
            with suppress(ConnectionError, ssl.SSLError, TimeoutError):
                await writer.wait_closed()

    async def other(self, request: _wire.Request, writer: asyncio.StreamWriter) -> bool:
        """Answer everything that is not a chat request."""
        try:
            value = self.control(request)
        except (ValueError, TypeError, KeyError) as error:
            return await _wire.send_json(writer, 400, {"error": {"message": str(error)}})
        if isinstance(value, bytes):
            return await _wire.send(writer, 200, value, "application/jsonl")
        if value is None:
            return await _wire.send_json(writer, 404, {"error": {"message": "no such path"}})
        return await _wire.send_json(writer, 200, value)

    def control(self, request: _wire.Request) -> Any:
        """Return the answer to a request on one of the side paths, None if there is no such."""
        path, _, query = request.path.partition("?")
        if path == "/__ledger__":
            return self.ledger.as_json(events="events=1" in query)
        if path == "/__reset__":
            self.reset(Settings(**json.loads(request.body or b"{}")))
            return {"ok": True}
        if path == "/__script__":
            self.settings.script = json.loads(request.body)
            self.settings.__post_init__()
            self.rule_uses = [0] * len(self.settings.script)
            return {"ok": True}
        if path == "/__outage__":
            seconds = json.loads(request.body)["seconds"]
            self.outage_task = asyncio.get_running_loop().create_task(self.outage(seconds))
            return {"ok": True}
        if path == "/v1/models":
            return {"object": "list", "data": [{"id": "loopback", "object": "model"}]}
        if path.startswith(("/v1/files", "/v1/batches")):
            return self.batches.handle(request, path, self)
        return None

    # ------------------------------------------------------------------------------- chat

    async def chat(
        self, request: _wire.Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> tuple[Entry | None, bool]:
        """Answer a chat request; return its entry and whether the connection goes on."""
        body = request.json()
        if body is None:
            return None, await _wire.send_json(writer, 400, {"error": {"message": "not JSON"}})
        ledger = self.ledger
        entry, fault = self.receive(body, request.headers)
        try:
            gated = fault is not None and fault.get("gate", False)
            if not gated and self.settings.latency_ms:
                await asyncio.sleep(self.settings.latency_ms / 1000)
            alive = await self.respond(body, entry, fault, ledger, reader, writer)
        finally:
            ledger.end(entry)
        return entry, alive

    def receive(self, body: dict[str, Any], headers: dict[str, str]) -> tuple[Entry, Fault | None]:
        """Write the request down and choose its fault."""
        question = _answers.read_question(body)
        canonical = json.dumps(body, sort_keys=True)
        digest = _answers.text_digest(question.text)
        request_digest = hashlib.sha256(canonical.encode()).hexdigest()
        entry = self.ledger.receive(digest, request_digest, headers)
        if self.settings.keep_bodies:
            self.ledger.bodies.append(body)
        fault = self.gate(headers)
        rule = self.rule(body, question.text, entry) if fault is None else None
        if rule is not None:
            fault = fault_from_json(rule["fault"]) if rule.get("fault") else None
        elif fault is None:
            fault = choose(self.settings.profile, self.settings.seed, digest, entry.attempt)
        entry.fault = None if fault is None else fault.get("name", fault.kind)
        return entry, fault

    def gate(self, headers: dict[str, str]) -> Fault | None:
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

    async def respond(
        self,
        body: dict[str, Any],
        entry: Entry,
        fault: Fault | None,
        ledger: Ledger,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> bool:
        """Send the answer, or the fault; return whether the connection goes on."""
        completion = _answers.completion(body, number=entry.number)
        entry.usable = fault is None or fault.is_usable
        if fault is None or fault.is_billed:
            ledger.bill(entry, completion["usage"])
        if fault is not None and fault.kind in ("late", "hang"):
            await asyncio.sleep(fault.get("seconds", 1.0))
        if fault is not None and fault.kind in ("reset", "hang"):
            reset_connection(writer)
            return False
        if fault is not None and fault.kind in ("drip_head", "informational"):
            await _wire.never_begin(writer, fault)
            reset_connection(writer)
            return False
        if reader.at_eof():  # the client has given up
            return False
        data, headers, code = _wire.render(completion, fault)
        entry.status = code
        kind = None if fault is None else fault.kind
        if kind in ("reset_body", "short", "chunked"):
            await _wire.send_part(writer, data, chunked=kind == "chunked")
            if kind == "reset_body":
                reset_connection(writer)
            return False
        if fault is not None and kind == "drip":
            await _wire.drip(writer, data, fault.get("bytes", 8), fault.get("seconds", 0.3))
        else:
            after = fault is not None and kind in ("stray", "trailing")
            rest = _wire.behind(fault, completion) if after else b""
            await _wire.send(writer, code, data, headers=headers, rest=rest)
        ledger.deliver(entry)
        return kind != "close"


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


def reset_connection(writer: asyncio.StreamWriter) -> None:
    """Close a connection by RST, as a crashed peer does."""
    sock = writer.get_extra_info("socket")
    with suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def run(settings: Settings, port: int, context: ssl.SSLContext | None) -> None:
    """Serve until the parent process ends."""
    parent = os.getppid()
    endpoint = Endpoint(settings)
    endpoint.ssl = context
    await endpoint.listen(port)
    print(json.dumps({"port": endpoint.port, "pid": os.getpid()}), flush=True)
    while os.getppid() == parent:
        await asyncio.sleep(0.2)


def main(argv: list[str] | None = None) -> None:
    """Run the server from the command line."""
    parser = argparse.ArgumentParser(prog="python -m sklfusion.testing.server")
    parser.add_argument("--port", type=int, default=0, help="0 takes any free port")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--profile", default="none", choices=list(PROFILES))
    parser.add_argument("--latency-ms", type=float, default=0.0)
    parser.add_argument("--certfile", help="serve TLS with this certificate")
    parser.add_argument("--keyfile", help="and this private key")
    arguments = parser.parse_args(argv)
    context = None
    if arguments.certfile:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(arguments.certfile, arguments.keyfile)
    settings = Settings(arguments.seed, arguments.profile, arguments.latency_ms)
    with suppress(KeyboardInterrupt):
        asyncio.run(run(settings, arguments.port, context))


if __name__ == "__main__":
    main()
