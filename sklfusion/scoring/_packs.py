"""Asking about several texts per request, with one entry per text in the reply store."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from sklfusion._chat import ChatRequest, Reply
from sklfusion.llm._call import Call
from sklfusion.llm._job import Job
from sklfusion.prompts import (
    check_finish,
    pack_ids,
    parse_pack,
    render_pack,
)
from sklfusion.prompts._parse import content_of
from sklfusion.replies import encode_reply
from sklfusion.scoring._read import Row, said_row
from sklfusion.scoring._strategies import Plan
from sklfusion.scoring._texts import Ask, Texts

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
        params = dict(plan.params)
        params[plan.max_tokens_field] = 16 + len(texts) * (int(params[plan.max_tokens_field]) + 12)
        request = ChatRequest(plan.origin, plan.model, messages, params)
        return Job(request, _PackReader(plan, tuple(ids)), answer_tokens=2 + 10 * len(texts))

    def stored(self, row: Row, model: str | None) -> str:
        """Return what is kept for one text: a reply that says its label as the parser reads it."""
        return _stored(
            tuple(np.flatnonzero(row.probs).tolist()),
            model,
            self.plan.task.keys,
            self.plan.task.multilabel,
        )


@functools.lru_cache(maxsize=4096)
def _stored(
    positions: tuple[int, ...], model: str | None, keys: tuple[str, ...], multilabel: bool
) -> str:
    chosen = [keys[k] for k in positions]
    content = json.dumps(chosen) if multilabel else chosen[0]
    return encode_reply(Reply((content,), ("stop",), model))


@dataclass(frozen=True)
class _PackReader:
    """Reads the rows of a pack, in the order of its ids; None where one is missing."""

    plan: Plan
    ids: tuple[str, ...]

    def __call__(self, reply: Reply) -> list[Row | None]:
        check_finish(reply)
        task = self.plan.task
        found = parse_pack(
            content_of(reply),
            self.ids,
            task.keys,
            multilabel=task.multilabel,
            names=task.names,
        )
        rows: list[Row | None] = []
        for one in self.ids:
            if one not in found:
                rows.append(None)
                continue
            said = found[one]
            positions = said if task.multilabel else frozenset({said})
            rows.append(said_row(positions, len(task.labels)))
        return rows


def ask_packed(
    packer: Packer,
    texts: Texts,
    asks: Sequence[Ask],
    call: Call,
    execute: Callable[[Sequence[Job]], None],
) -> None:
    """Answer texts in place: in packs, then alone.

    Parameters
    ----------
    packer : Packer
        Makes the requests.
    texts : Texts
        Changed in place.
    asks : sequence of Ask
        Those of them that are not answered yet, with the job under which each answer is kept.
    call : Call
        Its store keeps the entries of texts, its memo the answers.
    execute : callable
        Runs jobs.
    """
    fresh: list[tuple[str, str]] = []

    def keep(ask: Ask, key: str, row: Row, model: str | None) -> None:
        texts.answer(ask.place, row, model)
        call.memo[key] = (row, model)
        fresh.append((key, packer.stored(row, model)))

    def save() -> None:
        # The packs' own replies are in the store already; entries per text go there together.
        if call.store is not None and fresh:
            call.store.insert(fresh)
        fresh.clear()

    packs = packer.packs([ask.text for ask in asks])
    execute([job for _, job in packs])
    alone = []
    for numbers, job in packs:
        answers = job.answer if job.ok else [None] * len(numbers)
        for number, answer in zip(numbers, answers, strict=True):
            ask = asks[number]
            if answer is None:
                alone.append((ask, ask.jobs[0].key))
                ask.jobs = packer.plan.jobs(ask.text)
            else:
                keep(ask, ask.jobs[0].key, answer, job.model)
    save()
    execute([ask.jobs[0] for ask, _ in alone])
    for ask, key in alone:
        texts.settle(ask, packer.plan)
        if ask.jobs[0].ok:
            keep(ask, key, ask.jobs[0].answer, ask.jobs[0].model)
    save()
