"""The command line, run as a person runs it."""

import subprocess
import sys

import pytest

from sklfusion._chat import ChatRequest, Reply
from sklfusion.replies import open_store, request_key

run = pytest.importorskip("_typed", reason="the command line needs typer").type_here


@pytest.fixture(autouse=True)
def _own_memory(tmp_path, monkeypatch):
    monkeypatch.setenv("SKLFUSION_MEMORY", str(tmp_path / "kept"))


def from_shell(*args):
    """Run a command in a process of its own, which takes seconds to start."""
    return subprocess.run(
        [sys.executable, "-m", "sklfusion.cli", *args],
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )


@pytest.fixture
def store(tmp_path):
    """A folder with one stored reply."""
    request = ChatRequest("http://127.0.0.1:1/v1", "m", (("user", "hello"),), {})
    with open_store(tmp_path / "memory") as opened:
        opened.put(request_key(request), Reply(("ham",), ("stop",), model="m", created=1.0))
    return tmp_path / "memory"


def test_version():
    """One line, the version."""
    import sklfusion

    assert from_shell("--version").stdout.strip() == sklfusion.__version__


def test_a_wrong_command_is_told_in_a_line_with_status_2():
    """No traceback for a typing error."""
    done = from_shell("nonsense")
    assert done.returncode == 2
    assert "No such command 'nonsense'" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_wrong_option_names_what_is_wanted():
    """The option and the kind of value."""
    done = run("demo", "--draws", "many")
    assert done.returncode == 2
    assert "--draws" in done.stderr


def test_models_are_listed_with_their_aliases():
    """Both embedded models, installed or not."""
    out = run("models", "list").stdout
    assert "all-minilm-l6-v2" in out
    assert "smollm2-135m" in out


def test_cache_info_counts_replies(store):
    """What is in the store, without touching it."""
    out = run("cache", "info", str(store)).stdout
    assert "replies: 1" in out


def test_cache_verify_ends_with_status_0_on_a_sound_store(store):
    """For scripts."""
    assert run("cache", "verify", str(store)).returncode == 0


def test_cache_travels_by_export_and_import(store, tmp_path):
    """A paper can ship its answers."""
    lines = tmp_path / "replies.jsonl"
    assert "1 replies" in run("cache", "export", str(store), str(lines)).stdout
    other = tmp_path / "other"
    assert run("cache", "import", str(other), str(lines)).returncode == 0
    assert "replies: 1" in run("cache", "info", str(other)).stdout


def test_cache_import_of_no_file_creates_nothing(tmp_path):
    """The arguments the wrong way round leave no empty store behind."""
    done = run("cache", "import", str(tmp_path / "out.jsonl"), str(tmp_path / "memory"))
    assert done.returncode == 1
    assert "memory does not exist" in done.stderr
    assert not (tmp_path / "out.jsonl").exists()


def test_cache_info_creates_nothing(tmp_path):
    """Looking at a folder that is not there is an error in one line."""
    missing = tmp_path / "missing"
    done = run("cache", "info", str(missing))
    assert done.returncode == 1
    assert done.stderr.startswith("sklfusion: ")
    assert not missing.exists()


@pytest.fixture
def table(tmp_path):
    """24 briefs of two desks."""
    import pandas as pd

    from sklfusion.datasets import load_newsdesk

    desk = load_newsdesk()
    rows = [i for i, d in enumerate(desk.target) if d in ("Sports", "Health")][:24]
    path = tmp_path / "train.csv"
    frame = pd.DataFrame({"text": [desk.data[i] for i in rows], "label": desk.target[rows]})
    frame.to_csv(path, index=False)
    return path


def test_estimate_prices_a_job_without_a_key(table):
    """24 requests for 24 texts, and nothing is sent."""
    done = run("estimate", str(table), "--llm", "openai/gpt-5-nano")
    assert done.returncode == 0, done.stderr
    assert "requests: 24" in done.stdout


def test_a_missing_column_is_told_with_those_that_are_there(table):
    """In one line, with what to do."""
    done = run("estimate", str(table), "--text", "body")
    assert done.returncode == 1
    assert "no column 'body'" in done.stderr
    assert "['text', 'label']" in done.stderr


def test_an_unknown_kind_of_file_is_told(tmp_path):
    """The kinds that are known are listed."""
    done = run("estimate", str(tmp_path / "train.xlsx"))
    assert done.returncode == 1
    assert ".parquet" in done.stderr


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["predict", "none.sklf", "TABLE"], "none.sklf does not exist"),
        (["fit", "TABLE", "-o", "none/m.sklf"], "folder none does not exist"),
        (["fit", "TABLE", "-o", "."], "is a folder"),
    ],
)
def test_a_missing_place_is_told_before_any_work(table, args, says):
    """A line, not a traceback, and not after the fit was paid for."""
    done = run(*[str(table) if arg == "TABLE" else arg for arg in args])
    assert done.returncode == 1
    assert says in done.stderr


def test_a_row_without_a_label_is_named(tmp_path):
    """In the words of scikit-learn, before anything is fitted."""
    path = tmp_path / "t.csv"
    path.write_text("text,label\none,None\ntwo,\nthree,NA\n", encoding="utf-8")
    for command in (["estimate", str(path)], ["fit", str(path), "-o", str(tmp_path / "m.sklf")]):
        done = run(*command)
        assert done.returncode == 1
        assert "Input y contains NaN" in done.stderr
        assert "row(s) 1 have none" in done.stderr


