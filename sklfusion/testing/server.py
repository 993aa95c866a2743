"""A loopback endpoint that speaks the OpenAI chat API, fails on purpose and keeps a ledger.

::

    python -m sklfusion.testing.server --port 0 --seed 7 --profile mixed20 --latency-ms 50

prints one JSON line ``{"port": ..., "pid": ...}`` and serves 127.0.0.1 until its parent process
ends. It is meant to run as a process of its own: a server in a thread of the client would share
its interpreter and hide races. :class:`sklfusion.testing.FaultServer` starts one.

Besides ``/v1/chat/completions``, the routes of typed questions where the setting ``decisions``
opens them, ``/v1/models``, ``/v1/files`` and ``/v1/batches`` there are

- ``GET /__ledger__`` (``?events=1`` for every request),
- ``POST /__reset__`` with any of the settings: a new ledger and new settings,
- ``POST /__script__`` with a list of rules, which go before the profile,
- ``POST /__outage__`` with ``{"seconds": s}``: all connections are reset and new ones refused.

What it answers is told in ``_answers``, which faults there are in ``_profiles``, and which comes
next in ``_script``.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import ssl
import struct
from contextlib import suppress
from typing import Any

from sklfusion.testing import _answers, _batch, _decisions, _wire
from sklfusion.testing._ledger import Entry, Ledger
from sklfusion.testing._profiles import PROFILES, ScriptedFault
from sklfusion.testing._script import Script, ServerSettings

_MAX_HEAD = 1 << 20


class LoopbackServer:
    """The connections of the endpoint, and the play that they all see."""

    def __init__(self, settings: ServerSettings) -> None:
        self.connections: set[asyncio.StreamWriter] = set()
        self.server: asyncio.Server | None = None
        self.port = 0
        self.ssl: ssl.SSLContext | None = None
        self.reset(settings)

    def reset(self, settings: ServerSettings) -> None:
        """Begin a new ledger. Requests that are under way still write into the old one."""
        self.script = Script(settings)
        self.batches = _batch.Batches(self.script)

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
        ledger, last = self.script.ledger, None
        ledger.connections += 1
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            while (request := await _wire.read_request(reader)) is not None:
                ledger, last = self.script.ledger, None
                ledger.paths.add(request.path)
                if (dialect := self.script.dialect_of(request.path)) and request.method == "POST":
                    last, alive = await self.answer(request, dialect, reader, writer)
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
            return self.script.ledger.as_json(events="events=1" in query)
        if path == "/__reset__":
            self.reset(ServerSettings(**json.loads(request.body or b"{}")))
            return {"ok": True}
        if path == "/__script__":
            self.script.replace_rules(json.loads(request.body))
            return {"ok": True}
        if path == "/__outage__":
            seconds = json.loads(request.body)["seconds"]
            self.outage_task = asyncio.get_running_loop().create_task(self.outage(seconds))
            return {"ok": True}
        if path == "/v1/models":
            return {"object": "list", "data": [{"id": "loopback", "object": "model"}]}
        if path.startswith(("/v1/files", "/v1/batches")):
            return self.batches.handle(request, path)
        return None

    # ----------------------------------------------------------------------------- answers

    async def answer(
        self,
        request: _wire.Request,
        dialect: str,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> tuple[Entry | None, bool]:
        """Answer a request; return its entry and whether the connection goes on."""
        body = request.json()
        if body is None:
            return None, await _wire.send_json(writer, 400, {"error": {"message": "not JSON"}})
        ledger = self.script.ledger
        entry, fault = self.script.receive(body, request.headers)
        try:
            gated = fault is not None and fault.get("gate", False)
            if not gated and self.script.settings.latency_ms:
                await asyncio.sleep(self.script.settings.latency_ms / 1000)
            completion = self.completion(body, dialect, entry, fault)
            if isinstance(completion, _decisions.BadBody):
                if not gated:  # a body is looked at before anything can go wrong with its answer
                    entry.status = completion.status
                    return entry, await _wire.send_json(writer, entry.status, completion.said)
                completion = {}
            alive = await self.respond(completion, entry, fault, ledger, reader, writer)
        finally:
            ledger.end(entry)
        return entry, alive

    def completion(
        self, body: dict[str, Any], dialect: str, entry: Entry, fault: ScriptedFault | None
    ) -> dict[str, Any] | _decisions.BadBody:
        """Return the proper answer to a request, or why it is refused."""
        if dialect == "chat":
            return _answers.completion(body, number=entry.number)
        try:
            asked = _decisions.read_questions(body, dialect, self.script.settings.limits)
        except _decisions.BadBody as error:
            return error
        refused = fault.get("questions", []) if fault is not None else []
        return _decisions.decision(body, asked, dialect, tuple(refused))

    async def respond(
        self,
        completion: dict[str, Any],
        entry: Entry,
        fault: ScriptedFault | None,
        ledger: Ledger,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> bool:
        """Send the answer, or the fault; return whether the connection goes on."""
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
        data, headers, code = _wire.render_reply(completion, fault)
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
            rest = b""
            if fault is not None and kind in ("stray", "trailing"):
                rest = _wire.behind(fault, completion)
            await _wire.send(writer, code, data, headers=headers, rest=rest)
        ledger.deliver(entry)
        return kind != "close"


def reset_connection(writer: asyncio.StreamWriter) -> None:
    """Close a connection by RST, as a crashed peer does."""
    sock = writer.get_extra_info("socket")
    with suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def run(settings: ServerSettings, port: int, context: ssl.SSLContext | None) -> None:
    """Serve until the parent process ends."""
    parent = os.getppid()
    endpoint = LoopbackServer(settings)
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
    settings = ServerSettings(arguments.seed, arguments.profile, arguments.latency_ms)
    with suppress(KeyboardInterrupt):
        asyncio.run(run(settings, arguments.port, context))


if __name__ == "__main__":
    main()
