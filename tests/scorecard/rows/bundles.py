"""Rows B: saved models, and fits that are broken off."""

import json
import os
import subprocess
import sys
import tracemalloc
import zipfile

import numpy as np
from _bundles import STORED, rewrite
from _interrupt import interrupted
from sklearn.preprocessing import StandardScaler

from scorecard.rows._base import ROOT, quiet, raises, row
from sklfusion import FusionClassifier, PersistenceError, persistence


def data():
    """80 rows of an embedding and the votes of one LLM, three classes."""
    rng = np.random.default_rng(0)
    y = np.arange(80) % 3
    return np.hstack([rng.normal(size=(80, 6)) + y[:, None], np.eye(3)[y]]), y


@row(
    "B01",
    "a saved model names an address and a variable of its own choice",
    "refused before anything is sent, told by info; accepted once the address is named",
)
def _(c):
    path = c.folder / "m.sklf"
    variable = "SKL_SCORECARD_CANARY"
    scorer = c.scorer(api_key_env=variable, calibrate=False)
    persistence.save(scorer, path)
    told = persistence.info(path)["endpoints"]
    assert told[0]["variables"] == [variable]
    assert not told[0]["allowed"]
    raises(PersistenceError, lambda: persistence.load(path), variable)
    assert c.server.ledger().received == 0
    os.environ[variable] = "canary"
    try:
        persistence.load(path, endpoints=[c.server.base_url]).transform(["note about sport"])
    finally:
        del os.environ[variable]
    assert c.server.ledger().received == 1
    return "0 requests before the address was named, 1 after"


@row("B02", "small files that ask for gigabytes, both formats", "refused below 20 MB")
def _(c):
    path, peaks = c.folder / "m.sklf", []
    wide = json.dumps({"__objects__": ["a"] * 5, "shape": [5], "dtype": "<U50000000"}).encode()
    node = {"type": "strings", "tensor": "t0", "dtype": "<U50000000", "shape": [5]}
    for number in (1, 2):
        for tree in (wide, json.dumps(node).encode(), b" " * 60_000_000):
            path.write_bytes((STORED / f"pipeline_v{number}.sklf").read_bytes())
            rewrite(path, model__json=tree)
            tracemalloc.start()
            raises(PersistenceError, lambda: persistence.load(path))
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
    assert max(peaks) < 20e6
    return f"{len(peaks)} files refused, at most {max(peaks) / 1e6:.0f} MB"


@row("B03", "three processes save to one path while a fourth reads", "always one whole model")
def _(c):
    path = c.folder / "m.sklf"
    code = (
        "import sys; from sklearn.preprocessing import StandardScaler\n"
        "from sklfusion import persistence\n"
        "for n in range(10):\n"
        "    persistence.save(StandardScaler(copy=[sys.argv[1]] * 20_000), sys.argv[2])\n"
    )
    persistence.save(StandardScaler(copy=["0"]), path)
    writers = [
        subprocess.Popen([sys.executable, "-W", "ignore", "-c", code, name, str(path)], cwd=ROOT)
        for name in "123"
    ]
    reads = 0
    while any(writer.poll() is None for writer in writers):
        assert len(set(persistence.load(path).copy)) == 1
        reads += 1
    assert [writer.returncode for writer in writers] == [0, 0, 0]
    assert [p.name for p in c.folder.iterdir()] == ["m.sklf"]
    return f"{reads} reads, all whole"


@row("B04", "Ctrl-C in a refit, at forty points", "the model of before, or not fitted")
def _(c):
    X, y = data()
    model = FusionClassifier(random_state=0).fit(X, y)
    wanted, stopped = model.predict_proba(X), 0
    for point in range(1, 4000, 100):
        stopped += interrupted(lambda: model.fit(X[::-1], y[::-1] + 10), point)
        if model.classes_[0] == 0:
            assert np.allclose(model.predict_proba(X), wanted, rtol=0, atol=1e-12)
        else:  # the fit had ended before that point
            model.fit(X, y)
    assert stopped > 5
    return f"{stopped} fits broken off, all left the model of before"


