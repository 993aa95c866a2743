"""Evidence, folds, trusts and the guard of the fusion: what each number must be."""

import numpy as np
import pytest
import torch
from _fusion_data import make_rows
from scipy.special import logit, softmax

from sklfusion import FusionClassifier
from sklfusion._logistic import mean_loss, row_losses, smoothed_log_prior
from sklfusion.fusion._fit import beats
from sklfusion.fusion._folds import assign_folds
from sklfusion.fusion._problem import Problem
from sklfusion.fusion._trust import fit_trust
from sklfusion.fusion._votes import fit_evidence
from sklfusion.multilabel._cut import choose_cut


def problem_of(Y, family="softmax", folds=5):
    """Targets of weight 1, dealt into folds in their order."""
    return Problem(Y, np.ones(len(Y)), np.arange(len(Y)) % folds, family)


def evidence_of(votes, y, answered=None, k=3):
    """Evidence of votes about classes, both given as numbers."""
    scores = np.log(np.eye(k)[votes] * 0.98 + 0.01)
    answered = np.ones(len(y), bool) if answered is None else answered
    return fit_evidence(scores, answered, np.arange(k), problem_of(np.eye(k)[y]))


def test_the_evidence_of_a_training_row_is_that_of_all_other_rows():
    """Left-one-out: what the table says of a row is what it says where that row has no answer."""
    rng = np.random.default_rng(0)
    y = rng.integers(3, size=24)
    votes = np.where(rng.random(24) < 0.7, y, rng.integers(3, size=24))
    whole = evidence_of(votes, y)
    for row in range(24):
        without = evidence_of(votes, y, np.arange(24) != row)
        np.testing.assert_allclose(whole.oof_evidence[row], without.coef[votes[row]])
        assert np.abs(without.oof_evidence[row]).max() == 0


def test_the_table_of_votes_is_counts_drawn_towards_the_pooled_accuracy():
    """Votes for class 0: 3 right, 1 is class 1. Pooled: (7 + .8 * 20) / (9 + 20) right.

    With 16 rows' worth of that: (3 + 16 * .793) / 20 for class 0; errors by the frequencies.
    """
    y, votes = np.array([0, 0, 0, 1, 1, 1, 2, 2, 0]), np.array([0, 0, 0, 0, 1, 1, 2, 2, 2])
    pooled = 23 / 29
    prior = np.array([5, 4, 3]) / 12  # 4, 3 and 2 rows, and one more of each
    errors = 16 * (1 - pooled) * prior[1:] / prior[1:].sum()
    wanted = np.array([3 + 16 * pooled, 1 + errors[0], errors[1]]) / 20
    np.testing.assert_allclose(evidence_of(votes, y).coef[0], np.log(wanted / prior))


@pytest.mark.parametrize("family", ["softmax", "sigmoid"])
def test_votes_that_say_nothing_do_not_pass_for_evidence(family):
    """On the rows they were learnt from, random votes explain no more than the frequencies do."""
    rng = np.random.default_rng(1)
    gains = []
    for _ in range(10):
        if family == "softmax":
            Y, votes = np.eye(4)[rng.integers(4, size=60)], np.eye(4)[rng.integers(4, size=60)]
            scores = np.log(votes * 0.96 + 0.01)
        else:
            Y, votes = (rng.random((2, 60, 4)) < 0.3).astype(float)
            scores = np.where(votes > 0, 4.0, -4.0)
        ones, prior = np.ones(60), smoothed_log_prior(Y, np.ones(60), family)
        found = fit_evidence(scores, ones > 0, np.arange(4), problem_of(Y, family))
        held_out, own = (
            mean_loss(e, Y, ones, prior, family)
            for e in (found.oof_evidence, votes @ found.coef + found.bias)
        )
        nothing = mean_loss(np.zeros_like(Y), Y, ones, prior, family)
        gains.append((nothing - held_out, nothing - own))
    held_out, own = np.mean(gains, axis=0)
    assert held_out < 0 < own


