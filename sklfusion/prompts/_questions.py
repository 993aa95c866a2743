"""The prompt: what is said once for all texts, once per text, and once per question."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sklfusion._validation import check_classes

PROMPT_VERSION = 1


@dataclass(frozen=True)
class Questions:
    """Wording of the queries about a text.

    Everything that does not depend on the text comes first (instructions, demonstrations), then
    the text as a JSON string, then the question, so that the state of a model after the text
    serves every question about it.

    Parameters
    ----------
    labels : sequence of str
        The labels.
    none_label : str, default="none"
        The word for "no label".
    topic : str, default="label"
        What a label is, in the singular: "emotion", "topic".
    instructions : str or None, default=None
        Opening sentence; None makes one from the topic.
    examples : sequence of (str, sequence of str), default=()
        Demonstrations: text and its labels (empty for none). In each the list is shown, one
        right and one wrong label are judged, and a right one is compared with a wrong one.
    aliases : dict, optional
        Other words by which the model knows labels, for instance where first tokens collide.
    answers : (str, str), default=("yes", "no")
        Words for "reasonable" and "unreasonable".
    seed : int, default=0
        Draws the labels that the demonstrations judge.

    Examples
    --------
    >>> from sklfusion.prompts._questions import Questions
    >>> questions = Questions(["joy", "anger"], topic="emotion")
    >>> print(questions.prefix() + questions.text("We won!") + questions.judge("joy"))
    Each text can express none, one or several emotions: joy, anger.
    <BLANKLINE>
    Text: "We won!"
    Does it express joy? Answer:
    """

    labels: Any  # a sequence goes in, a tuple stays
    none_label: str = "none"
    topic: str = "label"
    instructions: str | None = None
    examples: Any = ()
    aliases: dict[Any, str] = field(default_factory=dict)
    answers: tuple[str, str] = ("yes", "no")
    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "labels", check_classes(self.labels, caller="Questions"))
        object.__setattr__(
            self, "examples", tuple((text, tuple(said)) for text, said in self.examples)
        )
        unknown = {str(name) for _, said in self.examples for name in said} - set(
            map(str, self.labels)
        )
        if unknown:
            raise ValueError(f"examples have labels that are not in labels: {sorted(unknown)}.")
        check_classes([*self.words, self.none_label], caller="Questions")

    @property
    def words(self) -> tuple[str, ...]:
        """The labels as the model sees them."""
        return tuple(str(self.aliases.get(label, label)) for label in self.labels)

    @property
    def options(self) -> tuple[str, ...]:
        """The words and, last, the one for none."""
        return (*self.words, self.none_label)

    def prefix(self) -> str:
        """Return what all texts share. It ends before the line break that precedes a text."""
        opening = self.instructions or (
            f"Each text can express none, one or several {self.topic}s: {', '.join(self.words)}."
        )
        rng = np.random.default_rng(self.seed)
        blocks = [opening, *(self._demonstration(text, said, rng) for text, said in self.examples)]
        return "\n\n".join(blocks)

    def _demonstration(self, text: str, said: Sequence[Any], rng: np.random.Generator) -> str:
        right = [str(self.aliases.get(name, name)) for name in said]
        wrong = [word for word in self.words if word not in right]
        lines = [self.text(text).lstrip("\n") + self.list() + " " + self.answer(right)]
        judged = [(str(rng.choice(right)), self.answers[0])] if right else []
        judged += [(str(rng.choice(wrong)), self.answers[1])] if wrong else []
        for word, answer in judged:
            lines.append(f"{self.judge(word)} {answer}".lstrip("\n"))
        better = right or [self.none_label]
        if wrong:
            pair = [str(rng.choice(better)), str(rng.choice(wrong))]
            shown = pair if rng.random() < 0.5 else pair[::-1]
            lines.append(f"{self.compare(*shown)} {pair[0]}".lstrip("\n"))
        if rng.random() < 0.5:  # the list must not be needed before the other questions
            head, *rest = lines[0].rsplit("\n", 1)
            lines = [head, *lines[1:], *rest]
        return "\n".join(lines)

    def text(self, text: str) -> str:
        """Return the block of a text. As a JSON string it stays data, whatever it says."""
        return f"\n\nText: {json.dumps(text, ensure_ascii=False)}"

    def list(self) -> str:
        """Ask for all labels."""
        return f"\n{self.topic.capitalize()}s:"

    def answer(self, words: Sequence[str]) -> str:
        """Return the answer to ``list``."""
        return ", ".join(words) or self.none_label

    def judge(self, word: str) -> str:
        """Ask about one label."""
        return f"\nDoes it express {word}? Answer:"

    def compare(self, first: str, second: str) -> str:
        """Ask which of two labels fits better."""
        return f"\nBetter fit, {first} or {second}? Answer:"

    def pairs(self, both_orders: bool = True) -> Sequence[tuple[int, int]]:
        """Return index pairs of options; K is none. With both orders each pair comes twice."""
        n = len(self.options)
        one_way = [(i, j) for i in range(n) for j in range(i + 1, n)]
        return one_way + [(j, i) for i, j in one_way] if both_orders else one_way

    def fingerprint(self) -> Sequence[Any]:
        """Return everything that decides the prompt, as JSON values."""
        return [PROMPT_VERSION, self.prefix(), self.list(), self.judge("?"), list(self.answers)]
