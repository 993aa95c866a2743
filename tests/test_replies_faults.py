"""The reply store under damage, full disks, dying processes and forks."""

import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from hashlib import sha256
from pathlib import Path

import pytest

from sklfusion import CacheError, CacheWarning
from sklfusion._chat import Reply
from sklfusion.replies import open_store
from sklfusion.replies._exchange import rescue


def key(number):
    return sha256(str(number).encode()).hexdigest()


def reply(text="a"):
    return Reply((str(text),), ("stop",), "m", created=1.0)


N = 500


@pytest.fixture
def filled(tmp_path):
    """A folder with 500 replies whose file nobody holds open."""
    with open_store(tmp_path) as store:
        for number in range(N):
            store.put(key(number), reply(number))
    return store.path


def zero_header(path):
    with path.open("r+b") as file:
        file.write(bytes(100))


def noise(path):
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        file.write(bytes(range(256)) * 32)


def halve(path):
    os.truncate(path, path.stat().st_size // 2)


def empty(path):
    os.truncate(path, 0)


def foreign(path):
    path.write_bytes(b"PK\x03\x04" + b"not a database" * 1000)


@pytest.mark.parametrize(
    ("damage", "at_least"),
    [(zero_header, N), (noise, N * 0.8), (halve, N * 0.3), (empty, 0), (foreign, 0)],
)
def test_damage_is_set_aside_and_salvaged(filled, damage, at_least):
    """The sound rows survive, the damaged file is kept, the counts are told, the run goes on."""
    damage(filled)
    size = filled.stat().st_size
    told = r"\d+ replies were salvaged, (\d+|an unknown number) lost"
    with pytest.warns(CacheWarning, match=told):
        found = open_store(filled.parents[1]).get_many(map(key, range(N)))
    store = open_store(filled.parents[1])
    assert len(found) >= at_least
    assert all(found[key(n)] == reply(n) for n in range(N) if key(n) in found)
    (aside,) = (
        p
        for p in filled.parent.iterdir()
        if "damaged" in p.name and "-wal" not in p.name and "-shm" not in p.name
    )
    assert aside.stat().st_size == size
    for number in range(N):
        store.put(key(number), reply(number))
    assert len(store.get_many(map(key, range(N)))) == N
    assert store.verify()["ok"]


def test_verify_reports_damage_and_changes_nothing(filled):
    """Looking is not repairing."""
    noise(filled)
    before = filled.read_bytes()
    report = open_store(filled.parents[1]).verify()
    assert not report["ok"]
    assert filled.read_bytes() == before


@pytest.mark.parametrize("suffixes", [["-wal"], ["-shm"], ["-wal", "-shm"]])
def test_lost_journal_files_do_no_harm(tmp_path, suffixes):
    """Without its WAL or index file the store opens, whole up to the last checkpoint."""
    copy = tmp_path / "copy" / "replies"
    store = open_store(tmp_path / "live")
    store.put(key(1), reply())
    shutil.copytree(store.path.parent, copy, copy_function=shutil.copy2)
    copy.chmod(0o700)
    for suffix in suffixes:
        (copy / f"replies.sqlite{suffix}").unlink()
    again = open_store(tmp_path / "copy")
    again.put(key(2), reply())
    assert key(2) in again.get_many([key(1), key(2)])
    assert again.verify()["ok"]


def run(code, *args, **kwargs):
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, args)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        **kwargs,
    )


PUT_UNTIL_FULL = """
import sys
from hashlib import sha256
from sklfusion import CacheError
from sklfusion._chat import Reply
from sklfusion.replies import open_store
store = open_store(sys.argv[1])
stored = 0
try:
    for n in range(2000):
        store.put(sha256(str(n).encode()).hexdigest(), Reply((str(n) * 50,)))
        stored += 1
except CacheError as error:
    print(stored, "disk" in str(error))
"""


