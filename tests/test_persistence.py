"""Saved models: they come back equal, hold no pickle, and hostile files are refused."""

import io
import json
import warnings
import zipfile

import numpy as np
import pytest
from sklearn.base import BaseEstimator
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from sklfusion import (
    Annotations,
    AutoFusionClassifier,
    FusionClassifier,
    PersistenceError,
    RecordedScorer,
    persistence,
)


@pytest.fixture
def fitted():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 5))
    y = np.where(X[:, 0] > 0, "pos", "neg")
    union = FeatureUnion([("scale", StandardScaler()), ("pca", PCA(2))])
    return Pipeline([("features", union), ("head", LogisticRegression())]).fit(X, y), X


@pytest.fixture
def saved(fitted, tmp_path):
    path = tmp_path / "model.sklf"
    persistence.save(fitted[0], path)
    return path


def _rewrite(path, **changes):
    """Write the file again with some members replaced and the digests made to fit."""
    import hashlib

    with zipfile.ZipFile(path) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    contents.update({name.replace("__", "."): data for name, data in changes.items()})
    manifest = json.loads(contents["manifest.json"])
    for name in persistence.MEMBERS[1:]:
        manifest["sha256"][name] = hashlib.sha256(contents[name]).hexdigest()
    if "manifest__json" not in changes:
        contents["manifest.json"] = json.dumps(manifest).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in contents.items():
            archive.writestr(name, data)


def test_a_pipeline_comes_back_with_equal_predictions(fitted, saved):
    """Probabilities are equal to the last bit, labels keep their type."""
    pipe, X = fitted
    again = persistence.load(saved)
    np.testing.assert_array_equal(again.predict_proba(X), pipe.predict_proba(X))
    assert again.predict(X).dtype == pipe.predict(X).dtype


def test_the_file_holds_no_pickle(saved):
    """Three members, JSON and safetensors."""
    with zipfile.ZipFile(saved) as archive:
        assert sorted(archive.namelist()) == sorted(persistence.MEMBERS)
        for name in archive.namelist():
            assert not archive.read(name).startswith(b"\x80")


def test_plain_values_survive():
    """Tuples, slices, sets, bytes, scalars and annotations are told apart."""
    value = {
        "t": (1, 2.5),
        "s": slice(None, -3),
        "f": np.float32(0.25),
        "b": b"\x00\x01",
        "n": float("nan"),
        3: {"x"},
        "o": np.array([["a", None]], dtype=object),
    }
    tensors = {}
    tree = json.loads(json.dumps(persistence._Encoder(tensors).encode(value, "v")))
    again = persistence._Decoder(tensors).decode(tree)
    assert np.isnan(again.pop("n"))
    assert np.isnan(value.pop("n"))
    assert (again.pop("o") == value.pop("o")).all()
    assert again == value
    assert type(again["f"]) is np.float32


def test_annotations_survive():
    """A recorded scorer carries its answers along."""
    a = Annotations(["a", "b"], probs=[[0.2, 0.8], [np.nan, np.nan]], meta={"model": "m"})
    tensors = {}
    tree = persistence._Encoder(tensors).encode(a, "a")
    again = persistence._Decoder(tensors).decode(tree)
    np.testing.assert_array_equal(again.probs, a.probs)
    assert again.meta == a.meta
    assert again.status.tolist() == a.status.tolist()


@pytest.mark.parametrize("fusion", ["anchored", "concat"])
@pytest.mark.parametrize("multilabel", [False, True])
def test_a_fusion_comes_back_with_equal_predictions(tmp_path, fusion, multilabel):
    """The torch module travels as tensors, and can be trained further."""
    rng = np.random.default_rng(0)
    y = rng.integers(3, size=80)
    X = np.hstack([rng.normal(size=(80, 4)) + y[:, None], np.eye(3)[y]])
    target = np.eye(3, dtype=int)[y] if multilabel else y
    clf = FusionClassifier(fusion=fusion, max_epochs=3, random_state=0).fit(X, target)
    persistence.save(clf, tmp_path / "m.sklf")
    again = persistence.load(tmp_path / "m.sklf")
    np.testing.assert_array_equal(again.predict_proba(X), clf.predict_proba(X))
    np.testing.assert_array_equal(again.predict(X), clf.predict(X))
    again.partial_fit(X, target)


def test_a_whole_pipeline_of_texts_comes_back(tmp_path):
    """Recorded answers, embedder and fusion in one file."""
    texts = [f"text {i}" for i in range(40)]
    labels = ["ham", "spam"] * 20
    embedder = Pipeline([("tfidf", TfidfVectorizer()), ("svd", TruncatedSVD(3, random_state=0))])
    auto = AutoFusionClassifier(
        RecordedScorer(dict(zip(texts, labels, strict=True)), classes=["ham", "spam"]),
        embedder,
        random_state=0,
    ).fit(texts, labels)
    persistence.save(auto, tmp_path / "m.sklf")
    again = persistence.load(tmp_path / "m.sklf")
    np.testing.assert_array_equal(again.predict_proba(texts), auto.predict_proba(texts))


