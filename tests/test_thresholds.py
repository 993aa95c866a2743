"""MultiLabelThresholds and the multi-label splits."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.datasets import make_multilabel_classification
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score, make_scorer
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import MultiOutputClassifier
from sklearn.svm import LinearSVC
from sklearn.utils import get_tags

from sklfusion import IterativeStratifiedKFold, MultiLabelCalibrator, MultiLabelThresholds
from sklfusion.exceptions import DataWarning
from sklfusion.multilabel._targets import f1_per_label
from sklfusion.multilabel._threshold_search import apply_thresholds, best_f1_threshold


def shifted_scores(n=300, k=4, seed=0, shift=0.25):
    """Noisy scores whose best thresholds lie far below 0.5."""
    rng = np.random.default_rng(seed)
    y = (rng.random((n, k)) < np.linspace(0.1, 0.5, k)).astype(int)
    return np.clip(shift * y + shift * rng.random((n, k)), 0, 1), y


@pytest.fixture(scope="module")
def data():
    return make_multilabel_classification(
        n_samples=240, n_features=12, n_classes=4, n_labels=2, random_state=0
    )


@pytest.mark.parametrize("scoring", ["f1", "f1_micro", "f1_samples", "exact_match"])
@pytest.mark.parametrize("per_label", [True, False])
def test_tuned_thresholds_never_lose_to_the_default_in_cross_validation(scoring, per_label):
    """The guard: the cross-validated score is at least that of the default threshold."""
    p, y = shifted_scores()
    clf = MultiLabelThresholds(scoring=scoring, per_label=per_label).fit(p, y)
    assert clf.best_score_ >= clf.default_score_
    assert clf.best_score_ > 0.9 > clf.default_score_
    if not per_label:
        assert len(set(clf.thresholds_)) == 1


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000), st.integers(5, 60))
def test_best_f1_threshold_is_the_best_of_all_cuts(seed, n):
    """The sorted search finds what trying every cut finds."""
    rng = np.random.default_rng(seed)
    y, p = rng.integers(0, 2, n), rng.choice(np.linspace(0, 1, 12), n)
    values = np.unique(p)
    grid = (values[1:] + values[:-1]) / 2
    found = best_f1_threshold(y, p, grid, 0.5)

    def f1(t):
        return f1_per_label(y[:, None], (p >= t).astype(int)[:, None])[0] if y.any() else 0.0

    if y.any():
        assert f1(found) == pytest.approx(max(map(f1, [*grid, 0.5])))


def test_thresholds_on_noise_keep_the_default():
    """Where scores say nothing about exact match, the cross-validated guard keeps 0.5."""
    rng = np.random.default_rng(3)
    y = (rng.random((400, 3)) < 0.5).astype(int)
    clf = MultiLabelThresholds(scoring="exact_match").fit(rng.random((400, 3)), y)
    assert clf.best_score_ >= clf.default_score_
    fresh = rng.random((4000, 3)), (rng.random((4000, 3)) < 0.5).astype(int)
    at_half = (apply_thresholds(fresh[0], 0.5) == fresh[1]).all(axis=1).mean()
    assert clf.score(*fresh) > at_half - 0.03


@pytest.mark.parametrize(
    "estimator",
    [
        OneVsRestClassifier(LogisticRegression()),
        MultiOutputClassifier(LogisticRegression()),
        RandomForestClassifier(n_estimators=20, random_state=0),
        OneVsRestClassifier(LinearSVC()),
    ],
    ids=["ovr", "multioutput", "forest", "svm"],
)
def test_every_form_of_multilabel_scores_is_read(estimator, data):
    """Matrices, lists of matrices and decision values all work and beat the default on F1."""
    X, y = data
    clf = MultiLabelThresholds(estimator, cv=3).fit(X, y)
    assert clf.predict(X).shape == y.shape
    assert clf.best_score_ >= clf.default_score_
    if hasattr(clf, "predict_proba"):
        np.testing.assert_array_equal(
            clf.predict(X), apply_thresholds(clf.predict_proba(X), clf.thresholds_)
        )
    else:
        assert clf.decision_function(X).shape == y.shape


def test_prefit_scores_as_given_equal_scores_from_the_estimator(data):
    """cv="prefit" on rows and estimator=None on their probabilities tune the same."""
    X, y = data
    inner = OneVsRestClassifier(LogisticRegression()).fit(X[:120], y[:120])
    a = MultiLabelThresholds(inner, cv="prefit").fit(X[120:], y[120:])
    b = MultiLabelThresholds().fit(inner.predict_proba(X[120:]), y[120:])
    np.testing.assert_allclose(a.thresholds_, b.thresholds_, rtol=0, atol=1e-12)
    assert a.estimator_ is inner


@pytest.mark.parametrize("value", [0, 1])
def test_one_sided_label_keeps_the_default_and_warns(value):
    """A label never (or always) on keeps 0.5 with a DataWarning that names it (L07)."""
    p, y = shifted_scores()
    y[:, 2] = value
    frame = pd.DataFrame(y, columns=["a", "b", "rare", "d"])
    with pytest.warns(DataWarning, match="rare"):
        clf = MultiLabelThresholds().fit(p, frame)
    assert clf.thresholds_[2] == 0.5
    assert not clf.tuned_[2]
    assert clf.tuned_[[0, 1, 3]].all()
    assert clf.classes_.tolist() == ["a", "b", "rare", "d"]


def test_label_missing_from_a_fold_is_survived(data):
    """A label with two positives is tuned with five folds."""
    X, y = data
    y = y.copy()
    y[:, 0] = 0
    y[:2, 0] = 1
    forest = RandomForestClassifier(n_estimators=5, random_state=0)
    clf = MultiLabelThresholds(forest, cv=5).fit(X, y)
    assert np.isfinite(clf.thresholds_).all()


@pytest.mark.parametrize("scoring", ["f1", "exact_match"])
def test_at_least_one_leaves_no_row_empty(scoring):
    """With at_least_one each row has a label; the same rows stay otherwise unchanged."""
    p, y = shifted_scores()
    y[y.sum(axis=1) == 0, 0] = 1
    clf = MultiLabelThresholds(at_least_one=True, scoring=scoring).fit(p, y)
    predicted = clf.predict(p)
    assert predicted.sum(axis=1).min() == 1
    plain = apply_thresholds(p, clf.thresholds_)
    full = plain.sum(axis=1) > 0
    np.testing.assert_array_equal(predicted[full], plain[full])


@pytest.mark.parametrize(
    "convert",
    [sparse.csr_matrix, sparse.csc_array, sparse.coo_matrix, pd.DataFrame, np.ndarray.tolist],
    ids=["csr", "csc", "coo", "frame", "lists"],
)
def test_form_of_y_does_not_matter(convert):
    """Sparse, frame and nested-list indicators give the thresholds of the dense one (L08)."""
    p, y = shifted_scores()
    expected = MultiLabelThresholds().fit(p, y).thresholds_
    np.testing.assert_array_equal(MultiLabelThresholds().fit(p, convert(y)).thresholds_, expected)


@pytest.mark.parametrize("bad", [2, -1, np.nan, 0.3])
def test_values_that_are_no_indicator_are_refused(bad):
    """An indicator of 2, -1, NaN or 0.3 is a ValueError (L09)."""
    p, y = shifted_scores()
    y = y.astype(float)
    y[7, 1] = bad
    with pytest.raises(ValueError, match=r"y\[7, 1\]"):
        MultiLabelThresholds().fit(p, y)


def test_label_sets_and_single_labels_get_advice():
    """Lists of sets name MultiLabelBinarizer (L10); 1-d y names scikit-learn's own tuner."""
    p, _ = shifted_scores(n=4)
    with pytest.raises(ValueError, match="MultiLabelBinarizer"):
        MultiLabelThresholds().fit(p, [{"a"}, {"b"}, set(), {"a", "b"}])
    with pytest.raises(ValueError, match="TunedThresholdClassifierCV"):
        MultiLabelThresholds().fit(p, ["a", "b", "a", "b"])


