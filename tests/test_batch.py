"""Tables in, tables out: every row has a label or a status, and none is lost."""

import pickle
import subprocess
import sys

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from _batches import CLASSES, Picky, asking, save_word_model, word_model, write_shards
from _bundles import make_auto
from _topics import make_texts
from sklearn.dummy import DummyClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.svm import LinearSVC

from sklfusion import (
    AuthenticationError,
    AutoFusionClassifier,
    PersistenceError,
    RecordedScorer,
    persistence,
)
from sklfusion.batch import BatchScorer, read_batches, score_dask, stream
from sklfusion.exceptions import ScoringWarning
from sklfusion.testing import expected_label

ADDED = ["label", "p_money", "p_sport", "status", "reason"]


# ----------------------------------------------------------------------------------- Arrow texts


@pytest.mark.parametrize("box", [pa.array, lambda v: pa.chunked_array([v[:7], v[7:]])])
def test_arrow_texts_go_through_fit_folds_and_predict(box):
    """As lists do, in an estimator of ours and in a search of scikit-learn."""
    texts, labels = make_texts(24)
    parts = {"llm": None, "random_state": 0}
    parts["embedder"] = make_pipeline(TfidfVectorizer())
    plain = AutoFusionClassifier(**parts).fit(texts, labels)
    boxed = AutoFusionClassifier(**parts).fit(box(texts), labels)
    np.testing.assert_allclose(
        boxed.predict_proba(box(texts)), plain.predict_proba(texts), atol=1e-9
    )
    assert cross_val_score(AutoFusionClassifier(**parts), box(texts), labels, cv=2).min() > 0.5


# ---------------------------------------------------------------------------------------- streams


def _sources(texts, folder):
    table = pa.table({"text": texts})
    pq.write_table(table, folder / "a.parquet", row_group_size=3)
    return {
        "generator": (text for text in texts),
        "lists": [texts[:4], texts[4:]],
        "mixed": [*texts[:3], pa.array(texts[3:6]), *texts[6:]],
        "table": table,
        "record batch": table.to_batches()[0],
        "reader": table.to_reader(max_chunksize=4),
        "chunked": pa.chunked_array([texts[:5], texts[5:]]),
        "file": folder / "a.parquet",
        "folder": str(folder),
    }


@pytest.mark.parametrize("kind", list(_sources(["x"] * 10, __import__("pathlib").Path("/tmp"))))
def test_every_source_gives_the_same_rows_in_pieces(tmp_path, kind):
    """In order, at most a batch at a time."""
    texts, _ = make_texts(10)
    model = word_model()
    parts = list(stream(model, _sources(texts, tmp_path)[kind], batch_size=4))
    assert max(map(len, parts)) <= 4
    np.testing.assert_allclose(np.vstack(parts), model.predict_proba(texts))


def test_a_generator_is_read_as_it_goes():
    """After two batches of an endless one, two batches have been read."""
    read = []

    def endless():
        while True:
            read.append(1)
            yield "late goal"

    results = stream(word_model(), endless(), "predict", batch_size=8)
    assert [next(results).tolist(), next(results).tolist()] == [["sport"] * 8] * 2
    assert len(read) == 16


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        (7, TypeError, "got int"),
        ([7], TypeError, "found a int"),
        (pd.DataFrame({"text": ["x"]}), TypeError, r"pyarrow\.table"),
        ("no/such/folder", ValueError, "does not exist"),
        (["a", None], ValueError, "row 1.*BatchScorer"),
        (pa.table({"other": ["a"]}), ValueError, r"no column 'text'.*\['other'\]"),
    ],
)
def test_what_cannot_be_streamed_is_refused_with_a_way_out(source, error, message):
    """The message says what arrived and what to do."""
    with pytest.raises(error, match=message):
        list(stream(word_model(), source))


