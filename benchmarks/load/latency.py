"""Accuracy, cost and latency of encoder, LLM, fusion and cascade against one endpoint.

    python -m benchmarks.load.latency [--quick] [--draws N ...]

AG News with the recorded answers of gpt-5-nano, which an endpoint in another process gives again
over HTTP. No times were recorded with them, so the endpoint's are made up: log-normal over texts,
median 0.8 s, a text in twenty above 1.8 s. Every method is fitted on the same 250 labelled rows
with an empty memory of its own. Then it predicts some of the 250 test rows one at a time, as a
service gets them, and the others in one call (16 requests in flight). Requests and tokens are
counted by the endpoint, at four characters a token.

One process, one thread. Mostly asleep, so a busy machine shows in the figures of the encoder
alone; their CPU seconds stand beside them. ``--draws`` renews these draws and keeps the others.
"""

import argparse
import tempfile
import time
import warnings

import numpy as np
from sklearn.base import clone
from threadpoolctl import threadpool_limits

from benchmarks._common import earlier, mean_spread, print_table, save_figure, write_json
from benchmarks.load._recorded_endpoint import RecordedEndpoint
from benchmarks.quality import _contest
from sklfusion import (
    AutoFusionClassifier,
    CascadeClassifier,
    LLMClassifier,
    LLMScorer,
    RobertaEmbedder,
)

MEDIAN_S, SIGMA = 0.8, 0.5
BUDGETS = (0.1, 0.25, 0.5)
ROWS, N_DRAWS, ONE_BY_ONE = 250, 4, 40
#: What the errors in the results file are.
INTERVAL = (
    "± is the standard deviation over draws of rows of one data set; seconds are "
    "medians over draws or quantiles over texts"
)
METHODS = ("encoder alone", *(f"cascade, {b:.0%}" for b in BUDGETS), "LLM alone", "fusion")


def estimators(classes, url, seed, folder):
    """The contestants by name, unfitted; each has a memory of its own, so pays for itself."""
    asked = {"classes": classes, "strategy": "label", "base_url": url}

    def cascade(budget):
        how = {"budget": budget, "random_state": seed, "memory": f"{folder}/cascade{budget}"}
        return CascadeClassifier(llm=LLMScorer("recorded", **asked), **how)

    llm = LLMClassifier("recorded", memory=f"{folder}/llm", **asked)
    fusion = AutoFusionClassifier(
        LLMScorer("recorded", **asked), random_state=seed, memory=f"{folder}/fusion"
    )
    return dict(zip(METHODS, (cascade(0), *map(cascade, BUDGETS), llm, fusion), strict=True))


class Watch:
    """What a block took: seconds, CPU seconds of this process, requests and tokens."""

    def __init__(self, server):
        self.server = server

    def __enter__(self):
        self.server.reset()
        self.start, self.cpu = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *_):
        self.seconds = time.perf_counter() - self.start
        self.cpu = time.process_time() - self.cpu
        ledger = self.server.ledger()
        self.requests = ledger.billed
        self.tokens = ledger.prompt_tokens + ledger.completion_tokens

    def told(self):
        """The four figures."""
        return {k: getattr(self, k) for k in ("seconds", "cpu", "requests", "tokens")}


def measure(clf, server, texts, y, fresh, y_fresh, n_single):
    """Fit, predict one text at a time, then the rest at once; figures of one method and draw.

    Not the same texts twice: what was answered is not asked about again.
    """
    with Watch(server) as fit:
        clf.fit(texts, y)
    service = clf
    if isinstance(clf, CascadeClassifier):  # as a service the threshold decides, text by text
        service = clone(clf).set_params(strict=False).fit(texts, y)  # its replies are stored
    said, waits = [], []
    with Watch(server) as single:
        for text in fresh[:n_single]:
            start = time.perf_counter()
            said.extend(service.predict([text]))
            waits.append(time.perf_counter() - start)
    with Watch(server) as batch:
        said.extend(clf.predict(fresh[n_single:]))
    parts = {"fit": fit.told(), "single": single.told(), "batch": batch.told()}
    return {"accuracy": float(np.mean(said == y_fresh)), "waits": waits, **parts}


def run(draws, rows=ROWS, n_single=ONE_BY_ONE):
    """All methods on some draws; by name a dict of draw to figures."""
    [data] = _contest.load_sets(("AG News", "gpt-5-nano"))
    RobertaEmbedder().fit_transform(data.texts[:1])  # the encoder is loaded before the first fit
    names = np.array(data.classes)
    said = names[data.votes[0].argmax(axis=1)]
    answers = dict(zip(data.texts, said.tolist(), strict=True))
    found = {name: {} for name in METHODS}
    with RecordedEndpoint(answers, median_s=MEDIAN_S, sigma=SIGMA) as server:
        for draw in draws:
            train, test = _contest.split(data, rows, draw)
            test = np.random.default_rng(draw).permutation(test)[:rows]
            texts, fresh = ([data.texts[i] for i in part] for part in (train, test))
            y, y_fresh = names[data.y[train]], names[data.y[test]]
            with tempfile.TemporaryDirectory() as folder:
                made = estimators(data.classes, server.base_url, draw, folder)
                for name, clf in made.items():
                    cell = measure(clf, server, texts, y, fresh, y_fresh, n_single)
                    found[name][str(draw)] = cell
                    print(f"{draw} {name}: {cell['accuracy']:.3f}", flush=True)
    return {
        "rows": rows,
        "test_rows": len(test),
        "one_by_one": n_single,
        "median_s": MEDIAN_S,
        "sigma": SIGMA,
        "methods": found,
    }


