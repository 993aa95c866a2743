"""Every experiment program runs end to end on few rows and writes nothing then."""

import importlib

import matplotlib.pyplot as plt
import pytest

from benchmarks import _common
from benchmarks.quality import _contest

PROGRAMS = [
    *("baselines", "label_budget", "ablation", "architecture", "semi_supervised", "cascade"),
    "rivals",
]
LLM_PROGRAMS = ["prompts", "domain_shift"]


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
