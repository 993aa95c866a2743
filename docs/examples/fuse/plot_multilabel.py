"""
Several labels per text, with thresholds
========================================

A fixed cut at 0.5 is best for few labels. :class:`~sklfusion.MultiLabelThresholds` chooses one for
each label, on rows that the model has not seen, and keeps 0.5 where that is no better.
"""

# %%
# Digests of one to three news briefs: the labels are the desks of the briefs. Some desks are rare.

import numpy as np

from sklfusion import MultiLabelThresholds, RobertaEmbedder
from sklfusion.datasets import load_newsdesk

desk = load_newsdesk()
rng = np.random.default_rng(0)
names = np.array(desk.target_names)
chance = np.array([0.35, 0.05, 0.1, 0.2, 0.05, 0.25])[np.searchsorted(names, desk.target)]


def digest():
    """Text and label indicator of one digest."""
    briefs = rng.choice(300, rng.integers(1, 4), replace=False, p=chance / chance.sum())
    return " ".join(desk.data[i] for i in briefs), np.isin(names, desk.target[briefs])


texts, labels = zip(*(digest() for _ in range(300)), strict=True)
y = np.array(labels).astype(int)
X = RobertaEmbedder().fit_transform(list(texts))
dict(zip(names.tolist(), y.sum(axis=0).tolist(), strict=True))

# %%
# Any classifier of label indicators goes inside.

from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier

plain = OneVsRestClassifier(LogisticRegression()).fit(X[:150], y[:150])
tuned = MultiLabelThresholds(plain, scoring="f1").fit(X[:150], y[:150])
tuned.thresholds_.round(2), tuned.tuned_

# %%
import matplotlib.pyplot as plt
from sklearn.metrics import f1_score

from sklfusion.plotting import tidy

f1 = {
    "cut at 0.5": f1_score(y[150:], plain.predict(X[150:]), average=None),
    "chosen thresholds": f1_score(y[150:], tuned.predict(X[150:]), average=None),
}
fig, ax = plt.subplots(figsize=(7.2, 3.6), layout="constrained")
place = np.arange(len(names))
for shift, color, (name, values) in zip(
    (-0.2, 0.2), ("#999999", "#009E73"), f1.items(), strict=True
):
    ax.bar(place + shift, values, 0.4, color=color, label=f"{name}: mean {values.mean():.2f}")
ax.set_xticks(place, names)
ax.set(ylabel="F1 on 150 other digests", ylim=(0, 1.15))
ax.legend(frameon=False, ncols=2)
tidy(ax)
plt.show()
