"""
Training on labels that an LLM wrote
====================================

A student trained on the labels of an LLM inherits its errors, and agrees less with itself from run
to run. :class:`~sklfusion.StabilityReport` measures both, and
:class:`~sklfusion.LabelRepairClassifier` spends a small budget of human labels where they help.
"""

# %%
# The small LLM is right on three briefs out of four. Two sets of labels for the same 200 training
# rows, gold and LLM:

import numpy as np
from sklearn.linear_model import LogisticRegression, SGDClassifier

from sklfusion import LabelRepairClassifier, RobertaEmbedder, StabilityReport
from sklfusion.datasets import load_newsdesk

desk = load_newsdesk()
order = np.random.default_rng(0).permutation(300)
X = RobertaEmbedder().fit_transform(desk.data)[order]
gold, llm = desk.target[order], desk.answers.labels()[order].astype(str)
train, test = slice(0, 200), slice(200, None)

report = StabilityReport(SGDClassifier(), n_runs=5)
table = report.compare(X[train], {"gold": gold[train], "LLM": llm[train]}, X[test], gold[test])
{name: round(table["LLM"][name], 3) for name in ("accuracy_mean", "accuracy_gap", "alpha")}

# %%
# Repair: a person looks at the rows that the selector doubts most, and at as many random ones for
# comparison.

budgets = [0.1, 0.2, 0.3, 0.4]
rows = []
for budget in budgets:
    repair = LabelRepairClassifier(
        LogisticRegression(C=10, max_iter=1000),
        selector="student",
        budget=budget,
        random_state=0,
    )
    rows.append(
        repair.compare_with_random(
            X[train],
            gold[train],
            noisy=llm[train],
            X_test=X[test],
            y_test=gold[test],
            n_random=3,
        )
    )
rows[0]

# %%
import matplotlib.pyplot as plt

from sklfusion.plotting import StabilityDisplay, tidy

fig, axes = plt.subplots(1, 2, figsize=(9.6, 3.6), layout="constrained")
StabilityDisplay.from_report(report).plot(ax=axes[0])
ax = axes[1]
ax.axhline(rows[0]["none"], color="#E69F00", label="no repair")
ax.plot(budgets, [row["random"] for row in rows], color="#999999", marker="o", label="random rows")
ax.plot(
    budgets, [row["selector"] for row in rows], color="#009E73", marker="o", label="doubtful rows"
)
ax.set(xlabel="share of rows that a person labels", ylabel="accuracy on 100 briefs")
ax.legend(frameon=False)
tidy(ax)
plt.show()
