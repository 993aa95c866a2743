"""``sklfusion fit``: a table of labelled texts to a model."""

from pathlib import Path
from typing import Annotated

import typer

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
from sklfusion.cli._spent import spent
from sklfusion.cli._tables import check_output, label_columns, read_table, read_target


@command("fit")
def fit_command(
    table: TablePath,
    *,
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", help="Model to write, such as model.sklf.", rich_help_panel="Output"
        ),
    ],
    text: TextColumn = "text",
    label: LabelColumn = "label",
    memory: Memory = DEFAULT_MEMORY,
    seed: Seed = 0,
    task: TaskOptions,
    llm: EndpointOptions,
    encoder: EncoderOptions,
    screen: Screen,
):
    """Fit encoder, LLM and fusion on labelled texts, and write a model without pickle."""
    from sklfusion.auto import AutoFusionClassifier
    from sklfusion.persistence import save

    settings = estimator_settings(task, llm, encoder)
    check_output(output, table)
    frame = read_table(table, [text, *label_columns(label, task)])
    y = read_target(frame, label, task)
    model = AutoFusionClassifier(
        **settings, memory=memory, random_state=seed, verbose=screen.verbose
    )
    model.fit(frame[text].tolist(), y)
    save(model, output)
    trust = {k: round(float(v), 2) for k, v in (model.fusion_.source_weights_ or {}).items()}
    return {
        "rows": len(frame),
        "classes": len(model.classes_),
        "trust": trust,
        **spent(model.scorer_),
        "written": output,
    }
