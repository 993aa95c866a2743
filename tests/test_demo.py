"""The demo's contestants."""

import numpy as np
from sklearn.pipeline import Pipeline

from sklfusion import FusionClassifier
from sklfusion._demo import _fit_contestant


def test_a_concatenation_predicts_as_after_fit():
    """The held-out probabilities that it does without change nothing of the network."""
    rng = np.random.RandomState(0)
    X, y = rng.normal(size=(60, 8)), np.repeat(["a", "b", "c"], 20)
    X[y == "a"] += 1

    def contestant():
        head = FusionClassifier(fusion="concat", max_epochs=8, random_state=0)
        return Pipeline([("features", "passthrough"), ("fusion", head)])

    quick, whole = _fit_contestant(contestant(), X, y), contestant().fit(X, y)
    np.testing.assert_allclose(quick.predict_proba(X), whole.predict_proba(X), atol=1e-6)
    assert quick[-1].oof_proba_ is None
    assert whole[-1].oof_proba_ is not None


def test_other_contestants_are_fitted_as_ever():
    rng = np.random.RandomState(0)
    X, y = rng.normal(size=(60, 8)), np.repeat(["a", "b"], 30)
    model = _fit_contestant(Pipeline([("fusion", FusionClassifier(random_state=0))]), X, y)
    assert model[-1].oof_proba_.shape == (60, 2)
