"""Options reach the estimators, and a command that is stopped goes on where it was."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest

from sklfusion.cli import load_app
from sklfusion.cli._formats import read_frame

runner_module = pytest.importorskip("typer.testing", reason="the command line needs typer")

#: The command as a terminal starts it: what a shell starts in the background ignores Ctrl-C.
FOREGROUND = """
import runpy, signal
signal.signal(signal.SIGINT, signal.default_int_handler)
runpy.run_module("sklfusion.cli", run_name="__main__")
"""
TEXTS = [f"note {n} about {'sport' if n % 2 else 'food'}" for n in range(12)]
COMMANDS = [
    "estimate",
    "score",
    "acquire",
    "fit",
    "predict",
    "info",
    "demo",
    "cache info",
    "models list",
]


@pytest.fixture(autouse=True)
def _own_memory(tmp_path, monkeypatch):
    monkeypatch.setenv("SKLFUSION_MEMORY", str(tmp_path / "kept"))


@pytest.fixture
def typed():
    """Type a command in this process."""
    app = load_app()

    def type_in(*args):
        return runner_module.CliRunner().invoke(app, [str(arg) for arg in args])

    return type_in


@pytest.fixture
def table(tmp_path):
    rows = "".join(f"0{n},{text},{text.split()[-1]}\n" for n, text in enumerate(TEXTS))
    path = tmp_path / "table.csv"
    path.write_text(f"id,text,label\n{rows}", encoding="utf-8")
    return path


@pytest.fixture
def asks(fault_server):
    """Options that ask the loopback endpoint."""
    return ("--llm", "loopback", "--base-url", fault_server.base_url)


ADDED = ["prediction", "p_food", "p_sport", "status", "reason"]  # by predict
PRICES = ("--prices", "1000,1000")  # about a tenth of a unit a request


def test_score_writes_scores_and_status_and_keeps_the_rest(typed, table, asks, tmp_path):
    """A probability per class, a status, and what was there."""
    out = tmp_path / "scores.jsonl"
    done = typed("score", table, "-o", out, *asks, "--json", *PRICES)
    assert done.exit_code == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["rows"], told["answered"], told["paid_requests"]) == (12, 12, 12)
    assert told["cost"] > 0
    frame = read_frame(out)
    assert list(frame) == ["id", "text", "label", "llm_food", "llm_sport", "llm_status"]
    assert frame["id"].tolist()[:2] == ["00", "01"]
    assert frame["llm_food"].between(0, 1).all()


def test_a_text_without_an_answer_has_a_status_and_no_score(typed, table, asks, fault_server):
    """Never a label that nobody gave; the warning is one line."""
    fault_server.script({"fault": {"kind": "status", "status": 413}, "contains": TEXTS[3]})
    done = typed("score", table, *asks, "--memory", "none")
    assert done.exit_code == 0, done.stderr
    row = next(line for line in done.stdout.splitlines() if TEXTS[3] in line)
    assert row.endswith(",,,missing")
    assert "sklfusion: warning: " in done.stderr


def test_the_task_reaches_the_prompt(typed, table, asks, fault_server, tmp_path):
    """Classes, descriptions, instructions and the key's variable, in what is sent."""
    fault_server.reset(keep_bodies=True)
    (tmp_path / "words.json").write_text('{"food": "what is eaten"}', encoding="utf-8")
    words = (
        "--class-descriptions",
        tmp_path / "words.json",
        "--instructions",
        "Kitchen or field?",
    )
    done = typed("score", table, *asks, "--classes", "food,sport,other", *words)
    assert done.exit_code == 0, done.stderr
    ledger = fault_server.ledger(events=True)
    body = json.dumps(ledger.bodies[0])
    assert all(part in body for part in ("other", "what is eaten", "Kitchen or field?"))


def test_the_key_goes_by_the_name_of_its_variable(typed, table, asks, fault_server, monkeypatch):
    """And never otherwise."""
    monkeypatch.setenv("OUR_KEY", "a-secret-of-ours")
    done = typed("score", table, *asks, "--api-key-env", "OUR_KEY")
    assert done.exit_code == 0, done.stderr
    assert "authorization" in [n.lower() for n in fault_server.ledger().header_names]
    assert "a-secret-of-ours" not in done.output
    done = typed("estimate", table, *asks, "--api-key-env", "AIzaSyA1234567890abcdefgh")
    assert done.exit_code == 1
    assert "name of an environment variable" in done.stderr
    assert "AIza" not in done.output


