"""Lines that fusion must hold: no leak, no loss to a part that knows nothing less."""

import numpy as np
import pytest
from _fusion_data import make_labels, make_rows, short
from scipy.special import softmax
from sklearn.linear_model import LogisticRegressionCV
from sklearn.model_selection import cross_val_score

from sklfusion import FusionClassifier
from sklfusion.fusion import _probe, _votes
from sklfusion.fusion._inputs import Inputs
from sklfusion.fusion._problem import Problem
from sklfusion.fusion._trust import fit_trust, trust_prior

TRAIN = 300


@pytest.fixture(scope="module")
def rows():
    X, y = make_rows(4000, accuracy=0.8, signal=0.45, d=30)
    return X, y


def shuffled(block, seed=0):
    """The same rows in another order."""
    return np.random.default_rng(seed).permutation(block)


def fit_score(X, y, **params):
    """Accuracy on the rows after TRAIN."""
    clf = FusionClassifier(random_state=0, score_columns=slice(30, 33), **params)
    return clf.fit(X[:TRAIN], y[:TRAIN]).score(X[TRAIN:], y[TRAIN:])


def test_shuffled_votes_cost_less_than_a_point(rows):
    """With votes of other rows the fusion is as good as the encoder alone."""
    X, y = rows
    grid = LogisticRegressionCV(
        Cs=np.logspace(-3, 2, 6),
        scoring="neg_log_loss",
        l1_ratios=(0,),
        use_legacy_attributes=False,
    )
    encoder = grid.fit(X[:TRAIN, :30], y[:TRAIN])
    alone = (encoder.predict(X[TRAIN:, :30]) == y[TRAIN:]).mean()
    fused = fit_score(np.hstack([X[:, :30], shuffled(X[:, 30:])]), y)
    assert fused >= alone - 0.01


def test_shuffled_embeddings_cost_less_than_a_point(rows):
    """With embeddings of other rows the fusion is as good as the LLM alone."""
    X, y = rows
    alone = (X[TRAIN:, 30:].argmax(axis=1) == y[TRAIN:]).mean()
    fused = fit_score(np.hstack([shuffled(X[:, :30]), X[:, 30:]]), y)
    assert fused >= alone - 0.01


@pytest.mark.parametrize("fusion", ["anchored", "concat"])
def test_random_labels_stay_at_chance(fusion):
    """Cross-validated accuracy on random labels is chance: nothing leaks."""
    X, _ = make_rows(600, d=30)
    y = np.random.default_rng(5).integers(3, size=600)
    clf = FusionClassifier(**short(fusion, max_epochs=20))
    scores = cross_val_score(clf, X, y, cv=5)
    assert abs(scores.mean() - 1 / 3) < 3 * np.sqrt(2 / 9 / 600)


@pytest.mark.parametrize("n", [12, 60, 300])
def test_votes_equal_to_gold_give_everything(n):
    """An LLM that is always right is always followed."""
    X, y = make_rows(1000, accuracy=1.1, signal=0.3)
    clf = FusionClassifier(random_state=0).fit(X[:n], y[:n])
    assert clf.score(X[n:], y[n:]) == 1.0


def test_multilabel_votes_equal_to_gold_give_everything():
    """The same for label sets."""
    X, Y = make_labels(600, accuracy=1.1, signal=0.3)
    clf = FusionClassifier(random_state=0).fit(X[:200], Y[:200])
    assert clf.score(X[200:], Y[200:]) == 1.0


def test_always_wrong_votes_are_turned_round():
    """A binary LLM that is wrong nine times in ten is as useful as its opposite."""
    X, y = make_rows(800, k=2, accuracy=0.8, signal=0.0)
    X[:, 20:] = X[:, :-3:-1]
    params = {"score_columns": [20, 21], "score_classes": [0, 1], "random_state": 0}
    clf = FusionClassifier(**params).fit(X[:400], y[:400])
    assert clf.score(X[400:], y[400:]) > 0.85


def expected_calibration_error(P, y):
    """Equal-mass bins of the likeliest class."""
    sure, right = P.max(axis=1), P.argmax(axis=1) == y
    bins = np.array_split(np.argsort(sure), 10)
    return sum(len(b) * abs(sure[b].mean() - right[b].mean()) for b in bins) / len(y)


def test_fused_probabilities_are_calibrated(rows):
    """The calibration error of the fusion is not above that of the encoder's own probe."""
    X, y = rows
    clf = FusionClassifier(random_state=0).fit(X[:TRAIN], y[:TRAIN])
    encoder = LogisticRegressionCV(
        Cs=np.logspace(-3, 2, 6),
        scoring="neg_log_loss",
        l1_ratios=(0,),
        use_legacy_attributes=False,
    ).fit(X[:TRAIN, :30], y[:TRAIN])
    fused = expected_calibration_error(clf.predict_proba(X[TRAIN:]), y[TRAIN:])
    alone = expected_calibration_error(encoder.predict_proba(X[TRAIN:, :30]), y[TRAIN:])
    assert fused <= alone + 0.01
    assert fused < 0.05


