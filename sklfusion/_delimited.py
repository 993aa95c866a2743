"""Rows as CSV or TSV: no value is altered, and formulas are guarded where that is asked for."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable
from typing import Any, TextIO

#: Between several labels in a cell, unless told otherwise.
SEPARATOR = "|"
# What spreadsheets take for the start of a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def write_rows(
    rows: Iterable[Iterable[Any]], text: TextIO, delimiter: str = ",", *, excel_safe: bool = False
) -> None:
    """Write rows to an open file; ``excel_safe`` puts an apostrophe before formulas."""
    plain = csv.writer(text, delimiter=delimiter, lineterminator="\n")
    # Python 3.11 leaves a carriage return unquoted, which readers take for the end of the row.
    quoted = csv.writer(text, delimiter=delimiter, lineterminator="\n", quoting=csv.QUOTE_ALL)
    for row in rows:
        cells = [_cell(value) for value in row]
        if excel_safe:
            cells = ["'" + cell if cell.startswith(_FORMULA) else cell for cell in cells]
        (quoted if any("\r" in cell for cell in cells) else plain).writerow(cells)


def is_nothing(value: Any) -> bool:
    """Tell whether a cell stays empty: None and NaN."""
    return bool(value is None or value != value)


def _cell(value):
    """Return a value as the text of a cell."""
    if isinstance(value, str):
        return value
    if is_nothing(value):
        return ""
    if isinstance(value, list) and all(isinstance(v, str) and SEPARATOR not in v for v in value):
        return SEPARATOR.join(value)
    if isinstance(value, bool | list | dict):
        return json.dumps(value, ensure_ascii=False, default=str)
    return str(value)
