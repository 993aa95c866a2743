"""The service under load: 200 requests in flight for a minute, and SIGTERM in the middle.

::

    python -m benchmarks.load.serve           # a minute for each model; writes the results
    python -m benchmarks.load.serve --quick   # three seconds, no files

Lines: no status but 200 and 429, the slowest of a hundred within five times the median, memory
flat, and after SIGTERM as many answers at the clients as requests that the service had taken.
Clients and service share the machine. Memory is that of the last third of the minute over that of
the second: the first third fills what is filled once.
"""

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks._common import print_table, write_json
from sklfusion import AutoFusionClassifier, datasets, persistence
from tests._serving import counted, serving

IN_FLIGHT = 200
SECONDS = 60
#: The lines.
MOST_SLOWER, MOST_GROWTH = 5.0, 1.05
HEADER = ["model", "requests/s", "answers", "429", "other", "p50", "p99", "p99 / p50", "memory"]
#: What the results file says about its making.
MADE = {
    "seeds": "one run",
    "interval": "one machine, a minute for each model",
}


class Client:
    """One connection that asks again and again until told to stop, or hung up on."""

    def __init__(self, port, number, log):
        self.port, self.number, self.log = port, number, log

    async def run(self, until):
        """Ask until a time; a connection that ends is opened again once."""
        sent = 0
        reader = writer = None
        while time.monotonic() < until():
            sent += 1
            body = json.dumps(
                {"texts": [f"{self.number} and {sent}: the council votes on a bridge"]}
            )
            start = time.monotonic()
            try:
                if writer is None:
                    reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
                writer.write(_request(body))
                status, wait = await _answer(reader)
            except (OSError, asyncio.IncompleteReadError):
                self.log.append((start, time.monotonic() - start, None))
                return
            self.log.append((start, time.monotonic() - start, status))
            if status == 429:
                await asyncio.sleep(wait)
        if writer is not None:
            writer.close()


def _request(body):
    head = (
        "POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return (head + body).encode()


async def _answer(reader):
    """Return status and Retry-After of a whole answer."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    lines = [line.partition(": ") for line in head.split("\r\n")[1:] if line]
    headers = {name.lower(): value for name, _, value in lines}
    await reader.readexactly(int(headers["content-length"]))
    return int(head.split()[1]), float(headers.get("retry-after", 0))


def under_fire(running, in_flight, seconds, stop_after=None):
    """Keep requests in flight; return (start, duration, status) of each, and (time, bytes).

    Parameters
    ----------
    running : Served
    in_flight : int
        Connections, each with one request at a time.
    seconds : float
    stop_after : float, optional
        Seconds after which the service gets SIGTERM.
    """
    log, memory = [], []

    async def watch(until):
        stop = None if stop_after is None else time.monotonic() + stop_after
        while time.monotonic() < until():
            memory.append((time.monotonic(), resident(running.process.pid)))
            await asyncio.sleep(0.5)
            if stop is not None and time.monotonic() > stop:
                running.process.terminate()
                return

    async def play():
        end = time.monotonic() + seconds
        clients = [Client(running.port, n, log).run(lambda: end) for n in range(in_flight)]
        await asyncio.gather(watch(lambda: end), *clients)

    asyncio.run(play())
    return log, memory


def resident(pid):
    """Return the bytes of a process in memory (Linux)."""
    pages = Path(f"/proc/{pid}/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def figures(log, memory, seconds):
    """Return what the log of a minute says."""
    statuses = [status for *_, status in log]
    took = np.array([duration for _, duration, status in log if status == 200])
    p50, p99 = np.percentile(took, [50, 99])
    start = memory[0][0]
    thirds = [[b for t, b in memory if (t - start) // (seconds / 3) == k] for k in (1, 2)]
    return {
        "requests_per_second": len(took) / seconds,
        "answers": statuses.count(200),
        "busy": statuses.count(429),
        "other": len(statuses) - statuses.count(200) - statuses.count(429),
        "p50": p50,
        "p99": p99,
        "memory_mb": max(thirds[-1]) / 2**20,
        "memory_growth": float(np.median(thirds[1]) / np.median(thirds[0])),
    }


def stopped(path, in_flight, seconds):
    """Return what the service took and the clients got, with SIGTERM in the middle."""
    with serving(path) as running:
        before = counted(running)
        log, _ = under_fire(running, in_flight, seconds, stop_after=seconds / 2)
        status, told = running.stop()
    words = told.split()
    taken = int(words[words.index("requests,") - 1]) - before
    got = sum(answer == 200 for *_, answer in log)
    other = sum(answer not in (200, 429, None) for *_, answer in log)
    return {
        "taken": taken,
        "got": got + sum(a == 429 for *_, a in log),
        "other": other,
        "exit": status,
    }


def models(folder):
    """Yield name and file of a model that does next to nothing, and of one with an encoder."""
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.pipeline import make_pipeline

    news = datasets.load_newsdesk()
    texts, labels = list(news.data)[:120], list(news.target)[:120]
    light = make_pipeline(TfidfVectorizer(), TruncatedSVD(8, random_state=0))
    for name, embedder in (("word counts", light), ("embedded encoder", "all-minilm-l6-v2")):
        path = Path(folder) / f"{name.split()[0]}.sklf"
        model = AutoFusionClassifier(None, embedder, fine_tune=False, random_state=0)
        persistence.save(model.fit(texts, labels), path)
        yield name, path


def holds(row):
    """Tell whether a row keeps all lines."""
    calm = row["p99"] < MOST_SLOWER * row["p50"] and row["memory_growth"] < MOST_GROWTH
    stop = row["stop"]
    return calm and row["other"] == 0 and stop["taken"] == stop["got"] and stop["exit"] == 0


def table(results):
    """Header and rows for people."""
    rows = []
    for row in results["rows"]:
        ratio = f"{row['p99'] / row['p50']:.1f}"
        times = [f"{1000 * row[name]:.0f} ms" for name in ("p50", "p99")]
        memory = f"{row['memory_mb']:.0f} MB, {100 * (row['memory_growth'] - 1):+.1f} %"
        stop = f"{row['stop']['got']} of {row['stop']['taken']}"
        speed = f"{row['requests_per_second']:.0f}"
        counts = [row["answers"], row["busy"], row["other"]]
        rows.append([row["model"], speed, *counts, *times, ratio, memory, stop])
    return [*HEADER, "answered after SIGTERM"], rows


def main():
    """Run the program."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.load.serve")
    parser.add_argument("--quick", action="store_true", help="three seconds, no files")
    quick = parser.parse_args().quick
    seconds = 3 if quick else SECONDS
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name, path in models(folder):
            with serving(path) as running:
                row = figures(*under_fire(running, IN_FLIGHT, seconds), seconds)
            stop = stopped(path, IN_FLIGHT, min(seconds, 10))
            rows.append(
                {"model": name, "in_flight": IN_FLIGHT, "seconds": seconds, **row, "stop": stop}
            )
    results = {"rows": rows, "cpus": os.cpu_count()}
    print_table(*table(results))
    if not quick:
        write_json("serve", results, **MADE)
    failed = [row["model"] for row in rows if not holds(row)]
    print("lines kept" if not failed else f"lines broken: {', '.join(failed)}")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
