"""Labelling a pool: what is drawn, what is kept, what comes back from a file."""

import csv
import io
import json
import os
import resource
import subprocess
import sys
import time

import numpy as np
import pytest
from sklearn.multiclass import OneVsRestClassifier
from sklearn.naive_bayes import MultinomialNB
from sklearn.pipeline import make_pipeline

from sklfusion import LabelAcquirer, persistence
from sklfusion.exceptions import SklFusionError, StorageError
from sklfusion.labelling import LabelDesk
from sklfusion.labelling._journal import LabelJournal
from tests._labelling import POOL, truth_of, word_counts


@pytest.fixture
def path(tmp_path):
    return tmp_path / "pool.csv.labels.jsonl"


@pytest.fixture
def open_desk(path):
    """Open desks at one file, each of which takes it from the last."""
    opened = []

    def make(texts=POOL, estimator=None, **settings):
        for desk in opened:
            desk.close()
        settings = {"classes": ["ham", "spam"], **settings}
        opened.append(LabelDesk(texts, path, estimator or word_counts(), **settings))
        return opened[-1]

    yield make
    for desk in opened:
        desk.close()


def label_some(desk, n):
    """Answer n texts as they come; return their rows."""
    rows = []
    for _ in range(n):
        current = desk.view()["current"]
        desk.answer(current["row"], [truth_of(current["text"])])
        rows.append(current["row"])
    return rows


def fitted(desk, patience=120):
    """Fit, and return the view when that has ended."""
    desk.refit()
    end = time.monotonic() + patience
    while desk.view()["model"]["fitting"]:
        assert time.monotonic() < end
        time.sleep(0.02)
    return desk.view()


# -------------------------------------------------------------------------------------- answers


def test_every_text_is_asked_about_once(open_desk):
    """To the end of the pool; counts are told on the way."""
    desk = open_desk()
    rows = label_some(desk, len(POOL))
    assert sorted(rows) == list(range(len(POOL)))
    view = desk.view()
    assert view["current"] is None
    assert (view["labelled"], view["skipped"], view["rows"]) == (40, 0, 40)
    assert view["classes"] == [{"name": "ham", "rows": 20}, {"name": "spam", "rows": 20}]


def test_equal_texts_are_asked_about_once(open_desk):
    """And weigh as much as all of them."""
    desk = open_desk(["a", "b", "a", "a"], random_state=1)
    assert desk.view()["rows"] == 2
    while (current := desk.view()["current"]) is not None:
        assert current["row"] in (0, 1)
        desk.answer(current["row"], ["ham"])
    rows = list(csv.DictReader(io.StringIO(desk.to_csv())))
    assert {row["text"]: float(row["weight"]) for row in rows} == {"a": 3.0, "b": 1.0}
    desk.answer(3, ["spam"])  # a later copy is the first
    assert '"a"' not in desk.to_csv()
    assert desk.view()["classes"] == [{"name": "ham", "rows": 1}, {"name": "spam", "rows": 1}]


def test_a_labelling_is_taken_up_where_it_was_left(open_desk):
    """Labels, skips, open texts, classes and their order."""
    desk = open_desk()
    label_some(desk, 7)
    desk.skip(desk.view()["current"]["row"])
    desk.add_class("other")
    before = desk.view()
    assert before["skipped"] == 1
    again = open_desk()
    assert again.view() == before
    label_some(again, 5)
    assert again.view()["labelled"] == 12


def test_the_same_texts_are_drawn_however_often_it_is_interrupted(open_desk, path):
    """A seed is a seed."""
    whole = label_some(open_desk(), 25)
    path.unlink()
    parts = []
    for size in (3, 10, 12):
        parts += label_some(open_desk(), size)
    assert parts == whole


def test_undo_asks_again_and_can_be_repeated(open_desk):
    """The last text first; what was never drawn by the page is not undone."""
    desk = open_desk()
    first, second = label_some(desk, 2)
    third = desk.view()["current"]["row"]
    desk.undo()
    assert desk.view()["current"]["row"] == second
    desk.undo()
    assert desk.view()["current"]["row"] == first
    assert desk.view()["labelled"] == 0
    assert not desk.view()["can_undo"]
    with pytest.raises(ValueError, match="nothing to undo"):
        desk.undo()
    desk = open_desk()
    assert label_some(desk, 3) == [first, second, third]
    desk.skip(desk.view()["current"]["row"])
    desk.undo()
    assert desk.view()["skipped"] == 0


