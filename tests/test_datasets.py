"""The bundled news desk."""

from collections import Counter

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline

from sklfusion.datasets import load_newsdesk


def test_the_news_desk_is_balanced_and_has_no_repeats():
    """300 distinct briefs, 50 for each of six desks, every desk described."""
    desk = load_newsdesk()
    assert len(set(desk.data)) == 300
    assert set(Counter(desk.target.tolist()).values()) == {50}
    assert sorted(desk.descriptions) == desk.target_names


def test_texts_and_labels_can_be_had_as_a_pair():
    """return_X_y follows scikit-learn."""
    data, target = load_newsdesk(return_X_y=True)
    assert len(data) == len(target) == 300


def test_the_news_desk_can_be_learnt_and_is_not_trivial():
    """By five folds words alone are right twice as often as chance, and wrong on a third."""
    data, target = load_newsdesk(return_X_y=True)
    model = make_pipeline(TfidfVectorizer(sublinear_tf=True), LogisticRegression(C=30))
    score = cross_val_score(model, data, target, cv=5).mean()
    assert 0.4 < score < 0.67


def test_the_recorded_answers_are_right_on_three_quarters():
    """One distribution per brief, as good as the small LLM is."""
    desk = load_newsdesk()
    np.testing.assert_allclose(desk.answers.probs.sum(axis=1), 1, atol=5e-4)
    assert 0.7 < (desk.answers.labels() == desk.target).mean() < 0.85


@pytest.mark.nightly
@pytest.mark.models
def test_the_recorded_answers_are_those_of_the_embedded_llm():
    """Asked again, it says the same, up to what processors differ in."""
    recorder = pytest.importorskip("benchmarks.newsdesk_answers")
    np.testing.assert_allclose(recorder.ask().probs, load_newsdesk().answers.probs, atol=0.05)
