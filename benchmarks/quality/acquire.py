"""Which texts to label next: `LabelAcquirer` beside random rows, margins and disagreement.

    python -m benchmarks.quality.acquire [--quick] [--draws N] [--jobs N] [--resume]

Of each data set three fifths are the pool and the rest are for testing, anew in each draw. All
strategies begin with the same 20 rows drawn evenly and go on in batches of 20, with the default
`FusionClassifier` on the embedded encoder's vectors and recorded votes. *Margin* takes the rows
whose two likeliest classes are closest, *disagreement* those where a logistic regression on the
vectors gives the LLM's answer the least probability. Differences from random rows are paired by
draw. Shares of the classes in the pool are estimated by `PrevalenceEstimator` from the rows of the
acquirer, with its weights and without, and from random rows. Data sets with several labels per
text are left out.
"""

import argparse
import os
import warnings

os.environ.setdefault("OMP_NUM_THREADS", "1")  # the jobs are the parallelism
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
from joblib import Parallel, delayed
from sklearn.linear_model import LogisticRegression

from benchmarks._common import earlier, print_table, save_figure, write_json
from benchmarks.quality._contest import fusion, head, hits, load_sets, paired, vectors, wide
from sklfusion import LabelAcquirer, PrevalenceEstimator
from sklfusion.plotting import tidy

PAIRS = (
    ("AG News", "gpt-5-nano"),
    ("FPB", "chatgpt"),
    ("FPB", "falcon_7b"),
    ("BABE", "gpt_4"),
    ("SemEval", "mixtral-8x22b"),
    ("MR", "chatgpt"),
    ("Global warming", "gpt"),
    ("CSS emotion", "chatgpt"),
)
RANDOM, OURS = "random", "LabelAcquirer"
MARGIN, DISAGREEMENT = "margin", "disagreement"
STRATEGIES = (RANDOM, OURS, MARGIN, DISAGREEMENT)
SIZES = (40, 100, 200)
BATCH = 20
DRAWS = 12
ROWS = 2000  # of a data set at most
WAYS = ("weights", "no weights", "random rows")
_LEAST_PROBABILITY = 1e-4  # so that one row cannot decide a mean log-loss
#: What the results file says about its making.
MADE = {
    "seeds": f"draws 0 to {DRAWS - 1}",
    "interval": "in brackets the paired standard error, over draws or, of a mean, over data sets",
}


class Draw:
    """One pool, one test half and one start, on which the strategies meet."""

    def __init__(self, data, E, seed):
        order = np.random.default_rng([seed, 1]).permutation(len(data.y))
        n_pool = int(0.6 * len(order))
        pool, test = order[:n_pool], order[n_pool:]
        self.data, self.seed, self.width = data, seed, E.shape[1]
        X = np.hstack([E, data.votes[0]])
        self.X, self.y, self.votes = X[pool], data.y[pool], data.votes[0][pool]
        self.X_test, self.y_test = X[test], data.y[test]
        self.acquirer = LabelAcquirer(self.model(), batch_size=BATCH, random_state=seed)
        self.start = self.acquirer.fit(self.X).query().rows

    def model(self):
        """The unfitted classifier of every strategy."""
        return fusion(self.data, self.seed, n_embedding=self.width)

    def judge(self, model):
        """Return accuracy and log-loss on the test rows."""
        P = wide(model.predict_proba(self.X_test), model.classes_, len(self.data.classes))
        own = P[np.arange(len(P)), self.y_test]
        right = hits(P.argmax(axis=1), self.y_test).mean()
        return right, -np.log(np.maximum(own, _LEAST_PROBABILITY)).mean()

    def curve(self, strategy):
        """Return the judgement of a strategy at each size, and its rows at the last."""
        if strategy == OURS:
            return self._curve_of_acquirer()
        rows, judged = list(self.start), []
        rest = np.random.default_rng([self.seed, 2]).permutation(len(self.y))
        while len(rows) <= SIZES[-1]:
            model = None
            if len(rows) in SIZES or strategy == MARGIN:
                model = self.model().fit(self.X[rows], self.y[rows])
            if len(rows) in SIZES:
                judged.append(self.judge(model))
            left = rest[~np.isin(rest, rows)]
            rows += list(self._next(strategy, model, rows, left))
        return judged, rows[: SIZES[-1]]

    def _next(self, strategy, model, rows, left):
        if strategy == RANDOM:
            return left[:BATCH]
        if strategy == MARGIN:
            top = np.sort(model.predict_proba(self.X[left]), axis=1)
            worst = top[:, -1] - top[:, -2]
        else:
            E = self.X[:, : self.width]
            encoder = LogisticRegression(max_iter=300).fit(E[rows], self.y[rows])
            P = wide(encoder.predict_proba(E[left]), encoder.classes_, len(self.data.classes))
            worst = (P * self.votes[left]).sum(axis=1)
        return left[np.argsort(worst, kind="stable")[:BATCH]]

    def _curve_of_acquirer(self):
        judged, rows = [], self.start
        while True:
            self.acquirer.add(rows, self.y[rows])
            n = len(self.acquirer.rows_)
            if n in SIZES:
                judged.append(self.judge(self.acquirer.refit()))
            if n >= SIZES[-1]:
                return judged, self.acquirer.rows_
            rows = self.acquirer.query().rows

    def covered(self, rows, weights=None):
        """Return for each class whether its interval covers the share in the pool, (K,)."""
        shares = PrevalenceEstimator(self.model(), random_state=self.seed)
        shares.fit(self.X[rows], self.y[rows])
        told = shares.estimate(self.X, sample_weight=weights)
        truth = np.array([(self.y == k).mean() for k in told.classes])
        inside = (told.low <= truth + 1e-12) & (truth <= told.high + 1e-12)
        result = np.full(len(self.data.classes), np.nan)  # a class without a label has no interval
        result[told.classes.astype(int)] = inside
        return result


