"""Reading scores off the log-probabilities of answer tokens.

The written answer is followed token by token. Where it could still become several labels, the
other listed tokens say how probable the labels are that part from it there: the probability of
what was written so far times that of the token. What cannot be told apart is shared.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from sklfusion._chat import TokenLogprobs
from sklfusion.prompts._answer import after_field, thinking_end
from sklfusion.prompts._labels import DECORATION, LabelIndex, label_index
from sklfusion.prompts._parse import ReplyError
from sklfusion.prompts._spelling import spelled

Floats = npt.NDArray[np.float64]

# Probability of a label that nothing is known of.
_LEAST = 1e-12


@dataclass(eq=False)
class _Path:
    """Where the written answer led.

    Parameters
    ----------
    mass : ndarray of shape (K,)
        Probability of each label.
    floor : ndarray of shape (K,)
        At most so much has a label that was not listed where it parted.
    alive : tuple of int
        Labels that the answer could still be at the end.
    said : bytes
        What of the label was written.
    used : int
        Tokens read.
    """

    mass: Floats
    floor: Floats
    alive: tuple[int, ...]
    so_far: float = 1.0
    said: bytes = b""
    used: int = 0
    shared: list[tuple[tuple[int, ...], float]] = field(default_factory=list)

    def give(self, labels: tuple[int, ...], mass: float) -> None:
        """Give mass to the label that it is for, or note between which it is to be shared."""
        if len(labels) == 1:
            self.mass[labels[0]] += mass
        elif labels:
            self.shared.append((labels, mass))

    def share(self) -> None:
        """Share what several labels have in common, in proportion to what each has of its own."""
        own = self.mass.copy()
        for labels, mass in self.shared:
            chosen = list(labels)
            total = own[chosen].sum()
            self.mass[chosen] += mass * (own[chosen] / total if total > 0 else 1 / len(chosen))


def _start(k: int) -> _Path:
    return _Path(np.zeros(k), np.full(k, _LEAST), tuple(range(k)))


def _follow(path: _Path, step: TokenLogprobs, index: LabelIndex, skip: int = 0) -> None:
    """Take one token; its first ``skip`` bytes stand before the label."""
    chosen = step.token.encode("utf-8", "surrogateescape")
    going = index.possible(path.said + chosen[skip:])
    listed, least = _side_tokens(path, step, index, going)
    path.said += chosen[skip:]
    gone = [k for k in path.alive if k not in going]
    path.floor[gone] = path.so_far * max(min(least, 1.0 - listed), _LEAST)
    path.so_far *= math.exp(step.logprob)
    path.alive = going
    path.used += 1


def _side_tokens(
    path: _Path, step: TokenLogprobs, index: LabelIndex, going: tuple[int, ...] = ()
) -> tuple[float, float]:
    """Count the tokens that were not chosen; return the mass of all listed, and the least.

    Parameters
    ----------
    path : _Path
        Changed in place.
    step : TokenLogprobs
        The token that was chosen, and the others.
    index : LabelIndex
        Of the labels.
    going : tuple of int
        Labels that the chosen token leaves.
    """
    chosen = math.exp(step.logprob)
    listed, least, met = 0.0, 1.0, False
    for token, logprob in step.top:
        p = math.exp(logprob)
        listed += p
        least = min(least, p)
        if token == step.token and not met:
            met = True
            continue
        if not index.undecided(path.said + token.encode("utf-8", "surrogateescape")):
            path.give(_side_labels(path.said, token, index, going), path.so_far * p)
    if not met:
        listed, least = listed + chosen, min(least, chosen)
    return listed, least


def _side_labels(
    said: bytes, token: str, index: LabelIndex, going: tuple[int, ...]
) -> tuple[int, ...]:
    """Return the labels of which another token would have gone on."""
    whole = said + token.encode("utf-8", "surrogateescape")
    labels = index.possible(whole)
    ended = index.finished(said if said and not token.strip() else whole)
    # Longer labels would have gone on with the chosen token, so this one ends here.
    if ended in labels and all(k == ended or k in going for k in labels):
        return (ended,) if ended is not None else ()
    return labels


def _walk(
    steps: Sequence[TokenLogprobs], index: LabelIndex, before: int = 0, written: int | None = None
) -> _Path:
    """Follow an answer until one label is left.

    Parameters
    ----------
    steps : sequence of TokenLogprobs
        The answer from its first token.
    index : LabelIndex
        Of the labels.
    before : int
        Bytes before the label.
    written : int, optional
        The label that the whole answer gives.
    """
    path = _start(len(index))
    seen = 0
    for step in steps:
        size = len(step.token.encode("utf-8", "surrogateescape"))
        seen += size
        if seen <= before:
            if not step.token.strip(DECORATION):  # a quotation mark where a label might stand
                _side_tokens(path, step, index)
                path.so_far *= math.exp(step.logprob)
            continue
        _follow(path, step, index, max(0, before - (seen - size)))
        if len(path.alive) <= 1:
            break
    _settle(path, index, written)
    return path


def _settle(path: _Path, index: LabelIndex, written: int | None) -> None:
    """Give the mass of the written path to the label it ended on."""
    ended = index.finished(path.said)
    for label in (ended, written):
        if label is not None and label in path.alive:
            path.alive = (label,)
            break
    if len(path.alive) == 1 or not index.undecided(path.said):
        path.give(path.alive, path.so_far)
    path.share()


def _before(text: str, index: LabelIndex, written: int | None) -> int:
    """Return how many bytes of an answer stand before its label."""
    start = thinking_end(text)
    rest = text[start:]
    at = len(rest) - len(after_field(rest))
    if written is not None:
        key = rf"(?<!\w){re.escape(index.keys[written])}(?!\w)"
        found = re.search(key, rest, 0 if index.exact else re.IGNORECASE)
        at = found.start() if found else at
    return len(text[: start + at].encode("utf-8", "surrogateescape"))


def _from_thought(steps: list[TokenLogprobs], text: str) -> tuple[list[TokenLogprobs], str]:
    """Leave out the tokens of thoughts: what they might have been is no label."""
    end = thinking_end(text)
    seen = 0
    for number, step in enumerate(steps):
        if seen >= end:
            return steps[number:], text[seen:]
        seen += len(step.token)
    return (steps, text) if not end else ([], "")


def label_logprobs(
    tokens: Iterable[TokenLogprobs],
    index: LabelIndex,
    *,
    content: str | None = None,
    written: int | None = None,
) -> tuple[Floats, float]:
    """Return the log-probability of every label, normalised, and the mass they had together.

    Labels that are not among the listed tokens where they part from the written answer get the
    smallest probability that is listed there, or what is left over if that is less.

    Parameters
    ----------
    tokens : iterable of TokenLogprobs
        The answer.
    index : LabelIndex
        Of the labels.
    content : str, optional
        The answer as the endpoint wrote it, to find out how it spells tokens.
    written : int, optional
        The position of the label that the answer gives, where it is known.

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
    steps = spelled(list(tokens), content)
    if not steps:
        raise ReplyError("no_logprobs")
    if scores_whole_labels(steps, index):
        path = _start(len(index))
        path.mass = np.exp([dict(steps[0].top)[key] for key in index.keys])
    else:
        steps, text = _from_thought(steps, "".join(step.token for step in steps))
        path = _walk(steps, index, _before(text, index, written), written)
    coverage = float(min(path.mass.sum(), 1.0))
    if coverage <= 0:
        raise ReplyError("unknown_label")
    mass = np.where(path.mass > 0, path.mass, path.floor)
    return np.log(mass / mass.sum()), coverage


