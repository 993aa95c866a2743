"""What holds on the wire whatever the HTTP library does: time, size, and whose bytes they are.

The library bounds each single read. Here every connection also ends at the deadline of the call
that uses it, a body is unpacked no further than its limit, and a connection on which more came
than the reply is not used again.
"""

from __future__ import annotations

import ipaddress
import queue
import socket
import threading
import time
import zlib
from collections.abc import Iterable, Iterator
from typing import Any

from sklfusion.llm._faults import CallError, Fault, bad_reply

# Bytes that are sent or unpacked at a time.
_STEP = 1 << 14
# A body that is packed more often than this is no honest answer.
_MAX_LAYERS = 3
# Where the HTTP library keeps what a response stream is made of, down to the parser's state.
_INNER = ("_stream", "_httpcore_stream", "_connection")


class CallClock(threading.local):
    """The moment (``time.monotonic()``) at which the call of this thread ends."""

    deadline = float("inf")

    def left(self, timeout: float | None) -> float:
        """Return the seconds that one step may take; 0 or less if the call is over."""
        left = self.deadline - time.monotonic()
        return left if timeout is None else min(left, timeout)


class DeadlineBackend:
    """Connects like the network backend that it wraps, but not beyond the deadline."""

    def __init__(self, inner: Any, clock: CallClock) -> None:
        self._inner = inner
        self._clock = clock

    def connect_tcp(
        self, host: str, port: int, timeout: float | None = None, **options: Any
    ) -> DeadlineStream:
        """Try the addresses of a host in turn, all of them within the timeout."""
        end = time.monotonic() + max(self._clock.left(timeout), 0.0)
        *others, last = _addresses(host, port, end - time.monotonic())
        for address in others:
            left = end - time.monotonic()
            if left <= 0:
                raise _unreached(host)
            try:
                # None of them may use up the time of those behind it.
                return self._connect(address, port, left / 2, options)
            except Exception:
                continue
        left = end - time.monotonic()
        if left <= 0:
            raise _unreached(host)
        return self._connect(last, port, left, options)

    def _connect(
        self, address: str, port: int, timeout: float, options: dict[str, Any]
    ) -> DeadlineStream:
        stream = self._inner.connect_tcp(address, port, timeout=timeout, **options)
        return DeadlineStream(stream, self._clock)

    def connect_unix_socket(self, *args: Any, **options: Any) -> Any:
        """Connect to a socket of this machine."""
        return self._inner.connect_unix_socket(*args, **options)

    def sleep(self, seconds: float) -> None:
        """Wait."""
        self._inner.sleep(seconds)


class DeadlineStream:
    """A connection that reads and writes until the deadline of the calling thread."""

    def __init__(self, inner: Any, clock: CallClock) -> None:
        self._inner = inner
        self._clock = clock
        self._spoiled = False

    def spoil(self) -> None:
        """Keep the connection from being used for another request."""
        self._spoiled = True

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Return what has arrived, at most ``max_bytes``."""
        return self._inner.read(max_bytes, timeout=self._step(timeout))  # type: ignore[no-any-return]

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Send everything."""
        # In pieces, since the library grants its timeout to each of them anew.
        view = memoryview(buffer)
        while view:
            self._inner.write(bytes(view[:_STEP]), timeout=self._step(timeout))
            view = view[_STEP:]

    def _step(self, timeout: float | None) -> float:
        left = self._clock.left(timeout)
        if left <= 0:
            raise CallError(Fault("unknown", "timeout", "the reply was not whole in time"))
        return left

    def start_tls(
        self, ssl_context: Any, server_hostname: str | None = None, timeout: float | None = None
    ) -> DeadlineStream:
        """Return this connection, encrypted."""
        left = self._clock.left(timeout)
        if left <= 0:
            self.close()
            raise _unreached(server_hostname or "the server")
        inner = self._inner.start_tls(ssl_context, server_hostname, left)
        return DeadlineStream(inner, self._clock)

    def close(self) -> None:
        """Close the connection."""
        self._inner.close()

    def get_extra_info(self, info: str) -> Any:
        """Return facts about the connection; an idle one that is readable is not used again."""
        if info == "is_readable" and self._spoiled:
            return True
        return self._inner.get_extra_info(info)


def _unreached(host: str) -> CallError:
    return CallError(Fault("not_sent", "unreachable", f"{host} was not reached in time"))


