"""
Ask the LLM only where it pays
==============================

:class:`~sklfusion.CascadeClassifier` answers with a cheap classifier, and asks the LLM about
the texts of which that is least sure. Its cost curve says how many that should be.
"""

# %%
# At most 30 % of the texts may be asked about. ``fit`` looks at every share from none to all, on
# rows that the models have not seen.

from sklearn.model_selection import train_test_split

from sklfusion import CascadeClassifier, RecordedScorer
from sklfusion.datasets import load_newsdesk

desk = load_newsdesk()
recorded = RecordedScorer(desk.answers, texts=desk.data)
train_texts, test_texts, train_labels, test_labels = train_test_split(
    desk.data, desk.target, train_size=60, stratify=desk.target, random_state=0
)
clf = CascadeClassifier(llm=recorded, budget=0.3, random_state=0)
clf.fit(train_texts, train_labels)
clf.share_

# %%
# Which of the new texts would be asked about? Nothing is sent to find out.

asked = clf.asks(test_texts)
print(f"{asked.sum()} of {len(test_texts)}, such as: {test_texts[asked.argmax()]}")
clf.score(test_texts, test_labels)

# %%
import matplotlib.pyplot as plt

from sklfusion.plotting import CostCurveDisplay

CostCurveDisplay.from_estimator(clf)
plt.show()
