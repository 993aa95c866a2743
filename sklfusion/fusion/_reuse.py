"""Fits that are asked for again on the same numbers, as a grid search does, are made once."""

from collections import OrderedDict
from dataclasses import fields, replace

import joblib
import numpy as np

from sklfusion._fork import ForkLock
from sklfusion.fusion._problem import Problem

#: Bytes that are kept per process: the folds of a search on 4,000 rows of 77 classes take 40 MiB.
MOST_BYTES = 64 * 2**20
#: What an entry counts at least, so that their number is bounded as well.
_LEAST_BYTES = 2**16

_lock = ForkLock()
_kept: OrderedDict = OrderedDict()  # digest of the arguments -> what was found, oldest use first


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
    with _lock:
        if key in _kept:
            _kept.move_to_end(key)
            return _kept[key]
    found = _frozen(fit(*arguments))
    with _lock:
        _kept[key] = found
        while sum(map(_n_bytes, _kept.values())) > MOST_BYTES:
            _kept.popitem(last=False)
    return found


def forget_fits():
    """Make all fits anew from here on, for who measures them or changes their constants."""
    with _lock:
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
