"""C: the reply store and the disk."""

import hashlib
import logging
import os
import sqlite3
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import joblib

import sklfusion
from scorecard.rows._base import CLASSES, quiet, raises, row, same, texts
from sklfusion import CacheError, CacheWarning
from sklfusion._chat import ChatRequest, Reply
from sklfusion.prompts import DEFAULT_TEMPLATE
from sklfusion.replies import ReplyStore, open_store, request_key
from sklfusion.replies import _connections as connections
from sklfusion.replies._leases import Clock


def digest(name):
    return hashlib.sha256(str(name).encode()).hexdigest()


def store_file(c):
    return c.folder / "memory" / "replies" / "replies.sqlite"


def count(c):
    """Requests since the last call."""
    received = c.server.ledger().received
    c.server.reset()
    return received


# A shell that starts us in the background ignores SIGINT for its children; a person's does not.
RUN = """
import sys, json, signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from sklfusion import LLMScorer
params = json.loads(sys.argv[1])
X = json.loads(sys.argv[2])
scorer = LLMScorer(**params).fit(["any"])
print("ready", flush=True)
sys.stdin.readline()
a = scorer.annotate(X)
print(json.dumps(a.labels().tolist()), flush=True)
"""


def two_at_once(c, X, n=2, **params):
    """Run the same job in n processes at once; return the labels of each."""
    import json

    arguments = json.dumps(c.params(**params)), json.dumps(X)
    children = [c.popen(RUN, *arguments) for _ in range(n)]
    try:
        for child in children:
            assert child.stdout.readline() == "ready\n", child.stderr.read()[-500:]
        for child in children:
            child.stdin.write("go\n")
            child.stdin.flush()
        outputs = [child.communicate(timeout=120) for child in children]
    finally:
        for child in children:
            child.kill()
            child.wait()
    for out, err in outputs:
        assert out, err[-800:]
    return [json.loads(out) for out, _ in outputs]


@row("C01", "second run, same data", "0 requests, equal bit for bit")
def _(c):
    X = texts(100)
    with quiet():
        first = c.scorer().transform(X)
        assert count(c) == 100
        same(c.scorer().transform(X), first)
    assert count(c) == 0
    return "0 requests"


@row("C02", "one text changed of 1,000", "1 request")
def _(c):
    X = texts(1000)
    c.run(X, max_concurrency=32)
    count(c)
    c.run([*X[:500], "another sport", *X[501:]])
    got = count(c)
    assert got == 1, got
    return f"{got} request"


@row("C03", "labels, prompt, temperature, model, endpoint changed", "all asked again; back: 0")
def _(c):
    from dataclasses import replace

    from sklfusion.testing import FaultServer

    X = texts(5)
    c.run(X)
    count(c)
    with FaultServer() as other:
        changes = {
            "label order": {"classes": list(CLASSES[::-1])},
            "template": {"template": replace(DEFAULT_TEMPLATE, labels="Classes:")},
            "temperature": {"request_params": {"temperature": 0.3}},
            "model": {"model": "another"},
            "endpoint": {"base_url": other.base_url},
        }
        for name, change in changes.items():
            c.run(X, **change)
            got = count(c) + other.ledger().received
            other.reset()
            assert got == 5, f"{name}: {got} requests"
    c.run(X)
    assert count(c) == 0
    return "5 of 5 each; back: 0"


@row("C04", "key, workers, log level, touched file, other process", "0 requests")
def _(c):
    X = texts(10)
    os.environ["SKL_SCORECARD_KEY"] = "sk-one"
    level = logging.getLogger().level
    try:
        c.run(X, api_key_env="SKL_SCORECARD_KEY")
        count(c)
        os.environ["SKL_SCORECARD_KEY"] = "sk-two"
        logging.getLogger().setLevel(logging.CRITICAL)
        Path(sklfusion.__file__).touch()
        c.run(X, api_key_env="SKL_SCORECARD_KEY", max_concurrency=3, timeout=7.0, verbose=0)
        two_at_once(c, X, n=1)
    finally:
        logging.getLogger().setLevel(level)
        del os.environ["SKL_SCORECARD_KEY"]
    got = count(c)
    assert got == 0, got
    return "0 requests"


