"""The record of a labelling: what was asked, with which probability, and what was answered."""

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from sklfusion._validation import is_missing, plain_label

#: Of the state that is written; a reader refuses another.
STATE_VERSION = 1
#: Where a row of the record stands: asked and open, answered, or left out.
ASKED, LABELLED, SKIPPED = "asked", "labelled", "skipped"


@dataclass(frozen=True)
class LabelEntry:
    """A row that was drawn, or labelled before (then it has neither probability nor utility)."""

    row: int
    q: float | None
    utility: float | None
    status: str
    label: Any = None


def plain_answer(label):
    """Return a label as JSON holds it: a plain value, a list of 0 and 1, or None for none."""
    if isinstance(label, np.ndarray | list | tuple):
        return None if any(map(is_missing, label)) else [int(value) for value in label]
    return None if is_missing(label) else plain_label(label)


def pool_print(keys):
    """Return a short name of a pool: another pool, or another order, has another."""
    digest = hashlib.sha256()
    for key in keys:
        digest.update(repr(key).encode("utf-8", "surrogatepass") + b"\0")
    return digest.hexdigest()[:16]


def check_state(state, wanted):
    """Return the record that a state holds.

    Parameters
    ----------
    state : dict
        As ``LabelAcquirer.get_state`` gave it, maybe by way of JSON.
    wanted : str
        Name of the pool (:func:`pool_print`).

    Raises
    ------
    ValueError
        If it is no state, or that of another pool.
    """
    if not isinstance(state, dict) or state.get("version") != STATE_VERSION:
        raise ValueError(
            f"LabelAcquirer.set_state got {str(state)[:80]!r}; it needs what get_state gave "
            f"(version {STATE_VERSION})."
        )
    if state["pool"] != wanted:
        raise ValueError(
            "LabelAcquirer.set_state got the state of another pool; fit on the texts, in the "
            "order, that were there when labelling began."
        )
    return [LabelEntry(**entry) for entry in state["entries"]]


def refuse_mixed_answers(answers):
    """Refuse classes beside label indicators, and indicators of several widths."""
    widths = {len(a) if isinstance(a, list) else 0 for a in answers if a is not None}
    if len(widths) > 1:
        raise ValueError(
            f"LabelAcquirer.add got labels of {sorted(widths)} columns (0: a class); all labels "
            "are classes, or all are rows of one label indicator matrix."
        )