def test_what_needs_pickle_is_refused_with_its_place(tmp_path):
    """The message says which attribute, and what to do."""
    forest = RandomForestClassifier(2).fit([[0.0], [1.0]], [0, 1])
    with pytest.raises(PersistenceError, match=r"estimators_\[0\]\.tree_.*joblib"):
        persistence.save(forest, tmp_path / "m.sklf")
    with pytest.raises(PersistenceError, match=r"FunctionTransformer\.func"):
        persistence.save(FunctionTransformer(np.log), tmp_path / "m.sklf")
    assert list(tmp_path.iterdir()) == []


def test_foreign_estimators_are_refused(tmp_path):
    """Loading never imports modules outside sklfusion and scikit-learn."""

    class Mine(BaseEstimator):
        pass

    with pytest.raises(PersistenceError, match="only estimators of sklfusion"):
        persistence.save(Mine(), tmp_path / "m.sklf")


@pytest.mark.parametrize(
    "name",
    [
        "os.system",
        "builtins.eval",
        "sklearn.utils.Bunch",
        "sklearn.base.clone",
        "sklearn..x",
        "sklfusion.fusion._net.FusionNet",  # its __setstate__ is skorch's, which unpickles
        3,
    ],
)
def test_types_outside_the_table_are_refused(saved, name):
    """Whatever a file names, only estimators are built."""
    tree = json.dumps({"__estimator__": name, "state": {}}).encode()
    _rewrite(saved, model__json=tree)
    with pytest.raises(PersistenceError):
        persistence.load(saved)


@pytest.mark.parametrize(
    "tree", [{"__import__": "os"}, {"decode": 1}, {"__estimator__": "sklearn"}, [[[]]] * 2]
)
def test_unknown_tags_are_refused_or_plain(saved, tree):
    """A tag is looked up in a table of readers, never as an attribute at large."""
    _rewrite(saved, model__json=json.dumps(tree).encode())
    if isinstance(tree, list):
        assert persistence.load(saved) == tree
    else:
        with pytest.raises(PersistenceError):
            persistence.load(saved)


def test_deep_nesting_is_refused(saved):
    """A hundred thousand brackets do not overflow the stack."""
    _rewrite(saved, model__json=b"[" * 100_000 + b"]" * 100_000)
    with pytest.raises(PersistenceError):
        persistence.load(saved)


def test_a_changed_member_is_noticed(saved):
    """Digests in the manifest must match."""
    with zipfile.ZipFile(saved) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    contents["model.json"] = contents["model.json"].replace(b"pos", b"neg")
    with zipfile.ZipFile(saved, "w") as archive:
        for name, data in contents.items():
            archive.writestr(name, data)
    with pytest.raises(PersistenceError, match="digest"):
        persistence.load(saved)


def test_extra_members_and_paths_are_refused(saved):
    """No path traversal, no stowaways."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with zipfile.ZipFile(saved, "a") as archive:
            archive.writestr("../evil.py", b"print('hi')")
    with pytest.raises(PersistenceError, match="exactly"):
        persistence.load(saved)


def test_a_newer_format_names_both_numbers(saved):
    """An old reader says what it can read."""
    manifest = {"format": persistence.FORMAT + 1, "sha256": {}}
    _rewrite(saved, manifest__json=json.dumps(manifest).encode())
    with pytest.raises(PersistenceError, match=r"format 2; this sklfusion reads up to 1"):
        persistence.load(saved)


@pytest.mark.parametrize("data", [b"", b"not a zip", b"PK\x03\x04 cut"])
def test_damaged_files_are_refused(tmp_path, data):
    """Whatever lies at the path, the error is ours."""
    path = tmp_path / "m.sklf"
    path.write_bytes(data)
    with pytest.raises(PersistenceError, match="not a saved model"):
        persistence.load(path)


def test_a_huge_claim_is_refused(saved, monkeypatch):
    """The unpacked size is bounded before anything is read."""
    monkeypatch.setattr(persistence, "MAX_BYTES", 10)
    with pytest.raises(PersistenceError, match="claims"):
        persistence.load(saved)


def test_files_can_be_moved(saved, fitted, tmp_path):
    """No path is written into the file."""
    moved = tmp_path / "elsewhere" / "m.sklf"
    moved.parent.mkdir()
    saved.rename(moved)
    pipe, X = fitted
    np.testing.assert_array_equal(persistence.load(moved).predict(X), pipe.predict(X))
    with zipfile.ZipFile(moved) as archive:
        assert str(tmp_path).encode() not in io.BytesIO(archive.read("model.json")).read()