@row("C05", "parser changed", "0 requests, rows read anew")
def _(c):
    from sklfusion.scoring import _read

    X = texts(10)
    c.run(X)
    count(c)
    original = _read.parse_label
    _read.parse_label = lambda *args, **kwargs: 1 - original(*args, **kwargs)
    try:
        _, a, _ = c.run(X)
    finally:
        _read.parse_label = original
    assert (count(c), a.labels().tolist()) == (0, ["food"] * 10), a.labels()
    return "0 requests, 10 rows as the new parser reads them"


@row("C06", "two processes, same texts at once", "billed = distinct")
def _(c):
    c.server.reset(latency_ms=10)
    X = texts(200)
    one, two = two_at_once(c, X)
    ledger = c.server.ledger()
    assert one == two == ["sport"] * 200
    assert ledger.billed == 200, ledger
    return "billed 200 of 200"


OPEN = """
import sys
from sklfusion._chat import Reply
from sklfusion.replies import open_store
print("ready", flush=True)
for line in sys.stdin:
    store = open_store(line.strip())
    store.put(sys.argv[1], Reply(("a",)))
    print("ok", flush=True)
"""


@row("C07", "16 processes open a new store at once, 50 rounds", "0 errors")
def _(c):
    rounds = 50
    children = [c.popen(OPEN, digest(n)) for n in range(16)]
    try:
        for child in children:
            child.stdout.readline()
        for number in range(rounds):
            for child in children:
                child.stdin.write(f"{c.folder / str(number)}\n")
                child.stdin.flush()
            for child in children:
                said = child.stdout.readline()
                assert said == "ok\n", child.stderr.read()[-500:]
            assert open_store(c.folder / str(number)).info()["replies"] == 16
    finally:
        for child in children:
            child.kill()
            child.communicate()
    return f"{rounds} rounds, 0 errors"


@row("C08", "lease holder killed", "taken over, at most its in-flight paid again")
def _(c):
    import json
    import time

    c.server.reset(latency_ms=300)
    X = texts(40)
    child = c.popen(RUN, json.dumps(c.params(max_concurrency=8)), json.dumps(X))
    child.stdout.readline()
    child.stdin.write("go\n")
    child.stdin.flush()
    while c.server.ledger().received < 20:
        time.sleep(0.01)
    child.kill()
    child.communicate()
    _, a, seconds = c.run(X)
    billed = c.server.ledger().billed
    assert c.right(a, X) == 40
    assert billed <= 40 + 8, billed
    assert seconds < 10, f"waited {seconds:.0f} s for dead leases"
    return f"billed {billed} for 40, {seconds:.1f} s"


class HandClock(Clock):
    def __init__(self):
        super().__init__("boot")
        object.__setattr__(self, "times", [1e3, 5e8])

    def monotonic(self):
        return self.times[0]

    def wall(self):
        return self.times[1]


@row("C09", "clock jumps an hour back or forth", "no second payer, no deadlock")
def _(c):
    for jump in (3600, -3600):
        clock = HandClock()
        store = ReplyStore(c.folder / f"{jump}.sqlite", clock=clock).open()
        assert store.claim([digest(1)], "a", 30)
        clock.times[1] += jump
        assert not store.claim([digest(1)], "b", 30)
        clock.times[0] += 31
        clock.times[1] += 31
        assert store.claim([digest(1)], "b", 30)
    return "lease kept, then free after 31 s"


