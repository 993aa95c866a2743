"""Which texts to label next: check numbers, chances, weights, answers in any order, resuming."""

import json
import warnings

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.multioutput import MultiOutputClassifier
from sklearn.pipeline import make_pipeline

from sklfusion import FusionClassifier, LabelAcquirer, PrevalenceEstimator, SelectiveClassifier
from sklfusion.exceptions import DataWarning
from sklfusion.persistence import load, save
from sklfusion.promises._draw import doubt_of, draw_in_turn, drawing_weights, lure_weights


@pytest.mark.parametrize(("q", "wanted"), [((1 / 4, 1 / 3), (1, 1)), ((0.4, 0.5), (0.75, 0.6667))])
def test_weights_have_their_check_numbers(q, wanted):
    np.testing.assert_allclose(lure_weights(q, 4), wanted, atol=6e-5)


def test_weights_are_even_in_an_even_draw_whatever_went_away():
    np.testing.assert_allclose(lure_weights([1 / 9, 1 / 7], 7, left=[9, 7]), 1)
    X, y = pool(40)
    acquirer = LabelAcquirer(LogisticRegression(), floor=1.0, random_state=0).fit(X)
    acquirer.add([0], [y[0]])
    rows = acquirer.query().rows
    with pytest.warns(DataWarning, match="leaves out"):
        acquirer.add(rows[:9], [None, *y[rows[1:9]]])  # one skipped, eleven open
    np.testing.assert_allclose(acquirer.weights_, [8 / 38, *[1] * 8])


def test_weights_of_a_pool_that_is_used_up_are_even():
    assert lure_weights([0.7, 0.6, 1.0], 3).tolist() == [1, 1, 1]


def test_a_weighted_share_is_unbiased_where_the_raw_one_is_not():
    """2,000 draws of 40 from 200, of which a fifth is on: weighted .2, raw .567."""
    rng = np.random.default_rng(0)
    y = (np.arange(200) < 40).astype(float)
    doubt = doubt_of(np.c_[np.where(y, 0.55, 0.9), np.where(y, 0.45, 0.1)], multilabel=False)
    chances = drawing_weights(doubt, 0.3)
    weighted, raw = [], []
    for _ in range(2000):
        rows, q = draw_in_turn(chances, 40, rng)
        weighted.append((lure_weights(q, 200) * y[rows]).mean())
        raw.append(y[rows].mean())
    assert np.mean(weighted) == pytest.approx(0.2, abs=5 * 0.0004)
    assert np.mean(raw) == pytest.approx(0.567, abs=0.005)


def test_doubt_is_the_square_of_one_minus_the_margin():
    proba = np.array([[0.5, 0.5, 0.0], [0.8, 0.1, 0.1], [1.0, 0.0, 0.0], [np.nan] * 3])
    np.testing.assert_allclose(doubt_of(proba, multilabel=False), [1, 0.09, 0, 1])
    several = np.array([[0.5, 1.0], [0.0, 0.75], [0.25, 0.25]])
    np.testing.assert_allclose(doubt_of(several, multilabel=True), [0.5, 0.125, 0.25])
    assert doubt_of(np.ones((3, 1)), multilabel=False).tolist() == [1, 1, 1]


def test_chances_have_a_floor_and_sum_to_one():
    chances = drawing_weights(np.array([1.0, 1.0, 0.0, 0.0]), 0.3)
    np.testing.assert_allclose(chances, [0.425, 0.425, 0.075, 0.075])
    np.testing.assert_allclose(drawing_weights(np.zeros(4), 0.3), 0.25)
    np.testing.assert_allclose(drawing_weights(np.arange(4.0), 1.0), 0.25)


def test_rows_are_drawn_as_often_as_their_chance_says_and_never_twice():
    rng = np.random.default_rng(1)
    weights = np.array([0.5, 0.3, 0.2])
    first = np.zeros(3)
    for _ in range(4000):
        rows, q = draw_in_turn(weights, 2, rng)
        first[rows[0]] += 1
        assert rows[0] != rows[1]
        assert q[0] == pytest.approx(weights[rows[0]])
        assert q[1] == pytest.approx(weights[rows[1]] / (1 - weights[rows[0]]))
    np.testing.assert_allclose(first / 4000, weights, atol=0.03)
    assert sorted(draw_in_turn(weights, 9, rng)[0]) == [0, 1, 2]
    assert len(draw_in_turn(weights, 0, rng)[0]) == 0


