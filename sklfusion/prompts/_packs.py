"""Several texts in one request: cheaper, and open to each other, so only by choice.

Every text has an id made from its own digest, which the author of another text cannot foresee.
Answers are taken by id; what is missing, doubled or no label is left out and asked for alone.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from sklfusion.prompts._parse import ReplyError
from sklfusion.prompts._read_label import Names, names_of
from sklfusion.prompts._render import Messages, Task, label_lines
from sklfusion.prompts._templates import DEFAULT_TEMPLATE, PromptTemplate

_ID_LENGTH = 8


def pack_ids(texts: Sequence[str]) -> list[str]:
    """Return one id per text, distinct within the pack.

    Examples
    --------
    >>> len(set(pack_ids(["a", "b"])))
    2
    """
    digests = [hashlib.sha256(text.encode("utf-8", "replace")).hexdigest() for text in texts]
    length = _ID_LENGTH
    while len({digest[:length] for digest in digests}) < len(set(digests)):
        length += 1
    return [digest[:length] for digest in digests]


def render_pack(
    task: Task, texts: Mapping[str, str], *, template: PromptTemplate = DEFAULT_TEMPLATE
) -> Messages:
    """Return the messages that ask about several texts by id.

    Parameters
    ----------
    task : Task
        The labels.
    texts : mapping
        Id to text.
    template : PromptTemplate
        The wording.
    """
    role = template.role_multi if task.multilabel else template.role_single
    parts = [role]
    if task.instructions:
        parts.append(task.instructions.strip())
    answer = template.answer_pack_multi if task.multilabel else template.answer_pack
    parts += [template.labels, label_lines(task), template.data_note_pack, answer]
    return (("system", "\n".join(parts)), ("user", json.dumps(dict(texts), ensure_ascii=False)))


def parse_pack(
    content: str,
    ids: Sequence[str],
    keys: Sequence[str],
    *,
    multilabel: bool = False,
    names: Sequence[str] = (),
) -> dict[str, Any]:
    """Return the label position (multi-label: set of positions) of every id that has a good one.

    Raises
    ------
    ReplyError
        If there is no JSON object or no id in it has a good answer.

    Examples
    --------
    >>> parse_pack('{"id1": "b", "id2": "c", "id9": "a"}', ["id1", "id2"], ["a", "b"])
    {'id1': 1}
    """
    start = content.find("{")
    if start < 0:
        raise ReplyError("bad_json")
    try:
        pairs, _ = _PAIR_DECODER.raw_decode(content, start)
    except (ValueError, RecursionError):
        raise ReplyError("bad_json") from None
    known = names_of(tuple(keys), tuple(names))
    said: dict[str, list[Any]] = {}
    for key, value in pairs:
        said.setdefault(key, []).append(value)
    found = {}
    for one in ids:
        values = said.get(one, [])
        position = _read_answer(values[0], known, multilabel) if len(values) == 1 else None
        if position is not None:
            found[one] = position
    if not found:
        raise ReplyError("missing_label")
    return found


def _read_answer(value: Any, known: Names, multilabel: bool) -> Any:
    """Return the position(s) that a value names, None if it names anything else."""
    if not multilabel:
        return known.value(value)
    if not isinstance(value, list):
        return None
    positions = [known.value(name) for name in value]
    return None if None in positions else frozenset(positions)


# Objects become lists of pairs, so that a doubled id shows.
_PAIR_DECODER = json.JSONDecoder(object_pairs_hook=list, parse_int=float)
