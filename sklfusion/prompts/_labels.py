"""Which labels the beginning of an answer can still become, compared byte by byte."""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Iterator, Sequence

from sklfusion._validation import normalize_label

#: What may stand before a label without being part of it.
DECORATION = " \t\n\r\"'`*[{(:#\u2018\u2019\u201c\u201d"
# Beginnings that are remembered; a run of a hundred thousand texts sees a few thousand.
_MAX_SEEN = 65536
# A character has four bytes at most, so three may be missing.
_MAX_HALF = 3


class LabelIndex:
    """Finds the labels that an answer can still become.

    Parameters
    ----------
    keys : sequence of str
        What the labels are called in the answer.
    """

    def __init__(self, keys: Sequence[str]) -> None:
        self.keys = tuple(keys)
        # Keys that differ in nothing but case ("a", "A") are told apart by it, others are not.
        self.exact = len({normalize_label(key) for key in keys}) < len(keys)
        self._names = [
            _fold(key if self.exact else normalize_label(key), self.exact) for key in keys
        ]
        self._bytes = [
            (name.encode(), key.encode("utf-8", "replace"))
            for name, key in zip(self._names, keys, strict=True)
        ]
        self._seen: dict[bytes, tuple[int, ...]] = {}

    def __len__(self) -> int:
        return len(self.keys)

    def possible(self, said: bytes) -> tuple[int, ...]:
        """Return the positions of the labels that an answer beginning with ``said`` may give.

        All of them while nothing but decoration was said; a label that ``said`` has left behind
        counts only where what follows it is no part of a word and of no longer label.
        """
        if said not in self._seen:
            if len(self._seen) > _MAX_SEEN:
                self._seen.clear()
            self._seen[said] = tuple(self._find(said))
        return self._seen[said]

    def undecided(self, said: bytes) -> bool:
        """Tell whether ``said`` leaves all labels open because it is nothing but decoration."""
        text, half = split_half(said)
        bare = not half and not text.strip(DECORATION)
        return bare and len(self.possible(said)) == len(self)

    def finished(self, said: bytes) -> int | None:
        """Return the position of the label that ``said`` is, if it is one."""
        text, half = split_half(said)
        names = () if half else self._forms(text)
        return next((k for k, name in enumerate(self._names) if name in names), None)

    def _forms(self, text: str) -> tuple[str, str]:
        folded = _fold(text, self.exact)
        return folded.lstrip(), folded.lstrip(DECORATION)

    def _find(self, said: bytes) -> list[int]:
        text, half = split_half(said)
        plain, bare = self._forms(text)
        if half:
            return list(self._half(text, bare, half))
        if not bare and not plain.strip(DECORATION):
            begun = [k for k, name in enumerate(self._names) if plain and name.startswith(plain)]
            return begun or list(range(len(self)))
        begun = [k for k, n in enumerate(self._names) if n.startswith((plain, bare))]
        if begun:
            return begun
        ended = [(len(n), k) for k, n in enumerate(self._names) if _left(n, plain, bare)]
        return [max(ended)[1]] if ended else []

    def _half(self, text: str, bare: str, half: bytes) -> Iterator[int]:
        """Find the labels that go on with a character of which some bytes are there."""
        begun = (bare.encode() + half, text.lstrip(DECORATION).encode() + half)
        for k, spellings in enumerate(self._bytes):
            if any(spelling.startswith(begun) for spelling in spellings):
                yield k


def split_half(said: bytes) -> tuple[str, bytes]:
    """Return the whole characters of ``said`` and the bytes of the one that is not complete."""
    for cut in range(_MAX_HALF + 1):
        try:
            whole = said[: len(said) - cut].decode()
        except UnicodeDecodeError:
            continue
        return whole, said[len(said) - cut :]
    return said.decode("utf-8", "replace"), b""


def _left(name: str, *forms: str) -> bool:
    """Tell whether a form begins with a whole name and goes on with something else."""
    for form in forms:
        rest = form[len(name) :]
        if rest and form.startswith(name):
            first = rest[0]
            return not (first.isalnum() or first == "_" or unicodedata.combining(first))
    return False


def _fold(text: str, exact: bool) -> str:
    """Fold as :func:`normalize_label` does, but so that a beginning stays a beginning."""
    if not text.isascii():
        text = unicodedata.normalize("NFKD", text)
    if not exact:
        text = text.casefold()
    # A line end closes an answer, so it is not made a space.
    return text.replace("\r", "\n").replace("\t", " ")


@functools.lru_cache(maxsize=64)
def label_index(keys: tuple[str, ...]) -> LabelIndex:
    """Return the index of a tuple of labels, shared so that each beginning is looked up once."""
    return LabelIndex(keys)
