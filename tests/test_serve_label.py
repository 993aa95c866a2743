"""`sklfusion serve --label`: a pool labelled over HTTP, by a real process."""

import csv
import io
import json
import os
import subprocess
import sys
import tempfile
import time

import pytest

from sklfusion import persistence
from tests._labelling import POOL, truth_of, word_counts
from tests._serving import PATIENCE, Served, serving

pytest.importorskip("typer", reason="the command line needs typer")


@pytest.fixture
def pool(tmp_path):
    """A table with an id, an empty text, and texts of two kinds."""
    path = tmp_path / "pool.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "text"])
        writer.writerows([f"0{n}", text] for n, text in enumerate([*POOL[:20], "", *POOL[20:]]))
    return path


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "mail.sklf"
    persistence.save(word_counts().fit(POOL[:8], [*map(truth_of, POOL[:8])]), path)
    return path


def see(running, **headers):
    status, _, told = running.send("GET", "/label", **headers)
    assert status == 200, told
    return json.loads(told)


def label(running, n, view=None):
    """Answer n texts as they come; return the view then."""
    view = view or see(running)
    for _ in range(n):
        current = view["current"]
        body = {"row": current["row"], "labels": [truth_of(current["text"])]}
        status, view = running.ask("/label/answer", body)
        assert status == 200, view
    return view


def until_fitted(running):
    end = time.monotonic() + PATIENCE
    while (view := see(running))["model"]["fitting"]:
        assert time.monotonic() < end
        time.sleep(0.05)
    return view


def test_a_pool_beside_a_model(pool, model):
    """Labels, skip, undo, a class, a fit, files; the model that was named stays what it is."""
    with serving(model, "--label", str(pool), "--classes", "ham,spam,other") as running:
        view = label(running, 6)
        assert (view["rows"], view["labelled"]) == (40, 6)
        assert [c["name"] for c in view["classes"]] == ["ham", "spam", "other"]
        row = view["current"]["row"]
        assert running.ask("/label/skip", {"row": row})[1]["skipped"] == 1
        status, view = running.ask("/label/undo", {})
        assert (status, view["current"]["row"], view["skipped"]) == (200, row, 0)
        assert running.ask("/label/class", {"name": "eggs"})[1]["classes"][-1]["name"] == "eggs"
        before = running.ask("/predict", {"texts": [POOL[0]]})[1]["predictions"]
        label(running, 8)
        assert running.ask("/label/refit", {})[1]["model"]["fitting"]
        assert until_fitted(running)["model"] == {"fitting": False, "failure": "", "labels": 14}
        assert running.ask("/predict", {"texts": [POOL[0]]})[1]["predictions"] == before
        _check_files(running)
        status, log = running.stop()
    assert status == 0
    assert not any(text in log for text in POOL)
    fitted = persistence.load(pool.with_name("pool.csv.labels.sklf"))
    assert fitted.predict([POOL[1]])[0] == "spam"


def _check_files(running):
    status, headers, said = running.send("GET", "/label/labels.csv")
    rows = list(csv.DictReader(io.StringIO(said.decode())))
    assert (status, len(rows)) == (200, 14)
    assert headers["content-type"].startswith("text/csv")
    assert list(rows[0]) == ["id", "text", "row", "label", "weight"]
    assert all(row["label"] == truth_of(row["text"]) for row in rows)
    status, _, said = running.send("GET", "/label/tasks.json")
    tasks = json.loads(said)
    assert len(tasks) == 14
    status, told = running.ask("/label/tasks", tasks)
    assert (status, told["labelled"], told["unknown"]) == (200, 14, 0)


