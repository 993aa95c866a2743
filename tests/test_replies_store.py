"""The reply store: what it keeps, who may pay, and what survives."""

import gzip
import json
import os
import pickle
import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from sklfusion import CacheError, CacheWarning
from sklfusion._chat import Reply, Usage
from sklfusion.replies import ReplyStore, open_store
from sklfusion.replies import _connections as connections
from sklfusion.replies._leases import Clock


def key(number):
    return sha256(str(number).encode()).hexdigest()


def reply(text="a"):
    return Reply((str(text),), ("stop",), "m", Usage(3, 1), created=1.0)


@pytest.fixture
def store(tmp_path):
    return open_store(tmp_path)


# ------------------------------------------------------------------------------------- replies


def test_what_is_put_is_got(store):
    """Stored replies come back by key; keys without one are absent."""
    for number in range(5):
        store.put(key(number), reply(number))
    found = store.get_many([key(n) for n in range(7)] * 2)
    assert found == {key(n): reply(n) for n in range(5)}
    assert store.get_many([]) == {}


def test_the_first_reply_wins(store):
    """A second answer to the same request is told what the store holds."""
    store.put(key(1), reply("first"))
    assert store.put(key(1), reply("second")) == reply("first")
    assert store.get_many([key(1)])[key(1)] == reply("first")


def test_many_keys_are_read_in_chunks(store):
    """More keys than one statement may have."""
    rows = {key(n): reply(n) for n in range(2500)}
    from sklfusion.replies import encode_reply

    assert store.insert((k, encode_reply(r)) for k, r in rows.items()) == 2500
    assert store.get_many(rows) == rows
    assert list(dict(store.rows())) == sorted(rows)


def test_a_wrong_key_is_refused(store):
    """A text instead of its digest never reaches the file."""
    for wrong in ("text", key(1).upper(), key(1)[:63], 3, None, "'; DROP TABLE replies; --"):
        with pytest.raises(ValueError, match="not a reply key"):
            store.get_many([wrong])
        with pytest.raises(ValueError, match="not a reply key"):
            store.put(wrong, reply())


@pytest.mark.parametrize("durability", ["process", "power"])
def test_threads_share_one_store(tmp_path, durability):
    """Puts from many threads all arrive, each before its call returns."""
    store = open_store(tmp_path, durability=durability)

    def work(number):
        store.put(key(number), reply(number))
        return store.get_many([key(number)])[key(number)] == reply(number)

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(work, range(400)))
    assert store.info()["replies"] == 400


def test_poisoned_values_are_absent_and_replaced(store):
    """A value that is not a reply is never handed out, and the next answer takes its place."""
    store.put(key(0), reply())
    with sqlite3.connect(store.path) as other:
        for number, value in enumerate(
            [b"\x80\x04\x95cposix\nsystem\n", "[" * 5000, '{"contents":["b"]}', 7, ""], start=1
        ):
            other.execute("INSERT INTO replies VALUES (?, ?, ?)", (key(number), "0" * 8, value))
    other.close()
    keys = [key(n) for n in range(6)]
    with pytest.warns(CacheWarning, match="damaged replies: 5"):
        assert set(store.get_many(keys)) == {key(0)}
    assert store.claim(keys, "me", 60) == set(keys[1:])
    assert store.verify()["unusable"] == 5
    for k in keys:
        store.put(k, reply("new"))
    assert len(store.get_many(keys)) == 6
    assert store.verify()["ok"]


def test_a_changed_bit_is_noticed(store):
    """A label altered in the file no longer matches its checksum."""
    store.put(key(0), reply("spam"))
    with sqlite3.connect(store.path) as other:
        other.execute("UPDATE replies SET value = replace(value, 'spam', 'span')")
    other.close()
    with pytest.warns(CacheWarning, match="damaged replies: 1"):
        assert store.get_many([key(0)]) == {}


def test_the_store_can_be_pickled_and_reopened(store):
    """A worker process gets the path, not the connection."""
    store.put(key(1), reply())
    twin = pickle.loads(pickle.dumps(store))
    assert twin.get_many([key(1)]) == {key(1): reply()}


def test_closed_store_opens_again(store):
    """close() gives up the file; the next call opens it."""
    store.put(key(1), reply())
    store.close()
    assert store.get_many([key(1)]) == {key(1): reply()}


