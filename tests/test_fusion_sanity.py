"""Lines that fusion must hold: no leak, no loss to a part that knows nothing less."""

import numpy as np
import pytest
from _fusion_data import make_labels, make_rows
from scipy.integrate import trapezoid
from scipy.special import expit, log_expit, softmax
from sklearn.linear_model import LogisticRegressionCV
from sklearn.model_selection import cross_val_score

from sklfusion import FusionClassifier
from sklfusion.fusion import _evidence, _probe
from sklfusion.fusion._anchored import prior_trust
from sklfusion.fusion._folds import assign_folds, level_masks
from sklfusion.fusion._inputs import Inputs
from sklfusion.fusion._linear import fit_grouped, mean_loss, smoothed_log_prior

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
    clf = FusionClassifier(fusion=fusion, random_state=0, max_epochs=20, residual=False)
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


def test_guard_takes_the_plain_mlp_where_only_it_can_see():
    """A class that is a product of embedding columns is beyond linear evidence."""
    rng = np.random.default_rng(0)
    E = rng.normal(size=(1100, 3))
    y = (E[:, 0] * E[:, 1] > 0).astype(int)
    votes = np.eye(2)[np.where(rng.random(1100) < 0.6, y, 1 - y)]
    params = {"random_state": 0, "lr": 1e-2, "max_epochs": 40}
    X = np.hstack([E, votes])
    clf = FusionClassifier(residual=True, **params).fit(X[:600], y[:600])
    assert clf.chosen_ in ("concat", "anchored+residual")
    assert clf.score(X[600:], y[600:]) > 0.8
    anchored = FusionClassifier(guard=False, residual=False, **params).fit(X[:600], y[:600])
    assert anchored.score(X[600:], y[600:]) < 0.7
    assert clf.oof_scores_[clf.chosen_] < clf.oof_scores_["anchored"]


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


def test_the_encoder_starts_with_its_part_of_what_both_explain():
    """Little beside an LLM that explains the classes, everything beside one that explains none."""
    Y = np.eye(2)[np.arange(40) % 2]
    weights, offset = np.ones(40), np.log([0.5, 0.5])
    good, nothing = 2.0 * Y, np.zeros((40, 2))

    def start(encoder, llm):
        evidence = np.stack([encoder, llm])
        return prior_trust(evidence, ("proba", "llm"), offset, Y, weights, "softmax").tolist()

    assert start(good, -good)[0] == 1.0  # what is worse than nothing explains nothing
    assert start(good, nothing)[0] > 0.85
    assert start(good, good)[0] == pytest.approx(0.5, abs=0.05)
    assert start(nothing, good)[0] < 0.15
    assert start(nothing, good)[1] == 1.0


def test_what_a_probe_explains_of_few_rows_says_little():
    """On 20 rows it raises the first trust less than recorded probabilities do."""

    def gained(n):
        Y = np.eye(2)[np.arange(n) % 2]
        weights, offset = np.ones(n), np.log([0.5, 0.5])

        def start(kind, probe):
            evidence = np.stack([probe, Y])
            return prior_trust(evidence, (kind, "llm"), offset, Y, weights, "softmax")[0]

        rise = {kind: start(kind, 2.0 * Y) - start(kind, 0 * Y) for kind in ("probe", "proba")}
        return rise["probe"] / rise["proba"]

    assert gained(20) < 0.75
    assert gained(2000) > 0.9


def test_two_wrong_votes_do_not_silence_a_label():
    """The LLM is right elsewhere; a label's only two votes that miss say little about it."""
    rng = np.random.default_rng(0)
    Y = (rng.random((24, 8)) < 0.25).astype(float)
    Z = Y.copy()
    Y[:, 0] = Z[:, 0] = 0
    Z[:2, 0] = 1
    prior = smoothed_log_prior(Y, np.ones(24), "sigmoid")
    found = _evidence._fit_vote_rates(Z, np.arange(8), Y, np.ones(24), prior)
    voted = prior + found.bias + np.diag(found.coef)
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
    params = {"random_state": 0, "guard": False, "score_columns": [5, 6]}
    few = FusionClassifier(**params).fit(X[:90], Y[:90])
    many = FusionClassifier(**params).fit(X[:200], Y[:200])
    assert "mix" not in few.contributions(X)
    assert "mix" in many.contributions(X)


