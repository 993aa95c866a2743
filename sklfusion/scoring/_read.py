"""From a reply to what it says about one text: a row of scores, votes, or a failed reply."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from sklfusion._chat import Reply, TokenLogprobs
from sklfusion.prompts import (
    ReplyError,
    Task,
    check_finish,
    label_logprobs,
    parse_label,
    parse_label_set,
    parse_scores,
    step_probabilities,
    yes_no_logits,
)
from sklfusion.prompts._labels import label_index
from sklfusion.prompts._parse import content_of, parse_begun_label
from sklfusion.prompts._tokens import scores_whole_labels

#: Tokens that an endpoint lists at each place, at most.
HTTP_TOP = 20
# By how much a written label leads another that its tokens make more probable.
_LEAD = 1e-3


@dataclass(frozen=True)
class Row:
    """What one text got.

    Parameters
    ----------
    probs : ndarray of shape (K,)
        On the simplex, or independent for multi-label.
    votes : ndarray of shape (K,) or None
        Vote shares, where votes were asked for.
    repeats : ndarray of shape (R, K) or None
        The single votes.
    coverage : float
        Mass that the model put on the labels; NaN where it is not known.
    steps : ndarray of shape (S, K + 1) or None
        Label probabilities at every step of a generated list.
    unary : ndarray of shape (K, 2) or None
        Log-probabilities of yes and no.
    flags : frozenset of str
        Reservations.
    """

    probs: np.ndarray
    votes: np.ndarray | None = None
    repeats: np.ndarray | None = None
    coverage: float = float("nan")
    steps: np.ndarray | None = None
    unary: np.ndarray | None = None
    flags: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Reader:
    """A reading function bound to its task."""

    function: Callable[[Reply, Task], Any]
    task: Task

    def __call__(self, reply: Reply) -> Any:
        answer = self.function(reply, self.task)
        if isinstance(answer, Row) and len(reply.contents) > 1:
            return replace(answer, flags=answer.flags | {"several_choices"})
        return answer


@dataclass(frozen=True)
class Votes:
    """Usable votes of one reply, and how many were in it."""

    votes: np.ndarray
    asked: int


@functools.lru_cache(maxsize=4096)
def said_row(positions: frozenset[int], k: int) -> Row:
    """Return the row of an answer that says these labels. One object for all equal answers."""
    votes = np.zeros(k)
    votes[list(positions)] = 1.0
    votes.flags.writeable = False
    return Row(votes, votes=votes)


def _read_logprobs(reply: Reply, task: Task) -> Row:
    check_finish(reply, allow_length=True)
    if reply.logprobs is None:
        # The endpoint dropped them without an error. The label itself is still an answer.
        return replace(_read_label(reply, task), flags=frozenset({"no_logprobs"}))
    written = _written(reply, task)
    index = label_index(task.keys)
    content = reply.contents[0] if reply.contents else None
    flags = set()
    try:
        scores, coverage = label_logprobs(reply.logprobs, index, content=content, written=written)
    except ReplyError:
        if written is None:
            raise
        scores, coverage = _only_written(reply.logprobs, written, len(index))
        flags.add("written_label")
    # A local model lists so many tokens that little mass on the labels is still all there is.
    few = len(reply.logprobs[0].top) <= HTTP_TOP and not scores_whole_labels(reply.logprobs, index)
    if few and coverage < 0.5:
        flags.add("low_coverage")
    probs = np.exp(scores)
    if written is not None and int(probs.argmax()) != written:
        probs = _put_first(probs, written)
        flags.add("written_label")
    return Row(probs, coverage=coverage, flags=frozenset(flags))


def _written(reply: Reply, task: Task) -> int | None:
    """Return the label that the content gives, None where it gives none or may have been cut.

    Raises
    ------
    ReplyError
        "refusal".
    """
    try:
        content = content_of(reply)
        written = parse_label(content, task.keys, task.names)
    except ReplyError as error:
        if error.cause in ("refusal", "unclosed_thinking"):
            raise
        return None
    if reply.finish_reasons[:1] == ("length",):
        said = content.strip().encode("utf-8", "replace")
        if label_index(task.keys).possible(said) not in ((), (written,)):
            return None
    return written


def _only_written(
    tokens: Sequence[TokenLogprobs], written: int, k: int
) -> tuple[np.ndarray, float]:
    """Return the scores of a label whose tokens cannot be found: its answer as a whole."""
    p = min(max(math.exp(math.fsum(token.logprob for token in tokens)), 1e-12), 1.0)
    probs = np.full(k, max((1.0 - p) / (k - 1), 1e-12))
    probs[written] = p
    return np.log(probs / probs.sum()), p


def _put_first(probs: np.ndarray, written: int) -> np.ndarray:
    """Return probabilities in which the label that the model wrote is the largest by a little."""
    probs = probs.copy()
    probs[written] = probs.max() * (1.0 + _LEAD)
    return probs / probs.sum()


def _read_label(reply: Reply, task: Task) -> Row:
    if task.multilabel:
        return _read_set(reply, task)
    return said_row(frozenset({_said_label(reply, task)}), len(task.labels))


def _said_label(reply: Reply, task: Task) -> int:
    """Return the label; it may be complete although the limit cut what explains it."""
    try:
        check_finish(reply)
    except ReplyError as error:
        begun = parse_begun_label(reply, task.keys, task.names)
        if error.cause != "truncated" or begun is None:
            raise
        return begun
    return parse_label(content_of(reply), task.keys, task.names)


def _read_set(reply: Reply, task: Task) -> Row:
    check_finish(reply)
    return said_row(parse_label_set(content_of(reply), task.keys, task.names), len(task.labels))


def _read_set_logprobs(reply: Reply, task: Task) -> Row:
    """Largest probability of each label over the steps of a generated list."""
    row = _read_set(reply, task)
    if reply.logprobs is None:
        return replace(row, flags=frozenset({"no_logprobs"}))
    steps = step_probabilities(reply.logprobs, task.keys, reply.contents[0])
    if not len(steps):
        return replace(row, flags=frozenset({"no_label_step"}))
    probs = np.maximum(steps[:, :-1].max(axis=0), 1e-8)
    return replace(row, probs=probs, steps=steps, coverage=float(steps[0, :-1].sum()))


def _read_yes_no(reply: Reply, task: Task) -> tuple[float, float, float]:
    check_finish(reply, allow_length=True)
    if reply.logprobs is None:
        said = parse_label(content_of(reply), ("yes", "no"), ("true", "false"))
        return (-0.05, -3.0, 0.0) if said == 0 else (-3.0, -0.05, 0.0)
    return yes_no_logits(reply.logprobs)


def _read_scores(reply: Reply, task: Task) -> Row:
    check_finish(reply)
    scores, changed = parse_scores(
        content_of(reply), task.keys, multilabel=task.multilabel, names=task.names
    )
    flags = frozenset({"normalised"}) if changed else frozenset()
    return Row(np.array(scores), flags=flags)


def _read_votes(reply: Reply, task: Task) -> Votes:
    check_finish(reply)
    votes, error = [], None
    for number in range(len(reply.contents)):
        try:
            content = content_of(reply, number)
            if task.multilabel:
                said = parse_label_set(content, task.keys, task.names)
            else:
                said = frozenset({parse_label(content, task.keys, task.names)})
            votes.append(said_row(said, len(task.labels)).probs)
        except ReplyError as failed:
            error = failed
    if not votes:
        raise error or ReplyError("no_content")
    return Votes(np.array(votes), len(reply.contents))


def reading_of(mode: str, task: Task) -> Callable[[Reply, Task], Any]:
    """Return the function that reads the replies of a way to ask."""
    readers = {
        "logprobs": _read_set_logprobs if task.multilabel else _read_logprobs,
        "unary": _read_yes_no,
        "probabilities": _read_scores,
        "probabilities_plain": _read_scores,
        "label": _read_label,
        "votes": _read_votes,
    }
    return readers[mode]
