"""Pieces of the reader: parameters that moved, files of format 1, addresses, the zip around it."""

import base64
import io
import json
import zipfile

import numpy as np
import pytest
from _bundles import rewrite, with_tree
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from sklfusion import Annotations, LLMEndpoint, PersistenceError, persistence
from sklfusion.persistence._archive import FORMAT, MEMBERS, check_path, pack, read_bundle, room
from sklfusion.persistence._audit import audit
from sklfusion.persistence._destinations import Destination, _covers
from sklfusion.persistence._format1 import upgrade
from sklfusion.persistence._names import PARTS, class_of, is_known, name_of, public_sklearn_name
from sklfusion.persistence._nested import nested

ROOM = 10_000


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "model.sklf"
    persistence.save(LogisticRegression().fit([[0.0], [1.0]], ["a", "b"]), path)
    return path


# -- parameters that moved -----------------------------------------------------------------


def test_a_state_of_today_is_left_alone():
    """Also that of a class of scikit-learn."""
    for name, state in [
        ("sklearn.svm.SVC", {"C": 2.0, "lr": 3}),
        ("FusionClassifier", {"net_params": {"lr": 0.1}}),
        ("SiDyPClassifier", {"encoder": None, "prior": None, "diffusion": None}),
        ("RobertaEmbedder", {"fine_tune": False, "long_texts": "chunk"}),
        ("LLMScorer", {"model": "openai/m", "classes": ["a"]}),
    ]:
        assert nested(name, dict(state)) == state


def test_parameters_of_the_net_go_into_it():
    """Only those that were set, and what stands there already has the last word."""
    told = nested("FusionClassifier", {"activation": "relu", "weight_decay": 0.5})
    assert told == {"net_params": {"optimizer__weight_decay": 0.5}}
    told = nested("FusionClassifier", {"activation": "gelu", "net_params": {"lr": 1}})
    assert told == {"net_params": {"module__activation": "gelu", "lr": 1}}
    assert nested("FusionClassifier", {"activation": "relu", "weight_decay": 0.01}) == {}
    state = {"activation": "gelu", "net_params": {"module__activation": "tanh"}}
    assert nested("FusionClassifier", state)["net_params"] == {"module__activation": "tanh"}


def test_a_state_that_is_converted_stays_as_it_was_for_others():
    """The file's own values are not changed."""
    state = {"activation": "gelu", "weight_decay": 0.1}
    nested("FusionClassifier", state)
    assert state == {"activation": "gelu", "weight_decay": 0.1}


@pytest.mark.parametrize(
    ("fine_tune", "method"), [(True, "cross_entropy"), ("contrastive", "contrastive")]
)
def test_training_of_an_encoder_becomes_settings(fine_tune, method):
    """Long texts were cut when the file was written, and still are."""
    state = {"fine_tune": fine_tune, "lr": 0.01, "train_batch_size": 4, "patience": 2}
    told = nested("RobertaEmbedder", state)
    training = told["fine_tune"]
    assert (training.method, training.lr, training.batch_size) == (method, 0.01, 4)
    assert training.patience == 2
    assert told["long_texts"] == "truncate"
    frozen = nested("RobertaEmbedder", {"fine_tune": False, "lr": 0.01})
    assert frozen == {"fine_tune": False, "long_texts": "truncate"}


def test_settings_of_a_scorer_become_its_endpoint():
    """A temperature of votes becomes a parameter of requests; defaults are not told."""
    state = {"model": "openai/m", "timeout": 7.0, "strategy": "votes", "temperature": 0.2}
    told = nested("LLMScorer", state)
    endpoint = told["model"]
    assert isinstance(endpoint, LLMEndpoint)
    assert (endpoint.model, endpoint.timeout) == ("openai/m", 7.0)
    assert endpoint.request_params == {"temperature": 0.2}
    assert "temperature" not in told
    state = {"model": "openai/m", "strategy": "votes", "temperature": 0.7}
    assert nested("LLMScorer", state)["model"] == "openai/m"
    held = LLMEndpoint("openai/m")
    told = nested("LLMClassifier", {"model": held, "budget": 2.0, "prices": (1.0, 2.0)})
    assert told["model"] is held
    assert (held.budget, held.prices) == (2.0, (1.0, 2.0))


def test_examples_chosen_by_an_embedder_keep_it():
    """It is what chooses them today."""
    told = nested("LLMScorer", {"model": "m", "shot_embedder": "an embedder"})
    assert told == {"model": "m", "shot_selection": "an embedder"}
    told = nested("LLMScorer", {"model": "m", "shot_embedder": None, "shot_selection": "random"})
    assert told == {"model": "m", "shot_selection": "random"}


