"""Questions answered: by the classes of the model, or by an LLM that was not fitted."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sklfusion.scoring import LLMScorer
from sklfusion.serve._errors import Refusal

#: The two answers of a predicate, as an LLM that was not fitted hears them.
_TRUE_FALSE = ("true", "false")
#: Options in one prompt. More of them, with their descriptions, fill the context of a small LLM.
_SHOWN_AT_ONCE = 64


@dataclass(frozen=True)
class DecisionQuestion:
    """One question about a text, whatever format it came in.

    ``kind`` is "choice", "predicate" or "score"; ``options`` are the choices, the levels from
    lowest to highest, or what is asserted; ``where`` leads to it in the body.
    """

    kind: str
    instructions: str
    options: tuple[str | bool, ...]
    descriptions: tuple[str | None, ...]
    where: tuple[str | int, ...] = ()

    @property
    def content(self) -> DecisionQuestion:
        """The question without its place: equal questions are asked together."""
        return DecisionQuestion(self.kind, self.instructions, self.options, self.descriptions)


@dataclass(frozen=True)
class Decided:
    """Probabilities of the options (one number for a predicate), and who says so.

    ``values`` is None where whoever was asked gave no answer.
    """

    values: tuple[float, ...] | None
    source: str


def normal(text: str) -> str:
    """Return a name as it is compared: composed characters, no space around."""
    return unicodedata.normalize("NFC", text).strip()


def class_numbers(
    question: DecisionQuestion, classes: Sequence[Any], multilabel: bool
) -> list[int] | None:
    """Return the number of the class that each option names, or None if not all are classes.

    A model of several labels per text has no probability of "one of these": None for all but
    predicates. A predicate names its class by its instructions or by what it asserts; its id
    never counts.
    """
    if multilabel and question.kind != "predicate":
        return None
    known = {normal(str(label)): number for number, label in enumerate(classes)}
    if question.kind == "predicate":
        said = (normal(str(option)) for option in question.options)
        return next(([known[name]] for name in said if name in known), None)
    numbers = []
    for option in question.options:
        number = known.get(normal(str(option)))
        if number is None or isinstance(option, bool) != isinstance(classes[number], bool):
            return None
        numbers.append(number)
    return numbers if len(set(numbers)) == len(numbers) else None


def restricted(
    proba: np.ndarray | None, question: DecisionQuestion, numbers: list[int]
) -> Decided:
    """Return the model's probabilities of some of its classes, made to sum to 1."""
    if proba is None:
        return Decided(None, "fused")
    values = np.asarray(proba, dtype=np.float64)[numbers]
    if question.kind != "predicate":
        total = values.sum()
        # Where all of them have underflowed to 0, none is likelier than another.
        values = values / total if total > 0 else np.full(len(values), 1 / len(values))
    return Decided(tuple(values.tolist()), "fused")


def refuse_unknown(question: DecisionQuestion, names: Sequence[str], multilabel: bool) -> Refusal:
    """Return what a caller hears whose question the model was not fitted for."""
    if question.kind == "predicate":
        wanted = "instructions (or the criterion of true) must be the name of one class"
    elif multilabel:
        wanted = "several labels may hold at once here, so ask one predicate per label"
    else:
        wanted = "each option must be one of its classes"
    shown = ", ".join(map(repr, names[:20])) + (", ..." if len(names) > 20 else "")
    told = f"This model answers about its own classes only: {wanted}. It has {shown}."
    return Refusal(422, told, "unknown_question", question.where)


class ZeroShot:
    """Asks an LLM about options that the model was not fitted for.

    Parameters
    ----------
    llm : str, LLMEndpoint or LLMScorer
        A scorer lends its endpoint and its store of replies.
    """

    def __init__(self, llm: Any) -> None:
        self._llm = llm.model if isinstance(llm, LLMScorer) else llm
        self._memory = getattr(llm, "memory", None)

    def answer(self, question: DecisionQuestion, texts: list[str]) -> list[Decided]:
        """Return one `Decided` per text.

        Cost: one request per distinct text; with more options than are shown at once, one per
        group of options, and one more.
        """
        if question.kind == "predicate":
            rows = self._scores(_TRUE_FALSE, (None, None), question.instructions, texts)[:, :1]
        else:
            names, told = _option_names(question), question.descriptions
            rows = self._of_many(names, told, question.instructions, texts)
        return [
            Decided(tuple(row.tolist()) if np.isfinite(row).all() else None, "zero_shot")
            for row in rows
        ]

    def _of_many(self, names, told, instructions, texts):
        """Return probabilities (n, K), asking about groups of options where they are many.

        Each group is asked about, then, text by text, the winners of the groups. That the odds of
        two options do not depend on the others shown (Luce's axiom) gives all the rest.
        """
        n_groups = -(-len(names) // _SHOWN_AT_ONCE)
        if n_groups == 1:
            return self._scores(names, told, instructions, texts)
        groups = np.array_split(np.arange(len(names)), n_groups)
        proba = np.empty((len(texts), len(names)))
        for group in groups:
            part = ([names[k] for k in group], [told[k] for k in group])
            proba[:, group] = self._scores(*part, instructions, texts)
        for row, text in enumerate(texts):
            if not np.isfinite(proba[row]).all():
                continue
            best = [group[proba[row, group].argmax()] for group in groups]
            part = ([names[k] for k in best], [told[k] for k in best])
            final = self._scores(*part, instructions, [text])[0]
            for group, winner, share in zip(groups, best, final, strict=True):
                proba[row, group] *= share / proba[row, winner]
        return proba / proba.sum(axis=1, keepdims=True)

    def _scores(self, names, told, instructions, texts):
        """Return probabilities (n, K), a row of NaN where there is no answer."""
        if len(names) == 1:
            return np.ones((len(texts), 1))
        scorer = LLMScorer(
            self._llm,
            classes=list(names),
            class_descriptions={n: d for n, d in zip(names, told, strict=True) if d} or None,
            instructions=instructions or None,
            memory=self._memory,
            output="proba",
            add_indicator=True,
            calibrate=False,
        ).fit(texts)
        scores = np.asarray(scorer.transform(texts), dtype=np.float64)
        scores[scores[:, -1] > 0] = np.nan
        scores = scores[:, :-1]
        # Single precision sums to 1 within 1e-7; callers are promised more.
        return scores / scores.sum(axis=1, keepdims=True)


def _option_names(question: DecisionQuestion) -> tuple[str, ...]:
    """Return different names for the options; true and "true" are two of them."""
    names: list[str] = []
    for option in question.options:
        name = str(option).lower() if isinstance(option, bool) else option
        if isinstance(option, bool) and name in question.options:
            name = f"{name} (yes or no)"
        names.append(name)
    return tuple(names)


def choice_confidence(values: Sequence[float]) -> float:
    """Return how far the likeliest option stands above chance, 0 to 1."""
    n = len(values)
    return 1.0 if n < 2 else max(0.0, (max(values) - 1 / n) / (1 - 1 / n))


def score_confidence(values: Sequence[float]) -> float:
    """Return one minus the mean distance from the likeliest level, in units of that by chance."""
    n = len(values)
    if n < 2:
        return 1.0
    mode = max(range(n), key=values.__getitem__)
    by_chance = sum(abs(i - (n - 1) / 2) for i in range(n)) / n
    return max(0.0, 1 - sum(p * abs(i - mode) for i, p in enumerate(values)) / by_chance)


def expected_level(values: Sequence[float]) -> float:
    """Return the expected zero-based level."""
    return sum(i * p for i, p in enumerate(values))
