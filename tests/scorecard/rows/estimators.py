"""E: the estimator contract."""

import inspect
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.utils.estimator_checks import estimator_checks_generator

import sklfusion
from scorecard.rows._base import CLASSES, ROOT, quiet, row, texts
from scorecard.rows.labels import data, fit, fusion, multi
from sklfusion import FusionClassifier, LLMClassifier, LLMScorer, RecordedScorer
from sklfusion.testing import N_TEXT_CHECKS, check_text_estimator
from sklfusion.testing.text_checks import LABELS, TEXTS


def public_estimators():
    for name in sklfusion.__all__:
        value = getattr(sklfusion, name)
        if inspect.isclass(value) and issubclass(value, BaseEstimator):
            yield value


@row("E01", "scikit-learn's checks on FusionClassifier", "at least 50 run, at most 5 excused")
def _(c):
    from sklearn.utils.estimator_checks import check_estimator

    reason = "folds depend on the number of rows"
    excused = {
        f"check_sample_weight_equivalence_on_{kind}_data": reason for kind in ("dense", "sparse")
    }
    counts = []
    for loss in ("auto", "binary_cross_entropy"):
        model = FusionClassifier(loss=loss, random_state=0)
        assert len(list(estimator_checks_generator(model))) >= 50
        with quiet():
            results = check_estimator(
                model, expected_failed_checks=excused, on_fail=None, on_skip=None
            )
        status = [result["status"] for result in results]
        failed = [r["check_name"] for r in results if r["status"] == "failed"]
        assert not failed, failed
        assert status.count("xfail") <= 5
        counts.append(f"{status.count('passed')} passed, {status.count('xfail')} excused")
        assert status.count("passed") >= 50
    return "; ".join(counts)


@row("E02", "text estimators", f"{N_TEXT_CHECKS} checks each, counted")
def _(c):
    Y = np.array([[label == name for name in CLASSES] for label in LABELS], dtype=int)
    params = {"base_url": c.server.base_url, "memory": str(c.folder), "classes": list(CLASSES)}
    table = dict(zip(TEXTS, LABELS, strict=True))
    cases = [
        (LLMScorer("m", **params), None),
        (LLMClassifier("m", **params), None),
        (LLMScorer("m", multilabel=True, **params), Y),
        (RecordedScorer(table, classes=list(CLASSES)), None),
    ]
    for estimator, y in cases:
        target = np.array(LABELS) if y is None else y
        count = check_text_estimator(estimator, texts=list(TEXTS), y=target)
        assert count == N_TEXT_CHECKS
    return f"{len(cases)} x {N_TEXT_CHECKS}"


@row(
    "E03",
    "constructors, get_params and set_params of all public estimators",
    "store only, round trip",
)
def _(c):
    names = []
    for kind in public_estimators():
        signature = inspect.signature(kind.__init__)
        required = [
            name
            for name, p in list(signature.parameters.items())[1:]
            if p.default is p.empty and p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)
        ]
        sentinel = {name: object() for name in required}
        made = kind(**sentinel)
        params = made.get_params(deep=False)
        assert set(vars(made)) == set(params), f"{kind.__name__} sets more than its parameters"
        odd = {name: object() for name in params}
        made.set_params(**odd)
        got = made.get_params(deep=False)
        assert all(got[name] is value for name, value in odd.items()), kind.__name__
        names.append(kind.__name__)
    return f"{len(names)} estimators"


@row("E04", "names, pandas output, FeatureUnion", "names unique, frames kept")
def _(c):
    X = texts(6)
    scorer = c.scorer(add_indicator=True)
    union = FeatureUnion([("a", scorer), ("b", c.scorer(output="proba"))])
    union.set_output(transform="pandas")
    with quiet():
        frame = union.fit(X).transform(X)
    names = list(union.get_feature_names_out())
    assert list(frame.columns) == names
    assert len(set(names)) == len(names) == 5
    return str(names)


@row("E05", "fit twice; equal random_state", "equal within 1e-6")
def _(c):
    for X, y in (data(), multi()):
        for kind in ("anchored", "concat"):
            one = fit(X, y, fusion=kind)
            again = fit(X, y, fusion=kind).predict_proba(X)
            assert np.allclose(one.predict_proba(X), again, rtol=0, atol=1e-6)
            with quiet():
                before = one.predict_proba(X)
                assert np.allclose(one.fit(X, y).predict_proba(X), before, rtol=0, atol=1e-6)
    return "equal for both fusions and both kinds of target"


SEARCH = """
import json, sys, warnings
warnings.simplefilter("ignore")
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline
from sklfusion import LLMScorer
X = np.array([f"note {n} about {w}" for n in range(100) for w in ("sport", "food")])
y = np.array(["sport", "food"] * 100)
pipe = Pipeline([("llm", LLMScorer(**json.loads(sys.argv[1]))), ("head", LogisticRegression())])
search = GridSearchCV(pipe, {"head__C": [0.01, 0.1, 1.0, 10.0]}, cv=5, n_jobs=2)
print(search.fit(X, y).best_score_)
"""


