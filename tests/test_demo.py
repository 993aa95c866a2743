"""The demo's contestants, and what it leaves."""

import csv
from collections import Counter
from pathlib import Path

import numpy as np
from sklearn.pipeline import Pipeline

from sklfusion import FusionClassifier
from sklfusion._demo import _fit_contestant, _write_tables
from sklfusion.datasets import load_newsdesk


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


def test_the_demo_leaves_tables_for_the_other_commands(tmp_path):
    """Every brief once: 20 of each desk with its label, the rest without."""
    files = _write_tables(tmp_path)
    (head, *labelled), (new_head, *new) = (
        list(csv.reader(Path(files[name]).read_text("utf-8").splitlines()))
        for name in ("labelled", "new")
    )
    texts, desks = load_newsdesk(return_X_y=True)
    assert (head, new_head) == (["text", "label"], ["text"])
    assert set(Counter(desk for _, desk in labelled).values()) == {20}
    assert dict(labelled).items() <= dict(zip(texts, desks, strict=True)).items()
    assert sorted([*(text for text, _ in labelled), *(text for (text,) in new)]) == sorted(texts)