def test_methods_and_sizes_are_checked(tmp_path):
    """Before anything is read."""
    with pytest.raises(TypeError, match="no method 'transform'"):
        stream(DummyClassifier(), ["a"], "transform")
    with pytest.raises(ValueError, match="batch_size=0"):
        read_batches(["a"], batch_size=0)
    with pytest.raises(ValueError, match=r"holds no \.parquet"):
        list(read_batches(tmp_path))


# ------------------------------------------------------------------------------------ BatchScorer


def test_columns_are_added_and_all_others_kept():
    """Labels and probabilities are the model's; order, names and types of the rest too."""
    texts, _ = make_texts(30)
    model = word_model()
    table = pa.table({"id": pa.array(range(30), pa.int8()), "text": texts})
    found = BatchScorer(model, batch_size=7)(table)
    assert found.column_names == ["id", "text", *ADDED]
    assert found.select(["id", "text"]).equals(table)
    assert found["label"].to_pylist() == model.predict(texts).tolist()
    proba = np.column_stack([found["p_money"], found["p_sport"]])
    np.testing.assert_allclose(proba, model.predict_proba(texts), atol=1e-6)
    assert set(found["status"].to_pylist()) == {"ok"}
    assert found["reason"].null_count == 30


def test_a_record_batch_and_an_empty_table_are_fine():
    """And both have the schema that was foretold."""
    scorer = BatchScorer(word_model())
    table = pa.table({"text": pa.array(["late goal"]).dictionary_encode()})
    (batch,) = table.to_batches()
    for found in (scorer(batch), scorer(table[:0])):
        assert found.schema.equals(scorer.output_schema(table.schema))


def test_rows_without_a_text_have_a_status_and_no_label():
    """Null is missing, a number is no text; their neighbours are scored."""
    table = pa.table({"text": ["late goal", None]})
    found = BatchScorer(word_model())(table).to_pylist()
    assert [row["status"] for row in found] == ["ok", "missing"]
    assert found[1]["label"] is None
    assert found[1]["p_sport"] is None
    assert found[1]["reason"] == "the text is missing"
    numbers = BatchScorer(word_model())(pa.table({"text": [1, 2]}))
    assert numbers["status"].to_pylist() == ["not_text"] * 2


def test_a_row_over_which_the_model_raises_is_found():
    """By halving: the others of its batch keep their labels."""
    texts = [f"fine {n}" for n in range(50)]
    texts[17] = texts[33] = "this is poison"
    found = BatchScorer(Picky(), batch_size=20)(pa.table({"text": texts})).to_pylist()
    failed = [n for n, row in enumerate(found) if row["status"] != "ok"]
    assert failed == [17, 33]
    assert found[17]["reason"] == "ZeroDivisionError: it holds poison"
    assert found[17]["label"] is None
    assert {row["label"] for n, row in enumerate(found) if n not in failed} == {"money"}


def test_a_model_that_always_raises_is_no_matter_of_rows():
    """Its error comes out, after few rows and not after each."""
    with pytest.raises(ZeroDivisionError):
        BatchScorer(Picky(""))(pa.table({"text": ["a"] * 1000}))


def test_labels_have_the_type_of_the_classes():
    """Integers, booleans, and lists for several labels."""
    texts, labels = make_texts(24)
    for classes in ([4, 7], [False, True]):
        coded = np.array(classes)[(labels == "sport").astype(int)]
        model = make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(texts, coded)
        found = BatchScorer(model)(pa.table({"text": texts}))
        assert found["label"].to_pylist() == coded.tolist()
    both = np.column_stack([labels == "money", labels == "sport"]).astype(int)
    both[::3] = 1
    several = make_pipeline(TfidfVectorizer(), OneVsRestClassifier(LogisticRegression(C=100)))
    found = BatchScorer(several.fit(texts, both))(pa.table({"text": texts}))
    assert found["label"].to_pylist() == [np.flatnonzero(r).tolist() for r in both]


