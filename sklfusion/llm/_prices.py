"""What calls cost. Prices are given by the user; the table here is dated and only a fallback."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sklfusion.llm._types import Usage

#: Day on which the list prices below were written down.
PRICES_DATE = "2026-11-21"

# Currency units per million tokens: input, output, cached input. List prices change, and only
# models whose price we have seen stated are here; pass prices= for anything else.
_TABLE: dict[str, tuple[float, float, float]] = {
    "openai/gpt-5": (1.25, 10.0, 0.125),
    "openai/gpt-5-mini": (0.25, 2.0, 0.025),
    "openai/gpt-5-nano": (0.05, 0.40, 0.005),
    "openai/gpt-4o-mini": (0.15, 0.60, 0.075),
    "openai/gpt-4.1-mini": (0.40, 1.60, 0.10),
    "openai/gpt-4.1-nano": (0.10, 0.40, 0.025),
}


@dataclass(frozen=True)
class Price:
    """Price of a model, per million tokens in any one currency.

    Parameters
    ----------
    input, output : float
        Per million prompt and completion tokens.
    cached : float or None
        Per million prompt tokens that the provider served from its cache; ``input`` if None.
    source : str
        Where the numbers come from.
    """

    input: float
    output: float
    cached: float | None = None
    source: str = "prices="

    def halved(self) -> Price:
        """Return the price of the Batch API, which is half of this."""
        cached = None if self.cached is None else self.cached / 2
        return Price(self.input / 2, self.output / 2, cached, f"half of {self.source}")

    def cost(self, usage: Usage) -> float | None:
        """Return the price of one reply, None if the endpoint did not count its tokens."""
        if usage.prompt_tokens is None or usage.completion_tokens is None:
            return None
        cached = min(usage.cached_tokens or 0, usage.prompt_tokens)
        cached_price = self.input if self.cached is None else self.cached
        total = (usage.prompt_tokens - cached) * self.input + cached * cached_price
        return (total + usage.completion_tokens * self.output) / 1e6


def find_price(model: str, prices: Any, *, local: bool) -> Price | None:
    """Return the price of a model, None if it is not known.

    Parameters
    ----------
    model : str
        As the scorer's ``model``.
    prices : None, mapping, or pair of float
        ``{"input": ..., "output": ..., "cached": ...}`` per million tokens, or
        ``(input, output)``. None: a local model is free, others are looked up in the dated
        table.
    local : bool
        Whether the model runs in this process.

    Raises
    ------
    ValueError
        If ``prices`` is neither.
    """
    if prices is None:
        if local:
            return Price(0.0, 0.0, source="local")
        known = _TABLE.get(model)
        return Price(*known, source=f"list price of {PRICES_DATE}") if known else None
    try:
        if isinstance(prices, Mapping):
            values = [prices["input"], prices["output"], prices.get("cached")]
        else:
            input_price, output_price, *rest = prices
            values = [input_price, output_price, rest[0] if rest else None]
        cached = None if values[2] is None else float(values[2])
        price = Price(float(values[0]), float(values[1]), cached)
        if any(not 0 <= n < float("inf") for n in (price.input, price.output, cached or 0.0)):
            raise ValueError
        return price
    except (KeyError, TypeError, ValueError):
        raise ValueError(
            f"prices={prices!r}; it needs {{'input': x, 'output': y}} or (x, y), not negative, "
            "per million tokens."
        ) from None


def estimate_tokens(text: str) -> int:
    """Return a careful guess of a text's tokens without any tokenizer.

    About four characters a token in Latin letters, one in ideographs, between in other scripts:
    a third of the UTF-8 bytes beyond ASCII plus a quarter of the ASCII ones.

    Examples
    --------
    >>> estimate_tokens("twelve chars")
    3
    """
    size = len(text.encode("utf-8", "replace"))
    ascii_size = size if text.isascii() else sum(c < "\x80" for c in text)
    return (ascii_size + 3) // 4 + (size - ascii_size + 2) // 3
