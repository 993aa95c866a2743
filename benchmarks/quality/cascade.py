"""What does asking the LLM about only some of the texts cost in accuracy?

`CascadeClassifier` is fitted on labelled rows with recorded LLM answers; then 0, 10, 25, 50 and
100 % of the test texts are asked about. Three ways at each price: the most doubtful texts with
fused answers (the cascade), texts drawn at random with fused answers, and the most doubtful texts
with the LLM's answer in place of the first one (a confidence threshold). Gains are paired by draw.

A second table is about budgets: how much of one is spent, and what it brings, beside a cascade
that takes the best point of its cost curve within the budget. One of the LLMs (falcon_7b) is near
chance.

python -m benchmarks.quality.cascade [--quick]
"""

import warnings

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline

from benchmarks._common import CACHE, embed
from benchmarks._intervals import by_group, family, interval_cell
from benchmarks.quality import _contest
from sklfusion import CascadeClassifier, RecordedScorer, RobertaEmbedder
from sklfusion.cascade import _cost_curve, _spend

SETS = (
    ("AG News", "gpt-5-nano"),
    ("FPB", "chatgpt"),
    ("BABE", "gpt_4"),
    ("BABE", "falcon_7b"),
    ("MR", "chatgpt"),
    ("SemEval", "mixtral-8x22b"),
    ("CSS emotion", "chatgpt"),
    ("CSS semeval_stance", "chatgpt"),
    ("Reuters", "gpt-5-nano"),
)
SIZES = (100, 250)
SHARES = (0.0, 0.1, 0.25, 0.5, 1.0)
BUDGETS = (0.1, 0.3, 0.5)
FIRST_DRAW, N_DRAWS = 20, 5
MAX_TEST = 1000
METHODS = ("cascade", "random", "replacement")
#: What the results file says about its making.
MADE = {
    "seeds": f"draws {FIRST_DRAW} to {FIRST_DRAW + N_DRAWS - 1}",
    "interval": "SE over data sets, paired by draw; of budgets 95 % by t over families of them",
}


def recorded(data):
    """The recorded answers as a scorer; uniform rows are texts without an answer."""
    table = {}
    for text, row in zip(data.texts, data.votes[0], strict=True):
        if data.multilabel:
            table[text] = [label for label, p in zip(data.classes, row, strict=True) if p > 0.5]
        else:
            table[text] = None if np.ptp(row) < 1e-9 else int(row.argmax())
    names = list(data.classes) if data.multilabel else list(range(len(data.classes)))
    return RecordedScorer(table, classes=names, multilabel=data.multilabel)


def first_stage(data):
    """Logistic regression on the frozen embedding."""
    head = LogisticRegression(C=10.0, max_iter=1000)
    head = OneVsRestClassifier(head) if data.multilabel else head
    return make_pipeline(RobertaEmbedder(memory=CACHE), head)


def compare(data, train, test, seed):
    """Scores of one draw: per method one score per share, and what the cascade chose itself."""
    texts, y = [data.texts[i] for i in train], data.y[train]
    asked = [data.texts[i] for i in test]
    clf = CascadeClassifier(first_stage(data), recorded(data), strict=False, random_state=seed)
    clf.fit(texts, y)
    chosen = {
        "share": float(clf.asks(asked).mean()),
        "score": right(clf.predict(asked), data, test),
    }

    clf.set_params(strict=True).threshold_ = -np.inf  # from here on the budget alone decides
    answers = [clf.set_params(budget=share).predict(asked) for share in SHARES]
    masks = [clf.set_params(budget=share).asks(asked) for share in SHARES]
    order = np.random.default_rng(seed).permutation(len(test))
    alone, fused, llm = answers[0], answers[-1], _contest.llm_alone(data.votes[0][test], y)
    scores = {name: [] for name in METHODS}
    for share, mask, answer in zip(SHARES, masks, answers, strict=True):
        drawn = np.isin(np.arange(len(test)), order[: int(share * len(test) + 1e-9)])
        scores["cascade"].append(right(answer, data, test))
        scores["random"].append(right(mix(alone, fused, drawn), data, test))
        scores["replacement"].append(right(mix(alone, llm, mask), data, test))
    spent = {budget: spending(clf, texts, y, asked, budget) for budget in BUDGETS}
    for by_way in spent.values():
        for way, mask in by_way.items():
            score = right(mix(alone, fused, mask), data, test)
            by_way[way] = [float(mask.mean()), score]
    return {**scores, "chosen": chosen, "budgets": spent}


def spending(clf, texts, y, asked, budget):
    """Which test texts a budget is spent on: as the cascade does, and by the best point."""
    first, fused = clf.oof_proba_first_, clf.oof_proba_
    silent = np.zeros(len(first), dtype=bool)
    doubt = _cost_curve.doubt(first, silent, clf.multilabel_)
    clf.set_params(budget=budget)
    rows = (first, fused, doubt, y, clf.classes_, texts)
    best = _spend.best_share(clf.cost_curve_, 0.0, budget)
    worth = _spend.chosen_shares(clf, clf.cost_curve_, budget, None, rows)[1]
    masks = {}
    for way, share in {"best point": best, "spent": worth}.items():
        clf.threshold_ = _cost_curve.threshold(doubt, int(share * len(first) + 1e-9))
        masks[way] = clf.asks(asked)
    return masks