def test_silence_about_a_label_is_a_rate_of_its_own():
    """Of 60 rows 20 have a vote, 18 of them the label; of the 40 silent ones 4 do.

    The log-odds of both lie between the counted rates and what they are drawn towards.
    """
    Z = np.r_[np.ones(20), np.zeros(40)][:, None]
    Y = np.r_[np.ones(18), np.zeros(2), np.ones(4), np.zeros(36)][:, None]
    ones, prior = np.ones(60), smoothed_log_prior(Y, np.ones(60), "sigmoid")
    scores = np.where(Z > 0, 4.0, -4.0)
    found = fit_evidence(scores, ones > 0, np.arange(1), problem_of(Y, "sigmoid"))
    said, silent = prior + found.bias + found.coef[0], prior + found.bias
    assert logit(0.8) < said[0] < logit(0.9)
    assert logit(0.1) - 0.3 < silent[0] < prior[0]


def test_a_row_without_an_answer_adds_nothing_of_that_llm():
    """Uniform scores are no vote for the first class."""
    X, y = make_rows(150, seed=3)
    X[::5, 20:] = 1 / 3
    parts = FusionClassifier(random_state=0).fit(X, y).contributions(X)
    assert np.abs(parts["llm"][::5]).max() == 0
    assert np.abs(parts["llm"][1::5]).min() > 0


# ------------------------------------------------------------------------------ scales of scores


def soft_rows(n=160, k=3, seed=0):
    """An embedding, soft probabilities of an LLM that is seldom sure, and classes."""
    rng = np.random.default_rng(seed)
    y = rng.integers(k, size=n)
    E = rng.normal(size=(n, 6)) + 0.4 * np.eye(k, 6)[y]
    P = softmax(rng.normal(size=(n, k)) + 1.5 * np.eye(k)[y], axis=1)
    return E, P, y


def test_probabilities_and_their_logarithms_are_one_source():
    """The same fused answers, whichever of the two the columns hold."""
    E, P, y = soft_rows()
    columns = {"score_columns": slice(6, 9), "random_state": 0}
    one = FusionClassifier(**columns).fit(np.hstack([E, P]), y)
    two = FusionClassifier(**columns).fit(np.hstack([E, np.log(P)]), y)
    np.testing.assert_allclose(
        one.predict_proba(np.hstack([E, P])), two.predict_proba(np.hstack([E, np.log(P)])),
        atol=1e-6,
    )  # fmt: skip


def test_soft_scores_are_weighed_by_how_sure_they_are():
    """A vote of .99 moves the log-odds several times as far as one of .5 against .3."""
    E, P, y = soft_rows(600)
    clf = FusionClassifier(score_columns=slice(6, 9), random_state=0)
    clf.fit(np.hstack([E, P]), y)
    rows = np.hstack([np.zeros((2, 6)), [[0.98, 0.01, 0.01], [0.5, 0.25, 0.25]]])
    said = clf.contributions(rows)["llm"]
    sure, unsure = said[:, 0] - said[:, 1]
    assert sure > 3 * unsure > 0


def test_label_probabilities_their_logarithms_and_log_odds_are_one_source():
    """For label indicators too."""
    rng = np.random.default_rng(0)
    Y = (rng.random((200, 3)) < 0.4).astype(int)
    E, P = rng.normal(size=(200, 5)), 1 / (1 + np.exp(-(rng.normal(size=(200, 3)) + 3 * Y - 1.5)))
    answers = []
    for scores in (P, np.log(P), logit(P)):
        X = np.hstack([E, scores])
        clf = FusionClassifier(score_columns=slice(5, 8), random_state=0).fit(X, Y)
        answers.append(clf.predict_proba(X))
    np.testing.assert_allclose(answers[0], answers[1], atol=1e-5)
    np.testing.assert_allclose(answers[0], answers[2], atol=1e-5)


# ------------------------------------------------------------------------------ folds and trusts


