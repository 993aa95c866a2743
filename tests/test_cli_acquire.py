"""`sklfusion acquire`: tables out, labels back, nothing lost in between."""

import json

import numpy as np
import pandas as pd
import pytest

from sklfusion.cli import load_app
from sklfusion.cli._formats import read_frame

runner_module = pytest.importorskip("typer.testing", reason="the command line needs typer")

TEXTS = [f"note {n} about {'sport' if n % 3 == 0 else 'food'}" for n in range(40)]


@pytest.fixture(autouse=True)
def _own_memory(tmp_path, monkeypatch):
    monkeypatch.setenv("SKLFUSION_MEMORY", str(tmp_path / "kept"))


@pytest.fixture
def pool(tmp_path):
    path = tmp_path / "texts.csv"
    pd.DataFrame({"text": TEXTS}).to_csv(path, index=False)
    return path


@pytest.fixture
def typed(pool, fault_server):
    """Type the command about the pool, with an LLM at the loopback endpoint."""
    app = load_app()
    asks = ("--llm", "loopback", "--base-url", fault_server.base_url, "--embedder", "none")

    def type_in(*args):
        words = ["acquire", pool, *args, *asks, "--json"]
        return runner_module.CliRunner().invoke(app, [str(word) for word in words])

    return type_in


def fill_in(path, *, but=0):
    """Label a table as a person would, all but the first few rows."""
    frame = read_frame(path)
    frame["label"] = [text.split()[-1] for text in frame["text"]]
    frame.loc[: but - 1, "label"] = ""
    frame.to_csv(path.with_name("done.csv"), index=False)
    return path.with_name("done.csv")


def test_texts_go_out_and_labels_come_back(typed, pool, tmp_path):
    first, second = tmp_path / "one.csv", tmp_path / "two.jsonl"
    done = typed("-o", first, "--batch-size", "12")
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["asked"] == 12
    asked = read_frame(first)
    assert list(asked) == ["row", "text", "label", "q", "utility"]
    assert [TEXTS[int(row)] for row in asked["row"]] == asked["text"].tolist()
    np.testing.assert_allclose(asked["q"].astype(float), 1 / (40 - np.arange(12)))
    sample = tmp_path / "sample.csv"
    done = typed("-o", second, "--labelled", fill_in(first), "--sample", sample)
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["labelled"] == 12
    later = read_frame(second)
    assert len(later) == 20
    assert not set(later["row"]) & set(asked["row"].astype(int))
    held = read_frame(sample)
    assert list(held) == ["row", "text", "label", "weight"]
    assert held["label"].tolist() == [text.split()[-1] for text in held["text"]]
    np.testing.assert_allclose(held["weight"].astype(float), 1)  # drawn evenly so far
    assert not list(tmp_path.glob("*.new"))


def test_open_texts_are_asked_again_or_left_out(typed, tmp_path):
    out = tmp_path / "next.csv"
    typed("-o", out, "--batch-size", "10")
    before = read_frame(out)["row"].tolist()
    done = fill_in(out, but=3)
    again = typed("-o", out, "--labelled", done)
    assert json.loads(again.stdout)["labelled"] == 7
    assert read_frame(out)["row"].tolist() == before[:3]
    skipped = typed("-o", out, "--labelled", done, "--skip-empty")
    assert skipped.exit_code == 0, skipped.stderr
    assert "leaves out 3 row(s)" in skipped.stderr
    assert not set(read_frame(out)["row"]) & set(before)


def test_labels_are_kept_when_the_llm_cannot_be_asked(typed, tmp_path):
    out = tmp_path / "next.csv"
    typed("-o", out)
    done = fill_in(out)
    broken = typed("-o", out, "--labelled", done, "--prices", "1000,1000", "--budget", "0.001")
    assert broken.exit_code == 3
    state = json.loads((tmp_path / "texts.csv.labelling.json").read_text())
    assert sum(entry["status"] == "labelled" for entry in state["entries"]) == 20


def test_what_cannot_be_is_told(typed, pool, tmp_path):
    out = tmp_path / "next.csv"
    refused = typed("-o", out, "--multilabel", "--classes", "food,sport")
    assert refused.exit_code == 1
    assert "one class per text" in refused.stderr
    assert (
        "--skip-empty has no effect without --labelled" in typed("-o", out, "--skip-empty").stderr
    )
    assert "is what is read" in typed("-o", pool).stderr
    typed("-o", out)
    wrong = tmp_path / "wrong.csv"
    wrong.write_text("row,label\nfirst,food\n", encoding="utf-8")
    assert "has 'first' in the column row" in typed("-o", out, "--labelled", wrong).stderr
    wrong.write_text("row,label\n99,food\n", encoding="utf-8")
    assert "got row 99" in typed("-o", out, "--labelled", wrong).stderr
    pool.write_text("text\nother\ntexts\n", encoding="utf-8")
    assert "the state of another pool" in typed("-o", out).stderr
