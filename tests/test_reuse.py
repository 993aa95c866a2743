"""Fits on the same numbers are made once: when, with which answers, and within which bound."""

import copy
import pickle
import threading
from dataclasses import dataclass, replace

import numpy as np
import pytest
from _fusion_data import make_labels, make_rows
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, KFold

from sklfusion import FusionClassifier
from sklfusion.fusion import _probe, _reuse
from sklfusion.fusion._problem import Problem
from sklfusion.fusion._reuse import forget_fits, reused_fit


@pytest.fixture(autouse=True)
def nothing_kept():
    """Each test begins and ends without the fits of others."""
    forget_fits()
    yield
    forget_fits()


@pytest.fixture
def solves(monkeypatch):
    """One entry per penalty of a probe that was solved."""
    made = []

    def counting(*args, **params):
        made.append(args[5])
        return solve(*args, **params)

    solve = _probe.fit_grouped
    monkeypatch.setattr(_probe, "fit_grouped", counting)
    return made


def search(grid, X, y, **params):
    """A fitted search over parameters of the head, three folds."""
    head = FusionClassifier(random_state=0, max_epochs=2, **params)
    return GridSearchCV(head, grid, cv=KFold(3), scoring="neg_log_loss").fit(X, y)


HEADS = {"residual": [True], "guard": [True, False], "hidden_layer_sizes": [(4,), (6,)]}


def test_a_grid_search_over_the_head_solves_each_fold_once(solves):
    """Four candidates take as many solves as one, and so does the refit of the best."""
    X, y = make_rows(n=90, d=6)
    search({"residual": [True]}, X, y)
    of_one = len(solves)
    assert of_one >= 3 * 4  # three folds and all rows
    forget_fits()
    solves.clear()
    found = search(HEADS, X, y)
    assert len(found.cv_results_["params"]) == 4
    assert len(solves) == of_one


def test_the_scores_and_the_best_model_are_those_of_fits_made_anew():
    """Candidate by candidate, fold by fold, to the last digit that a scorer sees."""
    X, y = make_rows(n=90, d=6)
    found = search(HEADS, X, y)
    columns = [f"split{i}_test_score" for i in range(3)]
    folds = list(KFold(3).split(X))
    for number, params in enumerate(found.cv_results_["params"]):
        for column, (train, test) in zip(columns, folds, strict=True):
            forget_fits()
            anew = clone(found.estimator).set_params(**params).fit(X[train], y[train])
            P = anew.predict_proba(X[test])
            loss = np.log(P[np.arange(len(test)), y[test]]).mean()
            assert found.cv_results_[column][number] == pytest.approx(loss, abs=1e-6)
    forget_fits()
    anew = clone(found.best_estimator_).fit(X, y)
    np.testing.assert_allclose(found.predict_proba(X), anew.predict_proba(X), atol=1e-7)


def test_a_cut_of_label_sets_costs_no_solve(solves):
    """Nothing of the evidence depends on where sets are cut."""
    X, Y = make_labels(n=80, d=6, k=3)
    first = FusionClassifier(random_state=0).fit(X, Y)
    n = len(solves)
    assert n > 0
    second = FusionClassifier(random_state=0, threshold=0.9).fit(X, Y)
    assert len(solves) == n
    np.testing.assert_allclose(second.predict_proba(X), first.predict_proba(X))
    assert second.predict(X).sum() < first.predict(X).sum()


def test_class_weights_are_other_evidence(solves):
    """They weigh the rows of every solve, so nothing can be taken from an unweighted one."""
    X, y = make_rows(n=90, d=6)
    keep = (y > 0) | (np.arange(90) < 30)  # fewer of class 0
    X, y = X[keep], y[keep]
    plain = FusionClassifier(random_state=0).fit(X, y)
    n = len(solves)
    balanced = FusionClassifier(random_state=0, class_weight="balanced").fit(X, y)
    assert len(solves) > n
    forget_fits()
    anew = FusionClassifier(random_state=0, class_weight="balanced").fit(X, y)
    np.testing.assert_allclose(balanced.predict_proba(X), anew.predict_proba(X), atol=1e-7)
    assert np.abs(balanced.predict_proba(X) - plain.predict_proba(X)).max() > 1e-3


