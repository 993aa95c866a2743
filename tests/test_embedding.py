"""The frozen encoder: right vectors, each text once, caches, pickles, and input at the door."""

import json
import pickle
import sqlite3
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline

from sklfusion import EncoderTraining, ModelLoadError, RobertaEmbedder, models
from sklfusion.embedding import _backbone, _windows
from sklfusion.embedding._cache import open_cache
from sklfusion.exceptions import CacheError, CacheWarning, DataWarning
from sklfusion.testing import N_TEXT_CHECKS, check_text_estimator

TEXTS = [
    "the bank cuts its rate",
    "a late goal",
    "",
    "the cup " * 30,
    "a late goal",
    "rises",
]


@pytest.fixture(scope="module")
def embedder(tiny_roberta):
    return RobertaEmbedder(tiny_roberta).fit(TEXTS)


@pytest.fixture
def counted(monkeypatch):
    """The texts that really went through the encoder."""
    seen = []
    original = _windows.windows

    def windows(backbone, texts, *options):
        seen.extend(texts)
        return original(backbone, texts, *options)

    monkeypatch.setattr(_windows, "windows", windows)
    return seen


def direct(folder, texts, pooling, normalize):
    """Vectors by transformers alone, one text at a time."""
    from transformers import AutoTokenizer, RobertaModel

    tokenizer = AutoTokenizer.from_pretrained(str(folder))
    model = RobertaModel.from_pretrained(str(folder), dtype=torch.float32).eval()
    rows = []
    for text in texts:
        inputs = tokenizer(text, return_tensors="pt", truncation=True, max_length=40)
        with torch.no_grad():
            hidden = model(
                input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]
            ).last_hidden_state[0]
        pooled = {"mean": hidden.mean(0), "cls": hidden[0], "max": hidden.amax(0)}[pooling]
        rows.append(pooled / pooled.norm() if normalize else pooled)
    return torch.stack(rows).numpy()


def test_text_contract(tiny_roberta):
    """All 32 checks for text estimators run and pass."""
    assert check_text_estimator(RobertaEmbedder(tiny_roberta)) == N_TEXT_CHECKS


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("pooling", ["mean", "cls", "max"])
def test_same_as_transformers(tiny_roberta, pooling, normalize, capfd):
    """Vectors equal those of RobertaModel run text by text, and loading prints nothing."""
    wanted = direct(tiny_roberta, TEXTS, pooling, normalize)
    capfd.readouterr()
    _backbone._shared.clear()
    embedder = RobertaEmbedder(
        tiny_roberta, pooling=pooling, normalize=normalize, batch_size=2, long_texts="truncate"
    ).fit(TEXTS)
    with pytest.warns(DataWarning, match="1 text"):
        found = embedder.transform(TEXTS)
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    assert found.dtype == np.float32
    assert capfd.readouterr() == ("", "")


def test_a_real_roberta_is_loaded(embedder):
    """The fixture is a RoBERTa: position offset of two, no token types handed over."""
    backbone = embedder._backbone()
    assert type(backbone.model).__name__ == "RobertaModel"
    assert backbone.max_positions == 40
    assert backbone.inputs == {"input_ids", "attention_mask"}
    assert backbone.pooling == "mean"


@pytest.mark.parametrize("max_length", [None, 5, 40, 10_000])
def test_long_texts_are_cut_at_the_positions(tiny_roberta, max_length):
    """Whatever max_length says, no position beyond the model's table is asked for."""
    embedder = RobertaEmbedder(tiny_roberta, max_length=max_length).fit(["a"])
    with pytest.warns(DataWarning, match="text"):
        vectors = embedder.transform(["the cup " * 500, "x" * 2_000_000, "a"])
    assert np.isfinite(vectors).all()
    assert embedder.truncated(["the cup " * 500, "x" * 2_000_000, "a"]).tolist() == [
        True,
        True,
        False,
    ]


