"""How a command ends: its status, and what is told when it was stopped.

0: done. 1: an error of the user or of the data. 2: a wrong command or option. 3: stopped with what
was answered kept: the same command again goes on from there and pays nothing twice.
"""

import contextlib
import os
import sys

import typer

from sklfusion.exceptions import (
    AuthenticationError,
    BudgetExceededError,
    EndpointError,
    ModelNotFoundError,
    SklFusionError,
    StorageError,
)

FAILED, STOPPED = 1, 3
#: What a later run can go on from, and what has to be put right first.
_RESUMABLE = (BudgetExceededError, EndpointError, StorageError)
_TO_BE_CORRECTED = (AuthenticationError, ModelNotFoundError)
#: Set to anything, it shows the traceback of errors that are none of ours.
_DEBUG = "SKLFUSION_DEBUG"


@contextlib.contextmanager
def ended(screen):
    """Tell errors in one line instead of a traceback, and end with the status that fits."""
    try:
        yield
    except BrokenPipeError:
        raise  # of `| head`, which typer ends quietly
    except (SklFusionError, ValueError, TypeError, ImportError, OSError, MemoryError) as error:
        if not isinstance(error, SklFusionError) and _DEBUG in os.environ:
            raise
        later = isinstance(error, _RESUMABLE) and not isinstance(error, _TO_BE_CORRECTED)
        _leave(screen, str(error) or type(error).__name__, stopped=later)
    except (KeyboardInterrupt, SystemExit):
        _leave(screen, "Interrupted.", stopped=True)


def _leave(screen, said, *, stopped):
    status = FAILED
    if stopped and screen.kept:
        status = STOPPED
        said += (
            f" What was answered is kept in {screen.kept}: the same command again goes on from "
            "there and pays nothing twice."
        )
    elif stopped:
        said += " Nothing was kept; with --memory FOLDER the same command could go on."
    print(f"sklfusion: {said}", file=sys.stderr)
    if screen.json:
        screen.show({"error": said, "status": status})
    raise typer.Exit(status)
