"""The cache of vectors on its own: what it keeps, for whom, and what it says when it cannot."""

import sqlite3
import threading
import warnings
from contextlib import closing

import joblib
import numpy as np
import pytest

from sklfusion.embedding import _cache
from sklfusion.embedding._cache import open_cache, text_key, through_cache, unknown
from sklfusion.exceptions import CacheError, CacheWarning

WIDTH = 4


def vectors_of(texts):
    """A vector per text that tells it apart."""
    return np.array([[len(t), ord(t[0]), ord(t[-1]), 1.0] for t in texts], dtype=np.float32)


@pytest.fixture
def encoder():
    """Encodes as above; remembers what it was asked for."""
    asked = []

    def encode(texts, progress):
        asked.extend(texts)
        return vectors_of(texts)

    encode.asked = asked
    return encode


def look_up(folder, texts, encode, space=b"one"):
    """Vectors of texts through the cache of a folder."""
    return through_cache(open_cache(folder), space, texts, WIDTH, encode)


def test_a_text_is_encoded_once_in_whatever_company(tmp_path, encoder):
    """Vectors come in the order of the texts, old beside new."""
    look_up(tmp_path, ["b", "d"], encoder)
    found = look_up(tmp_path, ["a", "b", "c", "d"], encoder)
    np.testing.assert_array_equal(found, vectors_of(["a", "b", "c", "d"]))
    assert encoder.asked == ["b", "d", "a", "c"]


def test_other_settings_are_other_vectors(tmp_path, encoder):
    """And a text that continues the settings is not the same key."""
    for space in (b"one", b"two", b"one"):
        look_up(tmp_path, ["a"], encoder, space)
    assert encoder.asked == ["a", "a"]
    assert text_key(b"one", "a") != text_key(b"two", "a")


def test_what_is_not_there_is_told_without_encoding(tmp_path, encoder):
    """All of them where there is no cache."""
    look_up(tmp_path, ["a", "c"], encoder)
    assert unknown(open_cache(tmp_path), b"one", ["a", "b", "c"], WIDTH) == ["b"]
    assert unknown(None, b"one", ["a", "b"], WIDTH) == ["a", "b"]
    assert encoder.asked == ["a", "c"]


def test_without_memory_nothing_is_kept(encoder, tmp_path, monkeypatch):
    """No file anywhere, and each call encodes."""
    monkeypatch.chdir(tmp_path)
    assert open_cache(None) is None
    for _ in range(2):
        look_up(None, ["a"], encoder)
    assert encoder.asked == ["a", "a"]
    assert list(tmp_path.iterdir()) == []


def test_a_path_a_string_and_a_memory_are_one_place(tmp_path, encoder):
    """As ``memory=`` is everywhere."""
    for memory in (tmp_path, str(tmp_path), joblib.Memory(tmp_path, verbose=0)):
        look_up(memory, ["a"], encoder)
    assert encoder.asked == ["a"]
    assert (tmp_path / "embeddings" / "vectors.sqlite").stat().st_mode & 0o077 == 0


def test_more_texts_than_one_query_takes(tmp_path, encoder):
    """Twelve hundred keys, three of them new."""
    texts = [f"text {n}" for n in range(1200)]
    look_up(tmp_path, texts[:1197], encoder)
    encoder.asked.clear()
    found = look_up(tmp_path, texts[::-1], encoder)
    np.testing.assert_array_equal(found, vectors_of(texts[::-1]))
    assert encoder.asked == texts[:1196:-1]


def test_the_bar_moves_by_what_is_found(tmp_path, encoder):
    """The encoder moves it by the rest."""

    class Bar:
        moved = 0

        def update(self, n):
            self.moved += n

    look_up(tmp_path, ["a", "b", "c"], encoder)
    bar = Bar()
    through_cache(open_cache(tmp_path), b"one", ["a", "c", "x"], WIDTH, encoder, bar)
    assert bar.moved == 2


def test_a_vector_under_another_key_is_no_vector(tmp_path, encoder):
    """The checksum ties vector and text together: swapped rows are computed again."""
    look_up(tmp_path, ["a", "b"], encoder)
    with closing(sqlite3.connect(tmp_path / "embeddings" / "vectors.sqlite")) as db, db:
        rows = dict(db.execute("SELECT key, vector FROM vectors"))
        one, two = rows
        db.execute("UPDATE vectors SET vector = ? WHERE key = ?", (rows[two], one))
        db.execute("UPDATE vectors SET vector = ? WHERE key = ?", (rows[one], two))
    found = look_up(tmp_path, ["a", "b"], encoder)
    np.testing.assert_array_equal(found, vectors_of(["a", "b"]))
    assert encoder.asked == ["a", "b", "a", "b"]


