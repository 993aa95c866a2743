"""The app, and how a function becomes a command of it."""

import functools
import inspect
from dataclasses import fields, is_dataclass
from typing import Annotated, Any, get_type_hints

import typer

from sklfusion import __version__
from sklfusion.cli._ending import ended
from sklfusion.cli._options import NOTHING
from sklfusion.cli._screen import Screen

app = typer.Typer(
    help="Fuse an LLM and a transformer encoder into one text classifier.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


@app.callback(invoke_without_command=True)
def _version(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
):
    if version:
        print(__version__)
        raise typer.Exit


#: Parts of the page of all commands.
JOB, AROUND = "From a table to a model", "Around it"


def command(name, *, of=app, panel=None):
    """Return the decorator that makes a function a command.

    Parameters
    ----------
    name : str
        What is typed.
    of : Typer, default=app
        The app, or a group of it.
    panel : str, optional
        Where it stands on the page of all commands; by default with the job itself.

    Notes
    -----
    A parameter annotated by a dataclass stands for options that commands share (`_options`): each
    field is an option, and the function gets the object. Every command takes ``--json`` and
    ``--quiet``; a parameter called ``screen`` gets what they ask for. What the function returns,
    a dict, is shown as lines or as one JSON object. Errors end with the statuses of `_ending`.
    """

    def register(function):
        of.command(name, rich_help_panel=panel or (JOB if of is app else None))(_flat(function))
        return function

    return register


def _flat(function):
    """Return a function that takes the fields of its dataclasses one by one, and shows."""
    own = inspect.signature(function, eval_str=True).parameters
    groups: dict[str, Any] = {
        name: p.annotation for name, p in own.items() if is_dataclass(p.annotation)
    }
    groups["screen"] = Screen
    flat = []
    for name in dict.fromkeys([*own, "screen"]):
        if name in groups:
            flat += _options_of(groups[name])
        else:
            flat.append(own[name].replace(kind=inspect.Parameter.KEYWORD_ONLY))

    @functools.wraps(function)
    def run(**said: Any) -> None:
        made = {
            n: cls(**{f.name: said.pop(f.name) for f in fields(cls)}) for n, cls in groups.items()
        }
        screen = made["screen"] if "screen" in own else made.pop("screen")
        if "memory" in said:
            said["memory"] = None if said["memory"] == NOTHING else said["memory"]
            screen.kept = said["memory"]
        with ended(screen), screen.telling():
            screen.show(function(**said, **made))

    run.__signature__ = inspect.Signature(flat)  # type: ignore[attr-defined]
    return run


def _options_of(group):
    hints = get_type_hints(group, include_extras=True)
    return [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=field.default,
            annotation=hints[field.name],
        )
        for field in fields(group)
    ]
