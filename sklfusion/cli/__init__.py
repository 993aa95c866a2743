"""The command line: one file per command, all on one app."""

import sys
from importlib import import_module

#: The files of the commands, in the order of the help page.
COMMANDS = (
    *("_estimate", "_score", "_acquire", "_fit", "_evaluate", "_predict", "_serve"),
    *("_info", "_cache", "_models", "_demo_command"),
)


def load_app():
    """Return the app with all commands.

    Raises
    ------
    ImportError
        If the extra ``cli`` is not installed.
    """
    for name in COMMANDS:
        import_module(f"sklfusion.cli.{name}")
    return import_module("sklfusion.cli._app").app


def main():
    """Run the command line and end the process with its status."""
    try:
        import rich
        import typer
    except ImportError:
        print(
            "The command line needs typer and rich. "
            'Install them with: pip install "sklfusion[cli]"',
            file=sys.stderr,
        )
        return 1
    del rich, typer
    from sklfusion.cli._argv import refuse_pasted_keys

    refuse_pasted_keys(sys.argv[1:])
    return load_app()()
