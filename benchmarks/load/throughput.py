"""Load figures: what is lost, paid twice and how fast, against the loopback endpoint.

::

    python -m benchmarks.load.throughput                # CI size: X3-X8, X11-X13, warm cache
    python -m benchmarks.load.throughput --nightly      # X1, X2, X10 as well
    python -m benchmarks.load.throughput -k X7          # some, no files
    python -m benchmarks.load.throughput -k X7 --merge  # the others keep their rows in the file
    python -m benchmarks.load.throughput --quick        # a tenth of the size, no files

*Invariants* (lost, paid twice, requests in a forbidden time) fail the program anywhere; *speeds*
fail it only below half of the line, since they depend on the machine. Speeds are ratios to a peer
in the same run where there is one.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import joblib
import psutil
from scorecard.rows._base import CLASSES, texts
from scorecard.rows.cache import RUN
from scorecard.rows.estimators import SEARCH

from benchmarks._common import ROOT, earlier, print_table, write_json
from sklfusion import LLMScorer
from sklfusion._chat import Reply, Usage
from sklfusion.llm._reply import reply_from_bytes
from sklfusion.prompts import Task, parse_scores, render
from sklfusion.replies import encode_reply, open_store
from sklfusion.scoring._texts import Inquiries
from sklfusion.testing import FaultServer, expected_billed, text_digest

WORKERS = 64
SEED = 7
#: What the results file says about its making.
MADE = {
    "seeds": "one run",
    "interval": "one machine, ratios to a peer in the same run",
}


class Load:
    """One server, one folder, and the figures that were measured with them."""

    def __init__(self, server, folder, size):
        self.server = server
        self.folder = folder
        self.size = size
        self.figures = {}

    def params(self, name, **params):
        return {
            "model": "loopback",
            "classes": list(CLASSES),
            "strategy": "label",
            "base_url": self.server.base_url,
            "memory": f"{self.folder}/{name}",
            "max_concurrency": WORKERS,
            "timeout": 20.0,
            "deadline": 120.0,
            **params,
        }

    def run(self, X, name, **params):
        """Annotate; return (annotations, seconds, CPU seconds of this process)."""
        scorer = LLMScorer(**self.params(name, **params)).fit(["any"])
        start, cpu = time.perf_counter(), time.process_time()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            annotations = scorer.annotate(X)
        return annotations, time.perf_counter() - start, time.process_time() - cpu


def wrong(annotations, X):
    """Number of rows that have no or another label than the endpoint's rule gives."""
    return sum(label != "sport" for label in annotations.labels()) + abs(len(X) - len(annotations))


