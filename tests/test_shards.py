"""A folder of Parquet files is scored once, whatever dies in between."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from _batches import asking, save_word_model, write_shards
from _topics import make_texts
from _typed import type_here

import sklfusion
from sklfusion import AuthenticationError, SklFusionError, persistence
from sklfusion.batch import score_shards
from sklfusion.batch._manifest import sweep
from sklfusion.batch._team import Team
from sklfusion.exceptions import DataWarning
from sklfusion.replies import open_store

LONGEST = 120  # seconds that a test waits for something that another process does


@pytest.fixture
def model(tmp_path):
    return save_word_model(tmp_path)


def ids(folder):
    """The ids of all rows of the shards in a folder, in order."""
    files = sorted(folder.glob("*.parquet"))
    return [i for file in files for i in pq.read_table(file)["id"].to_pylist()]


def wait_for(condition, process=None):
    end = time.monotonic() + LONGEST
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        assert process is None or process.poll() is None, "the process ended before"
        time.sleep(0.02)


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.nightly)])
def test_every_row_comes_out_once_beside_its_columns(tmp_path, model, workers):
    """The manifest and what is returned say how many."""
    texts = write_shards(tmp_path / "in", [5, 0, 9, 6])
    said = score_shards(model, tmp_path / "in", tmp_path / "out", workers=workers, batch_size=4)
    assert ids(tmp_path / "out") == list(range(20))
    expected = persistence.load(model).predict(texts).tolist()
    files = sorted((tmp_path / "out").glob("*.parquet"))
    assert [v for f in files for v in pq.read_table(f)["label"].to_pylist()] == expected
    assert said == json.loads((tmp_path / "out" / "manifest.json").read_text())
    totals = {"shards": 4, "done": 4, "earlier": 0, "failed": 0, "rows": 20, "labelled": 20}
    assert said["totals"] == {**totals, "dead": 0}
    assert not (tmp_path / "out" / "dead_letters").exists()
    assert {f.suffix for f in (tmp_path / "out").iterdir()} == {".parquet", ".json"}


def test_rows_without_a_label_are_dead_letters_with_a_reason(tmp_path, model):
    """With their own columns, beside the whole shard; the other shard has none."""
    write_shards(tmp_path / "in", [2, 2])
    table = pa.table({"id": [7, 8], "text": ["late goal", None]})
    pq.write_table(table, tmp_path / "in" / "0.parquet")
    score_shards(model, tmp_path / "in", tmp_path / "out")
    letters = pq.read_table(tmp_path / "out" / "dead_letters" / "0.parquet").to_pylist()
    told = {"status": "missing", "reason": "the text is missing"}
    assert letters == [{"id": 8, "text": None, **told}]
    assert pq.read_table(tmp_path / "out" / "0.parquet").num_rows == 2
    assert not (tmp_path / "out" / "dead_letters" / "1.parquet").exists()


def test_a_second_call_does_nothing_and_a_changed_shard_is_done_again(tmp_path, model):
    """Files that are done are not touched."""
    write_shards(tmp_path / "in", [3, 3])
    score_shards(model, tmp_path / "in", tmp_path / "out")
    before = {f: f.stat().st_mtime_ns for f in (tmp_path / "out").glob("*.parquet")}
    again = score_shards(model, tmp_path / "in", tmp_path / "out")
    assert again["totals"]["earlier"] == 2
    assert {f: f.stat().st_mtime_ns for f in before} == before
    pq.write_table(pa.table({"id": [9], "text": ["late goal"]}), tmp_path / "in" / "0.parquet")
    again = score_shards(model, tmp_path / "in", tmp_path / "out")
    assert (again["totals"]["earlier"], again["totals"]["rows"]) == (1, 4)
    assert ids(tmp_path / "out") == [9, 3, 4, 5]


def test_a_shard_that_cannot_be_read_is_told_and_the_others_go_on(tmp_path, model):
    """Cut off, no Parquet at all, and without the column; mended, it is done."""
    write_shards(tmp_path / "in", [4, 4, 4])
    whole = (tmp_path / "in" / "1.parquet").read_bytes()
    (tmp_path / "in" / "1.parquet").write_bytes(whole[: len(whole) // 2])
    pq.write_table(pa.table({"other": ["x"]}), tmp_path / "in" / "2.parquet")
    with pytest.warns(DataWarning, match=r"2 of 3 shards.*1\.parquet.*cannot be read"):
        said = score_shards(model, tmp_path / "in", tmp_path / "out")
    states = [said["shards"][f"{n}.parquet"]["state"] for n in range(3)]
    assert states == ["done", "unreadable", "unreadable"]
    assert "no column 'text'" in said["shards"]["2.parquet"]["reason"]
    assert not (tmp_path / "out" / "1.parquet").exists()
    (tmp_path / "in" / "1.parquet").write_bytes(whole)
    (tmp_path / "in" / "2.parquet").unlink()
    said = score_shards(model, tmp_path / "in", tmp_path / "out")
    assert (said["totals"]["done"], said["totals"]["failed"]) == (2, 0)


def test_damage_in_the_middle_of_a_shard_leaves_no_half_result(tmp_path, model):
    """The footer is whole, pages are not: rows that were scored before do not count."""
    write_shards(tmp_path / "in", [4])
    texts, _ = make_texts(3000, seed=5)
    big = tmp_path / "in" / "big.parquet"
    pq.write_table(pa.table({"text": texts}), big, row_group_size=500, compression="none")
    content = bytearray(big.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 9000] = b"\xff" * 9000
    big.write_bytes(content)
    with pytest.warns(DataWarning, match="1 of 2 shards"):
        said = score_shards(model, tmp_path / "in", tmp_path / "out", batch_size=100)
    assert said["shards"]["big.parquet"]["state"] == "unreadable"
    assert sorted(f.name for f in (tmp_path / "out").iterdir()) == ["0.parquet", "manifest.json"]


def test_results_of_two_models_are_not_mixed(tmp_path, model):
    """Nor of two columns, nor with a folder that something else wrote, nor with the input."""
    write_shards(tmp_path / "in", [2])
    score_shards(model, tmp_path / "in", tmp_path / "out")
    with pytest.raises(SklFusionError, match="text was 'text' and is now 'id'"):
        score_shards(model, tmp_path / "in", tmp_path / "out", text="id")
    other = persistence.load(model)
    other.steps[-1][1].intercept_ += 1
    persistence.save(other, tmp_path / "other.sklf")
    with pytest.raises(SklFusionError, match="model_sha256 was"):
        score_shards(tmp_path / "other.sklf", tmp_path / "in", tmp_path / "out")
    (tmp_path / "strange").mkdir()
    (tmp_path / "strange" / "manifest.json").write_text("hello")
    with pytest.raises(SklFusionError, match="not a manifest"):
        score_shards(model, tmp_path / "in", tmp_path / "strange")
    for inside in (tmp_path / "in", tmp_path):
        with pytest.raises(ValueError, match="holds the input"):
            score_shards(model, tmp_path / "in", inside)
    with pytest.raises(ValueError, match="workers=0"):
        score_shards(model, tmp_path / "in", tmp_path / "new", workers=0)


_LIMITED = """
import resource, sys
from sklfusion.batch import score_shards
from sklfusion.exceptions import StorageError
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), int(sys.argv[1])))
try:
    score_shards(*sys.argv[2:5], workers=int(sys.argv[5]))
