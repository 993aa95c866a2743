"""Asking about several texts per request, with one entry per text in the reply store."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from sklfusion.llm._job import Job
from sklfusion.llm._types import ChatRequest, Reply
from sklfusion.prompts import (
    check_finish,
    pack_ids,
    parse_pack,
    render_pack,
)
from sklfusion.prompts._parse import content_of
from sklfusion.replies import encode_reply
from sklfusion.scoring._plan import Plan, Row

# Marks the entry of one text; never sent.
_MARK = "sklfusion_packed"


@dataclass(frozen=True)
class Packer:
    """Makes requests about several texts of a plan.

    Parameters
    ----------
    plan : Plan
        With mode "label".
    size : int
        Texts per request.
    """

    plan: Plan
    size: int

    def entry(self, job: Job) -> Job:
        """Return the job under which the answer for one text is kept.

        Its key does not depend on the neighbours, so another grouping finds it again. It is
        never sent: what answers it is a pack, or the text asked about alone.
        """
        params = {**job.request.params, _MARK: True}
        return Job(replace(job.request, params=params), job.read)

    def missing(
        self, asks: Sequence[Any], store: Any, memo: dict[str, Any]
    ) -> tuple[list[Job], int]:
        """Return requests about the texts that are neither stored nor remembered, and how many."""
        entries = {
            self.entry(self.plan.jobs(ask.text)[0]).key: ask.text
            for ask in asks
            if ask.text.strip()
        }
        stored = store.get_many(list(entries)) if store is not None else {}
        texts = [t for key, t in entries.items() if key not in stored and key not in memo]
        return [job for _, job in self.packs(texts)], len(texts)

    def packs(self, texts: Sequence[str]) -> list[tuple[list[int], Job]]:
        """Return (rows, job) per request."""
        packs = []
        for start in range(0, len(texts), self.size):
            rows = list(range(start, min(start + self.size, len(texts))))
            packs.append((rows, self._job([texts[row] for row in rows])))
        return packs

    def _job(self, texts: Sequence[str]) -> Job:
        plan = self.plan
        ids = pack_ids(texts)
        messages = render_pack(
            plan.task, dict(zip(ids, texts, strict=True)), template=plan.template
        )
        single = plan.jobs(texts[0])[0]
        params = dict(single.request.params)
        params[plan.max_tokens_field] = 16 + len(texts) * (int(params[plan.max_tokens_field]) + 12)
        request = ChatRequest(plan.origin, plan.model, messages, params)
        return Job(request, _PackReader(plan, tuple(ids)), answer_tokens=2 + 10 * len(texts))

    def reply_of(self, row: Row, model: str | None) -> Reply:
        """Return the reply that is kept for one text: its label as the parser reads it."""
        import json

        keys = self.plan.task.keys
        chosen = [keys[k] for k in np.flatnonzero(row.probs)]
        content = json.dumps(chosen) if self.plan.task.multilabel else chosen[0]
        return Reply((content,), ("stop",), model)


@dataclass(frozen=True)
class _PackReader:
    """Reads the rows of a pack, in the order of its ids; None where one is missing."""

    plan: Plan
    ids: tuple[str, ...]

    def __call__(self, reply: Reply) -> list[Row | None]:
        check_finish(reply)
        task = self.plan.task
        found = parse_pack(content_of(reply), self.ids, task.keys, multilabel=task.multilabel)
        rows: list[Row | None] = []
        for one in self.ids:
            if one not in found:
                rows.append(None)
                continue
            votes = np.zeros(len(task.labels))
            said = found[one]
            votes[list(said) if task.multilabel else said] = 1.0
            rows.append(Row(votes, votes=votes))
        return rows


def ask_packed(
    packer: Packer,
    asks: Sequence[Any],
    store: Any,
    memo: dict[str, Any],
    meter: Any,
    execute: Callable[[Sequence[Job]], None],
) -> None:
    """Answer asks (one job each, in place): from the store, in packs, then alone.

    Parameters
    ----------
    packer : Packer
        Makes the requests.
    asks : sequence of Ask
        Whose ``jobs`` hold the single request each.
    store : ReplyStore or None
        Where the entries of texts are kept.
    memo : dict
        Answers of this object.
    meter : Meter
        Counts.
    execute : callable
        Runs jobs.
    """
    entries = [packer.entry(ask.jobs[0]) for ask in asks]
    keys = [entry.key for entry in entries]
    stored = store.get_many(keys) if store is not None else {}
    missing = []
    for number, (ask, entry) in enumerate(zip(asks, entries, strict=True)):
        if entry.key in memo:
            ask.jobs[0].answer, ask.jobs[0].model = memo[entry.key]
        elif entry.key in stored:
            ask.jobs[0].answer = entry.read(stored[entry.key])
        else:
            missing.append(number)
            continue
        meter.add(cached=1)

    fresh: list[tuple[str, str]] = []

    def keep(number: int, row: Row, model: str | None) -> None:
        asks[number].jobs[0].answer, asks[number].jobs[0].model = row, model
        memo[entries[number].key] = (row, model)
        fresh.append((entries[number].key, encode_reply(packer.reply_of(row, model))))

    def save() -> None:
        # The packs' own replies are in the store already; entries per text go there together.
        if store is not None and fresh:
            store.insert(fresh)
        fresh.clear()

    packs = packer.packs([asks[number].text for number in missing])
    execute([job for _, job in packs])
    alone = []
    for rows, job in packs:
        answers = job.answer if job.ok else [None] * len(rows)
        for row, answer in zip(rows, answers, strict=True):
            if answer is None:
                alone.append(missing[row])
            else:
                keep(missing[row], answer, job.model)
    save()
    execute([asks[number].jobs[0] for number in alone])
    for number in alone:
        job = asks[number].jobs[0]
        if job.ok:
            keep(number, job.answer, job.model)
    save()
