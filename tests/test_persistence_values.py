"""Any value that an estimator may hold is in the file and comes back: drawn, not listed."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays, scalar_dtypes
from sklearn.base import BaseEstimator
from sklearn.dummy import DummyClassifier
from sklearn.preprocessing import FunctionTransformer

from sklfusion import persistence
from sklfusion.exceptions import PersistenceError
from sklfusion.persistence._audit import audit
from sklfusion.persistence._read import _Builder
from sklfusion.persistence._write import MAX_DEPTH, Encoder

LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.text(max_size=5).filter(lambda text: text.isprintable()),
    st.binary(max_size=5),
    st.builds(slice, st.none() | st.integers(-9, 9), st.none() | st.integers(-9, 9)),
)
KEYS = st.one_of(st.text("ab", max_size=2), st.integers(-3, 3), st.tuples(st.integers(0, 3)))
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(KEYS, inner, max_size=3),
        st.frozensets(st.integers(0, 9), max_size=3),
        st.sets(st.text("ab", max_size=2), max_size=3),
    ),
    max_leaves=12,
)
DTYPES = scalar_dtypes().filter(lambda dtype: dtype.kind in "biuf")


def through_the_tree(value):
    """Write and read without a file: encoder, audit, builder."""
    encoder = Encoder()
    tree = encoder.encode(value, "value")
    audit(tree, encoder.tensors)
    return _Builder(encoder.tensors, {}, None).build(tree)


def same(a, b):
    """Equal in value and in type, all the way down."""
    if type(a) is not type(b):
        return False
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, float):
        return a == b and math.copysign(1, a) == math.copysign(1, b)
    return a == b


@settings(max_examples=150, deadline=None)
@given(VALUES)
def test_nested_values_come_back(value):
    """Order of keys, kinds of containers, whole numbers beside floats, the sign of zero."""
    assert same(through_the_tree(value), value)


@settings(max_examples=80, deadline=None)
@given(arrays(DTYPES, array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)), st.booleans())
def test_arrays_of_numbers_come_back_bit_by_bit(array, turned):
    """NaN and all, of any shape and order of memory."""
    array = array.T if turned else array
    again = through_the_tree(array)
    assert again.dtype == array.dtype
    assert again.shape == array.shape
    np.testing.assert_array_equal(again, array)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(max_size=4).filter(lambda t: "\0" not in t), max_size=6))
def test_arrays_of_texts_come_back(texts):
    """Empty ones, lone surrogates refused or kept, never changed."""
    try:
        again = through_the_tree(np.array(texts, dtype=str))
    except PersistenceError:
        assert any(0xD800 <= ord(c) < 0xE000 for text in texts for c in text)
    else:
        assert again.tolist() == texts


@settings(max_examples=30, deadline=None)
@given(st.dictionaries(st.text("abc", min_size=1, max_size=2), st.integers(), max_size=3))
def test_what_is_read_can_be_changed(value):
    """A loaded model is a model: arrays take new values, and do not share memory."""
    value = {"one": np.zeros(2), "two": np.zeros(2), "more": value}
    again = through_the_tree(value)
    again["one"][0] = 1.0
    assert again["two"].tolist() == [0.0, 0.0]


@pytest.mark.parametrize(
    "value",
    [
        lambda: 0,
        object(),
        iter([1]),
        range(3),
        np.array([object()], dtype=object),
        {1: print},
        1j,
        np.zeros(2, complex),
        np.datetime64("2020-01-01"),
        np.zeros(1, [("a", int)]),
    ],
    ids=[
        "lambda",
        "object",
        "iterator",
        "range",
        "array",
        "in a dict",
        "complex",
        "complex array",
        "date",
        "record",
    ],
)
def test_what_cannot_come_back_is_not_written(value):
    """The message says where it is and of what type."""
    with pytest.raises(PersistenceError, match="value"):
        Encoder().encode(value, "value")


def test_a_value_that_holds_itself_is_one_clear_error():
    """Not the recursion limit of the interpreter, and not a file that nobody can read."""
    loop = []
    loop.append(loop)
    with pytest.raises(PersistenceError, match=f"more than {MAX_DEPTH} deep"):
        Encoder().encode(loop, "loop")
    deep = []
    for _ in range(MAX_DEPTH - 2):
        deep = [deep]
    assert same(through_the_tree(deep), deep)


class Foreign(BaseEstimator):
    """An estimator of nobody's library."""


@pytest.mark.parametrize("estimator", [Foreign(), FunctionTransformer(np.log1p)])
def test_a_stranger_is_named_before_a_file_is_there(estimator, tmp_path):
    """An own class, and a function as parameter: a reader would have to import them."""
    with pytest.raises(PersistenceError):
        persistence.save(estimator, tmp_path / "model.sklf")
    assert list(tmp_path.iterdir()) == []


def test_info_tells_what_is_inside_without_building_it(tmp_path):
    """Names and numbers, for a file from elsewhere."""
    path = tmp_path / "model.sklf"
    persistence.save(DummyClassifier().fit([[0], [1]], ["a", "b"]), path)
    found = persistence.info(path)
    assert found["format"] == persistence.FORMAT
    assert any("DummyClassifier" in str(value) for value in found.values())
