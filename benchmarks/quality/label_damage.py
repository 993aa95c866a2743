"""What training on LLM labels costs beside gold labels: level, stability and plateau.

    python -m benchmarks.quality.label_damage [--quick] [--data NAME ...]

Every data set with one class per text and real LLM labels, each LLM by itself. Per draw half of
the rows are for testing; up to 1,000 of the others train a logistic regression on frozen MiniLM
vectors, once with the LLM's labels and once with gold labels of the same rows. Each chooses its
penalty by cross-validation on the labels it is given. *Other seeds*: a small net on the same rows,
five seeds (`StabilityReport`); *other rows*: logistic regression on five random halves of them.
The rarest class is that of the gold labels of the whole set. The plateau is the gain in accuracy
per doubling of the rows over the last two doublings.
"""

import argparse
import warnings
from functools import partial

import numpy as np
from sklearn.metrics import f1_score
from sklearn.neural_network import MLPClassifier

from benchmarks import _provenance
from benchmarks._common import data_dir, earlier, embed, print_table, save_figure, write_json
from benchmarks._intervals import by_group, family, interval_cell, t_interval
from benchmarks.quality import _parts
from benchmarks.quality._llm_sets import load
from sklfusion import StabilityReport
from sklfusion.noise._metrics import krippendorff_alpha, plateau_slope, share_unchanged

NAME = "label_damage"
DRAWS = 10
MAX_TRAIN, MAX_TEST = 1000, 1000
#: Rows of the learning curve, and all of them.
SIZES = (50, 100, 200, 400)
RUNS = 5  # trainings that are compared with each other
STABILITY_DRAWS = 4  # draws on which they are
LABELS = ("gold", "llm")
#: What the results file says about its making.
MADE = {
    "seeds": _provenance.draws(DRAWS),
    "interval": "95 % by t over families of data sets",
}
#: Measures of the table, and what they are called there.
MEASURES = {
    "accuracy": "accuracy",
    "macro_f1": "macro-F1",
    "rare_recall": "recall of the rarest class",
    "seeds_accuracy_std": "deviation of accuracy, other seeds",
    "seeds_macro_f1_std": "deviation of macro-F1, other seeds",
    "seeds_alpha": "alpha between runs, other seeds",
    "seeds_unchanged": "share unchanged, other seeds",
    "rows_alpha": "alpha between runs, other rows",
    "rows_unchanged": "share unchanged, other rows",
    "slope": "gain per doubling of the rows",
}


def sets():
    """One entry per data set and LLM: one class per text, one LLM."""
    for data in load(data_dir()):
        if not data.multilabel and len(data.votes) == 1:
            yield data


def rows_of(data, draw):
    """Training rows that the LLM answered, and test rows, of one draw."""
    pool, test = _parts.split(data, None, draw)
    pool = np.random.default_rng(draw).permutation(pool)
    pool = pool[np.ptp(data.votes[0][pool], axis=1) > 0]
    return pool[:MAX_TRAIN], test[:MAX_TEST]


def labels_of(data):
    """Gold labels and the LLM's, by name."""
    return {"gold": data.y, "llm": data.votes[0].argmax(axis=1)}


def predict(E, labels, train, test, seed):
    """Classes of test rows; one class among the labels is always the answer."""
    if len(np.unique(labels[train])) < 2:
        return np.full(len(test), labels[train[0]])
    model = _parts.tuned_logistic(labels[train], seed).fit(E[train], labels[train])
    return model.predict(E[test])


def level(data, predicted, test):
    """Accuracy, macro-F1 and recall of the rarest class."""
    y, names = data.y[test], range(len(data.classes))
    rare = np.bincount(data.y, minlength=len(data.classes)).argmin()
    return {
        "accuracy": float(np.mean(predicted == y)),
        "macro_f1": float(f1_score(y, predicted, labels=names, average="macro", zero_division=0)),
        "rare_recall": float(np.mean(predicted[y == rare] == rare)),
    }


def curve(data, E, labels, train, test, seed):
    """Accuracy by number of training rows, nested."""
    sizes = [size for size in SIZES if 2 * size <= len(train)]
    return {
        size: float(np.mean(predict(E, labels, train[:size], test, seed) == data.y[test]))
        for size in sizes
    }


