"""The report's figures on rows few enough to be counted by hand."""

from collections import Counter

import numpy as np
import pytest

from sklfusion.cascade import _cost_curve
from sklfusion.report._evaluate import Evaluation, _Fold, _put_together, _sum
from sklfusion.report._figures import (
    accuracy_by_share,
    compared,
    confusion,
    data_sheet,
    disagreements,
    hits_of,
    numbers_of_truth,
    paired,
    per_class,
    reliability_of,
    scores_of,
)
from sklfusion.report._page import page
from sklfusion.report._sources import Opinion, _by_class, decided
from sklfusion.report._table import read_rows

TEXTS = ["one", "two", "two", " ", "a longer text", "six"]
TRUTH = ["a", "b", "b", "c", "a", "c"]
CLASSES = ["a", "b", "c"]


def sure_of(labels, confidence=0.8):
    """Probabilities of three classes with the same confidence in each row."""
    rest = (1 - confidence) / 2
    return np.where(np.eye(3)[labels] == 1, confidence, rest)


def opinion(role, labels, confidence=0.8, answered=None):
    answered = None if answered is None else np.array(answered)
    return decided(role, sure_of(labels, confidence), answered=answered)


@pytest.fixture
def done():
    """Six rows: fusion errs on the last, the LLM on two, the encoder on three."""
    return Evaluation(
        read_rows(TEXTS, TRUTH),
        CLASSES,
        {
            "fusion": opinion("fusion", [0, 1, 1, 2, 0, 0]),
            "LLM alone": opinion("part", [0, 1, 1, 2, 1, 0], 0.9, [True] * 5 + [False]),
            "encoder alone": opinion("part", [0, 1, 0, 0, 0, 1], 0.6),
            "majority": opinion("rival", [0] * 6, 0.4),
        },
        "fusion",
        np.repeat([0, 1], 3),
    )


@pytest.fixture
def labels():
    """Four rows of three labels: fusion has all right but one cell."""
    Y = np.array([[1, 0, 1], [0, 0, 0], [1, 1, 0], [0, 1, 0]])
    said = Y.copy()
    said[0, 2] = 0
    wrong = 1 - Y
    return Evaluation(
        read_rows(TEXTS[:4], Y),
        [0, 1, 2],
        {
            "fusion": Opinion("fusion", np.where(said, 0.9, 0.1), said),
            "LLM alone": Opinion("part", np.where(wrong, 0.7, 0.3), wrong, np.ones(4, bool)),
            "encoder alone": Opinion("part", np.where(Y, 0.6, 0.4), Y),
        },
        "fusion",
        np.zeros(4, int),
    )


def test_truth_and_hits_are_counted(done, labels):
    """By number of class, and for sets only if all of it is right."""
    assert numbers_of_truth(done).tolist() == [0, 1, 1, 2, 0, 2]
    assert hits_of(done, "fusion").tolist() == [True] * 5 + [False]
    assert hits_of(done, "encoder alone").tolist() == [True, True, False, False, True, False]
    assert hits_of(labels, "fusion").tolist() == [False, True, True, True]
    assert not hits_of(labels, "LLM alone").any()


def test_scores_by_hand(done):
    """Five of six right, sure by 0.8: off by a thirtieth."""
    found = scores_of(done, "fusion")
    assert found["accuracy"] == pytest.approx(5 / 6)
    assert found["calibration_error"] == pytest.approx(5 / 6 - 0.8)
    assert found["log_loss"] == pytest.approx(-(5 * np.log(0.8) + np.log(0.1)) / 6)
    assert "rows_without_answer" not in found
    assert scores_of(done, "LLM alone")["rows_without_answer"] == 1


def test_scores_of_sets_by_hand(labels):
    """Three of four sets; eleven of twelve cells, sure by 0.9."""
    found = scores_of(labels, "fusion")
    assert found["accuracy"] == 0.75
    assert found["log_loss"] == pytest.approx(-(11 * np.log(0.9) + np.log(0.1)) / 12)
    assert found["micro_f1"] == pytest.approx(2 * 4 / (2 * 4 + 1))


