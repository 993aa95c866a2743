"""How much the shape of the MLP matters: layers, width, activation, dropout.

Only in the concatenation (``fusion="concat"``) is the MLP the model, so one setting of it is
changed at a time there. AG News (250 labelled rows) and BABE (400 labelled rows); several draws,
where a draw takes the rows, the initial weights and the batches. Differences are paired.

python -m benchmarks.quality.architecture [--quick]
"""

import numpy as np

from benchmarks._common import mean_spread
from benchmarks.quality import _contest

SETS = {("AG News", "gpt-5-nano"): 250, ("BABE", "gpt_4"): 400}
DEFAULT = "default: (64, 32), relu, dropout 0.1"
SETTINGS = {
    DEFAULT: {},
    "no hidden layer": {"hidden_layer_sizes": ()},
    "one layer, 16": {"hidden_layer_sizes": (16,)},
    "one layer, 128": {"hidden_layer_sizes": (128,)},
    "two layers, (256, 128)": {"hidden_layer_sizes": (256, 128)},
    "three layers, (64, 32, 16)": {"hidden_layer_sizes": (64, 32, 16)},
    "gelu": {"net_params": {"module__activation": "gelu"}},
    "tanh": {"net_params": {"module__activation": "tanh"}},
    "silu": {"net_params": {"module__activation": "silu"}},
    "dropout 0": {"dropout": 0.0},
    "dropout 0.3": {"dropout": 0.3},
    "dropout 0.5": {"dropout": 0.5},
}
N_DRAWS = 6
#: What the results file says about its making.
MADE = {
    "seeds": "draws 0 to 5 of rows, weights and batches",
    "interval": "± is the standard deviation over draws, differences: 95 % by t over draws",
}


def run(quick=False):
    """Change one setting of the MLP at a time."""
    sets, settings, n_draws = SETS, SETTINGS, N_DRAWS
    if quick:
        sets, n_draws = {("AG News", "gpt-5-nano"): 40}, 1
        settings = dict(list(SETTINGS.items())[:2])
    results = {"draws": n_draws, "sets": {}}
    for data, size in zip(_contest.load_sets(*sets), sets.values(), strict=True):
        data = _contest.head(data, 90 if quick else 1600)
        X = _contest.features(data)
        cells = {name: [] for name in settings}
        n_embedding = X.shape[1] - len(data.classes)
        for train, test, seed in _contest.splits(data, size, n_draws):
            for name, params in settings.items():
                clf = _contest.fusion(
                    data, seed, n_embedding=n_embedding, fusion="concat", **params
                ).fit(X[train], data.y[train])
                cells[name].append(float(_contest.hits(clf.predict(X[test]), data.y[test]).mean()))
        results["sets"][f"{data.name}, {size} rows"] = cells
        print(f"{data.name}: done", flush=True)
    return results


def against_default(cells):
    """Differences to the default, draw by draw, of the other settings."""
    return {
        name: np.subtract(draws, cells[DEFAULT])
        for name, draws in cells.items()
        if name != DEFAULT
    }


def table(results):
    """One row per setting."""
    names = list(next(iter(results["sets"].values())))
    header, rows = ["setting"], [[name] for name in names]
    for title, cells in results["sets"].items():
        header += [title, "minus the default (95 %)"]
        gaps = against_default(cells)
        for row, name in zip(rows, names, strict=True):
            gap = gaps.get(name)
            half = None if gap is None else _contest.half_width(gap)
            shown = "" if gap is None else f"{np.mean(gap):+.3f} ± {half:.3f}"
            row += [mean_spread(cells[name]), shown]
    return header, rows


def draw(results):
    """One panel per data set: differences to the default."""
    panels = {title: against_default(cells) for title, cells in results["sets"].items()}
    return _contest.dot_plot(
        panels, xlabel="accuracy minus the default's (95 %)", error=_contest.half_width
    )


if __name__ == "__main__":
    _contest.program("architecture", run, table, draw, **MADE)
