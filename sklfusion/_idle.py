"""Parameters that change nothing, told instead of dropped in silence."""

import inspect
import warnings

import numpy as np

from sklfusion.exceptions import DataWarning


def warn_without_effect(caller, names, why):
    """Warn that parameters change nothing.

    Parameters
    ----------
    caller : str
        Name of the estimator.
    names : sequence of str
        Its parameters.
    why : str
        The reason, as a main clause.
    """
    verb = "has" if len(names) == 1 else "have"
    warnings.warn(
        f"{caller}: {', '.join(names)} {verb} no effect: {why}.", DataWarning, stacklevel=5
    )


def warn_if_set(estimator, names, why):
    """Warn of those of the named parameters that differ from the default of their class."""
    signature = inspect.signature(type(estimator).__init__).parameters
    idle = [
        name for name in names if not _equal(getattr(estimator, name), signature[name].default)
    ]
    if idle:
        warn_without_effect(type(estimator).__name__, idle, why)


def _equal(value, default):
    if value is default or type(value) is type(default) is str:
        return value == default
    try:
        return bool(np.array_equal(np.atleast_1d(value), np.atleast_1d(default)))
    except (TypeError, ValueError):
        return False
