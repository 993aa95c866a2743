"""What counts as a list of texts, in every container that people have them in."""

import narwhals as nw
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from sklfusion._text_input import check_texts, distinct, replace_surrogates
from sklfusion.exceptions import DataWarning

TEXTS = ["one", "", "drei \N{SNOWMAN}"]


@pytest.mark.parametrize(
    "box",
    [
        list,
        tuple,
        iter,
        np.array,
        lambda v: np.array(v, dtype=object),
        lambda v: np.array(v)[:, None],
        pd.Series,
        lambda v: pd.Series(v, index=[7, 7, 7]),
        lambda v: pd.Series(v, dtype="string"),
        lambda v: pd.Series(v).astype("category"),
        lambda v: pd.DataFrame({"text": v}),
        pd.Index,
        pa.array,
        lambda v: pa.array(v, pa.large_string()),
        lambda v: pa.array(v, pa.string_view()),
        lambda v: pa.array(v).dictionary_encode(),
        lambda v: pa.chunked_array([v[:1], v[1:]]),
        lambda v: pa.table({"text": v}),
        lambda v: pa.record_batch({"text": pa.array(v)}),
        lambda v: list(pa.array(v)),  # what cutting it into folds leaves
        lambda v: nw.from_native(pa.table({"text": v})),
        lambda v: nw.from_native(pd.DataFrame({"text": v}))["text"],
    ],
)
def test_texts_come_out_of_their_container_as_plain_str(box):
    """In order, and str itself, not a subclass that numpy or pandas made."""
    found = check_texts(box(TEXTS))
    assert found == TEXTS
    assert all(type(text) is str for text in found)


@pytest.mark.parametrize(
    ("X", "error", "message"),
    [
        ("one text", TypeError, r"one bare str.*\[text\]"),
        (b"bytes", TypeError, "one bare bytes"),
        ({"a": "x"}, TypeError, r"dict.*list\(X.values\(\)\)"),
        (sparse.eye(2), TypeError, "sparse matrix.*raw texts"),
        (7, TypeError, "got int"),
        (None, TypeError, "got NoneType"),
        (["a", 3], TypeError, r"texts\[1\] is int"),
        (["a", b"b"], TypeError, r"texts\[1\] is bytes"),
        (["a", ["b"]], TypeError, r"texts\[1\] is list"),
        (["a", None], ValueError, r"texts\[1\] is missing \(None\)"),
        (["a", "b", float("nan")], ValueError, r"texts\[2\] is missing \(nan\)"),
        (pd.Series(["a", pd.NA], dtype="string"), ValueError, r"texts\[1\] is missing"),
        (pd.DataFrame({"a": ["x"], "b": ["y"]}), ValueError, "2 columns.*X\\['text'\\]"),
        (pa.array(["a", None]), ValueError, r"texts\[1\] is missing \(None\)"),
        (list(pa.array(["a", None])), ValueError, r"texts\[1\] is missing"),
        (pa.array([1, 2]), TypeError, r"texts\[0\] is int"),
        (pa.table({"a": ["x"], "b": ["y"]}), ValueError, "2 columns"),
        (iter([["a"], ["b"]]), TypeError, r"sklfusion\.batch\.stream"),
        (iter([pa.record_batch({"a": pa.array(["x"])})]), TypeError, r"batch\.stream"),
        (np.array([["a", "b"]]), ValueError, "2-dimensional"),
        (np.zeros((1, 1, 1), dtype=str), ValueError, "3-dimensional"),
        ([], ValueError, "0 texts"),
    ],
)
def test_what_is_no_list_of_texts_is_refused_with_a_way_out(X, error, message):
    """The message names the estimator and the index."""
    with pytest.raises(error, match=message) as caught:
        check_texts(X, caller="Mine")
    assert "Mine" in str(caught.value)


def test_no_texts_are_fine_where_nothing_is_learnt():
    """``transform`` of nothing is nothing."""
    assert check_texts([], allow_empty=True) == []
    assert check_texts(pd.DataFrame({"text": []}), allow_empty=True) == []


@given(st.lists(st.text(max_size=3), max_size=12))
def test_distinct_texts_and_places_give_back_the_list(texts):
    """Each once, in the order of first sight."""
    different, places = distinct(texts)
    assert [different[place] for place in places] == texts
    assert different == list(dict.fromkeys(texts))
    assert places.dtype.kind == "i"


def test_half_a_pair_of_surrogates_is_replaced_and_told_once():
    """Whole characters beyond the first plane stay as they are; so does the caller's list."""
    texts = ["plain", "face \N{GRINNING FACE}", "half \ud83d", "\ude00 and \ud83d"]
    with pytest.warns(DataWarning, match=r"2 text\(s\).*the first is texts\[2\]") as told:
        found = replace_surrogates(texts)
    assert len(told) == 1
    assert found == [*texts[:2], "half \ufffd", "\ufffd and \ufffd"]
    assert texts[2] == "half \ud83d"
    assert replace_surrogates(texts[:2]) == texts[:2]