@row("E06", "grid search, 4 candidates x 5 folds, 200 texts, 2 processes", "billed = distinct")
def _(c):
    score = c.python(SEARCH, json.dumps(c.params()), timeout=200)
    ledger = c.server.ledger()
    assert ledger.received == ledger.billed == ledger.distinct == 200, ledger
    assert float(score) == 1.0
    return f"{ledger.billed} requests for 200 texts"


@row("E07", "sample_weight through a Pipeline", "reaches the classifier")
def _(c):
    X, y = data()
    weights = np.where(y == 0, 1e-6, 1.0)
    pipe = Pipeline([("same", "passthrough"), ("fusion", fusion())])
    with quiet():
        plain = pipe.fit(X, y).predict(X)
        weighted = pipe.fit(X, y, fusion__sample_weight=weights).predict(X)
    assert (weighted == 0).sum() < (plain == 0).sum()
    return f"class 0 predicted {(plain == 0).sum()} -> {(weighted == 0).sum()}"


@row("E08", "oldest and newest supported versions, openai 2 and 3", "suite green under both")
def _(c):
    from benchmarks.load import versions

    python = versions.make(versions.folder() or c.folder / "oldest")
    reports = []
    newest = os.environ.get("SKLFUSION_OTHER_PYTHON", sys.executable)
    for name, executable in (("oldest", python), ("newest", newest)):
        passed, line = versions.run_tests(executable)
        assert passed, f"{name}: {versions.versions(executable)}: {line}"
        reports.append(f"{name}: {versions.versions(executable)}: {line}")
    return "; ".join(reports)


MOVED = """
import json, platform, sys
import numpy as np, torch
from sklfusion import persistence
folder = sys.argv[1]
X = np.load(folder + "/X.npy")
worst = 0.0
for name in json.loads(sys.argv[2]):
    model = persistence.load(f"{folder}/{name}.sklf")
    wanted = np.load(f"{folder}/{name}.npy")
    forms = [X, X.astype(np.float64), np.asfortranarray(X)]
    moved = [model] + [model.set_params(device="cuda")] * torch.cuda.is_available()
    for one in moved:
        for form in forms:
            worst = max(worst, float(np.abs(one.predict_proba(form) - wanted).max()))
print(platform.python_version(), torch.cuda.is_available(), worst)
"""


def other_python():
    """Return (interpreter, environment) of another Python with what sklfusion needs.

    ``$SKLFUSION_OTHER_PYTHON`` names one with packages of its own; else another build of this
    version is looked for, which can use the packages of this one.
    """
    named = os.environ.get("SKLFUSION_OTHER_PYTHON")
    if named:
        return named, {}
    name = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    own = Path(sys.base_prefix).resolve()
    for folder in ("/usr/bin", "/usr/local/bin", *os.environ["PATH"].split(os.pathsep)):
        found = Path(folder) / name
        if found.exists() and own not in found.resolve().parents:
            packages = [str(ROOT), *(p for p in sys.path if p.endswith("site-packages"))]
            return str(found), {"PYTHONPATH": os.pathsep.join(packages)}
    return sys.executable, {}


@row("E09", "save here, load on another Python, CPU, dtype, device", "equal within 1e-6")
def _(c):
    from sklfusion import persistence

    X, y = data()
    _, Y = multi()
    np.save(c.folder / "X.npy", X)
    models = {"anchored": fit(X, y), "concat": fit(X, y, fusion="concat"), "labels": fit(X, Y)}
    for name, model in models.items():
        persistence.save(model, c.folder / f"{name}.sklf")
        np.save(c.folder / f"{name}.npy", model.predict_proba(X))
    python, env = other_python()
    # The plain instructions that any x86 or ARM has, as an older CPU would run them.
    plain = {"ATEN_CPU_CAPABILITY": "default", "OPENBLAS_CORETYPE": "Prescott"}
    plain |= {"NPY_DISABLE_CPU_FEATURES": "AVX2 FMA3 AVX512F AVX512CD AVX512_SKX"}
    cases = {
        "other Python": (python, env),
        "other CPU": (sys.executable, plain),
        "two threads": (sys.executable, {"OMP_NUM_THREADS": "2"}),
    }
    seen = []
    for name, (executable, extra) in cases.items():
        done = subprocess.run(
            [executable, "-W", "ignore", "-c", MOVED, str(c.folder), json.dumps(list(models))],
            capture_output=True,
            text=True,
            cwd=ROOT,
            env={**os.environ, **extra},
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, f"{name}: {done.stderr[-600:]}"
        version, cuda, worst = done.stdout.split()
        assert float(worst) <= 1e-6, f"{name}: {worst}"
        seen.append(f"{name} ({version}): {float(worst):.0e}")
    device = "moved to cuda and back" if cuda == "True" else "no other device here"
    return f"{'; '.join(seen)}; {device}"
