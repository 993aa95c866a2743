"""An encoder trained on a few texts, alone and under the fusion; SetFit with its defaults.

    python -m benchmarks.quality.few_shot [--quick] [--venv FOLDER] [--methods NAME ...]

SetFit fine-tunes the embedded MiniLM with its defaults (contrastive pairs, then a logistic
regression). Ours are `RobertaEmbedder(fine_tune="contrastive")` alone, and the fusion, which hears
the LLM's votes as well: on the frozen MiniLM, and on out-of-fold scores of the trained one. Same
labelled rows, same test rows. Seconds are measured in turns in one run, each with two threads:
training, and for the fusion everything from texts to fitted model (the LLM's answers are
recorded). With ``--methods`` only these run, and the others stay as of the last run. SetFit gets
an environment of its own, made from PyPI the first time.
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
    read_json,
    write_json,
)
from benchmarks.quality import _contest
from benchmarks.quality._contest import fit_encoder, quietly

SETS = (("AG News", "gpt-5-nano"), ("FPB", "chatgpt"), ("SemEval", "mixtral-8x22b"))
SIZES, N_DRAWS, TEST_ROWS = (20, 50), 3, 500
PACKAGES = ("setfit", "transformers<5")
TIMED = ("SetFit", "contrastive encoder", "fusion", "fusion, contrastive")
METHODS = ("LLM alone", "frozen encoder", *TIMED)
PAIRS = {"freeze_layers": 3}  # of six: half the time and no worse
#: What the results file says about its making.
MADE = {
    "seeds": f"draws 0 to {N_DRAWS - 1}",
    "interval": "± is the standard deviation over draws",
}


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


def fuse(data, embedder, train, test, seed):
    """Predictions of the fusion, and the seconds from the labelled texts to the fitted model."""
    start = time.perf_counter()
    E = embedder.fit_transform([data.texts[i] for i in train], data.y[train])
    votes = np.hstack(data.votes)
    clf = _contest.fusion(data, seed, n_embedding=E.shape[1])
    clf.fit(np.hstack([E, votes[train]]), data.y[train])
    seconds = time.perf_counter() - start
    E = embedder.transform([data.texts[i] for i in test])
    return clf.predict(np.hstack([E, votes[test]])), seconds


def train_on_pairs(embedder, texts, y, test):
    """Predictions of the contrastively trained encoder alone, and the seconds of its training."""
    start = time.perf_counter()
    embedder.fit(texts, y)
    seconds = time.perf_counter() - start
    return embedder.classes_[embedder.transform(test).argmax(axis=1)], seconds


def compare(methods, setfit, options, data, E, train, test, seed):
    """One draw: what each method says about the test rows, and the seconds of the timed ones."""
    from sklfusion import EncoderTraining, RobertaEmbedder
    from sklfusion.models import DEFAULT_EMBEDDER, find_model

    texts, y = [data.texts[i] for i in train], data.y[train]
    fresh = [data.texts[i] for i in test]
    classes = list(range(len(data.classes)))
    how = EncoderTraining("contrastive", **options)
    pairs = RobertaEmbedder(fine_tune=how, classes=classes, random_state=seed)

    def ask_setfit():
        model = str(find_model(DEFAULT_EMBEDDER))
        answer = setfit(model=model, texts=texts, labels=y.tolist(), test=fresh, seed=seed)
        return answer["predicted"], answer["seconds"]

    calls = {
        "LLM alone": lambda: (_contest.llm_alone(data.votes[0][test], y), None),
        "frozen encoder": lambda: (fit_encoder(E[train], y, seed).predict(E[test]), None),
        "SetFit": ask_setfit,
        "contrastive encoder": lambda: train_on_pairs(pairs, texts, y, fresh),
        "fusion": lambda: fuse(data, RobertaEmbedder(), train, test, seed),
        "fusion, contrastive": lambda: fuse(data, pairs, train, test, seed),
    }
    found = {name: calls[name]() for name in methods}
    said = {name: predicted for name, (predicted, _) in found.items()}
    return said, {name: found[name][1] for name in methods if name in TIMED}


def run(setfit, methods=METHODS, quick=False):
    """Score the methods on the same rows; returns scores and seconds by data set and size."""
    sets, sizes, n_draws = (SETS[:1], (12,), 1) if quick else (SETS, SIZES, N_DRAWS)
    options = PAIRS | {"contrastive_steps": 4} if quick else PAIRS
    cells = []
    for data in _contest.load_sets(*sets):
        E = embed(data.texts)
        for size in sizes:
            scores, seconds = {}, {}
            for train, test, draw in _contest.splits(data, size, n_draws):
                test = np.random.default_rng(draw).permutation(test)[:TEST_ROWS]
                said, spent = quietly(
                    compare, methods, setfit, options, data, E, train, test, draw
                )
                for name, predicted in said.items():
                    right = float(_contest.hits(predicted, data.y[test]).mean())
                    scores.setdefault(name, []).append(right)
                for name, value in spent.items():
                    seconds.setdefault(name, []).append(value)
            cells.append(
                {"data": f"{data.name}, {data.llm}", "size": size}
                | {"score": scores, "seconds": seconds}
            )
            told = [f"{name} {mean_spread(values)}" for name, values in scores.items()]
            print(data.name, size, *told, sep="  ", flush=True)
    return {"draws": n_draws, "cells": cells}


def renewed(results):
    """The last run with these results in their places."""
    last = read_json("few_shot")
    new = {(cell["data"], cell["size"]): cell for cell in results["cells"]}
    for cell in last["cells"]:
        for key in ("score", "seconds"):
            cell[key] |= new[cell["data"], cell["size"]][key]
    return last | results | {"cells": last["cells"]}


def table(results):
    """One row per data set and number of labelled rows."""
    rows = []
    for cell in results["cells"]:
        spent = [float(np.median(cell["seconds"][name])) for name in TIMED]
        rows.append(
            [cell["data"], cell["size"]]
            + [mean_spread(cell["score"][name]) for name in METHODS]
            + [" / ".join(f"{s:.1f}" if s < 10 else f"{s:.0f}" for s in spent)]
        )
    shown = ["SetFit, its defaults" if name == "SetFit" else name for name in METHODS]
    return ["data, LLM", "labelled rows", *shown, "seconds of the last four"], rows


def main():
    """Run the comparison, print its table and unless ``--quick`` write its file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one data set, twelve rows")
    parser.add_argument("--venv", default=CACHE / "setfit", help="folder of its environment")
    parser.add_argument(
        "--methods",
        nargs="+",
        choices=METHODS,
        metavar="NAME",
        help="these anew, the others as of the last run",
    )
    options = parser.parse_args()
    if options.methods and options.quick:
        parser.error("--methods renews part of the whole table, so it goes without --quick")
    methods = options.methods or METHODS
    if "SetFit" in methods:
        python = environment(options.venv, PACKAGES)
        setfit = SetFitProcess(python)
        try:
            results = run(setfit, methods, options.quick) | {"setfit": versions(python)}
        finally:
            setfit.close()
    else:
        results = run(None, methods)
    if options.methods:
        results = renewed(results)
    print_table(*table(results))
    if not options.quick:
        write_json("few_shot", results, kept=bool(options.methods), **MADE)


if __name__ == "__main__":
    main()
