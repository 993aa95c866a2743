"""How far a long job is, where nobody watches a terminal."""

import logging
import sys

import pytest

from sklfusion._progress import ProgressLog, progress_bar, progress_logger


@pytest.fixture
def lines(capsys):
    """What went to stderr since the last look."""
    progress_logger.setLevel(logging.NOTSET)
    return lambda: capsys.readouterr().err.splitlines()


def test_a_line_at_the_start_every_tenth_and_the_end(lines):
    """Eleven lines for a hundred steps, in any stride."""
    bar = progress_bar(100, "asking")
    assert isinstance(bar, ProgressLog)
    for _ in range(100):
        bar.update()
    bar.close()
    assert lines() == [f"asking: {n} of 100 texts" for n in range(0, 101, 10)]


def test_a_job_that_stops_says_where(lines):
    """With what matters while money is spent; zeros are left out."""
    bar = ProgressLog(7, "fits", "fit")
    bar.set_postfix({"failed": 0, "spent": "0.1"}, refresh=False)
    bar.update(3)
    bar.close()
    assert lines()[1:] == [
        "fits: 3 of 7 fits, spent 0.1",
        "fits: stopped at 3 of 7 fits, spent 0.1",
    ]


def test_logging_that_is_set_up_gets_the_lines(lines, caplog):
    """On the logger sklfusion, and nothing is printed beside it."""
    with caplog.at_level(logging.INFO, logger="sklfusion"):
        ProgressLog(0, "nothing").close()
    assert caplog.messages == ["nothing: 0 of 0 texts"]
    assert lines() == []


def test_a_terminal_gets_a_bar(lines, monkeypatch):
    """As before."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    bar = progress_bar(3, "asking")
    bar.update(3)
    bar.close()
    assert not isinstance(bar, ProgressLog)
    assert "3/3" in lines()[-1]
