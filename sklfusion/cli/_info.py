"""``sklfusion info``: what a saved model holds."""

from sklfusion.cli._app import AROUND, command
from sklfusion.cli._options import ModelPath
from sklfusion.cli._tables import check_source


@command("info", panel=AROUND)
def info_command(model: ModelPath):
    """Show what a saved model holds and where it would send, without loading it."""
    from sklfusion import persistence

    check_source(model, "sklfusion fit")
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