def test_a_new_label_replaces_the_old_one(open_desk):
    """And is what is undone next."""
    desk = open_desk()
    first, _ = label_some(desk, 2)
    name = truth_of(POOL[first])
    desk.answer(first, ["spam" if name == "ham" else "ham"])
    assert desk.view()["labelled"] == 2
    desk.undo()
    assert desk.view()["current"]["row"] == first


@pytest.mark.parametrize(
    ("act", "says"),
    [
        (lambda desk: desk.answer(0, ["eggs"]), "no class 'eggs'; add it first"),
        (lambda desk: desk.answer(0, []), "one label here; got 0"),
        (lambda desk: desk.answer(0, ["ham", "spam"]), "one label here; got 2"),
        (lambda desk: desk.answer(99, ["ham"]), "no row 99; the pool has 40"),
        (lambda desk: desk.skip(-1), "no row -1"),
        (lambda desk: desk.add_class("ham"), "a class 'ham' already"),
        (lambda desk: desk.add_class("  "), "1 to 200 characters"),
        (lambda desk: desk.add_class("a|b"), "none of them '|'"),
        (lambda desk: desk.refit(), "two classes first"),
    ],
)
def test_what_makes_no_sense_is_told_and_not_kept(open_desk, path, act, says):
    """The file stays as it was."""
    desk = open_desk()
    before = path.read_bytes()
    with pytest.raises(ValueError, match=says.replace("|", r"\|")):
        act(desk)
    assert path.read_bytes() == before


def test_several_labels_and_none(open_desk):
    """Sets of labels; a class that is added later counts as absent before."""
    model = make_pipeline(word_counts()[0], OneVsRestClassifier(MultinomialNB()))
    desk = open_desk(estimator=model, multilabel=True, classes=["letter", "money"])
    for n in range(24):
        current = desk.view()["current"]
        names = ["letter"] if "letter" in current["text"] else ["money"]
        if n == 12:
            desk.add_class("even")
        if n > 12 and int(current["text"].split()[-1]) % 2 == 0:
            names.append("even")
        desk.answer(current["row"], [] if n == 5 else names)
    assert desk.view()["labelled"] == 24
    view = fitted(desk)
    assert view["model"] == {"fitting": False, "failure": "", "labels": 24}
    assert set(view["current"]["said"]) == {"letter", "money", "even"}
    label_before = label_some_sets(desk, 4)
    rows = list(csv.DictReader(io.StringIO(desk.to_csv())))
    assert len(rows) == 28
    assert "" in {row["label"] for row in rows}
    assert any("|" in row["label"] for row in rows)
    assert open_desk(multilabel=True, classes=["letter", "money"]).view()["labelled"] == 28
    assert len(label_before) == 4


def label_some_sets(desk, n):
    rows = []
    for _ in range(n):
        current = desk.view()["current"]
        desk.answer(current["row"], ["letter"])
        rows.append(current["row"])
    return rows


# ------------------------------------------------------------------------------------ the model


def test_a_fit_draws_doubtful_texts_and_tells_what_it_thinks(open_desk, path):
    """Weights make up for it: those of the acquirer that drew them."""
    desk = open_desk(batch_size=5)
    assert desk.view()["current"]["said"] is None
    label_some(desk, 10)
    told = []
    desk.refit(then=told.append)
    label_some(desk, 5)  # goes on meanwhile
    view = fitted(desk) if not desk.view()["model"]["fitting"] else wait_for(desk)
    assert view["model"]["failure"] == ""
    assert view["model"]["labels"] in (10, 15)
    label_some(desk, 10)
    said = desk.view()["current"]["said"]
    assert sum(said.values()) == pytest.approx(1)
    assert told[0].predict([POOL[0]])[0] == "ham"
    saved = persistence.load(path.with_suffix(".sklf"))
    assert saved.predict([POOL[1]])[0] == "spam"
    draws = [json.loads(line) for line in path.read_text().splitlines()]
    draws = [event for event in draws if event.get("event") == "draw"]
    assert {event["utility"] for event in draws[:10]} == {1.0}
    assert any(event["utility"] < 1 for event in draws)
    rows = list(csv.DictReader(io.StringIO(desk.to_csv())))
    weights = [float(row["weight"]) for row in rows]
    assert len(set(weights)) > 2
    assert np.mean(weights) == pytest.approx(1, abs=0.5)


