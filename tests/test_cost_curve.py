"""The cost curve of a cascade, in numbers that can be counted by hand."""

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin

from sklfusion import CascadeClassifier, RecordedScorer
from sklfusion.cascade import _cost_curve

CLASSES = ["food", "sport"]


class Told(ClassifierMixin, BaseEstimator):
    """A first stage whose probability of "food" stands in the text."""

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        return self

    def predict_proba(self, X):
        food = np.array([float(text.split()[0]) for text in X])
        return np.column_stack([food, 1 - food])

    def predict(self, X):
        return self.classes_[self.predict_proba(X).argmax(axis=1)]


class Believes(ClassifierMixin, BaseEstimator):
    """A fusion that takes the LLM's word: the last two columns."""

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        return self

    def predict_proba(self, X):
        scores = np.asarray(X)[:, -2:]
        return np.eye(2)[scores.argmax(axis=1)] * 0.98 + 0.01

    def predict(self, X):
        return self.classes_[self.predict_proba(X).argmax(axis=1)]


#: (P(food) of the first stage, truth): the four most doubtful are wrong, the other six are right.
ROWS = [
    (0.55, "sport"), (0.6, "sport"), (0.35, "food"), (0.3, "food"),
    (0.2, "sport"), (0.85, "food"), (0.1, "sport"), (0.95, "food"), (0.98, "food"),
    (0.01, "sport"),
]  # fmt: skip
TEXTS = [f"{p} note {i}" for i, (p, _) in enumerate(ROWS)]
TRUTH = np.array([label for _, label in ROWS])


def cascade(said=None, **params):
    """Fit on the ten rows; ``said`` is what the LLM says of them, by default the truth."""
    said = TRUTH.tolist() if said is None else said
    llm = RecordedScorer(dict(zip(TEXTS, said, strict=True)), classes=CLASSES)
    params = {"fusion": Believes(), "random_state": 0, **params}
    return CascadeClassifier(Told(), llm, **params).fit(TEXTS, TRUTH)


def at(clf, share, name="score"):
    """A value of the curve at a share."""
    (position,) = np.flatnonzero(np.isclose(clf.cost_curve_["share"], share))
    return clf.cost_curve_[name][position]


def test_every_point_of_the_curve_is_a_count():
    """Each of the four doubtful rows that is asked about turns from wrong to right."""
    clf = cascade()
    for share, right in ((0, 6), (0.1, 7), (0.2, 8), (0.3, 9), (0.4, 10), (0.7, 10), (1, 10)):
        assert at(clf, share) == pytest.approx(right / 10)
    assert at(clf, 0.15) == pytest.approx(0.7)  # one row and a half are one row


def test_the_cheapest_of_the_best_shares_is_chosen_and_its_threshold_separates_them():
    """Four of ten; their doubt is .45, .4, .35, .3, that of the fifth .2."""
    clf = cascade()
    assert clf.share_ == pytest.approx(0.4)
    assert clf.threshold_ == pytest.approx(0.25)
    assert clf.asks(TEXTS).tolist() == [True] * 4 + [False] * 6
    assert clf.predict(TEXTS).tolist() == TRUTH.tolist()


def test_the_threshold_of_a_share_is_midway_between_two_rows():
    """None is asked about at infinity, all at minus infinity."""
    clf = cascade()
    wanted = {0: np.inf, 0.1: 0.425, 0.2: 0.375, 0.3: 0.325, 0.5: 0.175, 1: -np.inf}
    for share, threshold in wanted.items():
        assert at(clf, share, "threshold") == pytest.approx(threshold)


def test_a_budget_between_two_points_is_a_point_and_bounds_the_choice():
    """.33 of ten rows are three, as .3 are, which is the cheaper of the two."""
    clf = cascade(budget=0.33)
    assert clf.share_ == pytest.approx(0.3)
    assert at(clf, 0.33) == pytest.approx(0.9)
    assert clf.asks(TEXTS).sum() == 3


def test_a_share_is_taken_only_if_it_adds_more_than_it_costs():
    """Each tenth adds a tenth: at a cost below 1 all four are asked about, above it none."""
    assert cascade(cost=0.9).share_ == pytest.approx(0.4)
    assert cascade(cost=1.1).share_ == 0
    assert np.array_equal(cascade(cost=1.1).predict_proba(TEXTS), Told().predict_proba(TEXTS))


@pytest.mark.filterwarnings("ignore::sklfusion.ScoringWarning")
def test_rows_without_an_answer_count_with_the_answer_of_the_first_stage():
    """The LLM is silent on two of the four wrong rows and on a right "sport": 8 of 10 at most."""
    said = [None, "sport", None, "food", None, *TRUTH[5:].tolist()]
    clf = cascade(said)
    for share, right in ((0, 6), (0.1, 6), (0.2, 7), (0.3, 7), (0.4, 8), (0.5, 8), (1, 8)):
        assert at(clf, share) == pytest.approx(right / 10)
    silent = [TEXTS[i] for i in (0, 2, 4)]
    assert np.array_equal(clf.predict_proba(silent), Told().predict_proba(silent))


