"""What every back end has in common, and how one is chosen from the parameters of a scorer."""

from __future__ import annotations

from typing import Protocol

from sklfusion._chat import ChatRequest, Reply

LOCAL_PREFIX = "local/"


class Backend(Protocol):
    """Answers chat requests. Thread-safe; not pickled."""

    def complete(self, request: ChatRequest, *, deadline: float) -> Reply:
        """Return the reply to one request, or raise CallError. One attempt."""

    def close(self) -> None:
        """Free connections or memory."""


def is_local(model: str, base_url: str | None) -> bool:
    """Tell whether ``model`` runs in this process."""
    return base_url is None and model.startswith(LOCAL_PREFIX)
