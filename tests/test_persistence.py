"""Saved models: they come back equal, hold no pickle, and stand in whole files."""

import json
import os
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest
from _bundles import STORED, make_auto, tree_of, with_tree
from _fusion_data import short
from sklearn.base import BaseEstimator, clone
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.preprocessing import StandardScaler

import sklfusion
from sklfusion import (
    Annotations,
    EncoderTraining,
    FusionClassifier,
    LabelDiffusion,
    MultiLabelCalibrator,
    PersistenceError,
    RecordedScorer,
    persistence,
)
from sklfusion.persistence._archive import MEMBERS
from sklfusion.persistence._names import ESTIMATORS, PARTS, class_of

#: What is promised: sums in another order, no more.
CLOSE = 1e-12


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


def round_trip(value, folder):
    """Save and load an estimator that carries a value as a parameter."""
    persistence.save(StandardScaler(copy=value), folder / "value.sklf")
    return persistence.load(folder / "value.sklf").copy


def test_a_pipeline_comes_back_with_equal_predictions(fitted, saved):
    """Probabilities are equal but for the order of sums, labels keep their type."""
    pipe, X = fitted
    again = persistence.load(saved)
    np.testing.assert_allclose(again.predict_proba(X), pipe.predict_proba(X), rtol=0, atol=CLOSE)
    assert again.predict(X).dtype == pipe.predict(X).dtype


def test_the_order_of_elements_is_kept(tmp_path):
    """BLAS sums in another order over rows than over columns, so an array keeps which it is."""
    columns = np.asfortranarray(np.arange(6.0).reshape(2, 3))
    again = round_trip([columns, columns.T, columns[:, ::2]], tmp_path)
    assert again[0].flags.f_contiguous
    assert again[1].flags.c_contiguous
    for one, other in zip(again, (columns, columns.T, columns[:, ::2]), strict=True):
        np.testing.assert_array_equal(one, other)
        one[0, 0] = 7.0  # and can be written to


def test_the_file_holds_no_pickle_and_no_private_name(saved, tmp_path):
    """Three members, JSON and safetensors, and types by their public names."""
    rng = np.random.default_rng(0)
    X = np.hstack([rng.normal(size=(40, 3)), np.eye(2)[np.arange(40) % 2]])
    persistence.save(FusionClassifier().fit(X, np.arange(40) % 2), tmp_path / "fusion.sklf")
    for path in (saved, tmp_path / "fusion.sklf"):
        with zipfile.ZipFile(path) as archive:
            assert sorted(archive.namelist()) == sorted(MEMBERS)
            for name in archive.namelist():
                assert not archive.read(name).startswith(b"\x80")
        types = persistence.info(path)["types"]
        assert types
        assert not [name for name in types if "._" in name or "sklfusion" in name]


def test_plain_values_survive(tmp_path):
    """Tuples, slices, sets, bytes, scalars, dtypes and paths are told apart."""
    value = {
        "t": (1, 2.5, None, True),
        "s": slice(None, -3),
        "f": np.float32(0.25),
        "b": b"\x00\x01",
        3: {"x"},
        ("a", 1): frozenset({1, 2}),
        "u": np.str_("ü"),
        "d": np.float32,
        "D": np.dtype("int16"),
        "p": Path("some") / "where",
        "e": [],
        "big": 2**80,
    }
    again = round_trip(value, tmp_path)
    assert again == value
    assert {type(v) for v in again.values()} == {type(v) for v in value.values()}
    assert np.isnan(round_trip(float("nan"), tmp_path))


@pytest.mark.parametrize(
    "array",
    [
        np.array(["a", "ünïcode", ""]),
        np.array([b"ab", b""]),
        np.array([["a", None], [3, (1, "x")]], dtype=object),
        np.zeros((0, 3), dtype="<U4"),
        np.array("alone"),
        np.array(["", ""]),
        np.array(["b", "a"], dtype=">U2"),
        np.arange(6, dtype=np.int8).reshape(2, 3)[:, ::2],
        np.array(3.5),
        np.zeros((2, 0)),
        np.array([True, False]),
        np.array([1.5], dtype=np.float16),
    ],
    ids=lambda a: f"{a.dtype}{a.shape}",
)
def test_arrays_survive(tmp_path, array):
    """Any shape, strings of any kind, objects."""
    again = round_trip(array, tmp_path)
    assert again.shape == array.shape
    assert again.dtype == array.dtype.newbyteorder("=")
    assert again.tolist() == array.tolist()


def test_annotations_survive(tmp_path):
    """A recorded scorer carries its answers along."""
    a = Annotations(["a", "b"], probs=[[0.2, 0.8], [np.nan, np.nan]], meta={"model": "m"})
    again = round_trip(a, tmp_path)
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
    clf = FusionClassifier(**short(fusion, max_epochs=3)).fit(X, target)
    persistence.save(clf, tmp_path / "m.sklf")
    again = persistence.load(tmp_path / "m.sklf")
    np.testing.assert_allclose(again.predict_proba(X), clf.predict_proba(X), rtol=0, atol=CLOSE)
    again.partial_fit(X, target)


