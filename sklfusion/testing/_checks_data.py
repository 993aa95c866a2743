"""Checks of the results: invariances, kinds of input, other processes. See ``text_checks``."""

from __future__ import annotations

import pickle
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.multioutput import MultiOutputClassifier
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.preprocessing import FunctionTransformer

from sklfusion.testing._case import ZOO, Case, check, quiet

_IN_FRESH_PROCESS = """
import pickle, sys, warnings
import numpy as np
warnings.simplefilter("ignore")
sys.path[:0] = sys.argv[3:]
with open(sys.argv[1], "rb") as file:
    estimator, texts, method = pickle.load(file)
result = getattr(estimator, method)(texts)
result = result.toarray() if hasattr(result, "toarray") else np.asarray(result)
with open(sys.argv[2], "wb") as file:
    pickle.dump(result, file)
"""


@check(12, "the order of texts does not matter")
def _(case: Case) -> None:
    order = np.random.default_rng(0).permutation(len(case.texts))
    got = case.output(case.fitted, [case.texts[i] for i in order])
    case.same(got, case.expected[order], "permuted texts")


@check(13, "a subset gives the same rows, whatever the batch size")
def _(case: Case) -> None:
    case.same(case.output(case.fitted, case.texts[2:5]), case.expected[2:5], "three texts")
    if "batch_size" in case.estimator.get_params(deep=False) and not case.classifier:
        small = case.fit(batch_size=2)
        case.same(case.output(small, case.texts), case.expected, "batch_size=2")


@check(14, "equal texts get equal rows")
def _(case: Case) -> None:
    texts = [*case.texts[:3], case.texts[0], case.texts[0]]
    got = case.output(case.fitted, texts)
    for row in (3, 4):
        case.same(got[row], got[0], "a repeated text")


@check(15, "list, tuple, array, Series and frame are alike")
def _(case: Case) -> None:
    forms: list[tuple[str, Any]] = [
        ("tuple", tuple(case.texts)),
        ("object array", np.array(case.texts, dtype=object)),
        ("string array", np.array(case.texts)),
    ]
    try:
        import pandas as pd
    except ImportError:
        pass
    else:
        index = [f"row {n}" for n in range(len(case.texts))][::-1]
        forms.append(("Series", pd.Series(case.texts, index=index)))
        forms.append(("frame", pd.DataFrame({"text": case.texts}, index=index)))
    for name, form in forms:
        case.same(case.output(case.fitted, form), case.expected, name)
    for name, form in forms[:1] + forms[-2:]:
        case.same(case.output(case.fit(form, case.y), case.texts), case.expected, f"fit on {name}")


@check(16, "one bare string is refused")
def _(case: Case) -> None:
    case.refuses((TypeError, ValueError), case.texts[0], "str")


@check(17, "a wrong type is named by its index")
def _(case: Case) -> None:
    for wrong in (3, b"bytes", ["nested"], {"a": 1}):
        texts: list[Any] = list(case.texts)
        texts[2] = wrong
        case.refuses((TypeError, ValueError), texts, "2", type(wrong).__name__)


@check(18, "a missing text is named by its index")
def _(case: Case) -> None:
    missing = [None, float("nan"), np.float64("nan")]
    try:
        import pandas as pd
    except ImportError:
        pass
    else:
        missing.append(pd.NA)
    for value in missing:
        texts: list[Any] = list(case.texts)
        texts[3] = value
        case.refuses((TypeError, ValueError), texts, "3", "missing")


@check(19, "no text at all")
def _(case: Case) -> None:
    try:
        case.fit([], case.y[:0])
    except ValueError:
        pass
    else:
        raise AssertionError("fit accepted an empty list")
    got = case.output(case.fitted, [])
    assert got.shape == (0, *case.expected.shape[1:]), f"shape {got.shape} for no text"


@check(20, "one text")
def _(case: Case) -> None:
    case.same(case.output(case.fitted, case.texts[:1]), case.expected[:1], "one text")


@check(21, "strange texts get finite rows")
def _(case: Case) -> None:
    got = case.output(case.fitted, list(ZOO))
    assert got.shape == (len(ZOO), *case.expected.shape[1:]), f"shape {got.shape}"
    assert got.dtype.kind != "f" or np.isfinite(got).all(), "not finite"
    empty = case.output(case.fitted, ["", "   ", "\n"])
    assert len(empty) == 3, f"{len(empty)} rows for three empty texts"


