"""A labelling as files of others: CSV out, tasks of Label Studio in and out."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sklfusion._delimited import SEPARATOR, write_rows
from sklfusion.labelling._record import (
    BY_IMPORT,
    LABELLED_ROW,
    OPEN_ROW,
    SKIPPED_ROW,
    LabelRecord,
    label_event,
)
from sklfusion.labelling._studio import StudioTask, read_task, write_task

#: What is written behind the columns of the pool.
ADDED_COLUMNS = ("row", "label", "weight")


def labels_as_csv(
    record: LabelRecord,
    weights: Mapping[int, float],
    columns: Mapping[str, Sequence[Any]],
    *,
    excel_safe: bool = False,
) -> str:
    """Return the labelled rows as CSV: the columns of the pool, row, labels, weight."""
    rows: list[list[Any]] = [[*columns, *ADDED_COLUMNS]]
    for entry in record.at(LABELLED_ROW):
        row = entry["row"]
        beside = [column[row] for column in columns.values()]
        rows.append([*beside, row, SEPARATOR.join(entry["labels"]), weights[row]])
    written = io.StringIO()
    write_rows(rows, written, excel_safe=excel_safe)
    return written.getvalue()


def labels_as_tasks(
    record: LabelRecord, weights: Mapping[int, float], said_of: Callable[[int], Any]
) -> list[dict[str, Any]]:
    """Return the labelled and skipped rows as tasks; ``said_of`` gives the prediction of a row."""
    tasks = []
    for row, entry in record.entries.items():
        if entry["status"] != OPEN_ROW:
            skipped = entry["status"] == SKIPPED_ROW
            told = (entry["labels"], skipped, weights.get(row), said_of(row))
            tasks.append(write_task(record.texts[row], row, *told))
    return tasks


def take_tasks(record: LabelRecord, tasks: Sequence[Any]) -> dict[str, int]:
    """Keep the annotations and predictions of tasks, all of them or none; return counts."""
    events: list[dict[str, Any]] = []
    told = Counter({"labelled": 0, "skipped": 0, "predicted": 0, "unknown": 0})
    names: dict[str, None] = {}
    for number, given in enumerate(tasks):
        task = read_task(given, number)
        row = record.row_of.get(task.text)
        if row is None:
            told["unknown"] += 1
            continue
        if task.labels is not None and not record.multilabel and len(task.labels) != 1:
            raise ValueError(f"Task {number} has {len(task.labels)} labels; a text has 1 here.")
        events += _events_of(task, row)
        told["labelled"] += task.labels is not None
        told["skipped"] += task.skipped
        told["predicted"] += bool(task.predicted)
        names |= dict.fromkeys([*(task.labels or ()), *(task.predicted or ())])
    new = [{"event": "class", "name": name} for name in names if name not in record.classes]
    record.keep(*new, *events)
    return dict(told)


def _events_of(task: StudioTask, row: int) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = []
    if task.labels is not None:
        events.append(label_event(row, task.labels, BY_IMPORT))
    elif task.skipped:
        events.append({"event": "skip", "row": row, "by": BY_IMPORT})
    if task.predicted:
        events.append({"event": "predicted", "row": row, "classes": task.predicted})
    return events
