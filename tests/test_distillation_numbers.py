"""The numeric parts of a student: lessons, heads and intervals."""

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from sklfusion import FusionClassifier, VoteStudent
from sklfusion.distillation._distill import _cut_apart, _cut_rows
from sklfusion.distillation._gap import gap_report, interval, row_scores
from sklfusion.distillation._head import WeighedHead, fit_student_head
from sklfusion.distillation._lesson import Lesson, adds_up, read_lesson
from sklfusion.fusion._soft_probe import SoftProbe, fit_soft_probe
from sklfusion.noise import NoisyLabelClassifier


def clouds(n=300, n_classes=3, seed=0):
    """Vectors around one centre per class."""
    rng = np.random.RandomState(seed)
    y = rng.randint(n_classes, size=n)
    centers = np.random.RandomState(99).normal(size=(n_classes, 6)) * 2
    return rng.normal(size=(n, 6)) + centers[y], y


def read(y, proba=None, classes=None, n=4, multilabel=None):
    return read_lesson(y, proba, classes, n, "Caller", multilabel)


# -- lessons -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "y",
    [
        ["b", None, "a", float("nan")],
        np.array(["b", None, "a", None], dtype=object),
        pd.Series(["b", None, "a", pd.NA], dtype="string"),
        pd.Series(["b", None, "a", None], dtype="category"),
    ],
    ids=["list", "array", "string", "category"],
)
def test_holes_in_labels(y):
    """Whatever form they come in, a hole is a row without a label."""
    lesson = read(y, proba=[[0.9, 0.1]] * 4, classes=["b", "a"])
    assert lesson.classes.tolist() == ["a", "b"]
    assert lesson.known.tolist() == [True, False, True, False]
    assert lesson.gold.tolist() == [[0, 1], [0, 0], [1, 0], [0, 0]]
    np.testing.assert_allclose(lesson.taught, [[0.1, 0.9]] * 4)


def test_numbers_as_labels():
    """Codes with holes, as pandas writes them."""
    lesson = read(pd.Series([1.0, None, 0.0, None]), proba=[[0.8, 0.2]] * 4, classes=[0, 1])
    assert lesson.gold[[0, 2]].tolist() == [[0, 1], [1, 0]]


def test_no_answer_of_the_teacher():
    """NaN, and probabilities that are all alike."""
    lesson = read(None, [[0.9, 0.1], [np.nan, np.nan], [0.5, 0.5], [0.2, 0.8]], ["a", "b"])
    assert lesson.told.tolist() == [True, False, False, True]
    assert not lesson.taught[1:3].any()


def test_independent_labels_are_known_by_their_sums():
    """Rows that do not add up to 1 are several labels, unless it is told."""
    assert adds_up([[0.3, 0.7], [np.nan, np.nan]])
    assert not adds_up([[0.3, 0.9]])
    lesson = read(None, [[0.0, 0.0], [1.0, 1.0], [0.5, 0.5], [0.2, 0.3]])
    assert lesson.multilabel
    # all refused is an answer where labels are independent
    assert lesson.told.all()
    assert read(None, [[0.0, 1.0]] * 4, multilabel=True).multilabel


def test_label_columns_keep_their_names():
    """Of a frame, in their order."""
    y = pd.DataFrame({"z": [1, 0, 1, 0], "a": [0, 1, 1, 0]})
    lesson = read(y)
    assert lesson.classes.tolist() == ["z", "a"]
    assert lesson.gold.tolist() == y.to_numpy().tolist()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"y": None}, "requires y to be passed"),
        ({"y": None, "proba": [0.1, 0.9] * 2}, r"shape \(4,\); they must be \(n, K\)"),
        ({"y": None, "proba": [[0.1, 0.9]] * 4, "classes": ["a", "a"]}, "has 'a' twice"),
        ({"y": None, "proba": [[0.1, 0.9]] * 4, "classes": ["a"]}, r"needs \(n, 1\)"),
        ({"y": None, "proba": [[1.0]] * 4, "classes": ["a"]}, "one class, 'a'"),
        ({"y": None, "proba": [[0.1, 0.9]] * 3, "classes": ["a", "b"]}, "4 texts and 3 rows"),
        ({"y": None, "proba": [[-0.1, 1.1]] * 4, "classes": ["a", "b"]}, r"lie in \[0, 1\]"),
        ({"y": ["a", "b"] * 2, "multilabel": True}, r"needs an \(n, K\) label indicator"),
        ({"y": np.eye(2)[[0, 1] * 2], "multilabel": False}, "needs one label per text"),
        ({"y": np.eye(2)[[0, 1] * 2], "classes": ["a", "b", "c"]}, "3 classes for 2 label"),
        ({"y": np.eye(2)[[0, 1] * 2] * 2}, r"y\[0, 0\] is 2"),
        ({"y": [None] * 4, "proba": [[np.nan] * 2] * 4, "classes": ["a", "b"]}, "no row has"),
    ],
)
def test_lessons_that_are_none(arguments, words):
    """With what arrived and what was wanted."""
    with pytest.raises(ValueError, match=words):
        read(**arguments)


