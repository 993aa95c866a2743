"""How the cost of the fusion's head grows with rows, classes and width, beside two peers.

python -m benchmarks.speed.head [--quick] [--only rows|classes|width|rivals|search]

Made-up rows of one class each: an embedding with a class signal, and the votes of one LLM, right
three times in four. CPU seconds of ``fit``, and of ``predict_proba`` on 1,000 rows, in turns in
one process on one thread, the least of three rounds (one where a fit takes longer than 5 s). The
peers see the same columns: `LogisticRegression` on embedding and votes, and `StackingClassifier`
of one on the embedding and one on the votes, five folds (four of 500 classes); neither chooses a
penalty. Nothing is kept between two of our fits but in the grid search, over six cuts of label
sets, which change no evidence. A part is written when it has ended, so they can be run one by
one.
"""

import argparse
import time

import numpy as np
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.ensemble import StackingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, KFold, StratifiedKFold
from sklearn.pipeline import make_pipeline
from threadpoolctl import threadpool_limits

from benchmarks._common import earlier, print_table, save_figure, write_json
from sklfusion import FusionClassifier
from sklfusion.fusion._reuse import forget_fits

ROUNDS = 3
#: Seconds of a fit beyond which it is made once, and beyond which a larger one is not tried.
ONCE, PATIENCE = 5.0, 30.0
PREDICTED = 1000
FUSION, LOGISTIC, STACKING = "fusion", "LogisticRegression", "StackingClassifier"
COLORS = {FUSION: "#009E73", LOGISTIC: "#0072B2", STACKING: "#999999"}
#: Part -> what grows, its values, and what stays the same.
PARTS = {
    "rows": ("n", (100, 250, 500, 1000, 2000, 4000, 8000), {"k": 4, "d": 384}),
    "classes": ("k", (2, 5, 10, 20, 50, 100, 200, 500), {"n": 2000, "d": 384}),
    "width": ("d", (64, 128, 256, 384, 512, 768, 1024), {"n": 1000, "k": 4}),
    "rivals": ("k", (2, 4, 8, 20, 40, 77), {"n": 1000, "d": 384}),
}
LABELS = {
    "rows": "rows, of 384 dimensions and 4 classes",
    "classes": "classes, 2,000 rows of 384 dimensions",
    "width": "dimensions, 1,000 rows of 4 classes",
}
#: Six candidates with the same evidence, on 1,000 rows of 20 labels, three folds.
SEARCH = {"n": 1000, "k": 20, "d": 384}
CUTS = ["auto", 0.3, 0.4, 0.5, 0.6, 0.7]
#: What the results file says about its making.
MADE = {
    "seeds": "made-up rows, seed 0",
    "interval": "one machine, CPU seconds, the least of three rounds",
}


def make_rows(n, k, d):
    """Embedding and votes side by side (n, d + k), and classes that are equally frequent."""
    rng = np.random.default_rng(0)
    y = rng.permutation(np.arange(n) % k)
    centers = np.random.default_rng(1).normal(size=(k, d)) * 3 / np.sqrt(d)
    votes = np.where(rng.random(n) < 0.75, y, rng.integers(k, size=n))
    return np.hstack([rng.normal(size=(n, d)) + centers[y], np.eye(k)[votes]]), y


