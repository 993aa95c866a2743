"""The nouns of a request under the name by which programs import them from here."""

from sklfusion._chat import ChatRequest, Reply, Usage

__all__ = ["ChatRequest", "Reply", "Usage"]
