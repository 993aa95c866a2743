"""The probe and the problem it solves: what may not change its answer, and where it ends."""

import numpy as np
import pytest
from scipy.special import expit, softmax
from sklearn.linear_model import LogisticRegression

from sklfusion.fusion import _probe
from sklfusion.fusion._folds import assign_folds, equal_rows
from sklfusion.fusion._probe import fit_probe
from sklfusion.fusion._problem import Problem
from sklfusion.fusion._soft_probe import fit_soft_probe


def make_problem(n=80, d=6, k=3, signal=1.5, family="softmax", seed=0):
    """Features of mean squared row norm 1 with a class signal, and their problem."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % k
    features = rng.normal(size=(n, d)) + signal * np.eye(k, d)[y]
    features -= features.mean(axis=0)
    features /= np.sqrt((features**2).sum(axis=1).mean())
    Y = np.eye(k)[y]
    if family == "sigmoid":
        Y = np.maximum(Y, rng.random((n, k)) < 0.2)
    return features, Problem(Y, np.ones(n), rng.permutation(n) % 4, family)


def rotation(d):
    """A random rotation of d dimensions."""
    return np.linalg.qr(np.random.default_rng(5).normal(size=(d, d)))[0]


@pytest.mark.parametrize("family", ["softmax", "sigmoid"])
def test_a_rotated_embedding_says_the_same(family):
    """No direction of an embedding is special, and none is lost."""
    features, problem = make_problem(family=family)
    turn = rotation(features.shape[1])
    plain, turned = fit_probe(features, problem), fit_probe(features @ turn, problem)
    np.testing.assert_allclose(turned.oof_evidence, plain.oof_evidence, atol=0.02)
    np.testing.assert_allclose(
        turned.evidence(features @ turn), plain.evidence(features), atol=0.02
    )
    assert turned.penalty == plain.penalty


def test_columns_without_content_change_nothing():
    """Constant columns, and columns that repeat others' sums, span no new direction."""
    features, problem = make_problem()
    more = np.hstack([features, np.zeros((80, 3)), features[:, :2] @ np.full((2, 1), 1e-9)])
    plain, wide = fit_probe(features, problem), fit_probe(more, problem)
    np.testing.assert_allclose(wide.evidence(more), plain.evidence(features), atol=0.02)
    assert np.abs(wide.coef[6:9]).max() < 1e-6


def test_more_columns_than_rows_are_solved_among_the_rows():
    """The same fit by the small matrix of products, whichever side is longer."""
    features, problem = make_problem(n=30, d=6)
    wide = features @ np.linalg.qr(np.random.default_rng(2).normal(size=(60, 6)))[0].T
    assert wide.shape == (30, 60)
    narrow, broad = fit_probe(features, problem), fit_probe(wide, problem)
    np.testing.assert_allclose(broad.oof_evidence, narrow.oof_evidence, atol=0.02)
    np.testing.assert_allclose(broad.evidence(wide), narrow.evidence(features), atol=0.02)
    assert broad.coef.shape == (60, 3)


def test_one_penalty_is_one_logistic_regression(monkeypatch):
    """With a single penalty nothing is averaged: scikit-learn's answer, held out or not."""
    monkeypatch.setattr(_probe, "PENALTIES", (0.1,))
    features, problem = make_problem()
    found = fit_probe(features, problem)
    assert found.penalty == 0.1

    def proba(rows, of):
        # the bias is penalised like a coefficient
        A = np.column_stack([features, np.ones(80)])
        other = LogisticRegression(C=10.0, fit_intercept=False, tol=1e-9, max_iter=2000)
        return other.fit(A[rows], problem.Y[rows].argmax(axis=1)).predict_proba(A[of])

    everywhere = np.ones(80, dtype=bool)
    ours = softmax(problem.log_prior + found.evidence(features), axis=1)
    np.testing.assert_allclose(ours, proba(everywhere, everywhere), atol=5e-3)
    held_out = softmax(problem.log_prior + found.oof_evidence, axis=1)
    for fold in range(4):
        rows = problem.folds == fold
        np.testing.assert_allclose(held_out[rows], proba(~rows, rows), atol=5e-3)


