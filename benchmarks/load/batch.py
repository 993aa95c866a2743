"""Many texts on two Dask workers: memory, rates, and a worker killed in the middle.

::

    python -m benchmarks.load.batch                    # all parts; a quarter of an hour
    python -m benchmarks.load.batch static paid        # some; the others keep their rows
    python -m benchmarks.load.batch encoder --rows 4000    # where time is short
    python -m benchmarks.load.batch --quick            # a hundredth of the rows, no files

*static*: a million short texts through a student without encoder and LLM. *encoder*: the same
words through the embedded encoder. *paid*: an LLM at a loopback endpoint, which counts what is
billed. In each run one of the two workers is killed by SIGKILL half way. *growth*: CPU and memory
from a thousand texts to a million, beside a plain call of the same model and a loop by hand.

Texts are random words of the bundled briefs. Memory is the resident set of each worker process,
sampled four times a second; its growth is counted from the moment at which the worker has
been there for a tenth of the rows and ten seconds.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks._common import earlier, print_table, save_figure, write_json
from sklfusion import LLMClassifier, RobertaEmbedder, persistence
from sklfusion.batch import BatchScorer, score_dask
from sklfusion.datasets import load_newsdesk
from sklfusion.testing import FaultServer

WORKERS = 2
SEED = 7
WORDS = (6, 18)  # fewest and most words of a text
PAUSE = 0.25  # seconds between two looks at the workers' memory
WARM = 0.1  # share of the rows after which a worker's memory should be flat
LOADING = 10.0  # seconds in which a worker may be loading what it needs
TARGET = 100_000_000  # texts of the extrapolation
CORES = 2  # and where
SIZES = {"static": (1_000_000, 20_000), "encoder": (20_000, 250), "paid": (4_000, 100)}
GROWTH = (1_000, 10_000, 100_000, 1_000_000)
MB = 1e6
#: What the results file says about its making.
MADE = {
    "seeds": "one run",
    "interval": "one machine, seconds of one run",
}


def make_rows(folder, rows, per_shard):
    """Write shards of random words with running ids."""
    folder.mkdir()
    words = np.array(sorted({w for t in load_newsdesk().data for w in t.split()}))
    rng = np.random.default_rng(SEED)
    for number, start in enumerate(range(0, rows, per_shard)):
        ids = np.arange(start, min(start + per_shard, rows))
        lengths = rng.integers(*WORDS, len(ids))
        texts = [
            " ".join(rng.choice(words, n)) + f" {i}" for n, i in zip(lengths, ids, strict=True)
        ]
        pq.write_table(pa.table({"id": ids, "text": texts}), folder / f"{number:05}.parquet")


def static_model():
    """The student of a frozen encoder with a logistic head, by the bundled briefs."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    from sklfusion.distillation import distill

    briefs = load_newsdesk()
    teacher = make_pipeline(RobertaEmbedder(), LogisticRegression(max_iter=1000))
    teacher.fit(briefs.data, briefs.target)
    return distill(teacher, briefs.data, random_state=0)


def encoder_model():
    """The embedded encoder with a logistic head."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    briefs = load_newsdesk()
    model = make_pipeline(RobertaEmbedder(), LogisticRegression(max_iter=1000))
    return model.fit(briefs.data, briefs.target)


def words_model():
    """What scikit-learn has for the same job."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    briefs = load_newsdesk()
    return make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(briefs.data, briefs.target)


class Watch(threading.Thread):
    """Looks at the workers' memory and processor time, and kills one half way."""

    def __init__(self, folder, rows, per_shard):
        super().__init__(daemon=True)
        self.folder, self.rows, self.per_shard = folder, rows, per_shard
        self.samples = []  # (seconds, pid, bytes, CPU seconds, rows done)
        self.killed = None
        self.over = threading.Event()

    def done(self):
        return min(self.rows, self.per_shard * len(list(self.folder.glob("*.parquet"))))

    def run(self):
        start = time.perf_counter()
        while not self.over.wait(PAUSE):
            done = self.done()
            for process in self._workers():
                try:
                    used, cpu = process.memory_info().rss, sum(process.cpu_times()[:2])
                except psutil.NoSuchProcess:
                    continue
                self.samples.append((time.perf_counter() - start, process.pid, used, cpu, done))
            if self.killed is None and done >= self.rows // 2:
                self.killed = self.samples[-1][1]
                os.kill(self.killed, signal.SIGKILL)

    def _workers(self):
        found = []
        for process in psutil.Process().children(recursive=True):
            try:
                if any("spawn_main" in word for word in process.cmdline()):
                    found.append(process)
            except psutil.NoSuchProcess:
                continue
        return found

    def by_worker(self):
        """Peak memory and growth of each worker that was there long enough, in MB."""
        warm, found = WARM * self.rows, []
        for pid in dict.fromkeys(sample[1] for sample in self.samples):
            own = [s for s in self.samples if s[1] == pid]
            start, done = own[0][0] + LOADING, own[0][4] + warm
            later = [s[2] for s in own if s[0] >= start and s[4] >= done]
            if later:
                peak = max(s[2] for s in own)
                found.append({"peak": peak / MB, "growth": (max(later) - later[0]) / MB})
        return found

    def cpu(self):
        """Processor seconds of all workers, that of the killed one too."""
        last = {pid: cpu for _, pid, _, cpu, _ in self.samples}
        return sum(last.values())


