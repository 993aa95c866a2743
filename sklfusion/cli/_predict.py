"""``sklfusion predict``: labels and probabilities for a table of texts."""

import warnings
from pathlib import Path
from typing import Annotated

import typer

from sklfusion.cli._app import command
from sklfusion.cli._options import Memory, ModelPath, OutputPath, TextColumn
from sklfusion.cli._screen import Screen
from sklfusion.cli._tables import check_output, check_source, guard_formula, read_table
from sklfusion.exceptions import DataWarning, SklFusionError


@command("predict")
def predict_command(
    model: ModelPath,
    table: Annotated[
        Path,
        typer.Argument(
            help="CSV, TSV, JSONL or Parquet, also .gz; with --shards a folder of Parquet files.",
            show_default=False,
        ),
    ],
    *,
    output: OutputPath = None,
    text: TextColumn = "text",
    memory: Memory = None,
    endpoint: Annotated[
        list[str] | None,
        typer.Option(help="Address that the model may send to; can be given again."),
    ] = None,
    shards: Annotated[
        bool,
        typer.Option(
            "--shards",
            help="Score a folder of Parquet files into the folder --output; the same command "
            "again goes on where it stopped.",
        ),
    ] = False,
    workers: Annotated[int, typer.Option(min=1, help="Processes, for --shards.")] = 1,
    screen: Screen,
):
    """Predict labels and probabilities for a table of texts, or a folder of tables."""
    check_source(model, "sklfusion fit")
    if shards:
        return _predict_shards(model, table, output, text, workers, memory, endpoint)
    if workers > 1:
        raise SklFusionError("--workers is for --shards, a folder of Parquet files.")
    from sklfusion.persistence import load

    if output is not None:
        check_output(output)
    classifier = load(model, memory=memory, endpoints=endpoint or ())
    frame = read_table(table, [text])
    proba = classifier.predict_proba(frame[text].tolist())
    result = frame[[text]].assign(label=classifier.classes_[proba.argmax(axis=1)])
    for name, column in zip(classifier.classes_, proba.T, strict=True):
        result[f"p_{name}"] = column.round(6)
    if output is None:
        screen.line(result.to_csv(index=False).rstrip("\n"))
        return None
    result[text] = result[text].map(guard_formula)
    result.to_csv(output, index=False)
    return {"rows": len(result), "written": output}


def _predict_shards(model, source, output, text, workers, memory, endpoint):
    """Score a folder; shards that have no result are named, and end the command with status 1."""
    from sklfusion.batch import score_shards

    if output is None:
        raise SklFusionError("--shards needs a folder to write to: -o out/")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)  # told below, one by one
        found = score_shards(
            model,
            source,
            output,
            text=text,
            workers=workers,
            memory=memory,
            endpoints=endpoint or (),
        )
    bad = {n: facts["reason"] for n, facts in found["shards"].items() if facts["state"] != "done"}
    if bad:
        listed = "".join(f"\n  {name}: {reason}" for name, reason in bad.items())
        done = found["totals"]["done"]
        raise SklFusionError(
            f"{len(bad)} of {len(found['shards'])} shards have no result; {done} are done.{listed}"
        )
    return {**found["totals"], "written": output}
