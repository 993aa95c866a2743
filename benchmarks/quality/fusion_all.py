"""Fusion against its parts on every data set with real LLM outputs and gold labels.

    python -m benchmarks.quality.fusion_all [--quick] [--jobs N] [--data NAME ...]
    python -m benchmarks.quality.fusion_all --fusion-only    # a sixth of the time

For each data set, LLM and number of labelled rows: the LLM alone (its answer as given), the
encoder alone (frozen MiniLM embedding and a logistic regression whose C is tuned by
cross-validation), and `FusionClassifier` with its defaults. Every model is fitted on the same
labelled rows and judged on the same other rows: half of the data (Reuters: the paper's test
rows), in twenty draws. Multi-label data are judged by exact match. The *best part* is the one
that did better on the test rows, known only in hindsight, so the bar is higher than what anyone
could choose beforehand. Its calibration error is that of the encoder's probabilities, or of the
LLM's votes turned into probabilities by the same labelled rows (votes as given would claim to be
certain).

With ``--fusion-only`` the encoder alone, which no change of the fusion moves, is as of the last
run: its scores draw by draw, its calibration error, and the part of a standard error that comes
from the test rows of one draw. All else is computed anew.
"""

import argparse
import os
import warnings
from dataclasses import replace

os.environ.setdefault("OMP_NUM_THREADS", "1")  # the jobs are the parallelism

import numpy as np
from joblib import Parallel, delayed

from benchmarks._common import data_dir, print_table, read_json, save_figure, write_json
from benchmarks.quality._contest import fusion, hits, llm_alone, split, vectors, wide
from benchmarks.quality._encoder_alone import EncoderAlone
from benchmarks.quality._llm_sets import load

SIZES = (20, 50, 100, 200, 500, None)  # None: all rows that are not for testing
DRAWS = 20  # of training and test rows; with fewer, the spread between them hides what is small
#: What the results file says about its making.
MADE = {
    "seeds": f"draws 0 to {DRAWS - 1}",
    "interval": "95 % by bootstrap over data sets",
}


def calibration_error(P, y, n_bins=10):
    """Expected calibration error of the likeliest class (or of every label), equal-mass bins."""
    if y.ndim == 2:
        sure, right = np.maximum(P, 1 - P).ravel(), ((P >= 0.5) == y).ravel()
    else:
        sure, right = P.max(axis=1), P.argmax(axis=1) == y
    bins = np.array_split(np.argsort(sure, kind="stable"), n_bins)
    gaps = [len(b) * abs(sure[b].mean() - right[b].mean()) for b in bins if len(b)]
    return sum(gaps) / len(sure)


def encoder_result(E, y, n_classes, train, test, seed):
    """Hits and calibration error of the encoder alone."""
    model = EncoderAlone(seed).fit(E[train], y[train])
    P = wide(model.predict_proba(E[test]), model.models[0].classes_, n_classes)
    return hits(model.predict(E[test]), y[test]), calibration_error(P, y[test])


def fit_fusion(data, E, train, seed, **options):
    """`FusionClassifier` with its defaults on the embedding and all score blocks."""
    X = np.hstack([E, *data.votes])
    clf = fusion(data, seed, n_embedding=E.shape[1], **options)
    return clf.fit(X[train], data.y[train]), X


def llm_calibration_error(data, votes, train, test, seed):
    """Calibration error of one LLM's votes, made probabilities by the labelled rows alone."""
    no_embedding = np.empty((len(data.y), 0))
    clf, X = fit_fusion(replace(data, votes=[votes]), no_embedding, train, seed)
    return calibration_error(clf.predict_proba(X[test]), data.y[test])


def fused(data, E, size, draw, **options):
    """One draw: hits of the best LLM and of the fusion, and what else needs no encoder alone."""
    train, test = split(data, size, draw)
    y = data.y
    clf, X = fit_fusion(data, E, train, draw, **options)
    each = [hits(llm_alone(v[test], y[train]), y[test]) for v in data.votes]
    best = int(np.argmax([np.mean(right) for right in each]))
    found = {
        "llm": each[best].mean(),
        "fusion_ece": calibration_error(clf.predict_proba(X[test]), y[test]),
        "llm_ece": llm_calibration_error(data, data.votes[best], train, test, draw),
        "chosen": clf.chosen_,
        "n_train": len(train),
    }
    return found, each[best], hits(clf.predict(X[test]), y[test])


def compare(data, E, encoder, size, draw, **options):
    """One draw: share of hits of the best LLM, the encoder and the fusion on the test rows."""
    found, llm, both = fused(data, E, size, draw, **options)
    right, encoder_ece = encoder
    gain = both - (llm if llm.mean() > right.mean() else right)
    return found | {
        "encoder": right.mean(),
        "fusion": both.mean(),
        "gain": gain.mean(),
        "variance": gain.var() / len(gain),
        "encoder_ece": encoder_ece,
    }


