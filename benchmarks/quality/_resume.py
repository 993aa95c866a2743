"""Cells that take minutes each: kept as they come, so that a run that is broken off goes on."""

import json
import time

import numpy as np

from benchmarks._common import CACHE


def resume(name, cells, seconds=np.inf):
    """Return the cells by key; ``cells`` holds a call for each, made where no run has kept it.

    None is begun after ``seconds``.
    """
    path, start = CACHE / f"{name}.json", time.perf_counter()
    kept = json.loads(path.read_text()) if path.exists() else {}
    for key, measure in cells.items():
        if key in kept:
            continue
        if time.perf_counter() - start > seconds:
            break
        kept[key] = measure()
        path.write_text(json.dumps(kept))
        print(f"{key}: {time.perf_counter() - start:.0f} s", flush=True)
    return {key: kept[key] for key in cells if key in kept}
