"""Labels that the rows do not show, and LLMs that tell nothing."""

import numpy as np
import pytest
from scipy.special import expit

from sklfusion import FusionClassifier
from sklfusion.persistence import load, save


def several_labels(n_rows, *, unseen, seed=0):
    """Embedding, votes of an LLM that sees 95 % of the labels, and the labels (n, 4).

    The last one is in none of the first ``unseen`` rows.
    """
    rng = np.random.default_rng(seed)
    Y = (rng.random((n_rows, 4)) < [0.5, 0.4, 0.3, 0.1]).astype(int)
    Y[:unseen, 3] = 0
    E = Y @ rng.normal(size=(4, 12)) + 2 * rng.normal(size=(n_rows, 12))
    votes = rng.random(Y.shape) < np.where(Y, 0.95, 0.01)
    return np.hstack([E, votes]), Y


def fitted_unseen(n_train=50):
    """A fusion whose last label had no positive row, and rows that it did not see."""
    X, Y = several_labels(800, unseen=n_train)
    clf = FusionClassifier(score_columns=slice(12, 16), random_state=0)
    return clf.fit(X[:n_train], Y[:n_train]), X[n_train:], Y[n_train:]


@pytest.mark.parametrize("n_train", [20, 50, 150])
def test_a_label_that_no_row_shows_is_predicted_where_the_llm_sees_it(n_train):
    """As the LLM says it, whatever the encoder has learnt from rows without it."""
    clf, X, _ = fitted_unseen(n_train)
    votes, said = X[:, -1], clf.predict(X)[:, 3]
    assert (said[votes == 1] == 1).mean() > 0.95
    assert (said[votes == 0] == 0).all()


def test_the_encoder_has_no_say_on_a_label_that_no_row_shows():
    """Its own part is zero there, and the parts still sum to the logits."""
    clf, X, _ = fitted_unseen()
    parts = clf.contributions(X)
    assert not parts["encoder"][:, 3].any()
    assert np.ptp(parts["encoder"][:, 0]) > 0.5
    np.testing.assert_allclose(sum(parts.values()), clf.decision_function(X), atol=1e-9)


def test_other_labels_are_fused_as_without_it():
    """What is learnt of them does not hang on a label that nobody has seen."""
    clf, X, Y = fitted_unseen()
    right = (clf.predict(X)[:, :3] == Y[:, :3]).mean()
    assert right > (X[:, 12:15] == Y[:, :3]).mean() - 0.005


def test_labels_of_their_own_trust_are_saved(tmp_path):
    """Probabilities are the same after a round trip, and further training goes on from there."""
    clf, X, Y = fitted_unseen()
    save(clf, tmp_path / "head.sklf")
    again = load(tmp_path / "head.sklf")
    np.testing.assert_allclose(again.predict_proba(X), clf.predict_proba(X), atol=1e-12)
    again.partial_fit(X[:60], Y[:60])
    assert np.isfinite(again.predict_proba(X)).all()


def one_of_three(n_rows, accuracies, seed=0):
    """Embedding, votes of LLMs that are right this often (1 / 3 is chance), and the classes."""
    rng = np.random.default_rng(seed)
    y = rng.integers(3, size=n_rows)
    E = rng.normal(size=(3, 12))[y] + 3 * rng.normal(size=(n_rows, 12))
    votes = []
    for accuracy in accuracies:
        wrong = (y + rng.integers(1, 3, size=n_rows)) % 3
        votes.append(np.eye(3)[np.where(rng.random(n_rows) < accuracy, y, wrong)])
    return E, votes, y


def score(E, votes, y, n_train, seed):
    """Accuracy on the other rows, and the trust in each LLM."""
    rng = np.random.default_rng(seed)
    train, test = np.split(rng.permutation(len(y)), [n_train])
    X = np.hstack([E, *votes])
    told = {"score_columns": slice(E.shape[1], X.shape[1]), "score_classes": [0, 1, 2]}
    clf = FusionClassifier(random_state=0, **told)
    clf.fit(X[train], y[train])
    trusts = [v for name, v in clf.source_weights_.items() if name != "encoder"]
    return clf.score(X[test], y[test]), trusts


def test_llms_at_chance_cost_little():
    """Three of them beside a good one, over ten draws of 50 rows."""
    E, votes, y = one_of_three(1500, [0.8, 1 / 3, 1 / 3, 1 / 3])
    alone = [score(E, votes[:1], y, 50, seed)[0] for seed in range(10)]
    beside = [score(E, votes, y, 50, seed) for seed in range(10)]
    assert np.mean(alone) - np.mean([accuracy for accuracy, _ in beside]) < 0.01
    left_out = np.array([[trust == 0 for trust in trusts] for _, trusts in beside])
    assert not left_out[:, 0].any()
    assert left_out[:, 1:].mean() > 0.5


def test_llms_that_are_good_are_all_kept():
    """Also the worst of them, with few rows."""
    E, votes, y = one_of_three(1500, [0.8, 0.75, 0.7])
    for seed in range(5):
        assert min(score(E, votes, y, 50, seed)[1]) > 0


def test_a_single_llm_is_never_left_out_beforehand():
    """Its trust is learnt, and goes down where it deserves it."""
    E, votes, y = one_of_three(1500, [0.2])
    accuracy, trusts = score(E, votes, y, 200, 0)
    assert len(trusts) == 1
    assert accuracy > 1 / 3


def test_one_versus_rest_leaves_an_unseen_class_to_the_llm():
    """With ``classes`` told, and binary cross-entropy on one class per row."""
    E, votes, y = one_of_three(900, [0.95])
    X = np.hstack([E, *votes])
    train = np.flatnonzero(y < 2)[:60]
    clf = FusionClassifier(
        loss="binary_cross_entropy", classes=[0, 1, 2], score_columns=slice(12, 15), random_state=0
    ).fit(X[train], y[train])
    rest = np.setdiff1d(np.arange(900), train)
    assert (clf.predict(X[rest])[votes[0][rest, 2] == 1] == 2).mean() > 0.9
    assert expit(clf.decision_function(X[rest])).shape == (len(rest), 3)
