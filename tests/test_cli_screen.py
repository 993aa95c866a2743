"""What a command shows and how it ends, piece by piece; bare functions, no command is run."""

import json
import logging
import types
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import typer

from sklfusion import LLMClassifier, LLMScorer, RecordedScorer
from sklfusion._progress import progress_logger
from sklfusion.cli._argv import refuse_pasted_keys
from sklfusion.cli._demo_command import demo_table
from sklfusion.cli._ending import ended
from sklfusion.cli._evaluate import _labelled_rows, _same_columns
from sklfusion.cli._formats import kind_of, read_frame, split_list, write_frame
from sklfusion.cli._model import MoneyOptions, _asking
from sklfusion.cli._options import (
    EncoderOptions,
    EndpointOptions,
    FineTune,
    TaskOptions,
    estimator_settings,
    read_descriptions,
)
from sklfusion.cli._predict import _arrow_texts
from sklfusion.cli._screen import Screen
from sklfusion.cli._spent import spent
from sklfusion.cli._tables import check_output, check_source, deliver, read_table
from sklfusion.exceptions import (
    AuthenticationError,
    BudgetExceededError,
    DataWarning,
    SklFusionError,
)

FOUND = {
    "rows": np.int64(3),
    "share": 0.123456789,
    "unknown": float("nan"),
    "cost": None,
    "by_class": {"a": 1.0, "b": {}},
    "places": ["x", Path("y")],
    "bound": np.array([1.0, np.inf, -np.inf]),
}


# -- what is shown -------------------------------------------------------------------------


def test_what_was_found_is_one_json_object(capsys):
    """Arrays are lists, and what JSON has no number for is null."""
    Screen(json=True).show(FOUND)
    (line,) = capsys.readouterr().out.splitlines()

    def refuse(word):
        raise AssertionError(f"{word} is no JSON")

    told = json.loads(line, parse_constant=refuse)
    assert told == {
        "rows": 3,
        "share": 0.123456789,
        "unknown": None,
        "cost": None,
        "by_class": {"a": 1.0, "b": {}},
        "places": ["x", "y"],
        "bound": [1.0, None, None],
    }


def test_what_was_found_is_a_line_for_each(capsys):
    """A list is a line per part."""
    Screen().show({name: FOUND[name] for name in ("share", "cost", "by_class", "places")})
    lines = [line.split(": ", 1) for line in capsys.readouterr().out.splitlines()]
    assert [(name.strip(), value) for name, value in lines] == [
        ("share", "0.123457"),
        ("cost", "unknown"),
        ("by class", "a 1, b none"),
        ("places", "x"),
        ("places", "y"),
    ]


@pytest.mark.parametrize("screen", [Screen(quiet=True), Screen(json=True)])
def test_nothing_for_people_where_none_looks(screen, capsys):
    """Neither lines nor tables of rich."""
    screen.line("a word")
    screen.rich("a table")
    screen.show(None)
    assert capsys.readouterr().out == ""


def test_warnings_and_progress_are_lines_while_a_command_runs(capsys):
    """On stderr; afterwards the logger is as it was."""
    before = progress_logger.level, list(progress_logger.handlers)
    with Screen().telling():
        warnings.warn("three rows are empty", DataWarning)
        progress_logger.info("2 of 3")
    with Screen(quiet=True).telling():
        progress_logger.info("not told")
        assert progress_logger.getEffectiveLevel() == logging.WARNING
    told = capsys.readouterr().err
    assert "sklfusion: warning: three rows are empty\n" in told
    assert "sklfusion: 2 of 3" in told
    assert "not told" not in told
    assert (progress_logger.level, list(progress_logger.handlers)) == before


# -- how it ends ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "kept", "status", "words"),
    [
        (ValueError("bad rows"), None, 1, "bad rows"),
        (MemoryError(), None, 1, "MemoryError"),
        (AuthenticationError("no key"), "store", 1, "no key"),
        (BudgetExceededError("spent"), "store", 3, "is kept in store"),
        (BudgetExceededError("spent"), None, 1, "with --memory FOLDER"),
        (KeyboardInterrupt(), "store", 3, "Interrupted. What was answered is kept"),
    ],
)
def test_an_error_is_a_line_and_a_status(capsys, error, kept, status, words):
    """3 where the same command could go on; --json says so on stdout too."""
    screen = Screen(json=True)
    screen.kept = kept
    with pytest.raises(typer.Exit) as caught, ended(screen):
        raise error
    out, err = capsys.readouterr()
    assert caught.value.exit_code == status
    assert err.startswith("sklfusion: ")
    assert words in err
    assert json.loads(out)["status"] == status