def test_a_pasted_key_is_refused_before_anything_reads_it():
    """Whatever option it was given to; what it was is not shown."""
    key = "sk-proj-0123456789abcdef"
    for said in (["--api-key", key], [f"--budget={key}"], [key]):
        done = subprocess.run(
            [sys.executable, "-m", "sklfusion.cli", "score", "t.csv", *said],
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert (done.returncode, done.stdout) == (2, "")
        assert "looks like a key" in done.stderr
        assert key not in done.stderr


def test_estimate_needs_no_labels_and_sends_nothing(typed, tmp_path, asks, fault_server):
    """Requests, tokens and money, from texts alone."""
    path = tmp_path / "new.tsv"
    path.write_text("text\n" + "\n".join(TEXTS), encoding="utf-8")
    args = ("estimate", path, *asks, "--classes", "food,sport", "--json")
    told = json.loads(typed(*args, *PRICES, "--budget", "0.5").stdout)
    assert (told["requests"], told["within_budget"]) == (12, False)
    assert told["prompt_tokens"] > 0
    assert told["cost"] > 0.5
    assert json.loads(typed(*args).stdout)["cost"] is None
    assert "give --prices IN,OUT" in typed(*args[:-1]).stdout
    assert fault_server.ledger().received == 0


def test_a_spent_budget_ends_with_3_and_the_same_command_goes_on(
    typed, table, asks, fault_server, tmp_path
):
    """Nothing is paid twice, and nothing is written before all is there."""
    out = tmp_path / "out.csv"
    args = ("score", table, "-o", out, *asks, *PRICES)
    done = typed(*args, "--budget", "0.5", "--json")
    assert done.exit_code == 3
    assert "the same command again goes on" in done.stderr
    assert json.loads(done.stdout)["status"] == 3
    assert not out.exists()
    paid = fault_server.ledger().billed
    assert 0 < paid < 12
    assert typed(*args).exit_code == 0
    assert fault_server.ledger().billed == 12
    assert len(read_frame(out)) == 12


def test_an_endpoint_that_is_down_ends_with_3(typed, table):
    """Without a memory nothing is kept: then it is an error like others."""
    args = ("score", table, "--llm", "m", "--base-url", "http://127.0.0.1:9/v1")
    done = typed(*args)
    assert done.exit_code == 3
    assert "cannot be reached" in done.stderr
    done = typed(*args, "--memory", "none")
    assert done.exit_code == 1
    assert "with --memory FOLDER" in done.stderr


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_command_ends_with_3_and_goes_on(typed, table, asks, fault_server, sent):
    """Ctrl-C in the middle: what was answered is not paid for again."""
    # longer than the command waits for a reply, so that it can't end before the signal
    fault_server.script({"fault": {"kind": "hang", "seconds": 300}, "contains": TEXTS[9]})
    command = [sys.executable, "-c", FOREGROUND, "score", str(table), *asks]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(os.environ)
    ) as process:
        try:
            end = time.monotonic() + 120
            while fault_server.ledger().usable < 11 and time.monotonic() < end:
                time.sleep(0.1)
            process.send_signal(sent)
            _, said = process.communicate(timeout=120)
        finally:
            process.kill()
    assert process.returncode == 3, said
    assert "the same command again goes on" in said
    assert "Traceback" not in said
    fault_server.script()
    done = typed("score", table, *asks)
    assert done.exit_code == 0, done.stderr
    assert "1 paid requests, 11 cached" in done.stderr


def test_progress_is_lines_where_nobody_watches(typed, table, asks):
    """One at the start, one per tenth at most, one at the end; --quiet tells none."""
    done = typed("score", table, *asks, "--quiet", "--memory", "none")
    assert done.stderr == ""
    assert len(done.stdout.splitlines()) == 13
    lines = typed("score", table, *asks).stderr.splitlines()
    assert all(
        re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d sklfusion: LLMScorer: ", s) for s in lines
    )
    assert "0 of 12 texts" in lines[0]
    assert "12 of 12 texts" in lines[-2]
    assert "12 paid requests" in lines[-1]
    assert 3 <= len(lines) <= 13


IDLE = [
    (("--llm", "none"), "estimate", "leaves nothing to ask"),
    (("--llm", "none", "--budget", "1"), "fit", "--budget: no effect"),
    (("--llm", "none", "--instructions", "x"), "fit", "--instructions: no effect"),
    (("--llm", "none", "--embedder", "none"), "fit", "leave nothing to learn from"),
    (("--embedder", "none", "--fine-tune", "yes"), "fit", "--fine-tune: no effect"),
    (("--separator", ";"), "estimate", "no effect without --multilabel"),
    (
        ("--llm", "local/smollm2-135m", "--base-url", "http://x"),
        "estimate",
        "runs in this process",
    ),
    (("--budget", "1", "--llm", "openai/m"), "estimate", "needs --prices"),
    (("--prices", "cheap"), "estimate", "wanted IN,OUT"),
    (("--llm", "openia/m"), "estimate", "Did you mean openai/"),
    (("--text", "txt"), "estimate", "Did you mean 'text'"),
    (("--class-descriptions", "none.json"), "estimate", "none.json does not exist"),
    (("--classes", "food,spot", "--label", "label"), "estimate", "'sport', not in --classes"),
]


@pytest.mark.parametrize(("said", "command", "says"), IDLE)
def test_an_option_without_effect_or_sense_is_an_error(
    typed, table, tmp_path, said, command, says
):
    """With what arrived and what to do, before any work."""
    more = ("-o", tmp_path / "m.sklf") if command == "fit" else ()
    done = typed(command, table, *more, *said)
    assert done.exit_code == 1
    assert says in done.stderr


