"""The one logistic solver against others, and against conditions that its answers must meet."""

import numpy as np
import pytest
from scipy.special import expit, softmax
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from sklfusion._descent import descend
from sklfusion._logistic import (
    fit_grouped,
    fit_labels,
    fit_lines,
    fit_shared,
    mean_loss,
    row_losses,
    smoothed_log_prior,
)


@pytest.fixture(scope="module")
def problem():
    """Ninety rows of three classes: design with an intercept, one-hot targets, weights."""
    rng = np.random.default_rng(0)
    A = np.column_stack([rng.normal(size=(90, 4)), np.ones(90)])
    y = (A[:, :3] + rng.normal(scale=0.8, size=(90, 3))).argmax(axis=1)
    return A, np.eye(3)[y], rng.uniform(0.2, 2.0, 90)


def fit_one(A, Y, weights, family, penalty, **params):
    """Coefficients (d, K) of a single group."""
    start = np.zeros((A.shape[1], 1, Y.shape[1]))
    found = fit_grouped(
        A, np.zeros(Y.shape), Y, weights[:, None], family, penalty, start,
        tolerance=1e-13, max_iter=500, **params,
    )  # fmt: skip
    return found[:, 0, :]


def test_softmax_finds_what_scikit_learn_finds(problem):
    """Same penalty on all coefficients, row weights included: the same probabilities."""
    A, Y, weights = problem
    W = fit_one(A, Y, weights, "softmax", 0.5)
    other = LogisticRegression(C=2.0, fit_intercept=False, tol=1e-10, max_iter=1000)
    other.fit(A, Y.argmax(axis=1), sample_weight=weights)
    np.testing.assert_allclose(softmax(A @ W, axis=1), other.predict_proba(A), atol=1e-4)


def test_one_model_per_label_finds_what_scikit_learn_finds(problem):
    """Labels do not see each other."""
    A, Y, _ = problem
    W = fit_labels(A, Y, 0.5, np.zeros((5, 3)))
    for k in range(3):
        other = LogisticRegression(C=2.0, fit_intercept=False, tol=1e-10, max_iter=1000)
        other.fit(A, Y[:, k])
        np.testing.assert_allclose(W[:, k], other.coef_[0], atol=1e-4)


@pytest.mark.parametrize("family", ["softmax", "sigmoid"])
def test_the_gradient_is_zero_where_it_stops(problem, family):
    """Residuals times design equal the pull of the prior towards its mean."""
    A, Y, weights = problem
    target = np.linspace(-0.5, 0.5, 15).reshape(5, 3)
    W = fit_one(A, Y, weights, family, 0.7, target=target)
    p = softmax(A @ W, axis=1) if family == "softmax" else expit(A @ W)
    gradient = A.T @ (weights[:, None] * (p - Y)) + 0.7 * (W - target)
    np.testing.assert_allclose(gradient, 0, atol=1e-3)


def test_rates_count_as_shares_of_rows(problem):
    """A row with the rate .25 weighs as one row "yes" and three rows "no", a quarter each."""
    A = problem[0][:20]
    rates = np.tile([[0.25], [0.75]], (10, 1))
    one = fit_labels(A, rates, 1.0, np.zeros((5, 1)))
    twice = np.vstack([A, A])
    hard = np.vstack([np.ones((20, 1)), np.zeros((20, 1))])
    weights = np.vstack([rates, 1 - rates])[:, 0]
    two = fit_one(twice, hard, weights, "sigmoid", 1.0)
    np.testing.assert_allclose(one, two, atol=1e-4)


def test_groups_are_fits_of_their_own(problem):
    """Folds and the fit on all rows share a matrix product and nothing else."""
    A, Y, weights = problem
    masks = np.column_stack(
        [weights, weights * (np.arange(90) % 2), weights * (np.arange(90) < 60)]
    )
    together = fit_grouped(
        A, np.zeros(Y.shape), Y, masks, "softmax", 1.0, np.zeros((5, 3, 3)),
        tolerance=1e-13, max_iter=500,
    )  # fmt: skip
    for g in range(3):
        alone = fit_one(A, Y, masks[:, g], "softmax", 1.0)
        np.testing.assert_allclose(together[:, g], alone, atol=1e-3)


def test_a_row_of_weight_zero_is_not_there(problem):
    """Whatever stands in it."""
    A, Y, weights = problem
    broken, without = A.copy(), weights.copy()
    broken[7], without[7] = 1e3, 0.0
    keep = np.arange(90) != 7
    np.testing.assert_allclose(
        fit_one(broken, Y, without, "softmax", 1.0),
        fit_one(A[keep], Y[keep], weights[keep], "softmax", 1.0),
        atol=1e-3,
    )


def test_an_offset_that_says_all_leaves_nothing_to_learn(problem):
    """With the offset at the optimum of the data, coefficients under a prior at 0 stay there."""
    A, Y, _ = problem
    W = fit_labels(A, Y, 1e-8, np.zeros((5, 3)))
    more = fit_grouped(
        A, A @ W, Y, np.ones((90, 1)), "sigmoid", 1e-8, np.zeros((5, 1, 3)), tolerance=1e-13
    )
    np.testing.assert_allclose(more, 0, atol=1e-2)


def test_a_factor_scales_given_logits_and_is_never_negative(problem):
    """Right logits halved are doubled again; logits that mislead get the factor 0."""
    A = problem[0]
    rng = np.random.default_rng(1)
    logits = 2.0 * A[:, :3]
    drawn = np.eye(3)[(logits + rng.gumbel(size=logits.shape)).argmax(axis=1)]
    fit = {"family": "softmax", "penalty": 1e6, "start": np.zeros((1, 1, 3))}
    prior = (np.ones(1), np.full(1, 1e-6))
    (halved, _), (misled, _) = (
        fit_shared(
            shared[None], np.ones((90, 1)), np.zeros((90, 3)), drawn, np.ones((90, 1)),
            factor_prior=prior, **fit,
        )
        for shared in (logits / 2, -logits)
    )  # fmt: skip
    assert halved[0, 0] == pytest.approx(2.0, abs=0.7)
    assert misled[0, 0] == 0


