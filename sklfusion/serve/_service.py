"""What all routes share: the model, its queue, the settings, the counters."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable, Sequence
from typing import Any

from sklfusion.models import DEFAULT_LLM
from sklfusion.scoring import LLMScorer
from sklfusion.serve._batcher import Batcher
from sklfusion.serve._decide import (
    Decided,
    DecisionQuestion,
    ZeroShot,
    class_numbers,
    refuse_unknown,
    restricted,
)
from sklfusion.serve._errors import Refusal
from sklfusion.serve._metrics import ServiceMetrics
from sklfusion.serve._served import ServedModel, TextAnswer
from sklfusion.serve._settings import ServiceSettings

#: Keys of the queue: ask as the model is used to, or leave a cascade's LLM alone.
_ASK, _NEVER = ("fused", True), ("fused", False)


class Service:
    """A model that is being served.

    Parameters
    ----------
    model : estimator
        Fitted; see `ServedModel`.
    settings : ServiceSettings
    """

    def __init__(self, model: Any, settings: ServiceSettings) -> None:
        self.settings = settings
        self.served = ServedModel(model)
        self.zero_shot = ZeroShot(_llm_of(model, settings)) if settings.mode == "open" else None
        self.metrics = ServiceMetrics()
        self.batcher = Batcher(
            self._run,
            max_queue=settings.max_queue,
            max_batch=settings.max_batch,
            wait=settings.batch_wait,
            observe=self.metrics.batch,
        )
        self.metrics.waiting.set_function(lambda: self.batcher.waiting)
        self.ready = False

    def _run(self, key: Hashable, texts: list[str]) -> Sequence[Any]:
        """Answer in the worker thread."""
        if isinstance(key, DecisionQuestion):
            assert self.zero_shot is not None
            return self.zero_shot.answer(key, texts)
        return self.served.answer(texts, ask=key != _NEVER)

    async def predict(self, texts: Sequence[str], ask: bool = True) -> Sequence[TextAnswer]:
        """Return what the model says about texts; raises `Refusal`."""
        for number, text in enumerate(texts):
            if not text.strip():
                raise Refusal(422, f"Text {number} is empty.", "empty_text", ("texts", number))
        alone = ask and not self.served.may_share_calls
        key: Hashable = object() if alone else (_ASK if ask else _NEVER)
        return await self.batcher.submit(key, texts, self.settings.timeout)

    async def decide(self, text: str, questions: Sequence[DecisionQuestion]) -> list[Decided]:
        """Answer questions about one text, each as if it came alone; raises `Refusal`."""
        if not text.strip():
            raise Refusal(422, "The text is empty.", "empty_text")
        served = self.served
        found = [class_numbers(q, served.classes, served.multilabel) for q in questions]
        if self.zero_shot is None:
            for question, numbers in zip(questions, found, strict=True):
                if numbers is None:
                    raise refuse_unknown(question, served.names, served.multilabel)
        asked = dict.fromkeys(
            q.content for q, n in zip(questions, found, strict=True) if n is None
        )
        jobs = [self.batcher.submit(question, [text], self.settings.timeout) for question in asked]
        if any(numbers is not None for numbers in found):
            jobs.append(self.predict([text]))
        told = await _all(jobs)
        open_answers = dict(zip(asked, told, strict=False))
        decided = []
        for question, numbers in zip(questions, found, strict=True):
            if numbers is None:
                decided.append(open_answers[question.content][0])
            else:
                decided.append(restricted(told[-1][0].proba, question, numbers))
            self.metrics.decisions.labels(decided[-1].source).inc()
        return decided


async def _all(jobs: list[Any]) -> list[Any]:
    """Return all results; the first refusal takes the others out of the queue."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(job) for job in jobs]
    except* Refusal as refused:
        first: BaseException = refused.exceptions[0]
        while isinstance(first, BaseExceptionGroup):
            first = first.exceptions[0]
        raise first from None
    return [task.result() for task in tasks]


def _llm_of(model: Any, settings: ServiceSettings) -> Any:
    """Return the LLM for questions that the model was not fitted for."""
    if settings.zero_shot is not None:
        return settings.zero_shot
    for name in ("scorer_", "llm_"):
        if isinstance(getattr(model, name, None), LLMScorer):
            return getattr(model, name)
    return DEFAULT_LLM
