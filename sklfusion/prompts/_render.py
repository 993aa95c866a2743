"""From a labelling task and a text to messages and a schema."""

from __future__ import annotations

import functools
import json
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from json.encoder import encode_basestring
from typing import Any

from sklfusion.prompts._templates import DEFAULT_TEMPLATE, PromptTemplate

Messages = tuple[tuple[str, str], ...]

#: Letter and digit make 260 ids of two characters, of which no two begin alike.
MAX_IDS = 255
_MAX_WORD = 40
_MAX_DESCRIPTION = 2000
ANSWERS = ("label", "set", "scores", "yes_no")


@dataclass(frozen=True)
class Task:
    """What is asked about every text.

    Parameters
    ----------
    labels : tuple of str
        Names of the classes, in the order of the score columns.
    descriptions : tuple of (str or None)
        What each class means.
    instructions : str or None
        Anything the model should know about the task.
    multilabel : bool
        Whether several labels can fit.
    label_form : {"auto", "words", "ids"}
        Whether the model answers with the names or with short opaque ids. ``"auto"`` takes names
        unless one of them is long or holds line breaks, quotes or brackets.
    order : tuple of int or None
        Order in which the labels are shown.
    ordered : bool
        Whether the labels are levels, from the lowest to the highest.

    Raises
    ------
    ValueError
        If there are more than 255 labels to be answered by id.
    """

    labels: tuple[str, ...]
    descriptions: tuple[str | None, ...] = ()
    instructions: str | None = None
    multilabel: bool = False
    label_form: str = "auto"
    order: tuple[int, ...] | None = None
    ordered: bool = False

    def __post_init__(self) -> None:
        _ = self.keys  # refuses too many ids before anything is asked

    @property
    def keys(self) -> tuple[str, ...]:
        """What the model answers with, one per label."""
        return _keys(self.labels, self.label_form)

    @property
    def names(self) -> tuple[str, ...]:
        """What else a model may answer with: the names beside the ids, if it was shown ids."""
        return () if self.keys == self.labels else self.labels

    @property
    def shown(self) -> tuple[int, ...]:
        """Indices of the labels in the order shown."""
        return self.order if self.order is not None else tuple(range(len(self.labels)))


@functools.lru_cache(maxsize=256)
def _keys(labels: tuple[str, ...], label_form: str) -> tuple[str, ...]:
    use_ids = label_form == "ids" or (label_form == "auto" and not _can_be_answers(labels))
    if not use_ids:
        return labels
    return _ids(len(labels))


def _ids(k: int) -> tuple[str, ...]:
    """Return ``k`` ids that differ in more than case.

    One letter each while there are enough, which every vocabulary has as a token; else a letter
    and a digit, so that any vocabulary tells them apart within two tokens.
    """
    letters = string.ascii_uppercase
    if k <= len(letters):
        return tuple(letters[:k])
    if k > MAX_IDS:
        raise ValueError(
            f"Got {k} classes to be answered by id; there are ids for up to {MAX_IDS}. Use "
            "label_form='words' with short plain names (up to 40 characters, no quotes, brackets, "
            "colons or line breaks), or label in two stages: groups of classes first, then the "
            "classes of a group."
        )
    return tuple(f"{letters[n // 10]}{n % 10}" for n in range(k))


def _can_be_answers(labels: Sequence[str]) -> bool:
    """Tell whether names cannot break the prompt. That they begin alike does no harm."""
    return all(is_plain(label) for label in labels)


def is_plain(label: str) -> bool:
    """Tell whether a name is short and holds nothing that could be read as something else."""
    return (
        0 < len(label) <= _MAX_WORD
        and label.isprintable()
        and label == label.strip()
        and not set(label) & set('"\\{}[]<>|:\n')
    )


def label_lines(task: Task) -> str:
    """Return the list of labels, one per line, in the order shown."""
    lines = []
    keys = task.keys
    for index in task.shown:
        label, key = task.labels[index], keys[index]
        # A name that is not plain is shown as a JSON string: it stays on its line.
        name = label if is_plain(label) else json.dumps(label[:_MAX_DESCRIPTION])
        line = f"- {name}" if key == label else f"- {key} = {name}"
        description = task.descriptions[index] if task.descriptions else None
        if description:
            line += ": " + " ".join(description[:_MAX_DESCRIPTION].split())
        lines.append(line)
    return "\n".join(lines)


