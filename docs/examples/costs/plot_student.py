"""
A student that needs no LLM
===========================

:func:`~sklfusion.distill` makes a small classifier of a fitted fusion. It asks nobody, and
says itself what it loses.
"""

# %%
# The teacher: a fusion of encoder and recorded answers, from 60 labels.

from sklfusion import AutoFusionClassifier, RecordedScorer, RobertaEmbedder, distill
from sklfusion.datasets import load_newsdesk

desk = load_newsdesk()
recorded = RecordedScorer(desk.answers, texts=desk.data)
teacher = AutoFusionClassifier(llm=recorded, random_state=0).fit(
    desk.data[:240:4], desk.target[:240:4]
)

# %%
# The student learns from what the teacher says of 240 texts, labelled or not. By default it reads
# static vectors, which need no encoder either; they are made once, in half a minute. Here the
# encoder that is loaded already makes them.

student = distill(teacher, desk.data[:240], embedder=RobertaEmbedder(), random_state=0)
student.report_["agreement"]

# %%
# On 60 texts that neither has seen:

import matplotlib.pyplot as plt

from sklfusion.plotting import tidy

new_texts, new_labels = desk.data[240:], desk.target[240:]
scores = {
    "LLM alone": (desk.answers.labels()[240:] == new_labels).mean(),
    "teacher": teacher.score(new_texts, new_labels),
    "student": student.score(new_texts, new_labels),
}
fig, ax = plt.subplots(figsize=(5.6, 3.2), layout="constrained")
bars = ax.bar(list(scores), list(scores.values()), color=["#E69F00", "#009E73", "#56B4E9"])
ax.bar_label(bars, fmt="%.2f")
ax.set(ylabel="accuracy on 60 new briefs", ylim=(0, 1.1))
tidy(ax)
plt.show()
