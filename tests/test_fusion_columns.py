"""Which columns are scores: by name, by number, by value."""

import numpy as np
import pandas as pd
import pytest
from _fusion_data import make_labels, make_rows

from sklfusion import FusionClassifier
from sklfusion.fusion._columns import find_columns
from sklfusion.fusion._folds import assign_folds
from sklfusion.multilabel._cut import apply_cut, choose_cut

CLASSES = ["a", "b", "c"]


@pytest.fixture(scope="module")
def rows():
    return make_rows(60)


def find(X, y, score_columns="auto", score_classes=None, names=None, classes=(0, 1, 2)):
    """find_columns on one class per row."""
    Y = np.eye(len(classes))[y]
    return find_columns(X, Y, score_columns, score_classes, list(classes), names, False)


@pytest.mark.parametrize("as_log", [False, True])
def test_trailing_probabilities_are_found(rows, as_log):
    """Probabilities and log-probabilities at the end are scores, by their values."""
    X, y = rows
    soft = np.random.default_rng(0).dirichlet(np.ones(3), size=60)
    X = np.hstack([X[:, :20], np.log(soft) if as_log else soft])
    assert find(X, y).scores.tolist() == [20, 21, 22]


def test_two_llms_with_flags_are_found(rows):
    """m blocks of K columns, each with a 0/1 column, are taken apart."""
    X, y = rows
    flag = (np.arange(60) % 7 == 0)[:, None].astype(float)
    X = np.hstack([X, flag, X[:, 20:], flag])
    found = find(X, y)
    assert [b.flag for b in found.blocks] == [23, 27]
    assert [b.columns.tolist() for b in found.blocks] == [[20, 21, 22], [24, 25, 26]]


def test_embedding_alone_has_no_scores(rows):
    """Without scores nothing is invented, and the model is the plain MLP."""
    X, y = rows
    assert find(X[:, :20], y).blocks == []
    clf = FusionClassifier(max_epochs=3, random_state=0).fit(X[:, :20], y)
    assert clf.score_columns_.tolist() == []
    assert clf.chosen_ == "concat"


@pytest.mark.parametrize("prefix", ["", "scores__", "union__scores__"])
def test_names_tell_columns_and_classes(rows, prefix):
    """Names llm_<class> find the block wherever it stands, in whatever class order."""
    X, y = rows
    names = [f"embedding_{i}" for i in range(20)]
    frame = pd.DataFrame(X[:, :20], columns=names)
    for k in (2, 0, 1):
        frame.insert(0, f"{prefix}llm_{CLASSES[k]}", X[:, 20 + k])
    frame[f"{prefix}llm__abstained"] = 0.0
    clf = FusionClassifier(random_state=0).fit(frame, np.array(CLASSES)[y])
    assert clf.score_columns_.tolist() == [0, 1, 2, 23]
    plain = FusionClassifier(random_state=0).fit(X, np.array(CLASSES)[y])
    np.testing.assert_allclose(clf.predict_proba(frame), plain.predict_proba(X), atol=0.05)


@pytest.mark.parametrize(
    "columns", [slice(20, 23), [20, 21, 22], [-3, -2, -1], np.array([20, 21, 22])]
)
def test_columns_by_number(rows, columns):
    """Slices, lists, negative numbers and arrays are one and the same."""
    X, y = rows
    clf = FusionClassifier(score_columns=columns, random_state=0).fit(X, y)
    assert clf.score_columns_.tolist() == [20, 21, 22]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (slice(20, 22), "names 2 columns, but there are 3 classes"),
        ([0, 99], "outside X"),
        (["llm_a"], "no column names"),
        ("last", "not known"),
        (7, "not known"),
    ],
)
def test_wrong_columns_are_a_clear_error(rows, columns, message):
    """What arrived, what was wanted, what to do."""
    X, y = rows
    with pytest.raises(ValueError, match=message):
        FusionClassifier(score_columns=columns).fit(X, y)


