"""The unfitted parts of a cascade: what the user gave, told what it has to know."""

from sklearn.base import clone

from sklfusion._hand_over import hand_over
from sklfusion._parts import default_first
from sklfusion.cascade._cost_curve import numbers_of
from sklfusion.fusion import FusionClassifier
from sklfusion.llm.endpoint import clone_at_endpoint, names_a_model
from sklfusion.scoring import LLMScorer


def make_first(first, memory, multilabel):
    """Return the first stage."""
    if first is None:
        return default_first(memory, multilabel)
    return hand_over(first, caller="CascadeClassifier", role="first", memory=memory)


def make_llm(llm, memory, multilabel):
    """Return the LLM as a scorer or classifier.

    Raises
    ------
    ValueError
        If it is a bare name and there are several labels per text.
    """
    if not names_a_model(llm):
        told = {"role": "llm", "memory": memory}
        return clone_at_endpoint(hand_over(llm, caller="CascadeClassifier", **told))
    if multilabel:
        raise ValueError(
            f"CascadeClassifier got llm={llm!r} for a label indicator; pass "
            "LLMScorer(..., classes=[...], multilabel=True), which knows the names."
        )
    return LLMScorer(llm, memory=memory)


def make_fusion(fusion, n_classes, scored, names, seed):
    """Return the fusion, told which columns are whose unless the user did.

    ``scored`` are the classes of the LLM; ``names`` those of y as it knows them, None for several
    labels per text.
    """
    told = {"random_state": seed} if fusion is None else {}
    fusion = clone(fusion) if fusion is not None else FusionClassifier()
    params = fusion.get_params(deep=False)
    if params.get("score_columns") == "auto":
        told |= {"score_columns": slice(n_classes, None), "features": "proba"}
        if names is not None and params["score_classes"] is None:
            told["score_classes"] = numbers_of(scored, names)
        if names is not None and params["classes"] is None:
            told["classes"] = list(range(n_classes))  # a fold may lack a rare one
    return fusion.set_params(**told)
