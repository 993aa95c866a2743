"""The parameters and the work that all estimators which ask an LLM share."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import Tags
from sklearn.utils.validation import check_consistent_length, check_is_fitted

from sklfusion._text_input import TextInputMixin, check_texts, distinct, replace_surrogates
from sklfusion._unanswered import tell_unanswered
from sklfusion._validation import plain_label
from sklfusion.annotations import Annotations
from sklfusion.llm._adapt import Adaptations
from sklfusion.llm._call import Call
from sklfusion.llm._job import Memo
from sklfusion.llm._keylike import KeyGuard
from sklfusion.llm._prices import estimate_tokens
from sklfusion.llm._usage import UsageReport
from sklfusion.llm._where import where_of
from sklfusion.llm._words import clean
from sklfusion.llm.deciders import decider_of
from sklfusion.llm.endpoint import SETTINGS, endpoint_of
from sklfusion.prompts import DEFAULT_TEMPLATE, Task
from sklfusion.replies import open_store
from sklfusion.replies._spending import purse_for
from sklfusion.scoring import _calibration
from sklfusion.scoring._asking import Session
from sklfusion.scoring._checks import check_params, read_classes
from sklfusion.scoring._examples import ShotSelector
from sklfusion.scoring._progress import Progress
from sklfusion.scoring._strategies import Plan, is_reasoning
from sklfusion.scoring._texts import Texts
from sklfusion.scoring._to_annotations import (
    annotate,
    report_adapted,
    report_failures,
    report_shortened,
    with_probs,
)
from sklfusion.scoring._together import SharedPlan

_AUTO = ("logprobs", "decision", "probabilities", "probabilities_plain", "label")


class BaseLLMEstimator(TextInputMixin, KeyGuard, BaseEstimator):
    """Asks an LLM about texts. Not for direct use."""

    _beside: tuple = ((), 0)  # tasks whose typed questions go into the same request

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = self.classes is None or bool(self.n_shots)
        # Without a store two runs may get different answers.
        tags.non_deterministic = self.memory is None and not self._is_local()
        return tags

    def __getstate__(self):
        # Answers in memory stay behind: they belong to this process, and the store has them.
        state = super().__getstate__().copy()
        for name in ("_memo", "_meter"):
            state.pop(name, None)
        state.pop("_adapted", None)
        return state

    def set_params(self, **params: Any) -> Self:
        """Set parameters of this estimator, of ``model`` and of other parts.

        Parameters
        ----------
        **params
            As everywhere in scikit-learn; a setting of :class:`LLMEndpoint` (``timeout=5``) is
            set there (``model__timeout=5``), where one is made of a ``model`` that is a name.

        Returns
        -------
        self
        """
        of_endpoint = {name: name.removeprefix("model__") for name in params}
        of_endpoint = {name: short for name, short in of_endpoint.items() if short in SETTINGS}
        super().set_params(**{n: value for n, value in params.items() if n not in of_endpoint})
        settings = {short: params[name] for name, short in of_endpoint.items()}
        if settings:
            self.model = endpoint_of(self).set_params(**settings)
        return self

    # --------------------------------------------------------------------------------- fitting

    def _fit_task(self, X, y):
        """Check everything that can be checked before anything is sent, and keep what was found.

        Returns
        -------
        list of str
            The texts.
        """
        caller = type(self).__name__
        self._numbers = None  # of an earlier fit
        check_params(self, caller)
        self._numbers = where_of(self).numbers
        texts = self._read_texts(X, allow_empty=False)
        if y is not None:
            check_consistent_length(texts, y)
        checked, named, self._codes = read_classes(self, y, caller)
        self.classes_ = np.empty(len(checked), dtype=object)
        self.classes_[:] = checked
        if len({type(c) for c in checked}) == 1:
            self.classes_ = np.array(checked)
        self._declared = tuple(self.classes_.tolist())  # plain values, in the declared order
        self._task = self._make_task(checked)
        self._memo = Memo()
        self.usage_ = UsageReport()
        endpoint_of(self)._begin()
        self.bias_ = None
        self._modes = None
        self._shots = self._fit_shots(texts, named)
        return texts

    def _make_task(self, classes):
        names = tuple(str(c) for c in classes)
        described = self.class_descriptions or {}
        by_name = {str(plain_label(key)): value for key, value in described.items()}
        unknown = set(by_name) - set(names)
        if unknown:
            raise ValueError(f"class_descriptions has keys that are no class: {sorted(unknown)}.")
        return Task(
            names,
            tuple(by_name.get(name) for name in names),
            self.instructions,
            self.multilabel,
            self.label_form,
        )

    def _fit_shots(self, texts, y):
        selection, embedder = self.shot_selection, None
        if hasattr(selection, "transform"):
            selection, embedder = "nearest", selection
        return ShotSelector(
            self.examples,
            self.n_shots,
            selection,
            classes=tuple(self.classes_.tolist()),
            multilabel=self.multilabel,
            embedder=embedder,
            random_state=self.random_state,
        ).fit(texts, y)

    def _fit_bias(self, texts):
        """Fit the score calibration on the training texts; their labels are not used."""
        kind = self._calibration_kind()
        if kind is None:
            return
        if kind == "contextual":
            probs = self._annotate(list(_calibration.CONTENT_FREE)).probs
            self.bias_ = _calibration.contextual_bias(probs, multilabel=self.multilabel)
        else:
            probs = self._annotate(texts).probs
            self.bias_ = _calibration.prior_bias(probs, multilabel=self.multilabel)

    def _calibration_kind(self):
        if self.calibrate == "auto":
            return "prior" if self._is_local() else None
        if self.calibrate is True:
            return "prior"
        return self.calibrate or None

    # ---------------------------------------------------------------------------------- asking

    def annotate(self, X: Any) -> Annotations:
        """Return what the LLM says about texts.

        Parameters
        ----------
        X : list, array or Series of str
            Texts.

        Returns
        -------
        Annotations
            Probabilities (calibrated if this estimator calibrates), votes where there are any,
            coverage, status of every row, and how the answers were made (``meta``).

        Raises
        ------
        EndpointError
            If the endpoint refuses, is unreachable or keeps failing. What was answered before is
            in the reply store.
        ScoringFailedError
            If ``on_failure="raise"`` and a text has no answer.

        Notes
        -----
        Cost: one request per distinct text that the reply store does not hold (multi-label
        ``"unary"``: one per class).
        """
        return self._answers(X, "They get the uniform prior.")

    def _answers(self, X, then):
        """Do what :meth:`annotate` does; ``then`` says what becomes of rows without an answer."""
        check_is_fitted(self, "classes_")
        texts = self._read_texts(X)
        annotations = self._annotate(texts)
        if self.bias_ is not None and len(texts):
            probs = _calibration.apply_bias(
                annotations.probs, self.bias_, multilabel=self.multilabel
            )
            annotations = with_probs(annotations, probs)
        tell_unanswered(texts, annotations.status)
        report_failures(annotations, endpoint_of(self).on_failure, type(self).__name__, then)
        return annotations

    def estimate(self, X: Any) -> dict[str, Any]:
        """Return what scoring texts would cost, knowing what is stored. Sends nothing.

        Parameters
        ----------
        X : list, array or Series of str
            Texts.

        Returns
        -------
        dict
            ``texts``, ``distinct_requests``, ``cached``, ``requests`` (still to be paid),
            ``prompt_tokens``, ``completion_tokens``, ``cost`` (None if the price is not known),
            ``price_source``, ``strategy``. Tokens are guessed from the characters; where the
            store holds replies of the same job, the guess is corrected by their counts.
        """
        check_is_fitted(self, "classes_")
        texts = self._read_texts(X)
        forecast = self._session().forecast(self._texts(texts))
        usage = forecast.pop("usage")
        price = where_of(self).price()
        return {
            "texts": len(texts),
            **forecast,
            "cost": None if price is None else price.cost(usage),
            "price_source": None if price is None else price.source,
        }

    def _read_texts(self, X, *, allow_empty=True):
        caller = type(self).__name__
        texts = check_texts(X, caller=caller, allow_empty=allow_empty)
        # JSON on the wire is UTF-8, which has no lone surrogates.
        return replace_surrogates(texts, caller=caller)

    def _annotate(self, X):
        texts = self._texts(X)
        progress = Progress(self.verbose, type(self).__name__)
        session = self._session(progress)
        progress.usage = session.call.meter.report
        try:
            with progress:
                session.ask(texts)
        finally:
            session.call.meter.close()
        annotations = annotate(session.plan, texts, self._declared, session.call.meter)
        annotations.meta["adapted"] = session.call.adapted.told()
        self._modes = [session.plan.mode]
        report_adapted(session.call.adapted, where_of(self).request_params)
        report_shortened(texts, endpoint_of(self).max_text_tokens, type(self).__name__)
        self._warn_other_model(annotations)
        progress.summary()
        return annotations

    def _texts(self, texts):
        """Return the texts of a call: distinct, shortened, with their examples."""
        different, rows_of = distinct(texts)
        shots = self._shots.select(different) if self._shots.any else None
        limit = endpoint_of(self).max_text_tokens
        flags = {}
        if limit is not None:
            for number, text in enumerate(different):
                if len(text) >= limit:
                    different[number], cut = shorten(text, limit)
                    if cut:
                        flags[number] = frozenset({"shortened"})
        if shots is not None:
            shots = [[(shorten(t, limit)[0], label) for t, label in shown] for shown in shots]
        return Texts(different, rows_of, flags, shots)

    def _session(self, progress=None, asked=()):
        where = where_of(self)
        if not hasattr(self, "_memo"):
            self._memo = Memo()
        plans, store = self._plans(), open_store(self.memory)
        if asked:
            plans = [replace(plan, asked=asked) for plan in plans]
        call = Call(
            where.backend(),
            store,
            self._memo,
            self._meter_for_call(plans[0], store),
            where.policy(),
            where.gate,
            where.workers,
            where.endpoint.cache_only,
            batch=where.batch,
            adapted=self._adaptations(),
        )
        if progress is not None:
            call.progress = progress.update
        return Session(plans, call, int(where.endpoint.texts_per_request))

    def _adaptations(self):
        """Return what this object knows of the wishes of its endpoint and model."""
        where = where_of(self).resolve()[:2]
        if getattr(self, "_adapted", (None, None))[0] != where:
            self._adapted = (where, Adaptations())
        return self._adapted[1]

    def _meter_for_call(self, plan, store):
        """Return what counts one call, within the budget that all calls and threads share."""
        meter = where_of(self).meter(self)
        labels = sorted(plan.task.labels)
        return meter.for_call(purse_for(store, meter.limits, plan.origin, plan.model, labels))

    # -------------------------------------------------------------------------------- where to

    def _is_local(self):
        return where_of(self).is_local

    def _plans(self):
        where = where_of(self)
        origin, name, field = where.resolve()
        modes = getattr(self, "_modes", None) or [self.strategy]
        if modes == ["auto"]:
            modes = list(_AUTO)
            if where.endpoint.texts_per_request > 1:
                modes = ["label"]
            elif where.is_local:
                modes = ["logprobs"]
            elif decider_of(origin, name).preferred:
                modes = ["decision", *(mode for mode in modes if mode != "decision")]
            elif is_reasoning(name):
                modes = modes[1:]
        common = {
            "local": where.is_local,
            "n_votes": int(self.n_votes),
            "max_tokens_field": field,
            "swap": self.order_swap,
            "template": self.template or DEFAULT_TEMPLATE,
            "extra": where.request_params,
        }
        beside = dict(zip(("beside", "place"), self._beside, strict=True))
        asked_typed: dict[str, Any] = where.decision_settings() | beside
        return [
            SharedPlan(origin, name, self._task, mode, **common | asked_typed)
            if mode == "decision"
            else Plan(origin, name, self._task, mode, **common)
            for mode in modes
        ]

    def _warn_other_model(self, annotations):
        from sklfusion.exceptions import ScoringWarning

        asked, answered = annotations.meta["model"], annotations.meta["answered_by"]
        other = [m for m in answered if asked not in m and m not in asked]
        if other and not self._is_local() and not getattr(self, "_warned_model", False):
            self._warned_model = True
            warnings.warn(
                f"The endpoint was asked for {asked!r} and answered as {clean(other[0])!r}.",
                ScoringWarning,
                stacklevel=3,
            )


def _of_endpoint(name):
    """Return the property that reaches a parameter of ``model`` under its own name."""
    return property(
        lambda self: getattr(endpoint_of(self), name),
        lambda self, value: self.set_params(**{name: value}),
    )


for _name in SETTINGS:
    setattr(BaseLLMEstimator, _name, _of_endpoint(_name))


def shorten(text, max_tokens):
    """Return a text of about ``max_tokens`` tokens at most, and whether it was cut.

    Two thirds of what is kept are its beginning, the rest its end. Tokens are estimated by
    :func:`~sklfusion.llm._prices.estimate_tokens`.
    """
    if max_tokens is None or len(text) < max_tokens or estimate_tokens(text) <= max_tokens:
        return text, False
    keep = int(len(text) * max_tokens / estimate_tokens(text))
    head = keep * 2 // 3
    return f"{text[:head]} [...] {text[len(text) - (keep - head) :]}", True