def contestants(n, k, **_):
    """Name -> unfitted model of rows whose last k columns are votes."""

    def logistic_on(columns):
        chosen = make_column_transformer(("passthrough", columns))
        return make_pipeline(chosen, LogisticRegression(max_iter=1000))

    sources = [("encoder", logistic_on(slice(0, -k))), ("llm", logistic_on(slice(-k, None)))]
    final = LogisticRegression(max_iter=1000)
    folds = StratifiedKFold(min(5, n // k))  # every class in every one
    return {
        FUSION: FusionClassifier(score_columns=slice(-k, None), random_state=0),
        LOGISTIC: LogisticRegression(max_iter=1000),
        STACKING: StackingClassifier(
            sources, final_estimator=final, cv=folds, stack_method="predict_proba"
        ),
    }


def cpu_seconds(function, *args):
    """CPU seconds of one call, with nothing kept of the fits before."""
    forget_fits()
    start = time.process_time()
    function(*args)
    return time.process_time() - start


def point(rounds, too_slow, **shape):
    """Least CPU seconds of fit and predict by contestant; adds to those ``too_slow`` to go on."""
    X, y = make_rows(**shape)
    more = np.resize(X, (PREDICTED, X.shape[1]))
    models = {k: v for k, v in contestants(**shape).items() if k not in too_slow}
    found = {name: {"fit": np.inf, "predict": np.inf} for name in models}
    for _ in range(rounds):
        for name, model in models.items():
            best = found[name]
            if ONCE < best["fit"] < np.inf:
                continue
            best["fit"] = min(best["fit"], cpu_seconds(model.fit, X, y))
            best["predict"] = min(best["predict"], cpu_seconds(model.predict_proba, more))
    too_slow |= {name for name, best in found.items() if best["fit"] > PATIENCE}
    return shape | {"seconds": found}


def growth(part, quick):
    """The points of one part, the smallest first."""
    grows, values, fixed = PARTS[part]
    too_slow: set = set()
    points = []
    for value in values[:2] if quick else values:
        points.append(point(1 if quick else ROUNDS, too_slow, **fixed, **{grows: value}))
        fits = {name: round(one["fit"], 3) for name, one in points[-1]["seconds"].items()}
        print(f"{part} {value}: {fits}", flush=True)
    return points


def search(quick):
    """CPU seconds of a grid search with one candidate and with six of the same evidence."""
    X, y = make_rows(**SEARCH)
    Y = np.eye(SEARCH["k"], dtype=int)[y]
    Y[::2] |= np.roll(Y[::2], 1, axis=1)  # two labels for every other row
    head = FusionClassifier(score_columns=slice(-SEARCH["k"], None), random_state=0)
    seconds = {"one candidate": np.inf, "six candidates": np.inf}
    for _ in range(1 if quick else ROUNDS):
        for name, cuts in zip(seconds, (CUTS[:1], CUTS), strict=True):
            fresh = GridSearchCV(clone(head), {"threshold": cuts}, cv=KFold(3))
            seconds[name] = min(seconds[name], cpu_seconds(fresh.fit, X, Y))
    return seconds


def table(results):
    """Header and rows: CPU seconds of a fit of 1,000 rows by number of classes, and ratios."""
    rows = []
    for one in results["rivals"]:
        fits = {name: found["fit"] for name, found in one["seconds"].items()}
        ratio = fits[FUSION] / fits[STACKING]
        cells = [f"{fits[name]:.2f}" for name in (FUSION, LOGISTIC, STACKING)]
        rows.append([one["k"], *cells, f"{ratio:.1f}"])
    return ["classes", FUSION, LOGISTIC, STACKING, "fusion / stacking"], rows


def lines_table(results):
    """Header and rows: the lines that the head must hold, and what was measured."""

    def fit(part, value, name=FUSION):
        grows = PARTS[part][0]
        [one] = [p for p in results[part] if p[grows] == value]
        return one["seconds"][name]["fit"]

    many = fit("classes", 500) / fit("classes", 500, STACKING)
    ratios = [float(row[-1]) for row in table(results)[1]]
    seconds = results["search"]
    times = seconds["six candidates"] / seconds["one candidate"]
    rows = [
        ["1,000 rows of 388 columns", "under 1 s", f"{fit('rows', 1000):.2f} s"],
        ["4,000 rows of 388 columns", "under 3 s", f"{fit('rows', 4000):.2f} s"],
        ["500 classes, 2,000 rows", "under 60 s", f"{fit('classes', 500):.1f} s"],
        ["beside stacking, 2 to 77 classes", "at most 3 times", f"{max(ratios):.1f} times"],
        ["beside stacking, 500 classes, 2,000 rows", "", f"{many:.1f} times"],
        ["grid search, 6 candidates beside 1", "", f"{times:.2f} times"],
    ]
    return ["CPU of a fit", "line", "measured"], rows


def draw(results):
    """Fits above, predictions below, one column per thing that grows."""
    from matplotlib import pyplot as plt

    from sklfusion.plotting import tidy

    figure, axes = plt.subplots(2, 3, figsize=(11, 6.4), layout="constrained", sharey="row")
    for column, part in zip(axes.T, LABELS, strict=True):
        grows = PARTS[part][0]
        for ax, kind in zip(column, ("fit", "predict"), strict=True):
            for name, color in COLORS.items():
                points = [
                    (one[grows], one["seconds"][name][kind])
                    for one in results[part]
                    if name in one["seconds"]
                ]
                width = 2.4 if name == FUSION else 1.6
                ax.plot(*zip(*points, strict=True), color=color, lw=width, marker=".", label=name)
            ax.set_xscale("log")
            ax.set_yscale("log")
            values = PARTS[part][1]
            shown = values[::-2][::-1]
            ax.set_xticks(shown, [f"{value:,}" for value in shown])
            ax.minorticks_off()
            tidy(ax)
        column[1].set_xlabel(LABELS[part])
    axes[0, 0].set_ylabel("fit, CPU seconds")
    axes[1, 0].set_ylabel("1,000 predictions, CPU seconds")
    axes[0, 0].legend(frameon=False)
    return figure


def main(argv=None):
    """Measure, print, and write what has ended."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="two points of each, one round")
    parser.add_argument("--only", choices=[*PARTS, "search"], help="one part; the others are kept")
    args = parser.parse_args(argv)
    results = {} if args.quick else earlier("speed_head")
    cpu_seconds(contestants(100, 2)[FUSION].fit, *make_rows(100, 2, 8))  # loads torch
    with threadpool_limits(1):
        for part in [args.only] if args.only else [*PARTS, "search"]:
            results[part] = search(args.quick) if part == "search" else growth(part, args.quick)
            if not args.quick:
                write_json("speed_head", results, kept=True, **MADE)
    if results.keys() >= {*PARTS, "search"} and not args.quick:
        print_table(*table(results))
        print_table(*lines_table(results))
        save_figure(draw(results), "speed_head")


if __name__ == "__main__":
    main()
