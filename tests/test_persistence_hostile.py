"""Saved models that are damaged or hostile: one error of ours, and no harm."""

import base64
import json
import subprocess
import sys
import tracemalloc
import warnings
import zipfile

import numpy as np
import pytest
from _bundles import STORED, rewrite, tree_of, with_tree
from sklearn.base import BaseEstimator
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from sklfusion import (
    EncoderTraining,
    FusionClassifier,
    PersistenceError,
    RobertaEmbedder,
    persistence,
)


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "model.sklf"
    persistence.save(LogisticRegression().fit([[0.0], [1.0]], ["a", "b"]), path)
    return path


def round_trip(value, folder):
    """Save and load an estimator that carries a value as a parameter."""
    persistence.save(StandardScaler(copy=value), folder / "value.sklf")
    return persistence.load(folder / "value.sklf").copy


def test_what_needs_pickle_is_refused_with_its_place(tmp_path):
    """The message says which attribute, and what to do; no file is begun."""
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


def test_a_value_that_holds_itself_is_refused(tmp_path):
    """A cycle is an error, not a full stack."""
    inner = []
    inner.append(inner)
    scaler = StandardScaler()
    scaler.with_mean = scaler
    for value in (StandardScaler(copy=inner), scaler):
        with pytest.raises(PersistenceError, match="holds itself"):
            persistence.save(value, tmp_path / "m.sklf")


@pytest.mark.parametrize(
    "name",
    [
        "os.system",
        "builtins.eval",
        "sklearn.utils.Bunch",
        "sklearn.base.clone",
        "sklearn.pipeline.Bunch",
        "sklearn..x",
        "sklearn.linear_model",
        "sklearn.linear_model.NoSuchThing",
        "sklfusion.fusion._net.FusionNet",
        "FusionMLP",
        "make_fusion_pipeline",
        "fusion_net",
        3,
        None,
    ],
)
def test_types_outside_the_table_are_refused(saved, name):
    """Whatever a file names, only what the table has is built."""
    with_tree(saved, {"type": name, "state": {}})
    with pytest.raises(PersistenceError):
        persistence.load(saved)