def test_a_closed_pipe_and_what_is_not_ours_are_left_alone(monkeypatch):
    """`| head` is no error, a bug has its traceback, and so have others where they are wanted."""
    for error in (BrokenPipeError(), AssertionError(), typer.Exit(0)):
        with pytest.raises(type(error)) as caught, ended(Screen()):
            raise error
        assert caught.value is error
    monkeypatch.setenv("SKLFUSION_DEBUG", "1")
    with pytest.raises(ZeroDivisionError), ended(Screen()):
        raise ZeroDivisionError
    with pytest.raises(ValueError, match="bad rows"), ended(Screen()):
        raise ValueError("bad rows")


@pytest.mark.parametrize("typed", [[], ["fit", "table.csv", "--label", "label"], ["--memory=x"]])
def test_plain_words_are_no_keys(typed):
    """Nothing happens."""
    assert refuse_pasted_keys(typed) is None


# -- tables --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "parts"),
    [("a,b", ["a", "b"]), ('"a, b", c ', ["a, b", "c"]), ("", []), (" , ,", []), ('"a', ["a"])],
)
def test_lists_between_commas(said, parts):
    """Quotes hold one together."""
    assert split_list(said) == parts


@pytest.mark.parametrize(
    ("name", "hint"), [("a.cvs", ".csv"), ("a.parket", ".parquet"), ("a", "")]
)
def test_endings_that_are_none(name, hint):
    """What is near is named."""
    with pytest.raises(SklFusionError, match="is not one of") as caught:
        kind_of(Path(name))
    assert (f"Did you mean {hint}?" in str(caught.value)) == bool(hint)


def test_values_of_every_kind_have_a_cell(tmp_path):
    """Lists of labels by bars, other values as JSON, nothing as nothing."""
    values = [["a", "b"], ["a|b"], {"k": 1}, True, None, float("nan"), 1.5]
    write_frame(pd.DataFrame({"v": values}, dtype=object), tmp_path / "t.csv")
    lines = (tmp_path / "t.csv").read_text(encoding="utf-8").splitlines()
    assert lines[1:] == ["a|b", '"[""a|b""]"', '"{""k"": 1}"', "true", '""', '""', "1.5"]
    again = read_frame(tmp_path / "t.csv")["v"].tolist()
    assert again == ["a|b", '["a|b"]', '{"k": 1}', "true", "", "", "1.5"]


