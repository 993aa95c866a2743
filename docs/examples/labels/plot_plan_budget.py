"""
How many texts to label
=======================

:func:`~sklfusion.plan_budget` tells from some labels what more of them would bring, with a band,
and what they cost.
"""

# %%
# Forty labelled briefs, and the other texts as a pool without labels.

import numpy as np

from sklfusion import FusionClassifier, RobertaEmbedder, plan_budget
from sklfusion.datasets import load_newsdesk

desk = load_newsdesk()
order = np.random.default_rng(1).permutation(300)
X = np.hstack([RobertaEmbedder().fit_transform(desk.data), np.log(desk.answers.probs + 1e-4)])
X, y = X[order], desk.target[order]
model = FusionClassifier(
    score_columns=slice(-6, None), score_classes=desk.target_names, random_state=0
)
plan = plan_budget(
    model, X[:40], y[:40], X[40:], sizes=(60, 90, 130, 180), price_per_label=0.08, random_state=0
)
print(plan.told)
plan.to_frame().round(3)

# %%
# Was it true? The bundled briefs have all labels, so it can be looked up, on 120 briefs that no
# model was fitted on.

import matplotlib.pyplot as plt

from sklfusion.plotting import tidy

happened = [model.fit(X[:n], y[:n]).score(X[180:], y[180:]) for n in plan.n_labels]

fig, ax = plt.subplots(figsize=(6.4, 3.6), layout="constrained")
ax.fill_between(plan.n_labels, plan.low, plan.high, color="#009E73", alpha=0.2, lw=0)
ax.plot(plan.n_labels, plan.accuracy, color="#009E73", lw=2.6, label="told from 40 labels")
ax.plot(plan.n_labels, happened, "o", color="#333333", label="what one draw then gave")
for n, accuracy, cost in zip(plan.n_labels[1:], plan.accuracy[1:], plan.cost[1:], strict=True):
    ax.annotate(f"+ {cost:.2f}", (n, accuracy), (0, 9), textcoords="offset points", ha="center")
ax.set_xlim(30, 192)
ax.set(xlabel="labels (with the price of those to come)", ylabel="accuracy")
ax.legend(frameon=False, loc="lower right")
tidy(ax)
plt.show()
