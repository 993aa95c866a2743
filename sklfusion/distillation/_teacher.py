"""What a teacher says of texts: a model that is asked, or answers that are already there."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from sklfusion._class_labels import read_labels
from sklfusion._scores import as_told
from sklfusion._text_input import distinct
from sklfusion._validation import check_indicator, is_missing, plain_label, refuse_label_sets
from sklfusion.annotations import Annotations
from sklfusion.distillation._lesson import adds_up
from sklfusion.multilabel._targets import label_scores


@dataclass(frozen=True)
class Taught:
    """A teacher's word on n texts.

    Parameters
    ----------
    proba : ndarray of shape (n, K)
        Probabilities; NaN where there is no answer.
    classes : sequence of K labels, or None
        Of the columns; None where they have no names.
    multilabel : bool
        Whether a text may have several labels.
    cut, fill : float, bool
        Probability from which the teacher gives a label, and whether a text without one gets its
        likeliest (several labels only).
    """

    proba: np.ndarray
    classes: Any
    multilabel: bool
    cut: float = 0.5
    fill: bool = False


def ask(model, texts, y):
    """Return the `Taught` of a model, of annotations or of bare labels.

    Parameters
    ----------
    model : object
        As in :func:`sklfusion.distill`.
    texts : list of n str
        A model is asked once about each different one.
    y : array-like or None
        Gold labels, which name classes that bare labels may lack.
    """
    # a column of pandas has a method transform too
    if hasattr(model, "predict_proba") or (
        hasattr(model, "transform") and not hasattr(model, "__array__")
    ):
        return _of_model(model, texts)
    if isinstance(model, Annotations):
        said = Taught(model.scores(), model.classes, model.multilabel)
    elif isinstance(model, Mapping | str) or not hasattr(model, "__len__"):
        raise _no_teacher(model)
    elif _label_columns(model) > 1:
        said = _of_indicator(model)
    else:
        said = _of_labels(model, y)
    if len(said.proba) != len(texts):
        raise ValueError(
            f"distill got {len(said.proba)} answers of the LLM and {len(texts)} texts; they must "
            "be as many, in one order. None stands for no answer."
        )
    return said


def _no_teacher(model):
    return TypeError(
        f"distill got {type(model).__name__}, which has neither predict_proba nor scores with "
        "classes_; it needs a fitted classifier or scorer of texts, or what an LLM said of them: "
        "Annotations, or one label per text. A table of texts is a RecordedScorer's."
    )


def _of_model(model, texts):
    different, places = distinct(texts)
    parts = [model, *_inner(model)]
    told = [getattr(part, "multilabel_", getattr(part, "multilabel", None)) for part in parts]
    multilabel = next((bool(value) for value in told if value is not None), None)
    if hasattr(model, "predict_proba"):
        proba = np.asarray(label_scores(model, different), dtype=np.float64)
    elif hasattr(model, "classes_"):
        columns = as_told(model.transform(different), model.classes_, bool(multilabel))
        scale = columns.blocks[0].scale
        proba = columns.arranged(None)
        proba = np.exp(proba) if scale == "log_proba" else proba
    else:
        raise _no_teacher(model)
    if multilabel is None:
        multilabel = not adds_up(proba)
    classes = np.asarray(model.classes_) if not isinstance(model.classes_, list) else None
    return Taught(proba[places], classes, multilabel, *_cut_of(parts))


def _inner(model):
    """The estimators inside a model that may know more of its decisions."""
    steps = getattr(model, "steps", None)
    return [steps[-1][1]] if steps else [p for p in [getattr(model, "fusion_", None)] if p]


def _cut_of(parts):
    """The cut of a teacher's label sets, and whether it fills empty ones."""
    for part in parts:
        for name in ("cut_", "threshold_"):
            if hasattr(part, "fill_empty_") and getattr(part, name, None) is not None:
                return float(getattr(part, name)), bool(part.fill_empty_)
    return 0.5, False


def _label_columns(labels):
    """Columns of labels: one, or as many as a text may have labels."""
    shape = getattr(labels, "shape", None)
    if shape is None:
        first = next((label for label in labels if not is_missing(label)), None)
        return len(first) if isinstance(first, list | tuple | np.ndarray) else 1
    return shape[1] if len(shape) > 1 else 1


def _of_labels(labels, y):
    """One label per text as rows with a single 1; classes are those of the answers and of y."""
    said = _with_holes(labels)
    gold = _with_holes(y) if y is not None and _label_columns(y) == 1 else []
    names = [label for label in [*said, *gold] if label is not None]
    if not names:
        raise ValueError("distill: no row has a label or an answer of the teacher.")
    classes = np.unique(read_labels(names, caller="distill"))
    if -1 in classes.tolist():
        raise ValueError(
            "distill got the label -1, which may be a class or stand for no answer. Write None "
            "where there is no label; if -1 is a class, write the classes as str."
        )
    column = {name: i for i, name in enumerate(classes.tolist())}
    proba = np.full((len(said), len(classes)), np.nan)
    for row, label in enumerate(said):
        if label is not None:
            proba[row] = 0.0
            proba[row, column[label]] = 1.0
    return Taught(proba, classes, multilabel=False)


def _with_holes(labels):
    """Labels as a list of Python scalars, None where there is none."""
    if len(getattr(labels, "shape", ())) > 1:
        labels = np.asarray(labels, dtype=object).ravel()
    column = labels.tolist() if hasattr(labels, "tolist") else labels
    return [None if is_missing(label) else plain_label(label) for label in column]


def _of_indicator(labels):
    """Label sets as they are; a row with NaN is no answer."""
    refuse_label_sets(labels, caller="distill")
    cells = np.asarray(labels.toarray() if hasattr(labels, "toarray") else labels, dtype=float)
    answered = ~np.isnan(cells).any(axis=1)
    proba = np.full(cells.shape, np.nan)
    if answered.any():
        proba[answered] = check_indicator(cells[answered], caller="distill")
    return Taught(proba, getattr(labels, "columns", None), multilabel=True)