def pool(n=300, seed=0, noise=0.5):
    rng = np.random.default_rng(seed)
    y = (rng.random(n) < 0.3).astype(int)
    return y[:, None] + rng.normal(scale=noise, size=(n, 2)), np.array(["no", "yes"])[y]


def labelled(acquirer, y, n_batches):
    """The acquirer after so many batches that were answered."""
    for _ in range(n_batches):
        batch = acquirer.query()
        acquirer.add(batch.rows, y[batch.rows])
    return acquirer


def test_the_first_batch_is_even_and_later_ones_seek_doubt():
    X, y = pool()
    acquirer = LabelAcquirer(LogisticRegression(), batch_size=30, random_state=0).fit(X)
    batch = acquirer.query()
    np.testing.assert_allclose(batch.q, 1 / (300 - np.arange(30)))
    assert (batch.utility == 1).all()
    np.testing.assert_array_equal(batch.X, X[batch.rows])
    acquirer.add(batch.rows, y[batch.rows])
    later = acquirer.query()
    assert not set(later.rows) & set(batch.rows)
    unlabelled = np.setdiff1d(np.arange(300), batch.rows)
    doubt = doubt_of(acquirer.model_.predict_proba(X[unlabelled]), multilabel=False)
    assert later.utility.mean() > 1.3 * doubt.mean()
    assert later.q.min() >= 0.3 / 270  # the floor


def test_an_open_batch_is_asked_again_until_it_is_answered():
    X, y = pool()
    acquirer = LabelAcquirer(LogisticRegression(), batch_size=4, random_state=0).fit(X)
    first = acquirer.query()
    again = acquirer.query(50)
    assert again.rows.tolist() == first.rows.tolist()
    assert again.q.tolist() == first.q.tolist()
    acquirer.add(first.rows[:3], y[first.rows[:3]])
    assert acquirer.query().rows.tolist() == acquirer.outstanding_.tolist() == [first.rows[3]]
    acquirer.add(first.rows[3:], y[first.rows[3:]])
    assert len(acquirer.outstanding_) == 0
    assert not set(acquirer.query().rows) & set(first.rows)


def test_answers_come_in_any_order_and_rows_stay_in_the_order_drawn():
    X, y = pool()
    acquirer = LabelAcquirer(LogisticRegression(), random_state=3).fit(X)
    rows = acquirer.query().rows
    acquirer.add(rows[::-1], y[rows[::-1]])
    assert acquirer.rows_.tolist() == rows.tolist()
    assert acquirer.y_.tolist() == y[rows].tolist()


def test_a_row_that_nobody_can_label_is_left_out_with_a_warning():
    X, y = pool(40)
    acquirer = LabelAcquirer(LogisticRegression(), batch_size=5, random_state=0).fit(X)
    rows = acquirer.query().rows
    with pytest.warns(DataWarning, match=rf"leaves out 2 row.*first is row {rows[1]}"):
        acquirer.add(rows, [y[rows[0]], None, y[rows[2]], float("nan"), y[rows[4]]])
    assert acquirer.rows_.tolist() == rows[[0, 2, 4]].tolist()
    assert acquirer.weights_.shape == (3,)
    drawn = [*rows, *acquirer.query(100).rows]
    assert sorted(drawn) == list(range(40))  # the rest, and those two never again


def test_a_used_up_pool_gives_the_rest_and_then_nothing():
    X, y = pool(25)
    acquirer = labelled(LabelAcquirer(LogisticRegression(), random_state=0).fit(X), y, 1)
    rest = acquirer.query()
    assert len(rest.rows) == 5
    acquirer.add(rest.rows, y[rest.rows])
    assert acquirer.weights_.tolist() == [1.0] * 25
    assert acquirer.query().rows.shape == acquirer.query().q.shape == (0,)


def test_one_class_seen_leaves_the_draw_even():
    X, _ = pool(60)
    acquirer = LabelAcquirer(LogisticRegression(), random_state=0).fit(X)
    acquirer.add(acquirer.query().rows, ["no"] * 20)
    batch = acquirer.query()
    assert (batch.utility == 1).all()
    np.testing.assert_allclose(batch.q, 1 / (40 - np.arange(20)))


def test_rows_labelled_before_are_fitted_on_and_stand_for_themselves():
    X, y = pool(100)
    acquirer = LabelAcquirer(LogisticRegression(), batch_size=10, random_state=0).fit(X)
    before = np.r_[np.flatnonzero(y == "yes")[:3], np.flatnonzero(y == "no")[:3]]
    acquirer.add(before, y[before])
    batch = acquirer.query()
    assert not set(batch.rows) & set(before)
    assert np.ptp(batch.utility) > 0  # a model was fitted
    acquirer.add(batch.rows, y[batch.rows])
    weights = acquirer.weights_
    np.testing.assert_allclose(weights[:6], 10 / 94)
    np.testing.assert_allclose(weights[6:], lure_weights(batch.q, 94))
    assert all(entry["q"] is None for entry in acquirer.get_state()["entries"][:6])


