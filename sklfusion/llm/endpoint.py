"""`LLMEndpoint`: where an LLM is asked, how fast, and for how much."""

from __future__ import annotations

import threading
from typing import Any

from sklearn.base import BaseEstimator

from sklfusion.llm._keylike import KeyGuard
from sklfusion.llm._prices import Price
from sklfusion.llm._usage import Meter, UsageReport

# A lock cannot be a parameter nor be pickled, so all endpoints of a process share one.
_lock = threading.Lock()


class LLMEndpoint(KeyGuard, BaseEstimator):
    """Where an LLM is asked, how fast, and for how much.

    Goes wherever a model string goes: ``LLMScorer(LLMEndpoint(...))``,
    ``AutoFusionClassifier(LLMEndpoint(...))``. What is asked (classes, instructions, strategy)
    stays with the scorer. Estimators that are given the same object share its budget and its
    ``usage_``; a clone has its own.

    Parameters
    ----------
    model : str
        ``provider/model``, or ``local/...`` for a model in this process. With ``base_url`` the
        endpoint's own name of the model.
    base_url : str, optional
        Address of any endpoint that speaks the OpenAI protocol. Its query
        (``?api-version=...``) goes along with every request.
    api_key_env : str, optional
        Name of the environment variable that holds the key, read when a request is sent. By
        default the provider's usual one. Endpoints on this machine need none.
    headers_env : dict of str to str, optional
        Header to the name of the environment variable that holds its value, read when a request
        is sent: ``{"api-key": "AZURE_KEY"}``. A header that carries the key goes before
        ``api_key_env``.
    query : dict of str to str, optional
        Goes behind every address: ``{"api-version": "2024-10-21"}``. No secrets.
    prices : dict or pair, optional
        ``{"input": ..., "output": ..., "cached": ...}`` per million tokens, in any currency.
    budget : float or dict, optional
        Largest amount of money that all estimators that share this object may spend together, or
        a dict with "money", "tokens" or "requests". Money needs ``prices``.
    max_concurrency : int, default=16
        Requests in flight per call of an estimator.
    timeout : float, default=60.0
        Seconds to wait for the connection, and for each piece of an answer.
    deadline : float, default=180.0
        Seconds for a text from its first attempt to the end of its last, whatever the endpoint
        does meanwhile.
    requests_per_minute, tokens_per_minute : float, optional
        Pace.
    request_params : dict, optional
        Further fields of the body of every request; None removes a field.
    service : {"realtime", "batch"}, default="realtime"
        "batch" sends through the provider's Batch API; see :class:`LLMScorer`.

    Attributes
    ----------
    usage_ : UsageReport
        What all estimators that share this object asked, answered from stores, and paid.

    See Also
    --------
    LLMScorer : Asks about texts.

    Notes
    -----
    Keys are never parameters. A value that looks like a key, in ``base_url``, ``api_key_env``,
    ``headers_env``, ``query`` or ``request_params``, is not kept: neither ``repr`` nor a pickle
    holds it, and ``fit`` of the estimator raises ValueError. Of the environment go only the
    variables named here to the endpoint; what the openai client would add (``OPENAI_BASE_URL``,
    ``OPENAI_CUSTOM_HEADERS``) does not count, and ``OPENAI_ORG_ID`` and ``OPENAI_PROJECT_ID`` go
    to api.openai.com alone.

    Examples
    --------
    >>> from sklfusion import LLMEndpoint, LLMScorer
    >>> azure = LLMEndpoint(
    ...     "azure/my-deployment",
    ...     base_url="https://my-resource.openai.azure.com",
    ...     query={"api-version": "2024-10-21"},
    ...     budget={"requests": 1000},
    ... )
    >>> scorer = LLMScorer(azure, classes=["ham", "spam"]).set_params(model__timeout=20.0)
    >>> azure.timeout, azure.usage_.requests
    (20.0, 0)
    """

    def __init__(
        self,
        model: str,
        *,
        base_url: str | None = None,
        api_key_env: str | None = None,
        headers_env: dict[str, str] | None = None,
        query: dict[str, str] | None = None,
        prices: Any = None,
        budget: float | dict[str, float] | None = None,
        max_concurrency: int = 16,
        timeout: float = 60.0,
        deadline: float = 180.0,
        requests_per_minute: float | None = None,
        tokens_per_minute: float | None = None,
        request_params: dict[str, Any] | None = None,
        service: str = "realtime",
    ) -> None:
        self.model = model
        self.base_url = base_url
        self.api_key_env = api_key_env
        self.headers_env = headers_env
        self.query = query
        self.prices = prices
        self.budget = budget
        self.max_concurrency = max_concurrency
        self.timeout = timeout
        self.deadline = deadline
        self.requests_per_minute = requests_per_minute
        self.tokens_per_minute = tokens_per_minute
        self.request_params = request_params
        self.service = service

    def __getstate__(self) -> dict[str, Any]:
        state = dict(super().__getstate__())
        state.pop("_meter", None)  # made anew around the report, which travels
        return state

    @property
    def usage_(self) -> UsageReport:
        """What all estimators that share this object used."""
        with _lock:
            if "_report" not in self.__dict__:
                self._report = UsageReport()
            return self._report

    def _account(self, price: Price | None, budget: dict[str, float] | None) -> Meter:
        """Return the meter on which all who share this object count, at these terms."""
        report = self.usage_
        with _lock:
            if "_meter" not in self.__dict__:
                self._meter = Meter(report, price, budget)
            self._meter.set_terms(price, budget)
            return self._meter


def names_a_model(llm: Any) -> bool:
    """Tell whether a value says where to ask, so that a scorer can be made of it."""
    return isinstance(llm, str | LLMEndpoint)
