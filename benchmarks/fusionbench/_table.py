"""Tables and picture of entries, all from the scores by draw that they hold."""

import numpy as np

from benchmarks._common import print_table
from benchmarks._intervals import LEVEL, by_group, family, interval_cell, t_interval, verdict
from benchmarks.fusionbench._entries import stored

OURS = "fusion"
LLM, ENCODER = "LLM alone", "encoder alone"
HINDSIGHT = "better part in hindsight"
#: Only the larger data sets have so many labelled rows to spare.
NOT_EVERYWHERE = 500
#: Which of the recorded answers are used.
CHOSEN = (
    "Which pairs: of BABE the zero-shot answers of four models, strong to weak, of 104 recorded "
    "columns; of each CSS task three models of twelve or thirteen; of FPB all five LLMs and one "
    "of three draws of texts; of MR 4,000 of the 10,278 texts that ChatGPT answered (384 refused "
    "are left out); of Commodity the 1,000 of 1,162 texts with an answer. BABE and FPB also have "
    "a pair of all their LLMs together."
)
COLORS = {
    "the part that did better": "#D55E00",
    "logistic regression": "#56B4E9",
    "stacking": "#CC79A7",
    HINDSIGHT: "#555555",
}


def cells(entry):
    """Cell of an entry by data set, LLM and number of labelled rows."""
    return {(c["data"], c["llm"], c["size"]): c for c in entry["cells"]}


def same_data(entries):
    """Refuse to compare entries of unlike data."""
    digests = {}
    for name, entry in entries.items():
        for pair, told in entry["data"].items():
            if digests.setdefault(pair, told) != told:
                raise ValueError(
                    f"{name} saw other texts, labels or votes of {pair} than the entries before "
                    "it; run both on the same benchmark data."
                )


def differences(ours, other):
    """Data sets, and ours minus the other by draw, of the cells that both have."""
    own, rival = cells(ours), cells(other)
    common = [key for key in own if key in rival]
    scores = []
    for key in common:
        n = min(len(own[key]["score"]), len(rival[key]["score"]))
        scores.append(np.subtract(own[key]["score"][:n], rival[key]["score"][:n]))
    return common, scores


def hindsight(entries):
    """The better part of each cell on the test rows, as an entry: LLM (any of them) or encoder."""
    llm, encoder = cells(entries[LLM]), cells(entries[ENCODER])
    best = []
    for key, cell in llm.items():
        data, name, size = key
        together = name.startswith("all ")
        parts = [encoder[key], cell]
        parts += [c for (d, _, s), c in llm.items() if together and (d, s) == (data, size)]
        best.append(cell | {"score": max((p["score"] for p in parts), key=np.mean)})
    return {"cells": best}


def methods_table(entries, against=OURS):
    """Header and rows: each method by labelled rows, and ours minus it.

    Parameters
    ----------
    entries : dict of str to dict
        Name to entry.
    against : str
        Name of the entry that is compared with the others.
    """
    same_data(entries)
    ours = entries[against]
    own = cells(ours)
    columns = list(dict.fromkeys(key[2] for key in own if key[2] != NOT_EVERYWHERE))
    rows = []
    for name, entry in entries.items():
        found = {key: c for key, c in cells(entry).items() if key in own}
        row = [name]
        row += [_mean([c for k, c in found.items() if k[2] == s], "score") for s in columns]
        row += [_mean(found.values(), key) for key in ("ece", "log_loss")]
        rows.append(row + (["", "", ""] if name == against else _gains(ours, entry)))
    header = ["", *(f"{size} rows" for size in columns), "calibration error", "log-loss"]
    header += [f"{against} minus it, 95 % over sets", "95 % over families"]
    return [*header, f"{against} ahead / level / behind"], rows


def _mean(some, key):
    values = [np.mean(c[key]) for c in some if key in c]
    return f"{np.mean(values):.3f}" if values else "-"


def _gains(ours, other):
    common, scores = differences(ours, other)
    names, means = [key[0] for key in common], np.mean(scores, axis=1)
    signs = [verdict(s) for s in scores]
    counts = " / ".join(str(signs.count(sign)) for sign in (1, 0, -1))
    return [interval_cell(names, means), interval_cell(names, means, family), counts]


