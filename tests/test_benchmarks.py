"""Every experiment program runs end to end on few rows and writes nothing then."""

import importlib

import matplotlib.pyplot as plt
import pytest

from benchmarks import _common
from benchmarks.quality import _contest

PROGRAMS = [
    *("ablation", "architecture", "semi_supervised", "cascade", "decision_models"),
    "domain_shift",
]
LLM_PROGRAMS = ["prompts", "label_forms"]


def _quick(name, tmp_path, monkeypatch, capsys):
    module = importlib.import_module(f"benchmarks.quality.{name}")
    for folder in ("RESULTS", "IMAGES"):
        monkeypatch.setattr(_common, folder, tmp_path / folder)
    _contest.execute(name, module.run, module.table, module.draw, quick=True)
    plt.close("all")
    assert not list(tmp_path.iterdir())
    _, _, *rows = capsys.readouterr().out.strip().splitlines()[-20:]
    return rows


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.models
@pytest.mark.parametrize("name", PROGRAMS)
def test_program_runs_on_few_rows(name, data_dir, tmp_path, monkeypatch, capsys):
    """``--quick`` prints a table and leaves results and pictures alone."""
    rows = _quick(name, tmp_path, monkeypatch, capsys)
    assert rows
    assert all(row.startswith("|") for row in rows)


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.models
def test_setfit_gets_the_rows_that_the_fusion_gets(data_dir):
    """The program beside SetFit, without SetFit: its answers come from the outside."""
    from benchmarks.quality import few_shot

    asked = []

    def setfit(**job):
        asked.append(job)
        return {"predicted": [job["labels"][0]] * len(job["test"]), "seconds": 1.0}

    results = few_shot.run(setfit, quick=True)
    [job] = asked
    assert len(job["texts"]) == len(job["labels"]) == 12
    assert not set(job["texts"]) & set(job["test"])
    [row] = few_shot.table(results)[1]
    assert len(row) == len(few_shot.table(results)[0])
    [score] = results["cells"][0]["score"]["SetFit"]
    assert 0.1 < score < 0.5  # always the same of four classes


def test_a_method_anew_leaves_the_others_of_the_last_run():
    """Scores and seconds of what ran again are taken, everything else is kept."""
    from benchmarks.quality import few_shot

    last = _common.read_json("few_shot")
    cells = [
        {"data": cell["data"], "size": cell["size"]}
        | {"score": {"fusion": [0.5]}, "seconds": {"fusion": [9.0]}}
        for cell in last["cells"]
    ]
    found = few_shot.renewed({"draws": 3, "cells": cells})
    for before, after in zip(last["cells"], found["cells"], strict=True):
        assert after["score"] == before["score"] | {"fusion": [0.5]}
        assert after["seconds"] == before["seconds"] | {"fusion": [9.0]}
    assert found["setfit"] == last["setfit"]


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.models
@pytest.mark.parametrize("name", LLM_PROGRAMS)
def test_program_with_the_embedded_llm_runs_on_few_texts(
    name, data_dir, tmp_path, monkeypatch, capsys
):
    """The programs that ask the embedded LLM need a dozen answers or two."""
    rows = _quick(name, tmp_path, monkeypatch, capsys)
    assert rows


def test_the_budget_counts_every_labelled_row():
    """No row is both for fitting and for testing, and no more than the budget are for fitting."""
    import numpy as np

    from benchmarks.quality._llm_sets import LLMSet

    y = np.arange(60) % 3
    data = LLMSet("toy", "llm", [f"text {i}" for i in range(60)], y, [np.eye(3)[y]], [0, 1, 2])
    for train, test, _ in _contest.splits(data, 12, 3):
        assert len(train) == 12
        assert not set(train) & set(test)


def test_paired_differences_have_a_standard_error():
    """The mean over draws and the standard error of that mean."""
    mean, error = _contest.paired([0.0, 0.02, 0.04, 0.02])
    assert mean == pytest.approx(0.02)
    assert error == pytest.approx(0.00816, abs=1e-4)


def test_the_recorded_endpoint_gives_recorded_answers_and_takes_its_time():
    """What `load.latency` measures against: over HTTP, from another process."""
    from benchmarks.load._recorded_endpoint import RecordedEndpoint, seconds_of
    from sklfusion import LLMClassifier
    from sklfusion.testing import text_digest

    answers = {f"text {n}": "food" if n % 3 else "sport" for n in range(12)}
    with RecordedEndpoint(answers, median_s=0.01, sigma=0.1) as server:
        asked = {"classes": ["sport", "food"], "strategy": "label", "base_url": server.base_url}
        clf = LLMClassifier("recorded", **asked).fit(["a", "b"], ["food", "sport"])
        assert clf.predict(list(answers)).tolist() == list(answers.values())
        events = server.ledger(events=True).events
    took = {event["text"]: event["ended"] - event["started"] for event in events}
    for text in answers:
        digest = text_digest(text)
        assert took[digest] >= 0.99 * seconds_of(digest, 0.01, 0.1)


def test_half_of_the_texts_take_longer_than_the_median():
    """And one in twenty longer than the median times exp(1.645 sigma)."""
    import numpy as np

    from benchmarks.load._recorded_endpoint import seconds_of
    from sklfusion.testing import text_digest

    taken = [seconds_of(text_digest(f"text {n}"), 0.8, 0.5) for n in range(2000)]
    assert np.median(taken) == pytest.approx(0.8, rel=0.05)
    assert np.mean(np.array(taken) > 0.8 * np.exp(1.645 * 0.5)) == pytest.approx(0.05, abs=0.02)


@pytest.mark.nightly
@pytest.mark.data
@pytest.mark.models
def test_latency_counts_the_requests_of_every_method(data_dir, monkeypatch):
    """None by the encoder, one per text by LLM and fusion, within its budget by a cascade."""
    from benchmarks.load import latency

    monkeypatch.setattr(latency, "MEDIAN_S", 0.01)
    results = latency.run([0], 40, 4)
    cells = {name: by_draw["0"] for name, by_draw in results["methods"].items()}
    asked = {name: (c["fit"]["requests"], c["batch"]["requests"]) for name, c in cells.items()}
    assert asked["encoder alone"] == (0, 0)
    assert asked["LLM alone"] == (0, 36)
    assert asked["fusion"] == (40, 36)
    for budget in latency.BUDGETS:
        in_fit, in_call = asked[f"cascade, {budget:.0%}"]
        assert in_fit == 40
        assert in_call <= 36 * budget
    assert len(latency.table(results)[1]) == len(latency.METHODS)
    plt.close(latency.plot(results))


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.filterwarnings("ignore:.*longer than the 40 tokens:sklfusion.exceptions.DataWarning")
def test_another_encoder_is_fine_tuned_by_one_command(
    data_dir, tiny_roberta, tmp_path, monkeypatch
):
    """As ``--model roberta-base --device cuda``, with a checkpoint small enough for two cores."""
    from benchmarks.quality import fine_tune

    monkeypatch.setattr(fine_tune, "CACHE", tmp_path)
    command = ["--model", str(tiny_roberta), "--device", "cpu", "--quick", "--only", "reuters"]
    found = fine_tune.main(command)["reuters"]["methods"]
    assert found["LLM alone"]["score"] == pytest.approx(0.876, abs=1e-3)
    assert found["fusion"]["score"] > found["encoder alone, cut at 0.5"]["score"]
