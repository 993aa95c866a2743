"""Many minimisations at once: each ends at its own minimum, whatever the others do."""

import numpy as np
import pytest
from scipy.optimize import rosen, rosen_der

from sklfusion._descent import descend


def bowls(centers, curves):
    """Quadratic bowls, one per row; remembers which rows were asked for."""
    asked = []

    def evaluate(x, rows):
        asked.append(rows.copy())
        gradient = (curves[rows] * (x - centers[rows])).astype(x.dtype)
        return 0.5 * (gradient * (x - centers[rows])).sum(axis=1, dtype=float), gradient

    evaluate.asked = asked
    return evaluate


def test_a_problem_is_solved_alike_alone_and_in_company():
    """Steps of one row come from its own slopes only."""
    rng = np.random.default_rng(0)
    centers, curves = rng.normal(size=(5, 4)), rng.uniform(0.5, 50, (5, 4))
    together = descend(bowls(centers, curves), np.zeros((5, 4)), 100, 1e-14, 1e-9)
    for row in range(5):
        alone = bowls(centers[[row]], curves[[row]])
        found = descend(alone, np.zeros((1, 4)), 100, 1e-14, 1e-9)
        np.testing.assert_allclose(found[0], together[row], atol=1e-9)


def test_what_has_ended_is_not_asked_again():
    """One row starts at its minimum, another is a long valley: the first costs two looks."""
    centers = np.array([[0.0, 0.0, 0.0], [3.0, -2.0, 1.0]])
    curves = np.array([[1.0, 1.0, 1.0], [1.0, 40.0, 900.0]])
    evaluate = bowls(centers, curves)
    found = descend(evaluate, np.zeros((2, 3)), 100, 1e-14, 1e-9)
    np.testing.assert_allclose(found, centers, atol=1e-5)
    looks = np.bincount(np.concatenate(evaluate.asked), minlength=2)
    assert looks[0] == 2
    assert looks[1] > 5


def test_the_bound_on_steps_holds():
    """No steps leave the start; more steps never end higher."""
    centers, curves = np.array([[2.0, -1.0]]), np.array([[1.0, 300.0]])
    start = np.array([[7.0, 7.0]])
    heights = []
    for steps in (0, 1, 3, 10, 60):
        evaluate = bowls(centers, curves)
        found = descend(evaluate, start, steps, 1e-15, 1e-12)
        heights.append(evaluate(found, np.array([0]))[0][0])
    assert heights[0] == evaluate(start, np.array([0]))[0][0]
    assert (np.diff(heights) <= 1e-12).all()
    assert heights[-1] < 1e-8


def test_the_start_is_left_alone():
    """Callers keep a path of starts."""
    start = np.ones((1, 2))
    descend(bowls(np.zeros((1, 2)), np.ones((1, 2))), start, 10, 1e-12, 1e-9)
    np.testing.assert_array_equal(start, 1)


def test_a_step_that_leads_uphill_is_halved():
    """A bowl ten thousand times as steep as a first step of one supposes."""
    evaluate = bowls(np.array([[1.0, -1.0]]), np.full((1, 2), 1e4))
    found = descend(evaluate, np.zeros((1, 2)), 100, 1e-15, 1e-9)
    np.testing.assert_allclose(found, [[1.0, -1.0]], atol=1e-5)


def test_a_start_far_out_where_the_walls_run_straight_is_no_end():
    """Slopes that hardly change promise a minimum a million times too far away."""
    center = np.array([[2.0, -1.0], [0.0, 3.0]])

    def walls(x, rows):
        away = x - center[rows]
        height = np.sqrt(1 + away**2)
        return height.sum(axis=1), away / height

    found = descend(walls, np.full((2, 2), 1e4), 100, 1e-14, 1e-9)
    np.testing.assert_allclose(found, center, atol=1e-4)


def test_values_that_are_not_finite_count_as_uphill():
    """Beyond a wall the logarithm is NaN; the minimum lies before it."""

    def walled(x, rows):
        with np.errstate(invalid="ignore", divide="ignore"):
            value = (x - np.log1p(-x)).sum(axis=1)  # falls to the left, infinite at 1
            gradient = 1 + 1 / (1 - x)
        bowl = 2.0 * (x - 0.5) ** 2
        return value + 20 * bowl.sum(axis=1), gradient + 80 * (x - 0.5)

    found = descend(walled, np.full((1, 1), -3.0), 100, 1e-14, 1e-9)
    slope = 1 + 1 / (1 - found) + 80 * (found - 0.5)
    np.testing.assert_allclose(slope, 0, atol=1e-3)
    assert found[0, 0] < 1


def test_a_slope_that_lies_leaves_everything_where_it_was():
    """A function whose gradient points the wrong way never falls: it ends at its start."""
    calls = []

    def lying(x, rows):
        calls.append(len(rows))
        return (x**2).sum(axis=1), -2 * x

    start = np.array([[1.0, 2.0]])
    np.testing.assert_array_equal(descend(lying, start, 50, 1e-12, 1e-9), start)
    assert len(calls) < 50


def test_curved_valleys_are_followed():
    """Rosenbrock's function in four variables, from two starts, beside an easy row."""

    def valleys(x, rows):
        return np.array([rosen(r) for r in x]), np.array([rosen_der(r) for r in x])

    starts = np.array([[-1.2, 1.0, -1.2, 1.0], [0.0, 0.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0]])
    found = descend(valleys, starts, 500, 1e-15, 1e-7)
    np.testing.assert_allclose(np.array([rosen_der(row) for row in found]), 0, atol=1e-2)
    np.testing.assert_allclose(found[1:], 1, atol=1e-3)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_dtype_of_the_start_is_kept(dtype):
    """Single precision ends near the minimum and does not wander off in rounding."""
    rng = np.random.default_rng(1)
    centers, curves = rng.normal(size=(3, 5)), rng.uniform(0.5, 5, (3, 5))
    found = descend(bowls(centers, curves), np.zeros((3, 5), dtype), 200, 1e-9, 1e-6)
    assert found.dtype == dtype
    np.testing.assert_allclose(found, centers, atol=2e-3 if dtype == np.float32 else 1e-4)


def test_flat_functions_end_at_once():
    """No slope, no step."""
    calls = []

    def flat(x, rows):
        calls.append(1)
        return np.full(len(x), 3.0), np.zeros_like(x)

    start = np.array([[1.0, -4.0]])
    np.testing.assert_array_equal(descend(flat, start, 50, 1e-12, 1e-9), start)
    assert len(calls) == 2