@pytest.mark.slow
@pytest.mark.models
def test_fit_and_predict_from_the_shell(table, tmp_path):
    """A model fitted on a table predicts another table."""
    model = tmp_path / "model.sklf"
    done = from_shell("fit", str(table), "-o", str(model), "--memory", str(tmp_path / "memory"))
    assert done.returncode == 0, done.stderr[-2000:]
    out = tmp_path / "out.csv"
    done = from_shell("predict", str(model), str(table), "-o", str(out))
    assert done.returncode == 0, done.stderr[-2000:]
    import pandas as pd

    frame = pd.read_csv(out)
    assert list(frame.columns) == [
        *("text", "label", "prediction", "p_Health", "p_Sports", "status", "reason")
    ]
    assert (frame["prediction"] == frame["label"]).mean() > 0.8


@pytest.mark.parametrize("command", [["info"], ["verify"], ["export"]])
def test_looking_at_a_folder_without_a_store_makes_none(tmp_path, command):
    """A folder that is there but holds no replies stays as it is."""
    more = [str(tmp_path / "out.jsonl")] if command == ["export"] else []
    done = run("cache", *command, str(tmp_path), *more)
    assert done.returncode == 1
    assert "There is no reply store" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_looking_at_a_damaged_store_repairs_nothing(store, tmp_path):
    """The sound replies are counted and exported; the file stays as it is."""
    path = store / "replies" / "replies.sqlite"
    with path.open("r+b") as file:
        file.write(bytes(100))
    before = path.read_bytes()
    done = run("cache", "verify", str(store))
    assert (done.returncode, "replies: 1" in done.stdout) == (1, True), done.stdout
    assert "replies: 1" in run("cache", "info", str(store)).stdout
    assert "1 replies" in run("cache", "export", str(store), str(tmp_path / "out.jsonl")).stdout
    assert path.read_bytes() == before


def test_estimate_takes_prices_and_a_table_without_labels(table):
    """A table to be labelled has no labels yet; the classes and prices are named."""
    import pandas as pd

    pd.read_csv(table)[["text"]].to_csv(table, index=False)
    args = ["--llm", "openai/gpt-5-nano", "--classes", "Sports, Health", "--prices", "0.05,0.4"]
    done = run("estimate", str(table), *args)
    assert done.returncode == 0, done.stderr
    cost = next(line for line in done.stdout.splitlines() if " cost:" in line)
    assert float(cost.split(":")[1]) > 0
    wrong = run("estimate", str(table), *args[:-1], "cheap")
    assert "--prices 'cheap'; wanted IN,OUT" in wrong.stderr


@pytest.fixture
def recorded_model(tmp_path):
    """A saved classifier of two texts, whose scorer names an address and a store."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import Pipeline

    from sklfusion import LLMScorer, RecordedScorer, persistence

    table = {"one": "ham", "two": "spam"}
    model = Pipeline(
        [("llm", RecordedScorer(table, classes=["ham", "spam"])), ("head", LogisticRegression())]
    ).fit(list(table), list(table.values()))
    other = LLMScorer("m", base_url="https://llm.example/v1", api_key_env="OUR_KEY", memory="s")
    model.named_steps["head"].warm_start = other  # ignored by predict, seen by the look first
    path = tmp_path / "model.sklf"
    persistence.save(model, path)
    (tmp_path / "in.csv").write_text("text\none\ntwo\n", encoding="utf-8")
    return path


def test_info_says_where_a_model_would_send(recorded_model):
    """Types, address, variable and store, without loading."""
    done = run("info", str(recorded_model))
    assert done.returncode == 0, done.stderr
    for part in (
        "format: 2",
        "type: LLMScorer",
        "sends to: https://llm.example/v1 (refused",
        "with variable: OUR_KEY",
        "memory: /",
    ):
        assert part in done.stdout
    done = run("info", str(recorded_model.with_name("none.sklf")))
    assert done.returncode == 1
    assert "does not exist" in done.stderr


def test_info_writes_a_card(tmp_path):
    """Markdown alone, fit to be sent to a file."""
    from sklearn.linear_model import LogisticRegression

    from sklfusion import persistence

    model = LogisticRegression().fit([[0.0], [1.0]], ["ham", "spam"])
    persistence.save(model, tmp_path / "m.sklf")
    done = run("info", str(tmp_path / "m.sklf"), "--card")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("---\nlibrary_name: sklfusion\n")
    assert "2 classes: ham, spam." in done.stdout


def test_predict_sends_only_where_it_is_told(recorded_model, tmp_path):
    """The address has to be named; another store can be."""
    args = ("predict", str(recorded_model), str(tmp_path / "in.csv"))
    done = run(*args)
    assert done.returncode == 1
    assert "https://llm.example/v1" in done.stderr
    done = run(*args, "--endpoint", "https://llm.example/v1", "--memory", str(tmp_path / "new"))
    assert done.returncode == 0, done.stderr
    assert "one,ham" in done.stdout
