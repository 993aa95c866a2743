"""Long values of a damaged file, found page by page without its tree.

SQLite keeps what does not fit into a page in a chain of further pages. Such a row is not one run
of bytes, so it is put together here; the caller searches and checks it like any other bytes.
Only what the format's documentation says of leaves of tables is needed.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator

_LEAF = 0x0D  # first byte of a page that holds rows of a table
_DEFAULT_PAGE = 4096  # of the files that this package creates
_PAGES = {1 << n for n in range(9, 17)}  # sizes that SQLite allows, 512 to 65,536 bytes
_HEADER = 100  # bytes before the first page's own header


def long_payloads(data: bytes | mmap.mmap, most: int) -> Iterator[bytes]:
    """Yield the payload of every row that continues on other pages.

    Parameters
    ----------
    data : bytes or mmap
        The file.
    most : int
        Longest payload that is wanted, in bytes; a damaged length may be anything.
    """
    told = int.from_bytes(data[16:18], "big")
    told = 65536 if told == 1 else told
    for size in dict.fromkeys((told if told in _PAGES else _DEFAULT_PAGE, _DEFAULT_PAGE)):
        for start in range(0, len(data) - size + 1, size):
            head = start + (_HEADER if start == 0 else 0)
            if data[head] == _LEAF:
                yield from _of_page(data, start, head, size, most)


def _of_page(
    data: bytes | mmap.mmap, start: int, head: int, size: int, most: int
) -> Iterator[bytes]:
    cells = int.from_bytes(data[head + 3 : head + 5], "big")
    for place in range(head + 8, min(head + 8 + 2 * cells, start + size - 1), 2):
        cell = start + int.from_bytes(data[place : place + 2], "big")
        length, at = _varint(data, cell)
        _, at = _varint(data, at)  # the row's number
        if size - 35 < length <= most:
            yield _joined(data, at, length, size)


def _varint(data: bytes | mmap.mmap, at: int) -> tuple[int, int]:
    """Return a number of one to nine bytes and the place behind it."""
    value = 0
    for n, byte in enumerate(data[at : at + 9]):
        if n == 8:
            return (value << 8) | byte, at + 9
        value = (value << 7) | (byte & 0x7F)
        if byte < 0x80:
            return value, at + n + 1
    return 0, at


def _joined(data: bytes | mmap.mmap, at: int, length: int, size: int) -> bytes:
    """Follow the chain from the part of a payload that is in the leaf."""
    least = (size - 12) * 32 // 255 - 23
    local = least + (length - least) % (size - 4)
    local = local if local <= size - 35 else least
    parts = [data[at : at + local]]
    page = int.from_bytes(data[at + local : at + local + 4], "big")
    for _ in range((length - local) // (size - 4) + 1):
        start = (page - 1) * size
        if page < 1 or start + size > len(data):
            break
        parts.append(data[start + 4 : start + size])
        page = int.from_bytes(data[start : start + 4], "big")
    return b"".join(parts)[:length]