def test_the_probe_averages_over_penalties(monkeypatch):
    """Each penalty counts by its held-out likelihood, tempered, and by how usual it is."""
    rng = np.random.default_rng(3)
    A, Y = rng.normal(size=(24, 40)) / np.sqrt(40), np.eye(3)[np.arange(24) % 3]
    folds, prior = np.arange(24) // 3 % 4, np.full(3, -np.log(3))

    def fit(penalties):
        monkeypatch.setattr(_probe, "PENALTIES", penalties)
        return _probe.fit_probe(A, Y, np.ones(24), folds, prior, "softmax")

    penalties = _probe.PENALTIES
    whole, single = fit(penalties), [fit((p,)) for p in penalties]
    losses = np.array([one.oof_loss for one in single])
    usual = -0.5 * np.log10(np.array(penalties) / 0.1) ** 2
    shares = softmax(-0.5 * 24 * losses + usual)
    assert whole.penalty == penalties[losses.argmin()]
    assert shares.max() < 0.5
    coef = np.tensordot(shares, [one.coef for one in single], 1)
    np.testing.assert_allclose(whole.coef, coef, atol=1e-2 * np.abs(coef).max())


def test_every_fold_of_a_probe_weighs_the_classes_alike():
    """Else what is learnt without a row speaks against its class; a class of one row cannot be."""
    Y = np.eye(4)[np.r_[np.zeros(7, int), np.ones(4, int), 2, 2, 3]]
    folds, weights = np.arange(len(Y)) % 5, np.linspace(0.5, 2, len(Y))
    masks = level_masks(folds, weights, Y)
    assert (masks[np.arange(len(Y)), folds] == 0).all()
    np.testing.assert_allclose(masks[:, -1], weights)
    per_class = masks.T @ Y
    np.testing.assert_allclose(per_class[:, :3], np.tile((weights @ Y)[:3], (6, 1)))
    assert per_class[folds[-1], 3] == 0


def test_a_repeated_text_does_not_leave_one_row_to_speak_for_its_class():
    """All copies share a fold; the row that is left for the others counts at most threefold."""
    Y = np.eye(2)[np.r_[np.zeros(10, int), np.ones(10, int)]]
    folds = np.r_[np.zeros(9, int), 1, np.arange(10) % 2]
    assert level_masks(folds, np.ones(20), Y).max() == 3


def test_log_evidence_is_the_integral_over_the_coefficients():
    """Laplace's approximation against a quadrature, for one feature without a bias."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(12, 1))
    Y = np.eye(2)[(x[:, 0] + rng.normal(size=12) > 0).astype(int)]
    offset, ones, penalty = np.zeros((12, 2)), np.ones(12), 0.5
    start = np.zeros((1, 1, 2))
    W = fit_grouped(x, offset, Y, ones[:, None], "softmax", penalty, start)[:, 0, :]
    found = _probe._log_evidence(x, offset, Y, ones, W, penalty)
    v = np.linspace(-30, 30, 20001)  # the difference of the two columns
    sign = np.where(Y[:, 1] > 0, 1, -1)[:, None]
    log_joint = log_expit(sign * x * v).sum(axis=0) - penalty / 4 * v**2
    log_joint += 0.5 * np.log(penalty / 4 / np.pi)
    assert abs(found - np.log(trapezoid(np.exp(log_joint), v))) < 0.1


def test_a_probe_of_two_classes_loses_less_where_the_embedding_hardly_knows_them(monkeypatch):
    """Than by held-out likelihood alone, whose luckiest penalties do worst on other rows."""
    by_both = [weak_probe_share(seed) for seed in range(20)]
    monkeypatch.setattr(_probe, "_EVIDENCE_ROWS", 1e-9)
    by_held_out = [weak_probe_share(seed) for seed in range(20)]
    assert np.mean(by_both) > np.mean(by_held_out) + 0.005


def weak_probe_share(seed, n=50, d=300):
    """Share of the log-loss of other rows that a probe on ``n`` rows of two classes explains."""
    rng = np.random.default_rng(seed)
    A = rng.normal(size=(n + 1000, d)) / np.sqrt(d)
    signal = A @ rng.normal(size=d)
    Y = np.eye(2)[(rng.random(len(A)) < expit(2 * signal)).astype(int)]
    folds, prior = assign_folds(A[:n], Y[:n], "softmax", 10, rng), np.full(2, -np.log(2))
    probe = _probe.fit_probe(A[:n], Y[:n], np.ones(n), folds, prior, "softmax")
    return 1 - mean_loss(probe.evidence(A[n:]), Y[n:], np.ones(1000), prior, "softmax") / np.log(2)


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
