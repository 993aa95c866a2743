"""`EvaluationReport`: how good an estimator is, on rows that it has not seen, as one file."""

from __future__ import annotations

import html
import inspect
import json
import os
import platform
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Self

import numpy as np

from sklfusion._validation import is_multilabel
from sklfusion.report import _figures
from sklfusion.report._evaluate import Evaluation, evaluate
from sklfusion.report._page import page
from sklfusion.report._table import CALLER, folds_of, read_rows

#: Packages whose versions decide what comes out.
_PACKAGES = ("sklfusion", "scikit-learn", "numpy", "scipy", "torch", "transformers", "openai")
#: Characters of a setting that the page shows.
_SETTING_SHOWN = 200
#: Pixels of a report inside a notebook.
_FRAME_HEIGHT = 640


class EvaluationReport:
    """An evaluation as figures, as JSON, and as one HTML file that needs nothing else.

    Made by :meth:`from_estimator`. The page holds the data sheet, the fusion beside its parts and
    cheap rivals, reliability, confusion, trust per source, the cost curve, the rows on which the
    sources disagree most, what was spent, versions and seeds. It loads no script, font or picture,
    and texts and labels in it are escaped.

    Parameters
    ----------
    figures : dict
        What :meth:`to_dict` returns.
    evaluation : Evaluation
        What every method said of every judged row.

    Attributes
    ----------
    figures_ : dict
        All figures, as plain JSON values.
    methods_ : list of str
        The methods: what is evaluated, then its parts and rivals.
    classes_ : list of K labels
        In the order of the columns of ``proba_``.
    y_true_ : ndarray of shape (n,) or (n, K)
        Truth of the judged rows.
    rows_ : ndarray of shape (n,) of int
        Where each judged row stood in ``X`` (or ``X_test``).
    proba_ : dict of str to ndarray of shape (n, K)
        Probabilities by method, of those that give some.
    labels_ : dict of str to ndarray of shape (n,) or (n, K)
        Predictions by method.

    See Also
    --------
    AutoFusionClassifier : What is mostly evaluated.
    sklfusion.plotting.ReliabilityDisplay : One of the pictures with matplotlib.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklfusion.report import EvaluationReport
    >>> rng = np.random.default_rng(0)
    >>> y = np.repeat(["ham", "spam"], 40)
    >>> X = rng.normal(size=(80, 3)) + 2 * (y == "spam")[:, None]
    >>> report = EvaluationReport.from_estimator(LogisticRegression(), X, y, cv=4)
    >>> report.methods_
    ['LogisticRegression', 'logistic regression', 'majority']
    >>> report.to_dict()["methods"]["majority"]["accuracy"]
    0.5
    >>> _ = report.to_html("report.html")
    """

    def __init__(self, figures: dict[str, Any], evaluation: Evaluation) -> None:
        self.figures_ = figures
        self.methods_ = list(evaluation.opinions)
        self.classes_ = evaluation.classes
        self.y_true_ = evaluation.table.y
        self.rows_ = evaluation.table.rows
        opinions = evaluation.opinions
        self.proba_ = {n: o.proba for n, o in opinions.items() if o.proba is not None}
        several = evaluation.table.multilabel
        names = np.array(evaluation.classes)
        self.labels_ = {n: o.labels if several else names[o.labels] for n, o in opinions.items()}

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: Any,
        *,
        cv: Any = 5,
        X_test: Any = None,
        y_test: Any = None,
        memory: Any = None,
        n_rows_shown: int = 10,
        random_state: int | None = 0,
        title: str | None = None,
    ) -> Self:
        """Evaluate an estimator, in cross-validation or on test rows.

        Parameters
        ----------
        estimator : classifier
            Is cloned and fitted. :class:`AutoFusionClassifier`, :class:`FusionClassifier` and
            pipelines that end in one are judged beside their parts, :class:`CascadeClassifier`
            beside its first stage; any other classifier by itself.
        X : sequence of n str, or array-like of shape (n, p)
            Texts or features.
        y : array-like of shape (n,), or indicator of shape (n, K)
            Labels; rows without one (None, NaN), or without a text, are left out and counted.
        cv : int, splitter or iterable of splits, default=5
            Folds. An int makes stratified folds in which repeats of a text stay together, fewer
            than asked for where a class has few rows. A splitter must test no row twice.
        X_test, y_test : as X and y, optional
            Test rows; the estimator is then fitted once, on all of X, and ``cv`` is not used.
        memory : path, optional
            Where replies and embeddings are kept if the estimator has no memory of its own. By
            default for the time of the evaluation only.
        n_rows_shown : int, default=10
            Texts that the page shows, of those on which the sources disagree most; 0 keeps all
            texts out of it.
        random_state : int or None, default=0
            Of the folds and the rivals. The estimator keeps its own.
        title : str, optional
            Heading of the page.

        Returns
        -------
        EvaluationReport

        Raises
        ------
        ValueError
            If X and y do not match, no row is labelled, a class has too few rows to split, or only
            one of ``X_test`` and ``y_test`` is given.

        Notes
        -----
        Cost: one fit per fold, and one LLM request per distinct text over all folds, parts and
        rivals, unless prompts show examples of the training rows (``n_shots``), which differ from
        fold to fold. Intervals of accuracy are Wilson's; that of the difference to the best part
        is Agresti and Min's for paired rows. Both are of 95 %, and take repeats of a text for rows
        of their own.
        """
        if (X_test is None) != (y_test is None):
            raise ValueError(f"{CALLER} got one of X_test and y_test; pass both, or neither.")
        if y is None:
            raise ValueError(f"{CALLER} requires y to be passed, but the target y is None.")
        table = read_rows(X, y)
        test = None if X_test is None else _read_test(X_test, y_test, table)
        if test is not None:
            splits = [(np.arange(len(table.y)), np.arange(len(test.y)))]
        else:
            splits = folds_of(table, cv, random_state)
        done = evaluate(estimator, table, splits, test, memory=memory, seed=random_state)
        figures = _all_figures(done, table, test, n_rows_shown)
        figures["title"] = title or f"Evaluation of {type(estimator).__name__}"
        figures["folds"] = None if test is not None else len(splits)
        figures["made"] = _circumstances(estimator, random_state, done.seconds)
        return cls(figures, done)

    def to_dict(self) -> dict[str, Any]:
        """Return all figures of the page as plain JSON values.

        Returns
        -------
        dict
            What JSON can hold.
        """
        return json.loads(json.dumps(self.figures_))

    def to_json(self, path: str | os.PathLike | None = None) -> str:
        """Return the figures as JSON text, and write it to ``path`` if one is given.

        Parameters
        ----------
        path : str or Path, optional
            Where to write.

        Returns
        -------
        str
            The figures.
        """
        said = json.dumps(self.figures_, indent=1)
        if path is not None:
            Path(path).write_text(said + "\n", encoding="utf-8")
        return said

    def to_html(self, path: str | os.PathLike | None = None) -> str:
        """Return the page as HTML text, and write it to ``path`` if one is given.

        Parameters
        ----------
        path : str or Path, optional
            Where to write.

        Returns
        -------
        str
            The page.
        """
        said = page(self.figures_)
        if path is not None:
            Path(path).write_text(said, encoding="utf-8")
        return said

    def _repr_html_(self) -> str:
        return (
            f'<iframe title="evaluation report" sandbox="" srcdoc="{html.escape(self.to_html())}" '
            f'style="width:100%;height:{_FRAME_HEIGHT}px;border:1px solid #888"></iframe>'
        )

    def __repr__(self) -> str:
        found, rows = self.figures_, self.figures_["data"]["rows"]
        width = max(map(len, self.methods_))
        lines = [f"{found['title']} ({rows} rows)"]
        for name, scores in found["methods"].items():
            low, high = scores["accuracy_interval"]
            lines.append(f"  {name:<{width}}  {scores['accuracy']:.3f} [{low:.3f}, {high:.3f}]")
        if found["comparison"]:
            low, high = found["comparison"]["interval"]
            ahead = found["comparison"]["difference"]
            best = found["comparison"]["best_part"]
            lines.append(
                f"  {found['subject']} minus {best}: {ahead:+.3f} [{low:+.3f}, {high:+.3f}]"
            )
        return "\n".join(lines)