def test_descriptors_stay_flat(tmp_path):
    """Neither many opens nor many threads leave files open."""
    open_store(tmp_path).put(key(0), reply())

    def count():
        return len(os.listdir("/proc/self/fd"))

    before = count()
    for _ in range(100):
        open_store(tmp_path).get_many([key(0)])
    store = open_store(tmp_path)
    with ThreadPoolExecutor(32) as pool:
        list(pool.map(lambda n: store.get_many([key(n)]), range(500)))
    # SQLite keeps the descriptor of a closed connection while another one holds a lock.
    assert count() <= before + 3 * connections.MAX_IDLE + 32
    store.close()
    assert count() <= before + 1


def test_a_deleted_folder_is_noticed(store):
    """Removing the cache during a run starts a new one instead of writing into nowhere."""
    store.put(key(1), reply())
    for path in store.path.parent.iterdir():
        path.unlink()
    assert store.get_many([key(1)]) == {}
    store.put(key(2), reply())
    assert set(open_store(store.path.parents[1]).get_many([key(1), key(2)])) == {key(2)}


# -------------------------------------------------------------------------------------- leases


class HandClock(Clock):
    """Clocks moved by hand."""

    def __init__(self, boot="boot"):
        super().__init__(boot)
        object.__setattr__(self, "now", [1000.0, 5e8])

    def monotonic(self):
        return self.now[0]

    def wall(self):
        return self.now[1]

    def pass_time(self, seconds):
        self.now[0] += seconds
        self.now[1] += seconds

    def jump(self, seconds):
        self.now[1] += seconds


@pytest.fixture
def clocked(tmp_path):
    clock = HandClock()
    return ReplyStore(tmp_path / "r.sqlite", clock=clock).open(), clock


def test_a_lease_keeps_others_out(clocked):
    """Only one owner may pay for a key, and it may ask again."""
    store, _ = clocked
    keys = {key(1), key(2)}
    assert store.claim(keys, "a", 10) == keys
    assert store.claim(keys, "b", 10) == set()
    assert store.claim(keys, "a", 10) == keys


def test_an_expired_lease_is_taken_over(clocked):
    """A payer that is silent for the length of its lease loses it."""
    store, clock = clocked
    store.claim([key(1)], "a", 10)
    clock.pass_time(9.9)
    assert store.claim([key(1)], "b", 10) == set()
    clock.pass_time(0.2)
    assert store.claim([key(1)], "b", 10) == {key(1)}
    assert store.renew([key(1)], "a", 10) == set()


def test_a_renewed_lease_lives_on(clocked):
    """A heartbeat starts the lease anew."""
    store, clock = clocked
    store.claim([key(1)], "a", 10)
    for _ in range(5):
        clock.pass_time(8)
        assert store.renew([key(1), key(2)], "a", 10) == {key(1)}
    assert store.claim([key(1)], "b", 10) == set()


def test_a_released_key_is_free_and_only_its_owner_frees_it(clocked):
    """Giving back works at once; nobody frees the lease of another."""
    store, _ = clocked
    store.claim([key(1)], "a", 10)
    store.release([key(1)], "b")
    assert store.claim([key(1)], "b", 10) == set()
    store.release([key(1)], "a")
    assert store.claim([key(1)], "b", 10) == {key(1)}


def test_an_answer_frees_the_lease_and_ends_the_claims(clocked):
    """Nobody can claim an answered key, whoever answered it."""
    store, _ = clocked
    store.claim([key(1)], "a", 10)
    store.put(key(1), reply(), owner="b")
    assert store.claim([key(1)], "a", 10) == set()
    assert store.info()["leases"] == 0


@pytest.mark.parametrize("seconds", [3600, -3600])
def test_a_jump_of_the_wall_clock_changes_nothing(clocked, seconds):
    """Leases between processes of one boot live by the monotonic clock."""
    store, clock = clocked
    store.claim([key(1)], "a", 10)
    clock.jump(seconds)
    assert store.claim([key(1)], "b", 10) == set()
    clock.pass_time(11)
    assert store.claim([key(1)], "b", 10) == {key(1)}


