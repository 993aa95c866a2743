"""The texts of one call, and finding in one go those whose answers are there already."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sklfusion._chat import Reply
from sklfusion.llm._job import Job
from sklfusion.prompts import ReplyError
from sklfusion.prompts._render import quote
from sklfusion.replies import request_keys
from sklfusion.scoring._read import Row
from sklfusion.scoring._strategies import Plan

Examples = Sequence[tuple[str, Any]]


@dataclass(slots=True, eq=False)
class Ask:
    """A text that has to be asked about, the examples shown with it, and its requests.

    Parameters
    ----------
    place : int
        Which of the distinct texts it is.
    text : str
        As sent.
    examples : sequence
        Shown before it.
    jobs : sequence of Job
        Its requests.
    """

    place: int
    text: str
    examples: Examples = ()
    jobs: Sequence[Job] = ()


@dataclass(eq=False)
class Texts:
    """The texts of one call, each distinct one once, and what came of them.

    Parameters
    ----------
    distinct : list of str
        As sent, perhaps shortened.
    rows_of : ndarray of shape (n,)
        For each of the user's texts, which of the distinct ones it is.
    flags : dict
        Reservations that are known before asking, by place.
    examples : list or None
        Shown before each distinct text.

    Attributes
    ----------
    rows : list of (Row or None)
        Scores of each distinct text, None while there is no answer.
    causes : dict
        Why there is none, by place.
    said : dict
        By cause, the words of the endpoint about one of the texts: its error, or an answer that
        cannot be used.
    models : set of str
        Who answered.
    """

    distinct: list[str]
    rows_of: np.ndarray
    flags: dict[int, frozenset[str]] = field(default_factory=dict)
    examples: list[Examples] | None = None

    def __post_init__(self) -> None:
        self.rows: list[Row | None] = [None] * len(self.distinct)
        self.causes: dict[int, str] = {}
        self.said: dict[str, str] = {}
        self.models: set[str] = set()

    def open(self) -> list[int]:
        """Return the places of the texts that can be asked about, and note the empty ones."""
        places = [n for n, text in enumerate(self.distinct) if text and not text.isspace()]
        if len(places) < len(self.distinct):
            empty = set(range(len(self.distinct))).difference(places)
            self.causes.update(dict.fromkeys(sorted(empty), "empty_text"))
        return places

    def asks(self, places: Iterable[int]) -> list[Ask]:
        """Return the distinct texts at some places, to be asked about."""
        shown = self.examples
        return [Ask(n, self.distinct[n], () if shown is None else shown[n]) for n in places]

    def settle(self, ask: Ask, plan: Plan) -> None:
        """Take over what came of the jobs of an ask."""
        fault = next((job.fault for job in ask.jobs if job.fault is not None), None)
        if fault is not None:
            self.causes[ask.place] = fault.cause
            if fault.said:
                self.said.setdefault(fault.cause, fault.said)
        else:
            try:
                self.answer(ask.place, plan.combine([job.answer for job in ask.jobs]))
            except ReplyError as error:
                self.causes[ask.place] = error.cause
        self.models.update(job.model for job in ask.jobs if job.model)

    def reopen(self, ask: Ask) -> None:
        """Forget why a text has no answer: it is asked about in another way."""
        self.said.pop(self.causes.pop(ask.place, ""), None)

    def answer(self, place: int, row: Row, model: str | None = None) -> None:
        """Give a text its row."""
        self.rows[place] = row
        if model:
            self.models.add(model)


KeptAs = Callable[[Job], Job]


class Inquiries:
    """The requests about texts under a plan that sends one per text: keyed now, made when needed.

    Requests that show the same examples differ in nothing but the text, so all that is before
    and after it is written and hashed once.

    Parameters
    ----------
    plan : Plan
        How the texts are asked about.
    texts : Texts
        The texts.
    places : sequence of int
        Which of them.
    entry : callable, optional
        From a job to the job under whose key its answer is kept, where that is another.
    made : mapping, optional
        Requests that have been made already, by place.

    Attributes
    ----------
    keys : list of str
        Under which the answers are kept, in the order of ``places``.
    """

    def __init__(
        self,
        plan: Plan,
        texts: Texts,
        places: Sequence[int],
        entry: KeptAs | None = None,
        made: Mapping[int, Job] | None = None,
    ) -> None:
        self.plan = plan
        self.texts = texts
        self.places = places
        self._made = made or {}
        # For each set of examples: where its texts are, what differs between them, and the request
        # into which that is put.
        self._groups: list[tuple[Sequence[int], list[str], Job]] = []
        parts = []
        for examples, members in self._alike():
            job = plan.jobs("", examples)[0]
            job = entry(job) if entry is not None else job
            contents = [quote(texts.distinct[place]) for place in members]
            self._groups.append((members, contents, job))
            parts.append(request_keys(job.request, contents))
        whole = len(parts) == 1 and not self._made
        self.keys = parts[0] if whole and texts.examples is None else self._in_order(parts)

    def _alike(self) -> Iterable[tuple[Examples, Sequence[int]]]:
        """Return, for each set of examples, the places of the texts that show it."""
        shown, places = self.texts.examples, self.places
        if self._made:
            places = [place for place in places if place not in self._made]
        if shown is None:
            return [((), places)]
        alike: dict[tuple[tuple[str, Any], ...], list[int]] = {}
        for place in places:
            alike.setdefault(tuple(shown[place]), []).append(place)
        return alike.items()

    def _in_order(self, parts: list[list[str]]) -> list[str]:
        keys = {place: job.key for place, job in self._made.items()}
        for (members, _, _), part in zip(self._groups, parts, strict=True):
            keys.update(zip(members, part, strict=True))
        return [keys[place] for place in self.places]

    def jobs(self, wanted: Mapping[int, str]) -> dict[int, Job]:
        """Return the requests about some of the texts, by place; ``wanted`` has their keys."""
        jobs = {place: job.anew() for place, job in self._made.items() if place in wanted}
        for members, contents, job in self._groups if wanted else ():
            for place, content in zip(members, contents, strict=True):
                if place in wanted:
                    jobs[place] = job.about(content, wanted[place])
        return jobs


def recall(inquiries: Inquiries, store: Any, memo: dict[str, Any]) -> list[Ask]:
    """Give texts whose answers this object or the store has their rows; return the others.

    The store is looked at once. Answers that cannot be used are left to the run, which knows what
    may follow them.

    Parameters
    ----------
    inquiries : Inquiries
        What is to be known; its texts are changed in place.
    store : ReplyStore or None
        Where replies are kept.
    memo : dict
        Answers of this object by key; those found in the store are added.

    Returns
    -------
    list of Ask
        With the request of each, which tells whether the store lacks the reply to it.

    Notes
    -----
    Cost: about 4 microseconds per text whose reply is stored and is like others.
    """
    keys, texts = inquiries.keys, inquiries.texts
    known = {key: memo[key] for key in keys if key in memo} if memo else {}
    unusable: set[str] = set()
    if store is not None:
        wanted = [key for key in keys if key not in known] if known else keys
        found = store.get_as(wanted, _parser(inquiries.plan))
        unusable = {key for key, answer in found.items() if answer is _UNUSABLE}
        for key in unusable:
            del found[key]
        memo.update(found)
        known.update(found)
    rows = _rows(inquiries.plan, texts, list(map(known.get, keys)))
    missing: dict[int, str] = {}
    for place, key, row in zip(inquiries.places, keys, rows, strict=True):
        texts.rows[place] = row
        if row is None:
            missing[place] = key
    jobs = inquiries.jobs(missing)
    asks = texts.asks(missing)
    for ask in asks:
        job = jobs[ask.place]
        job.absent = job.key not in known and job.key not in unusable
        ask.jobs = [job]
    return asks


def _rows(plan: Plan, texts: Texts, answers: list[Any]) -> list[Row | None]:
    """Return the rows that answers make alone; equal replies have one answer, and get one row."""
    numbers = list(map(id, answers))
    rows: dict[int, Row | None] = {}
    for number, answer in dict(zip(numbers, answers, strict=True)).items():
        said, model = answer if answer is not None else (None, None)
        rows[number] = plan.row_of(said)
        if rows[number] is not None and model:
            texts.models.add(model)
    return [rows[number] for number in numbers]


#: Stands for a reply that is there and cannot be read.
_UNUSABLE: Any = object()


def _parser(plan: Plan) -> Callable[[Reply], Any]:
    read = plan.reader

    def parse(reply: Reply) -> Any:
        try:
            return read(reply), reply.model
        except ReplyError:
            return _UNUSABLE

    return parse
