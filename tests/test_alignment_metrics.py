"""Properties that metrics of label distributions must have, whatever the numbers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.distance import jensenshannon
from sklearn.metrics import f1_score, log_loss

from sklfusion.alignment import (
    alignment_l1,
    alignment_nll,
    annotator_rates,
    example_f1,
    jensen_shannon,
    neg_alignment_l1_scorer,
    neg_alignment_nll_scorer,
    neg_jensen_shannon_scorer,
)

METRICS = [alignment_l1, alignment_nll, jensen_shannon]
CELLS = st.integers(0, 20).map(lambda v: v / 20)
RATES = st.integers(1, 6).flatmap(
    lambda n: st.tuples(*[arrays(float, (n, 3), elements=CELLS)] * 2)
)


@pytest.mark.parametrize("metric", [alignment_l1, jensen_shannon])
@given(pair=RATES)
@settings(max_examples=40, deadline=None)
def test_distances_are_symmetric_and_zero_at_home(metric, pair):
    """And never negative."""
    a, b = pair
    assert metric(a, b) == pytest.approx(metric(b, a), abs=1e-12)
    assert metric(a, a) == pytest.approx(0, abs=1e-12)
    assert metric(a, b) >= 0


@given(pair=RATES)
@settings(max_examples=40, deadline=None)
def test_bounds(pair):
    """A divergence of at most one bit; at most one misplaced annotator per label."""
    a, b = pair
    assert jensen_shannon(a, b) <= 1 + 1e-12
    assert alignment_l1(a, b) <= a.shape[1]
    assert 0 <= example_f1(a, b) <= 1


@given(pair=RATES)
@settings(max_examples=40, deadline=None)
def test_no_prediction_is_likelier_than_the_truth(pair):
    """The rates themselves have the least negative log-likelihood, their own entropy."""
    a, b = pair
    assert alignment_nll(a, a) <= alignment_nll(a, b) + 1e-6


@pytest.mark.parametrize("metric", [*METRICS, example_f1])
@given(pair=RATES, seed=st.integers(0, 100))
@settings(max_examples=30, deadline=None)
def test_neither_the_order_of_texts_nor_that_of_labels_counts(metric, pair, seed):
    """What is said of a text is compared with what people said of that text."""
    a, b = pair
    rng = np.random.default_rng(seed)
    rows, columns = rng.permutation(len(a)), rng.permutation(3)
    assert metric(a[rows], b[rows]) == pytest.approx(metric(a, b))
    assert metric(a[:, columns], b[:, columns]) == pytest.approx(metric(a, b))


@pytest.mark.parametrize("metric", [*METRICS, example_f1])
@given(pair=RATES)
@settings(max_examples=30, deadline=None)
def test_the_whole_is_the_mean_of_the_texts(metric, pair):
    """Weights move it towards the texts that they are on."""
    a, b = pair
    single = np.array([metric(a[i : i + 1], b[i : i + 1]) for i in range(len(a))])
    assert metric(a, b) == pytest.approx(single.mean())
    weights = np.arange(1.0, len(a) + 1)
    assert metric(a, b, sample_weight=weights) == pytest.approx(
        np.average(single, weights=weights)
    )


@given(pair=RATES)
@settings(max_examples=40, deadline=None)
def test_example_f1_is_scikit_learns_on_the_sets(pair):
    """Of the majority and of what lies above one half."""
    a, b = pair
    wanted = f1_score(a > 0.5, b > 0.5, average="samples", zero_division=1.0)
    assert example_f1(a, b) == pytest.approx(wanted)


def test_distributions_over_classes_agree_with_other_libraries():
    """SciPy's distance is the root of the divergence; scikit-learn's log-loss is the NLL."""
    rng = np.random.default_rng(0)
    p, q = rng.dirichlet(np.ones(4), size=(2, 30))
    other = np.mean([jensenshannon(x, y, base=2) ** 2 for x, y in zip(p, q, strict=True)])
    assert jensen_shannon(p, q, multilabel=False) == pytest.approx(other)
    y = rng.integers(4, size=30)
    assert alignment_nll(np.eye(4)[y], q, multilabel=False) == pytest.approx(log_loss(y, q))


class Says:
    """A fitted estimator with one answer."""

    def __init__(self, answer):
        self.answer = answer

    def predict_proba(self, X):
        return np.tile(self.answer, (len(X), 1))


@pytest.mark.parametrize(
    ("scorer", "metric"),
    [
        (neg_alignment_nll_scorer, alignment_nll),
        (neg_alignment_l1_scorer, alignment_l1),
        (neg_jensen_shannon_scorer, jensen_shannon),
    ],
)
def test_scorers_are_larger_for_better_models(scorer, metric):
    """The negative metric, also with weights, and a name that says so."""
    Y = np.array([[1.0, 0.0], [1.0, 0.5]])
    near, far = Says([0.9, 0.2]), Says([0.2, 0.9])
    assert scorer(near, [0, 1], Y) > scorer(far, [0, 1], Y)
    assert scorer(near, [0, 1], Y) == -metric(Y, near.predict_proba([0, 1]))
    weighted = scorer(near, [0, 1], Y, sample_weight=[0, 1])
    assert weighted == -metric(Y[1:], near.predict_proba([1]))
    assert repr(scorer) == f"<scorer -{metric.__name__}>"


@given(
    answers=st.lists(st.lists(st.integers(0, 1), min_size=2, max_size=2), min_size=1, max_size=20),
    seed=st.integers(0, 99),
)
@settings(max_examples=40, deadline=None)
def test_rates_are_the_means_of_each_texts_answers(answers, seed):
    """In the sorted order of the texts, with the number of answers beside them."""
    items = np.random.default_rng(seed).integers(4, size=len(answers))
    rates, counts = annotator_rates(answers, items, return_counts=True)
    answers = np.array(answers)
    for number, item in enumerate(np.unique(items)):
        own = answers[items == item]
        np.testing.assert_allclose(rates[number], own.mean(axis=0))
        assert counts[number] == len(own)
