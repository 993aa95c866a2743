"""The reliability scorecard as tests: one id per row, e.g. ``pytest tests/scorecard -k N07``."""

import pytest

from scorecard.rows import NIGHTLY, ROWS, all_ids
from scorecard.rows._base import execute

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
        marks.append(pytest.mark.timeout(3600 if id == "E08" else 900))
        yield pytest.param(id, id=id, marks=marks)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("id", list(_parameters()))
def test_row(fault_server, id):
    """What has to happen happens; see tests/scorecard/rows."""
    passed, got = execute(ROWS[id], fault_server)
    assert passed, f"{id} {ROWS[id].fault}\nexpected: {ROWS[id].expected}\ngot: {got}"


def test_every_row_has_a_function():
    """A family that says how many rows it has has them all, and no row is outside of one."""
    assert set(all_ids()) == set(ROWS)
    assert len(all_ids()) == len(ROWS) >= 148
