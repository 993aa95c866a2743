"""FusionBench: any classifier on embeddings and recorded LLM answers, beside stored rivals.

>>> from sklearn.linear_model import LogisticRegression
>>> from benchmarks import fusionbench
>>> entry = fusionbench.run(LogisticRegression(max_iter=1000))  # doctest: +SKIP
>>> fusionbench.show(entry)  # doctest: +SKIP
"""

from benchmarks.fusionbench._run import run as run
from benchmarks.fusionbench._run import show as show
from benchmarks.fusionbench._task import Task as Task
