"""Corrections by texts without labels, on classes and answers drawn from what they assume."""

import numpy as np
import pytest

from benchmarks.quality import _unlabelled as unlabelled


def _place(n, rates, llm, seed):
    """Classes, a calibrated encoder's probabilities at even odds, and votes right by ``llm``."""
    rng = np.random.default_rng(seed)
    y = rng.choice(2, n, p=rates)
    evidence = rng.normal((2 * y - 1) * 1.5, 1.0)  # log-odds of a normal: three times it
    P = 1 / (1 + np.exp(-3 * np.column_stack([-evidence, evidence])))
    said = np.where(rng.random(n) < llm, y, 1 - y)
    return np.eye(2)[y], P, np.eye(2)[said]


def test_frequencies_follow_the_new_place():
    """Even classes where labels were had, one in ten in the new place."""
    Y, _, _ = _place(300, [0.5, 0.5], 0.8, 0)
    new, P, _ = _place(900, [0.9, 0.1], 0.8, 1)
    added = unlabelled.frequencies(P, Y)
    assert added[0] - added[1] == pytest.approx(np.log(9), abs=0.7)
    right = [
        (logits.argmax(axis=1) == new.argmax(axis=1)).mean() for logits in (P, np.log(P) + added)
    ]
    assert right[1] > right[0] + 0.02


def test_nothing_is_added_where_nothing_has_changed():
    """The same frequencies and the same LLM."""
    Y, _, old = _place(300, [0.5, 0.5], 0.8, 0)
    _, P, votes = _place(900, [0.5, 0.5], 0.8, 1)
    llm, rates = unlabelled.mixture(P, votes, Y, old)
    assert np.abs(llm).max() < 0.35
    assert np.abs(rates).max() < 0.15
    assert np.abs(unlabelled.frequencies(P, Y)).max() < 0.15


def test_mixture_finds_out_that_the_llm_has_fallen():
    """Right nine times in ten where labels were had, at chance in the new place."""
    Y, _, old = _place(300, [0.5, 0.5], 0.9, 0)
    _, P, votes = _place(900, [0.5, 0.5], 0.5, 1)
    llm, _ = unlabelled.mixture(P, votes, Y, old)
    against = np.where(votes[:, 1] > 0, llm[:, 0] - llm[:, 1], llm[:, 1] - llm[:, 0])
    assert against.mean() > 0.7 * np.log(9)


def test_no_answer_adds_nothing_for_the_llm():
    """Equal scores."""
    Y, _, old = _place(100, [0.5, 0.5], 0.9, 0)
    _, P, votes = _place(100, [0.5, 0.5], 0.5, 1)
    votes[:7] = 0.5
    llm, _ = unlabelled.mixture(P, votes, Y, old)
    assert not llm[:7].any()
    assert llm[7:].any()


def test_two_samples_are_told_apart_only_where_they_differ():
    """The same normal, and one a standard deviation away in each of five columns."""
    rng = np.random.default_rng(0)
    old, same = rng.normal(size=(2, 200, 5))
    assert unlabelled.two_sample_auc(old, same, 0) == pytest.approx(0.5, abs=0.1)
    assert unlabelled.two_sample_auc(old, same + 1, 0) > 0.9
