"""Many texts: in a stream, in sharded Parquet, under an engine that spreads them over machines.

::

    stream(model, source)         the results of a method, batch by batch, in bounded memory
    read_batches(source)          texts, tables, record batches or Parquet files as record batches
    BatchScorer(model)            Arrow table in, Arrow table out: what any engine can call
    score_dask, score_ray, score_spark    the same over the tables of an engine
    score_shards(model, in, out)  a folder of Parquet files, restartable, on several processes

``_open`` opens a model once per process, ``_scorer`` scores rows and says why some have no label,
``_sources`` reads, ``_engines`` adapts; ``_shards`` plans a folder, ``_manifest`` remembers it,
``_one_shard`` does one file and ``_worker`` does so in a process of its own.
"""

from sklfusion._lazy import attach as _attach

__getattr__, __dir__, __all__ = _attach(__name__)
