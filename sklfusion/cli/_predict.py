"""``sklfusion predict``: labels and probabilities for a table of texts."""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from sklfusion.cli._app import command
from sklfusion.cli._model import Endpoints, MoneyOptions, load_model
from sklfusion.cli._options import (
    ExcelSafe,
    ModelPath,
    OptionGroup,
    OtherMemory,
    OutputPath,
    TextColumn,
)
from sklfusion.cli._screen import Screen
from sklfusion.cli._tables import (
    check_new_columns,
    check_source,
    check_table_output,
    deliver,
    read_table,
)
from sklfusion.exceptions import DataWarning, SklFusionError

PREDICTION = "prediction"
# Of a probability in a table.
_DIGITS = 6


@dataclass
class ShardOptions(OptionGroup):
    """Many tables instead of one."""

    shards: Annotated[
        bool,
        typer.Option(
            "--shards",
            help="Score a folder of Parquet files into the folder --output; the same command "
            "again goes on where it stopped.",
            rich_help_panel="Many tables",
        ),
    ] = False
    workers: Annotated[
        int, typer.Option(min=1, help="Processes.", rich_help_panel="Many tables")
    ] = 1


@command("predict")
def predict_command(
    model: ModelPath,
    table: Annotated[
        Path,
        typer.Argument(
            help="CSV, TSV, JSONL or Parquet, or .gz of one; with --shards a folder of Parquet.",
            show_default=False,
        ),
    ],
    *,
    output: OutputPath = None,
    excel_safe: ExcelSafe = False,
    text: TextColumn = "text",
    memory: OtherMemory = None,
    endpoint: Endpoints = None,
    money: MoneyOptions,
    many: ShardOptions,
    screen: Screen,
):
    """Predict a label and a probability per class for each text of a table.

    The columns of the table stay; prediction, p_CLASS, status and reason are added.
    """
    check_source(model, "sklfusion fit")
    if many.shards:
        money.refuse_others(because="workers of --shards open the model as it was fitted")
        if excel_safe:
            raise SklFusionError("--excel-safe has no effect on Parquet, which holds no formulas.")
        screen.kept = output
        settings = {"text": text, "label": PREDICTION, "workers": many.workers, "memory": memory}
        return _predict_shards(model, table, output, endpoints=endpoint or (), **settings)
    many.refuse_others(because="--shards is not given")
    check_table_output(output, table, model, excel_safe=excel_safe)
    frame = read_table(table, [text])
    classifier = load_model(model, memory=memory, endpoints=endpoint, money=money, screen=screen)
    added = [PREDICTION, *(f"p_{name}" for name in classifier.classes_), "status", "reason"]
    check_new_columns(frame, added)
    predicted = frame.assign(**_predictions(classifier, _arrow_texts(frame[text])))
    return deliver(predicted, output, screen, excel_safe=excel_safe)


def _arrow_texts(column):
    """Return texts as Arrow holds them; an absent one has a status later, so it stays."""
    from sklfusion._text_input import replace_surrogates

    texts = column.tolist()
    for row, text in enumerate(texts):
        if not isinstance(text, str | None):
            raise SklFusionError(
                f"Row {row} of column {column.name!r} is no text but {type(text).__name__}."
            )
    present = iter(replace_surrogates([t for t in texts if t is not None], caller="predict"))
    return [None if text is None else next(present) for text in texts]


def _predictions(classifier, texts):
    """Return the columns to add: prediction, probabilities, status and reason, by name.

    A row that failed has a status and no prediction; that of a multi-label classifier is the list
    of the labels that hold.
    """
    import pyarrow

    from sklfusion.batch import BatchScorer

    scored = BatchScorer(classifier, label=PREDICTION)(
        pyarrow.table({"text": pyarrow.array(texts, pyarrow.string())})
    )
    return {name: _rounded(scored[name].to_pylist()) for name in scored.column_names[1:]}


def _rounded(column):
    return [round(v, _DIGITS) if isinstance(v, float) else v for v in column]


def _predict_shards(model, source, output, **settings):
    """Score a folder; shards that have no result are named, and end the command with status 1."""
    from sklfusion.batch import score_shards

    if output is None:
        raise SklFusionError("--shards needs a folder to write to: -o out/")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)  # told below, one by one
        found = score_shards(model, source, output, **settings)
    bad = {n: facts["reason"] for n, facts in found["shards"].items() if facts["state"] != "done"}
    if bad:
        listed = "".join(f"\n  {name}: {reason}" for name, reason in bad.items())
        done = found["totals"]["done"]
        raise SklFusionError(
            f"{len(bad)} of {len(found['shards'])} shards have no result; {done} are done.{listed}"
        )
    return {**found["totals"], "written": output}
