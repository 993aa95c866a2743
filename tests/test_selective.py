"""Answers only where an accuracy is promised: check numbers, promises, abstention, refusals."""

import warnings

import numpy as np
import pytest
from sklearn.base import clone, is_classifier
from sklearn.linear_model import LogisticRegression

from sklfusion import FusionClassifier, SelectiveClassifier
from sklfusion.exceptions import DataWarning
from sklfusion.persistence import load, save
from sklfusion.plotting import RiskCoverageDisplay
from sklfusion.promises._accuracy_bound import (
    find_threshold,
    labels_for_threshold,
    least_labels,
    needed_right,
)

CONFIDENCE = np.linspace(0.995, 0.5, 100)
RIGHT = ~np.isin(np.arange(100), [30, 62, 70, 75, 80, 84, 88, 91, 95, 97])


@pytest.mark.parametrize(
    ("n", "target", "wanted"),
    [(45, 0.95, 45), (44, 0.95, 45), (22, 0.9, 22), (100, 0.95, 99), (200, 0.9, 186)],
)
def test_right_answers_needed_have_their_check_numbers(n, target, wanted):
    assert needed_right(n, target, 0.1) == wanted  # 45 of 44 is: impossible


@pytest.mark.parametrize(("target", "wanted"), [(0.95, 45), (0.9, 22), (0.8, 11)])
def test_least_labels_have_their_check_numbers(target, wanted):
    assert least_labels(target, 0.1) == wanted


@pytest.mark.parametrize(
    ("target", "value", "n_answered", "bound"),
    [(0.8, -np.inf, 100, 0.8501), (0.9, 0.8575, 28, 0.9211), (0.95, np.inf, 0, np.nan)],
)
def test_thresholds_have_their_check_numbers(target, value, n_answered, bound):
    found = find_threshold(CONFIDENCE, RIGHT, target, 0.1)
    assert found.value == pytest.approx(value)
    assert found.n_answered == n_answered
    np.testing.assert_allclose(found.bound, bound, atol=6e-5)


def test_equal_confidences_are_answered_together_or_not_at_all():
    all_of_them = find_threshold(np.full(60, 0.9), np.ones(60, bool), 0.95, 0.1)
    assert all_of_them.n_answered == 60
    assert all_of_them.bound == pytest.approx(0.9624, abs=6e-5)
    assert find_threshold(np.full(40, 0.9), np.ones(40, bool), 0.95, 0.1).n_answered == 0


def test_labels_needed_grow_with_the_promise():
    needed = [labels_for_threshold(CONFIDENCE, target, 0.1) for target in (0.8, 0.9, 0.95)]
    assert needed == sorted(needed)
    assert labels_for_threshold(np.full(50, 0.6), 0.9, 0.1) is None


