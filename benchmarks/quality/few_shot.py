"""Fusion beside SetFit, the usual way to train an encoder on a few texts.

    python -m benchmarks.quality.few_shot [--quick] [--venv FOLDER]

SetFit fine-tunes the embedded MiniLM with its defaults (contrastive pairs, then a logistic
regression). The fusion keeps MiniLM frozen and hears the LLM's votes as well. Same labelled rows,
same test rows. Seconds are measured in turns in one run, each with two threads: SetFit's
training, and embedding and fit of the fusion (the LLM's answers are recorded). SetFit gets an
environment of its own, made from PyPI the first time.
"""

import argparse
import json
import os
import subprocess
import time

os.environ.setdefault("OMP_NUM_THREADS", "2")  # ours and SetFit's

import numpy as np

from benchmarks._common import (
    CACHE,
    ROOT,
    embed,
    environment,
    mean_spread,
    print_table,
    write_json,
)
from benchmarks.quality import _contest
from benchmarks.quality.fusion_all import EncoderAlone, quietly

SETS = (("AG News", "gpt-5-nano"), ("FPB", "chatgpt"), ("SemEval", "mixtral-8x22b"))
SIZES, N_DRAWS, TEST_ROWS = (20, 50), 3, 500
PACKAGES = ("setfit", "transformers<5")
METHODS = ("LLM alone", "frozen encoder", "SetFit", "fusion")


def versions(python):
    """Versions of SetFit and what it stands on, by name."""
    code = "import importlib.metadata as m, json, sys; "
    code += "print(json.dumps({n: m.version(n) for n in sys.argv[1:]}))"
    names = ("setfit", "sentence-transformers", "transformers", "torch")
    done = subprocess.run([python, "-c", code, *names], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


class SetFitProcess:
    """The worker in its own environment; answers one job at a time."""

    def __init__(self, python):
        quiet = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "TQDM_DISABLE": "1"}
        self.process = subprocess.Popen(
            [python, "-W", "ignore", str(ROOT / "benchmarks" / "quality" / "_setfit_worker.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=os.environ | quiet,
            text=True,
        )

    def __call__(self, **job):
        """Predictions and seconds of training for one job."""
        self.process.stdin.write(json.dumps(job) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit("SetFit ended without an answer; run its worker by hand to see why.")
        return json.loads(line)

    def close(self):
        """End the worker."""
        self.process.stdin.close()
        self.process.wait(timeout=60)
        self.process.stdout.close()


def fuse(data, E_test, train, test, seed):
    """Predictions of the fusion, and the seconds for embedding the labelled rows and the fit."""
    from sklfusion import RobertaEmbedder

    start = time.perf_counter()
    E = RobertaEmbedder().fit_transform([data.texts[i] for i in train])
    votes = np.hstack(data.votes)
    clf = _contest.fusion(data, seed, n_embedding=E.shape[1])
    clf.fit(np.hstack([E, votes[train]]), data.y[train])
    seconds = time.perf_counter() - start
    return clf.predict(np.hstack([E_test, votes[test]])), seconds


def run(setfit, quick=False):
    """Score every method on the same rows; returns scores and seconds by data set and size."""
    from sklfusion.models import DEFAULT_EMBEDDER, find_model

    model = str(find_model(DEFAULT_EMBEDDER))
    sets, sizes, n_draws = (SETS[:1], (12,), 1) if quick else (SETS, SIZES, N_DRAWS)
    results = {"draws": n_draws, "cells": []}
    for data in _contest.load_sets(*sets):
        E = embed(data.texts)
        for size in sizes:
            scores, seconds = {}, {"SetFit": [], "fusion": []}
            for train, test, draw in _contest.splits(data, size, n_draws):
                test = np.random.default_rng(draw).permutation(test)[:TEST_ROWS]
                y = data.y[train]
                fused, ours = quietly(fuse, data, E[test], train, test, draw)
                answer = setfit(
                    model=model,
                    texts=[data.texts[i] for i in train],
                    labels=y.tolist(),
                    test=[data.texts[i] for i in test],
                    seed=draw,
                )
                encoder = quietly(EncoderAlone(draw).fit, E[train], y)
                said = {
                    "LLM alone": _contest.llm_alone(data.votes[0][test], y),
                    "frozen encoder": encoder.predict(E[test]),
                    "SetFit": answer["predicted"],
                    "fusion": fused,
                }
                for name, predicted in said.items():
                    right = float(_contest.hits(predicted, data.y[test]).mean())
                    scores.setdefault(name, []).append(right)
                seconds["SetFit"].append(answer["seconds"])
                seconds["fusion"].append(ours)
            results["cells"].append(
                {"data": f"{data.name}, {data.llm}", "size": size}
                | {"score": scores, "seconds": seconds}
            )
            print(*table({"cells": results["cells"][-1:]})[1][0], sep="  ", flush=True)
    return results


def table(results):
    """One row per data set and number of labelled rows."""
    rows = []
    for cell in results["cells"]:
        spent = {name: float(np.median(values)) for name, values in cell["seconds"].items()}
        rows.append(
            [cell["data"], cell["size"]]
            + [mean_spread(cell["score"][name]) for name in METHODS]
            + [f"{spent['SetFit']:.0f} s / {spent['fusion']:.1f} s"]
        )
    return ["data, LLM", "labelled rows", *METHODS, "training, SetFit / fusion"], rows


def main():
    """Run the comparison, print its table and unless ``--quick`` write its file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one data set, twelve rows")
    parser.add_argument("--venv", default=CACHE / "setfit", help="folder of its environment")
    options = parser.parse_args()
    python = environment(options.venv, PACKAGES)
    setfit = SetFitProcess(python)
    try:
        results = run(setfit, options.quick) | {"setfit": versions(python)}
    finally:
        setfit.close()
    print_table(*table(results))
    if not options.quick:
        write_json("few_shot", results)


if __name__ == "__main__":
    main()
