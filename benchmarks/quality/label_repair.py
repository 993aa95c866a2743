"""What gives back the accuracy that training on LLM labels costs: gold labels and how to use them.

    python -m benchmarks.quality.label_repair [--quick] [--data NAME ...] [--only PART]

Rows, draws and vectors as in `label_damage`; data sets with several labels per text as well, where
a hit is the whole label set. All learners see the LLM's labels of all training rows, and some a
number of gold labels: of random rows (`distill`, "gold rows alone", "fusion"), or of the rows
that `LabelRepairClassifier` asks about. Its student and the logistic regressions choose their
penalty by cross-validation on the labels they are given. "The LLM at hand" asks it about every new
text.
"""

import argparse
import warnings
from functools import partial

import numpy as np

from benchmarks import _provenance
from benchmarks._common import data_dir, earlier, embed, print_table, save_figure, write_json
from benchmarks._intervals import by_group, family, interval_cell, paired, t_interval
from benchmarks.quality import _label_learners as learners
from benchmarks.quality._label_learners import (
    ALL_GOLD,
    BUDGETS,
    GOLD,
    PLAIN,
    SELECTORS,
    SIDYP_DRAWS,
    STUDENTS,
    WITHOUT_GOLD,
)
from benchmarks.quality._llm_sets import load

NAME = "label_repair"
DRAWS = 5
PARTS = {
    "students": learners.students,
    "selectors": learners.selectors,
    "repeats": learners.repeats,
    "clean": learners.clean,
    "sidyp": learners.sidyp,
}
#: What the results file says about its making.
MADE = {
    "seeds": f"{_provenance.draws(DRAWS)}, SiDyP {SIDYP_DRAWS} of them",
    "interval": "95 % by t over families of data sets, SE over draws",
}


def sets():
    """One entry per data set and LLM."""
    return (data for data in load(data_dir()) if len(data.votes) == 1)