def test_a_failed_answer_of_an_llm_is_a_status_and_no_label(fault_server):
    """The reason names the cause; nothing is made up."""
    fault_server.script({"fault": {"kind": "content", "text": "mumble"}, "contains": "bad"})
    scorer = BatchScorer(asking(fault_server))
    texts = ["a sport page", "a bad page", "a money page"]
    with pytest.warns(ScoringWarning, match="1 of 3"):
        found = scorer(pa.table({"text": texts})).to_pylist()
    assert [row["status"] for row in found] == ["ok", "parse_error", "ok"]
    assert [row["label"] for row in found] == ["sport", None, "money"]
    assert found[0]["label"] == expected_label(texts[0], CLASSES)


def test_a_fused_row_without_an_llm_answer_is_partial():
    """It has a label, from the encoder, and says so."""
    texts, labels = ["ham one", "ham two", "spam one", "spam two"] * 3, ["ham"] * 2 + ["spam"] * 2
    texts = [f"{text} {n}" for n, text in enumerate(texts)]
    model = make_auto(texts, labels * 3)
    assert isinstance(model.scorer_, RecordedScorer)
    with pytest.warns(ScoringWarning):
        found = BatchScorer(model)(pa.table({"text": [texts[0], "never seen"]})).to_pylist()
    assert [row["status"] for row in found] == ["ok", "partial"]
    assert found[1]["label"] in ("ham", "spam")
    assert "missing" in found[1]["reason"]


def test_where_the_llm_is_all_there_is_its_failure_is_the_rows():
    """Behind a fusion, a head or a search as well: a prior is no answer."""
    texts = [f"{kind} {n}" for n in range(6) for kind in ("ham", "spam")]
    labels = [text.split()[0] for text in texts]
    scorer = RecordedScorer(dict(zip(texts, labels, strict=True)), classes=["ham", "spam"])
    head = make_pipeline(scorer, LogisticRegression())
    search = GridSearchCV(head, {"logisticregression__C": [1.0]}, cv=2, refit=True)
    for model in (AutoFusionClassifier(scorer, None, random_state=0), head, search):
        fitted = model.fit(texts, labels)
        with pytest.warns(ScoringWarning):
            found = BatchScorer(fitted)(pa.table({"text": ["spam 1", "new"]})).to_pylist()
        assert [row["status"] for row in found] == ["ok", "missing"]
        assert [row["label"] for row in found] == ["spam", None]
        assert found[1]["p_ham"] is None


def test_an_endpoint_that_refuses_everything_stops(fault_server):
    """It says nothing about a row."""
    fault_server.script({"fault": {"kind": "status", "status": 401}})
    with pytest.raises(AuthenticationError):
        BatchScorer(asking(fault_server))(pa.table({"text": ["a", "b"]}))


def test_what_the_scorer_is_given_is_checked(tmp_path):
    """Columns, model, path and sizes, each with a way out."""
    scorer = BatchScorer(word_model())
    with pytest.raises(ValueError, match=r"no column 'text'.*\['a'\]"):
        scorer(pa.table({"a": ["x"]}))
    renamed = BatchScorer(word_model(), label="desk")(pa.table({"text": ["a"], "label": ["y"]}))
    assert renamed.column_names[:3] == ["text", "label", "desk"]
    with pytest.raises(ValueError, match="a column 'label' already"):
        scorer(pa.table({"text": ["x"], "label": ["y"]}))
    with pytest.raises(TypeError, match="LinearSVC has no predict_proba"):
        BatchScorer(LinearSVC())(pa.table({"text": ["x"]}))
    with pytest.raises(PersistenceError, match="does not exist"):
        BatchScorer(tmp_path / "none.sklf")
    with pytest.raises(ValueError, match="batch_size=0"):
        BatchScorer(word_model(), batch_size=0)
    with pytest.raises(ValueError, match="for a saved model"):
        BatchScorer(word_model(), memory=tmp_path)


