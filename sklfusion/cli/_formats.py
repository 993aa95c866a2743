"""CSV, TSV, JSON lines and Parquet, and .gz of each, without altering a value.

What stands in a CSV file is text: "01", "None" and "1e5" stay as they are written, and an empty
cell is the empty text. JSON lines and Parquet have types, which stay too.
"""

import contextlib
import csv
import gzip
import io
import json
import os
import zlib
from difflib import get_close_matches

from sklfusion._delimited import is_nothing, write_rows
from sklfusion._optional import import_optional
from sklfusion.exceptions import SklFusionError

KINDS = (".csv", ".tsv", ".jsonl", ".parquet")
_DELIMITERS = {".csv": ",", ".tsv": "\t"}
# A text may be as long as a book; the csv module stops at 131,072 characters by itself.
_LONGEST_CELL = 2**31 - 1


def split_list(said):
    """Return the parts of an option between its commas; quotes hold one with a comma together.

    Examples
    --------
    >>> split_list('bug, "praise, thanks"')
    ['bug', 'praise, thanks']
    """
    parts = next(csv.reader([said], skipinitialspace=True), [])
    return [part.strip() for part in parts if part.strip()]


def kind_of(path):
    """Return the kind of a table, and whether it is gzipped, by its ending."""
    endings = [ending.lower() for ending in path.suffixes]
    packed = endings[-1:] == [".gz"]
    kind = "".join(endings[-2:-1] if packed else endings[-1:])
    if kind in KINDS:
        return kind, packed
    near = get_close_matches(kind, KINDS, n=1, cutoff=0.5)
    hint = f" Did you mean {near[0]}?" if near else ""
    raise SklFusionError(f"{path} is not one of {', '.join(KINDS)}, or .gz of one.{hint}")


def read_frame(path):
    """Return a table as a DataFrame of Python values.

    Raises
    ------
    SklFusionError
        If it is no such table; the message names the line.
    """
    kind, packed = kind_of(path)
    pandas = import_optional("pandas", extra="cli", purpose="Reading tables")
    with told_of_damage(path), gzip.open(path) if packed else path.open("rb") as file:
        if kind == ".parquet":
            return _read_parquet(file, pandas)
        text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="")
        if kind == ".jsonl":
            columns = _read_json_lines(text)
        else:
            columns = _read_delimited(text, _DELIMITERS[kind])
    return pandas.DataFrame(columns, dtype=object)


@contextlib.contextmanager
def told_of_damage(path):
    """Say which file is damaged, and where."""
    try:
        yield
    except UnicodeDecodeError as error:
        raise SklFusionError(
            f"{path} is not UTF-8 (byte {error.start} of what was read); save it as UTF-8."
        ) from None
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise SklFusionError(f"{path} is no whole gzip file ({error}).") from None
    except (csv.Error, ValueError) as error:
        raise SklFusionError(f"{path}: {error}") from None


def _read_delimited(text, delimiter):
    csv.field_size_limit(_LONGEST_CELL)
    reader = csv.reader(text, delimiter=delimiter, strict=True)
    try:
        header = next(reader, [])
        if not header:
            raise ValueError("it is empty; the first line has to name the columns.")
        rows = [header]
        for row in reader:
            if row and len(row) != len(header):
                raise ValueError(
                    f"line {reader.line_num} has {len(row)} cells and the header {len(header)}; "
                    f"quote a cell that holds {delimiter!r}."
                )
            rows += [row] if row else []
    except csv.Error as error:
        raise ValueError(f"line {reader.line_num}: {error}.") from None
    twice = [name for name in header if header.count(name) > 1]
    if twice:
        raise ValueError(f"two columns are called {twice[0]!r}; rename one.")
    return {name: list(values) for name, *values in zip(*rows, strict=True)}


def _read_json_lines(text):
    rows = []
    for number, line in enumerate(text, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise ValueError(f"line {number} is not JSON ({error}).") from None
        if not isinstance(row, dict):
            raise ValueError(f"line {number} is no JSON object but {type(row).__name__}.")
        rows.append(row)
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}


def _read_parquet(file, pandas):
    parquet = import_optional("pyarrow.parquet", extra="cli", purpose="Reading Parquet")
    table = parquet.read_table(io.BytesIO(file.read()))
    columns = {name: table.column(name).to_pylist() for name in table.column_names}
    frame = pandas.DataFrame(columns, dtype=object)
    frame.attrs["types"] = dict(zip(table.schema.names, table.schema.types, strict=True))
    return frame


def write_frame(frame, path, *, excel_safe=False):
    """Write a table, whole or not at all; the kind is that of the ending.

    Parameters
    ----------
    frame : DataFrame
        The table.
    path : Path
        File to write.
    excel_safe : bool
        Whether to put an apostrophe before what a spreadsheet would take for a formula.
    """
    kind, packed = kind_of(path)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with gzip.open(part, "wb") if packed else part.open("wb") as file:
            if kind == ".parquet":
                _write_parquet(frame, file)
            else:
                text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
                if kind == ".jsonl":
                    text.writelines(_json_lines(frame))
                else:
                    write_delimited(frame, text, _DELIMITERS[kind], excel_safe=excel_safe)
                text.flush()
                text.detach()
        part.replace(path)
    except UnicodeEncodeError:
        raise SklFusionError(
            f"{path} cannot hold a text with half a UTF-16 pair; write .jsonl, which can."
        ) from None
    finally:
        part.unlink(missing_ok=True)


def write_delimited(frame, text, delimiter=",", *, excel_safe=False):
    """Write a table as CSV or TSV to an open file."""
    columns = [frame[name].tolist() for name in frame.columns]
    rows = (frame.columns, *zip(*columns, strict=True))
    write_rows(rows, text, delimiter, excel_safe=excel_safe)


def _json_lines(frame):
    columns = [frame[name].tolist() for name in frame.columns]
    for row in zip(*columns, strict=True):
        values = [None if is_nothing(value) else value for value in row]
        line = dict(zip(frame.columns, values, strict=True))
        yield json.dumps(line, ensure_ascii=not _is_utf8(values), default=str) + "\n"


def _is_utf8(values):
    """Tell whether no text holds a lone surrogate, which only an escape can write."""
    try:
        "".join(value for value in values if isinstance(value, str)).encode()
    except UnicodeEncodeError:
        return False
    return True


def _write_parquet(frame, file):
    arrow = import_optional("pyarrow", extra="cli", purpose="Writing Parquet")
    parquet = import_optional("pyarrow.parquet", extra="cli", purpose="Writing Parquet")
    types = frame.attrs.get("types", {})
    columns = {n: arrow.array(frame[n].tolist(), type=types.get(n)) for n in frame.columns}
    parquet.write_table(arrow.table(columns), file)
