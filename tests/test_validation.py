"""Targets that users pass by mistake are refused in the same words everywhere."""

import enum
import unicodedata

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse
from sklearn.utils.class_weight import compute_sample_weight

from sklfusion import (
    AutoFusionClassifier,
    FusionClassifier,
    JointFusionClassifier,
    LLMClassifier,
    LLMScorer,
    MultiLabelThresholds,
)
from sklfusion._validation import (
    check_cells,
    check_class_target,
    check_classes,
    check_indicator,
    check_layers,
    check_scores,
    check_unit_interval,
    class_weight_rows,
    is_missing,
    is_multilabel,
    normalize_label,
    plain_labels,
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


class Mood(enum.Enum):
    """Class names as a program has them."""

    GOOD = "good"
    BAD = "bad"


class Tone(enum.StrEnum):
    """The same, as str."""

    HIGH = "high"
    LOW = "low"


@pytest.mark.parametrize(
    ("given_names", "wanted"),
    [
        (["a", "b"], ("a", "b")),
        (np.array(["a", "b"]), ("a", "b")),
        (pd.Series(["a", "b"], index=[3, 4]), ("a", "b")),
        (Mood, ("good", "bad")),
        ([Mood.BAD, Mood.GOOD], ("bad", "good")),
        (Tone, ("high", "low")),
        (np.array([3, 1]), (3, 1)),
        ([True, False], (True, False)),
        ((name for name in "ba"), ("b", "a")),
    ],
)
def test_class_names_keep_their_order_and_lose_their_wrapping(given_names, wanted):
    """Enum members are their values, numpy scalars Python's."""
    found = check_classes(given_names)
    assert found == wanted
    assert [type(name) for name in found] == [type(name) for name in wanted]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (None, "at least two class names"),
        ("ab", "at least two class names"),
        (["a"], r"got 1 class\(es\)"),
        (["a", None], "NaN or None"),
        (["a", float("nan")], "NaN or None"),
        (["a", " "], "empty class name"),
        (["spam", "ham", "SPAM "], "'spam' and 'SPAM '"),
        (["e\N{COMBINING ACUTE ACCENT}t", "\N{LATIN SMALL LETTER E WITH ACUTE}t"], "equal"),
        ([1, "1"], "1 and '1'"),
    ],
)
def test_class_names_that_no_reply_could_tell_apart_are_refused(names, message):
    """Both names stand in the message."""
    with pytest.raises(ValueError, match=message) as caught:
        check_classes(names, caller="Mine")
    assert "Mine" in str(caught.value)


@given(st.text(max_size=12))
def test_folding_a_label_twice_changes_nothing_more(label):
    """And neither does white space or upper case around it."""
    folded = normalize_label(label)
    assert normalize_label(folded) == folded
    assert normalize_label(f"  {label}\n") == folded


@pytest.mark.parametrize("label", ["Straße", "ταΐζω", "naïve", "ΐ", "ﬁne", "Ǆ", "İstanbul", "ᾳ"])
@pytest.mark.parametrize("form", ["NFC", "NFD", "NFKC", "NFKD"])
def test_a_label_shouted_is_the_same_label(label, form):
    """Also where upper case has no composed letter, and in any Unicode form."""
    wanted = normalize_label(label)
    for written in (label, label.upper(), label.title(), label.casefold()):
        assert normalize_label(unicodedata.normalize(form, written)) == wanted, written


@pytest.mark.parametrize(
    ("written", "folded"),
    [
        ("  Very   GOOD. ", "very good"),
        ("'Joy'", "joy"),
        ("**Straße**", "strasse"),
        ("C++", "c++"),
        ("!", "!"),
        ("\uff21\uff22", "ab"),
        ("a.b", "a.b"),
    ],
)
def test_labels_are_folded_as_models_write_them(written, folded):
    """Outer punctuation goes, inner stays; a label of punctuation is one."""
    assert normalize_label(written) == folded


@pytest.mark.parametrize("value", [None, float("nan"), np.float32("nan"), pd.NA, pd.NaT])
def test_every_library_has_its_word_for_nothing(value):
    """All are missing; empty text, zero and False are not."""
    assert is_missing(value)
    assert not any(map(is_missing, ["", "nan", 0, False, np.inf]))


def test_plain_labels_are_pythons():
    """What a JSON file or a pickle of a label should hold."""
    found = plain_labels([np.str_("a"), np.int64(2), np.bool_(True), Tone.LOW, np.float32(0.5)])
    assert [type(label) for label in found] == [str, int, bool, str, float]
    assert found == ["a", 2, True, "low", 0.5]


