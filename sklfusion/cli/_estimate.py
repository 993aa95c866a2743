"""``sklfusion estimate``: what asking the LLM about a table costs."""

from sklfusion.cli._app import command
from sklfusion.cli._options import (
    EndpointOptions,
    LabelColumn,
    Memory,
    TablePath,
    TaskOptions,
    TextColumn,
)
from sklfusion.cli._tables import class_names, read_table


@command("estimate")
def estimate_command(
    table: TablePath,
    *,
    text: TextColumn = "text",
    label: LabelColumn = "label",
    memory: Memory = None,
    task: TaskOptions,
    llm: EndpointOptions,
):
    """Price the LLM calls of a table, knowing what is cached. Sends nothing."""
    from sklfusion.scoring import LLMScorer

    settings = task.settings()
    named = settings["classes"] is not None
    frame = read_table(table, [text] if named else [text, label])
    if not named:
        settings["classes"] = class_names(frame[label])
    # uncalibrated: calibration would have to score the texts first
    scorer = LLMScorer(llm.endpoint(), memory=memory, calibrate=False, **settings)
    texts = frame[text].tolist()
    return scorer.fit(texts).estimate(texts)