def test_a_vector_of_another_width_is_computed_again(tmp_path, encoder):
    """A shorter encoder under the same settings never gets the beginning of a longer one's."""
    look_up(tmp_path, ["a"], encoder)
    narrow = through_cache(
        open_cache(tmp_path), b"one", ["a"], 2, lambda texts, _: np.full((1, 2), 7, np.float32)
    )
    np.testing.assert_array_equal(narrow, [[7, 7]])


def test_a_table_of_another_kind_is_set_aside(tmp_path, encoder):
    """Moved, not deleted; a new file takes its place and says nothing more."""
    file = tmp_path / "embeddings" / "vectors.sqlite"
    file.parent.mkdir()
    with closing(sqlite3.connect(file)) as db, db:
        db.execute("CREATE TABLE vectors (name TEXT)")
        db.execute("PRAGMA user_version = 1")
    with pytest.warns(CacheWarning, match=r"moved to vectors\.sqlite\.damaged-"):
        found = look_up(tmp_path, ["a"], encoder)
    np.testing.assert_array_equal(found, vectors_of(["a"]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        look_up(tmp_path, ["a"], encoder)
    assert encoder.asked == ["a"]
    assert len(list(file.parent.glob("*.damaged-*"))) == 1


def test_a_header_that_is_no_format_is_damage_and_a_later_one_is_not(tmp_path, encoder):
    """A number no release will reach is a broken header; a small one is another release's file."""
    file = tmp_path / "embeddings" / "vectors.sqlite"
    look_up(tmp_path, ["a"], encoder)
    for version, error in ((2, CacheError), (12345, None)):
        with closing(sqlite3.connect(file)) as db, db:
            db.execute(f"PRAGMA user_version = {version}")
        if error:
            with pytest.raises(error, match=f"format {version}; this release"):
                look_up(tmp_path, ["a"], encoder)
        else:
            with pytest.warns(CacheWarning, match="names format 12345"):
                look_up(tmp_path, ["a"], encoder)


def test_a_cache_that_another_process_holds_is_left_alone(tmp_path, encoder, monkeypatch):
    """Vectors come anyway, the file stays in its place, and what it has is there afterwards."""
    look_up(tmp_path, ["a"], encoder)
    monkeypatch.setattr(_cache, "_TIMEOUT", 0.05)
    file = tmp_path / "embeddings" / "vectors.sqlite"
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.warns(CacheWarning, match="left alone"):
            found = look_up(tmp_path, ["a", "b"], encoder)
        other.execute("ROLLBACK")
    np.testing.assert_array_equal(found, vectors_of(["a", "b"]))
    assert list(file.parent.glob("*.damaged-*")) == []
    encoder.asked.clear()
    look_up(tmp_path, ["a", "b"], encoder)
    assert encoder.asked == ["b"]


def test_what_cannot_be_written_is_said_once(tmp_path, encoder, monkeypatch):
    """Another process writes for longer than one waits: reading works, nothing is kept."""
    look_up(tmp_path, ["a"], encoder)
    monkeypatch.setattr(_cache, "_TIMEOUT", 0.05)
    cache = open_cache(tmp_path)
    with closing(sqlite3.connect(cache.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.warns(CacheWarning, match="cannot be written"):
            found = through_cache(cache, b"one", ["a", "b"], WIDTH, encoder)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            through_cache(cache, b"one", ["a", "c"], WIDTH, encoder)
        other.execute("ROLLBACK")
    np.testing.assert_array_equal(found, vectors_of(["a", "b"]))
    assert encoder.asked == ["a", "b", "c"]


def test_threads_share_a_new_cache(tmp_path, encoder):
    """Eight at once, overlapping texts: right vectors for all, and all of them kept."""
    found, start = {}, threading.Barrier(8)

    def work(number):
        texts = [f"{n}" for n in range(number, number + 10)]
        start.wait(timeout=60)
        found[number] = (texts, look_up(tmp_path, texts, encoder))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert len(found) == 8
    for texts, vectors in found.values():
        np.testing.assert_array_equal(vectors, vectors_of(texts))
    assert unknown(open_cache(tmp_path), b"one", [f"{n}" for n in range(17)], WIDTH) == []
