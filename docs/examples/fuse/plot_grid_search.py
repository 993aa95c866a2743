"""
A grid search over the whole pipeline
=====================================

All parts are scikit-learn estimators, so a pipeline of them is searched like any other. With
``memory`` every text is embedded once, and with recorded or stored answers nothing is asked again,
however large the grid.
"""

# %%
import tempfile

from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import FeatureUnion, Pipeline

from sklfusion import FusionClassifier, RecordedScorer, RobertaEmbedder
from sklfusion.datasets import load_newsdesk

desk = load_newsdesk()
folder = tempfile.TemporaryDirectory()
pipeline = Pipeline(
    [
        (
            "sources",
            FeatureUnion(
                [
                    ("embedding", RobertaEmbedder(memory=folder.name)),
                    ("llm", RecordedScorer(desk.answers, texts=desk.data)),
                ]
            ),
        ),
        ("fusion", FusionClassifier(random_state=0)),
    ]
)

# %%
# Log-loss judges probabilities, not only labels. Parameters of any part can be searched, and a
# part itself: here, whether both sources are worth having.

grid = GridSearchCV(
    pipeline,
    [
        {"sources__llm": ["drop"]},
        {"sources__embedding": ["drop"]},
        {"fusion__class_weight": [None, "balanced"]},
    ],
    scoring="neg_log_loss",
    cv=StratifiedKFold(4, shuffle=True, random_state=0),
)
grid.fit(desk.data[::2], desk.target[::2])
print(grid.best_params_)

# %%
import matplotlib.pyplot as plt

from sklfusion.plotting import tidy

results = grid.cv_results_
names = ["encoder alone", "LLM alone", "both", "both, balanced classes"]
fig, ax = plt.subplots(figsize=(6.8, 3.2), layout="constrained")
ax.barh(names, -results["mean_test_score"], xerr=results["std_test_score"], color="#009E73")
ax.set_xlabel("log-loss, mean and spread of four folds (lower is better)")
tidy(ax)
plt.show()
folder.cleanup()
