"""The adapter over the openai client: the only file that imports openai.

Of the SDK it uses the transport: its own retries are off, redirects are off, bodies are bounded
in size and time, and neither the SDK's reply classes nor its exceptions (which hold the key) get
out of here.
"""

from __future__ import annotations

import os
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from sklfusion.llm._faults import CallError, Fault, bad_reply, fault_from_said, fault_from_status
from sklfusion.llm._reply import reply_from_bytes
from sklfusion.llm._types import ChatRequest, Reply
from sklfusion.llm._words import Said
from sklfusion.llm.endpoints import Endpoint, is_loopback, read_key
from sklfusion.replies._fork import GATE

MAX_BODY_BYTES = 1 << 20
MAX_FILE_BYTES = 1 << 30
# We ask for plain bodies; an endpoint that compresses all the same cannot blow up to more
# than about 60 times this.
MAX_COMPRESSED_BYTES = 1 << 16

_NOT_SENT = ("ConnectError", "ConnectTimeout", "PoolTimeout", "ProxyError", "UnsupportedProtocol")


class OpenAIBackend:
    """Sends chat requests to one endpoint. One per process, shared by its threads.

    Parameters
    ----------
    endpoint : Endpoint
        Where to.
    timeout : float
        Seconds to wait for the connection and for each piece of the reply.
    max_connections : int
        Connections kept open.
    """

    def __init__(self, endpoint: Endpoint, *, timeout: float, max_connections: int) -> None:
        self.endpoint = endpoint
        self.timeout = timeout
        self.max_connections = max_connections
        self._lock = threading.Lock()
        self._client: Any = None
        self._pid = -1
        self._call = threading.local()

    @property
    def secrets(self) -> tuple[str, ...]:
        """Names of the environment variables whose values nobody may see."""
        name = self.endpoint.api_key_env
        return (name,) if name else ()

    def close(self) -> None:
        """Close the connections."""
        with self._lock:
            client, self._client = self._client, None
        if client is not None and self._pid == os.getpid():
            client.close()

    def complete(self, request: ChatRequest, *, deadline: float) -> Reply:
        """Return the reply to one request; one attempt, no retries.

        Parameters
        ----------
        request : ChatRequest
            What to send.
        deadline : float
            Value of ``time.monotonic()`` at which the attempt ends, whatever it is doing.

        Raises
        ------
        CallError
            With the fault.
        AuthenticationError
            If the environment variable of the key is not usable.
        """
        sent = self._send(request, deadline)
        if isinstance(sent, Fault):
            # Raised here, with plain fields only: an error raised where the SDK's is caught would
            # carry it as context, it holds the request, and the request the key. Nor does any
            # frame of this traceback have the key in a local variable.
            raise CallError(sent)
        return reply_from_bytes(sent, partial(self._blame, request.model))

    def _blame(self, model: str, status: int, error: Said) -> Fault:
        """Return the fault of an error that this endpoint sent."""
        name = self.endpoint.api_key_env
        return fault_from_said(
            status,
            {},
            error,
            origin=self.endpoint.origin,
            model=model,
            key_hint=f"the environment variable {name}"
            if name
            else "whether it needs api_key_env=",
            secrets=self.secrets,
        )

    def _send(self, request: ChatRequest, deadline: float) -> bytes | Fault:
        """Return the body of the reply, or why there is none."""
        client, headers = self._prepare(request.model, deadline, MAX_BODY_BYTES)
        left = max(deadline - time.monotonic(), 0.001)
        try:
            response = client.post(
                "/chat/completions",
                cast_to=self._response_class,
                body=request.body(),
                options={"timeout": min(self.timeout, left), "headers": headers},
            )
            return response.content  # type: ignore[no-any-return]
        except Exception as error:
            return _fault_from_exception(error, self.endpoint.origin, self.timeout)

    def _prepare(self, model: str, deadline: float, limit: int) -> tuple[Any, dict[str, str]]:
        """Return the client and the headers, and tell this thread's hook what holds."""
        key = read_key(self.endpoint)
        self._call.deadline, self._call.model, self._call.limit = deadline, model, limit
        headers = {"Authorization": f"Bearer {key or 'none'}", "Accept-Encoding": "identity"}
        return self._get_client(), headers

    # ----------------------------------------------------------------- the provider's Batch API

    def upload(self, lines: bytes) -> str:
        """Upload a JSONL file of requests and return its id."""
        file = ("requests.jsonl", lines)
        return str(
            self._side(lambda c, h: c.files.create(file=file, purpose="batch", extra_headers=h).id)
        )

    def create_batch(self, file_id: str) -> str:
        """Start a batch of chat requests and return its id."""
        asked = {
            "input_file_id": file_id,
            "endpoint": "/v1/chat/completions",
            "completion_window": "24h",
        }
        return str(self._side(lambda c, h: c.batches.create(**asked, extra_headers=h).id))

    def batch(self, batch_id: str) -> dict[str, Any]:
        """Return the state of a batch."""
        return self._side(  # type: ignore[no-any-return]
            lambda c, h: c.batches.retrieve(batch_id, extra_headers=h).to_dict()
        )

    def download(self, file_id: str) -> bytes:
        """Return the content of a file."""
        return self._side(  # type: ignore[no-any-return]
            lambda c, h: c.files.content(file_id, extra_headers=h).content
        )

    def _side(self, action: Callable[[Any, dict[str, str]], Any]) -> Any:
        """Return ``action(client, headers)``; raises CallError as :meth:`complete` does."""
        result = self._try(action)
        if isinstance(result, Fault):
            raise CallError(result)
        return result

    def _try(self, action: Callable[[Any, dict[str, str]], Any]) -> Any:
        deadline = time.monotonic() + 10 * self.timeout
        client, headers = self._prepare("batch", deadline, MAX_FILE_BYTES)
        try:
            return action(client, headers)
        except Exception as error:
            return _fault_from_exception(error, self.endpoint.origin, self.timeout)

    def _get_client(self) -> Any:
        # A client does not survive a fork or a pickle, so it belongs to the process that made it.
        if self._client is None or self._pid != os.getpid():
            # A fork waits for this: a child that was forked while another thread imports would
            # inherit Python's lock on the module and wait for it for ever.
            with GATE.inside(), self._lock:
                if self._client is None or self._pid != os.getpid():
                    self._client = self._make_client()
                    self._pid = os.getpid()
        return self._client

    def _make_client(self) -> Any:
        import encodings.idna  # noqa: F401 - the first connection would import it, in its thread

        import openai

        origin = self.endpoint.origin
        options: dict[str, Any] = {"trust_env": True}
        if is_loopback(origin):
            # No proxy of the environment stands between this machine and itself; certificates
            # that the environment trusts (SSL_CERT_FILE) still count.
            options = {"trust_env": False, "verify": ssl.create_default_context()}
        http_client = openai.DefaultHttpxClient(
            follow_redirects=False,
            timeout=self.timeout,
            event_hooks={"response": [self._on_response]},
            **options,
        )
        # openai 3 runs on httpx2 and openai 2 on httpx: take whichever it brought.
        base = next(c for c in type(http_client).__mro__ if c.__name__ == "Client")
        http = sys.modules[base.__module__.partition(".")[0]]
        self._response_class = http.Response
        self._stream_class = type("_Bounded", (_BoundedStream, http.SyncByteStream), {})
        return openai.OpenAI(
            base_url=origin, api_key="from-header", max_retries=0, http_client=http_client
        )

    def _on_response(self, response: Any) -> None:
        """Bound the body, and end here every reply that is not 200."""
        compressed = response.headers.get("content-encoding", "identity") != "identity"
        limit = MAX_COMPRESSED_BYTES if compressed else self._call.limit
        response.stream = self._stream_class(response.stream, limit, self._call.deadline)
        if 200 <= response.status_code < 300:
            return  # a whole completion is an answer, whatever the number
        name = self.endpoint.api_key_env
        hint = f"the environment variable {name}" if name else "whether it needs api_key_env="
        try:
            body = response.read()
        except Exception:
            body = b""  # the status says enough
        fault = fault_from_status(
            response.status_code,
            response.headers,
            body,
            origin=self.endpoint.origin,
            model=self._call.model,
            key_hint=hint,
            secrets=self.secrets,
        )
        raise CallError(fault)


