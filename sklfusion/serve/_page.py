"""The page at ``/``: four files, kept in memory, served from this address only."""

from __future__ import annotations

from importlib.resources import files

from fastapi import APIRouter, Response

page_routes = APIRouter(include_in_schema=False)

_KINDS = {
    **{"index.html": "text/html", "page.css": "text/css"},
    **{"page.js": "text/javascript", "label.js": "text/javascript"},
}
_CONTENTS = {name: files("sklfusion.serve").joinpath("page", name).read_bytes() for name in _KINDS}
#: What a browser may do with the page: nothing that comes from, or goes to, elsewhere.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def _file(name: str) -> Response:
    policy = {"Content-Security-Policy": CONTENT_SECURITY_POLICY, "Cache-Control": "no-cache"}
    return Response(_CONTENTS[name], media_type=_KINDS[name], headers=policy)


@page_routes.get("/")
async def get_page() -> Response:
    """Return the page."""
    return _file("index.html")


@page_routes.get("/page.css")
async def get_css() -> Response:
    """Return its looks."""
    return _file("page.css")


@page_routes.get("/page.js")
async def get_js() -> Response:
    """Return its deeds."""
    return _file("page.js")


@page_routes.get("/label.js")
async def get_label_js() -> Response:
    """Return the deeds of its tab for labelling."""
    return _file("label.js")
