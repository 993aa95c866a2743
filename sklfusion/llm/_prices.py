"""What calls cost, at the prices that the user gives. There are none in the code to go stale."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sklfusion._chat import Usage


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


def find_price(prices: Any, *, local: bool) -> Price | None:
    """Return the price that was given, None if there is none.

    Parameters
    ----------
    prices : None, mapping, or pair of float
        ``{"input": ..., "output": ..., "cached": ...}`` per million tokens, or
        ``(input, output)``. None: a local model is free, the price of others is not known.
    local : bool
        Whether the model runs in this process.

    Raises
    ------
    ValueError
        If ``prices`` is neither.
    """
    if prices is None:
        return Price(0.0, 0.0, source="local") if local else None
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
