"""Tables in and out: every kind, every cell as it was."""

import gzip
import json
import pathlib

import pandas as pd
import pytest

from sklfusion.cli._formats import kind_of, read_frame, write_frame
from sklfusion.cli._options import TaskOptions, read_descriptions, read_prices, split_list
from sklfusion.cli._tables import (
    check_new_columns,
    check_table_output,
    class_names,
    read_table,
    read_target,
)
from sklfusion.exceptions import SklFusionError

ENDINGS = ["csv", "tsv", "jsonl", "parquet", "csv.gz", "TSV.GZ", "JSONL.gz", "Parquet.gz", "CSV"]
TEXTS = [
    *("NA", "null", "nan", "None", " spaced ", "=1+1", "01", "a,b\tc", 'say "hi"', "two\nlines"),
    *(
        "dos\r\nlines",
        "bare\rreturn",
        "",
        "naïve 文 🙂",
        "#no comment",
        "1e5",
        "\ufeffmark",
        "a\0b",
    ),
]


def table_of(texts, **more):
    columns = {"id": [f"0{n}" for n in range(len(texts))], "text": texts, **more}
    return pd.DataFrame(columns, dtype=object)


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_table_comes_back_as_it_was(tmp_path, ending):
    """No text, id or name is read as a number, a gap or a formula."""
    path = tmp_path / f"t.{ending}"
    write_frame(table_of(TEXTS), path)
    assert read_frame(path).to_dict("list") == table_of(TEXTS).to_dict("list")
    assert [p.name for p in tmp_path.iterdir()] == [path.name]  # nothing half written is left
    packed = path.read_bytes()[:2] == b"\x1f\x8b"
    assert packed == ending.lower().endswith("gz")


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_classes_called_none_and_null_survive(tmp_path, ending):
    """Words that pandas takes for missing are names; so are numbers with zeros before them."""
    labels = ["None", "NA", "null", "nan", "None", "01", "1"]
    frame = table_of(["x"] * len(labels), label=labels)
    write_frame(frame, tmp_path / f"t.{ending}")
    read = read_table(tmp_path / f"t.{ending}", ["text", "label"])
    assert class_names(read["label"]) == sorted(set(labels))
    assert read_target(read, "label", TaskOptions()).tolist() == labels


