"""What is answer in a reply: thinking, end marks, fences and markup around it are set aside."""

from __future__ import annotations

import re

_THOUGHT_TAGS = r"(?:think|thinking|thoughts?|reasoning|reflection|scratchpad|seed:think)"
_OPENS = re.compile(
    rf"<{_THOUGHT_TAGS}>|\[THINK\]|\u25c1think\u25b7|<\|begin_of_thought\|>|<\|channel>thought"
    r"|<\|channel\|>(?:analysis|commentary)",
    re.IGNORECASE,
)
_CLOSES = re.compile(
    rf"</{_THOUGHT_TAGS}>|\[/THINK\]|\u25c1/think\u25b7|<\|end_of_thought\|>|<channel\|>"
    r"|<\|channel\|>final(?:<\|message\|>)?",
    re.IGNORECASE,
)
# Marks with which vocabularies begin and end a turn, where a server lets them through.
_TURN = re.compile(
    r"<\|[\w -]{1,40}\|>|<\uff5c[^\uff5c<>]{1,40}\uff5c>|</?s>|<(?:eos|bos|pad)>|<turn\|>"
    r"|<(?:start|end)_of_turn>|\[/?INST\]|\[EOS\]",
    re.IGNORECASE,
)
_ROLE = re.compile(r"\s*(?:assistant|model)\s*(?:\n|:)", re.IGNORECASE)
_FENCE = re.compile(r"```[\w-]*\s*([^`]*?)\s*```")
_TAG = re.compile(
    r"<(label|answer|category|class|output|result|response|prediction)>([^<>]*)</\1>",
    re.IGNORECASE,
)
_BOXED = re.compile(r"\$?\\boxed\{(?:\\text\{)?([^{}]*)\}{1,2}\$?\.?")
_KIND = (
    r"(?:label|category|class|answer|classification|prediction|intent|topic|sentiment"
    r"|result|output|choice)"
)
_FIELD = re.compile(
    r"[\s*_#>]{0,6}(?:(?:the|my|final|predicted|correct|best|chosen|most|likely|assigned"
    rf"|overall)\s+){{0,4}}{_KIND}\s?(?:[*_\s]{{0,4}}[:=]|\s+is\b:?)[*_\s]{{0,6}}",
    re.IGNORECASE,
)


def thinking_end(text: str) -> int:
    """Return where the answer begins after the last closed thought, 0 if there is none."""
    return max((found.end() for found in _CLOSES.finditer(text)), default=0)


def without_thinking(text: str) -> str | None:
    """Return the answer without the thoughts before it, None if a thought is not closed.

    Examples
    --------
    >>> without_thinking("<think>money, so spam</think>\\n\\nspam")
    '\\n\\nspam'
    >>> without_thinking("<think>money, so") is None
    True
    """
    end = thinking_end(text)
    answer = text[end:]
    if _OPENS.search(answer):
        return None
    if end and not answer.strip():
        opened = _OPENS.search(text)
        return text[: opened.start()] if opened else answer
    return answer


def without_marks(text: str) -> str:
    """Return what stands before the first mark of a turn's end, without marks before it.

    Examples
    --------
    >>> without_marks("<s> spam</s>")
    ' spam'
    """
    if "<" not in text and "[" not in text:
        return text
    while (found := _TURN.match(text.lstrip())) is not None:
        text = text.lstrip()[found.end() :]
        role = _ROLE.match(text)
        text = text[role.end() :] if role else text
    found = _TURN.search(text)
    return text[: found.start()] if found else text


def unwrapped(text: str) -> str:
    """Return what stands in a fence, a tag or a box that is all of the answer."""
    text = text.strip()
    for pattern, group in ((_FENCE, 1), (_TAG, 2), (_BOXED, 1)):
        found = pattern.fullmatch(text)
        if found:
            return found.group(group).strip()
    return text


def after_field(text: str) -> str:
    """Return the text without a field before it ("Label:", "The final answer is").

    Examples
    --------
    >>> after_field("**Label:** spam")
    'spam'
    """
    found = _FIELD.match(text)
    return text[found.end() :] if found else text


def is_field(text: str) -> bool:
    """Tell whether the key of an object names its answer.

    Examples
    --------
    >>> is_field("label"), is_field("reason")
    (True, False)
    """
    return re.fullmatch(rf"(?:\w{{1,12}}[ _-])?{_KIND}s?", text.strip(), re.IGNORECASE) is not None
