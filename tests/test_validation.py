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
