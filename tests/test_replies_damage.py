"""Damaged stores: what is sound is served, what is not counts as absent, and it is said."""

import os
import random
import shutil
import sqlite3
import subprocess
import sys
import time
import warnings
from hashlib import sha256
from pathlib import Path

import pytest

from sklfusion import CacheWarning
from sklfusion._chat import Reply, Usage
from sklfusion.replies import encode_reply, open_store
from sklfusion.replies._place import whole_path
from sklfusion.replies._repair import salvage

N = 300
LONG_EVERY = 25  # replies that do not fit into a page of the file


def key(number):
    return sha256(str(number).encode()).hexdigest()


def word(number):
    return f"answer {number} " + "x" * (6000 if number % LONG_EVERY == 0 else 0)


def reply(number):
    return Reply((word(number),), ("stop",), "m", Usage(10, 1), created=1e9 + number)


def fill(folder, n=N):
    """Make a store of n replies whose journal is in the file; return the file."""
    with open_store(folder) as store:
        store.insert([(key(number), encode_reply(reply(number))) for number in range(n)])
    return store.path


@pytest.fixture(scope="module")
def pristine(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pristine")
    fill(folder)
    return folder


@pytest.fixture
def filled(pristine, tmp_path):
    shutil.copytree(pristine / "replies", tmp_path / "replies")
    return tmp_path / "replies" / "replies.sqlite"


def look(folder):
    """Return (replies found, what was said) of a new look at a store."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with open_store(folder) as store:
            found = store.get_many(map(key, range(N)))
    assert all(found[key(n)] == reply(n) for n in range(N) if key(n) in found), "a wrong reply"
    return found, " ".join(str(w.message) for w in caught)


def change_byte(path, rng):
    # A quarter into the header, where a byte matters most; 63 is the format, which a newer
    # sklfusion would have written just so.
    size = path.stat().st_size
    place = rng.choice([p for p in range(100) if p != 63])
    with path.open("r+b") as file:
        file.seek(place if rng.random() < 0.25 else rng.randrange(100, size))
        old = file.read(1)[0]
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([old ^ rng.randrange(1, 256)]))


def overwrite_block(path, rng):
    size = path.stat().st_size
    place = rng.randrange(100, size)
    with path.open("r+b") as file:
        file.seek(place)
        file.write(rng.randbytes(min(rng.choice([16, 512, 4096, 8192]), size - place)))


def cut(path, rng):
    os.truncate(path, rng.randrange(path.stat().st_size))


@pytest.mark.parametrize(("damage", "times"), [(change_byte, 40), (overwrite_block, 12), (cut, 8)])
def test_no_damage_blocks_a_run_or_is_kept_quiet(pristine, tmp_path, damage, times):
    """Whatever is changed: reading and writing work, no reply is wrong, and a loss is told."""
    rng = random.Random(17)
    for number in range(times):
        folder = tmp_path / str(number)
        shutil.copytree(pristine, folder)
        damage(folder / "replies" / "replies.sqlite", rng)
        found, said = look(folder)
        assert len(found) == N or "damaged" in said, f"{N - len(found)} lost in silence"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with open_store(folder) as store:
                store.put(key("new"), reply(1))
                assert store.get_many([key("new")])
                assert store.verify()["replies"] >= len(found)
        if damage is change_byte:
            assert len(found) >= N - 2  # one row, and at most one that shares its page's header
        shutil.rmtree(folder)


def test_a_bad_byte_costs_its_own_row_only(filled, tmp_path):
    """Not even text that is no UTF-8 keeps the other rows from being read, counted, exported."""
    raw = bytearray(filled.read_bytes())
    raw[raw.find(b'{"contents":["answer 7 ') + 16] |= 0x80
    filled.write_bytes(raw)
    found, said = look(tmp_path)
    assert set(map(key, range(N))) - set(found) == {key(7)}
    assert "damaged replies: 1." in said
    with open_store(tmp_path) as store, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        everything = store.get_as(map(key, range(N)), lambda r: r.contents[0])
        assert len(everything) == N - 1
        assert store.info()["replies"] == store.export(tmp_path / "out.jsonl") == N - 1
        report = store.verify()
    assert (report["ok"], report["replies"], report["unusable"]) == (False, N - 1, 1)


@pytest.mark.parametrize("byte", [0x3F, 0xFF])
def test_no_other_byte_passes_for_a_question_mark(tmp_path, byte):
    """What stands for undecodable bytes in Python must not make a checksum right again."""
    with open_store(tmp_path) as store:
        store.put(key(0), Reply(("spam?",), created=1.0))
    raw = store.path.read_bytes()
    store.path.write_bytes(raw.replace(b"spam?", b"spam" + bytes([byte])))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = open_store(tmp_path).get_many([key(0)])
    assert bool(found) == (byte == 0x3F)


@pytest.mark.parametrize("page", [2, 3, 5])
def test_rows_longer_than_a_page_are_salvaged_without_the_tree(filled, tmp_path, page):
    """Every row whose own pages are whole comes back, long ones too."""
    with filled.open("r+b") as file:
        file.write(bytes(100))  # no header, so no tree
        file.seek((page - 1) * 4096)
        file.write(bytes(4096))
    found, said = look(tmp_path)
    assert "salvaged" in said
    long = {key(n) for n in range(0, N, LONG_EVERY)}
    assert len(long & set(found)) >= len(long) - 2
    assert len(found) >= N - 15


def test_a_hidden_row_is_found_before_it_is_paid_for(filled, tmp_path):
    """A changed key in the index hides a sound row; the file is looked through first."""
    raw = bytearray(filled.read_bytes())
    places = [at for at in range(len(raw)) if raw.startswith(key(3).encode(), at)]
    for at in places:
        if raw[at + 64 : at + 72].isalnum() and raw[at + 72 : at + 73] == b"{":
            continue  # the row itself
        raw[at + 5] ^= 1
    filled.write_bytes(raw)
    found, said = look(tmp_path)
    assert len(found) == N
    assert "300 replies were salvaged, 0 lost" in said


SALVAGE = """
import sys
from sklfusion.replies import open_store
print("go", flush=True)
open_store(sys.argv[1]).get_many([])
print("done", flush=True)
"""


@pytest.mark.parametrize("wait", [0.0, 0.2])
def test_an_interrupted_salvage_is_begun_again(tmp_path, wait):
    """kill -9 while the rows are copied: the damaged file is where it was, and nothing is lost."""
    n = 20_000
    path = fill(tmp_path, n)
    with path.open("r+b") as file:
        file.write(bytes(100))
    child = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", SALVAGE, str(tmp_path)], stdout=subprocess.PIPE
    )
    child.stdout.readline()
    end = time.monotonic() + 60
    while child.poll() is None and time.monotonic() < end:
        if list(path.parent.glob("*.salvaging")):
            break
        time.sleep(0.001)
    time.sleep(wait)
    child.kill()
    finished = b"done" in child.communicate()[0]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with open_store(tmp_path) as store:
            assert store.info()["replies"] == n
    assert finished or any("salvaged" in str(w.message) for w in caught)
    assert len(list(path.parent.glob("*.damaged-*"))) == 1
    assert not list(path.parent.glob("*.salvag*"))


def test_a_whole_salvage_is_put_in_its_place_by_the_next_opening(filled, tmp_path):
    """A process that ends between the last two steps leaves a whole store, which is taken up."""
    with filled.open("r+b") as file:
        file.write(bytes(100))
    salvage(filled, whole_path(filled))
    found, said = look(tmp_path)
    assert (len(found), said) == (N, "")
    (aside,) = filled.parent.glob("*.damaged-*")
    assert aside.read_bytes()[:100] == bytes(100)


@pytest.mark.parametrize(
    "statement",
    [
        "PRAGMA user_version = 0",
        "PRAGMA user_version = -5",
        "PRAGMA application_id = 0",
        "DROP TABLE leases",
        "ALTER TABLE replies ADD COLUMN extra",
        "CREATE TRIGGER t AFTER INSERT ON replies BEGIN DELETE FROM replies; END",
    ],
)
def test_a_header_or_table_that_is_not_ours_is_repaired(filled, tmp_path, statement):
    """The rows are sound, so they are served; a planted trigger never runs."""
    other = sqlite3.connect(filled)
    other.executescript(statement)
    other.close()
    found, said = look(tmp_path)
    assert len(found) == N
    assert "300 replies were salvaged, 0 lost" in said
    with open_store(tmp_path) as store:
        store.put(key("new"), reply(1))
        assert store.info()["replies"] == N + 1


def test_what_was_written_into_the_old_file_is_written_again(filled, tmp_path):
    """A store that is replaced between a look at it and a write does not swallow the reply."""
    store = open_store(tmp_path)
    store.get_many([])
    fresh = fill(tmp_path / "fresh", 3)
    original, done = store._pool.connection, []

    def replace_first():
        context = original()
        if not done:
            done.append(fresh.replace(filled))
        return context

    store._pool.connection = replace_first
    store.put(key("new"), reply(1))
    store._pool.connection = original
    store.close()
    with open_store(tmp_path) as again:
        assert again.get_many([key("new")])


HOLD = """
import sys
from sklfusion.replies import open_store
store = open_store(sys.argv[1])
store.get_many([])
print("open", flush=True)
sys.stdin.readline()
"""


def test_a_closed_store_is_whole_in_its_file(tmp_path):
    """close() moves the journal into the file, even while another process has it open."""
    fill(tmp_path, 1)
    child = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        child.stdout.readline()
        with open_store(tmp_path) as store:
            for number in range(50):
                store.put(key(number), reply(number))
        copy = tmp_path / "copy" / "replies" / "replies.sqlite"
        copy.parent.mkdir(parents=True, mode=0o700)
        copy.write_bytes(Path(store.path).read_bytes())
        assert open_store(tmp_path / "copy").info()["replies"] == 50
    finally:
        child.communicate("\n", timeout=60)


def test_damage_in_a_lease_blocks_nobody(filled, tmp_path):
    """A lease whose numbers are no numbers has ended."""
    with sqlite3.connect(filled) as other:
        row = (key("x"), b"me", b"\xff", "boot", "soon", b"\x00", "long")
        other.execute("INSERT INTO leases VALUES (?, ?, ?, ?, ?, ?, ?)", row)
    other.close()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CacheWarning)
        with open_store(tmp_path) as store:
            assert store.claim([key("x")], "me too", 60) == {key("x")}


def test_a_salvage_that_was_killed_at_its_first_step_leaves_nothing_behind(filled, tmp_path):
    """Not even the file under the name that nobody ever sees."""
    stale = filled.with_name(f".{filled.name}.salvaging.1-1.new")
    stale.write_bytes(b"half a store")
    with filled.open("r+b") as file:
        file.write(bytes(100))
    found, said = look(tmp_path)
    assert len(found) == N
    assert "salvaged" in said
    assert not stale.exists()