def scores_whole_labels(steps: Sequence[TokenLogprobs], index: LabelIndex) -> bool:
    """Tell whether the one step lists every label in full, as models in this process do."""
    return len(steps) == 1 and sorted(t for t, _ in steps[0].top) == sorted(index.keys)


def yes_no_logits(tokens: Iterable[TokenLogprobs]) -> tuple[float, float, float]:
    """Return the log-probabilities of "yes" and "no", and their mass.

    Raises
    ------
    ReplyError
        As :func:`label_logprobs`.
    """
    logprobs, coverage = label_logprobs(tokens, label_index(("yes", "no")))
    return float(logprobs[0]), float(logprobs[1]), coverage


def step_probabilities(
    tokens: Sequence[TokenLogprobs], keys: Sequence[str], content: str | None = None
) -> Floats:
    """Return the label probabilities at every label step of a generated list.

    A label step is a token that begins a label while no label is being spelt out; the tokens
    after it are followed until one label is left; separators and the rest of a label are skipped.
    The end of the list is a step as well, its last column ("none") being the mass that is on no
    label.

    Parameters
    ----------
    tokens : sequence of TokenLogprobs
        A generated JSON list of labels.
    keys : sequence of str
        What the labels are called.
    content : str, optional
        The list as the endpoint wrote it.

    Returns
    -------
    ndarray of shape (S, K + 1)
        Rows sum to 1. Paper: arXiv 2505.17510, "max over generations".
    """
    index = label_index(tuple(keys))
    steps = spelled(list(tokens), content)
    steps, _ = _from_thought(steps, "".join(step.token for step in steps))
    rows = []
    at = 0
    while at < len(steps):
        token = steps[at].token
        begins = token.strip(DECORATION) and index.possible(token.encode("utf-8", "replace"))
        if not begins and "]" not in token:
            at += 1
            continue
        path = _walk(steps[at:], index) if begins else _sides(steps[at], index)
        row = np.append(path.mass, max(1.0 - path.mass.sum(), 0.0))
        rows.append(row / row.sum())
        at = _after_label(steps, at + max(path.used, 1), path, index)
    return np.array(rows).reshape(-1, len(keys) + 1)


def _sides(step: TokenLogprobs, index: LabelIndex) -> _Path:
    path = _start(len(index))
    _side_tokens(path, step, index)
    path.share()
    return path


def _after_label(steps: Sequence[TokenLogprobs], at: int, path: _Path, index: LabelIndex) -> int:
    """Return the place of the first token that is no more of the label being spelt out."""
    said = path.said
    while at < len(steps) and said and len(path.alive) == 1 and index.finished(said) is None:
        said += steps[at].token.encode("utf-8", "surrogateescape")
        if index.possible(said) != path.alive:
            break
        at += 1
    return at
