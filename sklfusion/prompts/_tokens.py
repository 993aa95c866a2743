"""Reading scores off the log-probabilities of answer tokens.

Only first tokens are compared: the API gives no likelihood of a whole label. A token counts for
the one label that begins with it; a token that begins several labels counts for none, which shows
as lower coverage.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from sklfusion._validation import normalize_label
from sklfusion.llm._types import TokenLogprobs
from sklfusion.prompts._parse import ReplyError

Floats = npt.NDArray[np.float64]


class TokenIndex:
    """Finds the label that a token begins.

    Parameters
    ----------
    keys : sequence of str
        What the labels are called in the answer.
    """

    def __init__(self, keys: Sequence[str]) -> None:
        # Ids are told apart by case ("a", "A"), names are not.
        self._exact = len({normalize_label(key) for key in keys}) < len(keys)
        self._keys = [key if self._exact else normalize_label(key) for key in keys]
        self._seen: dict[str, int | None] = {}

    def position(self, token: str) -> int | None:
        """Return the position of the only label that begins with ``token``, else None."""
        if token not in self._seen:
            # Tokenizers write the space before a word as " ", "\u0120" or "\u2581".
            piece = token.strip(" \t\n\r\"'`*[{(:\u0120\u2581")
            if not self._exact:
                piece = normalize_label(piece)
            hits = [i for i, key in enumerate(self._keys) if piece and key.startswith(piece)]
            exact = [i for i in hits if self._keys[i] == piece]
            found = exact if len(exact) == 1 and len(hits) == 1 else hits
            self._seen[token] = found[0] if len(found) == 1 else None
        return self._seen[token]

    def mass(self, step: TokenLogprobs) -> tuple[Floats, float, float]:
        """Return the probability of each label at a step, of all listed tokens, and the least."""
        mass = np.zeros(len(self._keys))
        pairs = step.top or ((step.token, step.logprob),)
        listed, least = 0.0, 1.0
        for token, logprob in pairs:
            p = math.exp(logprob)
            listed += p
            least = min(least, p)
            position = self.position(token)
            if position is not None:
                mass[position] += p
        return mass, min(listed, 1.0), least


@functools.lru_cache(maxsize=64)
def token_index(keys: tuple[str, ...]) -> TokenIndex:
    """Return the index of a tuple of labels, shared so that each token is looked up once."""
    return TokenIndex(keys)


@functools.lru_cache(maxsize=4096)
def is_blank(token: str) -> bool:
    """Tell whether a token is only space, quotes or other decoration before an answer."""
    return not normalize_label(token.strip("[{(:\u0120\u2581"))


def label_logprobs(tokens: Iterable[TokenLogprobs], index: TokenIndex) -> tuple[Floats, float]:
    """Return the log-probability of every label, normalised, and the mass they had together.

    The first token that is not decoration decides. Labels that are not among the listed tokens
    get the smallest probability that is listed, or what is left over if that is less.

    Parameters
    ----------
    tokens : iterable of TokenLogprobs
        The answer.
    index : TokenIndex
        Of the labels.

    Returns
    -------
    logprobs : ndarray of shape (K,)
        Sums to 1 after ``exp``.
    coverage : float
        Mass on the labels before normalisation, in [0, 1].

    Raises
    ------
    ReplyError
        "no_logprobs" if there are none, "unknown_label" if no label has any mass.
    """
    steps = list(tokens)
    if not steps:
        raise ReplyError("no_logprobs")
    # With one token there is nothing after the decoration; the label is then among the others.
    step = next((t for t in steps if not is_blank(t.token)), steps[0])
    mass, listed, least = index.mass(step)
    coverage = float(min(mass.sum(), 1.0))
    if coverage <= 0:
        raise ReplyError("unknown_label")
    floor = max(min(least, 1.0 - listed), 1e-12)
    mass = np.where(mass > 0, mass, floor)
    return np.log(mass / mass.sum()), coverage


def yes_no_logits(tokens: Iterable[TokenLogprobs]) -> tuple[float, float, float]:
    """Return the log-probabilities of "yes" and "no", and their mass.

    Raises
    ------
    ReplyError
        As :func:`label_logprobs`.
    """
    logprobs, coverage = label_logprobs(tokens, token_index(("yes", "no")))
    return float(logprobs[0]), float(logprobs[1]), coverage


def step_probabilities(tokens: Sequence[TokenLogprobs], keys: Sequence[str]) -> Floats:
    """Return the label probabilities at every label step of a generated list.

    A label step is a token that begins a label while no label is being spelt out; separators and
    the rest of a label are skipped. The end of the list is a step as well, its last column
    ("none") being the mass that is on no label.

    Parameters
    ----------
    tokens : sequence of TokenLogprobs
        A generated JSON list of labels.
    keys : sequence of str
        What the labels are called.

    Returns
    -------
    ndarray of shape (S, K + 1)
        Rows sum to 1. Paper: arXiv 2505.17510, "max over generations".
    """
    index = TokenIndex(keys)
    folded = [normalize_label(key) for key in keys]
    rows = []
    pending = ""
    for step in tokens:
        piece = normalize_label(step.token.strip("[{(:\u0120\u2581"))
        if pending and piece and pending.startswith(piece):
            pending = pending[len(piece) :].lstrip()
            continue
        pending = ""
        position = index.position(step.token) if piece else None
        closing = "]" in step.token
        if position is None and not closing:
            continue
        mass, _, _ = index.mass(step)
        none = max(1.0 - mass.sum(), 0.0)
        row = np.append(mass, none)
        rows.append(row / row.sum())
        if position is not None:
            pending = folded[position][len(piece) :].lstrip()
    return np.array(rows).reshape(-1, len(keys) + 1)