def test_any_sklearn_scorer_is_accepted():
    """A scorer object and a name reach the same thresholds as the built-in metric."""
    p, y = shifted_scores(n=80, k=3)
    scorer = make_scorer(f1_score, average="samples", zero_division=1.0)
    a = MultiLabelThresholds(scoring=scorer, thresholds=20).fit(p, y)
    b = MultiLabelThresholds(scoring="f1_samples", thresholds=20).fit(p, y)
    np.testing.assert_allclose(a.thresholds_, b.thresholds_)
    assert a.best_score_ == pytest.approx(b.best_score_)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"scoring": 3}, "scoring=3"),
        ({"response_method": "x"}, "response_method"),
        ({"default": "low"}, "default"),
        ({"estimator": KFold(), "cv": 3}, "predict_proba"),
    ],
)
def test_wrong_parameters_are_refused_in_fit(params, message):
    """Constructors store; fit says which parameter is wrong."""
    p, y = shifted_scores(n=20)
    clf = MultiLabelThresholds(**params)
    with pytest.raises((ValueError, TypeError), match=message):
        clf.fit(p, y)


def test_thresholds_inside_grid_search(data):
    """It clones, nests and is searched like any meta-estimator."""
    X, y = data
    clf = MultiLabelThresholds(OneVsRestClassifier(LogisticRegression()), cv=3)
    search = GridSearchCV(
        clf, {"estimator__estimator__C": [0.1, 10], "scoring": ["f1", "exact_match"]}, cv=2
    ).fit(X, y)
    assert set(search.best_params_) == {"estimator__estimator__C", "scoring"}
    assert clone(search.best_estimator_).get_params()["cv"] == 3


