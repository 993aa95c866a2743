"""What more labels would bring: curves, bands that cover, money, the point where it ends."""

import numpy as np
import pytest
from scipy.special import logit
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from sklfusion import plan_budget
from sklfusion.exceptions import DataWarning
from sklfusion.promises._budget_plan import look_at_labels
from sklfusion.promises._learning_curve import (
    CURVE_PRIOR,
    CurvePrior,
    Seen,
    error_at,
    forecast_accuracy,
    posterior_curves,
)

CURVE = np.array([[logit(0.2), logit(0.5), np.log(0.5)]])  # .1 stays, .1 shrinks with the root


@pytest.mark.parametrize(
    ("n", "wanted"), [(100, 0.2), (400, 0.15), (25, 0.3), (1e12, 0.1), (1e-9, 1.0)]
)
def test_the_error_is_an_inverse_power_law(n, wanted):
    assert error_at([n], CURVE)[0, 0] == pytest.approx(wanted, abs=1e-5)


def test_many_curves_and_sizes_at_once():
    steeper = CURVE + np.log([[1, 1, 2]])
    found = error_at([100, 400], np.vstack([CURVE, steeper]))
    np.testing.assert_allclose(found, [[0.2, 0.15], [0.2, 0.125]])


def seen(n=50, accuracy=0.8, worth=50.0, rise=0.02, error=0.03):
    return Seen(n, accuracy, worth, rise, error)


def test_where_the_labels_are_sure_the_prior_does_not_matter():
    expected, low, high = forecast_accuracy(seen(worth=20_000.0), [50], 0.9)
    assert expected[0] == pytest.approx(0.8, abs=0.01)
    assert low[0] < expected[0] < high[0]
    assert high[0] - low[0] < 0.02
    other = CurvePrior(CURVE_PRIOR.mean + np.array([0.5, 0, 0]), CURVE_PRIOR.covariance)
    assert forecast_accuracy(seen(worth=20_000.0), [50], 0.9, other)[0][0] == pytest.approx(
        0.8, abs=0.01
    )


def test_few_labels_are_drawn_to_the_prior():
    far = CurvePrior(np.array([logit(0.5), 0.0, -0.7]), np.diag([0.1, 0.5, 0.1]))
    few, many = (forecast_accuracy(seen(worth=w), [50], 0.9, far)[0][0] for w in (10.0, 1000.0))
    assert 0.5 < few < many < 0.81


def test_accuracy_rises_with_labels_and_bands_with_confidence():
    sizes = [50, 100, 200, 500, 1000]
    expected, low, high = forecast_accuracy(seen(), sizes, 0.9)
    assert (np.diff(expected) > 0).all()
    assert ((low > 0) & (low < expected) & (expected < high) & (high < 1)).all()
    wider = forecast_accuracy(seen(), sizes, 0.99)
    assert (wider[1] < low).all()
    assert (wider[2] > high).all()


def test_labels_that_are_worth_more_make_the_band_narrower():
    widths = []
    for worth in (30.0, 100.0, 1000.0):
        _, low, high = forecast_accuracy(seen(worth=worth), [200], 0.9)
        widths.append(high[0] - low[0])
    assert widths == sorted(widths, reverse=True)


def test_a_rise_that_was_seen_is_believed_as_far_as_it_is_sure():
    def gain(rise, error):
        now, later = forecast_accuracy(seen(worth=400.0, rise=rise, error=error), [50, 500], 0.9)[
            0
        ]
        return later - now

    assert gain(0.08, 0.01) > gain(0.02, 0.01) + 0.01
    assert gain(0.08, 0.01) > gain(0.08, 0.2)


def test_a_rise_that_no_curve_has_leaves_a_band():
    """Half of the labels may lack a class, or all copies of a row."""
    _, low, high = forecast_accuracy(seen(rise=1.0, error=0.01), [50, 200], 0.9)
    assert (high - low > 0.03).all()


def test_weights_of_curves_are_those_of_a_distribution():
    curves, weights = posterior_curves(seen())
    assert weights.sum() == pytest.approx(1)
    assert 1 / (weights**2).sum() > 500  # curves that carry it
    again = posterior_curves(seen())
    np.testing.assert_array_equal(again[0], curves)