except StorageError as error:
    print(error)
"""


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.nightly)])
def test_a_full_disk_is_told_and_what_is_done_is_kept(tmp_path, model, workers):
    """A file may not grow beyond a limit, as on a full disk; with room again it goes on."""
    write_shards(tmp_path / "in", [4])
    score_shards(model, tmp_path / "in", tmp_path / "out")
    texts = [f"late goal {os.urandom(20).hex()}" for _ in range(4000)]
    table = pa.table({"id": range(4, 4004), "text": texts})
    pq.write_table(table, tmp_path / "in" / "1.parquet")
    command = [sys.executable, "-c", _LIMITED, "50000", str(model), str(tmp_path / "in")]
    done = subprocess.run(
        [*command, str(tmp_path / "out"), str(workers)],
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
        env={**os.environ, "PYTHONPATH": str(Path(sklfusion.__file__).parents[1])},
    )
    assert "the disk is full" in done.stdout
    assert "goes on where it stopped" in done.stdout
    names = sorted(f.name for f in (tmp_path / "out").iterdir())
    assert names == ["0.parquet", "manifest.json"]
    said = score_shards(model, tmp_path / "in", tmp_path / "out")
    assert (said["totals"]["earlier"], said["totals"]["rows"]) == (1, 4004)
    assert ids(tmp_path / "out") == list(range(4004))


# ------------------------------------------------------------------------- workers and payments


def _save_asking(server, folder, **params):
    path = folder / "llm.sklf"
    persistence.save(asking(server, **params), path)
    return path


def test_workers_share_one_store_and_pay_no_text_twice(tmp_path, fault_server):
    """The same texts in both shards: one request each; a second run sends nothing."""
    path = _save_asking(fault_server, tmp_path)
    write_shards(tmp_path / "in", [30])
    (tmp_path / "in" / "1.parquet").write_bytes((tmp_path / "in" / "0.parquet").read_bytes())
    said = score_shards(path, tmp_path / "in", tmp_path / "out", workers=2)
    assert said["totals"]["labelled"] == 60
    assert fault_server.ledger().billed == fault_server.ledger().distinct == 30
    assert (tmp_path / "out" / "replies").is_dir()
    score_shards(path, tmp_path / "in", tmp_path / "two", memory=tmp_path / "out" / "replies")
    assert fault_server.ledger().billed == 30


def test_a_worker_that_is_killed_loses_nothing(tmp_path, fault_server):
    """Its shard is done anew by another one; only what was in flight may be paid again."""
    fault_server.reset(latency_ms=40)
    path = _save_asking(fault_server, tmp_path)
    write_shards(tmp_path / "in", [60, 60])
    killed = []

    class Killing(Team):
        def _hire(self):
            super()._hire()
            member = list(self._selector.get_map().values())[-1].data
            if not killed:
                killed.append(member.process.pid)
                before = fault_server.ledger().usable
                wait_for(lambda: fault_server.ledger().usable >= before + 10, member.process)
                os.kill(member.process.pid, signal.SIGKILL)

    from sklfusion.batch import _shards

    original, _shards.Team = _shards.Team, Killing
    try:
        said = score_shards(path, tmp_path / "in", tmp_path / "out", workers=2, batch_size=20)
    finally:
        _shards.Team = original
    assert killed
    assert said["totals"]["labelled"] == 120
    assert ids(tmp_path / "out") == list(range(120))
    ledger = fault_server.ledger()
    assert ledger.distinct == 120
    assert ledger.billed - 120 <= 4  # max_concurrency of the one that was killed


def test_a_killed_run_goes_on_where_it_stopped(tmp_path, fault_server):
    """The program itself is killed in its second shard."""
    fault_server.reset(latency_ms=30)
    path = _save_asking(fault_server, tmp_path)
    write_shards(tmp_path / "in", [20, 60])
    code = "import sys; from sklfusion.batch import score_shards; score_shards(*sys.argv[1:])"
    args = [str(path), str(tmp_path / "in"), str(tmp_path / "out")]
    env = {**os.environ, "PYTHONPATH": str(Path(sklfusion.__file__).parents[1])}
    process = subprocess.Popen([sys.executable, "-c", code, *args], env=env)
    wait_for(lambda: fault_server.ledger().usable >= 40, process)
    process.kill()
    process.wait()
    assert ids(tmp_path / "out") == list(range(20))
    said = score_shards(*args)
    assert said["totals"]["earlier"] == 1
    assert ids(tmp_path / "out") == list(range(80))
    assert fault_server.ledger().billed - 80 <= 4
    assert not list((tmp_path / "out").rglob("*.partial"))


def test_a_shard_that_kills_its_workers_is_given_up(tmp_path, model, monkeypatch):
    """After some tries; the others are done."""
    write_shards(tmp_path / "in", [3, 3])
    code = (
        "import os, sys\n"
        "from sklfusion.batch import _worker\n"
        "tell, make = _worker.outcome, _worker._make_scorer\n"
        "def outcome(settings, job):\n"
        "    return os._exit(9) if job['name'] == '0.parquet' else tell(make(settings), job)\n"
        "_worker.outcome, _worker._make_scorer = outcome, dict\n"
        "_worker.main()\n"
    )
    start = subprocess.Popen
    monkeypatch.setattr(
        "sklfusion.batch._team.subprocess.Popen",
        lambda command, **how: start([command[0], "-c", code], **how),
    )
    monkeypatch.setattr("sklfusion.batch._team.TRIES", 2)
    with pytest.warns(DataWarning, match="2 workers ended over it.*status 9"):
        said = score_shards(model, tmp_path / "in", tmp_path / "out", workers=2)
    assert said["shards"]["0.parquet"]["state"] == "failed"
    assert said["shards"]["1.parquet"]["labelled"] == 3


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.nightly)])
def test_an_endpoint_that_refuses_stops_the_run(tmp_path, fault_server, workers):
    """With its own error; nothing half is left."""
    fault_server.script({"fault": {"kind": "status", "status": 401}})
    path = _save_asking(fault_server, tmp_path)
    write_shards(tmp_path / "in", [5, 5, 5])
    with pytest.raises(AuthenticationError):
        score_shards(path, tmp_path / "in", tmp_path / "out", workers=workers)
    assert ids(tmp_path / "out") == []


def test_two_stores_are_merged_by_export_and_import(tmp_path, fault_server):
    """Two machines pay for their own shards; merged, a third run over both sends nothing."""
    path = _save_asking(fault_server, tmp_path)
    texts = write_shards(tmp_path / "all", [20, 20])
    for side in ("0", "1"):
        one = tmp_path / "all" / f"{side}.parquet"
        score_shards(path, one, tmp_path / f"out{side}", memory=tmp_path / f"store{side}")
    assert fault_server.ledger().billed == len(set(texts)) == 40
    with open_store(tmp_path / "store1") as store:
        assert store.export(tmp_path / "replies.jsonl.gz") == 20
    with open_store(tmp_path / "store0") as store:
        told = store.import_(tmp_path / "replies.jsonl.gz")
        assert (told["added"], told["refused"]) == (20, 0)
        assert store.import_(tmp_path / "replies.jsonl.gz")["present"] == 20
    said = score_shards(path, tmp_path / "all", tmp_path / "out", memory=tmp_path / "store0")
    assert said["totals"]["labelled"] == 40
    assert fault_server.ledger().billed == 40


def test_drafts_of_dead_processes_are_swept_and_those_of_living_ones_kept(tmp_path):
    """Their names say who writes them."""
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    for pid in (dead.pid, os.getpid()):
        (tmp_path / f".a.parquet.{pid}.partial").touch()
    sweep(tmp_path)
    assert [f.name for f in tmp_path.iterdir()] == [f".a.parquet.{os.getpid()}.partial"]


_LIMITED_COMMAND = """
import resource, sys
from sklfusion.cli import main
resource.setrlimit(resource.RLIMIT_FSIZE, (50000, 50000))
sys.exit(main())
"""


def test_the_command_ends_with_3_when_the_disk_is_full(tmp_path, model):
    """What is done stays, in a column that is named as in one table; it goes on with room."""
    write_shards(tmp_path / "in", [4])
    texts = [f"late goal {os.urandom(20).hex()}" for _ in range(4000)]
    pq.write_table(pa.table({"text": texts, "label": texts}), tmp_path / "in" / "1.parquet")
    args = [model, tmp_path / "in", "-o", tmp_path / "out", "--shards"]
    done = subprocess.run(
        [sys.executable, "-c", _LIMITED_COMMAND, "predict", *map(str, args)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path(sklfusion.__file__).parents[1])},
    )
    assert done.returncode == 3, done.stderr
    assert "the disk is full" in done.stderr
    assert f"kept in {tmp_path / 'out'}" in done.stderr
    assert "prediction" in pq.read_table(tmp_path / "out" / "0.parquet").column_names
    again = type_here("predict", *args, "--json")
    assert json.loads(again.stdout)["earlier"] == 1, again.stderr
    assert pq.read_table(tmp_path / "out" / "1.parquet")["label"].to_pylist() == texts


def test_the_command_scores_a_folder_and_names_what_it_could_not_read(tmp_path, model):
    """Status 1 then; what can be read is done, and totals are told."""
    write_shards(tmp_path / "in", [3, 4])
    args = (model, tmp_path / "in", "-o", tmp_path / "out", "--shards")
    done = type_here("predict", *args, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["labelled"] == 7
    (tmp_path / "in" / "2.parquet").write_bytes(b"no Parquet")
    done = type_here("predict", *args)
    assert done.returncode == 1
    assert "1 of 3 shards have no result; 2 are done" in done.stderr
    assert "2.parquet" in done.stderr
    assert "needs a folder" in type_here("predict", *args[:2], "--shards").stderr
