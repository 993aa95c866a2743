"""`LLMEndpoint`: where an LLM is asked, how fast, and for how much."""

from __future__ import annotations

import difflib
import inspect
import threading
from collections.abc import Iterable
from typing import Any

from sklearn.base import BaseEstimator, clone

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
    ``usage_``; a clone has its own. ``LLMScorer("m", timeout=5)`` is short for
    ``LLMScorer(LLMEndpoint("m", timeout=5))``, and since that endpoint is the scorer's alone, its
    budget begins anew with every ``fit``.

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
        Largest amount of money that all estimators that share this object may spend together, over
        all calls and threads, or a dict with "money", "tokens" or "requests". With ``memory`` it
        holds for all objects and processes that ask the same model about the same classes
        meanwhile. Money needs ``prices``.
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
        Further fields of the body of every request; None removes a field. ``temperature`` goes
        here: without it votes are sampled at 0.7, and all else is greedy.
    path, dialect : str, optional
        How ``strategy="decision"`` asks: a path below the base address (``"decisions"``) or, with
        a slash in front, at the host (``"/api/alpha/decisions"``); and ``"openai"`` or
        ``"systemone"``. What is not set is found out by the first question.
    decision_limits : dict, optional
        Most ``"options"`` of a question and most ``"questions"`` of a request, where an endpoint
        takes others than are documented.
    service : {"realtime", "batch"}, default="realtime"
        "batch" sends what is missing through the provider's Batch API: about half the price,
        within a day. The estimator waits for it; when interrupted, the same call finds the batch
        again. Needs ``memory`` and an explicit ``strategy``.
    texts_per_request : int, default=1
        Above 1, that many texts share a request (``strategy="label"``, no examples): cheaper,
        but a hostile text then stands beside others. Answers are taken by id; what is missing
        is asked for alone.
    max_text_tokens : int or None, default=2000
        Longer texts are cut in the middle and flagged.
    cache_only : bool, default=False
        Never send anything; a reply that is not stored is an error.
    on_failure : {"abstain", "raise"}, default="abstain"
        What to do when texts have no answer. With "raise" the others are finished and saved
        first.

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

    # Whether it was made for one estimator, whose fit then begins a new account.
    _of_one = False

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
        path: str | None = None,
        dialect: str | None = None,
        decision_limits: dict[str, int] | None = None,
        service: str = "realtime",
        texts_per_request: int = 1,
        max_text_tokens: int | None = 2000,
        cache_only: bool = False,
        on_failure: str = "abstain",
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
        self.path = path
        self.dialect = dialect
        self.decision_limits = decision_limits
        self.service = service
        self.texts_per_request = texts_per_request
        self.max_text_tokens = max_text_tokens
        self.cache_only = cache_only
        self.on_failure = on_failure

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, LLMEndpoint):
            return NotImplemented
        return bool(self.get_params() == other.get_params())

    # Two that are equal may come to differ, so a set holds each by itself, like any estimator.
    __hash__ = BaseEstimator.__hash__

    def __sklearn_clone__(self) -> LLMEndpoint:
        twin: LLMEndpoint = super().__sklearn_clone__()
        if self._of_one:
            twin._of_one = True
        return twin

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

    def _begin(self) -> None:
        """Begin a new account with a fit, unless others count on this one."""
        with _lock:
            if self._of_one:
                self.__dict__.pop("_report", None)
                self.__dict__.pop("_meter", None)


#: Settings beside the model, and their defaults.
SETTINGS = {
    name: parameter.default
    for name, parameter in inspect.signature(LLMEndpoint).parameters.items()
    if name != "model"
}
#: Parameters that a scorer once had -> what to write now.
_MOVED = {
    "temperature": "request_params={'temperature': ...}",
    "shot_embedder": "shot_selection=transformer",
}


def names_a_model(llm: Any) -> bool:
    """Tell whether a value says where to ask, so that a scorer can be made of it."""
    return isinstance(llm, str | LLMEndpoint)


def endpoint_of(estimator: Any) -> LLMEndpoint:
    """Return where an estimator asks: its ``model``, or the usual settings for that name."""
    model = estimator.model
    return model if isinstance(model, LLMEndpoint) else endpoint_for_one(model)


def clone_at_endpoint(estimator: Any) -> Any:
    """Return a clone that counts on the account of an endpoint that the estimator was given.

    Parts of a whole are cloned before they are fitted, and what the user said on spending holds
    for the whole.
    """
    twin, model = clone(estimator), getattr(estimator, "model", None)
    if isinstance(model, LLMEndpoint) and not model._of_one:
        twin.model = model
    return twin


def endpoint_for_one(model: Any, **settings: Any) -> LLMEndpoint:
    """Return an endpoint that one estimator makes for itself."""
    made = LLMEndpoint(model, **settings)
    made._of_one = True
    return made


def at_endpoint(model: Any, settings: dict[str, Any], caller: str, known: Iterable[str]) -> Any:
    """Return the model with the settings of an endpoint that were written beside it.

    Parameters
    ----------
    model : str or LLMEndpoint
        As given to ``caller``.
    settings : dict
        Keywords that are none of the caller's own parameters.
    caller : str
        Class name, for messages.
    known : iterable of str
        The caller's own parameters, which an unknown one may have been meant for.

    Returns
    -------
    str or LLMEndpoint
        ``model`` itself where nothing is written beside it.

    Raises
    ------
    TypeError
        If a keyword is no setting of an endpoint.
    ValueError
        If the model is an endpoint, which says all this itself.
    """
    unknown = sorted(set(settings) - set(SETTINGS))
    if unknown:
        raise TypeError(f"{caller} has no parameter {_and_near(unknown[0], known)}")
    if not isinstance(model, LLMEndpoint):
        return endpoint_for_one(model, **settings) if settings else model
    own = [name for name, value in settings.items() if not _same(value, SETTINGS[name])]
    if own:
        raise ValueError(
            f"{caller} got model=LLMEndpoint(...) and {', '.join(f'{n}=' for n in own)} of its "
            "own. With an LLMEndpoint only its settings hold: set "
            f"{'it' if len(own) == 1 else 'them'} there."
        )
    return model


def _same(value: Any, default: Any) -> bool:
    return value is default or (type(value) in (str, int, float, bool) and value == default)


def _and_near(name: str, known: Iterable[str]) -> str:
    if name in _MOVED:
        return f"{name!r}; write {_MOVED[name]}."
    near = difflib.get_close_matches(name, [*known, *SETTINGS], n=3)
    hint = f"did you mean {' or '.join(near)}" if near else "see help() for those that it has"
    return f"{name!r}; {hint}."
