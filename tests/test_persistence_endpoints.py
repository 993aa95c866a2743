"""Where a saved model would send, and where its store lies."""

import re
from pathlib import Path

import joblib
import numpy as np
import pytest
from _bundles import make_auto, with_tree
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.preprocessing import StandardScaler

from sklfusion import (
    LLMClassifier,
    LLMEndpoint,
    LLMScorer,
    PersistenceError,
    persistence,
)


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "model.sklf"
    persistence.save(LogisticRegression().fit([[0.0], [1.0]], ["a", "b"]), path)
    return path


def scorer(**params):
    return LLMScorer(**{"model": "m", "classes": ["a", "b"], **params})


@pytest.mark.parametrize(
    "params",
    [
        {"base_url": "https://llm.example/v1"},
        {"base_url": "https://llm.example/v1", "api_key_env": "AWS_SECRET_ACCESS_KEY"},
        {"base_url": "http://127.0.0.1:9/v1", "api_key_env": "AWS_SECRET_ACCESS_KEY"},
        {"model": "openai/gpt-5-nano", "api_key_env": "AWS_SECRET_ACCESS_KEY"},
        {"base_url": "https://api.openai.com/v1", "api_key_env": "HF_TOKEN"},
        {"base_url": "http://api.openai.com/v1", "api_key_env": "OPENAI_API_KEY"},
        {"base_url": "https://api.openai.com.evil.example/v1", "api_key_env": "OPENAI_API_KEY"},
        {"base_url": "http://10.0.0.7:8000/v1"},
    ],
)
@pytest.mark.parametrize("nested", [False, True])
def test_a_model_that_would_send_elsewhere_is_refused(tmp_path, params, nested):
    """Whatever the address and however deep; what is said names both, and load can be told."""
    path = tmp_path / "m.sklf"
    made = scorer(**params)
    if nested:
        inner = LLMClassifier(**{"model": "m", "classes": ["a", "b"], **params})
        made = Pipeline([("scale", StandardScaler()), ("llm", inner)])
    persistence.save(made, path)
    told = persistence.info(path)["endpoints"]
    assert [place["allowed"] for place in told] == [False]
    address = told[0]["address"]
    with pytest.raises(PersistenceError) as caught:
        persistence.load(path)
    for part in (address, params.get("api_key_env", ""), "endpoints=["):
        assert part in str(caught.value)
    with pytest.raises(PersistenceError):
        persistence.load(path, endpoints=["https://other.example/v1", address + "0"])
    assert persistence.load(path, endpoints=[address + "/"]) is not None


@pytest.mark.parametrize(
    "params",
    [
        {"base_url": "http://127.0.0.1:9/v1"},
        {"base_url": "http://localhost:9/v1"},
        {"base_url": "http://[::1]:9/v1"},
        {"model": "openai/gpt-5-nano"},
        {"model": "openai/gpt-5-nano", "api_key_env": "OPENAI_API_KEY"},
        {"base_url": "https://api.openai.com/v1", "api_key_env": "OPENAI_API_KEY"},
        {"model": "ollama/qwen3"},
        {"model": "local/smollm2-135m"},
    ],
)
def test_this_machine_and_known_providers_need_no_word(tmp_path, params):
    """The usual cases load as before."""
    persistence.save(scorer(**params), tmp_path / "m.sklf")
    again = persistence.load(tmp_path / "m.sklf")
    assert again.get_params() == scorer(**params).get_params()


@pytest.mark.parametrize("key", ["base_url", {"type": "scalar", "value": None}])
def test_addresses_are_found_in_dicts_too(saved, key):
    """The check goes by the names of parameters, wherever they stand, in str of any kind."""
    raw = np.frombuffer("base_url".encode("utf-32-le"), np.uint8)
    if isinstance(key, dict):
        key["value"] = {"type": "strings", "tensor": "t0", "dtype": "<U8", "shape": []}
    pairs = [[key, "https://evil.example/v1"]]
    with_tree(saved, [{"type": "dict", "items": pairs}], t0=raw)
    with pytest.raises(PersistenceError, match="evil"):
        persistence.load(saved)


def test_headers_count_by_their_variables(saved):
    """What goes into a header goes out as surely as a key."""
    headers = {"type": "dict", "items": [["x-token", "MY_TOKEN"]]}
    state = {"model": "openai/gpt-5-nano", "base_url": None, "headers_env": headers}
    with_tree(saved, {"type": "LLMScorer", "state": state})
    assert persistence.info(saved)["endpoints"] == [
        {
            "model": "openai/gpt-5-nano",
            "address": "https://api.openai.com/v1",
            "variables": ["MY_TOKEN"],
            "allowed": False,
        }
    ]
    with pytest.raises(PersistenceError, match="MY_TOKEN"):
        persistence.load(saved)
    persistence.load(saved, endpoints=["https://api.openai.com/v1"])