@row("B05", "models that earlier versions wrote, formats 1 and 2", "predictions equal to 1e-6")
def _(c):
    worst, count = 0.0, 0
    for number in (1, 2):
        expected = json.loads((STORED / f"expected_v{number}.json").read_text(encoding="utf-8"))
        for name, case in expected.items():
            model = persistence.load(STORED / f"{name}_v{number}.sklf")
            X = case["X"] if isinstance(case["X"][0], str) else np.array(case["X"])
            method = "predict_proba" if hasattr(model, "predict_proba") else "transform"
            found = np.asarray(getattr(model, method)(X), dtype=float)
            worst, count = max(worst, np.abs(found - case["outputs"]).max()), count + 1
    assert worst < 1e-6
    return f"{count} models, largest difference {worst:.0e}"


@row("B06", "two hundred damaged copies of a saved model", "loads, or one error of ours")
def _(c):
    path, refused = c.folder / "m.sklf", 0
    rng = np.random.default_rng(6)
    whole = (STORED / "auto_v2.sklf").read_bytes()
    with zipfile.ZipFile(STORED / "auto_v2.sklf") as archive:
        text = archive.read("model.json")
    for number in range(200):
        path.write_bytes(whole)
        place = int(rng.integers(len(text)))
        if number % 2:
            path.write_bytes(whole[: rng.integers(len(whole))])
        else:
            swap = (b"[]", b"null", b"-1", b'"', b"9" * 5000)[rng.integers(5)]
            rewrite(path, model__json=text[:place] + swap + text[place + 1 :])
        try:
            with quiet():
                persistence.load(path)
        except PersistenceError:
            refused += 1
    assert refused > 100
    return f"{refused} of 200 refused, no other error"


@row("B07", "negative class weights, dropout 2, layers of -3, cells of 1e300", "one clear error")
def _(c):
    X, y = data()
    cases = {
        "class_weight": ({0: -1}, {0: np.nan}, {0: "a"}, {0: 0, 1: 0, 2: 0}),
        "dropout": (2, -0.1, 1.0, "a", np.nan),
        "hidden_layer_sizes": ((-3,), (0,), -3, (1.5,), "ab", None),
        "lr": (0, np.inf, "a"),
        "batch_size": (0, -1, 1.5, "all"),
    }
    count = 0
    for name, values in cases.items():
        for value in values:
            raises(ValueError, lambda n=name, v=value: FusionClassifier(**{n: v}).fit(X, y), name)
            count += 1
    huge = X.copy()
    huge[3, 2] = 1e300
    model = FusionClassifier(random_state=0).fit(X, y)
    for call in (lambda: FusionClassifier().fit(huge, y), lambda: model.predict(huge)):
        raises(ValueError, call, r"X\[3, 2\]")
    return f"{count + 2} values, each one ValueError that names it"


@row("B08", "a relative memory, and the model loaded in another folder", "the same store, 0 paid")
def _(c):
    code = (
        "import os, sys; from sklfusion import LLMScorer, persistence\n"
        "os.chdir(sys.argv[1])\n"
        "made = LLMScorer('loopback', classes=['sport', 'food'], strategy='label',\n"
        "                 base_url=sys.argv[2], memory='store', calibrate=False).fit(['x'])\n"
        "made.transform(['note about sport'])\n"
        "persistence.save(made, 'm.sklf')\n"
        "os.makedirs('elsewhere'); os.chdir('elsewhere')\n"
        "again = persistence.load('../m.sklf')\n"
        "again.transform(['note about sport'])\n"
        "print(os.listdir('.'))\n"
    )
    said = c.python(code, c.folder, c.server.base_url)
    assert said == "[]", said
    assert c.server.ledger().received == 1
    return "1 request for two runs, no store made elsewhere"
