"""Tables in and out, and the files that commands read and write."""

from typing import Any

import numpy as np

from sklfusion._class_labels import read_labels
from sklfusion._optional import import_optional
from sklfusion.exceptions import SklFusionError

_READERS = {".csv": "read_csv", ".parquet": "read_parquet", ".jsonl": "read_json"}
# "None", "NA" and "null" are texts and class names like others; an empty cell is missing.
_READER_OPTIONS: dict[str, dict[str, Any]] = {
    ".csv": {"keep_default_na": False, "na_values": [""]},
    ".jsonl": {"lines": True, "dtype": False},
}


def check_source(path, writer=None):
    """Raise if the file is not there; ``writer`` is the command that writes such files."""
    if not path.is_file():
        hint = f"; {writer} writes such a file" if writer else ""
        raise SklFusionError(f"{path} does not exist{hint}.")


def check_output(path):
    """Raise if no file can be written there, before anything is fitted or paid for."""
    if path.is_dir():
        raise SklFusionError(f"{path} is a folder; name a file in it.")
    if not path.parent.is_dir():
        raise SklFusionError(f"The folder {path.parent} does not exist; make it first.")


def class_names(column):
    """Return the sorted labels of a column of a table."""
    return np.unique(read_labels(column, caller="sklfusion estimate")).tolist()


def read_table(path, columns):
    """Read a table and check that the columns are there; returns a DataFrame."""
    pandas = import_optional("pandas", extra="cli", purpose="Reading tables")
    if path.suffix not in _READERS:
        raise SklFusionError(f"{path} is not one of {', '.join(_READERS)}; rename or convert it.")
    check_source(path)
    frame = getattr(pandas, _READERS[path.suffix])(path, **_READER_OPTIONS.get(path.suffix, {}))
    missing = [name for name in columns if name not in frame.columns]
    if missing:
        raise SklFusionError(
            f"{path} has no column {missing[0]!r}; it has {list(frame.columns)}. "
            "Name it with --text or --label."
        )
    return frame


def guard_formula(text):
    """Return a text that no spreadsheet takes for a formula."""
    return "'" + text if text[:1] in "=+-@" else text