def test_an_endpoint_object_is_looked_at_like_a_scorer(tmp_path):
    """Address, headers and what a provider implies, in an object within the scorer."""
    path = tmp_path / "m.sklf"
    cases = {
        "HEADER_VARIABLE": {"model": "openai/x", "headers_env": {"x-token": "HEADER_VARIABLE"}},
        "AZURE_OPENAI_API_KEY": {"model": "azure/x", "base_url": "http://127.0.0.1:9/openai"},
        "https://e.example/v1": {"model": "m", "base_url": "https://e.example/v1"},
    }
    for told, params in cases.items():
        persistence.save(scorer(model=LLMEndpoint(**params)), path)
        with pytest.raises(PersistenceError, match=re.escape(told)):
            persistence.load(path)
    persistence.save(scorer(model=LLMEndpoint("openai/x", timeout=7.0)), path)
    assert persistence.load(path).model.timeout == 7.0


def test_what_looks_like_a_key_is_not_repeated(saved):
    """Somebody pasted the key where the name belongs."""
    state = {"model": "m", "base_url": "https://a.example/v1", "api_key_env": "sk-live-123-abc"}
    with_tree(saved, {"type": "LLMScorer", "state": state})
    with pytest.raises(PersistenceError) as caught:
        persistence.load(saved)
    assert "sk-live" not in str(caught.value) + str(persistence.info(saved))


def test_endpoints_are_addresses_in_a_list(saved):
    """One str would be read letter by letter."""
    with pytest.raises(TypeError, match="list"):
        persistence.load(saved, endpoints="https://a.example/v1")
    with pytest.raises(ValueError, match="address"):
        persistence.load(saved, endpoints=["a.example"])


def test_nothing_is_sent_by_a_refused_model(fault_server, tmp_path, monkeypatch):
    """Neither text nor variable leaves; once the address is named, both do."""
    monkeypatch.setenv("SOME_SECRET", "canary-value")
    made = scorer(base_url=fault_server.base_url, api_key_env="SOME_SECRET", strategy="label")
    persistence.save(made.set_params(calibrate=False).fit(["x"]), tmp_path / "m.sklf")
    with pytest.raises(PersistenceError, match="SOME_SECRET"):
        persistence.load(tmp_path / "m.sklf")
    assert fault_server.ledger().received == 0
    model = persistence.load(tmp_path / "m.sklf", endpoints=[fault_server.base_url])
    assert model.transform(["note about a"]).shape == (1, 2)
    assert fault_server.ledger().received == 1


def test_a_relative_memory_is_saved_absolute(tmp_path, monkeypatch):
    """Loaded in another folder, the model finds the store that it was saved with."""
    monkeypatch.chdir(tmp_path)
    made = Pipeline([("llm", scorer(memory="store"))], memory=joblib.Memory("joblib", verbose=0))
    persistence.save(made, "m.sklf")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    again = persistence.load(tmp_path / "m.sklf")
    assert again.named_steps["llm"].memory == str(tmp_path / "store")
    assert again.memory == str(tmp_path / "joblib")
    assert made.named_steps["llm"].memory == "store"
    persistence.save(scorer(memory="~/store"), tmp_path / "m.sklf")
    assert persistence.load(tmp_path / "m.sklf").memory == "~/store"
    persistence.save(scorer(memory=Path("store")), tmp_path / "m.sklf")
    assert persistence.load(tmp_path / "m.sklf").memory == str(tmp_path / "elsewhere" / "store")


def test_load_takes_another_memory(tmp_path):
    """For every part that has one."""
    texts = [f"text {i}" for i in range(20)]
    auto = make_auto(texts, ["ham", "spam"] * 10, memory=str(tmp_path / "old"))
    union = FeatureUnion([("llm", scorer(memory=str(tmp_path / "old")))])
    for made in (auto, Pipeline([("u", union)])):
        persistence.save(made, tmp_path / "m.sklf")
        again = persistence.load(tmp_path / "m.sklf", memory=tmp_path / "new")
        found = [v for k, v in again.get_params().items() if k.endswith("memory") and v]
        assert found == [str(tmp_path / "new")]
