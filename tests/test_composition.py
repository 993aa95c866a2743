"""The parts composed the scikit-learn way, against a real endpoint in another process."""

import os
import subprocess
import sys
import textwrap

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.model_selection import GridSearchCV, cross_val_predict, cross_val_score
from sklearn.pipeline import FeatureUnion, Pipeline

from sklfusion import AutoFusionClassifier, FusionClassifier, LLMScorer, RobertaEmbedder
from sklfusion.datasets import load_newsdesk

# The endpoint answers with the class whose word stands in the text.
CLASSES = ["ham", "spam"]


@pytest.fixture(scope="module")
def texts():
    """200 distinct texts; four of five name their class, the others mislead."""
    rng = np.random.default_rng(0)
    y = rng.choice(CLASSES, size=200)
    said = np.where(rng.random(200) < 0.8, y, np.where(y == "ham", "spam", "ham"))
    tone = np.where(y == "ham", "the market rises", "a late goal wins the cup")
    data = [f"note {i}: {t}, it is {s}" for i, (t, s) in enumerate(zip(tone, said, strict=True))]
    return data, y


@pytest.fixture
def scorer(fault_server, tmp_path):
    return LLMScorer(
        "some-model",
        classes=CLASSES,
        base_url=fault_server.base_url,
        strategy="label",
        memory=tmp_path / "memory",
    )


@pytest.fixture
def pipe(scorer, tiny_roberta, tmp_path):
    embedder = RobertaEmbedder(str(tiny_roberta), memory=tmp_path / "memory")
    return Pipeline(
        [
            ("features", FeatureUnion([("embedding", embedder), ("llm", scorer)])),
            ("fusion", FusionClassifier(random_state=0)),
        ]
    )


def billed(server):
    return server.ledger().billed


@pytest.mark.slow
def test_a_grid_search_in_two_processes_pays_once_per_text(pipe, texts, fault_server):
    """4 candidates, 5 folds, 200 texts: 200 requests."""
    grid = {"fusion__class_weight": [None, "balanced"], "fusion__fusion": ["anchored", "concat"]}
    search = GridSearchCV(pipe, grid, cv=5, n_jobs=2).fit(*texts)
    assert billed(fault_server) == 200
    assert search.best_score_ > 0.75


def test_cross_validation_pays_once_per_text(pipe, texts, fault_server):
    """cross_val_score and cross_val_predict share the store."""
    X, y = texts[0][:60], texts[1][:60]
    assert cross_val_score(pipe, X, y, cv=3).mean() > 0.6
    assert cross_val_predict(pipe, X, y, cv=3).shape == (60,)
    assert billed(fault_server) == 60


def test_clones_share_the_store(pipe, texts, fault_server):
    """A clone of a fitted pipeline fits again without a request."""
    X, y = texts[0][:30], texts[1][:30]
    first = pipe.fit(X, y).predict_proba(X)
    again = clone(pipe).fit(X, y).predict_proba(X)
    np.testing.assert_allclose(first, again, rtol=0, atol=1e-6)
    assert billed(fault_server) == 30


def test_pandas_output_names_every_column(pipe, texts):
    """embedding_<i> and llm_<class>, with the prefixes of the FeatureUnion."""
    X, y = texts[0][:20], texts[1][:20]
    union = pipe.named_steps["features"].set_output(transform="pandas")
    frame = union.fit_transform(X, y)
    assert list(frame.columns[-2:]) == ["llm__llm_ham", "llm__llm_spam"]
    assert frame.columns[0] == "embedding__embedding_0"
    fusion = FusionClassifier(random_state=0).fit(frame, y)
    assert fusion.score_columns_.tolist() == [16, 17]


def test_a_text_column_of_a_frame_goes_through_a_column_transformer(pipe, texts):
    """Other columns can be fused as well."""
    frame = pd.DataFrame({"text": texts[0][:40], "length": np.arange(40.0)})
    columns = ColumnTransformer(
        [("number", "passthrough", ["length"]), ("text", pipe.named_steps["features"], "text")]
    )
    model = Pipeline([("columns", columns), ("fusion", FusionClassifier(random_state=0))])
    model.fit(frame, texts[1][:40])
    assert model.predict(frame).shape == (40,)


@pytest.mark.parametrize("container", [list, tuple, np.array, pd.Series])
def test_containers_of_texts_are_alike(pipe, texts, container):
    """list, tuple, array and Series give the same probabilities."""
    X, y = texts[0][:20], texts[1][:20]
    expected = pipe.fit(X, y).predict_proba(X)
    np.testing.assert_allclose(pipe.predict_proba(container(X)), expected, rtol=0, atol=1e-12)


def _predict_elsewhere(path, X, cwd):
    """Load the model in a fresh process without keys or caches and predict."""
    code = textwrap.dedent(
        """
        import sys, json, joblib, warnings
        warnings.simplefilter("error")
        model = joblib.load(sys.argv[1])
        print(json.dumps(model.predict_proba(json.loads(sys.stdin.read())).tolist()))
        """
    )
    import json

    clean = {k: v for k, v in os.environ.items() if not k.endswith("_API_KEY")}
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)],
        input=json.dumps(X),
        capture_output=True,
        text=True,
        timeout=900,
        env={**clean, "HOME": str(cwd)},
        cwd=cwd,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return np.array(json.loads(done.stdout.strip().splitlines()[-1]))


def test_a_dumped_pipeline_predicts_the_same_in_a_fresh_process(pipe, texts, tmp_path):
    """joblib.dump, another process without key, the same probabilities."""
    X, y = texts[0][:40], texts[1][:40]
    expected = pipe.fit(X, y).predict_proba(X)
    joblib.dump(pipe, tmp_path / "pipe.joblib")
    np.testing.assert_allclose(
        _predict_elsewhere(tmp_path / "pipe.joblib", X, tmp_path), expected, atol=1e-5
    )


@pytest.mark.slow
@pytest.mark.models
def test_the_offline_default_works_end_to_end_and_travels(tmp_path):
    """No arguments: embedded encoder, embedded LLM, no cache; dumped, loaded elsewhere."""
    desk = load_newsdesk()
    rows = [i for i, d in enumerate(desk.target) if d in ("Sports", "Health")][:24]
    X, y = [desk.data[i] for i in rows], desk.target[rows]
    auto = AutoFusionClassifier(random_state=0).fit(X[:16], y[:16])
    expected = auto.predict_proba(X[16:])
    assert auto.score(X[16:], y[16:]) >= 0.6
    path = tmp_path / "auto.joblib"
    joblib.dump(auto, path)
    assert path.stat().st_size < 5_000_000, "the weights of named models are not in the pickle"
    # llama.cpp's arithmetic depends on how much of the prompt it kept from the text before,
    # and the first text of the other process has none before it
    np.testing.assert_allclose(_predict_elsewhere(path, X[16:], tmp_path), expected, atol=0.02)
