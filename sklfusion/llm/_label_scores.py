"""Scoring labels with a model in this process: asked again only where labels go on alike.

A label is a path through a tree: at each branching the tokens that the model lists say how
probable each branch is among those that lead to labels. Branches that hold several labels are
opened in the order of their probability, so most texts take a few steps, not one per label.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Generator, Sequence

from sklfusion._chat import Reply, TokenLogprobs, Usage
from sklfusion.prompts._labels import label_index

#: Listed next tokens (bytes, natural logarithm).
Tokens = Sequence[tuple[bytes, float]]
#: From what is written of an answer to them.
NextTokens = Callable[[str], Tokens]
#: Asks for them step by step; returns what :func:`score_labels` does.
LabelSteps = Generator[str, Tokens, tuple[list[float], float, int]]

# A branch with less than this share of the best label's probability is not opened. With .02 and
# .1 the embedded model was right on as many of 40 questions with 77 intents.
_WORTH = 0.05
# More steps than this no text is worth.
_MAX_STEPS = 24
# Probability of a label that nothing is known of.
_LEAST_SHARE = 1e-12
# Where a prompt may end without cutting a word.
_WORD_ENDS = " _-/."


def score_labels(ask: NextTokens, keys: Sequence[str]) -> tuple[list[float], float, int]:
    """Return the probability of each label, the mass on labels at the first step, and the steps.

    Parameters
    ----------
    ask : callable
        See :data:`NextTokens`.
    keys : sequence of str
        The labels as the model writes them.

    Returns
    -------
    probs : list of float
        Sum to 1.
    coverage : float
        Probability that the answer begins as a label does.
    steps : int
        Calls of ``ask``.
    """
    walk = label_steps(keys)
    said = next(walk)
    while True:
        try:
            said = walk.send(ask(said))
        except StopIteration as end:
            probs, coverage, steps = end.value
            return probs, coverage, steps


def label_steps(keys: Sequence[str]) -> LabelSteps:
    """Do what :func:`score_labels` does, leaving it to the caller to find the next tokens.

    Yields what is written of the answer, receives the tokens that may follow, and returns the
    result; so the same step of many texts can be made in one pass.
    """
    tree = _Tree(keys)
    coverage = tree.open("", tuple(range(len(keys))), 1.0, (yield ""))
    steps = 1
    while steps < _MAX_STEPS and tree.worth_opening():
        mass, _, prefix, labels = heapq.heappop(tree.closed)
        tree.open(prefix, labels, -mass, (yield prefix))
        steps += 1
    tree.share_closed()
    total = math.fsum(tree.probs)
    return [p / total for p in tree.probs], coverage, steps


class _Tree:
    """The labels, what each has so far, and the branches that are not opened."""

    def __init__(self, keys: Sequence[str]) -> None:
        self.keys = keys
        self.index = label_index(tuple(keys))
        self.probs = [0.0] * len(keys)
        self.closed: list[tuple[float, int, str, tuple[int, ...]]] = []
        self._count = 0

    def worth_opening(self) -> bool:
        return bool(self.closed) and -self.closed[0][0] > _WORTH * max(self.probs)

    def open(self, prefix: str, labels: tuple[int, ...], mass: float, tokens: Tokens) -> float:
        """Divide the mass of a branch; return the probability of its ways to labels."""
        branches, least, listed = self._branches(prefix, labels, tokens)
        total = math.fsum(branches.values())
        floor = max(min(least, 1.0 - listed), _LEAST_SHARE)
        scale = mass / max(total, floor)
        seen = {label for branch in branches for label in branch}
        for label in labels:
            if label not in seen:
                self.probs[label] += floor * scale
        for branch, p in branches.items():
            self._give(prefix, branch, p * scale)
        return min(total, 1.0)

    def _branches(
        self, prefix: str, labels: tuple[int, ...], tokens: Tokens
    ) -> tuple[dict[tuple[int, ...], float], float, float]:
        said = prefix.encode("utf-8", "replace")
        branches: dict[tuple[int, ...], float] = {}
        least, listed = 1.0, 0.0
        for token, logprob in tokens:
            p = math.exp(logprob)
            least, listed = min(least, p), listed + p
            if not token.strip():
                found = self._ended(said, labels, token)
            else:
                found = self._going_on(said, token, labels)
            # A token such as a quotation mark says nothing.
            if found and not self.index.undecided(said + token):
                branches[found] = branches.get(found, 0.0) + p
        return branches, least, listed

    def _going_on(self, said: bytes, token: bytes, labels: tuple[int, ...]) -> tuple[int, ...]:
        """Return the labels that go on with a token; some vocabularies leave its space out."""
        for space in (b"", b" ") if said else (b"",):
            found = tuple(k for k in self.index.possible(said + space + token) if k in labels)
            if found:
                return found
        return ()

    def _ended(self, said: bytes, labels: tuple[int, ...], token: bytes) -> tuple[int, ...]:
        """Return the label that ends where nothing or a line end follows."""
        ended = self.index.finished(said) if said and b" " not in token else None
        return (ended,) if ended in labels and ended is not None else ()

    def _give(self, prefix: str, branch: tuple[int, ...], mass: float) -> None:
        if len(branch) == 1:
            self.probs[branch[0]] += mass
            return
        longer = _shared_beginning([self.keys[k] for k in branch], len(prefix))
        if len(longer) > len(prefix):
            self._count += 1
            heapq.heappush(self.closed, (-mass, self._count, longer, branch))
        else:  # half a character in common, or another case
            self._share(branch, mass)

    def share_closed(self) -> None:
        for mass, _, _, branch in self.closed:
            self._share(branch, -mass)

    def _share(self, branch: tuple[int, ...], mass: float) -> None:
        own = [self.probs[k] for k in branch]
        total = math.fsum(own)
        for k, part in zip(branch, own, strict=True):
            self.probs[k] += mass * (part / total if total > 0 else 1 / len(branch))


def _shared_beginning(keys: Sequence[str], longer_than: int) -> str:
    """Return what labels begin with alike, up to the end of a word if that is long enough."""
    first, last = min(keys), max(keys)  # what the first and the last share, all share
    same = (n for n, (a, b) in enumerate(zip(first, last, strict=False)) if a != b)
    shared = first[: next(same, min(len(first), len(last)))]
    if shared in keys:
        return shared
    word = shared[: 1 + max(shared.rfind(end) for end in _WORD_ENDS)].rstrip()
    return word if len(word) > longer_than else shared.rstrip()


def labels_reply(
    probs: Sequence[float], coverage: float, keys: Sequence[str], usage: Usage, model: str
) -> Reply:
    """Return a reply of one step that lists whole labels, which readers take as their scores."""
    logprobs = [math.log(max(p * coverage, _LEAST_SHARE)) for p in probs]
    best = max(range(len(keys)), key=probs.__getitem__)
    step = TokenLogprobs(keys[best], logprobs[best], tuple(zip(keys, logprobs, strict=True)))
    return Reply((keys[best],), ("stop",), model, usage, (step,))