def test_weights_of_one_are_no_other_weights(solves):
    """The key is what the numbers are, not how they were said."""
    X, y = make_rows(n=60, d=6)
    FusionClassifier(random_state=0).fit(X, y)
    n = len(solves)
    FusionClassifier(random_state=0, class_weight=dict.fromkeys(range(3), 1.0)).fit(X, y)
    FusionClassifier(random_state=0).fit(X, y, sample_weight=np.ones(60))
    assert len(solves) == n


def test_folds_drawn_anew_are_solved_anew(solves):
    """With ``random_state=None`` every fit draws other folds."""
    X, y = make_rows(n=60, d=6)
    for seed in (0, 1):
        FusionClassifier(random_state=seed).fit(X, y)
    n = len(solves)
    FusionClassifier(random_state=0).fit(X, y)
    assert len(solves) == n
    FusionClassifier(random_state=2).fit(X, y)
    assert len(solves) > n


def test_nobody_can_spoil_what_others_will_get():
    """Changing everything that a fitted model shows in place leaves the next fit alone."""
    X, y = make_rows(n=60, d=6)
    first = FusionClassifier(random_state=0).fit(X, y)
    wanted, held_out = first.predict_proba(X), first.oof_proba_.copy()
    first.oof_proba_[:] = 0
    for parameter in first.net_.module_.parameters():
        parameter.data.zero_()
    second = FusionClassifier(random_state=0).fit(X, y)
    np.testing.assert_array_equal(second.predict_proba(X), wanted)
    np.testing.assert_array_equal(second.oof_proba_, held_out)
    second.partial_fit(X, y)  # trains the tables of the net in place
    third = FusionClassifier(random_state=0).fit(X, y)
    np.testing.assert_array_equal(third.predict_proba(X), wanted)


def test_a_saved_model_carries_nothing_of_it():
    """Pickles and copies are as large after a hundred other fits as before."""
    X, y = make_rows(n=60, d=6)
    model = FusionClassifier(random_state=0).fit(X, y)
    size = len(pickle.dumps(model))
    for shift in range(5):
        FusionClassifier(random_state=0).fit(X + 0.01 * shift * (X > 1), y)
    again = FusionClassifier(random_state=0).fit(X, y)
    assert len(pickle.dumps(again)) == size
    loaded = pickle.loads(pickle.dumps(copy.deepcopy(again)))
    np.testing.assert_array_equal(loaded.predict_proba(X), model.predict_proba(X))
    loaded.fit(X, y)


def test_threads_get_what_they_would_get_alone():
    """Eight at once on two problems: the same answers, whoever was first."""
    problems = [make_rows(n=60, d=6, seed=seed) for seed in (0, 1)]
    wanted = [FusionClassifier(random_state=0).fit(X, y).predict_proba(X) for X, y in problems]
    forget_fits()
    found, start = {}, threading.Barrier(8)

    def work(number):
        X, y = problems[number % 2]
        start.wait(timeout=60)
        for _ in range(3):
            found[number] = FusionClassifier(random_state=0).fit(X, y).predict_proba(X)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
    assert sorted(found) == list(range(8))
    for number, P in found.items():
        np.testing.assert_allclose(P, wanted[number % 2], atol=1e-7)


@dataclass
class Sums:
    """What the fit below finds: arrays, a number and nothing."""

    whole: np.ndarray
    part: np.ndarray
    total: float
    nothing: None = None


@pytest.fixture
def sums():
    """A fit that keeps a part of something larger, and the arguments of its calls."""
    calls = []

    def fit(values, problem, coding):
        calls.append(coding)
        large = np.tile(values, (100, 1))
        return Sums(values + problem.weights.sum(), large[0], float(values.sum()))

    fit.calls = calls
    return fit


