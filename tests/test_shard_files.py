"""One shard and its files: what an output says of itself, drafts, and what a worker answers."""

import errno
import json
import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from _batches import Picky, save_word_model, word_model, write_shards

from sklfusion import SklFusionError
from sklfusion.batch import BatchScorer, score_shards
from sklfusion.batch._manifest import (
    MANIFEST,
    check_same_run,
    draft_of,
    facts_of,
    fingerprint,
    pid_runs,
    sweep,
    told_if_full,
    write_manifest,
)
from sklfusion.batch._one_shard import DEAD_LETTERS, UnreadableShard, score_shard
from sklfusion.batch._team import TRIES, Team
from sklfusion.batch._worker import outcome
from sklfusion.exceptions import BudgetExceededError

LAST = "z.parquet"


def write_texts(path, texts, **more):
    """Write a Parquet file of texts."""
    pq.write_table(pa.table({"text": pa.array(texts, pa.string()), **more}), path)
    return path


@pytest.fixture(scope="module")
def scorer():
    return BatchScorer(word_model(), batch_size=2)


@pytest.fixture
def source(tmp_path):
    return write_texts(tmp_path / "in.parquet", ["late goal", None, "bank rate"], id=[7, 8, 9])


# -- one shard -----------------------------------------------------------------------------


def test_a_shard_says_what_it_held(scorer, source, tmp_path):
    """What is returned stands in the output too, with the file that it was made of."""
    facts = score_shard(scorer, source, tmp_path / "out", "a/b.parquet")
    assert {name: facts[name] for name in ("rows", "labelled", "dead")} == {
        "rows": 3,
        "labelled": 2,
        "dead": 1,
    }
    assert facts["status"] == {"ok": 2, "missing": 1}
    assert facts["source"] == fingerprint(source)
    assert facts_of(tmp_path / "out" / "a" / "b.parquet") == facts
    dead = pq.read_table(tmp_path / "out" / DEAD_LETTERS / "a" / "b.parquet")
    assert dead.to_pylist() == [
        {"text": None, "id": 8, "status": "missing", "reason": "the text is missing"}
    ]


def test_an_empty_shard_is_done_with_all_its_columns(scorer, tmp_path):
    """Engines that read the folder find one schema."""
    empty = write_texts(tmp_path / "in.parquet", [])
    full = write_texts(tmp_path / "full.parquet", ["late goal"])
    for path in (empty, full):
        score_shard(scorer, path, tmp_path / "out", path.name)
    schemas = [pq.read_schema(tmp_path / "out" / path.name) for path in (empty, full)]
    assert schemas[0].equals(schemas[1])
    assert facts_of(tmp_path / "out" / empty.name)["rows"] == 0


def test_dead_letters_go_when_the_rows_have_become_well(scorer, source, tmp_path):
    """A shard that is scored again leaves nothing of its earlier result."""
    score_shard(scorer, source, tmp_path / "out", LAST)
    assert (tmp_path / "out" / DEAD_LETTERS / LAST).exists()
    write_texts(source, ["late goal", "bank rate"])
    score_shard(scorer, source, tmp_path / "out", LAST)
    assert not (tmp_path / "out" / DEAD_LETTERS / LAST).exists()
    assert pq.read_table(tmp_path / "out" / LAST).num_rows == 2


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"no Parquet", "cannot be read"),
        (None, "cannot be read"),
        ({"words": ["a"]}, "no column 'text'"),
        ({"text": ["a"], "label": ["b"]}, "a column 'label' already"),
    ],
    ids=["damaged", "absent", "other column", "taken column"],
)
def test_an_input_at_fault_leaves_no_file(scorer, tmp_path, content, says):
    """Neither half an output nor a draft of one; the worker names it as unreadable."""
    source = tmp_path / "in.parquet"
    if isinstance(content, bytes):
        source.write_bytes(content)
    elif content is not None:
        pq.write_table(pa.table(content), source)
    with pytest.raises(UnreadableShard, match=says):
        score_shard(scorer, source, tmp_path / "out", "a.parquet")
    assert not list(tmp_path.glob("out/**/*.parquet*"))
    job = {"source": str(source), "folder": str(tmp_path / "out"), "name": "a.parquet"}
    said = outcome(scorer, job)
    assert said["state"] == "unreadable"
    assert says in said["reason"]


