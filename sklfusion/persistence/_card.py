"""A model card in Markdown: what a model is, what was measured, where it sends texts."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from sklearn.utils.validation import check_is_fitted

from sklfusion.persistence._read import info, load

_NAMED_CLASSES = 50
_VALUE_SHOWN = 80  # characters of a parameter


def model_card(model: Any, *, title: str | None = None) -> str:
    """Write a model card from what a model knows of itself.

    Parameters
    ----------
    model : str, Path or fitted estimator
        A file that :func:`save` wrote, or an estimator. A file also tells its versions, and where
        it would send. Nothing is sent.
    title : str, optional
        By default the name of the file, or of the class.

    Returns
    -------
    str
        Markdown with the front matter that model hubs read. What only people can say (purpose,
        data, licence) is left as questions to answer.

    Raises
    ------
    PersistenceError
        If the file cannot be read.
    NotFittedError
        If the estimator is not fitted.

    See Also
    --------
    info : The same as a dict.
    save : Writes the file.

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklfusion.persistence import model_card
    >>> card = model_card(LogisticRegression().fit([[0.0], [1.0]], ["a", "b"]), title="Demo")
    >>> print(card.splitlines()[6])
    # Demo
    """
    told: dict[str, Any] = {}
    if isinstance(model, str | os.PathLike):
        path = Path(model)
        told = info(path)
        title = title or path.name
        model = load(path, endpoints=[p["address"] for p in told["endpoints"] if p["address"]])
    check_is_fitted(model)
    sections = [
        _front_matter(),
        f"# {_escaped(title or type(model).__name__)}",
        _what(model),
        "## Purpose and data\n\nWho is it for? Which texts was it fitted on, who labelled them, "
        "and under which licence? What must it not be used for?",
        _measured(model),
        _sends(told),
        _settings_section(model),
        _how_to_load(model, told),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _front_matter():
    return (
        "---\nlibrary_name: sklfusion\npipeline_tag: text-classification\ntags: [sklfusion]\n---"
    )


def _what(model):
    lines = [f"A fitted `{type(model).__name__}`."]
    classes = getattr(model, "classes_", None)
    if classes is not None:
        names = [_escaped(name) for name in classes]
        more = f", and {len(names) - _NAMED_CLASSES} more" * (len(names) > _NAMED_CLASSES)
        several = any(getattr(part, "multilabel_", False) for part in _measured_parts(model))
        lines.append(
            f"It knows {len(names)} {'labels, several per text' if several else 'classes'}: "
            f"{', '.join(names[:_NAMED_CLASSES])}{more}."
        )
    return "\n".join(lines)


def _measured_parts(model):
    """The model and the fitted parts that carry figures."""
    inner = [getattr(model, name, None) for name in ("fusion_", "first_", "student_")]
    steps = [step for _, step in getattr(model, "steps", [])]
    return [model, *(part for part in [*inner, *steps] if part is not None)]


def _measured(model):
    rows = []
    for part in _measured_parts(model):
        name = type(part).__name__
        for source, loss in (getattr(part, "oof_scores_", None) or {}).items():
            rows.append([f"log-loss of {source}, out of fold ({name})", f"{loss:.3f}"])
        for source, weight in (getattr(part, "source_weights_", None) or {}).items():
            rows.append([f"trust in {source} ({name})", f"{weight:.2f}"])
        if getattr(part, "cost_curve_", None) is not None:
            rows.append(["share of texts that the LLM is asked about", f"{part.share_:.0%}"])
        report = getattr(part, "report_", None) or {}
        for what in ("agreement", "student", "teacher", "gap"):
            if isinstance(report.get(what), dict):
                cell = "{mean:.3f} [{low:.3f}, {high:.3f}]".format(**report[what])
                rows.append([f"{what} ({report['measure']}, held out)", cell])
    if not rows:
        return "## Measured\n\nThe model holds no figures. Evaluate it on labelled texts."
    note = "On the rows that it was fitted on, each scored by models that had not seen it."
    return f"## Measured\n\n{note}\n\n" + _table_of(["what", "value"], rows)


def _sends(told):
    if not told:
        return ""
    places = [
        f"- `{p['address']}` for `{p['model']}`"
        + "".join(f", with the variable `{name}`" for name in p["variables"])
        for p in told["endpoints"]
    ]
    text = "\n".join(places) if places else "Nowhere: it asks no LLM behind an address."
    return f"## Where it sends texts\n\n{text}"


def _settings_section(model):
    rows = []
    defaults = type(model)().get_params(deep=False) if _has_defaults(model) else {}
    for name, value in model.get_params(deep=False).items():
        shown = repr(value)
        if name not in ("memory", "steps") and shown != repr(defaults.get(name, ...)):
            rows.append([f"`{name}`", _escaped(shown[:_VALUE_SHOWN])])
    return "## Settings\n\n" + _table_of(["parameter", "value"], rows) if rows else ""


def _has_defaults(model):
    try:
        type(model)()
    except TypeError:
        return False
    return True


def _how_to_load(model, told):
    lines = ["## Use", "", "```python", "from sklfusion import persistence", ""]
    lines += ['model = persistence.load("model.sklf")', "model.predict(texts)", "```"]
    if told:
        versions = ", ".join(f"{name} {number}" for name, number in told["versions"].items())
        lines += ["", f"Format {told['format']}, {told['bytes']} bytes, written with {versions}."]
    return "\n".join(lines)


def _table_of(header, rows):
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def _escaped(value):
    """Text that cannot open a tag, a cell, a link or a line of Markdown."""
    text = re.sub(r"\s+", " ", str(value))
    return re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", text)