def summarise(data, size, draws):
    """Means over draws, and the standard error of the gain over the best part.

    The error has two parts: the test rows of one draw, and the spread between draws.
    """
    mean = {
        key: float(np.mean([d[key] for d in draws]))
        for key in (
            "llm", "encoder", "fusion", "variance", "fusion_ece", "encoder_ece", "llm_ece",
        )
    }  # fmt: skip
    gains = np.array([d["gain"] for d in draws])
    spread = gains.var(ddof=1) / len(gains) if len(gains) > 1 else 0.0
    best = max(mean["llm"], mean["encoder"])
    return {
        "data": data.name,
        "llm_name": data.llm,
        "size": "all" if size is None else size,
        "n_train": draws[0]["n_train"],
        **mean,
        "part_ece": mean["llm_ece" if mean["llm"] > mean["encoder"] else "encoder_ece"],
        "gain": mean["fusion"] - best,
        "error": float(np.sqrt(mean["variance"] + spread)),
        "draws": [_brief(draw) for draw in draws],
    }


def _brief(draw):
    """What is worth keeping of one draw."""
    names = ("llm", "encoder", "fusion", "gain")
    return {name: round(float(draw[name]), 4) for name in names} | {"chosen": draw["chosen"]}


def margin(rows, seed=0):
    """Mean gain over the best part and its 95 % bootstrap interval over data sets."""
    names = sorted({row["data"] for row in rows})
    per_set = np.array([np.mean([r["gain"] for r in rows if r["data"] == n]) for n in names])
    rng = np.random.default_rng(seed)
    means = rng.choice(per_set, size=(10_000, len(per_set))).mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return {"mean": float(per_set.mean()), "low": float(low), "high": float(high)}


def quietly(function, *args):
    """Call a function without its warnings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a part that cannot be fitted well is a result here
        return function(*args)


def _encoder_job(data, E, size, draw):
    train, test = split(data, size, draw)
    return encoder_result(E, data.y, len(data.classes), train, test, draw)


def _fusion_job(data, E, last, size, draw):
    """As `compare`, with the encoder's scores of the last run."""
    found, _, both = fused(data, E, size, draw)
    encoder = last["draws"][draw]["encoder"]
    return found | {
        "encoder": encoder,
        "fusion": both.mean(),
        "gain": both.mean() - max(found["llm"], encoder),
        "variance": last["variance"],
        "encoder_ece": last["encoder_ece"],
    }


def run_fusion_only(jobs):
    """All cells of the table with the encoder of the last run."""
    sets = list(load(data_dir()))
    E = vectors(sets)
    last = {(c["data"], c["llm_name"], c["size"]): c for c in read_json("fusion_all")["cells"]}
    cells = list(_cells(sets, False))
    tasks = [
        (d, E[d.name], last[d.name, d.llm, "all" if size is None else size], size, draw)
        for d, size in cells
        for draw in range(DRAWS)
    ]
    draws = Parallel(n_jobs=jobs)(delayed(quietly)(_fusion_job, *task) for task in tasks)
    return [
        summarise(data, size, draws[n * DRAWS : (n + 1) * DRAWS])
        for n, (data, size) in enumerate(cells)
    ]


def _cells(sets, quick):
    """Pairs (data set, size) that there are rows for."""
    for data in sets:
        pool = len(data.y) // 2 if data.test is None else int((~data.test).sum())
        for size in (50,) if quick else SIZES:
            if size is None or size < pool:
                yield data, size


def run(quick, jobs, names=None):
    """All cells of the table, or those of the data sets ``names``, as a list of dicts."""
    sets = list(load(data_dir()))
    known = {s.name for s in sets}
    if unknown := set(names or ()) - known:
        raise SystemExit(f"no data set {sorted(unknown)}; there are {sorted(known)}")
    sets = [s for s in sets if not names or s.name in names]
    if quick:
        sets = [s for s in sets if len(s.y) <= 500]
    E = vectors(sets)
    cells = list(_cells(sets, quick))
    seen, encoder_jobs = set(), []
    for data, size in cells:
        for draw in range(DRAWS):
            if (data.name, size, draw) not in seen:
                seen.add((data.name, size, draw))
                encoder_jobs.append(((data.name, size, draw), data))
    with Parallel(n_jobs=jobs) as pool:
        found = pool(
            delayed(quietly)(_encoder_job, data, E[key[0]], key[1], key[2])
            for key, data in encoder_jobs
        )
        encoders = dict(zip([key for key, _ in encoder_jobs], found, strict=True))
        tasks = [(d, size, draw) for d, size in cells for draw in range(DRAWS)]
        draws = pool(
            delayed(quietly)(compare, d, E[d.name], encoders[d.name, size, draw], size, draw)
            for d, size, draw in tasks
        )
    rows, start = [], 0
    for data, size in cells:
        rows.append(summarise(data, size, draws[start : start + DRAWS]))
        start += DRAWS
    return rows


