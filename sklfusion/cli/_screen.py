"""What a command shows: lines for people, or one JSON object for programs."""

import json as json_module
import sys
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import typer
from rich.console import Console

#: Where people read: stdout, without colours that no terminal asked for.
console = Console(highlight=False)


@dataclass
class Screen:
    """What ``--json`` and ``--quiet`` ask for."""

    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")] = False

    @property
    def verbose(self):
        """The ``verbose`` of estimators: whether progress is told."""
        return 0 if self.quiet else 1

    def line(self, text):
        """Print a line for people."""
        if not (self.json or self.quiet):
            console.print(text, soft_wrap=True, markup=False)

    def rich(self, renderable):
        """Print a table of rich for people."""
        if not (self.json or self.quiet):
            console.print(renderable)

    def show(self, found):
        """Show what a command found, a dict; None shows nothing."""
        if found is None:
            return
        if self.json:
            sys.stdout.write(json_module.dumps(found, default=_plain, ensure_ascii=False) + "\n")
            return
        for name, value in found.items():
            for part in value if isinstance(value, list) and value else [value]:
                self.line(f"{name.replace('_', ' '):>18}: {part}")


def _plain(value):
    """Return what JSON can hold in the place of arrays, paths and the like."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    return str(value)
