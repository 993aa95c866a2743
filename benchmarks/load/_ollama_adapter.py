"""Let a client of the Ollama API talk to the fault server: `/api/chat` becomes a chat completion.

python -m benchmarks.load._ollama_adapter --upstream PORT

prints ``{"port": ...}`` and serves 127.0.0.1 until its parent ends. Bytes pass as they come, so
that a cut, dripping or garbled reply stays one. A whole completion gets the fields of an Ollama
reply appended; its own fields stay, and Ollama's client ignores them.
"""

import argparse
import asyncio
import json
import os
import socket
import struct
from contextlib import suppress

_HOP_BY_HOP = {"content-length", "connection", "transfer-encoding"}


class Adapter:
    """One listening socket in front of one fault server."""

    def __init__(self, upstream):
        self.upstream = upstream

    async def serve(self, reader, writer):
        """Answer one request, then close the connection."""
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            path = head.split(b" ", 2)[1].decode("latin-1")
            body = await reader.readexactly(int(_headers(head).get("content-length", 0)))
            if path == "/api/chat":
                await self.chat(body, writer)
            else:
                writer.write(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n")
        except (ConnectionError, asyncio.IncompleteReadError):
            _reset(writer)
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    async def chat(self, body, writer):
        """Ask upstream and pass the reply on, byte by byte as it comes."""
        asked = json.loads(body)
        said = json.dumps({"model": asked["model"], "messages": asked["messages"]}).encode()
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self.upstream)
        request = b"POST /v1/chat/completions HTTP/1.1\r\ncontent-length: %d\r\n\r\n" % len(said)
        try:
            up_writer.write(request + said)
            head = await up_reader.readuntil(b"\r\n\r\n")
            await self.relay(head, up_reader, writer)
        finally:
            up_writer.close()

    async def relay(self, head, up_reader, writer):
        """Pass a reply on; the last byte waits until it is known whether fields follow it."""
        headers = _headers(head)
        length = int(headers.get("content-length", 0))
        kept = {k: v for k, v in headers.items() if k not in _HOP_BY_HOP}
        lines = [head.split(b"\r\n", 1)[0].decode("latin-1")]
        lines += [f"{name}: {value}" for name, value in kept.items()]
        lines += ["transfer-encoding: chunked", "connection: close", "", ""]
        writer.write("\r\n".join(lines).encode("latin-1"))
        body = bytearray()
        while len(body) < length:
            piece = await up_reader.read(1 << 16)
            if not piece:
                await writer.drain()
                return  # cut upstream: the chunked body has no end either
            body += piece
            passed = piece[:-1] if len(body) >= length else piece
            if passed:
                writer.write(b"%x\r\n%s\r\n" % (len(passed), passed))
                await writer.drain()
        if length:
            tail = _extended(body)
            writer.write(b"%x\r\n%s\r\n" % (len(tail), tail))
        writer.write(b"0\r\n\r\n")
        await writer.drain()


def _headers(head):
    lines = head.decode("latin-1").split("\r\n")[1:]
    pairs = (line.partition(":") for line in lines if ":" in line)
    return {name.strip().lower(): value.strip() for name, _, value in pairs}


def _extended(body):
    """Return the last byte of a body, or what turns a completion into an Ollama reply."""
    try:
        value = json.loads(body)
    except ValueError:
        return body[-1:]
    if not isinstance(value, dict) or "choices" not in value:
        return body[-1:]
    fields = {"created_at": "2026-01-01T00:00:00Z", "done": True}
    choices = value["choices"]
    if choices and isinstance(choices, list) and isinstance(choices[0], dict):
        message = choices[0].get("message") or {}
        fields["message"] = {"role": "assistant", "content": message.get("content")}
        fields["done_reason"] = choices[0].get("finish_reason")
    return b"," + json.dumps(fields).encode()[1:]


def _reset(writer):
    sock = writer.get_extra_info("socket")
    with suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def run(upstream):
    """Serve until the parent process ends."""
    parent = os.getppid()
    server = await asyncio.start_server(Adapter(upstream).serve, "127.0.0.1", 0)
    print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
    while os.getppid() == parent:
        await asyncio.sleep(0.2)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.load._ollama_adapter")
    parser.add_argument("--upstream", type=int, required=True, help="port of the fault server")
    asyncio.run(run(parser.parse_args().upstream))
