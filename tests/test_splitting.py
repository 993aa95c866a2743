"""IterativeStratifiedKFold: who gets which rows."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sklfusion import IterativeStratifiedKFold
from sklfusion.multilabel._splitting import check_multilabel_cv


def folds_of(y, n_splits, **params):
    """The fold of each row."""
    out = np.full(len(y), -1)
    for fold, (train, test) in enumerate(IterativeStratifiedKFold(n_splits, **params).split(y, y)):
        assert (out[test] == -1).all()
        assert np.array_equal(np.sort(np.r_[train, test]), np.arange(len(y)))
        out[test] = fold
    return out


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 6), st.booleans())
def test_folds_part_the_rows_and_share_out_each_label(seed, n_splits, shuffle):
    """Every row in one fold, folds of about one size, the rarest label as even as can be."""
    rng = np.random.default_rng(seed)
    n = rng.integers(n_splits * 4, 80)
    y = (rng.random((n, 4)) < [0.1, 0.3, 0.5, 0.05]).astype(int)
    folds = folds_of(y, n_splits, shuffle=shuffle, random_state=0 if shuffle else None)
    sizes = np.bincount(folds, minlength=n_splits)
    assert sizes.sum() == n
    assert sizes.min() > 0
    counts = y.sum(axis=0)
    rarest = np.flatnonzero(counts > 0)[counts[counts > 0].argmin()]
    share = np.bincount(folds[y[:, rarest] == 1], minlength=n_splits)
    assert np.ptp(share) <= 1


def test_the_rarest_label_goes_first():
    """Three rows that all have the common label too, each where a common-first deal would put
    them into one fold: every fold gets one of them."""
    y = np.zeros((30, 2), dtype=int)
    y[:, 1] = 1
    y[[0, 3, 6], 0] = 1
    folds = folds_of(y, 3)
    assert np.bincount(folds[y[:, 0] == 1], minlength=3).tolist() == [1, 1, 1]
    assert np.bincount(folds).tolist() == [10, 10, 10]


def test_labels_that_never_occur_together_are_both_shared_out():
    """Six and nine rows in three folds are two and three each; the empty rows fill up."""
    y = np.zeros((24, 2), dtype=int)
    y[:6, 0] = 1
    y[6:15, 1] = 1
    folds = folds_of(y, 3)
    assert [y[folds == f].sum(axis=0).tolist() for f in range(3)] == [[2, 3]] * 3
    assert np.bincount(folds).tolist() == [8, 8, 8]


def test_a_fold_that_has_a_label_by_another_one_gets_fewer_of_it():
    """Label 1 came into fold 0 twice with label 0; of its four other rows three go to fold 1.

    The four empty rows then even out the sizes, three to one.
    """
    y = np.zeros((12, 2), dtype=int)
    y[:4, 0] = 1
    y[[0, 2, 4, 5, 6, 7], 1] = 1
    folds = folds_of(y, 2)
    assert [y[folds == f].sum(axis=0).tolist() for f in range(2)] == [[2, 3]] * 2
    assert np.bincount(folds).tolist() == [6, 6]


def test_shuffling_keeps_the_shares_and_changes_the_rows():
    """Seeds give other folds of the same make."""
    y = np.zeros((60, 2), dtype=int)
    y[:12, 0] = 1
    y[6:42, 1] = 1
    one, two, again = (folds_of(y, 3, shuffle=True, random_state=s) for s in (0, 1, 0))
    assert np.array_equal(one, again)
    assert not np.array_equal(one, two)
    for folds in (one, two):
        assert np.bincount(folds[y[:, 0] == 1]).tolist() == [4, 4, 4]


def test_rates_are_cut_at_one_half():
    """Shares of annotators split as the labels of the majority do; one half is no majority."""
    rates = np.array([[0.9, 0.5], [0.6, 0.1], [0.5, 0.8], [0.1, 0.7]] * 5)
    for (_, a), (_, b) in zip(
        IterativeStratifiedKFold(5).split(rates, rates),
        IterativeStratifiedKFold(5).split(rates, (rates > 0.5).astype(int)),
        strict=True,
    ):
        assert np.array_equal(a, b)


def test_a_number_of_folds_is_held_to_the_rows():
    """None is five; one, or more than there are rows, is refused."""
    y = np.eye(2, dtype=int)[np.arange(10) % 2]
    assert check_multilabel_cv(None, y).get_n_splits() == 5
    assert check_multilabel_cv(10, y).get_n_splits() == 10
    for bad in (1, 11):
        with pytest.raises(ValueError, match="2 folds to 10 folds"):
            check_multilabel_cv(bad, y)
