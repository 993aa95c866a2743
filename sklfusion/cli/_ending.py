"""How a command ends: its status, and what is told when it was stopped.

0: done. 1: an error of the user or of the data. 2: a wrong command or option. 3: stopped with what
was done saved: the same command again goes on and pays nothing twice.
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
)

FAILED, STOPPED = 1, 3
#: What a later run can go on from; a refused key or an unknown model has to be put right first.
_RESUMABLE = (BudgetExceededError, EndpointError, KeyboardInterrupt, SystemExit)
_TO_BE_CORRECTED = (AuthenticationError, ModelNotFoundError)


@contextlib.contextmanager
def ended(screen):
    """Tell errors in one line instead of a traceback, and end with the status that fits."""
    try:
        yield
    except (typer.Exit, typer.Abort):
        raise
    except (SklFusionError, ValueError, TypeError, ImportError, OSError) as error:
        if not isinstance(error, SklFusionError) and "SKLFUSION_DEBUG" in os.environ:
            raise
        later = isinstance(error, _RESUMABLE) and not isinstance(error, _TO_BE_CORRECTED)
        _leave(screen, str(error), STOPPED if later else FAILED)
    except (KeyboardInterrupt, SystemExit):
        _leave(screen, "interrupted.", STOPPED)


def _leave(screen, said, status):
    if status == STOPPED:
        said += " What was answered before is kept; the same command again goes on from there."
    print(f"sklfusion: {said}", file=sys.stderr)
    if screen.json:
        screen.show({"error": said, "status": status})
    raise typer.Exit(status)
