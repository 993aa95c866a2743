"""Fits that are asked for again on the same numbers, as a grid search does, are made once."""

import contextlib
from collections import OrderedDict
from dataclasses import fields, replace

import joblib
import numpy as np

from sklfusion.fusion._problem import Problem

#: Bytes that are kept per process: the folds of a search on 4,000 rows of 77 classes take 40 MiB.
MOST_BYTES = 64 * 2**20
#: What an entry counts at least, so that their number is bounded as well.
_LEAST_BYTES = 2**16

#: Digest of the arguments -> what was found, oldest use first. Without a lock: each step on it is
#: one that threads cannot split, and a lock that Ctrl-C leaves held would hold up every later fit.
_kept: OrderedDict = OrderedDict()


def reused_fit(fit, *arguments):
    """``fit(*arguments)``, or what the same numbers gave before in this process.

    Parameters
    ----------
    fit : callable
        Draws nothing, changes nothing, and returns a dataclass of numbers, None and arrays.
    *arguments : Problem, ndarray, str or None
        All that its answer depends on.

    Returns
    -------
    dataclass
        With arrays that cannot be written, since others may hold them.

    Notes
    -----
    The digest of the arguments is the key, so nothing has to be told what has changed. Cost: one
    pass over the arguments, about a second per gigabyte.
    """
    key = joblib.hash((fit.__qualname__, *map(_key_part, arguments)), hash_name="sha1")
    found = _kept.get(key)
    if found is None:
        found = _kept[key] = _frozen(fit(*arguments))
        _forget_oldest()
    with contextlib.suppress(KeyError):  # another thread may have made it go
        _kept.move_to_end(key)
    return found


def _forget_oldest():
    while sum(map(_n_bytes, list(_kept.values()))) > MOST_BYTES:
        with contextlib.suppress(KeyError):  # another thread may have emptied it
            _kept.popitem(last=False)


def forget_fits():
    """Make all fits anew from here on, for who measures them or changes their constants."""
    _kept.clear()


def _key_part(value):
    """What an argument says; a problem also holds what it has worked out on the way."""
    if isinstance(value, Problem):
        told = [field.name for field in fields(Problem)]
        return [getattr(value, name) for name in (*told, "log_prior")]
    return value


def _frozen(found):
    """The same with arrays of its own, which keep nothing larger alive."""
    own = {name: v.copy() for name, v in vars(found).items() if isinstance(v, np.ndarray)}
    for array in own.values():
        array.flags.writeable = False
    return replace(found, **own)


def _n_bytes(found):
    return max(_LEAST_BYTES, sum(getattr(v, "nbytes", 0) for v in vars(found).values()))
