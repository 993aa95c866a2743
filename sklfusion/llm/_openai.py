"""The adapter over the openai client: the only file that imports openai.

Of the SDK it uses the HTTP client alone: retries and redirects are off, bodies are bounded in
size and time, and neither the SDK's reply classes nor its exceptions (which hold the key) get out
of here. Requests are put together here, so nothing that the environment tells the SDK (headers,
organisation, project, address) goes along.
"""

from __future__ import annotations

import json
import os
import ssl
import threading
import time
from functools import partial
from typing import Any
from urllib.parse import quote, urlsplit

import sklfusion
from sklfusion._chat import ChatRequest, DecisionRequest, Reply
from sklfusion._fork import GATE
from sklfusion.llm._decision_wire import decision_reply, wire_body
from sklfusion.llm._faults import CallError, Fault, bad_reply, fault_from_said, fault_from_status
from sklfusion.llm._reply import reply_from_bytes
from sklfusion.llm._wire import CallClock, DeadlineBackend, read_body
from sklfusion.llm._words import Said
from sklfusion.llm.endpoints import Endpoint, check_secrets, is_loopback, secret_headers

MAX_BODY_BYTES = 1 << 20
MAX_FILE_BYTES = 1 << 30
# The status of a refusal says enough; its body is waited for no longer than this.
ERROR_BODY_SECONDS = 5.0

