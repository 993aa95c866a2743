"""What a gold budget buys: selectors beside random rows at the same budget.

Run as ``python -m benchmarks.quality.noise_repair``. The student is logistic regression on MiniLM
embeddings; its C is chosen once per set on noisy validation labels. ``oracle`` asks about wrong
labels only and cannot be had. Five seeds move rows, folds and the random draws.
"""

import argparse

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split

from benchmarks._common import print_table, save_figure, write_json
from benchmarks.quality import _noise_sets
from sklfusion import LabelRepairClassifier
from sklfusion.noise import _selectors

NAME = "noise_repair"
SETS = ("SemEval/Mixtral", "MR/ChatGPT", "BABE/mistral_7b", "TREC/asymmetric")
BUDGETS = (0.05, 0.25, 0.5)
SELECTORS = ("random", "entropy", "student", "error_model", "neighbors", "sampled", "oracle")
SEEDS = 5
#: Selectors that draw rows at random: the mean of so many draws per seed.
DRAWS = {"random": 4, "sampled": 4}
#: What the results file says about its making.
MADE = {
    "seeds": f"seeds 0 to {SEEDS - 1}",
    "interval": "means over seeds",
}


def choose_student(data, seed):
    """The C that predicts noisy validation labels best."""
    known = np.flatnonzero(data.noisy >= 0)
    train, val = train_test_split(
        known, test_size=0.1, random_state=seed, stratify=data.noisy[known]
    )

    def noisy_accuracy(C):
        model = LogisticRegression(C=C, max_iter=1000).fit(data.X[train], data.noisy[train])
        return model.score(data.X[val], data.noisy[val])

    return LogisticRegression(C=max((0.3, 1.0, 3.0, 10.0), key=noisy_accuracy), max_iter=1000)


def run_draw(name, seed):
    """Accuracy for every selector and budget, and how many of the selected labels were wrong."""
    data = _noise_sets.load(name, seed)
    student = choose_student(data, seed)
    k = int(data.gold.max()) + 1
    proba = _selectors.out_of_fold_proba(student, data.X, data.noisy, k, seed=seed)
    wrong = (data.noisy != data.gold).astype(float)
    chosen = {
        "random": "random",
        "entropy": lambda X, codes, _: _selectors.row_entropy(proba),
        "student": lambda X, codes, _: _selectors.self_doubt(proba, codes),
        "error_model": "error_model",
        "neighbors": "neighbors",
        "sampled": "sampled",
        "oracle": lambda X, codes, _: wrong,
    }

    def accuracy(budget, selector="random", draw=0):
        model = LabelRepairClassifier(
            student, selector=chosen[selector], budget=budget, random_state=100 * draw + seed
        ).fit(data.X, data.gold, noisy=data.noisy)
        score = float(np.mean(model.predict(data.X_test) == data.y_test))
        return score, float(wrong[model.queried_].mean()) if budget else 0.0

    out = {"LLM labels": accuracy(0.0)[0], "gold labels": accuracy(1.0)[0]}
    for selector in SELECTORS:
        for budget in BUDGETS:
            runs = [accuracy(budget, selector, i) for i in range(DRAWS.get(selector, 1))]
            out[f"{selector} {budget:.0%}"], out[f"{selector} {budget:.0%} wrong"] = (
                float(v) for v in np.mean(runs, axis=0)
            )
    return out


def summarise(draws):
    """Means, deviations and paired gains over random."""
    out = {}
    for name, runs in draws.items():
        out[name] = {
            key: {
                "mean": float(np.mean([r[key] for r in runs])),
                "sd": float(np.std([r[key] for r in runs], ddof=1)) if len(runs) > 1 else 0.0,
            }
            for key in runs[0]
        }
        for selector in SELECTORS[1:]:
            for budget in BUDGETS:
                gain = [r[f"{selector} {budget:.0%}"] - r[f"random {budget:.0%}"] for r in runs]
                cell = out[name][f"{selector} {budget:.0%}"]
                cell["gain over random"] = float(np.mean(gain))
                cell["gain error"] = float(
                    np.std(gain, ddof=min(1, len(gain) - 1)) / len(gain) ** 0.5
                )
    return out


def table(results):
    """Header and rows; in brackets the share of wrong labels among the selected."""
    rows = []
    for name, row in results["summary"].items():
        for budget in BUDGETS:
            cells = [
                f"{100 * row[f'{s} {budget:.0%}']['mean']:.1f}"
                f" ({100 * row[f'{s} {budget:.0%} wrong']['mean']:.0f} %)"
                for s in SELECTORS
            ]
            ends = [f"{100 * row[e]['mean']:.1f}" for e in ("LLM labels", "gold labels")]
            rows.append([name, f"{budget:.0%}", ends[0], *cells, ends[1]])
    return ["set", "budget", "LLM labels", *SELECTORS, "gold labels"], rows


def wins(summary, selector):
    """On how many sets a selector beats random, per budget."""
    return [
        sum(r[f"{selector} {b:.0%}"]["gain over random"] > 0 for r in summary.values())
        for b in BUDGETS
    ]


def report(summary):
    """Print the table, and on how many sets each selector beats random."""
    print_table(*table({"summary": summary}))
    for selector in SELECTORS[1:-1]:
        print(f"{selector} beats random on {wins(summary, selector)} of {len(summary)} sets")


def draw_figure(summary):
    """Accuracy against budget per set."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(summary), figsize=(3.2 * len(summary), 3.2))
    for ax, (name, row) in zip(np.atleast_1d(axes), summary.items(), strict=True):
        for selector in SELECTORS:
            y = [row["LLM labels"], *(row[f"{selector} {b:.0%}"] for b in BUDGETS)]
            style = {"random": "k--", "oracle": "k:"}.get(selector, "o-")
            ax.plot([0, *BUDGETS], [100 * v["mean"] for v in y], style, label=selector)
        ax.set_title(name, fontsize=9)
        ax.set_xlabel("share of gold labels")
    np.atleast_1d(axes)[0].set_ylabel("accuracy, %")
    np.atleast_1d(axes)[0].legend(fontsize=7)
    figure.tight_layout()
    save_figure(figure, NAME)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="one set, one seed, nothing written")
    args = parser.parse_args()
    names, seeds = (SETS[-1:], 1) if args.quick else (SETS, SEEDS)
    draws = {name: [run_draw(name, seed) for seed in range(seeds)] for name in names}
    summary = summarise(draws)
    report(summary)
    if not args.quick:
        write_json(NAME, {"draws": draws, "summary": summary}, **MADE)
        draw_figure(summary)


if __name__ == "__main__":
    main()