class Raises:
    """A classifier that raises what it is told to, whatever the text."""

    classes_ = ["a", "b"]

    def __init__(self, error):
        self.error = error

    def predict_proba(self, X):
        raise self.error


@pytest.mark.parametrize(
    ("error", "state", "words"),
    [
        (BudgetExceededError("too dear"), "stopped", "too dear"),
        (SklFusionError("no store"), "stopped", "no store"),
        (ZeroDivisionError("by zero"), "failed", "ZeroDivisionError: by zero"),
    ],
)
def test_a_worker_says_whose_fault_it_is(source, tmp_path, error, state, words):
    """The shard's, after which others go on, or that of what all of them need."""
    job = {"source": str(source), "folder": str(tmp_path / "out"), "name": "a.parquet"}
    said = outcome(BatchScorer(Raises(error)), job)
    assert said["state"] == state
    assert said["reason"] == words
    if state == "stopped":
        assert said["error"] == type(error).__name__
    assert json.loads(json.dumps(said)) == said


def test_a_bad_row_costs_its_shard_nothing(tmp_path):
    """It is found in its batch, told with the error, and written apart."""
    texts = [f"fine {n}" for n in range(9)]
    texts[4] = "poison"
    source = write_texts(tmp_path / "in.parquet", texts)
    facts = score_shard(BatchScorer(Picky(), batch_size=4), source, tmp_path / "out", LAST)
    assert (facts["labelled"], facts["dead"]) == (8, 1)
    (dead,) = pq.read_table(tmp_path / "out" / DEAD_LETTERS / LAST).to_pylist()
    assert dead["reason"] == "ZeroDivisionError: it holds poison"


# -- what is written down ------------------------------------------------------------------


def test_a_file_of_others_tells_nothing(tmp_path):
    """Not there, no Parquet, or Parquet that this library did not write."""
    path = tmp_path / "a.parquet"
    assert facts_of(path) is None
    path.write_bytes(b"PAR1")
    assert facts_of(path) is None
    assert facts_of(write_texts(path, ["a"])) is None


def test_an_output_of_others_is_made_anew(tmp_path):
    """A file under the name of a result that says nothing of its shard is no result."""
    model = save_word_model(tmp_path)
    write_shards(tmp_path / "in", [3])
    (tmp_path / "out").mkdir()
    write_texts(tmp_path / "out" / "0.parquet", ["somebody's"])
    said = score_shards(model, tmp_path / "in", tmp_path / "out")
    assert said["totals"]["earlier"] == 0
    assert pq.read_table(tmp_path / "out" / "0.parquet").num_rows == 3


def test_a_lost_manifest_is_made_again_from_the_files(tmp_path):
    """What is done is known by the outputs."""
    model = save_word_model(tmp_path)
    write_shards(tmp_path / "in", [3, 2])
    first = score_shards(model, tmp_path / "in", tmp_path / "out")
    (tmp_path / "out" / MANIFEST).unlink()
    again = score_shards(model, tmp_path / "in", tmp_path / "out")
    assert again["totals"] == {**first["totals"], "earlier": 2}
    assert again["shards"] == first["shards"]


@pytest.mark.parametrize("held", ["{", "[]", '"a"', "{}", '{"format": 99}', '{"format": 1}'])
def test_a_manifest_that_is_none_is_told(tmp_path, held):
    """And nothing is written over it."""
    (tmp_path / MANIFEST).write_text(held, encoding="utf-8")
    with pytest.raises(SklFusionError, match="not a manifest of this version"):
        check_same_run(tmp_path, {"text": "text"})
    assert (tmp_path / MANIFEST).read_text(encoding="utf-8") == held


def test_settings_of_another_run_are_named(tmp_path):
    """With what they were and are; where there is no manifest all is well."""
    check_same_run(tmp_path, {"text": "text"})
    write_manifest(tmp_path, {"format": 1, "settings": {"text": "body"}})
    check_same_run(tmp_path, {"text": "body"})
    with pytest.raises(SklFusionError, match="text was 'body' and is now 'text'"):
        check_same_run(tmp_path, {"text": "text"})


