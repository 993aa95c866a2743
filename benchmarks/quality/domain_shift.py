"""Fitted in one place, applied in another: is trust in the LLM followed down, and what mends it?

Models are fitted on labelled rows of an old place and applied unchanged to the rows of new places:
reviews of other goods, films' sentences with another LLM's votes, news of outlets of another
leaning or of other agencies, Reuters of later months. The LLM is a recorded or the embedded one,
the encoder frozen MiniLM. Beside them two ways to weigh the LLM anew by the new texts without
their labels (`benchmarks.quality._unlabelled`), 20 labels from the new place, and two signals of
drift that need no label. The two ways were settled on other new places: airline, blog and kitchen,
and BABE with another LLM (``--made-on`` runs those and writes nothing).

python -m benchmarks.quality.domain_shift [--quick | --made-on] [--part recorded|sentiment]
"""

import argparse

import numpy as np
from scipy import stats
from scipy.special import expit, softmax

from benchmarks._common import earlier, print_table, save_figure, write_json
from benchmarks._intervals import by_group, t_interval
from benchmarks.quality import _contest
from benchmarks.quality import _unlabelled as unlabelled
from benchmarks.quality._parts import hits, llm_alone
from benchmarks.quality._shifts import shifts
from sklfusion import FusionClassifier
from sklfusion.multilabel._cut import apply_cut
from sklfusion.plotting import METHOD_COLORS, tidy

#: Labelled rows of the old place, and labels that the last column has from the new one.
TRAIN_ROWS, NEW_LABELS, N_DRAWS = 90, 20, 8
#: Places with fewer draws, being among the old ones in the others, count in means only.
FEWEST_DRAWS = 4
PARTS = ("recorded", "sentiment")
SOURCES = ("LLM alone", "encoder alone")
REMEDIES = ("frequencies", "mixture", "20 new labels")
METHODS = (*SOURCES, "fusion", *REMEDIES)
SIGNALS = ("fall of agreement", "two-sample AUC")
#: Places that Fisher's interval takes for granted.
_FEWEST = 3
#: The families in the order of the table; the texts of one are the same in all its places.
_ORDER = ("sentiment", "BABE", "AG News", "Reuters", "Commodity")
COLORS = {"frequencies": "#CC79A7", "mixture": "#56B4E9", "20 new labels": "#D55E00"}
MARKERS = dict(zip(METHODS, "s^oDvP", strict=True))
#: What the results file says about its making.
MADE = {
    "seeds": f"draws 0 to {N_DRAWS - 1} of rows, and of the domains learnt from",
    "interval": "95 %: by t over draws for a place, over families of places for the mean, "
    "by Fisher's transform over places for a correlation",
}


class Fitted:
    """Fusion and the encoder's evidence alone, fitted on rows of the old place."""

    def __init__(self, shift, rows, seed):
        self.shift, self.rows, self.several = shift, rows, shift.y.ndim == 2
        n_embedding, n_classes = shift.E.shape[1], shift.scores.shape[1]
        self.X = np.hstack([shift.E, shift.scores])
        known = None if self.several else list(range(n_classes))
        made = {"classes": known, "random_state": seed}
        columns = slice(n_embedding, n_embedding + n_classes)
        self.fusion = FusionClassifier(score_columns=columns, score_classes=known, **made)
        self.encoder = FusionClassifier(score_columns=None, **made)
        self.fusion.fit(self.X[rows], shift.y[rows])
        self.encoder.fit(shift.E[rows], shift.y[rows])

    def told(self, rows):
        """What LLM, encoder and fusion say about rows."""
        return {
            "LLM alone": llm_alone(self.shift.scores[rows], self.shift.y[self.rows]),
            "encoder alone": self.encoder.predict(self.shift.E[rows]),
            "fusion": self.fusion.predict(self.X[rows]),
        }

    def agreement(self, rows):
        """How often encoder and LLM say the same."""
        told = self.told(rows)
        return hits(told["encoder alone"], told["LLM alone"]).mean()

    def corrected(self, rows):
        """What the fusion says about new rows after each remedy that needs no label."""
        logits = self.fusion.decision_function(self.X[rows])
        if logits.ndim == 1:
            logits = np.column_stack([np.zeros(len(logits)), logits])
        Y = self.shift.y[self.rows]
        P = self.encoder.predict_proba(self.shift.E[rows])
        scores, old_scores = self.shift.scores[rows], self.shift.scores[self.rows]
        if not self.several:
            Y = np.eye(logits.shape[1])[Y]
            added = self._added(softmax(logits, axis=1), P, scores, Y, old_scores)
            return {way: (logits + more).argmax(axis=1) for way, more in added.items()}
        parts = map(unlabelled.as_pairs, (expit(logits), P, scores, Y, old_scores))
        added = [self._added(*of_label) for of_label in zip(*parts, strict=True)]
        return {
            way: self._sets(logits, [one[way] for one in added])
            for way in ("frequencies", "mixture")
        }

    def _added(self, fused, P, scores, Y, old_scores):
        """Log-odds that each remedy adds, (n, K)."""
        llm, rates = unlabelled.mixture(np.maximum(P, 1e-6), scores, Y, old_scores)
        return {
            "frequencies": np.tile(unlabelled.frequencies(fused, Y), (len(P), 1)),
            "mixture": self.fusion.source_weights_["llm"] * llm + rates,
        }

    def _sets(self, logits, added):
        more = np.column_stack([one[:, 1] - one[:, 0] for one in added])
        return apply_cut(expit(logits + more), self.fusion.threshold_, self.fusion.fill_empty_)