@pytest.mark.parametrize("method", ["sigmoid", "temperature", "isotonic"])
def test_calibration_comes_back(tmp_path, method):
    """Its maps are records of the table."""
    rng = np.random.default_rng(0)
    p = rng.random((60, 3))
    clf = MultiLabelCalibrator(method=method).fit(p, (rng.random((60, 3)) < p).astype(int))
    persistence.save(clf, tmp_path / "m.sklf")
    again = persistence.load(tmp_path / "m.sklf")
    np.testing.assert_allclose(again.predict_proba(p), clf.predict_proba(p), rtol=0, atol=CLOSE)


def test_a_whole_pipeline_of_texts_comes_back(tmp_path):
    """Recorded answers, embedder and fusion in one file; what was one object is one again."""
    texts = [f"text {i}" for i in range(40)]
    auto = make_auto(texts, ["ham", "spam"] * 20)
    persistence.save(auto, tmp_path / "m.sklf")
    again = persistence.load(tmp_path / "m.sklf")
    np.testing.assert_allclose(
        again.predict_proba(texts), auto.predict_proba(texts), rtol=0, atol=CLOSE
    )
    assert again.fusion_ is again.pipeline_.named_steps["fusion"]


def check_outputs(number, expected):
    """Stored files give the outputs that stand beside them."""
    for name, case in expected.items():
        model = persistence.load(STORED / f"{name}_v{number}.sklf")
        texts = isinstance(case["X"][0], str)
        X = case["X"] if texts else np.array(case["X"])
        method = "predict_proba" if hasattr(model, "predict_proba") else "transform"
        found = np.asarray(getattr(model, method)(X), dtype=float)
        np.testing.assert_allclose(found, case["outputs"], rtol=0, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("number", [1, 2])
def test_stored_models_of_every_format_load(number):
    """Files that earlier versions wrote give what they gave then."""
    expected = json.loads((STORED / f"expected_v{number}.json").read_text(encoding="utf-8"))
    assert len(expected) == 9
    check_outputs(number, expected)


#: Stored files of estimators that were not fitted: there it is their parameters that count.
UNFITTED = ("trajectory", "sidyp", "sidyp_legacy", "diffusion")


@pytest.mark.parametrize("number", [1, 2])
def test_parameters_that_became_nested_are_moved(number):
    """Files in which they stood flat give what they gave, and can be shown and cloned."""
    path = STORED / f"expected_flat_v{number}.json"
    expected = json.loads(path.read_text(encoding="utf-8"))
    check_outputs(number, expected)
    model = {p: persistence.load(STORED / f"{p}_v{number}.sklf") for p in (*expected, *UNFITTED)}
    told = {"module__activation": "gelu", "optimizer__weight_decay": 0.1}
    assert model["concat"].net_params == told
    assert model["concat"].fusion == "concat"
    peak = {"lr": 1e-2, "head_lr": 5e-2, "batch_size": 8}
    wanted = {
        "tuned": EncoderTraining(max_epochs=3, freeze_layers=1, patience=1, **peak),
        "pairs": EncoderTraining("contrastive", contrastive_steps=10, lr=1e-2, batch_size=8),
        "joint": EncoderTraining(
            max_epochs=3, warmup=0.2, weight_decay=0.02, gradient_clipping=0.5, **peak
        ),
        "trajectory": EncoderTraining(
            max_epochs=2, lr=1e-2, head_lr=2e-2, batch_size=8, warmup=0.06, freeze_layers=-1
        ),
    }
    for name, training in wanted.items():
        held = getattr(model[name], "fine_tune" if name in ("tuned", "pairs") else "training")
        assert held.get_params() == training.get_params(), name
    sidyp = model["sidyp"].get_params()
    found = [sidyp[name] for name in ("encoder__n_epochs", "prior__n_neighbors", "noise_ratio")]
    assert found == [4, 15, 0.2]
    assert (sidyp["diffusion__lr"], sidyp["diffusion__hidden_dim"]) == (2e-3, 32)
    assert model["sidyp_legacy"].legacy
    wanted = LabelDiffusion(n_epochs=6, lr=4e-3, hidden_dim=24, n_resample=1, legacy=True)
    assert model["diffusion"].diffusion.get_params() == wanted.get_params()
    for name, one in model.items():
        flat = set(one.get_params(deep=False))
        assert flat == set(type(one)().get_params(deep=False)), name
        assert set(vars(one)) & {"lr", "encoder_lr", "max_epochs"} <= flat, name
        clone(one)


@pytest.mark.parametrize("number", [1, 2])
def test_a_stored_scorer_loads(number):
    """Prompt, examples and prices travel along; so does the word on where it would send."""
    path = STORED / f"scorer_v{number}.sklf"
    scorer = persistence.load(path)
    assert scorer.get_feature_names_out().tolist() == ["llm_ham", "llm_spam"]
    assert scorer.prices == (1.0, 2.0)
    assert scorer.class_descriptions == {"spam": "unwanted"}
    told = persistence.info(path)
    assert told["format"] == number
    assert told["endpoints"][0]["address"] == "http://127.0.0.1:9/v1"
    assert told["memory"] == ["~/.cache/never-made"]


def test_a_parameter_that_came_later_has_its_default(tmp_path):
    """A file written before a parameter was there loads, and can be shown and cloned."""
    path = tmp_path / "m.sklf"
    persistence.save(RecordedScorer({"a": "x", "b": "y"}), path)
    tree = tree_of(path)
    del tree["state"]["output"]
    with_tree(path, tree)
    again = persistence.load(path)
    assert clone(again).get_params() == RecordedScorer({"a": "x", "b": "y"}).get_params()


def test_every_public_estimator_has_a_name_in_files():
    """A new estimator is not forgotten, and every name leads to a class."""
    public = {n for n in sklfusion.__all__ if isinstance(getattr(sklfusion, n), type)}
    estimators = {n for n in public if issubclass(getattr(sklfusion, n), BaseEstimator)}
    assert estimators <= ESTIMATORS
    for name in PARTS:
        assert isinstance(class_of(name), type), name


def test_files_can_be_moved(saved, fitted, tmp_path):
    """No path is written into the file."""
    moved = tmp_path / "elsewhere" / "m.sklf"
    moved.parent.mkdir()
    saved.rename(moved)
    pipe, X = fitted
    np.testing.assert_array_equal(persistence.load(moved).predict(X), pipe.predict(X))
    assert str(tmp_path) not in json.dumps(tree_of(moved))


@pytest.mark.parametrize("path", ["a\0b", "", None, 3])
def test_paths_that_cannot_be_are_one_clear_error(path):
    """NUL, nothing, and what is no path, for both ways."""
    for call in (lambda: persistence.save(StandardScaler(), path), lambda: persistence.load(path)):
        with pytest.raises((PersistenceError, OSError)) as caught:
            call()
        assert "partial" not in str(caught.value)


def test_errors_name_the_path_given(tmp_path):
    """Not the name of a file on the way."""
    for path in (tmp_path / "none" / "m.sklf", tmp_path / ("n" * 300), tmp_path):
        with pytest.raises(OSError) as caught:
            persistence.save(StandardScaler(), path)
        assert str(path) in str(caught.value)
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    with pytest.raises(PersistenceError, match="loop"):
        persistence.load(loop)
    assert [p.name for p in tmp_path.iterdir()] == ["loop"]


def test_the_longest_name_that_a_folder_takes_is_written(tmp_path):
    """What is written on the way has a short name."""
    path = tmp_path / ("n" * 250 + ".sklf")
    persistence.save(StandardScaler(), path)
    assert isinstance(persistence.load(path), StandardScaler)


def test_a_save_that_fails_leaves_the_old_model(tmp_path, monkeypatch):
    """A full disk, or Ctrl-C, in the middle: the file of before, and nothing beside it."""
    path = tmp_path / "m.sklf"
    persistence.save(StandardScaler(with_mean=False), path)
    for error in (OSError(28, "No space left on device"), KeyboardInterrupt()):

        def fail(descriptor, error=error):
            raise error

        monkeypatch.setattr(os, "fsync", fail)
        with pytest.raises(type(error)):
            persistence.save(StandardScaler(), path)
        monkeypatch.undo()
        assert persistence.load(path).with_mean is False
        assert [p.name for p in tmp_path.iterdir()] == ["m.sklf"]


def test_many_writers_of_one_path_leave_a_whole_model(tmp_path):
    """Processes write models of their own to one path while this one reads."""
    path = tmp_path / "m.sklf"
    persistence.save(StandardScaler(copy=["start"] * 20_000), path)
    code = (
        "import sys; from sklearn.preprocessing import StandardScaler\n"
        "from sklfusion import persistence\n"
        "for n in range(15):\n"
        "    persistence.save(StandardScaler(copy=[sys.argv[1]] * 20_000), sys.argv[2])\n"
    )
    writers = [
        subprocess.Popen([sys.executable, "-c", code, name, str(path)]) for name in ("one", "two")
    ]
    seen = set()
    while any(w.poll() is None for w in writers):
        words = set(persistence.load(path).copy)
        assert len(words) == 1
        seen |= words
    assert [w.returncode for w in writers] == [0, 0]
    assert set(persistence.load(path).copy) <= {"one", "two"}
    assert [p.name for p in tmp_path.iterdir()] == ["m.sklf"]


def test_threads_may_save_to_one_path(tmp_path):
    """Each writes a file of its own first."""
    path = tmp_path / "m.sklf"
    made = [StandardScaler(copy=[n] * 1000) for n in range(4)]
    threads = [threading.Thread(target=persistence.save, args=(m, path)) for m in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(persistence.load(path).copy)) == 1
