"""D: damaged stores, answers that cannot be read, budgets, and what lies on the disk."""

import json
import os
import random
import shutil
import sqlite3
import threading
import time
import warnings
from pathlib import Path

import numpy as np

from scorecard.rows._base import quiet, raises, row, texts
from sklfusion import BudgetExceededError, CacheError
from sklfusion.replies import open_store
from sklfusion.replies._place import whole_path
from sklfusion.replies._repair import salvage

FORMAT_BYTE = 63  # of the header: a newer format would have written just this


def filled(c, n=120):
    """Score n texts once, and return the file of their replies."""
    X = texts(n)
    c.run(X)
    open_store(c.folder / "memory").close()
    c.server.reset()
    return X, c.folder / "memory" / "replies" / "replies.sqlite"


def change_byte(path, rng):
    place = rng.choice([p for p in range(path.stat().st_size) if p != FORMAT_BYTE])
    change(path, rng.randrange(100) if rng.random() < 0.2 else place, rng.randrange(1, 256))


def change(path, place, mask):
    raw = bytearray(path.read_bytes())
    raw[place if place != FORMAT_BYTE else 0] ^= mask
    path.write_bytes(raw)


def overwrite(path, rng):
    raw = bytearray(path.read_bytes())
    place, length = rng.randrange(len(raw)), rng.choice([16, 512, 4096])
    raw[place : place + length] = rng.randbytes(min(length, len(raw) - place))
    path.write_bytes(raw)


def cut(path, rng):
    os.truncate(path, rng.randrange(path.stat().st_size))


@row(
    "D01",
    "a store with single bytes, blocks or its end damaged, 60 times",
    "no run blocked, every row right, every loss told",
)
def _(c):
    X, path = filled(c)
    pristine, rng = path.read_bytes(), random.Random(5)
    paid = told = 0
    for damage, times in ((change_byte, 35), (overwrite, 15), (cut, 10)):
        for _ in range(times):
            shutil.rmtree(path.parent)
            path.parent.mkdir(mode=0o700)
            path.write_bytes(pristine)
            damage(path, rng)
            c.server.reset()
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                a = c.scorer().annotate(X)
            said = any("damaged" in str(w.message) for w in caught)
            billed = c.server.ledger().billed
            assert c.right(a, X) == len(X)
            assert said or billed == 0, f"{billed} lost in silence"
            paid, told = paid + billed, told + said
    return f"60 of 60 runs whole, {told} told, {paid} of {60 * len(X)} replies asked again"


@row("D02", "one bad byte in one reply", "that reply asked again, the others served, counted")
def _(c):
    X, path = filled(c)
    raw = bytearray(path.read_bytes())
    raw[raw.find(b'{"contents":["') + 15] |= 0x80
    path.write_bytes(raw)
    with quiet(), open_store(c.folder / "memory") as store:
        counts = (store.verify()["unusable"], store.info()["replies"])
        counts += (store.export(c.folder / "out.jsonl"),)
    assert counts == (1, 119, 119), counts
    _, a, _ = c.run(X)
    assert (c.right(a, X), c.server.ledger().billed) == (120, 1)
    return "1 asked again; verify, info and export see the other 119"


SALVAGE = """
import sys
from sklfusion.replies import open_store
print("go", flush=True)
open_store(sys.argv[1]).get_many([])
"""


@row("D03", "kill -9 in a salvage, at three points", "begun again or finished; nothing lost")
def _(c):
    X, path = filled(c)
    with path.open("r+b") as file:
        file.write(bytes(100))
    child = c.popen(SALVAGE, c.folder / "memory")
    child.stdout.readline()
    end = time.monotonic() + 30
    while child.poll() is None and time.monotonic() < end:
        if list(path.parent.glob("*.salvaging")):
            break
    child.kill()
    child.communicate()
    (path.parent / "replies.sqlite.salvaging").write_bytes(b"half")  # a draft cut short
    if not list(path.parent.glob("*.damaged-*")):
        with quiet():
            salvage(path, whole_path(path))  # whole, but not yet in its place
    _, a, _ = c.run(X)
    assert (c.right(a, X), c.server.ledger().billed) == (120, 0)
    assert len([p for p in path.parent.glob("*.damaged-*") if "-wal" not in p.name]) == 1
    return "120 served, 0 requests, the damaged file kept once"


@row("D04", "user_version 0, a trigger, a column more", "repaired with a warning, rows served")
def _(c):
    X, path = filled(c)
    pristine = path.read_bytes()
    for statement in (
        "PRAGMA user_version = 0",
        "CREATE TRIGGER t AFTER INSERT ON replies BEGIN DELETE FROM replies; END",
        "ALTER TABLE replies ADD COLUMN extra",
    ):
        path.write_bytes(pristine)
        other = sqlite3.connect(path)
        other.executescript(statement)
        other.close()
        _, a, _ = c.run([*X, "one more about sport"])
        assert c.right(a, X) == 120
        assert open_store(c.folder / "memory").info()["replies"] == 121
        open_store(c.folder / "memory").close()
    billed = c.server.ledger().billed
    assert billed == 3, billed
    return "3 of 3, 120 served each time"


