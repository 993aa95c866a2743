"""What a cascade makes of a budget: spent where asking may pay, kept where it clearly does not."""

import numpy as np
import pytest
from test_cascade import cascade, corpus, recorded
from test_cost_curve import TEXTS, TRUTH
from test_cost_curve import cascade as counted

from sklfusion.cascade import _spend


def curve_of(gains, n_groups=20, noise=None):
    """A curve of 21 shares from the gain of each step, and its values without each group."""
    score = 0.5 + np.concatenate([[0.0], np.cumsum(gains)])
    noise = np.zeros((n_groups, 21)) if noise is None else noise
    return {"share": np.round(np.linspace(0, 1, 21), 2), "score": score}, score + noise


def one_row(step, size=0.01, n_groups=20):
    """Values without a group in which one row of a step is: they differ from there on."""
    noise = np.zeros((n_groups, 21))
    noise[0, step + 1 :] = -size
    return noise


def test_a_share_is_spent_unless_it_is_clearly_worse():
    """One row lost at the tenth step: within its own error it is spent on, without it is not."""
    gains = np.r_[np.full(9, 0.01), -0.005, np.full(10, 0.0)]
    curve, left_out = curve_of(gains, noise=one_row(9))
    assert _spend.share_to_spend(curve, left_out, 0.5) == pytest.approx(0.5)
    curve, left_out = curve_of(gains)
    assert _spend.share_to_spend(curve, left_out, 0.5) == pytest.approx(0.45)


def test_where_further_texts_change_nothing_they_are_not_asked_about():
    """Level in every group from the eighth share on."""
    curve, left_out = curve_of(np.r_[np.full(8, 0.01), np.zeros(12)])
    assert _spend.share_to_spend(curve, left_out, 1.0) == pytest.approx(0.4)
    assert _spend.share_to_spend(curve, left_out, 0.3) == pytest.approx(0.3)
    curve, left_out = curve_of(np.zeros(20))
    assert _spend.share_to_spend(curve, left_out, 0.5) == 0


def test_the_error_is_that_of_the_jackknife():
    """Of a mean it is the standard error of the mean."""
    values = np.random.default_rng(0).normal(size=20)
    without = (values.sum() - values) / 19
    assert _spend._errors(without[:, None])[0] == pytest.approx(values.std(ddof=1) / np.sqrt(20))


def test_a_budget_is_spent_where_the_best_point_would_stop_early():
    """Over draws: more texts than the best point asks about, within the budget, no score lost."""
    found = []
    for seed in range(4):
        train, test = corpus(100, seed=seed), corpus(300, seed=50 + seed)
        llm = recorded(train, test, right=0.85, seed=seed)
        clf = cascade(llm, budget=0.4).fit(*train)
        found.append([clf.asks(test[0]).mean(), clf.score(*test)])
        best = _spend.best_share(clf.cost_curve_, 0.0, 0.4)
        (place,) = np.flatnonzero(clf.cost_curve_["share"] == best)
        clf.threshold_ = clf.cost_curve_["threshold"][place]
        found[-1] += [clf.asks(test[0]).mean(), clf.score(*test)]
    asked, score, early, early_score = np.mean(found, axis=0)
    assert np.max(found, axis=0)[0] <= 0.4
    assert asked > early + 0.03
    assert score > early_score - 0.005


def test_new_texts_of_less_doubt_do_not_leave_a_budget_unspent():
    """The first stage has learnt from more rows than in the folds, and is surer of new texts."""
    train, test = corpus(200), corpus(400, seed=9)
    clf = cascade(recorded(train, test), budget=0.2).fit(*train)
    assert clf.share_ == pytest.approx(0.2)
    assert clf.asks(test[0]).mean() == pytest.approx(0.2, abs=0.01)
    loose = cascade(recorded(train, test), budget=0.2, strict=False).fit(*train)
    assert loose.threshold_ > clf.threshold_


def test_an_llm_that_is_always_wrong_keeps_the_budget():
    wrong = ["food" if label == "sport" else "sport" for label in TRUTH]
    clf = counted(wrong, budget=0.5)
    assert clf.share_ == 0
    assert not clf.asks(TEXTS).any()


def test_a_cost_is_weighed_against_what_a_share_adds():
    """With ``cost`` the best share after it is taken, whatever the budget would allow."""
    assert counted(budget=0.8, cost=0.9).share_ == pytest.approx(0.4)
    assert counted(budget=0.8, cost=1.1).share_ == 0


@pytest.mark.parametrize("scoring", ["neg_log_loss", "f1_macro", "roc_auc"])
def test_any_scorer_and_a_class_of_one_row(scoring):
    """No group leaves a class out, so that scorers that need every class have it."""
    X, y = corpus(60)
    if scoring != "roc_auc":  # which is of two classes
        y = y.astype(object)
        y[0] = "weather"
    labels = sorted(set(y))
    rng = np.random.default_rng(0)
    first = rng.dirichlet(np.ones(len(labels)), size=60)
    fused = 0.2 * first + 0.8 * np.eye(len(labels))[np.searchsorted(labels, y.astype(str))]
    rows = (first, fused, 1 - first.max(axis=1), y, np.array(labels, dtype=object), X)
    points = np.array([0.0, 0.5, 1.0])
    scores = _spend.scores_left_out(*rows, multilabel=False, scoring=scoring, points=points)
    assert scores.shape == (20, 3)
    assert np.isfinite(scores).all()
    assert (scores[:, 2] > scores[:, 0]).all()


def test_repeated_texts_are_left_out_together():
    """Ten texts, each six times: ten groups, not sixty rows' worth of evidence."""
    texts = [f"text {i % 10}" for i in range(60)]
    y = np.array(["a", "b"])[np.arange(60) % 2]
    group = _spend._groups(texts, y, False)
    assert len(set(group)) == 10
    assert all(
        len({g for g, t in zip(group, texts, strict=True) if t == one}) == 1 for one in texts
    )
    several = _spend._groups(texts, np.eye(2, dtype=int)[np.arange(60) % 2], True)
    assert len(set(several)) == 10