@check(22, "results have one row per text and a float dtype")
def _(case: Case) -> None:
    assert len(case.expected) == len(case.texts)
    if case.classifier and not hasattr(case.fitted, "predict_proba"):
        return
    assert case.expected.ndim == 2, f"{case.expected.ndim} dimensions"
    assert case.expected.dtype in (np.float32, np.float64), f"dtype {case.expected.dtype}"
    if case.classifier:
        with quiet():
            labels = np.asarray(case.fitted.predict(case.texts))
        assert len(labels) == len(case.texts)


@check(23, "all results are finite")
def _(case: Case) -> None:
    assert case.expected.dtype.kind != "f" or np.isfinite(case.expected).all()


@check(25, "pandas output keeps index and names")
def _(case: Case) -> None:
    try:
        import pandas as pd
    except ImportError:
        return
    index = [f"row {n}" for n in range(len(case.texts))]
    series = pd.Series(case.texts, index=index, name="text")
    if case.classifier:
        with quiet():
            assert isinstance(case.fitted.predict(series), np.ndarray)
        return
    estimator = case.fit().set_output(transform="pandas")
    with quiet():
        frame = estimator.transform(series)
    assert isinstance(frame, pd.DataFrame), f"{type(frame).__name__} instead of a frame"
    assert list(frame.columns) == list(estimator.get_feature_names_out()), "wrong columns"
    assert list(frame.index) == index, "the index is lost"
    case.same(frame.to_numpy(), case.expected, "pandas output")


@check(26, "works in a FeatureUnion")
def _(case: Case) -> None:
    if case.classifier:
        steps = [("same", FunctionTransformer()), ("classifier", case.fresh())]
        with quiet():
            union: Any = Pipeline(steps).fit(case.texts, case.y)
        case.same(case.output(union, case.texts), case.expected, "behind a transformer")
        return
    union = FeatureUnion([("one", case.fresh()), ("two", case.fresh())])
    with quiet():
        got = np.asarray(_dense(union.fit(case.texts, case.y).transform(case.texts)))
    case.same(got, np.hstack([case.expected, case.expected]), "FeatureUnion")
    names = union.get_feature_names_out()
    assert len(set(names)) == got.shape[1], "names are not unique in a FeatureUnion"


def _dense(result: Any) -> Any:
    return result.toarray() if hasattr(result, "toarray") else result


@check(27, "works in a Pipeline under GridSearchCV")
def _(case: Case) -> None:
    y = np.asarray(case.y)
    if case.classifier:
        model: Any = Pipeline([("same", FunctionTransformer()), ("classifier", case.fresh())])
        grid: dict[str, list[Any]] = {}
    else:
        head: Any = LogisticRegression()
        head = MultiOutputClassifier(head) if y.ndim == 2 else head
        name = "head__estimator__C" if y.ndim == 2 else "head__C"
        model, grid = Pipeline([("text", case.fresh()), ("head", head)]), {name: [0.1, 1.0]}
    with quiet():
        search = GridSearchCV(model, grid, cv=2, error_score="raise").fit(case.texts, y)
        assert len(search.predict(case.texts)) == len(case.texts)


@check(28, "a pickle works in a fresh process")
def _(case: Case) -> None:
    method = "transform"
    if case.classifier:
        method = "predict_proba" if hasattr(case.fitted, "predict_proba") else "predict"
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "in.pkl"), Path(folder, "out.pkl")
        source.write_bytes(pickle.dumps((case.fitted, case.texts, method)))
        paths = [path for path in sys.path if path]
        command = [sys.executable, "-c", _IN_FRESH_PROCESS, str(source), str(target), *paths]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
        assert done.returncode == 0, f"the process failed: {done.stderr[-500:]}"
        got = pickle.loads(target.read_bytes())
    case.same(np.asarray(got), case.expected, "fresh process")


@check(29, "the number of workers does not matter")
def _(case: Case) -> None:
    params = case.estimator.get_params()
    for name in ("max_concurrency", "model__max_concurrency", "n_jobs"):
        if name in params:
            for count in (1, 3):
                got = case.output(case.fit(**{name: count}), case.texts)
                case.same(got, case.expected, f"{name}={count}")
            return
    with quiet(), ThreadPoolExecutor(3) as pool:
        parts = list(pool.map(lambda text: case.output(case.fitted, [text]), case.texts))
    case.same(np.concatenate(parts), case.expected, "three workers")


@check(30, "two threads may use one fitted object")
def _(case: Case) -> None:
    estimator = case.fit()
    with quiet(), ThreadPoolExecutor(2) as pool:  # the threads' own filters would leak
        jobs = [pool.submit(case.output, estimator, case.texts) for _ in range(4)]
        for job in jobs:
            case.same(job.result(), case.expected, "in a thread")
