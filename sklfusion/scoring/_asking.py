"""Asking about many texts: which plan, what is known, what has to be requested."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sklfusion._chat import ChatRequest, Reply
from sklfusion.exceptions import EndpointError, ModelNotFoundError
from sklfusion.llm._call import Call
from sklfusion.llm._decision_route import NO_ROUTE, TOO_LARGE
from sklfusion.llm._job import Job
from sklfusion.llm._run import Run
from sklfusion.replies import request_key
from sklfusion.scoring._decision_plan import DecisionPlan
from sklfusion.scoring._decision_shapes import Shapes
from sklfusion.scoring._forecast import forecast
from sklfusion.scoring._packs import Packer, ask_packed
from sklfusion.scoring._strategies import Plan
from sklfusion.scoring._texts import Ask, Inquiries, Texts, recall
from sklfusion.scoring._to_annotations import TRANSPORT

# Failures that say something about the text or the line, not about what the endpoint can do.
_OWN_CAUSES = ("content_filter", "refusal", "too_long", *TRANSPORT)
# Texts tried before an endpoint is taken to be unable to do something.
_PROBES = 3


class Session:
    """Asks a back end about texts. One object per call of an estimator.

    Each text is rendered, keyed and looked up in the store once: what a trial or the look has
    found is handed on with the request.

    Parameters
    ----------
    plans : sequence of Plan
        Ways to ask, best first. More than one only for ``strategy="auto"``: the first that the
        endpoint answers is taken.
    call : Call
        Who answers, where replies are kept, and within which limits.
    pack_size : int
        Texts per request.
    """

    def __init__(self, plans: Sequence[Plan], call: Call, pack_size: int = 1) -> None:
        self.call = call
        self._pack_size = pack_size
        self._plans = list(plans)
        # By mode and place: the requests of texts that were tried; and the keys of those answered.
        self._tried: dict[str, dict[int, list[Job]]] = {plan.mode: {} for plan in plans}
        self._probed: dict[str, set[str]] = {plan.mode: set() for plan in plans}

    @property
    def plan(self) -> Plan:
        """The way to ask that is in use."""
        return self._plans[0]

    def execute(self, jobs: Sequence[Job]) -> None:
        """Answer jobs."""
        Run(self.call).execute(jobs)

    def ask(self, texts: Texts) -> None:
        """Answer all texts, in place."""
        places = texts.open()
        if not places:
            return
        self._settle_mode(texts.asks(places[:_PROBES]))
        places = self._recall_shapes(texts, places)
        packer = Packer(self.plan, self._pack_size) if self._pack_size > 1 else None
        missing = self._missing(texts, places, packer)
        known = len(places) - len(missing)
        self.call.found(known)
        # What a trial has paid for a moment ago only looks as if it had been stored.
        self.call.meter.add(cached=known - len(self._probed[self.plan.mode]))
        if not missing:
            self.call.show(0, 0)
        elif packer is not None:
            ask_packed(packer, texts, missing, self.call, self.execute)
        elif isinstance(self.plan, DecisionPlan):
            self._ask_decisions(texts, missing)
        else:
            self._ask_alone(texts, missing)

    def _missing(self, texts: Texts, places: Sequence[int], packer: Packer | None) -> list[Ask]:
        """Answer what is known; return the other texts with their requests."""
        tried = self._tried[self.plan.mode]
        if self.plan.asks_once:
            entry = packer.entry if packer is not None else None
            made = {place: jobs[0] for place, jobs in tried.items()}
            inquiries = Inquiries(self.plan, texts, places, entry, made)
            return recall(inquiries, self.call.store, self.call.memo)
        asks = texts.asks(places)
        for ask in asks:
            jobs = tried.get(ask.place) or self.plan.jobs(ask.text, ask.examples)
            ask.jobs = [job.anew() for job in jobs]
        return asks

    def _ask_alone(self, texts: Texts, asks: Sequence[Ask]) -> None:
        self.execute([job for ask in asks for job in ask.jobs])
        extra = []
        for ask in asks:
            more = self.plan.more_votes(list(ask.jobs))
            ask.jobs = [*ask.jobs, *more]
            extra += more
        if extra:
            self.execute(extra)
            for ask in asks:  # a failed extra vote does not cost the text its others
                ask.jobs = [ask.jobs[0], *(job for job in ask.jobs[1:] if job.ok)]
        for ask in asks:
            texts.settle(ask, self.plan)

    # --------------------------------------------------------------------- strategy="decision"

    def _ask_decisions(self, texts: Texts, asks: list[Ask]) -> None:
        """Ask about the first text alone: it finds out how questions are put, and how many."""
        self._ask_in_shape(texts, asks[:1])
        self._ask_in_shape(texts, asks[1:])

    def _ask_in_shape(self, texts: Texts, asks: list[Ask]) -> None:
        """Ask about texts; those whose requests are too large are asked in smaller ones."""
        while asks:
            plan = self.plan
            assert isinstance(plan, DecisionPlan)
            if plan is not self._asked_in:
                self._remake(texts, asks)
            self._ask_alone(texts, asks)
            if plan is not self._widest and any(texts.rows[ask.place] is not None for ask in asks):
                self._shapes().note(plan)
            asks = [ask for ask in asks if texts.causes.get(ask.place) in TOO_LARGE]
            narrower = plan.narrower(texts.causes[asks[0].place]) if asks else None
            if narrower is None:
                return
            self._plans, self._tried[plan.mode] = [narrower], {}

    def _remake(self, texts: Texts, asks: list[Ask]) -> None:
        """Give texts the requests of the plan in use."""
        for ask in asks:
            texts.reopen(ask)
            ask.jobs = self.plan.jobs(ask.text, ask.examples)

    def _recall_shapes(self, texts: Texts, places: list[int]) -> list[int]:
        """Ask as much at once as the endpoint is known to take; return the texts still open."""
        if not isinstance(self.plan, DecisionPlan):
            return places
        self._widest = self._asked_in = self.plan
        last = self._shapes().plans()[-1]
        if last.shape != self.plan.shape:
            self._plans, self._tried[last.mode] = [last], {}
            self._asked_in = last
        return self._shapes().recall(texts, places)

    def _shapes(self) -> Shapes:
        return Shapes(self.call, self._widest)

    # ------------------------------------------------------------------------- strategy="auto"

    def _settle_mode(self, asks: Sequence[Ask]) -> None:
        """Find the first plan that the endpoint answers, by asking about the first texts.

        These answers are kept like all others, so where the first plan serves nothing is asked
        twice. Where it does not, the mode is written into the store for the next process.
        """
        if len(self._plans) == 1:
            return
        known = self._recorded_mode()
        if known is None:
            known = self._first_that_serves(asks)
            if (
                known is not self._plans[0]
                and self.call.store is not None
                and not self.call.cache_only
            ):
                self.call.store.put(self._mode_key(), Reply((known.mode,), model=known.model))
        self._plans = [known]

    def _mode_key(self) -> str:
        plan = self._plans[0]
        # Where it does not lead, it is a way that earlier versions did not know.
        modes = [p.mode for n, p in enumerate(self._plans) if n == 0 or p.mode != "decision"]
        question = (("system", "sklfusion: which strategy serves"), ("user", " ".join(modes)))
        return request_key(ChatRequest(plan.origin, plan.model, question))

    def _recorded_mode(self) -> Plan | None:
        if self.call.store is None:
            return None
        key = self._mode_key()
        reply = self.call.store.get_many([key]).get(key)
        mode = reply.contents[0] if reply is not None and reply.contents else None
        return next((plan for plan in self._plans if plan.mode == mode), None)

    def _first_that_serves(self, asks: Sequence[Ask]) -> Plan:
        """Return the first plan that the endpoint answers; the last is not tried."""
        failing: list[Plan] = []
        for plan in self._plans[:-1]:
            serves = self._serves(plan, asks)
            if serves is None:
                failing.append(plan)
            elif serves:
                # Was it down a moment ago, or is it these plans that make it fail?
                return next((p for p in failing if self._serves(p, asks[:1])), plan)
        return next((p for p in failing if self._serves(p, asks[:1])), self._plans[-1])

    def _serves(self, plan: Plan, asks: Sequence[Ask]) -> bool | None:
        """Ask about the first texts until one is answered; their failures may be their own.

        Returns
        -------
        bool or None
            None if the endpoint failed over it with a status that may mean anything.
        """
        refused = failed = 0
        trial = self.call.trial(plan.essential)
        for ask in asks:
            job = self._request(plan, ask)
            try:
                Run(trial).execute([job])
            except EndpointError as error:
                # It may be one that chats, with a key that is good for chat alone.
                unknown = plan is not self._plans[0] or isinstance(error, ModelNotFoundError)
                if isinstance(plan, DecisionPlan) and unknown:
                    return False
                raise
            if job.ok:
                self._probed[plan.mode].add(job.first_key)
                flags: frozenset[str] = getattr(job.answer, "flags", frozenset())
                return not flags & {"no_logprobs", "no_label_step"}
            assert job.fault is not None
            if job.fault.cause in ("refused_field", NO_ROUTE):
                return False
            if job.fault.cause in TOO_LARGE:
                return True
            if job.fault.kind == "wait" and job.fault.status != 500:
                return True  # it asked to wait for a whole deadline, which is no word on the plan
            failed += job.fault.status == 500
            refused += job.fault.cause not in _OWN_CAUSES
        return None if failed and failed == refused else not refused

    def _request(self, plan: Plan, ask: Ask) -> Job:
        """Return the first request about a text under a plan, and keep it for the asking."""
        tried = self._tried[plan.mode]
        if ask.place not in tried:
            tried[ask.place] = plan.jobs(ask.text, ask.examples)
        return tried[ask.place][0].anew()

    def forecast(self, texts: Texts) -> dict[str, Any]:
        """Return how many requests are missing and the tokens they will take; sends nothing."""
        self._plans = [(self._recorded_mode() if len(self._plans) > 1 else None) or self.plan]
        untold = self.call.untold()
        if isinstance(self.plan, DecisionPlan):
            self._plans = [Shapes(untold, self.plan).plans()[-1]]
        return forecast(self.plan, texts, untold, self._pack_size)
