"""`FusionClassifier` with its defaults."""

from sklfusion import FusionClassifier

NAME = "fusion"


def make(task, **params):
    """It is told which columns are scores, and all classes, as anyone would tell it."""
    known = None if task.multilabel else list(range(task.n_classes))
    return FusionClassifier(
        score_columns=task.scores,
        score_classes=known,
        classes=known,
        random_state=task.seed,
        **params,
    )
