"""FaultServer: the loopback endpoint as a process, driven from a test."""

from __future__ import annotations

import http.client
import json
import os
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any

import sklfusion


class LedgerView:
    """What the endpoint has seen since its last reset.

    Parameters
    ----------
    value : dict
        What the endpoint tells.

    Attributes
    ----------
    received, billed, delivered, usable : int
        Requests; those charged for; those whose reply was written whole to a connection that was
        not broken since; and of these, those that hold a whole completion.
    distinct : int
        Different texts.
    injected : dict
        Faults by kind.
    injected_billed : int
        Requests charged for whose reply the server cut or garbled.
    avoidable, unavoidable : int
        Requests charged for although an equal one had been; with and without a usable reply
        delivered before.
    in_flight, peak_in_flight, connections : int
        Now, at most, and in all.
    prompt_tokens, completion_tokens : int
        Charged for.
    header_names : list of str
        Names of all request headers seen (values are not kept).
    header_sha256 : dict
        Per name of a header the digests of its values.
    paths : list of str
        Paths asked for, with their queries.
    texts : dict
        Per digest of a text: ``received``, ``billed``, ``delivered``, ``usable``, ``faults`` and
        ``at`` (seconds since the reset).
    events, bodies : list
        Every request, and every body if ``keep_bodies`` was set; with ``ledger(events=True)``.

    See Also
    --------
    FaultServer.ledger : Makes one.

    Examples
    --------
    >>> from sklfusion.testing import FaultServer
    >>> with FaultServer() as server:
    ...     print(server.ledger().billed)
    0
    """

    def __init__(self, value: dict[str, Any]) -> None:
        self.events: list[dict[str, Any]] = []
        self.bodies: list[dict[str, Any]] = []
        self.__dict__.update(value)

    def __repr__(self) -> str:
        shown = ("received", "billed", "usable", "distinct", "avoidable", "unavoidable")
        return f"LedgerView({', '.join(f'{k}={getattr(self, k)}' for k in shown)})"


class FaultServer:
    """The loopback endpoint of :mod:`sklfusion.testing.server`, in a process of its own.

    Parameters
    ----------
    seed : int
        Of the faults: a text fails the same way whatever the order of requests.
    profile : str
        "none", "free20" (faults that cost nothing), "mixed10", "mixed20", "mixed50".
    latency_ms : float
        Before every answer.
    port : int
        0 takes any free one.
    certfile, keyfile : path, optional
        Serve TLS.

    Attributes
    ----------
    origin, base_url : str
        ``http://127.0.0.1:PORT`` and the same with ``/v1``.

    See Also
    --------
    LedgerView : What it has seen.
    expected_billed : What it will have billed.

    Examples
    --------
    >>> from sklfusion.testing import FaultServer
    >>> with FaultServer() as server:
    ...     server.ledger().received
    0
    """

    def __init__(
        self,
        *,
        seed: int = 0,
        profile: str = "none",
        latency_ms: float = 0.0,
        port: int = 0,
        certfile: str | os.PathLike[str] | None = None,
        keyfile: str | os.PathLike[str] | None = None,
    ) -> None:
        self.settings = {"seed": seed, "profile": profile, "latency_ms": latency_ms}
        self.port = port
        self.certfile = certfile
        self.keyfile = keyfile
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> FaultServer:
        """Start the process; returns when it accepts connections.

        Returns
        -------
        self
            Running.
        """
        command = [sys.executable, "-m", "sklfusion.testing.server", "--port", str(self.port)]
        for name, value in self.settings.items():
            command += [f"--{name.replace('_', '-')}", str(value)]
        if self.certfile is not None:
            command += ["--certfile", str(self.certfile), "--keyfile", str(self.keyfile)]
        root = str(Path(sklfusion.__file__).parents[1])
        path = os.pathsep.join(p for p in (root, os.environ.get("PYTHONPATH")) if p)
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": path}
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"the server ended at once with {self.process.wait()}")
        self.port = json.loads(line)["port"]
        return self

    def stop(self) -> None:
        """End the process."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            assert self.process.stdout is not None
            self.process.stdout.close()
            self.process = None

    def __enter__(self) -> FaultServer:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def origin(self) -> str:
        """Scheme, host and port."""
        return f"http{'s' if self.certfile else ''}://127.0.0.1:{self.port}"

    @property
    def base_url(self) -> str:
        """What to pass as ``base_url``."""
        return f"{self.origin}/v1"

    def ledger(self, *, events: bool = False) -> LedgerView:
        """Return what the endpoint has seen since the last reset.

        Parameters
        ----------
        events : bool, default=False
            Whether to tell every request too.

        Returns
        -------
        LedgerView
            The counts of now.
        """
        return LedgerView(self._ask("GET", f"/__ledger__{'?events=1' if events else ''}"))

    def reset(self, **settings: Any) -> None:
        """Begin a new ledger, with the settings of the start except those given.

        Parameters
        ----------
        **settings
            Fields of :class:`sklfusion.testing._script.ServerSettings`: ``seed``, ``profile``,
            ``latency_ms``, ``script``, ``keep_bodies``, ``limit_rps``, ``storms``, ``key_sha256``,
            ``batch``, ``decisions``, ``limits``, ``chat``.
        """
        self._ask("POST", "/__reset__", {**self.settings, **settings})

    def script(self, *rules: dict[str, Any]) -> None:
        """Set the rules that go before the profile.

        Parameters
        ----------
        *rules : dict
            ``{"fault": {"kind": "status", "status": 429}, "attempts": [1], "contains": "text"}``;
            see :class:`sklfusion.testing._script.ServerSettings`.
        """
        self._ask("POST", "/__script__", list(rules))

    def outage(self, seconds: float) -> None:
        """Reset all connections and refuse new ones for a while, as a restart does.

        Parameters
        ----------
        seconds : float
            How long.
        """
        self._ask("POST", "/__outage__", {"seconds": seconds})

    def _ask(self, method: str, path: str, value: Any = None) -> Any:
        # http.client knows no proxies, so this never leaves the machine.
        if self.certfile is not None:
            context = ssl._create_unverified_context()  # our own process, and only its ledger
            connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                "127.0.0.1", self.port, timeout=30, context=context
            )
        else:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            body = None if value is None else json.dumps(value)
            connection.request(method, path, body)
            response = connection.getresponse()
            said = json.loads(response.read())
        finally:
            connection.close()
        if response.status != 200:
            raise ValueError(said["error"]["message"])
        return said
