"""One noun for where to ask: what a scorer is told, as a string or an endpoint, made usable."""

from __future__ import annotations

import atexit
import numbers
import os
import re
import threading
from typing import Any

from sklfusion._fork import GATE
from sklfusion.llm._backend import Backend, is_local
from sklfusion.llm._gate import Gate
from sklfusion.llm._keylike import refuse_keys
from sklfusion.llm._prices import Price, find_price
from sklfusion.llm._retry import RetryPolicy
from sklfusion.llm._usage import Meter, meter_of
from sklfusion.llm.deciders import DIALECTS, decider_of
from sklfusion.llm.endpoint import LLMEndpoint, endpoint_of
from sklfusion.llm.endpoints import Endpoint, resolve_endpoint

BUDGETS = ("money", "tokens", "requests")
# Fields that the OpenAI client takes beside the body; an endpoint would get them inside of it.
_CLIENT_FIELDS = {
    "extra_query": "query= of LLMEndpoint",
    "extra_headers": "headers_env= of LLMEndpoint",
    "extra_body": "request_params= itself",
}
_WHOLE_NUMBERS = ("max_concurrency", "texts_per_request")
_NUMBERS_OF_ENDPOINT = ("timeout", "deadline", *_WHOLE_NUMBERS)
#: Settings of an endpoint that only ``strategy="decision"`` uses.
DECISION_SETTINGS = ("path", "dialect", "decision_limits")
_PATH = re.compile(r"/?[A-Za-z0-9@._~:%-]+(/[A-Za-z0-9@._~:%-]+)*")
# What an endpoint has to take at least: a question with two options.
_LEAST_LIMITS = {"options": 2, "questions": 1}
_LIMITS = ("requests_per_minute", "tokens_per_minute")
# Parts of a request that are made here; its kind of reply is read whole.
_OWN_FIELDS = ("messages", "model", "stream")
_backends: dict[Any, Any] = {}
_backends_lock = threading.Lock()


def _new_lock() -> None:
    global _backends_lock
    _backends_lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_new_lock)


@atexit.register
def _close_backends() -> None:
    """Close the connections of this process at its end."""
    for key, backend in list(_backends.items()):
        if key[0] == os.getpid():
            backend.close()


def where_of(estimator: Any) -> Where:
    """Return where an estimator asks, from its ``model``.

    A fitted one goes on with the numbers that its local model was fitted with, also on a processor
    where others would be quicker: scores of both kinds are never mixed in one column.
    """
    fitted = hasattr(estimator, "classes_")
    # Estimators that were saved before there was a choice know of none.
    numbers = getattr(estimator, "_numbers", "gguf") if fitted else None
    steady = getattr(estimator, "strategy", None) == "decision"
    return Where(endpoint_of(estimator), numbers, steady=steady)