def test_drafts_lie_beside_their_place_and_know_their_writer(tmp_path):
    """Hidden from engines, and swept once nobody writes them; other files stay."""
    draft = draft_of(tmp_path / "sub" / "a.parquet")
    assert draft.parent == tmp_path / "sub"
    assert draft.name.startswith(".")
    assert str(os.getpid()) in draft.name
    draft.parent.mkdir()
    draft.touch()
    (tmp_path / ".a.nobody.partial").touch()
    (tmp_path / "mine.partial").touch()
    sweep(tmp_path)
    assert draft.exists()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["mine.partial", "sub"]
    assert pid_runs(os.getpid())


@pytest.mark.parametrize(
    ("number", "words"),
    [(errno.ENOSPC, "the disk is full"), (errno.EACCES, "Permission denied"), (None, "odd")],
)
def test_an_error_of_the_disk_says_what_is_kept(tmp_path, number, words):
    """And what to do."""
    error = OSError("odd") if number is None else OSError(number, os.strerror(number))
    with pytest.raises(SklFusionError, match=words) as caught, told_if_full(tmp_path):
        raise error
    assert "run the same command again" in str(caught.value)
    assert caught.value.__cause__ is error


# -- a folder ------------------------------------------------------------------------------


def test_one_file_is_a_folder_of_one(tmp_path):
    """Under its own name."""
    model = save_word_model(tmp_path)
    write_shards(tmp_path / "in", [3])
    said = score_shards(model, tmp_path / "in" / "0.parquet", tmp_path / "out")
    assert list(said["shards"]) == ["0.parquet"]
    assert pq.read_table(tmp_path / "out" / "0.parquet").num_rows == 3


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"workers": 0}, "workers=0"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"output": "."}, "holds the input"),
        ({"output": "in"}, "holds the input"),
        ({"source": "nowhere"}, "does not exist"),
        ({"source": "empty"}, "holds no .parquet file"),
    ],
)
def test_what_cannot_be_scored_is_refused(tmp_path, settings, says):
    """Before any shard is begun."""
    model = save_word_model(tmp_path)
    write_shards(tmp_path / "in", [1])
    (tmp_path / "empty").mkdir()
    settings = {"source": "in", "output": "out", **settings}
    source, output = tmp_path / settings.pop("source"), tmp_path / settings.pop("output")
    with pytest.raises(ValueError, match=says):
        score_shards(model, source, output, **settings)
    assert not (tmp_path / "out" / "0.parquet").exists()


def test_a_shard_that_changed_is_waiting_until_it_is_done(tmp_path):
    """The manifest never claims what the output does not hold."""
    model = save_word_model(tmp_path)
    write_shards(tmp_path / "in", [3, 2])
    score_shards(model, tmp_path / "in", tmp_path / "out")
    write_texts(tmp_path / "in" / "1.parquet", ["late goal"] * 5, id=list(range(5)))
    said = score_shards(model, tmp_path / "in", tmp_path / "out")
    assert said["totals"]["earlier"] == 1
    assert said["shards"]["1.parquet"]["rows"] == 5


def test_a_team_without_jobs_starts_nobody():
    """As when all shards were done earlier."""
    Team([], {"model": "none"}, 4, tell=None).run()


def test_a_job_is_put_back_until_it_has_cost_too_many(tmp_path):
    """The last death says that it is the shard, and how the worker ended."""
    job = {"name": "a.parquet"}
    team = Team([], {}, 1, tell=None)
    for _ in range(TRIES - 1):
        assert team._after_death(job, -9) is None
        assert team.waiting.popleft() is job
    said = team._after_death(job, -9)
    assert said["state"] == "failed"
    assert "signal 9" in said["reason"]
    assert not team.waiting
    other = {"name": "b.parquet"}
    for _ in range(TRIES):
        said = team._after_death(other, 3)
    assert "status 3" in said["reason"]
