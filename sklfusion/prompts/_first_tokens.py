"""First tokens of labels: which tokens a label can begin with, and what a first step says of each.

Where a model gives the logits of its whole vocabulary, a label is scored by its first token; the
reader of ``_tokens`` follows written answers to where labels part.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import logsumexp, softmax

from sklfusion.prompts._label_lists import label_starts
from sklfusion.prompts._labels import LabelIndex, label_index

#: Log-probability below the smallest one seen that stands for "not among the top tokens".
FLOOR_MARGIN = 1.0
# A token that is so much less probable than the best (natural logarithm) decides nothing.
_RARE = 3.0
# Mass that is not listed, at least; rounding may leave nothing.
_LEAST_REST = 1e-12


def label_forms(label: Any) -> list[str]:
    """Return the surface forms of a label, the one that a list continues with first."""
    label = str(label)
    return [" " + label, label, " " + label.capitalize(), label.capitalize()]


def first_token_ids(
    tokenize: Callable[[str], list[int]], labels: Sequence[Any]
) -> list[list[int]]:
    """Return the ids of the tokens that each label can begin with.

    Parameters
    ----------
    tokenize : callable
        Text to a list of ids, without special tokens.
    labels : sequence of str
        Labels, "none" included.

    Returns
    -------
    list of list of int
        For each label the first id of its form with a leading space, then those of other forms
        (no space, capitalised) that no other label begins with.

    Raises
    ------
    ValueError
        If two labels begin with the same token in the form with a leading space: the model's
        first step cannot tell them apart.
    """
    table = [[tokenize(form)[0] for form in label_forms(label)] for label in labels]
    owners: dict[int, list[str]] = {}
    for label, row in zip(labels, table, strict=True):
        owners.setdefault(row[0], []).append(str(label))
    _refuse_collisions({key: names for key, names in owners.items() if len(names) > 1})
    claimed: dict[int, set[int]] = {}
    for k, row in enumerate(table):
        for token in row:
            claimed.setdefault(token, set()).add(k)
    primary = {row[0] for row in table}
    return [
        [row[0], *dict.fromkeys(t for t in row[1:] if claimed[t] == {k} and t not in primary)]
        for k, row in enumerate(table)
    ]


def _refuse_collisions(groups: Mapping[Any, list[str]]) -> None:
    if groups:
        shown = "; ".join(f"{', '.join(names)} ({key!r})" for key, names in groups.items())
        raise ValueError(
            f"These labels begin with the same token: {shown}. First-token probabilities cannot "
            "tell them apart. Show the model other words for them (aliases={label: word}), for "
            "example short ids."
        )


def label_logits(logits: npt.ArrayLike, ids: Sequence[Sequence[int]]) -> npt.NDArray[Any]:
    """Return the score of each label, the largest over its first tokens, shape (..., K)."""
    scores = np.asarray(logits)
    return np.stack([scores[..., list(own)].max(axis=-1) for own in ids], axis=-1)


def label_start_probabilities(
    tokens: Iterable[str], label_scores: npt.ArrayLike
) -> npt.NDArray[Any]:
    """Return the softmax over labels and none at every label start of a generation.

    Parameters
    ----------
    tokens : sequence of S str
        Generated tokens.
    label_scores : array of shape (S, K + 1)
        Logits or log-probabilities of the labels' first tokens *before* each token was chosen.

    Returns
    -------
    ndarray of shape (number of label starts, K + 1)
    """
    scores = np.asarray(label_scores, dtype=float)
    return np.asarray(softmax(scores[label_starts(tokens)], axis=1))


def scores_from_top(top: Sequence[tuple[str, float]], labels: Sequence[Any]) -> npt.NDArray[Any]:
    """Return the log-probability of each label's first token from the listed top tokens.

    An endpoint names tokens by their text and lists some twenty of them. A listed token counts
    for a label that begins with it; several forms of one label add up. A label that is not
    listed gets the smaller of two floors: an equal share of the mass that is not listed, and
    the smallest listed value less a margin.

    Parameters
    ----------
    top : sequence of (str, float)
        Token text and natural log-probability.
    labels : sequence of str
        Labels as the model writes them, none last.

    Returns
    -------
    ndarray of shape (K + 1,)

    Raises
    ------
    ValueError
        If a listed token is the beginning of two labels.
    """
    index = label_index(tuple(map(str, labels)))
    found: list[list[float]] = [[] for _ in labels]
    clashes: dict[str, list[str]] = {}
    for token, logprob in top:
        owners = _labels_of(token, index)
        if len(owners) > 1:
            clashes[token] = [str(labels[k]) for k in owners]
        elif owners:
            found[owners[0]].append(logprob)
    # A collision matters once the clashing token carries mass; far down the list it is noise.
    listed = dict(top)
    best = max(listed.values(), default=0.0)
    _refuse_collisions({t: names for t, names in clashes.items() if listed[t] > best - _RARE})
    floor = _floor([value for _, value in top], sum(not values for values in found))
    return np.array([logsumexp(values) if values else floor for values in found])


def _labels_of(token: str, index: LabelIndex) -> tuple[int, ...]:
    """Return the labels that begin with a token; the one that it is whole goes before longer."""
    said = token.encode("utf-8", "surrogateescape")
    whole = index.finished(said)
    if whole is not None:
        return (whole,)
    return () if index.undecided(said) else index.possible(said)


def _floor(listed: Sequence[float], unseen: int) -> float:
    """Return the log-probability of a label that is not among the listed tokens."""
    rest = np.log(max(1 - np.exp(listed).sum(), _LEAST_REST)) - np.log(max(unseen, 1))
    return float(min(rest, min(listed, default=0.0) - FLOOR_MARGIN))
