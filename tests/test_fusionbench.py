"""FusionBench: any classifier gets an entry, and the tables are made of entries."""

import json
import sys

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

fusionbench = pytest.importorskip("benchmarks.fusionbench")
from benchmarks import _common, _intervals  # noqa: E402
from benchmarks.fusionbench import _entries, _gain, _run, _table, _task  # noqa: E402
from benchmarks.quality._llm_sets import LLMSet  # noqa: E402


def toy(name, llm, n_llms=1, multilabel=False, rows=90):
    """A set whose embedding and LLMs know something; rows of one label or of several."""
    rng = np.random.default_rng(len(name))
    y = np.arange(rows) % 3
    texts = [f"{name} {i} of class {c}" for i, c in enumerate(y)]
    votes = [
        np.eye(3)[np.where(rng.random(rows) < 0.7, y, rng.integers(3, size=rows))]
        for _ in range(n_llms)
    ]
    labels = np.eye(3, dtype=int)[y] if multilabel else y
    return LLMSet(name, llm, texts, labels, votes, ["a", "b", "c"])


@pytest.fixture
def bench(monkeypatch):
    """Three small pairs in place of the benchmark data, and their embeddings."""
    pairs = [toy("One", "x"), toy("One", "all two", 2), toy("Many", "x", multilabel=True)]

    def vectors(sets):
        return {
            s.name: np.random.default_rng(0).normal(size=(len(s.y), 5)).astype(np.float32)
            + 2 * (s.y if s.multilabel else np.eye(3)[s.y]) @ np.ones((3, 5)).cumsum(0)
            for s in sets
        }

    monkeypatch.setattr(_task, "sets", lambda names=None: [p for p in pairs if not names
                                                           or p.name in names])  # fmt: skip
    monkeypatch.setattr(_run, "vectors", vectors)
    return pairs


def few(method, **options):
    return fusionbench.run(method, **{"sizes": (20, None), "draws": 2, "jobs": 1} | options)


def test_any_classifier_gets_an_entry(bench):
    """A score for every cell and draw, and what its probabilities are worth."""
    entry = few(LogisticRegression())
    assert [(c["data"], c["llm"], c["size"]) for c in entry["cells"]] == [
        (pair.name, pair.llm, size) for pair in bench for size in (20, "all")
    ]
    for cell in entry["cells"]:
        assert len(cell["score"]) == 2
        assert np.mean(cell["score"]) > 0.5
        assert 0 <= cell["ece"] < 0.5
        assert 0 < cell["log_loss"] < 1.2
    assert list(entry["data"]) == ["One, x", "One, all two", "Many, x"]


def test_a_callable_is_told_which_columns_are_scores(bench):
    """Blocks of the LLMs behind the embedding, several labels or one, the draw as seed."""
    seen = []

    def make(task):
        seen.append((task.n_embedding, task.blocks, task.scores, task.multilabel, task.seed))
        return _entries.module("llm").make(task)

    entry = few(make, sizes=(None,))
    assert seen[0] == (5, [slice(5, 8)], slice(5, 8), False, 0)
    assert seen[3] == (5, [slice(5, 8), slice(8, 11)], slice(5, 11), False, 1)
    assert seen[5][3]
    first = entry["cells"][0]
    _, test = _run._task.split(bench[0], None, 0)
    right = bench[0].votes[0].argmax(1)[test] == bench[0].y[test]
    assert first["score"][0] == pytest.approx(right.mean(), abs=1e-4)


@pytest.mark.parametrize("method", _entries.METHODS)
def test_stored_methods_run(bench, method):
    """On one label and on several, one LLM and two."""
    entry = few(_entries.module(method).make, sizes=(20,), draws=1)
    scores = [cell["score"][0] for cell in entry["cells"]]
    assert len(scores) == 3
    assert min(scores) > 0.4


def test_a_run_that_was_ended_goes_on(bench, monkeypatch, tmp_path, capsys):
    """Finished cells are kept by name; nothing is computed twice."""
    monkeypatch.setattr(_run, "CACHE", tmp_path)
    whole = few(LogisticRegression(), kept="mine")
    monkeypatch.setattr(_run, "score", None)
    assert few(LogisticRegression(), kept="mine") == whole


def entry(scores, data="d1"):
    """An entry from (set, LLM, size) to scores by draw."""
    found = [dict(zip(("data", "llm", "size"), key, strict=True)) | {"score": s, "ece": 0.1}
             for key, s in scores.items()]  # fmt: skip
    return {"cells": found, "data": {f"{k[0]}, {k[1]}": data for k in scores}}