def stability(data, E, train, test, seed):
    """Agreement between runs that differ in seed, and between runs that differ in rows."""
    net = MLPClassifier((64,), alpha=1e-3, max_iter=40, random_state=0)
    report = StabilityReport(net, n_runs=RUNS, missing_label=None, random_state=seed)
    found = {}
    for name, labels in labels_of(data).items():
        result = report.evaluate(E[train], labels[train], E[test], data.y[test], name=name)
        halves = [
            np.random.default_rng(run).permutation(train)[: len(train) // 2] for run in range(RUNS)
        ]
        runs = np.array([predict(E, labels, half, test, seed) for half in halves])
        found[name] = {
            "seeds_alpha": result.alpha,
            "seeds_unchanged": result.unchanged,
            "seeds_accuracy_std": float(result.accuracy.std(ddof=1)),
            "seeds_macro_f1_std": float(result.macro_f1.std(ddof=1)),
            "rows_alpha": krippendorff_alpha(runs),
            "rows_unchanged": share_unchanged(runs),
        }
    return found


def run_draw(data, E, draw):
    """Everything about one draw of one data set."""
    train, test = rows_of(data, draw)
    out = {"rows": len(train), "llm_accuracy": float(np.mean(_said_right(data)[train]))}
    agreement = stability(data, E, train, test, draw) if draw < STABILITY_DRAWS else {}
    for name, labels in labels_of(data).items():
        found = level(data, predict(E, labels, train, test, draw), test)
        points = curve(data, E, labels, train, test, draw) | {len(train): found["accuracy"]}
        found["curve"] = {str(size): value for size, value in points.items()}
        found["slope"] = plateau_slope(list(points), [list(points.values())], n_boot=1)[0]
        out[name] = found | agreement.get(name, {})
    return out


def _said_right(data):
    return data.votes[0].argmax(axis=1) == data.y


def measure(data, n_draws):
    """The cell of one data set and LLM."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a net that is not done, a class that a fold lacks
        E = embed(data.texts)
        draws = [run_draw(data, E, draw) for draw in range(n_draws)]
    return {"data": data.name, "llm": data.llm, "draws": draws}


def run(names=None, keep=None):
    """Measure the data sets named, by default all; ``keep`` is called after each."""
    results = {"draws": DRAWS, "cells": earlier(NAME).get("cells", [])}
    for data in sets():
        if names and data.name not in names:
            continue
        cells = [c for c in results["cells"] if (c["data"], c["llm"]) != (data.name, data.llm)]
        results["cells"] = [*cells, measure(data, DRAWS)]
        print(f"{data.name}, {data.llm}: done", flush=True)
        if keep is not None:
            keep(results)
    return results


def quick_run():
    """One draw of one data set."""
    return {"draws": 1, "cells": [measure(next(sets()), 1)]}


# -- showing -------------------------------------------------------------------------------


def mean_of(cell, name, measure):
    """Mean over the draws of one cell that have the measure."""
    return np.mean([d[name][measure] for d in cell["draws"] if measure in d[name]])


def table(results):
    """One row per measure: gold labels, LLM labels, the difference, and how often it is below."""
    rows, names = [], [c["data"] for c in results["cells"]]
    for measure, title in MEASURES.items():
        found = {
            name: np.array([mean_of(c, name, measure) for c in results["cells"]])
            for name in LABELS
        }
        gap = found["llm"] - found["gold"]
        rows.append(
            [
                title,
                *(f"{by_group(names, found[name], family).mean():.3f}" for name in LABELS),
                interval_cell(names, gap, family),
                f"{(gap < 0).sum()} of {len(gap)}",
            ]
        )
    return ["mean over families", "gold labels", "LLM labels", "LLM - gold (95 %)",
            "below, pairs"], rows  # fmt: skip


def _right(cell):
    return np.mean([draw["llm_accuracy"] for draw in cell["draws"]])


def sets_table(results):
    """One row per data set and LLM."""
    rows = []
    for c in results["cells"]:
        row = [f"{c['data']}, {c['llm']}", c["draws"][0]["rows"]]
        row.append(f"{_right(c):.3f}")
        for measure in ("accuracy", "macro_f1", "seeds_alpha", "slope"):
            row += [f"{mean_of(c, name, measure):.3f}" for name in LABELS]
        rows.append(row)
    return [
        "data, LLM", "rows", "labels right", "accuracy, gold", "LLM", "macro-F1, gold", "LLM",
        "alpha, gold", "LLM", "per doubling, gold", "LLM",
    ], rows  # fmt: skip


def draw_figure(results):
    """Left the loss by data set, right the learning curves of the sets with enough rows."""
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(
        1, 2, figsize=(10, 0.25 * len(results["cells"]) + 1.4), layout="constrained"
    )
    _draw_losses(left, results)
    _draw_curves(right, results)
    save_figure(figure, NAME)
    plt.close(figure)


def _draw_losses(ax, results):
    from sklfusion.plotting import tidy

    cells = sorted(
        results["cells"], key=lambda c: np.mean([d["llm_accuracy"] for d in c["draws"]])
    )
    for shift, (measure, color, marker) in enumerate(
        [("accuracy", "#0072B2", "o"), ("macro_f1", "#E69F00", "s")]
    ):
        for position, c in enumerate(cells):
            lost = np.array([100 * (d["llm"][measure] - d["gold"][measure]) for d in c["draws"]])
            mean, low, _ = t_interval(lost)
            ax.errorbar(
                mean, position + 0.3 * shift - 0.15, xerr=mean - low, color=color, fmt=marker,
                ms=4, lw=1, label=MEASURES[measure] if position == 0 else None,
            )  # fmt: skip
    tidy(ax)
    ax.grid(axis="x", color="#dddddd", linewidth=0.8)
    ax.grid(visible=False, axis="y")
    ax.axvline(0, color="#444444", lw=0.8)
    names = [f"{c['data']}, {c['llm']} ({_right(c):.0%})" for c in cells]
    ax.set_yticks(range(len(cells)), names, fontsize=8)
    ax.set_xlabel("LLM labels minus gold labels, points (95 % over draws)")
    ax.set_title("Lost by training on LLM labels (share of right labels)", fontsize=10)
    ax.legend(frameon=False, fontsize=8, loc="upper left")


def _draw_curves(ax, results):
    from sklfusion.plotting import tidy

    for name, label, color, marker in (
        ("gold", "gold labels", "#0072B2", "o"),
        ("llm", "LLM labels", "#E69F00", "s"),
    ):
        points = curve_points(results, name)
        sizes, means, widths = map(np.array, zip(*points, strict=True))
        ax.errorbar(
            sizes * (0.985 if name == "gold" else 1.015), means, yerr=widths, color=color,
            fmt=f"{marker}-", ms=4, lw=1.2, label=label,
        )  # fmt: skip
    tidy(ax)
    ax.set_xscale("log")
    ax.set_xticks([50, 100, 200, 400, 1000], ["50", "100", "200", "400", "1000"])
    ax.minorticks_off()
    ax.set_xlabel("training rows")
    ax.set_ylabel("accuracy minus that of 50 gold labels, points")
    ax.set_title("Plateau: sets with 1,000 rows (95 % over families)", fontsize=10)
    ax.legend(frameon=False, fontsize=8, loc="upper left")


def curve_points(results, name):
    """(rows, mean, half width) over families of what is gained on 50 gold labels."""
    long = [c for c in results["cells"] if c["draws"][0]["rows"] >= MAX_TRAIN]
    points = []
    for size in map(str, (*SIZES, MAX_TRAIN)):
        gained = [
            np.mean([d[name]["curve"][size] - d["gold"]["curve"]["50"] for d in c["draws"]])
            for c in long
        ]
        mean, low, _ = t_interval(100 * by_group([c["data"] for c in long], gained, family))
        points.append((int(size), mean, mean - low))
    return points


def main():
    """Run the comparison; without ``--quick`` its file and picture are written."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one data set, one draw")
    parser.add_argument("--data", nargs="*", metavar="NAME", help="only these; others as before")
    options = parser.parse_args()
    keep = partial(write_json, NAME, **MADE, kept=True)
    results = quick_run() if options.quick else run(options.data, keep)
    for show in (table, sets_table):
        print_table(*show(results))
        print()
    if not options.quick:
        draw_figure(results)


if __name__ == "__main__":
    main()
