"""
The evaluation report
=====================

:class:`~sklfusion.EvaluationReport` judges a model beside its parts and cheap rivals, on rows that
it has not seen, and writes one HTML file to show around.
"""

# %%
from sklfusion import AutoFusionClassifier, EvaluationReport, RecordedScorer
from sklfusion.datasets import load_newsdesk

desk = load_newsdesk()
recorded = RecordedScorer(desk.answers, texts=desk.data)
clf = AutoFusionClassifier(llm=recorded, random_state=0)
report = EvaluationReport.from_estimator(
    clf, desk.data[::3], desk.target[::3], X_test=desk.data[1::3], y_test=desk.target[1::3]
)
report.methods_

# %%
# Everything on the page is in ``to_dict`` too. The page itself is
# ``report.to_html("report.html")``.

import matplotlib.pyplot as plt
import numpy as np

from sklfusion.plotting import ReliabilityDisplay, tidy

methods = report.to_dict()["methods"]
accuracy = np.array([methods[name]["accuracy"] for name in report.methods_])
interval = np.array([methods[name]["accuracy_interval"] for name in report.methods_]).T

fig, ax = plt.subplots(figsize=(7.2, 3.6), layout="constrained")
ax.errorbar(accuracy, report.methods_, xerr=np.abs(interval - accuracy), fmt="o", color="#0072B2")
ax.invert_yaxis()
ax.set_xlabel("accuracy on 100 briefs, with Wilson's interval of 95 %")
tidy(ax)

# %%
# Are the probabilities of the fusion to be believed?

fusion = {"fusion": report.proba_["fusion"]}
ReliabilityDisplay(report.y_true_, fusion, classes=report.classes_, n_bins=5).plot()
plt.show()
