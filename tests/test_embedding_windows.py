"""Texts longer than the encoder reads: windows, what is cut, batches by number of tokens."""

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sklfusion import EncoderTraining, RobertaEmbedder
from sklfusion.embedding import _vectors
from sklfusion.embedding._encode import batches_by_tokens, tokenize
from sklfusion.embedding._windows import combine, windows
from sklfusion.exceptions import DataWarning
from sklfusion.persistence._nested import nested

LONG = " ".join(f"the cup {i}" for i in range(60))
TEXTS = ["a late goal", LONG, "the bank cuts its rate"]


def read(folder, texts, max_length=20, long_texts="mean", most=64):
    """Windows of texts under an encoder, and the encoder."""
    backbone = RobertaEmbedder(folder).fit(["a"])._backbone()
    return windows(backbone, texts, max_length, long_texts, most), backbone


def test_windows_hold_the_whole_text(tiny_roberta):
    """Put together, windows are the text; each has its special tokens and even length."""
    found, backbone = read(tiny_roberta, TEXTS)
    assert found.cut == 0
    assert found.owner.tolist() == sorted(found.owner.tolist())
    mine = [row for row, owner in zip(found.rows, found.owner, strict=True) if owner == 1]
    whole = tokenize(backbone, [LONG], 10_000)[0]
    assert [token for row in mine for token in row[1:-1]] == whole[1:-1]
    assert {(row[0], row[-1]) for row in mine} == {(whole[0], whole[-1])}
    lengths = [len(row) for row in mine]
    assert max(lengths) <= 20
    assert max(lengths) - min(lengths) <= 1
    assert len(mine) == -(-len(whole[1:-1]) // 18)


def test_what_is_cut_is_counted(tiny_roberta):
    """All longer texts, those beyond the most windows, or those without room for a token."""
    assert read(tiny_roberta, TEXTS, long_texts="truncate")[0].cut == 1
    some = read(tiny_roberta, TEXTS, most=2)[0]
    assert (some.cut, len(some.rows)) == (1, 4)
    none = read(tiny_roberta, TEXTS, max_length=2)[0]
    assert (none.cut, len(none.rows)) == (3, 3)


@pytest.mark.parametrize("long_texts", ["mean", "max"])
@pytest.mark.parametrize("normalize", [True, False])
def test_a_long_text_is_its_windows(tiny_roberta, long_texts, normalize):
    """Its vector is made of those of the windows by hand; short texts are as before."""
    how = {"max_length": 20, "normalize": normalize}
    found = RobertaEmbedder(tiny_roberta, long_texts=long_texts, **how).fit_transform(TEXTS)
    pieces, backbone = read(tiny_roberta, [LONG])
    parts = [backbone.tokenizer.decode(row[1:-1]) for row in pieces.rows]
    with_parts = RobertaEmbedder(tiny_roberta, **how).fit_transform(parts)
    wanted = with_parts.mean(axis=0) if long_texts == "mean" else with_parts.max(axis=0)
    if normalize:
        wanted /= np.linalg.norm(wanted)
    np.testing.assert_allclose(found[1], wanted, atol=1e-4)
    cut = RobertaEmbedder(tiny_roberta, long_texts="truncate", **how).fit(TEXTS)
    with pytest.warns(DataWarning, match=r"^1 text\(s\) are longer than the 20 tokens"):
        short = cut.transform(TEXTS)
    np.testing.assert_allclose(found[[0, 2]], short[[0, 2]], atol=1e-5)
    assert np.abs(found[1] - short[1]).max() > 1e-3


def test_texts_cut_are_told_once_per_call(tiny_roberta, monkeypatch):
    """However many chunks a call takes, one warning has the sum."""
    monkeypatch.setattr(_vectors, "_CHUNK", 2)
    embedder = RobertaEmbedder(tiny_roberta, max_length=20, long_texts="truncate").fit(["a"])
    with pytest.warns(DataWarning) as told:
        embedder.transform([f"{i} {LONG}" for i in range(5)])
    assert [str(w.message)[:9] for w in told] == ["5 text(s)"]


def test_training_tells_what_it_cuts(tiny_roberta):
    """A fine-tuned encoder reads the beginning, and says so in fit and in transform."""
    texts = [f"{word} {i} {LONG}" for i in range(4) for word in ("goal", "rate")]
    embedder = RobertaEmbedder(
        tiny_roberta, fine_tune=EncoderTraining(max_epochs=1), max_length=20, cv=2
    )
    with pytest.warns(DataWarning, match="encoder in training") as told:
        embedder.fit_transform(texts, [0, 1] * 4)
    assert len(told) == 1
    with pytest.warns(DataWarning, match=r"^1 text"):
        embedder.transform([LONG])


def test_progress_counts_texts_not_windows(tiny_roberta, monkeypatch):
    """The bar ends at the number of texts."""
    bars = []
    original = _vectors.progress_bar
    monkeypatch.setattr(
        _vectors, "progress_bar", lambda *args: bars.append(original(*args)) or bars[-1]
    )
    RobertaEmbedder(tiny_roberta, max_length=20, verbose=1).fit_transform(TEXTS)
    assert [bar.n for bar in bars] == [3]


def test_models_from_before_keep_what_they_read(tiny_roberta):
    """Pickles and files without the parameter were fitted on beginnings."""
    embedder = RobertaEmbedder(tiny_roberta, max_length=20).fit(TEXTS)
    state = embedder.__getstate__()
    for name in ("long_texts", "backend"):
        del state[name]
    old = RobertaEmbedder.__new__(RobertaEmbedder)
    old.__setstate__(state)
    assert (old.long_texts, old.backend) == ("truncate", "auto")
    assert nested("RobertaEmbedder", {"max_length": 20})["long_texts"] == "truncate"
    assert nested("RobertaEmbedder", {"long_texts": "max"})["long_texts"] == "max"
    assert pickle.loads(pickle.dumps(embedder)).long_texts == "mean"


def test_combine_by_hand():
    """Mean and largest value of the windows of a text; a text of one window stays."""
    vectors = np.array([[1, 0], [0, 1], [3, 3], [0, 2]], dtype=np.float32)
    owner = np.array([0, 0, 1, 2])
    np.testing.assert_allclose(combine(vectors, owner, "mean", False)[0], [0.5, 0.5])
    np.testing.assert_allclose(combine(vectors, owner, "max", False)[0], [1, 1])
    unit = combine(vectors, owner, "mean", True)
    np.testing.assert_allclose(unit[0], [0.5**0.5] * 2, rtol=1e-6)
    np.testing.assert_array_equal(unit[1:], vectors[2:])
    opposite = combine(vectors[:2] - vectors[1::-1], owner[:2], "mean", True)
    assert np.isfinite(opposite).all()


@given(st.lists(st.integers(1, 600), max_size=60), st.integers(1, 2000))
def test_batches_by_tokens(lengths, n_tokens):
    """Every row once, the longest first, and no batch beyond the limit unless it is one row."""
    batches = list(batches_by_tokens(lengths, n_tokens))
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    longest = [max(lengths[i] for i in batch) for batch in batches]
    assert longest == sorted(longest, reverse=True)
    for batch, width in zip(batches, longest, strict=True):
        assert len(batch) == 1 or len(batch) * width <= n_tokens
