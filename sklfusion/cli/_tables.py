"""Tables and files as commands want them: checked before anything is fitted or paid for."""

import sys
from difflib import get_close_matches

from sklfusion.cli._formats import kind_of, read_frame, split_list, write_delimited, write_frame
from sklfusion.exceptions import SklFusionError

#: How a column of 0 and 1 may write them.
_YES_NO = {"1": 1, "0": 0, "true": 1, "false": 0, "1.0": 1, "0.0": 0}


def check_source(path, writer=None):
    """Raise if the file is not there; ``writer`` is the command that writes such files."""
    if path.is_file():
        return
    if path.is_dir():
        raise SklFusionError(f"{path} is a folder; name a file in it.")
    hint = f"; {writer} writes such a file" if writer else ""
    siblings = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
    near = get_close_matches(path.name, siblings, n=1, cutoff=0.8)
    meant = f" Did you mean {path.with_name(near[0])}?" if near else ""
    raise SklFusionError(f"{path} does not exist{hint}.{meant}")


def check_output(path, *sources):
    """Raise if no file can be written there, or if it is one that the command reads."""
    if path.is_dir():
        raise SklFusionError(f"{path} is a folder; name a file in it.")
    if not path.parent.is_dir():
        raise SklFusionError(f"The folder {path.parent} does not exist; make it first.")
    if path.exists() and any(path.samefile(source) for source in sources if source.exists()):
        raise SklFusionError(f"{path} is what is read; write another file.")


def check_table_output(path, *sources, excel_safe=False):
    """Raise if no table can be written there; called before anything is paid for."""
    if path is None:
        return
    kind, _ = kind_of(path)
    if excel_safe and kind not in (".csv", ".tsv"):
        raise SklFusionError(f"--excel-safe has no effect on {kind}, which holds no formulas.")
    check_output(path, *sources)


def check_new_columns(frame, names):
    """Raise if a column that is to be written is there already."""
    there = [name for name in names if name in frame.columns]
    if there:
        raise SklFusionError(
            f"The table has a column {there[0]!r} already, which would be written; rename it."
        )


def deliver(frame, output, screen, *, excel_safe=False):
    """Write a table to its file, or show it; return what the command has to tell."""
    if output is not None:
        write_frame(frame, output, excel_safe=excel_safe)
        return {"rows": len(frame), "written": output}
    if screen.json:
        return {"rows": len(frame), "table": frame.to_dict("records")}
    write_delimited(frame, sys.stdout, excel_safe=excel_safe)
    return None


def class_names(column):
    """Return the sorted labels of a column of a table."""
    import numpy as np

    from sklfusion._class_labels import read_labels

    return np.unique(read_labels(_with_gaps(column), caller="sklfusion")).tolist()


def read_table(path, columns):
    """Read a table and check that the columns are there.

    Parameters
    ----------
    path : Path
        CSV, TSV, JSONL or Parquet, also .gz.
    columns : sequence of str
        Those that are needed.

    Returns
    -------
    DataFrame of object
        Python values as they are in the file: CSV and TSV hold text only.
    """
    kind_of(path)  # an unknown ending is told before a missing file
    check_source(path)
    frame = read_frame(path)
    missing = [name for name in columns if name not in frame.columns]
    if missing:
        raise SklFusionError(f"{path} has no column {missing[0]!r}{_instead(frame, missing[0])}")
    return frame


def _instead(frame, name):
    """Say what a missing column could have been."""
    names = [str(column) for column in frame.columns]
    if len(names) == 1 and ";" in names[0]:
        return f"; its header, {names[0]!r}, seems to be separated by ';'. Use commas or tabs."
    near = get_close_matches(name, names, n=1)
    meant = f" Did you mean {near[0]!r}?" if near else ""
    return f"; it has {names}.{meant} Name it with --text or --label."


def read_target(frame, label, task):
    """Return y as estimators take it.

    Parameters
    ----------
    frame : DataFrame
        From :func:`read_table`.
    label : str
        Column of the labels; with ``--multilabel`` also columns of 0 and 1, by commas.
    task : TaskOptions
        Says whether there are several labels a row, and how the classes are called.

    Returns
    -------
    ndarray of shape (n,) or DataFrame of shape (n, K)
        Labels, or 0 and 1 per label with the labels as names of the columns.
    """
    from sklfusion._class_labels import read_labels

    if task.multilabel:
        return _indicator(frame, label, task)
    y = read_labels(_with_gaps(frame[label]), caller="sklfusion")
    classes = task.settings()["classes"]
    if classes is None or not all(isinstance(v, str) and v.isdecimal() for v in y.tolist()):
        return y
    return y if set(y.tolist()) <= set(classes) else y.astype(int)  # codes of the classes


def _with_gaps(column):
    """Return a column in which an empty cell is a missing label."""
    return [None if value == "" else value for value in column]


def label_columns(label, task):
    """Return the columns that hold labels."""
    return split_list(label) if task.multilabel else [label]


def _indicator(frame, label, task):
    import pandas

    columns = label_columns(label, task)
    if len(columns) > 1:
        y = {
            name: [_yes_or_no(v, name, row) for row, v in enumerate(frame[name])]
            for name in columns
        }
        return pandas.DataFrame(y)
    sets = [_label_set(value, task.separator, row) for row, value in enumerate(frame[columns[0]])]
    seen = dict.fromkeys(name for row in sets for name in row)
    classes = task.settings()["classes"] or sorted(seen)
    unknown = [name for name in seen if name not in classes]
    if unknown:
        near = get_close_matches(unknown[0], classes, n=1)
        raise SklFusionError(
            f"The label {unknown[0]!r} is not in --classes."
            + (f" Did you mean {near[0]!r}?" if near else "")
        )
    return pandas.DataFrame([[int(c in row) for c in classes] for row in sets], columns=classes)


def _label_set(value, separator, row):
    """Return the labels of a row: a list, or a cell of them; an empty cell holds none."""
    if isinstance(value, list | tuple):
        return [str(part) for part in value]
    if isinstance(value, str):
        return [part.strip() for part in value.split(separator) if part.strip()]
    raise SklFusionError(
        f"Row {row} has {value!r} for labels; with --multilabel it is a list, or a text of "
        f"labels with {separator!r} between them."
    )


def _yes_or_no(value, name, row):
    known = _YES_NO.get(str(value).lower())
    if known is None:
        raise SklFusionError(f"Row {row} of column {name!r} has {value!r}; wanted 0 or 1.")
    return known
