"""How one text is asked under each strategy, and how its answers become one row of scores."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from sklfusion._chat import ChatRequest, Reply
from sklfusion.llm._job import Job
from sklfusion.prompts import DEFAULT_TEMPLATE, PromptTemplate, Task, render, schema
from sklfusion.scoring._read import HTTP_TOP, Reader, Row, Votes, reading_of

#: mode -> form of the answer it asks for, for (multi-class, multi-label)
_ANSWERS = {
    "logprobs": ("label", "set"),
    "probabilities": ("scores", "scores"),
    "probabilities_plain": ("scores", "scores"),
    "label": ("label", "set"),
    "votes": ("label", "set"),
    "unary": (None, "yes_no"),
}
STRATEGIES = ("auto", "decision", "logprobs", "probabilities", "label", "votes", "unary")
# What a local model may list: all the mass that matters, at no price but a little JSON.
_LOCAL_TOP = 200
_REASONING = re.compile(r"^(gpt-5|o[1-9])")
_THINKING_TOKENS = 2048
#: Of "votes", whose answers are to differ; all else is greedy. request_params may say otherwise.
VOTES_TEMPERATURE = 0.7


@dataclass(frozen=True)
class Plan:
    """Everything that decides what is sent for a text.

    Parameters
    ----------
    origin, model : str
        The endpoint and its name of the model.
    task : Task
        The labels.
    mode : str
        One of the strategies, or ``"probabilities_plain"`` (no schema).
    local : bool
        Whether the model runs in this process: its answer is begun for it.
    n_votes : int
        Samples of ``"votes"``.
    max_tokens_field : str
        What the endpoint calls the limit.
    swap : bool
        Whether to ask twice with the labels in both orders.
    template : PromptTemplate
        The wording.
    extra : mapping
        Fields of the request added by the user; None removes one.
    """

    origin: str
    model: str
    task: Task
    mode: str
    local: bool = False
    n_votes: int = 5
    max_tokens_field: str = "max_tokens"
    swap: bool = False
    template: PromptTemplate = DEFAULT_TEMPLATE
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def answer(self) -> str:
        """Form of the answer."""
        form = _ANSWERS[self.mode][self._asked.multilabel]
        if form is None:
            raise ValueError("strategy='unary' is for multilabel=True.")
        return form

    @functools.cached_property
    def _asked(self) -> Task:
        """The task as the model is asked it.

        A small local model cannot write a list of labels, and its yes and no are noise; asked
        for the one label that fits best, its first-token probabilities do rank the labels.
        """
        if self.local and self.mode == "logprobs":
            return replace(self.task, multilabel=False)
        return self.task

    @property
    def essential(self) -> frozenset[str]:
        """Fields of the request without which this way to ask has no point."""
        if self.mode in ("logprobs", "unary"):
            return frozenset({"logprobs", "top_logprobs"})
        return frozenset({"response_format"} if self.mode == "probabilities" else ())

    # ------------------------------------------------------------------------------ what is sent

    def jobs(self, text: str, examples: Sequence[tuple[str, Any]] = ()) -> list[Job]:
        """Return the requests for one text."""
        if self.mode == "unary":
            return [self._job(text, examples, self.task, k) for k in range(len(self.task.labels))]
        tasks = [self._asked]
        if self.swap:
            tasks.append(replace(self.task, order=tuple(reversed(self.task.shown))))
        return [self._job(text, examples, task, None) for task in tasks]

    @property
    def asks_once(self) -> bool:
        """Whether one request per text is all."""
        return self.mode != "unary" and not self.swap

    def told(self) -> dict[str, Any]:
        """Return what annotations are to tell of this way to ask, in JSON values."""
        return {}

    def more_votes(self, jobs: list[Job]) -> list[Job]:
        """Return further requests where an endpoint ignored that several samples were wanted."""
        if self.mode != "votes" or any(not job.ok for job in jobs):
            return []
        missing = self.n_votes - jobs[0].answer.asked
        return [
            Job(jobs[0].request, jobs[0].read, number, jobs[0].answer_tokens)
            for number in range(1, missing + 1)
        ]

    def _job(
        self, text: str, examples: Sequence[tuple[str, Any]], task: Task, label: int | None
    ) -> Job:
        prefill = self.local and self.answer in ("label", "yes_no")
        messages = render(
            task,
            text,
            answer=self.answer,
            examples=examples,
            label=label,
            prefill=prefill,
            template=self.template,
        )
        request = ChatRequest(self.origin, self.model, messages, self.params)
        return Job(request, self._reader(task), answer_tokens=self._answer_tokens)

    @functools.cached_property
    def _answer_tokens(self) -> int:
        """Guess how long an answer is: a label is a token or two, a score seven more."""
        if self.local and self.answer != "set":
            return 1
        length = 1 + sum(len(key) for key in self.task.keys) // (8 * len(self.task.keys))
        if self.answer == "scores":
            return 2 + (length + 7) * len(self.task.keys)
        thought = _THINKING_TOKENS // 8 if is_reasoning(self.model) else 0
        return thought + (length if self.answer in ("label", "yes_no") else 2 + 3 * length)

    @functools.cached_property
    def params(self) -> dict[str, Any]:
        """Fields of the request beside model and messages."""
        k = len(self.task.labels)
        length = 4 + max(map(_most_tokens, self.task.keys))
        sizes = {
            "label": length,
            "set": 8 + k * length,
            "scores": 8 + k * (length + 8),
            "yes_no": 4,
        }
        limit = sizes[self.answer]
        params: dict[str, Any] = {"temperature": 0.0}
        if self.mode in ("logprobs", "unary"):
            params |= {"logprobs": True, "top_logprobs": _LOCAL_TOP if self.local else HTTP_TOP}
            if self.local:
                params |= _forced(("yes", "no") if label_free(self) else self.task.keys)
                limit = limit if self.answer == "set" else 1
            elif self.answer != "set":
                limit = max(limit, 8)  # room for a quotation mark or "Label:"
        elif self.mode == "votes":
            params |= {"temperature": VOTES_TEMPERATURE, "n": self.n_votes}
        elif self.mode == "probabilities":
            params["response_format"] = schema(self.task, answer="scores")
        if is_reasoning(self.model):
            # These refuse a temperature, and think within the limit.
            params.pop("temperature")
            limit += _THINKING_TOKENS
        params[self.max_tokens_field] = limit
        params |= self.extra
        return {name: value for name, value in params.items() if value is not None}

    # ------------------------------------------------------------------------------ what is read

    def _reader(self, task: Task) -> Callable[[Reply], Any]:
        return Reader(reading_of(self.mode, task), task)

    @functools.cached_property
    def reader(self) -> Callable[[Reply], Any]:
        """From a reply to an answer; raises ReplyError."""
        return self._reader(self._asked)

    def row_of(self, answer: Any) -> Row | None:
        """Return the row that one answer alone makes, None if there is none or it takes more."""
        if answer is None or (isinstance(answer, Votes) and answer.asked < self.n_votes):
            return None
        return self.combine([answer])

    def combine(self, answers: Sequence[Any]) -> Row:
        """Return the row of a text from the answers to all its requests."""
        if self.mode == "unary":
            unary = np.array([a[:2] for a in answers])
            probs = np.exp(unary[:, 0]) / np.exp(unary).sum(axis=1)
            return Row(probs, unary=unary, coverage=float(np.mean([a[2] for a in answers])))
        if self.mode == "votes":
            repeats = np.concatenate([a.votes for a in answers])[: self.n_votes]
            shares = repeats.mean(axis=0)
            flags = frozenset({"fewer_votes"}) if len(repeats) < self.n_votes else frozenset()
            return Row(shares, votes=shares, repeats=repeats, flags=flags)
        if len(answers) == 1:
            return answers[0]
        flags = frozenset().union(*(a.flags for a in answers))
        if len({int(a.probs.argmax()) for a in answers}) > 1:
            flags |= {"order_changed_answer"}
        return replace(
            answers[0],
            probs=np.mean([a.probs for a in answers], axis=0),
            coverage=float(np.mean([a.coverage for a in answers])),
            flags=flags,
        )


def _most_tokens(key: str) -> int:
    """Return how many tokens a label takes at most: one for two letters, one for a byte else."""
    plain = sum(map(str.isascii, key))
    return plain // 2 + len(key.encode("utf-8", "replace")) - plain


def _forced(keys: Sequence[str]) -> dict[str, list[str]]:
    """Return what a model in this process is to score.

    First tokens are enough where no two labels begin with the same byte; else whole labels.
    """
    folded = [key.strip().casefold().encode("utf-8", "replace")[:1] for key in keys]
    name = "score_tokens" if len(set(folded)) == len(keys) else "score_labels"
    return {name: [*keys]}


def label_free(plan: Plan) -> bool:
    """Tell whether the answers of a plan are yes and no, whatever the labels."""
    return plan.mode == "unary"


def is_reasoning(model: str) -> bool:
    """Tell whether a model of this name thinks first and gives no log-probabilities."""
    return _REASONING.match(model.rpartition("/")[2]) is not None
