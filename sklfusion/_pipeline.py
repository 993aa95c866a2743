"""The row of parts as a pipeline: made by hand, and fitted part by part."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.utils.validation import has_fit_parameter

from sklfusion._parts import as_embedder, as_scorer, with_score_classes
from sklfusion._scores import as_told, told_by
from sklfusion._sklearn_compat import safe_indexing
from sklfusion._text_input import distinct
from sklfusion._validation import is_multilabel
from sklfusion.fusion import FusionClassifier
from sklfusion.models import DEFAULT_EMBEDDER, DEFAULT_LLM


def make_fusion_pipeline(
    embedder: Any = DEFAULT_EMBEDDER,
    scorer: Any = DEFAULT_LLM,
    fusion: Any = None,
    *,
    classes: Any = None,
    class_descriptions: dict | None = None,
    multilabel: bool = False,
    memory: Any = None,
    n_jobs: int | None = None,
) -> Pipeline:
    """Make the pipeline: texts -> (embeddings, LLM scores) -> fusion -> labels.

    Parameters
    ----------
    embedder : str or transformer, default="all-minilm-l6-v2"
        Model of a :class:`RobertaEmbedder`, or any transformer from texts to numbers.
    scorer : str, LLMEndpoint or transformer, default="local/smollm2-135m"
        Model or endpoint of an :class:`LLMScorer`, or any scorer (:class:`RecordedScorer`, ...).
    fusion : estimator, optional
        Final step; by default ``FusionClassifier()``.
    classes : sequence of labels, optional
        Handed to the scorer; by default it takes them from ``y``. Needed for multi-label.
    class_descriptions : dict, optional
        Handed to the scorer: label to description.
    multilabel : bool, default=False
        Handed to the scorer.
    memory : None, str or joblib.Memory
        Where replies and embeddings are kept. Unlike ``Pipeline(memory=...)`` this works by
        text: a grid search asks the LLM once per distinct text.
    n_jobs : int, optional
        Of the FeatureUnion.

    Returns
    -------
    Pipeline
        Steps ``features`` (a FeatureUnion of ``embedding`` and ``llm``) and ``fusion``.

    See Also
    --------
    AutoFusionClassifier : The same parts in one estimator.
    RobertaEmbedder : Its encoder.
    LLMScorer : Its LLM.
    FusionClassifier : Its last step.

    Notes
    -----
    Cost: one LLM request per distinct text, one encoder pass per distinct text.

    Examples
    --------
    >>> from sklfusion import make_fusion_pipeline
    >>> pipe = make_fusion_pipeline(scorer="openai/gpt-5-nano", classes=["ham", "spam"])
    >>> [name for name, _ in pipe.steps]
    ['features', 'fusion']
    """
    fusion = FusionClassifier() if fusion is None else fusion
    caller = "make_fusion_pipeline"
    embedder = as_embedder(embedder, caller=caller, memory=memory)
    scorer = as_scorer(
        scorer,
        caller=caller,
        role="scorer",
        classes=classes,
        class_descriptions=class_descriptions,
        multilabel=multilabel,
        memory=memory,
    )
    union = FeatureUnion([("embedding", embedder), ("llm", scorer)], n_jobs=n_jobs)
    fusion = with_score_classes(fusion, scorer, getattr(scorer, "multilabel", multilabel))
    return Pipeline([("features", union), ("fusion", fusion)])


def _with_scores_last(columns, features, y):
    """Columns that know which are the LLM's, from a scorer that does not tell."""
    scorer, multilabel = dict(features.transformer_list).get("llm"), is_multilabel(y)
    if scorer is None:
        return columns
    of_y = range(np.shape(y)[1]) if multilabel else np.unique(y)
    classes = getattr(scorer, "classes_", of_y)
    start = columns.shape[1] - len(classes) - bool(getattr(scorer, "add_indicator", False))
    return np.hstack([columns[:, :start], as_told(columns[:, start:], classes, multilabel)])


def _alike_where_texts_are(columns, texts):
    """Columns in which a repeated text has the row of its first place, to the last bit.

    An encoder may round a text differently in another batch, and the fusion keeps equal rows in
    one fold.
    """
    different, places = distinct(texts)
    if len(different) == len(texts):
        return columns
    _, first = np.unique(places, return_index=True)
    return safe_indexing(columns, first[places])


def columns_of(texts, embedding, scores, scorer, multilabel):
    """Embedding and LLM scores side by side, as columns that know which are the scores.

    ``scores`` may be None; those of a ``scorer`` that does not tell are taken for its classes.
    """
    if scores is None:
        return _alike_where_texts_are(embedding, texts)
    told = as_told(scores, scorer.classes_, multilabel)
    return _alike_where_texts_are(np.hstack([embedding, told]), texts)


def fit_pipeline(sources, fusion, texts, y, sample_weight, fit_params, alike=False):
    """Return the fitted pipeline.

    The parts are fitted one by one, and not by the pipeline, so that weights reach the fusion
    and nothing else, with scikit-learn's metadata routing as without. ``alike`` says that the
    encoder gives class scores too, which must not be taken for those of an LLM.
    """
    own: dict = {"features": {}, "fusion": {}}
    for name, value in fit_params.items():
        step, _, parameter = name.partition("__")
        if step not in own or not parameter:
            raise TypeError(
                f"AutoFusionClassifier.fit got {name!r}; it takes sample_weight, unlabeled, "
                "fusion__NAME and features__NAME."
            )
        own[step][parameter] = value
    if sample_weight is not None:
        if not has_fit_parameter(fusion, "sample_weight"):
            raise TypeError(f"{type(fusion).__name__} (fusion=) takes no sample_weight in fit.")
        own["fusion"].setdefault("sample_weight", sample_weight)
    features = FeatureUnion(sources)
    columns = features.fit_transform(texts, y, **own["features"])
    if alike and told_by(columns) is None:
        columns = _with_scores_last(columns, features, y)
    columns = _alike_where_texts_are(columns, texts)
    fusion.fit(columns, y, **own["fusion"])
    return Pipeline([("features", features), ("fusion", fusion)])
