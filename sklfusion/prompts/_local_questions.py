"""Typed questions as a model in this process is asked them: in words, behind the text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sklfusion.prompts._render import Messages, Task, label_lines, quote
from sklfusion.prompts._templates import PromptTemplate


def in_words(question: Mapping[str, Any], template: PromptTemplate) -> dict[str, Any]:
    """Return a question with its wording: all that the model reads is in the stored request.

    Parameters
    ----------
    question : mapping
        Of type "choice", "score" or "predicate".
    template : PromptTemplate
        The wording.

    Returns
    -------
    dict
        The question, and ``asked`` (what follows the text), ``opening`` (how the answer begins)
        and ``words`` (how it may go on, one for each option).

    Examples
    --------
    >>> from sklfusion.prompts import DEFAULT_TEMPLATE
    >>> question = {"type": "predicate", "instructions": "Is it spam?"}
    >>> in_words(question, DEFAULT_TEMPLATE)["words"]
    ['yes', 'no']
    """
    told = question["instructions"]
    if question["type"] == "predicate":
        asked = f"{told}\n{template.answer_question_yes_no}"
        return {
            **question,
            "asked": asked,
            "opening": template.prefill_yes_no,
            "words": ["yes", "no"],
        }
    task = _options(question)
    asked = "\n".join([told, template.labels, label_lines(task), template.answer_label])
    return {**question, "asked": asked, "opening": template.prefill, "words": [*task.keys]}


def _options(question: Mapping[str, Any]) -> Task:
    """Return the options of a choice, or the levels of a score, as labels."""
    scored = question["type"] == "score"
    options = question["levels" if scored else "choices"]
    names = tuple(option["label" if scored else "value"] for option in options)
    return Task(names, tuple(option.get("description") for option in options))


def text_messages(text: str, template: PromptTemplate) -> Messages:
    """Return the messages that all questions about a text share."""
    return ("system", template.data_note_question), ("user", quote(text))


def question_messages(shared: Messages, question: Mapping[str, Any]) -> Messages:
    """Return the messages of one question.

    Parameters
    ----------
    shared : messages
        See :func:`text_messages`.
    question : mapping
        See :func:`in_words`.
    """
    *before, (role, text) = shared
    asked = (role, f"{text}\n\n{question['asked']}")
    return *before, asked, ("assistant", question["opening"])
