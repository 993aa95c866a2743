"""`LLMScorer`: what an LLM thinks of each class, as score columns."""

import numpy as np
from sklearn.base import TransformerMixin
from sklearn.utils.validation import check_is_fitted

from sklfusion._whole import whole
from sklfusion.scoring._base import BaseLLMEstimator

# Probabilities of exactly 0 have no logarithm; this is below anything a vote of many can show.
LEAST_SCORE = 1e-6


class LLMScorer(TransformerMixin, BaseLLMEstimator):
    """Score texts with an LLM: one column per class.

    Each distinct text is asked about once. Replies are saved in the reply store (``memory``)
    before they are read, so a crash, a grid search or a second process does not pay for an answer
    that has arrived; a reply lost on its way is asked for again. A text
    without a usable answer gets the uniform prior, never an invented label.

    Parameters
    ----------
    model : str, default="local/smollm2-135m"
        ``provider/model`` (``openai/...``, ``gemini/...``, ``deepseek/...``, ``openrouter/...``,
        ``ollama/...``, ``vllm/...``), or ``local/...`` for a model in this process: an embedded
        one, a GGUF file, or a transformers folder or hub id. With ``base_url`` the endpoint's own
        name of the model.
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
        class. ``"auto"`` takes the first of logprobs, probabilities, label that the endpoint
        serves; ``annotate(X).meta["strategy"]`` tells which.
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
    shot_selection : {"nearest", "random", "diverse"}, default="nearest"
        How they are chosen.
    base_url : str, optional
        Address of any endpoint that speaks the OpenAI protocol.
    api_key_env : str, optional
        Name of the environment variable that holds the key; read when a request is sent. By
        default the provider's usual one. Endpoints on this machine need none.
    memory : None, str, Path or joblib.Memory
        Where replies are kept.
    max_concurrency : int, default=16
        Requests in flight.
    timeout : float, default=60.0
        Seconds to wait for an answer to one request.
    deadline : float, default=180.0
        Seconds for a text from its first attempt to its last.
    on_failure : {"abstain", "raise"}, default="abstain"
        What to do when texts have no answer. With "raise" the others are finished and saved
        first.
    cache_only : bool, default=False
        Never send anything; a reply that is not stored is an error.
    budget : float or dict, optional
        Largest amount of money that this object may spend, over all calls and threads, or a dict
        with "money", "tokens" or "requests". With ``memory`` it holds for all objects and
        processes that ask the same model about the same classes meanwhile. Money needs
        ``prices``.
    prices : dict or pair, optional
        ``{"input": ..., "output": ..., "cached": ...}`` per million tokens.
    random_state : int, RandomState or None
        For the choice of examples.
    verbose : int, default=0
        1 shows a progress bar with cache hits and spend, and a summary.
    n_votes : int, default=5
        Samples of ``strategy="votes"``.
    temperature : float, default=0.7
        Of ``strategy="votes"``; all else is greedy.
    order_swap : bool, default=False
        Ask twice, with the classes in both orders, and average: takes out position bias for
        twice the price.
    label_form : {"auto", "words", "ids"}, default="auto"
        Whether the model answers with the class names or with short opaque ids. "auto" takes
        ids where names are long, hold line breaks or quotes, or begin alike.
    template : PromptTemplate, optional
        Other words for the prompt.
    max_text_tokens : int or None, default=2000
        Longer texts are cut in the middle and flagged.
    requests_per_minute, tokens_per_minute : float, optional
        Pace.
    request_params : dict, optional
        Further fields of every request; None removes a field.
    shot_embedder : transformer, optional
        For "nearest" and "diverse"; by default the embedded encoder, else TF-IDF.
    texts_per_request : int, default=1
        Above 1, that many texts share a request (``strategy="label"``, no examples): cheaper,
        but a hostile text then stands beside others. Answers are taken by id; what is missing
        is asked for alone.
    service : {"realtime", "batch"}, default="realtime"
        "batch" sends what is missing through the provider's Batch API: about half the price,
        within a day. ``transform`` waits for it; when interrupted, the same call finds the
        batch again. Needs ``memory`` and an explicit ``strategy``.

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

    def __init__(
        self,
        model="local/smollm2-135m",
        *,
        classes=None,
        multilabel=False,
        class_descriptions=None,
        instructions=None,
        strategy="auto",
        output="log_proba",
        add_indicator=False,
        calibrate="auto",
        examples=None,
        n_shots=0,
        shot_selection="nearest",
        base_url=None,
        api_key_env=None,
        memory=None,
        max_concurrency=16,
        timeout=60.0,
        deadline=180.0,
        on_failure="abstain",
        cache_only=False,
        budget=None,
        prices=None,
        random_state=None,
        verbose=0,
        n_votes=5,
        temperature=0.7,
        order_swap=False,
        label_form="auto",
        template=None,
        max_text_tokens=2000,
        requests_per_minute=None,
        tokens_per_minute=None,
        request_params=None,
        shot_embedder=None,
        texts_per_request=1,
        service="realtime",
    ):
        self.model = model
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
        self.base_url = base_url
        self.api_key_env = api_key_env
        self.memory = memory
        self.max_concurrency = max_concurrency
        self.timeout = timeout
        self.deadline = deadline
        self.on_failure = on_failure
        self.cache_only = cache_only
        self.budget = budget
        self.prices = prices
        self.random_state = random_state
        self.verbose = verbose
        self.n_votes = n_votes
        self.temperature = temperature
        self.order_swap = order_swap
        self.label_form = label_form
        self.template = template
        self.max_text_tokens = max_text_tokens
        self.requests_per_minute = requests_per_minute
        self.tokens_per_minute = tokens_per_minute
        self.request_params = request_params
        self.shot_embedder = shot_embedder
        self.texts_per_request = texts_per_request
        self.service = service

    @whole(keep=("usage_",))
    def fit(self, X, y=None):
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
        texts = self._fit_task(X, y)
        if self.output not in ("log_proba", "proba"):
            raise ValueError(f"output={self.output!r}; use 'log_proba' or 'proba'.")
        self._fit_bias(texts)
        return self

    def transform(self, X):
        """Score texts.

        Parameters
        ----------
        X : list, array or Series of str
            Texts.

        Returns
        -------
        ndarray of shape (n, K) or (n, K + 1), float32
            Log-probabilities or probabilities, columns in the order of ``classes_``; a row
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

    def get_feature_names_out(self, input_features=None):
        """Return ``llm_<class>`` per class, and ``llm__abstained`` with ``add_indicator=True``."""
        check_is_fitted(self, "classes_")
        return score_names(self.classes_, self.add_indicator)


def score_columns(annotations, *, output, add_indicator):
    """Return the float32 score columns of annotations; see :meth:`LLMScorer.transform`."""
    k = len(annotations.classes)
    probs = annotations.scores()
    failed = np.isnan(probs).any(axis=1)
    probs[failed] = 0.5 if annotations.multilabel else 1.0 / k
    scores = np.log(np.clip(probs, LEAST_SCORE, 1.0)) if output == "log_proba" else probs
    if add_indicator:
        scores = np.column_stack([scores, failed])
    return scores.astype(np.float32)


def score_names(classes, add_indicator):
    """Return the names of the score columns as an object array of str."""
    names = [f"llm_{label}" for label in classes]
    return np.asarray(names + ["llm__abstained"] * bool(add_indicator), dtype=object)
