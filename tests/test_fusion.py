"""Behaviour of `FusionClassifier` beyond scikit-learn's own checks."""

import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from _fusion_data import make_labels, make_rows, short
from scipy import sparse
from sklearn.base import clone
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV, cross_val_score

from sklfusion import FusionClassifier
from sklfusion.exceptions import DataWarning, TrainingDivergedError

CLASSES = np.array(["news", "spam", "sport"])


@pytest.fixture(scope="module")
def rows():
    return make_rows()


@pytest.mark.parametrize("labels", [CLASSES, np.array([-2, 7, 30]), np.array([1.0, 2.0, 5.0])])
@pytest.mark.parametrize("fusion", ["anchored", "concat"])
def test_labels_of_any_kind_come_back(rows, labels, fusion):
    """String, integer and float labels round-trip, with classes_ sorted."""
    X, y = rows
    clf = FusionClassifier(**short(fusion, max_epochs=20)).fit(X, labels[y])
    assert clf.classes_.tolist() == sorted(labels.tolist())
    assert set(clf.predict(X)) <= set(labels)
    assert clf.predict_proba(X).shape == (len(X), 3)


def test_fusion_beats_both_parts():
    """With independent errors the fused accuracy lies above encoder and LLM alone."""
    X, y = make_rows(800, signal=0.35)
    train, test = slice(0, 300), slice(300, None)
    clf = FusionClassifier(random_state=0, residual=False).fit(X[train], y[train])
    encoder = FusionClassifier(random_state=0, score_columns=None).fit(X[train, :20], y[train])
    fused = clf.score(X[test], y[test])
    votes = (X[test, 20:].argmax(axis=1) == y[test]).mean()
    assert fused > votes
    assert fused > encoder.score(X[test, :20], y[test])
    assert set(clf.source_weights_) == {"encoder", "llm"}


def test_contributions_sum_to_the_logits(rows):
    """Per-row contributions add up to the decision, source by source."""
    X, y = rows
    clf = FusionClassifier(random_state=0).fit(X, y)
    parts = clf.contributions(X)
    assert {"prior", "encoder", "llm"} <= set(parts)
    np.testing.assert_allclose(sum(parts.values()), clf.decision_function(X), atol=1e-9)


def test_order_of_rows_at_predict_does_not_matter(rows):
    """A batch equals its singles."""
    X, y = rows
    clf = FusionClassifier(random_state=0).fit(X, y)
    singles = np.vstack([clf.predict_proba(row[None]) for row in X[:10]])
    np.testing.assert_allclose(clf.predict_proba(X)[:10], singles, atol=1e-12)


@pytest.mark.parametrize("fusion", ["anchored", "concat"])
def test_same_seed_same_model_and_torch_generator_untouched(rows, fusion):
    """random_state fixes the result; torch's global generator does not move."""
    X, y = rows
    state = torch.random.get_rng_state()
    fits = [
        FusionClassifier(
            fusion=fusion, random_state=3, max_epochs=5, residual=fusion == "anchored"
        ).fit(X, y)
        for _ in range(2)
    ]
    np.testing.assert_allclose(
        fits[0].predict_proba(X), fits[1].predict_proba(X), rtol=0, atol=1e-6
    )
    assert torch.equal(state, torch.random.get_rng_state())


@pytest.mark.parametrize("fusion", ["anchored", "concat"])
def test_pickle_is_small_and_predicts_the_same(rows, fusion):
    """A pickle predicts the same and holds no training rows."""
    X, y = make_rows(2000)
    clf = FusionClassifier(**short(fusion, max_epochs=3)).fit(X, y)
    data = pickle.dumps(clf)
    assert len(data) < 200_000
    np.testing.assert_allclose(
        pickle.loads(data).predict_proba(X), clf.predict_proba(X), rtol=0, atol=1e-12
    )


