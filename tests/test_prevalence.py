"""Shares of classes: check numbers, coverage, worth, groups, weights, plans, refusals."""

import warnings

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.multioutput import MultiOutputClassifier
from sklearn.pipeline import make_pipeline

from sklfusion import FusionClassifier, LLMClassifier, PrevalenceEstimator
from sklfusion.exceptions import DataWarning
from sklfusion.persistence import load, save
from sklfusion.plotting import PrevalenceDisplay
from sklfusion.promises._share_interval import (
    labels_needed,
    share_interval,
    sum_to_one,
    wilson,
)
from sklfusion.testing import FaultServer

Y = np.r_[np.ones(10), np.zeros(40)]
SURE = np.r_[np.full(8, 0.9), np.full(2, 0.1), np.full(36, 0.1), np.full(4, 0.8)]
DESIGN = np.r_[np.full(20, 10.0), np.full(30, 800 / 30)]


@pytest.mark.parametrize(
    ("given", "options", "wanted"),
    [
        ((Y, np.full(50, 0.2), 0.2, 1000), {}, (0.2, 0.1096, 0.3268, 52.5789)),
        ((Y, Y, 0.15, 1000), {}, (0.1525, 0.1182, 0.1933, 359.3014)),
        ((Y, SURE, 0.22, 1000), {}, (0.1485, 0.0786, 0.2532, 66.3064)),
        ((Y, SURE, 0.22, 1000), {"confidence": 0.9}, (0.1485, 0.0896, 0.2313, 70.2157)),
        ((Y, SURE, 0.22, 1000), {"weights": DESIGN}, (0.0908, 0.0391, 0.1833, 67.2291)),
        ((np.zeros(50), np.full(50, 0.02), 0.02, 1000), {}, (0.0, 0.0, 0.0681, 52.5789)),
        ((Y, SURE, 0.22, 1000), {"finite": False}, (0.1485, 0.0768, 0.2572, 62.1832)),
        (
            ([1, 0, 0, 1, 0], [0.8, 0.2, 0.3, 0.6, 0.1], 0.35, 40),
            {},
            (0.3563, 0.0822, 0.7431, 5.5714),
        ),
        ((Y, SURE, 0.5, 50), {}, (0.2, 0.2, 0.2, np.inf)),
        (([], [], 0.3, 100), {}, (0.3, 0.0, 1.0, 0.0)),
    ],
)
def test_the_interval_has_its_check_numbers(given, options, wanted):
    found = share_interval(*given, **options)
    got = (found.share, found.low, found.high, found.n_effective)
    np.testing.assert_allclose(got, wanted, atol=6e-5)


def test_the_slope_has_its_check_numbers():
    assert share_interval(Y, SURE, 0.22, 1000).slope == pytest.approx(0.8465, abs=6e-5)
    weighted = share_interval(Y, SURE, 0.22, 1000, weights=DESIGN)
    assert weighted.slope == pytest.approx(0.5951, abs=6e-5)


def test_equal_weights_are_a_random_sample():
    plain = share_interval(np.zeros(50), np.full(50, 0.02), 0.02, 1000)
    equal = share_interval(np.zeros(50), np.full(50, 0.02), 0.02, 1000, weights=np.full(50, 20.0))
    assert equal == plain


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ((0.05, 0.5, 1, np.inf), 381),
        ((0.05, 0.3, 1, np.inf), 320),
        ((0.05, 0.3, 0.5, np.inf), 169),
        ((0.03, 0.1, 0.5, np.inf), 213),
        ((0.05, 0.3, 0.5, 1000), 145),
    ],
)
def test_labels_needed_has_its_check_numbers(given, wanted):
    assert labels_needed(*given) == wanted


def test_shares_are_made_to_sum_to_one_within_their_intervals():
    low, high = np.array([0.4, 0.2, 0.0]), np.array([0.7, 0.32, 0.05])
    shares = sum_to_one([0.5, 0.3, 0.04], [0.01, 0.02, 0.05], low, high)
    assert shares.sum() == pytest.approx(1)
    assert ((low <= shares) & (shares <= high)).all()
    assert shares[2] == pytest.approx(0.05)  # the least sure gives way up to its end


def pool(n=1500, share=0.3, noise=0.5, seed=0):
    """Rows whose class a linear model finds out in part."""
    rng = np.random.default_rng(seed)
    y = rng.random(n) < share
    return y[:, None] + rng.normal(scale=noise, size=(n, 1)), y


