"""`AutoFusionClassifier`: the corridor in one call."""

from __future__ import annotations

import warnings
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils import Tags
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from sklfusion._class_labels import declared_classes, in_names, read_labels, refuse_bare_numbers
from sklfusion._diagram import DiagramMixin
from sklfusion._hand_over import asks_unnamed, hand_over
from sklfusion._idle import warn_without_effect
from sklfusion._parts import as_embedder, as_scorer, whether_to_fine_tune, with_score_classes
from sklfusion._pipeline import fit_pipeline
from sklfusion._scores import as_told
from sklfusion._sklearn_compat import check_parameters, one_of
from sklfusion._text_input import TextInputMixin, check_texts
from sklfusion._validation import is_multilabel, plain_labels
from sklfusion._whole import whole
from sklfusion.embedding import EncoderTraining
from sklfusion.exceptions import DataWarning
from sklfusion.fusion import FusionClassifier
from sklfusion.fusion._student import VoteStudent
from sklfusion.llm.endpoint import clone_at_endpoint, names_a_model
from sklfusion.models import DEFAULT_EMBEDDER, DEFAULT_LLM


def _delegates(name):
    def check(self):
        return hasattr(self.fusion_, name) if hasattr(self, "fusion_") else True

    return check


def _of_fusion(name, says):
    def get(self):
        if hasattr(vars(self).get("fusion_"), name):
            return getattr(self.fusion_, name)
        raise AttributeError(f"AutoFusionClassifier has {name} after fit, if its fusion has.")

    return property(get, doc=says)


