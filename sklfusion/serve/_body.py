"""The body of a request: bounded in size, time and depth, and JSON to the letter."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute

from sklfusion.serve._errors import Refusal

#: Deepest nesting of arrays and objects that is read; the formats need six.
DEEPEST_BODY = 64
#: How much of a body that is too long is read and thrown away, in units of the limit: a client
#: that is still sending would not see the answer.
_THROWN_AWAY = 20


class BoundedRequest(Request):
    """A request whose body is read once, within the limits of the service."""

    async def body(self) -> bytes:
        """Return the body; raises `Refusal` where it is too long or too slow."""
        if not hasattr(self, "_whole"):
            settings = self.app.state.service.settings
            try:
                reading = _read_whole(self, settings.max_body)
                self._whole = await asyncio.wait_for(reading, settings.timeout)
            except TimeoutError:
                raise Refusal(408, "The body did not arrive in time.", "timeout") from None
        return self._whole

    async def json(self) -> Any:
        """Return the body as plain values; raises `Refusal` where it is not strict JSON."""
        if not hasattr(self, "_parsed"):
            self._parsed = parse_strict(await self.body())
        return self._parsed


class BoundedRoute(APIRoute):
    """A route that reads and checks the body before anything else looks at it."""

    def get_route_handler(self) -> Callable[..., Any]:
        """Return the handler of the route."""
        handler = super().get_route_handler()

        async def bounded(request: Request) -> Response:
            request = BoundedRequest(request.scope, request.receive)
            if request.method == "POST":
                _check_media_type(request.headers.get("content-type", ""))
                await request.json()
            return await handler(request)

        return bounded


def _check_media_type(said: str) -> None:
    """Refuse what a foreign page in a browser could send without being asked for leave."""
    media = said.split(";")[0].strip().lower()
    if media != "application/json" and not media.endswith("+json"):
        message = f"Send the body as Content-Type: application/json; got {media[:60]!r}."
        raise Refusal(415, message, "media_type")


async def _read_whole(request: Request, limit: int) -> bytes:
    parts: list[bytes] = []
    length = 0
    async for part in request.stream():
        length += len(part)
        if length <= limit:
            parts.append(part)
        elif length > _THROWN_AWAY * limit:
            break
    if length > limit:
        raise Refusal(413, f"The body is longer than {limit} bytes; send less.", "too_large")
    return b"".join(parts)


def _refuse_nan(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def parse_strict(body: bytes) -> Any:
    """Return the value of a JSON body.

    Raises
    ------
    Refusal
        If it is not JSON in UTF-8, holds NaN or half a character, or nests too deep.

    Examples
    --------
    >>> parse_strict(b'{"texts": ["a"]}')
    {'texts': ['a']}
    >>> parse_strict(b'[NaN]')
    Traceback (most recent call last):
        ...
    sklfusion.serve._errors.Refusal: (400, 'The body is not JSON: NaN is not JSON.', ...
    """
    try:
        value = json.loads(body.decode("utf-8"), parse_constant=_refuse_nan)
    except UnicodeDecodeError:
        raise Refusal(400, "The body is not UTF-8.", "not_json") from None
    except json.JSONDecodeError as error:
        told = f"The body is not JSON: {error.msg} at character {error.pos}."
        raise Refusal(400, told, "not_json") from None
    except ValueError as error:  # a number of thousands of digits, or NaN
        word = str(error) if "is not JSON" in str(error) else "a number is too long"
        raise Refusal(400, f"The body is not JSON: {word}.", "not_json") from None
    except RecursionError:
        raise _too_deep() from None
    _check_values(value)
    return value


def _too_deep() -> Refusal:
    return Refusal(400, f"The body nests deeper than {DEEPEST_BODY} levels.", "too_deep")


def _check_values(value: Any) -> None:
    """Walk the tree without recursion: how deep it is, and whether its texts are whole."""
    todo = [(value, 1)]
    while todo:
        item, depth = todo.pop()
        if depth > DEEPEST_BODY:
            raise _too_deep()
        if isinstance(item, dict):
            todo += [(key, depth) for key in item]
            todo += [(part, depth + 1) for part in item.values()]
        elif isinstance(item, list):
            todo += [(part, depth + 1) for part in item]
        elif isinstance(item, str) and not _is_whole(item):
            raise Refusal(400, "A text holds half a character (a lone surrogate).", "not_json")
        elif isinstance(item, float) and item in (float("inf"), float("-inf")):
            raise Refusal(400, "A number is larger than any number.", "not_json")


def _is_whole(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