@pytest.mark.parametrize("kilobytes", [40, 120, 333, 520])
def test_a_full_disk_is_an_error_and_loses_nothing(tmp_path, kilobytes):
    """Everything acknowledged before the disk was full is there on reopening."""
    limit = kilobytes * 1024
    result = run(
        PUT_UNTIL_FULL,
        tmp_path,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    stored, named = result.stdout.split()
    assert named == "True", result.stderr
    store = open_store(tmp_path)
    assert len(store.get_many(map(key, range(int(stored))))) == int(stored)
    assert store.verify()["ok"]


def test_a_lease_that_cannot_be_freed_blocks_nobody_here(tmp_path, monkeypatch):
    """When the disk is full a lease stays in the file; its process knows that it is free."""
    store = open_store(tmp_path)
    store.claim([key(1), key(2)], "gone", 3600)

    def fail(*args, **kwargs):
        raise CacheError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(store, "_run", fail)
        with pytest.raises(CacheError):
            store.put(key(1), reply(), "gone")
        with pytest.raises(CacheError):
            store.release([key(2)], "gone")
    assert store.claim([key(1), key(2)], "next", 60) == {key(1), key(2)}


def test_replies_without_room_can_be_rescued(tmp_path, monkeypatch):
    """What is in memory is written elsewhere and imported later."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    path = rescue({key(n): reply(n) for n in range(5)})
    assert path.parent == tmp_path
    assert open_store(tmp_path / "b").import_(path)["added"] == 5


READ_AS_NOBODY = """
import os, sys
from hashlib import sha256
from sklfusion import CacheError
from sklfusion._chat import Reply
from sklfusion.replies import open_store
os.setgid(65534); os.setuid(65534)
import warnings
warnings.simplefilter("ignore")
store = open_store(sys.argv[1])
k = sha256(b"7").hexdigest()
print(store.read_only, store.get_many([k])[k].contents[0])
for act in (lambda: store.put(k, Reply(("b",))), lambda: store.claim([k], "me", 1)):
    try:
        act()
    except CacheError as error:
        print("read-only" in str(error))
"""


@pytest.mark.skipif(os.getuid() != 0, reason="needs to become another user")
@pytest.mark.parametrize("live", [False, True])
def test_a_folder_of_another_user_is_read_not_written(live):
    """Replies in a read-only folder are used, also of a live store; new ones are refused."""
    # below /tmp, since pytest's own folders cannot be entered by another user
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        store = open_store(folder)
        for number in range(20):
            store.put(key(number), reply(number))
        if not live:
            store.close()
        for path in store.path.parent.iterdir():
            path.chmod(0o644)
        store.path.parent.chmod(0o755)
        env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
        result = run(READ_AS_NOBODY, folder, env=env)
        store.close()
    assert result.stdout.split() == ["True", "7", "True", "True"], result.stderr


OPEN_AND_PUT = """
import sys
from hashlib import sha256
from sklfusion._chat import Reply
from sklfusion.replies import open_store
base, me, rounds = sys.argv[1], sys.argv[2], int(sys.argv[3])
for r in range(rounds):
    sys.stdin.readline()
    store = open_store(f"{base}/{r}")
    store.put(sha256(me.encode()).hexdigest(), Reply((me,)))
    print("ok", flush=True)
"""


@pytest.mark.parametrize(("processes", "rounds"), [(8, 10)])
def test_many_processes_open_a_new_store_at_once(tmp_path, processes, rounds):
    """Creation is one step, so nobody meets a locked or half-made store."""
    children = [
        subprocess.Popen(
            [sys.executable, "-c", OPEN_AND_PUT, str(tmp_path), str(n), str(rounds)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for n in range(processes)
    ]
    try:
        for round_ in range(rounds):
            for child in children:
                child.stdin.write("go\n")
                child.stdin.flush()
            assert [child.stdout.readline() for child in children] == ["ok\n"] * processes
            assert open_store(tmp_path / str(round_)).info()["replies"] == processes
    finally:
        for child in children:
            child.communicate(timeout=60)


PUT_FOR_EVER = """
import sys
from hashlib import sha256
from sklfusion._chat import Reply
from sklfusion.replies import open_store
store = open_store(sys.argv[1])
n = int(sys.argv[2])
while True:
    store.put(sha256(str(n).encode()).hexdigest(), Reply((str(n),)))
    print(n, flush=True)
    n += 2
"""


def test_nothing_acknowledged_is_lost_by_kill(tmp_path):
    """kill -9 of two writers, several times: every reply whose put returned is there."""
    acknowledged = set()
    for number in range(3):
        children = [
            subprocess.Popen(
                [sys.executable, "-c", PUT_FOR_EVER, str(tmp_path), str(100_000 * number + odd)],
                stdout=subprocess.PIPE,
                text=True,
            )
            for odd in (0, 1)
        ]
        for child in children:
            for _ in range(50 + 37 * number):
                acknowledged.add(int(child.stdout.readline()))
        for child in children:
            os.kill(child.pid, signal.SIGKILL)
        for child in children:
            # The last line may be cut; it was then not acknowledged.
            acknowledged.update(int(n) for n in child.communicate()[0].split("\n")[:-1])
    store = open_store(tmp_path)
    assert len(store.get_many(map(key, acknowledged))) == len(acknowledged) > 200
    assert store.verify()["ok"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_forked_child_uses_its_own_connection(tmp_path):
    """Parent and children write through the same object while threads of the parent write too."""
    store = open_store(tmp_path)
    store.put(key("start"), reply())
    stop = threading.Event()

    def write_on():
        number = 0
        while not stop.is_set():
            store.put(key(f"parent {number}"), reply())
            number += 1

    thread = threading.Thread(target=write_on)
    thread.start()
    try:
        for number in range(10):
            child = os.fork()
            if child == 0:
                status = 1
                try:
                    store.put(key(f"child {number}"), reply())
                    status = 0 if store.get_many([key("start")]) else 1
                finally:
                    os._exit(status)
            end = time.monotonic() + 30
            while True:
                done, status = os.waitpid(child, os.WNOHANG)
                if done:
                    break
                if time.monotonic() > end:
                    os.kill(child, signal.SIGKILL)
                    os.waitpid(child, 0)
                    pytest.fail("the child is stuck")
                time.sleep(0.005)
            assert status == 0
    finally:
        stop.set()
        thread.join()
    assert len(store.get_many(key(f"child {n}") for n in range(10))) == 10
    assert store.verify()["ok"]


def test_read_only_never_repairs(filled):
    """Of a damaged store that may only be read the sound rows are read, and nothing is moved."""
    noise(filled)
    before = {path.name: path.read_bytes() for path in filled.parent.iterdir()}
    store = open_store(filled.parents[1], read_only=True)
    with pytest.warns(CacheWarning, match=r"\d+ replies are sound and are read, \d+ are lost"):
        found = store.get_many(map(key, range(N)))
    assert N * 0.8 <= len(found) < N
    assert store.info()["replies"] == store.verify()["replies"] == len(found)
    assert not store.verify()["ok"]
    after = {path.name: path.read_bytes() for path in filled.parent.iterdir()}
    assert {n: after[n] for n in before} == before
    assert not [name for name in after if "damaged" in name]