def test_equal_rows_are_one_and_count_as_often_as_they_are_there():
    texts = ["a b", "c d", "a b", "e f", "a b", "g h"]
    acquirer = LabelAcquirer(make_pipeline(CountVectorizer(), LogisticRegression())).fit(texts)
    batch = acquirer.query()
    assert sorted(batch.rows) == [0, 1, 3, 5]
    assert sorted(batch.X) == ["a b", "c d", "e f", "g h"]
    acquirer.add([4, 1, 3, 5], ["x", "y", "x", "y"])  # a copy answers for the first
    assert dict(zip(acquirer.rows_.tolist(), acquirer.weights_.tolist(), strict=True)) == {
        0: 3,
        1: 1,
        3: 1,
        5: 1,
    }


def test_a_label_can_be_put_right_and_the_model_follows():
    X, y = pool(50)
    acquirer = labelled(LabelAcquirer(LogisticRegression(), random_state=0).fit(X), y, 1)
    model = acquirer.refit()
    assert acquirer.refit() is model is acquirer.model_
    row = acquirer.rows_[0]
    other = "yes" if y[row] == "no" else "no"
    acquirer.add([row], [other])
    assert acquirer.y_[0] == other
    assert len(acquirer.rows_) == 20
    assert acquirer.refit() is not model


def test_several_labels_per_text():
    rng = np.random.default_rng(0)
    Y = rng.integers(0, 2, (80, 2))
    X = Y + rng.normal(scale=0.4, size=Y.shape)
    model = MultiOutputClassifier(LogisticRegression())
    acquirer = labelled(LabelAcquirer(model, random_state=0).fit(X), Y, 2)
    np.testing.assert_array_equal(acquirer.y_, Y[acquirer.rows_])
    batch = acquirer.query()
    assert np.ptp(batch.utility) > 0
    with pytest.warns(DataWarning, match="leaves out 1 row"):
        acquirer.add(batch.rows[:2], [[0, 1], None])
    with pytest.raises(ValueError, match=r"labels of \[0, 2\] columns"):
        acquirer.add(batch.rows[2:3], ["yes"])


def test_numbers_stay_numbers():
    X, y = pool(50)
    acquirer = labelled(LabelAcquirer(LogisticRegression()).fit(X), (y == "yes").astype(int), 1)
    assert acquirer.y_.dtype.kind == "i"
    assert acquirer.refit().classes_.tolist() == [0, 1]


def test_a_labelling_is_taken_up_from_json_and_draws_the_same():
    X, y = pool()
    one = labelled(LabelAcquirer(LogisticRegression(), random_state=5).fit(X), y, 2)
    open_rows = one.query().rows
    state = json.loads(json.dumps(one.get_state()))
    two = LabelAcquirer(LogisticRegression(), random_state=5).fit(X).set_state(state)
    assert two.outstanding_.tolist() == open_rows.tolist()
    np.testing.assert_array_equal(two.y_, one.y_)
    np.testing.assert_allclose(two.weights_, one.weights_)
    one, two = labelled(one, y, 1), labelled(two, y, 1)
    assert one.query().rows.tolist() == two.query().rows.tolist()


def test_other_pools_and_other_files_are_refused():
    X, y = pool(40)
    state = labelled(LabelAcquirer(LogisticRegression()).fit(X), y, 1).get_state()
    for other in (X[::-1], X[:30]):
        with pytest.raises(ValueError, match="the state of another pool"):
            LabelAcquirer(LogisticRegression()).fit(other).set_state(state)
    for wrong in ({}, [1], {**state, "version": 99}):
        with pytest.raises(ValueError, match="what get_state gave"):
            LabelAcquirer(LogisticRegression()).fit(X).set_state(wrong)


