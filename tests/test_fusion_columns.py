"""Which columns are scores: by name, by number, by value."""

import warnings

import numpy as np
import pandas as pd
import pytest
from _fusion_data import make_labels, make_rows

from sklfusion import FusionClassifier
from sklfusion.exceptions import DataWarning
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
    """Without scores nothing is invented, and the encoder is the one source."""
    X, y = rows
    assert find(X[:, :20], y).blocks == []
    clf = FusionClassifier(random_state=0).fit(X[:, :20], y)
    assert clf.score_columns_.tolist() == []
    assert clf.chosen_ == "anchored"
    assert list(clf.source_weights_) == ["encoder"]


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


# -- scores that no column was taken for -------------------------------------------------------


def soft_votes(y, k=3, seed=0):
    """Log-probabilities that are right three times in four."""
    rng = np.random.default_rng(seed)
    said = np.where(rng.random(len(y)) < 0.75, y, rng.integers(k, size=len(y)))
    P = rng.dirichlet(np.ones(k), size=len(y)) * 0.4 + 0.6 * np.eye(k)[said]
    return np.log(P / P.sum(axis=1, keepdims=True))


@pytest.mark.parametrize("as_log", [True, False])
def test_scores_before_other_columns_are_pointed_out_with_what_to_pass(rows, as_log):
    """They would be lost without a word; passed as told, they are found."""
    X, y = rows
    scores = soft_votes(y) if as_log else np.exp(soft_votes(y))
    mixed = np.hstack([X[:, :4], scores, X[:, 4:20]])
    with pytest.warns(DataWarning, match=r"Columns 4 to 6 .*before other.*slice\(4, 7\)"):
        assert find(mixed, y).found_by == "nothing"
    found = find(mixed, y, score_columns=slice(4, 7))
    assert (found.found_by, found.scores.tolist()) == ("numbers", [4, 5, 6])


def test_scores_of_more_classes_than_y_shows_are_pointed_out(rows):
    """Five log-probabilities at the end, three classes in y."""
    X, y = rows
    wide = np.hstack([X[:, :20], soft_votes(y, k=5)])
    with pytest.warns(DataWarning, match=r"Columns 20 to 24 .*of 5 classes, while y has 3"):
        assert find(wide, y).blocks == []
    found = find(wide, y, slice(20, 25), score_classes=[0, 1, 2, 3, 4])
    assert found.blocks[0].mapping.tolist() == [0, 1, 2, -1, -1]


def test_label_scores_before_other_columns_are_pointed_out():
    """Log-probabilities that go along with the labels; others in the same range do not."""
    X, Y = make_labels(120, k=4)
    rng = np.random.default_rng(0)
    scores = np.log(np.clip(0.15 + 0.7 * Y + rng.uniform(-0.1, 0.1, Y.shape), 0.01, 0.99))
    mixed = np.hstack([scores, X[:, :20]])
    with pytest.warns(DataWarning, match="Columns 0 to 3 .*before other columns"):
        find_columns(mixed, Y, "auto", None, list(range(4)), None, True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        shuffled = np.hstack([rng.permutation(scores), X[:, :20]])
        assert find_columns(shuffled, Y, "auto", None, list(range(4)), None, True).blocks == []


def test_features_that_happen_to_sum_to_one_are_no_scores(rows):
    """A one-hot feature that a guess beats, and negative columns: no word about them."""
    X, y = rows
    one_hot = np.eye(3)[(y + np.arange(60) % 2 + 1) % 3]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert find(np.hstack([one_hot, X[:, :20]]), y).blocks == []
        assert find(-np.abs(X[:, :20]) - 3, y).blocks == []
        assert find(X[:, :2], y).blocks == []


def test_no_scores_at_all_can_be_said(rows):
    """``score_columns=None`` takes them as features, and warns of nothing."""
    X, y = rows
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = find(np.hstack([X[:, :4], soft_votes(y), X[:, 4:20]]), y, score_columns=None)
    assert (found.found_by, len(found.encoder)) == ("nothing", 23)


# -- chosen by hand ----------------------------------------------------------------------------


def test_a_mask_and_names_choose_columns(rows):
    """As numbers do."""
    X, y = rows
    mask = np.arange(23) >= 20
    names = [f"c{i}" for i in range(23)]
    for chosen in (mask, mask.tolist(), ["c20", "c21", "c22"]):
        assert find(X, y, score_columns=chosen, names=names).scores.tolist() == [20, 21, 22]
    with pytest.raises(ValueError, match=r"names \['d1'\], which X does not have"):
        find(X, y, score_columns=["c20", "d1", "c22"], names=names)


def test_a_flag_among_chosen_columns_is_told_by_its_values(rows):
    """Four columns of three classes: the last is 0 or 1 and marks who gave no answer."""
    X, y = rows
    flag = (np.arange(60) % 5 == 0)[:, None].astype(float)
    found = find(np.hstack([X, flag]), y, score_columns=slice(20, 24))
    assert (found.blocks[0].flag, found.blocks[0].silence) == (23, "told")
    with pytest.raises(ValueError, match="names 4 columns, but there are 3 classes"):
        find(np.hstack([X, flag + 0.5]), y, score_columns=slice(20, 24))


def test_classes_of_the_columns_must_be_as_many(rows):
    """Both counts are named."""
    X, y = rows
    names = [f"e{i}" for i in range(20)] + ["llm_0", "llm_1", "llm_2"]
    with pytest.raises(ValueError, match="names 4 classes, but llm has 3 columns"):
        find(X, y, names=names, score_classes=[0, 1, 2, 3])


def test_names_of_another_kind_keep_their_order(rows):
    """Columns named by words, classes that are other words: as many, so one is the other."""
    X, y = rows
    names = [f"e{i}" for i in range(20)] + ["llm_rot", "llm_blau", "llm_weiss"]
    found = find(X, y, names=names, classes=["red", "blue", "white"])
    assert found.found_by == "names"
    assert found.blocks[0].mapping.tolist() == [0, 1, 2]


def test_two_llms_by_name_are_two_sources(rows):
    """A prefix is a block, a column of its own marks silence."""
    X, y = rows
    wide = np.hstack([X, np.zeros((60, 1)), X[:, 20:]])
    names = [f"e{i}" for i in range(20)]
    names += ["llm1_0", "llm1_1", "llm1_2", "llm1__abstained", "llm2_2", "llm2_1", "llm2_0"]
    found = find(wide, y, names=names)
    assert [block.name for block in found.blocks] == ["llm1", "llm2"]
    assert [block.flag for block in found.blocks] == [23, None]
    assert found.blocks[1].mapping.tolist() == [2, 1, 0]
    assert found.encoder.tolist() == list(range(20))