FULL = """
import json, resource, sys, http.client, warnings
warnings.simplefilter("ignore")
from sklfusion import CacheError, LLMScorer
params, port = json.loads(sys.argv[1]), int(sys.argv[2])
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
out = []
for point in range(20):
    X = [f"note {n} {point} about sport" for n in range(40)]
    params["memory"] = f"{sys.argv[3]}/{point}"
    scorer = LLMScorer(**params).fit(["any"])
    resource.setrlimit(resource.RLIMIT_FSIZE, (24576 + 4096 * point * 2 + 100 * point, hard))
    try:
        scorer.annotate(X)
        failed = False
    except CacheError:
        failed = True
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    first = scorer.usage_.requests
    again = LLMScorer(**params).fit(["any"])
    labels = again.annotate(X).labels().tolist()
    out.append([failed, first, again.usage_.requests, labels == ["sport"] * 40])
print(json.dumps(out))
"""


@row(
    "C10",
    "disk full at 20 points of a run",
    "stops within those in flight, nothing stored is lost",
)
def _(c):
    import json

    said = c.python(FULL, json.dumps(c.params()), c.server.port, c.folder)
    rows = json.loads(said)
    failed = sum(r[0] for r in rows)
    worst = max(r[1] + r[2] - 40 for r in rows)
    assert failed >= 10, f"only {failed} points were reached"
    assert all(r[3] for r in rows), "rows differ after reopening"
    assert worst <= 8, f"{worst} paid again"
    return f"{failed} of 20 hit; at most {worst} paid again"


NOBODY = """
import json, os, sys, warnings
warnings.simplefilter("ignore")
from sklfusion import CacheError, LLMScorer
params = json.loads(sys.argv[1])
scorer = LLMScorer(**params).fit(["any"])
scorer.annotate(["warm up sport"])      # imports what it needs while it still may
import encodings.idna, openai
openai.DefaultHttpxClient().close()     # the transport imports its own parts late
os.setgid(65534); os.setuid(65534)
print(scorer.annotate(json.loads(sys.argv[2])).labels().tolist())
try:
    scorer.annotate(["a new text about sport"])
    print("answered")
except CacheError as error:
    print("refused" if "read-only" in str(error) else error)
"""


@row(
    "C11", "read-only folder of another user", "stored answers work, a new text is refused unpaid"
)
def _(c):
    import json

    X = texts(10)
    c.run([*X, "warm up sport"])
    os.chmod(c.folder, 0o755)
    memory = c.folder / "memory"
    memory.chmod(0o755)
    (memory / "replies").chmod(0o755)
    for path in (memory / "replies").iterdir():
        path.chmod(0o644)
    count(c)
    said = c.python(NOBODY, json.dumps(c.params()), json.dumps(X)).splitlines()
    assert said == [str(["sport"] * 10), "refused"], said
    assert count(c) == 0
    return "10 read, refused before paying"


@row(
    "C12",
    "folder is a file, below a file, a dangling link",
    "clear error before the first request",
)
def _(c):
    (c.folder / "file").write_text("x")
    (c.folder / "link").symlink_to(c.folder / "gone")
    for name in ("file", "file/below", "link"):
        raises(
            CacheError, lambda name=name: c.run(texts(1), memory=str(c.folder / name)), "memory"
        )
    assert count(c) == 0
    return "3 refused, 0 requests"


def zeros(path):
    with path.open("r+b") as file:
        file.write(bytes(100))


def noise(path):
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        file.write(os.urandom(8192))


