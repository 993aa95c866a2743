"""The reliability scorecard as tests: one id per row, e.g. ``pytest tests/scorecard -k N07``."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.load.rows import NIGHTLY, ROWS, all_ids
from benchmarks.load.rows._base import execute

# Not there yet, with the reason. An entry here that gets a function makes its test fail.
MISSING = {
    "L22": "the cascade has no row yet",
    "E08": "needs environments with other versions",
    "E09": "needs another machine",
}
# Seconds each, mostly for processes to start; they run with the nightly rows in the program too.
SLOW = {"E01", "E02"}


def _parameters():
    for id in all_ids():
        marks = [pytest.mark.slow] if id in SLOW else []
        if id in NIGHTLY:
            marks = [pytest.mark.slow, pytest.mark.nightly]
        if id == "I15":
            marks.append(pytest.mark.models)
        yield pytest.param(id, id=id, marks=marks)


@pytest.mark.timeout(200)
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("id", list(_parameters()))
def test_row(fault_server, id):
    """What has to happen happens; see benchmarks/load/rows."""
    if id in MISSING:
        assert id not in ROWS, f"{id} has a function: take it off the list"
        pytest.skip(f"missing: {MISSING[id]}")
    passed, got = execute(ROWS[id], fault_server)
    assert passed, f"{id} {ROWS[id].fault}\nexpected: {ROWS[id].expected}\ngot: {got}"


def test_there_are_148_rows():
    """Every row has a function or stands on the list of missing ones."""
    assert len(all_ids()) == 148
    assert set(all_ids()) == set(ROWS) | set(MISSING)
