"""Prompts as pure functions: labels, examples and a text in, messages out; answers in, scores out.

Nothing here talks to a model. ``_templates`` holds the words, ``_render`` puts them together,
``_parse``, ``_scores`` and ``_label_lists`` read answers; ``_tokens`` reads the log-probabilities
of a written answer, ``_first_tokens`` those of a first step; ``_decisions`` words and reads typed
questions; ``_labels`` says for both which label
a beginning can still become. ``_questions`` words what the alignment methods ask.
"""

from sklfusion.prompts._packs import pack_ids, parse_pack, render_pack
from sklfusion.prompts._parse import (
    PARSER_VERSION,
    ReplyError,
    check_finish,
    parse_label,
    parse_label_set,
)
from sklfusion.prompts._render import Task, render, schema
from sklfusion.prompts._scores import parse_scores
from sklfusion.prompts._templates import DEFAULT_TEMPLATE, PromptTemplate
from sklfusion.prompts._tokens import label_logprobs, step_probabilities, yes_no_logits

__all__ = [
    "DEFAULT_TEMPLATE",
    "PARSER_VERSION",
    "PromptTemplate",
    "ReplyError",
    "Task",
    "check_finish",
    "label_logprobs",
    "pack_ids",
    "parse_label",
    "parse_label_set",
    "parse_pack",
    "parse_scores",
    "render",
    "render_pack",
    "schema",
    "step_probabilities",
    "yes_no_logits",
]
