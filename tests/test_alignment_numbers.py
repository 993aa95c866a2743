"""Reading label distributions: the numbers that each method must give."""

import numpy as np
import pytest
from scipy.special import expit, logit

from sklfusion import Annotations
from sklfusion.alignment import (
    LabelDistributionEstimator,
    alignment_l1,
    alignment_nll,
    bradley_terry,
    example_f1,
    expected_f1_sets,
    jensen_shannon,
)
from sklfusion.alignment._probe import LinearProbe, fit_ridge_logistic


def read(method, multilabel=True, labels=("joy", "anger"), y=None, **fields):
    """Probabilities of a method on annotations with these fields; keywords of it in ``params``."""
    params = fields.pop("params", {})
    data = Annotations(list(labels), multilabel=multilabel, **fields)
    return LabelDistributionEstimator(method, **params).fit(data, y).predict_proba(data)


def test_each_label_is_compared_with_none():
    """Log-odds against the last column: a shift of all changes nothing, one of none does."""
    s = np.array([[2.0, 0.0, 1.0]])
    np.testing.assert_allclose(
        read("compare_to_none", first_step_logits=s), [[expit(1.0), expit(-1.0)]], atol=1e-7
    )
    np.testing.assert_allclose(
        read("compare_to_none", first_step_logits=s + 5), [[expit(1.0), expit(-1.0)]], atol=1e-7
    )
    more = np.array([[2.0, 0.0, 4.0]])
    np.testing.assert_allclose(
        read("compare_to_none", first_step_logits=more), [[expit(-2.0), expit(-4.0)]], atol=1e-7
    )


def test_pairs_are_won_against_none():
    """A label that beats none three times of four has 3/4, whatever it does to other labels."""
    pairs = np.array([[[0, 2, 0.75], [1, 2, 0.1], [0, 1, 0.9642857142857143]]])
    # .75 to .25 and .1 to .9: odds 3 and 1/9, so 27 to 1 against each other
    tight = {"penalty": 1e-9}
    np.testing.assert_allclose(
        read("binary", pair_probs=pairs, params=tight), [[0.75, 0.1]], atol=1e-5
    )
    theta = bradley_terry(pairs, 3, penalty=1e-9)
    np.testing.assert_allclose(theta[0] - theta[0, 2], np.log([3, 1 / 9, 1]), atol=1e-5)
    assert theta.sum() == pytest.approx(0, abs=1e-6)


def test_one_label_per_text_is_a_race_without_none():
    """Softmax over the labels alone: none has no part in it."""
    s = np.array([[np.log(3.0), 0.0, 9.0]])
    np.testing.assert_allclose(
        read("compare_to_none", multilabel=False, first_step_logits=s), [[0.75, 0.25]], atol=1e-7
    )
    pairs = np.array([[[0, 2, 0.5], [1, 2, 0.5], [0, 1, 0.5]]])
    np.testing.assert_allclose(read("binary", multilabel=False, pair_probs=pairs), [[0.5, 0.5]])


def test_the_largest_step_counts_and_none_is_no_label():
    """Each label's best step of two; the mass of none is not among them."""
    steps = [np.array([[0.1, 0.2, 0.7], [0.3, 0.05, 0.65]])]
    np.testing.assert_allclose(read("max", step_probs=steps), [[0.3, 0.2]])


def test_questions_about_one_label_are_answered_by_its_two_logits():
    """A third row, for none, is left out."""
    logits = np.array([[[2.0, 1.0], [0.0, 3.0], [9.0, 0.0]]])
    np.testing.assert_allclose(read("unary", unary_logits=logits), [[expit(1.0), expit(-3.0)]])


def test_votes_of_eight_are_no_certainty():
    """(8 + .5) / (8 + 1) and (6 + .5) / 9; of one label per text (8 + .5) / (8 + 1) of two."""
    repeats = np.zeros((8, 1, 2))
    repeats[:, 0, 0] = 1
    repeats[:6, 0, 1] = 1
    np.testing.assert_allclose(read("vote_share", repeats=repeats), [[8.5 / 9, 6.5 / 9]])
    repeats[:, 0, 1] = 0
    one = read("vote_share", multilabel=False, repeats=repeats)
    np.testing.assert_allclose(one, [[8.5 / 9, 0.5 / 9]])


def test_texts_without_an_answer_get_the_mean_rates():
    """And have no part in the calibration."""
    p = read(
        "compare_to_none",
        first_step_logits=np.array([[0.0, 1, 0], [9.0, -9, 0], [1.0, 0, 0]]),
        status=["ok", "refused", "ok"],
        y=[[1, 0], [0, 0], [1, 0.75]],
    )
    np.testing.assert_allclose(p[1], [2 / 3, 0.25])
    np.testing.assert_allclose(p[0], [0.5, expit(1.0)])


