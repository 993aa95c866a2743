"""The evaluation itself: every method on rows that it has not seen, the LLM asked once a text."""

import logging
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, clone
from sklearn.pipeline import Pipeline

from sklfusion._class_labels import declared_classes, sort_labels
from sklfusion._threads import one_thread
from sklfusion._validation import plain_labels
from sklfusion.auto import AutoFusionClassifier
from sklfusion.cascade import CascadeClassifier
from sklfusion.llm._usage import UsageReport
from sklfusion.report._rivals import majority, on_numbers, on_words
from sklfusion.report._sources import (
    Opinion,
    curve_of_cascade,
    fusion_in,
    may_hold_a_fusion,
    opinions_of_parts,
    opinions_of_stages,
)

_log = logging.getLogger("sklfusion")
#: What a usage report counts that adds up over folds.
_COUNTS = ("texts", "requests", "cached", "retries", "prompt_tokens", "completion_tokens")


@dataclass
class Evaluation:
    """What every method said of the judged rows.

    Parameters
    ----------
    table : Table
        The judged rows, in the order of ``opinions``.
    classes : list of K labels
    opinions : dict of str to Opinion
        ``proba`` and ``labels`` by number in ``classes``.
    subject : str
        The method that is evaluated.
    fold : ndarray of shape (n,)
        In which fold a row was judged.
    trust : dict of str to list of float
        Trust per source, fold by fold.
    usage : dict or None
        Requests, tokens and money of the whole evaluation.
    failures : dict of str to int
        Judged rows without an answer, by cause.
    notes : list of str
        What was left out, and why.
    curve : ndarray or None
        Accuracy that a cascade expects at each share of texts asked about, mean over folds.
    """

    table: Any
    classes: list
    opinions: dict
    subject: str
    fold: np.ndarray
    trust: dict = field(default_factory=dict)
    usage: dict | None = None
    failures: dict = field(default_factory=dict)
    notes: list = field(default_factory=list)
    seconds: float = 0.0
    curve: Any = None


@dataclass
class _Fold:
    classes: list
    opinions: dict
    trust: dict
    usages: list
    failures: Counter
    notes: list
    curve: Any = None


def evaluate(estimator, table, splits, test=None, *, memory=None, seed=None):
    """Fit on each split, ask every method about the rows left out, and put it all together.

    Parameters
    ----------
    estimator : estimator
        Unfitted, or fitted: it is cloned.
    table : Table
        All rows, or the training rows where ``test`` is given.
    splits : list of (training rows, test rows)
        Ignored where ``test`` is given.
    test : Table, optional
    memory : path, optional
        Where replies and embeddings are kept; by default as long as the evaluation lasts.
    seed : int or None
        Of the rivals.

    Returns
    -------
    Evaluation
    """
    start, folds = time.perf_counter(), []
    pairs = [(table, test)] if test is not None else None
    with tempfile.TemporaryDirectory(prefix="sklfusion-report-") as folder:
        template = _with_memory(estimator, folder if memory is None else memory)
        template, notes = _with_all_classes(template, table, splits)
        for number, (a, b) in enumerate(splits, 1):
            _log.info("evaluation: fold %d of %d", number, len(splits))
            train, judged = pairs[0] if pairs else (table.take(a), table.take(b))
            folds.append(_judged_fold(template, train, judged, seed))
    rows = np.concatenate([b for _, b in splits])
    judged = test if test is not None else table.take(rows)
    sizes = [len(b) for _, b in splits]
    done = _put_together(folds, judged, np.repeat(np.arange(len(sizes)), sizes), notes)
    done.seconds = time.perf_counter() - start
    return done