def test_what_makes_no_sense_is_told(pool, model):
    """With a status, in words, and without a change."""
    with serving(model, "--label", str(pool)) as running:
        for path, body, status, said in (
            ("/label/answer", {"row": 0, "labels": ["eggs"]}, 422, "no class 'eggs'"),
            ("/label/answer", {"row": 99, "labels": ["ham"]}, 422, "no row 99"),
            ("/label/answer", {"row": "first"}, 422, "row"),
            ("/label/undo", {}, 422, "nothing to undo"),
            ("/label/tasks", [1], 422, "Task 0 has no text"),
            ("/label/tasks", {"data": 1}, 422, "list"),
            ("/label/class", {"name": ""}, 422, "1 to 200 characters"),
        ):
            found, told = running.ask(path, body)
            assert (found, said in told["error"]["message"]) == (status, True), told
        raw = running.send("POST", "/label/answer", b"{}", Content_Type="text/plain")
        assert raw[0] == 415  # what a foreign page could send
        assert see(running)["labelled"] == 0
    with serving(model) as running:
        assert running.send("GET", "/label")[0] == 404
        assert b'"labelling":false' in running.send("GET", "/v1/models")[2]


def test_killed_in_the_middle_nothing_is_lost(pool, model):
    """A second service on the same pool is refused; after kill -9 another goes on."""
    command = [sys.executable, "-m", "sklfusion.cli", "serve", str(model), "--port", "0"]
    command += ["--label", str(pool), "--token-env", "DESK_TOKEN"]
    env = {**os.environ, "DESK_TOKEN": "s3cret"}
    shown = {"Authorization": "Bearer s3cret"}
    with tempfile.TemporaryFile("a+", encoding="utf-8") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, env=env)
        try:
            view = _label_five(Served(process, log).until_ready(), shown)
            second = subprocess.run(
                command, capture_output=True, text=True, env=env, timeout=PATIENCE, check=False
            )
        finally:
            process.kill()
            process.communicate()
    assert second.returncode == 1
    assert "written by another process" in second.stderr
    with serving(model, "--label", str(pool)) as again:
        assert see(again) == view


def _label_five(running, shown):
    assert running.send("GET", "/label")[0] == 401
    assert running.send("GET", "/label.js")[0] == 200
    view = see(running, **shown)
    for _ in range(5):
        body = {"row": view["current"]["row"], "labels": ["ham"]}
        view = running.ask("/label/answer", body, **shown)[1]
    return view


def test_wrong_options_are_told_before_anything_starts(pool, model, tmp_path):
    """In one line; a usage error has status 2."""
    taken = tmp_path / "taken.csv"
    taken.write_text("text,label\na,b\n", encoding="utf-8")
    empty = tmp_path / "empty.csv"
    empty.write_text("text\n\n", encoding="utf-8")
    for arguments, status, said in (
        ([], 2, "name a model, or texts with --label"),
        ([model, "--classes", "a,b"], 1, "--label is not given"),
        ([model, "--label", tmp_path / "pool.cvs"], 1, "not one of"),
        ([model, "--label", pool, "--text", "body"], 1, "no column 'body'"),
        ([model, "--label", pool, "--multilabel"], 1, "one label to a text"),
        (["--label", pool, "--budget", "1"], 1, "no model is named"),
        (["--label", taken], 1, "a column 'label' already"),
        (["--label", empty], 1, "has no text in column"),
    ):
        done = _type_in(*arguments)
        assert done.exit_code == status, (arguments, done.output)
        assert said in " ".join(done.output.replace("│", " ").split()), (arguments, done.output)


def _type_in(*arguments):
    from typer.testing import CliRunner

    from sklfusion.cli import load_app

    words = ["serve", "--port", "0", *map(str, arguments)]
    return CliRunner().invoke(load_app(), words, env={"COLUMNS": "200"})


@pytest.mark.nightly
@pytest.mark.models
def test_a_pool_without_a_model_becomes_one_that_is_served(pool, tmp_path):
    """The encoder alone; its answers are served once it is fitted, and asked for before: 503."""
    options = ("--memory", str(tmp_path / "kept"), "--classes", "ham,spam")
    with serving(f"--label={pool}", *options) as running:
        status, told = running.ask("/predict", {"texts": ["a"]})
        assert (status, told["error"]["code"]) == (503, "no_model")
        status, told = running.ask("/label/refit", {})
        assert (status, told["error"]["message"]) == (422, "Label texts of two classes first.")
        label(running, 12)
        running.ask("/label/refit", {})
        assert until_fitted(running)["model"]["failure"] == ""
        status, told = running.ask("/predict", {"texts": ["win money by a click"]})
        assert (status, told["predictions"][0]["label"]) == (200, "spam")
        assert running.stop()[0] == 0