def dask_run(model, folder, rows, per_shard, batch_size):
    """Score shards on two workers of which one is killed; returns the figures."""
    import dask.dataframe as dd
    from distributed import Client, LocalCluster

    out = folder / "out"
    out.mkdir()
    options = {"n_workers": WORKERS, "threads_per_worker": 1, "host": "127.0.0.1"}
    with LocalCluster(**options, dashboard_address=None) as cluster, Client(cluster):
        watch = Watch(out, rows, per_shard)
        frame = dd.read_parquet(folder / "in", split_row_groups=False, aggregate_files=False)
        scored = score_dask(frame, BatchScorer(model, batch_size=batch_size))
        start = time.perf_counter()
        watch.start()
        scored.to_parquet(out, write_index=False, compute=True)
        seconds = time.perf_counter() - start
        watch.over.set()
        watch.join()
    table = pq.read_table(out, columns=["id", "status"])
    ids = np.sort(table["id"].to_numpy())
    return {
        "rows": rows,
        "killed": watch.killed is not None,
        "lost": int(rows - len(np.unique(ids))),
        "twice": int(len(ids) - len(np.unique(ids))),
        "failed": int(sum(s != "ok" for s in table["status"].to_pylist())),
        "seconds": seconds,
        "cpu": watch.cpu(),
        "workers": watch.by_worker(),
    }


def spread_run(name, model, folder, size):
    """One of the runs, in a folder of its own."""
    rows, per_shard = size
    place = folder / name
    place.mkdir()
    make_rows(place / "in", rows, per_shard)
    persistence.save(model, place / "model.sklf")
    return dask_run(place / "model.sklf", place, rows, per_shard, batch_size=min(1024, per_shard))


def paid_run(folder, size):
    """An LLM behind a loopback endpoint; what was billed stands in its ledger."""
    with FaultServer(latency_ms=5) as server:
        model = LLMClassifier(
            "loopback",
            classes=["world", "sport", "food"],
            strategy="label",
            base_url=server.base_url,
            memory=folder / "replies",
            max_concurrency=4,
        ).fit(["any"])
        found = spread_run("paid", model, folder, size)
        ledger = server.ledger()
    return found | {
        "billed": ledger.billed,
        "distinct": ledger.distinct,
        "paid_twice": ledger.avoidable,
        "in_flight": ledger.unavoidable,
    }


_GROWTH = """
import json, resource, sys, time
import numpy as np
from sklfusion import persistence
from sklfusion.batch import read_batches, stream
way, path, source, rows = *sys.argv[1:4], int(sys.argv[4])
model = persistence.load(path)
model.predict_proba(["warm"])
def base():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
def limited():
    left = rows
    for batch in read_batches(source):
        yield batch[:left]
        left -= batch.num_rows
        if left <= 0:
            return
before, start = base(), time.process_time()
if way == "stream":
    done = sum(len(part) for part in stream(model, limited()))
elif way == "one call":
    texts = [t for b in limited() for t in b["text"].to_pylist()]
    done = len(model.predict_proba(texts))
else:
    import pyarrow.parquet as pq, pathlib
    texts = []
    for file in sorted(pathlib.Path(source).iterdir()):
        texts += pq.read_table(file)["text"].to_pylist()
        if len(texts) >= rows:
            break
    texts = texts[:rows]
    found = [model.predict_proba(texts[i:i + 1024]) for i in range(0, rows, 1024)]
    done = len(np.vstack(found))
assert done == rows, done
print(json.dumps({"cpu": time.process_time() - start, "mb": (base() - before) / 1000}))
"""
#: Name of a line to how it goes through the texts, and with which model.
WAYS = {
    "stream": ("stream", "student"),
    "one call": ("one call", "student"),
    "loop by hand": ("loop", "student"),
    "scikit-learn: TF-IDF": ("one call", "words"),
}


