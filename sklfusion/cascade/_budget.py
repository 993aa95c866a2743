"""What asking an LLM about texts may take: a share of them, or money. Used by `cascade`."""

import numbers
from collections.abc import Mapping

import numpy as np

_PRICED_TEXTS = 200  # enough for a mean price


def read_budget(budget):
    """Return ("share", s) or ("money", x per 1,000 texts).

    Raises
    ------
    ValueError
        If the budget is neither None, a share in [0, 1], nor ``{"money": x}`` with x >= 0.
    """
    if budget is None:
        return "share", 1.0
    kind, amount = "share", budget
    if isinstance(budget, Mapping):
        kind, amount = "money", budget.get("money") if list(budget) == ["money"] else None
    real = isinstance(amount, numbers.Real) and not isinstance(amount, bool)
    if not real or not 0 <= amount <= (1 if kind == "share" else float("inf")):
        raise ValueError(
            f"CascadeClassifier got budget={budget!r}; it needs None, a share of the texts in "
            "[0, 1], or {'money': x} for x per 1,000 texts."
        )
    return kind, float(amount)


def mean_price(llm, texts):
    """Return the price of asking a fitted LLM about one text that is not stored.

    None if the LLM cannot tell. Sends nothing.
    """
    if not hasattr(llm, "estimate"):
        return None
    # A line break makes another text of the same price, which nobody has asked about.
    fresh = [f"{text}\n" for text in dict.fromkeys(texts) if text.strip()][:_PRICED_TEXTS]
    told = llm.estimate(fresh)
    return None if told["cost"] is None else told["cost"] / max(told["requests"], 1)


def largest_share(budget, price):
    """Return the largest share of texts that a budget allows.

    Raises
    ------
    ValueError
        If the budget is money and the price is None.
    """
    kind, amount = read_budget(budget)
    if kind == "share":
        return amount
    if price is None:
        raise ValueError(
            f"CascadeClassifier got budget={budget!r}, but the price of its LLM is not known. "
            "Pass prices= to the LLMScorer, or a share of the texts as budget."
        )
    return min(1.0, amount / (1000 * price)) if price else 1.0


def affordable(budget, llm, order, texts):
    """Return the first rows of ``order`` that a budget for these texts pays for.

    Parameters
    ----------
    budget : see :func:`read_budget`
    llm : fitted scorer or classifier
        Its ``estimate`` prices texts; those that are stored are free.
    order : ndarray of int
        Rows of ``texts`` in the order in which they are asked about.
    texts : list of str
        All texts of the call, distinct.
    """
    kind, amount = read_budget(budget)
    if kind == "share":
        return order[: int(amount * len(texts) + 1e-9)]
    few, many = 0, len(order)
    while few < many:  # the largest number whose price fits, by bisection
        middle = (few + many + 1) // 2
        price = llm.estimate([texts[i] for i in order[:middle]])["cost"]
        few, many = (middle, many) if price <= amount * len(texts) / 1000 else (few, middle - 1)
    return order[:few]


def rows_to_ask(n_fit, y, multilabel, rng):
    """Return the training rows that the LLM is asked about, two of every class among them."""
    if n_fit is None or n_fit >= len(y):
        return np.arange(len(y))
    order = rng.permutation(len(y))
    if multilabel:
        return np.sort(order[:n_fit])
    early = np.concatenate([order[y[order] == label][:2] for label in np.unique(y)])
    rest = order[~np.isin(order, early)]
    return np.sort(np.concatenate([early, rest])[: max(n_fit, len(early))])
