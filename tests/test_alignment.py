"""Alignment metrics, methods and LabelDistributionEstimator, without any LLM."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from scipy.special import expit, logit, softmax
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_score

from sklfusion import Annotations
from sklfusion.alignment import (
    METHODS,
    AlignmentDisplay,
    LabelDistributionEstimator,
    alignment_l1,
    alignment_nll,
    alignment_table,
    annotator_rates,
    bradley_terry,
    calls_per_text,
    compare_to_none,
    example_f1,
    example_f1_scorer,
    jensen_shannon,
    max_over_steps,
    neg_alignment_l1_scorer,
    neg_alignment_nll_scorer,
    neg_jensen_shannon_scorer,
    unary_distribution,
)
from sklfusion.exceptions import DataWarning

LABELS = ("joy", "anger", "fear", "sadness")


def all_pairs(theta):
    """Every pair (i, j, σ(θ_i − θ_j)) of each row of strengths."""
    i, j = np.triu_indices(theta.shape[1], 1)
    p = expit(theta[:, i] - theta[:, j])
    return np.stack(np.broadcast_arrays(i[None], j[None], p), axis=-1)


def annotations(n=60, seed=0, multilabel=True, labels=LABELS):
    """Everything that a collector could have gathered about n texts, and the rates behind it."""
    rng = np.random.default_rng(seed)
    k = len(labels)
    strength = rng.normal(-0.5, 1.5, (n, k))
    rates = expit(strength) if multilabel else softmax(strength, axis=1)
    with_none = np.column_stack([strength + rng.normal(0, 0.3, (n, k)), np.zeros(n)])
    steps = [
        softmax(4 * with_none[[i]] + rng.normal(0, 1, (rng.integers(1, 4), k + 1)), axis=1)
        for i in range(n)
    ]
    return (
        Annotations(
            labels,
            votes=(with_none[:, :-1] > 0).astype(float),
            first_step_logits=with_none,
            step_probs=steps,
            unary_logits=np.stack([with_none, np.zeros_like(with_none)], axis=-1),
            pair_probs=all_pairs(with_none),
            hidden=np.column_stack([strength, rng.normal(0, 5, (n, 10))]) + 3,
            multilabel=multilabel,
        ),
        rates,
    )


# ---------------------------------------------------------------- metrics


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.booleans())
def test_hard_nll_is_18_42_times_l1(seed, soft):
    """Each unit of L1 of a 0/1 prediction costs −ln 1e-8, for any target (PAPERS C.7)."""
    rng = np.random.default_rng(seed)
    y = rng.random((7, 5))
    y = y if soft else (y > 0.5).astype(float)
    hard = rng.integers(0, 2, (7, 5)).astype(float)
    l1 = alignment_l1(y, hard)
    assert alignment_nll(y, hard) == pytest.approx(-np.log(1e-8) * l1, rel=1e-5, abs=1e-6)


def test_published_hard_rows_follow_from_their_l1():
    """The published pairs of L1 and NLL of hard output fit the clip of 1e-8."""
    for l1, nll in [(1.31, 24.11), (1.07, 19.70), (1.49, 27.47), (2.21, 40.79)]:
        assert nll == pytest.approx(-np.log(1e-8) * l1, abs=0.1)


def test_categorical_hard_nll_is_half_of_it():
    """One label per text: −Σ H ln P gives 9.21 times L1 for one-hot rows."""
    y, p = np.eye(3)[[0, 1, 2]], np.eye(3)[[0, 2, 1]]
    l1 = alignment_l1(y, p, multilabel=False)
    assert alignment_nll(y, p, multilabel=False) == pytest.approx(-np.log(1e-8) / 2 * l1)


def test_truth_is_the_best_prediction():
    """All divergences are least at the target itself; Jensen-Shannon and L1 are 0 there."""
    rng = np.random.default_rng(0)
    y = rng.random((50, 4))
    other = np.clip(y + rng.normal(0, 0.1, y.shape), 0, 1)
    assert alignment_nll(y, y) < alignment_nll(y, other)
    assert alignment_l1(y, y) == jensen_shannon(y, y) == 0
    assert 0 < jensen_shannon(y, other) < 1
    assert jensen_shannon(y, other) == pytest.approx(jensen_shannon(other, y))


def test_zero_probability_in_the_target_or_prediction_is_finite():
    """Zeros on either side give finite numbers (L21)."""
    y, p = np.array([[0.0, 1.0]]), np.array([[1.0, 0.0]])
    assert np.isfinite(alignment_nll(y, p))
    assert jensen_shannon(y, p) == 1
    assert jensen_shannon(y, p, multilabel=False) == 1


def test_example_f1_exposes_the_empty_case_and_the_threshold():
    """Two empty sets score ``empty``; a rate of exactly 0.5 is no majority."""
    y = np.array([[0.0, 0.0], [0.5, 0.9]])
    p = np.array([[0.4, 0.1], [0.4, 0.9]])
    assert example_f1(y, p) == 1.0
    assert example_f1(y, p, empty=0.0) == 0.5
    assert example_f1(y, p, threshold=0.35) == pytest.approx((0 + 2 / 3) / 2)
    assert example_f1(sparse.csr_array(y > 0.5), p) == 1.0


def test_one_label_per_text_says_the_most_probable():
    """Without multilabel a share of exactly one half is still an answer: F1 is the accuracy."""
    y, p = [[0.8, 0.2], [0.4, 0.6]], [[0.5, 0.5], [0.1, 0.9]]
    assert example_f1(y, p, multilabel=False) == 1.0
    assert example_f1(y, p) == 0.5
    table = alignment_table(y, {"m": p}, base_rates=[0.6, 0.4], multilabel=False)
    assert table["m"]["f1"] == 1.0
    assert table["base rate"]["f1"] == 0.5


def test_sample_weight_equals_repetition():
    """Weight 2 is the same as the text twice, for every metric."""
    rng = np.random.default_rng(1)
    y, p = rng.random((6, 3)), rng.random((6, 3))
    w = np.array([1, 2, 1, 3, 1, 1])
    again = np.repeat(np.arange(6), w)
    for metric in (alignment_nll, alignment_l1, jensen_shannon, example_f1):
        assert metric(y, p, sample_weight=w) == pytest.approx(metric(y[again], p[again]))


@pytest.mark.parametrize("metric", [alignment_nll, alignment_l1, jensen_shannon])
def test_rows_that_are_no_distribution_are_named(metric):
    """Multi-class rows must sum to one within 1e-6 (L12); out of range is refused always."""
    good, bad = np.full((3, 2), 0.5), np.full((3, 2), 0.5)
    bad[1] = [0.5, 0.50001]
    assert np.isfinite(metric(good, good + np.array([1e-8, -1e-8]), multilabel=False))
    with pytest.raises(ValueError, match="row 1 of the target"):
        metric(bad, good, multilabel=False)
    bad[1] = [1.2, 0]
    with pytest.raises(ValueError, match="row 1 of the prediction"):
        metric(good, bad)
    with pytest.raises(ValueError, match="one column per class"):
        metric(good, np.full((3, 4), 0.25))
    with pytest.raises(ValueError, match="NaN"):
        metric(good, np.full((3, 2), np.nan))


def test_annotator_rates_forms_agree():
    """Long tables, blocks and ragged lists of the same answers give the same rates."""
    blocks = [np.array([[1, 0], [1, 1]]), np.array([[0, 1], [1, 1], [0, 0]])]
    ragged = annotator_rates(blocks)
    long = annotator_rates(np.concatenate(blocks), items=["a", "a", "b", "b", "b"])
    padded = np.full((2, 3, 2), np.nan)
    padded[0, :2], padded[1] = blocks
    np.testing.assert_allclose(ragged, [[1, 0.5], [1 / 3, 2 / 3]])
    np.testing.assert_array_equal(long, ragged)
    np.testing.assert_array_equal(annotator_rates(padded), ragged)
    _, counts = annotator_rates(padded, return_counts=True)
    assert counts.tolist() == [2, 3]


def test_smoothing_follows_the_formula_and_saves_empty_rows():
    """(Σ + s) / (A + 2 s); a text without annotators is finite either way, with a warning."""
    np.testing.assert_allclose(
        annotator_rates([[[1, 0], [1, 0], [1, 1]]], smoothing=0.5), [[3.5 / 4, 1.5 / 4]]
    )
    blocks = [[[1, 0]], np.zeros((0, 2)), [[0, 0]]]
    with pytest.warns(DataWarning, match="row 1"):
        np.testing.assert_allclose(annotator_rates(blocks)[1], [0.5, 0])
    with pytest.warns(DataWarning, match="no annotator"):
        np.testing.assert_allclose(annotator_rates(blocks, smoothing=0.5)[1], [0.5, 0.5])


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (([[[0.3, 1]]],), "answer 0"),
        (([[1, 0]], ["a", "b"]), "one row per item"),
        (([],), "no answers"),
    ],
)
def test_annotator_rates_refuse_what_is_no_answer(args, message):
    """Answers are 0, 1 or NaN."""
    with pytest.raises(ValueError, match=message):
        annotator_rates(*args)


# ---------------------------------------------------------------- methods


def test_bradley_terry_recovers_known_strengths():
    """p_ij = σ(θ_i − θ_j) gives θ back up to a constant as the penalty vanishes."""
    theta = np.random.default_rng(0).normal(0, 2, (20, 6))
    found = bradley_terry(all_pairs(theta), 6, penalty=1e-10)
    np.testing.assert_allclose(found - found[:, -1:], theta - theta[:, -1:], atol=1e-4)


@pytest.mark.parametrize("kind", ["soft", "wins", "both orders", "holes"])
def test_bradley_terry_finds_the_minimum(kind):
    """The gradient of the penalised loss is zero at the solution, also for hard wins."""
    rng = np.random.default_rng(2)
    pairs = all_pairs(rng.normal(0, 3, (8, 5)))
    if kind == "wins":
        pairs[..., 2] = pairs[..., 2] > 0.5
    elif kind == "both orders":
        flipped = pairs[..., [1, 0, 2]].copy()
        flipped[..., 2] = np.clip(1 - flipped[..., 2] + 0.1, 0, 1)
        pairs = np.concatenate([pairs, flipped], axis=1)
    elif kind == "holes":
        pairs[rng.random(pairs.shape[:2]) < 0.3, 2] = np.nan
    theta = bradley_terry(pairs, 5)
    for row, strengths in zip(pairs, theta, strict=True):
        gradient = 2 * 0.01 * strengths
        for i, j, p in row[~np.isnan(row[:, 2])]:
            delta = expit(strengths[int(i)] - strengths[int(j)]) - p
            gradient[int(i)] += delta
            gradient[int(j)] -= delta
        assert np.abs(gradient).max() < 1e-6


@pytest.mark.parametrize(
    ("pairs", "options", "message"),
    [
        (np.zeros((2, 3)), {}, "needs \\(n, P, 3\\)"),
        (np.array([[[0, 7, 0.5]]]), {}, "outside 0 to 2"),
        (np.array([[[0, 1, 1.5]]]), {}, "outside \\[0, 1\\]"),
        (np.array([[[0, 1, 0.5]]]), {"penalty": 0}, "penalty"),
    ],
)
def test_bradley_terry_refuses_bad_pairs(pairs, options, message):
    """Bad shapes, indices, probabilities and penalties are named."""
    with pytest.raises(ValueError, match=message):
        bradley_terry(pairs, 3, **options)


def test_vote_share_is_the_mean_of_the_votes_that_came():
    """Repeated votes give their share; a vote that failed is left out; all cost a call."""
    gone = [np.nan, np.nan]
    votes = np.array([[[1, 0], gone], [[1, 1], gone], [[0, 1], gone], [gone, gone]], dtype=float)
    data = Annotations(["a", "b"], repeats=votes, multilabel=True)
    est = LabelDistributionEstimator("vote_share", smoothing=0).fit(data)
    np.testing.assert_allclose(est.predict_proba(data), [[2 / 3, 2 / 3], [0.5, 0.5]])
    smooth = LabelDistributionEstimator("vote_share").fit(data)  # Jeffreys: (2 + .5) / (3 + 1)
    np.testing.assert_allclose(smooth.predict_proba(data), [[2.5 / 4, 2.5 / 4], [0.5, 0.5]])
    assert data.status.tolist() == ["ok", "missing"]
    assert est.calls_per_text_ == 4


@pytest.mark.parametrize("multilabel", [True, False])
def test_smoothed_vote_shares_keep_the_labels_and_lower_the_nll(multilabel):
    """Few unanimous votes are no certainty: smoothing helps the NLL and turns no majority."""
    rng = np.random.default_rng(3)
    rates = rng.random((400, 2))
    if not multilabel:
        rates = np.column_stack([rates[:, 0], 1 - rates[:, 0]])
    votes = (rng.random((8, 400, 2)) < rates).astype(float)
    if not multilabel:
        votes[..., 1] = 1 - votes[..., 0]
    data = Annotations(["a", "b"], repeats=votes, multilabel=multilabel)
    plain = LabelDistributionEstimator("vote_share", smoothing=0).fit(data)
    smooth = LabelDistributionEstimator("vote_share").fit(data)
    p, q = plain.predict_proba(data), smooth.predict_proba(data)
    np.testing.assert_array_equal(p > 0.5, q > 0.5)
    judge = {"multilabel": multilabel}
    assert alignment_nll(rates, q, **judge) < alignment_nll(rates, p, **judge)
    if not multilabel:
        np.testing.assert_allclose(q.sum(axis=1), 1)


def test_first_steps_stand_in_for_logits_that_were_not_kept():
    """compare_to_none reads the first label step where no first-step logits are: q_l/(q_l+q_0)."""
    steps = [np.array([[0.6, 0.1, 0.3], [0.2, 0.5, 0.3]]), np.zeros((0, 3))]
    data = Annotations(["a", "b"], multilabel=True, step_probs=steps)
    p = LabelDistributionEstimator("compare_to_none").fit(data).predict_proba(data)
    np.testing.assert_allclose(p, [[0.6 / 0.9, 0.1 / 0.4], [0.5, 0.5]], atol=1e-7)


def test_equal_logits_are_one_half():
    """Compare-to-none and unary give .5 where the two logits agree."""
    np.testing.assert_allclose(compare_to_none(np.full((2, 4), 1.7)), 0.5)
    np.testing.assert_allclose(unary_distribution(np.full((2, 4, 2), -3.0), 4), 0.5)


def test_compare_to_none_is_the_softmax_against_none_alone():
    """σ(s_l − s_none) = q_l / (q_l + q_none)."""
    s = np.random.default_rng(0).normal(size=(5, 4))
    q = softmax(s, axis=1)
    np.testing.assert_allclose(compare_to_none(s), q[:, :-1] / (q[:, :-1] + q[:, -1:]))


def test_max_is_at_least_every_step_and_equals_a_single_one():
    """P_l ≥ q_l at each step; with one step it is that softmax; without steps the first one."""
    data, _ = annotations()
    p = max_over_steps(data.step_probs)
    for row, steps in zip(p, data.step_probs, strict=True):
        assert (row >= steps[:, :-1] - 1e-12).all()
        if len(steps) == 1:
            np.testing.assert_allclose(row, np.maximum(steps[0, :-1], 1e-8))
    empty = [np.zeros((0, 5))]
    logits = np.array([[1.0, 2, 3, 4, 5]])
    np.testing.assert_allclose(max_over_steps(empty, logits)[0], softmax(logits[0])[:-1])
    np.testing.assert_allclose(max_over_steps(empty), 1e-8)


def test_costs_per_text():
    """1, 1, 1, K, K(K + 1)/2 queries; 11 labels need 66 pairs."""
    costs = {m: calls_per_text(m, 11) for m in METHODS}
    assert costs == {
        "hard": 1, "vote_share": 1, "compare_to_none": 1, "max": 1, "unary": 11, "binary": 66,
        "probe": 1, "base_rate": 0,
    }  # fmt: skip
    assert calls_per_text("binary", 11, both_orders=True) == 132
    with pytest.raises(ValueError, match="method='best'"):
        calls_per_text("best", 3)


# ---------------------------------------------------------------- estimator


@pytest.mark.parametrize("multilabel", [True, False])
@pytest.mark.parametrize("method", METHODS)
def test_probabilities_are_legal_and_predict_follows(method, multilabel):
    """Each method gives probabilities within [ε, 1 − ε]; one label per text sums to one."""
    data, rates = annotations(multilabel=multilabel)
    est = LabelDistributionEstimator(method).fit(data, rates)
    p = est.predict_proba(data)
    assert p.shape == (60, 4)
    assert est.classes_.tolist() == list(LABELS)
    assert est.calls_per_text_ == calls_per_text(method, 4)
    assert np.isfinite(est.score(data, rates))
    if multilabel:
        assert (p >= 1e-8).all()
        assert (p <= 1 - 1e-8).all()
        np.testing.assert_array_equal(est.predict(data), p > 0.5)
    else:
        np.testing.assert_allclose(p.sum(axis=1), 1)
        assert set(est.predict(data)) <= set(LABELS)


@pytest.mark.parametrize("method", METHODS)
def test_permuting_labels_permutes_probabilities(method):
    """All methods treat labels alike."""
    data, rates = annotations()
    order = np.array([2, 0, 3, 1])
    with_none = np.r_[order, 4]
    place = np.argsort(with_none)
    pairs = data.pair_probs.copy()
    pairs[..., :2] = place[pairs[..., :2].astype(int)]
    moved = Annotations(
        tuple(np.array(LABELS)[order]),
        votes=data.votes[:, order],
        first_step_logits=data.first_step_logits[:, with_none],
        step_probs=[s[:, with_none] for s in data.step_probs],
        unary_logits=data.unary_logits[:, with_none],
        pair_probs=pairs,
        hidden=data.hidden,
        multilabel=True,
    )
    a = LabelDistributionEstimator(method, C=0.1).fit(data, rates).predict_proba(data)
    b = LabelDistributionEstimator(method, C=0.1).fit(moved, rates[:, order])
    np.testing.assert_allclose(b.predict_proba(moved), a[:, order], atol=1e-3)


def test_zero_shot_methods_need_no_y():
    """fit without y sets classes only; learning methods say what they miss."""
    data, _ = annotations()
    for method in ("hard", "compare_to_none", "max", "unary", "binary"):
        assert LabelDistributionEstimator(method).fit(data).predict_proba(data).shape == (60, 4)
    for params in ({"method": "probe"}, {"method": "base_rate"}, {"calibrate": "platt"}):
        with pytest.raises(ValueError, match="learns from y"):
            LabelDistributionEstimator(**params).fit(data)


@pytest.mark.parametrize("method", ["hard", "compare_to_none", "max", "unary", "binary", "probe"])
@pytest.mark.parametrize("calibrate", ["platt", "per_label_platt"])
def test_platt_scaling_improves_the_nll_of_fresh_texts(method, calibrate):
    """Fitted on annotator rates, Platt scaling does not hurt and mostly helps."""
    data, rates = annotations(n=400)
    train, test = np.arange(200), np.arange(200, 400)
    params = {"C": 0.1}
    raw = LabelDistributionEstimator(method, **params).fit(data[train], rates[train])
    cal = LabelDistributionEstimator(method, calibrate=calibrate, **params)
    cal.fit(data[train], rates[train])
    assert cal.score(data[test], rates[test]) > raw.score(data[test], rates[test]) - 0.05
    base = LabelDistributionEstimator("base_rate").fit(data[train], rates[train])
    assert cal.score(data[test], rates[test]) > base.score(data[test], rates[test])


def test_hard_output_scores_worst_in_nll():
    """The ordering of the paper on data made to its description: soft readings beat hard."""
    data, rates = annotations(n=200)
    score = {m: LabelDistributionEstimator(m).fit(data).score(data, rates) for m in
             ("hard", "compare_to_none", "unary", "binary")}  # fmt: skip
    assert max(score, key=score.get) != "hard"
    assert score["hard"] < 3 * score["unary"]


def test_probe_learns_rates_and_beats_the_base_rate():
    """Soft targets: the probe approaches the rates themselves."""
    data, rates = annotations(n=600)
    est = LabelDistributionEstimator("probe").fit(data[:400], rates[:400])
    test = data[400:]
    assert alignment_l1(rates[400:], est.predict_proba(test)) < 0.2
    matrix = LabelDistributionEstimator("probe").fit(data.hidden[:400], rates[:400])
    np.testing.assert_allclose(matrix.predict_proba(data.hidden[400:]), est.predict_proba(test))


def test_probe_with_fewer_texts_than_features_or_one_sided_labels_is_finite():
    """Tiny and one-sided training sets give finite, moderate probabilities."""
    data, rates = annotations(n=8)
    y = (rates > 0.5).astype(int)
    y[:, 0] = 0
    p = LabelDistributionEstimator("probe").fit(data, y).predict_proba(data)
    assert np.isfinite(p).all()
    assert p[:, 0].max() < 0.5


def test_failed_calls_get_the_base_rate_and_teach_nothing():
    """Rows whose status is not ok are left out of fit and answered by the prior."""
    data, rates = annotations()
    status = np.array(["ok"] * 60, dtype="<U15")
    status[:5] = "transport_error"
    broken = data.first_step_logits.copy()
    broken[:5] = np.nan
    holes = Annotations(LABELS, first_step_logits=broken, status=status, multilabel=True)
    plain = LabelDistributionEstimator("compare_to_none").fit(holes)
    np.testing.assert_allclose(plain.predict_proba(holes)[:5], 0.5)
    cal = LabelDistributionEstimator("compare_to_none", calibrate="per_label_platt")
    p = cal.fit(holes, rates).predict_proba(holes)
    np.testing.assert_allclose(p[:5], np.tile(rates.mean(axis=0), (5, 1)))
    assert np.isfinite(p).all()
    ok_only = clone(cal).fit(holes[5:], rates[5:]).predict_proba(holes[5:])
    np.testing.assert_allclose(p[5:], ok_only)


def test_frames_are_matched_by_label_name():
    """A frame whose columns are in another order is put in the order of the annotations."""
    data, rates = annotations()
    frame = pd.DataFrame(rates, columns=LABELS)[["sadness", "joy", "fear", "anger"]]
    a = LabelDistributionEstimator("base_rate").fit(data, frame)
    np.testing.assert_allclose(a.base_rates_, rates.mean(axis=0))


def test_texts_go_through_the_annotator():
    """With an annotator X may be raw texts."""
    data, rates = annotations()

    class Recorded:
        def annotate(self, texts):
            return data[[int(t) for t in texts]]

    est = LabelDistributionEstimator("unary", annotator=Recorded())
    est.fit(["3", "5"], rates[[3, 5]])
    wanted = LabelDistributionEstimator("unary").fit(data).predict_proba(data[[7]])
    np.testing.assert_allclose(est.predict_proba(["7"]), wanted, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("params", "X", "message"),
    [
        ({"method": "best"}, "data", "method='best'"),
        ({"calibrate": "isotonic"}, "data", "calibrate='isotonic'"),
        ({"scoring": "f1"}, "data", "scoring='f1'"),
        ({"epsilon": 0}, "data", "epsilon=0"),
        ({"method": "max"}, ["a text"], "needs Annotations"),
        ({"method": "unary"}, "votes only", "Annotations.unary_logits, which is missing"),
    ],
)
def test_wrong_use_is_refused_in_fit(params, X, message):
    """Messages say which parameter or which field."""
    data, _ = annotations()
    X = {"data": data, "votes only": Annotations(LABELS, votes=data.votes)}.get(
        X if isinstance(X, str) else None, X
    )
    est = LabelDistributionEstimator(**params)
    with pytest.raises((ValueError, TypeError), match=message):
        est.fit(X).predict_proba(X)


def test_other_labels_than_fitted_are_refused():
    """Annotations about other labels cannot be predicted."""
    data, _ = annotations()
    other, _ = annotations(labels=("a", "b", "c", "d"))
    est = LabelDistributionEstimator().fit(data)
    with pytest.raises(ValueError, match="fitted were"):
        est.predict_proba(other)


@pytest.mark.parametrize(
    "scorer",
    [
        neg_alignment_nll_scorer,
        neg_alignment_l1_scorer,
        neg_jensen_shannon_scorer,
        example_f1_scorer,
    ],
    ids=repr,
)
@pytest.mark.parametrize("k", [2, 4])
def test_scorers_work_in_grid_search_over_annotations(scorer, k):
    """Annotations are cut into folds; two labels are not mistaken for two classes."""
    data, rates = annotations(labels=LABELS[:k])
    search = GridSearchCV(
        LabelDistributionEstimator(),
        {"method": ["hard", "unary"], "calibrate": [None, "platt"]},
        scoring=scorer,
        cv=3,
    ).fit(data, rates)
    assert np.isfinite(search.best_score_)
    assert search.predict(data).shape == (60, k)
    assert len(cross_val_score(LabelDistributionEstimator("probe", C=1), data, rates, cv=2)) == 2


def test_table_always_has_the_base_rate_row_first():
    """The row to compare with cannot be forgotten; tuned sets change the F1 alone."""
    data, rates = annotations()
    p = LabelDistributionEstimator("unary").fit(data).predict_proba(data)
    table = alignment_table(rates, {"unary": p}, base_rates=rates.mean(axis=0), costs={"unary": 4})
    assert list(table) == ["base rate", "unary"]
    assert table["unary"]["nll"] == alignment_nll(rates, p)
    assert table["unary"]["cost"] == 4
    tuned = alignment_table(
        rates, {"unary": p}, base_rates=rates.mean(axis=0), sets={"unary": rates > 0.5}
    )
    assert tuned["unary"]["f1"] == 1
    assert tuned["unary"]["nll"] == table["unary"]["nll"]


def test_display_draws_and_prints_all_methods():
    """One panel per data set and metric; the text has a line per method."""
    pytest.importorskip("matplotlib").use("Agg")
    data, rates = annotations()
    p = LabelDistributionEstimator("max").fit(data).predict_proba(data)
    tables = {
        name: alignment_table(rates, {"max": p}, base_rates=rates.mean(axis=0))
        for name in ("a", "b")
    }
    display = AlignmentDisplay(tables).plot()
    assert display.axes_.shape == (2, 3)
    assert display.to_text().count("base rate") == 2
    with pytest.raises(ValueError, match="known are"):
        display.plot(metrics=("auc",))
    import matplotlib.pyplot as plt

    plt.close(display.figure_)


def test_logits_of_certain_votes_stay_finite_under_calibration():
    """Hard output can be calibrated although its log-odds are ±18."""
    data, rates = annotations(n=200)
    est = LabelDistributionEstimator("hard", calibrate="per_label_platt").fit(data, rates)
    assert np.abs(logit(est.predict_proba(data))).max() < 10


@pytest.mark.parametrize("convert", [sparse.csr_array, sparse.coo_matrix, pd.DataFrame])
def test_form_of_the_target_does_not_matter(convert):
    """Sparse and frame targets teach what the dense one teaches (L08)."""
    data, rates = annotations()
    y = (rates > 0.5).astype(int)
    target = convert(y, columns=LABELS) if convert is pd.DataFrame else convert(y)
    a = LabelDistributionEstimator("unary", calibrate="platt").fit(data, y)
    b = LabelDistributionEstimator("unary", calibrate="platt").fit(data, target)
    np.testing.assert_allclose(a.predict_proba(data), b.predict_proba(data), rtol=0, atol=1e-9)


def test_label_sets_get_advice():
    """A list of sets names MultiLabelBinarizer (L10)."""
    data, _ = annotations(n=3)
    with pytest.raises(ValueError, match="MultiLabelBinarizer"):
        LabelDistributionEstimator("base_rate").fit(data, [{"joy"}, set(), {"fear"}])
    for metric in (alignment_nll, alignment_l1, jensen_shannon, example_f1):
        with pytest.raises(ValueError, match="MultiLabelBinarizer"):
            metric([{"joy"}, set(), {"fear"}], np.full((3, 3), 0.5))


@pytest.mark.parametrize("calibrate", ["batch", "batch_shared"])
def test_batch_calibration_takes_away_what_is_said_of_a_label_whatever_the_text(calibrate):
    """Per-label biases vanish without any y, ranks within a label stay, the shared level too."""
    rng = np.random.default_rng(0)
    signal = rng.normal(size=(60, 3))
    z = signal + np.array([3.0, 0.0, -3.0])
    said = Annotations(
        ["a", "b", "c"], multilabel=True, unary_logits=np.stack([z, 0 * z], axis=-1)
    )
    plain = LabelDistributionEstimator("unary").fit(said).predict_proba(said)
    batch = LabelDistributionEstimator("unary", calibrate=calibrate).fit(said)
    p = batch.predict_proba(said)
    log_odds = np.log(p / (1 - p))
    assert np.allclose(log_odds.mean(axis=0), log_odds.mean(), atol=1e-6)
    level = np.log(plain / (1 - plain)).mean() if calibrate == "batch_shared" else 0.0
    assert log_odds.mean() == pytest.approx(level, abs=1e-6)
    assert (np.argsort(p, axis=0) == np.argsort(plain, axis=0)).all()
    truth = (signal > 0).astype(float)
    assert alignment_nll(truth, p) < alignment_nll(truth, plain)


@pytest.mark.parametrize("method", ["hard", "vote_share", "probe", "base_rate"])
def test_batch_calibration_is_for_soft_zero_shot_methods(method):
    """What learns rates from y, or is never unsure, has no bias to take away."""
    said = Annotations(["a", "b"], multilabel=True, votes=np.eye(2))
    with pytest.raises(ValueError, match="calibrate='batch'"):
        LabelDistributionEstimator(method, calibrate="batch").fit(said, np.eye(2))
