"""The private parts of scikit-learn that we use: a new release of it touches this file only."""

import numbers

from sklearn.utils import _safe_indexing as safe_indexing
from sklearn.utils._param_validation import HasMethods, StrOptions
from sklearn.utils._param_validation import Interval as _Interval
from sklearn.utils._param_validation import Options as _Options
from sklearn.utils._set_output import _wrap_data_with_container as wrap_output
from sklearn.utils.metaestimators import _BaseComposition as BaseComposition
from sklearn.utils.validation import _check_sample_weight as check_sample_weight

__all__ = [
    "BaseComposition",
    "HasMethods",
    "Interval",
    "StrOptions",
    "check_parameters",
    "check_sample_weight",
    "integer",
    "one_of",
    "real",
    "safe_indexing",
    "wrap_output",
]


class Interval(_Interval):
    """An interval in which True is no number."""

    def is_satisfied_by(self, val):
        """Whether a value lies in the interval."""
        return not isinstance(val, bool) and super().is_satisfied_by(val)


def integer(low, high=None):
    """Constraint: an integer from ``low`` to ``high``, both included."""
    return Interval(numbers.Integral, low, high, closed="left" if high is None else "both")


def real(low, high=None, closed="left"):
    """Constraint: a number between two bounds; infinite ones, and None, are never reached.

    ``closed`` names the bounds that belong to the interval: "left", "right", "both", "neither".
    """
    return Interval(numbers.Real, low, high, closed=closed)


def one_of(*values):
    """Constraint: one of some values of one type, for instance False and True."""
    return _Options(type(values[0]), set(values))


def check_parameters(estimator):
    """Check the parameters of an estimator against its ``_parameter_constraints``.

    Raises
    ------
    sklearn.utils.InvalidParameterError
        A ValueError and TypeError that names the parameter, what it must be, and what it is.
    """
    estimator._validate_params()
