"""``sklfusion fit``: a table of labelled texts to a model."""

from pathlib import Path
from typing import Annotated

import typer

from sklfusion.cli._app import command
from sklfusion.cli._options import (
    EncoderOptions,
    EndpointOptions,
    LabelColumn,
    Memory,
    Seed,
    TablePath,
    TaskOptions,
    TextColumn,
)
from sklfusion.cli._screen import Screen
from sklfusion.cli._tables import check_output, read_table


@command("fit")
def fit_command(
    table: TablePath,
    *,
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write.")],
    text: TextColumn = "text",
    label: LabelColumn = "label",
    memory: Memory = None,
    seed: Seed = 0,
    task: TaskOptions,
    llm: EndpointOptions,
    encoder: EncoderOptions,
    screen: Screen,
):
    """Fit encoder, LLM scores and fusion on a table; write a model without pickle."""
    from sklfusion.auto import AutoFusionClassifier
    from sklfusion.persistence import save

    check_output(output)
    frame = read_table(table, [text, label])
    model = AutoFusionClassifier(
        llm.endpoint(),
        **encoder.settings(),
        **task.settings(),
        memory=memory,
        random_state=seed,
        verbose=screen.verbose,
    )
    model.fit(frame[text].tolist(), frame[label].to_numpy())
    save(model, output)
    trust = {k: f"{float(v):.2f}" for k, v in (model.fusion_.source_weights_ or {}).items()}
    return {
        "rows": len(frame),
        "classes": len(model.classes_),
        "trust": trust,
        "written": output,
    }