def test_sparse_indicators_are_read():
    """As scikit-learn's own encoders make them."""
    y = np.array([[1, 0], [0, 1], [1, 1], [0, 0]])
    lesson = read(sparse.csr_matrix(y))
    assert lesson.multilabel
    assert lesson.gold.tolist() == y.tolist()
    assert lesson.classes.tolist() == [0, 1]
    assert lesson.known.all()


def test_probabilities_are_brought_to_sum_1():
    """Rounded ones too; independent labels are left as they are."""
    rounded = [[0.3333, 0.6664]] * 4
    lesson = read(None, rounded, ["a", "b"], multilabel=False)
    np.testing.assert_allclose(lesson.taught.sum(axis=1), 1)
    lesson = read(None, rounded, ["a", "b"], multilabel=True)
    np.testing.assert_allclose(lesson.taught, rounded)


def test_some_rows_of_a_lesson():
    """All parts are cut alike."""
    lesson = read(["a", "b", "a", "b"]).rows(np.array([1, 3]))
    assert lesson.gold.tolist() == [[0, 1], [0, 1]]
    assert lesson.known.shape == lesson.told.shape == (2,)


# -- heads ---------------------------------------------------------------------------------


def test_a_probe_gives_probabilities_back():
    """Trained on soft targets it is as unsure as they are."""
    E, y = clouds(2000, n_classes=2)
    soft = np.where(np.eye(2)[y] > 0, 0.8, 0.2)
    probe = fit_soft_probe(E, soft, "softmax", np.random.RandomState(0))
    assert isinstance(probe, SoftProbe)
    right = probe.proba(E)[np.arange(len(y)), y]
    assert 0.72 < right.mean() < 0.82


def test_labels_on_some_rows_are_weighed():
    """Three kinds of lesson, three kinds of head."""
    E, y = clouds()
    rng = np.random.RandomState(1)
    said = np.eye(3)[np.where(rng.random(300) < 0.7, y, rng.randint(3, size=300))]
    some = [int(label) if row < 60 else None for row, label in enumerate(y)]
    weighed = fit_student_head(E, read(some, said, [0, 1, 2], 300), np.random.RandomState(0))
    assert isinstance(weighed, WeighedHead)
    assert isinstance(weighed.votes, VoteStudent)
    assert isinstance(weighed.fusion, FusionClassifier)
    assert isinstance(weighed.pooled, NoisyLabelClassifier)
    blind = fit_student_head(E, read(None, said, [0, 1, 2], 300), np.random.RandomState(0))
    assert isinstance(blind, SoftProbe)
    every = fit_student_head(E, read(y.tolist(), said, [0, 1, 2], 300), np.random.RandomState(0))
    assert isinstance(every, SoftProbe)
    new, wanted = clouds(seed=5)
    for head in (weighed, blind, every):
        proba = head.proba(new)
        np.testing.assert_allclose(proba.sum(axis=1), 1)
        assert np.mean(proba.argmax(axis=1) == wanted) > 0.8


def test_a_pooled_model_has_half_of_the_say():
    """Also where its classes are some of the teacher's; an older save has none."""
    E, y = clouds()
    said = np.eye(4)[y]  # of four classes one is never said
    some = [int(label) if row < 60 else None for row, label in enumerate(y)]
    head = fit_student_head(E, read(some, said, [0, 1, 2, 3], 300), np.random.RandomState(0))
    assert head.pooled.classes_.tolist() == [0, 1, 2]
    assert head.pooled.transition_matrices_.shape == (1, 3, 3)
    fused = head.fusion.predict_proba(head.votes.transform(E))
    pooled = np.hstack([head.pooled.predict_proba(E), np.zeros((300, 1))])
    np.testing.assert_allclose(head.proba(E), (fused + pooled) / 2)
    head.__dict__.pop("pooled")
    np.testing.assert_allclose(head.proba(E), fused)


def test_a_teacher_worth_nothing_does_little_harm():
    """Random answers: the student stays near what its gold rows alone would tell."""
    E, y = clouds(400)
    said = np.eye(3)[np.random.RandomState(2).randint(3, size=400)]
    some = [int(label) if row < 60 else None for row, label in enumerate(y)]
    head = fit_student_head(E, read(some, said, [0, 1, 2], 400), np.random.RandomState(0))
    new, wanted = clouds(seed=5)
    assert np.mean(head.proba(new).argmax(axis=1) == wanted) > 0.85