def measure(data, parts, former, n_draws=DRAWS):
    """The cell of one data set and LLM; parts that are not named stay as they were."""
    E, draws = embed(data.texts), []
    for draw in range(n_draws):
        train, test = learners.rows_of(data, draw)
        found = dict(former[draw]) if former else {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a class that a fold lacks
            for part in parts:
                found |= PARTS[part](data, E, train, test, draw)
        draws.append(found)
    return {"data": data.name, "llm": data.llm, "multilabel": data.multilabel, "draws": draws}


def run(names=None, parts=tuple(PARTS), keep=None):
    """Measure the data sets named, by default all; ``keep`` is called after each."""
    results = {"draws": DRAWS, "cells": earlier(NAME).get("cells", [])}
    for data in sets():
        if names and data.name not in names:
            continue
        cells = {(c["data"], c["llm"]): c for c in results["cells"]}
        former = cells.pop((data.name, data.llm), {}).get("draws")
        results["cells"] = [*cells.values(), measure(data, parts, former)]
        print(f"{data.name}, {data.llm}: done", flush=True)
        if keep is not None:
            keep(results)
    return results


def quick_run():
    """One draw of one data set."""
    return {"draws": 1, "cells": [measure(next(sets()), PARTS, None, 1)]}


# -- showing -------------------------------------------------------------------------------


def differences(results, name, other):
    """Names of data sets, and what a learner is above another: mean over draws that have both."""
    names, found = [], []
    for cell in results["cells"]:
        both = [d[name] - d[other] for d in cell["draws"] if name in d and other in d]
        if both:
            names.append(cell["data"])
            found.append(float(np.mean(both)))
    return names, found


def gain(results, name, other=PLAIN):
    """The same as a cell of a table; empty where nobody has it."""
    names, found = differences(results, name, other)
    return interval_cell(names, found, family) if found else ""


def bar(results, name, other=PLAIN):
    """The same as mean and half width in points."""
    names, found = differences(results, name, other)
    mean, low, _ = t_interval(100 * by_group(names, found, family))
    return mean, mean - low


def level(results, name):
    """Mean over families of what a learner, or a measure, has."""
    names, found = [], []
    for cell in results["cells"]:
        there = [d[name] for d in cell["draws"] if name in d]
        if there:
            names.append(cell["data"])
            found.append(np.mean(there))
    return by_group(names, found, family).mean()


def table(results):
    """One row per learner: gain over LLM labels alone, by number of gold labels."""
    rows = [[PLAIN, f"({level(results, PLAIN):.3f})", *[""] * len(GOLD), ""]]
    rows += [[name, gain(results, name), *[""] * len(GOLD), ""] for name in WITHOUT_GOLD.values()]
    rows += [
        [name, "", *(gain(results, f"{name} {n}") for n in GOLD), ""] for name in STUDENTS.values()
    ]
    rows.append([ALL_GOLD, *[""] * (1 + len(GOLD)), gain(results, ALL_GOLD)])
    header = [
        f"accuracy over {PLAIN} (95 %)",
        "no gold label",
        *(f"{n} gold labels" for n in GOLD),
    ]
    return [*header, "all rows"], rows


def above_parts(cell, n):
    """What `distill` is above the better of its parts: mean over draws and standard error."""
    parts = (PLAIN, f"{STUDENTS['gold']} {n}")
    name = f"{STUDENTS['student']} {n}"
    draws = [d for d in cell["draws"] if name in d]
    better = max(parts, key=lambda part: np.mean([d[part] for d in draws]))
    return paired([d[name] - d[better] for d in draws])


def sets_table(results, n=50):
    """One row per data set and LLM, with ``n`` gold labels."""
    shown = [f"{STUDENTS[key]} {n}" for key in ("gold", "student", "static", "fused")]
    rows = []
    for cell in results["cells"]:
        means = [np.mean([d[x] for d in cell["draws"] if x in d]) for x in (PLAIN, *shown)]
        mean, error = above_parts(cell, n)
        rows.append(
            [
                f"{cell['data']}, {cell['llm']}",
                *(f"{value:.3f}" for value in means),
                f"{mean:+.3f} (SE {error:.3f})",
            ]
        )
    heads = [STUDENTS[key] for key in ("gold", "student", "static", "fused")]
    return [f"{n} gold labels", PLAIN, *heads, "distill minus the better part"], rows


def parts_table(results):
    """How often `distill` is above and below the better of its parts, by number of gold labels."""
    rows = []
    for n in GOLD:
        found = [(c["data"], *above_parts(c, n)) for c in results["cells"]]
        rows.append(
            [
                n,
                interval_cell([f[0] for f in found], [f[1] for f in found], family),
                f"{sum(mean > 0 for _, mean, _ in found)} of {len(found)}",
                sum(mean > 2 * error for _, mean, error in found),
                sum(mean < -2 * error for _, mean, error in found),
            ]
        )
    return ["gold labels", "distill minus the better part (95 %)", "above, pairs",
            "above by 2 SE", "below by 2 SE"], rows  # fmt: skip


def selectors_table(results):
    """One row per selector: gain over no repair and over random rows; wrong labels found."""
    rows = []
    for selector in SELECTORS:
        row = [selector]
        for budget in BUDGETS:
            name, control = f"{selector} {budget}", f"random {budget}"
            over = "" if selector == "random" else gain(results, name, control)
            row += [
                gain(results, name, "no repair"),
                over,
                f"{level(results, f'{name} wrong'):.0%}",
            ]
        rows.append(row)
    header = ["selector"]
    for budget in BUDGETS:
        asked = f"{budget} rows" if isinstance(budget, int) else f"{budget:.0%}"
        header += [f"{asked}: over no repair", "over random (95 %)", "wrong among them"]
    return header, rows


def repeats_table(results):
    """Gold labels where an LLM's repeated answers differ, beside as many random ones."""
    rows = []
    for cell in results["cells"]:
        draws = [d for d in cell["draws"] if "repeats share" in d]
        if draws:
            names = ("repeats share", "no repair", "repeats random", "repeats disagreement")
            means = [np.mean([d[name] for d in draws]) for name in (*names, ALL_GOLD)]
            rows.append([cell["llm"], *(f"{value:.3f}" for value in means)])
    return ["BABE, five prompts", "share that differs", "LLM labels", "as many random rows",
            "rows that differ", "gold labels"], rows  # fmt: skip


def draw_figure(results):
    """Left the gain by number of gold labels, right that of the selectors over random rows."""
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.6), layout="constrained")
    _draw_gains(left, results)
    _draw_selectors(right, results)
    save_figure(figure, NAME)
    plt.close(figure)