@pytest.mark.parametrize(
    ("said", "says"),
    [
        (["fti"], "Did you mean 'fit'"),
        (["cache", "inf"], "Did you mean 'info'"),
        (["fit", "t.csv", "--ouptut", "m"], "--output"),
        (["fit", "t.csv", "-o", "m", "--fine-tune", "maybe"], "contrastive"),
        (["fit", "t.csv"], "--output"),
        (["score", "t.csv", "--budget", "much"], "--budget"),
    ],
)
def test_a_wrong_word_is_status_2_and_what_is_near_is_named(typed, said, says):
    """As typer tells it."""
    done = typed(*said)
    assert done.exit_code == 2
    assert says in " ".join(done.stderr.split())


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_a_page_of_help(typed, command):
    """With an end on every line, and json and quiet."""
    done = typed(*command.split(), "--help")
    assert done.exit_code == 0
    assert "--json" in done.stdout
    assert "--quiet" in done.stdout
    assert len(done.stdout.splitlines()) < 70


def test_the_shell_completes_commands_and_options():
    """What bash asks for, answered."""
    for words, wanted in (("sklfusion est", "estimate"), ("sklfusion fit --fine", "--fine-tune")):
        asked = {"COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
        env = {**os.environ, "_SKLFUSION_COMPLETE": "complete_bash", **asked}
        code = "import sys; sys.argv = ['sklfusion']; from sklfusion.cli import main; main()"
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            env=env,
            timeout=300,
            check=False,
        )
        assert done.stdout.split() == [wanted], done.stderr


@pytest.fixture
def model(tmp_path, asks):
    """A saved classifier that asks the loopback endpoint."""
    from sklfusion import LLMClassifier, persistence

    known = {"base_url": asks[-1], "memory": tmp_path / "kept"}
    fitted = LLMClassifier("loopback", classes=["food", "sport"], **known).fit(TEXTS[:2])
    persistence.save(fitted, tmp_path / "model.sklf")
    return tmp_path / "model.sklf"


def test_predict_keeps_columns_and_holds_a_budget(typed, table, model, tmp_path):
    """Money is refused without prices, held with them, and the rest goes on."""
    out = tmp_path / "out.parquet"
    args = ("predict", model, table, "-o", out)
    assert "needs --prices" in typed(*args, "--budget", "0.5").stderr
    done = typed(*args, "--budget", "0.5", *PRICES)
    assert done.exit_code == 3, done.output
    done = typed(*args, "--json")
    assert json.loads(done.stdout)["rows"] == 12
    frame = read_frame(out)
    assert list(frame) == ["id", "text", "label", *ADDED]
    assert "'prediction' already" in typed("predict", model, out).stderr
    shown = json.loads(typed("predict", model, table, "--json").stdout)
    assert shown["table"][1]["id"] == "01"


def test_a_row_that_failed_has_no_prediction(typed, table, model, fault_server):
    """Nor a probability; its status and a sentence say why."""
    fault_server.script({"fault": {"kind": "status", "status": 413}, "contains": TEXTS[3]})
    done = typed("predict", model, table, "--json")
    assert done.exit_code == 0, done.stderr
    row = json.loads(done.stdout)["table"][3]
    assert (row["prediction"], row["p_food"]) == (None, None)
    assert row["status"] != "ok"
    assert row["reason"]
    odd = table.with_suffix(".jsonl")
    odd.write_text('{"text": null}\n{"text": "half \\ud800 of sport"}\n', encoding="utf-8")
    done = typed("predict", model, odd, "--json")
    assert [r["status"] for r in json.loads(done.stdout)["table"]] == ["missing", "ok"]
    assert "lone surrogates" in done.stderr
    odd.write_text('{"text": "a"}\n{"text": 7}\n', encoding="utf-8")
    assert "Row 1 of column 'text' is no text but int" in typed("predict", model, odd).stderr


def test_several_labels_from_fit_to_predict(typed, tmp_path, asks, table):
    """Sets in a cell in, sets in a cell out; the seed and the encoder's absence reach the fit."""
    path = tmp_path / "sets.csv"
    labels = ["food|sport" if n % 3 == 0 else "food" if n % 2 else "" for n in range(12)]
    rows = "".join(f"{t},{s}\n" for t, s in zip(TEXTS, labels, strict=True))
    path.write_text(f"text,topics\n{rows}", encoding="utf-8")
    model, task = tmp_path / "m.sklf", ("--label", "topics", "--multilabel")
    done = typed(
        "fit", path, "-o", model, *asks, *task, "--embedder", "none", "--seed", 3, "--json"
    )
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["classes"] == 2
    done = typed("predict", model, table, "-q")
    assert done.exit_code == 0, done.stderr
    head, *lines = done.stdout.splitlines()
    assert head.split(",") == ["id", "text", "label", *ADDED]
    assert {line.split(",")[3] for line in lines} <= {"", "food", "sport", "food|sport"}
