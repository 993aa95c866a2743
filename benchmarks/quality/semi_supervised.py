"""Do LLM answers on unlabelled texts help when labels are few?

`VoteStudent` learns from the answers on the other training texts, whose labels nobody looks at;
`FusionClassifier(features="both")` weighs it beside the embedding and the LLM. Against the same
fusion without it, on the same labelled rows and the same test rows; gains are paired by draw.

python -m benchmarks.quality.semi_supervised [--quick]
"""

import numpy as np

from benchmarks._common import mean_spread
from benchmarks._intervals import by_group, family
from benchmarks.quality import _contest, distill
from sklfusion.fusion._student import VoteStudent

WEAK = ("FPB", "h2o")  # beside one LLM for each data set
SIZES = (8, 20, 50, 100)
N_DRAWS = 10
MAX_UNLABELED = 600
#: What the results file says about its making.
MADE = {
    "seeds": f"draws 0 to {N_DRAWS - 1}",
    "interval": "95 % by t: over draws for a data set, over families of sets for the means",
}


def compare(data, X, train, test, unlabeled, seed):
    """Scores of one draw: accuracy and log-loss of the fusion without and with the student."""
    width = len(data.classes)
    E, votes = X[:, :-width], X[:, -width:]
    student = VoteStudent(random_state=seed).fit(
        E[train],
        data.y[train],
        scores=votes[train],
        X_unlabeled=E[unlabeled],
        scores_unlabeled=votes[unlabeled],
        classes=np.arange(width),
    )
    taught = np.hstack([student.transform(E), votes])
    plain = _contest.fusion(data, seed, n_embedding=E.shape[1]).fit(X[train], data.y[train])
    started = _contest.fusion(data, seed, n_embedding=E.shape[1] + width, features="both")
    started.fit(taught[train], data.y[train])
    y = data.y[test]
    llm = _contest.llm_alone(votes[test], data.y[train])
    out = {"LLM alone": (_contest.hits(llm, y).mean(), None)}
    alone = student.predict_proba(E[test])
    for name, proba in (
        ("student alone", alone),
        ("fusion", plain.predict_proba(X[test])),
        ("fusion, semi-supervised", started.predict_proba(taught[test])),
    ):
        right = np.clip(proba[np.arange(len(y)), y], 1e-4, 1)
        out[name] = (_contest.hits(proba.argmax(axis=1), y).mean(), float(-np.log(right).mean()))
    return out


def run(quick=False):
    """Measure the semi-supervised start at few labels."""
    sets = [data for data in distill.sets() if not data.multilabel]
    sets, sizes, n_draws = sets + _contest.load_sets(WEAK), SIZES, N_DRAWS
    if quick:
        sets, sizes, n_draws = sets[:1], (20,), 1
    results = {"sizes": sizes, "draws": n_draws, "max_unlabeled": MAX_UNLABELED, "sets": {}}
    for data in sets:
        data = _contest.head(data, 160) if quick else data
        X = _contest.features(data)
        cells = []
        for size in sizes:
            draws = []
            for pool, test, seed in _contest.splits(data, None, n_draws):
                train = _contest.take(data, pool, size, seed)
                if len(np.unique(data.y[train])) < 2:
                    continue
                rest = np.setdiff1d(pool, train)
                rest = np.random.default_rng(seed).permutation(rest)[:MAX_UNLABELED]
                draws.append(compare(data, X, train, test[:1000], rest, seed))
            cells.append(_collect(draws))
        results["sets"][f"{data.name}, {data.llm}"] = cells
        print(f"{data.name}, {data.llm}: done", flush=True)
    return results


def _collect(draws):
    names = list(draws[0])
    return {
        "accuracy": {name: [float(d[name][0]) for d in draws] for name in names},
        "log_loss": {name: [d[name][1] for d in draws] for name in names if name != "LLM alone"},
    }


def _gain(cell, kind):
    scores = cell[kind]
    return np.array(scores["fusion, semi-supervised"]) - np.array(scores["fusion"])


def table(results):
    """One row per data set: gains by number of labels; the last rows are means over families."""
    rows = []
    for name, cells in results["sets"].items():
        llm = mean_spread(np.concatenate([cell["accuracy"]["LLM alone"] for cell in cells]))
        student = mean_spread(cells[-1]["accuracy"]["student alone"])
        rows.append([name, llm, student, *(_shown(_gain(cell, "accuracy")) for cell in cells)])
    for kind, what in (("accuracy", "mean of accuracy"), ("log_loss", "mean of log-loss")):
        columns = range(len(results["sizes"]))
        rows.append([what, "", "", *(_shown(_by_family(results, c, kind)) for c in columns)])
    sizes = results["sizes"]
    header = ["data, LLM", "LLM alone", f"student alone, {sizes[-1]} labels"]
    return [*header, *(f"gain with {size} labels" for size in sizes)], rows


def _by_family(results, column, kind):
    names = [name.partition(",")[0] for name in results["sets"]]
    gains = [_gain(cells[column], kind).mean() for cells in results["sets"].values()]
    return by_group(names, gains, family)


def _shown(gains):
    return f"{np.mean(gains):+.3f} ± {_contest.half_width(gains):.3f}"


def draw(results):
    """Gain in accuracy at every size, one panel per size."""
    return _contest.dot_plot(
        {
            f"{size} labels": {
                name: _gain(cells[column], "accuracy") for name, cells in results["sets"].items()
            }
            for column, size in enumerate(results["sizes"])
        },
        xlabel="gain in accuracy (95 %)",
        error=_contest.half_width,
    )


if __name__ == "__main__":
    _contest.program("semi_supervised", run, table, draw, **MADE)
