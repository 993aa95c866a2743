"""`LLMScorer`: what an LLM thinks of each class, as score columns."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from sklearn.base import TransformerMixin
from sklearn.utils.validation import check_is_fitted

from sklfusion._scores import score_columns, score_names
from sklfusion._whole import whole
from sklfusion.llm.endpoint import at_endpoint
from sklfusion.models import DEFAULT_LLM
from sklfusion.scoring._base import BaseLLMEstimator
from sklfusion.scoring._checks import SCORER_CONSTRAINTS


class LLMScorer(TransformerMixin, BaseLLMEstimator):
    """Score texts with an LLM: one column per class.

    Each distinct text is asked about once. Replies are saved in the reply store (``memory``)
    before they are read, so a crash, a grid search or a second process does not pay for an answer
    that has arrived; a reply lost on its way is asked for again. A text
    without a usable answer gets the uniform prior, never an invented label.

    Parameters
    ----------
    model : str or LLMEndpoint, default="local/smollm2-135m"
        Where to ask: an :class:`LLMEndpoint`, or the name of a model there: ``provider/model``
        (``openai/...``, ``gemini/...``, ``deepseek/...``, ``openrouter/...``, ``ollama/...``,
        ``vllm/...``), or ``local/...`` for a model in this process: an embedded one, a GGUF
        file, or a transformers folder or hub id. With ``base_url`` the endpoint's own name of
        the model.
    classes : sequence of labels, optional
        The classes, in the order of the columns; members of an Enum count as their values. By
        default the sorted labels of ``y``. With ``classes`` given, numbers 0..K-1 in ``y`` are
        codes of the sorted names. Without, and without ``class_descriptions``, consecutive
        numbers in ``y`` are refused: they name nothing that an LLM could be asked about.
    multilabel : bool, default=False
        Whether several classes can hold at once; scores are then independent.
    class_descriptions : dict, optional
        Label to a sentence on what it means.
    instructions : str, optional
        What the model should know about the task.
    strategy : str, default="auto"
        ``"logprobs"`` reads the log-probabilities of the label's first token; ``"probabilities"``
        asks for one number per class, held to a JSON schema; ``"label"`` for the label only;
        ``"votes"`` samples ``n_votes`` labels; ``"unary"`` (multi-label) asks yes or no for every
        class; ``"decision"`` asks an endpoint for decisions: one choice with described options,
        or for multi-label one yes-or-no question per class in the same request. ``"auto"`` takes
        decision for models that were made for it, else the first of logprobs, decision,
        probabilities, label that the endpoint serves; ``annotate(X).meta["strategy"]`` tells.
    output : {"log_proba", "proba"}, default="log_proba"
        What ``transform`` returns.
    add_indicator : bool, default=False
        Whether to add a column ``llm__abstained``, 1 where there is no answer.
    calibrate : {"auto", True, False, "prior", "contextual"}, default="auto"
        Takes the model's bias for some labels off its scores, with one number per class.
        ``"prior"`` (and True) fits it on the training texts without their labels, so that the
        classes are equally frequent on average; ``"contextual"`` on texts without content.
        ``"auto"`` is "prior" for local models and off elsewhere.
    examples : sequence of (text, label), optional
        Shown before every text.
    n_shots : int, default=0
        Number of examples chosen from the training texts; a text is never shown its own label.
    shot_selection : {"nearest", "random", "diverse"} or transformer, default="nearest"
        How they are chosen: those most like the text, or one balanced set for all texts, drawn
        or spread over the training texts. "nearest" and "diverse" measure on the embedded
        encoder, else TF-IDF; a transformer from texts to vectors stands for the nearest in its
        space.
    memory : None, str, Path or joblib.Memory
        Where replies are kept.
    random_state : int, RandomState or None
        For the choice of examples.
    verbose : int, default=0
        1 shows a progress bar with cache hits and spend, and a summary.
    n_votes : int, default=5
        Samples of ``strategy="votes"``.
    order_swap : bool, default=False
        Ask twice, with the classes in both orders, and average: takes out position bias for
        twice the price.
    label_form : {"auto", "words", "ids"}, default="auto"
        Whether the model answers with the class names or with short opaque ids. "auto" takes
        ids where names are long, hold line breaks or quotes, or begin alike.
    template : PromptTemplate, optional
        Other words for the prompt.
    **endpoint
        Settings of :class:`LLMEndpoint`: ``LLMScorer("m", base_url=url, timeout=5)`` is short
        for ``LLMScorer(LLMEndpoint("m", base_url=url, timeout=5))``. They are parameters of
        ``model`` (``model__timeout``); ``set_params(timeout=5)`` reaches them too.

    Attributes
    ----------
    classes_ : ndarray of shape (K,)
        The classes in column order.
    bias_ : ndarray of shape (K,) or None
        Score calibration.
    usage_ : UsageReport
        What this object asked, answered from the store, and paid since ``fit``.

    See Also
    --------
    RecordedScorer : Scores that somebody already has.
    LLMClassifier : The LLM alone as a classifier.

    Notes
    -----
    Cost: ``fit`` sends nothing unless it calibrates; ``transform`` sends one request per distinct
    text that is not stored.

    Examples
    --------
    >>> from sklfusion import LLMScorer
    >>> scorer = LLMScorer("openai/gpt-5-nano", classes=["ham", "spam"]).fit(["some text"])
    >>> scorer.get_feature_names_out().tolist()
    ['llm_ham', 'llm_spam']
    >>> scorer.estimate(["one text", "another", "one text"])["requests"]
    2
    """

    _parameter_constraints: dict = SCORER_CONSTRAINTS

    def __init__(
        self,
        model: Any = DEFAULT_LLM,
        *,
        classes: Any = None,
        multilabel: bool = False,
        class_descriptions: Any = None,
        instructions: str | None = None,
        strategy: Any = "auto",
        output: str = "log_proba",
        add_indicator: bool = False,
        calibrate: str | bool = "auto",
        examples: Any = None,
        n_shots: int = 0,
        shot_selection: Any = "nearest",
        memory: Any = None,
        random_state: int | np.random.RandomState | None = None,
        verbose: int = 0,
        n_votes: int = 5,
        order_swap: bool = False,
        label_form: str = "auto",
        template: Any = None,
        **endpoint: Any,
    ) -> None:
        self.model = at_endpoint(model, endpoint, type(self).__name__, self._get_param_names())
        self.classes = classes
        self.multilabel = multilabel
        self.class_descriptions = class_descriptions
        self.instructions = instructions
        self.strategy = strategy
        self.output = output
        self.add_indicator = add_indicator
        self.calibrate = calibrate
        self.examples = examples
        self.n_shots = n_shots
        self.shot_selection = shot_selection
        self.memory = memory
        self.random_state = random_state
        self.verbose = verbose
        self.n_votes = n_votes
        self.order_swap = order_swap
        self.label_form = label_form
        self.template = template

    @whole(keep=("usage_",))
    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn the classes, the examples to choose from, and the score calibration.

        Parameters
        ----------
        X : list, array or Series of str
            Training texts.
        y : array-like, optional
            Labels. Used for the class names when ``classes`` is None, and for ``n_shots``.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If a parameter, the classes or the texts are not usable.
        ModelLoadError
            If a local model is not there.
        """
        self._fit_bias(self._fit_task(X, y))
        return self

    def transform(self, X: Any) -> Any:
        """Score texts.

        Parameters
        ----------
        X : list, array or Series of str
            Texts.

        Returns
        -------
        ndarray of shape (n, K) or (n, K + 1), float32
            Log-probabilities or probabilities, columns in the order of ``classes``; a row
            without an answer has the uniform prior. The last column is the indicator when
            ``add_indicator=True``.

        Raises
        ------
        EndpointError, BudgetExceededError, CacheMissError, ScoringFailedError
            See :meth:`annotate`.
        """
        return score_columns(
            self.annotate(X), output=self.output, add_indicator=self.add_indicator
        )

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Return ``llm_<class>`` per class, and ``llm__abstained`` with ``add_indicator=True``.

        Parameters
        ----------
        input_features : None
            Ignored; scikit-learn passes it.
        input_features : None
            Ignored; scikit-learn passes it.

        Returns
        -------
        ndarray of str
            One name per column.
        """
        check_is_fitted(self, "classes_")
        return score_names(self._declared, self.add_indicator)