def _addresses(host: str, port: int, seconds: float) -> list[str]:
    """Return the addresses of a host: the system's resolver keeps no time limit, so this does.

    Raises
    ------
    socket.gaierror
        If there is no such host.
    CallError
        If the answer does not come in time.
    """
    try:
        return [str(ipaddress.ip_address(host))]
    except ValueError:
        pass
    answer: queue.SimpleQueue[Any] = queue.SimpleQueue()
    threading.Thread(target=_look_up, args=(host, port, answer), daemon=True).start()
    try:
        found = answer.get(timeout=max(seconds, 0.001))
    except queue.Empty:
        raise _unreached(host) from None
    if isinstance(found, Exception):
        raise found
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def _look_up(host: str, port: int, answer: queue.SimpleQueue[Any]) -> None:
    try:
        answer.put(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
    except (OSError, UnicodeError) as error:
        answer.put(error if isinstance(error, OSError) else socket.gaierror(str(error)))


# ------------------------------------------------------------------------------------- the body


def read_body(response: Any, limit: int) -> bytes:
    """Return the unpacked body of a streamed response, and see that nothing came behind it.

    Parameters
    ----------
    response : Response
        Of either generation of the HTTP library, its stream not yet read.
    limit : int
        Most bytes, packed and unpacked, in every layer.

    Raises
    ------
    CallError
        With a fault of kind "bad_reply" if the body is too long or cannot be unpacked.
    """
    parser = _http_parser(response.stream)
    body = b"".join(_unpacked(response, limit))
    if parser is None or parser.trailing_data[0]:
        # What came unasked would be read as the answer to the next request. Where it cannot be
        # known, the connection goes as well.
        response.extensions["network_stream"].spoil()
    return body


def _http_parser(stream: Any) -> Any:
    """Return the HTTP/1.1 state behind a response stream, None if it is not where it was."""
    for _ in range(len(_INNER) + 3):
        state = getattr(stream, "_h11_state", None)
        if state is not None:
            return state
        stream = next((getattr(stream, n) for n in _INNER if hasattr(stream, n)), None)
    return None


def _unpacked(response: Any, limit: int) -> Iterator[bytes]:
    listed = response.headers.get("content-encoding", "").lower().split(",")
    packings = [name.strip() for name in listed if name.strip() not in ("", "identity")]
    if len(packings) > _MAX_LAYERS:
        raise bad_reply("bad_encoding", f"the body is packed {len(packings)} times")
    chunks = _bounded(response.stream, limit)
    for name in reversed(packings):
        if name not in ("gzip", "x-gzip", "deflate"):
            raise bad_reply("bad_encoding", f"the body is packed as {name[:20]!r}, unasked")
        chunks = _bounded(_inflated(chunks, gzip=name != "deflate"), limit)
    return chunks


def _bounded(chunks: Iterable[bytes], limit: int) -> Iterator[bytes]:
    size = 0
    for chunk in chunks:
        size += len(chunk)
        if size > limit:
            raise bad_reply("too_large", f"the body is longer than {limit} bytes")
        yield chunk


def _inflated(chunks: Iterable[bytes], *, gzip: bool) -> Iterator[bytes]:
    """Unpack in small steps, so that whoever counts them can end it."""
    unpacker = None
    try:
        for chunk in chunks:
            while chunk or unpacker is not None:
                if unpacker is None:
                    unpacker = zlib.decompressobj(_window(chunk, gzip))
                piece = unpacker.decompress(chunk, _STEP)
                if piece:
                    yield piece
                chunk = unpacker.unconsumed_tail
                if unpacker.eof:
                    chunk, unpacker = unpacker.unused_data, None
                elif len(piece) < _STEP and not chunk:
                    break
    except zlib.error:
        raise bad_reply("bad_encoding", "the body cannot be unpacked") from None
    if unpacker is not None:
        raise bad_reply("bad_encoding", "the packed body ends too early")


def _window(start: bytes, gzip: bool) -> int:
    """Return what zlib calls the format: gzip, or deflate with or without its header."""
    if gzip:
        return zlib.MAX_WBITS | 16
    headed = start[0] & 0x8F == 8  # what the header begins with, and next to no bare stream
    return zlib.MAX_WBITS if headed else -zlib.MAX_WBITS
