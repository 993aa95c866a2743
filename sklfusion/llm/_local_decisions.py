"""Typed questions about a text, answered by a model in this process.

All ways to go on (every question, every option) are one tree of tokens behind the text, so one
forward pass answers all questions, and what they share is read once. A token sees only what leads
to it: a question does not know of the others.
"""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from sklfusion.llm._token_tree import TokenTree
from sklfusion.prompts._local_questions import question_messages
from sklfusion.prompts._render import Messages

Encode = Callable[[Messages], list[int]]


@dataclass(frozen=True)
class Fork:
    """Where options of a question part.

    Parameters
    ----------
    said : list of ids
        What leads there.
    branches : dict of (int or None) to list of int
        Next token to the options that go on with it; None for one that ends there.
    """

    said: list[int]
    branches: dict[int | None, list[int]]


def forks(options: Sequence[list[int]]) -> list[Fork]:
    """Return where the token sequences of some options part.

    Examples
    --------
    >>> [fork.branches for fork in forks([[7, 1], [7, 2, 3], [7, 2, 4]])]
    [{1: [0], 2: [1, 2]}, {3: [1], 4: [2]}]
    """
    found = []
    waiting = [(list(range(len(options))), 0)]
    while waiting:
        rows, depth = waiting.pop()
        branches: dict[int | None, list[int]] = {}
        for row in rows:
            ids = options[row]
            branches.setdefault(ids[depth] if depth < len(ids) else None, []).append(row)
        if len(branches) > 1:
            found.append(Fork(options[rows[0]][:depth], branches))
        for token, further in branches.items():
            if token is not None and len(further) > 1:
                waiting.append((further, depth + 1))
    return found


def shares(
    found: Sequence[Fork], logprobs: Sequence[torch.Tensor], ends: set[int], count: int
) -> list[float]:
    """Return the probability of each option among all options of its question.

    Parameters
    ----------
    found : sequence of Fork
        See :func:`forks`.
    logprobs : sequence of tensor
        Of the next token at each fork.
    ends : set of int
        Tokens with which an answer ends.
    count : int
        How many options there are; those that no token tells apart share alike.
    """
    likely = [0.0] * count
    for fork, at in zip(found, logprobs, strict=True):
        tokens = [sorted(ends) if token is None else [token] for token in fork.branches]
        weights = torch.stack([at[ids].logsumexp(dim=0) for ids in tokens])
        for rows, share in zip(
            fork.branches.values(), weights.log_softmax(dim=0).tolist(), strict=True
        ):
            for row in rows:
                likely[row] += share
    total = math.fsum(map(math.exp, likely))
    return [math.exp(value) / total for value in likely]


def option_ids(encode: Encode, shared: Messages, question: Mapping[str, Any]) -> list[list[int]]:
    """Return the ids of the whole prompt of a question, once for each of its options."""
    *before, (role, opening) = question_messages(shared, question)
    return [encode((*before, (role, f"{opening} {word}"))) for word in question["words"]]


def read_forks(
    model: Any, prefix: list[int], state: Any, found: Sequence[Fork]
) -> tuple[torch.Tensor, int]:
    """Return the log-probabilities of the next token at each fork, and the tokens computed.

    Parameters
    ----------
    model : transformers causal LM
        On any device.
    prefix : list of ids
        With which all that is said begins, and that the state has read.
    state : cache or None
        Not changed.
    found : sequence of Fork
        Of any number of questions.
    """
    tree = TokenTree()
    for fork in found:
        tree.add(fork.said[len(prefix) :])
    mask, places = tree.mask(len(prefix), model.dtype)
    device = model.device
    ends = torch.tensor(tree.ends, device=device)
    selects = "logits_to_keep" in inspect.signature(model.forward).parameters
    logits = model(
        input_ids=torch.tensor([tree.tokens], device=device),
        attention_mask=mask.to(device),
        position_ids=places.to(device),
        past_key_values=copy.deepcopy(state),
        use_cache=state is not None,
        **({"logits_to_keep": ends} if selects else {}),
    ).logits[0]
    logits = logits if selects else logits[ends]
    return logits.float().log_softmax(dim=-1).cpu(), len(tree)
