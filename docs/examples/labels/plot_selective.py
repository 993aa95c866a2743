"""
Answers that you may act on unseen
==================================

:class:`~sklfusion.SelectiveClassifier` answers where an accuracy is promised, and abstains
elsewhere.
"""

# %%
# 150 labelled briefs, and a promise of 90 % on what is answered.

import numpy as np

from sklfusion import FusionClassifier, RobertaEmbedder, SelectiveClassifier
from sklfusion.datasets import load_newsdesk

desk = load_newsdesk()
order = np.random.default_rng(0).permutation(300)
X = np.hstack([RobertaEmbedder().fit_transform(desk.data), np.log(desk.answers.probs + 1e-4)])
X, y = X[order], desk.target[order]
model = FusionClassifier(
    score_columns=slice(-6, None), score_classes=desk.target_names, random_state=0
)
sure = SelectiveClassifier(model, target_accuracy=0.9, random_state=0).fit(X[:150], y[:150])
print(f"answers {sure.coverage_:.0%}, right in at least {sure.accuracy_bound_:.1%} of cases")

# %%
# ``None`` is no answer: such a text goes to a person.

sure.predict(X[150:])[:10].tolist()

# %%
# On 150 other briefs: the surest first, and the dot where the promise stops.

import matplotlib.pyplot as plt

from sklfusion.plotting import RiskCoverageDisplay

display = RiskCoverageDisplay.from_estimator(sure, X[150:], y[150:])
display.ax_.set_ylim(0.85, 1.005)
plt.show()