def test_permuting_labels_permutes_thresholds():
    """Labels are treated alike: column order changes nothing but the order."""
    p, y = shifted_scores()
    order = [2, 0, 3, 1]
    a = MultiLabelThresholds(random_state=0).fit(p, y)
    b = MultiLabelThresholds(random_state=0).fit(p[:, order], y[:, order])
    np.testing.assert_allclose(a.thresholds_[order], b.thresholds_, atol=0.05)


def test_iterative_folds_spread_rare_labels_better_than_kfold():
    """Every fold has a positive of each label that has enough; sizes differ by few rows."""
    rng = np.random.default_rng(0)
    y = (rng.random((500, 6)) < [0.012, 0.02, 0.05, 0.2, 0.5, 0.9]).astype(int)
    y[:5, 0] = 1

    def spread(cv):
        return [y[test].sum(axis=0) for _, test in cv.split(y, y)]

    ours = np.array(spread(IterativeStratifiedKFold(5)))
    plain = np.array(spread(KFold(5)))
    assert ours[:, 0].min() >= 1
    assert (np.ptp(ours, axis=0) <= np.ptp(plain, axis=0)).all()
    sizes = [len(test) for _, test in IterativeStratifiedKFold(5).split(y, y)]
    assert max(sizes) - min(sizes) <= 4
    assert sum(sizes) == 500


def test_iterative_folds_shuffle_is_seeded():
    """Equal seeds give equal folds, other seeds others; unshuffled folds repeat."""
    _, y = shifted_scores()

    def tests(**kw):
        return [t.tolist() for _, t in IterativeStratifiedKFold(4, **kw).split(y, y)]

    assert tests(shuffle=True, random_state=1) == tests(shuffle=True, random_state=1)
    assert tests(shuffle=True, random_state=1) != tests(shuffle=True, random_state=2)
    assert tests() == tests()


@pytest.mark.parametrize("wrapper", [MultiLabelThresholds, MultiLabelCalibrator])
def test_a_single_label_is_a_column_too(wrapper, data):
    """An (n, 1) indicator is one label; the inner classifier sees a plain binary target."""
    X, y = data
    clf = wrapper(LogisticRegression(), cv=3).fit(X, y[:, :1])
    assert clf.predict(X).shape == clf.predict_proba(X).shape == (240, 1)
    assert (clf.predict(X) == y[:, :1]).mean() > 0.7


@pytest.mark.parametrize("wrapper", [MultiLabelThresholds, MultiLabelCalibrator])
def test_tags_follow_the_inner_estimator(wrapper):
    """What the inner estimator takes (sparse, texts) the wrapper takes; y is multi-label."""
    tags = get_tags(wrapper(OneVsRestClassifier(LogisticRegression())))
    assert tags.input_tags.sparse
    assert tags.classifier_tags.multi_label
    assert not tags.classifier_tags.multi_class
    with pytest.raises(ValueError, match="requires y"):
        wrapper().fit(np.full((4, 2), 0.5), None)
    with pytest.raises(ValueError, match="Unknown label type"):
        wrapper().fit(np.full((4, 2), 0.5), [0.1, 0.2, 0.35, 0.7])


# ---------------------------------------------------------------- numbers checked by hand


class _AsGiven(ClassifierMixin, BaseEstimator):
    """A fitted model whose probabilities are the features themselves."""

    def fit(self, X, y):
        self.classes_ = np.arange(np.ndim(y))
        return self

    def predict_proba(self, X):
        return np.asarray(X)