def growth_run(model, folder, quick):
    """CPU seconds and further peak memory by number of texts, each in a process of its own."""
    sizes = GROWTH[:2] if quick else GROWTH
    place = folder / "growth"
    place.mkdir()
    make_rows(place / "in", sizes[-1], 50_000)
    persistence.save(model, place / "student.sklf")
    persistence.save(words_model(), place / "words.sklf")
    found = {way: [] for way in WAYS}
    for size in sizes:
        for way, (how, which) in WAYS.items():
            args = [how, str(place / f"{which}.sklf"), str(place / "in"), str(size)]
            done = subprocess.run(
                [sys.executable, "-c", _GROWTH, *args], capture_output=True, text=True, check=True
            )
            found[way].append(json.loads(done.stdout.splitlines()[-1]))
            print(way, size, found[way][-1], flush=True)
    return {"sizes": list(sizes), "ways": found}


def draw(growth):
    """CPU seconds and memory by number of texts."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    for axes, (key, says) in zip(
        figure.subplots(1, 2),
        [("cpu", "CPU seconds, one thread"), ("mb", "peak memory beyond the model, MB")],
        strict=True,
    ):
        for way, marker in zip(WAYS, "os^d", strict=True):
            values = [max(point[key], 1e-3) for point in growth["ways"][way]]
            axes.plot(growth["sizes"], values, marker=marker, label=way)
        axes.set(xscale="log", yscale="log", xlabel="texts", ylabel=says)
        axes.grid(alpha=0.3)
    figure.axes[0].legend()
    save_figure(figure, "batch")


def table(results):
    """Header and rows of the block in docs/batch.md."""
    header = ["run", "texts", "seconds", "texts per CPU second", "peak per worker", "growth"]
    header += ["lost", "paid twice", "100 million, two cores"]
    rows = []
    for name in [name for name in NAMES if name in results]:
        run = results[name]
        workers, rate = run["workers"], run["rows"] / run["cpu"]
        rows.append(
            [
                NAMES[name],
                f"{run['rows']:,}",
                f"{run['seconds']:.0f}",
                f"{rate:,.0f}",
                f"{max(w['peak'] for w in workers):.0f} MB",
                # the successor of the killed one is still loading when it is first looked at
                f"{max(w['growth'] for w in workers[:WORKERS]):.0f} MB",
                run["lost"],
                _paid(run),
                "-" if name == "paid" else _hours(TARGET / (CORES * rate)),
            ]
        )
    return header, rows


NAMES = {"static": "student", "encoder": "encoder", "paid": "LLM on loopback"}


def _paid(run):
    if "paid_twice" not in run:
        return "-"
    return f"{run['paid_twice']} ({run['in_flight']} in flight at the kill)"


def _hours(seconds):
    hours = seconds / 3600
    return f"{hours:.1f} h" if hours < 48 else f"{hours / 24:.1f} days"


def size_of(name, quick, rows):
    """Rows of a run, and of a shard."""
    usual, per_shard = SIZES[name]
    if quick:
        return max(200, usual // 100), max(20, per_shard // 100)
    return rows or usual, per_shard


def main(parts, quick, rows):
    """Run the parts and write what they found."""
    folder = Path(tempfile.mkdtemp(prefix="sklfusion-batch-"))
    results = {} if quick else earlier("batch")
    try:
        if "static" in parts or "growth" in parts:
            student = static_model()
        if "static" in parts:
            results["static"] = spread_run(
                "static", student, folder, size_of("static", quick, rows)
            )
        if "encoder" in parts:
            results["encoder"] = spread_run(
                "encoder", encoder_model(), folder, size_of("encoder", quick, rows)
            )
        if "paid" in parts:
            results["paid"] = paid_run(folder, size_of("paid", quick, rows))
        if "growth" in parts:
            results["growth"] = growth_run(student, folder, quick)
    finally:
        shutil.rmtree(folder)
    for part in parts:
        print(part, json.dumps(results[part]))
    if not quick:
        write_json("batch", results, kept=True, **MADE)
        if "growth" in results:
            draw(results["growth"])
    print_table(*table(results))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", default=["static", "encoder", "paid", "growth"])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rows", type=int, help="texts of each run, in place of its own number")
    args = parser.parse_args()
    main(args.parts, args.quick, args.rows)
