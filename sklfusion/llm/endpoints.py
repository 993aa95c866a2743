"""Where the providers live and which environment variable holds the key of each.

A model is written ``provider/model``. The table is data: :func:`resolve_endpoint` is the only
reader, and :func:`register_endpoint` adds to it.
"""

from __future__ import annotations

import ipaddress
import os
import warnings
from dataclasses import dataclass
from urllib.parse import urlsplit

from sklfusion.exceptions import AuthenticationError, SklFusionWarning


@dataclass(frozen=True)
class Endpoint:
    """One place that speaks the OpenAI chat protocol.

    Parameters
    ----------
    origin : str
        Scheme, host, port and base path, without user information.
    api_key_env : str or None
        Name of the environment variable that holds the key; None where no key is needed.
    max_tokens_field : str
        What the endpoint calls the limit of generated tokens.
    """

    origin: str
    api_key_env: str | None = None
    max_tokens_field: str = "max_tokens"


ENDPOINTS: dict[str, Endpoint] = {
    "openai": Endpoint("https://api.openai.com/v1", "OPENAI_API_KEY", "max_completion_tokens"),
    "gemini": Endpoint(
        "https://generativelanguage.googleapis.com/v1beta/openai", "GEMINI_API_KEY"
    ),
    "deepseek": Endpoint("https://api.deepseek.com/v1", "DEEPSEEK_API_KEY"),
    "openrouter": Endpoint("https://openrouter.ai/api/v1", "OPENROUTER_API_KEY"),
    "mistral": Endpoint("https://api.mistral.ai/v1", "MISTRAL_API_KEY"),
    "groq": Endpoint("https://api.groq.com/openai/v1", "GROQ_API_KEY"),
    "together": Endpoint("https://api.together.xyz/v1", "TOGETHER_API_KEY"),
    "ollama": Endpoint("http://127.0.0.1:11434/v1"),
    "vllm": Endpoint("http://127.0.0.1:8000/v1"),
    "llamacpp": Endpoint("http://127.0.0.1:8080/v1"),
    "lmstudio": Endpoint("http://127.0.0.1:1234/v1"),
}


def register_endpoint(name: str, endpoint: Endpoint) -> None:
    """Add or replace a provider for this process.

    Parameters
    ----------
    name : str
        What goes before the slash in ``model``.
    endpoint : Endpoint
        Where it lives.
    """
    ENDPOINTS[name] = Endpoint(
        check_origin(endpoint.origin), endpoint.api_key_env, endpoint.max_tokens_field
    )


def resolve_endpoint(
    model: str, base_url: str | None = None, api_key_env: str | None = None
) -> tuple[Endpoint, str]:
    """Return the endpoint and the name that it knows the model by.

    Parameters
    ----------
    model : str
        ``provider/model``; with ``base_url`` the endpoint's own name of the model.
    base_url : str, optional
        Address of an endpoint that speaks the OpenAI protocol; goes before the provider's.
    api_key_env : str, optional
        Environment variable of the key; goes before the provider's.

    Returns
    -------
    endpoint : Endpoint
    name : str

    Raises
    ------
    ValueError
        If the provider is unknown or the address is not usable.

    Examples
    --------
    >>> resolve_endpoint("openai/gpt-5-nano")[1]
    'gpt-5-nano'
    >>> resolve_endpoint("any/name", base_url="http://127.0.0.1:1234/v1/")[0].origin
    'http://127.0.0.1:1234/v1'
    """
    provider, _, name = model.partition("/")
    if base_url is not None:
        return Endpoint(check_origin(base_url), api_key_env), model
    if not name or provider not in ENDPOINTS:
        raise ValueError(
            f"model={model!r} names no known provider; write it as 'provider/model' with one of "
            f"{', '.join(sorted(ENDPOINTS))}, as 'local/model', or pass base_url=."
        )
    known = ENDPOINTS[provider]
    return Endpoint(known.origin, api_key_env or known.api_key_env, known.max_tokens_field), name


def check_origin(url: str) -> str:
    """Return ``url`` without a closing slash if it can be the address of an endpoint.

    Raises
    ------
    ValueError
        If it is no http(s) address, or holds a user name, a password, a query or a fragment.
        The message never repeats the part that could be secret.
    """
    parts = urlsplit(url.strip()) if isinstance(url, str) else None
    if parts is None or parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(
            "base_url is not an http:// or https:// address. "
            "Write for example base_url='http://127.0.0.1:8000/v1'."
        )
    if parts.username is not None or parts.password is not None:
        raise ValueError(
            f"base_url for {parts.hostname} holds a user name or a password. Leave them out and "
            "name the environment variable that holds the key with api_key_env=."
        )
    if parts.query or parts.fragment:
        raise ValueError(
            f"base_url for {parts.hostname} holds a query or a fragment; leave it out."
        )
    return parts._replace(path=parts.path.rstrip("/")).geturl()


def is_loopback(origin: str) -> bool:
    """Tell whether an origin is this machine."""
    host = urlsplit(origin).hostname or ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def read_key(endpoint: Endpoint) -> str | None:
    """Return the key from the environment now, None where none is needed.

    Raises
    ------
    AuthenticationError
        If the variable is not set, is empty, or holds what no header can carry. The message
        names the variable and never shows the value.
    """
    name = endpoint.api_key_env
    if name is None:
        return None
    # The value is never in a local variable of the frame that raises: crash reporters print those.
    problem = _problem_of(name)
    if problem == "is not set" and is_loopback(endpoint.origin):
        return None
    if problem:
        raise AuthenticationError(
            f"The environment variable {name} {problem}; it has to hold the API key for "
            f"{endpoint.origin}.",
            origin=endpoint.origin,
        )
    if urlsplit(endpoint.origin).scheme == "http" and not is_loopback(endpoint.origin):
        warnings.warn(
            f"The key in {name} goes to {endpoint.origin} without encryption; use https.",
            SklFusionWarning,
            stacklevel=2,
        )
    return os.environ[name]


def _problem_of(name: str) -> str | None:
    """Return what is wrong with the key in a variable, None if nothing is."""
    key = os.environ.get(name)
    if key is None:
        return "is not set"
    if not key:
        return "is empty"
    if not key.isascii() or not key.isprintable() or key != key.strip():
        return (
            "holds white space, a line break or a character that no header can carry (its value "
            "is not shown)"
        )
    return None