def test_held_out_evidence_does_not_know_the_row():
    """Features that are nothing but the row's number explain it by heart, and nothing held out."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(60, 200)) / np.sqrt(200)
    problem = Problem(
        np.eye(2)[rng.integers(2, size=60)], np.ones(60), np.arange(60) % 5, "softmax"
    )
    found = fit_probe(features, problem)
    assert problem.loss(found.evidence(features)) < problem.loss(found.oof_evidence)
    assert problem.loss(found.oof_evidence) > 0.9 * np.log(2)


def test_clear_classes_get_a_freer_probe_than_noise():
    """The penalty of least held-out loss falls as the signal grows."""
    penalties = [fit_probe(*make_problem(signal=s)).penalty for s in (0.0, 1.5, 8.0)]
    assert penalties[0] > penalties[1] > penalties[2]


def test_the_path_ends_where_freer_probes_only_get_worse(monkeypatch):
    """Noise is settled by the first few penalties."""
    solved = []
    solve = _probe.fit_grouped

    def counting(*args, **params):
        solved.append(args[5])
        return solve(*args, **params)

    monkeypatch.setattr(_probe, "fit_grouped", counting)
    fit_probe(*make_problem(n=300, d=100, signal=0.0))
    assert 3 <= len(solved) < len(_probe.PENALTIES)
    assert solved == sorted(solved, reverse=True)
    solved.clear()
    fit_probe(*make_problem(signal=8.0))
    assert len(solved) == len(_probe.PENALTIES)


def test_a_class_that_a_fold_has_not_seen_keeps_its_prior():
    """One row of a third class: the fits without it do not rule it out for ever."""
    features, problem = make_problem(n=60, k=2)
    Y = np.column_stack([problem.Y, np.zeros(60)])
    Y[0] = [0, 0, 1]
    lonely = Problem(Y, problem.weights, problem.folds, "softmax")
    found = fit_probe(features, lonely)
    assert np.isfinite(found.oof_evidence).all()
    said = softmax(lonely.log_prior + found.oof_evidence, axis=1)
    assert said[0, 2] > 0.002


@pytest.mark.parametrize("family", ["softmax", "sigmoid"])
def test_fits_end_where_more_steps_would_change_nothing(family, monkeypatch):
    """The bounds on steps and the tolerance cost no more than half a point of probability."""
    features, problem = make_problem(n=200, d=60, k=6, signal=4.0, family=family)
    ended = fit_probe(features, problem)
    monkeypatch.setattr(_probe, "_MAX_ITER", 2000)
    monkeypatch.setattr(_probe, "_TOLERANCE", 1e-13)
    monkeypatch.setattr(_probe, "_PRECISION", dict.fromkeys(_probe._PRECISION, np.float64))
    exact = fit_probe(features, problem)
    link = expit if family == "sigmoid" else lambda logits: softmax(logits, axis=1)
    for ours, wanted in (
        (ended.oof_evidence, exact.oof_evidence),
        (ended.evidence(features), exact.evidence(features)),
    ):
        gap = np.abs(link(problem.log_prior + ours) - link(problem.log_prior + wanted))
        assert gap.max() < 0.005


# -- the problem -----------------------------------------------------------------------------


def test_masks_leave_each_fold_out_once_and_end_with_all_rows():
    """Column f has the weights of all rows but fold f's."""
    weights = np.array([1.0, 2.0, 3.0, 4.0])
    problem = Problem(np.eye(2)[[0, 1, 0, 1]], weights, np.array([0, 1, 2, 0]), "softmax")
    wanted = [[0, 1, 1, 1], [2, 0, 2, 2], [3, 3, 0, 3], [0, 4, 4, 4]]
    np.testing.assert_array_equal(problem.masks, wanted)


def test_held_out_products_use_the_fit_without_the_row():
    """Coefficients that are the number of their group show which was used."""
    problem = Problem(np.eye(2)[[0, 1, 0, 1]], np.ones(4), np.array([2, 0, 1, 2]), "softmax")
    W = np.arange(4.0)[None, :, None] * np.ones((1, 1, 2))
    np.testing.assert_array_equal(problem.held_out(np.ones((4, 1)), W)[:, 0], [2, 0, 1, 2])


def test_rows_without_weight_keep_the_frequencies_of_all():
    """``only`` narrows who teaches, not what is known of the classes."""
    y = np.array([0, 0, 0, 1, 1, 1, 1, 1])
    problem = Problem(np.eye(2)[y], np.ones(8), np.arange(8) % 2, "softmax")
    part = problem.only(y == 0)
    np.testing.assert_array_equal(part.weights, y == 0)
    np.testing.assert_array_equal(part.log_prior, problem.log_prior)
    np.testing.assert_array_equal(part.masks.sum(axis=0), [1, 2, 3])


