"""The parts of the composite estimators: built from a name, or taken from the user and told."""

from sklearn.base import clone

from sklfusion._class_labels import declared_classes
from sklfusion._hand_over import hand_over
from sklfusion._idle import warn_without_effect
from sklfusion.embedding import EncoderTraining
from sklfusion.llm.endpoint import names_a_model
from sklfusion.models import DEFAULT_EMBEDDER

#: Labelled rows from which ``fine_tune="auto"`` trains the encoder.
FINE_TUNE_FROM = 2000


def as_embedder(embedder, *, caller, training=None, **settings):
    """Return an embedder made from a name, or the user's own with the settings of the whole.

    ``training`` are parameters that only an embedder from a name is given.
    """
    if not isinstance(embedder, str):
        return hand_over(embedder, caller=caller, role="embedder", **settings)
    from sklfusion.embedding import RobertaEmbedder

    return RobertaEmbedder(embedder, **settings, **(training or {}))


def whether_to_fine_tune(fine_tune, embedder, n):
    """Return how an AutoFusionClassifier trains its encoder, and the reason in words.

    Parameters
    ----------
    fine_tune : bool, "contrastive", "auto" or EncoderTraining
        What it was told.
    embedder : str, transformer or None
        Only one from a name is trained.
    n : int
        Labelled rows.
    """
    told = isinstance(fine_tune, EncoderTraining)
    if not isinstance(embedder, str):
        if told or fine_tune in (True, "contrastive"):
            why = "it applies to an embedder by name"
            warn_without_effect("AutoFusionClassifier", ["fine_tune"], why)
        return False, "the embedder is yours, or there is none"
    if told or fine_tune != "auto":
        return fine_tune, "as asked"
    if n < FINE_TUNE_FROM:
        return False, f"{n} labelled rows are fewer than {FINE_TUNE_FROM}"
    import torch

    if embedder == DEFAULT_EMBEDDER or torch.cuda.is_available():
        return True, f"{n} labelled rows, and training takes minutes here"
    return False, "without an accelerator this encoder would train for hours"


def as_scorer(llm, *, caller, role, **settings):
    """Return a scorer made from a name or an endpoint, or the user's own with the settings.

    A scorer that is made here shares the endpoint, its budget and its usage.
    """
    if not names_a_model(llm):
        return hand_over(llm, caller=caller, role=role, **settings)
    from sklfusion.scoring import LLMScorer

    return LLMScorer(llm, **settings)


def with_score_classes(fusion, scorer, multilabel):
    """Tell a fusion in which order a scorer declares its classes, where it does not know.

    Between FusionClassifier and LLMScorer travel bare numbers, so names are lost on the way. For
    multi-label the declared order is the order of the columns of y, and nothing is to be told.
    """
    declared = declared_classes(scorer)
    known = getattr(fusion, "score_classes", ())
    if declared is None or known is not None or multilabel:
        return fusion
    return clone(fusion).set_params(score_classes=declared)


def default_first(memory, multilabel):
    """Return the cheap stage of a cascade: logistic regression on the embedded encoder."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.multiclass import OneVsRestClassifier
    from sklearn.pipeline import make_pipeline

    head = LogisticRegression(C=10.0, max_iter=1000)
    embedder = as_embedder(DEFAULT_EMBEDDER, caller="CascadeClassifier", memory=memory)
    return make_pipeline(embedder, OneVsRestClassifier(head) if multilabel else head)
