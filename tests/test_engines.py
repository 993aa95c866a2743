"""Ray Data and Spark call a scorer; each starts an engine of its own on this machine."""

import os
import sys
import warnings

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from _batches import save_word_model, word_model, write_shards
from _topics import make_texts

from sklfusion.batch import BatchScorer, score_ray, score_spark

pytestmark = [pytest.mark.nightly, pytest.mark.filterwarnings("ignore")]


def _expected(texts):
    return word_model().predict(texts).tolist()


def test_ray_scores_in_actors(tmp_path, monkeypatch):
    """Two of them; every row comes back with its columns."""
    ray = pytest.importorskip("ray", reason="Ray comes with sklfusion[ray]")
    monkeypatch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    texts = write_shards(tmp_path / "in", [30, 30])
    path = save_word_model(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ray.init(
            num_cpus=3,
            include_dashboard=False,
            _node_ip_address="127.0.0.1",
            logging_level="error",
            runtime_env={"env_vars": {"PYTHONPATH": os.environ.get("PYTHONPATH", "")}},
        )
        try:
            data = ray.data.read_parquet(str(tmp_path / "in"))
            rows = score_ray(data, BatchScorer(path), concurrency=2).take_all()
        finally:
            ray.shutdown()
    rows.sort(key=lambda row: row["id"])
    assert [row["id"] for row in rows] == list(range(60))
    assert [row["label"] for row in rows] == _expected(texts)
    assert {row["status"] for row in rows} == {"ok"}


def test_spark_scores_through_arrow(tmp_path, monkeypatch):
    """A missing text has a status; types are those foretold."""
    sql = pytest.importorskip("pyspark.sql", reason="Spark comes with sklfusion[spark]")
    monkeypatch.setenv("PYSPARK_PYTHON", sys.executable)
    texts, _ = make_texts(40)
    (tmp_path / "in").mkdir()
    table = pa.table({"id": range(41), "text": [*texts, None]})
    pq.write_table(table, tmp_path / "in" / "a.parquet")
    path = save_word_model(tmp_path)
    local = "127.0.0.1"
    builder = sql.SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false")
    builder = builder.config("spark.driver.host", local).config("spark.driver.bindAddress", local)
    spark = builder.getOrCreate()
    try:
        frame = spark.read.parquet(str(tmp_path / "in")).repartition(2)
        scored = score_spark(frame, BatchScorer(path))
        types = dict(scored.dtypes)
        rows = sorted(scored.collect(), key=lambda row: row["id"])
    finally:
        spark.stop()
    assert types == {
        **{"id": "bigint", "text": "string", "label": "string"},
        **{"p_money": "float", "p_sport": "float", "status": "string", "reason": "string"},
    }
    assert [row["label"] for row in rows[:-1]] == _expected(texts)
    assert (rows[-1]["label"], rows[-1]["status"]) == (None, "missing")