def test_no_texts_at_all(embedder):
    """transform([]) is an empty matrix of the right width, fit([]) an error."""
    assert embedder.transform([]).shape == (0, 16)
    assert embedder.truncated([]).shape == (0,)
    with pytest.raises(ValueError, match="0 texts"):
        clone(embedder).fit([])


def test_each_distinct_text_is_encoded_once(embedder, counted):
    """Copies of a text cost nothing and get equal rows."""
    vectors = embedder.transform(["one", "two", "one"] * 50)
    assert sorted(counted) == ["one", "two"]
    assert (vectors[0] == vectors[2]).all()


def test_order_and_batch_size_do_not_matter(tiny_roberta, embedder):
    """Permuted texts give permuted rows, at any batch size."""
    wanted = embedder.transform(TEXTS)
    order = np.random.RandomState(0).permutation(len(TEXTS))
    for batch_size in (1, 3, 64):
        other = RobertaEmbedder(tiny_roberta, batch_size=batch_size).fit(["a"])
        found = other.transform([TEXTS[i] for i in order])
        np.testing.assert_allclose(found, wanted[order], atol=1e-5)


def test_lone_surrogates_are_replaced(embedder):
    """A lone surrogate counts as U+FFFD, with one warning that names the text."""
    with pytest.warns(DataWarning, match=r"texts\[1\]"):
        vectors = embedder.transform(["fine", "half \ud800 pair"])
    np.testing.assert_allclose(
        vectors[1], embedder.transform(["half � pair"])[0], rtol=0, atol=1e-6
    )


def test_feature_names_and_pandas(embedder):
    """Columns are named embedding_<i>; pandas output keeps the index of a Series."""
    names = embedder.get_feature_names_out()
    assert list(names) == [f"embedding_{i}" for i in range(16)]
    assert embedder.n_features_out_ == 16
    framed = clone(embedder).set_output(transform="pandas").fit(TEXTS)
    frame = framed.transform(pd.Series(["a", "b"], index=[7, 3]))
    assert list(frame.columns) == list(names)
    assert list(frame.index) == [7, 3]
    assert framed.transform(["a"]).shape == (1, 16)


def test_unfitted(tiny_roberta):
    """Even a frozen encoder wants fit first: that is where the model is found and checked."""
    with pytest.raises(NotFittedError):
        RobertaEmbedder(tiny_roberta).transform(["a"])
    with pytest.raises(NotFittedError):
        RobertaEmbedder(tiny_roberta).get_feature_names_out()


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"pooling": "sum"}, "pooling='sum'"),
        ({"max_length": 0}, "max_length=0"),
        ({"batch_size": 2.5}, "batch_size=2.5"),
        ({"dtype": "int8"}, "dtype='int8'"),
        ({"dtype": "float16", "device": "cpu"}, "several times slower"),
        ({"backend": "tensorrt"}, "backend='tensorrt'"),
        ({"backend": "onnx", "fine_tune": True}, "with fine_tune it is torch"),
        ({"backend": "onnx", "dtype": "bfloat16"}, "it must be auto or float32"),
        ({"backend": "onnx", "device": "meta"}, "runs on the CPU"),
        ({"long_texts": "cut"}, "long_texts='cut'"),
        ({"device": "toaster"}, "device='toaster'"),
        ({"output": "scores"}, "fine_tune=True"),
        ({"store_weights": "yes"}, "store_weights='yes'"),
        ({"fine_tune": EncoderTraining(lr=0)}, "lr=0"),
        ({"fine_tune": EncoderTraining(validation_fraction=1.0)}, "validation_fraction=1.0"),
        ({"output": "embedding", "fine_tune": True}, "different folds"),
    ],
)
def test_bad_parameters(tiny_roberta, parameters, words):
    """A parameter without a legal value is named with its value and the way out."""
    with pytest.raises(ValueError, match=words):
        RobertaEmbedder(tiny_roberta, **parameters).fit(["a"], ["b"])