class Where:
    """An :class:`LLMEndpoint` made usable: everything downstream asks this object only.

    Parameters
    ----------
    endpoint : LLMEndpoint
        The settings.
    numbers : {"gguf", "fp32", "bf16"}, optional
        What a local model computes with, where its name does not say it. By default what is
        quickest here.
    steady : bool
        Whether float32 is to be the default where bfloat16 would be: in bfloat16 the answers to
        several questions that are read together move one another by some hundredths.
    """

    def __init__(
        self, endpoint: LLMEndpoint, numbers: str | None = None, *, steady: bool = False
    ) -> None:
        self.endpoint = endpoint
        self._told_numbers = numbers
        self._steady = steady

    @property
    def is_local(self) -> bool:
        """Whether the model runs in this process."""
        model = self.endpoint.model
        return isinstance(model, str) and is_local(model, self.endpoint.base_url)

    def check(self, caller: str) -> None:
        """Raise ValueError, naming the parameter, if a request could not be made."""
        settings = self.endpoint
        refuse_keys(settings, caller)
        if not isinstance(settings.model, str) or not settings.model:
            raise ValueError(f"{caller} got model={settings.model!r}; it needs 'provider/model'.")
        self._check_numbers(caller)
        if settings.service not in ("realtime", "batch"):
            raise ValueError(f"service={settings.service!r}; use 'realtime' or 'batch'.")
        if settings.on_failure not in ("abstain", "raise"):
            raise ValueError(f"on_failure={settings.on_failure!r}; use 'abstain' or 'raise'.")
        self._check_decisions(caller)
        self._check_body(caller)
        self._check_budget(caller)
        self.price()
        self.resolve()

    def _check_numbers(self, caller: str) -> None:
        values = {name: getattr(self.endpoint, name) for name in (*_NUMBERS_OF_ENDPOINT, *_LIMITS)}
        for name, value in values.items():
            if name in _NUMBERS_OF_ENDPOINT or value is not None:
                _check_positive(value, name, caller)
            if name in _WHOLE_NUMBERS and not isinstance(value, numbers.Integral):
                raise ValueError(f"{caller} got {name}={value!r}; it needs a whole number.")

    def _check_decisions(self, caller: str) -> None:
        path, dialect, limits = (getattr(self.endpoint, name) for name in DECISION_SETTINGS)
        if dialect not in (None, *DIALECTS):
            raise ValueError(f"{caller} got dialect={dialect!r}; use {DIALECTS} or None.")
        if path is not None and (not isinstance(path, str) or not _PATH.fullmatch(path)):
            raise ValueError(
                f"{caller} got path={path!r}; it takes what follows the base address "
                "('decisions'), or, with a slash in front, the host ('/api/alpha/decisions')."
            )
        if limits is None:
            return
        if not isinstance(limits, dict) or not set(limits) <= set(_LEAST_LIMITS):
            raise ValueError(
                f"{caller} got decision_limits={limits!r}; it takes a dict with 'options', "
                "'questions' or both."
            )
        for name, value in limits.items():
            if not isinstance(value, numbers.Integral) or value < _LEAST_LIMITS[name]:
                raise ValueError(
                    f"{caller} got decision_limits={limits!r}; {name!r} is a whole number from "
                    f"{_LEAST_LIMITS[name]} on."
                )

    def _check_body(self, caller: str) -> None:
        given = self.endpoint.request_params or {}
        if not isinstance(given, dict):
            raise ValueError(f"{caller} got request_params={given!r}; it needs a dict.")
        own = [name for name in _OWN_FIELDS if given.get(name, False) is not False]
        if own:
            raise ValueError(
                f"{caller}: request_params holds {own[0]!r}, which the estimator sets itself. "
                "Leave it out."
            )
        for name, instead in _CLIENT_FIELDS.items():
            if name in given:
                raise ValueError(
                    f"{caller}: request_params holds {name!r}, which would go into the body of "
                    f"the request; use {instead}."
                )

    def _check_budget(self, caller: str) -> None:
        settings, budget = self.endpoint, self.budget()
        if budget is None:
            return
        if not set(budget) <= set(BUDGETS) or not all(v >= 0 for v in budget.values()):
            raise ValueError(
                f"{caller} got budget={settings.budget!r}; it needs an amount of money, or a dict "
                f"with {', '.join(BUDGETS)}."
            )
        if "money" in budget and find_price(settings.prices, local=False) is None:
            raise ValueError(
                f"{caller} has a budget in money, but the price of {settings.model!r} is not "
                "known; pass prices={'input': ..., 'output': ...} per million tokens."
            )

    def resolve(self) -> tuple[str, str, str]:
        """Return (address, name of the model there, field of the token limit)."""
        if self.is_local:
            return "local", self._local_spec().name, "max_tokens"
        endpoint, name = self._remote()
        return endpoint.address(), name, endpoint.max_tokens_field

    def _remote(self) -> tuple[Endpoint, str]:
        settings = self.endpoint
        return resolve_endpoint(
            settings.model,
            settings.base_url,
            settings.api_key_env,
            headers_env=settings.headers_env,
            query=settings.query,
        )

    def _local_spec(self) -> Any:
        from sklfusion.llm._local_spec import find_local

        name, told = self.endpoint.model.partition("/")[2], self._told_numbers
        spec = find_local(name, told)
        rounds = told is None and self._steady and spec.numbers == "bf16"
        return find_local(name, "fp32") if rounds else spec

    @property
    def numbers(self) -> str | None:
        """What a local model computes with; None for another."""
        return self._local_spec().numbers if self.is_local else None

    def price(self) -> Price | None:
        """Return the price of a token here, None if it is not known."""
        price = find_price(self.endpoint.prices, local=self.is_local)
        return price.halved() if price is not None and self.batch else price

    def budget(self) -> dict[str, float] | None:
        """Return the budget as a dict."""
        budget = self.endpoint.budget
        return budget if budget is None or isinstance(budget, dict) else {"money": float(budget)}

    def meter(self, estimator: Any) -> Meter:
        """Return what counts for an estimator over all its calls, and for what it shares."""
        price = self.price()
        meter = meter_of(estimator, lambda report: Meter(report, price))
        meter.set_terms(price, None, self.endpoint._account(price, self.budget()))
        return meter

    def gate(self) -> Gate:
        """Return the gate of one run."""
        settings = self.endpoint
        return Gate(
            settings.requests_per_minute, settings.tokens_per_minute, patience=settings.deadline
        )

    def policy(self) -> RetryPolicy:
        """Return when a failed request is tried again."""
        # A local model would only repeat itself.
        return RetryPolicy(deadline=self.endpoint.deadline, max_reparse=0 if self.is_local else 1)

    @property
    def workers(self) -> int:
        """Requests in flight."""
        return 1 if self.is_local else int(self.endpoint.max_concurrency)

    @property
    def batch(self) -> bool:
        """Whether requests go through the provider's Batch API."""
        return self.endpoint.service == "batch"

    @property
    def request_params(self) -> dict[str, Any]:
        """Further fields of every request."""
        return dict(self.endpoint.request_params or {})

    def decision_settings(self) -> dict[str, Any]:
        """Return how typed questions are put, and how many: as set, else as the table says."""
        settings = self.endpoint
        limits = settings.decision_limits or {}
        known = decider_of(*self.resolve()[:2])
        return {
            "path": settings.path,
            "dialect": settings.dialect,
            "most_options": int(limits.get("options", known.options)),
            "most_questions": int(limits.get("questions", known.questions)),
        }

    def backend(self) -> Backend:
        """Return the back end of this process; equal settings share one."""
        if self.is_local:
            from sklfusion.llm._local import LocalBackend

            return LocalBackend(self._local_spec())
        with GATE.inside():  # no fork while a module is being imported
            from sklfusion.llm._openai import OpenAIBackend

        timeout, connections = float(self.endpoint.timeout), int(self.endpoint.max_concurrency)
        remote, _ = self._remote()
        key = (os.getpid(), remote, timeout, connections)
        with _backends_lock:
            if key not in _backends:
                _backends[key] = OpenAIBackend(
                    remote, timeout=timeout, max_connections=connections
                )
            return _backends[key]  # type: ignore[no-any-return]


def _check_positive(value: Any, name: str, caller: str) -> None:
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not float(value) > 0:
        raise ValueError(f"{caller} got {name}={value!r}; it needs a number above 0.")