def renewed(rows):
    """The cells of the last run, with ``rows`` in their places."""
    new = {(row["data"], row["llm_name"], row["size"]): row for row in rows}
    last = read_json("fusion_all")["cells"]
    return [new.get((row["data"], row["llm_name"], row["size"]), row) for row in last]


def overview(rows):
    """Per number of labelled rows: margins, cells below the best part, calibration."""
    table = []
    sizes = {row["size"] for row in rows}
    for size in [s for s in (*SIZES[:-1], "all") if s in sizes]:
        part = [row for row in rows if row["size"] == size]
        table.append(
            {
                "size": size,
                "cells": len(part),
                **{key: float(np.mean([r[key] for r in part])) for key in ("llm", "encoder")},
                **{
                    key: float(np.mean([r[key] for r in part]))
                    for key in ("fusion", "fusion_ece", "encoder_ece", "part_ece")
                },
                "margin": margin(part),
                "below": [
                    f"{r['data']} ({r['llm_name']})" for r in part if r["gain"] < -r["error"]
                ],
            }
        )
    return table


def plot(table):
    """Mean score of the fusion and its parts by number of labelled rows, and the margin."""
    from matplotlib import pyplot as plt

    from sklfusion.plotting import METHOD_COLORS, tidy

    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
    place = np.arange(len(table))
    # the larger data sets alone reach 500 rows; their mean has no place on this line
    full = [i for i, r in enumerate(table) if r["cells"] == table[0]["cells"]]
    for key, name in (("llm", "LLM alone"), ("encoder", "encoder alone"), ("fusion", "fusion")):
        scores = [table[i][key] for i in full]
        width = 3 if key == "fusion" else 1.5
        left.plot(full, scores, "o-", label=name, color=METHOD_COLORS[name], linewidth=width)
    left.set(xlabel="labelled rows", ylabel="mean accuracy or exact match")
    left.legend(frameon=False)
    mean = np.array([100 * r["margin"]["mean"] for r in table])
    low = np.array([100 * r["margin"]["low"] for r in table])
    high = np.array([100 * r["margin"]["high"] for r in table])
    color = METHOD_COLORS["fusion"]
    right.errorbar(place, mean, [mean - low, high - mean], fmt="o", capsize=4, color=color)
    right.axhline(0, color="grey", linewidth=1)
    right.set(xlabel="labelled rows", ylabel="points above the better part (95 % interval)")
    for axis in (left, right):
        axis.set_xticks(place, [str(r["size"]) for r in table])
        tidy(axis)
    return figure


def main():
    """Run the comparison and print its tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small data sets, 50 rows only")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument(
        "--data", nargs="+", metavar="NAME", help="these anew, the others as of the last run"
    )
    parser.add_argument(
        "--fusion-only", action="store_true", help="the encoder alone as of the last run"
    )
    options = parser.parse_args()
    if options.fusion_only:
        rows = run_fusion_only(options.jobs)
    else:
        rows = run(options.quick, options.jobs, options.data)
    if options.data and not options.quick:
        rows = renewed(rows)
    results = {"overview": overview(rows), "margin": margin(rows), "cells": rows}
    print_table(*cells_table(results))
    print()
    print_table(*table(results))
    overall = "{mean:+.4f} [{low:+.4f}, {high:+.4f}]".format(**results["margin"])
    print(f"\nmean margin over the better part: {overall}")
    if not options.quick:
        write_json("fusion_all", results, **MADE)
        save_figure(plot(results["overview"]), "fusion_all")


def cells_table(results):
    """Header and rows: every data set, LLM and number of labelled rows."""
    names = ("llm", "encoder", "fusion")
    rows = [
        [r["data"], r["llm_name"], r["size"]]
        + [f"{r[key]:.3f}" for key in names]
        + [f"{r['gain']:+.3f} ± {r['error']:.3f}"]
        for r in results["cells"]
    ]
    header = ["data", "LLM", "rows", "LLM alone", "encoder alone", "fusion", "gain ± error"]
    return header, rows


def table(results):
    """Header and rows: means by number of labelled rows."""
    names = ("llm", "encoder", "fusion")
    rows = [
        [r["size"], r["cells"]]
        + [f"{r[key]:.3f}" for key in names]
        + ["{mean:+.3f} [{low:+.3f}, {high:+.3f}]".format(**r["margin"])]
        + [f"{r['fusion_ece']:.3f} / {r['part_ece']:.3f} / {r['encoder_ece']:.3f}"]
        + ["; ".join(r["below"]) or "none"]
        for r in results["overview"]
    ]
    header = ["labelled rows", "cells", "LLM alone", "encoder alone", "fusion"]
    header += ["over the better part (95 %)"]
    header += ["calibration error, fusion / better part / encoder"]
    return [*header, "below it by more than one SE"], rows


if __name__ == "__main__":
    main()
