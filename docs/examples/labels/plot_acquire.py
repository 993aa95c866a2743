"""
Which texts to label next
=========================

:class:`~sklfusion.LabelAcquirer` draws more of the texts that the model is unsure of, each with a
probability that is kept. The gain over random texts is small; what matters as much is that shares
can still be told from texts so drawn.
"""

# %%
# A pool of 200 briefs; ``floor=1`` draws evenly, for comparison. The person who labels is the gold
# label here.

import numpy as np

from sklfusion import FusionClassifier, LabelAcquirer, RobertaEmbedder
from sklfusion.datasets import load_newsdesk

desk = load_newsdesk()
rng = np.random.default_rng(0)
order = rng.permutation(300)
X = np.hstack([RobertaEmbedder().fit_transform(desk.data), np.log(desk.answers.probs + 1e-4)])
pool, test = order[:200], order[200:]
model = FusionClassifier(
    score_columns=slice(-6, None), score_classes=desk.target_names, random_state=0
)


def accuracies(floor, seed):
    """Accuracy on the test rows after each of four batches."""
    acquirer = LabelAcquirer(model, batch_size=20, floor=floor, random_state=seed).fit(X[pool])
    curve = []
    for _ in range(4):
        batch = acquirer.query()
        acquirer.add(batch.rows, desk.target[pool][batch.rows])
        curve.append(acquirer.refit().score(X[test], desk.target[test]))
    return curve


curves = {
    "by doubt": np.array([accuracies(0.3, seed) for seed in range(4)]),
    "at random": np.array([accuracies(1.0, seed) for seed in range(4)]),
}

# %%
import matplotlib.pyplot as plt

from sklfusion.plotting import tidy

labels = [20, 40, 60, 80]
fig, ax = plt.subplots(figsize=(6.4, 3.6), layout="constrained")
for (name, curve), color in zip(curves.items(), ("#009E73", "#999999"), strict=True):
    ax.plot(labels, curve.T, color=color, alpha=0.3, lw=1)
    ax.plot(labels, curve.mean(axis=0), color=color, lw=2.6, marker="o", label=name)
ax.set_xticks(labels)
ax.set(xlabel="labels", ylabel="accuracy on 100 briefs")
ax.legend(frameon=False)
tidy(ax)
plt.show()

# %%
# Four draws of one small pool show nothing that could be relied on: thin lines are the draws.
# :doc:`/acquire` has the figures over many data sets.