class AutoFusionClassifier(DiagramMixin, TextInputMixin, ClassifierMixin, BaseEstimator):
    """Texts in, labels out: an encoder and an LLM fused, with good defaults.

    Parameters
    ----------
    llm : str, LLMEndpoint, transformer or None, default="local/smollm2-135m"
        ``"provider/model"`` (``"openai/gpt-5-nano"``) or an :class:`LLMEndpoint` for an
        :class:`LLMScorer`, a scorer, or None to use the encoder alone. ``classes``,
        ``class_descriptions``, ``instructions``, ``memory``, ``random_state`` and ``verbose``
        below also reach a scorer that did not set them. Where both set one and differ, ``fit``
        raises; of ``classes``, ``verbose`` and ``random_state`` the scorer's own count for the
        scorer.
    embedder : str, transformer or None, default="all-minilm-l6-v2"
        Model of a :class:`RobertaEmbedder`, a transformer, or None to use the LLM alone.
    classes : sequence of labels, optional
        Class names shown to the LLM; by default those of ``llm``, else the labels in ``y``. A
        class without a labelled row can be predicted on the word of the LLM. Needed where ``y``
        holds bare numbers, or is a multi-label indicator without column names (in the order of
        the columns then).
    class_descriptions : dict, optional
        Label to description, for the prompt.
    instructions : str, optional
        What the texts are and what to decide, for the prompt.
    fusion : estimator, optional
        Final step; by default ``FusionClassifier(random_state=random_state)``.
    fine_tune : bool, "contrastive", EncoderTraining or "auto", default="auto"
        Whether, and how, the encoder is trained on the labels; see :class:`RobertaEmbedder`.
        ``"auto"`` does so from 2,000 labelled rows on, where that takes minutes: with an
        accelerator, or with the embedded encoder. With 20 to 200 rows ``"contrastive"`` is worth
        trying: minutes instead of a second. Applies when ``embedder`` is a name.
    memory : None, str or joblib.Memory, default=None
        Where LLM replies and embeddings are kept, by text: also those of a scorer or embedder
        of sklfusion that has no ``memory`` of its own.
    random_state : int, RandomState or None, default=None
    verbose : int, default=0
        1 shows the progress of LLM calls.

    Attributes
    ----------
    classes_ : ndarray of shape (K,)
        Labels, sorted; for multi-label the names of the columns.
    pipeline_ : Pipeline
        The fitted pipeline.
    embedder_, scorer_, fusion_ : estimators
        Its fitted parts (None where left out).
    student_ : VoteStudent or None
        What the unlabelled texts taught.
    report_ : dict
        What was chosen and why.
    oof_proba_ : ndarray of shape (n, K)
        Out-of-fold probabilities of the training texts, as given to ``fit``; see
        :class:`FusionClassifier`. Another ``fusion`` may have none.
    certificate_ : dict or None
        What the fusion loses at most to its parts.

    See Also
    --------
    make_fusion_pipeline : The same parts, to be composed by hand.

    Notes
    -----
    Cost: one LLM request per distinct text, in ``fit`` and in ``predict`` alike, none for texts
    that ``memory`` already knows. Training the encoder takes one run for each of its folds and
    one more: what the fusion is fitted on are out-of-fold scores.

    Examples
    --------
    >>> from sklfusion import AutoFusionClassifier, RecordedScorer
    >>> from sklfusion.datasets import load_newsdesk
    >>> desk = load_newsdesk()
    >>> llm = RecordedScorer(desk.answers, texts=desk.data)  # in place of "openai/gpt-5-nano"
    >>> clf = AutoFusionClassifier(llm, random_state=0)
    >>> clf = clf.fit(desk.data[:240:4], desk.target[:240:4])
    >>> bool(clf.score(desk.data[240:], desk.target[240:]) > 0.75)
    True
    """

    _parameter_constraints: dict = {
        "instructions": [str, None],
        "fine_tune": [EncoderTraining, one_of(True, False, "contrastive", "auto")],
        "random_state": ["random_state"],
    }
    _coded = False  # whether y held codes of the named classes

    def __init__(
        self,
        llm: Any = DEFAULT_LLM,
        embedder: Any = DEFAULT_EMBEDDER,
        *,
        classes: Any = None,
        class_descriptions: dict | None = None,
        instructions: str | None = None,
        fusion: Any = None,
        fine_tune: Any = "auto",
        memory: Any = None,
        random_state: int | np.random.RandomState | None = None,
        verbose: int = 0,
    ) -> None:
        self.llm = llm
        self.embedder = embedder
        self.classes = classes
        self.class_descriptions = class_descriptions
        self.instructions = instructions
        self.fusion = fusion
        self.fine_tune = fine_tune
        self.memory = memory
        self.random_state = random_state
        self.verbose = verbose

    @whole
    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        unlabeled: Any = None,
        **fit_params: Any,
    ) -> Self:
        """Fit the parts and the fusion.

        Parameters
        ----------
        X : sequence of n str
        y : array-like of shape (n,), or indicator of shape (n, K)
            A DataFrame's column names are the labels' names. With ``classes`` given (here or in
            ``llm``), numbers 0..K-1 are codes of the sorted names; the parts see the names.
        sample_weight : array-like of shape (n,), optional
            Row weights of the fusion; encoder and LLM do not use them.
        unlabeled : sequence of str, optional
            Further texts without labels. What the LLM says about them trains a
            :class:`VoteStudent` on their embeddings, and the labelled rows decide how far to
            trust it. Costs one request per distinct text; helps with up to about 100 labels, most
            where the LLM is weak. Switches fine-tuning off.
        **fit_params
            ``fusion__NAME`` and ``features__NAME`` go to ``fit`` of the fusion and of the sources.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If a text or label is missing, if both sources are None, if a multi-label target comes
            without label names, if y has bare numbers and nobody named the classes, if ``llm`` or
            ``embedder`` is an estimator whose own settings contradict the ones here, or if
            ``unlabeled`` is given and a source is missing.
        """
        check_parameters(self)
        texts = check_texts(X, caller="AutoFusionClassifier")
        if self.llm is None and self.embedder is None:
            raise ValueError("AutoFusionClassifier got llm=None and embedder=None; give one.")
        self.multilabel_ = is_multilabel(y)
        names = self._label_names(y)
        self._warn_of_other_labels(names, named=hasattr(y, "columns"))
        if len(texts) != (y.shape[0] if hasattr(y, "shape") else len(y)):
            raise ValueError(f"Got {len(texts)} texts and {len(y)} labels; they must match.")
        y, codes = (y, None) if self.multilabel_ else self._read_target(y)
        trained, why = whether_to_fine_tune(self.fine_tune, self.embedder, len(texts))
        if unlabeled is not None:
            trained, why = False, "unlabelled texts train a probe on the frozen encoder"
        sources = self._sources(names, trained)
        fusion = self._told_fusion(dict(sources).get("llm"))
        self.student_ = None
        if unlabeled is not None:
            sources = self._with_student(sources, texts, y, unlabeled)
            fusion.set_params(features="both")
        alike = trained or unlabeled is not None  # then the encoder gives class scores too
        self.pipeline_ = fit_pipeline(sources, fusion, texts, y, sample_weight, fit_params, alike)
        if self.student_ is None:
            parts = dict(self.pipeline_.named_steps["features"].transformer_list)
            self.embedder_, self.scorer_ = parts.get("embedding"), parts.get("llm")
        self.fusion_ = self.pipeline_.named_steps["fusion"]
        self.classes_ = np.asarray(names) if self.multilabel_ else self.fusion_.classes_
        self._coded = codes is not None
        if codes is not None:
            declared = np.unique(self._declared())
            self.classes_ = codes[np.searchsorted(declared, self.fusion_.classes_)]
        way = {"fine_tuned": getattr(trained, "method", trained), "fine_tune_why": why}
        self.report_ = {**self._report(len(texts)), **way}
        return self

    def _declared(self):
        return declared_classes(self if self.classes is not None else self.llm)

    def _warn_of_other_labels(self, names, named):
        """Warn when the LLM's label columns cannot be matched to those of y."""
        own = declared_classes(self.llm)
        if named and own is not None and set(names or ()) <= set(own):
            return  # matched by name
        if self.multilabel_ and own is not None and names is not None and own != names:
            warnings.warn(
                f"AutoFusionClassifier has the labels {names}, and its llm scores {own}: its "
                "columns are not those of y and are used as features only. Score the same labels "
                "in the same order.",
                DataWarning,
                stacklevel=3,
            )

    def _read_target(self, y):
        """Return the labels in the names of the classes, and what y calls these, if it does."""
        caller = "AutoFusionClassifier"
        y = read_labels(y, caller=caller)
        declared = self._declared()
        if declared is None and not self.class_descriptions and asks_unnamed(self.llm):
            refuse_bare_numbers(np.unique(y), caller=caller)
        return in_names(y, declared, caller=caller)

    def _told_fusion(self, scorer):
        """Return the unfitted fusion; it knows the classes where we do."""
        fusion = with_score_classes(self._fusion(), scorer, self.multilabel_)
        if self.classes is not None and not self.multilabel_ and "classes" in fusion.get_params():
            fusion.set_params(classes=plain_labels(self.classes))  # y may lack one of them
        return fusion

    def _label_names(self, y):
        if self.classes is not None:
            return plain_labels(self.classes)
        if not self.multilabel_:
            return None
        if hasattr(y, "columns"):
            return [str(name) for name in y.columns]
        if self.llm is None:
            return list(range(y.shape[1] if hasattr(y, "shape") else len(y[0])))
        raise ValueError(
            "AutoFusionClassifier got a multi-label target without label names, which the LLM "
            "needs. Pass classes=[...] in the order of the columns, or y as a DataFrame."
        )

    def _with_student(self, sources, texts, y, unlabeled):
        """Fit both sources and a student on the unlabelled texts; return them frozen.

        They are frozen so that the pipeline neither asks the LLM nor trains the student again.
        """
        parts = dict(sources)
        if len(parts) < 2:
            raise ValueError("unlabeled= needs both an embedder and an LLM; one of them is None.")
        gold = set(texts)
        rest = check_texts(unlabeled, caller="AutoFusionClassifier (unlabeled=)")
        rest = [text for text in dict.fromkeys(rest) if text not in gold]
        self.embedder_ = parts["embedding"].fit(texts, y)
        self.scorer_ = parts["llm"].fit(texts, y)
        scores, further = (
            as_told(self.scorer_.transform(t), self.scorer_.classes_, self.multilabel_)
            for t in (texts, rest)
        )
        self.student_ = VoteStudent(random_state=self.random_state).fit(
            np.asarray(self.embedder_.transform(texts)),
            y,
            scores=scores,
            X_unlabeled=np.asarray(self.embedder_.transform(rest)),
            scores_unlabeled=further,
        )
        steps = [("embedder", self.embedder_), ("student", self.student_)]
        frozen = Pipeline([(name, FrozenEstimator(step)) for name, step in steps])
        return [("embedding", frozen), ("llm", FrozenEstimator(self.scorer_))]

    def _sources(self, names, fine_tune):
        caller = "AutoFusionClassifier"
        sources = []
        if self.embedder is not None:
            training = {"fine_tune": fine_tune, "classes": names} if fine_tune else None
            embedder = as_embedder(
                self.embedder,
                caller=caller,
                training=training,
                memory=self.memory,
                random_state=self.random_state,
            )
            sources.append(("embedding", clone(embedder)))
        if self.llm is not None:
            scorer = as_scorer(
                self.llm,
                caller=caller,
                role="llm",
                classes=names,
                class_descriptions=self.class_descriptions,
                instructions=self.instructions,
                multilabel=self.multilabel_,
                memory=self.memory,
                random_state=self.random_state,
                verbose=self.verbose,
            )
            # What is made of an endpoint shares it; what the user made stays as it is.
            own = names_a_model(self.llm)
            sources.append(("llm", scorer if own else clone_at_endpoint(scorer)))
        else:
            lost = [n for n in ("class_descriptions", "instructions") if getattr(self, n)]
            if lost:
                warn_without_effect(caller, lost, "llm is None")
        return sources

    def _fusion(self):
        if self.fusion is None:
            return FusionClassifier(random_state=self.random_state)
        return hand_over(
            clone(self.fusion),
            caller="AutoFusionClassifier",
            role="fusion",
            random_state=self.random_state,
        )

    def _report(self, n):
        report = {"n_labelled": n, "multilabel": self.multilabel_}
        report["embedder"] = None if self.embedder_ is None else repr(self.embedder_)
        report["llm"] = None if self.scorer_ is None else repr(self.scorer_)
        for name in ("chosen_", "source_weights_", "oof_scores_"):
            if hasattr(self.fusion_, name):
                report[name.rstrip("_")] = getattr(self.fusion_, name)
        if self.scorer_ is not None and hasattr(self.scorer_, "usage_"):
            report["usage"] = self.scorer_.usage_
        return report

    oof_proba_ = _of_fusion(
        "oof_proba_", "Out-of-fold probabilities of the training texts (n, K)."
    )
    certificate_ = _of_fusion("certificate_", "What the fusion loses at most to its parts.")

    def _texts(self, X):
        check_is_fitted(self, "pipeline_")
        return check_texts(X, caller="AutoFusionClassifier", allow_empty=True)

    def predict(self, X: Any) -> np.ndarray:
        """Return labels of shape (n,), or an indicator of shape (n, K) for multi-label.

        Parameters
        ----------
        X : sequence of n str
            Texts.

        Returns
        -------
        ndarray of shape (n,), or (n, K) of int
            Labels out of ``classes_``, or a label indicator.
        """
        texts = self._texts(X)
        labels = self.pipeline_.predict(texts)
        if not self._coded:
            return labels
        return self.classes_[np.searchsorted(self.fusion_.classes_, labels)]

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return probabilities of shape (n, K), columns as ``classes_``.

        Parameters
        ----------
        X : sequence of n str
            Texts.

        Returns
        -------
        ndarray of shape (n, K)
            Columns as ``classes_``.
        """
        texts = self._texts(X)
        return self.pipeline_.predict_proba(texts)

    @available_if(_delegates("decision_function"))
    def decision_function(self, X: Any) -> np.ndarray:
        """Return the fused logits.

        Parameters
        ----------
        X : sequence of n str
            Texts.

        Returns
        -------
        ndarray of shape (n, K), or (n,) for two classes
            Log-odds.
        """
        texts = self._texts(X)
        return self.pipeline_.decision_function(texts)

    @available_if(_delegates("contributions"))
    def contributions(self, X: Any) -> Any:
        """Return how much each source contributed to each row; see FusionClassifier.

        Parameters
        ----------
        X : sequence of n str
            Texts.

        Returns
        -------
        dict of str to ndarray of shape (n, K)
            What each source adds to the logits.
        """
        texts = self._texts(X)
        features = self.pipeline_.named_steps["features"].transform(texts)
        return self.fusion_.contributions(features)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        tags.target_tags.required = True
        return tags