def test_an_llm_that_is_always_wrong_is_never_asked():
    """The curve falls from the first point on."""
    wrong = ["food" if label == "sport" else "sport" for label in TRUTH]
    clf = cascade(wrong)
    assert clf.share_ == 0
    assert at(clf, 1) == 0
    assert not clf.asks(TEXTS).any()


@pytest.mark.parametrize("order", [["sport", "tea", "food"], ["tea", "sport", "food"]])
def test_the_columns_of_the_llm_are_matched_by_class_name(order):
    """In any order, with a class that y never shows; eight rows, a first stage that knows nothing.

    Columns taken for one another would have to be unlearnt from four rows a class.
    """
    y = np.array(CLASSES)[np.arange(8) % 2]
    train, new = ([f"0.5 {kind} {i}" for i in range(8)] for kind in ("old", "new"))
    said = dict(zip([*train, *new], [*y, *y[::-1]], strict=True))
    llm = RecordedScorer(said, classes=order)
    clf = CascadeClassifier(Told(), llm, random_state=0, strict=False).fit(train, y)
    clf.threshold_ = -np.inf
    proba = clf.predict_proba(new)
    assert clf.classes_[proba.argmax(axis=1)].tolist() == y[::-1].tolist()
    assert proba.max(axis=1).min() > 0.85


class Remembers(ClassifierMixin, BaseEstimator):
    """Certain of rows that it has seen, at even odds about others."""

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        self.seen = dict(zip(X, np.searchsorted(self.classes_, y), strict=True))
        return self

    def predict_proba(self, X):
        even = np.full(len(self.classes_), 1 / len(self.classes_))
        return np.array([np.eye(len(even))[self.seen[x]] if x in self.seen else even for x in X])

    def predict(self, X):
        return self.classes_[self.predict_proba(X).argmax(axis=1)]


def test_no_row_of_the_curve_was_seen_by_the_model_that_answers_it():
    """A stage that learns its rows by heart knows none of them out of fold."""
    X, y = [f"text {i}" for i in range(30)], np.array(CLASSES * 15)
    proba = _cost_curve.out_of_fold(Remembers(), X, y, None, False, np.random.RandomState(0), X)
    assert np.array_equal(proba, np.full((30, 2), 0.5))


def test_a_class_of_one_row_is_left_out_without_a_word():
    """Where its only row is held out nobody can know it: probability 0."""
    X, y = [f"text {i}" for i in range(21)], np.array([*CLASSES * 10, "tea"])
    proba = _cost_curve.out_of_fold(Remembers(), X, y, None, False, np.random.RandomState(0), X)
    assert proba.shape == (21, 3)
    assert proba[20, 2] == 0


def test_of_equally_doubtful_rows_the_first_are_asked_about():
    """So that a curve does not depend on the sorting."""
    first, fused = np.zeros((4, 2)), np.ones((4, 2))
    asked = _cost_curve.mixed(first, fused, np.array([0.2, 0.4, 0.2, 0.2]), 2)
    assert asked[:, 0].tolist() == [1, 1, 0, 0]
    assert first.sum() == 0


def test_money_on_the_curve_is_per_thousand_texts():
    """At .002 a text, asking about half of them costs 1 per 1,000."""
    y = np.array(CLASSES * 2)
    proba = np.eye(2)[[0, 1, 0, 1]]
    curve = _cost_curve.cost_curve(
        proba, proba, np.arange(4.0), y, np.array(CLASSES),
        multilabel=False, scoring="accuracy", price=0.002, most=0.5,
    )  # fmt: skip
    assert curve["cost"][curve["share"] == 0.5] == pytest.approx([1.0])
    assert curve["cost"][-1] == pytest.approx(2.0)


def test_label_sets_are_scored_as_whole_sets():
    """The scorer sees indicators cut at one half; asking mends the doubtful rows first."""
    Y = np.array([[1, 0], [1, 1], [0, 0], [0, 1]])
    first = np.array([[0.9, 0.1], [0.8, 0.4], [0.1, 0.6], [0.1, 0.9]])
    fused = np.where(Y == 1, 0.9, 0.1)
    unsure = _cost_curve.doubt(first, np.zeros(4, bool), True)
    assert unsure == pytest.approx([0.1, 0.3, 0.25, 0.1])
    curve = _cost_curve.cost_curve(
        first, fused, unsure, Y, np.arange(2),
        multilabel=True, scoring="accuracy", price=None, most=1.0,
    )  # fmt: skip
    score = dict(zip(curve["share"].tolist(), curve["score"].tolist(), strict=True))
    assert (score[0.0], score[0.25], score[0.5], score[1.0]) == (0.5, 0.75, 1.0, 1.0)