def render(
    task: Task,
    text: str,
    *,
    answer: str = "label",
    examples: Sequence[tuple[str, Any]] = (),
    label: int | None = None,
    prefill: bool = False,
    template: PromptTemplate = DEFAULT_TEMPLATE,
) -> Messages:
    """Return the messages that ask ``task`` about ``text``.

    Instructions and labels come first, then the examples, the text last, so that everything that
    requests share is at the beginning and providers and local models can reuse its state. The
    text is one JSON string in a message of its own; whatever it holds stays data.

    Parameters
    ----------
    task : Task
        The labels and instructions.
    text : str
        The text, already checked and truncated.
    answer : {"label", "set", "scores", "yes_no"}
        Form of the answer.
    examples : sequence of (text, label index or collection of label indices)
        Shown before the text in the same form.
    label : int, optional
        Index of the label that a ``"yes_no"`` question is about.
    prefill : bool
        Whether to begin the answer, for models in this process.
    template : PromptTemplate
        The wording.

    Returns
    -------
    tuple of (role, content)

    Examples
    --------
    >>> from sklfusion.prompts import Task, render
    >>> render(Task(("ham", "spam")), 'say "hi"')[-1]
    ('user', '"say \\\\"hi\\\\""')
    """
    messages = [("system", _system(task, answer, label, template))]
    opening = template.prefill_yes_no if answer == "yes_no" else template.prefill
    for example, target in examples:
        said = example_answer(task, target, answer=answer, label=label)
        messages.append(("user", quote(example)))
        messages.append(("assistant", f"{opening} {said}" if prefill else said))
    messages.append(("user", quote(text)))
    if prefill:
        messages.append(("assistant", opening))
    return tuple(messages)


@functools.lru_cache(maxsize=1024)
def _system(task: Task, answer: str, label: int | None, template: PromptTemplate) -> str:
    # The same for every text of a run, which may have a hundred thousand.
    role = template.role_multi if task.multilabel else template.role_single
    parts = [role]
    if task.instructions:
        parts.append(task.instructions.strip())
    parts += [template.labels, label_lines(task), template.data_note]
    parts.append(_answer_part(task, answer, label, template))
    return "\n".join(parts)


def quote(text: str) -> str:
    """Return a text as a JSON string, readable in any script."""
    return encode_basestring(text)


def _answer_part(task: Task, answer: str, label: int | None, template: PromptTemplate) -> str:
    if answer == "label":
        return template.answer_label
    if answer == "set":
        return template.answer_set
    if answer == "scores":
        return template.answer_scores_multi if task.multilabel else template.answer_scores
    if answer == "yes_no" and label is not None:
        return template.answer_yes_no.replace("{label}", task.keys[label])
    raise ValueError(f"answer={answer!r}; use one of {ANSWERS} ('yes_no' with label=).")


def example_answer(task: Task, target: Any, *, answer: str, label: int | None = None) -> str:
    """Return the answer that an example shows."""
    keys = task.keys
    chosen = {target} if isinstance(target, int) else set(target)
    if answer == "yes_no":
        return "yes" if label in chosen else "no"
    if answer == "set":
        return json.dumps([keys[i] for i in sorted(chosen)], ensure_ascii=False)
    if answer == "label":
        return keys[min(chosen)] if chosen else "none"
    # Not 0 and 1: examples without any doubt teach the model to have none.
    high = 0.95
    low = 0.05 if task.multilabel else (1 - high) / max(len(keys) - 1, 1)
    scores = {key: high if i in chosen else round(low, 4) for i, key in enumerate(keys)}
    return json.dumps(scores, ensure_ascii=False)


def schema(task: Task, *, answer: str) -> Mapping[str, Any]:
    """Return the ``response_format`` that holds an answer to its form.

    Parameters
    ----------
    task : Task
        The labels.
    answer : {"label", "set", "scores"}
        Form of the answer.

    Returns
    -------
    dict
        JSON schema in the envelope of the chat API, strict, nothing optional.
    """
    keys = list(task.keys)
    if answer == "scores":
        body: dict[str, Any] = {
            "type": "object",
            "properties": {key: {"type": "number"} for key in keys},
            "required": keys,
            "additionalProperties": False,
        }
    elif answer in ("label", "set"):
        one = {"type": "string", "enum": keys}
        field = (
            {"label": one} if answer == "label" else {"labels": {"type": "array", "items": one}}
        )
        body = {
            "type": "object",
            "properties": field,
            "required": list(field),
            "additionalProperties": False,
        }
    else:
        raise ValueError(f"answer={answer!r} has no schema; use 'label', 'set' or 'scores'.")
    return {
        "type": "json_schema",
        "json_schema": {"name": "answer", "strict": True, "schema": body},
    }
