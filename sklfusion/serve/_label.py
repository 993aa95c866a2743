"""``/label``: the next text to label, answers, the model, files in and out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Body, Request, Response
from pydantic import BaseModel, Field

from sklfusion.exceptions import StorageError
from sklfusion.labelling import LabelDesk
from sklfusion.serve._body import BoundedRoute
from sklfusion.serve._errors import Refusal

label_routes = APIRouter(route_class=BoundedRoute, prefix="/label")


class AnswerBody(BaseModel):
    """The labels of a text of the pool."""

    row: int = Field(description="Its place in the pool.")
    labels: list[str] = Field(description="One class; any number where a text can have several.")


class RowBody(BaseModel):
    """A text of the pool."""

    row: int


class ClassBody(BaseModel):
    """A class to add."""

    name: str


class NothingBody(BaseModel):
    """An empty object."""


def _desk_of(request: Request) -> LabelDesk:
    desk = request.app.state.service.desk
    if desk is None:
        raise Refusal(404, "Nothing is labelled here; start with --label POOL.", "no_pool")
    return desk


async def _at_desk(work: Callable[[], Any]) -> Any:
    """Do something that may write to the disk, while other requests go on."""
    try:
        return await asyncio.to_thread(work)
    except StorageError as error:
        raise Refusal(507, str(error), "not_saved") from None
    except ValueError as error:
        raise Refusal(422, str(error), "not_taken") from None


@label_routes.get("")
async def get_label(request: Request) -> dict[str, Any]:
    """Tell the text to label next, the classes, and how far it is."""
    return await _at_desk(_desk_of(request).view)


async def _changed(request: Request, change: Callable[[LabelDesk], Any]) -> dict[str, Any]:
    """Change something; return what is to be seen then."""
    desk = _desk_of(request)

    def work() -> dict[str, Any]:
        change(desk)
        return desk.view()

    return await _at_desk(work)


@label_routes.post("/answer")
async def post_answer(body: AnswerBody, request: Request) -> dict[str, Any]:
    """Keep the labels of a text; when this is answered they are on the disk."""
    return await _changed(request, lambda desk: desk.answer(body.row, body.labels))


@label_routes.post("/skip")
async def post_skip(body: RowBody, request: Request) -> dict[str, Any]:
    """Leave a text out."""
    return await _changed(request, lambda desk: desk.skip(body.row))


@label_routes.post("/undo")
async def post_undo(body: NothingBody, request: Request) -> dict[str, Any]:
    """Ask again about the last text."""
    return await _changed(request, lambda desk: desk.undo())


@label_routes.post("/class")
async def post_class(body: ClassBody, request: Request) -> dict[str, Any]:
    """Add a class."""
    return await _changed(request, lambda desk: desk.add_class(body.name))


@label_routes.post("/refit")
async def post_refit(body: NothingBody, request: Request) -> dict[str, Any]:
    """Begin to fit the model on the labels; ``model`` in the reply tells how it goes."""
    service = request.app.state.service
    return await _changed(request, lambda desk: desk.refit(then=service.adopt))


@label_routes.get("/labels.csv")
async def get_csv(request: Request, excel_safe: bool = False) -> Response:
    """Return the labelled rows as CSV; on demand with an apostrophe before formulas."""
    said = await _at_desk(partial(_desk_of(request).to_csv, excel_safe=excel_safe))
    # Half a UTF-16 pair, which a column beside the texts may hold, has no place in UTF-8.
    return Response(said.encode("utf-8", "replace"), media_type="text/csv")


@label_routes.get("/tasks.json")
async def get_tasks(request: Request) -> list[dict[str, Any]]:
    """Return the labelled and skipped rows as tasks of Label Studio."""
    return await _at_desk(_desk_of(request).to_tasks)


@label_routes.post("/tasks")
async def post_tasks(tasks: Annotated[list[Any], Body()], request: Request) -> dict[str, int]:
    """Take annotations and predictions out of tasks of Label Studio."""
    desk = _desk_of(request)
    return await _at_desk(lambda: desk.add_tasks(tasks))