def test_a_label_without_gold_rows_is_left_to_the_probe():
    """Of several labels: what no gold row shows is the probe's word, else the fusion's."""
    rng = np.random.RandomState(0)
    Y = (rng.random((300, 3)) < [0.5, 0.5, 0.3]).astype(float)
    E = rng.normal(size=(300, 6)) + Y @ (2 * np.eye(3, 6))
    taught = np.abs(Y - (rng.random(Y.shape) < 0.1))
    known = np.arange(300) < 30
    gold = np.where(known[:, None], Y, 0.0)
    gold[:, 2] = 0.0
    lesson = Lesson(np.arange(3), gold, known, taught, np.ones(300, dtype=bool), True)
    head = fit_student_head(E, lesson, np.random.RandomState(0))
    found, probe = head.proba(E), head.votes.predict_proba(E)
    np.testing.assert_allclose(found[:, 2], probe[:, 2])
    assert np.abs(found[:, 0] - probe[:, 0]).max() > 0.01
    head.__dict__.pop("share")  # as saved by a version that had none
    np.testing.assert_allclose(head.proba(E), head.fusion.predict_proba(head.votes.transform(E)))


def test_a_stated_answer_is_cut_by_other_rows():
    """Each fold's label sets are those of the cut that the other folds choose."""
    low = np.array([[0.3, 0.25]] * 40 + [[0.25, 0.3]] * 40)
    high = low + 0.45
    held_out, folds = np.vstack([low, high]), np.repeat([0, 1], 80)
    wanted = (np.vstack([low, low]) > 0.28).astype(int)
    answers = _cut_apart(held_out, wanted, np.ones(160), folds)
    assert answers[80:].all()  # the cut that is right for the low ones gives both
    np.testing.assert_array_equal(answers[:80], wanted[:80])  # empty sets get their likeliest


def test_gold_label_sets_alone_choose_the_cut():
    """Ten of them do; with fewer the teacher's word on all rows does."""
    rng = np.random.RandomState(0)
    Y = (rng.random((40, 2)) < 0.5).astype(float)
    for n, of_gold in ((9, False), (10, True)):
        known = np.arange(40) < n
        gold = np.where(known[:, None], Y, 0.0)
        lesson = Lesson(np.arange(2), gold, known, 1 - Y, np.ones(40, dtype=bool), True)
        wanted, weights = _cut_rows(lesson, 1 - Y)
        np.testing.assert_array_equal(weights, known if of_gold else np.ones(40))
        np.testing.assert_array_equal(wanted[:n], Y[:n])


def test_one_class_among_the_labels_cannot_weigh():
    """Nothing can be learnt of the teacher's errors then; labels and answers make one probe."""
    E, y = clouds(60)
    some = ["a" if row < 3 else None for row in range(60)]
    lesson = read(some, np.eye(3)[y], ["a", "b", "c"], 60)
    assert isinstance(fit_student_head(E, lesson, np.random.RandomState(0)), SoftProbe)


def test_same_seed_same_head():
    """The folds are drawn from the generator alone."""
    E, y = clouds()
    lesson = read(y.tolist(), None, None, 300)
    one, two = (fit_student_head(E, lesson, np.random.RandomState(3)) for _ in range(2))
    np.testing.assert_allclose(one.proba(E), two.proba(E), atol=1e-12)


# -- what is lost --------------------------------------------------------------------------


def test_scores_of_rows():
    """A hit or a miss with one label; F1 of the sets with several."""
    one = np.eye(2, dtype=int)
    assert row_scores(one, one[::-1]).tolist() == [0, 0]
    assert row_scores(one, one).tolist() == [1, 1]
    sets = np.array([[1, 1, 0], [0, 0, 0], [1, 0, 0]])
    wanted = np.array([[1, 0, 0], [0, 0, 0], [0, 0, 0]])
    np.testing.assert_allclose(row_scores(sets, wanted), [2 / 3, 1, 0])


def test_report_counts_silence_as_no_hit():
    """A teacher that says nothing about a labelled row has not got it right."""
    proba = [[0.9, 0.1], [np.nan, np.nan], [0.9, 0.1], [0.1, 0.9]]
    lesson = read(["a", "a", None, "b"], proba, ["a", "b"])
    answers = np.array([[1, 0], [1, 0], [0, 1], [0, 1]])
    said = np.array([[1, 0], [1, 0], [1, 0], [0, 1]])
    report = gap_report(answers, said, lesson)
    assert (report["n_texts"], report["n_gold"], report["n_silent"]) == (4, 3, 1)
    assert report["student"]["mean"] == 1
    assert report["teacher"]["mean"] == pytest.approx(2 / 3)
    assert report["gap"]["mean"] == pytest.approx(1 / 3)
    assert report["agreement"]["mean"] == pytest.approx(2 / 3)


def test_an_interval_is_never_empty():
    """Where all rows agree it still has a width, and stays within what can be."""
    found = interval(np.ones(20), (2.0, 2.0, 4.0))
    assert found["low"] < 0.95 < found["mean"] == found["high"] == 1
    level = interval(np.zeros(20), (0.0, 1.0, 2.0))
    assert -0.2 < level["low"] < 0 < level["high"] < 0.2
    assert np.isnan(interval(np.zeros(0), (2.0, 2.0, 4.0))["mean"])