def _with_memory(estimator, location):
    """Return a clone in which whatever of ours has a memory, and none set, keeps it there.

    A whole without one whose part has one takes that of the part: two places would contradict.
    """
    twin = clone(estimator)
    told: list[str] = []
    parts = {"": twin, **twin.get_params(deep=True)}
    for name in sorted(parts, key=lambda name: (name.count("__"), name)):
        part = parts[name]
        if _takes_memory(part) and not any(not t or name.startswith(f"{t}__") for t in told):
            told.append(name)
            if part.memory is None:
                inner = [p.memory for p in part.get_params().values() if _takes_memory(p)]
                inner = [place for place in inner if place is not None]
                part.memory = inner[0] if inner else str(location)
    return twin


def _takes_memory(part):
    """Whether something is an estimator of ours that keeps replies or embeddings."""
    ours = type(part).__module__.startswith("sklfusion.")
    return ours and hasattr(part, "fit") and "memory" in part.get_params(deep=False)


def _with_all_classes(estimator, table, splits):
    """Name all classes to a fusion of texts where a fold lacks one: prompts stay the same."""
    if not isinstance(estimator, AutoFusionClassifier) or table.multilabel:
        return estimator, []
    everything = np.unique(table.y)
    whole = all(len(np.unique(table.y[train])) == len(everything) for train, _ in splits)
    told = estimator.classes is not None or declared_classes(estimator.llm) is not None
    if whole or told or everything.dtype.kind not in "OUS":
        return estimator, []
    estimator.classes = everything.tolist()
    note = "Some folds lack a rare class in training; all classes were named to the estimator."
    return estimator, [note]


def _judged_fold(template, train, test, seed):
    """Fit on some rows and return what every method says of the others."""
    with one_thread(train.X, openmp=False):
        fitted = clone(template).fit(train.X, train.target)
    classes = _classes_of(fitted, train)
    Y = train.y if train.multilabel else _as_indicator(train.y, classes)
    notes, found, trust, curve = [], {}, {}, None
    failed: Counter = Counter()
    if may_hold_a_fusion(template):
        head, columns = fusion_in(fitted, train.X)
        before = _failures(fitted)
        _, test_columns = fusion_in(fitted, test.X)
        failed = _failures(fitted) - before
        with one_thread(columns):
            found = opinions_of_parts(head, columns, test_columns, Y, seed)
        trust = _mean_trust(head)
        if train.texts is not None and sum(head.inputs_.is_encoder):
            notes.append(_drop_seen(found))
    elif isinstance(fitted, CascadeClassifier):
        found, curve = opinions_of_stages(fitted, test.X), curve_of_cascade(fitted)
        failed = _failures(fitted)
        trust = _mean_trust(fitted.fusion_)
        trust = {"first stage" if n == "encoder" else n: v for n, v in trust.items()}
        notes.append("The LLM of a cascade is asked about some texts only, so it is not judged.")
    else:
        found[type(fitted).__name__] = _of_estimator(fitted, test, classes)
        failed = _failures(fitted)
        notes.append(
            f"{type(fitted).__name__} has no sources that could be judged alone: sections on "
            "parts, trust, cost and disagreement are left out."
        )
    with one_thread():  # small models only
        found |= _rivals(train, test, Y, notes, whole=found)
    return _Fold(classes, found, trust, _usages(fitted), failed, notes, curve)


def _mean_trust(head):
    weights = getattr(head, "source_weights_", None) or {}
    return {name: float(np.mean(values)) for name, values in weights.items()}


def _drop_seen(found):
    """Leave out what would be fitted on class scores of an encoder that has seen the rows."""
    found.pop("logistic regression on embedding and scores", None)
    return (
        "The encoder was fine-tuned, and its scores of training rows are not honest: logistic "
        "regression on embedding and scores is left out."
    )


def _rivals(train, test, Y, notes, whole):
    several = train.multilabel
    found = {}
    if train.texts is not None:
        words = on_words(train, test, Y, several)
        if words is None:
            notes.append("TF-IDF is left out: the training texts hold no words.")
        else:
            found["TF-IDF and logistic regression"] = words
    elif not any(opinion.role == "part" for opinion in whole.values()):
        numbers = on_numbers(train, test, Y, several)
        if numbers is None:
            notes.append("Logistic regression is left out: the features are no numbers.")
        else:
            found["logistic regression"] = numbers
    return {**found, "majority": majority(Y, len(test.y), several)}