def test_losses_are_those_of_scikit_learn(problem):
    """Per row and weighted mean, with the class frequencies added to the evidence."""
    A, Y, weights = problem
    evidence, prior = A[:, :3], np.log([0.5, 0.3, 0.2])
    wanted = log_loss(
        Y.argmax(axis=1),
        softmax(evidence + prior, axis=1),
        sample_weight=weights,
        labels=[0, 1, 2],
    )
    assert mean_loss(evidence, Y, weights, prior, "softmax") == pytest.approx(wanted)
    one = row_losses(np.array([[0.0, np.log(3.0)]]), np.array([[1.0, 1.0]]), "sigmoid")
    assert one == pytest.approx([np.log(2) + np.log(4 / 3)])
    assert mean_loss(evidence, Y, np.zeros(90), prior, "softmax") == 0


def test_class_frequencies_are_smoothed_by_one_row():
    """Classes at 3, 1 and 0 of 4 rows: (3 + 1) / 7, 2 / 7 and 1 / 7; labels by half a row."""
    Y = np.array([[1, 0, 0], [1, 0, 0], [1, 0, 0], [0, 1, 0]], dtype=float)
    ones = np.ones(4)
    assert np.exp(smoothed_log_prior(Y, ones, "softmax")) == pytest.approx([4 / 7, 2 / 7, 1 / 7])
    assert expit(smoothed_log_prior(Y, ones, "sigmoid")) == pytest.approx([0.7, 0.3, 0.1])
    doubled = smoothed_log_prior(Y, 2 * ones, "softmax")
    assert np.exp(doubled) == pytest.approx([7 / 11, 3 / 11, 1 / 11])


@pytest.mark.parametrize("family", ["softmax", "sigmoid"])
def test_single_precision_finds_the_same(problem, family):
    """Probabilities to three digits, in half the memory; coefficients come in its dtype."""
    A, Y, weights = problem
    one = fit_one(A, Y, weights, family, 0.5)
    two = fit_one(A.astype(np.float32), Y, weights, family, 0.5)
    assert two.dtype == np.float32
    link = softmax if family == "softmax" else lambda z, axis: expit(z)
    np.testing.assert_allclose(link(A @ two, axis=1), link(A @ one, axis=1), atol=2e-3)


def test_a_line_per_label_is_the_penalised_fit_of_that_label(problem):
    """All labels and row weightings in one call, each as if it were alone."""
    A, Y, weights = problem
    masks = np.column_stack([weights, weights * (np.arange(90) < 60)])
    offset = np.tile([0.5, -1.0, 0.0], (90, 1))
    lines = fit_lines(A[:, :3], offset, Y, masks, 0.7, 4.0)
    for g in range(2):
        for k in range(3):
            design = np.column_stack([A[:, k], np.ones(90)])
            target = np.array([[0.7], [0.0]])
            alone = fit_grouped(
                design, offset[:, [k]], Y[:, [k]], masks[:, [g]], "sigmoid", 4.0,
                target[:, None], target, tolerance=1e-14, max_iter=500,
            )  # fmt: skip
            np.testing.assert_allclose(lines[:, g, k], alone[:, 0, 0], atol=1e-3)


def test_scores_that_are_far_too_sure_are_led_back_from_saturation():
    """Log-odds of 36 at the start, where no loss curves, end at those of two rows in three."""
    said = np.repeat([18.0, -18.0], 300)
    Y = np.tile([1.0, 1.0, 0.0], 200)
    Y[300:] = 1 - Y[300:]
    A = np.column_stack([said, np.ones(600)])
    slope, intercept = fit_labels(A, Y[:, None], 1e-4, np.array([[2.0], [0.0]]))[:, 0]
    assert slope * 18 == pytest.approx(np.log(2), abs=1e-2)
    assert intercept == pytest.approx(0, abs=1e-2)


def test_lines_of_large_scores_that_say_little_do_not_swing_to_and_fro():
    """Slopes of 0, 0.05 and -0.3 at scores of 9, from 0.3: each ends where its gradient is 0."""
    said = np.tile(np.repeat([9.0, -9.0], [400, 200])[:, None], 3)
    rates = expit(np.array([0.0, 0.05, -0.3]) * said - 2.0)
    ones = np.ones((600, 1))
    slope, intercept = fit_lines(said, np.zeros((600, 3)), rates, ones, 0.3, 1.0)[:, 0]
    residual = expit(slope * said + intercept) - rates
    np.testing.assert_allclose((residual * said).sum(axis=0) + slope - 0.3, 0, atol=1e-3)
    np.testing.assert_allclose(residual.sum(axis=0) + intercept, 0, atol=1e-3)


def test_problems_of_one_call_end_each_at_its_own_minimum():
    """Round bowls and long valleys together: every row finds its centre, whoever is quicker."""
    rng = np.random.default_rng(0)
    center = rng.normal(size=(4, 6))
    curve = np.geomspace(1, [1, 10, 100, 1000], 6).T

    def bowls(x, rows):
        gradient = curve[rows] * (x - center[rows])
        return 0.5 * (gradient * (x - center[rows])).sum(axis=1), gradient

    found = descend(bowls, np.zeros((4, 6)), 200, 1e-15, 1e-9)
    np.testing.assert_allclose(found, center, atol=1e-4)