def _two_folds(first, second):
    """One label twice, so that y is an indicator; rows (score, truth), fold by fold."""
    first, second = list(first), list(second)
    rows = np.array([*first, *second], dtype=float)
    a, b = np.arange(len(first)), np.arange(len(first), len(rows))
    return rows[:, [0, 0]], rows[:, [1, 1]].astype(int), [(a, b), (b, a)]


def test_each_fold_is_judged_by_the_thresholds_of_the_others():
    """A alone says .25, B alone .15: A by .15 has 2 of 3 right, B by .25 none of 2; F1 = 4/9."""
    scores = (0.1, 0.2, 0.3, 0.4)
    X, y, folds = _two_folds(
        zip(scores, (0, 0, 1, 1), strict=True), zip(scores, (1, 1, 0, 0), strict=True)
    )
    clf = MultiLabelThresholds(_AsGiven(), cv=folds).fit(X, y)
    assert clf.default_score_ == 0
    assert clf.best_score_ == pytest.approx(4 / 9)
    assert clf.thresholds_ == pytest.approx([0.15, 0.15])  # on all rows: 3 of 6, F1 = .6


def test_the_default_stays_where_the_other_folds_thresholds_lose_to_it():
    """A would take .35, B .5; judged on each other they give 6/9, the default 6/7."""
    X, y, folds = _two_folds(
        [(0.2, 0), (0.3, 0), (0.4, 1), (0.6, 1)], [(0.4, 0), (0.45, 0), (0.6, 1), (0.7, 1)]
    )
    clf = MultiLabelThresholds(_AsGiven(), cv=folds).fit(X, y)
    assert clf.thresholds_.tolist() == [0.5, 0.5]
    assert not clf.tuned_.any()
    assert clf.best_score_ == clf.default_score_ == pytest.approx(6 / 7)
    shared = MultiLabelThresholds(_AsGiven(), cv=folds, scoring="f1_micro", per_label=False)
    assert shared.fit(X, y).thresholds_.tolist() == [0.5, 0.5]


def test_scores_of_pure_noise_never_win_on_other_folds():
    """A hundred candidates a label: on the rows they were tuned on they would gain, elsewhere no.

    Exact match of three coin-flip labels is 1/8; tuned and judged on the same 100 rows it would
    be a fifth.
    """
    rng = np.random.default_rng(0)
    gains = []
    for _ in range(8):
        y, p = (rng.random((100, 3)) < 0.5).astype(int), rng.random((100, 3))
        clf = MultiLabelThresholds(scoring="exact_match").fit(p, y)
        tuned = apply_thresholds(p, clf.thresholds_)
        gains.append((tuned == y).all(axis=1).mean() - clf.best_score_ if clf.tuned_.any() else 0)
    assert min(gains) >= 0  # what is told is never more than what its own rows would say
    assert np.mean(gains) > 0.005


def test_a_score_equal_to_the_threshold_is_on():
    """Also inside the search: candidate .3 takes both rows at .3."""
    y, score = np.array([1, 1, 1, 0]), np.array([0.3, 0.3, 0.6, 0.1])
    assert best_f1_threshold(y, score, np.array([0.3, 0.45]), 0.5) == 0.3
    assert apply_thresholds(np.array([[0.3, 0.29]]), np.array([0.3, 0.3])).tolist() == [[1, 0]]


def test_an_empty_row_gets_the_label_that_misses_its_own_threshold_least():
    """.2 misses .3 by .1, .4 misses .9 by .5."""
    on = apply_thresholds(np.array([[0.2, 0.4], [0.5, 0.1]]), np.array([0.3, 0.9]), True)
    assert on.tolist() == [[1, 0], [1, 0]]


@pytest.mark.parametrize(
    ("scoring", "average"), [("f1", "macro"), ("f1_micro", "micro"), ("f1_samples", "samples")]
)
def test_the_score_of_the_default_is_scikit_learns(scoring, average):
    """Empty sets on both sides count as 1, as zero_division=1 does."""
    rng = np.random.default_rng(1)
    y, p = (rng.random((60, 4)) < 0.3).astype(int), rng.random((60, 4))
    clf = MultiLabelThresholds(scoring=scoring).fit(p, y)
    wanted = f1_score(y, (p >= 0.5).astype(int), average=average, zero_division=1.0)
    assert clf.default_score_ == pytest.approx(wanted)
