"""`LabelDesk`: the texts of a pool, what was answered, and the model that is fitted on demand."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import clone

from sklfusion import persistence
from sklfusion._delimited import SEPARATOR
from sklfusion.exceptions import PersistenceError
from sklfusion.labelling._exchange import (
    labels_as_csv,
    labels_as_tasks,
    take_tasks,
)
from sklfusion.labelling._learnt import PoolOpinion
from sklfusion.labelling._record import (
    BY_PAGE,
    LABELLED_ROW,
    OPEN_ROW,
    LabelRecord,
    label_event,
)
from sklfusion.promises import LabelAcquirer

#: Characters of a class.
_LONGEST_CLASS = 200


class LabelDesk:
    """A pool of texts that a person labels; every answer is on the disk before the next text.

    Parameters
    ----------
    texts : sequence of n str
        The pool. Equal texts are asked about once.
    path : str or Path
        File of the answers; taken up again where it is there.
    estimator : classifier
        What :meth:`refit` fits a clone of.
    fitted : classifier, optional
        A fitted model of the same classes, whose opinion :meth:`refit` takes as long as there are
        no labels of two classes.
    classes : sequence of str
        Those that can be chosen from the beginning; :meth:`add_class` adds others.
    multilabel : bool, default=False
        Whether a text can have several labels, or none.
    batch_size : int, default=10
        Texts that are drawn at once.
    random_state : int, default=0
        Of the drawing.
    columns : mapping of str to sequence of length n, optional
        What :meth:`to_csv` writes of each row; by default its text.

    Attributes
    ----------
    model_ : classifier or None
        Of the last :meth:`refit`.

    Raises
    ------
    ValueError
        If there is no text.
    SklFusionError
        If the file belongs to other texts, is damaged, or another process writes it.

    See Also
    --------
    LabelAcquirer : Draws the texts, by probabilities that are kept.

    Notes
    -----
    Texts are drawn evenly before the first :meth:`refit`, then more often those that its model
    was unsure of. Cost of an answer: one write and sync of the disk.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from sklearn.feature_extraction.text import CountVectorizer
    >>> from sklearn.naive_bayes import MultinomialNB
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklfusion.labelling import LabelDesk
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "pool.labels.jsonl"
    >>> model = make_pipeline(CountVectorizer(), MultinomialNB())
    >>> desk = LabelDesk(["a goal", "a bank"], path, model, classes=["sport", "money"])
    >>> desk.answer(desk.view()["current"]["row"], ["sport"])
    >>> desk.view()["labelled"], desk.view()["rows"]
    (1, 2)
    """

    def __init__(
        self,
        texts: Sequence[str],
        path: str | Path,
        estimator: Any,
        *,
        fitted: Any = None,
        classes: Sequence[str] = (),
        multilabel: bool = False,
        batch_size: int = 10,
        random_state: int = 0,
        columns: Mapping[str, Sequence[Any]] | None = None,
    ) -> None:
        self._estimator, self._fitted = estimator, fitted
        self._columns = {"text": list(texts)} if columns is None else columns
        self._opinion = PoolOpinion(None, ())
        self._acquirer = LabelAcquirer(
            self._opinion, batch_size=batch_size, random_state=random_state
        ).fit(list(texts))
        pool = self._acquirer.get_state()["pool"]
        self._record = LabelRecord(texts, Path(path), pool, list(map(str, classes)), multilabel)
        self._lock = threading.RLock()
        self._fitting, self._failure = False, ""

    @property
    def classes(self) -> list[str]:
        """The classes, in the order in which they came."""
        return self._record.classes

    @property
    def model_(self) -> Any:
        """The model of the last refit, or None."""
        return self._opinion.model

    def close(self) -> None:
        """Let another process have the file."""
        self._record.journal.close()

    # ------------------------------------------------------------------------------ answers

    def answer(self, row: int, labels: Sequence[str]) -> None:
        """Keep the labels of a text.

        Parameters
        ----------
        row : int
            Place in the pool.
        labels : list of str
            One class; any number of them with ``multilabel``.

        Raises
        ------
        ValueError
            If there is no such row or class, or not one label.
        StorageError
            If it cannot be written.
        """
        with self._lock:
            row, labels = self._record.place(row), list(dict.fromkeys(labels))
            unknown = [name for name in labels if name not in self.classes]
            if unknown:
                raise ValueError(f"There is no class {unknown[0]!r}; add it first.")
            if not self._record.multilabel and len(labels) != 1:
                raise ValueError(f"A text has one label here; got {len(labels)}.")
            self._record.keep(label_event(row, labels, BY_PAGE))

    def skip(self, row: int) -> None:
        """Leave a text out: nobody can tell. Raises as :meth:`answer`.

        Parameters
        ----------
        row : int
            Place in the pool.
        """
        with self._lock:
            row = self._record.place(row)
            self._record.keep({"event": "skip", "row": row, "by": BY_PAGE})

    def undo(self) -> None:
        """Ask again about the text that was answered or skipped last.

        Raises
        ------
        ValueError
            If there is none.
        """
        with self._lock:
            if not self._record.answered:
                raise ValueError("There is nothing to undo.")
            self._record.keep({"event": "undo", "row": self._record.answered[-1]})

    def add_class(self, name: str) -> None:
        """Add a class; raises ValueError if it is empty, too long, or there already.

        Parameters
        ----------
        name : str
            What the class is called.
        """
        with self._lock:
            name = " ".join(name.split())
            if not name or len(name) > _LONGEST_CLASS or SEPARATOR in name:
                raise ValueError(
                    f"A class has 1 to {_LONGEST_CLASS} characters, none of them {SEPARATOR!r}."
                )
            if name in self.classes:
                raise ValueError(f"There is a class {name!r} already.")
            self._record.keep({"event": "class", "name": name})

    # -------------------------------------------------------------------------------- views

    def view(self) -> dict[str, Any]:
        """Return what a page shows; draws the next texts if none is open.

        Returns
        -------
        dict
            ``rows`` (different texts), ``labelled``, ``skipped``, ``classes`` (name and rows),
            ``multilabel``, ``current`` (row, text, and what is said of it: class to probability,
            or None; None at the end of the pool), ``can_undo``, and ``model``: whether it is being
            fitted, why that failed, and the number of labels that it knows, or None.
        """
        with self._lock:
            record = self._record
            if not record.at(OPEN_ROW) and len(record.entries) < len(record.row_of):
                self._draw()
            labelled, open_rows = record.at(LABELLED_ROW), record.at(OPEN_ROW)
            of_class = Counter(name for entry in labelled for name in entry["labels"])
            known = None if self.model_ is None else self._opinion.n_labels
            return {
                "rows": len(record.row_of),
                "labelled": len(labelled),
                "skipped": len(record.entries) - len(labelled) - len(open_rows),
                "classes": [{"name": name, "rows": of_class[name]} for name in self.classes],
                "multilabel": record.multilabel,
                "current": self._shown(open_rows[0]["row"]) if open_rows else None,
                "can_undo": bool(record.answered),
                "model": {"fitting": self._fitting, "failure": self._failure, "labels": known},
            }

    def _shown(self, row):
        return {"row": row, "text": self._record.texts[row], "said": self._said_of(row)}

    def _said_of(self, row):
        own = self._opinion.of_text(self._record.texts[row])
        return self._record.predicted.get(row) if own is None else own

    def _draw(self):
        self._tell_acquirer()
        drawn = self._acquirer.query()
        told = zip(drawn.rows.tolist(), drawn.q.tolist(), drawn.utility.tolist(), strict=True)
        events = ({"event": "draw", "row": r, "q": q, "utility": u} for r, q, u in told)
        self._record.keep(*events)

    def _tell_acquirer(self):
        kept = ("row", "q", "utility", "status")
        entries = [
            {**{key: entry[key] for key in kept}, "label": self._record.target(entry)}
            for entry in self._record.entries.values()
        ]
        self._acquirer.model = self._opinion
        self._acquirer.set_state({**self._acquirer.get_state(), "entries": entries})

    # ----------------------------------------------------------------------------- the model

    def refit(self, then: Callable[[Any], None] | None = None) -> None:
        """Fit the model on the labels in a thread of its own, and let it read the pool.

        As long as there are no labels of two classes, the fitted model reads the pool as it is.
        What comes of it is told by :meth:`view`; a model that was fitted is also written beside
        the answers, as ``.sklf``.

        Parameters
        ----------
        then : callable, optional
            Called with the model, in that thread.

        Raises
        ------
        ValueError
            If labels are missing, or it is being fitted already.
        """
        with self._lock:
            if self._fitting:
                raise ValueError("The model is being fitted already.")
            labelled = self._record.at(LABELLED_ROW)
            enough = len({name for entry in labelled for name in entry["labels"]}) > 1
            if not enough and self._fitted is None:
                raise ValueError("Label texts of two classes first.")
            work = (labelled, self._y(labelled)) if enough else ([], None)
            self._fitting, self._failure = True, ""
        threading.Thread(target=self._fit, args=(*work, then), daemon=True).start()

    def _y(self, labelled):
        targets = [self._record.target(entry) for entry in labelled]
        if not self._record.multilabel:
            known = {} if self._fitted is None else _classes_by_name(self._fitted)
            return np.array([known.get(name, name) for name in targets])
        import pandas

        return pandas.DataFrame(targets, columns=list(self.classes))

    def _fit(self, labelled, y, then):
        try:
            texts = [self._record.texts[entry["row"]] for entry in labelled]
            model = self._fitted if y is None else clone(self._estimator).fit(texts, y)
            texts_read = list(self._record.row_of)
            names = getattr(y, "columns", None)  # of a label indicator
            self._opinion = PoolOpinion(model, texts_read, len(texts), names)
            if then is not None:
                then(model)
            if y is not None:
                persistence.save(model, self._record.journal.path.with_suffix(".sklf"))
        except (PersistenceError, OSError) as error:
            self._failure = f"The model could not be written: {error}"
        except Exception as error:
            self._failure = f"The model could not be fitted: {type(error).__name__}: {error}"
        finally:
            self._fitting = False

    # -------------------------------------------------------------------------- files of others

    def to_csv(self, *, excel_safe: bool = False) -> str:
        """Return the labelled rows as CSV: the columns of the pool, row, label, weight.

        Weights are those of :attr:`LabelAcquirer.weights_`; several labels stand with ``|``
        between. Nothing is altered, unless ``excel_safe`` asks for an apostrophe before what a
        spreadsheet would take for a formula.

        Parameters
        ----------
        excel_safe : bool, default=False
            Whether to guard formulas.

        Returns
        -------
        str
            A header, and a line per labelled row.
        """
        with self._lock:
            told = (self._record, self._weights(), self._columns)
            return labels_as_csv(*told, excel_safe=excel_safe)

    def to_tasks(self) -> list[dict[str, Any]]:
        """Return the labelled and skipped rows as tasks of Label Studio.

        Returns
        -------
        list of dict
            As Label Studio imports them.
        """
        with self._lock:
            return labels_as_tasks(self._record, self._weights(), self._said_of)

    def add_tasks(self, tasks: Sequence[Any]) -> dict[str, int]:
        """Take annotations and predictions out of tasks of Label Studio, all of them or none.

        Parameters
        ----------
        tasks : sequence of dict
            As Label Studio exports them.

        Returns
        -------
        dict of str to int
            ``labelled``, ``skipped``, ``predicted``, and ``unknown``: texts that are not in the
            pool.

        Raises
        ------
        ValueError
            If something is no task, or has several labels where a text has one.
        """
        with self._lock:
            return take_tasks(self._record, tasks)

    def _weights(self):
        self._tell_acquirer()
        rows, weights = self._acquirer.rows_.tolist(), self._acquirer.weights_.tolist()
        return dict(zip(rows, weights, strict=True))


def _classes_by_name(model):
    """Return the classes of a model by how they are written."""
    return {str(label): label for label in np.asarray(model.classes_).tolist()}
