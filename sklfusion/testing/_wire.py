"""HTTP/1.1 by hand, since no HTTP library lets one break it on purpose."""

from __future__ import annotations

import asyncio
import gzip
import json
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sklfusion.testing import _decisions
from sklfusion.testing._profiles import ScriptedFault

_REASONS = {200: "OK", 307: "Temporary Redirect", 400: "Bad Request", 404: "Not Found"}


@dataclass
class Request:
    """One request."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    def json(self) -> dict[str, Any] | None:
        """Return the body as an object, None if it is none."""
        try:
            value = json.loads(self.body)
        except ValueError:
            return None
        return value if isinstance(value, dict) else None


async def read_request(reader: asyncio.StreamReader) -> Request | None:
    """Return the next request of a connection, None at its orderly end."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        method, path, _ = first.split(" ", 2)
        headers = {}
        for line in lines:
            name, colon, value = line.partition(":")
            if colon:
                headers[name.lower()] = value.strip()
        body = await reader.readexactly(int(headers.get("content-length", 0)))
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError):
        return None
    return Request(method, path, headers, body)


def head(code: int, headers: dict[str, str]) -> bytes:
    """Return the head of a response."""
    lines = [f"HTTP/1.1 {code} {_REASONS.get(code, 'Status')}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("utf-8", "surrogateescape")


async def send(
    writer: asyncio.StreamWriter,
    code: int,
    data: bytes,
    content_type: str = "application/json",
    headers: dict[str, str] | None = None,
    rest: bytes = b"",
) -> bool:
    """Send a whole response, and what comes behind it, and return True."""
    fields = {"content-type": content_type, "content-length": str(len(data)), **(headers or {})}
    writer.write(head(code, fields) + data + rest)
    await writer.drain()
    return True


async def send_json(writer: asyncio.StreamWriter, code: int, value: Any) -> bool:
    """Send a JSON response and return True."""
    return await send(writer, code, json.dumps(value).encode())


async def send_part(writer: asyncio.StreamWriter, data: bytes, *, chunked: bool) -> None:
    """Send half of a body that was promised whole."""
    half = data[: len(data) // 2]
    if chunked:
        fields = {"content-type": "application/json", "transfer-encoding": "chunked"}
        writer.write(head(200, fields) + b"%x\r\n%s\r\n" % (len(half), half))
    else:
        fields = {"content-type": "application/json", "content-length": str(len(data))}
        writer.write(head(200, fields) + half)
    await writer.drain()
    await asyncio.sleep(0.005)  # let it out before the connection is reset


async def never_begin(writer: asyncio.StreamWriter, fault: ScriptedFault) -> None:
    """Send what comes before a body, a little at a time, for `until` seconds."""
    loop = asyncio.get_running_loop()
    end = loop.time() + fault.get("until", 120.0)
    if fault.kind == "drip_head":
        writer.write(b"HTTP/1.1 200 OK\r\nx-filler: ")
        piece = b"x" * fault.get("bytes", 1)
    else:
        piece = b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n"
    while not writer.is_closing() and loop.time() < end:
        writer.write(piece)
        await writer.drain()
        await asyncio.sleep(fault.get("seconds", 0.3))


def behind(fault: ScriptedFault, completion: dict[str, Any]) -> bytes:
    """Return what comes behind a reply, in the same packet."""
    if fault.kind == "trailing":
        return _encode(fault.get("body", "rest"))
    said: dict[str, Any] = {"choices": {0: {"message": {"content": fault.get("content", "")}}}}
    if "answers" in completion:
        said = {"answers": fault.get("content", "")}
    data = _dump(merged(completion, said))
    fields = {"content-type": "application/json", "content-length": str(len(data))}
    return head(200, fields) + data


async def drip(writer: asyncio.StreamWriter, data: bytes, size: int, seconds: float) -> None:
    """Send a body a few bytes at a time."""
    fields = {"content-type": "application/json", "content-length": str(len(data))}
    writer.write(head(200, fields))
    for start in range(0, len(data), size):
        if start:
            await asyncio.sleep(seconds)
        writer.write(data[start : start + size])
        await writer.drain()


def render_reply(
    completion: dict[str, Any], fault: ScriptedFault | None
) -> tuple[bytes, dict[str, str], int]:
    """Return body, extra headers and status of the response that a fault asks for."""
    data = json.dumps(completion).encode()
    if fault is None:
        return data, {}, 200
    headers = {str(k): str(v) for k, v in fault.get("headers", {}).items()}
    if "content_type" in fault.options:
        headers["content-type"] = fault.options["content_type"]
    kind = fault.kind
    if kind == "status":
        code = int(fault.get("status", 500))
        said = fault.get("body", {"error": {"message": f"scripted {code}", "code": None}})
        return _encode(said), headers, code
    if kind == "body":
        return _encode(fault.get("body", "")), headers, 200
    if kind == "truncated":
        return data[: len(data) // 2], headers, 200
    if kind == "big":
        return b'{"choices": "' + b"x" * int(fault.get("bytes", 50_000_000)), headers, 200
    if kind == "gzip_bomb":
        zeros = gzip.compress(bytes(int(fault.get("bytes", 50_000_000))))
        return zeros, {**headers, "content-encoding": "gzip"}, 200
    if kind == "packed":
        names = fault.get("encodings", ["gzip"])
        blanks = packed(names, int(fault.get("bytes", 50_000_000)))
        return blanks, {**headers, "content-encoding": ", ".join(names)}, fault.get("status", 200)
    if kind == "many_headers":
        filler = "x" * int(fault.get("bytes", 10))
        headers |= {f"x-{n}": filler for n in range(int(fault.get("count", 1000)))}
    if kind == "bad_utf8":
        return b"\xff\xfe" + data, headers, 200
    code = int(fault.get("status", 200)) if kind == "content" else 200
    return _dump(_otherwise(completion, fault)), headers, code


def _otherwise(completion: dict[str, Any], fault: ScriptedFault) -> dict[str, Any]:
    """Return a reply that is one in form and says something else."""
    if fault.kind == "rounded":
        return {**completion, **_decisions.rounded_to(completion, fault.get("decimals", 2))}
    if fault.kind == "merge":
        return {**completion, **merged(completion, fault.get("fields", {}))}
    if fault.kind == "content" and "answers" in completion:
        return {**completion, "answers": fault.get("content", None)}
    if fault.kind == "content":
        for choice in completion["choices"]:
            choice["message"]["content"] = fault.get("content", None)
    return completion


_PACK: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "deflate": zlib.compress}


def packed(encodings: list[str], size: int) -> bytes:
    """Return blanks, packed by each encoding in turn; one that is not known changes nothing."""
    data = b" " * size
    for name in encodings:
        data = _PACK[name](data) if name in _PACK else data
    return data


def _encode(said: Any) -> bytes:
    return said.encode("utf-8", "surrogatepass") if isinstance(said, str) else _dump(said)


def _dump(said: Any) -> bytes:
    return json.dumps(said).encode()


def merged(value: Any, changes: Any) -> Any:
    """Lay ``changes`` over ``value``, object by object; an object with number keys changes the
    items of a list."""
    if isinstance(value, dict) and isinstance(changes, dict):
        return {
            **value,
            **{k: merged(value[k], v) if k in value else v for k, v in changes.items()},
        }
    if isinstance(value, list) and isinstance(changes, dict):
        items = list(value)
        for index, change in changes.items():
            items[int(index)] = merged(items[int(index)], change)
        return items
    return changes
