"""Adapters: how Dask, Ray Data and Spark call a `BatchScorer`."""

from __future__ import annotations

from typing import Any

from sklfusion._optional import import_optional
from sklfusion.batch._scorer import BatchScorer, arrow


def score_dask(frame: Any, scorer: BatchScorer) -> Any:
    """Score a Dask DataFrame, partition by partition.

    Parameters
    ----------
    frame : dask.dataframe.DataFrame
        With the column of texts. Its other columns and its index stay as they are.
    scorer : BatchScorer
        Made of a saved model, unless the model is small.

    Returns
    -------
    dask.dataframe.DataFrame
        The columns of ``frame`` and those of the scorer. Nothing is scored before it is computed.

    Raises
    ------
    ValueError
        If the frame lacks the column of texts or has one that would be added.

    See Also
    --------
    sklfusion.BatchScorer : What it runs on each part.
    score_ray : The same with another engine.

    Notes
    -----
    The model is opened here as well, for the classes. Cost: one partition in memory per thread
    of a worker.

    Examples
    --------
    >>> import pandas as pd
    >>> from dask.dataframe import from_pandas
    >>> from sklearn.feature_extraction.text import CountVectorizer
    >>> from sklearn.naive_bayes import MultinomialNB
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklfusion.batch import BatchScorer, score_dask
    >>> model = make_pipeline(CountVectorizer(), MultinomialNB())
    >>> scorer = BatchScorer(model.fit(["a goal", "a bank"], ["sport", "money"]))
    >>> frame = from_pandas(pd.DataFrame({"text": ["late goal", "bank rate"]}), npartitions=2)
    >>> score_dask(frame, scorer).compute(scheduler="synchronous")["label"].tolist()
    ['sport', 'money']
    """
    meta = _score_pandas(frame._meta, scorer)
    return frame.map_partitions(_score_pandas, scorer, meta=meta, enforce_metadata=False)


def _score_pandas(frame, scorer):
    """Return a pandas frame with the scorer's columns; index and other columns untouched."""
    scorer.output_schema(arrow().schema([(str(name), "null") for name in frame.columns]))
    columns = scorer.columns(frame[scorer.text].tolist())
    table = arrow().table(columns).to_pandas(types_mapper=_nullable)
    return frame.assign(**{name: table[name].array for name in table.columns})


def _nullable(kind):
    """Return the pandas type of a label that may be null in one partition and not in another."""
    import pandas

    types = arrow().types
    if types.is_integer(kind):
        return pandas.Int64Dtype()
    return pandas.BooleanDtype() if types.is_boolean(kind) else None


def score_ray(dataset: Any, scorer: BatchScorer, **options: Any) -> Any:
    """Score a Ray Dataset in actors that open the model once each.

    Parameters
    ----------
    dataset : ray.data.Dataset
        With the column of texts.
    scorer : BatchScorer
    **options
        For ``Dataset.map_batches``: ``concurrency`` (actors, by default 1), ``num_cpus``,
        ``num_gpus``, ``batch_size``, ``memory``.

    Returns
    -------
    ray.data.Dataset
        Lazy, as all of Ray Data.

    See Also
    --------
    sklfusion.BatchScorer : What it runs on each part.
    score_spark : The same with another engine.

    Examples
    --------
    >>> import ray  # doctest: +SKIP
    >>> from sklfusion.batch import BatchScorer, score_ray
    >>> texts = ray.data.read_parquet("texts/")  # doctest: +SKIP
    >>> score_ray(texts, BatchScorer("model.sklf"))  # doctest: +SKIP
    """
    settings: dict[str, Any] = {"concurrency": 1, "batch_size": scorer.batch_size, **options}
    settings["fn_constructor_args"] = (scorer,)
    return dataset.map_batches(_RayActor, batch_format="pyarrow", **settings)


class _RayActor:
    """Ray builds an actor of a class, which then keeps what it opened."""

    def __init__(self, scorer):
        self.scorer = scorer

    def __call__(self, table):
        return self.scorer(table)


def score_spark(frame: Any, scorer: BatchScorer) -> Any:
    """Score a Spark DataFrame through ``mapInArrow``.

    Parameters
    ----------
    frame : pyspark.sql.DataFrame
        With the column of texts.
    scorer : BatchScorer
        Made of a saved model that lies under the same path on every executor.

    Returns
    -------
    pyspark.sql.DataFrame
        Lazy. Rows that failed have a status, so a task does not fail for a text.

    See Also
    --------
    sklfusion.BatchScorer : What it runs on each part.
    score_dask : The same with another engine.

    Notes
    -----
    Spark cuts the batches (``spark.sql.execution.arrow.maxRecordsPerBatch``), the scorer cuts
    them further. Python workers are reused, and with them the opened model.

    Examples
    --------
    >>> from sklfusion.batch import BatchScorer, score_spark
    >>> texts = spark.read.parquet("texts/")  # doctest: +SKIP
    >>> score_spark(texts, BatchScorer("model.sklf"))  # doctest: +SKIP
    """
    types = import_optional("pyspark.sql.pandas.types", extra="spark", purpose="Spark")
    added = scorer.output_schema(arrow().schema([(name, "null") for name in frame.columns]))
    new = arrow().schema(list(added)[len(frame.columns) :])
    spark_types = import_optional("pyspark.sql.types", extra="spark", purpose="Spark")
    schema = spark_types.StructType([*frame.schema.fields, *types.from_arrow_schema(new).fields])

    def score(batches):
        for batch in batches:
            yield from scorer(batch).to_batches()

    return frame.mapInArrow(score, schema)