def _figures(results):
    """By method: draws of accuracy, requests and seconds, and all waits for one text."""
    out = {}
    for name, by_draw in results["methods"].items():
        cells = list(by_draw.values())
        per_text = 1000 / (results["test_rows"] - results["one_by_one"])
        out[name] = {
            "accuracy": [c["accuracy"] for c in cells],
            "fit": [c["fit"] for c in cells],
            "requests": per_text * np.mean([c["batch"]["requests"] for c in cells]),
            "tokens": per_text * np.mean([c["batch"]["tokens"] for c in cells]),
            "batch": per_text * np.median([c["batch"]["seconds"] for c in cells]),
            "waits": np.concatenate([c["waits"] for c in cells]),
            "cpu": 1000 * np.median([c["single"]["cpu"] for c in cells]) / results["one_by_one"],
        }
    return out


def table(results):
    """One row per method."""
    rows = []
    for name, f in _figures(results).items():
        fit = {k: np.median([c[k] for c in f["fit"]]) for k in ("requests", "seconds", "cpu")}
        half, late = np.quantile(f["waits"], (0.5, 0.95))
        rows.append(
            [
                name,
                mean_spread(f["accuracy"]),
                f"{fit['requests']:.0f} / {fit['seconds']:.1f} / {fit['cpu']:.1f}",
                f"{f['requests']:.0f}",
                f"{f['tokens'] / 1000:.0f}",
                f"{f['batch']:.0f}",
                f"{_short(half)} / {_short(f['waits'].mean())} / {_short(late)}",
                f"{f['cpu']:.0f}",
            ]
        )
    return [
        "method",
        "accuracy",
        "fit: requests / s / CPU s",
        "requests per 1,000 texts",
        "thousand tokens",
        "s in one call",
        "one text, s: median / mean / 95th percentile",
        "its CPU ms",
    ], rows


def _short(seconds):
    return f"{seconds:.3f}" if seconds < 0.1 else f"{seconds:.2f}"


def plot(results):
    """Accuracy by requests, and the share of texts that wait longer than some time."""
    from matplotlib import pyplot as plt

    from sklfusion.plotting import METHOD_COLORS, tidy

    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.5), layout="constrained")
    found = _figures(results)
    colors = dict.fromkeys(METHODS, "#CC79A7") | METHOD_COLORS
    styles = dict.fromkeys(METHODS, "-") | dict(zip(METHODS[1:4], (":", "-.", "--"), strict=True))
    path = [(found[name]["requests"], np.mean(found[name]["accuracy"])) for name in METHODS[:4]]
    left.plot(*zip(*path, strict=True), color="#999999", lw=1, zorder=1)
    for name, f in found.items():
        mean, error = np.mean(f["accuracy"]), _contest.spread(f["accuracy"])
        look = {"color": colors[name], "lw": 1.8}
        left.errorbar(f["requests"], mean, yerr=error, fmt="o", ms=6, capsize=3, **look)
        place = {"xytext": (0, 5), "textcoords": "offset points"}
        place["ha"] = {METHODS[2]: "right", METHODS[3]: "left"}.get(name, "center")
        told = name.removeprefix("cascade, ") if name.startswith("cascade") else ""
        left.annotate(told, (f["requests"], mean + error), color=colors[name], **place)
        waits = np.sort(f["waits"])
        share = 1 - np.arange(len(waits)) / len(waits)
        right.step(waits, share, styles[name], where="post", label=name, **look)
    left.set_xlabel("requests per 1,000 texts")
    left.set_ylabel("accuracy, mean and spread of the draws")
    left.set_xlim(-40, 1040)
    right.set_xscale("log")
    right.set_xticks([0.01, 0.1, 1, 10], ["0.01", "0.1", "1", "10"])
    right.set_xlabel("seconds, one text at a time")
    right.set_ylabel("share of texts that wait longer")
    for ax in (left, right):
        tidy(ax)
    figure.legend(loc="outside upper center", ncols=len(METHODS), frameon=False)
    return figure


def main():
    """Run the comparison, print its table, and unless ``--quick`` write its files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one draw of few rows, no files")
    parser.add_argument("--draws", nargs="+", type=int, default=range(N_DRAWS))
    options = parser.parse_args()
    with threadpool_limits(1), warnings.catch_warnings():
        results = run([0], 60, 5) if options.quick else run(options.draws)
    if not options.quick:
        last = earlier("latency").get("methods", {})
        for name in METHODS:
            results["methods"][name] = last.get(name, {}) | results["methods"][name]
    print_table(*table(results))
    if not options.quick:
        seeds = f"draws {', '.join(sorted(results['methods']['fusion']))}"
        kept = len(options.draws) < N_DRAWS
        write_json("latency", results, kept=kept, seeds=seeds, interval=INTERVAL)
        save_figure(plot(results), "latency")


if __name__ == "__main__":
    main()