@row(
    "C13",
    "header zeroed, noise, cut, empty, foreign file",
    "set aside, salvaged, counts told, run goes on",
)
def _(c):
    damages = {
        "zeroed": zeros,
        "noise": noise,
        "half": lambda path: os.truncate(path, path.stat().st_size // 2),
        "empty": lambda path: os.truncate(path, 0),
        "foreign": lambda path: path.write_bytes(b"PK" * 5000),
    }
    X = texts(300)
    seen = []
    for name, damage in damages.items():
        memory = str(c.folder / name)
        c.run(X, memory=memory)
        open_store(memory).close()
        path = c.folder / name / "replies" / "replies.sqlite"
        damage(path)
        count(c)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            a = c.scorer(memory=memory).annotate(X)
        told = [str(w.message) for w in caught if issubclass(w.category, CacheWarning)]
        assert c.right(a, X) == 300
        assert told, f"{name}: no warning"
        assert "salvaged" in told[0]
        assert [p for p in path.parent.iterdir() if "damaged" in p.name], f"{name}: not kept"
        seen.append(f"{name}: {300 - count(c)} kept")
    return ", ".join(seen)


@row("C14", "WAL or shm file deleted", "opens, integrity ok")
def _(c):
    import shutil

    X = texts(50)
    c.run(X)
    live = open_store(c.folder / "memory")
    seen = []
    for suffixes in (["-wal"], ["-shm"], ["-wal", "-shm"]):
        copy = c.folder / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(c.folder / "memory", copy)
        for suffix in suffixes:
            (copy / "replies" / f"replies.sqlite{suffix}").unlink(missing_ok=True)
        with quiet(), open_store(copy) as store:
            report = store.verify()
            assert report["ok"], report
            seen.append(report["replies"])
    live.close()
    return f"replies: {seen}"


@row(
    "C15",
    "poisoned values: pickle, huge, wrong schema, unknown label",
    "asked again, never executed",
)
def _(c):
    X = texts(5)
    c.run(X)
    canary = c.folder / "canary"
    evil = b"cos\nsystem\n(S'touch " + str(canary).encode() + b"'\ntR."
    with sqlite3.connect(store_file(c)) as other:
        keys = [r[0] for r in other.execute("SELECT key FROM replies ORDER BY rowid")]
        for key, value in zip(keys, (evil, "[" * 50_000, '{"label": "sport"}'), strict=False):
            other.execute("UPDATE replies SET value = ? WHERE key = ?", (value, key))
    other.close()
    from sklfusion.replies import encode_reply
    from sklfusion.replies._codec import checksum

    with sqlite3.connect(store_file(c)) as other:
        value = encode_reply(Reply(("politics",), ("stop",)))
        row = (checksum(keys[3], value), value, keys[3])
        other.execute("UPDATE replies SET checksum = ?, value = ? WHERE key = ?", row)
    other.close()
    count(c)
    _, a, _ = c.run(X)
    assert (c.right(a, X), count(c)) == (5, 4)
    assert not canary.exists()
    return "4 asked again, canary untouched"


@row("C16", "store of a newer format", "refused, both versions named")
def _(c):
    c.run(texts(1))
    open_store(c.folder / "memory").close()
    with sqlite3.connect(store_file(c)) as other:
        other.execute("PRAGMA user_version = 77")
    other.close()
    count(c)
    raises(CacheError, lambda: c.run(texts(1)), f"77.*{connections.STORE_FORMAT}")
    assert count(c) == 0
    return "refused unpaid"


MIGRATE = """
import os, sys
from sklfusion.replies import _connections as connections, open_store
class Deadly(list):
    def __iter__(self):
        yield from super().__iter__()
        if sys.argv[2] == "kill":
            os.kill(os.getpid(), 9)
old = connections.STORE_FORMAT
connections.STORE_FORMAT = old + 1
connections.MIGRATIONS = {old: Deadly(["CREATE TABLE one (a)", "CREATE TABLE two (a)"])}
print(open_store(sys.argv[1]).info()["replies"])
"""


@row("C17", "older format; kill -9 in the migration", "migrated once and whole, or not at all")
def _(c):
    X = texts(20)
    c.run(X)
    open_store(c.folder / "memory").close()
    child = c.popen(MIGRATE, c.folder / "memory", "kill")
    child.communicate(timeout=60)
    assert child.returncode == -9
    assert open_store(c.folder / "memory").info()["format"] == connections.STORE_FORMAT
    open_store(c.folder / "memory").close()
    for _ in range(2):
        assert c.python(MIGRATE, c.folder / "memory", "") == "20"
    raises(CacheError, lambda: open_store(c.folder / "memory"), "format")
    return "killed: unchanged; then migrated, 20 replies"


@row("C18", "folder that others may write", "warning")
def _(c):
    folder = c.folder / "memory" / "replies"
    folder.mkdir(parents=True)
    folder.chmod(0o777)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        c.scorer().annotate(texts(1))
    assert any("chmod 700" in str(w.message) for w in caught)
    return "CacheWarning"


@row("C19", "network file system", "noticed, no WAL, warning")
def _(c):
    original = connections.on_network
    from sklfusion.replies import _locate

    connections.on_network = _locate.on_network = lambda path: True
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            store = open_store(c.folder / "nfs")
            store.put(digest(1), Reply(("a",)))
    finally:
        connections.on_network = _locate.on_network = original
    assert any("network" in str(w.message) for w in caught)
    store.close()
    with sqlite3.connect(store.path) as other:
        (mode,) = other.execute("PRAGMA journal_mode").fetchone()
    other.close()
    assert mode == "delete", mode
    return f"journal mode {mode}, CacheWarning"


@row("C20", "1,000,000 replies", "open under 100 ms, get under 50 microseconds, none evicted")
def _(c):
    import time

    from sklfusion.replies import encode_reply

    store = open_store(c.folder / "big")
    value = encode_reply(Reply(("sport",), ("stop",), "m", created=1.0))
    store.insert((digest(n), value) for n in range(1_000_000))
    store.close()
    start = time.perf_counter()
    store = open_store(c.folder / "big")
    opened = time.perf_counter() - start
    keys = [digest(n * 97) for n in range(10_000)]
    start = time.perf_counter()
    found = store.get_many(keys)
    each = (time.perf_counter() - start) / len(keys)
    assert len(found) == len(keys)
    assert sum(1 for _ in store.rows()) == 1_000_000
    assert opened < 0.1, opened
    assert each < 50e-6, each
    return f"open {opened * 1e3:.1f} ms, get {each * 1e6:.0f} us"


@row("C21", "joblib.Memory given", "replies below its location, no function source in any key")
def _(c):
    X = texts(10)
    c.run(X, memory=joblib.Memory(c.folder / "memory", verbose=0))
    assert not (c.folder / "memory" / "joblib").exists()
    count(c)
    c.run(X, memory=str(c.folder / "memory"))
    assert count(c) == 0
    key = request_key(ChatRequest("o", "m", (("user", "x"),), {"temperature": 0}))
    assert key == "7fd919fd185f4a8e3c8e25aa269b973ee622a5d9766eb09f1926943a9947a114"
    return "0 requests by path; key pinned"


FORKS = """
import os, sys, threading
from hashlib import sha256
from sklfusion._chat import Reply
from sklfusion.replies import open_store
store = open_store(sys.argv[1])
key = lambda name: sha256(name.encode()).hexdigest()
stop = threading.Event()
written = [0, 0]
def write(me):
    while not stop.is_set():
        store.put(key(f"{me} {written[me]}"), Reply(("a",)))
        written[me] += 1
threads = [threading.Thread(target=write, args=(me,)) for me in (0, 1)]
for t in threads:
    t.start()
bad = 0
for n in range(50):
    pid = os.fork()
    if pid == 0:
        try:
            store.put(key(f"child {n}"), Reply(("b",)))
            os._exit(0 if store.get_many([key(f"child {n}")]) else 1)
        except BaseException:
            os._exit(2)
    bad += os.waitpid(pid, 0)[1] != 0
stop.set()
for t in threads:
    t.join()
found = len(store.get_many([key(f"child {n}") for n in range(50)]))
rows = store.info()["replies"]
print(bad, found, rows == 50 + sum(written), store.verify()["ok"])
"""


@row("C22", "fork after opening, threads writing, 50 rounds", "no corruption, nothing lost")
def _(c):
    said = c.python(FORKS, c.folder / "memory", timeout=90)
    assert said == "0 50 True True", said
    with ThreadPoolExecutor(16) as pool:
        store = open_store(c.folder / "threads")
        list(pool.map(lambda n: store.put(digest(n), Reply(("a",))), range(500)))
    assert store.info()["replies"] == 500
    return "50 forks, all there"