def mix(one, two, mask):
    """Rows of ``two`` where the mask is on, else of ``one``."""
    return np.where(mask.reshape(-1, *[1] * (one.ndim - 1)), two, one)


def right(predicted, data, test):
    """Accuracy, or for several labels per text exact match."""
    return float(_contest.hits(predicted, data.y[test]).mean())


def run(quick=False):
    """Measure cost against accuracy on every data set."""
    sets, sizes, n_draws = SETS, SIZES, N_DRAWS
    if quick:
        sets, sizes, n_draws = SETS[:1], (60,), 1
    results = {"shares": SHARES, "sizes": sizes, "draws": n_draws, "sets": {}}
    for data in _contest.load_sets(*sets):
        data = _contest.head(data, 200) if quick else data
        embed(data.texts)  # once, in batches
        cells = []
        for size in sizes:
            draws = []
            for seed in range(FIRST_DRAW, FIRST_DRAW + n_draws):
                train, test = _contest.split(data, size, seed)
                if not data.multilabel and np.bincount(data.y[train]).min() < 2:
                    continue
                test = np.random.default_rng(seed).permutation(test)[:MAX_TEST]
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # silent rows, labels that are never on
                    draws.append(compare(data, train, test, seed))
            cells.append(draws)
        results["sets"][f"{data.name}, {data.llm}"] = cells
        print(f"{data.name}, {data.llm}: done", flush=True)
    return results


def _scores(draws, method):
    return np.array([draw[method] for draw in draws])  # (draws, shares)


def _cells(draws):
    """One cell per share: the three methods, or at the ends the one or two that differ."""
    mean = {method: _scores(draws, method).mean(axis=0) for method in METHODS}
    cells = []
    for column, share in enumerate(SHARES):
        shown = METHODS if 0 < share < 1 else METHODS[:1] if share == 0 else METHODS[::2]
        cells.append(" / ".join(f"{mean[method][column]:.3f}" for method in shown))
    share = np.mean([draw["chosen"]["share"] for draw in draws])
    score = np.mean([draw["chosen"]["score"] for draw in draws])
    return [*cells, f"{score:.3f} at {share:.0%}"]


def gains(results, column, other):
    """Gain of the cascade over another method at a share: the mean of each data set."""
    return [
        np.concatenate(
            [(_scores(d, "cascade") - _scores(d, other))[:, column] for d in cells if d]
        ).mean()
        for cells in results["sets"].values()
    ]


def table(results):
    """One row per data set and size, the means, and the paired gains."""
    rows = []
    for name, cells in results["sets"].items():
        for size, draws in zip(results["sizes"], cells, strict=True):
            if draws:
                rows.append([name, size, *_cells(draws)])
    everything = [cell for cells in results["sets"].values() for cell in cells if cell]
    mean = [
        {
            **{method: _scores(draws, method).mean(axis=0).tolist() for method in METHODS},
            "chosen": {
                key: float(np.mean([draw["chosen"][key] for draw in draws]))
                for key in ("share", "score")
            },
        }
        for draws in everything
    ]
    rows.append(["mean", "", *_cells(mean)])
    for other in METHODS[1:]:
        cells = [
            _contest.paired_cell(gains(results, column, other)) if 0 < share < 1 else ""
            for column, share in enumerate(results["shares"])
        ]
        rows.append([f"cascade minus {other}", "", *cells, ""])
    header = ["data, LLM", "labels", *(f"{share:.0%} asked" for share in results["shares"])]
    return [*header, "left to itself"], rows


def budget_table(results):
    """One row per budget and number of labels: what is asked, and the score that it brings."""
    rows = []
    for budget in map(str, BUDGETS):
        for place, size in enumerate(results["sizes"]):
            sets = {name: cells[place] for name, cells in results["sets"].items() if cells[place]}
            found = {
                name: np.mean(
                    [[d["budgets"][budget][way] for way in _WAYS] for d in draws], axis=0
                )
                for name, draws in sets.items()
            }  # name -> (way, [share, score])
            names = [name.split(",")[0] for name in found]
            values = np.array(list(found.values()))  # (set, way, [share, score])
            mean = [
                [by_group(names, values[:, w, k], family).mean() for w in (0, 1)] for k in (0, 1)
            ]
            shares = [f"{100 * share:.0f} %" for share in mean[0]]
            scores = [f"{score:.3f}" for score in mean[1]]
            gain = interval_cell(names, values[:, 1, 1] - values[:, 0, 1], family)
            rows.append([f"{100 * float(budget):.0f} %", size, *shares, *scores, gain])
    header = ["budget", "labels", "asked, best point", "asked, spent"]
    return [*header, "score, best point", "score, spent", "gain (95 %)"], rows


_WAYS = ("best point", "spent")


def draw(results):
    """Mean over data sets of each method at each share."""
    from sklfusion.plotting import CostCurveDisplay

    everything = [cell for cells in results["sets"].values() for cell in cells if cell]
    names = {
        "cascade": "cascade",
        "random": "texts at random, fused",
        "replacement": "most doubtful texts, replaced",
    }
    scores = {
        label: np.mean([_scores(draws, method).mean(axis=0) for draws in everything], axis=0)
        for method, label in names.items()
    }
    display = CostCurveDisplay(
        results["shares"], scores, score_name="mean accuracy or exact match"
    )
    return display.plot().figure_


if __name__ == "__main__":
    _contest.program("cascade", run, table, draw, **MADE)
