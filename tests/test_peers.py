"""The battery for other libraries: our own column, bounded rows, and the adapter for Ollama."""

import http.client
import json
import subprocess
import sys
import urllib.request
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import _common
from benchmarks.load import _peer_causes, peers
from benchmarks.load._peer_libraries import LIBRARIES
from benchmarks.load._peer_rows import QUICK, ROWS

ROOT = Path(__file__).parents[1]


@pytest.fixture
def adapter(fault_server):
    """Port of an Ollama adapter before the endpoint."""
    command = [sys.executable, "-m", "benchmarks.load._ollama_adapter", "--upstream"]
    process = subprocess.Popen(
        [*command, str(fault_server.port)], stdout=subprocess.PIPE, cwd=ROOT
    )
    yield json.loads(process.stdout.readline())["port"]
    process.kill()
    process.wait()
    process.stdout.close()


def chat(port, text="about sport"):
    system = "Answer with one label.\n- sport\n- food"
    messages = [{"role": "system", "content": system}, {"role": "user", "content": text}]
    body = json.dumps({"model": "any", "messages": messages, "stream": False}).encode()
    url = f"http://127.0.0.1:{port}/api/chat"
    with urllib.request.urlopen(urllib.request.Request(url, body), timeout=10) as reply:
        return json.loads(reply.read())


def verdicts(ids):
    cells = peers.run(["sklfusion"], ids, None, show=False)["cells"]["sklfusion"]
    return {id: cell[:2] for id, cell in cells.items() if cell[0] != "pass"}


def test_our_own_column_passes():
    """The definitions run against what they were written for."""
    assert verdicts(QUICK) == {}


@pytest.mark.nightly
def test_our_own_column_passes_every_row():
    """All rows; the peers' columns are a program's business."""
    assert verdicts(list(ROWS)) == {}


def test_every_scorecard_id_means_the_same_here():
    """Rows named like the scorecard's exist there; the text checks are all here."""
    from scorecard.rows import all_ids

    own = {"E10", "E11", "S01b", *(f"T{n:02d}" for n in range(1, 33))}
    assert set(ROWS) - own <= set(all_ids())
    assert own <= set(ROWS)
    assert set(QUICK) <= set(ROWS)


def test_a_row_that_hangs_is_failed_and_the_next_one_runs(monkeypatch):
    """Every row is bounded; the library starts again after it."""
    monkeypatch.setitem(peers.ROWS, "P09", replace(ROWS["P09"], seconds=0.05))
    found = verdicts(["P09", "T01"])
    assert list(found) == ["P09"]
    assert found["P09"][0] == "fail"
    assert found["P09"][1].startswith("still running")


def test_the_tables_count_what_does_not_apply_apart():
    """n.a. is neither passed nor failed; a failed cell says what happened."""
    cells = {
        "one": {"N01": ["pass", "right", 0.1], "N02": ["fail", "said | so", 0.1]},
        "two": {"N01": ["n.a.", "local", 0.0], "N02": ["pass", "", 0.0]},
    }
    rows = [["N01", "fault", "wanted"], ["N02", "other", "wanted"]]
    results = {"library_versions": {"one": {"one": "1"}, "two": {}}, "cells": cells, "rows": rows}
    assert peers.summary(results)[1] == [
        ["one", 1, 1, 1, 0, "one 1"],
        ["two", 0, 1, 0, 1, ""],
    ]
    assert [row[2:] for row in peers.table(results)[1]] == [
        ["pass", "n.a."],
        ["fail: said \\| so", "pass"],
    ]


def test_failures_are_counted_by_cause():
    """A cause that fails two rows is one."""
    cells = {id: ["fail", "", 0.1] for id in ("C01", "C02", "N02")} | {"N01": ["pass", "", 0.1]}
    results = {"cells": {"one": cells, "two": {"N02": ["pass", "", 0.1]}}}
    header, rows = _peer_causes.table(results)
    assert header[1:] == ["one", "two"]
    assert rows[0][1:] == [2, ""]
    assert [row[1:] for row in rows[1:]] == [[1, ""], [2, 0]]


def test_every_row_that_failed_has_a_cause():
    """The stored results can be counted, and no row stands under two causes."""
    results = _common.read_json("peers")
    for cells in results["cells"].values():
        assert sum(map(len, _peer_causes.failed(cells).values())) == peers.counts(cells)[1]
    ids = [id for rows in _peer_causes.CAUSES.values() for id in rows.split()]
    assert len(ids) == len(set(ids))
    assert set(ids) <= set(ROWS)


def test_a_run_of_one_library_keeps_the_others():
    """As long as the rows are the same ones."""
    rows = [["N01", "fault", "wanted"]]
    old = {"library_versions": {"scikit-llm": {}}, "cells": {"scikit-llm": {"N01": []}}}
    new = {"library_versions": {"sklfusion": {}}, "cells": {"sklfusion": {"N01": []}}}
    old |= {"rows": rows}
    together = peers.merged({**new, "rows": rows}, old)
    assert list(together["cells"]) == ["sklfusion", "scikit-llm"]
    alone = peers.merged({**new, "rows": [["N02", "fault", "wanted"]]}, old)
    assert list(alone["cells"]) == ["sklfusion"]


def test_the_adapter_answers_as_ollama_does(fault_server, adapter):
    """A completion comes back as an Ollama reply, and the ledger knows the text."""
    reply = chat(adapter)
    assert reply["message"] == {"role": "assistant", "content": "sport"}
    assert reply["done"] is True
    assert fault_server.ledger().distinct == 1


def test_the_adapter_leaves_faults_as_they_are(fault_server, adapter):
    """A status stays one, a cut body stays cut, a reset stays a reset."""
    fault_server.script({"fault": {"kind": "status", "status": 503}})
    with pytest.raises(urllib.error.HTTPError, match="503"):
        chat(adapter)
    fault_server.script({"fault": {"kind": "short"}})
    with pytest.raises(http.client.IncompleteRead):
        chat(adapter)
    fault_server.script({"fault": {"kind": "reset"}})
    with pytest.raises((ConnectionError, http.client.RemoteDisconnected, urllib.error.URLError)):
        chat(adapter)
    fault_server.script({"fault": {"kind": "body", "body": "<html>"}})
    with pytest.raises(json.JSONDecodeError):
        chat(adapter)


def test_libraries_are_named_once():
    """The order of the table is that of the registry, ours first."""
    assert list(LIBRARIES) == ["sklfusion", "scikit-llm", "skorch.llm", "scikit-ollama"]
