"""`LabelDistributionCollector`: ask a model all that the alignment methods need, once.

It joins the questions of :mod:`sklfusion.scoring._distributions` and
the endpoints, limits and reply store behind an :class:`~sklfusion.LLMScorer`.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from sklearn.base import BaseEstimator

from sklfusion._hand_over import hand_over
from sklfusion._text_input import check_texts
from sklfusion.annotations import Annotations
from sklfusion.llm._where import where_of
from sklfusion.llm.endpoint import clone_at_endpoint, endpoint_of, names_a_model
from sklfusion.prompts._questions import Questions
from sklfusion.scoring._decision_collector import DecisionCollector
from sklfusion.scoring._distributions import EndpointCollector, LocalCollector
from sklfusion.scoring._scorer import LLMScorer


class LabelDistributionCollector(BaseEstimator):
    """Collect what an LLM says about several labels into :class:`~sklfusion.Annotations`.

    Parameters
    ----------
    scorer : LLMScorer, LLMEndpoint or str
        Which model or endpoint, and how to ask. A scorer brings its classes and ``memory``; it is
        cloned, never fitted.
    classes : sequence of labels, optional
        The labels, where the scorer does not declare them.
    memory : None, str, Path or joblib.Memory
        Where replies are kept, where the scorer does not say it.
    queries : sequence of {"list", "unary", "pairs"}, default=("list", "unary")
        "list" asks for all labels at once: votes, first-step logits, step probabilities and,
        for a local model, the hidden state. "unary" asks about each label, "pairs" which of two
        fits better.
    topic : str, default="label"
        What a label is, in the singular.
    examples : sequence of (str, sequence of str), default=()
        Demonstrations: a text and its labels.
    none_label : str, default="none"
        The word for "no label".
    aliases : dict or None, default=None
        Words by which the model knows labels, for instance where first tokens collide.
    instructions : str or None, default=None
        Opening sentence; the classes of the scorer are named in the default.
    both_orders : bool, default=False
        Ask every pair both ways round, against position bias, at twice the cost.
    max_new_tokens : int, default=24
        Longest list.

    See Also
    --------
    LabelDistributionEstimator : Reads distributions out of what was collected.
    Annotations : What it returns.

    Notes
    -----
    With ``strategy="decision"`` of the scorer a decision model is asked: all queries about a text
    in one request ("unary" and "pairs"; it writes no "list").

    Queries per text: 1 for the list, K for unary, K (K + 1) / 2 for pairs. A local model reads
    the instructions once for all texts and each text once for all its queries.

    Examples
    --------
    >>> from sklfusion import LabelDistributionCollector, LLMScorer
    >>> scorer = LLMScorer("local/smollm2-135m", classes=["joy", "anger", "fear"])
    >>> LabelDistributionCollector(scorer, queries=["unary", "pairs"]).calls_per_text()
    9
    >>> LabelDistributionCollector("openai/gpt-5-nano", classes=["a", "b"]).calls_per_text()
    3
    """

    def __init__(
        self,
        scorer: Any,
        *,
        classes: Any = None,
        memory: Any = None,
        queries: Any = ("list", "unary"),
        topic: str = "label",
        examples: Any = (),
        none_label: str = "none",
        aliases: dict | None = None,
        instructions: str | None = None,
        both_orders: bool = False,
        max_new_tokens: int = 24,
    ) -> None:
        self.scorer = scorer
        self.classes = classes
        self.memory = memory
        self.queries = queries
        self.topic = topic
        self.examples = examples
        self.none_label = none_label
        self.aliases = aliases
        self.instructions = instructions
        self.both_orders = both_orders
        self.max_new_tokens = max_new_tokens

    def questions(self) -> Any:
        """Return the wording of the queries.

        Returns
        -------
        object
            With the texts of all prompts as attributes.
        """
        return Questions(
            self._told_scorer().classes,
            none_label=self.none_label,
            topic=self.topic,
            instructions=self.instructions,
            examples=tuple(self.examples),
            aliases=dict(self.aliases or {}),
        )

    def _told_scorer(self):
        """Return the unfitted scorer, which knows the classes and the memory."""
        told = {"classes": self.classes, "memory": self.memory}
        if names_a_model(self.scorer):
            return LLMScorer(self.scorer, **told)
        return hand_over(self.scorer, caller=type(self).__name__, role="scorer", **told)

    def calls_per_text(self) -> int:
        """Return how many queries one text costs.

        Returns
        -------
        int
            Queries.
        """
        if self._told_scorer().strategy == "decision":
            return self._decision_collector(self._told_scorer()).calls_per_text()
        return self._endpoint_collector(None).calls_per_text()

    def annotate(self, texts: Any) -> Annotations:
        """Ask about texts.

        Parameters
        ----------
        texts : list of str

        Returns
        -------
        Annotations
            Multi-label. Rows that the endpoint did not answer keep their status.

        Raises
        ------
        ValueError
            If two labels begin with the same token.
        EndpointError, BudgetExceededError, CacheMissError
            As :meth:`LLMScorer.annotate`; what was answered before is in the reply store.
        """
        texts = check_texts(texts, caller=type(self).__name__)
        scorer = clone_at_endpoint(self._told_scorer())
        scorer.set_params(multilabel=True, calibrate=False, n_shots=0)
        scorer._fit_task(texts, None)
        if scorer.strategy == "decision":
            return self._decision_collector(scorer).annotate(texts)
        if scorer._is_local():
            return self._local_collector(scorer).annotate(texts)
        return self._endpoint_collector(scorer).annotate(texts)

    def _local_collector(self, scorer):
        from sklfusion.replies import open_store

        store = open_store(scorer.memory)
        return LocalCollector(
            _load_local(endpoint_of(scorer).model.partition("/")[2], scorer.memory),
            self.questions(),
            queries=self.queries,
            both_orders=self.both_orders,
            max_new_tokens=self.max_new_tokens,
            store=None if store is None else _TextStore(store),
            cache_only=endpoint_of(scorer).cache_only,
        )

    def _decision_collector(self, scorer):
        return DecisionCollector(
            scorer, self.questions(), queries=self.queries, both_orders=self.both_orders
        )

    def _endpoint_collector(self, scorer):
        return EndpointCollector(
            None if scorer is None else _Ask(scorer),
            self.questions(),
            queries=self.queries,
            both_orders=self.both_orders,
            max_new_tokens=self.max_new_tokens,
            name=endpoint_of(self._told_scorer()).model,
        )


def _load_local(model, memory):
    """Return the causal language model of this process; it is heavy, so there is one of each."""
    from sklfusion.llm._loaded import load_once
    from sklfusion.llm._prefix_scorer import PrefixScorer

    location = getattr(memory, "location", memory)
    return load_once(("states", model), lambda: PrefixScorer.load(model, cache_dir=location))


class _TextStore:
    """The reply store as a store of plain texts."""

    def __init__(self, store):
        self._store = store

    def get_many(self, keys):
        replies = self._store.get_many(list(keys))
        return {key: reply.contents[0] for key, reply in replies.items()}

    def put(self, key, text):
        from sklfusion._chat import Reply

        self._store.put(key, Reply((text,)))


class _Ask:
    """Answers chat requests through the back end, the limits and the store of a scorer."""

    def __init__(self, scorer):
        self._scorer = scorer

    def __call__(self, requests):
        from sklfusion._chat import ChatRequest
        from sklfusion.llm._job import Job

        where = where_of(self._scorer)
        origin, model, token_field = where.resolve()
        jobs = []
        for messages, params in requests:
            params = {**params, **where.request_params}
            params[token_field] = params.pop("max_tokens")
            jobs.append(Job(ChatRequest(origin, model, messages, params), _read_reply))
        self._scorer._session().execute(jobs)
        return [job.answer if job.ok else _failure(job.fault) for job in jobs]


def _read_reply(reply):
    """Take a reply that can be read; refusals and missing log-probabilities are told apart."""
    from sklfusion.prompts import ReplyError

    if reply.refusal:
        raise ReplyError("refusal")
    if not reply.logprobs or not reply.logprobs[0].top:
        raise ReplyError("no_logprobs")
    return reply


def _failure(fault):
    from sklfusion.scoring._to_annotations import status_of

    return SimpleNamespace(status=status_of(fault.cause))
