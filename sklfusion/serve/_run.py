"""The process: a saved model, a port, signals, and the last line."""

from __future__ import annotations

import contextlib
import errno
import gc
import logging
import signal
import socket
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import uvicorn

from sklfusion.exceptions import ScoringWarning, SklFusionError
from sklfusion.labelling import LabelDesk
from sklfusion.persistence import load
from sklfusion.serve._app import create_app
from sklfusion.serve._settings import LOOPBACK, ServiceSettings

#: Connections that wait for the process to take them.
_BACKLOG = 2048


def serve_file(
    path: str | Path | None,
    settings: ServiceSettings,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    endpoints: Any = (),
    memory: Any = None,
    prepare: Callable[[Any], Any] | None = None,
    desk: Callable[[Any], LabelDesk] | None = None,
    echo: Callable[[str], None] = print,
) -> None:
    """Serve a saved model until SIGTERM or Ctrl-C; every request taken by then is answered.

    Parameters
    ----------
    path : str or Path or None
        What :func:`sklfusion.persistence.save` wrote; None with a desk only.
    settings : ServiceSettings
        Where ``hosts`` is None and ``host`` is a loopback address, only those are answered.
    host, port : str, int
        Where to listen. Port 0 takes any free one.
    endpoints : sequence of str, optional
        As for :func:`sklfusion.persistence.load`.
    memory : None, str or joblib.Memory, optional
        As for :func:`sklfusion.persistence.load`.
    prepare : callable, optional
        Gets the model when it is loaded and returns it, such as with a budget.
    desk : callable, optional
        Gets the model, or None, and returns the desk at which texts are labelled.
    echo : callable
        Told the address, once it is listened at.

    Raises
    ------
    SklFusionError
        If the port cannot be had, or the file not be loaded.

    See Also
    --------
    create_app : The application alone, for another server.
    sklfusion.persistence.save : Writes the file.

    Examples
    --------
    >>> from sklfusion.serve import ServiceSettings, serve_file
    >>> serve_file("model.sklf", ServiceSettings())  # doctest: +SKIP
    """
    listening = _listen(host, port)
    with listening:
        model = None if path is None else load(path, endpoints=endpoints, memory=memory)
        if model is not None and prepare is not None:
            model = prepare(model)
        if settings.hosts is None and host in LOOPBACK:
            settings = replace(settings, hosts=LOOPBACK)
        app = create_app(model, settings, None if desk is None else desk(model))
        listening.listen(_BACKLOG)
        address = listening.getsockname()
        shown = f"[{address[0]}]" if ":" in address[0] else address[0]
        echo(f"{settings.name} is served at http://{shown}:{address[1]} (stop it with Ctrl-C)")
        # They quote endpoints, which may quote texts; the counters tell of missing answers.
        warnings.filterwarnings("ignore", category=ScoringWarning)
        # Its own log would hold tracebacks, whose last lines may quote texts.
        logging.getLogger("uvicorn.error").addFilter(_without_traceback)
        # What the libraries have made stays; looking through it again would stop all requests.
        gc.collect()
        gc.freeze()
        config = uvicorn.Config(
            app, log_config=None, access_log=False, server_header=False, http="h11", ws="none",
            proxy_headers=False, lifespan="on",
        )  # fmt: skip
        _Server(config).run(sockets=[listening])


class _Server(uvicorn.Server):
    """Ends with status 0 after a signal that it obeyed; uvicorn would raise it again."""

    @contextlib.contextmanager
    def capture_signals(self):
        """Take SIGTERM and SIGINT while the service runs."""
        numbers = (signal.SIGTERM, signal.SIGINT)
        before = [(number, signal.signal(number, self.handle_exit)) for number in numbers]
        try:
            yield
        finally:
            for number, handler in before:
                signal.signal(number, handler)


def _without_traceback(record: logging.LogRecord) -> bool:
    record.exc_info = record.exc_text = None
    return True


def _listen(host: str, port: int) -> socket.socket:
    """Return a bound socket; it takes no connection before the model is there."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((host, port))
    except OSError as error:
        made.close()
        if error.errno == errno.EADDRINUSE:
            told = f"Port {port} of {host} is in use; stop what runs there, or take --port."
        else:
            told = f"Cannot listen at {host}:{port} ({error.strerror or error})."
        raise SklFusionError(told) from None
    return made
