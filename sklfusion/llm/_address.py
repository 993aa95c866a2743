"""From what a user writes as an address to an origin and a query, or one clear error."""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from urllib.parse import SplitResult, parse_qsl, urlsplit

from sklfusion.llm._keylike import secret_in_url

# Longer addresses are refused by servers as well.
MAX_URL = 2048
_MAX_HOST = 253
_MAX_LABEL = 63
_LABEL = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?")
# Anything but these in an address has to be percent-encoded; letters of any script may stand in
# the host.
_FORBIDDEN = re.compile(r"[\x00-\x20\x7f\s\"<>\\^`{|}]")

Query = tuple[tuple[str, str], ...]


def parse_address(url: object, name: str = "base_url") -> tuple[str, Query]:
    """Return the origin (scheme, host, port, base path) and the query of an address.

    Parameters
    ----------
    url : str
        What the user wrote.
    name : str
        What to call it in messages.

    Raises
    ------
    ValueError
        If it is no address of an HTTP endpoint, or holds what could be a secret. The message
        never repeats the address beyond its host.

    Examples
    --------
    >>> parse_address("https://models.example/v1/?api-version=2024-10-21")
    ('https://models.example/v1', (('api-version', '2024-10-21'),))
    """
    secret = secret_in_url(url, name)
    if secret:
        raise ValueError(secret)
    if not isinstance(url, str):
        raise ValueError(f"{name} is a {type(url).__name__}; it takes an address as a str.")
    url = url.strip(" ")
    if len(url) > MAX_URL:
        raise ValueError(f"{name} has {len(url)} characters; at most {MAX_URL} are an address.")
    if _FORBIDDEN.search(url):
        raise ValueError(
            f"{name} holds a space, a control character or another that no address has. Write it "
            "percent-encoded (%20), or leave it out."
        )
    parts = _split(url, name)
    if parts.fragment:
        raise ValueError(f"{name} for {parts.hostname} holds a fragment (#...); leave it out.")
    query = tuple(parse_qsl(parts.query, keep_blank_values=True))
    netloc = _ascii(parts.netloc) or parts.netloc
    plain = SplitResult(parts.scheme, netloc, parts.path.rstrip("/"), "", "")
    return plain.geturl(), query


def _split(url: str, name: str) -> SplitResult:
    """Split an address and check what comes before the path."""
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        parts, host = None, None
    if parts is None or parts.scheme not in ("http", "https") or not host:
        raise ValueError(
            f"{name} is not an http:// or https:// address. Write for example "
            f"{name}='http://127.0.0.1:8000/v1', with an IPv6 address in brackets: "
            f"'http://[::1]:8000/v1'."
        )
    tail = parts.netloc.rpartition("]")[2] if "[" in parts.netloc else parts.netloc
    if tail.count(":") > 1:
        raise ValueError(
            f"{name} has an IPv6 address without brackets; write it as 'http://[::1]:8000/v1'."
        )
    try:
        usable = parts.port is None or 0 < parts.port < 65536
    except ValueError:
        usable = False
    if not usable or tail.endswith(":"):
        raise ValueError(f"{name} has a port that is no number from 1 to 65535.")
    problem = _problem_of_host(host, bracketed="[" in parts.netloc)
    if problem:
        raise ValueError(f"{name} has a host that cannot be: {problem}.")
    return parts


def _ascii(host: str) -> str | None:
    """Return a host as it goes over the wire, None if it cannot."""
    if host.isascii():
        return host
    if unicodedata.normalize("NFKC", host) != host:
        return None  # it would be another host for another library
    try:
        return host.encode("idna").decode("ascii")
    except UnicodeError:
        return None


def _problem_of_host(host: str, *, bracketed: bool) -> str | None:
    if bracketed:
        return None  # urlsplit has read it as an IPv6 address
    plain = _ascii(host)
    if plain is None:
        return "it has characters or a length that no host name has"
    labels = plain.removesuffix(".").split(".")
    if len(plain) > _MAX_HOST or any(len(label) > _MAX_LABEL for label in labels):
        return f"it is longer than {_MAX_HOST} characters, or {_MAX_LABEL} between two dots"
    if not all(_LABEL.fullmatch(label) for label in labels):
        return "it has an empty part between dots, or a character that no host name has"
    if labels[-1].isdigit():
        try:
            ipaddress.IPv4Address(plain)
        except ValueError:
            return "it looks like an IPv4 address and is none"
    return None