def test_types_of_parquet_and_json_stay(tmp_path):
    """Dates, small integers and lists leave as they came."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {
        "text": pa.array(["a", "b"]),
        "n": pa.array([1, None], pa.int16()),
        "day": pa.array([0, 1], pa.date32()),
        "kind": pa.array(["x", "y"]).dictionary_encode(),
        "tags": pa.array([["t"], []]),
    }
    table = pa.table(columns)
    pq.write_table(table, tmp_path / "in.parquet")
    frame = read_table(tmp_path / "in.parquet", ["text"])
    write_frame(frame.assign(p_x=[0.5, 0.25]), tmp_path / "out.parquet")
    back = pq.read_table(tmp_path / "out.parquet")
    assert back.select(list(columns)).equals(table)
    assert back["p_x"].to_pylist() == [0.5, 0.25]
    rows = [{"text": "a", "date": "2026-01-01", "big": 2**60 + 1, "n": None, "o": {"k": [1]}}]
    (tmp_path / "in.jsonl").write_text(json.dumps(rows[0]) + "\n\n", encoding="utf-8")
    write_frame(read_frame(tmp_path / "in.jsonl"), tmp_path / "out.jsonl")
    assert [json.loads(s) for s in (tmp_path / "out.jsonl").read_text().splitlines()] == rows


def test_half_a_pair_survives_json_and_is_refused_by_csv(tmp_path):
    """What UTF-8 cannot hold is escaped, or told; the old file stays."""
    frame = table_of(["\ud800 half"])
    write_frame(frame, tmp_path / "t.jsonl")
    assert read_frame(tmp_path / "t.jsonl")["text"][0] == "\ud800 half"
    (tmp_path / "t.csv").write_text("old", encoding="utf-8")
    with pytest.raises(SklFusionError, match=r"write \.jsonl"):
        write_frame(frame, tmp_path / "t.csv")
    assert (tmp_path / "t.csv").read_text(encoding="utf-8") == "old"


def test_formulas_are_guarded_only_when_asked(tmp_path):
    """An apostrophe before what a spreadsheet would run, in every column."""
    frame = table_of(["=1", "+1", "-1", "@a", "\tb", "c"])
    write_frame(frame, tmp_path / "t.csv", excel_safe=True)
    assert read_frame(tmp_path / "t.csv")["text"].tolist() == [
        "'=1",
        "'+1",
        "'-1",
        "'@a",
        "'\tb",
        "c",
    ]
    with pytest.raises(SklFusionError, match=r"no effect on \.parquet"):
        check_table_output(tmp_path / "t.parquet", excel_safe=True)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("t.csv", b"text,label\na,b\nc,d,e\n", "line 3 has 3 cells and the header 2"),
        ("t.csv", b'text\n"open', "line 2: unexpected end of data"),
        ("t.csv", b"", "it is empty"),
        ("t.csv", b"text,text\na,b\n", "two columns are called 'text'"),
        ("t.csv", b"text\n\xe9t\xe9\n", "is not UTF-8"),
        ("t.csv", "text\na\n".encode("utf-16"), "is not UTF-8"),
        ("t.csv", b"text;label\na;b\n", "separated by ';'"),
        ("t.jsonl", b'{"text": "a"}\n{"text": \n', "line 2 is not JSON"),
        ("t.jsonl", b'["a"]\n', "line 1 is no JSON object but list"),
        ("t.parquet", b"PAR1 and not more", "t.parquet: "),
        ("t.csv.gz", b"text\na\n", "no whole gzip file"),
        ("t.csv.gz", gzip.compress(b"text\n" + b"a\n" * 99, mtime=0)[:-9], "no whole gzip file"),
        ("t.cvs", b"", "Did you mean .csv?"),
        ("t.json", b"", "Did you mean .jsonl?"),
        ("t.xlsx", b"", "is not one of .csv"),
        ("table", b"", "is not one of .csv"),
    ],
)
def test_what_is_no_table_is_told(tmp_path, name, content, says):
    """The file, the line and what to do, in our words."""
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(SklFusionError) as caught:
        read_table(path, ["text", "label"])
    assert says in str(caught.value)
    assert name in str(caught.value)


def test_what_is_near_is_named(tmp_path):
    """Columns and files."""
    write_frame(table_of(["a"]), tmp_path / "train.csv")
    with pytest.raises(SklFusionError, match="Did you mean 'text'"):
        read_table(tmp_path / "train.csv", ["txet"])
    with pytest.raises(SklFusionError, match=r"Did you mean .*train\.csv"):
        read_table(tmp_path / "trian.csv", ["text"])
    with pytest.raises(SklFusionError, match="is a folder"):
        read_table(tmp_path.rename(tmp_path.with_name("d.csv")), ["text"])


def test_a_table_is_not_written_over_what_is_read_or_has(tmp_path):
    """Before anything is paid for."""
    path = tmp_path / "t.csv"
    path.write_text("text\na\n", encoding="utf-8")
    with pytest.raises(SklFusionError, match="is what is read"):
        check_table_output(path, path)
    with pytest.raises(SklFusionError, match="'p_a' already"):
        check_new_columns(pd.DataFrame({"p_a": [1]}), ["prediction", "p_a"])


SETS = [["a", "b"], [], ["b"]]


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_several_labels_travel_as_lists_or_in_a_cell(tmp_path, ending):
    """A cell with | between, and lists where there are lists; nothing is the empty set."""
    write_frame(table_of(["x", "y", "z"], label=SETS), tmp_path / f"t.{ending}")
    frame = read_frame(tmp_path / f"t.{ending}")
    y = read_target(frame, "label", TaskOptions(multilabel=True))
    assert y.to_dict("list") == {"a": [1, 0, 0], "b": [1, 0, 1]}
    y = read_target(frame, "label", TaskOptions(multilabel=True, classes="b,c,a"))
    assert y.to_dict("list") == {"b": [1, 0, 1], "c": [0, 0, 0], "a": [1, 0, 0]}
    with pytest.raises(SklFusionError, match=r"'b' is not in --classes"):
        read_target(frame, "label", TaskOptions(multilabel=True, classes="a,c"))


def test_several_labels_as_columns_or_with_another_separator():
    """Columns of 0 and 1 by their names; anything else in them is told."""
    frame = pd.DataFrame({"a": ["1", "0"], "b": [True, 0], "l": ["a; b", ""], "m": [3, 0]})
    task = TaskOptions(multilabel=True)
    assert read_target(frame, "a,b", task).to_dict("list") == {"a": [1, 0], "b": [1, 0]}
    other = TaskOptions(multilabel=True, separator=";")
    assert read_target(frame, "l", other).to_dict("list") == {"a": [1, 0], "b": [1, 0]}
    with pytest.raises(SklFusionError, match="Row 0 of column 'm' has 3; wanted 0 or 1"):
        read_target(frame, "a,m", task)
    with pytest.raises(SklFusionError, match="Row 0 has 3 for labels"):
        read_target(frame, "m", task)
    with pytest.raises(SklFusionError, match="--separator has no effect"):
        TaskOptions(separator=";").settings()


def test_codes_of_named_classes_are_numbers():
    """A CSV holds text only; 0 and 1 beside --classes a,b are codes."""
    frame = pd.DataFrame({"label": ["0", "1"]})
    assert read_target(frame, "label", TaskOptions(classes="a,b")).tolist() == [0, 1]
    assert read_target(frame, "label", TaskOptions(classes="0,1")).tolist() == ["0", "1"]
    assert read_target(frame, "label", TaskOptions()).tolist() == ["0", "1"]


def test_files_of_options(tmp_path):
    """Descriptions and prices, as JSON or as a table."""
    path = tmp_path / "words.json"
    path.write_text('{"a": "one", "b": "two"}', encoding="utf-8")
    assert read_descriptions(path) == {"a": "one", "b": "two"}
    (tmp_path / "words.csv").write_text("class,description\na,one\nb,two\n", encoding="utf-8")
    assert read_descriptions(tmp_path / "words.csv") == {"a": "one", "b": "two"}
    prices = tmp_path / "prices.json"
    prices.write_text('{"input": 1, "output": 2}', encoding="utf-8")
    assert read_prices(str(prices), "any") == {"input": 1, "output": 2}
    prices.write_text('{"openai/m": {"input": 1, "output": 2}}', encoding="utf-8")
    assert read_prices(str(prices), "openai/m") == {"input": 1, "output": 2}
    assert read_prices("0.05, 0.4,0.01", "any") == [0.05, 0.4, 0.01]
    with pytest.raises(SklFusionError, match="nor prices of 'other'"):
        read_prices(str(prices), "other")
    prices.write_text("[1, 2]", encoding="utf-8")
    with pytest.raises(SklFusionError, match="no JSON object but list"):
        read_prices(str(prices), "any")
    assert split_list('a, "b, c" ,d,') == ["a", "b, c", "d"]
    assert kind_of(pathlib.Path("A.b.CSV.GZ")) == (".csv", True)
