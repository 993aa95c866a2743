"""``sklfusion evaluate``: a table of labelled texts to an honest report in one file."""

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from sklfusion._validation import is_missing
from sklfusion.cli._app import command
from sklfusion.cli._options import (
    DEFAULT_MEMORY,
    EncoderOptions,
    EndpointOptions,
    LabelColumn,
    Memory,
    Seed,
    TablePath,
    TaskOptions,
    TextColumn,
    estimator_settings,
)
from sklfusion.cli._screen import Screen
from sklfusion.cli._tables import check_output, label_columns, read_table, read_target
from sklfusion.exceptions import SklFusionError


@command("evaluate")
def evaluate_command(
    table: TablePath,
    *,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="HTML file to write, such as report.html.")
    ],
    test: Annotated[
        Path | None, typer.Option(help="Labelled table to judge on; else cross-validation.")
    ] = None,
    cv: Annotated[int, typer.Option(min=2, help="Folds of the cross-validation.")] = 5,
    rows_shown: Annotated[
        int, typer.Option(min=0, help="Texts that the report shows; 0 keeps all out of it.")
    ] = 10,
    text: TextColumn = "text",
    label: LabelColumn = "label",
    memory: Memory = DEFAULT_MEMORY,
    seed: Seed = 0,
    task: TaskOptions,
    llm: EndpointOptions,
    encoder: EncoderOptions,
    screen: Screen,
):
    """Judge fusion, parts and cheap rivals on rows they have not seen; write one HTML file."""
    from sklfusion.auto import AutoFusionClassifier
    from sklfusion.report import EvaluationReport

    settings = estimator_settings(task, llm, encoder)
    check_output(output, table, *([] if test is None else [test]))
    X, y = _labelled_rows(table, text, label, task)
    X_test, y_test = (None, None) if test is None else _labelled_rows(test, text, label, task)
    report = EvaluationReport.from_estimator(
        AutoFusionClassifier(**settings, memory=memory, random_state=seed, verbose=screen.verbose),
        X,
        y,
        X_test=X_test,
        y_test=y_test if y_test is None else _same_columns(y_test, y, test),
        cv=cv,
        n_rows_shown=rows_shown,
        random_state=seed,
        title=f"Evaluation on {(test or table).name}",
    )
    report.to_html(output)
    screen.line(repr(report))
    return {**(report.to_dict() if screen.json else {}), "written": output}


def _labelled_rows(path, text, label, task):
    """Return texts and labels of a table; a row without a label has None."""
    frame = read_table(path, [text, *label_columns(label, task)])
    texts = frame[text].tolist()
    if task.multilabel:
        return texts, read_target(frame, label, task)
    labelled = [not (value == "" or is_missing(value)) for value in frame[label]]
    if not any(labelled):
        raise SklFusionError(f"{path} has no label in column {label!r}; label some rows first.")
    y = np.full(len(frame), None, dtype=object)
    y[labelled] = read_target(frame[labelled], label, task)
    return texts, y


def _same_columns(y_test, y, path):
    """Return a multi-label target with the columns of the training rows."""
    if not hasattr(y, "columns"):
        return y_test
    unknown = [str(name) for name in y_test.columns if name not in y.columns]
    if unknown:
        raise SklFusionError(
            f"{path} has the label {unknown[0]!r}, which no training row has; name all labels "
            "with --classes."
        )
    return y_test.reindex(columns=y.columns, fill_value=0)
