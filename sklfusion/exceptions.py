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
    """Base of all errors raised by sklfusion itself."""


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
    """The key is missing or was refused."""


class ModelNotFoundError(EndpointError):
    """The endpoint does not know the model."""


class QuotaError(EndpointError):
    """The account behind the key has no credit left."""


class BudgetExceededError(SklFusionError):
    """The budget of a scorer is spent. Replies paid for so far are in the reply store."""


class ScoringFailedError(SklFusionError):
    """Some texts have no usable answer although ``on_failure="raise"`` was asked for."""


class CacheError(SklFusionError):
    """The reply store cannot be opened, read or written."""


class CacheMissError(CacheError):
    """``cache_only=True`` and a reply is not in the store."""


class StorageError(SklFusionError):
    """A result cannot be written, as on a full disk. What was done before is kept."""


class ModelLoadError(SklFusionError):
    """An encoder or a local language model cannot be loaded."""


class TrainingDivergedError(SklFusionError, ValueError):
    """The training loss became NaN or infinite."""


class PersistenceError(SklFusionError):
    """A saved model is damaged, of an unknown format, or unsafe to load."""


class SklFusionWarning(UserWarning):
    """Base of all warnings issued by sklfusion itself."""


class ScoringWarning(SklFusionWarning):
    """Some rows have no usable LLM answer, or replies were flagged."""


class CacheWarning(SklFusionWarning):
    """The reply store was repaired, or cannot be written."""


class DataWarning(SklFusionWarning):
    """The data are legal but unlikely to be what was meant."""