def test_memory_must_be_a_place(tiny_roberta):
    """An object that is no folder and no joblib.Memory is refused."""
    with pytest.raises(TypeError, match="memory is int"):
        RobertaEmbedder(tiny_roberta, memory=3).fit(["a"])


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("all-minilm-l7", r"neither an embedded model \(all-minilm-l6-v2.*HF_HUB_OFFLINE is set"),
        ("smollm2-135m", "language model, not an encoder"),
        ("./nowhere", "no folder"),
        (None, "alias of an embedded model"),
        ("", "alias of an embedded model"),
    ],
)
def test_unknown_models(model, words):
    """An unknown model raises ModelLoadError that says what is known and what may be wrong."""
    with pytest.raises(ModelLoadError, match=words):
        RobertaEmbedder(model).fit(["a"])


def test_a_folder_without_a_model(tmp_path):
    """A folder without a model is named, with what belongs in it."""
    with pytest.raises(ModelLoadError, match=r"no encoder.*save_pretrained"):
        RobertaEmbedder(tmp_path).fit(["a"])


def test_pooling_file_of_a_sentence_model(tiny_roberta, tmp_path):
    """pooling="auto" follows the model's own pooling file."""
    for file in tiny_roberta.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "1_Pooling").mkdir()
    (tmp_path / "1_Pooling" / "config.json").write_text(
        json.dumps({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False})
    )
    auto = RobertaEmbedder(tmp_path).fit_transform(TEXTS)
    cls = RobertaEmbedder(tiny_roberta, pooling="cls").fit_transform(TEXTS)
    np.testing.assert_allclose(auto, cls, atol=1e-6)


# -- cache ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [str, lambda path: path, joblib.Memory])
def test_cache_is_shared_by_path_and_memory(tiny_roberta, tmp_path, counted, kind):
    """The second run encodes nothing and is equal bit for bit; new texts alone are encoded."""
    memory = kind(tmp_path) if kind is not joblib.Memory else joblib.Memory(tmp_path, verbose=0)
    first = RobertaEmbedder(tiny_roberta, memory=memory).fit_transform(TEXTS)
    counted.clear()
    again = RobertaEmbedder(tiny_roberta, memory=str(tmp_path), batch_size=1)
    np.testing.assert_array_equal(again.fit_transform(TEXTS), first)
    assert counted == []
    again.transform([*TEXTS, "new"])
    assert counted == ["new"]


def test_cache_key_holds_what_changes_a_vector(tiny_roberta, tmp_path, counted):
    """Other settings encode anew; back to the old ones nothing is."""
    changes = [{}, {"pooling": "cls"}, {"normalize": False}, {"max_length": 8}]
    changes += [{"long_texts": "max"}, {"long_texts": "truncate"}]
    for change in changes:
        counted.clear()
        RobertaEmbedder(tiny_roberta, memory=tmp_path, **change).fit_transform(["a text"])
        assert counted == ["a text"]
    counted.clear()
    RobertaEmbedder(tiny_roberta, memory=tmp_path, batch_size=5).fit_transform(["a text"])
    assert counted == []


def test_cache_knows_changed_weights(tiny_roberta, tmp_path, counted):
    """A model with other weights in the same place does not get the old vectors."""
    folder, memory = tmp_path / "model", tmp_path / "memory"
    folder.mkdir()
    for file in tiny_roberta.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    before = RobertaEmbedder(folder, memory=memory).fit_transform(["a text"])
    model = _backbone.load_backbone(folder, shared=False).model
    with torch.no_grad():
        model.embeddings.word_embeddings.weight.mul_(2)
    model.save_pretrained(folder)
    after = RobertaEmbedder(folder, memory=memory).fit_transform(["a text"])
    assert counted == ["a text", "a text"]
    assert np.abs(before - after).max() > 1e-3