def test_a_check_tells_scores_that_have_moved(bench, monkeypatch, tmp_path):
    """One draw of every cell again: an entry whose scores are as stored is of today's code."""
    monkeypatch.setattr(_common, "RESULTS", tmp_path)
    monkeypatch.setattr(_common, "ROOT", tmp_path)
    monkeypatch.setattr(_entries, "_roots", lambda method: ["_intervals"])
    name = _entries.results_of("llm")
    entry = few(_entries.module("llm").make)
    path = _common.write_json(name, entry, seeds="two", interval="none", roots=["_intervals"])
    assert _entries.check("llm", jobs=1) == []
    assert "cells again on" in _common.read_made(name)["again"]
    assert _common.read_json(name) == entry
    stored = json.loads(path.read_text())
    stored["cells"][1]["score"][1] += 0.01
    stored["provenance"].pop("again")
    path.write_text(json.dumps(stored))
    [moved] = _entries.check("llm", jobs=1)
    assert moved[:2] == ("One", "x")
    assert moved[3] - moved[4] == pytest.approx(0.01, abs=1e-4)
    assert "again" not in _common.read_made(name)


KEYS = [("A", "x", 20), ("A", "all two", 20), ("CSS b", "x", 20), ("CSS c", "x", 20)]


def entries(fusion):
    """LLM, encoder and fusion with two draws per cell."""
    llm, encoder = [0.9, 0.9], [0.5, 0.5]
    return {
        "LLM alone": entry({key: llm if key[1] == "x" else [0.7, 0.7] for key in KEYS}),
        "encoder alone": entry(dict.fromkeys(KEYS, encoder)),
        "fusion": entry(dict(zip(KEYS, fusion, strict=True))),
    }


def test_the_better_part_of_several_llms_is_the_best_of_them():
    """In hindsight: the pair of all LLMs of a set is held against the best one alone."""
    best = _table.cells(_table.hindsight(entries([[0.9, 0.9]] * 4)))
    assert best["A", "all two", 20]["score"] == [0.9, 0.9]


def test_margins_count_sets_and_families_once_each():
    """Two tasks of one family are one; a set with two pairs is one; who is behind is named."""
    found = entries([[0.92, 0.92], [0.92, 0.92], [0.94, 0.94], [0.8, 0.8]])
    header, [row] = _table.margin_table(found)
    row = dict(zip(header, row, strict=True))
    gains = np.array([0.02, 0.04, -0.1])
    mean, low, high = _intervals.t_interval(gains)
    shown = f"{mean:+.3f} [{low:+.3f}, {high:+.3f}]"
    assert row["over the better part, 95 % over sets"] == shown
    families = _intervals.t_interval([0.02, (0.04 - 0.1) / 2])
    assert row["95 % over families"].startswith(f"{families[0]:+.3f} [")
    assert row["ahead / level / behind"] == "3 / 0 / 1"
    assert row["behind"] == "CSS c (x)"
    assert "includes zero with 20 labelled rows" in _table.told(found)
    ahead = entries([[0.92, 0.92], [0.92, 0.92], [0.93, 0.93], [0.92, 0.92]])
    assert "over data sets of the margin" not in _table.told(ahead)


def test_the_picture_of_gains_tells_families_and_sets():
    """Left means over families with t over them; right each set, with t over draws."""
    found = entries([[0.92, 0.94], [0.92, 0.94], [0.94, 0.94], [0.9, 0.9]])
    shown = _gain.by_size(found)
    assert [row[0] for row in shown] == [20]
    assert shown[0][1:] == pytest.approx(np.multiply(100, _intervals.t_interval([0.03, 0.02])))
    first, second, last = _gain.by_set(found, size=20)
    assert [first[0], second[0], last[0]] == ["CSS b", "A", "CSS c"]
    assert second[1:] == pytest.approx(np.multiply(100, _intervals.t_interval([0.02, 0.04])))


def test_level_is_within_one_paired_standard_error():
    """Ahead and behind need a mean difference beyond it."""
    assert _intervals.verdict([0.02, 0.03, 0.02]) == 1
    assert _intervals.verdict([-0.02, 0.03, -0.02]) == 0
    assert _intervals.verdict([-0.02, -0.03, -0.02]) == -1
    assert _intervals.verdict([0.0, 0.0]) == 0


def test_the_interval_is_that_of_student():
    """Against scipy's own."""
    from scipy import stats

    values = [0.01, 0.03, -0.02, 0.05]
    mean, *ends = _intervals.t_interval(values)
    wanted = stats.t.interval(0.95, 3, loc=np.mean(values), scale=stats.sem(values))
    assert mean == pytest.approx(np.mean(values))
    assert ends == pytest.approx(wanted)


