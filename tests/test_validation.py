"""Targets that users pass by mistake are refused in the same words everywhere."""

import numpy as np
import pandas as pd
import pytest

from sklfusion import (
    AutoFusionClassifier,
    FusionClassifier,
    JointFusionClassifier,
    LLMClassifier,
    LLMScorer,
    MultiLabelThresholds,
)
from sklfusion._validation import check_cells, check_layers, class_weight_rows

SETS = [{"a"}, {"a", "b"}, set(), {"b"}] * 4
TEXTS = [f"text {i}" for i in range(len(SETS))]
NUMBERS = np.random.default_rng(0).random((len(SETS), 2))


def as_objects(sets):
    out = np.empty(len(sets), dtype=object)
    out[:] = sets
    return out


@pytest.mark.parametrize("kind", [list, as_objects, pd.Series, lambda s: [sorted(v) for v in s]])
@pytest.mark.parametrize(
    ("estimator", "X"),
    [
        (FusionClassifier(), NUMBERS),
        (MultiLabelThresholds(), NUMBERS),
        (AutoFusionClassifier(llm=None), TEXTS),
        (JointFusionClassifier(), TEXTS),
        (LLMScorer("openai/none", base_url="http://127.0.0.1:9/v1"), TEXTS),
        (LLMClassifier("openai/none", classes=["a", "b"], multilabel=True), TEXTS),
    ],
    ids=lambda value: type(value).__name__,
)
def test_label_sets_are_refused_with_the_remedy(estimator, X, kind):
    """A list, array or Series of label sets is refused before anything is computed or sent."""
    with pytest.raises(ValueError, match=r"list of label sets.*MultiLabelBinarizer"):
        estimator.fit(X, kind(SETS))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_cells_that_squares_can_hold_pass(dtype):
    """The largest float32 is fine, no rows are, and what overflows is named."""
    X = np.full((2, 3), np.finfo(np.float32).max, dtype=dtype)
    assert check_cells(X) is X
    assert check_cells(X[:0]).shape == (0, 3)
    if dtype is np.float64:
        X[1, 2] = -1e300
        with pytest.raises(ValueError, match=r"X\[1, 2\] is -1e\+300; mine needs"):
            check_cells(X, caller="mine")


@pytest.mark.parametrize("sizes", [(), (3,), [4, 5], 6, np.array([7]), np.int64(8)])
def test_layers_come_back_as_a_tuple(sizes):
    """An integer stands for one layer."""
    found = check_layers(sizes)
    assert found == tuple(np.atleast_1d(sizes).astype(int).tolist())
    assert all(type(n) is int for n in found)


@pytest.mark.parametrize("sizes", [(-3,), 0, (1.5,), "64", None, (True,), 3.0, [(2,)]])
def test_impossible_layers_are_named(sizes):
    """The message repeats what arrived."""
    with pytest.raises(ValueError, match="hidden_layer_sizes"):
        check_layers(sizes)


def test_class_weights_are_checked_before_they_weigh():
    """Label indicators take a list of dicts; negative, missing and foreign values are refused."""
    y = np.array(["a", "b", "a"])
    assert class_weight_rows({"a": 2, "b": 0}, y).tolist() == [2, 0, 2]
    assert class_weight_rows("balanced", y).tolist() == [0.75, 1.5, 0.75]
    Y = np.array([[0, 1], [1, 1]])
    assert class_weight_rows([{0: 1, 1: 3}, {0: 1, 1: 2}], Y).tolist() == [2, 6]
    for weight in (-1, np.nan, np.inf, "x", None):
        with pytest.raises(ValueError, match=r"class_weight=.*for class 'b'"):
            class_weight_rows({"b": weight}, y)
    with pytest.raises(ValueError, match="no row"):
        class_weight_rows({"a": 0, "b": 0}, y)