@pytest.mark.parametrize("seconds", [-3600, 11])
def test_a_lease_of_an_earlier_boot_never_blocks_for_long(clocked, seconds):
    """After a reboot the wall clock decides; a lease from the future has expired."""
    store, _ = clocked
    store.claim([key(1)], "a", 10)
    rebooted = HandClock("another boot")
    rebooted.now[0] = 5.0
    rebooted.jump(seconds)
    other = ReplyStore(store.path, clock=rebooted)
    assert other.claim([key(1)], "b", 10) == {key(1)}


def test_the_lease_of_a_dead_process_is_free_at_once(store):
    """A run started again after kill -9 need not wait for the leases of the dead one."""
    code = (
        "import os, signal, sys\n"
        "from sklfusion.replies import open_store\n"
        "open_store(sys.argv[1]).claim([sys.argv[2]], 'dead', 3600)\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    folder = store.path.parents[1]
    subprocess.run([sys.executable, "-c", code, folder, key(1)], check=False)
    assert store.info()["leases"] == 1
    assert store.claim([key(1)], "me", 60) == {key(1)}


def test_waiting_ends_with_the_answer(store):
    """A waiter gets the reply of the payer."""
    store.claim([key(1), key(2)], "a", 60)
    timer = threading.Timer(0.1, store.put, (key(1), reply(), "a"))
    timer.start()
    replies, free = store.wait([key(1), key(2)], owner="b", timeout=20, interval=0.01)
    timer.join()
    assert replies == {key(1): reply()}
    assert free == set()


def test_waiting_ends_with_a_free_key(store):
    """A waiter learns that the payer gave up."""
    store.claim([key(1)], "a", 60)
    assert store.wait([key(1)], owner="b", timeout=0) == ({}, set())
    store.release([key(1)], "a")
    assert store.wait([key(1)], owner="b", timeout=20) == ({}, {key(1)})


class StoreMachine(RuleBasedStateMachine):
    """Two owners, random order: a model in memory says what the store must hold."""

    @initialize()
    def start(self):
        import tempfile

        self.folder = tempfile.TemporaryDirectory()
        self.clock = HandClock()
        self.reopen()
        self.answers, self.leases = {}, {}

    @rule()
    def reopen(self):
        self.store = ReplyStore(f"{self.folder.name}/r.sqlite", clock=self.clock)

    @rule(number=st.integers(0, 3), owner=st.sampled_from("ab"))
    def claim(self, number, owner):
        holder, until = self.leases.get(number, (None, 0))
        alive = holder not in (None, owner) and self.clock.now[0] < until
        expected = set() if number in self.answers or alive else {key(number)}
        assert self.store.claim([key(number)], owner, 10) == expected
        if expected:
            self.leases[number] = (owner, self.clock.now[0] + 10)

    @rule(number=st.integers(0, 3), text=st.text(max_size=3))
    def put(self, number, text):
        self.answers.setdefault(number, reply(text))
        assert self.store.put(key(number), reply(text)) == self.answers[number]
        self.leases.pop(number, None)

    @rule(number=st.integers(0, 3), owner=st.sampled_from("ab"))
    def release(self, number, owner):
        self.store.release([key(number)], owner)
        if self.leases.get(number, (None,))[0] == owner:
            del self.leases[number]

    @rule(seconds=st.sampled_from([1.0, 6.0]))
    def pass_time(self, seconds):
        self.clock.pass_time(seconds)

    @rule(seconds=st.sampled_from([-3600.0, 3600.0]))
    def jump(self, seconds):
        self.clock.jump(seconds)

    @invariant()
    def the_store_holds_the_answers(self):
        if hasattr(self, "store"):
            found = self.store.get_many([key(n) for n in range(4)])
            assert found == {key(n): r for n, r in self.answers.items()}

    def teardown(self):
        if hasattr(self, "folder"):
            self.store.close()
            self.folder.cleanup()


TestStoreMachine = StoreMachine.TestCase
TestStoreMachine.settings = settings(max_examples=15, stateful_step_count=20, deadline=None)


# ------------------------------------------------------------------------------------- formats


def test_a_newer_format_is_refused_with_both_versions(store):
    """A file of a newer sklfusion is left alone."""
    with sqlite3.connect(store.path) as other:
        other.execute("PRAGMA user_version = 99")
    other.close()
    store.close()
    with pytest.raises(CacheError, match=f"format 99.*up to format {connections.STORE_FORMAT}"):
        open_store(store.path.parents[1])


def test_a_database_of_another_program_is_refused(tmp_path):
    """A foreign SQLite file is neither used nor set aside."""
    (tmp_path / "replies").mkdir(mode=0o700)
    path = tmp_path / "replies" / "replies.sqlite"
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE notes (text)")
    other.close()
    with pytest.raises(CacheError, match="another program"):
        open_store(tmp_path)
    assert path.exists()


def test_an_older_format_is_migrated_once(store, monkeypatch):
    """Migration keeps the replies, and a second opening has nothing to do."""
    store.put(key(1), reply())
    store.close()
    monkeypatch.setattr(connections, "STORE_FORMAT", connections.STORE_FORMAT + 1)
    steps = {connections.STORE_FORMAT - 1: ["CREATE TABLE extra (a)"]}
    monkeypatch.setattr(connections, "MIGRATIONS", steps)
    for _ in range(2):
        with open_store(store.path.parents[1]) as again:
            assert again.get_many([key(1)]) == {key(1): reply()}
            assert again.info()["format"] == connections.STORE_FORMAT


def test_a_migration_that_fails_changes_nothing(store, monkeypatch):
    """The statements and the version number are one transaction."""
    store.put(key(1), reply())
    store.close()
    old = connections.STORE_FORMAT
    with monkeypatch.context() as patch:
        patch.setattr(connections, "STORE_FORMAT", old + 1)
        patch.setattr(
            connections, "MIGRATIONS", {old: ["CREATE TABLE extra (a)", "CREATE TABLE extra (a)"]}
        )
        with pytest.raises(CacheError, match="already exists"):
            open_store(store.path.parents[1])
    assert open_store(store.path.parents[1]).info()["format"] == old


# ------------------------------------------------------------------------------------ exchange


@pytest.mark.parametrize("name", ["replies.jsonl", "replies.jsonl.gz"])
def test_replies_travel_between_stores(store, tmp_path, name):
    """An export holds all replies; importing twice adds nothing."""
    for number in range(20):
        store.put(key(number), reply(number))
    assert store.export(tmp_path / name) == 20
    other = open_store(tmp_path / "other")
    other.put(key(0), reply("mine"))
    counts = other.import_(tmp_path / name)
    assert counts == {"added": 19, "present": 1, "refused": 0}
    assert other.import_(tmp_path / name)["added"] == 0
    assert other.get_many([key(0), key(7)]) == {key(0): reply("mine"), key(7): reply(7)}


def test_equal_stores_give_equal_exports(tmp_path):
    """Neither the order of storing nor the time is in the file."""
    for folder, order in (("a", range(9)), ("b", reversed(range(9)))):
        store = open_store(tmp_path / folder)
        for number in order:
            store.put(key(number), reply(number))
        store.export(tmp_path / f"{folder}.jsonl.gz")
    assert (tmp_path / "a.jsonl.gz").read_bytes() == (tmp_path / "b.jsonl.gz").read_bytes()


def test_unusable_lines_are_counted_not_kept(store, tmp_path):
    """An import takes what is sound and says how much was not."""
    store.put(key(1), reply())
    path = tmp_path / "r.jsonl"
    store.export(path)
    good = path.read_bytes()
    path.write_bytes(good + b"{}\nnull\n" + b"[" * 99999 + b'\n{"key": 1, "reply": 2}\n\xff\n')
    counts = open_store(tmp_path / "b").import_(path)
    assert counts == {"added": 1, "present": 0, "refused": 5}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[1]",
        b"\x80\x04",
        b'{"format": "sklfusion-replies", "version": 9}',
        gzip.compress(b"x", mtime=0),
    ],
)
def test_what_is_not_an_export_is_refused(store, tmp_path, content):
    """The header is checked before any line is read."""
    for name in ("r.jsonl", "r.jsonl.gz"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(CacheError):
            store.import_(tmp_path / name)


def test_info_counts(store):
    """Counts by model, tokens and times are plain JSON."""
    for number in range(3):
        store.put(key(number), reply(number))
    store.claim([key(9)], "a", 5)
    info = json.loads(json.dumps(store.info()))
    assert (info["replies"], info["models"], info["leases"]) == (3, {"m": 3}, 1)
    assert (info["prompt_tokens"], info["completion_tokens"]) == (9, 3)
