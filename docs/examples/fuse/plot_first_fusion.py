"""
A first fusion
==============

An LLM answers about 300 news briefs, an encoder embeds them, and forty-eight labels teach
:class:`~sklfusion.FusionClassifier` how far to trust each.
"""

# %%
# The answers of the LLM were recorded, so nothing is asked here. In your own project put the name
# of a model, such as ``llm="openai/gpt-5-nano"``, in place of the recorded scorer.

from sklearn.metrics import accuracy_score
from sklearn.model_selection import train_test_split

from sklfusion import AutoFusionClassifier, RecordedScorer
from sklfusion.datasets import load_newsdesk

desk = load_newsdesk()
recorded = RecordedScorer(desk.answers, texts=desk.data)
train_texts, test_texts, train_labels, test_labels = train_test_split(
    desk.data, desk.target, train_size=48, stratify=desk.target, random_state=0
)
train_texts[0], train_labels[0]

# %%
# Fit and predict as with any classifier of scikit-learn.

clf = AutoFusionClassifier(llm=recorded, random_state=0).fit(train_texts, train_labels)
accuracy_score(test_labels, clf.predict(test_texts))

# %%
# Each part alone, with the same rows. ``llm=None`` leaves the LLM out, and the LLM alone needs no
# labels: its most probable class is its answer.

encoder = AutoFusionClassifier(llm=None, random_state=0).fit(train_texts, train_labels)
scorer = clf.scorer_
llm_labels = scorer.classes_[scorer.transform(test_texts).argmax(axis=1)]
scores = {
    "LLM alone": accuracy_score(test_labels, llm_labels),
    "encoder alone": accuracy_score(test_labels, encoder.predict(test_texts)),
    "fusion": accuracy_score(test_labels, clf.predict(test_texts)),
}

# %%
import matplotlib.pyplot as plt

from sklfusion.plotting import METHOD_COLORS, tidy

fig, ax = plt.subplots(figsize=(6.4, 3.2), layout="constrained")
bars = ax.bar(list(scores), list(scores.values()), color=[METHOD_COLORS[name] for name in scores])
ax.bar_label(bars, fmt="%.2f")
ax.set(ylabel="accuracy on 252 other briefs", ylim=(0, 1.05))
tidy(ax)

# %%
# One draw of forty-eight rows proves little; :ref:`the learning curve
# <sphx_glr_auto_examples_fuse_plot_learning_curve.py>` repeats it over draws and label budgets.
# What the fusion learned to trust is part of the model.

from sklfusion.plotting import SourceTrustDisplay

SourceTrustDisplay.from_estimator(clf)
plt.show()