def test_one_good_llm_among_bad_ones_is_found():
    """With three LLMs, the trust goes to the one that knows."""
    X, y = make_rows(600, n_llm=3, accuracy=0.85, signal=0.1)
    bad = np.random.default_rng(1).permutation(600)
    X[:, 20:26] = X[bad, 20:26]
    clf = FusionClassifier(random_state=0, residual=False).fit(X[:300], y[:300])
    assert list(clf.source_weights_) == ["encoder", "llm_1", "llm_2", "llm_3"]
    effect = {name: np.abs(part).mean() for name, part in clf.contributions(X).items()}
    assert effect["llm_3"] > 3 * max(effect["llm_1"], effect["llm_2"])
    assert clf.score(X[300:], y[300:]) > 0.8


def test_the_residual_stays_where_only_it_can_see():
    """A class that is a product of embedding columns is beyond any sum of evidence."""
    rng = np.random.default_rng(0)
    E = rng.normal(size=(1100, 3))
    y = (E[:, 0] * E[:, 1] > 0).astype(int)
    votes = np.eye(2)[np.where(rng.random(1100) < 0.6, y, 1 - y)]
    params = {"random_state": 0, "lr": 1e-2, "max_epochs": 40}
    X = np.hstack([E, votes])
    clf = FusionClassifier(residual=True, **params).fit(X[:600], y[:600])
    assert clf.chosen_ == "anchored+residual"
    assert clf.score(X[600:], y[600:]) > 0.8
    anchored = FusionClassifier(random_state=0).fit(X[:600], y[:600])
    assert anchored.score(X[600:], y[600:]) < 0.7
    assert clf.oof_scores_["anchored+residual"] < clf.oof_scores_["anchored"]


def test_the_residual_goes_where_it_has_nothing_to_add():
    """Where the sources say all there is, the MLP's gain is noise and is left out."""
    X, y = make_rows(900, accuracy=0.8, signal=0.4)
    clf = FusionClassifier(residual=True, random_state=0, max_epochs=20).fit(X[:300], y[:300])
    assert clf.chosen_ == "anchored"
    assert "residual" not in clf.contributions(X)


@pytest.mark.parametrize(
    ("accuracy", "signal", "cost"),
    [(0.95, 0.15, 0.005), (0.1, 0.9, 0.03)],
    ids=["strong LLM, weak encoder", "useless LLM, good encoder"],
)
def test_with_twenty_rows_the_better_part_is_nearly_kept(accuracy, signal, cost):
    """Mean of draws; an LLM is believed at first, so a useless one costs more."""
    X, y = make_rows(4000, accuracy=accuracy, signal=signal, d=30)
    grid = {"Cs": np.logspace(-3, 2, 6), "l1_ratios": (0,), "use_legacy_attributes": False}
    margins = []
    for draw in range(6):
        train = np.random.default_rng(draw).permutation(2000)[:20]
        clf = FusionClassifier(random_state=draw).fit(X[train], y[train])
        encoder = LogisticRegressionCV(cv=3, scoring="neg_log_loss", **grid)
        encoder.fit(X[train, :30], y[train])
        llm = (X[2000:, 30:].argmax(axis=1) == y[2000:]).mean()
        alone = (encoder.predict(X[2000:, :30]) == y[2000:]).mean()
        margins.append(clf.score(X[2000:], y[2000:]) - max(llm, alone))
    assert np.mean(margins) > -cost


@pytest.mark.parametrize(("n_encoder", "n_llm"), [(1, 1), (1, 4), (2, 1), (1, 0), (0, 3)])
def test_trusts_start_at_the_llm_at_its_word_and_half_an_encoder(n_encoder, n_llm):
    """Sources of one kind divide their trust; an encoder without an LLM has it all."""
    means, precisions = trust_prior([True] * n_encoder + [False] * n_llm)
    assert means[:n_encoder].sum() == pytest.approx((0.5 if n_llm else 1.0) * (n_encoder > 0))
    assert (means[n_encoder:] ** 2).sum() == pytest.approx(float(n_llm > 0))
    assert (precisions > 0).all()


def test_no_trust_is_negative():
    """A source that speaks against the truth is silenced, not turned round."""
    rng = np.random.default_rng(0)
    Y = np.eye(2)[rng.integers(2, size=200)]
    problem = Problem(Y, np.ones(200), np.arange(200) % 5, "softmax")
    sources = np.stack([2 * Y - 1, 1 - 2 * Y])
    trust = fit_trust(sources, [True, False], problem)
    assert trust.weights[0] > 1
    assert trust.weights[1] == 0


