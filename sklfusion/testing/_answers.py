"""What the loopback endpoint answers, by a rule that tests can compute themselves.

The rule
--------
1. The *labels* are the lines of the system message that begin with ``- ``; ``- K = name`` means
   that the answer must be ``K``. Without such lines: the ``enum`` or the numeric properties of
   the JSON schema, else the first bracketed list of quoted words in any message.
   Where no message has the role of the system, what stands before the text in the first user
   message counts as one.
2. The *text* is the last user message, decoded if it is a JSON string; otherwise what stands
   between its last pair of triple backquotes, or all of it, without bracketed lists of words.
3. The text has every label whose name stands in it as a word, whatever the case. For one label
   per text the first in the text counts; if there is none, label number
   ``int(text_digest(text)[:8], 16) % K``. For several labels per text none may apply.
4. A label that applies has probability 0.9 (shared evenly where one label must be chosen by the
   rest), and for several labels per text one that does not has 0.05.

A user message that is a JSON object of texts is answered by a JSON object with the same ids; the
ledger knows it by the message as a whole.

The *form* of the answer follows the schema, else the words of the system message: ``JSON object``
(scores), ``JSON list`` (label set), ``yes or no`` (one label), else the label alone.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from dataclasses import dataclass, replace
from typing import Any

HIGH = 0.9
LOW_MULTI = 0.05
_BRACKETS = re.compile(r"\[\s*(?:(['\"])[^'\"\[\]]+\1\s*,?\s*)+\]")
ASKED_LABEL = re.compile(r"[Dd]oes the label (.+?) fit the text")
_PIECE = re.compile(r"\s?\w+|\s?[^\w\s]|\s")


def text_digest(text: str) -> str:
    """Return the digest under which a text stands in the ledger (64 hexadecimal digits).

    Parameters
    ----------
    text : str
        The text.

    Returns
    -------
    str
        Hexadecimal digits.

    See Also
    --------
    LedgerView : Its ``texts`` are keyed by it.

    Examples
    --------
    >>> from sklfusion.testing import text_digest
    >>> len(text_digest("The SPORT page"))
    64
    """
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


@dataclass(frozen=True)
class Question:
    """What a request asks.

    Attributes
    ----------
    text : str
        The text to label.
    keys, names : tuple of str
        What the answer must say for each label, and the words to look for in the text.
    form : str
        "label", "set", "scores" or "yes_no".
    multilabel : bool
        Whether several labels may apply.
    asked : str or None
        Key of the label that a yes-or-no question is about.
    field : str or None
        Name of the property that a schema wants the answer in.
    pack : dict of {str: str} or None
        Id and text, where several texts are asked about at once.
    """

    text: str
    keys: tuple[str, ...]
    names: tuple[str, ...]
    form: str
    multilabel: bool
    asked: str | None = None
    field: str | None = None
    pack: dict[str, str] | None = None


def expected_label(text: str, names: list[str] | tuple[str, ...]) -> str:
    """Return the name that the rule gives a text (one label per text).

    Parameters
    ----------
    text : str
        The text.
    names : sequence of str
        The labels to choose from.

    Returns
    -------
    str
        One of the names.

    See Also
    --------
    expected_labels : For several labels per text.
    FaultServer : Answers by this rule.

    Examples
    --------
    >>> expected_label("The SPORT page", ["world", "sport"])
    'sport'
    """
    found = _found(text, names)
    return names[found[0]] if found else names[int(text_digest(text)[:8], 16) % len(names)]


def expected_labels(text: str, names: list[str] | tuple[str, ...]) -> list[str]:
    """Return the names that the rule gives a text (several labels per text), in their order.

    Parameters
    ----------
    text : str
        The text.
    names : sequence of str
        The labels to choose from.

    Returns
    -------
    list of str
        Some of the names.

    See Also
    --------
    expected_label : For one label per text.
    FaultServer : Answers by this rule.

    Examples
    --------
    >>> expected_labels("World sport", ["sport", "food", "world"])
    ['sport', 'world']
    """
    return [names[i] for i in sorted(_found(text, names))]


def _found(text: str, names: list[str] | tuple[str, ...]) -> list[int]:
    """Indices of the names that stand in the text as words, in the order of the text."""
    folded = text.casefold()
    places = []
    for index, name in enumerate(names):
        match = re.search(rf"(?<!\w){re.escape(name.casefold())}(?!\w)", folded)
        if match:
            places.append((match.start(), index))
    return [index for _, index in sorted(places)]


def read_question(body: dict[str, Any]) -> Question:
    """Return what the body of a chat request asks."""
    messages = [
        (m.get("role"), _joined_content(m.get("content"))) for m in body.get("messages", [])
    ]
    system = "\n".join(content for role, content in messages if role in ("system", "developer"))
    user = [content for role, content in messages if role == "user"]
    if user and not system:
        head, _, data = user[0].rpartition("\n\n")
        if head and is_data(data):
            system, user[0] = head, data
    text = _plain_text(user[-1] if user else "")
    schema = _schema(body)
    pairs = _listed_labels(system) or _from_schema(schema) or _bracketed(messages)
    pack = _pack(user[-1] if user else "")
    form, field = ("pack", None) if pack else _form(schema, system)
    asked = ASKED_LABEL.search(system)
    return Question(
        text=text,
        keys=tuple(key for key, _ in pairs),
        names=tuple(name for _, name in pairs),
        form=form,
        multilabel=form in ("set", "yes_no")
        or "very label that fits" in system
        or "Several labels" in system,
        asked=asked[1] if asked and form == "yes_no" else None,
        field=field,
        pack=pack,
    )


def decode_text(content: str) -> str:
    """Return the text in a user message: a JSON string, or the message itself."""
    try:
        value = json.loads(content)
    except ValueError:
        return content
    return value if isinstance(value, str) else content


def is_data(content: str) -> bool:
    """Tell whether a user message is nothing but texts as JSON strings."""
    return decode_text(content) is not content or _pack(content) is not None


def _pack(content: str) -> dict[str, str] | None:
    """Return the texts of a message that holds several, by id."""
    try:
        value = json.loads(content) if content.startswith("{") else None
    except ValueError:
        return None
    if isinstance(value, dict) and value and all(isinstance(t, str) for t in value.values()):
        return value
    return None


def _plain_text(content: str) -> str:
    text = decode_text(content)
    if text is not content:
        return text
    fenced = content.rsplit("```", 2)
    return fenced[1] if len(fenced) == 3 else _BRACKETS.sub("", content)


def _joined_content(value: Any) -> str:
    if isinstance(value, list):  # content in parts
        return "".join(str(part.get("text", "")) for part in value if isinstance(part, dict))
    return value if isinstance(value, str) else ""


def _schema(body: dict[str, Any]) -> dict[str, Any]:
    response_format = body.get("response_format")
    if isinstance(response_format, dict) and response_format.get("type") == "json_schema":
        schema = response_format.get("json_schema", {}).get("schema")
        return schema if isinstance(schema, dict) else {}
    return {}


def _listed_labels(system: str) -> list[tuple[str, str]]:
    pairs = []
    for line in system.splitlines():
        if line.startswith("- "):
            key, equals, rest = line[2:].partition(" = ")
            name = _label_name(rest if equals else line[2:])
            pairs.append((key if equals else name, name))
    return pairs


def _label_name(rest: str) -> str:
    if rest.startswith('"'):
        try:
            return str(json.JSONDecoder().raw_decode(rest)[0])
        except ValueError:
            return rest
    return rest.partition(": ")[0].strip()


def _from_schema(schema: dict[str, Any]) -> list[tuple[str, str]]:
    labels = _enum(schema) or list(schema.get("properties", {}))
    return [(label, label) for label in labels]


def _enum(schema: Any) -> list[str]:
    """Return the first list of allowed strings anywhere in a schema."""
    if isinstance(schema, dict):
        if isinstance(schema.get("enum"), list):
            return [str(value) for value in schema["enum"]]
        schema = list(schema.values())
    if isinstance(schema, list):
        for value in schema:
            if found := _enum(value):
                return found
    return []


def _bracketed(messages: list[tuple[Any, str]]) -> list[tuple[str, str]]:
    for _, content in messages:
        if match := _BRACKETS.search(content):
            names = re.findall(r"(['\"])([^'\"\[\]]+)\1", match[0])
            return [(name, name) for _, name in names]
    return []


def _form(schema: dict[str, Any], system: str) -> tuple[str, str | None]:
    properties = schema.get("properties", {})
    if properties:
        if _enum(schema):
            field, value = next((k, v) for k, v in properties.items() if _enum(v))
            return ("set" if value.get("type") == "array" else "label"), field
        return "scores", None
    if "JSON object" in system:
        return "scores", None
    if "JSON list" in system:
        return "set", None
    if "yes or no" in system:
        return "yes_no", None
    return "label", None


def scores(question: Question) -> list[float]:
    """Return one probability per label."""
    found = _found(question.text, question.names)
    count = len(question.names)
    if question.multilabel:
        return [HIGH if index in found else LOW_MULTI for index in range(count)]
    if not count:
        return []
    first = found[0] if found else int(text_digest(question.text)[:8], 16) % count
    rest = (1 - HIGH) / max(count - 1, 1)
    return [HIGH if index == first else rest for index in range(count)]


def answer(question: Question) -> str:
    """Return the content of the message that answers a question."""
    if question.pack is not None:
        form = "set" if question.multilabel else "label"
        one = {
            name: answer(replace(question, text=text, pack=None, form=form))
            for name, text in question.pack.items()
        }
        said = {name: json.loads(a) for name, a in one.items()} if form == "set" else one
        return json.dumps(said, ensure_ascii=False)
    values = scores(question)
    chosen = [key for key, value in zip(question.keys, values, strict=True) if value >= 0.5]
    if question.form == "yes_no":
        return "yes" if question.asked in chosen else "no"
    if question.form == "scores":
        pairs = zip(question.keys, values, strict=True)
        return json.dumps({key: round(value, 6) for key, value in pairs}, ensure_ascii=False)
    if question.form == "set":
        return json.dumps({question.field: chosen} if question.field else chosen)
    label = chosen[0] if chosen else "ok"
    return json.dumps({question.field: label}) if question.field else label


def completion(body: dict[str, Any], *, number: int) -> dict[str, Any]:
    """Return the chat completion that answers a request."""
    question = read_question(body)
    content = answer(question)
    pieces = _PIECE.findall(content) or [content]
    limit = body.get("max_completion_tokens") or body.get("max_tokens") or len(pieces)
    kept, reason = pieces[:limit], "stop" if len(pieces) <= limit else "length"
    choice: dict[str, Any] = {
        "message": {"role": "assistant", "content": "".join(kept), "refusal": None},
        "finish_reason": reason,
        "logprobs": None,
    }
    if body.get("logprobs"):
        choice["logprobs"] = {"content": _token_logprobs(question, kept, body)}
    count = int(body.get("n") or 1)
    prompt = sum(count_tokens(_joined_content(m.get("content"))) for m in body.get("messages", []))
    return {
        "id": f"chatcmpl-{number}",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": body.get("model"),
        "choices": [{"index": index, **choice} for index in range(count)],
        "usage": {
            "prompt_tokens": prompt,
            "completion_tokens": count * len(kept),
            "total_tokens": prompt + count * len(kept),
        },
    }


def count_tokens(content: str) -> int:
    """Return the length of a message in the tokens of this endpoint: four characters each."""
    return math.ceil(len(content) / 4) + 3


def _token_logprobs(
    question: Question, kept: list[str], body: dict[str, Any]
) -> list[dict[str, Any]]:
    """Log-probabilities of the answer; the first token spreads over all labels."""
    size = int(body.get("top_logprobs") or 0)
    tokens = [_entry(piece, 0.0, [(piece, 0.0)][:size]) for piece in kept]
    if question.form in ("label", "yes_no") and not question.field and tokens:
        shares: dict[str, float] = {}
        for key, value in _first_tokens(question):
            first = _PIECE.findall(key)[0]
            shares[first] = shares.get(first, 0.0) + 0.98 * value
        # A real model always leaves something to tokens that mean nothing here.
        top = sorted({**shares, " the": 0.02}.items(), key=lambda pair: -pair[1])
        logs = [(token, math.log(max(share, 1e-9))) for token, share in top]
        tokens[0] = _entry(kept[0], dict(logs).get(kept[0], -20.0), logs[:size])
    return tokens


def _first_tokens(question: Question) -> list[tuple[str, float]]:
    values = scores(question)
    if question.form == "yes_no":
        yes = dict(zip(question.keys, values, strict=True)).get(question.asked or "", LOW_MULTI)
        return [("yes", yes), ("no", 1 - yes)]
    total = sum(values) or 1.0
    return [(key, value / total) for key, value in zip(question.keys, values, strict=True)]


def _entry(token: str, logprob: float, top: list[tuple[str, float]]) -> dict[str, Any]:
    listed = [{"token": t, "logprob": p, "bytes": list(t.encode())} for t, p in top]
    return {
        "token": token,
        "logprob": logprob,
        "bytes": list(token.encode()),
        "top_logprobs": listed,
    }
