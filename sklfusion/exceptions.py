"""The errors and warnings of sklfusion.

::

    SklFusionError
    ├── EndpointError            the endpoint refused, was unreachable, or kept failing
    │   ├── AuthenticationError      the key is missing or was refused (401, often 403)
    │   ├── ModelNotFoundError       the endpoint does not know the model (often 404)
    │   └── QuotaError               the account has no credit left (402, quota codes of 429)
    ├── BudgetExceededError      the budget is spent; what was paid for is kept
    ├── ScoringFailedError       some texts have no answer and on_failure="raise"
    ├── CacheError               the reply store cannot be used
    │   └── CacheMissError           cache_only=True and an answer is not there
    ├── StorageError             the disk is full or refuses; what was done before is kept
    ├── ModelLoadError           an encoder or a local LLM cannot be loaded
    ├── TrainingDivergedError    the loss became NaN or infinite
    └── PersistenceError         a saved model is damaged, unknown or unsafe

    SklFusionWarning (UserWarning)
    ├── ScoringWarning           rows without an answer, flagged replies
    ├── CacheWarning             the store was repaired or cannot be written
    └── DataWarning              labels without positives, replaced characters

Errors carry plain fields only. They hold no request or response object, so they can be pickled
through worker processes and never drag a key along.
"""

from __future__ import annotations


class SklFusionError(Exception):
    """Base of all errors raised by sklfusion itself.

    See Also
    --------
    EndpointError : Trouble with who answers.
    SklFusionWarning : Base of the warnings.

    Examples
    --------
    >>> from sklfusion import SklFusionError, persistence
    >>> try:
    ...     persistence.load("no_such_model.sklf")
    ... except (SklFusionError, FileNotFoundError):
    ...     print("no model")
    no model
    """


class EndpointError(SklFusionError):
    """The endpoint refused a request, could not be reached, or kept failing.

    Parameters
    ----------
    message : str
        What happened and what to do.
    status : int or None
        HTTP status of the last reply.
    code : str or None
        Error code in the reply's body.
    origin : str or None
        Scheme, host and port of the endpoint.

    See Also
    --------
    AuthenticationError : The key was refused.
    ModelNotFoundError : The model is not known.
    QuotaError : No credit is left.

    Examples
    --------
    >>> from sklfusion import EndpointError
    >>> error = EndpointError("The endpoint is down.", status=503)
    >>> str(error), error.status
    ('The endpoint is down.', 503)
    """

    def __init__(
        self,
        message: str,
        status: int | None = None,
        code: str | None = None,
        origin: str | None = None,
    ) -> None:
        super().__init__(message, status, code, origin)
        self.message = message
        self.status = status
        self.code = code
        self.origin = origin

    def __str__(self) -> str:
        return self.message


class AuthenticationError(EndpointError):
    """The key is missing or was refused.

    Parameters
    ----------
    message : str
        What happened and what to do.
    status : int or None
        HTTP status of the last reply.
    code : str or None
        Error code in the reply's body.
    origin : str or None
        Scheme, host and port of the endpoint.

    See Also
    --------
    QuotaError : The key is known, and has no credit.
    ModelNotFoundError : The model is not.

    Examples
    --------
    >>> from sklfusion import AuthenticationError, LLMScorer
    >>> from sklfusion.testing import FaultServer
    >>> with FaultServer() as server:
    ...     server.script({"fault": {"kind": "status", "status": 401}})
    ...     llm = LLMScorer("any", classes=["a", "b"], base_url=server.base_url, strategy="label")
    ...     try:
    ...         llm.fit(["a text"]).transform(["a text"])
    ...     except AuthenticationError as error:
    ...         print(error.status)
    401
    """


class ModelNotFoundError(EndpointError):
    """The endpoint does not know the model.

    Parameters
    ----------
    message : str
        What happened and what to do.
    status : int or None
        HTTP status of the last reply.
    code : str or None
        Error code in the reply's body.
    origin : str or None
        Scheme, host and port of the endpoint.

    See Also
    --------
    AuthenticationError : The key is not known.

    Examples
    --------
    >>> from sklfusion import EndpointError, ModelNotFoundError
    >>> issubclass(ModelNotFoundError, EndpointError)
    True
    """


class QuotaError(EndpointError):
    """The account behind the key has no credit left.

    Parameters
    ----------
    message : str
        What happened and what to do.
    status : int or None
        HTTP status of the last reply.
    code : str or None
        Error code in the reply's body.
    origin : str or None
        Scheme, host and port of the endpoint.

    See Also
    --------
    AuthenticationError : The key is not known.
    BudgetExceededError : The limit that you set yourself.

    Examples
    --------
    >>> from sklfusion import QuotaError, LLMScorer
    >>> from sklfusion.testing import FaultServer
    >>> with FaultServer() as server:
    ...     server.script({"fault": {"kind": "status", "status": 402}})
    ...     llm = LLMScorer("any", classes=["a", "b"], base_url=server.base_url, strategy="label")
    ...     try:
    ...         llm.fit(["a text"]).transform(["a text"])
    ...     except QuotaError as error:
    ...         print(error.status)
    402
    """


class BudgetExceededError(SklFusionError):
    """The budget of a scorer is spent. Replies paid for so far are in the reply store.

    See Also
    --------
    LLMEndpoint : Takes ``budget``.
    QuotaError : The provider's limit.

    Examples
    --------
    >>> from sklfusion import BudgetExceededError, LLMScorer
    >>> from sklfusion.testing import FaultServer
    >>> with FaultServer() as server:
    ...     llm = LLMScorer("any", classes=["a", "b"], base_url=server.base_url, strategy="label",
    ...                     budget={"requests": 1})
    ...     try:
    ...         llm.fit(["one", "two"]).transform(["one", "two"])
    ...     except BudgetExceededError:
    ...         print("stopped after", server.ledger().billed)
    stopped after 1
    """