def wait_for(desk, patience=120):
    end = time.monotonic() + patience
    while desk.view()["model"]["fitting"]:
        assert time.monotonic() < end
        time.sleep(0.02)
    return desk.view()


def test_weights_are_those_of_an_acquirer_with_the_same_record(open_desk):
    """Row by row."""
    desk = open_desk()
    label_some(desk, 20)
    fitted(desk)
    label_some(desk, 10)
    rows = list(csv.DictReader(io.StringIO(desk.to_csv())))
    acquirer = LabelAcquirer(word_counts()).fit(POOL)
    state = desk._acquirer.get_state()
    acquirer.set_state(state)
    assert [int(row["row"]) for row in rows] == acquirer.rows_.tolist()
    weights = [float(row["weight"]) for row in rows]
    np.testing.assert_allclose(weights, acquirer.weights_)
    assert [row["label"] for row in rows] == [truth_of(row["text"]) for row in rows]


def test_a_model_that_is_given_reads_the_pool_before_there_are_labels(open_desk):
    """Its opinion is told; it is not fitted, and labels of numbers stay numbers."""
    given = word_counts().fit(POOL, [int(truth_of(text) == "spam") for text in POOL])
    desk = open_desk(estimator=given, fitted=given, classes=["0", "1"])
    view = fitted(desk)
    assert view["model"]["labels"] == 0
    assert set(view["current"]["said"]) == {"0", "1"}
    for _ in range(10):
        current = desk.view()["current"]
        desk.answer(current["row"], [str(int("money" in current["text"]))])
    assert fitted(desk)["model"]["labels"] == 10
    assert desk.model_.classes_.tolist() == [0, 1]
    assert given.classes_.tolist() == [0, 1]


class Broken(MultinomialNB):
    """Fails when it is fitted."""

    def fit(self, X, y, sample_weight=None):
        raise RuntimeError("no luck today")


def test_a_fit_that_fails_is_told_and_labelling_goes_on(open_desk):
    """The next one may work."""
    desk = open_desk(estimator=make_pipeline(word_counts()[0], Broken()))
    label_some(desk, 10)
    view = fitted(desk)
    assert "could not be fitted: RuntimeError: no luck today" in view["model"]["failure"]
    assert view["model"]["labels"] is None
    label_some(desk, 3)
    assert desk.view()["labelled"] == 13


# -------------------------------------------------------------------------------------- the file

_LABELLER = """
import sys
from sklearn.naive_bayes import MultinomialNB
from sklfusion.labelling import LabelDesk
desk = LabelDesk([f"text {n}" for n in range(5000)], sys.argv[1], MultinomialNB(), classes=["a"])
while True:
    row = desk.view()["current"]["row"]
    desk.answer(row, ["a"])
    print(row, flush=True)
"""


def test_a_killed_labeller_loses_no_answer(path):
    """Killed in the middle, again and again; whatever was confirmed is there, once."""
    confirmed = []
    for _ in range(3):
        process = subprocess.Popen(
            [sys.executable, "-c", _LABELLER, str(path)], stdout=subprocess.PIPE, text=True
        )
        confirmed += [int(process.stdout.readline()) for _ in range(25)]
        process.kill()
        confirmed += [int(row) for row in process.stdout.read().split()]
        process.wait()
        process.stdout.close()
    desk = LabelDesk([f"text {n}" for n in range(5000)], path, MultinomialNB(), classes=["a"])
    rows = [int(row["row"]) for row in csv.DictReader(io.StringIO(desk.to_csv()))]
    desk.close()
    assert len(confirmed) == len(set(confirmed)) >= 75
    assert set(confirmed) <= set(rows)
    assert len(rows) <= len(confirmed) + 3  # written, and killed before it was said
    assert len(rows) == len(set(rows))


