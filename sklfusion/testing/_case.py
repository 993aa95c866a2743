"""What every check of a text estimator works with: one estimator and its data, odd texts."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from sklearn.base import clone, is_classifier

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

    def refuses(
        self, kinds: type[Exception] | tuple[type[Exception], ...], texts: Any, *words: str
    ) -> None:
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


#: All checks by number: the name and the function.
CHECKS: dict[int, tuple[str, Callable[[Case], None]]] = {}


def check(number: int, name: str) -> Callable[[Callable[[Case], None]], Callable[[Case], None]]:
    """Register a check under its number."""

    def register(function: Callable[[Case], None]) -> Callable[[Case], None]:
        CHECKS[number] = (name, function)
        return function

    return register
