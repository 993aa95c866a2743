"""Texts and labels of others on a page of ours: escaped, shortened, nothing that acts."""

import html
import unicodedata

#: Characters of a text, and of a label, that a page shows.
TEXT_SHOWN, LABEL_SHOWN = 320, 40
#: Controls of writing direction, which can turn what stands beside a text around.
_TURNING = {*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x200E, 0x200F}
#: Characters looked at beyond those shown: white space falls together.
_SLACK = 4


def printable(said, most):
    """Return a text as one line of at most ``most`` characters without control characters.

    Examples
    --------
    >>> printable("one\\n\\ttwo\\x00", 20), printable("a" * 30, 8)
    ('one two\ufffd', 'aaaaaaa\u2026')
    """
    part = " ".join(str(said)[: most * _SLACK].split())
    part = "".join("\ufffd" if _acts(sign) else sign for sign in part)
    cut = len(part) > most or len(str(said)) > most * _SLACK
    return part[: most - 1] + "\u2026" if cut else part


def _acts(sign):
    return ord(sign) in _TURNING or unicodedata.category(sign) in ("Cc", "Cs", "Cn")


def escape(said):
    """Return what is safe in HTML, in text and in attributes alike."""
    return html.escape("".join("\ufffd" if _acts(sign) else sign for sign in str(said)))


def label(said):
    """Return a label for the page, escaped and shortened."""
    return f"<bdi>{escape(printable(said, LABEL_SHOWN) or '(empty)')}</bdi>"


def text(said):
    """Return a text for the page, escaped and shortened."""
    return f"<bdi>{escape(printable(said, TEXT_SHOWN) or '(empty)')}</bdi>"