INDICATOR = [[1, 0, 1], [0, 0, 1]]


@pytest.mark.parametrize(
    "box",
    [
        list,
        np.array,
        sparse.csr_matrix,
        sparse.coo_array,
        pd.DataFrame,
        lambda y: np.array(y, dtype=bool),
        lambda y: np.array(y, dtype=object),
    ],
)
def test_indicators_come_out_dense(box):
    """Whatever they came in, and they are recognised as several labels."""
    found = check_indicator(box(INDICATOR))
    assert found.dtype == np.float32
    assert found.tolist() == INDICATOR
    assert is_multilabel(box(INDICATOR))


@pytest.mark.parametrize(
    ("y", "soft", "message"),
    [
        ([[1, 0], [0, 2]], False, r"y\[1, 1\] is 2; .*only 0 and 1"),
        ([[1, 0.5]], False, r"y\[0, 1\] is 0.5"),
        ([[1, 1.5]], True, r"y\[0, 1\] is 1.5; .*values in \[0, 1\]"),
        ([[1, -0.1]], True, r"y\[0, 1\] is -0.1"),
        ([[0, 1], [1, np.nan]], True, r"y\[1, 1\] is missing"),
        ([0, 1, 1], False, r"shape \(3,\)"),
        ([["a", "b"], ["b", "a"]], False, "MultiLabelBinarizer"),
        (np.array([["a", "b"]]), False, "MultiLabelBinarizer"),
    ],
)
def test_cells_that_are_no_labels_are_named(y, soft, message):
    """Row and column, the value, and what was wanted."""
    with pytest.raises(ValueError, match=message):
        check_indicator(y, soft=soft)


def test_rates_are_labels_where_they_are_asked_for():
    """Shares of annotators pass as they are."""
    assert check_indicator([[0.25, 1]], soft=True).tolist() == [[0.25, 1]]


@pytest.mark.parametrize(
    ("y", "kind"),
    [
        (["a", "b", "a"], "binary"),
        ([1, 2, 3], "multiclass"),
        (INDICATOR, "multilabel-indicator"),
    ],
)
def test_kinds_of_targets(y, kind):
    """One label of two or more, or several; one column is no indicator."""
    assert check_class_target(y) == kind
    assert is_multilabel(np.asarray(y)) == (kind == "multilabel-indicator")
    assert not is_multilabel(np.zeros((3, 1)))


def test_numbers_that_are_no_classes_are_refused():
    """A regression target would make a class of every row."""
    with pytest.raises(ValueError, match=r"continuous.*Mine needs class labels"):
        check_class_target([0.1, 2.7, 3.3], caller="Mine")


def test_scores_are_whole_rows():
    """Half an answer is none; a row of NaN is one where it may be."""
    nan = float("nan")
    assert np.isnan(check_scores([[nan, nan]], 2, allow_nan_rows=True)).all()
    for scores, allowed, message in [
        ([[0.5, 0.5, 0]], False, r"shape \(1, 3\); it needs \(n, 2\)"),
        ([0.5, 0.5], False, r"shape \(2,\)"),
        ([[0, 1], [nan, nan]], False, "row 1"),
        ([[0, 1], [0, nan]], True, "row 1"),
        ([[np.inf, 0]], True, "row 0"),
    ]:
        with pytest.raises(ValueError, match=message):
            check_scores(scores, 2, allow_nan_rows=allowed)


def test_a_share_is_a_number_from_nought_to_one():
    """Both ends belong; a boolean is no number here."""
    assert [check_unit_interval(v, "share") for v in (0, 1, np.float32(0.5))] == [0, 1, 0.5]
    for value in (-0.1, 1.1, True, "0.5", None, float("nan")):
        with pytest.raises(ValueError, match=r"share=.*\[0, 1\]"):
            check_unit_interval(value, "share")


@given(st.lists(st.sampled_from("abc"), min_size=3, max_size=20))
def test_balanced_weights_give_every_class_the_same_sum(y):
    """And the weights are scikit-learn's."""
    y = np.array(y)
    rows = class_weight_rows("balanced", y)
    sums = [rows[y == label].sum() for label in np.unique(y)]
    np.testing.assert_allclose(sums, len(y) / len(sums))
    np.testing.assert_array_equal(rows, compute_sample_weight("balanced", y))
