"""Columns of an encoder that has seen the labels of the rows are found out."""

import warnings

import numpy as np
import pytest
from _fusion_data import make_rows

from sklfusion import FusionClassifier
from sklfusion.exceptions import DataWarning

SAYS = "trained on these rows"


def rows(n=100, spread=0.02, accuracy=0.8, seed=0, d=12):
    """A point per class with a little noise, and votes; as an encoder knows its own rows."""
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.arange(n) % 3)
    points = rng.normal(size=(3, d))
    votes = np.where(rng.random(n) < accuracy, y, rng.integers(3, size=n))
    return np.hstack([points[y] + spread * rng.normal(size=(n, d)), np.eye(3)[votes]]), y


def told(X, y, **params):
    """What a fit warns of own rows."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        FusionClassifier(random_state=0, **params).fit(X, y)
    return [str(one.message) for one in caught if SAYS in str(one.message)]


def test_vectors_that_know_their_labels_are_found_out():
    """The message says how many rows, how often the LLM errs, and what to do."""
    X, y = rows()
    wrong = int((X[:, -3:].argmax(axis=1) != y).sum())
    (said,) = told(X, y)
    for part in ("100 different rows", f"wrong on {wrong}", "fit_transform", "on other rows"):
        assert part in said
    with pytest.warns(DataWarning, match=SAYS):
        FusionClassifier(random_state=0).fit(X, y)


def test_so_are_class_scores_and_several_labels():
    """Log-probabilities of the encoder, nearly 0 for the right class; and an indicator target."""
    X, y = rows()
    logs = np.log(np.clip(np.eye(3)[y] + 0.002, None, 0.996))
    scores = np.hstack([logs - 1e-3 * np.arange(100)[:, None] / 100, X[:, -3:]])
    assert told(scores, y, score_columns=slice(3, 6), features="proba")
    assert told(X, np.eye(3, dtype=int)[y], score_columns=slice(-3, None))


@pytest.mark.parametrize(
    "honest",
    [
        {"spread": 1.2, "d": 40},  # texts of a class differ
        {"accuracy": 0.97},  # the texts are easy, for the LLM too
        {"n": 30},  # too few to tell
    ],
    ids=str,
)
def test_honest_rows_are_not(honest):
    assert told(*rows(**honest)) == []


def test_good_columns_with_some_errors_are_not():
    """Of twenty texts in two hundred the encoder sees another text."""
    X, y = rows(200)
    X[:20, :-3] = np.roll(X[:20, :-3], 1, axis=0)
    assert told(X, y) == []


def test_repeats_prove_nothing_more():
    """Thirty different rows, five times each."""
    X, y = rows(30)
    assert told(np.tile(X, (5, 1)), np.tile(y, 5)) == []


def test_without_an_llm_or_with_an_mlp_nothing_is_said():
    X, y = rows()
    assert told(X[:, :-3], y) == []
    assert told(X, y, fusion="concat", max_epochs=2) == []


def test_an_ordinary_embedding_is_not_suspected():
    """However clear its signal is."""
    X, y = make_rows(300, signal=1.0)
    assert told(X, y) == []