def _draw_gains(ax, results):
    from sklfusion.plotting import tidy

    looks = {
        "fused": ("#009E73", "D"), "student": ("#D55E00", "o"), "gold": ("#0072B2", "s"),
        "static": ("#CC79A7", "^"), "replaced": ("#7F5FB0", "v"),
    }  # fmt: skip
    for position, (key, (color, marker)) in enumerate(looks.items()):
        means, widths = np.transpose([bar(results, f"{STUDENTS[key]} {n}") for n in GOLD])
        places = np.arange(len(GOLD)) + 0.09 * (position - 2)
        ax.errorbar(
            places, means, yerr=widths, color=color, fmt=f"{marker}-", ms=5, lw=1.2,
            label=STUDENTS[key],
        )  # fmt: skip
    for position, name in enumerate(WITHOUT_GOLD.values()):
        mean, width = bar(results, name)
        ax.errorbar(
            0.2 * position - 1.1, mean, yerr=width, color="#56B4E9", ms=5, lw=1.2,
            fmt="os"[position], label=name,
        )  # fmt: skip
    tidy(ax)
    ax.axhline(0, color="#444444", lw=0.8)
    ax.set_xticks(range(-1, len(GOLD)), ["none", *map(str, GOLD)])
    ax.set_xlabel("gold labels")
    ax.set_ylabel("points over LLM labels alone")
    ax.set_title("What repairs give back (95 % over families)", fontsize=10)
    ax.legend(
        frameon=False, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2
    )  # fmt: skip


def _draw_selectors(ax, results):
    from sklfusion.plotting import tidy

    shown = SELECTORS[1:]
    for shift, (budget, color, marker) in enumerate(
        zip(BUDGETS, ("#0072B2", "#E69F00"), "os", strict=True)
    ):
        for position, selector in enumerate(shown):
            mean, width = bar(results, f"{selector} {budget}", f"random {budget}")
            asked = f"{budget} rows" if isinstance(budget, int) else f"{budget:.0%} of the rows"
            ax.errorbar(
                mean, position + 0.24 * shift - 0.12, xerr=width, color=color, fmt=marker, ms=5,
                lw=1.2, label=asked if position == 0 else None,
            )  # fmt: skip
    tidy(ax)
    ax.grid(axis="x", color="#dddddd", linewidth=0.8)
    ax.grid(visible=False, axis="y")
    ax.axvline(0, color="#444444", lw=0.8)
    ax.set_yticks(range(len(shown)), shown)
    ax.invert_yaxis()
    ax.set_xlabel("points over random rows")
    ax.set_title("Which rows to ask about (95 % over families)", fontsize=10)
    ax.legend(frameon=False, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2)


def main():
    """Run the comparison; without ``--quick`` its file and picture are written."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one data set, one draw")
    parser.add_argument("--data", nargs="*", metavar="NAME", help="only these; others as before")
    parser.add_argument("--only", nargs="*", choices=tuple(PARTS), default=tuple(PARTS))
    options = parser.parse_args()
    keep = partial(write_json, NAME, **MADE, kept=True)
    results = quick_run() if options.quick else run(options.data, options.only, keep)
    for show in (table, parts_table, sets_table, selectors_table, repeats_table):
        print_table(*show(results))
        print()
    if not options.quick:
        draw_figure(results)


if __name__ == "__main__":
    main()