def margin_table(entries):
    """Header and rows: by labelled rows, fusion over the better part, known in hindsight."""
    parts = hindsight(entries)
    rows = []
    for size in sizes(entries):
        own, part = of_size(entries[OURS], size), of_size(parts, size)
        common, scores = differences(own, part)
        below = [f"{d} ({llm})" for (d, llm, _), s in zip(common, scores, strict=True)
                 if verdict(s) < 0]  # fmt: skip
        means = [_mean(of_size(entries[n], size)["cells"], "score") for n in (LLM, ENCODER, OURS)]
        rows.append([size, len(common), *means, *_gains(own, part), "; ".join(below) or "none"])
    header = ["labelled rows", "pairs", LLM, ENCODER, OURS]
    header += ["over the better part, 95 % over sets", "95 % over families"]
    return [*header, "ahead / level / behind", "behind"], rows


def sizes(entries):
    """The numbers of labelled rows, in order."""
    return list(dict.fromkeys(key[2] for key in sorted(cells(entries[OURS]), key=_rank)))


def _rank(key):
    return np.inf if key[2] == "all" else key[2]


def of_size(entry, size):
    """The cells of an entry with so many labelled rows, as an entry."""
    return {"cells": [c for c in entry["cells"] if c["size"] == size]}


def told(entries):
    """What the tables count as level, what the intervals are, and which of them include zero."""
    parts = hindsight(entries)
    sets = sorted({key[0] for key in cells(entries[OURS])})
    lines = [
        f"{LEVEL[0].upper()}{LEVEL[1:]}. Intervals: Student's t over {len(sets)} data sets, and "
        f"over {len({family(name) for name in sets})} families of them (the CSS tasks are one); "
        "a data set with many LLMs counts once."
    ]
    for over, group in (("data sets", str), ("families", family)):
        zero = [str(s) for s in sizes(entries) if _includes_zero(entries, parts, s, group)]
        if zero:
            lines.append(
                f"**The interval over {over} of the margin over the better part includes zero "
                f"with {_listed(zero)} labelled rows.**"
            )
    return " ".join(lines)


def _includes_zero(entries, parts, size, group):
    _, low, high = interval(entries[OURS], parts, size, group)
    return low <= 0 <= high


def _listed(words):
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def report():
    """Print the tables of the stored entries."""
    entries = stored()
    print_table(*methods_table(entries))
    print()
    print_table(*margin_table(entries))
    print(f"\n{told(entries)}\n{CHOSEN}")


def draw(entries):
    """Mean score by labelled rows, and by how much the fusion is ahead, with its interval."""
    from matplotlib import pyplot as plt

    from sklfusion.plotting import METHOD_COLORS, tidy

    colors = METHOD_COLORS | COLORS
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.6), layout="constrained")
    shown = [size for size in sizes(entries) if size != NOT_EVERYWHERE]
    places = np.arange(len(shown))
    for name, entry in entries.items():
        scores = [[np.mean(c["score"]) for c in of_size(entry, s)["cells"]] for s in shown]
        width = 3 if name == OURS else 1.5
        means = 100 * np.mean(scores, axis=1)
        left.plot(places, means, "o-", ms=4, lw=width, color=colors[name], label=name)
    left.set(ylabel="accuracy or exact match, mean over 33 pairs, %")
    rivals = {HINDSIGHT: hindsight(entries)}
    rivals |= {name: e for name, e in entries.items() if name not in (OURS, LLM, ENCODER)}
    shifts = np.linspace(-0.3, 0.3, len(rivals))
    for shift, (name, entry) in zip(shifts, rivals.items(), strict=True):
        found = [interval(entries[OURS], entry, size, family) for size in shown]
        mean, low, high = 100 * np.transpose(found)
        bars, style = [mean - low, high - mean], {"fmt": "o", "ms": 4, "lw": 1.4}
        right.errorbar(places + shift, mean, bars, color=colors[name], label=name, **style)
    right.axhline(0, color="#444444", linewidth=1)
    right.set(ylabel="points that fusion is ahead, 95 % over families")
    for ax in (left, right):
        ax.set_xticks(places, [str(size) for size in shown])
        ax.set_xlabel("labelled rows")
        ax.legend(frameon=False, fontsize=8)
        tidy(ax)
    return figure


def interval(ours, other, size, group=str):
    """Mean of ours minus the other with so many rows, and its interval over sets or families."""
    common, scores = differences(of_size(ours, size), of_size(other, size))
    names = [key[0] for key in common]
    return np.array(t_interval(by_group(names, np.mean(scores, axis=1), group)))