def cells(shift, seed):
    """One draw of a shift: accuracy of all in the old place and in each new one, and signals."""
    rng = np.random.default_rng(seed)
    old = rng.permutation(np.flatnonzero(shift.old))
    n = min(TRAIN_ROWS, 2 * len(old) // 3)
    rows, rest = old[:n], old[n:]
    fitted = Fitted(shift, rows, seed)
    before = _accuracies(fitted.told(rest), shift.y[rest])
    for name, there in ((name, there) for name, all_ in shift.new.items() for there in all_):
        new = rng.permutation(np.flatnonzero(there))
        labelled, test = new[:NEW_LABELS], new[NEW_LABELS:]
        told = fitted.told(test) | {
            way: labels[NEW_LABELS:] for way, labels in fitted.corrected(new).items()
        }
        more = Fitted(shift, np.concatenate([rows, labelled]), seed)
        told["20 new labels"] = more.told(test)["fusion"]
        fall = fitted.agreement(rest) - fitted.agreement(new)
        auc = unlabelled.two_sample_auc(shift.E[old], shift.E[new], seed)
        yield {
            "family": shift.family,
            "place": name,
            "draw": seed,
            "old": before,
            "new": _accuracies(told, shift.y[test]),
            "trust": fitted.fusion.source_weights_,
            "signals": dict(zip(SIGNALS, (fall, auc), strict=True)),
        }


def _accuracies(told, y):
    return {name: float(hits(labels, y).mean()) for name, labels in told.items()}


def run(quick=False, part="recorded", *, shown=True):
    """Measure every shift of a part in all draws."""
    found = []
    for seed in range(1 if quick else N_DRAWS):
        for shift in shifts(seed, "few" if quick else part, shown=shown):
            found += _contest.quietly(list, cells(shift, seed))
    return {"few" if quick else part: found}


# -- showing -------------------------------------------------------------------------------


def places(results):
    """Name of every new place to its cells, and to its family."""
    found, families = {}, {}
    cells = [cell for part in results.values() for cell in part]
    for cell in sorted(cells, key=lambda c: _ORDER.index(c["family"])):
        found.setdefault(cell["place"], []).append(cell)
        families[cell["place"]] = cell["family"]
    return found, families


def by_draw(cells, method, place="new"):
    """Accuracy in every draw, mean over the draw's cells."""
    draws = {}
    for cell in cells:
        draws.setdefault(cell["draw"], []).append(cell[place][method])
    return np.array([np.mean(values) for values in draws.values()])


def above(cells, place):
    """Points by which the fusion is above the part that is better in the place."""
    best = max((by_draw(cells, part, place) for part in SOURCES), key=np.mean)
    return 100 * (by_draw(cells, "fusion", place) - best)


def differences(cells):
    """Points in every draw: fusion above the better part, and what each remedy adds."""
    gains = [by_draw(cells, way) - by_draw(cells, "fusion") for way in REMEDIES]
    return [above(cells, "old"), above(cells, "new"), *(100 * gain for gain in gains)]


def said(values):
    """Mean and 95 % interval."""
    middle, low, high = t_interval(values)
    return f"{middle:+.1f}" + ("" if np.isnan(low) else f" [{low:+.1f}, {high:+.1f}]")


def shown(found):
    """Which of the places have draws enough to be shown by themselves; all, if none has."""
    many = [name for name, cells in found.items() if len(by_draw(cells, "fusion")) >= FEWEST_DRAWS]
    return many or list(found)


def table(results):
    """One row per new place with intervals over draws, then the mean over families."""
    found, families = places(results)
    rows, means, listed = [], [], shown(found)
    for name, cells in found.items():
        parts = [
            f"{by_draw(cells, m, 'old').mean():.3f} to {by_draw(cells, m).mean():.3f}"
            for m in METHODS[:3]
        ]
        points = differences(cells)
        means.append([np.mean(p) for p in points])
        if name in listed:
            rows.append([name, *parts, *(said(p) for p in points)])
    columns = [by_group(list(families.values()), c) for c in zip(*means, strict=True)]
    rows.append([f"mean of {len(columns[0])} families", "", "", "", *(said(c) for c in columns)])
    header = ["new place", *METHODS[:3], "fusion minus better part: old place", "new place"]
    return [*header, *(f"with {remedy}" for remedy in REMEDIES)], rows


def signals_table(results):
    """Rank correlation of each signal with what befell the fusion, over means of places."""
    found = places(results)[0].values()
    lost = [np.mean(by_draw(c, "fusion", "old") - by_draw(c, "fusion")) for c in found]
    behind = [-above(cells, "new").mean() for cells in found]
    added = [np.mean(by_draw(c, "frequencies") - by_draw(c, "fusion")) for c in found]
    rows = []
    for signal in SIGNALS:
        values = [np.mean([cell["signals"][signal] for cell in cells]) for cells in found]
        rows.append([signal, *(_correlation(values, other) for other in (lost, behind, added))])
    header = ["signal without labels", "accuracy lost by the fusion"]
    return [*header, "its gap to the better part", "points that frequencies add"], rows


def _correlation(values, others):
    """Rank correlation and its 95 % interval by Fisher's transform."""
    middle = stats.spearmanr(values, others)[0]
    if len(values) <= _FEWEST:
        return f"{middle:+.2f}"
    ends = np.arctanh(middle) + np.array([-1, 1]) * stats.norm.ppf(0.975) / np.sqrt(
        len(values) - _FEWEST
    )
    low, high = np.tanh(ends)
    return f"{middle:+.2f} [{low:+.2f}, {high:+.2f}]"


def draw(results):
    """Accuracy in the old place, in the new one, and there with each remedy."""
    import matplotlib.pyplot as plt

    found, _ = places(results)
    found = {name: found[name] for name in shown(found)}
    panels = {
        "old place": ("old", METHODS[:3]),
        "new place, unchanged": ("new", METHODS[:3]),
        "new place, corrected": ("new", METHODS[2:]),
    }
    figure, axes = plt.subplots(
        1,
        len(panels),
        figsize=(11, 1.6 + 0.52 * len(found)),
        layout="constrained",
        sharex=True,
        sharey=True,
    )
    for ax, (title, (place, methods)) in zip(axes, panels.items(), strict=True):
        for row, cells in enumerate(found.values()):
            _markers(ax, row, {m: by_draw(cells, m, place) for m in methods})
        ax.set_yticks(range(len(found)), list(found))
        ax.set_ylim(len(found) - 0.5, -0.5)
        ax.set_title(title, fontsize=10)
        ax.set_xlabel("accuracy or exact match")
        tidy(ax)
        ax.grid(axis="x", color="#dddddd", linewidth=0.8)
    axes[0].set_xlim(right=1.0)  # when all panels are drawn: it fixes the left end for all
    known = {}
    for ax in axes:
        known |= dict(zip(*ax.get_legend_handles_labels()[::-1], strict=True))
    figure.legend(
        known.values(), known, loc="outside upper center", ncols=len(known), frameon=False
    )
    return figure


def _markers(ax, row, series):
    """One marker per method with its interval over draws, one above the other."""
    for number, (name, draws) in enumerate(series.items()):
        ax.errorbar(
            np.mean(draws),
            row + 0.19 * (number - (len(series) - 1) / 2),
            xerr=_contest.half_width(draws),
            fmt=MARKERS[name],
            ms=4.5,
            lw=1.3,
            color=METHOD_COLORS.get(name) or COLORS[name],
            label=name,
        )


def main():
    """Run the program."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality.domain_shift")
    parser.add_argument("--quick", action="store_true", help="one draw of one shift, no files")
    parser.add_argument("--part", choices=PARTS, help="this anew, the other as it was")
    parser.add_argument(
        "--made-on", action="store_true", help="where the remedies were made; no files"
    )
    arguments = parser.parse_args()
    found = {}
    for part in [arguments.part] if arguments.part else PARTS[: 1 if arguments.quick else None]:
        found |= run(arguments.quick, part, shown=not arguments.made_on)
    writes = not (arguments.quick or arguments.made_on)
    if writes and arguments.part:
        found = earlier("domain_shift") | found
    print_table(*table(found))
    print_table(*signals_table(found))
    if writes:
        write_json("domain_shift", found, **MADE, kept=arguments.part is not None)
        save_figure(draw(found), "domain_shift")


if __name__ == "__main__":
    main()
