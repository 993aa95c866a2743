"""Checks of the interface: parameters, fitting, names, tags. See ``text_checks``."""

from __future__ import annotations

import inspect
import os
import re
from typing import Any

import joblib
import numpy as np
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.utils import get_tags

from sklfusion.testing._case import Case, check, quiet


def _same_params(one: dict[str, Any], two: dict[str, Any], what: str) -> None:
    assert one.keys() == two.keys(), f"{what}: parameters {one.keys() ^ two.keys()}"
    for name, value in one.items():
        if value is not two[name]:
            assert joblib.hash(value) == joblib.hash(two[name]), f"{what}: {name} changed"


@check(1, "clone copies all parameters")
def _(case: Case) -> None:
    copy = clone(case.estimator)
    assert type(copy) is type(case.estimator)
    _same_params(copy.get_params(), case.estimator.get_params(), "clone")


@check(2, "parameters make the round trip")
def _(case: Case) -> None:
    params = case.estimator.get_params(deep=False)
    again = type(case.estimator)(**params)
    for name, value in again.get_params(deep=False).items():
        assert value is params[name], f"get_params()[{name!r}] is not what was given"
    assert case.fresh().set_params(**params) is not None
    with quiet():
        try:
            case.fresh().set_params(no_such_parameter=1)
        except ValueError:
            return
    raise AssertionError("set_params accepted a parameter that does not exist")


@check(3, "the constructor only stores")
def _(case: Case) -> None:
    params = case.estimator.get_params(deep=False)
    made = type(case.estimator)(**params)
    extra = set(vars(made)) - set(params)
    assert not extra, f"the constructor set {sorted(extra)}"
    odd = {name: object() for name in params}
    try:
        type(case.estimator)(**odd)
    except Exception as error:
        raise AssertionError(f"the constructor validates: {error}") from error


@check(4, "defaults are enough to construct")
def _(case: Case) -> None:
    signature = inspect.signature(type(case.estimator).__init__)
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    params = case.estimator.get_params(deep=False)
    needed = {
        name: params[name]
        for name, parameter in list(signature.parameters.items())[1:]
        if parameter.default is inspect.Parameter.empty and parameter.kind not in kinds
    }
    assert len(needed) <= 1, f"the constructor needs {sorted(needed)}"
    type(case.estimator)(**needed)


@check(5, "repr is short and free of secrets")
def _(case: Case) -> None:
    shown = [repr(case.estimator), str(case.fitted), case.fitted._repr_html_()]
    size = len("".join(shown[0].split()))  # scikit-learn cuts at 700 that are not blank
    assert size <= 750, f"repr has {size} characters"
    secrets = [
        value
        for name, value in os.environ.items()
        if re.search("KEY|TOKEN|SECRET|PASSWORD", name) and len(value) >= 8
    ]
    assert not any(secret in text for secret in secrets for text in shown), "a secret is shown"


@check(6, "unfitted is an error of its own")
def _(case: Case) -> None:
    if not get_tags(case.estimator).requires_fit:
        assert len(case.output(case.fresh(), case.texts)) == len(case.texts)
        return
    try:
        case.output(case.fresh(), case.texts)
    except NotFittedError:
        return
    raise AssertionError("no NotFittedError before fit")


@check(7, "fit returns self")
def _(case: Case) -> None:
    estimator = case.fresh()
    with quiet():
        assert estimator.fit(case.texts, case.y) is estimator


def _said(value: Any) -> Any:
    """What a parameter says; one that is never fitted, like an endpoint, may count along."""
    never_fitted = hasattr(value, "get_params") and not hasattr(value, "fit")
    return value.get_params() if never_fitted else value


@check(8, "fit and use leave the parameters alone")
def _(case: Case) -> None:
    estimator = case.fresh()
    before = estimator.get_params()
    hashes = {name: joblib.hash(_said(value)) for name, value in before.items()}
    with quiet():
        estimator.fit(case.texts, case.y)
    case.output(estimator, case.texts)
    after = estimator.get_params()
    for name, value in before.items():
        assert after[name] is value, f"{name} was replaced"
        assert joblib.hash(_said(after[name])) == hashes[name], f"{name} was changed in place"


@check(9, "the input is left alone")
def _(case: Case) -> None:
    texts = list(case.texts)
    y = np.array(case.y, copy=True)
    case.output(case.fit(texts, y), texts)
    assert texts == case.texts, "the list of texts was changed"
    assert (np.asarray(y) == np.asarray(case.y)).all(), "y was changed"


@check(10, "fit_transform equals fit and transform")
def _(case: Case) -> None:
    estimator = case.fresh()
    with quiet():
        if case.classifier or not hasattr(estimator, "fit_transform"):
            got = case.output(estimator.fit(case.texts, case.y), case.texts)
        else:
            got = estimator.fit_transform(case.texts, case.y)
            got = got.toarray() if hasattr(got, "toarray") else np.asarray(got)
    case.same(got, case.expected, "fit_transform")


@check(11, "fitting and using twice changes nothing")
def _(case: Case) -> None:
    estimator = case.fit()
    first = case.output(estimator, case.texts)
    case.same(case.output(estimator, case.texts), first, "second use")
    with quiet():
        estimator.fit(case.texts, case.y)
    case.same(case.output(estimator, case.texts), first, "second fit")


@check(24, "feature names are as many as columns and differ")
def _(case: Case) -> None:
    if case.classifier:
        classes = list(case.fitted.classes_)
        assert len(set(map(str, classes))) == len(classes), "classes_ has doubles"
        if hasattr(case.fitted, "predict_proba"):
            assert len(classes) == case.expected.shape[1], "classes_ and columns differ in number"
        return
    names = case.fitted.get_feature_names_out()
    assert isinstance(names, np.ndarray), f"names are {type(names).__name__}"
    assert len(names) == case.expected.shape[1], f"{len(names)} names"
    assert len(set(names)) == len(names), "names are not unique"
    assert all(isinstance(name, str) for name in names), "names are not str"


@check(31, "tags say strings, not a 2-d array")
def _(case: Case) -> None:
    tags = get_tags(case.estimator)
    assert tags.input_tags.string, "tags.input_tags.string is False"
    assert not tags.input_tags.two_d_array, "tags.input_tags.two_d_array is True"
    assert (tags.transformer_tags is not None) == hasattr(case.estimator, "transform")
    assert (tags.classifier_tags is not None) == case.classifier


@check(32, "y is needed exactly where the tags say so")
def _(case: Case) -> None:
    required = get_tags(case.estimator).target_tags.required
    with quiet():
        try:
            case.fresh().fit(case.texts)
        except (ValueError, TypeError):
            assert required, "fit without y failed, but the tags do not require y"
        else:
            assert not required, "fit without y worked, but the tags require y"
    if not required:
        return
    for wrong in (case.y[:-1], [*case.y, case.y[0]]):
        try:
            case.fit(case.texts, wrong)
        except ValueError:
            continue
        raise AssertionError(f"fit accepted {len(wrong)} targets for {len(case.texts)} texts")
