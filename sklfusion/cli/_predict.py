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

    The columns of the table stay; prediction and p_CLASS are added.
    """
    check_source(model, "sklfusion fit")
    if many.shards:
        money.refuse_others(because="workers of --shards open the model as it was fitted")
        if excel_safe:
            raise SklFusionError("--excel-safe has no effect on Parquet, which holds no formulas.")
        screen.kept = output
        settings = {"text": text, "workers": many.workers, "memory": memory}
        return _predict_shards(model, table, output, endpoints=endpoint or (), **settings)
    many.refuse_others(because="--shards is not given")
    check_table_output(output, table, model, excel_safe=excel_safe)
    frame = read_table(table, [text])
    classifier = load_model(model, memory=memory, endpoints=endpoint, money=money, screen=screen)
    check_new_columns(frame, [PREDICTION, *(f"p_{name}" for name in classifier.classes_)])
    predicted = frame.assign(**_predictions(classifier, frame[text].tolist()))
    return deliver(predicted, output, screen, excel_safe=excel_safe)


def _predictions(classifier, texts):
    """Return the columns to add: the prediction, and a probability per class.

    The prediction of a multi-label classifier is the list of the labels that hold.
    """
    proba = classifier.predict_proba(texts)
    classes = classifier.classes_.tolist()
    if getattr(classifier, "multilabel_", False):
        found = classifier.predict(texts)  # at its thresholds; answers are there already
        chosen = [[c for c, holds in zip(classes, row, strict=True) if holds] for row in found]
    else:
        chosen = [classes[best] for best in proba.argmax(axis=1)]
    columns = {f"p_{name}": p.round(6) for name, p in zip(classes, proba.T, strict=True)}
    return {PREDICTION: chosen, **columns}


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