def _read_test(X_test, y_test, table):
    """Return the test rows, with the label names of the training rows."""
    if is_multilabel(y_test) != table.multilabel:
        raise ValueError(f"{CALLER} got y and y_test of different kinds; give both alike.")
    test = read_rows(X_test, y_test)
    if table.multilabel and test.y.shape[1] != table.y.shape[1]:
        raise ValueError(
            f"{CALLER} got {table.y.shape[1]} labels in y and {test.y.shape[1]} in y_test; "
            "give the same columns in both."
        )
    return test


def _all_figures(done, table, test, n_shown):
    """Return everything that the page shows, as plain values."""
    multilabel = done.table.multilabel
    methods = {name: _figures.scores_of(done, name) for name in done.opinions}
    sheet = _figures.data_sheet(table if test is None else test, None if test is None else table)
    mine = [n for n, o in done.opinions.items() if o.role != "rival" and o.proba is not None]
    return {
        "subject": done.subject,
        "multilabel": multilabel,
        "data": sheet,
        "training": None if test is None else _figures.data_sheet(table),
        "classes": done.classes,
        "methods": methods,
        "comparison": _figures.compared(done),
        "reliability": {name: _figures.reliability_of(done, name) for name in mine},
        "per_class": {
            n: _figures.per_class(done, n) for n, o in done.opinions.items() if o.role != "rival"
        },
        "confusion": _figures.confusion(done),
        "trust": done.trust,
        "cost_curve": _figures.accuracy_by_share(done),
        "disagreements": _shown_rows(done, n_shown),
        "usage": done.usage,
        "failures": done.failures,
        "notes": done.notes,
    }