def test_a_class_by_hand(done):
    """Of "c" one of two rows is found, and nothing else is called so."""
    found = {one["label"]: one for one in per_class(done, "fusion")}
    assert found["c"] == {"label": "c", "precision": 1, "recall": 0.5, "f1": 2 / 3, "rows": 2}
    assert found["a"]["precision"] == pytest.approx(2 / 3)


def test_the_comparison_by_hand(done):
    """The LLM is the better part, and fusion has one row more."""
    found = compared(done)
    assert found["best_part"] == "LLM alone"
    assert found["difference"] == pytest.approx(1 / 6)
    expected = paired(hits_of(done, "fusion"), hits_of(done, "LLM alone"))[1]
    assert found["interval"] == list(expected)
    done.opinions = {"fusion": done.opinions["fusion"]}
    assert compared(done) is None


def test_the_interval_of_a_difference_by_hand():
    """Agresti and Min: half a row in each cell, then Wald."""
    a, b = np.array([1, 1, 1, 0, 1, 1], bool), np.array([1, 0, 0, 1, 1, 1], bool)
    n, x, y = 6 + 2, 2.5, 1.5
    error = np.sqrt(x + y - (x - y) ** 2 / n) / n
    mean, (low, high) = paired(a, b)
    assert mean == pytest.approx(1 / 6)
    middle, half = (x - y) / n, 1.959964 * error
    assert (low, high) == pytest.approx((middle - half, middle + half), abs=1e-6)


def test_confusion_by_hand(done, labels):
    """The last row is a "c" that is called "a"."""
    assert confusion(done) == [[2, 0, 0], [0, 2, 0], [1, 0, 1]]
    assert confusion(labels) is None


def test_reliability_by_hand(done):
    """All rows are in one bin."""
    found = reliability_of(done, "encoder alone")
    assert found == {"confidence": [pytest.approx(0.6)], "accuracy": [0.5], "share": [1.0]}


def test_the_cost_curve_is_that_of_the_cascade(done):
    """Point by point what the cascade's own code finds for these answers."""
    rng = np.random.default_rng(0)
    n = 40
    done.table = read_rows([str(i) for i in range(n)], [CLASSES[i % 3] for i in range(n)])
    for name in ("fusion", "encoder alone"):
        proba = rng.dirichlet(np.ones(3), n)
        done.opinions[name] = decided(done.opinions[name].role, proba)
    first, fused = (done.opinions[name].proba for name in ("encoder alone", "fusion"))
    unsure = _cost_curve.doubt(first, np.zeros(n, bool), False)
    settings = {"multilabel": False, "scoring": "accuracy", "price": None, "most": 1.0}
    classes = np.array(CLASSES)
    expected = _cost_curve.cost_curve(first, fused, unsure, done.table.y, classes, **settings)
    found = accuracy_by_share(done)
    np.testing.assert_allclose(found["share"], expected["share"])
    np.testing.assert_allclose(found["accuracy"], expected["score"])


def test_disagreement_by_hand(done, labels):
    """Rows on which LLM and encoder differ, the row without an answer left out."""
    found = disagreements(done, 10)
    assert [row for row, _ in found[:3]] == [2, 3, 4]
    assert found[0][1] == pytest.approx(0.7)
    assert 5 not in [row for row, _ in found]
    assert len(disagreements(done, 2)) == 2
    assert disagreements(labels, 1)[0][1] == pytest.approx(0.3)


