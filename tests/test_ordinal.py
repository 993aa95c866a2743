"""Fusion of ordered classes: what keeps the order, and what it is worth with few labels."""

import pickle

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax
from sklearn.base import clone
from sklearn.metrics import log_loss

from sklfusion import AutoFusionClassifier, FusionClassifier, RecordedScorer, persistence
from sklfusion._logistic import fit_grouped
from sklfusion.fusion._levels import nearness, places
from sklfusion.fusion._problem import Problem
from sklfusion.fusion._votes import fit_evidence

LEVELS = ["poor", "fair", "good", "great", "superb"]


def ratings(n, seed=0, votes=False, d=12):
    """Embedding and an LLM's distribution over five levels (or its vote), and the levels 0..4."""
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.arange(n) % 5)
    latent = y + rng.normal(scale=0.8, size=n)
    embedding = rng.normal(size=(n, d))
    embedding[:, 0] += 0.7 * y
    scores = softmax(-2.0 * np.abs(latent[:, None] - np.arange(5)), axis=1)  # too sure of itself
    if votes:
        scores = np.eye(5)[scores.argmax(axis=1)]
    return np.hstack([embedding, scores]), y


def ordinal(**params):
    return FusionClassifier(
        **{"loss": "ordinal", "score_columns": slice(-5, None), "random_state": 0} | params
    )


def test_the_order_comes_from_classes_a_categorical_or_numbers():
    """Three ways to tell it, one model; classes_ stay sorted and levels_ are in order."""
    X, y = ratings(60)
    named = np.array(LEVELS)[y]
    told = ordinal(classes=LEVELS, score_classes=LEVELS).fit(X, named)
    column = pd.Series(pd.Categorical(named, LEVELS, ordered=True))
    read = ordinal(score_classes=LEVELS).fit(X, column)
    numbers = ordinal().fit(X, y)
    assert told.levels_.tolist() == read.levels_.tolist() == LEVELS
    assert told.classes_.tolist() == read.classes_.tolist() == sorted(LEVELS)
    assert numbers.levels_.tolist() == [0, 1, 2, 3, 4]
    np.testing.assert_allclose(read.predict_proba(X), told.predict_proba(X), atol=1e-6)
    in_order = [sorted(LEVELS).index(level) for level in LEVELS]
    apart = np.abs(told.predict_proba(X)[:, in_order] - numbers.predict_proba(X))
    assert apart.mean() < 0.02  # the folds differ, which are dealt out by classes_
    assert FusionClassifier(random_state=0).fit(X, y).levels_ is None


def test_codes_of_names_keep_the_order_of_the_names():
    """A meta-estimator hands 0..K-1 of the sorted names; the order is still that of classes."""
    X, y = ratings(60)
    named = np.array(LEVELS)[y]
    codes = np.searchsorted(sorted(LEVELS), named)
    by_name = ordinal(classes=LEVELS, score_classes=LEVELS).fit(X, named)
    with pytest.warns(UserWarning, match="codes of the sorted classes"):
        by_code = ordinal(classes=LEVELS, score_classes=LEVELS).fit(X, codes)
    assert [sorted(LEVELS)[code] for code in by_code.levels_] == LEVELS
    np.testing.assert_allclose(by_code.predict_proba(X), by_name.predict_proba(X), atol=1e-5)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({}, r"do not tell their order. Pass classes=\[lowest"),
        ({"classes": LEVELS, "fusion": "concat"}, "MLP knows no order"),
        ({"classes": LEVELS, "residual": True}, "MLP knows no order"),
    ],
)
def test_what_has_no_order_is_refused(params, message):
    """Names do not tell which comes first, and an MLP does not care."""
    X, y = ratings(40)
    with pytest.raises(ValueError, match=message):
        ordinal(score_classes=LEVELS, **params).fit(X, np.array(LEVELS)[y])


def test_an_unordered_categorical_is_no_order():
    """Categories without ordered=True are as good as names."""
    X, y = ratings(40)
    column = pd.Series(pd.Categorical(np.array(LEVELS)[y], LEVELS))
    with pytest.raises(ValueError, match="do not tell their order"):
        ordinal().fit(X, column)


def test_label_indicators_have_no_order():
    """Several labels per text are not levels."""
    X, y = ratings(40)
    with pytest.raises(ValueError, match="loss='ordinal' needs one class per row"):
        ordinal().fit(X, np.eye(5, dtype=int)[y])


