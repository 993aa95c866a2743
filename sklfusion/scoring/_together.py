"""Typed questions of several tasks in one request: each text is sent, and paid for, once."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from sklfusion._chat import Reply
from sklfusion.llm._job import Memo
from sklfusion.llm._where import where_of
from sklfusion.prompts import ReplyError, Task
from sklfusion.prompts._decisions import read_decisions
from sklfusion.scoring._decision_plan import DecisionPlan, DecisionReader
from sklfusion.scoring._read import Row


@dataclass(frozen=True)
class SharedAnswer:
    """What one reply says of each task: a row, or why there is none."""

    parts: tuple[Row | str, ...]


@dataclass(frozen=True)
class SharedReader:
    """Reads the reply to the questions of several tasks; one refused task costs no other."""

    readers: tuple[DecisionReader, ...]

    def __call__(self, reply: Reply) -> SharedAnswer:
        questions = [question for reader in self.readers for question in reader.questions]
        said = read_decisions(reply.contents[0] or "", questions)
        parts: list[Row | str] = []
        start = 0
        for reader in self.readers:
            stop = start + len(reader.questions)
            try:
                parts.append(reader.row(replace(said, values=said.values[start:stop])))
            except ReplyError as error:
                parts.append(error.cause)
            start = stop
        return SharedAnswer(tuple(parts))


@dataclass(frozen=True)
class SharedPlan(DecisionPlan):
    """How a text is asked about beside other tasks; alone where they don't fit into a request.

    All tasks make the same request, so the second finds the reply to the first one's.

    Parameters
    ----------
    beside : tuple of Task
        All tasks in the order of their questions, this one among them; none: it is alone.
    place : int
        Which of them is this one.
    """

    beside: tuple[Task, ...] = ()
    place: int = 0

    @functools.cached_property
    def _each(self) -> list[tuple[dict[str, Any], DecisionReader]]:
        """What each task asks, where one request takes it all; else nothing."""
        own = {field.name: getattr(self, field.name) for field in fields(DecisionPlan)}
        plans = [DecisionPlan(**own | {"task": task}) for task in self.beside]
        asked = [pair for plan in plans for pair in plan._asked_with(())]
        count = sum(len(params["questions"]) for params, _ in asked)
        return asked if len(asked) == len(plans) and count <= self.most_questions else []

    @property
    def asks_once(self) -> bool:
        """Whether one request per text is all."""
        return bool(self._each) or super().asks_once

    def _asked_with(self, examples: Sequence[tuple[str, Any]]) -> list[tuple[dict[str, Any], Any]]:
        if not self._each:
            return list(super()._asked_with(examples))
        readers = tuple(reader for _, reader in self._each)
        questions = [question for reader in readers for question in reader.questions]
        return [({**self._each[0][0], "questions": questions}, SharedReader(readers))]

    def row_of(self, answer: Any) -> Row | None:
        """Return the row of this task, None if it has to be settled why there is none."""
        if isinstance(answer, SharedAnswer) and isinstance(answer.parts[self.place], str):
            return None
        return super().row_of(answer)

    def combine(self, answers: Sequence[Any]) -> Row:
        """Return the row of a text from the answers to all its requests."""
        own = [a.parts[self.place] if isinstance(a, SharedAnswer) else a for a in answers]
        if refused := [part for part in own if isinstance(part, str)]:
            raise ReplyError(refused[0])
        return super().combine(own)

    def narrower(self, cause: str) -> DecisionPlan | None:
        """Return the plan that asks less at once: first of all, this task alone."""
        if not self._each:
            return super().narrower(cause)
        count = sum(len(reader.questions) for _, reader in self._each)
        return self.asking(count - 1)

    def told(self) -> dict[str, Any]:
        """Return how it asks, in JSON values."""
        return super().told() | ({"tasks_per_request": len(self.beside)} if self._each else {})


def ask_together(scorers: Mapping[str, Any], ordered: Iterable[str]) -> None:
    """Let fitted scorers put their typed questions into one request, where they can.

    Those of one endpoint, model and wording, that show no examples. Scorers of other kinds, and
    other strategies, ask as before. The labels of those in ``ordered`` are levels.
    """
    groups: dict[str, list[Any]] = {}
    levels = set(ordered)
    for name, scorer in scorers.items():
        if not hasattr(scorer, "_beside"):
            continue
        scorer._task = replace(scorer._task, ordered=name in levels)
        if not scorer._shots.any:
            where = where_of(scorer)
            alike = (where.resolve()[:2], where.request_params, where.decision_settings())
            key = repr((*alike, scorer.template, scorer.order_swap, scorer.memory))
            groups.setdefault(key, []).append(scorer)
    for group in groups.values():
        if len(group) == 1:
            continue
        tasks, memo = tuple(scorer._task for scorer in group), getattr(group[0], "_memo", None)
        if memo is None or any(getattr(scorer, "_memo", None) is not memo for scorer in group):
            memo = Memo()  # of all, for replies that no store keeps
        for place, scorer in enumerate(group):
            scorer._beside, scorer._memo = (tasks, place), memo
