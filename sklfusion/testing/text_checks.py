"""The estimator checks of scikit-learn, said again for estimators that take texts.

scikit-learn's ``check_estimator`` feeds numbers, so for an estimator whose tags say "strings" it
runs a single check. These 32 do for texts what the others do for numbers. They suit transformers
(``transform``) and classifiers (``predict``, ``predict_proba``), and need nothing of sklfusion::

    from sklfusion.testing import iter_text_checks

    @pytest.mark.parametrize(
        ("name", "check"), list(iter_text_checks(MyEncoder())), ids=lambda value: str(value)[:40]
    )
    def test_text_contract(name, check):
        check()
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

# The checks register themselves as they are imported.
from sklfusion.testing import _checks_data as _checks_data
from sklfusion.testing import _checks_interface as _checks_interface
from sklfusion.testing._case import CHECKS, Case

TEXTS = (
    "The match was won by sport lovers from the north",
    "A new food market opened beside the river",
    "sport: the team lost again, 2:3",
    "Bread is the food that nobody tires of",
    "In sport the second place is soon forgotten",
    "food for thought, and thought for food",
    "Runners train for the sport event in May",
    "The cook says that slow food tastes better",
)
LABELS = ("sport", "food") * 4


def _checks() -> list[tuple[str, Callable[[Case], None]]]:
    return [(f"{number:02d} {name}", check) for number, (name, check) in sorted(CHECKS.items())]


#: Number of checks. A suite that runs fewer has lost some.
N_TEXT_CHECKS = 32


def iter_text_checks(
    estimator: Any,
    *,
    texts: Sequence[str] | None = None,
    y: Any = None,
    tolerance: float = 1e-4,
) -> Iterator[tuple[str, Callable[[], None]]]:
    """Yield (name, check) for every check; a check takes no argument and raises if it fails.

    Parameters
    ----------
    estimator : estimator
        Unfitted transformer or classifier of texts.
    texts : list of str, optional
        At least 6; eight sentences about sport and food by default.
    y : sequence or array, optional
        Target for ``texts``; the labels "sport" and "food" by default.
    tolerance : float
        Largest absolute difference between results that must be equal.

    Yields
    ------
    tuple of (str, callable)
        Name of a check, and the check.

    See Also
    --------
    check_text_estimator : Runs them all.

    Examples
    --------
    >>> from sklearn.feature_extraction.text import HashingVectorizer
    >>> from sklfusion.testing import N_TEXT_CHECKS, iter_text_checks
    >>> len(list(iter_text_checks(HashingVectorizer()))) == N_TEXT_CHECKS
    True
    """
    if texts is None:
        texts, y = list(TEXTS), np.array(LABELS) if y is None else y
    case = Case(estimator, texts, y, tolerance)
    for name, check in _checks():
        yield name, functools.partial(check, case)


def check_text_estimator(
    estimator: Any,
    *,
    texts: Sequence[str] | None = None,
    y: Any = None,
    tolerance: float = 1e-4,
    expected_failed_checks: Mapping[int, str] | None = None,
) -> int:
    """Check that an estimator that takes texts keeps the contract of scikit-learn.

    Parameters
    ----------
    estimator : estimator
        Unfitted transformer or classifier of texts. It is cloned about 30 times, so it should be
        small or cache its work.
    texts : list of str, optional
        At least 6; eight sentences about sport and food by default.
    y : sequence or array, optional
        Target for ``texts``; the labels "sport" and "food" by default.
    tolerance : float, default=1e-4
        Largest absolute difference between results that must be equal.
    expected_failed_checks : dict of {int: str}, optional
        Number of a check and the reason why it fails. It must fail.

    Returns
    -------
    int
        The number of checks that ran; compare it with ``N_TEXT_CHECKS``.

    Raises
    ------
    AssertionError
        If any check fails; the message lists all that do.

    See Also
    --------
    iter_text_checks : One by one.
    sklearn.utils.estimator_checks.check_estimator : For numbers.

    Examples
    --------
    >>> from sklearn.feature_extraction.text import TfidfVectorizer
    >>> from sklfusion.testing import check_text_estimator
    >>> check_text_estimator(TfidfVectorizer())  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    AssertionError: ... of 32 checks failed for TfidfVectorizer...
    """
    excused = dict(expected_failed_checks or {})
    failures, count = [], 0
    for name, check in iter_text_checks(estimator, texts=texts, y=y, tolerance=tolerance):
        count += 1
        reason = excused.pop(int(name[:2]), None)
        try:
            check()
        except Exception as error:
            if reason is None:
                failures.append(f"{name}: {type(error).__name__}: {str(error)[:300]}")
        else:
            if reason is not None:
                failures.append(f"{name}: passes, but was expected to fail ({reason})")
    failures += [f"there is no check {number}" for number in excused]
    if failures:
        listed = "\n".join(failures)
        name = type(estimator).__name__
        raise AssertionError(f"{len(failures)} of {count} checks failed for {name}:\n{listed}")
    return count
