"""``sklfusion score``: what the LLM says about each text."""

from sklfusion.cli._app import command
from sklfusion.cli._options import (
    DEFAULT_MEMORY,
    EndpointOptions,
    ExcelSafe,
    LabelColumn,
    Memory,
    OutputPath,
    TablePath,
    TaskOptions,
    TextColumn,
)
from sklfusion.cli._scorer import scorer_of
from sklfusion.cli._screen import Screen
from sklfusion.cli._spent import spent
from sklfusion.cli._tables import check_new_columns, check_table_output, deliver

STATUS = "llm_status"


@command("score")
def score_command(
    table: TablePath,
    *,
    output: OutputPath = None,
    excel_safe: ExcelSafe = False,
    text: TextColumn = "text",
    label: LabelColumn = None,
    memory: Memory = DEFAULT_MEMORY,
    task: TaskOptions,
    llm: EndpointOptions,
    screen: Screen,
):
    """Ask the LLM alone: a probability per class, and a status per text.

    A text without an answer has empty cells and a status that says why; it is never given a label.
    """
    check_table_output(output, table, excel_safe=excel_safe)
    scorer, frame, texts = scorer_of(
        table, text, label, task, llm, memory=memory, verbose=screen.verbose
    )
    classes = scorer.classes
    check_new_columns(frame, [*(f"llm_{name}" for name in classes), STATUS])
    answers = scorer.fit(texts).annotate(texts)
    columns = {f"llm_{n}": p.round(6) for n, p in zip(classes, answers.probs.T, strict=True)}
    scored = frame.assign(**columns, **{STATUS: answers.status})
    told = deliver(scored, output, screen, excel_safe=excel_safe)
    answered = int((answers.status == "ok").sum())
    return None if told is None else {**told, "answered": answered, **spent(scorer)}
