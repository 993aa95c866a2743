"""`MultiTargetFusionClassifier`: several targets of the same texts, which are read once."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.utils import Tags
from sklearn.utils.validation import check_consistent_length, check_is_fitted

from sklfusion._hand_over import hand_over
from sklfusion._parts import as_embedder, as_scorer, with_score_classes
from sklfusion._pipeline import columns_of
from sklfusion._sklearn_compat import check_parameters
from sklfusion._target_columns import pandas, read_targets
from sklfusion._text_input import TextInputMixin, check_texts
from sklfusion._whole import whole
from sklfusion.fusion import FusionClassifier
from sklfusion.llm.endpoint import clone_at_endpoint, names_a_model
from sklfusion.models import DEFAULT_EMBEDDER, DEFAULT_LLM
from sklfusion.scoring._together import ask_together


class MultiTargetFusionClassifier(TextInputMixin, ClassifierMixin, BaseEstimator):
    """Several targets of the same texts: topic, tone and urgency of a letter, say.

    Each target has a fusion of its own, on an embedding that is made once. Where the LLM is asked
    by typed questions (``strategy="decision"``), it gets each text once, with the questions of all
    targets; elsewhere it is asked once per text and target.

    Parameters
    ----------
    llm : str, LLMEndpoint, scorer, dict of str to scorer, or None
        As in :class:`AutoFusionClassifier`, for all targets; or a scorer per target, such as
        :class:`RecordedScorer`; or None to use the encoder alone.
    embedder : str, transformer or None, default="all-minilm-l6-v2"
        Model of a :class:`RobertaEmbedder`, a transformer, or None to use the LLM alone.
    classes : dict of str to sequence of labels, optional
        Labels by target, where y does not show all of them, or has numbers.
    class_descriptions : dict of str to dict, optional
        By target: label to description, for the prompt.
    instructions : str or dict of str to str, optional
        What the texts are and what to decide, for all targets or by target. Targets that have
        none of their own are asked about by their names.
    fusion : estimator, optional
        Of each target; by default ``FusionClassifier(random_state=random_state)``. Of ordered
        targets ``loss="ordinal"`` is set.
    memory : None, str or joblib.Memory, default=None
        Where LLM replies and embeddings are kept, by text.
    random_state : int, RandomState or None, default=None
    verbose : int, default=0
        1 shows the progress of LLM calls.

    Attributes
    ----------
    targets_ : list of str
        The names of the targets, in the order of y's columns.
    classes_ : dict of str to ndarray
        Labels of each target, columns of its probabilities.
    embedder_ : transformer or None
        Fitted.
    scorers_, fusions_ : dict of str to estimator
        Fitted, by target (no scorers where ``llm`` is None).

    See Also
    --------
    AutoFusionClassifier : One target; also fine-tunes and learns from unlabelled texts.

    Notes
    -----
    Cost: the encoder reads each text once. Requests: one per distinct text by typed questions
    (more where an endpoint takes fewer questions at once), else one per distinct text and target.
    Typed questions of several targets are asked one by one where examples are shown.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklfusion import MultiTargetFusionClassifier
    >>> levels = pd.CategoricalDtype(["low", "mid", "high"], ordered=True)
    >>> texts = [f"{word} number {n}" for n in range(20) for word in ("ham", "spam")]
    >>> y = pd.DataFrame({"topic": ["food", "junk"] * 20, "tags": [["eat"], ["ad", "new"]] * 20})
    >>> y["urgency"] = pd.Series(["low", "mid"] * 20, dtype=levels)
    >>> clf = MultiTargetFusionClassifier(llm=None, random_state=0)  # or "openai/gpt-5-nano"
    >>> clf.fit(texts, y).predict(["more spam"])["topic"].tolist()
    ['junk']
    """

    _parameter_constraints: dict = {
        "classes": [dict, None],
        "class_descriptions": [dict, None],
        "instructions": [str, dict, None],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        llm: Any = DEFAULT_LLM,
        embedder: Any = DEFAULT_EMBEDDER,
        *,
        classes: dict | None = None,
        class_descriptions: dict | None = None,
        instructions: str | dict | None = None,
        fusion: Any = None,
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
        self.memory = memory
        self.random_state = random_state
        self.verbose = verbose

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        tags.target_tags.multi_output = True
        tags.target_tags.single_output = False
        return tags

    @whole
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Fit a fusion per target.

        Parameters
        ----------
        X : sequence of n str
        y : DataFrame of n rows
            A column per target: labels; an ordered Categorical for levels; lists of labels where
            several can hold at once.
        sample_weight : array-like of shape (n,), optional
            Row weights of the fusions.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If y is no frame, a cell is missing, both sources are None, or a target cannot be
            fitted: the message names it.
        """
        check_parameters(self)
        caller = type(self).__name__
        texts = check_texts(X, caller=caller)
        if self.llm is None and self.embedder is None:
            raise ValueError(f"{caller} got llm=None and embedder=None; give one.")
        self._targets = read_targets(y, self.classes, caller=caller)
        check_consistent_length(texts, y)
        self.targets_ = list(self._targets)
        labels = {name: self._read(name, y) for name in self.targets_}
        self.embedder_, embedding = self._fit_embedder(texts)
        self.scorers_ = self._fit_scorers(texts, labels)
        self.fusions_, self.classes_ = {}, {}
        weights = {} if sample_weight is None else {"sample_weight": sample_weight}
        for name, columns in self._columns(texts, embedding).items():
            with _about_target(name):
                self.fusions_[name] = self._fusion(name).fit(columns, labels[name], **weights)
            own = self._targets[name]
            known = own.classes if own.multilabel else self.fusions_[name].classes_
            self.classes_[name] = np.asarray(known)
        return self

    def _read(self, name, y):
        return self._targets[name].read(y[name], f"{type(self).__name__}, target {name!r}")

    def _fit_embedder(self, texts):
        if self.embedder is None:
            return None, np.empty((len(texts), 0))
        embedder = clone(
            as_embedder(
                self.embedder,
                caller=type(self).__name__,
                memory=self.memory,
                random_state=self.random_state,
            )
        )
        return embedder, np.asarray(embedder.fit_transform(texts))

    def _fit_scorers(self, texts, labels):
        if self.llm is None:
            return {}
        scorers = {name: self._scorer(name) for name in self.targets_}
        for name, scorer in scorers.items():
            with _about_target(name):
                scorer.fit(texts, labels[name])
        return scorers

    def _scorer(self, name):
        llm = self.llm
        if isinstance(llm, Mapping):
            if name not in llm:
                raise ValueError(f"llm has the scorers of {list(llm)}, and none of {name!r}.")
            llm = llm[name]
        own = self._targets[name]
        scorer = as_scorer(
            llm,
            caller=type(self).__name__,
            role="llm",
            classes=own.classes,
            class_descriptions=(self.class_descriptions or {}).get(name),
            instructions=self._instructions(name, llm),
            multilabel=own.multilabel,
            memory=self.memory,
            random_state=self.random_state,
            verbose=self.verbose,
        )
        return scorer if names_a_model(llm) else clone_at_endpoint(scorer)

    def _instructions(self, name, llm):
        """What the LLM is told of a target: by itself a list of labels may leave open of what."""
        told = self.instructions
        if isinstance(told, dict) and name in told:
            return told[name]
        if not (names_a_model(llm) or getattr(llm, "instructions", "") is None):
            return told if isinstance(told, str) else None  # recorded, or it has its own
        return "\n\n".join([*([told] if isinstance(told, str) else []), f"Decide: {name}."])

    def _fusion(self, name):
        own, fusion = self._targets[name], self.fusion
        if fusion is None:
            fusion = FusionClassifier(random_state=self.random_state)
        fusion = hand_over(
            clone(fusion),
            caller=type(self).__name__,
            role="fusion",
            random_state=self.random_state,
        )
        told = {"classes": own.classes} if own.classes and not own.multilabel else {}
        told |= {"loss": "ordinal"} if own.ordered else {}
        known = fusion.get_params(deep=False)
        fusion.set_params(**{key: value for key, value in told.items() if key in known})
        return with_score_classes(fusion, self.scorers_.get(name), own.multilabel)

    def _columns(self, texts, embedding):
        """Embedding and scores of each target, columns that know what they are."""
        found = {}
        levels = [name for name, own in self._targets.items() if own.ordered]
        ask_together(self.scorers_, ordered=levels)
        for name, own in self._targets.items():
            scorer = self.scorers_.get(name)
            with _about_target(name):
                scores = None if scorer is None else scorer.transform(texts)
            found[name] = columns_of(texts, embedding, scores, scorer, own.multilabel)
        return found

    def _answers(self, X, method):
        check_is_fitted(self, "fusions_")
        texts = check_texts(X, caller=type(self).__name__, allow_empty=True)
        embedding = np.empty((len(texts), 0))
        if self.embedder_ is not None:
            embedding = np.asarray(self.embedder_.transform(texts))
        columns = self._columns(texts, embedding)
        return {name: getattr(self.fusions_[name], method)(columns[name]) for name in columns}

    def predict(self, X: Any) -> Any:
        """Return a DataFrame of n rows, a column per target as y had it.

        Targets with several labels per text have tuples of labels.

        Parameters
        ----------
        X : sequence of n str
            Texts.

        Returns
        -------
        DataFrame of n rows
            One column per target.
        """
        said = self._answers(X, "predict")
        columns = {name: self._targets[name].write(values) for name, values in said.items()}
        return pandas().DataFrame(columns, index=X.index if hasattr(X, "iloc") else None)

    def predict_proba(self, X: Any) -> dict[str, np.ndarray]:
        """Return probabilities (n, K) by target, columns as its ``classes_``.

        Parameters
        ----------
        X : sequence of n str
            Texts.

        Returns
        -------
        dict of str to ndarray of shape (n, K)
            By target.
        """
        return self._answers(X, "predict_proba")

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return the mean over targets of the accuracy (of several labels, of the whole set).

        Parameters
        ----------
        X : sequence of n str
        y : DataFrame of n rows
            The targets of ``fit``.
        sample_weight : array-like of shape (n,), optional

        Returns
        -------
        float
            Mean over the targets.
        """
        said = self._answers(X, "predict")
        missing = [name for name in self.targets_ if name not in getattr(y, "columns", ())]
        if missing:
            raise ValueError(f"{type(self).__name__} has the targets {missing}; y has no column.")
        found = []
        for name, values in said.items():
            right = values == self._read(name, y)
            right = right.all(axis=1) if right.ndim == 2 else right
            found.append(np.average(right, weights=sample_weight))
        return float(np.mean(found))


@contextlib.contextmanager
def _about_target(target):
    """Say in an error which target it is about."""
    try:
        yield
    except Exception as error:
        error.add_note(f"while fitting or scoring the target {target!r}")
        raise
