"""``sklfusion info``: what a saved model holds."""

from typing import Annotated

import typer

from sklfusion.cli._app import AROUND, command
from sklfusion.cli._options import ModelPath
from sklfusion.cli._tables import check_source


@command("info", panel=AROUND)
def info_command(
    model: ModelPath,
    card: Annotated[
        bool, typer.Option("--card", help="Print a model card in Markdown; loads the model.")
    ] = False,
):
    """Show what a saved model holds and where it would send, without loading it."""
    from sklfusion import persistence

    check_source(model, "sklfusion fit")
    if card:
        print(persistence.model_card(model), end="")
        return None
    told = persistence.info(model)
    unknown = told["unknown_types"]
    places = told["endpoints"]
    refused = " (refused unless named with --endpoint)"
    return {
        "format": told["format"],
        "bytes": told["bytes"],
        **told["versions"],
        "type": [kind for kind in told["types"] if kind not in unknown],
        "unknown type": unknown,
        "sends to": [p["address"] + ("" if p["allowed"] else refused) for p in places],
        "with variable": [name for place in places for name in place["variables"]],
        "memory": told["memory"],
    }