def test_more_evidence_upwards_moves_probability_upwards_at_every_level():
    """Of rows that differ in one feature only, P(above k) rises or falls for all k together."""
    X, y = ratings(80)
    clf = ordinal().fit(X, y)
    rows = np.repeat(X[:1], 9, axis=0)
    rows[:, 0] = np.linspace(-3, 6, 9)
    above = 1 - np.cumsum(clf.predict_proba(rows), axis=1)[:, :-1]
    assert (np.diff(above, axis=0) > 0).all()
    plain = FusionClassifier(score_columns=slice(-5, None), random_state=0).fit(X, y)
    above = 1 - np.cumsum(plain.predict_proba(rows), axis=1)[:, :-1]
    assert (np.diff(above, axis=0) > 0).all(axis=0).any()  # not that nothing moved


def test_the_embedding_gives_one_score_per_text():
    """Evidence of the encoder is a score times the place of the class."""
    X, y = ratings(80)
    evidence = ordinal().fit(X, y).contributions(X)["encoder"]
    place = places(np.arange(5), np.arange(5))
    np.testing.assert_allclose(evidence, np.outer(evidence @ place, place), atol=1e-6)


def test_the_order_read_backwards_is_the_same_model():
    """Lowest and highest are names only."""
    X, y = ratings(60)
    named = np.array(LEVELS)[y]
    up = ordinal(classes=LEVELS, score_classes=LEVELS).fit(X, named)
    down = ordinal(classes=LEVELS[::-1], score_classes=LEVELS).fit(X, named)
    np.testing.assert_allclose(up.predict_proba(X), down.predict_proba(X), atol=1e-5)


@pytest.mark.parametrize("votes", [False, True])
def test_with_few_labels_the_order_is_worth_having(votes):
    """Lower log-loss than plain classes on fresh rows; a wrong order is worse than the right."""
    fresh, truth = ratings(1000, seed=1000, votes=votes)
    wrong = [2, 4, 0, 3, 1]
    losses = []
    for seed in range(6):
        X, y = ratings(40, seed, votes)
        ways = [
            FusionClassifier(score_columns=slice(-5, None), random_state=0),
            ordinal(),
            ordinal(classes=wrong),
        ]
        losses.append([log_loss(truth, clf.fit(X, y).predict_proba(fresh)) for clf in ways])
    plain, ours, shuffled = np.mean(losses, axis=0)
    assert ours < plain - 0.02
    assert ours < shuffled - 0.05


def test_probabilities_for_all_classes_also_without_a_labelled_row():
    """A level that nobody labelled can be predicted; it lies between its neighbours."""
    X, y = ratings(100)
    seen = y != 3
    clf = ordinal(classes=list(range(5))).fit(X[seen], y[seen])
    proba = clf.predict_proba(X)
    assert proba.shape == (100, 5)
    np.testing.assert_allclose(proba.sum(axis=1), 1)
    assert proba[y == 3, 3].mean() > 2 * proba[y < 2, 3].mean()
    assert clf.oof_proba_.shape == (seen.sum(), 5)


def test_out_of_fold_probabilities_are_honest():
    """Their log-loss is near that on fresh rows, not near that on the rows of the fit."""
    fresh, truth = ratings(1000, seed=77)
    gaps = []
    for seed in range(5):
        X, y = ratings(60, seed)
        clf = ordinal().fit(X, y)
        assert clf.oof_proba_.shape == (60, 5)
        gaps.append(log_loss(y, clf.oof_proba_) - log_loss(truth, clf.predict_proba(fresh)))
    assert abs(np.mean(gaps)) < 0.12


def test_without_scores_the_embedding_alone_is_ordered():
    """No column is a score: still no MLP, and the order is kept."""
    X, y = ratings(100)
    clf = FusionClassifier(loss="ordinal", random_state=0).fit(X[:, :12], y)
    assert clf.chosen_ == "anchored"
    assert list(clf.source_weights_) == ["encoder"]
    rows = np.zeros((5, 12))
    rows[:, 0] = np.linspace(-2, 5, 5)
    assert (np.diff(clf.predict_proba(rows) @ np.arange(5)) > 0).all()


def test_scores_without_an_embedding_are_ordered_too():
    """An LLM alone is calibrated."""
    X, y = ratings(100)
    clf = ordinal().fit(X[:, 12:], y)
    fresh, truth = ratings(500, seed=5)
    raw = np.maximum(fresh[:, 12:], 1e-9)
    assert log_loss(truth, clf.predict_proba(fresh[:, 12:])) < log_loss(truth, raw)