class _BoundedStream:
    """A response body that ends with an error when it gets too long or too late."""

    def __init__(self, inner: Any, limit: int, deadline: float) -> None:
        self._inner = inner
        self._limit = limit
        self._deadline = deadline

    def __iter__(self) -> Iterator[bytes]:
        size = 0
        for chunk in self._inner:
            size += len(chunk)
            if size > self._limit:
                raise bad_reply("too_large", f"the body is longer than {self._limit} bytes")
            if time.monotonic() > self._deadline:
                raise CallError(Fault("unknown", "timeout", "the body did not end in time"))
            yield chunk

    def close(self) -> None:
        self._inner.close()


def _fault_from_exception(error: BaseException, origin: str, timeout: float) -> Fault:
    """Sort what the SDK or its transport raised, by the names both transports share."""
    chain: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and len(chain) < 8:
        chain.append(current)
        current = current.__cause__ or current.__context__
    for link in chain:
        if isinstance(link, CallError):
            return link.fault
    if any(isinstance(link, ssl.SSLCertVerificationError) for link in chain):
        return Fault("stop", "tls", f"{origin} is not trusted: {chain[-1]}")
    names = {type(link).__name__ for link in chain}
    if names & set(_NOT_SENT):
        return Fault("not_sent", "unreachable", _unreachable(chain, origin))
    if names & {"ReadTimeout", "WriteTimeout", "TimeoutException", "APITimeoutError"}:
        return Fault("unknown", "timeout", f"no answer within timeout={timeout:g} s")
    if "DecodingError" in names or isinstance(error, UnicodeError):
        return Fault("bad_reply", "bad_encoding", "the body cannot be decoded")
    if "LocalProtocolError" in names:
        return Fault("stop", "request", f"the request to {origin} cannot be formed")
    return Fault("unknown", "connection_lost", f"the connection to {origin} broke")


def _unreachable(chain: list[BaseException], origin: str) -> str:
    reason = next((str(e) for e in reversed(chain) if isinstance(e, OSError)), "") or next(
        (str(e) for e in reversed(chain) if type(e).__name__ in _NOT_SENT), ""
    )
    host = urlsplit(origin).netloc
    return f"{origin} cannot be reached ({reason[:200] or host}). Is the server running?"