def test_half_a_line_is_cut_off(open_desk, path):
    """Nobody was told that it is kept."""
    desk = open_desk()
    label_some(desk, 4)
    desk.close()
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"event": "label", "row": 7, "lab')
    desk = open_desk()
    assert desk.view()["labelled"] == 4
    assert path.read_bytes() == whole


def test_damage_in_the_middle_is_told_and_nothing_is_changed(open_desk, path):
    """A person may be able to mend it."""
    label_some(open_desk(), 4)
    lines = path.read_bytes().split(b"\n")
    lines[2] = lines[2][:-3]
    path.write_bytes(b"\n".join(lines))
    with pytest.raises(SklFusionError, match="is damaged"):
        open_desk()
    assert path.read_bytes() == b"\n".join(lines)


def test_a_file_of_other_texts_is_refused(open_desk):
    """So is one of labels of another kind."""
    open_desk()
    with pytest.raises(SklFusionError, match="belongs to other texts"):
        open_desk(POOL[:-1])
    with pytest.raises(SklFusionError, match="labels of another kind"):
        open_desk(multilabel=True)
    assert open_desk().view()["rows"] == 40


def test_one_process_writes_at_a_time(open_desk, path):
    """The second is told, and takes over when the first has gone."""
    first = open_desk()
    with pytest.raises(SklFusionError, match="written by another process"):
        LabelDesk(POOL, path, word_counts())
    first.close()
    LabelDesk(POOL, path, word_counts(), classes=["ham", "spam"]).close()


def test_a_place_that_cannot_be_written_is_told(tmp_path):
    """Before anybody labels."""
    with pytest.raises(SklFusionError, match="cannot be written"):
        LabelDesk(POOL, tmp_path / "none" / "labels.jsonl", word_counts())
    with pytest.raises(ValueError, match="pool of 0 rows"):
        LabelDesk([], tmp_path / "labels.jsonl", word_counts())


_FULL_DISK = """
import resource, sys
from sklfusion.exceptions import StorageError
from sklfusion.labelling._journal import LabelJournal
from pathlib import Path
resource.setrlimit(resource.RLIMIT_FSIZE, (400, 400))
journal = LabelJournal(Path(sys.argv[1]), {"pool": "x"})
kept = 0
try:
    while True:
        journal.append({"event": "label", "row": kept})
        kept += 1
except StorageError as error:
    print(kept, error)
"""


def test_a_full_disk_is_told_and_leaves_whole_lines(path):
    """What was there before stays, and can be read."""
    env = {**os.environ}
    done = subprocess.run(
        [sys.executable, "-c", _FULL_DISK, str(path)],
        capture_output=True,
        text=True,
        check=True,
        env=env,
        timeout=300,
    )
    kept, _, said = done.stdout.partition(" ")
    assert "cannot be written" in said
    assert int(kept) > 2
    journal = LabelJournal(path, {"pool": "x"})
    assert [event["row"] for event in journal.events] == list(range(int(kept)))
    journal.close()
    assert issubclass(StorageError, SklFusionError)
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 400


# --------------------------------------------------------------------------------- label studio


def choices(*names):
    value = {"choices": list(names)}
    result = {"from_name": "label", "to_name": "text", "type": "choices", "value": value}
    return [result] if names else []


def test_tasks_go_out_and_come_back(open_desk, path):
    """Annotations, skips, classes; weights and rows in their data."""
    desk = open_desk()
    label_some(desk, 12)
    desk.skip(desk.view()["current"]["row"])
    fitted(desk)
    tasks = json.loads(json.dumps(desk.to_tasks()))
    assert len(tasks) == 13
    assert tasks[0]["data"]["weight"] > 0
    assert tasks[-1]["annotations"] == [{"result": [], "was_cancelled": True}]
    assert tasks[0]["predictions"][0]["model_version"] == "sklfusion"
    desk.close()
    path.unlink()
    other = open_desk(classes=[])
    found = other.add_tasks(tasks)
    assert found == {"labelled": 12, "skipped": 1, "predicted": 13, "unknown": 0}
    assert sorted(c["name"] for c in other.view()["classes"]) == ["ham", "spam"]
    assert (other.view()["labelled"], other.view()["skipped"]) == (12, 1)
    assert not other.view()["can_undo"]  # what came from a file is not undone by a key
    for task in other.to_tasks()[:12]:
        (name,) = task["annotations"][0]["result"][0]["value"]["choices"]
        assert name == truth_of(task["data"]["text"])