def test_a_method_is_compared_on_its_own_cells():
    """An entry of some cells stands beside the stored ones of the same cells."""
    found = entries([[0.92, 0.92]] * 4)
    yours = entry({KEYS[0]: [0.95, 0.95]})
    header, rows = _table.methods_table(found | {"yours": yours}, against="yours")
    rows = {row[0]: dict(zip(header, row, strict=True)) for row in rows}
    assert rows["yours"]["20 rows"] == "0.950"
    assert rows["encoder alone"]["20 rows"] == "0.500"
    assert rows["fusion"]["yours minus it, 95 % over sets"].startswith("+0.030")
    assert rows["fusion"]["yours ahead / level / behind"] == "1 / 0 / 0"


def test_entries_of_other_data_are_refused():
    """A digest of texts, labels and votes stands for the data."""
    found = entries([[0.92, 0.92]] * 4) | {"yours": entry({KEYS[0]: [0.9, 0.9]}, data="d2")}
    with pytest.raises(ValueError, match="other texts, labels or votes of A, x"):
        _table.methods_table(found, against="yours")


def test_the_digest_tells_data_apart():
    """Texts, labels and votes all count."""
    base = toy("One", "x")
    told = {_task.digest(base), _task.digest(toy("One", "x", rows=87))}
    votes = [v.copy() for v in base.votes]
    votes[0][0] = votes[0][0][::-1] + 0.5
    changed = LLMSet(base.name, base.llm, base.texts, base.y, votes, base.classes)
    told.add(_task.digest(changed))
    assert len(told) == 3
    assert _task.digest(toy("One", "x")) in told


def test_the_command_scores_a_method_of_yours(bench, monkeypatch, tmp_path, capsys):
    """``module:name`` gives an entry as JSON and a table beside the stored methods."""
    from benchmarks.fusionbench.__main__ import main

    monkeypatch.setattr(_task, "SIZES", (20,))
    monkeypatch.setattr(_entries, "stored", dict)
    place = tmp_path / "mine.json"
    method = "sklearn.linear_model:LogisticRegression"
    monkeypatch.setattr(
        sys, "argv", ["", method, "-o", str(place), "--jobs", "1", "--sets", "One"]
    )
    main()
    assert {c["data"] for c in json.loads(place.read_text())["cells"]} == {"One"}
    assert "yours" in capsys.readouterr().out


def test_the_stored_entries_are_of_the_same_cells_and_data():
    """Every method on every cell, ten draws; each with the code that it ran through."""
    found = _entries.stored()
    assert list(found) == [_entries.module(m).NAME for m in _entries.METHODS]
    _table.same_data(found)
    keys = {name: list(_table.cells(e)) for name, e in found.items()}
    assert all(k == keys["fusion"] for k in keys.values())
    assert len(keys["fusion"]) == 175
    assert all(len(c["score"]) == 10 for e in found.values() for c in e["cells"])
    for method in _entries.METHODS:
        code = _common.read_made(_entries.results_of(method))["code"]
        ours = method in ("concatenation", "fusion")
        assert ours == ("sklfusion/fusion/_trust.py" in code)


def test_the_tables_of_the_pages_are_rebuilt_from_the_entries(monkeypatch):
    """Word for word; other scores would give other tables."""
    from benchmarks import readme

    pages = [readme.ROOT / "README.md", *(readme.ROOT / "docs").glob("fusion*.md")]
    text = "".join(page.read_text(encoding="utf-8") for page in pages)
    names = ("fusionbench", "fusionbench_margin", "fusionbench_gain")
    for name in names:
        table = readme.figures(name)[0]
        assert text.count(table) == text.count(f"<!-- figures: {name} -->") >= 1
    read = _common.read_json

    def better(name):
        found = read(name)
        if name == "fusionbench_fusion":
            for cell in found["cells"]:
                cell["score"] = [s + 0.01 for s in cell["score"]]
        return found

    monkeypatch.setattr(_common, "read_json", better)
    for name in names:
        assert readme.figures(name)[0] not in text


def test_the_picture_of_the_gain_is_that_of_the_entries():
    """What lies in the picture in words is what would be drawn today."""
    image = pytest.importorskip("PIL.Image")
    stored = image.open(_common.IMAGES / "gain.png").text["Description"]
    assert stored == _gain.shown(_entries.stored()), "run python -m benchmarks.fusionbench"


@pytest.mark.nightly
@pytest.mark.data
@pytest.mark.models
@pytest.mark.parametrize("method", _entries.METHODS)
def test_a_small_cell_gives_the_stored_number(data_dir, method):
    """Within two points per draw: another processor rounds the vectors otherwise."""
    [found] = fusionbench.run(
        _entries.module(method).make, names=["AG News"], sizes=(50,), draws=3, jobs=1
    )["cells"]
    stored = _table.cells(_entries.stored()[_entries.module(method).NAME])
    wanted = stored["AG News", "gpt-5-nano", 50]
    assert found["score"] == pytest.approx(wanted["score"][:3], abs=0.02)
