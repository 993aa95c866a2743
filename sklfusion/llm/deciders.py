"""Who answers typed questions, how each wants them put, and how many it takes.

The table is data: :func:`decider_of` is its only reader, and :func:`register_decider` adds to it.
Limits are the documented ones; where an endpoint takes fewer, its refusal says so.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

DIALECTS = ("openai", "systemone")
#: Path and dialect.
Way = tuple[str, str]


@dataclass(frozen=True)
class Decider:
    """Decision models of one place or family.

    Parameters
    ----------
    host, model : str
        Patterns that the whole of the host, and of the model's name without its owner, match.
    path, dialect : str or None
        How questions are put; None is found out. A path with a slash in front begins at the host,
        another at the base address.
    options, questions : int
        Most options of a question, most questions of a request.
    preferred : bool
        Whether ``strategy="auto"`` asks these models for decisions first.
    """

    host: str = ".*"
    model: str = ".*"
    path: str | None = None
    dialect: str | None = None
    options: int = 255
    questions: int = 64
    preferred: bool = True


# Models that were trained to decide, wherever they are served. Others that serve the route read
# the letters of options, at which small models do no better than chance.
_TRAINED = (
    r"(gpt-6-luna|jev|open-?jev|simple-jev|eu-jeff|pplx-decider|decider|clef|solar-decide|rune"
    r"|kev|laya|lev|nimble)(?![a-z]).*"
)
DECIDERS: list[Decider] = [
    Decider(r"api\.openai\.com", r"gpt-6-luna.*", "decisions", "openai", questions=400),
    Decider(r"api\.typesafe\.ai", r".*", None, "systemone", questions=400),
    Decider(r"api\.perplexity\.ai", _TRAINED, "/v1/decisions", "systemone", questions=128),
    Decider(r"openrouter\.ai", _TRAINED, "/api/alpha/decisions", "systemone"),
    Decider(r"api\.fireworks\.ai", r"rune.*", "decisions", "openai", options=208),
    Decider(r"api\.cloudflare\.com", r"clef.*", None, "systemone"),
    Decider(model=r"gpt-6-luna.*", dialect="openai", questions=200),
    Decider(model=_TRAINED),
]
_UNKNOWN_DECIDER = Decider(preferred=False)


def register_decider(decider: Decider) -> None:
    """Put a decision model before all others of the table, for this process.

    Parameters
    ----------
    decider : Decider
        What it is called, and where.

    Examples
    --------
    >>> from sklfusion.llm.deciders import Decider, decider_of, register_decider
    >>> register_decider(Decider(model=r"our-judge.*", questions=8))
    >>> decider_of("http://127.0.0.1:1/v1", "acme/our-judge-2").questions
    8
    """
    DECIDERS.insert(0, decider)


def decider_of(origin: str, model: str) -> Decider:
    """Return what is known of a model at an address."""
    host = urlsplit(origin).hostname or ""
    name = model.rpartition("/")[2].lower()
    fits = (d for d in DECIDERS if re.fullmatch(d.host, host) and re.fullmatch(d.model, name))
    return next(fits, _UNKNOWN_DECIDER)


def ways_to(origin: str, model: str, path: str | None, dialect: str | None) -> list[Way]:
    """Return the ways to put a question to a model, the likeliest first.

    Parameters
    ----------
    origin, model : str
        Where, and who.
    path, dialect : str or None
        What the user has set.

    Examples
    --------
    >>> ways_to("http://127.0.0.1:1/v1", "m", None, None)
    [('decisions', 'openai'), ('decisions', 'systemone'), ('systemone', 'systemone')]
    """
    known = decider_of(origin, model)
    if path is None and dialect is None:
        path, dialect = known.path, known.dialect
    base = "" if urlsplit(origin).path.strip("/") else "v1/"
    ways = [
        (f"{base}decisions", "openai"),
        (f"{base}decisions", "systemone"),
        (f"{base}systemone", "systemone"),
    ]
    if path is not None:
        order = DIALECTS if "systemone" not in path else DIALECTS[::-1]
        ways = [(path, name) for name in order]
    elif dialect == "systemone":
        ways.reverse()
    return [way for way in ways if dialect in (None, way[1])]
