"""Where the providers live and which environment variable holds the key of each.

A model is written ``provider/model``. The table is data: :func:`resolve_endpoint` is the only
reader, and :func:`register_endpoint` adds to it.
"""

from __future__ import annotations

import difflib
import ipaddress
import os
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from sklfusion.exceptions import AuthenticationError, SklFusionWarning
from sklfusion.llm._address import Query, parse_address
from sklfusion.llm._keylike import secret_in_query, secret_in_variable

_BEARER_HEADER = "Authorization"
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
# Headers that belong to the body or the connection, which are made here.
_OWN_HEADERS = {
    *("host", "connection", "content-length", "content-type"),
    *("transfer-encoding", "accept-encoding"),
}
# Organisation and project are names of OpenAI's; they go to this host and nowhere else.
_OPENAI_HOST = "api.openai.com"
_OPENAI_HEADERS = {"OpenAI-Organization": "OPENAI_ORG_ID", "OpenAI-Project": "OPENAI_PROJECT_ID"}


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
    key_header : str
        Header that carries the key; "Authorization" carries it as a bearer token.
    headers_env : tuple of (str, str) pairs
        Further headers, each with the name of the environment variable that holds its value.
    query : tuple of (str, str) pairs
        Goes behind every address.
    """

    origin: str
    api_key_env: str | None = None
    max_tokens_field: str = "max_tokens"
    key_header: str = _BEARER_HEADER
    headers_env: tuple[tuple[str, str], ...] = ()
    query: Query = ()

    def address(self, path: str = "") -> str:
        """Return the full address of a path; without one, what tells this endpoint from others.

        A path with a slash in front begins at the host, another below the origin.
        """
        where = self.origin + f"/{path}" * bool(path)
        if path.startswith("/"):
            where = "{0.scheme}://{0.netloc}".format(urlsplit(self.origin)) + path
        return where + (f"?{urlencode(self.query)}" if self.query else "")


ENDPOINTS: dict[str, Endpoint] = {
    "openai": Endpoint("https://api.openai.com/v1", "OPENAI_API_KEY", "max_completion_tokens"),
    "gemini": Endpoint(
        "https://generativelanguage.googleapis.com/v1beta/openai", "GEMINI_API_KEY"
    ),
    "anthropic": Endpoint("https://api.anthropic.com/v1", "ANTHROPIC_API_KEY"),
    "xai": Endpoint("https://api.x.ai/v1", "XAI_API_KEY"),
    # Every resource has an address of its own: AZURE_OPENAI_ENDPOINT or base_url= names it.
    "azure": Endpoint("", "AZURE_OPENAI_API_KEY", key_header="api-key"),
    "deepseek": Endpoint("https://api.deepseek.com/v1", "DEEPSEEK_API_KEY"),
    "openrouter": Endpoint("https://openrouter.ai/api/v1", "OPENROUTER_API_KEY"),
    "mistral": Endpoint("https://api.mistral.ai/v1", "MISTRAL_API_KEY"),
    "groq": Endpoint("https://api.groq.com/openai/v1", "GROQ_API_KEY"),
    "together": Endpoint("https://api.together.xyz/v1", "TOGETHER_API_KEY"),
    "fireworks": Endpoint("https://api.fireworks.ai/inference/v1", "FIREWORKS_API_KEY"),
    "cerebras": Endpoint("https://api.cerebras.ai/v1", "CEREBRAS_API_KEY"),
    "deepinfra": Endpoint("https://api.deepinfra.com/v1/openai", "DEEPINFRA_API_KEY"),
    "nvidia": Endpoint("https://integrate.api.nvidia.com/v1", "NVIDIA_API_KEY"),
    "huggingface": Endpoint("https://router.huggingface.co/v1", "HF_TOKEN"),
    "ollama": Endpoint("http://127.0.0.1:11434/v1"),
    "vllm": Endpoint("http://127.0.0.1:8000/v1"),
    "llamacpp": Endpoint("http://127.0.0.1:8080/v1"),
    "lmstudio": Endpoint("http://127.0.0.1:1234/v1"),
}

AZURE_ADDRESS_ENV = "AZURE_OPENAI_ENDPOINT"
_AZURE = "azure"


def register_endpoint(name: str, endpoint: Endpoint) -> None:
    """Add or replace a provider for this process.

    Parameters
    ----------
    name : str
        What goes before the slash in ``model``.
    endpoint : Endpoint
        Where it lives. A query in its ``origin`` is taken as ``query``.
    """
    origin, query = parse_address(endpoint.origin, "origin")
    ENDPOINTS[name] = replace(
        endpoint, origin=origin, query=_joined_query(query, dict(endpoint.query))
    )


def resolve_endpoint(
    model: str,
    base_url: str | None = None,
    api_key_env: str | None = None,
    *,
    headers_env: Mapping[str, str] | None = None,
    query: Mapping[str, Any] | None = None,
) -> tuple[Endpoint, str]:
    """Return the endpoint and the name that it knows the model by.

    Parameters
    ----------
    model : str
        ``provider/model``; with ``base_url`` the endpoint's own name of the model.
    base_url : str, optional
        Address of an endpoint that speaks the OpenAI protocol; goes before the provider's. Its
        query goes along with every request.
    api_key_env : str, optional
        Environment variable of the key; goes before the provider's.
    headers_env : mapping of str to str, optional
        Header to the environment variable that holds its value.
    query : mapping of str to str, optional
        Further query.

    Returns
    -------
    endpoint : Endpoint
    name : str

    Raises
    ------
    ValueError
        If the provider is unknown, or the address, a variable, a header or the query is not
        usable.

    Examples
    --------
    >>> resolve_endpoint("openai/gpt-5-nano")[1]
    'gpt-5-nano'
    >>> resolve_endpoint("any/name", base_url="http://127.0.0.1:1234/v1/")[0].origin
    'http://127.0.0.1:1234/v1'
    """
    _check_variable(api_key_env, "api_key_env")
    headers = _check_headers(headers_env)
    further = _check_query(query)
    provider, _, name = model.partition("/")
    if provider == _AZURE and name and _is_azure(base_url, further):
        known, model = _azure(name, base_url, further)
    elif base_url is not None:
        origin, own = parse_address(base_url)
        known = Endpoint(origin, query=_joined_query(own, further))
    elif not name or provider not in ENDPOINTS:
        raise ValueError(
            f"model={model!r} names no known provider; write it as 'provider/model' with one of "
            f"{', '.join(sorted(ENDPOINTS))}, as 'local/model', or pass base_url=."
            f"{_meant(provider)}"
        )
    else:
        known, model = ENDPOINTS[provider], name
        known = replace(known, query=_joined_query(known.query, further))
    return replace(known, api_key_env=api_key_env or known.api_key_env, headers_env=headers), model


def _meant(provider: str) -> str:
    """Return the known provider that a name is near to, as the end of a message."""
    near = difflib.get_close_matches(provider, [*ENDPOINTS, "local"], n=1)
    return f" Did you mean {near[0]}/...?" if near else ""


def _is_azure(base_url: str | None, query: Mapping[str, str]) -> bool:
    """Tell an Azure address from a gateway that calls its own models azure/..."""
    if base_url is None:
        return True
    origin, own = parse_address(base_url)
    parts = urlsplit(origin)
    host = parts.hostname or ""
    named = "api-version" in query or any(name == "api-version" for name, _ in own)
    return named or ".azure." in f"{host}." or parts.path.startswith("/openai")


def _azure(name: str, base_url: str | None, query: Mapping[str, str]) -> tuple[Endpoint, str]:
    """Return the endpoint of a deployment: the v1 address, or the one of a dated version."""
    registered = ENDPOINTS[_AZURE]
    address = base_url or os.environ.get(AZURE_ADDRESS_ENV) or registered.origin
    if not address:
        raise ValueError(
            f"azure/ has no address of its own. Set the environment variable {AZURE_ADDRESS_ENV} "
            "to the address of your resource (https://NAME.openai.azure.com), or pass base_url=."
        )
    origin, own = parse_address(address, "base_url" if base_url else AZURE_ADDRESS_ENV)
    asked = _joined_query(own, {**dict(registered.query), **query})
    if not urlsplit(origin).path.startswith("/openai"):
        dated = dict(asked).get("api-version", "")[:1].isdigit()
        origin += f"/openai/deployments/{quote(name, safe='')}" if dated else "/openai/v1"
    return replace(registered, origin=origin, query=asked), name


def _joined_query(own: Query, further: Mapping[str, str]) -> Query:
    """Return the query of an address and of ``query=`` as one."""
    twice = sorted(name for name, value in own if further.get(name, value) != value)
    if twice:
        raise ValueError(
            f"base_url and query= say different things of {twice}; leave one of them out."
        )
    names = {name for name, _ in own}
    return own + tuple((name, value) for name, value in further.items() if name not in names)


def _check_variable(value: Any, name: str) -> None:
    reason = secret_in_variable(value, name)
    if reason:
        raise ValueError(reason)
    if value is not None and (not isinstance(value, str) or not value):
        raise ValueError(
            f"{name} takes the name of an environment variable, not {type(value).__name__}"
            f"{' without a character' if value == '' else ''}."
        )


def _check_headers(headers: Mapping[str, str] | None) -> tuple[tuple[str, str], ...]:
    if headers is None:
        return ()
    if not isinstance(headers, Mapping):
        raise ValueError(
            f"headers_env is a {type(headers).__name__}; it takes a dict such as "
            "{'api-key': 'AZURE_KEY'}: header to the name of an environment variable."
        )
    for header, variable in headers.items():
        if not isinstance(header, str) or not _HEADER_NAME.fullmatch(header):
            raise ValueError("headers_env has a name that no header has; 'api-key' is one.")
        if header.lower() in _OWN_HEADERS:
            raise ValueError(f"headers_env cannot set {header!r}, which belongs to the request.")
        if variable is None:
            raise ValueError(f"headers_env names no environment variable for {header!r}.")
        _check_variable(variable, "headers_env")
    return tuple(headers.items())


def _check_query(query: Mapping[str, Any] | None) -> dict[str, str]:
    if query is None:
        return {}
    if not isinstance(query, Mapping):
        raise ValueError(
            f"query is a {type(query).__name__}; it takes a dict such as "
            "{'api-version': '2024-10-21'}."
        )
    reason = secret_in_query(query)
    if reason:
        raise ValueError(reason)
    for name, value in query.items():
        if not isinstance(name, str) or not name or not isinstance(value, str | int | float):
            raise ValueError("query takes text or numbers by name: {'api-version': '2024-10-21'}.")
    return {name: str(value) for name, value in query.items()}


def check_origin(url: str) -> str:
    """Return ``url`` without a closing slash if it can be the address of an endpoint.

    Raises
    ------
    ValueError
        If it is no http(s) address, or holds a user name, a password, a query or a fragment.
        The message never repeats the part that could be secret.
    """
    origin, query = parse_address(url)
    if query:
        raise ValueError(f"base_url for {urlsplit(origin).hostname} holds a query; leave it out.")
    return origin


def is_loopback(origin: str) -> bool:
    """Tell whether an origin is this machine."""
    host = urlsplit(origin).hostname or ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_secrets(endpoint: Endpoint) -> None:
    """Check that all environment variables that a request needs can be used.

    Raises
    ------
    AuthenticationError
        As :func:`read_key`, for the key and for every header.
    """
    read_key(endpoint)
    for header, name in endpoint.headers_env:
        problem = _problem_of(name)
        if problem:
            raise AuthenticationError(
                f"The environment variable {name} {problem}; headers_env names it for the header "
                f"{header!r} of requests to {endpoint.origin}.",
                origin=endpoint.origin,
            )
        _warn_if_readable(name, endpoint.origin)


def secret_headers(endpoint: Endpoint) -> dict[str, str]:
    """Return the headers whose values are in the environment now."""
    headers = {header: os.environ[name] for header, name in endpoint.headers_env}
    given = {header.lower() for header in headers}
    key = read_key(endpoint)
    if key is not None and endpoint.key_header.lower() not in given:
        bearer = endpoint.key_header.lower() == _BEARER_HEADER.lower()
        headers[endpoint.key_header] = f"Bearer {key}" if bearer else key
    parts = urlsplit(endpoint.origin)
    if parts.hostname == _OPENAI_HOST and parts.scheme == "https":
        for header, name in _OPENAI_HEADERS.items():
            if header.lower() not in given and os.environ.get(name) and not _problem_of(name):
                headers[header] = os.environ[name]
    return headers


def read_key(endpoint: Endpoint) -> str | None:
    """Return the key from the environment now, None where none is needed.

    Raises
    ------
    AuthenticationError
        If the variable is not set, is empty, or holds what no header can carry. The message
        names the variable and never shows the value.
    """
    name = endpoint.api_key_env
    if name is None or _is_replaced(endpoint):
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
    _warn_if_readable(name, endpoint.origin)
    return os.environ[name]


def _is_replaced(endpoint: Endpoint) -> bool:
    """Tell whether headers_env gives the header that the key would go into."""
    return any(h.lower() == endpoint.key_header.lower() for h, _ in endpoint.headers_env)


def _warn_if_readable(name: str, origin: str) -> None:
    if urlsplit(origin).scheme == "http" and not is_loopback(origin):
        warnings.warn(
            f"The key in {name} goes to {origin} without encryption; use https.",
            SklFusionWarning,
            stacklevel=3,
        )


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
