"""``sklfusion estimate``: what asking the LLM about a table costs."""

from sklfusion.cli._app import command
from sklfusion.cli._options import (
    DEFAULT_MEMORY,
    EndpointOptions,
    LabelColumn,
    Memory,
    TablePath,
    TaskOptions,
    TextColumn,
)
from sklfusion.cli._scorer import scorer_of
from sklfusion.cli._screen import Screen


@command("estimate")
def estimate_command(
    table: TablePath,
    *,
    text: TextColumn = "text",
    label: LabelColumn = None,
    memory: Memory = DEFAULT_MEMORY,
    task: TaskOptions,
    llm: EndpointOptions,
    screen: Screen,
):
    """Price the LLM calls of a table, knowing what is kept. Sends nothing.

    Needs no labels with --classes.
    """
    # uncalibrated: calibration would have to score the texts first
    scorer, _, texts = scorer_of(table, text, label, task, llm, memory=memory, calibrate=False)
    found = scorer.fit(texts).estimate(texts)
    if llm.budget is not None:
        found["within_budget"] = found["cost"] <= llm.budget
    if found["cost"] is None:
        screen.line("The cost is not known: give --prices IN,OUT per million tokens.")
    return found