_NOT_SENT = (
    "ConnectError",
    "ConnectTimeout",
    "PoolTimeout",
    "ProxyError",
    "UnsupportedProtocol",
    "gaierror",
)


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
        self._clock = CallClock()

    @property
    def secrets(self) -> tuple[str, ...]:
        """Names of the environment variables whose values nobody may see."""
        name = self.endpoint.api_key_env
        further = tuple(variable for _, variable in self.endpoint.headers_env)
        return ((name,) if name else ()) + further

    def prepare(self) -> None:
        """Load the HTTP client, which takes a second and is not to count for any deadline."""
        self._get_client()

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
            If an environment variable of a key is not usable.
        """
        decides = isinstance(request, DecisionRequest)
        path = request.params["path"] if decides else "chat/completions"
        sent = self._send(
            "POST",
            path,
            deadline=deadline,
            model=request.model,
            json=wire_body(request),
        )
        if isinstance(sent, Fault):
            # Raised here, with plain fields only: an error raised where the HTTP library's is
            # caught would carry it as context, it holds the request, and the request the key.
            # Nor does any frame of this traceback have the key in a local variable.
            raise CallError(sent)
        blame = partial(self._blame, request.model)
        if decides:
            return decision_reply(sent, request.params["dialect"], blame)
        return reply_from_bytes(sent, blame)

    def _blame(self, model: str, status: int, error: Said) -> Fault:
        """Return the fault of an error that this endpoint sent inside a reply."""
        return fault_from_said(status, {}, error, **self._asked(model))

    def _asked(self, model: str) -> dict[str, Any]:
        """Return what a fault has to know of what was asked."""
        name = self.endpoint.api_key_env
        return {
            "origin": self.endpoint.origin,
            "model": model,
            "key_hint": f"the environment variable {name}"
            if name
            else "whether it needs api_key_env=",
            "secrets": self.secrets,
        }

    # ----------------------------------------------------------------- the provider's Batch API

    def upload(self, lines: bytes) -> str:
        """Upload a JSONL file of requests and return its id."""
        file = ("requests.jsonl", lines, "application/octet-stream")
        return str(
            self._object("POST", "files", data={"purpose": "batch"}, files={"file": file})["id"]
        )

    def create_batch(self, file_id: str) -> str:
        """Start a batch of chat requests and return its id."""
        asked = {
            "input_file_id": file_id,
            "endpoint": "/v1/chat/completions",
            "completion_window": "24h",
        }
        return str(self._object("POST", "batches", json=asked)["id"])

    def batch(self, batch_id: str) -> dict[str, Any]:
        """Return the state of a batch."""
        return self._object("GET", f"batches/{quote(batch_id, safe='')}")

    def download(self, file_id: str) -> bytes:
        """Return the content of a file."""
        return self._side("GET", f"files/{quote(file_id, safe='')}/content")

    def _object(self, method: str, path: str, **content: Any) -> dict[str, Any]:
        body = self._side(method, path, **content)
        try:
            value = json.loads(body)
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, dict) or "id" not in value:
            raise bad_reply("bad_json", f"{self.endpoint.origin} gave no object with an id")
        return value

    def _side(self, method: str, path: str, **content: Any) -> bytes:
        """Return the body of a reply; raises CallError as :meth:`complete` does."""
        deadline = time.monotonic() + 10 * self.timeout
        sent = self._send(
            method, path, deadline=deadline, model="batch", limit=MAX_FILE_BYTES, **content
        )
        if isinstance(sent, Fault):
            raise CallError(sent)
        return sent

    # ----------------------------------------------------------------------------- on the wire

    def _send(
        self,
        method: str,
        path: str,
        *,
        deadline: float,
        model: str,
        limit: int = MAX_BODY_BYTES,
        **content: Any,
    ) -> bytes | Fault:
        """Return the body of the reply to one request, or why there is none."""
        check_secrets(self.endpoint)
        client = self._get_client()
        self._clock.deadline = deadline
        try:
            url = f"{self.endpoint.address(path)}"
            with client.stream(
                method, url, headers=_headers(self.endpoint), timeout=self.timeout, **content
            ) as response:
                if 200 <= response.status_code < 300:
                    # A whole completion is an answer, whatever the number.
                    return read_body(response, limit)
                return self._refused(response, model)
        except Exception as error:
            return _fault_from_exception(error, self.endpoint.origin, self.timeout)

    def _refused(self, response: Any, model: str) -> Fault:
        self._clock.deadline = min(self._clock.deadline, time.monotonic() + ERROR_BODY_SECONDS)
        try:
            body = read_body(response, MAX_BODY_BYTES)
        except Exception:
            body = b""  # the status says enough
        return fault_from_status(
            response.status_code, response.headers, body, **self._asked(model)
        )

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

        options: dict[str, Any] = {"trust_env": True}
        if is_loopback(self.endpoint.origin):
            # No proxy of the environment stands between this machine and itself; certificates
            # that the environment trusts (SSL_CERT_FILE) still count.
            options = {"trust_env": False, "verify": ssl.create_default_context()}
        # openai 3 runs on httpx2 and openai 2 on httpx: they agree in all that is used here.
        client: Any = openai.DefaultHttpxClient(
            follow_redirects=False, timeout=self.timeout, **options
        )
        for transport in (client._transport, *client._mounts.values()):
            if transport is not None:  # None: a host that the environment exempts from proxies
                pool = transport._pool
                pool._network_backend = DeadlineBackend(pool._network_backend, self._clock)
        return client


def _headers(endpoint: Endpoint) -> dict[str, str]:
    """Return all headers that are sent but for those of the body and the connection."""
    return {
        "Accept": "application/json",
        "Accept-Encoding": "identity",
        "User-Agent": f"sklfusion/{sklfusion.__version__}",
        **secret_headers(endpoint),
    }


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
    if names & {"LocalProtocolError", "InvalidURL"}:
        return Fault("stop", "request", f"the request to {origin} cannot be formed")
    return Fault("unknown", "connection_lost", f"the connection to {origin} broke")


def _unreachable(chain: list[BaseException], origin: str) -> str:
    reason = next((str(e) for e in reversed(chain) if isinstance(e, OSError)), "") or next(
        (str(e) for e in reversed(chain) if type(e).__name__ in _NOT_SENT), ""
    )
    host = urlsplit(origin).netloc
    return f"{origin} cannot be reached ({reason[:200] or host}). Is the server running?"