def draws(n_draws, n=100, noise=0.5, **settings):
    """Low, high, width and worth of the share of True over random samples of one pool."""
    X, y = pool(noise=noise)
    rng = np.random.default_rng(1)
    estimator = PrevalenceEstimator(LogisticRegression(C=10), random_state=0, **settings)
    rows = []
    for _ in range(n_draws):
        drawn = rng.choice(len(y), n, replace=False)
        told = clone(estimator).fit(X[drawn], y[drawn]).estimate(X)
        rows.append((told.low[1], told.high[1], told.labels_worth[1], told.share[1]))
    return y.mean(), np.array(rows)


def test_intervals_cover_and_a_good_model_makes_them_narrower():
    truth, rows = draws(80)
    low, high, worth, share = rows.T
    covered = (low <= truth) & (truth <= high)
    assert covered.mean() >= 0.88  # three standard errors below .95
    plain_low, plain_high = wilson(truth, 100, 1.96)
    assert np.median(high - low) < 0.8 * (plain_high - plain_low)
    assert np.median(worth) > 1.6
    assert abs(share.mean() - truth) < 3 * share.std() / 80**0.5 + 0.003


def test_a_model_that_knows_nothing_costs_nothing():
    _, rows = draws(30, noise=50.0)
    plain_low, plain_high = wilson(0.3, 100, 1.96)
    width = np.median(rows[:, 1] - rows[:, 0])
    assert width < 1.05 * (plain_high - plain_low)


def test_the_process_is_less_sure_than_the_pool_and_all_at_once_less_than_each():
    X, y = pool()
    drawn = np.arange(0, 1500, 5)

    def width(**settings):
        told = PrevalenceEstimator(LogisticRegression(), random_state=0, **settings)
        told = told.fit(X[drawn], y[drawn]).estimate(X)
        return told.high[1] - told.low[1]

    assert width() < width(target="process")
    assert width() < width(simultaneous=True)
    assert width(confidence=0.5) < width()


def test_shares_of_several_classes_sum_to_one_and_to_frame_holds_them():
    rng = np.random.default_rng(3)
    y = rng.choice(["a", "b", "c"], size=900, p=[0.6, 0.3, 0.1])
    X = (y[:, None] == ["a", "b", "c"]) + rng.normal(scale=0.6, size=(900, 3))
    drawn = rng.choice(900, 90, replace=False)
    shares = PrevalenceEstimator(LogisticRegression(), random_state=0).fit(X[drawn], y[drawn])
    told = shares.estimate(X)
    assert told.share.sum() == pytest.approx(1)
    frame = told.to_frame()
    assert frame["class"].tolist() == ["a", "b", "c"]
    np.testing.assert_array_equal(frame.low, told.low)
    assert told.n_total.tolist() == [900] * 3


def test_groups_have_their_own_shares():
    X, y = pool(n=3000)
    by = np.where(np.arange(3000) % 3 == 0, "north", "south")
    y = y & ~((by == "north") & (np.arange(3000) % 2 == 0))
    drawn = np.random.default_rng(0).choice(3000, 300, replace=False)
    shares = PrevalenceEstimator(LogisticRegression(), random_state=0).fit(X[drawn], y[drawn])
    told = shares.estimate(X, by=by)
    assert told.group.tolist() == ["north", "south"]
    assert told.share.shape == (2, 2)
    for g, name in enumerate(told.group):
        truth = y[by == name].mean()
        assert told.low[g, 1] <= truth <= told.high[g, 1]
    assert told.n_labelled.sum(axis=0).tolist() == [300, 300]
    assert len(told.to_frame()) == 4


def test_a_group_without_labels_is_named_and_promises_nothing():
    X, y = pool()
    by = np.zeros(1500, dtype=int)
    by[:40] = 7
    drawn = np.arange(40, 240)
    shares = PrevalenceEstimator(LogisticRegression(), random_state=0).fit(X[drawn], y[drawn])
    with pytest.warns(DataWarning, match=r"fewer than 10 labelled texts in 7 \(0\)"):
        told = shares.estimate(X, by=by)
    assert (told.low[1] == 0).all()
    assert (told.high[1] == 1).all()


def test_several_labels_are_shares_each():
    rng = np.random.default_rng(5)
    Y = rng.random((1200, 3)) < [0.5, 0.2, 0.3]
    X = Y + rng.normal(scale=0.5, size=(1200, 3))
    drawn = rng.choice(1200, 150, replace=False)
    model = MultiOutputClassifier(LogisticRegression())
    shares = PrevalenceEstimator(model, random_state=0).fit(X[drawn], Y[drawn].astype(int))
    told = shares.estimate(X)
    assert told.share.shape == (3,)
    assert ((told.low <= Y.mean(axis=0)) & (Y.mean(axis=0) <= told.high)).all()
    assert shares.plan(0.05).labels_more.shape == (3,)


