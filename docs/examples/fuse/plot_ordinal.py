"""
Ordered classes: set probabilities right with fifty labels
==========================================================

Models that answer with probabilities are often too sure, or off by a level. Fifty labels and
``loss="ordinal"``, which keeps the order of the levels, set that right.
"""

# %%
# The question: how many of the four briefs in a digest are about sport? The recorded answers about
# the single briefs give a distribution over 0 to 4, wrong by whatever is wrong with the small LLM.

import numpy as np

from sklfusion import FusionClassifier
from sklfusion.datasets import load_newsdesk

desk = load_newsdesk()
sport = desk.target_names.index("Sports")
says_sport = desk.answers.probs[:, sport]
rng = np.random.default_rng(0)
is_sport = desk.target == "Sports"


def distribution(chances):
    """Probabilities of 0 .. 4 hits, where each brief hits with its own chance."""
    total = np.ones(1)
    for chance in chances:
        total = np.convolve(total, [1 - chance, chance])
    return total


chance = np.where(is_sport, 0.5 / is_sport.sum(), 0.5 / (~is_sport).sum())
digests = [rng.choice(300, 4, replace=False, p=chance) for _ in range(400)]
levels = np.array([is_sport[briefs].sum() for briefs in digests])
said = np.array([distribution(says_sport[briefs]) for briefs in digests])
np.bincount(levels)

# %%
# Fifty digests are labelled; the others judge. No encoder here: the answers are the only columns.

from sklearn.metrics import log_loss

train, test = slice(0, 50), slice(50, None)
settings = {"classes": list(range(5)), "score_columns": slice(0, 5), "random_state": 0}
ordinal = FusionClassifier(loss="ordinal", **settings).fit(said[train], levels[train])
plain = FusionClassifier(**settings).fit(said[train], levels[train])
answers = {
    "as answered": said[test],
    "fusion, plain classes": plain.predict_proba(said[test]),
    "fusion, ordered classes": ordinal.predict_proba(said[test]),
}
{name: round(log_loss(levels[test], p), 3) for name, p in answers.items()}

# %%
# Reliability: of the answers with a probability of 0.8, eight in ten should be right.

import matplotlib.pyplot as plt

from sklfusion.plotting import ReliabilityDisplay

fig, axes = plt.subplots(1, 3, figsize=(10.5, 3.6), sharey=True, layout="constrained")
for ax, (name, p) in zip(axes, answers.items(), strict=True):
    ReliabilityDisplay(levels[test], {name: p}, classes=range(5), n_bins=6).plot(ax=ax)
    ax.set_title(name)
plt.show()
