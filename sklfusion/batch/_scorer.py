"""`BatchScorer`: Arrow table in, Arrow table out, nothing that an engine would have to know."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from sklfusion._optional import import_optional
from sklfusion._unanswered import unanswered
from sklfusion._validation import is_missing, plain_labels
from sklfusion.batch._open import ModelSource
from sklfusion.exceptions import SklFusionError

if TYPE_CHECKING:
    import pyarrow as pa

#: Rows that fail one after the other, with none that succeeds, after which the model is at fault.
_HOPELESS = 8
_LONGEST_REASON = 500  # characters; messages of models may quote whole texts


def arrow():
    """Return pyarrow, or raise an ImportError that names the extra."""
    return import_optional("pyarrow", extra="cli", purpose="Scoring Arrow tables")


class BatchScorer:
    """Score Arrow tables with a fitted text classifier, row by row accounted for.

    Small enough to travel: pickled, it holds the path of the model (or the estimator's bytes), and
    the model is opened at the first table, once per process, however many scorers arrive there.
    Dask, Ray, Spark and Daft call it as it is; see :func:`~sklfusion.batch.score_dask` and its
    neighbours.

    Parameters
    ----------
    model : str, Path or fitted estimator
        A file that :func:`sklfusion.persistence.save` wrote, found under the same path on every
        machine, or an estimator with ``predict_proba``, which travels with each task: right for
        small models, wasteful for an encoder.
    text : str, default="text"
        Column of the texts.
    label : str, default="label"
        Name of the column of labels that is added.
    batch_size : int, default=1024
        Texts per call of the model. More take more memory, fewer more calls.
    memory : str or Path, optional
        Store of replies and embeddings in place of the saved model's own. One on each machine:
        SQLite is not for network folders. Processes that share it pay for no text twice.
    endpoints : sequence of str, default=()
        Addresses that a saved model may send to, as in :func:`sklfusion.persistence.load`.

    Raises
    ------
    PersistenceError
        If the path leads to no file.
    ValueError
        If ``batch_size`` is below 1, or ``memory`` or ``endpoints`` come with an estimator.

    See Also
    --------
    stream : Plain arrays from any source of texts.
    score_shards : A folder of Parquet files.

    Notes
    -----
    Columns added to the table, in this order:

    - ``label``, or the name that was given: the predicted label, of the type of the classes; for
      multi-label models the list of labels. Null where the row failed.
    - ``p_CLASS``, one float32 column per class, named as the command line names them, so that any
      engine can filter on one. Null where the row failed.
    - ``status``: ``"ok"``; ``"partial"``, a label that a fused model gave although an LLM in it
      had no answer; ``"missing"``, the text is null; ``"not_text"``, it is no string;
      ``"refused"``, ``"parse_error"`` or ``"transport_error"``, the model is an LLM and gave no
      answer; ``"error"``, the model raised over this row.
    - ``reason``: a sentence, null for ``"ok"``.

    A row over which the model raises is found by halving the batch; all others are scored. Where
    every row fails, or the endpoint, the budget or the store does, the error is raised: it says
    nothing about a row. Answers of LLMs that a ``FeatureUnion(n_jobs=...)`` asks in other
    processes are not heard of, and their rows are ``"ok"``.

    Cost: one ``predict_proba`` per text; multi-label models also run ``predict``, since their
    cuts are their own.

    Examples
    --------
    >>> import pyarrow as pa
    >>> from sklearn.feature_extraction.text import CountVectorizer
    >>> from sklearn.naive_bayes import MultinomialNB
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklfusion.batch import BatchScorer
    >>> model = make_pipeline(CountVectorizer(), MultinomialNB())
    >>> scorer = BatchScorer(model.fit(["a goal", "a bank"], ["sport", "money"]))
    >>> table = scorer(pa.table({"id": [1, 2], "text": ["late goal", None]}))
    >>> table.column_names
    ['id', 'text', 'label', 'p_money', 'p_sport', 'status', 'reason']
    >>> table["label"].to_pylist(), table["status"].to_pylist()
    (['sport', None], ['ok', 'missing'])
    """

    def __init__(
        self,
        model: Any,
        *,
        text: str = "text",
        label: str = "label",
        batch_size: int = 1024,
        memory: Any = None,
        endpoints: Any = (),
    ) -> None:
        if int(batch_size) < 1:
            raise ValueError(f"BatchScorer got batch_size={batch_size!r}; it needs at least 1.")
        self.text, self.label = text, label
        self.batch_size = int(batch_size)
        self._source = ModelSource(model, memory, endpoints)

    def __repr__(self) -> str:
        model = self._source.path or type(self._source.open()).__name__
        return f"BatchScorer({model!r}, text={self.text!r}, batch_size={self.batch_size})"

    def __call__(self, table: pa.Table | pa.RecordBatch) -> pa.Table:
        """Return the table with a label, probabilities, status and reason for every row.

        Parameters
        ----------
        table : pyarrow.Table or RecordBatch
            Any columns; one of them holds the texts. Dictionary-encoded and large strings too.

        Returns
        -------
        pyarrow.Table
            The same rows in the same order, columns added.

        Raises
        ------
        ValueError
            If there is no column of that name, or one that would be added is there already.
        SklFusionError
            If the endpoint, the budget or the store fails.
        """
        pa = arrow()
        if isinstance(table, pa.RecordBatch):
            table = pa.Table.from_batches([table])
        self._check(table.column_names)
        found = self.columns(table[self.text].to_pylist())
        for name, column in found.items():
            table = table.append_column(name, column)
        return table

    def output_schema(self, schema: pa.Schema) -> pa.Schema:
        """Return the schema of the table that comes out for a table of this schema.

        Parameters
        ----------
        schema : pyarrow.Schema

        Returns
        -------
        pyarrow.Schema
        """
        self._check(schema.names)
        for name, column in self.columns([]).items():
            schema = schema.append(arrow().field(name, column.type))
        return schema

    def columns(self, texts: list[Any]) -> dict[str, pa.Array]:
        """Return the columns that are added for these texts, by name.

        Parameters
        ----------
        texts : list
            Texts; what is no str gets a status in place of a label.

        Returns
        -------
        dict of str to pyarrow.Array
        """
        model = _checked(self._source.open())
        rows = _Rows(model, texts)
        for start in range(0, len(rows.places), self.batch_size):
            rows.score(rows.places[start : start + self.batch_size])
        columns = rows.columns()
        return dict(zip(self._added(model.classes_), columns, strict=True))

    def _check(self, names):
        if self.text not in names:
            raise ValueError(
                f"The table has no column {self.text!r}; it has {list(names)}. Name the column "
                "of the texts with text=."
            )
        classes = _checked(self._source.open()).classes_
        taken = [name for name in self._added(classes) if name in names]
        if taken:
            raise ValueError(
                f"The table has a column {taken[0]!r} already, which would be added; rename it, "
                "or drop it if it is an earlier result."
            )

    def _added(self, classes):
        return [self.label, *(f"p_{name}" for name in plain_labels(classes)), "status", "reason"]


def _checked(model):
    if not hasattr(model, "predict_proba") or not hasattr(model, "classes_"):
        raise TypeError(
            f"{type(model).__name__} has no predict_proba or no classes_; BatchScorer needs a "
            "fitted classifier with both (sklearn.calibration.CalibratedClassifierCV adds them)."
        )
    return model


class _Rows:
    """The rows of one table while they are scored."""

    def __init__(self, model, texts):
        self.model = model
        self.texts = texts
        self.proba = np.full((len(texts), len(model.classes_)), np.nan, dtype=np.float32)
        self.labels = np.full(len(texts), None, dtype=object)
        self.status = ["ok" if isinstance(t, str) else _kind(t) for t in texts]
        self.reason = [_UNSCORED.get(status) for status in self.status]
        self.places = [i for i, status in enumerate(self.status) if status == "ok"]
        self.scored = 0
        self.failed = 0

    def score(self, places):
        """Score some rows; halve them where the model raises, until the row is found."""
        texts = [self.texts[i] for i in places]
        try:
            with unanswered() as heard:
                proba = np.asarray(self.model.predict_proba(texts))
        except SklFusionError:
            raise
        except Exception as error:
            self._halve(places, error)
            return
        wanted = (len(places), self.proba.shape[1])
        if proba.shape != wanted:
            raise TypeError(
                f"{type(self.model).__name__}.predict_proba gave an array of shape {proba.shape}; "
                f"BatchScorer needs {wanted}, one column per class."
            )
        self.scored += len(places)
        self._keep(places, texts, proba, heard)

    def _keep(self, places, texts, proba, heard):
        places = np.array(places)
        self.proba[places] = proba
        empty = np.isnan(proba).any(axis=1)
        if heard or empty.any():
            self._mark(places, texts, empty, heard)
            places = places[[self.status[i] in ("ok", "partial") for i in places]]
        self._label(places)

    def _mark(self, places, texts, empty, heard):
        """Write down which rows have no answer, and which have one without the LLM's."""
        llm_alone = _is_llm(self.model)
        for place, text, none in zip(places, texts, empty, strict=True):
            if text in heard and llm_alone:
                self._fail(place, heard[text], f"the LLM gave no answer: {heard[text]}")
            elif none:
                self._fail(place, "error", "the model gave no probabilities")
            elif text in heard:
                self.status[place] = "partial"
                self.reason[place] = f"scored without an LLM's answer: {heard[text]}"

    def _halve(self, places, error):
        if len(places) > 1:
            half = len(places) // 2
            self.score(places[:half])
            self.score(places[half:])
            return
        self.failed += 1
        if not self.scored and (self.failed >= _HOPELESS or self.failed == len(self.places)):
            raise error
        self._fail(places[0], "error", f"{type(error).__name__}: {error}"[:_LONGEST_REASON])

    def _fail(self, place, status, reason):
        self.status[place], self.reason[place] = status, reason
        self.proba[place] = np.nan

    def _label(self, places):
        if not len(places):
            return
        classes = plain_labels(self.model.classes_)
        if getattr(self.model, "abstain_below", 0) or is_multilabel_model(self.model):
            found = np.asarray(self.model.predict([self.texts[i] for i in places]))
            if found.ndim == 2:
                for place, row in zip(places, found, strict=True):
                    self.labels[place] = [classes[k] for k in np.flatnonzero(row)]
                return
            self.labels[places] = plain_labels(found)
            return
        names = np.empty(len(classes), dtype=object)
        names[:] = classes
        self.labels[places] = names[self.proba[places].argmax(axis=1)]

    def columns(self):
        pa = arrow()
        classes = plain_labels(self.model.classes_)
        kind = pa.array(classes).type if classes else pa.string()
        if is_multilabel_model(self.model):
            kind = pa.list_(kind)
        scores = [pa.array(column, from_pandas=True) for column in self.proba.T]
        told = [pa.array(values, pa.string()) for values in (self.status, self.reason)]
        return [pa.array(self.labels.tolist(), kind), *scores, *told]


_UNSCORED = {"missing": "the text is missing", "not_text": "the value is not a string"}


def _kind(value):
    return "missing" if is_missing(value) else "not_text"


def _unwrapped(model):
    """Return the model inside a search or a wrapper of thresholds, and others as they are."""
    for name in ("best_estimator_", "estimator_"):
        inner = getattr(model, name, None)
        if inner is not None:
            return _unwrapped(inner)
    return model


def is_multilabel_model(model):
    """Tell whether a fitted model gives several labels to one text."""
    if hasattr(model, "thresholds_"):
        return True
    model = _unwrapped(model)
    if hasattr(model, "steps"):
        return is_multilabel_model(model.steps[-1][1])
    return bool(getattr(model, "multilabel_", getattr(model, "multilabel", False)))


def _is_llm(model):
    """Tell whether an LLM is all that answers, so that without it there is no answer."""
    model = _unwrapped(model)
    if hasattr(model, "steps"):
        return any(_is_llm(step) for _, step in model.steps)
    if hasattr(model, "scorer_"):
        return getattr(model, "embedder_", model) is None
    return hasattr(model, "annotate")