def test_two_ordered_classes_are_a_plain_pair():
    """Nothing is gained and nothing breaks."""
    X, y = ratings(80)
    two = (y > 2).astype(int)
    P = np.column_stack([X[:, 12:15].sum(axis=1), X[:, 15:].sum(axis=1)])
    X = np.hstack([X[:, :12], P])
    clf = ordinal(score_columns=slice(-2, None)).fit(X, two)
    assert clf.decision_function(X).shape == (80,)
    assert clf.score(X, two) > 0.8


def test_it_is_saved_cloned_pickled_and_goes_on(tmp_path):
    """Everything that a fusion does."""
    X, y = ratings(60)
    clf = ordinal().fit(X, y)
    wanted = clf.predict_proba(X)
    persistence.save(clf, tmp_path / "model.sklf")
    loaded = persistence.load(tmp_path / "model.sklf")
    np.testing.assert_allclose(loaded.predict_proba(X), wanted, atol=1e-12)
    np.testing.assert_array_equal(loaded.levels_, clf.levels_)
    np.testing.assert_array_equal(loaded.oof_proba_, clf.oof_proba_)
    np.testing.assert_allclose(pickle.loads(pickle.dumps(clf)).predict_proba(X), wanted)
    again = clone(clf).fit(X, y)
    np.testing.assert_allclose(again.predict_proba(X), wanted, atol=1e-6)
    loaded.partial_fit(X, y)
    assert loaded.predict_proba(X).shape == (60, 5)


def test_texts_of_the_whole_row():
    """AutoFusionClassifier hands classes on in the order given."""
    X, y = ratings(60)
    texts = [f"text {i}" for i in range(60)]
    said = [dict(zip(LEVELS, row, strict=True)) for row in X[:, 12:].tolist()]
    recorded = RecordedScorer(dict(zip(texts, said, strict=True)), classes=LEVELS)
    named = np.array(LEVELS)[y]
    clf = AutoFusionClassifier(
        recorded, None, classes=LEVELS, fusion=FusionClassifier(loss="ordinal", random_state=0)
    ).fit(texts, named)
    assert clf.fusion_.levels_.tolist() == LEVELS
    assert clf.score(texts, named) > 0.5


def test_one_coefficient_per_feature_is_the_best_there_is():
    """The fit of ordered classes against a general optimiser, to four digits."""
    rng = np.random.default_rng(3)
    A, y = rng.normal(size=(50, 4)), rng.integers(5, size=50)
    Y, offset, place = np.eye(5)[y], rng.normal(size=(50, 5)), places(np.arange(5), np.arange(5))
    found = fit_grouped(
        A, offset, Y, np.ones((50, 1)), "softmax", 0.7, np.zeros((4, 1, 5)), levels=place
    )

    def loss(w):
        logits = offset + np.outer(A @ w, place)
        return -(Y * log_softmax(logits, axis=1)).sum() + 0.35 * (w**2).sum()

    wanted = minimize(loss, np.zeros(4)).x
    np.testing.assert_allclose(found[:, 0], np.outer(wanted, place), atol=1e-4)


def test_errors_of_a_vote_fall_on_its_neighbours_first():
    """Before any row is seen an error one level off is twice as likely as one two levels off."""
    place = places(np.arange(5), np.arange(5))
    np.testing.assert_allclose(
        nearness(place, np.array([0, 2, -1])),
        [[1, 0.5, 0.25, 0.125, 0.0625], [0.25, 0.5, 1, 0.5, 0.25], [1, 1, 1, 1, 1]],
    )
    Y = np.eye(5)[np.arange(10) % 5]
    problem = Problem(Y, np.ones(10), np.arange(10) % 5, "softmax", levels=place)
    votes = np.log(np.full((10, 5), 0.01) + 0.95 * Y)
    coef = fit_evidence(votes, np.ones(10, dtype=bool), np.arange(5), problem).coef
    assert coef[0, 0] > coef[0, 1] > coef[0, 2] > coef[0, 3] > coef[0, 4]


def test_places_are_centred_and_follow_the_given_order():
    """Norm one, so that a penalty on one score weighs what it does on K coefficients."""
    place = places(np.array(["a", "b", "c"]), ["b", "a", "c"])
    np.testing.assert_allclose(place, np.array([0, -1, 1]) / np.sqrt(2))
