"""How much of a task an endpoint takes in one request, and what it took before."""

from __future__ import annotations

from sklfusion._chat import ChatRequest, Reply
from sklfusion.llm._call import Call
from sklfusion.llm._reader import ReplyReader
from sklfusion.replies import request_key
from sklfusion.scoring._decision_plan import DecisionPlan
from sklfusion.scoring._texts import Texts


class Shapes:
    """The shapes in which one model was asked about one task, the one in use last.

    A reply lies under the questions that its request held. So where smaller requests had to
    follow larger ones, both are looked for: nothing that was answered is paid for again.

    Parameters
    ----------
    call : Call
        Its store and what it knows of the endpoint remember.
    plan : DecisionPlan
        In the shape that the documented limits allow.
    """

    def __init__(self, call: Call, plan: DecisionPlan) -> None:
        self._call = call
        self._plan = plan

    def plans(self) -> list[DecisionPlan]:
        """Return the plan in every shape."""
        *earlier, last = [self._plan.in_shape(shape) for shape in self._known()]
        if last.most_questions <= self._plan.most_questions:
            return [*earlier, last]
        # The user has set a lower limit since.
        return [*earlier, last, last.asking(self._plan.most_questions)]

    def note(self, plan: DecisionPlan) -> None:
        """Remember a shape that the endpoint has answered."""
        known = self._known()
        if known[-1] == plan.shape:
            return
        shapes = (*(shape for shape in known if shape != plan.shape), plan.shape)
        self._call.adapted.shapes = shapes
        if self._call.store is not None:
            self._call.store.put(self._key(), Reply(shapes, model=plan.model))

    def _known(self) -> tuple[str, ...]:
        known = self._call.adapted.shapes
        if not known and self._call.store is not None:
            reply = self._call.store.get_many([self._key()]).get(self._key())
            known = () if reply is None else tuple(shape for shape in reply.contents if shape)
            self._call.adapted.shapes = known
        return known or (self._plan.shape,)

    def _key(self) -> str:
        plan = self._plan
        about = f"{plan.count} {plan.task.multilabel}"
        question = (("system", "sklfusion: how much is asked at once"), ("user", about))
        return request_key(ChatRequest(plan.origin, plan.model, question))

    def recall(self, texts: Texts, places: list[int]) -> list[int]:
        """Give texts that were answered in an earlier shape their rows; return the others."""
        for plan in self.plans()[:-1]:
            asks = texts.asks(places)
            for ask in asks:
                ask.jobs = plan.jobs(ask.text, ask.examples)
            jobs = [job for ask in asks for job in ask.jobs]
            missing = {job.key for job in ReplyReader(self._call).unanswered(jobs)}
            places = []
            for ask in asks:
                if missing.isdisjoint(job.key for job in ask.jobs):
                    texts.settle(ask, plan)
                else:
                    places.append(ask.place)
        return places
