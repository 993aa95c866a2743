"""How much the shape of the MLP matters: layers, width, activation, dropout.

One setting is changed at a time. In the concatenation the MLP is the model; in anchored fusion it
is a residual that stays only if it lowers the out-of-fold log-loss, so the same changes should
hardly show. AG News (250 labelled rows) and BABE (400 labelled rows); several seeds, where a seed
draws the rows, the initial weights and the batches.

python -m benchmarks.quality.architecture [--quick]
"""

import numpy as np

from benchmarks._common import mean_spread
from benchmarks.quality import _contest

SETS = {("AG News", "gpt-5-nano"): 250, ("BABE", "gpt_4"): 400}
SETTINGS = {
    "default: (64, 32), relu, dropout 0.1": {},
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
KINDS = {"concatenation": {"fusion": "concat"}, "fusion": {"residual": True}}
N_DRAWS = 3
#: What the results file says about its making.
MADE = {
    "seeds": f"draws 0 to {N_DRAWS - 1} of rows, weights and batches",
    "interval": "± is the standard deviation over draws",
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
        cells = {kind: {name: [] for name in settings} for kind in KINDS}
        kept = {name: 0 for name in settings}
        for train, test, seed in _contest.splits(data, size, n_draws):
            for name, params in settings.items():
                for kind, options in KINDS.items():
                    clf = _contest.fusion(
                        data, seed, n_embedding=X.shape[1] - len(data.classes), **options, **params
                    ).fit(X[train], data.y[train])
                    score = _contest.hits(clf.predict(X[test]), data.y[test]).mean()
                    cells[kind][name].append(float(score))
                    kept[name] += kind == "fusion" and "residual" in clf.chosen_
        results["sets"][f"{data.name}, {size} rows"] = {"scores": cells, "kept": kept}
        print(f"{data.name}: done", flush=True)
    return results


def table(results):
    """One row per setting; the last row is how far apart the settings' means lie."""
    names = list(next(iter(results["sets"].values()))["kept"])
    header, rows = ["setting"], [[name] for name in names]
    apart = ["largest minus smallest mean"]
    for title, part in results["sets"].items():
        for kind, cells in part["scores"].items():
            header.append(f"{title}: {kind}")
            for row, name in zip(rows, names, strict=True):
                row.append(mean_spread(cells[name]))
            means = [np.mean(cells[name]) for name in names]
            apart.append(f"{max(means) - min(means):.3f}")
        header.append("residual kept")
        for row, name in zip(rows, names, strict=True):
            row.append(f"{part['kept'][name]} of {results['draws']}")
        apart.append("")
    return header, [*rows, apart]


def draw(results):
    """One panel per data set and way to fuse."""
    return _contest.dot_plot(
        {
            f"{title}\n{kind}": cells
            for title, part in results["sets"].items()
            for kind, cells in part["scores"].items()
        }
    )


if __name__ == "__main__":
    _contest.program("architecture", run, table, draw, **MADE)
