"""Tasks of Label Studio, in and out: JSON as its project pages export and import it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

#: What our own tasks call the control and the text, in the labelling interface of a project.
_CONTROL, _OBJECT = "label", "text"


@dataclass
class StudioTask:
    """What a task says of a text.

    ``labels`` is None where nobody has annotated it; ``skipped`` where somebody gave it up;
    ``predicted`` maps classes to the score of a prediction.
    """

    text: str
    labels: list[str] | None = None
    skipped: bool = False
    predicted: dict[str, float] | None = None


def read_task(task: Any, number: int) -> StudioTask:
    """Return what a task says; of several annotations the last counts.

    Raises
    ------
    ValueError
        If it is no task; the message names its number.
    """
    data = task.get("data") if isinstance(task, dict) else None
    text = data.get(_OBJECT) if isinstance(data, dict) else None
    if not isinstance(text, str):
        raise ValueError(f'Task {number} has no text: wanted {{"data": {{"text": "..."}}, ...}}.')
    found = StudioTask(text)
    for annotation in _objects_at(task, "annotations", number):
        found.skipped = bool(annotation.get("was_cancelled"))
        found.labels = None if found.skipped else _choices(annotation, number)
    for prediction in _objects_at(task, "predictions", number):
        score = prediction.get("score")
        score = float(score) if isinstance(score, int | float) else 1.0
        found.predicted = dict.fromkeys(_choices(prediction, number), score)
    return found


def _objects_at(task, key, number):
    values = task.get(key) or []
    if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
        raise ValueError(f"Task {number} has {key} that are no list of objects.")
    return values


def _choices(held, number):
    """Return the choices in the results of an annotation or prediction."""
    results = held.get("result")
    try:
        chosen = [part["value"]["choices"] for part in results if part.get("type") == "choices"]
        names = [name for choices in chosen for name in choices]
    except (TypeError, KeyError, AttributeError):
        names = [None]
    if not all(isinstance(name, str) and name.strip() for name in names):
        raise ValueError(f"Task {number} has a result that is not of the type choices.")
    return list(dict.fromkeys(names))


def write_task(text, row, labels, skipped, weight, predicted):
    """Return a task that Label Studio can import, with its annotation and prediction.

    Parameters
    ----------
    text, row : str, int
        Of the pool.
    labels : list of str
    skipped : bool
    weight : float or None
        Design weight of a row that has labels.
    predicted : dict of str to float, or None
        Probabilities by class; the likeliest is the prediction.
    """
    task: dict[str, Any] = {"data": {_OBJECT: text, "row": row, "weight": weight}}
    task["annotations"] = [{"result": _result(labels) if labels else [], "was_cancelled": skipped}]
    if predicted:
        best = max(predicted, key=predicted.__getitem__)
        made = {"result": _result([best]), "score": predicted[best], "model_version": "sklfusion"}
        task["predictions"] = [made]
    return task


def _result(labels):
    value = {"choices": labels}
    return [{"from_name": _CONTROL, "to_name": _OBJECT, "type": "choices", "value": value}]
