"""What a service is told: limits, ways, names."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass

from sklfusion.exceptions import SklFusionError

#: What the service tells; no line holds a text or a key.
LOGGER = logging.getLogger("sklfusion.serve")
#: Where a browser or client on this machine says that it is talking to.
LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class ServiceSettings:
    """How a model is served.

    Parameters
    ----------
    name : str, default="model"
        What the model is called in answers and at ``/v1/models``.
    mode : {"strict", "open"}, default="strict"
        What happens to a question whose options are not all classes of the model. "strict"
        refuses it; "open" asks an LLM that was not fitted on it, and marks the answer.
    zero_shot : str, LLMEndpoint or None, default=None
        The LLM of mode "open"; by default the model's own, else the embedded one.
    token_env : str or None, default=None
        Name of the environment variable with the token that callers must show.
    max_queue : int, default=1024
        Most texts that wait; what comes on top is refused with 429.
    max_batch : int, default=64
        Most texts in one call of the model, unless one request alone has more.
    batch_wait : float, default=0.004
        Seconds that an idle service waits for others to come along.
    timeout : float, default=60.0
        Seconds after which a request is given up with 504.
    max_body : int, default=4194304
        Most bytes in the body of a request.
    hosts : tuple of str or None, default=None
        Values of the Host header that are answered; None is any. A service on a loopback
        address should name these, or any page that a browser has open could reach it.

    Raises
    ------
    ValueError
        If a value is out of its range.
    SklFusionError
        If the variable that ``token_env`` names is not set.

    See Also
    --------
    create_app : Takes them.
    serve_file : Takes them too.

    Examples
    --------
    >>> from sklfusion.serve import ServiceSettings
    >>> ServiceSettings(name="topics", max_queue=64).max_queue
    64
    """

    name: str = "model"
    mode: str = "strict"
    zero_shot: object = None
    token_env: str | None = None
    max_queue: int = 1024
    max_batch: int = 64
    batch_wait: float = 0.004
    timeout: float = 60.0
    max_body: int = 4 * 2**20
    hosts: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if self.mode not in ("strict", "open"):
            raise ValueError(f"mode must be 'strict' or 'open', got {self.mode!r}.")
        if self.zero_shot is not None and self.mode != "open":
            raise ValueError("zero_shot is used in mode 'open' only; pass mode='open' too.")
        for field in ("max_queue", "max_batch", "timeout", "max_body"):
            if getattr(self, field) <= 0:
                raise ValueError(f"{field} must be positive, got {getattr(self, field)!r}.")
        if self.batch_wait < 0:
            raise ValueError(f"batch_wait must not be negative, got {self.batch_wait!r}.")
        if self.token_env is not None and not self.token():
            raise SklFusionError(
                f"The environment variable {self.token_env} is not set or empty; callers could "
                "not show a token. Set it, or leave out the token."
            )

    def token(self) -> str | None:
        """Return the token, read now, or None where none is wanted.

        Returns
        -------
        str or None
            The token.
        """
        return None if self.token_env is None else os.environ.get(self.token_env)