def test_parts_of_sidyp_that_are_there_are_kept():
    """Flat parameters make a part only where none stands."""
    told = nested("SiDyPClassifier", {"n_neighbors": 7, "prior": None, "encoder": "mine"})
    assert told["prior"].n_neighbors == 7
    told = nested("SiDyPClassifier", {"n_branches": 2, "encoder": "mine"})
    assert told["encoder"] == "mine"


# -- names ---------------------------------------------------------------------------------


def test_names_and_classes_belong_together():
    """Every part has one name, and is found under it."""
    for name in PARTS:
        assert name_of(class_of(name)) == name
    assert name_of(DummyClassifier) == "sklearn.dummy.DummyClassifier"
    assert public_sklearn_name("sklearn.svm._classes.SVC") == "sklearn.svm.SVC"
    for foreign in (dict, LogisticRegression().__class__.__bases__[0], np.ndarray):
        assert name_of(foreign) is None


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("sklearn.linear_model.NoSuchThing", "does not exist here"),
        ("sklearn.pipeline.make_pipeline", "not an estimator"),
        ("sklearn.nowhere.Thing", "does not exist here"),
    ],
)
def test_names_without_an_estimator(name, words):
    """Neither functions nor modules are built."""
    with pytest.raises(PersistenceError, match=words):
        class_of(name)
    assert not is_known("sklearn.nowhere.Thing")
    assert not is_known("sklearn.pipeline.make_pipeline")


# -- files of format 1 ---------------------------------------------------------------------


def npz(**arrays):
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return base64.b64encode(buffer.getvalue()).decode()


def test_nodes_of_format_1_become_nodes_of_today():
    """Values stay; classes have the names of today."""
    tree = {
        "__estimator__": "sklearn.preprocessing._data.StandardScaler",
        "state": {
            "copy": {"__tuple__": [1, {"__set__": ["a"]}, {"__slice__": [0, None, 2]}]},
            "with_mean": {"__dict__": [["k", {"__bytes__": "YQ=="}]]},
            "with_std": {"__path__": "/tmp/x"},
        },
    }
    found = upgrade(tree, {}, ROOM)
    assert found["type"] == "sklearn.preprocessing.StandardScaler"
    assert found["state"]["copy"]["items"][2] == {"type": "slice", "items": [0, None, 2]}
    assert found["state"]["with_mean"] == {
        "type": "dict",
        "items": [["k", {"type": "bytes", "base64": "YQ=="}]],
    }
    assert found["state"]["with_std"] == {"type": "path", "path": "/tmp/x"}
    audit(found, {})
    record = upgrade({"__record__": "sklfusion.llm._prices.Price", "state": {}}, {}, ROOM)
    assert record["type"] == "price"
    strange = upgrade({"__record__": "somebody.Else", "state": {}}, {}, ROOM)
    assert audit(strange, {}).unknown == ["somebody.Else"]


def test_texts_of_format_1_become_a_table():
    """Counted against the room before they are made."""
    node = {"__objects__": ["ham", "é"], "shape": [2], "dtype": "<U3"}
    tensors = {}
    found = upgrade(node, tensors, ROOM)
    audit(found, tensors)
    assert (found["type"], found["shape"]) == ("strings", [2])
    assert tensors[found["tensor"]].tobytes().decode("utf-32-le").split("\0")[0] == "hamé"
    with pytest.raises(PersistenceError, match="more memory"):
        upgrade(node, {}, 23)
    mixed = upgrade({"__objects__": [1, "a"], "shape": [2], "dtype": "object"}, {}, ROOM)
    assert mixed == {"type": "objects", "items": [1, "a"], "shape": [2]}


def test_annotations_of_format_1_are_unpacked_in_bounds(tmp_path):
    """They were a zip file inside the tree."""
    path = tmp_path / "a.npz"
    made = Annotations(classes=["a", "b"], votes=np.array([[1.0, 0.0]]), status=np.array(["ok"]))
    made.to_npz(path)
    node = {"__annotations__": base64.b64encode(path.read_bytes()).decode()}
    tensors = {}
    found = upgrade(node, tensors, 100_000)
    audit(found, tensors)
    assert found["type"] == "annotations"
    with pytest.raises(PersistenceError, match="more memory"):
        upgrade(node, {}, 100)