def _classes_of(fitted, train):
    if train.multilabel:
        return list(train.labels)
    return plain_labels(getattr(fitted, "classes_", np.unique(train.y)))


def _as_indicator(y, classes):
    place = {label: number for number, label in enumerate(classes)}
    return np.eye(len(classes), dtype=int)[[place[label] for label in plain_labels(y)]]


def _of_estimator(fitted, test, classes):
    """Return the opinion of an estimator of any make."""
    labels, proba = np.asarray(fitted.predict(test.X)), None
    if hasattr(fitted, "predict_proba"):
        proba = fitted.predict_proba(test.X)
        if isinstance(proba, list):  # one (n, 2) per label, as forests give
            proba = np.column_stack([p[:, 1] if p.shape[1] == 2 else p[:, 0] for p in proba])
        proba = np.asarray(proba, dtype=float)
    if not test.multilabel:
        labels = _as_indicator(labels, classes).argmax(axis=1)
    return Opinion("fusion", proba, labels)


def _reporters(part, seen):
    """Yield the estimators in a fitted one that count what they asked."""
    if id(part) in seen:
        return
    seen.add(id(part))
    if isinstance(part, BaseEstimator):
        if isinstance(getattr(part, "usage_", None), UsageReport) and hasattr(part, "classes_"):
            yield part
            return
        fitted = [part.steps] if isinstance(part, Pipeline) else vars(part).values()
        for value in list(fitted):
            yield from _reporters(value, seen)
    elif isinstance(part, list | tuple):
        for value in part:
            yield from _reporters(value, seen)


def _usages(fitted):
    return [part.usage_ for part in _reporters(fitted, set())]


def _failures(fitted):
    return sum((Counter(usage.failures) for usage in _usages(fitted)), Counter())


def _put_together(folds, judged, fold, notes):
    """Put the answers of all folds together, by the classes of all."""
    several = judged.multilabel
    labels = {label: None for f in folds for label in f.classes}
    classes = list(labels) if several else sort_labels({*labels, *plain_labels(judged.y)})
    common = [n for n in folds[0].opinions if all(n in f.opinions for f in folds)]
    place = {label: number for number, label in enumerate(classes)}
    places = [[place[label] for label in f.classes] for f in folds]
    merged = {
        name: _merged([f.opinions[name] for f in folds], places, len(classes), several)
        for name in common
    }
    usages = [usage for f in folds for usage in f.usages]
    curves = [f.curve for f in folds]
    return Evaluation(
        judged,
        classes,
        merged,
        next(name for name, opinion in merged.items() if opinion.role == "fusion"),
        fold,
        {
            source: [f.trust[source] for f in folds if source in f.trust]
            for source in folds[0].trust
        },
        _sum(usages),
        dict(sum((f.failures for f in folds), Counter())),
        [*notes, *dict.fromkeys(note for f in folds for note in f.notes)],
        curve=None if any(c is None for c in curves) else np.mean(curves, axis=0),
    )


def _merged(opinions, places, n_classes, several):
    role = opinions[0].role
    labels = [
        o.labels if several else np.array(p)[o.labels]
        for o, p in zip(opinions, places, strict=True)
    ]
    proba = None
    if all(o.proba is not None for o in opinions):
        wide = []
        for opinion, place in zip(opinions, places, strict=True):
            part = np.zeros((len(opinion.labels), n_classes))
            part[:, place] = opinion.proba
            wide.append(part)
        proba = np.vstack(wide)
    answered = None
    if all(o.answered is not None for o in opinions):
        answered = np.concatenate([o.answered for o in opinions])
    return Opinion(role, proba, np.concatenate(labels), answered)


def _sum(usages):
    if not usages:
        return None
    found = {name: sum(getattr(usage, name) for usage in usages) for name in _COUNTS}
    costs = [usage.cost for usage in usages]
    found["cost"] = None if None in costs else float(sum(costs))
    return found