def test_a_write_that_fails_leaves_what_was_there(tmp_path):
    """And no half a file beside it."""
    path = tmp_path / "t.parquet"
    write_frame(pd.DataFrame({"v": ["old"]}, dtype=object), path)
    before = path.read_bytes()
    with pytest.raises(ValueError):
        write_frame(pd.DataFrame({"v": [1, "mixed"]}, dtype=object), path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_table_without_a_file_is_shown(capsys):
    """As CSV for people, as records for programs."""
    frame = pd.DataFrame({"text": ["a,b"], "p": [0.5]}, dtype=object)
    assert deliver(frame, None, Screen()) is None
    assert capsys.readouterr().out == 'text,p\n"a,b",0.5\n'
    told = deliver(frame, None, Screen(json=True))
    assert told == {"rows": 1, "table": [{"text": "a,b", "p": 0.5}]}


def test_places_are_looked_at_before_any_work(tmp_path):
    """Folders, folders that are not there, and the file that is read."""
    table = tmp_path / "table.csv"
    table.write_text("text\na\n", encoding="utf-8")
    for path, words in [
        (tmp_path, "is a folder"),
        (tmp_path / "none" / "m.sklf", "make it first"),
        (tmp_path / "." / "table.csv", "is what is read"),
    ]:
        with pytest.raises(SklFusionError, match=words):
            check_output(path, table)
    check_output(tmp_path / "new.csv", table, tmp_path / "absent.csv")
    with pytest.raises(SklFusionError, match="is a folder"):
        check_source(tmp_path)
    with pytest.raises(SklFusionError, match=r"Did you mean .*table\.csv\?"):
        check_source(tmp_path / "tabel.csv")
    with pytest.raises(SklFusionError, match="fit writes such a file"):
        check_source(tmp_path / "none" / "m.sklf", "sklfusion fit")
    table.write_text("text;label\na;b\n", encoding="utf-8")
    with pytest.raises(SklFusionError, match="separated by ';'"):
        read_table(table, ["text"])


def test_texts_of_a_table_are_texts():
    """An absent one stays absent; half a UTF-16 pair is replaced; a number is told."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        texts = _arrow_texts(pd.Series(["a", None, "b\ud800"], dtype=object, name="text"))
    assert texts[:2] == ["a", None]
    assert texts[2].encode()
    with pytest.raises(SklFusionError, match="Row 1 of column 'text' is no text but int"):
        _arrow_texts(pd.Series(["a", 3], dtype=object, name="text"))


def test_rows_without_a_label_are_judged_by_none(tmp_path):
    """They keep their place; a table without any label is told."""
    path = tmp_path / "t.csv"
    path.write_text("text,label\na,x\nb,\nc,y\n", encoding="utf-8")
    texts, y = _labelled_rows(path, "text", "label", TaskOptions())
    assert (texts, y.tolist()) == (["a", "b", "c"], ["x", None, "y"])
    path.write_text("text,label\na,\nb,\n", encoding="utf-8")
    with pytest.raises(SklFusionError, match="no label in column 'label'"):
        _labelled_rows(path, "text", "label", TaskOptions())


def test_label_columns_of_two_tables_are_brought_together():
    """A label that only the test rows have is an error; one that they lack is 0."""
    y = pd.DataFrame({"a": [1], "b": [0]})
    found = _same_columns(pd.DataFrame({"b": [1]}), y, "test.csv")
    assert found.to_dict("list") == {"a": [0], "b": [1]}
    with pytest.raises(SklFusionError, match=r"test\.csv has the label 'c'"):
        _same_columns(pd.DataFrame({"c": [1]}), y, "test.csv")
    single = np.array(["a"])
    assert _same_columns(single, np.array(["a", "b"]), "test.csv") is single


# -- options -------------------------------------------------------------------------------


def test_options_become_settings():
    """Each under the name that the estimator has for it."""
    task = TaskOptions(classes="ham, spam", instructions="Sort mail.")
    llm = EndpointOptions("openai/m", api_key_env="MY_KEY", prices="1,2", budget=3.0)
    told = estimator_settings(task, llm, EncoderOptions(fine_tune=FineTune.yes))
    assert (told["classes"], told["instructions"]) == (["ham", "spam"], "Sort mail.")
    assert told["fine_tune"] is True
    endpoint = told["llm"]
    assert (endpoint.model, endpoint.api_key_env, endpoint.budget) == ("openai/m", "MY_KEY", 3.0)
    assert list(endpoint.prices) == [1.0, 2.0]
    told = estimator_settings(task, llm, EncoderOptions(embedder="none"))
    assert told["embedder"] is None
    told = EncoderOptions(fine_tune=FineTune.contrastive).settings()
    assert told["fine_tune"] == "contrastive"


def test_descriptions_that_are_no_table_of_classes(tmp_path):
    """Told with the column that is missing, or where the JSON breaks."""
    (tmp_path / "a.csv").write_text("class,words\nham,good\n", encoding="utf-8")
    with pytest.raises(SklFusionError, match="no column 'description'"):
        read_descriptions(tmp_path / "a.csv")
    (tmp_path / "a.json").write_text('{"ham": ', encoding="utf-8")
    with pytest.raises(SklFusionError, match=r"a\.json: "):
        read_descriptions(tmp_path / "a.json")


def test_money_is_told_to_all_that_ask_inside_of_a_model():
    """However deep; a model that asks nobody refuses it."""
    llm = LLMClassifier("openai/m", classes=["a", "b"])
    model = types.SimpleNamespace()
    assert list(_asking(model)) == []
    asking = list(_asking({"steps": [("one", llm), ("two", [LLMScorer("openai/m")])]}))
    assert [type(part).__name__ for part in asking] == ["LLMClassifier", "LLMScorer"]
    MoneyOptions(prices="1,2", budget=5.0).told(llm)
    assert (list(llm.prices), llm.budget) == ([1.0, 2.0], 5.0)
    with pytest.raises(SklFusionError, match="needs --prices"):
        MoneyOptions(budget=5.0).told(LLMClassifier("openai/m", classes=["a", "b"]))
    with pytest.raises(SklFusionError, match="--budget: no effect, the model asks no LLM"):
        MoneyOptions(budget=5.0).told(RecordedScorer({"t": "a"}))
    assert spent(RecordedScorer({"t": "a"})) == {}


def test_the_table_of_the_demo_has_its_best_in_bold():
    """Means with their spread over the draws."""
    results = {
        "test_rows": 100,
        "draws": 2,
        "train_sizes": [10, 20],
        "scores": {"LLM": [[0.5, 0.7], [0.6, 0.6]], "fusion": [[0.8, 0.8], [0.5, 0.5]]},
    }
    table = demo_table(results)
    cells = {column.header: list(column.cells) for column in table.columns}
    assert cells["labels"] == ["10", "20"]
    assert cells["LLM"] == ["0.600 ±0.141", "[bold]0.600 ±0.000[/bold]"]
    assert cells["fusion"] == ["[bold]0.800 ±0.000[/bold]", "0.500 ±0.000"]
