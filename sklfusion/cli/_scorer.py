"""The LLM alone, as `estimate` and `score` ask it."""

from sklfusion.cli._tables import class_names, label_columns, read_table, read_target
from sklfusion.exceptions import SklFusionError

LABEL = "label"


def scorer_of(table, text, label, task, llm, **settings):
    """Return an unfitted scorer, the table and its texts.

    The classes are those of ``--classes``; the labels of the table name them otherwise, and have
    to be among them where ``--label`` is given too.
    """
    from sklfusion.scoring import LLMScorer

    endpoint = llm.endpoint()
    if endpoint is None:
        raise SklFusionError("--llm none leaves nothing to ask.")
    told = task.settings()
    read_labels = label is not None or told["classes"] is None
    columns = label_columns(label or LABEL, task) if read_labels else []
    frame = read_table(table, [text, *columns])
    if read_labels:
        y = read_target(frame, label or LABEL, task)
        told["classes"] = _classes(y, told["classes"], task.multilabel)
    scorer = LLMScorer(endpoint, multilabel=task.multilabel, **told, **settings)
    return scorer, frame, frame[text].tolist()


def _classes(y, classes, multilabel):
    seen = y.columns.tolist() if multilabel else class_names(y)
    if classes is None:
        return seen
    unknown = [str(name) for name in seen if str(name) not in classes]
    if unknown and y.dtype.kind not in "iu":
        raise SklFusionError(f"The table has the label {unknown[0]!r}, not in --classes.")
    return classes
