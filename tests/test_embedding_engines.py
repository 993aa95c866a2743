"""Back ends of the frozen encoder: same vectors, kept once, chosen by time, clear errors."""

import errno
import json
import pickle
import shutil
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from sklfusion import ModelLoadError, RobertaEmbedder, persistence
from sklfusion._dtype import has_bfloat16
from sklfusion.embedding import _backbone, _engines, _exports
from sklfusion.embedding._checks import key_space
from sklfusion.exceptions import CacheError, CacheWarning, SklFusionWarning

TEXTS = ["the bank cuts its rate", "a late goal", "", "the cup " * 30, "rises"]
PACKAGES = {"onnx": "onnxruntime", "openvino": "openvino"}

pytest.importorskip("onnxscript")


def installed(backend):
    """Skip where a back end is missing."""
    pytest.importorskip(PACKAGES[backend])
    return backend


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A memory folder that tests share, so that an encoder is exported once."""
    return tmp_path_factory.mktemp("kept")


@pytest.fixture
def fresh(monkeypatch):
    """A process that has opened nothing yet."""
    monkeypatch.setattr(_engines, "_sessions", {})
    monkeypatch.setattr(_exports, "_substitutes", {})


@pytest.fixture(scope="module")
def exported(tiny_roberta, kept):
    """The one export of an encoder that takes its seconds."""
    installed("onnx")
    before = set((kept / "encoders").glob("*.onnx"))
    RobertaEmbedder(tiny_roberta, backend="onnx", memory=kept).fit(TEXTS).transform(["first"])
    (file,) = set((kept / "encoders").glob("*.onnx")) - before
    return file


@pytest.fixture
def copied(exported, monkeypatch):
    """Exports are copies, where it is their place and number that count."""
    monkeypatch.setattr(_engines, "export", lambda *args: shutil.copyfile(exported, args[-1]))


def by_torch(folder, texts=TEXTS, **parameters):
    """Vectors of torch in float32."""
    return RobertaEmbedder(folder, backend="torch", **parameters).fit_transform(texts)


@pytest.mark.parametrize(
    ("backend", "pooling", "normalize"),
    [
        ("onnx", "mean", True),
        ("openvino", "mean", True),
        pytest.param("onnx", "max", False, marks=pytest.mark.nightly),
        pytest.param("onnx", "cls", True, marks=pytest.mark.nightly),
        pytest.param("openvino", "max", False, marks=pytest.mark.nightly),
    ],
)
def test_same_vectors_as_torch(tiny_roberta, kept, backend, pooling, normalize):
    """Any batch and any length: an export gives what torch gives."""
    how = {"pooling": pooling, "normalize": normalize}
    wanted = by_torch(tiny_roberta, **how)
    for batch_size in (1, 3, "auto"):
        embedder = RobertaEmbedder(
            tiny_roberta, backend=installed(backend), memory=kept, batch_size=batch_size, **how
        ).fit(TEXTS)
        np.testing.assert_allclose(embedder.transform(TEXTS), wanted, atol=1e-4)
        (kept / "embeddings" / "vectors.sqlite").unlink()  # of this batch size
    assert embedder.backend_ == f"{backend} float32"


def test_an_export_is_made_once(tiny_roberta, tmp_path, fresh, copied, monkeypatch):
    """Another process takes the file that is there; a damaged one is made anew."""
    backend = installed("onnx")
    wanted = by_torch(tiny_roberta)
    first = RobertaEmbedder(tiny_roberta, backend=backend, memory=tmp_path).fit(TEXTS)
    first.transform(["one"])
    made = []
    original = _engines.export
    monkeypatch.setattr(
        _engines, "export", lambda *args: (made.append(args[-1].name), original(*args))
    )
    _engines._sessions.clear()
    first.transform(["two"])
    assert made == []
    (file,) = (tmp_path / "encoders").glob("*.onnx")
    raw = bytearray(file.read_bytes())
    raw[len(raw) // 2] ^= 255
    file.write_bytes(raw)
    _engines._sessions.clear()
    np.testing.assert_allclose(first.transform(TEXTS), wanted, atol=1e-4)
    assert len(made) == 1
    assert [path.suffix for path in sorted((tmp_path / "encoders").iterdir())] == [
        ".json",
        ".onnx",
    ]


@pytest.mark.nightly
def test_another_encoder_gets_another_export(tiny_roberta, tmp_path, fresh):
    """Changed weights under the same name do not meet the old file."""
    backend = installed("onnx")
    folder, memory = tmp_path / "model", tmp_path / "memory"
    model = _backbone.load_backbone(tiny_roberta, shared=False)
    with torch.no_grad():
        model.model.embeddings.word_embeddings.weight.mul_(2)
    model.model.save_pretrained(folder)
    model.tokenizer.save_pretrained(folder)
    for source in (tiny_roberta, folder):
        found = RobertaEmbedder(source, backend=backend, memory=memory).fit_transform(TEXTS)
        np.testing.assert_allclose(found, by_torch(source), atol=1e-4)
    assert len(list((memory / "encoders").glob("*.onnx"))) == 2


def other_weights(backbone, pooling, normalize, path):
    """An export gone wrong: of an encoder with other weights."""
    other = _backbone.load_backbone(other_weights.source, shared=False)
    with torch.no_grad():
        for parameter in other.model.parameters():
            parameter.copy_(torch.randn_like(parameter))
    _exports.export(other, pooling, normalize, path)


def test_an_export_that_does_not_match(tiny_roberta, tmp_path, fresh, monkeypatch):
    """It is refused with its cosine; "auto" says so and goes on in torch."""
    backend = installed("onnx")
    other_weights.source = tiny_roberta
    monkeypatch.setattr(_engines, "export", other_weights)
    embedder = RobertaEmbedder(tiny_roberta, backend=backend, memory=tmp_path).fit(TEXTS)
    with pytest.raises(ModelLoadError, match=r"do not match .* wanted 0.9999.*backend='torch'"):
        embedder.transform(TEXTS)
    monkeypatch.setattr(_engines, "WORTH_AN_EXPORT", len(TEXTS))
    auto = RobertaEmbedder(tiny_roberta, memory=tmp_path).fit(TEXTS)
    with pytest.warns(SklFusionWarning, match="goes on without") as told:
        found = auto.transform(TEXTS)
    assert len(told) == len(_engines.possible(auto)) - 1
    np.testing.assert_allclose(found, by_torch(tiny_roberta), atol=1e-6)
    assert auto.backend_ == "torch float32"


def test_an_encoder_that_cannot_be_exported(tiny_roberta, tmp_path, fresh, monkeypatch):
    """What torch says of it becomes one error with the way out."""
    backend = installed("onnx")

    def refuse(*args, **kwargs):
        raise RuntimeError("no rule for aten::strange")

    monkeypatch.setattr(torch.onnx, "export", refuse)
    embedder = RobertaEmbedder(tiny_roberta, backend=backend, memory=tmp_path).fit(TEXTS)
    with pytest.raises(ModelLoadError, match=r"cannot export.*aten::strange.*backend='torch'"):
        embedder.transform(TEXTS)
    assert list((tmp_path / "encoders").iterdir()) == []


@pytest.mark.parametrize("backend", list(PACKAGES))
def test_a_back_end_that_is_not_installed(tiny_roberta, tmp_path, fresh, monkeypatch, backend):
    """fit and a model from another machine say what to install; "auto" is torch."""
    installed(backend)
    embedder = RobertaEmbedder(tiny_roberta, backend=backend, memory=tmp_path).fit(TEXTS)
    persistence.save(embedder, tmp_path / "model.sklf")
    data = pickle.dumps(embedder)
    monkeypatch.setitem(sys.modules, PACKAGES[backend], None)
    told = rf'pip install "sklfusion\[{backend}\]"'
    with pytest.raises(ImportError, match=told):
        RobertaEmbedder(tiny_roberta, backend=backend).fit(TEXTS)
    with pytest.raises(ImportError, match=told):
        pickle.loads(data).transform(TEXTS)
    with pytest.raises(ImportError, match=told):
        persistence.load(tmp_path / "model.sklf").transform(TEXTS)
    monkeypatch.setattr(_engines, "_is_installed", lambda package: False)
    assert RobertaEmbedder(tiny_roberta).fit(TEXTS).backend_ == "torch float32"


def test_auto_measures_once_and_keeps_it(
    tiny_roberta, tmp_path, fresh, copied, monkeypatch, caplog
):
    """Few texts stay in torch and export nothing; many choose, and later calls follow."""
    installed("onnx")
    monkeypatch.setattr(_engines, "WORTH_AN_EXPORT", 20)
    many = [f"the cup {i} " * (i % 4 + 1) for i in range(40)]
    embedder = RobertaEmbedder(tiny_roberta, memory=tmp_path).fit(TEXTS)
    embedder.transform(many[:19])
    assert not (tmp_path / "encoders").exists()
    assert embedder.backend_ == "torch float32"
    with caplog.at_level("INFO", logger="sklfusion"):
        found = embedder.transform(many)
    np.testing.assert_allclose(found, by_torch(tiny_roberta, many), atol=1e-4)
    assert f"embedding by {embedder.backend_}; texts per second" in caplog.text
    (record,) = (tmp_path / "encoders").glob("*.json")
    told = [v for v in json.loads(record.read_text()).values() if isinstance(v, dict)]
    assert [one["fastest"] for one in told] == [embedder.backend_]
    assert set(told[0]["texts_per_second"]) >= {"torch float32", "onnx float32"}
    monkeypatch.setattr(_engines, "fastest", None)  # it is not measured again
    again = RobertaEmbedder(tiny_roberta, memory=tmp_path).fit(TEXTS)
    again.transform([f"new {i}" for i in range(30)])
    assert again.backend_ == embedder.backend_


def test_auto_counts_only_texts_that_no_cache_has(tiny_roberta, tmp_path, fresh, monkeypatch):
    """Vectors that torch made are found again by a large call."""
    many = [f"the cup {i}" for i in range(30)]
    RobertaEmbedder(tiny_roberta, memory=tmp_path).fit_transform(many)
    monkeypatch.setattr(_engines, "WORTH_AN_EXPORT", 20)
    monkeypatch.setattr(_engines, "fastest", None)
    RobertaEmbedder(tiny_roberta, memory=tmp_path).fit_transform(many)


def test_a_choice_that_cannot_be_read_is_made_anew(tiny_roberta, tmp_path, fresh, monkeypatch):
    """A record of another form is no choice."""
    installed("onnx")
    embedder = RobertaEmbedder(tiny_roberta, memory=tmp_path).fit(TEXTS)
    exports = _engines.exports_of(embedder)
    place = _engines._measured_under(_engines.possible(embedder))
    for value in ("onnx", {"fastest": "abacus float32"}, {"fastest": ["onnx"]}, None):
        exports.note(**{place: value})
        assert embedder.backend_ == "torch float32"
    (tmp_path / "encoders" / f"{exports.name}.json").write_text("[1, ")
    assert embedder.backend_ == "torch float32"


def test_a_folder_that_cannot_be_written(tiny_roberta, tmp_path, fresh, copied):
    """The export lies in a temporary folder for this process, with a warning, made once."""
    backend = installed("onnx")
    (tmp_path / "encoders").write_text("a file where the folder should be")
    embedder = RobertaEmbedder(tiny_roberta, backend=backend, memory=tmp_path).fit(TEXTS)
    with pytest.warns(CacheWarning, match="for this process only"):
        found = embedder.transform(TEXTS)
    np.testing.assert_allclose(found, by_torch(tiny_roberta), atol=1e-4)
    _engines._sessions.clear()
    embedder.transform(["another text"])


def test_no_space_anywhere(tmp_path, fresh):
    """An export that fits nowhere is one clear error and leaves no half file."""

    def full(path):
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    exports = _exports.Exports(tmp_path, "digest", "mean", True)
    with (
        pytest.warns(CacheWarning, match="No space left"),
        pytest.raises(CacheError, match=r"neither to .* nor to a temporary folder"),
    ):
        exports.file(full)
    assert list((tmp_path / "encoders").iterdir()) == []


def test_threads_share_a_session(tiny_roberta, kept, exported):
    """Several threads get the vectors of one."""
    for backend in [name for name, package in PACKAGES.items() if _engines._is_installed(package)]:
        embedder = RobertaEmbedder(tiny_roberta, backend=backend, memory=kept).fit(TEXTS)
        texts = [f"{backend} goal {i}" for i in range(40)]
        wanted = by_torch(tiny_roberta, texts)
        with ThreadPoolExecutor(4) as pool:
            for found in pool.map(lambda _: embedder.transform(texts), range(8)):  # noqa: B023
                np.testing.assert_allclose(found, wanted, atol=1e-4)


def test_the_cache_knows_back_end_and_precision(tiny_roberta):
    """No key is shared, and torch in float32 that cuts has the key that it always had."""
    embedder = RobertaEmbedder(tiny_roberta, long_texts="truncate").fit(["a"])
    engines = [
        _engines.Engine(backend, dtype)
        for backend in ("torch", "onnx", "openvino")
        for dtype in ("float32", "bfloat16")
    ]
    keys = [key_space(embedder, engine) for engine in engines]
    assert len(set(keys)) == len(keys)
    assert json.loads(keys[0]) == {
        "version": 1,
        "model": embedder.model_digest_,
        "pooling": "auto",
        "max_length": 256,
        "dtype": "torch.float32",
        "normalize": True,
    }


@pytest.mark.parametrize("unit", [True, False])
def test_bfloat16_only_where_there_is_a_unit(tiny_roberta, monkeypatch, unit):
    """dtype="auto" follows the processor; asked for by name it is refused without the unit."""
    monkeypatch.setattr(_backbone, "has_bfloat16", lambda: unit)
    monkeypatch.setattr(_engines, "has_bfloat16", lambda: unit)
    kind = "bfloat16" if unit else "float32"
    auto = RobertaEmbedder(tiny_roberta, dtype="auto", device="cpu").fit(TEXTS)
    assert auto.backend_ == f"torch {kind}"
    if unit:
        assert np.isfinite(auto.transform(TEXTS)).all()  # emulated, if need be: these are few
        return
    with pytest.raises(ValueError, match="several times slower"):
        RobertaEmbedder(tiny_roberta, dtype="bfloat16", device="cpu").fit(TEXTS)


@pytest.mark.models
@pytest.mark.parametrize("backend", ["torch", pytest.param("openvino", marks=pytest.mark.nightly)])
def test_bfloat16_of_the_embedded_model(kept, backend):
    """Half precision stays within a cosine of .999, and its vectors are kept apart."""
    if backend != "torch":
        installed(backend)
    if not has_bfloat16():
        pytest.skip("this processor has no unit for bfloat16")
    texts = ["The central bank raised rates.", "A goal.", "Shares fell after the report " * 9]
    wanted = by_torch("all-minilm-l6-v2", texts, memory=kept)
    half = RobertaEmbedder(dtype="auto", backend=backend, memory=kept).fit(texts)
    found = half.transform(texts)
    assert half.backend_ == f"{backend} bfloat16"
    assert _engines.likeness(found, wanted).min() > 0.999
    assert np.abs(found - wanted).max() > 1e-6


def test_likeness_counts_length_too():
    """The cosine for rows of one length; less where lengths differ; 1 only for equal rows."""
    a = np.array([[3.0, 4.0], [1.0, 0.0], [1.0, 0.0]], dtype=np.float32)
    b = np.array([[3.0, 4.0], [0.0, 1.0], [2.0, 0.0]], dtype=np.float32)
    np.testing.assert_allclose(_engines.likeness(a, b), [1, 0, 0.75], atol=1e-6)


@pytest.mark.nightly
def test_a_lora_encoder_runs_in_a_back_end(tiny_roberta, tmp_path, kept):
    """Adapters that were merged and saved are an encoder like any other."""
    peft = pytest.importorskip("peft")
    backend = installed("onnx")
    backbone = _backbone.load_backbone(tiny_roberta, shared=False)
    with warnings.catch_warnings(), torch.random.fork_rng():
        warnings.simplefilter("ignore", FutureWarning)
        torch.manual_seed(0)
        config = peft.LoraConfig(target_modules="all-linear", init_lora_weights=False)
        merged = peft.get_peft_model(backbone.model, config).merge_and_unload()
    merged.save_pretrained(tmp_path)
    backbone.tokenizer.save_pretrained(tmp_path)
    wanted = by_torch(tmp_path)
    found = RobertaEmbedder(tmp_path, backend=backend, memory=kept).fit_transform(TEXTS)
    np.testing.assert_allclose(found, wanted, atol=1e-4)
    assert np.abs(wanted - by_torch(tiny_roberta)).max() > 1e-2