@pytest.mark.parametrize(
    "node",
    [
        {"__import__": "os"},
        {"no tag": 1},
        {},
        {"__tuple__": "text"},
        {"__tensor__": "t0"},
        {"__estimator__": "sklearn.svm._classes.SVC"},
        {"__objects__": ["a"], "shape": [1]},
        {"__annotations__": "!"},
        {"__annotations__": base64.b64encode(b"no zip").decode()},
        {"__annotations__": npz(nonsense=np.zeros(2))},
        {"__net__": {}},
        {"__dict__": [1]},
    ],
)
def test_nodes_that_format_1_never_had(node):
    """One error of ours."""
    with pytest.raises(PersistenceError):
        upgrade(node, {}, ROOM)


def test_deep_nesting_of_format_1_is_refused():
    """Before Python's stack ends."""
    node = []
    for _ in range(5000):
        node = [node]
    with pytest.raises(PersistenceError, match="deep"):
        upgrade(node, {}, ROOM)


# -- addresses -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "address", "covered"),
    [
        ("https://h/v1", "https://h/v1", True),
        ("https://h", "https://h/v1", True),
        ("https://H/v1", "https://h/v1/sub", True),
        ("https://h/v1", "https://h/v10", False),
        ("https://h/v1", "https://h", False),
        ("https://h/v1", "http://h/v1", False),
        ("https://h/v1", "https://h:444/v1", False),
        ("https://h/v1", "https://h/v1/../v2", False),
        ("https://h", "https://h.evil", False),
    ],
)
def test_an_address_covers_what_lies_below_it(given, address, covered):
    """On the same host, and never by way of dots."""
    assert _covers(given, address) == covered


def test_variables_are_found_however_they_are_wrapped():
    """Each is told once."""
    named = {"type": "scalar", "value": ["A_KEY"]}
    headers = {"type": "dict", "items": [["x", "B_KEY"], ["y", {"type": "tuple", "items": ["C"]}]]}
    found = Destination.of({"api_key_env": named, "headers_env": headers, "model": "m"})
    assert found.variables == ("A_KEY", "B_KEY", "C")
    again = Destination.of({"headers_env": ["B_KEY", "B_KEY"], "model": {"type": "tuple"}})
    assert (again.model, again.variables) == (None, ("B_KEY",))
    with pytest.raises(PersistenceError, match="not a str"):
        Destination.of({"base_url": ["https://h"]})


# -- the zip file --------------------------------------------------------------------------


def contents_of(path):
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in MEMBERS}


def test_a_bundle_that_packs_too_well_is_stored(tmp_path, saved):
    """What is written can always be read: the bound on unpacking holds for it."""
    contents = contents_of(saved)
    for padding in (0, 4 * 2**20):
        padded = {**contents, "model.json": contents["model.json"] + b" " * padding}
        path = tmp_path / "p.sklf"
        path.write_bytes(pack(padded))
        assert sum(map(len, padded.values())) <= room(FORMAT, path.stat().st_size)
        with zipfile.ZipFile(path) as archive:
            assert archive.testzip() is None


def test_a_bundle_knows_its_versions_and_size(saved):
    """As the manifest has them; nonsense there is nothing."""
    bundle = read_bundle(str(saved))
    assert bundle.size == saved.stat().st_size
    assert bundle.versions["sklfusion"]
    assert bundle.room == room(bundle.format, bundle.size)
    manifest = json.loads(contents_of(saved)["manifest.json"])
    rewrite(saved, manifest={**manifest, "versions": ["nonsense"]})
    assert read_bundle(saved).versions == {}


@pytest.mark.parametrize("path", [3, None, b"x\0y", "x\0y"])
def test_names_that_no_file_can_have(path):
    """Told before the system is asked."""
    with pytest.raises(PersistenceError, match=r"path .*(name of a file|name another file)"):
        check_path(path)


def test_files_that_are_not_there_keep_their_own_errors(tmp_path):
    """A caller may tell a wrong name from a damaged file."""
    with pytest.raises(FileNotFoundError):
        read_bundle(tmp_path / "none.sklf")
    with pytest.raises(IsADirectoryError):
        read_bundle(tmp_path)


def test_one_object_that_stands_twice_is_one_again(tmp_path):
    """Also where it lies in a list and in a dict."""
    inner = DummyClassifier()
    persistence.save(StandardScaler(copy=[inner, {"again": inner}]), tmp_path / "m.sklf")
    copy = persistence.load(tmp_path / "m.sklf").copy
    assert copy[0] is copy[1]["again"]


def test_what_is_loaded_is_named_in_its_errors(saved):
    """The path of the file, whatever went wrong inside."""
    with_tree(saved, {"type": "price", "state": {"nonsense": 1}})
    with pytest.raises(PersistenceError, match=r"model\.sklf: the model cannot be rebuilt"):
        persistence.load(saved)