def test_the_data_sheet_by_hand(done, labels):
    """Repeats, blanks, lengths, counts by class; and what stands in training."""
    found = data_sheet(done.table)
    assert found["repeated_texts"] == found["empty_texts"] == 1
    assert found["characters"] == [1, 3, 3, 3, 13]
    assert sorted(found["classes"]) == [["a", 2], ["b", 2], ["c", 2]]
    other = read_rows(["two", "seven", "one"], ["a", "b", "a"])
    assert data_sheet(other, done.table)["also_in_training"] == 2
    sheet = data_sheet(labels.table)
    assert sheet["classes"] == [[0, 2], [1, 2], [2, 1]]
    assert sheet["labels_per_row"] == 1.25


def test_folds_are_put_together_by_class():
    """A class that a fold does not know has probability zero in its rows."""
    two, three = np.array([[0.3, 0.7]]), np.array([[0.2, 0.3, 0.5]])
    folds = [
        _Fold(["a", "c"], {"x": decided("fusion", two)}, {"llm": 1.0}, [], Counter(lost=1), ["n"]),
        _Fold(CLASSES, {"x": decided("fusion", three)}, {"llm": 2.0}, [], Counter(lost=2), ["n"]),
    ]
    found = _put_together(folds, read_rows(["s", "t"], ["c", "d"]), np.array([0, 1]), ["m"])
    assert found.classes == ["a", "b", "c", "d"]
    assert found.opinions["x"].labels.tolist() == [2, 2]
    expected = [[0.3, 0, 0.7, 0], [0.2, 0.3, 0.5, 0]]
    np.testing.assert_allclose(found.opinions["x"].proba, expected)
    assert found.trust == {"llm": [1.0, 2.0]}
    assert found.failures == {"lost": 3}
    assert found.notes == ["m", "n"]


def test_a_method_that_a_fold_lacks_is_left_out():
    """Figures of some rows only would not compare."""
    one = decided("fusion", np.array([[0.3, 0.7]]))
    rival = decided("rival", np.array([[0.3, 0.7]]))
    folds = [
        _Fold(["a", "b"], {"x": one, "y": rival}, {}, [], Counter(), []),
        _Fold(["a", "b"], {"x": one}, {}, [], Counter(), []),
    ]
    found = _put_together(folds, read_rows(["s", "t"], ["a", "b"]), np.array([0, 1]), [])
    assert list(found.opinions) == ["x"]


def test_usage_adds_up():
    """Tokens and money; money is not known if that of a fold is not."""
    from sklfusion.llm._usage import UsageReport

    parts = [
        UsageReport(requests=2, prompt_tokens=10, cost=0.5),
        UsageReport(requests=1, cost=0.25),
    ]
    assert _sum(parts)["requests"] == 3
    assert _sum(parts)["cost"] == 0.75
    assert _sum([*parts, UsageReport(cost=None)])["cost"] is None
    assert _sum([]) is None


def test_columns_of_an_llm_go_to_the_classes_of_y():
    """A class that y lacks is left out, a row with nothing else says nothing."""
    proba = np.array([[0.2, 0.5, 0.3], [0.0, 1.0, 0.0]])
    found = _by_class(proba, np.array([1, -1, 0]), 2)
    np.testing.assert_allclose(found, [[0.6, 0.4], [0.5, 0.5]])


def test_money_and_failures_are_on_the_page(done):
    """With the cause of each failure in words, escaped."""
    from sklfusion.report._report import _all_figures

    done.usage = {"requests": 1234, "cached": 5, "prompt_tokens": 10, "completion_tokens": 2}
    done.usage |= {"retries": 0, "cost": 0.01234, "texts": 6}
    done.failures = {"<timeout>": 3}
    made = {"date": "today", "seconds": 1.0, "versions": {}, "seeds": {}, "estimator": "e"}
    found = {**_all_figures(done, done.table, None, 3), "title": "t", "folds": 2, "made": made}
    said = page(found)
    assert "1\u202f234" in said
    assert "0.0123" in said
    assert "&lt;timeout&gt; 3" in said
    done.usage["cost"] = None
    found = {**_all_figures(done, done.table, None, 3), "title": "t", "folds": 2, "made": made}
    assert "not known (no prices)" in page(found)
