"""check_text_estimator: it passes what is right and finds what is wrong."""

import sys
from pathlib import Path

import pytest
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline

sys.path.insert(0, str(Path(__file__).parent))
import _text_estimators as examples

from sklfusion.testing import N_TEXT_CHECKS, check_text_estimator, iter_text_checks


def failing(estimator):
    numbers = set()
    for name, check in iter_text_checks(estimator):
        if name.startswith("28"):
            continue  # starts a process, and none of the faults here is about pickles
        try:
            check()
        except Exception:
            numbers.add(int(name[:2]))
    return numbers


def test_there_are_32_numbered_checks():
    """The number is part of the contract: a suite that runs fewer has lost some."""
    names = [name for name, _ in iter_text_checks(examples.LetterCounts())]
    assert [int(name[:2]) for name in names] == list(range(1, 33))
    assert len(names) == N_TEXT_CHECKS == 32


def test_a_sound_estimator_passes_all():
    """The count is returned, so that callers can assert it."""
    assert check_text_estimator(examples.LetterCounts()) == N_TEXT_CHECKS


def test_a_classifier_without_probabilities_passes_all():
    """Labels are compared as labels, and nothing asks for columns that are not there."""
    assert check_text_estimator(examples.NearestLength()) == N_TEXT_CHECKS


@pytest.mark.parametrize(
    ("name", "numbers"),
    [
        ("Stateful", {12, 13, 14}),
        ("Eager", {3}),
        ("Trusting", {6, 16, 17, 18, 19}),
        ("Tagless", {24, 31}),
        ("Forgetful", {6, 8}),
    ],
)
def test_faults_are_found(name, numbers):
    """Every planted fault is caught by the checks that are about it."""
    assert failing(getattr(examples, name)()) >= numbers


def test_all_failures_are_listed_at_once():
    """One run tells everything, with numbers and reasons."""
    with pytest.raises(AssertionError, match=r"of 32 checks failed for Eager:\n03 the constr"):
        check_text_estimator(examples.Eager())


def test_expected_failures_are_strict():
    """A check that is excused must fail, and must exist."""
    assert check_text_estimator(examples.Eager(), expected_failed_checks={3: "a reason"}) == 32
    with pytest.raises(AssertionError) as caught:
        check_text_estimator(
            examples.Eager(), expected_failed_checks={1: "no reason", 3: "a reason", 40: "?"}
        )
    assert "01 clone copies all parameters: passes, but was expected" in str(caught.value)
    assert "there is no check 40" in str(caught.value)


def test_the_estimator_given_is_left_alone():
    """Checks work on clones."""
    estimator = examples.Forgetful()
    before = vars(clone(estimator))
    failing(estimator)
    assert vars(estimator) == before


def test_classifiers_are_checked_by_their_probabilities():
    """A pipeline that ends in a classifier is judged as one; it cannot say that it takes texts."""
    model = Pipeline([("letters", examples.LetterCounts()), ("head", LogisticRegression())])
    assert failing(model) <= {4, 8, 19, 24, 31, 32}