def test_every_fold_has_its_part_of_every_class():
    """Five folds of 12 and 25 and 38 distinct rows: none has two more of a class than another."""
    y = np.repeat([0, 1, 2], [12, 25, 38])
    rng = np.random.RandomState(0)
    X = rng.normal(size=(75, 4))
    folds = assign_folds(X, np.eye(3)[y], "softmax", 5, rng)
    table = np.array([np.bincount(folds[y == k], minlength=5) for k in range(3)])
    assert np.ptp(table, axis=1).max() <= 1
    assert np.ptp(table.sum(axis=0)) <= 1


def test_label_rows_are_shared_out_by_their_rarest_label():
    """Ten rows of a rare label, all with the common one as well: two in each of five folds."""
    Y = np.zeros((60, 2))
    Y[:40, 0] = Y[:10, 1] = 1
    rng = np.random.RandomState(1)
    folds = assign_folds(rng.normal(size=(60, 3)), Y, "sigmoid", 5, rng)
    assert np.bincount(folds[:10], minlength=5).tolist() == [2] * 5


def test_no_source_is_ever_trusted_less_than_not_at_all():
    """Evidence that is worse than chance is left out; it is not turned round."""
    rng = np.random.default_rng(0)
    Y = np.eye(2)[np.arange(200) // 5 % 2]
    good = 1.5 * (2 * Y - 1) + rng.normal(size=(200, 2))
    against = -0.8 * (2 * Y - 1) + rng.normal(size=(200, 2))
    found = fit_trust(np.stack([good, against]), [False, False], problem_of(Y))
    assert found.weights[0] > 0.5
    assert found.weights[1] == 0


def test_trusts_of_a_fitted_fusion_are_not_negative():
    """Not with random votes either, which are against their own rows once these are left out."""
    for seed in range(4):
        X, y = make_rows(160, accuracy=0.0, signal=0.8, seed=seed, n_llm=2)
        clf = FusionClassifier(random_state=0).fit(X, y)
        assert min(clf.source_weights_.values()) >= 0


def test_trusts_stay_near_their_start_with_few_rows_and_leave_it_with_many():
    """Evidence three times too strong deserves a third of the trust; six rows cannot tell."""
    rng = np.random.default_rng(0)

    def trust(n):
        p = rng.uniform(0.1, 0.9, size=n)
        Y = np.eye(2)[(rng.random(n) < p).astype(int)]
        evidence = 3 * np.log(np.column_stack([1 - p, p]))
        return fit_trust(evidence[None], [False], problem_of(Y)).weights[0]

    assert abs(trust(4000) - 1 / 3) < 0.05
    assert trust(6) > 0.55


def test_held_out_logits_of_the_trusts_come_from_fits_without_the_row():
    """A source that knows its row alone would be trusted for it in a fit that saw the row.

    Noise that agrees with the truth in one fold only gets no trust there from the others.
    """
    Y = np.eye(2)[np.arange(40) // 5 % 2]
    lucky = np.zeros((40, 2))
    lucky[::5] = 20 * (2 * Y[::5] - 1)
    lucky[1::5] = -20 * (2 * Y[1::5] - 1)
    found = fit_trust(lucky[None], [False], problem_of(Y))
    right = (found.oof_logits * (2 * Y - 1)).sum(axis=1)
    assert np.abs(right[::5]).max() < 0.2  # the fold of luck: the others say "never"
    assert right[1::5].max() < -1  # the fold of bad luck: the others say "trust it"


# ------------------------------------------------------------------------ what may replace it


def test_better_means_by_more_than_so_many_paired_standard_errors():
    """Gains 1, -1, 1, 1: mean .5, standard error sqrt(.75 / 4) = .433."""
    holder, challenger = np.full(4, 2.0), np.array([1.0, 3.0, 1.0, 1.0])
    for weight in (1.0, 7.0):  # the unit of the weights does not matter
        weights = np.full(4, weight)
        assert beats(challenger, holder, weights, 1.0)
        assert beats(challenger, holder, weights, 1.15)
        assert not beats(challenger, holder, weights, 1.16)
        assert not beats(holder, challenger, weights, 0.0)
    assert not beats(holder, holder, np.ones(4), 1.0)


def test_a_residual_that_only_adds_noise_does_not_beat_the_anchor():
    """Where the sources say all there is to say, the MLP is tried and left out."""
    X, y = make_rows(300, accuracy=0.9, signal=0.5)
    clf = FusionClassifier(random_state=0, residual=True, max_epochs=5).fit(X, y)
    assert "anchored+residual" in clf.oof_scores_
    assert clf.chosen_ == "anchored"


def test_the_loss_of_a_row_is_the_sum_over_labels():
    """-ln of the probability of what is true."""
    Y = np.array([[1.0, 0.0], [0.0, 1.0]])
    z = logit(np.array([[0.8, 0.3], [0.4, 0.9]]))
    wanted = [-np.log(0.8) - np.log(0.7), -np.log(0.6) - np.log(0.9)]
    np.testing.assert_allclose(row_losses(z, Y, "sigmoid"), wanted)
    logs = np.log([[0.8, 0.2], [0.4, 0.6]])
    np.testing.assert_allclose(row_losses(logs, Y, "softmax"), -np.log([0.8, 0.6]))


def test_frequencies_are_smoothed_by_one_row():
    """Ten rows, none of class 2: (8, 2, 0) + 1 of 13; one of two values half a row each."""
    Y = np.eye(3)[[0] * 8 + [1] * 2]
    np.testing.assert_allclose(
        np.exp(smoothed_log_prior(Y, np.ones(10), "softmax")), np.array([9, 3, 1]) / 13
    )
    np.testing.assert_allclose(
        smoothed_log_prior(Y, np.ones(10), "sigmoid"), logit(np.array([8.5, 2.5, 0.5]) / 11)
    )


def test_the_cut_moves_only_where_the_rows_ask_for_it():
    """True labels at .35, others at .1: .35 is the right cut nearest to .5.

    Where no row is empty, .5 and the likeliest label of empty sets do as well.
    """
    rng = np.random.default_rng(0)
    Y = np.eye(3)[rng.integers(3, size=90)]
    proba = np.where(Y == 1, 0.35, 0.1)
    assert choose_cut(proba, Y, np.ones(90)) == (0.5, True)
    some = np.r_[Y, np.zeros((10, 3))]
    assert choose_cut(np.r_[proba, np.full((10, 3), 0.1)], some, np.ones(100)) == (0.35, False)
    assert choose_cut(np.where(Y == 1, 0.8, 0.2), Y, np.ones(90))[0] == 0.5


def test_without_the_guard_the_residual_stays_whatever_it_adds():
    """The probabilities are then those of the net with the MLP, and nothing warns."""
    X, y = make_rows(90)
    params = {"random_state": 0, "residual": True, "max_epochs": 5}
    guarded = FusionClassifier(**params).fit(X, y)
    free = FusionClassifier(guard=False, **params).fit(X, y)
    assert (guarded.chosen_, free.chosen_) == ("anchored", "anchored+residual")
    assert free.oof_scores_ == guarded.oof_scores_
    assert guarded.n_iter_ == 0 < free.n_iter_
    parts = free.contributions(X)
    assert np.abs(parts["residual"]).max() > 0
    np.testing.assert_allclose(sum(parts.values()), free.decision_function(X), atol=1e-9)


def test_settings_of_the_net_beyond_the_parameters():
    """net_params reaches the non-linearity and the weight decay, and both change the fit."""
    X, y = make_rows(90)
    base = {"fusion": "concat", "random_state": 0, "max_epochs": 5}
    plain = FusionClassifier(**base).fit(X, y).predict_proba(X)
    for told in ({"module__activation": "gelu"}, {"optimizer__weight_decay": 5.0}):
        clf = FusionClassifier(net_params=told, **base).fit(X, y)
        assert np.abs(clf.predict_proba(X) - plain).max() > 1e-4, told
    gelu = FusionClassifier(net_params={"module__activation": "gelu"}, **base).fit(X, y)
    assert any(isinstance(m, torch.nn.GELU) for m in gelu.net_.module_.modules())
    with pytest.raises(ValueError, match=r"activation='sine'; it must be one of .*'gelu'"):
        FusionClassifier(net_params={"module__activation": "sine"}, **base).fit(X, y)
