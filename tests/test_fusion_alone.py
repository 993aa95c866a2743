"""`FusionClassifier` on an embedding alone: the encoder's evidence is the one source."""

import numpy as np
import pytest
from _fusion_data import make_labels, make_rows
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.metrics import log_loss
from sklearn.pipeline import make_pipeline

from sklfusion import AutoFusionClassifier, FusionClassifier, persistence


def embedding(n=120, **params):
    """Rows of an embedding, without votes, and their classes."""
    X, y = make_rows(n, **params)
    return X[:, : params.get("d", 20)], y


def test_few_rows_of_many_columns_are_told_better_than_by_the_mlp():
    """Where the MLP learns rows by heart; two draws of 60 rows, judged on 600 others."""
    found = []
    for seed in range(2):
        X, y = embedding(660, d=100, signal=0.1, seed=seed)
        for params in ({}, {"fusion": "concat"}):
            clf = FusionClassifier(random_state=0, **params).fit(X[:60], y[:60])
            found.append([clf.score(X[60:], y[60:]), log_loss(y[60:], clf.predict_proba(X[60:]))])
    accuracy, loss = np.mean(np.reshape(found, (2, 2, 2)), axis=0).T
    assert accuracy[0] > accuracy[1] - 0.01
    assert loss[0] < loss[1]


def test_the_parts_are_the_prior_and_the_encoder():
    X, y = embedding()
    clf = FusionClassifier(random_state=0).fit(X, y)
    parts = clf.contributions(X)
    assert list(parts) == ["prior", "encoder"]
    np.testing.assert_allclose(sum(parts.values()), clf.decision_function(X), atol=1e-9)
    assert list(clf.source_weights_) == clf.source_names_ == ["encoder"]
    assert (clf.chosen_, clf.n_iter_, clf.certificate_) == ("anchored", 0, None)


def test_several_labels_and_ordered_classes():
    """A probability per label, cut on out-of-fold ones; and classes on a line."""
    X, Y = make_labels(300, signal=1.5)
    clf = FusionClassifier(random_state=0).fit(X[:200, :20], Y[:200])
    assert ((clf.predict_proba(X[200:, :20]) >= 0.5) == Y[200:]).mean() > 0.9
    assert 0 < clf.threshold_ < 1
    assert clf.oof_proba_.shape == (200, 5)
    rng = np.random.default_rng(0)
    level = rng.integers(4, size=300)
    line = rng.normal(size=(300, 6)) + np.outer(level, np.ones(6))
    ordinal = FusionClassifier(loss="ordinal", random_state=0).fit(line[:200], level[:200])
    assert np.abs(ordinal.predict(line[200:]) - level[200:]).mean() < 0.4
    assert list(ordinal.source_weights_) == ["encoder"]


def test_weights_of_rows_and_classes_count():
    X, y = embedding(150, signal=0.2)
    plain = FusionClassifier(random_state=0).fit(X, y).predict_proba(X)
    tilted = FusionClassifier(class_weight={0: 5, 1: 1, 2: 1}, random_state=0).fit(X, y)
    assert (tilted.predict_proba(X) - plain)[:, 0].mean() > 0.15
    weights = np.where(y == 0, 5.0, 1.0)
    same = FusionClassifier(random_state=0).fit(X, y, sample_weight=weights)
    np.testing.assert_allclose(same.predict_proba(X), tilted.predict_proba(X), atol=1e-8)


def test_more_batches_and_a_residual():
    """Further batches train the probe; an MLP stands beside it only where asked for."""
    X, y = embedding(600, signal=0.4)
    clf = FusionClassifier(random_state=0).partial_fit(X[:40], y[:40])
    before = clf.score(X[400:], y[400:])
    for start in range(40, 400, 40):
        clf.partial_fit(X[start : start + 40], y[start : start + 40])
    assert clf.score(X[400:], y[400:]) > before - 0.01
    with_mlp = FusionClassifier(residual=True, guard=False, max_epochs=3, random_state=0)
    assert with_mlp.fit(X[:90], y[:90]).chosen_ == "anchored+residual"
    assert list(with_mlp.contributions(X)) == ["prior", "encoder", "residual"]


@pytest.mark.parametrize("n", [1, 2, 5])
def test_a_first_batch_of_very_few_rows(n):
    X, y = embedding(60)
    clf = FusionClassifier(random_state=0).partial_fit(X[:n], y[:n], classes=[0, 1, 2])
    proba = clf.predict_proba(X)
    np.testing.assert_allclose(proba.sum(axis=1), 1)
    assert clf.partial_fit(X[n:], y[n:]).predict_proba(X).shape == (60, 3)


def test_columns_that_never_vary_say_nothing():
    """The answer is then near the class frequencies."""
    y = np.r_[np.zeros(30, int), np.ones(10, int)]
    proba = (
        FusionClassifier(random_state=0).fit(np.full((40, 3), 7.0), y).predict_proba([[7.0] * 3])
    )
    np.testing.assert_allclose(proba[0], [0.75, 0.25], atol=0.06)


def test_it_is_saved_and_loaded(tmp_path):
    X, y = embedding()
    clf = FusionClassifier(random_state=0).fit(X, y)
    persistence.save(clf, tmp_path / "model.sklf")
    again = persistence.load(tmp_path / "model.sklf")
    np.testing.assert_allclose(again.predict_proba(X), clf.predict_proba(X), atol=1e-12)
    assert again.source_weights_ == clf.source_weights_
    again.partial_fit(X, y)


def test_texts_without_an_llm():
    """The whole of it in one call: no net is trained, and the report says what was chosen."""
    texts = [f"{word} number {n}" for n in range(20) for word in ("ham", "spam")]
    auto = AutoFusionClassifier(None, make_pipeline(CountVectorizer()), random_state=0)
    auto.fit(texts, ["good", "bad"] * 20)
    assert auto.predict(["spam again", "ham again"]).tolist() == ["bad", "good"]
    assert auto.report_["chosen"] == "anchored"
    assert list(auto.report_["source_weights"]) == ["encoder"]
