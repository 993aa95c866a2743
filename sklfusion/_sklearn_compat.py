"""The private parts of scikit-learn that we use: a new release of it touches this file only
(and ``_diagram``, which draws as scikit-learn does).

How parameters are checked: an estimator has a table ``_parameter_constraints`` from parameter to
what it may be (a list of constraints, made here or as scikit-learn takes them), and its ``fit``
begins with :func:`check_parameters`. What no table can say, ``fit`` checks itself.
"""

import numbers

import numpy as np
from sklearn.utils import _safe_indexing as safe_indexing
from sklearn.utils._param_validation import HasMethods, InvalidParameterError, StrOptions
from sklearn.utils._param_validation import Interval as _Interval
from sklearn.utils._param_validation import Options as _Options
from sklearn.utils._param_validation import make_constraint as _make_constraint
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
    "number",
    "one_of",
    "safe_indexing",
    "wrap_output",
]

#: Characters of a wrong value in a message.
_SHOWN_VALUE = 200


class Interval(_Interval):
    """An interval in which True is no number."""

    def is_satisfied_by(self, val):
        """Whether a value lies in the interval."""
        return not isinstance(val, bool) and super().is_satisfied_by(val)

    def __str__(self):
        return super().__str__().replace("a float in", "a number in")


class _OneOf(_Options):
    """Some values of any type, told in the order in which they were given."""

    def __init__(self, values):
        super().__init__(object, set(values))
        self.values = values

    def is_satisfied_by(self, val):
        """Whether a value is one of them; 1 is not True."""
        val = bool(val) if isinstance(val, np.bool_) else val
        return any(isinstance(val, type(own)) and val == own for own in self.values)

    def __str__(self):
        return " or ".join(map(repr, self.values))


def one_of(*values):
    """Constraint: one of some values, for instance ``one_of("auto", True, False)``."""
    return _OneOf(values)


def integer(low, high=None):
    """Constraint: an integer from ``low`` to ``high``, both included."""
    return Interval(numbers.Integral, low, high, closed="left" if high is None else "both")


def number(low=None, high=None, closed=None):
    """Constraint: a finite number between two bounds, of which None is none.

    ``closed`` names the bounds that belong to the interval: "left", "right", "both", "neither";
    by default those that are given.
    """
    if closed is None:
        closed = {(0, 0): "both", (0, 1): "left", (1, 0): "right", (1, 1): "neither"}[
            low is None, high is None
        ]
    return Interval(numbers.Real, low, high, closed=closed)


def check_parameters(estimator):
    """Check the parameters of an estimator against its ``_parameter_constraints``.

    Raises
    ------
    InvalidParameterError
        A ValueError and TypeError that says what arrived and what was wanted.
    """
    given = estimator.get_params(deep=False)
    for name, wanted in estimator._parameter_constraints.items():
        constraints = [_make_constraint(constraint) for constraint in wanted]
        if any(constraint.is_satisfied_by(given[name]) for constraint in constraints):
            continue
        shown = " or ".join(str(c) for c in constraints if not c.hidden)
        raise InvalidParameterError(
            f"{type(estimator).__name__} got {name}={repr(given[name])[:_SHOWN_VALUE]}; "
            f"it must be {shown}."
        )
