"""A fusion as an ONNX graph gives the probabilities of the fusion."""

import warnings

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError

from sklfusion import FusionClassifier
from sklfusion.fusion import to_onnx

runtime = pytest.importorskip("onnxruntime", reason="needs the extra onnx")
pytest.importorskip("onnxscript", reason="needs the extra onnx")


def data(n=120, n_classes=3, seed=0):
    """Embeddings, votes and probabilities of classes, some without an answer."""
    rng = np.random.RandomState(seed)
    y = rng.randint(n_classes, size=n)
    E = rng.normal(size=(n, 6)) + y[:, None]
    votes = np.eye(n_classes)[np.where(rng.random(n) < 0.8, y, rng.randint(n_classes, size=n))]
    soft = rng.dirichlet(np.ones(n_classes), size=n) * 0.5 + votes * 0.5
    votes[:5] = 1 / n_classes
    soft[5:9] = np.nan
    return np.hstack([E, votes, np.log(soft)]).astype(np.float32), y


def export(clf):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own, of its exporter
        return to_onnx(clf)


def run(model, X):
    options = runtime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    session = runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return session.run(None, {"X": X})[0], session.get_modelmeta().custom_metadata_map


@pytest.mark.parametrize(
    "params",
    [
        {},
        pytest.param({"loss": "binary_cross_entropy"}, marks=pytest.mark.nightly),
        {"residual": True, "guard": False, "max_epochs": 3},
        pytest.param({"fusion": "concat", "max_epochs": 3}, marks=pytest.mark.nightly),
    ],
    ids=str,
)
def test_classes(params):
    """Votes, log-probabilities, rows without an answer; any number of rows."""
    X, y = data()
    settings = {"score_columns": slice(6, 12), "random_state": 0, **params}
    clf = FusionClassifier(**settings).fit(X[:100], np.array(["a", "b", "c"])[y[:100]])
    model = export(clf)
    for rows in (X, X[100:101]):
        found, told = run(model, rows)
        np.testing.assert_allclose(found, clf.predict_proba(rows), atol=1e-5)
    assert told["classes"] == "['a', 'b', 'c']"


def test_an_embedding_alone():
    """Without scores the graph holds the encoder's evidence."""
    X, y = data()
    clf = FusionClassifier(random_state=0).fit(X[:, :6], y)
    np.testing.assert_allclose(
        run(export(clf), X[:, :6])[0], clf.predict_proba(X[:, :6]), atol=1e-5
    )


def test_several_labels(tmp_path):
    """Independent labels, whose probabilities do not add up to 1; and a file of the model."""
    rng = np.random.RandomState(0)
    Y = (rng.random((120, 3)) < 0.4).astype(int)
    votes = np.where(rng.random((120, 3)) < 0.85, Y, 1 - Y).astype(float)
    votes[:4] = 0.5
    X = np.hstack([rng.normal(size=(120, 5)) + Y[:, :1], votes]).astype(np.float32)
    seen = Y * [1, 1, 0]  # the last label has trusts of its own
    clf = FusionClassifier(score_columns=slice(5, 8), random_state=0).fit(X, seen)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = to_onnx(clf, tmp_path / "head.onnx")
    found, _ = run(model, X)
    np.testing.assert_allclose(found, clf.predict_proba(X), atol=1e-5)
    assert (tmp_path / "head.onnx").read_bytes() == model


def test_what_has_no_head():
    """Not fitted, and not a fusion."""
    with pytest.raises(NotFittedError):
        to_onnx(FusionClassifier())
    with pytest.raises(TypeError, match="fitted FusionClassifier"):
        to_onnx(object())
