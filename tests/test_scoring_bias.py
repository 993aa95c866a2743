"""Taking a model's bias off its scores, in numbers that can be checked by hand."""

import numpy as np
import pytest
from scipy.special import expit, logit

from sklfusion.scoring._calibration import apply_bias, contextual_bias, prior_bias


def test_the_bias_makes_the_classes_equally_frequent():
    """All texts say .8 to .2: log-odds of ln 4 against class 0, of which 45 of 50 rows' worth."""
    probs = np.tile([0.8, 0.2], (45, 1))
    bias = prior_bias(probs)
    assert bias.sum() == pytest.approx(0)
    assert bias[1] - bias[0] == pytest.approx(np.log(4) * 45 / 50, abs=1e-5)


def test_few_texts_say_little_about_a_bias():
    """Five texts half of it, none nothing, and rows without an answer do not count."""
    five = np.tile([0.8, 0.2], (5, 1))
    bias = prior_bias(five)
    assert bias[1] - bias[0] == pytest.approx(np.log(4) / 2, abs=1e-5)
    holes = np.vstack([five, np.full((9, 2), np.nan)])
    np.testing.assert_allclose(prior_bias(holes), bias)
    assert prior_bias(np.full((3, 2), np.nan)).tolist() == [0, 0]


def test_the_mean_prediction_meets_the_target():
    """With thousands of texts, uniform or as asked for; the order within a class stays."""
    rng = np.random.default_rng(0)
    probs = rng.dirichlet([4, 1, 1], size=4000)
    even = apply_bias(probs, prior_bias(probs))
    np.testing.assert_allclose(even.mean(axis=0), 1 / 3, atol=2e-3)
    np.testing.assert_allclose(even.sum(axis=1), 1)
    wanted = np.array([0.5, 0.3, 0.2])
    asked = apply_bias(probs, prior_bias(probs, target=wanted))
    np.testing.assert_allclose(asked.mean(axis=0), wanted, atol=2e-3)


def test_labels_that_go_together_have_a_bias_each():
    """Two labels at .9 and .1 come to one half each, as one label of two per text on average."""
    probs = np.tile([0.9, 0.1], (95, 1))
    bias = prior_bias(probs, multilabel=True)
    np.testing.assert_allclose(bias, -logit([0.9, 0.1]) * 0.95, atol=1e-5)
    np.testing.assert_allclose(
        apply_bias(probs[:1], bias, multilabel=True)[0], expit(0.05 * logit([0.9, 0.1])), atol=1e-5
    )


def test_texts_without_content_are_undecided_afterwards():
    """What is said of "N/A" is the model's own taste."""
    empty = np.array([[0.7, 0.2, 0.1]])
    np.testing.assert_allclose(apply_bias(empty, contextual_bias(empty)), 1 / 3)
    labels = np.array([[0.7, 0.2]])
    np.testing.assert_allclose(
        apply_bias(labels, contextual_bias(labels, multilabel=True), multilabel=True), 0.5
    )
    gone = np.full((2, 2), np.nan)
    assert contextual_bias(gone).tolist() == [0, 0]


def test_a_row_without_an_answer_stays_without():
    """NaN in, NaN out."""
    probs = np.array([[0.5, 0.5], [np.nan, np.nan]])
    assert np.isnan(apply_bias(probs, np.array([0.1, -0.1]))).all(axis=1).tolist() == [False, True]
