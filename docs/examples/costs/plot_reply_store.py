"""
Every answer is paid once
=========================

With ``memory=`` answers are kept by text in a file. A cross-validation, a grid search, a second
script: none of them asks again what has been answered.
"""

# %%
# The endpoint runs on this machine, answers at once, and keeps a ledger of what it was asked.

import tempfile

from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline

from sklfusion import LLMScorer
from sklfusion.datasets import load_newsdesk
from sklfusion.testing import FaultServer

desk = load_newsdesk()
texts, labels = desk.data[::3], desk.target[::3]


def requests_of_a_working_day(server, memory):
    """Requests so far, after each of four steps."""
    llm = LLMScorer(
        "any", classes=desk.target_names, base_url=server.base_url, strategy="label", memory=memory
    )
    model = make_pipeline(llm, LogisticRegression())
    so_far = {}
    model.fit(texts, labels)
    so_far["a fit"] = server.ledger().billed
    cross_val_score(model, texts, labels, cv=5)
    so_far["cross-validation"] = server.ledger().billed
    grid = GridSearchCV(model, {"logisticregression__C": [0.1, 1, 10]}, cv=5)
    grid.fit(texts, labels)
    so_far["a grid search"] = server.ledger().billed
    grid.predict(texts)
    so_far["predictions"] = server.ledger().billed
    return so_far


with FaultServer() as server:
    without = requests_of_a_working_day(server, None)
with FaultServer() as server, tempfile.TemporaryDirectory() as folder:
    stored = requests_of_a_working_day(server, folder)
without, stored

# %%
import matplotlib.pyplot as plt

from sklfusion.plotting import tidy

fig, ax = plt.subplots(figsize=(6.4, 3.6), layout="constrained")
for name, counts, color in (
    ("without memory", without, "#D55E00"),
    ("with memory", stored, "#009E73"),
):
    lines = ax.plot(list(counts), list(counts.values()), marker="o", color=color, label=name)
    ax.annotate(
        str(counts["predictions"]), (3, counts["predictions"]), (6, -3), textcoords="offset points"
    )
ax.set(ylabel="requests paid for, 100 texts", xlim=(-0.2, 3.5), ylim=(0, None))
ax.legend(frameon=False)
tidy(ax)
plt.show()
