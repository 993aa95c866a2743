"""Labels that the labelled rows do not show."""

import numpy as np
import pytest

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


def test_one_versus_rest_leaves_an_unseen_class_to_the_llm():
    """With ``classes`` told, and binary cross-entropy on one class per row."""
    rng = np.random.default_rng(0)
    y = rng.integers(3, size=900)
    E = rng.normal(size=(3, 12))[y] + 3 * rng.normal(size=(900, 12))
    wrong = (y + rng.integers(1, 3, size=900)) % 3
    votes = np.eye(3)[np.where(rng.random(900) < 0.97, y, wrong)]
    train = np.flatnonzero(y < 2)[:60]
    X, rest = np.hstack([E, votes]), np.setdiff1d(np.arange(900), train)
    clf = FusionClassifier(
        loss="binary_cross_entropy", classes=[0, 1, 2], score_columns=slice(12, 15), random_state=0
    ).fit(X[train], y[train])
    assert (clf.predict(X[rest])[votes[rest, 2] == 1] == 2).mean() > 0.9