def one_draw(data, E, seed):
    """Return (strategies, sizes, 2) judgements and (ways, K) of covered shares."""
    draw = Draw(data, E, seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # classes that a small draw does not show
        curves = {strategy: draw.curve(strategy) for strategy in STRATEGIES}
        ours = curves[OURS][1]
        cover = [
            draw.covered(ours, draw.acquirer.weights_),
            draw.covered(ours),
            draw.covered(curves[RANDOM][1]),
        ]
    return np.array([curves[s][0] for s in STRATEGIES]), np.array(cover)


def one_set(data, E, draws):
    """Return the record of a data set."""
    found = [one_draw(data, E, seed) for seed in draws]
    judged = np.array([f[0] for f in found])  # (draws, strategies, sizes, 2)
    cover = np.array([f[1] for f in found])
    scores = {
        strategy: {
            "accuracy": judged[:, s, :, 0].round(5).tolist(),
            "log_loss": judged[:, s, :, 1].round(5).tolist(),
        }
        for s, strategy in enumerate(STRATEGIES)
    }
    covered = {way: float(np.nanmean(cover[:, w])) for w, way in enumerate(WAYS)}
    return {"data": data.name, "llm": data.llm, "scores": scores, "covered": covered}


def run(quick=False, n_draws=DRAWS, jobs=1, kept=()):
    """Label every data set in every way; yield the results so far after each data set."""
    done = {(r["data"], r["llm"]): r for r in kept}
    sets = [head(s, 600 if quick else ROWS) for s in load_sets(*PAIRS)]
    sets, n_draws = (sets[:3], 2) if quick else (sets, n_draws)
    todo = [s for s in sets if (s.name, s.llm) not in done]
    E = vectors(todo)
    found = Parallel(n_jobs=jobs, return_as="generator_unordered")(
        delayed(one_set)(data, E[data.name], range(n_draws)) for data in todo
    )
    for record in found:
        done[record["data"], record["llm"]] = record
        ordered = [done[pair] for pair in PAIRS if pair in done]
        yield {"draws": n_draws, "sizes": SIZES, "sets": ordered}


def gains(record, strategy, size, metric="accuracy"):
    """Return the mean gain over random rows in points, and its standard error over draws."""
    scores, column = record["scores"], SIZES.index(size)
    own = np.array(scores[strategy][metric])[:, column]
    return paired(100 * (own - np.array(scores[RANDOM][metric])[:, column]))


def below_random(results, strategy=OURS):
    """Data sets on which a strategy is below random by more than one SE at the last size."""
    found = [(r, *gains(r, strategy, SIZES[-1])) for r in results["sets"]]
    return [f"{r['data']}, {r['llm']}" for r, mean, error in found if mean < -error]


def table(results):
    """Header and rows: mean over data sets with the worst one, then each data set at the end."""
    header = ["strategy", "metric", *(f"{n} labels" for n in SIZES)]
    header += [f"worst set at {SIZES[-1]}", f"sets below random by > 1 SE at {SIZES[-1]}"]
    rows = []
    for strategy in STRATEGIES[1:]:
        for metric, sign in (("accuracy", 1), ("log_loss", -1)):
            means = [[gains(r, strategy, n, metric)[0] for n in SIZES] for r in results["sets"]]
            cells = [_mean_cell(column) for column in np.transpose(means)]
            worst = sign * np.min(sign * np.array(means)[:, -1])
            below = len(below_random(results, strategy)) if metric == "accuracy" else "-"
            name = "accuracy, points" if metric == "accuracy" else "log-loss x 100"
            rows.append([strategy, name, *cells, f"{worst:+.1f}", below])
    return header, rows


def _mean_cell(values):
    mean, error = paired(values)
    return f"{mean:+.1f} ({error:.1f})"


def table_of_sets(results):
    """Header and rows: each data set at the last size, and what intervals of shares cover."""
    header = ["data", "LLM", "random", *STRATEGIES[1:], *(f"covered: {way}" for way in WAYS)]
    rows = []
    for r in results["sets"]:
        start = np.mean(r["scores"][RANDOM]["accuracy"], axis=0)[-1]
        cells = ["{:+.1f} ({:.1f})".format(*gains(r, s, SIZES[-1])) for s in STRATEGIES[1:]]
        covered = [f"{r['covered'][way]:.2f}" for way in WAYS]
        rows.append([r["data"], r["llm"], f"{100 * start:.1f}", *cells, *covered])
    means = [f"{np.mean([r['covered'][way] for r in results['sets']]):.2f}" for way in WAYS]
    rows.append(["mean", "", "", *[""] * len(STRATEGIES[1:]), *means])
    return header, rows


def draw(results):
    """Gain over random rows of each data set, by strategy, in accuracy and log-loss."""
    import matplotlib.pyplot as plt

    colors = dict(zip(STRATEGIES[1:], ("#009E73", "#E69F00", "#D55E00"), strict=True))
    figure, axes = plt.subplots(1, 2, figsize=(9.6, 4.2), layout="constrained", sharey=True)
    sets = results["sets"]
    panels = (("accuracy", "points of accuracy"), ("log_loss", "log-loss x 100 (less is better)"))
    for ax, (metric, words) in zip(axes, panels, strict=True):
        for shift, strategy in zip((-0.22, 0, 0.22), STRATEGIES[1:], strict=True):
            found = [gains(r, strategy, SIZES[-1], metric) for r in sets]
            mean, error = np.transpose(found)
            y = np.arange(len(sets)) + shift
            style = {"color": colors[strategy], "markersize": 5, "linewidth": 1.4}
            ax.errorbar(mean, y, xerr=error, fmt="o", label=strategy, **style)
        ax.axvline(0, color="#444444", linewidth=1)
        ax.set(xlabel=f"{words}, minus random rows")
        ax.set_title(f"{SIZES[-1]} labels; bars: one standard error", fontsize=9)
        tidy(ax)
        ax.grid(axis="x", color="#dddddd", linewidth=0.8)
    axes[0].set_yticks(range(len(sets)), [f"{r['data']}, {r['llm']}" for r in sets], fontsize=8)
    axes[0].invert_yaxis()
    axes[1].legend(frameon=False, fontsize=8)
    return figure


def main():
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few rows, table only")
    parser.add_argument("--draws", type=int, default=DRAWS)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--resume", action="store_true", help="keep the data sets that are done")
    args = parser.parse_args()
    results = earlier("acquire") if args.resume else {}
    for now in run(args.quick, args.draws, args.jobs, results.get("sets", ())):
        results = now
        if not args.quick:
            write_json("acquire", results, kept=args.resume, **MADE)
    print_table(*table(results))
    print_table(*table_of_sets(results))
    print("below random by more than one SE:", below_random(results) or "none")
    if not args.quick:
        save_figure(draw(results), "acquire")


if __name__ == "__main__":
    main()
