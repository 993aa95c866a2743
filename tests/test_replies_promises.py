"""What a reply store promises beside keeping replies: seen from outside, on results."""

import contextlib
import math
import sqlite3
import threading
import time
from hashlib import sha256

import numpy as np
import pytest

from sklfusion import CacheWarning, LLMScorer
from sklfusion._chat import Reply
from sklfusion.llm import _claims
from sklfusion.replies import open_store
from sklfusion.replies._connections import ConnectionPool, DamagedStore
from sklfusion.replies._repair import repair

CLASSES = ["world", "sport", "food"]


def key(number):
    return sha256(str(number).encode()).hexdigest()


@pytest.fixture
def damaged(tmp_path):
    """The path of a store with 60 replies, one of them altered, whose header is gone."""
    with open_store(tmp_path) as store:
        for number in range(60):
            store.put(key(number), Reply((f"answer-{number:03d}-end",), ("stop",), "m"))
    content = store.path.read_bytes()
    assert content.count(b"answer-007-end") >= 1
    content = content.replace(b"answer-007-end", b"answer-907-end")
    store.path.write_bytes(bytes(100) + content[100:])
    return store.path


def asides(path):
    """The damaged files that were kept."""
    names = [p.name for p in path.parent.iterdir() if "damaged" in p.name]
    return [n for n in names if not n.endswith(("-wal", "-shm", "-journal"))]


def test_what_is_salvaged_was_written_so(damaged):
    """A reply in which one letter is another counts as absent; all others are as they were."""
    with pytest.warns(CacheWarning, match="59 replies were salvaged"):
        found = open_store(damaged.parents[1]).get_many(map(key, range(60)))
    assert key(7) not in found
    assert {k: r.contents[0] for k, r in found.items()} == {
        key(n): f"answer-{n:03d}-end" for n in range(60) if n != 7
    }


def test_a_file_is_salvaged_once_though_two_have_seen_the_damage(damaged):
    """Whoever comes second finds another file at the path and leaves it alone."""
    pool = ConnectionPool(damaged)
    with pytest.raises(DamagedStore) as seen, pool.connection() as connection:
        connection.execute("SELECT count(*) FROM replies").fetchone()
    with pytest.warns(CacheWarning, match="damaged"):
        repair(damaged, pool, seen.value)
    store = open_store(damaged.parents[1])
    store.put(key("new"), Reply(("new",), ("stop",), "m"))
    store.close()
    repair(damaged, pool, seen.value)  # in silence: warnings are errors
    assert len(asides(damaged)) == 1
    assert len(open_store(damaged.parents[1]).get_many([key(1), key("new")])) == 2


def test_the_lease_of_a_slow_answer_is_renewed(fault_server, tmp_path, monkeypatch):
    """While an answer takes longer than a lease lasts, its end moves on."""
    monkeypatch.setattr(_claims, "LEASE_SECONDS", 1.5)
    fault_server.script({"fault": {"kind": "late", "seconds": 6}, "times": 1})
    scorer = LLMScorer(
        "m", base_url=fault_server.base_url, classes=CLASSES, memory=tmp_path, timeout=30
    ).fit(["sport"])
    labels = []
    work = threading.Thread(target=lambda: labels.extend(scorer.annotate(["sport"]).labels()))
    work.start()
    ends = set()
    while work.is_alive() and len(ends) < 2:
        with contextlib.suppress(sqlite3.Error, StopIteration):
            path = next(tmp_path.rglob("replies.sqlite"))
            with contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as file:
                ends |= {end for (end,) in file.execute("SELECT mono_until FROM leases")}
        time.sleep(0.1)
    work.join()
    assert labels == ["sport"]
    assert len(ends) == 2
    assert fault_server.ledger().billed == 1


@pytest.mark.parametrize(
    ("listed", "most", "least"),
    [
        ({"world": 0.6, "sport": 0.3}, 0.1, 1e-4),  # no more than is left over
        ({"world": 0.5, "sport": 0.3, "zebra": 0.002}, 0.0025, 1e-6),  # nor than what is listed
    ],
)
def test_a_label_that_is_not_listed_is_less_likely_than_any_that_is(
    fault_server, listed, most, least
):
    """Nothing is known of it but that; it is neither ruled out nor made up."""
    top = [{"token": token, "logprob": math.log(p)} for token, p in listed.items()]
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": "world"},
        "finish_reason": "stop",
        "logprobs": {"content": [{**top[0], "top_logprobs": top}]},
    }
    fault_server.script({"fault": {"kind": "merge", "fields": {"choices": [choice]}}})
    scorer = LLMScorer(
        "m", base_url=fault_server.base_url, classes=CLASSES, strategy="logprobs", output="proba"
    )
    (proba,) = scorer.fit(["note"]).transform(["note"])
    assert proba.sum() == pytest.approx(1)
    assert least <= proba[2] <= most + 1e-6
    assert proba[0] / proba[1] == pytest.approx(listed["world"] / listed["sport"], rel=1e-4)
    assert np.argmax(proba) == 0
