"""What SiDyP costs: seconds and peak memory on 2,000 texts of six classes.

Run as ``python -m benchmarks.quality.noise_cost``. Texts are TREC questions, 40 % of the labels
flipped to the next class; embedding them is timed apart and without a cache. Peak memory is that
of the whole process, libraries and data included.
"""

import os
import resource
import time

import numpy as np
import torch

from benchmarks._common import print_table, read, write_json
from sklfusion import RobertaEmbedder, SiDyPClassifier
from sklfusion.noise._synthetic import add_label_noise

NAME = "noise_cost"
N_TEXTS = 2000
#: What the results file says about its making.
MADE = {
    "seeds": "seed 0",
    "interval": "one run on one machine",
}


def timed(step, call, steps):
    """Run one step; keep wall-clock and CPU seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    out = call()
    steps[step] = {"seconds": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
    return out


def table(results):
    """Header and rows."""
    rows = [
        [step, f"{v['seconds']:.0f}", f"{v['cpu']:.0f}"] for step, v in results["steps"].items()
    ]
    rows.append(["peak memory, GiB", f"{results['peak_gib']:.2f}", ""])
    return [f"{results['n_texts']:,} texts", "seconds", "CPU seconds"], rows


def main():
    rows = read("train/trec6").iloc[:N_TEXTS]
    noisy = add_label_noise(rows.gold.to_numpy(int), "asymmetric", 0.4, random_state=0)
    steps = {}
    texts = rows.text.tolist()
    X = timed("embedding", lambda: RobertaEmbedder().fit_transform(texts), steps)
    X = np.asarray(X, dtype=np.float32)
    model = timed("fit", lambda: SiDyPClassifier(random_state=0).fit(X, noisy), steps)
    timed("predict", lambda: model.predict(X), steps)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # kilobytes on Linux
    results = {
        "n_texts": len(X), "steps": steps, "peak_gib": peak, "threads": torch.get_num_threads(),
        "cores": len(os.sched_getaffinity(0)), "load": os.getloadavg()[0],
    }  # fmt: skip
    print_table(*table(results))
    write_json(NAME, results, **MADE)


if __name__ == "__main__":
    main()