def rows(n, seed=0):
    """Vectors that take labels to learn, and votes that are mostly right."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n)
    vectors = 0.2 * (2 * y[:, None] - 1) + rng.normal(size=(n, 6))
    votes = np.where(rng.random(n) < 0.85, y, 1 - y)
    return np.column_stack([vectors, 2 * votes - 1]), y


def test_bands_cover_what_more_labels_bring():
    X_new, y_new = rows(5000, seed=1)
    truth = []
    for seed in range(20):
        X, y = rows(300, seed=100 + seed)
        truth.append(LogisticRegression().fit(X, y).score(X_new, y_new))
    covered, off = 0, []
    for seed in range(20):
        X, y = rows(60, seed=200 + seed)
        plan = plan_budget(LogisticRegression(), X, y, X_new[:500], sizes=[300], random_state=seed)
        covered += plan.low[1] <= np.mean(truth) <= plan.high[1]
        off.append(plan.accuracy[1] - np.mean(truth))
    assert covered >= 14  # of 20; these curves are steeper than those of the prior
    assert abs(np.mean(off)) < 0.06


def test_a_pool_that_a_model_is_sure_of_tells_the_level_better():
    X, y = rows(60)
    pool = rows(2000, seed=5)[0]
    alone, n_alone = look_at_labels(LogisticRegression(), X, y, None, random_state=0)
    helped, n_pool = look_at_labels(LogisticRegression(), X, y, pool, random_state=0)
    assert (n_alone, n_pool) == (0, 2000)
    assert helped.n_effective > alone.n_effective
    assert alone.accuracy == pytest.approx(helped.accuracy, abs=0.1)
    empty = look_at_labels(LogisticRegression(), X, y, X[:0], random_state=0)[0]
    assert empty == alone


def test_money_is_labels_and_answers_beyond_the_pool():
    X, y = rows(40)
    plan = plan_budget(
        *(LogisticRegression(), X, y, rows(100, seed=3)[0]),
        sizes=(20, 100, 200),
        price_per_label=0.1,
        price_per_text=0.01,
        random_state=0,
    )
    assert plan.n_labels.tolist() == [40, 100, 200]  # 20 are there already
    np.testing.assert_allclose(plan.cost, [0, 6, 16 + 0.6])  # 60 of 160 are not in the pool
    free = plan_budget(LogisticRegression(), X, y, random_state=0)
    assert np.isnan(free.cost).all()


def test_the_frame_has_a_row_per_size():
    X, y = rows(40)
    frame = plan_budget(LogisticRegression(), X, y, price_per_label=1, random_state=0).to_frame()
    assert list(frame) == ["n_labels", "accuracy", "low", "high", "cost"]
    assert frame["n_labels"].tolist() == [40, 100, 200, 500, 1000]
    assert frame["cost"].tolist() == [0, 60, 160, 460, 960]


def test_it_says_where_more_labels_buy_less_than_a_point():
    X, y = rows(100)
    plan = plan_budget(LogisticRegression(), X, y, random_state=0)
    assert plan.told == (
        f"From {plan.enough:,} labels on, twice as many buy less than a point of accuracy."
    )
    again = plan_budget(
        LogisticRegression(), X, y, sizes=[plan.enough, 2 * plan.enough], random_state=0
    )
    assert again.accuracy[-1] - again.accuracy[-2] < 0.01
    assert 100 <= plan.enough < 10_000


class Sure(ClassifierMixin, BaseEstimator):
    """Right about rows that say their class, by out-of-fold answers of its own."""

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        self.oof_proba_ = self.predict_proba(X)
        return self

    def predict_proba(self, X):
        return np.where(np.asarray(X)[:, :1] == self.classes_, 0.98, 0.02)


def test_what_is_right_already_needs_no_more():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 100)
    plan = plan_budget(Sure(), np.column_stack([y, rng.normal(size=100)]), y, random_state=0)
    assert plan.accuracy[0] > 0.95
    assert plan.enough == 100


def test_texts_are_rows_as_well():
    texts = [f"{'good' if n % 2 else 'bad'} thing {n % 7}" for n in range(40)]
    model = make_pipeline(CountVectorizer(), LogisticRegression())
    plan = plan_budget(model, texts, [n % 2 for n in range(40)], texts[:10], random_state=0)
    assert plan.accuracy[-1] > 0.85


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y": [0, 1] * 4, "X": np.zeros((8, 1))}, "got 8 labels; from fewer than 10 nothing"),
        ({"y": np.eye(40, 3, dtype=int)}, r"several labels per text.*y\[:, k\]"),
        ({"y": [0, 1] * 10}, "got 40 texts and 20 labels"),
        ({"confidence": 1.5}, "confidence=1.5; it needs a number in"),
    ],
)
def test_what_cannot_be_planned_is_refused(change, message):
    X, y = rows(40)
    given = {"X": X, "y": y} | change
    with pytest.raises(ValueError, match=message):
        plan_budget(LogisticRegression(), **given)


def test_few_labels_are_warned_of():
    X, y = rows(20)
    with pytest.warns(DataWarning, match="got 20 labels; its bands were measured with 30 to 100"):
        plan_budget(LogisticRegression(), X, y, random_state=0)
