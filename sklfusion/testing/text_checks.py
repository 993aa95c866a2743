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
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.base import clone, is_classifier

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

ZOO = (
    "\U0001f600 \U0001f468\u200d\U0001f469\u200d\U0001f467 flags \U0001f1e9\U0001f1ea",
    "\u202eright to left\u202c \u05e9\u05dc\u05d5\u05dd \u0645\u0631\u062d\u0628\u0627",
    "combining e\u0301 and composed \u00e9",
    "\u4f60\u597d\uff0c\u4e16\u754c",
    "NUL \x00 and bell \x07 and \x1b[31m",
    "lone \ud800 surrogate",
    '"quotes" {braces} {label} %s \\n <b>&amp;</b> [x]\n- list\n```json\n{}\n```',
    "word " * 400,
    "\ufeff\u00a0\u2028",
)


class Case:
    """One estimator with its data; the helpers of the checks.

    Parameters
    ----------
    estimator : estimator
        Unfitted. It is cloned, never changed.
    texts : list of str
        At least 6.
    y : sequence or array
        Target in the form that ``fit`` documents.
    tolerance : float
        Largest absolute difference between results that must be equal.
    """

    def __init__(self, estimator: Any, texts: Sequence[str], y: Any, tolerance: float):
        self.estimator = estimator
        self.texts = list(texts)
        self.y = y
        self.tolerance = tolerance
        self.classifier = is_classifier(estimator)

    def fresh(self, **params: Any) -> Any:
        """Return an unfitted copy."""
        return clone(self.estimator).set_params(**params)

    def fit(self, texts: Any = None, y: Any = None, **params: Any) -> Any:
        """Return a fitted copy."""
        if texts is None:
            texts, y = self.texts, self.y
        with quiet():
            return self.fresh(**params).fit(texts, y)

    @functools.cached_property
    def fitted(self) -> Any:
        """A fitted copy, shared by the checks that leave it as it is."""
        return self.fit()

    def output(self, estimator: Any, texts: Any) -> np.ndarray:
        """Return what the estimator makes of texts, one row of numbers each."""
        with quiet():
            if not self.classifier:
                result = estimator.transform(texts)
            elif hasattr(estimator, "predict_proba"):
                result = estimator.predict_proba(texts)
            else:
                result = estimator.predict(texts)
        if hasattr(result, "toarray"):
            result = result.toarray()
        return np.asarray(result)

    @functools.cached_property
    def expected(self) -> np.ndarray:
        """The output for ``texts``."""
        return self.output(self.fitted, self.texts)

    def same(self, got: np.ndarray, wanted: np.ndarray, what: str) -> None:
        """Assert that two outputs are equal within the tolerance."""
        assert got.shape == wanted.shape, f"{what}: shape {got.shape} instead of {wanted.shape}"
        if got.dtype.kind in "fc":
            difference = float(np.abs(got - wanted).max(initial=0.0))
            assert difference <= self.tolerance, f"{what}: results differ by {difference:.3g}"
        else:
            assert np.all(got == wanted), f"{what}: results differ"

    def refuses(self, kinds: type | tuple[type, ...], texts: Any, *words: str) -> None:
        """Assert that ``fit`` and the output method refuse texts with words in the message."""
        calls: list[tuple[str, Callable[[], Any]]] = [
            ("fit", lambda: self.fit(texts, self.y)),
            ("transform", lambda: self.output(self.fitted, texts)),
        ]
        for name, call in calls:
            name = "predict" if self.classifier and name == "transform" else name
            said = None
            try:
                call()
            except kinds as error:
                said = str(error)
            except Exception as error:
                raise AssertionError(
                    f"{name} raised {type(error).__name__} instead: {error}"
                ) from error
            assert said is not None, f"{name} accepted it"
            missing = [word for word in words if word.lower() not in said.lower()]
            assert not missing, f"the message of {name} lacks {missing}: {said}"


class quiet(warnings.catch_warnings):
    """Ignore warnings: the checks are about results and errors."""

    def __enter__(self) -> Any:
        result = super().__enter__()
        warnings.simplefilter("ignore")
        return result


def _checks() -> list[tuple[str, Callable[[Case], None]]]:
    from sklfusion.testing import _checks_data, _checks_interface

    found = {**_checks_interface.CHECKS, **_checks_data.CHECKS}
    return [(f"{number:02d} {found[number][0]}", found[number][1]) for number in sorted(found)]


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
    texts, y, tolerance
        See :func:`iter_text_checks`.
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
