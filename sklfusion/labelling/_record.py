"""What has become of each text of a pool, as its file tells it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sklfusion.labelling._journal import LabelJournal

#: Where a row stands, in the words of `LabelAcquirer`.
OPEN_ROW, LABELLED_ROW, SKIPPED_ROW = "asked", "labelled", "skipped"
#: Who answered: only what was answered on the page can be undone there.
BY_PAGE, BY_IMPORT = "page", "import"


class LabelRecord:
    """The texts of a pool and what happened to them; every change is on the disk first.

    Parameters
    ----------
    texts : sequence of str
        The pool; of equal texts the first row stands for all.
    path : Path
        See `LabelJournal`.
    pool : str
        Check sum of the texts.
    classes : sequence of str
        Those that are there from the beginning.
    multilabel : bool

    Attributes
    ----------
    entries : dict of int to dict
        By row, in the order drawn: ``row``, ``q``, ``utility``, ``status``, ``labels``.
    predicted : dict of int to dict
        Scores by class that others gave.
    answered : list of int
        Rows answered on the page, the last one last.
    """

    def __init__(
        self, texts: Sequence[str], path: Path, pool: str, classes: Sequence[str], multilabel: bool
    ) -> None:
        self.texts = list(texts)
        self.row_of = {text: row for row, text in reversed(list(enumerate(self.texts)))}
        self.classes, self.multilabel = list(classes), multilabel
        self.entries: dict[int, dict[str, Any]] = {}
        self.predicted: dict[int, dict[str, float]] = {}
        self.answered: list[int] = []
        self.journal = LabelJournal(path, {"pool": pool, "multilabel": multilabel})
        for event in self.journal.events:
            self._apply(event)

    def keep(self, *events: dict[str, Any]) -> None:
        """Write events down, then let them happen; raises `StorageError`."""
        self.journal.append(*events)
        for event in events:
            self._apply(event)

    def _apply(self, event: dict[str, Any]) -> None:
        kind, row = event["event"], event.get("row", -1)
        if kind == "class" and event["name"] not in self.classes:
            self.classes.append(event["name"])
        elif kind == "predicted":
            self.predicted[row] = event["classes"]
        elif kind == "draw":
            told = {key: event[key] for key in ("row", "q", "utility")}
            self.entries[row] = {**told, "status": OPEN_ROW, "labels": None}
        elif kind == "undo":
            self.answered.remove(row)
            self.entries[row] |= {"status": OPEN_ROW, "labels": None}
        elif kind in ("label", "skip"):
            old = self.entries.get(row, {"row": row, "q": None, "utility": None})
            status = LABELLED_ROW if kind == "label" else SKIPPED_ROW
            self.entries[row] = {**old, "status": status, "labels": event.get("labels")}
            self.answered = [other for other in self.answered if other != row]
            self.answered += [row] if event["by"] == BY_PAGE else []

    def at(self, status: str) -> list[dict[str, Any]]:
        """Return the entries of a status, in the order drawn."""
        return [entry for entry in self.entries.values() if entry["status"] == status]

    def place(self, row: int) -> int:
        """Return the row that stands for this one; raises ValueError where there is none."""
        if not 0 <= row < len(self.texts):
            raise ValueError(f"There is no row {row}; the pool has {len(self.texts)}.")
        return self.row_of[self.texts[row]]

    def target(self, entry: dict[str, Any]) -> Any:
        """Return the labels of an entry as estimators take them: one, or 0 and 1 by class."""
        if entry["status"] != LABELLED_ROW:
            return None
        if self.multilabel:
            return [int(name in entry["labels"]) for name in self.classes]
        return entry["labels"][0]


def label_event(row: int, labels: Sequence[str], by: str) -> dict[str, Any]:
    """Return what is written when a text gets its labels."""
    at = datetime.now(UTC).isoformat(timespec="seconds")
    return {"event": "label", "row": row, "labels": list(labels), "by": by, "at": at}
