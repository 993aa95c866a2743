"""Break a call off at a chosen point, as Ctrl-C would."""

import sys
import warnings


def interrupted(call, point, error=KeyboardInterrupt):
    """Raise ``error`` at the ``point``-th call inside sklfusion; tell whether it came."""

    def reached(number):
        if number == point:
            raise error

    try:
        _watched(call, reached)
    except error:
        return True
    return False


def calls_of(call):
    """Count the calls of functions of sklfusion that a call makes in this thread."""
    return _watched(call, lambda number: None)


def _watched(call, reached):
    seen = 0

    def watch(frame, event, argument):
        nonlocal seen
        code = frame.f_code
        # an error in a generator that is being closed would be lost
        if event == "call" and "sklfusion" in code.co_filename and code.co_name[0] != "<":
            seen += 1
            reached(seen)

    sys.setprofile(watch)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            call()
    finally:
        sys.setprofile(None)
    return seen