def rows(n, seed=0, noise=0.5):
    """Rows of two classes that a linear model tells apart nine times out of ten."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n)
    return y[:, None] + rng.normal(scale=noise, size=(n, 2)), np.array(["no", "yes"])[y]


def test_the_promise_is_kept_where_a_tuned_threshold_breaks_it():
    X_new, y_new = rows(20_000, seed=1)
    kept = tuned_kept = n_answered = 0
    for seed in range(60):
        X, y = rows(200, seed=100 + seed)
        sure = SelectiveClassifier(LogisticRegression(), random_state=0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DataWarning)
            sure.fit(X, y)
        proba = sure.predict_proba(X_new)
        confidence, right = proba.max(axis=1), sure.classes_[proba.argmax(axis=1)] == y_new
        on = confidence > sure.threshold_
        kept += not on.any() or right[on].mean() >= 0.95
        n_answered += on.mean() > 0.2
        own = sure.oof_proba_.max(axis=1)
        hit = sure.classes_[sure.oof_proba_.argmax(axis=1)] == y
        order = np.argsort(-own)
        good = np.flatnonzero(np.cumsum(hit[order]) / np.arange(1, 201) >= 0.95)
        on = confidence >= own[order[good[-1]]]
        tuned_kept += right[on].mean() >= 0.95
    assert kept >= 50  # 54 of 60 are promised; chance takes four
    assert tuned_kept < 45
    assert n_answered > 30  # and not by silence


def test_it_answers_where_it_is_sure_and_abstains_elsewhere():
    X, y = rows(600)
    sure = SelectiveClassifier(LogisticRegression(), random_state=0).fit(X[:400], y[:400])
    on = sure.answers(X[400:])
    labels = sure.predict(X[400:])
    assert 0 < on.mean() < 1
    assert all(label is None for label in labels[~on])
    assert set(labels[on]) == {"no", "yes"}
    assert sure.score(X[400:], y[400:]) == np.mean(labels[on] == y[400:][on])
    assert sure.coverage_ == pytest.approx(on.mean(), abs=0.15)
    assert sure.accuracy_bound_ >= 0.95


@pytest.mark.parametrize(
    ("names", "abstain_label", "wanted", "kind"),
    [
        (["no", "yes"], None, None, "O"),
        (["no", "yes"], "ask a person", "ask a person", "O"),
        ([0, 1], None, -1, "i"),
        ([False, True], None, -1, "O"),
        ([0, 1], "?", "?", "O"),
    ],
)
def test_the_label_of_abstention_suits_the_classes(names, abstain_label, wanted, kind):
    X, y = rows(600)
    y = np.array(names)[(y == "yes").astype(int)]
    sure = SelectiveClassifier(
        LogisticRegression(), abstain_label=abstain_label, random_state=0
    ).fit(X[:400], y[:400])
    labels = sure.predict(X[400:])
    assert labels.dtype.kind == kind
    assert labels[~sure.answers(X[400:])][0] == wanted


def test_a_class_cannot_be_the_label_of_abstention():
    X, y = rows(100)
    with pytest.raises(ValueError, match="abstains with 'no', which is one of the classes"):
        SelectiveClassifier(LogisticRegression(), abstain_label="no").fit(X, y)


def test_too_few_labels_answer_nothing_and_say_how_many_would():
    X, y = rows(30)
    with pytest.warns(DataWarning, match=r"30 labelled texts do not certify.*at least 45"):
        sure = SelectiveClassifier(LogisticRegression(), random_state=0).fit(X, y)
    assert sure.threshold_ == np.inf
    assert not sure.answers(X).any()
    assert np.isnan(sure.score(X, y))
    assert sure.n_needed_ > 30


def test_a_fitted_classifier_is_certified_on_rows_it_has_not_seen():
    X, y = rows(600)
    model = LogisticRegression().fit(X[:200], y[:200])
    sure = SelectiveClassifier(model, cv="prefit").fit(X[200:], y[200:])
    assert sure.estimator_ is model
    np.testing.assert_array_equal(sure.oof_proba_, model.predict_proba(X[200:]))
    assert sure.answers(X).any()


def test_repeated_texts_tell_once():
    X, y = rows(60)
    many = np.repeat(np.arange(60), 10)
    model = LogisticRegression().fit(*rows(200, seed=9))
    once = SelectiveClassifier(model, cv="prefit", target_accuracy=0.8).fit(X, y)
    often = SelectiveClassifier(model, cv="prefit", target_accuracy=0.8).fit(X[many], y[many])
    assert often.threshold_ == once.threshold_
    assert often.accuracy_bound_ == once.accuracy_bound_


def test_out_of_fold_probabilities_of_a_fusion_are_taken():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 300)
    votes = np.eye(2)[np.where(rng.random(300) < 0.9, y, 1 - y)]
    X = np.hstack([y[:, None] + rng.normal(size=(300, 4)), votes])
    fusion = FusionClassifier(score_columns=slice(4, 6), random_state=0)
    sure = SelectiveClassifier(fusion, target_accuracy=0.9).fit(X, y)
    np.testing.assert_array_equal(sure.oof_proba_, sure.estimator_.oof_proba_)
    assert sure.coverage_ > 0.3


def test_texts_unlike_the_labelled_ones_are_warned_of():
    X, y = rows(600, noise=0.3)
    sure = SelectiveClassifier(LogisticRegression(), random_state=0).fit(X, y)
    between = np.full((80, 2), 0.5) + np.random.default_rng(0).normal(scale=0.1, size=(80, 2))
    with pytest.warns(DataWarning, match="do not look drawn at random"):
        sure.answers(between)


def test_rows_that_certify_nothing_are_refused():
    X, y = rows(100)
    sure = SelectiveClassifier(LogisticRegression())
    with pytest.raises(ValueError, match="unequal sample_weight"):
        sure.fit(X, y, sample_weight=np.linspace(1, 2, 100))
    with pytest.raises(ValueError, match="several labels per text"):
        sure.fit(X, np.eye(2, dtype=int)[(y == "yes").astype(int)])
    with pytest.raises(ValueError, match="100 texts and 99 labels"):
        sure.fit(X, y[:-1])
    with pytest.raises(ValueError, match="target_accuracy=95"):
        clone(sure).set_params(target_accuracy=95).fit(X, y)
    with pytest.raises(ValueError, match="cv='prefitted'"):
        clone(sure).set_params(cv="prefitted").fit(X, y)


def test_it_is_a_classifier_that_can_be_cloned_and_saved(tmp_path):
    X, y = rows(300)
    sure = SelectiveClassifier(LogisticRegression(), random_state=0)
    assert is_classifier(clone(sure))
    sure.fit(X, y)
    save(sure, tmp_path / "sure.sklf")
    again = load(tmp_path / "sure.sklf")
    np.testing.assert_array_equal(again.answers(X), sure.answers(X))


def test_the_display_marks_the_threshold():
    X, y = rows(500)
    sure = SelectiveClassifier(LogisticRegression(), random_state=0).fit(X[:300], y[:300])
    display = RiskCoverageDisplay.from_estimator(sure, X[300:], y[300:])
    dot = display.ax_.lines[-1]
    assert dot.get_xdata()[0] == pytest.approx(sure.answers(X[300:]).mean())
    assert dot.get_ydata()[0] == pytest.approx(sure.score(X[300:], y[300:]))
    display.figure_.clear()
