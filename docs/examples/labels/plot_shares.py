"""
What share of my texts is X, with an interval
=============================================

Counting what a classifier says carries its errors into the share.
:class:`~sklfusion.PrevalenceEstimator` corrects them with labels drawn at random, and says how
sure that is.
"""

# %%
# A pool of 160 briefs in which desks are not equally frequent; sixty of them are labelled.

import numpy as np

from sklfusion import FusionClassifier, PrevalenceEstimator, RobertaEmbedder
from sklfusion.datasets import load_newsdesk

desk = load_newsdesk()
rng = np.random.default_rng(3)
names = np.array(desk.target_names)
keep = dict(zip(names, (1.0, 0.3, 0.4, 0.8, 0.3, 0.4), strict=True))
pool = np.array([i for i in range(300) if rng.random() < keep[desk.target[i]]])
rng.shuffle(pool)
X = np.hstack([RobertaEmbedder().fit_transform(desk.data), np.log(desk.answers.probs + 1e-4)])
X, y = X[pool], desk.target[pool]

model = FusionClassifier(
    score_columns=slice(-6, None), score_classes=desk.target_names, random_state=0
)
shares = PrevalenceEstimator(model, random_state=0).fit(X[:60], y[:60])
answer = shares.estimate(X)
answer.to_frame().round(3)

# %%
# The truth is known here: the crosses.

import matplotlib.pyplot as plt

from sklfusion.plotting import PrevalenceDisplay

display = PrevalenceDisplay(answer).plot()
truth = [(y == name).mean() for name in answer.classes]
display.ax_.plot(truth, range(len(truth))[::-1], "x", color="#D55E00", ms=8, mew=2, label="truth")
display.ax_.legend(frameon=False)
plt.show()

# %%
# How many more labels would bring intervals of five points?

dict(zip(names.tolist(), shares.plan(width=0.05).labels_more.tolist(), strict=True))
