"""
Fuse answers that you already have
==================================

Somebody has asked an LLM before, and left a table of texts and answers. :class:`~sklfusion
.RecordedScorer` makes columns of it, and :class:`~sklfusion.FusionClassifier` fuses them with an
encoder. Texts without an answer are no problem: the fusion falls back to the encoder.
"""

# %%
# The table is a dict from text to label, as read from any CSV file.

import numpy as np
from sklearn.metrics import accuracy_score
from sklearn.model_selection import train_test_split

from sklfusion import FusionClassifier, RecordedScorer, RobertaEmbedder
from sklfusion.datasets import load_newsdesk

desk = load_newsdesk()
table = dict(zip(desk.data, desk.answers.labels(), strict=True))
table[desk.data[0]]

# %%
# One column per class. A text that is not in the table would be named in a warning.

scorer = RecordedScorer(table, classes=desk.target_names)
llm = scorer.fit_transform(desk.data)
encoder = RobertaEmbedder().fit_transform(desk.data)
train, test = train_test_split(np.arange(300), train_size=60, stratify=desk.target, random_state=0)


def fused_accuracy(llm):
    """Accuracy of the fusion on the test rows."""
    X = np.hstack([encoder, llm])
    columns = slice(encoder.shape[1], None)
    clf = FusionClassifier(
        score_columns=columns, score_classes=scorer.classes_.tolist(), random_state=0
    )
    clf.fit(X[train], desk.target[train])
    return accuracy_score(desk.target[test], clf.predict(X[test]))


fused_accuracy(llm)

# %%
# How many answers may be missing? A row of NaN is "no answer". Take more and more away, for
# training and test rows alike.

import matplotlib.pyplot as plt

from sklfusion.plotting import METHOD_COLORS, tidy

shares = [0.1, 0.3, 0.5, 0.7, 0.9]
order = np.random.default_rng(0).permutation(300)
accuracies = []
for share in shares:
    fewer = llm.copy()
    fewer[order[: int(share * 300)]] = np.nan
    accuracies.append(fused_accuracy(fewer))

alone = FusionClassifier(score_columns=None, random_state=0)
alone.fit(encoder[train], desk.target[train])

fig, ax = plt.subplots(figsize=(6.4, 3.6), layout="constrained")
ax.plot(shares, accuracies, color=METHOD_COLORS["fusion"], marker="o", lw=2.6, label="fusion")
ax.axhline(
    alone.score(encoder[test], desk.target[test]),
    color=METHOD_COLORS["encoder alone"],
    label="encoder alone",
)
ax.set(xlabel="share of texts without an answer", ylabel="accuracy on 240 briefs")
ax.legend(frameon=False)
tidy(ax)
plt.show()
