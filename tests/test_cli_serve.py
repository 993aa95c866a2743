"""`sklfusion serve` as it is typed: what it logs, and the money that it may spend."""

import re

import pytest

from sklfusion import LLMClassifier, persistence
from tests._serving import serving

pytest.importorskip("typer", reason="the command line needs typer")

TEXTS = [f"note {n} about {'sport' if n % 2 else 'food'}" for n in range(12)]
LINE = re.compile(r"\d{4}-\d\d-\d\d [\d:]{8} sklfusion: POST /predict (\d{3}) \d+ ms")


@pytest.fixture
def asking(tmp_path, fault_server):
    """A saved model that tells all it does, and asks the loopback endpoint."""
    where = {"base_url": fault_server.base_url, "memory": tmp_path / "kept", "verbose": 1}
    fitted = LLMClassifier("loopback", classes=["food", "sport"], **where).fit(TEXTS[:2])
    persistence.save(fitted, tmp_path / "model.sklf")
    return tmp_path / "model.sklf", fault_server.base_url


def test_a_request_is_one_line_and_the_budget_holds(asking):
    """No progress of single texts, nothing twice; 503 once the money is spent."""
    path, address = asking
    money = ("--prices", "1000,1000", "--budget", "0.25")  # enough for two requests or three
    with serving(path, "--endpoint", address, *money) as running:
        found = [running.ask("/predict", {"texts": [text]})[0] for text in TEXTS[2:8]]
        again = running.ask("/predict", {"texts": [TEXTS[2]]})[0]
        status, log = running.stop()
    assert status == 0
    assert found[0] == 200
    assert found[-1] == 503
    assert found == sorted(found)
    assert again == 200  # what is kept costs nothing
    about_requests = [line for line in log.splitlines() if "/predict" in line]
    assert [int(LINE.fullmatch(line)[1]) for line in about_requests] == [*found, again]
    assert not re.search(r"of 1 text|LLMClassifier: ", log)


def test_quiet_leaves_failures_only(asking):
    """A service that is asked all day fills no disk."""
    path, address = asking
    with serving(path, "--endpoint", address, "--quiet") as running:
        assert running.ask("/predict", {"texts": [TEXTS[3]]})[0] == 200
        assert running.stop() == (0, "")


def test_money_without_prices_is_refused(asking):
    """Before the service says that it is there."""
    path, address = asking
    refused = pytest.raises(AssertionError, match="--budget is money, which needs --prices")
    with refused, serving(path, "--endpoint", address, "--budget", "1"):
        pass