class ScoringFailedError(SklFusionError):
    """Some texts have no usable answer although ``on_failure="raise"`` was asked for.

    See Also
    --------
    ScoringWarning : Said in its place with ``on_failure="abstain"``.

    Examples
    --------
    >>> from sklfusion import RecordedScorer, ScoringFailedError
    >>> scorer = RecordedScorer({"a text": "a"}, classes=["a", "b"], on_failure="raise")
    >>> try:
    ...     scorer.fit(["a text"]).transform(["another"])
    ... except ScoringFailedError:
    ...     print("no answer")
    no answer
    """


class CacheError(SklFusionError):
    """The reply store cannot be opened, read or written.

    See Also
    --------
    CacheMissError : The store is fine, an answer is not in it.
    CacheWarning : The store was repaired.

    Examples
    --------
    >>> from sklfusion import CacheError, CacheMissError
    >>> issubclass(CacheMissError, CacheError)
    True
    """


class CacheMissError(CacheError):
    """``cache_only=True`` and a reply is not in the store.

    See Also
    --------
    CacheError : The store cannot be used at all.

    Examples
    --------
    >>> from sklfusion import CacheMissError, LLMScorer
    >>> llm = LLMScorer("any", classes=["a", "b"], base_url="http://127.0.0.1:9/v1",
    ...                 strategy="label", memory="replies", cache_only=True)
    >>> try:
    ...     llm.fit(["a text"]).transform(["a text"])
    ... except CacheMissError:
    ...     print("not stored")
    not stored
    """


class StorageError(SklFusionError):
    """A result cannot be written, as on a full disk. What was done before is kept.

    See Also
    --------
    CacheError : The reply store cannot be used.

    Examples
    --------
    >>> from sklfusion import StorageError
    >>> raise StorageError("The disk is full.")
    Traceback (most recent call last):
        ...
    sklfusion.exceptions.StorageError: The disk is full.
    """


class ModelLoadError(SklFusionError):
    """An encoder or a local language model cannot be loaded.

    See Also
    --------
    ModelNotFoundError : An endpoint does not know the model.
    sklfusion.models.install : Gets the embedded ones.

    Examples
    --------
    >>> from sklfusion import ModelLoadError, RobertaEmbedder
    >>> try:
    ...     RobertaEmbedder("./no_such_folder").fit(["a text"])
    ... except ModelLoadError:
    ...     print("not there")
    not there
    """


class TrainingDivergedError(SklFusionError, ValueError):
    """The training loss became NaN or infinite.

    See Also
    --------
    FusionClassifier : Raises it.

    Examples
    --------
    >>> from sklfusion import TrainingDivergedError
    >>> issubclass(TrainingDivergedError, ValueError)
    True
    """


class PersistenceError(SklFusionError):
    """A saved model is damaged, of an unknown format, or unsafe to load.

    See Also
    --------
    sklfusion.persistence.load : Raises it.

    Examples
    --------
    >>> from pathlib import Path
    >>> from sklfusion import PersistenceError, persistence
    >>> _ = Path("notes.sklf").write_text("no model")
    >>> try:
    ...     persistence.load("notes.sklf")
    ... except PersistenceError:
    ...     print("no model")
    no model
    """


class SklFusionWarning(UserWarning):
    """Base of all warnings issued by sklfusion itself.

    See Also
    --------
    ScoringWarning : Of missing answers.
    CacheWarning : Of the reply store.
    DataWarning : Of texts and labels.

    Examples
    --------
    >>> import warnings
    >>> from sklfusion import SklFusionWarning
    >>> warnings.filterwarnings("error", category=SklFusionWarning)  # stop where it would warn
    """


class ScoringWarning(SklFusionWarning):
    """Some rows have no usable LLM answer, or replies were flagged.

    See Also
    --------
    ScoringFailedError : Raised in its place with ``on_failure="raise"``.

    Examples
    --------
    >>> import warnings
    >>> from sklfusion import RecordedScorer, ScoringWarning
    >>> scorer = RecordedScorer({"a text": "a"}, classes=["a", "b"]).fit(["a text"])
    >>> with warnings.catch_warnings(record=True) as told:
    ...     warnings.simplefilter("always")
    ...     _ = scorer.transform(["another"])
    >>> told[0].category is ScoringWarning
    True
    """


class CacheWarning(SklFusionWarning):
    """The reply store was repaired, or cannot be written.

    See Also
    --------
    CacheError : The store cannot be used.

    Examples
    --------
    >>> import warnings
    >>> from sklfusion import CacheWarning
    >>> warnings.filterwarnings("error", category=CacheWarning)  # rather stop than go on without
    """


class DataWarning(SklFusionWarning):
    """The data are legal but unlikely to be what was meant.

    See Also
    --------
    MultiLabelThresholds : Warns of labels that no row has.

    Examples
    --------
    >>> import warnings
    >>> from sklfusion import DataWarning, MultiLabelThresholds
    >>> with warnings.catch_warnings(record=True) as told:
    ...     warnings.simplefilter("always")
    ...     _ = MultiLabelThresholds().fit([[0.2, 0.8]] * 10, [[0, 0], [0, 1]] * 5)
    >>> any(warning.category is DataWarning for warning in told)
    True
    """
