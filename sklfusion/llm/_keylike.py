"""Keys are never parameters: what looks like one is not kept.

A constructor of scikit-learn must not raise, and whatever a parameter holds shows in ``repr``,
HTML, pickles and logs. So an estimator that asks an LLM keeps a :class:`Refused` in the place of
a value that looks like a key, and says so when it is used.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import parse_qsl

# What keys of providers and code hosts begin with, and how much has to follow.
_PREFIXES = re.compile(
    r"(?:sk[-_].{4,}|(?:pk-|rk-|xai-|gsk_|csk-|hf_|ghp_|gho_|github_pat_|glpat-|r8_|pplx-|nvapi-"
    r"|fw_|tgp_|AIza|AKIA|ya29\.|xox[abp]-|eyJ).{8,})",
    re.DOTALL,
)
_BEARER = re.compile(r"\s*(?:bearer|basic)\s+\S", re.IGNORECASE)
# Names of URL parameters and fields that hold secrets, as words of a name.
_SECRET_WORDS = {
    *("key", "apikey", "accesskey", "token", "sig", "signature", "secret", "password", "passwd"),
    *("pwd", "auth", "authorization", "credential", "credentials", "code", "sas", "jwt"),
}
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# A run of letters and digits of this length with several digits is no word.
_RANDOM_RUN = re.compile(r"[A-Za-z0-9]{20,}")
_RANDOM_DIGITS = 3
# Values of the environment that are shorter say nothing.
_MIN_SECRET = 8


class Refused:
    """Stands for a value that was not kept because it looks like a key.

    Parameters
    ----------
    reason : str
        What to do instead; never the value.
    """

    def __init__(self, reason: str) -> None:
        self.reason = reason

    def __repr__(self) -> str:
        return "(not kept: looks like a key)"

    def __copy__(self) -> Refused:
        return self

    def __deepcopy__(self, memo: Any) -> Refused:
        return self  # clone() asks for the same object


class KeyGuard:
    """Mixin of estimators whose parameters must not hold keys."""

    def __setattr__(self, name: str, value: Any) -> None:
        guard = _GUARDS.get(name)
        reason = guard(value) if guard is not None else None
        super().__setattr__(name, value if reason is None else Refused(reason))


def refuse_keys(estimator: Any, caller: str) -> None:
    """Raise ValueError if a parameter of an estimator was not kept."""
    for name in _GUARDS:
        value = getattr(estimator, name, None)
        if isinstance(value, Refused):
            raise ValueError(f"{caller}: {value.reason}")


def looks_like_key(value: str) -> bool:
    """Tell whether a text begins like a provider's key.

    Examples
    --------
    >>> looks_like_key("sk-proj-1234"), looks_like_key("gpt-5-nano")
    (True, False)
    """
    return bool(_PREFIXES.match(value) or _BEARER.match(value))


def looks_random(value: str) -> bool:
    """Tell whether a text has a long run of letters and digits that no name has."""
    return any(
        sum(c.isdigit() for c in run) >= _RANDOM_DIGITS for run in _RANDOM_RUN.findall(value)
    )


def is_secret_name(name: str) -> bool:
    """Tell whether a parameter of this name usually holds a secret.

    Examples
    --------
    >>> is_secret_name("X-Amz-Signature"), is_secret_name("api-version")
    (True, False)
    """
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    words = re.split(r"[^a-z]+", spaced.lower())
    return bool(_SECRET_WORDS & set(words)) or "apikey" in "".join(words)


# ---------------------------------------------------------- one reason (or None) per parameter


def secret_in_variable(value: Any, name: str = "api_key_env") -> str | None:
    """Return why this cannot be the name of an environment variable, None if it can."""
    if not isinstance(value, str) or not value:
        return None
    known = _VARIABLE.fullmatch(value) and not looks_like_key(value) and not looks_random(value)
    if known and not _is_value_of_environment(value):
        return None
    return (
        f"{name} takes the name of an environment variable, such as 'OPENAI_API_KEY'; what "
        "arrived is no such name and could be a key (it is not shown). Put the key into the "
        f"environment and pass the variable's name as {name}=."
    )


def _is_value_of_environment(value: str) -> bool:
    if len(value) < _MIN_SECRET or value in os.environ:
        return False
    return any(v == value and is_secret_name(n) for n, v in os.environ.items())


def secret_in_url(url: Any, name: str = "base_url") -> str | None:
    """Return what in an address could be secret, None if nothing is."""
    if not isinstance(url, str):
        return None
    before, _, query = url.partition("?")
    before, _, fragment = before.partition("#")
    rest = before.partition("//")[2] or before
    authority, _, path = rest.replace("\\", "/").partition("/")
    port = authority.rpartition("]")[2].partition(":")[2]
    # A password may hold a slash: then what stands for the port is no number.
    if "@" in authority or ("@" in path and port and not port.isdigit()):
        return (
            f"{name} holds a user name or a password. Leave them out and name the environment "
            "variable that holds the key with api_key_env= or headers_env=."
        )
    if any(looks_like_key(part) for part in re.split(r"[/.:;,]", rest)):
        return f"{name} holds what looks like a key. Leave it out; {_INSTEAD}"
    query, _, further = query.partition("#")
    pairs = [p for text in (query, fragment, further) for p in parse_qsl(text, True)]
    if secret_in_query(dict(pairs)) or looks_like_key(fragment) or looks_like_key(query):
        return (
            f"the query of {name} holds what looks like a key, a token or a signature (it is not "
            f"shown). Leave it out; {_INSTEAD}"
        )
    return None


_INSTEAD = "headers_env={'header': 'VARIABLE'} or api_key_env= name variables that hold secrets."


def secret_in_query(query: Any) -> str | None:
    """Return why parameters of an address are refused, None if they are not secret."""
    if not isinstance(query, Mapping):
        return None
    for name, value in query.items():
        text = str(value)
        if is_secret_name(str(name)) or looks_like_key(text) or looks_random(text):
            return f"query holds what looks like a key, a token or a signature; {_INSTEAD}"
    return None


def _secret_in_headers(headers: Any) -> str | None:
    if not isinstance(headers, Mapping):
        return None
    found = (secret_in_variable(value, "headers_env") for value in headers.values())
    return next((reason for reason in found if reason), None)


def _secret_in_model(model: Any) -> str | None:
    if isinstance(model, str) and "/" not in model and looks_like_key(model):
        return "model looks like a key (it is not shown); it takes 'provider/model'."
    return None


def _secret_in_body(params: Any) -> str | None:
    for name, value in _leaves(params):
        text = isinstance(value, str) and value
        if text and (looks_like_key(text) or name.lower() in _BODY_SECRETS):
            return f"request_params holds what looks like a key (it is not shown); {_INSTEAD}"
    return None


_BODY_SECRETS = ("authorization", "api_key", "api-key", "apikey", "x-api-key")


def _leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _leaves(inner, str(key))
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _leaves(inner, name)
    else:
        yield name, value


_GUARDS: dict[str, Callable[[Any], str | None]] = {
    "model": _secret_in_model,
    "base_url": secret_in_url,
    "api_key_env": secret_in_variable,
    "headers_env": _secret_in_headers,
    "query": secret_in_query,
    "request_params": _secret_in_body,
}