def test_a_class_that_was_not_scored_is_named(rows):
    """Targets with a class that the scorer never heard of are an error."""
    X, y = rows
    with pytest.raises(ValueError, match=r"\['c'\]"):
        FusionClassifier(score_columns=slice(20, 23), score_classes=["a", "b", "d"]).fit(
            X, np.array(CLASSES)[y]
        )


def test_a_scored_class_without_rows_is_legal(rows):
    """A declared class that y never shows keeps its column and gets no output of its own."""
    X, y = rows
    X = np.hstack([X, np.zeros((60, 1))])
    params = {"score_columns": slice(20, 24), "score_classes": [*CLASSES, "d"], "random_state": 0}
    clf = FusionClassifier(**params).fit(X, np.array(CLASSES)[y])
    assert clf.classes_.tolist() == CLASSES
    wide = FusionClassifier(classes=[*CLASSES, "d"], **params).fit(X, np.array(CLASSES)[y])
    assert wide.classes_.tolist() == [*CLASSES, "d"]
    said_d = np.hstack([X[:, :20].mean(axis=0), [0, 0, 0, 1]])[None]
    assert wide.predict(said_d).tolist() == ["d"]


def test_class_probabilities_of_the_encoder_are_used_as_such():
    """features= picks embedding, probabilities or both."""
    X, y = make_rows(300, signal=0.4)
    p = np.random.default_rng(0).dirichlet(np.ones(3), size=300) + 0.8 * np.eye(3)[y]
    p /= p.sum(axis=1, keepdims=True)
    both = np.hstack([p, X])
    kwargs = {"score_columns": slice(23, 26), "random_state": 0}
    scores = {}
    for features in ("embedding", "proba", "both", "auto"):
        clf = FusionClassifier(features=features, **kwargs).fit(both[:150], y[:150])
        scores[features] = clf.score(both[150:], y[150:])
    assert list(clf.source_weights_) == ["encoder", "encoder_proba", "llm"]
    assert scores["auto"] == scores["both"] >= scores["embedding"]
    with pytest.raises(ValueError, match="class probabilities"):
        FusionClassifier(features="proba", score_columns=slice(20, 23)).fit(X, y)


def test_scale_of_the_encoder_columns_does_not_matter():
    """Blocks are scaled: a thousandfold embedding gives the same model."""
    X, y = make_rows(100)
    big = X.copy()
    big[:, :20] = 1000 * big[:, :20] + 5
    a = FusionClassifier(random_state=0).fit(X, y).predict_proba(X)
    b = FusionClassifier(random_state=0).fit(big, y).predict_proba(big)
    np.testing.assert_allclose(a, b, atol=1e-3)


def test_same_rows_share_a_fold():
    """A repeated row never vouches for itself."""
    X, y = make_rows(40)
    twice = np.vstack([X, X])
    folds = assign_folds(twice, np.eye(3)[np.r_[y, y]], "softmax", 5, np.random.RandomState(0))
    np.testing.assert_array_equal(folds[:40], folds[40:])
    assert set(folds) == set(range(5))


def test_cut_is_half_unless_the_data_say_otherwise():
    """Calibrated probabilities keep 0.5; systematically low ones move the cut down."""
    rng = np.random.default_rng(0)
    P = rng.random((500, 3))
    Y = (rng.random((500, 3)) < P).astype(float)
    assert choose_cut(P, Y, np.ones(500)) == (0.5, False)
    sharp = np.where(Y > 0, 0.35, 0.1) + 0.01 * P
    assert choose_cut(sharp, Y, np.ones(500))[0] < 0.36
    assert apply_cut(np.array([[0.1, 0.3]]), 0.5, True).tolist() == [[0, 1]]


def test_threshold_can_be_given():
    """A number is used as it is."""
    X, Y = make_labels(80)
    clf = FusionClassifier(threshold=0.9, random_state=0).fit(X, Y)
    np.testing.assert_array_equal(clf.predict(X), (clf.predict_proba(X) >= 0.9).astype(int))
    assert not clf.fill_empty_
