"""What all routes share: the model, its queue, the settings, the counters."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable, Sequence
from typing import Any

from sklfusion.labelling import LabelDesk
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


class Service:
    """A model that is being served, a pool that is being labelled, or both.

    Parameters
    ----------
    model : estimator or None
        Fitted; see `ServedModel`. Without one that of the desk is served, once it has one.
    settings : ServiceSettings
    desk : LabelDesk, optional
    """

    def __init__(
        self, model: Any, settings: ServiceSettings, desk: LabelDesk | None = None
    ) -> None:
        self.settings, self.desk = settings, desk
        self._own = model is not None
        self.known = ServedModel(model) if self._own or desk is None else None
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

    @property
    def served(self) -> ServedModel:
        """The model; raises `Refusal` as long as there is none."""
        if self.known is None:
            told = "There is no model yet: label texts of two classes, and fit it."
            raise Refusal(503, told, "no_model")
        return self.known

    def adopt(self, model: Any) -> None:
        """Serve a model that was fitted here, unless the service was started with one."""
        if not self._own:
            self.known = ServedModel(model)

    def _run(self, key: Any, texts: list[str]) -> Sequence[Any]:
        """Answer in the worker thread."""
        if isinstance(key, DecisionQuestion):
            assert self.zero_shot is not None
            return self.zero_shot.answer(key, texts)
        served, ask, _ = key
        return served.answer(texts, ask=ask)

    async def predict(
        self, texts: Sequence[str], ask: bool = True, served: ServedModel | None = None
    ) -> Sequence[TextAnswer]:
        """Return what the model says about texts; raises `Refusal`."""
        served = served or self.served
        for number, text in enumerate(texts):
            if not text.strip():
                raise Refusal(422, f"Text {number} is empty.", "empty_text", ("texts", number))
        alone = ask and not served.may_share_calls
        key: Hashable = (served, ask, object() if alone else None)
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
            jobs.append(self.predict([text], served=served))
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