def small_problem(n=6, **changes):
    """Two classes in turn, two folds."""
    y = np.arange(n) % 2
    problem = Problem(np.eye(2)[y], np.ones(n), np.arange(n) // 2 % 2, "softmax")
    return replace(problem, **changes)


def test_the_same_numbers_in_other_arrays_are_the_same(sums):
    """Copies, and a problem that has worked something out already."""
    values = np.arange(12.0).reshape(3, 4)
    first = reused_fit(sums, values, small_problem(), None)
    warm = small_problem()
    assert warm.masks.shape == (6, 3)
    assert reused_fit(sums, values.copy(), warm, None) is first
    assert len(sums.calls) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"Y": np.eye(2)[[0, 1, 0, 1, 1, 0]]},
        {"weights": np.array([1, 1, 1, 1, 1, 1 + 1e-15])},
        {"folds": np.array([0, 0, 1, 1, 0, 1])},
        {"family": "sigmoid"},
        {"texts": np.array([0, 0, 1, 2, 3, 4])},
    ],
    ids=lambda change: next(iter(change)),
)
def test_any_difference_is_another_fit(sums, change):
    """Whatever a problem is made of, to the last bit."""
    values = np.arange(6.0)
    for problem in (small_problem(), small_problem(**change)):
        reused_fit(sums, values, problem, None)
    assert len(sums.calls) == 2


def test_other_values_another_coding_and_other_rows_left_out_are_other_fits(sums):
    """``only`` keeps the class frequencies of all rows, which is a part of the problem."""
    values, problem = np.arange(6.0), small_problem()
    weights = np.array([1, 1, 1, 1, 1, 0.0])
    for other in (values, np.nextafter(values, 9), values.astype(np.float32), values[:, None]):
        reused_fit(sums, other, problem, None)
    assert len(sums.calls) == 4
    reused_fit(sums, values, problem, "vote")
    reused_fit(sums, values, small_problem(weights=weights), None)
    reused_fit(sums, values, problem.only(weights > 0), None)
    assert len(sums.calls) == 7


def test_what_is_kept_owns_its_memory_and_cannot_be_written(sums):
    """A part of something larger would keep all of it."""
    found = reused_fit(sums, np.arange(4.0), small_problem(), None)
    assert found.part.base is None
    assert (found.total, found.nothing) == (6.0, None)
    with pytest.raises(ValueError, match="read-only"):
        found.whole[0] = 1


def test_memory_is_bounded_and_the_one_unused_for_longest_goes(sums, monkeypatch):
    """Three of these fit; a fourth drops the one that was not asked for again."""
    monkeypatch.setattr(_reuse, "MOST_BYTES", 3 * _reuse._LEAST_BYTES)
    arguments = [np.arange(4.0) + i for i in range(4)]
    for values in (*arguments[:3], arguments[0], arguments[3]):
        reused_fit(sums, values, small_problem(), None)
    assert len(sums.calls) == 4
    reused_fit(sums, arguments[0], small_problem(), None)
    assert len(sums.calls) == 4
    reused_fit(sums, arguments[1], small_problem(), None)
    assert len(sums.calls) == 5


def test_what_is_larger_than_the_bound_is_given_and_not_kept(sums, monkeypatch):
    """One answer never takes more than all may."""
    monkeypatch.setattr(_reuse, "MOST_BYTES", 100_000)
    values = np.arange(20_000.0)
    for _ in range(2):
        assert reused_fit(sums, values, small_problem(), None).total == values.sum()
    assert len(sums.calls) == 2


def test_a_fit_that_fails_leaves_nothing(sums):
    """The next one with the same numbers tries again."""

    def failing(*_):
        sums.calls.append("failed")
        raise ValueError("no")

    for _ in range(2):
        with pytest.raises(ValueError, match="no"):
            reused_fit(failing, np.arange(3.0), small_problem(), None)
    assert sums.calls == ["failed", "failed"]


@pytest.mark.nightly
def test_other_processes_search_to_the_same_end():
    """What a process keeps is its own."""
    X, y = make_rows(n=60, d=6)
    head = FusionClassifier(random_state=0)
    grid = {"class_weight": [None, "balanced"], "guard": [True]}
    found = [
        GridSearchCV(head, grid, cv=KFold(3), n_jobs=n_jobs).fit(X, y).cv_results_
        for n_jobs in (None, 2)
    ]
    np.testing.assert_allclose(found[0]["mean_test_score"], found[1]["mean_test_score"])