@row("D05", "memory: NUL, 300 letters, a loop of links, a pipe", "one CacheError, 0 requests")
def _(c):
    (c.folder / "loop").symlink_to(c.folder / "loop")
    (c.folder / "pipe" / "replies").mkdir(parents=True)
    os.mkfifo(c.folder / "pipe" / "replies" / "replies.sqlite")
    names = ["a\0b", "n" * 300, "/".join(["n" * 200] * 25), "loop", "loop/below", "pipe"]
    for name in names:
        raises(CacheError, lambda name=name: c.run(texts(1), memory=f"{c.folder}/{name}"))
    assert c.server.ledger().received == 0
    return f"{len(names)} refused, 0 requests"


@row("D06", "permissions at rest, and who else may write", "0700 and 0600; a warning with chmod")
def _(c):
    from sklfusion.embedding._cache import open_cache

    old = os.umask(0o022)
    try:
        cache = open_cache(c.folder / "memory")
        cache.get_many([b"k" * 32], 4)
        cache.put_many([b"k" * 32], np.ones((1, 4), np.float32))
        c.run(texts(1))
        open_store(c.folder / "memory").close()
    finally:
        os.umask(old)
    for name, file in (("embeddings", "vectors.sqlite"), ("replies", "replies.sqlite")):
        folder = Path(c.folder) / "memory" / name
        modes = (folder.stat().st_mode & 0o777, (folder / file).stat().st_mode & 0o777)
        assert modes == (0o700, 0o600), modes
    (c.folder / "memory").chmod(0o777)
    for look in (lambda: open_store(c.folder / "memory"), lambda: open_cache(c.folder / "memory")):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            look()
        assert any("chmod o-w" in str(w.message) for w in caught)
    return "replies and embeddings alike"


@row(
    "D07",
    "an outage with status 200: no content, cut, aborted",
    "a later run asks again, once it is over; a refusal and cache_only ask nothing",
)
def _(c):
    X = texts(5)
    for n, (content, reason) in enumerate([(None, "stop"), ("sp", "length"), ("x", "abort")]):
        memory = str(c.folder / str(n))
        choice = {"index": 0, "message": {"content": content}, "finish_reason": reason}
        c.server.reset()
        c.answers(X, fields={"choices": [choice]}, memory=memory)
        c.server.reset()
        c.run(X, memory=memory, cache_only=True)
        assert c.server.ledger().received == 0
        for asked in (5, 0):
            c.server.reset()
            _, a, _ = c.run(X, memory=memory)
            assert (c.right(a, X), c.server.ledger().received) == (5, asked)
        assert open_store(memory).info()["replies"] == 15
    c.server.reset()
    c.answers(X, content="I'm sorry, I can't help with that.")
    c.server.reset()
    _, a, _ = c.run(X)
    assert c.server.ledger().received == 0
    assert set(a.status) == {"refused"}
    return "3 of 3 asked again once, 10 unreadable replies each kept and counted"


@row("D08", "cache forget by model, cause and age", "that much goes, and stays counted")
def _(c):
    choice = {"index": 0, "message": {"content": None}, "finish_reason": "stop"}
    c.answers(texts(4), fields={"choices": [choice]})
    c.server.reset()
    c.run(texts(6, start=10))
    with open_store(c.folder / "memory") as store:
        before = store.info()
        assert store.forget(status="no_content")["replies"] == 8
        assert store.forget(model="none such")["replies"] == 0
        assert store.forget(older_than=1)["replies"] == 0
        assert store.info() == before
        store.forget(status="no_content", dry_run=False)
        after = store.info()
    assert (before["replies"], after["replies"], after["forgotten"]) == (14, 6, 8)
    assert after["prompt_tokens"] == before["prompt_tokens"] > 0
    return "8 of 14 forgotten, tokens still counted"


@row("D09", "eight threads on one object, budget of 50 requests", "50 billed at most, both ways")
def _(c):
    seen = []
    for memory in (None, str(c.folder / "memory")):
        c.server.reset(latency_ms=20)
        scorer = c.scorer(budget={"requests": 50}, memory=memory)

        def work(n, scorer=scorer):
            raises(BudgetExceededError, lambda: scorer.annotate(texts(30, start=100 * n)))

        threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        seen.append(c.server.ledger().billed)
    assert seen == [50, 50], seen
    return "50 and 50 of 240 wanted"


SPEND = """
import json, sys, warnings
warnings.simplefilter("ignore")
from sklfusion import BudgetExceededError, LLMScorer
scorer = LLMScorer(**json.loads(sys.argv[1])).fit(["any"])
print("ready", flush=True)
sys.stdin.readline()
try:
    scorer.annotate([f"note {sys.argv[2]} {n} about sport" for n in range(40)])
    print("whole")
except BudgetExceededError:
    print("stopped")
"""


@row("D10", "two processes, one store, budget of 50; later another", "50 together; then 40 anew")
def _(c):
    c.server.reset(latency_ms=20)
    params = json.dumps(c.params(budget={"requests": 50}))
    two = [c.popen(SPEND, params, name) for name in ("a", "b")]
    for child in two:
        child.stdout.readline()
    said = []
    for child in two:
        child.stdin.write("go\n")
        child.stdin.flush()
    for child in two:
        said.append(child.communicate(timeout=100)[0].strip())
    together = c.server.ledger().billed
    assert together == 50, together
    assert "stopped" in said, said
    later = c.popen(SPEND, params, "c").communicate("go\n", timeout=100)[0].split()
    assert later == ["ready", "whole"], later
    return f"50 of 80 by two at once; {c.server.ledger().billed - 50} by the next run"
