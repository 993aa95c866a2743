"""Annotations: what was said, row by row, and that nothing is lost on the way."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sklfusion import Annotations

NAN = float("nan")


def full(n=4, multilabel=True, seed=0):
    """Annotations with every field set."""
    rng = np.random.default_rng(seed)
    return Annotations(
        ["joy", "anger"],
        votes=rng.integers(0, 2, (n, 2)),
        probs=rng.random((n, 2)),
        repeats=rng.integers(0, 2, (3, n, 2)),
        first_step_logits=rng.normal(size=(n, 3)),
        step_probs=[rng.dirichlet(np.ones(3), size=i % 3) for i in range(n)],
        unary_logits=rng.normal(size=(n, 2, 2)),
        pair_probs=rng.random((n, 3, 3)),
        hidden=rng.normal(size=(n, 5)),
        coverage=rng.random(n),
        status=["ok", "refused", "ok", "ok"][:n],
        multilabel=multilabel,
        meta={"model": "m", "counts": {"ok": 3}},
    )


def same(a, b):
    """Assert that two annotations hold the same values."""
    assert a.classes == b.classes
    assert a.multilabel == b.multilabel
    for name in (
        "votes", "probs", "repeats", "first_step_logits", "unary_logits", "pair_probs", "hidden",
        "coverage", "status",
    ):  # fmt: skip
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
    assert len(a.step_probs) == len(b.step_probs)
    for one, other in zip(a.step_probs, b.step_probs, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_file_gives_back_every_field(tmp_path):
    """Also steps of different number, none among them, and what was noted."""
    data = full()
    data.to_npz(tmp_path / "a.npz")
    back = Annotations.from_npz(tmp_path / "a.npz")
    same(data, back)
    assert back.meta == data.meta


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=6))
def test_rows_are_cut_out_of_every_field_alike(rows):
    """Any rows in any order, repeats too, field by field."""
    data = full()
    cut = data[np.array(rows)]
    assert cut.shape == (len(rows), 2)
    for name in ("votes", "probs", "hidden", "coverage", "status", "pair_probs"):
        np.testing.assert_array_equal(getattr(cut, name), getattr(data, name)[rows])
    np.testing.assert_array_equal(cut.repeats, data.repeats[:, rows])
    assert all(cut.step_probs[i] is data.step_probs[r] for i, r in enumerate(rows))


def test_one_row_a_slice_and_a_mask_select_alike():
    """A number gives annotations of one text."""
    data = full()
    same(data[1], data[1:2])
    same(data[np.array([False, True, False, False])], data[1:2])
    same(data[[1], :], data[1:2])


def test_entropy_in_nats():
    """A coin has ln 2, a certain row 0, a row without an answer none; labels add up."""
    one = Annotations(["a", "b"], probs=[[0.5, 0.5], [1.0, 0.0], [NAN, NAN], [2.0, 2.0]])
    assert one.entropy() == pytest.approx([np.log(2), 0, NAN, np.log(2)], nan_ok=True, abs=1e-9)
    many = Annotations(["a", "b"], probs=[[0.5, 0.5], [0.5, 1.0]], multilabel=True)
    assert many.entropy() == pytest.approx([2 * np.log(2), np.log(2)], abs=1e-9)


def test_scores_of_repeats_are_the_share_of_the_votes_that_came():
    """Two of three came, one of them for "a"; where none came there is no answer."""
    repeats = np.array([[[1, 0], [NAN, NAN]], [[0, 1], [NAN, NAN]], [[NAN, NAN], [NAN, NAN]]])
    data = Annotations(["a", "b"], repeats=repeats, status=["ok", "missing"])
    np.testing.assert_allclose(data.scores(), [[0.5, 0.5], [NAN, NAN]])


def test_a_row_that_failed_has_no_score_whatever_it_holds():
    """A status other than "ok" wins over numbers that came along; the numbers stay as they are."""
    data = Annotations(["a", "b"], votes=[[1, 0], [0, 1]], status=["ok", "refused"])
    assert data.codes().tolist() == [0, -1]
    assert data.labels().tolist() == ["a", None]
    assert np.isnan(data.scores()[1]).all()
    assert data.votes.tolist() == [[1, 0], [0, 1]]


def test_labels_come_from_the_votes_where_there_are_votes():
    """Probabilities are for thresholds and fusions; what was said is what was said."""
    data = Annotations(["a", "b"], votes=[[0, 1]], probs=[[0.9, 0.1]])
    assert data.labels().tolist() == ["b"]
    assert data.scores().tolist() == [[0.9, 0.1]]
    assert data.scores("votes").tolist() == [[0, 1]]


def test_label_sets_are_those_above_one_half():
    """And a row of -1 where no answer came."""
    data = Annotations(["a", "b"], probs=[[0.6, 0.5], [NAN, NAN]], multilabel=True)
    assert data.labels().tolist() == [[1, 0], [-1, -1]]
    with pytest.raises(ValueError, match="multi-class"):
        data.codes()


def test_labels_of_any_kind_become_codes_and_unknown_ones_none():
    """None, NaN, -1 and a label outside the classes are missing answers."""
    data = Annotations.from_labels([3, None, 7, NAN, -1, 5], classes=[7, 3])
    assert data.codes().tolist() == [1, -1, 0, -1, -1, -1]
    assert data.ok.tolist() == [True, False, True, False, False, False]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"votes": [[1, 0, 0]]}, "votes has shape"),
        ({"votes": [1, 0]}, "votes has shape"),
        ({"votes": [[1, 0]], "probs": [[1, 0], [0, 1]]}, "probs has 2 rows; the others have 1"),
        ({"votes": [[1, 0]], "coverage": [1.0, 1.0]}, "coverage has 2 rows; the others have 1"),
        ({"votes": [[1, 0]], "status": ["fine"]}, "known are"),
        ({"votes": [[1, 0]], "repeats": np.zeros((2, 3, 2))}, "repeats has shape"),
        ({}, "no content"),
    ],
)
def test_fields_that_do_not_go_together_are_refused(fields, message):
    """Before anything downstream reads the wrong row."""
    with pytest.raises(ValueError, match=message):
        Annotations(["a", "b"], **fields)