def test_the_whole_tree_is_looked_at_before_anything_is_imported(saved):
    """One unknown type at the end, and nothing before it has been built or imported."""
    good = {"type": "sklearn.gaussian_process.GaussianProcessClassifier", "state": {}}
    bad = {"type": "os.path.Evil", "state": {}}
    with_tree(saved, [good, {"type": "SiDyPClassifier", "state": {}}, bad])
    code = (
        "import sys; from sklfusion import persistence\n"
        "from sklfusion import PersistenceError\n"
        f"told = persistence.info({str(saved)!r})\n"
        f"try: persistence.load({str(saved)!r})\n"
        "except PersistenceError as error: print('Evil' in str(error))\n"
        "print(told['unknown_types'], 'sklearn.gaussian_process' in sys.modules, "
        "'sklfusion.noise.sidyp' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.split("\n")[:2] == ["True", "['os.path.Evil'] False False"]


def _array(**changes):
    return {"type": "array", "tensor": "t0", "shape": [4], "order": "C", **changes}


def _strings(**changes):
    return {"type": "strings", "tensor": "t1", "dtype": "<U1", "shape": [2], **changes}


MALFORMED = {
    "no type": {"decode": 1},
    "empty": {},
    "unknown": {"type": "import", "items": []},
    "state is a list": {"type": "VoteStudent", "state": []},
    "stowaway field": {"type": "tuple", "items": [], "more": 1},
    "dunder": {"type": "VoteStudent", "state": {"__class__": 1}},
    "no identifier": {"type": "VoteStudent", "state": {"a b": 1}},
    "missing array": _array(tensor="t9"),
    "array of no name": _array(tensor=None),
    "wrong shape": _array(shape=[3]),
    "negative shape": _array(shape=[-1]),
    "huge shape": _array(shape=[2**62, 4]),
    "huge int in shape": _array(shape=[10**400]),
    "shape of floats": _array(shape=[4.0]),
    "shape of bools": _array(shape=[True, 4]),
    "order": _array(order="K"),
    "wide strings": _strings(dtype="<U50000000"),
    "strings of objects": _strings(dtype="|O8"),
    "unknown dtype": _strings(dtype="hello"),
    "no characters": _strings(tensor="t2"),
    "scalar of a list": {"type": "scalar", "value": [1]},
    "scalar of many": {"type": "scalar", "value": _array()},
    "object count": {"type": "objects", "items": [1], "shape": [2]},
    "objects without items": {"type": "objects", "items": None, "shape": [0]},
    "pairs of three": {"type": "dict", "items": [[1, 2, 3]]},
    "pairs of none": {"type": "dict", "items": [None]},
    "unhashable key": {"type": "dict", "items": [[[], 1]]},
    "unhashable member": {"type": "set", "items": [[]]},
    "slice of two": {"type": "slice", "items": [1, 2]},
    "slice of text": {"type": "slice", "items": ["a", "b", "c"]},
    "no base64": {"type": "bytes", "base64": "!"},
    "bytes of none": {"type": "bytes", "base64": None},
    "NUL in a path": {"type": "path", "path": "a\0b"},
    "dtype of code": {"type": "dtype", "dtype": "O,(10000000,)f8", "scalar": False},
    "same before": {"type": "same", "as": 0},
    "same as itself": {"type": "Pipeline", "state": {"steps": {"type": "same", "as": 0}}},
    "same as text": {"type": "same", "as": "0"},
    "record with a field too many": {"type": "task", "state": {"nonsense": 1}},
    "record without fields": {"type": "score_block", "state": {}},
    "net without state": {"type": "fusion_net", "state": {}},
    "net of no weights": {"type": "fusion_net", "state": {"module": 1, "weights": 2}},
    "address that is no text": {"type": "LLMScorer", "state": {"base_url": [1]}},
    "address that is none": {"type": "LLMScorer", "state": {"base_url": "ftp://x"}},
}


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed_nodes_are_refused(saved, case):
    """One error of ours, whatever is wrong."""
    arrays = {
        "t0": np.arange(4.0),
        "t1": np.frombuffer("ab".encode("utf-32-le"), np.uint8),
        "t2": np.full(8, 255, np.uint8),
    }
    with_tree(saved, [MALFORMED[case]], **arrays)
    with pytest.raises(PersistenceError):
        persistence.load(saved)


def test_a_net_that_asks_for_more_than_its_weights_is_refused(tmp_path):
    """Layer sizes are compared with the weights before anything is allocated."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(40, 3)), np.arange(40) % 2
    path = tmp_path / "m.sklf"
    persistence.save(FusionClassifier(fusion="concat", max_epochs=1).fit(X, y), path)
    text = json.dumps(tree_of(path))
    sizes = '{"type": "tuple", "items": [64, 32]}'
    assert text.count(sizes) == 2  # the parameter, and what the net was made with
    huge = text.replace(sizes, '{"type": "tuple", "items": [1000000, 1000000]}')
    rewrite(path, model__json=huge.encode())
    tracemalloc.start()
    with pytest.raises(PersistenceError, match="do not fit"):
        persistence.load(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 50e6


def test_deep_nesting_is_refused(saved):
    """A hundred thousand brackets do not overflow the stack, nor do five hundred."""
    for depth in (500, 100_000):
        rewrite(saved, model__json=b"[" * depth + b"]" * depth)
        with pytest.raises(PersistenceError):
            persistence.load(saved)


def test_huge_integers_are_refused_or_read(saved):
    """Python refuses to read an int of 5,000 digits, and that is told as ours."""
    rewrite(saved, model__json=b"1" * 5000)
    with pytest.raises(PersistenceError, match="cannot be read"):
        persistence.load(saved)


def test_a_changed_member_is_noticed(saved):
    """Digests in the manifest must match."""
    with zipfile.ZipFile(saved) as archive:
        manifest = json.loads(archive.read("manifest.json"))
        model = archive.read("model.json")
    rewrite(saved, manifest=manifest, model__json=model + b" ")
    with pytest.raises(PersistenceError, match="digest"):
        persistence.load(saved)


def test_extra_members_and_paths_are_refused(saved):
    """No path traversal, no stowaways, no member twice."""
    for name in ("../evil.py", "model.json"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with zipfile.ZipFile(saved, "a") as archive:
                archive.writestr(name, b"print('hi')")
        with pytest.raises(PersistenceError, match="exactly"):
            persistence.load(saved)


def test_a_newer_format_names_both_numbers(saved):
    """An old reader says what it can read."""
    rewrite(saved, manifest={"format": persistence.FORMAT + 1, "sha256": {}})
    with pytest.raises(PersistenceError, match=r"format 3; this sklfusion reads up to 2"):
        persistence.load(saved)


@pytest.mark.parametrize(
    "manifest", [{}, [], None, {"format": "2"}, {"format": True}, {"format": 0}, {"format": 2}]
)
def test_a_manifest_without_sense_is_refused(saved, manifest):
    """A format number, and digests."""
    rewrite(saved, manifest=manifest or {"a": manifest})
    with pytest.raises(PersistenceError):
        persistence.load(saved)


@pytest.mark.parametrize("data", [b"", b"not a zip", b"PK\x03\x04 cut"])
def test_damaged_files_are_refused(tmp_path, data):
    """Whatever lies at the path, the error is ours."""
    path = tmp_path / "m.sklf"
    path.write_bytes(data)
    with pytest.raises(PersistenceError, match="not a saved model"):
        persistence.load(path)


@pytest.mark.parametrize("number", [1, 2])
def test_memory_is_bounded_by_the_size_of_the_file(tmp_path, number):
    """A small file that claims much is refused while it is small, in both formats."""
    path = tmp_path / "m.sklf"
    path.write_bytes((STORED / f"pipeline_v{number}.sklf").read_bytes())
    wide = {"__objects__": ["a"] * 5, "shape": [5], "dtype": "<U50000000"}
    bombs = [dict(model__json=b" " * 60_000_000), dict(model__json=json.dumps(wide).encode())]
    for members in bombs:
        rewrite(path, **members)
        assert path.stat().st_size < 100_000
        tracemalloc.start()
        with pytest.raises(PersistenceError):
            persistence.load(path)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 20e6


def test_what_packs_well_is_written_so_that_it_can_be_read(tmp_path):
    """Ten megabytes of zeros would unpack to a thousand times their size; they are not packed."""
    again = round_trip(np.zeros(10_000_000, dtype=np.uint8), tmp_path)
    assert not again.any()
    texts = [f"text {i} of many" for i in range(5000)]
    assert round_trip(texts, tmp_path) == texts
    assert (tmp_path / "value.sklf").stat().st_size < sum(map(len, texts)) / 2


@pytest.mark.parametrize("name", ["pipeline_v1", "auto_v1", "recorded_v1", "auto_v2", "scorer_v2"])
def test_mutated_files_load_or_raise_our_error(tmp_path, name):
    """Bytes changed, cut and doubled; values in the tree swapped for others: nothing else."""
    rng = np.random.default_rng(len(name))
    path = tmp_path / "m.sklf"
    whole = (STORED / f"{name}.sklf").read_bytes()
    with zipfile.ZipFile(STORED / f"{name}.sklf") as archive:
        text = archive.read("model.json").decode()
    refused = 0
    for round_ in range(150):
        data = bytearray(whole)
        if round_ % 3 == 0:
            data[rng.integers(len(data))] = rng.integers(256)
        elif round_ % 3 == 1:
            del data[rng.integers(len(data)) :]
        path.write_bytes(data)
        if round_ % 3 == 2:
            rewrite(path, model__json=_mutated(text, rng).encode())
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                persistence.load(path)
        except PersistenceError:
            refused += 1
    assert refused > 60


def _mutated(text, rng):
    """A tree in which one number, word or bracket is another one."""
    swaps = (
        "0",
        "-1",
        "null",
        "[]",
        "{}",
        '"x"',
        "1e999",
        "99999999999999999999",
        "[[0]]",
        "true",
    )
    tokens = [t for t in ('"shape"', '"tensor"', '"dtype"', '"items"', '"state"') if t in text]
    if tokens and rng.random() < 0.5:
        token = tokens[rng.integers(len(tokens))]
        places = [i for i in range(len(text)) if text.startswith(token + ": ", i)]
        start = places[rng.integers(len(places))] + len(token) + 2
        _, end = json.JSONDecoder().raw_decode(text, start)
        return text[:start] + swaps[rng.integers(len(swaps))] + text[end:]
    start = int(rng.integers(len(text)))
    return text[:start] + swaps[rng.integers(len(swaps))] + text[start + 1 :]


def test_an_encoder_that_asks_for_more_than_its_weights_is_refused(tmp_path, tiny_roberta):
    """Its configuration is compared with the weights that are there before it takes memory."""
    texts, labels = ["the bank", "the cup", "a rate", "a goal"] * 4, ["money", "sport"] * 8
    embedder = RobertaEmbedder(
        tiny_roberta, fine_tune=EncoderTraining(max_epochs=1, validation_fraction=0)
    )
    path = tmp_path / "m.sklf"
    persistence.save(embedder.fit(texts, labels), path)
    assert persistence.load(path).transform(texts).shape == (16, 2)
    tree = tree_of(path)
    files = tree["state"]["trainer_"]["state"]["_files"]["items"]
    for name, node in files:
        if name == "config.json":
            config = json.loads(base64.b64decode(node["base64"]))
            config["vocab_size"] = 10**9
            node["base64"] = base64.b64encode(json.dumps(config).encode()).decode()
    with_tree(path, tree)
    with pytest.raises(PersistenceError, match="asks for"):
        persistence.load(path)