@pytest.mark.parametrize(("calibrate", "level"), [("batch", 0.0), ("batch_shared", -0.5)])
def test_batch_calibration_moves_the_mean_log_odds(calibrate, level):
    """Means 1 and -2 come to 0, or to their own mean of -.5; differences between texts stay."""
    z = np.array([[0.0, -3.0], [2.0, -1.0]])
    p = read(
        "compare_to_none",
        first_step_logits=np.hstack([z, np.zeros((2, 1))]),
        params={"calibrate": calibrate},
    )
    np.testing.assert_allclose(logit(p), z - [1, -2] + level, atol=1e-6)


def test_metrics_by_hand():
    """One text, rates .5 and 0 against .25 and .5."""
    y, p = [[0.5, 0.0]], [[0.25, 0.5]]
    nll = -(0.5 * np.log(0.25) + 0.5 * np.log(0.75)) - np.log(0.5)
    assert alignment_nll(y, p) == pytest.approx(nll)
    assert alignment_l1(y, p) == pytest.approx(0.75)
    coin = [[0.5, 0.5]], [[1.0, 0.0]]
    assert alignment_nll(*coin, multilabel=False) == pytest.approx(-0.5 * np.log(1e-8), rel=1e-6)
    # of (1/2, 1/2) and (1, 0) with the middle (3/4, 1/4), in bits
    js = 0.5 * (0.5 * np.log2(2 / 3) + 0.5 * np.log2(2)) + 0.5 * np.log2(4 / 3)
    assert jensen_shannon(*coin, multilabel=False) == pytest.approx(js)
    assert jensen_shannon(*coin) == pytest.approx(js)
    assert jensen_shannon(coin[1], coin[0]) == pytest.approx(js)


def test_example_f1_by_hand():
    """Sets {0, 1} and {1, 2} have F1 1/2; a rate of one half is no majority."""
    assert example_f1([[1, 1, 0]], [[0.1, 0.9, 0.8]]) == pytest.approx(0.5)
    assert example_f1([[0.5, 1, 0]], [[0.1, 0.9, 0.5]]) == 1
    weights = [3, 1]
    y, p = [[1, 0], [0, 1]], [[0.9, 0.1], [0.9, 0.1]]
    assert example_f1(y, p, sample_weight=weights) == pytest.approx(0.75)


def test_several_likely_labels_are_worth_saying_together():
    """At .45 and .4 both: expected F1 .51 against .41 for one and .297 for none."""
    assert expected_f1_sets([[0.4, 0.45, 0.1]]).tolist() == [[1, 1, 0]]
    assert expected_f1_sets([[0.3, 0.3]]).tolist() == [[0, 0]]
    assert expected_f1_sets([[0.6, 0.0]]).tolist() == [[1, 0]]


def test_the_ridge_of_the_probe_is_at_its_minimum():
    """The gradient of the stated objective vanishes, for rates as for labels."""
    rng = np.random.default_rng(0)
    Z, Y = rng.normal(size=(40, 3)), rng.random((40, 2))
    W, b = fit_ridge_logistic(Z, Y, 0.5)
    delta = expit(Z @ W + b) - Y
    np.testing.assert_allclose(Z.T @ delta + W / 0.5, 0, atol=1e-3)
    np.testing.assert_allclose(delta.sum(axis=0) + 1e-3 * b, 0, atol=1e-3)


def test_the_probe_chooses_a_strong_ridge_for_noise_and_a_weak_one_for_signal():
    """By loss on texts that were held out; on its own rows the weakest would always win."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(80, 30))
    noise = LinearProbe(random_state=0).fit(X, (rng.random((80, 2)) < 0.5).astype(float))
    signal = LinearProbe(random_state=0).fit(X, (X[:, :2] > 0).astype(float))
    assert noise.C_ <= 1e-2 < signal.C_


def test_probe_columns_for_a_fusion_are_those_of_other_folds():
    """On features of pure noise the probe's columns do not know their own texts."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(60, 200)), (rng.random((60, 2)) < 0.5).astype(int)
    columns = LabelDistributionEstimator("probe", C=10.0).fit_transform(X, y)
    own = LabelDistributionEstimator("probe", C=10.0).fit(X, y).predict_proba(X)
    assert alignment_nll(y, own) < 0.3
    assert alignment_nll(y, columns) > 1.2
