"""``sklfusion acquire``: the texts of a table to label next, and their labels back."""

import json
import os
from pathlib import Path
from typing import Annotated

import typer

from sklfusion.cli._app import command
from sklfusion.cli._formats import told_of_damage, write_frame
from sklfusion.cli._options import (
    DEFAULT_MEMORY,
    EncoderOptions,
    EndpointOptions,
    Memory,
    Seed,
    TablePath,
    TaskOptions,
    TextColumn,
    estimator_settings,
)
from sklfusion.cli._screen import Screen
from sklfusion.cli._tables import check_table_output, read_table, read_target
from sklfusion.exceptions import SklFusionError

ROW, ANSWER = "row", "label"


@command("acquire")
def acquire_command(
    table: TablePath,
    *,
    output: Annotated[Path, typer.Option("--output", "-o", help="Table to fill in.")],
    labelled: Annotated[Path | None, typer.Option(help="Such a table with labels.")] = None,
    skip_empty: Annotated[
        bool,
        typer.Option("--skip-empty", help="Drop texts still open."),
    ] = False,
    sample: Annotated[Path | None, typer.Option(help="Table of all labels and weights.")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Texts to draw.")] = 20,
    text: TextColumn = "text",
    memory: Memory = DEFAULT_MEMORY,
    seed: Seed = 0,
    task: TaskOptions,
    llm: EndpointOptions,
    encoder: EncoderOptions,
    screen: Screen,
):
    """Draw the texts to label next, more of those that the model is unsure of.

    Fill in the column label and give the table back with --labelled. Texts left open are asked
    again; what was drawn, and with which chance, is kept beside the table.
    """
    from sklfusion.auto import AutoFusionClassifier
    from sklfusion.promises import LabelAcquirer

    if task.multilabel:
        raise SklFusionError("acquire draws for one class per text; leave --multilabel out.")
    if skip_empty and labelled is None:
        raise SklFusionError("--skip-empty has no effect without --labelled.")
    state = table.with_name(f"{table.name}.labelling.json")
    for path in (output, sample):
        check_table_output(path, *(p for p in (table, labelled, state) if p is not None))
    texts = read_table(table, [text])[text].tolist()
    settings = estimator_settings(task, llm, encoder)
    model = AutoFusionClassifier(
        **settings, memory=memory, random_state=seed, verbose=screen.verbose
    )
    acquirer = LabelAcquirer(model, batch_size=batch_size, random_state=seed)
    _take_up(acquirer.fit(texts), state)
    if labelled is not None:
        _take_in(acquirer, labelled, task, skip_empty=skip_empty)
        _keep(acquirer, state)  # what a person has labelled is not lost if the LLM fails
    batch = acquirer.query()
    _keep(acquirer, state)
    write_frame(_questions(batch, text), output)
    if sample is not None:
        write_frame(_weighted(acquirer, text), sample)
    told = {"labelled": len(acquirer.rows_), "asked": len(batch.rows)}
    return {**told, "written": output, "kept": state}


def _take_up(acquirer, path):
    if path.exists():
        with told_of_damage(path):
            acquirer.set_state(json.loads(path.read_text(encoding="utf-8")))


def _keep(acquirer, path):
    """Write the state as a whole: a full disk leaves the old one."""
    new = path.with_name(f"{path.name}.new")
    new.write_text(json.dumps(acquirer.get_state(), indent=1) + "\n", encoding="utf-8")
    os.replace(new, path)


def _take_in(acquirer, path, task, *, skip_empty):
    frame = read_table(path, [ROW, ANSWER])
    empty = [value is None or value == "" for value in frame[ANSWER]]
    rows = [_row_number(value, path) for value in frame[ROW]]
    told = [row for row, none in zip(rows, empty, strict=True) if not none]
    if told:
        given = frame[[not none for none in empty]]
        acquirer.add(told, read_target(given, ANSWER, task).tolist())
    open_rows = [row for row, none in zip(rows, empty, strict=True) if none]
    if open_rows and skip_empty:
        acquirer.add(open_rows, [None] * len(open_rows))


def _row_number(value, path):
    try:
        return int(value)
    except (TypeError, ValueError):
        raise SklFusionError(
            f"{path} has {value!r} in the column row; leave the numbers there as they were."
        ) from None


def _questions(batch, text):
    import pandas

    columns = {ROW: batch.rows.tolist(), text: list(batch.X), ANSWER: [""] * len(batch.rows)}
    columns |= {"q": batch.q.tolist(), "utility": batch.utility.tolist()}
    return pandas.DataFrame(columns, dtype=object)


def _weighted(acquirer, text):
    import pandas

    rows = acquirer.rows_.tolist()
    columns = {ROW: rows, text: [acquirer.pool_[row] for row in rows]}
    columns |= {ANSWER: acquirer.y_.tolist(), "weight": acquirer.weights_.tolist()}
    return pandas.DataFrame(columns, dtype=object)
