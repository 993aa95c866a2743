"""Before and after every route: hosts, tokens, headers, counts, and errors that nobody foresaw."""

from __future__ import annotations

import hmac
from time import perf_counter
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse

from sklfusion.serve._batcher import where_raised
from sklfusion.serve._errors import Refusal, body_at, status_at
from sklfusion.serve._service import Service
from sklfusion.serve._settings import LOGGER

#: What anyone may have without a token: the page (which asks for one) and the signs of life.
OPEN_PATHS = {"/", "/page.css", "/page.js", "/label.js", "/health", "/ready"}
#: Routes that are counted by name; all other paths are one.
_COUNTED = {
    *OPEN_PATHS, "/predict", "/v1/decisions", "/v1/systemone", "/v1/models", "/metrics",
    "/openapi.json", "/label", "/label/answer", "/label/skip", "/label/undo", "/label/class",
    "/label/refit", "/label/labels.csv", "/label/tasks.json", "/label/tasks",
}  # fmt: skip
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def refusal(path: str, refused: Refusal) -> JSONResponse:
    """Return a refusal as the reply of a route."""
    status = status_at(path, refused)
    return JSONResponse(body_at(path, refused), status, headers=refused.headers)


class Door:
    """ASGI middleware around the whole service.

    Parameters
    ----------
    app : ASGI application
    service : Service
    """

    def __init__(self, app: Any, service: Service) -> None:
        self.app, self.service = app, service

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Let a request in, and its reply out."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        path, metrics = scope["path"], self.service.metrics
        route = path if path in _COUNTED else "other"
        start, status = perf_counter(), 0

        async def send_out(message: Any) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        metrics.accepted += 1
        metrics.in_flight.inc()
        try:
            await self._inside(scope, receive, send_out, path, lambda: status)
        finally:
            metrics.in_flight.dec()
            metrics.answered += status != 0
            metrics.requests.labels(route, str(status)).inc()
            metrics.seconds.labels(route).observe(perf_counter() - start)
            seconds = perf_counter() - start
            LOGGER.info("%s %s %d %.0f ms", scope["method"], route, status, 1000 * seconds)

    async def _inside(self, scope, receive, send, path, status):
        try:
            self._check(path, Headers(scope=scope))
            await self.app(scope, receive, send)
        except Refusal as refused:
            await refusal(path, refused)(scope, receive, send)
        except Exception as error:
            LOGGER.error(
                "%s failed: %s", path if path in _COUNTED else "other", where_raised(error)
            )
            if not status():
                broken = Refusal(500, "The service failed on this request.", "failed")
                await refusal(path, broken)(scope, receive, send)

    def _check(self, path: str, headers: Headers) -> None:
        settings = self.service.settings
        if settings.hosts is not None and _host(headers.get("host", "")) not in settings.hosts:
            told = "This host name is not served here; name it with --allowed-host."
            raise Refusal(421, told, "host")
        if settings.token_env is None or path in OPEN_PATHS:
            return
        scheme, _, shown = headers.get("authorization", "").partition(" ")
        wanted = settings.token() or ""
        right = hmac.compare_digest(shown.strip().encode(), wanted.encode())
        if scheme.lower() != "bearer" or not right or not wanted:
            told = "Show the token of this service: Authorization: Bearer TOKEN."
            raise Refusal(401, told, "token", headers={"WWW-Authenticate": "Bearer"})


def _host(said: str) -> str:
    """Return a Host header without its port."""
    if said.startswith("["):
        return said[1:].partition("]")[0]
    return said.rpartition(":")[0].lower() if ":" in said else said.lower()
