"""A text that is asked about, and finding in one go those whose answers are there already."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sklfusion.llm._job import Job
from sklfusion.llm._types import Reply
from sklfusion.prompts import ReplyError
from sklfusion.prompts._render import quote
from sklfusion.replies import request_keys
from sklfusion.scoring._plan import Plan, Row


@dataclass(slots=True, eq=False)
class Ask:
    """A distinct text, the examples shown with it, its requests, and what came of them.

    Parameters
    ----------
    text : str
        As sent, perhaps shortened.
    examples : sequence
        Shown before it.
    flags : frozenset of str
        Reservations that are known before asking.
    jobs : sequence of Job
        Its requests, where any had to be made.
    row : Row or None
        Its scores, None while there is no answer.
    models : tuple
        Who answered.
    """

    text: str
    examples: Sequence[tuple[str, Any]] = ()
    flags: frozenset[str] = frozenset()
    jobs: Sequence[Job] = ()
    row: Row | None = None
    models: tuple[str | None, ...] = ()

    @property
    def cause(self) -> str | None:
        """Why there is no answer, None if there is one."""
        if self.row is not None:
            return None
        if not self.text.strip():
            return "empty_text"
        return next((job.fault.cause for job in self.jobs if job.fault is not None), "missing")

    def settle(self, plan: Plan) -> None:
        """Make the row from the answers of the jobs, if all have one."""
        if all(job.ok for job in self.jobs):
            self.row = plan.combine([job.answer for job in self.jobs])
        self.models = tuple(job.model for job in self.jobs)


def keys_of(
    plan: Plan, asks: Sequence[Ask], entry: Callable[[Job], Job] | None = None
) -> list[str]:
    """Return the key of each ask under a plan that sends one request per text.

    Requests that show the same examples differ in nothing but the text, so all that is before
    and after it is written and hashed once.
    """
    alike: dict[tuple[tuple[str, Any], ...], list[int]] = {}
    for place, ask in enumerate(asks):
        alike.setdefault(tuple(ask.examples), []).append(place)
    keys = [""] * len(asks)
    for examples, places in alike.items():
        job = plan.jobs("", examples)[0]
        request = (entry(job) if entry is not None else job).request
        contents = (quote(asks[place].text) for place in places)
        for place, key in zip(places, request_keys(request, contents), strict=True):
            keys[place] = key
    return keys


def recall(
    plan: Plan,
    asks: Sequence[Ask],
    store: Any,
    memo: dict[str, Any],
    entry: Callable[[Job], Job] | None = None,
) -> list[Ask]:
    """Give asks whose answers this object or the store has their rows; return the others.

    Answers that cannot be used are left to the run, which knows what may follow them, and so are
    plans with several requests per text.

    Parameters
    ----------
    plan : Plan
        How the texts are asked about.
    asks : sequence of Ask
        Changed in place.
    store : ReplyStore or None
        Where replies are kept.
    memo : dict
        Answers of this object by key; those found in the store are added.
    entry : callable, optional
        From a job to the job under whose key its answer is kept, where that is another.

    Notes
    -----
    Cost: about 8 microseconds per text whose reply is stored and is like others.
    """
    if not plan.asks_once or (store is None and not memo):
        return list(asks)
    keys = keys_of(plan, asks, entry)
    known = {key: memo[key] for key in keys if key in memo} if memo else {}
    if store is not None:
        read = plan.reader

        def parse(reply: Reply) -> tuple[Any, str | None] | None:
            try:
                return read(reply), reply.model
            except ReplyError:
                return None

        wanted = [key for key in keys if key not in known] if known else keys
        found = store.get_as(wanted, parse)
        memo.update(found)
        known.update(found)
    missing = []
    # Equal replies have one answer between them, and are to have one row.
    rows: dict[int, Row | None] = {}
    for ask, key in zip(asks, keys, strict=True):
        answer, model = known.get(key, (None, None))
        if id(answer) not in rows:
            rows[id(answer)] = plan.row_of(answer)
        ask.row = rows[id(answer)]
        if ask.row is None:
            missing.append(ask)
        else:
            ask.models = (model,)
    return missing
