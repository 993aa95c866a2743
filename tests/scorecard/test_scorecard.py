"""The reliability scorecard as tests: one id per row, e.g. ``pytest tests/scorecard -k N07``."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.load.rows import NIGHTLY, ROWS, all_ids
from benchmarks.load.rows._base import execute

# Seconds each, mostly for processes to start; they run with the nightly rows in the program too.
SLOW = {"E01", "E02"}


def _parameters():
    for id in all_ids():
        marks = [pytest.mark.slow] if id in SLOW else []
        if id in NIGHTLY:
            marks = [pytest.mark.slow, pytest.mark.nightly]
        if id == "I15":
            marks.append(pytest.mark.models)
        # E08 makes an environment and runs a part of the suite twice.
        marks.append(pytest.mark.timeout(1800 if id == "E08" else 200))
        yield pytest.param(id, id=id, marks=marks)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("id", list(_parameters()))
def test_row(fault_server, id):
    """What has to happen happens; see benchmarks/load/rows."""
    passed, got = execute(ROWS[id], fault_server)
    assert passed, f"{id} {ROWS[id].fault}\nexpected: {ROWS[id].expected}\ngot: {got}"


def test_there_are_148_rows():
    """Every row has a function."""
    assert len(all_ids()) == 148
    assert set(all_ids()) == set(ROWS)
