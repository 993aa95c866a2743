"""Which texts an LLM gave no answer about, told to whoever listens further out.

Inside a fused model a text without an answer gets a prior and the row goes on; only the scorer
knows. It tells it here, so that a program that writes rows down can say of each what it rests on.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_LISTENER: ContextVar[dict[str, str] | None] = ContextVar("unanswered", default=None)


@contextmanager
def unanswered() -> Iterator[dict[str, str]]:
    """Collect {text: status} of what is told inside, in this thread."""
    heard: dict[str, str] = {}
    token = _LISTENER.set(heard)
    try:
        yield heard
    finally:
        _LISTENER.reset(token)


def tell_unanswered(texts: list[str], status) -> None:
    """Say which texts have no answer; ``status`` is "ok" for the others."""
    heard = _LISTENER.get()
    if heard is not None:
        heard.update((t, str(s)) for t, s in zip(texts, status, strict=True) if s != "ok")
