"""Lists of labels as a model writes them: which labels they name, and where each begins."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from sklfusion._validation import normalize_label

# What stands between two labels of a list, and what may stand around one.
_SEPARATORS = frozenset(",;|\n[]{}")
_NEUTRAL = frozenset(" \t\r\"'`“”‘’-*•")


def label_starts(tokens: Iterable[str]) -> list[int]:
    """Return the positions of the tokens with which a label of a list begins.

    A label begins at the first word character after the start of the answer or after a
    separator (comma, semicolon, bar, line end, bracket). What follows within the label is a
    continuation, whatever it looks like: "express" in "joy express" starts no label. A token
    that ends one label and begins the next in one piece is left out: its probability is not
    that of a label's first token.

    Parameters
    ----------
    tokens : sequence of str
        Text of each generated token, in order.

    Examples
    --------
    >>> from sklfusion.prompts._label_lists import label_starts
    >>> label_starts([' ["', "joy", '",', ' "', "ang", "er", '"]'])
    [1, 4]
    """
    starts: list[int] = []
    at_start = True
    for position, token in enumerate(tokens):
        clean = True  # no word character of an earlier label in this token yet
        for character in token:
            if character in _SEPARATORS:
                at_start = True
            elif character not in _NEUTRAL:
                if at_start and clean:
                    starts.append(position)
                at_start = clean = False
    return starts


def parse_label_list(
    text: str, labels: Sequence[Any], none_label: str = "none"
) -> npt.NDArray[np.float64] | None:
    """Return the labels that a generated list names, as a 0/1 array of shape (K,), or None.

    Only exact names count, after case, spaces and quotes are folded. None means that the text
    names neither a label nor ``none_label``.
    """
    index = {normalize_label(str(label)): k for k, label in enumerate(labels)}
    votes, known = np.zeros(len(labels)), False
    for separator in _SEPARATORS:
        text = text.replace(separator, ",")
    for part in text.split(","):
        name = normalize_label(part)
        known |= name in index or name == normalize_label(none_label)
        if name in index:
            votes[index[name]] = 1.0
    return votes if known else None
