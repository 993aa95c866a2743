"""What a command shows: lines for people, or one JSON object for programs."""

import contextlib
import json as json_module
import logging
import math
import sys
import warnings
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from sklfusion._progress import progress_logger
from sklfusion.exceptions import SklFusionWarning

_LINE = logging.Formatter("%(asctime)s sklfusion: %(message)s", datefmt="%Y-%m-%d %H:%M:%S")


@dataclass
class Screen:
    """What ``--json`` and ``--quiet`` ask for.

    Attributes
    ----------
    kept : str or None
        Where a command that is stopped has kept what was answered.
    """

    json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object.", rich_help_panel="Output")
    ] = False
    quiet: Annotated[
        bool,
        typer.Option(
            "--quiet", "-q", help="Print no progress and no summary.", rich_help_panel="Output"
        ),
    ] = False

    def __post_init__(self):
        self.kept: Any = None

    @property
    def verbose(self):
        """The ``verbose`` of estimators: whether progress is told."""
        return 0 if self.quiet else 1

    def line(self, text):
        """Print a line for people."""
        if not (self.json or self.quiet):
            print(text)

    def rich(self, renderable):
        """Print a table of rich for people."""
        if not (self.json or self.quiet):
            from rich.console import Console

            Console(highlight=False).print(renderable)

    def show(self, found):
        """Show what a command found, a dict, as lines or as JSON; None shows nothing."""
        if found is None:
            return
        if self.json:
            sys.stdout.write(json_module.dumps(_plain(found), default=str) + "\n")
            return
        for name, value in found.items():
            for part in value if isinstance(value, list | tuple) else [value]:
                self.line(f"{name.replace('_', ' '):>18}: {_words(part)}")

    @contextlib.contextmanager
    def telling(self):
        """Put log lines and warnings on stderr, in one line each, while a command runs."""
        handler = logging.StreamHandler()
        handler.setFormatter(_LINE)
        level = progress_logger.level
        progress_logger.addHandler(handler)
        progress_logger.setLevel(logging.WARNING if self.quiet else logging.INFO)
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("always", category=SklFusionWarning)
                warnings.showwarning = _tell_warning
                yield
        finally:
            progress_logger.setLevel(level)
            progress_logger.removeHandler(handler)


def _tell_warning(message, *_, **__):
    print(f"sklfusion: warning: {message}", file=sys.stderr)


def _plain(value):
    """Return what JSON holds in the place of arrays; NaN and infinity become null."""
    if isinstance(value, dict):
        return {str(name): _plain(part) for name, part in value.items()}
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _words(value):
    if value is None:
        return "unknown"
    if isinstance(value, dict):
        return ", ".join(f"{name} {_words(part)}" for name, part in value.items()) or "none"
    return f"{value:.6g}" if isinstance(value, float) else value