def test_design_weights_undo_an_unequal_draw():
    X, y = pool(n=4000)
    chance = np.where(y, 0.10, 0.03)
    rng = np.random.default_rng(2)
    covered = raw = 0
    for _ in range(30):
        drawn = np.flatnonzero(rng.random(4000) < chance)
        shares = PrevalenceEstimator(LogisticRegression(), random_state=0)
        shares.fit(X[drawn], y[drawn])
        told = shares.estimate(X, sample_weight=1 / chance[drawn])
        covered += told.low[1] <= y.mean() <= told.high[1]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DataWarning)
            biased = shares.estimate(X)
        raw += biased.low[1] <= y.mean() <= biased.high[1]
    assert covered >= 25
    assert raw < 15


def test_rows_that_a_model_was_unsure_of_are_told_from_random_ones():
    X, y = pool(n=4000)
    doubt = 1 - LogisticRegression().fit(X[:500], y[:500]).predict_proba(X).max(axis=1)
    chance = doubt**2 / (doubt**2).sum()
    unsure = np.random.default_rng(0).choice(4000, 150, replace=False, p=chance)
    shares = PrevalenceEstimator(LogisticRegression(), random_state=0).fit(X[unsure], y[unsure])
    with pytest.warns(DataWarning, match="do not look drawn at random"):
        shares.estimate(X)


def test_out_of_fold_probabilities_of_a_fusion_are_taken():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 400)
    X = np.c_[
        y[:, None] + rng.normal(size=(400, 8)),
        np.eye(2)[np.where(rng.random(400) < 0.8, y, 1 - y)],
    ]
    fusion = FusionClassifier(score_columns=slice(8, 10), random_state=0)
    shares = PrevalenceEstimator(fusion).fit(X[:120], y[:120])
    np.testing.assert_array_equal(shares.oof_proba_, shares.estimator_.oof_proba_)
    told = shares.estimate(X)
    assert told.low[1] <= y.mean() <= told.high[1]
    assert told.labels_worth[1] > 1.2


def test_a_pipeline_is_cross_fitted_where_a_step_learns_from_y():
    texts = [f"{word} {n}" for n in range(60) for word in ("good", "bad")]
    y = np.array(["+", "-"] * 60)
    model = make_pipeline(CountVectorizer(), LogisticRegression())
    told = PrevalenceEstimator(model, random_state=0).fit(texts[:40], y[:40]).estimate(texts)
    assert told.share.tolist() == pytest.approx([0.5, 0.5], abs=0.02)


def test_an_llm_is_asked_once_per_text(tmp_path):
    texts = [f"text number {n}" for n in range(40)]
    y = np.array(["yes", "no"] * 20)
    with FaultServer() as server:
        llm = LLMClassifier(
            "m", classes=["no", "yes"], base_url=server.base_url, memory=tmp_path / "replies"
        )
        shares = PrevalenceEstimator(llm, random_state=0).fit(texts[:20], y[:20])
        shares.estimate(texts)
        shares.estimate(texts)
        assert server.ledger().billed == 40


def test_a_plan_brings_the_width():
    X, y = pool(n=5000)
    rng = np.random.default_rng(0)
    drawn = rng.choice(5000, 150, replace=False)
    estimator = PrevalenceEstimator(LogisticRegression(C=10), random_state=0)
    estimator.fit(X[drawn], y[drawn]).estimate(X)
    plan = estimator.plan(width=0.1)
    more = int(plan.labels_more.max())
    assert plan.stratum_more.sum() == more
    drawn = np.r_[drawn, rng.choice(np.setdiff1d(np.arange(5000), drawn), more, replace=False)]
    told = clone(estimator).fit(X[drawn], y[drawn]).estimate(X)
    assert 0.08 < told.high[1] - told.low[1] < 0.11


def test_a_plan_for_a_rare_class_draws_more_where_it_is_found():
    X, y = pool(n=5000, share=0.08, noise=0.45)
    drawn = np.arange(200)
    estimator = PrevalenceEstimator(LogisticRegression(C=10), random_state=0)
    estimator.fit(X[drawn], y[drawn]).estimate(X)
    plan = estimator.plan(width=0.03)
    rate = plan.stratum_more / plan.stratum_total
    assert 1 < rate[1] / rate[0] <= 3.2
    np.testing.assert_allclose(plan.stratum_weight * plan.stratum_more, plan.stratum_total)