def test_a_pickled_scorer_is_small_and_opens_once_per_process(tmp_path, monkeypatch):
    """By path nothing but the path travels; by value the estimator is built once."""
    path = save_word_model(tmp_path)
    sent = pickle.dumps(BatchScorer(path))
    assert len(sent) < 1000
    loads = []
    load = persistence.load
    monkeypatch.setattr(persistence, "load", lambda *a, **k: loads.append(a) or load(*a, **k))
    texts = pa.table({"text": ["late goal", "bank rate"]})
    for _ in range(3):
        assert pickle.loads(sent)(texts)["label"].to_pylist() == ["sport", "money"]
    assert len(loads) == 1
    first, second = (pickle.loads(pickle.dumps(BatchScorer(word_model()))) for _ in range(2))
    assert first._source.open() is second._source.open()


def test_another_process_scores_with_a_pickled_scorer(tmp_path):
    """Nothing of this one is needed there."""
    (tmp_path / "s.pkl").write_bytes(pickle.dumps(BatchScorer(save_word_model(tmp_path))))
    code = "import pickle, sys, pyarrow as pa\n"
    code += "scorer = pickle.load(open(sys.argv[1], 'rb'))\n"
    code += "print(scorer(pa.table({'text': ['late goal']}))['label'][0])"
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "s.pkl")],
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    assert done.stdout.strip() == "sport"


# ------------------------------------------------------------------------------------------- Dask


def test_dask_scores_partitions_as_foretold(tmp_path):
    """Index, other columns and types stay; the meta is what comes."""
    dd = pytest.importorskip("dask.dataframe", reason="Dask comes with sklfusion[dask]")
    texts, _ = make_texts(20)
    frame = pd.DataFrame({"n": range(20), "text": texts}, index=range(100, 120))
    frame.loc[103, "text"] = None
    lazy = score_dask(dd.from_pandas(frame, npartitions=3), BatchScorer(save_word_model(tmp_path)))
    found = lazy.compute(scheduler="sync")
    assert found["n"].equals(frame["n"])  # Dask makes strings of its own of the texts
    assert found["text"].isna().tolist() == frame["text"].isna().tolist()
    assert found.dtypes.to_dict() == lazy.dtypes.to_dict()
    assert found["status"].value_counts().to_dict() == {"ok": 19, "missing": 1}
    whole = frame["text"].dropna()
    assert found.loc[whole.index, "label"].tolist() == word_model().predict(whole).tolist()


def test_integer_labels_keep_their_type_where_a_row_failed(tmp_path):
    """One partition with a gap and one without have the same type."""
    dd = pytest.importorskip("dask.dataframe", reason="Dask comes with sklfusion[dask]")
    texts, labels = make_texts(8)
    model = make_pipeline(TfidfVectorizer(), LogisticRegression())
    model.fit(texts, (labels == "sport").astype(int))
    frame = pd.DataFrame({"text": [*texts[:7], None]})
    lazy = score_dask(dd.from_pandas(frame, npartitions=2), BatchScorer(model))
    assert str(lazy.dtypes["label"]) == "Int64"
    assert lazy.compute(scheduler="sync")["label"].isna().tolist() == [False] * 7 + [True]


def test_a_search_runs_on_the_dask_backend_of_joblib():
    """As on any other."""
    distributed = pytest.importorskip("distributed", reason="Dask comes with sklfusion[dask]")
    import joblib

    texts, labels = make_texts(40)
    model = AutoFusionClassifier(None, make_pipeline(TfidfVectorizer()), random_state=0)
    grid = {"embedder__tfidfvectorizer__ngram_range": [(1, 1), (1, 2)]}
    options = {"processes": False, "dashboard_address": None, "n_workers": 1}
    with distributed.Client(**options), joblib.parallel_config("dask"):
        search = GridSearchCV(model, grid, cv=2, error_score="raise").fit(pa.array(texts), labels)
    assert search.best_score_ > 0.8


def test_shards_written_here_are_read_in_order(tmp_path):
    """The files of a folder by name; hidden ones are left out."""
    texts = write_shards(tmp_path / "in", [3, 4])
    (tmp_path / "in" / "_temporary.parquet").write_bytes(b"not one")
    found = [t for b in read_batches(tmp_path / "in", batch_size=3) for t in b["text"].to_pylist()]
    assert found == texts
