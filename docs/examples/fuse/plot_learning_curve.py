"""
Learning curves, and where there is no gain
===========================================

:class:`~sklfusion.plotting.DataEfficiencyDisplay` shows accuracy by the number of labelled rows. A
fusion gains most where labels are few and the LLM knows something; with many labels the encoder
catches up, and an LLM that guesses brings nothing.
"""

# %%
# Embeddings and recorded answers side by side are a plain matrix; estimators of one source take
# their part of the columns.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedShuffleSplit
from sklearn.pipeline import make_pipeline

from sklfusion import FusionClassifier, RobertaEmbedder
from sklfusion.datasets import load_newsdesk
from sklfusion.plotting import DataEfficiencyDisplay

desk = load_newsdesk()
encoder = RobertaEmbedder().fit_transform(desk.data)
answers = np.log(desk.answers.probs + 1e-4)
width = encoder.shape[1]

methods = {
    "encoder alone": make_pipeline(
        ColumnTransformer([("encoder", "passthrough", slice(0, width))]),
        LogisticRegression(C=10, max_iter=1000),
    ),
    "fusion": FusionClassifier(
        score_columns=slice(width, None), score_classes=desk.target_names, random_state=0
    ),
}
draws = StratifiedShuffleSplit(4, test_size=120, random_state=0)

# %%
# On the left the answers as they were recorded; on the right they were shuffled between the texts,
# as if the LLM guessed. The fusion notices from the labels, and does not fall below the encoder
# for long.

fig, axes = plt.subplots(1, 2, figsize=(9.6, 3.8), sharey=True, layout="constrained")
shuffled = np.random.default_rng(0).permutation(answers)
for ax, said, title in zip(
    axes, (answers, shuffled), ("an LLM that knows", "an LLM that guesses"), strict=True
):
    X = np.hstack([encoder, said])
    DataEfficiencyDisplay.from_estimators(
        methods, X, desk.target, train_sizes=[12, 30, 75, 180], cv=draws, ax=ax
    )
    llm_alone = np.mean(np.array(desk.target_names)[said.argmax(axis=1)] == desk.target)
    ax.axhline(llm_alone, color="#E69F00", label="LLM alone")
    ax.legend(frameon=False)
    ax.set_title(title)
plt.show()
