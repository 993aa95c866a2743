"""``sklfusion predict``: labels and probabilities for a table of texts."""

from typing import Annotated

import typer

from sklfusion.cli._app import command
from sklfusion.cli._options import Memory, ModelPath, OutputPath, TablePath, TextColumn
from sklfusion.cli._screen import Screen
from sklfusion.cli._tables import check_output, check_source, guard_formula, read_table


@command("predict")
def predict_command(
    model: ModelPath,
    table: TablePath,
    *,
    output: OutputPath = None,
    text: TextColumn = "text",
    memory: Memory = None,
    endpoint: Annotated[
        list[str] | None,
        typer.Option(help="Address that the model may send to; can be given again."),
    ] = None,
    screen: Screen,
):
    """Predict labels and probabilities for a table of texts."""
    from sklfusion.persistence import load

    check_source(model, "sklfusion fit")
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