def test_grid_search_and_cross_validation_in_processes(rows):
    """Parameters are reachable by grid search, also in worker processes."""
    X, y = rows
    grid = [
        {"fusion": ["anchored"]},
        {"fusion": ["concat"], "dropout": [0.0, 0.2], "max_epochs": [5]},
    ]
    clf = FusionClassifier(random_state=0)
    search = GridSearchCV(clf, grid, cv=3, n_jobs=2).fit(X, CLASSES[y])
    assert search.best_score_ > 0.7
    assert cross_val_score(clone(clf), X, y, cv=3).mean() > 0.7


@pytest.mark.parametrize(
    "as_type", [np.asarray, sparse.csr_matrix, sparse.csc_array, pd.DataFrame]
)
def test_indicator_targets_of_any_type_agree(as_type):
    """Dense, sparse and DataFrame indicators give one result."""
    X, Y = make_labels(80)
    reference = FusionClassifier(random_state=0).fit(X, Y)
    clf = FusionClassifier(random_state=0).fit(X, as_type(Y))
    np.testing.assert_allclose(clf.predict_proba(X), reference.predict_proba(X), rtol=0, atol=1e-6)
    assert clf.predict(X).shape == Y.shape
    assert ((clf.predict_proba(X) >= 0) & (clf.predict_proba(X) <= 1)).all()


def test_multilabel_fusion_beats_the_votes():
    """Exact match of the fused labels lies above that of the votes."""
    X, Y = make_labels(600, signal=0.5)
    clf = FusionClassifier(random_state=0, residual=False).fit(X[:300], Y[:300])
    assert clf.score(X[300:], Y[300:]) > (X[300:, 20:] == Y[300:]).all(axis=1).mean() + 0.05
    assert clf.fill_empty_
    assert clf.predict(X).any(axis=1).all()


def test_empty_label_rows_and_constant_labels_are_legal():
    """All-zero rows and labels that are always or never on train to finite probabilities."""
    X, Y = make_labels(100)
    Y[:10] = 0
    Y[:, 3], Y[:, 4] = 1, 0
    clf = FusionClassifier(random_state=0).fit(X, Y)
    proba = clf.predict_proba(X)
    assert np.isfinite(proba).all()
    assert proba[:, 3].min() > 0.5 > proba[:, 4].max()


@pytest.mark.parametrize("fusion", ["anchored", "concat"])
def test_binary_cross_entropy_on_classes_is_one_vs_rest(rows, fusion):
    """BCE takes one class per row too; probabilities have K columns and sum to 1."""
    X, y = rows
    clf = FusionClassifier(
        loss="binary_cross_entropy", **short(fusion, max_epochs=60, lr=1e-2)
    ).fit(X, CLASSES[y])
    np.testing.assert_allclose(clf.predict_proba(X).sum(axis=1), 1)
    assert clf.score(X, CLASSES[y]) > 0.8


def test_cross_entropy_on_indicators_is_refused():
    """A loss that does not suit the target is an error at fit."""
    X, Y = make_labels(40)
    with pytest.raises(ValueError, match="one class per row"):
        FusionClassifier(loss="cross_entropy").fit(X, Y)


@pytest.mark.parametrize("value", [2, -1, 0.3])
def test_indicator_with_other_values_is_refused(value):
    """Indicators hold 0 and 1 only; the message names the place."""
    X, Y = make_labels(40)
    Y = Y.astype(float)
    Y[7, 2] = value
    with pytest.raises(ValueError, match=r"y\[7, 2\]"):
        FusionClassifier().fit(X, Y)


def test_label_sets_are_refused_with_the_way_out():
    """A list of label sets names MultiLabelBinarizer."""
    X, _ = make_labels(3)
    with pytest.raises(ValueError, match="MultiLabelBinarizer"):
        FusionClassifier().fit(X, [["a"], ["a", "b"], ["b"]])


def test_divergence_is_an_error_not_a_nan_model(rows):
    """A learning rate of 1e6 stops with a message."""
    X, y = rows
    with pytest.raises(TrainingDivergedError, match="Lower lr"):
        FusionClassifier(fusion="concat", lr=1e6, random_state=0).fit(X, y)


