"""`strategy="decision"`: typed questions, one request, a probability for every class."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from sklfusion._chat import DecisionRequest, Reply
from sklfusion.llm._decision_route import TOO_MANY_OPTIONS
from sklfusion.llm._job import Job
from sklfusion.prompts import ReplyError, Task
from sklfusion.prompts._decisions import (
    ReadAnswers,
    choice_question,
    predicate_question,
    read_decisions,
)
from sklfusion.prompts._local_questions import in_words, text_messages
from sklfusion.prompts._render import Messages, quote
from sklfusion.scoring._read import Row
from sklfusion.scoring._strategies import Plan

#: Of a label whose question was refused, among others that were answered.
_NO_ANSWER = 0.5


@dataclass(frozen=True)
class DecisionPlan(Plan):
    """How a text is asked about where typed questions are answered.

    Parameters
    ----------
    path, dialect : str or None
        As the user has set them; None is found out when the first request goes out.
    most_options, most_questions : int
        Of a question, and of a request.
    as_predicates : bool
        Whether a task of one label per text is asked label by label.
    asked : tuple of dict
        Questions of another wording about several labels, of whose answers the first probability
        is kept; by default one predicate per label.
    """

    path: str | None = None
    dialect: str | None = None
    most_options: int = 255
    most_questions: int = 64
    as_predicates: bool = False
    asked: tuple[dict[str, Any], ...] = ()

    @property
    def predicates(self) -> bool:
        """Whether every label is a question of its own."""
        many = len(self.task.labels) > self.most_options
        return self.task.multilabel or self.as_predicates or many

    @property
    def count(self) -> int:
        """Questions about a text, where every label is one."""
        return len(self.asked) or len(self.task.labels)

    @property
    def essential(self) -> frozenset[str]:
        """Fields of the request without which this way to ask has no point."""
        return frozenset()

    # ------------------------------------------------------------------------------ what is sent

    @property
    def asks_once(self) -> bool:
        """Whether one request per text is all."""
        return len(self._parts) == 1

    @property
    def _parts(self) -> list[Sequence[int] | Task]:
        """The labels of each request about a text, or the task of each choice."""
        if self.predicates:
            places, most = range(self.count), self.most_questions
            return [places[start : start + most] for start in range(0, self.count, most)]
        turned = replace(self.task, order=tuple(reversed(self.task.shown)))
        return [self.task, turned] if self.swap else [self.task]

    def jobs(self, text: str, examples: Sequence[tuple[str, Any]] = ()) -> list[Job]:
        """Return the requests for one text."""
        asked = self._asked_with(examples) if examples else self._asked_alike
        messages: Messages = (("user", quote(text)),)
        if self.local:
            messages = text_messages(text, self.template)
        return [
            Job(
                DecisionRequest(self.origin, self.model, messages, params),
                read,
                answer_tokens=len(params["questions"]),
            )
            for params, read in asked
        ]

    @functools.cached_property
    def _asked_alike(self) -> list[tuple[dict[str, Any], DecisionReader]]:
        """What is asked about every text that shows no examples."""
        return self._asked_with(())

    def _asked_with(
        self, examples: Sequence[tuple[str, Any]]
    ) -> list[tuple[dict[str, Any], DecisionReader]]:
        """Return the fields of each request about a text, and how its reply is read."""
        way = {"path": self.path, "dialect": self.dialect}
        fields = self.extra | {name: value for name, value in way.items() if value is not None}
        params = {name: value for name, value in fields.items() if value is not None}
        made = []
        for part in self._parts:
            questions = self._questions(part, examples)
            order = part.shown if isinstance(part, Task) else None
            reader = DecisionReader(questions, order, self._fewest)
            made.append(({**params, "questions": questions}, reader))
        return made

    def _questions(
        self, part: Sequence[int] | Task, examples: Sequence[tuple[str, Any]]
    ) -> list[dict[str, Any]]:
        if isinstance(part, Task):
            asked = [choice_question(part, examples, self.template)]
        elif self.asked:
            asked = [self.asked[place] for place in part]
        else:
            asked = [predicate_question(self.task, k, examples, self.template) for k in part]
        return [in_words(question, self.template) for question in asked] if self.local else asked

    @property
    def _fewest(self) -> int | None:
        """How many questions of a request have to be answered, None for all."""
        if not self.task.multilabel:
            return None  # a distribution over some of the classes is none
        return 1 if self.asks_once else 0

    # ------------------------------------------------------------------------------ what is read

    @functools.cached_property
    def reader(self) -> Callable[[Reply], Any]:
        """From a reply to an answer; raises ReplyError."""
        return self._asked_alike[0][1]

    def combine(self, answers: Sequence[Any]) -> Row:
        """Return the row of a text from the answers to all its requests.

        Raises
        ------
        ReplyError
            "refusal", if what was refused leaves nothing to say.
        """
        if not self.predicates:
            return super().combine(answers)
        probs = np.concatenate([answer.probs for answer in answers])
        flags = frozenset().union(*(answer.flags for answer in answers))
        missing = np.isnan(probs)
        if missing.all():
            raise ReplyError("refusal")
        if missing.any():
            probs[missing] = _NO_ANSWER
            flags |= {"refused_question"}
        if not self.task.multilabel:
            probs = probs / probs.sum()
        return Row(probs, flags=flags)

    # ------------------------------------------------------------------------- what is too large

    def narrower(self, cause: str) -> DecisionPlan | None:
        """Return the plan that asks less at once after a refusal for size, None if none does."""
        if cause == TOO_MANY_OPTIONS:
            return None if self.predicates else replace(self, as_predicates=True)
        most = min(self.most_questions, self.count) // 2
        return self.asking(most) if self.predicates and most else None

    def asking(self, most_questions: int) -> DecisionPlan:
        """Return the plan with that many questions in a request."""
        return replace(self, most_questions=most_questions)

    @property
    def shape(self) -> str:
        """How much is asked at once, as text that :meth:`in_shape` reads."""
        return json.dumps([self.as_predicates, self.most_questions])

    def in_shape(self, shape: str) -> DecisionPlan:
        """Return the plan that asks so much at once."""
        as_predicates, most = json.loads(shape)
        return replace(self, as_predicates=as_predicates, most_questions=most)

    def told(self) -> dict[str, Any]:
        """Return how it asks, in JSON values."""
        most = min(self.most_questions, self.count) if self.predicates else 1
        form = "predicates" if self.predicates else "choice"
        # Options are the class names, whatever a chat model would be asked to answer with.
        return {"asked_as": form, "questions_per_request": most, "label_form": "words"}


@dataclass(frozen=True)
class DecisionReader:
    """Reads the reply to some questions.

    Parameters
    ----------
    questions : list of dict
        As asked.
    order : tuple of int or None
        Which class each option of a choice is; None for predicates.
    fewest : int or None
        How many questions have to be answered, None for all.
    """

    questions: list[dict[str, Any]]
    order: tuple[int, ...] | None
    fewest: int | None = None

    def __call__(self, reply: Reply) -> Row:
        return self.row(read_decisions(reply.contents[0] or "", self.questions))

    def row(self, said: ReadAnswers) -> Row:
        """Return what the answers to the questions say.

        Raises
        ------
        ReplyError
            "refusal", if too few were answered.
        """
        answered = sum(value is not None for value in said.values)
        if answered < (len(self.questions) if self.fewest is None else self.fewest):
            raise ReplyError("refusal")
        flags = {f"rounded_to_{said.unit:g}"} if said.unit else set()
        flags |= {"normalised"} if said.normalised else set()
        if self.order is None:
            single = [np.nan if value is None else value[0] for value in said.values]
            return Row(np.array(single), flags=frozenset(flags))
        probs = np.empty(len(self.order))
        probs[list(self.order)] = said.values[0]
        return Row(probs, flags=frozenset(flags))