def test_damaged_cache_is_set_aside(tiny_roberta, tmp_path):
    """Noise instead of a database: a warning, right vectors, and a new cache."""
    wanted = RobertaEmbedder(tiny_roberta, memory=tmp_path).fit_transform(TEXTS)
    file = tmp_path / "embeddings" / "vectors.sqlite"
    file.write_bytes(b"\x00noise" * 2000)
    embedder = RobertaEmbedder(tiny_roberta, memory=tmp_path).fit(TEXTS)
    with pytest.warns(CacheWarning, match="moved to"):
        found = embedder.transform(TEXTS)
    np.testing.assert_allclose(found, wanted, atol=1e-6)
    np.testing.assert_array_equal(embedder.transform(TEXTS), found)
    assert len(list(file.parent.glob("*.damaged-*"))) == 1


def test_poisoned_rows_are_computed_again(tiny_roberta, tmp_path):
    """A row of the wrong length or with NaN is no vector; nothing stored is ever unpickled."""
    wanted = RobertaEmbedder(tiny_roberta, memory=tmp_path).fit_transform(["a", "b"])
    with sqlite3.connect(tmp_path / "embeddings" / "vectors.sqlite") as connection:
        keys = [row[0] for row in connection.execute("SELECT key FROM vectors")]
        bad = [pickle.dumps(print), np.full(16, np.nan, "<f4").tobytes()]
        connection.executemany(
            "UPDATE vectors SET vector = ? WHERE key = ?", list(zip(bad, keys, strict=True))
        )
    connection.close()
    found = RobertaEmbedder(tiny_roberta, memory=tmp_path).fit_transform(["a", "b"])
    np.testing.assert_allclose(found, wanted, atol=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_no_damage_gives_another_vector_or_stops_a_run(tmp_path, seed):
    """Single bytes and cuts: what is found is right, what is not is put there again."""
    rng = np.random.default_rng(seed)
    keys = [bytes([n]) * 32 for n in range(40)]
    vectors = rng.normal(size=(40, 64)).astype(np.float32)
    open_cache(tmp_path).get_many(keys, 64)
    open_cache(tmp_path).put_many(keys, vectors)
    path = tmp_path / "embeddings" / "vectors.sqlite"
    pristine = path.read_bytes()
    for _ in range(25):
        raw = bytearray(pristine)
        place = int(rng.choice([n for n in range(len(raw)) if n != 63]))  # 63: a newer format
        raw[place if rng.random() < 0.7 else place % 60] ^= int(rng.integers(1, 256))
        path.write_bytes(raw if rng.random() < 0.8 else raw[:place])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", CacheWarning)
            cache = open_cache(tmp_path)
            found_vectors, found = cache.get_many(keys, 64)
            np.testing.assert_array_equal(found_vectors[found], vectors[found])
            cache.put_many(keys, vectors)


def test_unusable_memory_folder(tiny_roberta, tmp_path):
    """A memory path that is a file is an error before anything is encoded."""
    (tmp_path / "file").write_text("")
    with pytest.raises(CacheError, match="cannot be used"):
        RobertaEmbedder(tiny_roberta, memory=tmp_path / "file").fit_transform(["a"])


def test_newer_cache_format_is_refused(tiny_roberta, tmp_path):
    """A cache of a later release is left alone, and both formats are named."""
    RobertaEmbedder(tiny_roberta, memory=tmp_path).fit_transform(["a"])
    with sqlite3.connect(tmp_path / "embeddings" / "vectors.sqlite") as connection:
        connection.execute("PRAGMA user_version = 9")
    connection.close()
    with pytest.raises(CacheError, match=r"format 9.*format 1"):
        RobertaEmbedder(tiny_roberta, memory=tmp_path).fit_transform(["a"])


def test_many_threads_open_one_new_cache(tiny_roberta, tmp_path):
    """Threads that begin the same cache at once all succeed and agree."""
    embedder = RobertaEmbedder(tiny_roberta, memory=tmp_path).fit(["a"])
    texts = [f"text {i}" for i in range(40)]
    wanted = clone(embedder).set_params(memory=None).fit(["a"]).transform(texts)
    with ThreadPoolExecutor(8) as pool:
        for found in pool.map(lambda _: embedder.transform(texts), range(8)):
            np.testing.assert_allclose(found, wanted, atol=1e-5)


# -- pickles -------------------------------------------------------------------------------------


def test_pickle_leaves_the_weights_out(embedder):
    """By default a pickle holds name and digest only, and gives the same vectors."""
    data = pickle.dumps(embedder)
    assert len(data) < 5000
    np.testing.assert_allclose(
        pickle.loads(data).transform(TEXTS), embedder.transform(TEXTS), rtol=0, atol=1e-6
    )


def test_pickle_with_weights_needs_no_folder(tiny_roberta, tmp_path):
    """store_weights=True: a fresh process without the folder gives the same vectors."""
    folder = tmp_path / "model"
    folder.mkdir()
    for file in tiny_roberta.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    embedder = RobertaEmbedder(folder, store_weights=True).fit(TEXTS)
    wanted = embedder.transform(TEXTS)
    joblib.dump(embedder, tmp_path / "embedder.joblib")
    np.save(tmp_path / "wanted.npy", wanted)
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()
    code = (
        "import joblib, json, numpy as np, sys\n"
        "embedder = joblib.load('embedder.joblib')\n"
        "found = embedder.transform(json.loads(sys.argv[1]))\n"
        "assert np.allclose(found, np.load('wanted.npy'), atol=1e-6)\n"
        "import pickle; assert len(pickle.dumps(embedder)) > 10000\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(TEXTS)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr


def test_another_model_under_the_same_name_is_refused(tiny_roberta, tmp_path):
    """A pickle whose model was replaced meanwhile raises instead of giving other vectors."""
    for file in tiny_roberta.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    data = pickle.dumps(RobertaEmbedder(tmp_path).fit(["a"]))
    model = _backbone.load_backbone(tmp_path, shared=False).model
    with torch.no_grad():
        model.embeddings.word_embeddings.weight.add_(1)
    model.save_pretrained(tmp_path)
    with pytest.raises(ModelLoadError, match="digest"):
        pickle.loads(data).transform(["a"])


def test_clones_share_one_loaded_model(tiny_roberta):
    """Candidates of a grid search do not each load the weights."""
    first = RobertaEmbedder(tiny_roberta).fit(["a"])
    second = clone(first).fit(["b"])
    assert first._backbone() is second._backbone()


def test_progress_bar(tiny_roberta, capsys):
    """verbose=1 shows a bar on stderr and nothing on stdout."""
    RobertaEmbedder(tiny_roberta, verbose=1).fit_transform(["a", "b"])
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "embedding" in captured.err


# -- the embedded model --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def minilm():
    if not {row["alias"]: row["installed"] for row in models.installed()}["all-minilm-l6-v2"]:
        pytest.skip("all-minilm-l6-v2 is not installed (sklfusion models install)")
    return RobertaEmbedder().fit(["a"])


@pytest.mark.models
def test_embedded_model_knows_what_is_alike(minilm):
    """The embedded encoder works: 384 dimensions of length 1, like texts near each other."""
    texts = ["The central bank raised rates.", "Interest rates went up.", "A goal won the match."]
    vectors = minilm.transform(texts)
    assert vectors.shape == (3, 384)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    likeness = vectors @ vectors.T
    assert likeness[0, 1] > likeness[0, 2] + 0.2
    assert minilm._backbone().max_positions == 512


@pytest.mark.models
def test_embedded_model_in_a_pipeline(minilm):
    """Texts in, labels out with any scikit-learn classifier."""
    from sklearn.linear_model import LogisticRegression

    texts = ["a goal", "the striker scored", "the market fell", "shares rose"]
    pipe = make_pipeline(minilm, LogisticRegression()).fit(texts, [0, 0, 1, 1])
    assert pipe.predict(["the keeper saved a penalty", "bond yields"]).tolist() == [0, 1]
