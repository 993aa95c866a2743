"""``sklfusion cache``: the store of LLM replies."""

from pathlib import Path
from typing import Annotated

import typer

from sklfusion.cli._app import AROUND, app, command
from sklfusion.cli._screen import Screen
from sklfusion.cli._tables import check_source

_cache_app = typer.Typer(help="The store of LLM replies.", no_args_is_help=True)
app.add_typer(_cache_app, name="cache", rich_help_panel=AROUND)
_Location = Annotated[Path, typer.Argument(help="The folder given as --memory.")]


def _open_existing(location):
    """Open a store that is there; a command that only looks creates and repairs nothing."""
    from sklfusion.replies import open_store

    return open_store(location, read_only=True)


@command("info", of=_cache_app)
def cache_info(location: _Location):
    """Count replies, tokens and models."""
    with _open_existing(location) as store:
        return store.info()


@command("verify", of=_cache_app)
def cache_verify(location: _Location, screen: Screen):
    """Check every reply; exit with status 1 if something is damaged."""
    with _open_existing(location) as store:
        report = store.verify()
    screen.show(report)
    raise typer.Exit(0 if report["ok"] else 1)


@command("export", of=_cache_app)
def cache_export(
    location: _Location,
    file: Annotated[Path, typer.Argument(help="JSON lines to write.")],
    screen: Screen,
):
    """Write all replies to a file, to ship with a paper or to move elsewhere."""
    with _open_existing(location) as store:
        written = store.export(file)
    if screen.json:
        return {"replies": written, "written": file}
    screen.line(f"{written} replies written to {file}")
    return None


@command("forget", of=_cache_app)
def cache_forget(
    location: _Location,
    model: Annotated[str | None, typer.Option(help="Replies of this model.")] = None,
    status: Annotated[
        str | None,
        typer.Option(help="Unusable for this cause, as info lists them, or: unreadable."),
    ] = None,
    older_than: Annotated[
        float | None, typer.Option(min=0, help="Replies that arrived so many days ago.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Delete; else only count.")] = False,
    *,
    screen: Screen,
):
    """Delete replies to which all options apply. Without --yes nothing is deleted."""
    from sklfusion.replies import open_store

    with _open_existing(location) as store:  # which makes none
        found = store.forget(model=model, status=status, older_than=older_than)
    if yes:
        with open_store(location) as store:
            found = store.forget(model=model, status=status, older_than=older_than, dry_run=False)
    screen.show(found)
    if not yes:
        screen.line("Nothing was deleted; add --yes.")


@command("import", of=_cache_app)
def cache_import(
    location: _Location, file: Annotated[Path, typer.Argument(help="JSON lines to read.")]
):
    """Add the replies of an exported file; those already there are kept."""
    from sklfusion.replies import open_store

    check_source(file, "sklfusion cache export")  # before a store is made for nothing
    with open_store(location) as store:
        return store.import_(file)