def test_sums_over_a_text_come_to_each_of_its_rows():
    """Vectors and matrices; without repeats every row is its own text."""
    problem = Problem(np.eye(2)[[0, 1, 0]], np.ones(3), np.zeros(3, int), "softmax")
    values = np.array([1.0, 10.0, 100.0])
    assert problem.of_own_text(values) is values
    texts = Problem(problem.Y, problem.weights, problem.folds, "softmax", np.array([0, 1, 0]))
    np.testing.assert_array_equal(texts.of_own_text(values), [101, 10, 101])
    both = texts.of_own_text(np.column_stack([values, -values]))
    np.testing.assert_array_equal(both[:, 1], [-101, -10, -101])


# -- folds -----------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["softmax", "sigmoid"])
def test_folds_are_nearly_equal_and_every_one_is_used(family):
    """Forty-seven rows of three classes: no fold has two rows more than another."""
    rng = np.random.RandomState(0)
    X = np.random.default_rng(0).normal(size=(47, 3))
    Y = np.eye(3)[np.arange(47) % 3]
    folds = assign_folds(X, Y, family, 5, rng)
    sizes = np.bincount(folds, minlength=5)
    assert sizes.sum() == 47
    assert np.ptp(sizes) <= 1


def test_fewer_rows_than_folds_are_fewer_folds():
    """Two rows are two folds; there are never fewer than that."""
    X, Y = np.array([[0.0], [1.0]]), np.eye(2)
    assert sorted(assign_folds(X, Y, "softmax", 5, np.random.RandomState(0))) == [0, 1]


def test_few_distinct_votes_are_not_few_texts():
    """Forty rows of votes alone in three kinds are forty texts; of an embedding they are three."""
    X = np.eye(3)[np.arange(40) % 3]
    np.testing.assert_array_equal(equal_rows(X, 5, votes_alone=True), np.arange(40))
    assert len(np.unique(equal_rows(X, 5, votes_alone=False))) == 3


def test_columns_that_are_all_equal_tell_no_texts_apart():
    """One text in all rows would leave no second fold."""
    np.testing.assert_array_equal(equal_rows(np.ones((6, 2)), 5, False), np.arange(6))


# -- soft targets ----------------------------------------------------------------------------


def test_sure_targets_are_hard_labels():
    """Rates of 0 and 1 teach what labels teach, and probabilities are those of the rates."""
    features, problem = make_problem(n=90, signal=3.0)
    shifted = 4.0 + 10 * features  # centre and scale are learnt
    probe = fit_soft_probe(shifted, problem.Y, "softmax", np.random.RandomState(0))
    P = probe.proba(shifted)
    np.testing.assert_allclose(P.sum(axis=1), 1)
    assert (P.argmax(axis=1) == problem.Y.argmax(axis=1)).mean() > 0.9


def test_unsure_targets_make_unsure_answers():
    """Targets drawn half way to the frequencies: the same order, less sure."""
    features, problem = make_problem(n=90, signal=3.0)
    sure, unsure = (
        fit_soft_probe(features, T, "softmax", np.random.RandomState(0)).proba(features)
        for T in (problem.Y, 0.5 * problem.Y + 0.5 / 3)
    )
    assert unsure.max(axis=1).mean() < sure.max(axis=1).mean() - 0.1
    assert (unsure.argmax(axis=1) == sure.argmax(axis=1)).mean() > 0.95


def test_an_embedding_that_never_varies_gives_the_frequencies():
    """Nothing to scale by, nothing to learn."""
    Y = np.eye(2)[[0, 0, 0, 1] * 5]
    probe = fit_soft_probe(np.ones((20, 4)), Y, "softmax", np.random.RandomState(0))
    np.testing.assert_allclose(probe.proba(np.ones((3, 4))), [[0.75, 0.25]] * 3, atol=0.03)
    labels = fit_soft_probe(np.ones((20, 4)), Y, "sigmoid", np.random.RandomState(0))
    np.testing.assert_allclose(labels.proba(np.ones((1, 4))), [[0.75, 0.25]], atol=0.03)
