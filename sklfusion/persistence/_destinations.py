"""Where a model would send texts and keys, and whether the caller allows that."""

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from sklfusion.exceptions import PersistenceError
from sklfusion.llm.endpoints import ENDPOINTS, check_origin, is_loopback, resolve_endpoint

#: Parameters that say where to send, or whose value to send along, wherever they stand.
NAMING_FIELDS = frozenset({"base_url", "api_key_env", "headers_env"})
#: Stands for what is no name of a variable: somebody may have pasted the key itself.
_HIDDEN = "(not a variable name)"
_SHORT_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")


@dataclass(frozen=True)
class Destination:
    """One place that a model names.

    Parameters
    ----------
    model : str or None
        ``provider/model``, where one is named.
    base_url : str or None
        Address; None for the provider's own.
    variables : tuple of str
        Environment variables whose values would be sent there.
    """

    model: str | None
    base_url: str | None
    variables: tuple

    @classmethod
    def of(cls, values):
        """Read one from nodes by parameter name."""
        model, base_url = values.get("model"), values.get("base_url")
        if base_url is not None and not isinstance(base_url, str):
            raise PersistenceError("The model holds a base_url that is not a str.")
        named = [*_strings_below(values.get("api_key_env")), *_header_variables(values)]
        return cls(
            model if isinstance(model, str) else None, base_url, tuple(dict.fromkeys(named))
        )

    def address(self):
        """Where it is, or None if nothing can be sent (a local model, no known provider)."""
        endpoint = self._endpoint()
        return None if endpoint is None else endpoint.origin

    def sent_along(self):
        """Variables whose values go there, those that a provider implies included."""
        endpoint = self._endpoint()
        implied = () if endpoint is None or self.variables else (endpoint.api_key_env,)
        return (*self.variables, *(name for name in implied if name))

    def is_allowed(self, endpoints):
        """Tell whether a model may use this place without having been asked about."""
        address, sent = self.address(), set(self.sent_along())
        provider = (self.model or "").partition("/")[0]
        if self.base_url is None:
            # the provider's own address; without a provider a variable has nowhere to go
            usual = {ENDPOINTS[provider].api_key_env} if provider in ENDPOINTS else set()
            known = sent <= usual or provider == "local"
        else:
            # on this machine, too, whoever listens need not be the one that a key is meant for
            usual = {e.api_key_env for e in ENDPOINTS.values() if e.origin == address}
            known = (bool(usual) or is_loopback(address)) and sent <= usual
        return known or (address and any(_covers(given, address) for given in endpoints))

    def to_dict(self, endpoints=()):
        """Plain values for the eye."""
        shown = [v if _SHORT_VARIABLE.fullmatch(v) else _HIDDEN for v in self.sent_along()]
        return {
            "model": self.model,
            "address": self.address(),
            "variables": shown,
            "allowed": bool(self.is_allowed(endpoints)),
        }

    def _endpoint(self):
        try:
            return resolve_endpoint(self.model or "", self.base_url)[0]
        except ValueError as error:
            if self.base_url is None:
                return None
            raise PersistenceError(f"The model cannot be used: {error}") from None


def check_destinations(destinations, endpoints, path):
    """Raise PersistenceError for the first place that the caller has not allowed."""
    for destination in destinations:
        if destination.is_allowed(endpoints):
            continue
        told = destination.to_dict()
        address = told["address"] or "no known address"
        key = ", ".join(told["variables"])
        along = f" with the value of the environment variable {key}" if key else ""
        raise PersistenceError(
            f"{path} would send texts to {address}{along}. Without being told, a loaded model "
            "sends only to this machine without a key, or to a known provider with that "
            f"provider's usual variable. If you trust it: load(path, endpoints=[{address!r}])."
        )


def check_endpoints(endpoints):
    """Return the addresses that a caller allows, in their normal form.

    Raises
    ------
    TypeError, ValueError
        If it is one bare string, or one of them is no address.
    """
    if isinstance(endpoints, str):
        raise TypeError(f"endpoints is one str; give a list, endpoints=[{endpoints!r}].")
    return tuple(check_origin(address) for address in endpoints or ())


def _covers(given, address):
    """Whether an address is the given one, or lies below it on the same host."""
    one, other = urlsplit(given), urlsplit(address)
    if (one.scheme, one.netloc.lower()) != (other.scheme, other.netloc.lower()):
        return False
    return f"{other.path}/".startswith(f"{one.path}/") and "/../" not in f"{other.path}/"


def _header_variables(values):
    """Names of variables in ``headers_env``: the values of a dict, or all strings of a list."""
    node = values.get("headers_env")
    if isinstance(node, dict) and node.get("type") == "dict":
        pairs = node["items"] if isinstance(node.get("items"), list) else []
        return [
            text for pair in pairs if isinstance(pair, list) for text in _strings_below(pair[1:])
        ]
    return _strings_below(node)


def _strings_below(node):
    """All strings in a node, however it is wrapped."""
    if isinstance(node, str):
        return [node]
    if isinstance(node, list):
        return [text for item in node for text in _strings_below(item)]
    if isinstance(node, dict):
        kept = [value for key, value in node.items() if key != "type"]
        return [text for value in kept for text in _strings_below(value)]
    return []