def _shown_rows(done, n_shown):
    """Return the rows of most disagreement with what each source said."""
    judged = [(n, o) for n, o in done.opinions.items() if o.role in ("fusion", "part")]
    shown = []
    for row, apart in _figures.disagreements(done, n_shown):
        shown.append(
            {
                "row": int(done.table.rows[row]),
                "text": None if done.table.texts is None else done.table.texts[row],
                "truth": _named(done, done.table.y[row], truth=True),
                "apart": apart,
                "said": {name: _told_of(done, opinion, row) for name, opinion in judged},
            }
        )
    return shown


def _told_of(done, opinion, row):
    answer = _named(done, opinion.labels[row])
    proba = opinion.proba[row]
    sure = proba[opinion.labels[row]] if not done.table.multilabel else None
    silent = opinion.answered is not None and not opinion.answered[row]
    right = answer == _named(done, done.table.y[row], truth=True)
    sure = None if sure is None else float(sure)
    return {"answer": None if silent else answer, "confidence": sure, "right": bool(right)}


def _named(done, labels, truth=False):
    if done.table.multilabel:
        return [done.classes[number] for number in np.flatnonzero(labels)]
    return (
        labels.item()
        if truth and hasattr(labels, "item")
        else (labels if truth else done.classes[labels])
    )


def _circumstances(estimator, seed, seconds):
    """Return date, versions, seeds and the estimator's own words on itself."""
    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    params = estimator.get_params(deep=True) if hasattr(estimator, "get_params") else {}
    seeds = {name: repr(v) for name, v in params.items() if name.endswith("random_state")}
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "seconds": round(seconds, 1),
        "versions": versions,
        "seeds": {"report": seed, **seeds},
        "estimator": _told_settings(estimator),
    }


def _told_settings(part):
    """Return an estimator with its changed settings, without the texts that some of them hold."""
    if isinstance(part, str | bool | int | float | None):
        return repr(part) if len(str(part)) <= _SETTING_SHOWN else "(a long text)"
    if isinstance(part, list | tuple) and part and isinstance(part[0], tuple):  # steps
        return "[" + ", ".join(f"{step[0]}={_told_settings(step[1])}" for step in part) + "]"
    if not hasattr(part, "get_params"):
        return f"({type(part).__name__})"
    usual = inspect.signature(type(part)).parameters
    own = part.get_params(deep=False)
    changed = {
        name: value
        for name, value in own.items()
        if name not in usual or value is not usual[name].default
    }
    said = [f"{name}={_told_settings(v)}" for name, v in changed.items() if v is not None]
    return f"{type(part).__name__}({', '.join(said)})"