def test_trust_moves_from_its_start_as_rows_come_in():
    """With few rows of an LLM that is always wrong its trust stays near 1, with many it goes."""

    def found(n):
        Y = np.eye(2)[np.random.default_rng(1).integers(2, size=n)]
        problem = Problem(Y, np.ones(n), np.arange(n) % 5, "softmax")
        return fit_trust(np.stack([0.5 - Y]), [False], problem).weights[0]

    assert 1 > found(4) > found(10) > 0.2
    assert found(2000) == 0


def test_two_wrong_votes_do_not_silence_a_label():
    """The LLM is right elsewhere; a label's only two votes that miss say little about it."""
    rng = np.random.default_rng(0)
    Y = (rng.random((24, 8)) < 0.25).astype(float)
    Z = Y.copy()
    Y[:, 0] = Z[:, 0] = 0
    Z[:2, 0] = 1
    problem = Problem(Y, np.ones(24), np.arange(24) % 5, "sigmoid")
    found = _votes.fit_evidence(6 * Z - 3, np.ones(24, bool), np.arange(8), problem)
    voted = problem.log_prior + found.bias + np.diag(found.coef)
    assert voted[0] > 0
    assert (voted[1:] > 0).all()


def test_few_rows_get_no_mixing_matrix():
    """One label's vote tells another label: used from 100 rows on, mostly noise below that."""
    rng = np.random.default_rng(0)
    first = (rng.random(300) < 0.5).astype(int)
    Y = np.column_stack([first, np.where(rng.random(300) < 0.95, first, 1 - first)])
    votes = np.column_stack(
        [np.where(rng.random(300) < 0.95, first, 1 - first), rng.random(300) < 0.5]
    )
    X = np.hstack([rng.normal(size=(300, 5)), votes])
    params = {"random_state": 0, "score_columns": [5, 6]}
    few = FusionClassifier(**params).fit(X[:90], Y[:90])
    many = FusionClassifier(**params).fit(X[:200], Y[:200])
    assert "mix" not in few.contributions(X)
    assert "mix" in many.contributions(X)


def test_the_probe_averages_over_penalties(monkeypatch):
    """Each penalty counts by its held-out likelihood, tempered, and by how usual it is."""
    rng = np.random.default_rng(3)
    A, Y = rng.normal(size=(24, 40)) / np.sqrt(40), np.eye(3)[np.arange(24) % 3]
    problem = Problem(Y, np.ones(24), np.arange(24) // 3 % 4, "softmax")

    def fit(penalties):
        monkeypatch.setattr(_probe, "PENALTIES", penalties)
        return _probe.fit_probe(A, problem)

    penalties = _probe.PENALTIES
    whole, single = fit(penalties), [fit((p,)) for p in penalties]
    losses = np.array([one.oof_loss for one in single])
    usual = -0.5 * np.log10(np.array(penalties) / 0.1) ** 2
    shares = softmax(-0.5 * 24 * losses + usual)
    assert whole.penalty == penalties[losses.argmin()]
    assert shares.max() < 0.5
    coef = np.tensordot(shares, [one.coef for one in single], 1)
    np.testing.assert_allclose(whole.coef, coef, atol=1e-2 * np.abs(coef).max())


def test_embedding_columns_share_one_scale_within_a_band():
    """A column that hardly varies is not blown up, one in other units does not rule the rest."""
    spread = np.r_[np.linspace(0.8, 1.2, 8), 1e-4, 1e4, 0.0]
    X = np.random.default_rng(0).normal(size=(500, 11)) * spread
    inputs = Inputs("softmax", False, np.arange(11), [], []).fit(X)
    scaled = inputs.features(X)
    seen = scaled.std(axis=0) / np.median(scaled.std(axis=0)[:8])
    np.testing.assert_allclose(seen[:8], X.std(axis=0)[:8] / np.median(X.std(axis=0)[:8]))
    assert 0.4 < seen[8] < 0.6
    assert 1.7 < seen[9] < 2.3
    assert seen[10] == 0
    np.testing.assert_allclose((scaled**2).sum(axis=1).mean(), 1.0)


def test_one_column_in_other_units_leaves_the_fusion_as_good():
    """Noise in units a million times larger costs no more than a column of noise may."""
    X, y = make_rows(1300, accuracy=0.6, signal=0.45, d=30)
    noise = np.random.default_rng(1).normal(size=(len(X), 1))
    plain, large = (
        fit_score(np.hstack([X[:, :29], unit * noise, X[:, 30:]]), y) for unit in (1, 1e6)
    )
    assert large >= plain - 0.01