class Memory(threading.Thread):
    """Resident memory of this process, looked at every half second."""

    def __init__(self):
        super().__init__(daemon=True)
        self._over = threading.Event()
        self._seen = []

    def run(self):
        process = psutil.Process()
        while not self._over.wait(0.5):
            self._seen.append(process.memory_info().rss)

    def stop(self):
        """Return (largest size, growth in the second half), in MB."""
        self._over.set()
        self.join()
        seen = self._seen or [0]
        return max(seen) >> 20, (max(seen) - max(seen[: len(seen) // 2 + 1])) >> 20


def faulty_run(load, name, n):
    """X1 and X3: 20 % mixed faults."""
    X = texts(n)
    load.server.reset(seed=SEED, profile="mixed20", latency_ms=50)
    memory = Memory()
    memory.start()
    annotations, seconds, _ = load.run(X, name)
    most, growth = memory.stop()
    ledger = load.server.ledger()
    attempts, billed, injected = expected_billed("mixed20", SEED, [text_digest(x) for x in X])
    lost = wrong(annotations, X)
    ok = (
        lost == 0
        and ledger.avoidable == 0
        and (ledger.billed, ledger.injected_billed) == (billed, injected)
        and ledger.peak_in_flight <= WORKERS
        and growth < 20
    )
    got = (
        f"lost {lost}, avoidable {ledger.avoidable}, billed {ledger.billed} (expected {billed}), "
        f"unavoidable {ledger.unavoidable} (injected {injected}), attempts {ledger.received} "
        f"({attempts}), peak {ledger.peak_in_flight}, {most} MB (+{growth} in the second half), "
        f"{seconds:.1f} s, {n / seconds:.0f}/s"
    )
    return ok, seconds, got


def x3(load):
    n = load.size(5000)
    ok, seconds, got = faulty_run(load, "X3", n)
    return ok, 40 * n / 5000 / seconds, got


def child(load, name, X, **params):
    arguments = json.dumps(load.params(name, **params)), json.dumps(X)
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", RUN, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    process.stdout.readline()
    return process


def go(process):
    process.stdin.write("go\n")
    process.stdin.flush()


def x4(load):
    n = load.size(2000)
    X = texts(n)
    load.server.reset(seed=SEED, profile="mixed20", latency_ms=50)
    for share in (0.1, 0.5, 0.9):
        process = child(load, "X4", X)
        go(process)
        while load.server.ledger().billed < share * n and process.poll() is None:
            time.sleep(0.02)
        process.kill()
        process.communicate()
    annotations, _, _ = load.run(X, "X4")
    ledger = load.server.ledger()
    injected = expected_billed("mixed20", SEED, [text_digest(x) for x in X])[2]
    lost = wrong(annotations, X)
    limit = n + injected + 3 * WORKERS
    got = f"3 kills: lost {lost}, billed {ledger.billed} (at most {limit})"
    return lost == 0 and ledger.billed <= limit, None, got


def x5(load):
    n = load.size(2000)
    X = texts(n)
    times = []
    for count in (1, 2):
        load.server.reset(seed=SEED, profile="mixed20", latency_ms=50)
        processes = [child(load, f"X5-{count}", X) for _ in range(count)]
        start = time.perf_counter()
        for process in processes:
            go(process)
        outputs = [process.communicate()[0] for process in processes]
        times.append(time.perf_counter() - start)
    ledger = load.server.ledger()
    billed = expected_billed("mixed20", SEED, [text_digest(x) for x in X])[1]
    right = all(json.loads(out) == ["sport"] * n for out in outputs)
    got = (
        f"2 processes: billed {ledger.billed} (expected {billed}), wall {times[1]:.1f} s, "
        f"one process {times[0]:.1f} s ({times[1] / times[0]:.2f} x)"
    )
    return right and ledger.billed == billed, 1.2 * times[0] / times[1], got


def bare(load, X):
    """The openai client with threads and nothing else; return (seconds, CPU seconds)."""
    import openai

    client = openai.OpenAI(base_url=load.server.base_url, api_key="none", max_retries=0)
    task = Task(CLASSES)

    def ask(text):
        messages = [{"role": r, "content": c} for r, c in render(task, text)]
        reply = client.chat.completions.create(
            model="loopback", messages=messages, temperature=0.0, max_tokens=8
        )
        return reply.choices[0].message.content

    start, cpu = time.perf_counter(), time.process_time()
    with ThreadPoolExecutor(WORKERS) as pool:
        labels = list(pool.map(ask, X))
    seconds, used = time.perf_counter() - start, time.process_time() - cpu
    client.close()
    assert labels == ["sport"] * len(X)
    return seconds, used


def in_turns(load):
    """Measure the bare client, ours and ours in packs in turns: a busy machine hits all three.

    Returns (seconds, CPU seconds) of the fastest run of each, for the texts of ``n``.
    """
    if "turns" not in load.figures:
        n = {"bare": load.size(2000), "ours": load.size(2000), "packs": load.size(5000)}
        runs = {name: [] for name in n}
        for turn in range(3):
            load.server.reset(latency_ms=50)
            runs["bare"].append(bare(load, texts(n["bare"])))
            for name, params in (("ours", {}), ("packs", {"texts_per_request": 10})):
                load.server.reset(latency_ms=50)
                X = texts(n[name])
                annotations, seconds, cpu = load.run(X, f"{name}-{turn}", **params)
                assert wrong(annotations, X) == 0
                assert load.server.ledger().received == len(X) // params.get(
                    "texts_per_request", 1
                )
                runs[name].append((seconds, cpu))
        best = {name: tuple(min(column) for column in zip(*runs[name], strict=True)) for name in n}
        load.figures["turns"] = n, best
    return load.figures["turns"]


def x6(load):
    n, best = in_turns(load)
    mine, other = (best[name][1] / n[name] * 1e3 for name in ("ours", "bare"))
    added = mine - other
    got = f"CPU per text {mine:.2f} ms, bare {other:.2f} ms: {added:+.2f} ms"
    return True, 0.6 / max(added, 1e-3), got


def x7(load):
    n, best = in_turns(load)
    mine, other = (n[name] / best[name][0] for name in ("ours", "bare"))
    got = f"{mine:.0f}/s, bare client {other:.0f}/s: {mine / other:.0%}"
    return True, mine / other / 0.8, got


def x8(load):
    n, best = in_turns(load)
    packs, single = (n[name] / best[name][0] for name in ("packs", "ours"))
    cpu, cpu_single = (best[name][1] / n[name] * 1e3 for name in ("packs", "ours"))
    got = (
        f"{packs:.0f} texts/s in {n['packs'] // 10} requests: {packs / single:.1f} x X7; "
        f"CPU per text {cpu:.2f} ms beside {cpu_single:.2f} ms"
    )
    return True, packs / single / 5, got


def x11(load):
    n = load.size(600)
    X = texts(n)
    storms = [{"after": n // 6, "seconds": 5}, {"after": n // 2, "seconds": 5}]
    storms.append({"after": n * 4 // 5, "seconds": 5})
    load.server.reset(latency_ms=50, storms=storms)
    annotations, seconds, _ = load.run(X, "X11")
    events = load.server.ledger(events=True).events
    hits = sorted(e["started"] for e in events if e["fault"] == "storm")
    starts = hits[:1] + [b for a, b in pairwise(hits) if b - a > 2]
    # What was on its way when the first 429 came back does not count.
    inside = [
        e["started"]
        for e in events
        if any(start + 0.25 < e["started"] < start + 4.99 for start in starts)
    ]
    got = (
        f"{len(starts)} storms, {len(inside)} requests inside a window, drained in {seconds:.1f} s"
    )
    calm = n / 250
    return (
        wrong(annotations, X) == 0 and len(starts) == 3 and len(inside) == 0,
        (16.5 + calm) / seconds,
        got,
    )


def x12(load):
    body = json.dumps(
        {
            "model": "m",
            "choices": [
                {
                    "message": {"content": '{"sport": 0.8, "food": 0.2}'},
                    "finish_reason": "stop",
                }
            ],
            "usage": {"prompt_tokens": 50, "completion_tokens": 9},
        }
    ).encode()
    n, best = 5000, 1e9
    for _ in range(5):
        start = time.perf_counter()
        for _ in range(n):
            parse_scores(reply_from_bytes(body).contents[0], list(CLASSES))
        best = min(best, time.perf_counter() - start)
    return True, n / best / 20_000, f"{n / best:.0f} replies/s"


def x13(load):
    load.server.reset(latency_ms=20)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SEARCH, json.dumps(load.params("X13"))],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=300,
        check=True,
    )
    ledger = load.server.ledger()
    assert done.stdout.strip() == "1.0"
    got = f"billed {ledger.billed} for 200 texts; without a store 4,200 (21 passes)"
    return ledger.billed == ledger.distinct == 200, None, got


def _joblib_reply(text):
    return {"contents": ["sport"], "model": "m", "usage": [50, 1], "created": 1.0}


def fill(load, name, X):
    """Store a reply for every text, as a run would have."""
    scorer = LLMScorer(**load.params(name)).fit(["any"])
    keys = Inquiries(scorer._session().plan, scorer._texts(X), range(len(X))).keys
    value = encode_reply(Reply(("sport",), ("stop",), "loopback", Usage(50, 1), created=1.0))
    open_store(f"{load.folder}/{name}").insert((key, value) for key in keys)


def warm(load):
    """100,000 stored texts, beside one joblib.Memory call each (a sample of them, scaled)."""
    n, sample = load.size(100_000), 2000
    X = [f"note {k} about sport, with some words more as texts have them" for k in range(n)]
    fill(load, "warm", X)
    load.server.reset()
    cached = joblib.Memory(f"{load.folder}/joblib", verbose=0).cache(_joblib_reply)
    for text in X[:sample]:
        cached(text)
    times, calls = [], []
    for _ in range(3):
        annotations, seconds, _ = load.run(X, "warm")
        times.append(seconds)
        start = time.perf_counter()
        for text in X[:sample]:
            cached(text)
        calls.append((time.perf_counter() - start) / sample)
    seconds, call = min(times), min(calls)
    requests = load.server.ledger().received
    ok = requests == 0 and wrong(annotations, X) == 0
    ratio = call / (seconds / n)
    got = (
        f"{n:,} texts: {requests} requests, {seconds:.2f} s the whole of annotate, "
        f"{seconds / n * 1e6:.1f} us a text; joblib.Memory {call * 1e6:.0f} us a call: "
        f"{ratio:.0f} x"
    )
    return ok, min(10 * n / 100_000 / seconds, ratio / 20), got


def x1(load):
    n = load.size(100_000)
    ok, seconds, got = faulty_run(load, "X1", n)
    return ok, 600 * n / 100_000 / seconds, got


def x2(load):
    n = load.size(100_000)
    load.server.reset()
    if not open_store(f"{load.folder}/X1").info()["replies"]:  # where X1 did not run before
        fill(load, "X1", texts(n))
    annotations, seconds, _ = load.run(texts(n), "X1")
    requests = load.server.ledger().received
    got = f"{requests} requests, {seconds:.2f} s, {seconds / n * 1e6:.1f} us a text"
    return requests == 0 and wrong(annotations, texts(n)) == 0, 10 / seconds, got


def x10(load):
    from scorecard.rows import ROWS
    from scorecard.rows._base import Context

    return True, None, ROWS["C20"].run(Context(load.server, load.folder))


# id -> (what, line, function, nightly)
FIGURES = {
    "X3": ("5,000 texts, 64 in flight, 20 % faults", "exact totals, 40 s", x3, False),
    "X4": ("the same with kill -9 at three points", "N + injected + 3 x 64", x4, False),
    "X5": ("two processes at once", "billed once, wall 1.2 x", x5, False),
    "X6": ("CPU beside the bare client", "+0.6 ms per text", x6, False),
    "X7": ("throughput beside the bare client", "80 %", x7, False),
    "X8": ("ten texts per request", "5 x X7", x8, False),
    "X11": ("three Retry-After storms of 5 s", "none inside, 16.5 s and the work", x11, False),
    "X12": ("parser", "20,000 replies/s", x12, False),
    "X13": ("grid search, 4 x 5, 2 processes", "billed = distinct", x13, False),
    "warm": ("100,000 stored texts", "10 s, 20 x joblib.Memory", warm, False),
    "X1": ("100,000 texts, 20 % faults", "exact totals, 10 min", x1, True),
    "X2": ("the same again", "0 requests, 10 s", x2, True),
    "X10": ("1,000,000 replies", "open 100 ms, get 50 us", x10, True),
}


def write(machine, results):
    """Write the results; figures that were not measured this time keep their rows."""
    by_id = {row["id"]: row for row in earlier("throughput").get("rows", [])}
    for id, what, line, got, verdict in results:
        values = {"id": id, "run": what, "line": line, "got": got, "verdict": verdict}
        by_id[id] = {**values, "machine": machine}
    rows = [by_id[id] for id in FIGURES if id in by_id]
    write_json("throughput", {"rows": rows}, kept=len(rows) > len(results), **MADE)


def main():
    """Run the program."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.load.throughput")
    parser.add_argument("--nightly", action="store_true", help="the long figures as well")
    parser.add_argument("--quick", action="store_true", help="a tenth of the size, no files")
    parser.add_argument("-k", action="append", default=[], help="only these ids")
    parser.add_argument("--merge", action="store_true", help="write what -k chose into the file")
    arguments = parser.parse_args()

    def size(n):
        return n // 10 if arguments.quick else n

    results, failed = [], 0
    with FaultServer() as server, tempfile.TemporaryDirectory() as folder:
        load = Load(server, folder, size)
        for id, (what, line, function, nightly) in FIGURES.items():
            if (arguments.k and id not in arguments.k) or (
                nightly and not arguments.nightly and not arguments.k
            ):
                continue
            ok, speed, got = function(load)
            # Speeds depend on the machine: below half of the line is a failure, above a note.
            verdict = "FAIL" if not ok or (speed or 1) < 0.5 else "pass"
            if verdict == "pass" and speed is not None and speed < 1:
                verdict = "slow"
            failed += verdict == "FAIL"
            results.append([id, what, line, got, verdict])
            print(f"{id:4}  {verdict}  {what}: {got}", flush=True)
    machine = f"{os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}, {platform.machine()}"
    print(f"\nmachine: {machine}\n")
    print_table(["id", "run", "line", "got", ""], results)
    if not arguments.quick and (arguments.merge or not arguments.k):
        write(machine, results)
    print(f"{len(results) - failed} passed, {failed} failed")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