def test_predictions_come_in_and_survive_a_restart(open_desk):
    """They are shown until a model of our own knows better."""
    tasks = [
        {"data": {"text": text}, "predictions": [{"result": choices("spam"), "score": 0.7}]}
        for text in [*POOL, "a stranger"]
    ]
    desk = open_desk()
    assert desk.add_tasks(tasks) == {"labelled": 0, "skipped": 0, "predicted": 40, "unknown": 1}
    assert desk.view()["current"]["said"] == {"spam": 0.7}
    desk = open_desk()
    assert desk.view()["current"]["said"] == {"spam": 0.7}
    label_some(desk, 10)
    assert set(fitted(desk)["current"]["said"]) == {"ham", "spam"}


def test_of_several_annotations_the_last_counts(open_desk):
    """As Label Studio lists them; a later cancellation too."""
    done = [{"result": choices("ham")}, {"result": choices("spam")}]
    cancelled = [{"result": choices("ham")}, {"result": [], "was_cancelled": True}]
    desk = open_desk()
    tasks = [
        {"data": {"text": POOL[0]}, "annotations": done},
        {"data": {"text": POOL[1]}, "annotations": cancelled},
    ]
    assert desk.add_tasks(tasks)["labelled"] == 1
    assert desk.view()["classes"] == [{"name": "ham", "rows": 0}, {"name": "spam", "rows": 1}]
    assert desk.view()["skipped"] == 1


@pytest.mark.parametrize(
    ("task", "says"),
    [
        ("text", "Task 1 has no text"),
        ({"data": {"image": "x.png"}}, "Task 1 has no text"),
        ({"data": {"text": POOL[0]}, "annotations": "yes"}, "no list of objects"),
        ({"data": {"text": POOL[0]}, "annotations": [{"result": choices("a", "b")}]}, "2 labels"),
        ({"data": {"text": POOL[0]}, "annotations": [{"result": []}]}, "0 labels"),
        ({"data": {"text": POOL[0]}, "annotations": [{}]}, "not of the type choices"),
        (
            {"data": {"text": POOL[0]}, "annotations": [{"result": [{"type": "choices"}]}]},
            "not of the type choices",
        ),
        (
            {"data": {"text": POOL[0]}, "annotations": [{"result": choices(7)}]},
            "not of the type choices",
        ),
    ],
)
def test_one_wrong_task_and_none_is_taken(open_desk, path, task, says):
    """All of a file, or nothing."""
    good = {"data": {"text": POOL[3]}, "annotations": [{"result": choices("spam")}]}
    desk = open_desk()
    before = path.read_bytes()
    with pytest.raises(ValueError, match=says):
        desk.add_tasks([good, task])
    assert path.read_bytes() == before
    assert desk.view()["labelled"] == 0


def test_formulas_are_guarded_only_when_asked(open_desk):
    """An apostrophe before what a spreadsheet would run; else the text as it is."""
    texts = ["=1", "+1", "-1", "@a", "\rb", "c"]
    desk = open_desk(texts)
    for _ in texts:
        desk.answer(desk.view()["current"]["row"], ["ham"])
    for excel_safe, guarded in ((False, ""), (True, "'")):
        said = io.StringIO(desk.to_csv(excel_safe=excel_safe), newline="")
        wanted = {*(guarded + text for text in texts[:-1]), "c"}
        assert {row["text"] for row in csv.DictReader(said)} == wanted


def test_columns_of_the_pool_come_out_beside_the_labels(open_desk):
    """In their order; nothing is altered."""
    columns = {"id": [f"00{n}" for n in range(40)], "body": POOL, "note": [None] * 40}
    desk = open_desk(columns=columns)
    (row,) = label_some(desk, 1)
    (line,) = csv.DictReader(io.StringIO(desk.to_csv()))
    assert list(line) == ["id", "body", "note", "row", "label", "weight"]
    assert (line["id"], line["body"], line["note"]) == (f"00{row}", POOL[row], "")