def test_it_survives_a_file(tmp_path):
    X, y = pool(60)
    acquirer = labelled(LabelAcquirer(LogisticRegression(), random_state=2).fit(X), y, 1)
    acquirer.query()
    save(acquirer, tmp_path / "labelling.sklf")
    again = load(tmp_path / "labelling.sklf")
    assert again.get_state() == acquirer.get_state()
    assert again.query().rows.tolist() == acquirer.outstanding_.tolist()
    acquirer, again = labelled(acquirer, y, 2), labelled(again, y, 2)
    np.testing.assert_array_equal(again.rows_, acquirer.rows_)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (([0, 1], ["a"]), "got 2 rows and 1 labels"),
        (([40], ["a"]), "got row 40; rows are places in the pool, integers from 0 to 39"),
        (([-1], ["a"]), "got row -1"),
        (([0.5], ["a"]), r"got row 0\.5"),
    ],
)
def test_wrong_rows_are_refused_and_nothing_is_taken(given, message):
    acquirer = LabelAcquirer(LogisticRegression()).fit(pool(40)[0])
    with pytest.raises(ValueError, match=message):
        acquirer.add(*given)
    assert len(acquirer.rows_) == 0


def test_nothing_to_choose_from_or_to_fit_on_is_refused():
    with pytest.raises(ValueError, match="a pool of 0 rows"):
        LabelAcquirer(LogisticRegression()).fit([])
    acquirer = LabelAcquirer(LogisticRegression()).fit(pool(40)[0])
    with pytest.raises(ValueError, match=r"no labels to fit on; query\(\) and add\(\) first"):
        acquirer.refit()
    with pytest.raises(ValueError, match="size=0; it must be at least 1"):
        acquirer.query(0)
    assert acquirer.y_.shape == acquirer.weights_.shape == (0,)


@pytest.mark.parametrize("wrong", [{"floor": 0}, {"floor": 1.2}, {"batch_size": 0}])
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        LabelAcquirer(LogisticRegression(), **wrong).fit(pool(40)[0])


def test_shares_from_its_rows_hold_with_its_weights():
    """Without weights the rarer, harder class is counted too often."""
    X, y = pool(1000, noise=0.7)
    truth = (y == "yes").mean()
    covered, raw = 0, []
    for seed in range(40):
        acquirer = LabelAcquirer(LogisticRegression(), random_state=seed).fit(X)
        labelled(acquirer, y, 4)
        shares = PrevalenceEstimator(LogisticRegression(), random_state=seed)
        shares.fit(X[acquirer.rows_], acquirer.y_)
        told = shares.estimate(X, sample_weight=acquirer.weights_)
        covered += told.low[1] <= truth <= told.high[1]
        raw.append((acquirer.y_ == "yes").mean())
    assert covered >= 34  # of 40; 38 are meant
    assert np.mean(raw) > truth + 0.02


def test_its_rows_certify_no_accuracy_and_even_ones_do():
    X, y = pool(400, noise=0.3)
    acquirer = labelled(LabelAcquirer(LogisticRegression(), random_state=0).fit(X), y, 4)
    sure = SelectiveClassifier(LogisticRegression(), target_accuracy=0.8)
    with pytest.raises(ValueError, match=r"active learning \(LabelAcquirer\), certify no"):
        sure.fit(X[acquirer.rows_], acquirer.y_, sample_weight=acquirer.weights_)
    even = LabelAcquirer(LogisticRegression(), floor=1.0, random_state=0).fit(X)
    labelled(even, y, 4)
    np.testing.assert_allclose(even.weights_, 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error", DataWarning)
        sure.fit(X[even.rows_], even.y_, sample_weight=even.weights_.round(9))
    assert sure.coverage_ > 0.5


class Asked(ClassifierMixin, BaseEstimator):
    """Counts the rows that it is asked about."""

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        self.n_asked_ = 0
        return self

    def predict_proba(self, X):
        self.n_asked_ += len(X)
        return np.full((len(X), len(self.classes_)), 1 / len(self.classes_))


def test_a_query_asks_the_model_once_about_rows_without_a_label():
    X, y = pool(100)
    acquirer = labelled(LabelAcquirer(Asked(), random_state=0).fit(X), y, 1)
    acquirer.query()
    acquirer.query()
    assert acquirer.model_.n_asked_ == 80


def test_fusion_of_embedding_and_votes_is_a_model_for_it():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 200)
    votes = np.eye(3)[np.where(rng.random(200) < 0.8, y, rng.integers(0, 3, 200))]
    X = np.hstack([np.eye(3)[y] + rng.normal(scale=0.8, size=(200, 3)), votes])
    model = FusionClassifier(
        score_columns=slice(3, 6), score_classes=[0, 1, 2], classes=[0, 1, 2], random_state=0
    )
    acquirer = labelled(LabelAcquirer(model, random_state=0).fit(X), y, 3)
    assert acquirer.refit().score(X, y) > 0.75
    assert (acquirer.weights_ > 0).all()
