"""Budgets hold over threads, calls and processes; a report tells a call from an object."""

import json
import subprocess
import sys
import threading
import time
import warnings

import pytest

from sklfusion import BudgetExceededError, LLMScorer
from sklfusion._chat import Usage
from sklfusion.llm._prices import Price
from sklfusion.llm._usage import Meter, UsageReport
from sklfusion.replies import _leases, _spending, open_store


def texts(n, name):
    return [f"note {name} {number} about sport" for number in range(n)]


@pytest.fixture
def make(fault_server):
    def scorer(**params):
        params = {"strategy": "label", "max_concurrency": 8, **params}
        made = LLMScorer(
            "loopback", classes=["sport", "food"], base_url=fault_server.base_url, **params
        )
        return made.fit(["any"])

    return scorer


def spend_all(made, n, name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            made.annotate(texts(n, name))
        except BudgetExceededError as error:
            return str(error)
    return ""


@pytest.mark.parametrize("kept", [False, True])
def test_threads_on_one_object_share_its_budget(fault_server, make, tmp_path, kept):
    """Eight calls at once pay for what one may pay for."""
    fault_server.reset(latency_ms=20)
    made = make(budget={"requests": 30}, memory=tmp_path if kept else None)
    said = []
    threads = [
        threading.Thread(target=lambda n=n: said.append(spend_all(made, 20, n))) for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert fault_server.ledger().billed == made.usage_.requests == 30
    assert all("raise budget=" in one for one in said)


def test_calls_of_one_object_share_its_budget(fault_server, make):
    """A second call has what the first left; a new fit begins anew."""
    made = make(budget={"requests": 10}, max_concurrency=1)
    assert not spend_all(made, 6, "a")
    assert spend_all(made, 6, "b")
    assert fault_server.ledger().billed == 10
    made.fit(["any"])
    assert not spend_all(made, 6, "c")


SPEND = """
import json, sys, warnings
warnings.simplefilter("ignore")
from sklfusion import BudgetExceededError, LLMScorer
params, n, name = json.loads(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
scorer = LLMScorer(**params).fit(["any"])
scorer.annotate(["warm up " + name])
print("ready", flush=True)
for line in sys.stdin:
    try:
        scorer.annotate([f"note {name} {line.strip()} {i} about sport" for i in range(n)])
        print("whole", flush=True)
    except BudgetExceededError as error:
        print("stopped", flush=True)
"""


def start(server, folder, budget, n, name):
    params = {
        "model": "loopback",
        "classes": ["sport", "food"],
        "base_url": server.base_url,
        "strategy": "label",
        "memory": str(folder),
        "budget": {"requests": budget},
        "max_concurrency": 4,
    }
    return subprocess.Popen(
        [sys.executable, "-c", SPEND, json.dumps(params), str(n), name],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_processes_that_share_a_store_share_the_budget(fault_server, tmp_path):
    """Two at once pay for what one may pay for; after both have ended the next begins anew."""
    fault_server.reset(latency_ms=20)
    children = [start(fault_server, tmp_path, 30, 40, name) for name in ("a", "b")]
    for child in children:
        assert child.stdout.readline() == "ready\n"
    for child in children:
        child.stdin.write("go\n")
        child.stdin.flush()
    assert [child.stdout.readline() for child in children] == ["stopped\n"] * 2
    assert fault_server.ledger().billed == 30
    children[0].communicate(timeout=60)
    children[1].stdin.write("again\n")  # what the ended one spent still counts
    children[1].stdin.flush()
    assert children[1].stdout.readline() == "stopped\n"
    assert fault_server.ledger().billed == 30
    children[1].communicate(timeout=60)
    child = start(fault_server, tmp_path, 30, 20, "c")
    assert child.communicate("go\n", timeout=60)[0] == "ready\nwhole\n"
    assert fault_server.ledger().billed == 30 + 21


def test_a_larger_budget_goes_on_where_the_job_stopped(fault_server, make, tmp_path):
    """With memory= the budget is the job's: what earlier objects of the process spent counts."""
    assert spend_all(make(budget={"requests": 10}, memory=tmp_path), 20, "a")
    assert spend_all(make(budget={"requests": 10}, memory=tmp_path), 20, "a")
    assert fault_server.ledger().billed == 10
    assert spend_all(make(budget={"requests": 15}, memory=tmp_path), 20, "a")
    assert fault_server.ledger().billed == 15
    other = make(budget={"requests": 10}, memory=tmp_path).set_params(classes=["a", "b"])
    assert not spend_all(other.fit(["any"]), 5, "a")  # other classes are another job


def test_what_may_have_been_paid_counts(fault_server, make):
    """A connection that breaks after the request was billed uses the budget up as well."""
    fault_server.script({"fault": {"kind": "reset_body"}})
    made = make(budget={"requests": 10}, deadline=5)
    spend_all(made, 40, "a")
    assert 0 < fault_server.ledger().billed <= 10


def test_the_budget_counts_guesses_until_the_reply_is_counted(tmp_path):
    """Tokens are set aside as guessed and settled as told, here and for other processes."""
    with open_store(tmp_path) as store:
        root = Meter(UsageReport(), Price(1.0, 1.0), {"tokens": 100})
        mine = root.for_call(_spending.purse_for(store, root.limits, "job"))
        theirs = Meter(UsageReport(), None, {"tokens": 100}).for_call(
            _spending.purse_for(store, {"tokens": 100}, "job")
        )
        guess = Usage(50, 10)
        assert mine.reserve(guess) is None
        assert "share" in theirs.reserve(guess)
        mine.paid(Usage(20, 10), guess)
        mine.give_back(guess)
        mine.close()
        assert theirs.reserve(guess) is None
        assert "tokens: 30 of 100" in mine.reserve(Usage(100, 0))
        assert "share" in mine.reserve(guess)
        assert mine.report.cost == pytest.approx(30e-6)
        assert root.report.requests == mine.report.requests == 1


@pytest.mark.parametrize(
    ("holder", "boot", "idle", "counts"),
    [
        ("gone", None, 0.0, False),
        ("gone", "another boot", 0.0, True),
        ("here", None, 0.0, True),
        ("here", None, _spending.IDLE_SECONDS + 1, False),
        ("gone", "another boot", _spending.IDLE_SECONDS + 1, False),
    ],
)
def test_a_job_ends_with_its_processes_or_after_an_hour(tmp_path, holder, boot, idle, counts):
    """Last month's spending is no part of today's budget."""
    here = _leases.this_holder()
    gone = f"{here.partition('/')[0]}/{2**22 + 1}/1"
    row = ("job", gone if holder == "gone" else here, boot or _leases.boot_id())
    amounts = {"requests": 1.0, "tokens": 0.0, "money": 0.0}
    with open_store(tmp_path) as store:

        def earlier(connection):
            connection.execute(_spending.TABLE)
            spent = (*row, time.time() - idle, 10.0, 0.0, 0.0)
            connection.execute("INSERT INTO spending VALUES (?, ?, ?, ?, ?, ?, ?)", spent)

        store._transact(earlier)
        lacking = store._transact(lambda c: _spending.spend(c, "job", amounts, {"requests": 10.0}))
    assert (lacking is not None) == counts


def test_the_summary_tells_the_spend_of_its_call(make, capsys):
    """usage_ is the sum over the object's life; the line after a call is about the call."""
    made = make(verbose=1, prices=(1.0, 1.0))
    made.annotate(texts(6, "a"))
    capsys.readouterr()
    made.annotate([*texts(6, "a"), *texts(2, "b")])
    said = capsys.readouterr().err.splitlines()[-1]
    assert "8 texts, 2 paid requests, 6 cached" in said
    assert made.usage_.requests == 8
    assert made.usage_.texts == 14


def test_a_batch_gives_back_what_it_set_aside(fault_server, make, tmp_path):
    """The budget is used by what was paid, not by guesses of batches that are over."""
    made = make(service="batch", memory=tmp_path, budget={"requests": 12})
    assert not spend_all(made, 5, "a")
    assert not spend_all(made, 7, "b")
    assert spend_all(made, 1, "c")
    assert fault_server.ledger().billed == 12


def test_a_call_leaves_no_store_open(fault_server, make, tmp_path):
    """Nothing that a call made refers to itself, so its files are closed when it returns."""
    from sklfusion.replies import _locate

    made = make(memory=tmp_path)
    made.annotate(texts(3, "a"))
    assert not [path for path, *_ in _locate._OPEN if path.startswith(str(tmp_path))]