def test_labelled_texts_are_found_among_all_or_missed_in_words():
    X, y = pool()
    shares = PrevalenceEstimator(LogisticRegression(), random_state=0).fit(X[:100], y[:100])
    with pytest.warns(DataWarning, match="none of the 100 labelled texts"):
        outside = shares.estimate(X[100:])
    inside = shares.estimate(X)
    np.testing.assert_allclose(outside.share, inside.share)
    with pytest.raises(ValueError, match="50 of the 100 labelled texts are not among"):
        shares.estimate(X[50:])


def test_repeated_texts_count_as_often_as_they_stand_there():
    X, y = np.repeat([[0.0], [1.0], [1.1]], [60, 30, 10], axis=0), np.repeat([0, 1], [60, 40])
    drawn = np.random.default_rng(0).permutation(100)[:50]
    shares = PrevalenceEstimator(LogisticRegression(C=100), random_state=0)
    told = shares.fit(X[drawn], y[drawn]).estimate(X)
    assert told.n_total.tolist() == [100, 100]
    assert told.low[1] <= 0.4 <= told.high[1]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"confidence": 95}, "confidence=95"),
        ({"confidence": 1.0}, "confidence=1.0"),
        ({"target": "all"}, "target='all'"),
        ({"cv": 1}, "cv=1"),
    ],
)
def test_wrong_parameters_are_told(settings, message):
    X, y = pool(n=50)
    with pytest.raises(ValueError, match=message):
        PrevalenceEstimator(LogisticRegression(), **settings).fit(X, y)


def test_labels_of_one_class_are_counted():
    X, y = pool(n=500)
    rows = np.flatnonzero(~y)[:40]
    shares = PrevalenceEstimator(LogisticRegression(), random_state=0)
    with pytest.warns(DataWarning, match="all 40 labelled texts are of the class"):
        shares.fit(X[rows], np.full(40, "no"))
    told = shares.estimate(X)
    assert told.high.tolist() == [1.0]
    assert 0.88 < told.low[0] < 0.95


def test_a_class_that_only_the_model_knows_has_its_share():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 300)
    X = np.hstack([rng.normal(size=(300, 4)), np.eye(3)[y]])
    fusion = FusionClassifier(
        score_columns=slice(4, 7), score_classes=[0, 1, 2], classes=[0, 1, 2], random_state=0
    )
    rows = np.flatnonzero(y < 2)[:40]
    told = PrevalenceEstimator(fusion, random_state=0).fit(X[rows], y[rows]).estimate(X)
    assert told.classes.tolist() == [0, 1, 2]
    assert 0 <= told.low[2] < told.high[2] < 1


def test_wrong_data_are_told():
    X, y = pool(n=60)
    shares = PrevalenceEstimator(LogisticRegression(), random_state=0)
    with pytest.raises(ValueError, match="60 texts and 59 labels"):
        shares.fit(X, y[:-1])
    shares.fit(X[:30], y[:30])
    with pytest.raises(ValueError, match="call estimate"):
        shares.plan(0.1)
    shares.estimate(X)
    with pytest.raises(ValueError, match="width=2"):
        shares.plan(2)
    for weights in (np.ones(7), np.zeros(30), np.full(30, np.nan)):
        with pytest.raises(ValueError, match="each of the 30 labelled texts"):
            shares.estimate(X, sample_weight=weights)
    with pytest.raises(ValueError, match="60 texts and 3 groups"):
        shares.estimate(X, by=[1, 2, 3])


def test_it_is_saved_without_pickle(tmp_path):
    X, y = pool(n=300)
    shares = PrevalenceEstimator(LogisticRegression(), random_state=0).fit(X[:90], y[:90])
    before = shares.estimate(X)
    save(shares, tmp_path / "shares.sklf")
    after = load(tmp_path / "shares.sklf").estimate(X)
    np.testing.assert_allclose(after.low, before.low)


def test_the_display_draws_each_class_and_group():
    X, y = pool()
    by = np.arange(1500) % 2
    shares = PrevalenceEstimator(LogisticRegression(), random_state=0).fit(X[::9], y[::9])
    display = PrevalenceDisplay.from_estimator(shares, X, by=by)
    assert [t.get_text() for t in display.ax_.get_legend().get_texts()] == ["0", "1"]
    assert len(display.ax_.lines) == 2
    display.figure_.clear()