def test_partial_fit_goes_on_from_the_first_batch():
    """Later batches train the same net; unseen classes are an error."""
    X, y = make_rows(600, signal=0.5)
    clf = FusionClassifier(random_state=0, lr=1e-3)
    clf.partial_fit(X[:50], CLASSES[y[:50]], classes=CLASSES)
    before = log_loss(CLASSES[y[400:]], clf.predict_proba(X[400:]))
    for start in range(50, 400, 50):
        rows = slice(start, start + 50)
        clf.partial_fit(X[rows], CLASSES[y[rows]])
    assert log_loss(CLASSES[y[400:]], clf.predict_proba(X[400:])) < before
    with pytest.raises(ValueError, match="not in classes"):
        clf.partial_fit(X[:2], ["news", "other"])


def test_first_partial_fit_may_lack_classes():
    """Classes announced but not yet seen get columns."""
    X, y = make_rows(60)
    keep = y < 2
    clf = FusionClassifier(random_state=0).partial_fit(X[keep], CLASSES[y[keep]], classes=CLASSES)
    assert clf.predict_proba(X).shape == (60, 3)


def test_zero_weight_rows_do_not_count(rows):
    """Rows of weight 0 are as if absent, wherever they stand."""
    X, y = rows
    weight = np.ones(len(X))
    weight[::4] = 0
    kept = weight > 0
    a = FusionClassifier(random_state=0).fit(X, y, sample_weight=weight)
    b = FusionClassifier(random_state=0).fit(X[kept], y[kept])
    np.testing.assert_allclose(a.predict_proba(X), b.predict_proba(X), atol=1e-9)


def test_renaming_the_classes_permutes_the_columns(rows):
    """Class names have no influence but their order, if the score columns are named."""
    X, y = rows
    names = np.array(["a", "b", "c"])
    other = np.array(["z", "y", "x"])
    kwargs = {"random_state": 0, "residual": False}
    a = FusionClassifier(score_classes=names.tolist(), **kwargs).fit(X, names[y])
    b = FusionClassifier(score_classes=other.tolist(), **kwargs).fit(X, other[y])
    np.testing.assert_allclose(a.predict_proba(X), b.predict_proba(X)[:, ::-1], atol=0.03)


def test_permuted_score_columns_warn(rows):
    """An evidently other order of score columns is pointed out."""
    X, y = rows
    X = np.hstack([X[:, :20], X[:, [21, 22, 20]]])
    with pytest.warns(DataWarning, match="score_classes"):
        FusionClassifier(random_state=0).fit(X, y)


def test_rows_without_an_answer_lean_on_the_encoder(rows):
    """Abstained rows get zero LLM evidence, with and without the flag column."""
    X, y = make_rows(200)
    lost = np.arange(200) % 5 == 0
    X[lost, 20:] = 1 / 3
    clf = FusionClassifier(random_state=0).fit(X, y)
    assert np.abs(clf.contributions(X)["llm"][lost]).max() == 0
    flagged = np.hstack([X, lost[:, None]])
    with_flag = FusionClassifier(random_state=0).fit(flagged, y)
    assert with_flag.score_columns_.tolist() == [20, 21, 22, 23]
    assert np.abs(with_flag.contributions(flagged)["llm"][lost]).max() == 0


@pytest.mark.parametrize("fusion", ["anchored", "concat"])
def test_votes_alone_are_enough_however_many_rows_there_are(fusion):
    """Votes repeat in thousands of rows; that says nothing about being the same text."""
    rng = np.random.default_rng(0)
    y = rng.integers(2, size=1200)
    votes = np.eye(2)[np.where(rng.random(1200) < 0.9, y, 1 - y)]
    clf = FusionClassifier(score_columns=slice(0, 2), **short(fusion, max_epochs=5))
    assert clf.fit(votes, y).score(votes, y) > 0.88


def test_training_ends_early_and_only_ctrl_c_ends_the_fit(rows):
    """skorch's callbacks end a training with the exception of Ctrl-C; that is no broken fit."""
    X, y = rows
    clf = FusionClassifier(
        fusion="concat", lr=1e-2, n_iter_no_change=2, max_epochs=300, random_state=0
    )
    assert clf.fit(X, y).n_iter_ < 300
