"""
The price first, and a budget
=============================

``estimate`` counts requests, tokens and money, and sends nothing. ``budget`` stops a job before a
limit is passed, and a later run goes on where it stopped.
"""

# %%
# Prices are yours to give: per million tokens in and out, from the page of your provider. What is
# not known yet, such as how long a model thinks before it answers, is guessed with caution.

import tempfile

from sklfusion import BudgetExceededError, LLMScorer
from sklfusion.datasets import load_newsdesk
from sklfusion.testing import FaultServer

desk = load_newsdesk()
settings = {"classes": desk.target_names, "prices": (0.05, 0.40)}
llm = LLMScorer("openai/gpt-5-nano", strategy="label", **settings).fit(desk.data)
llm.estimate(desk.data)

# %%
# What a question costs depends on how it is put: one label, a number for each class, five votes.
# The endpoint here runs on this machine, answers at once without thinking, and keeps a ledger.

server = FaultServer().start()
folder = tempfile.TemporaryDirectory()
llm = LLMScorer("any", base_url=server.base_url, memory=folder.name, **settings)
money = {}
for strategy in ("label", "probabilities", "votes"):
    llm.set_params(strategy=strategy).fit(desk.data)
    money[strategy] = llm.estimate(desk.data)["cost"]

# %%
import matplotlib.pyplot as plt

from sklfusion.plotting import tidy

fig, ax = plt.subplots(figsize=(6.4, 3.2), layout="constrained")
bars = ax.bar(list(money), list(money.values()), color="#E69F00")
ax.bar_label(bars, fmt="%.4f")
ax.set(xlabel="strategy", ylabel="estimate for 300 briefs")
tidy(ax)
plt.show()

# %%
# A budget that is too small: the job stops before it is passed, and says what to do.

llm.set_params(strategy="label", budget={"requests": 100}).fit(desk.data)
try:
    llm.transform(desk.data)
except BudgetExceededError as error:
    print(error)

# %%
# With a larger one it goes on. Nothing was lost, and nothing is paid twice. What it cost in all is
# what was told before.

llm.set_params(budget={"requests": 400}).transform(desk.data)
ledger = server.ledger()
server.stop()
folder.cleanup()
print("answered:", ledger.billed, "paid twice:", ledger.avoidable)
print(f"estimated {money['label']:.5f}, spent {llm.usage_.cost:.5f}")
