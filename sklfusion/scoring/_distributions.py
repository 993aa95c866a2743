"""Ask a model what the alignment methods need, and put it into `Annotations`.

Nothing here knows an endpoint, a client or a reply store. `LocalCollector` takes a runtime with
a state (:class:`~sklfusion.llm._prefix_scorer.PrefixScorer` or anything like it), and
`EndpointCollector` a function that answers chat requests; both have ``annotate(texts)``, so
they fit into ``LabelDistributionEstimator(annotator=...)``.
"""

import hashlib
import json

import numpy as np
from scipy.special import softmax

from sklfusion._text_input import check_texts, distinct
from sklfusion.annotations import Annotations
from sklfusion.exceptions import CacheMissError
from sklfusion.prompts._first_tokens import (
    first_token_ids,
    label_logits,
    label_start_probabilities,
    scores_from_top,
)
from sklfusion.prompts._label_lists import label_starts, parse_label_list

#: What can be asked: one list of labels, each label by itself, each pair of labels.
QUERIES = ("list", "unary", "pairs")


class QueryCollector:
    """What both collectors share: which queries, distinct texts, and the assembly."""

    model_name: str

    def __init__(self, questions, queries, both_orders, max_new_tokens):
        unknown = set(queries) - set(QUERIES)
        if unknown or not queries:
            raise ValueError(f"queries={queries!r}; use some of {QUERIES}.")
        self.questions = questions
        self.queries = tuple(q for q in QUERIES if q in queries)
        self.both_orders = both_orders
        self.max_new_tokens = max_new_tokens

    def annotate(self, texts):
        """Ask everything about every distinct text once.

        Parameters
        ----------
        texts : list of str

        Returns
        -------
        Annotations
            Multi-label; ``meta`` counts queries.
        """
        texts = check_texts(texts, caller=type(self).__name__)
        different, places = distinct(texts)
        records = self._records(different)  # type: ignore[attr-defined]
        return self._assemble([records[place] for place in places])

    def calls_per_text(self):
        """Return how many questions one text is asked."""
        k = len(self.questions.labels)
        costs = {"list": 1, "unary": k, "pairs": len(self.questions.pairs(self.both_orders))}
        return sum(costs[query] for query in self.queries)

    def _assemble(self, records):
        k = len(self.questions.labels)
        fields: dict[str, list] = {"status": [r["status"] for r in records]}
        if "list" in self.queries:
            empty = {"votes": [np.nan] * k, "first": [np.nan] * (k + 1), "steps": []}
            rows = [
                {**empty, **{key: v for key, v in r.items() if v is not None}} for r in records
            ]
            fields["votes"] = [r["votes"] for r in rows]
            fields["first_step_logits"] = [r["first"] for r in rows]
            fields["step_probs"] = [np.reshape(r["steps"], (-1, k + 1)) for r in rows]
            if any("hidden" in r for r in records):
                width = len(next(r["hidden"] for r in records if "hidden" in r))
                fields["hidden"] = [r.get("hidden", [np.nan] * width) for r in records]
        if "unary" in self.queries:
            fields["unary_logits"] = [r.get("unary", [[np.nan] * 2] * k) for r in records]
        if "pairs" in self.queries:
            ends = self.questions.pairs(self.both_orders)
            fields["pair_probs"] = [
                np.column_stack([ends, r.get("pairs", [np.nan] * len(ends))]) for r in records
            ]
        meta = {
            "model": self.model_name,
            "queries": list(self.queries),
            "calls_per_text": self.calls_per_text(),
        }
        return Annotations(self.questions.labels, multilabel=True, meta=meta, **fields)

    def _list_record(self, said, tokens, scores):
        """What one generated list gives; ``scores`` has a row of K + 1 per token, at least one."""
        starts = label_starts(tokens)
        votes = parse_label_list(said, self.questions.words, self.questions.none_label)
        return {
            "votes": [0.0] * len(self.questions.labels) if votes is None else votes.tolist(),
            "first": scores[starts[0] if starts else 0].tolist(),
            "steps": label_start_probabilities(tokens, scores).tolist(),
        }


class LocalCollector(QueryCollector):
    """Collect from a causal language model in this process.

    The instructions are read once for all texts and each text once for all questions; answers
    are the same as if every question were asked from the start, to rounding.

    Parameters
    ----------
    runtime : PrefixScorer or alike
        Needs ``name``, ``length``, ``hidden``, ``tokenize``, ``read``, ``rewind``, ``branch``,
        ``logits`` and ``generate``.
    questions : Questions
        Labels and wording.
    queries : sequence of {"list", "unary", "pairs"}, default=("list", "unary")
        "list" gives votes, first-step logits, step probabilities and the hidden state.
    both_orders : bool, default=True
        Ask every pair both ways round, against position bias.
    max_new_tokens : int, default=24
        Longest generated list.
    max_text_tokens : int, default=256
        Longer texts are cut.
    store : object or None, default=None
        Keeps what was computed: ``get_many(keys) -> {key: str}`` and ``put(key, str)``.
    cache_only : bool, default=False
        Raise instead of computing what the store does not hold.
    reuse : bool, default=True
        False reads everything anew for every question: slow, to measure what reuse saves.

    Raises
    ------
    ValueError
        If two labels, or the two answers, begin with the same token.
    CacheMissError
        If ``cache_only`` and something is not in the store.
    """

    def __init__(
        self,
        runtime,
        questions,
        *,
        queries=("list", "unary"),
        both_orders=True,
        max_new_tokens=24,
        max_text_tokens=256,
        store=None,
        cache_only=False,
        reuse=True,
    ):
        super().__init__(questions, queries, both_orders, max_new_tokens)
        self.runtime = runtime
        self.max_text_tokens = max_text_tokens
        self.store = store
        self.cache_only = cache_only
        self.reuse = reuse
        self.model_name = runtime.name
        self._label_ids = first_token_ids(runtime.tokenize, questions.options)
        self._answer_ids = first_token_ids(runtime.tokenize, questions.answers)
        self._prefix = runtime.tokenize(questions.prefix())

    def _records(self, texts):
        keys = {(t, q): self._key(t, q) for t in texts for q in self.queries}
        known = self.store.get_many(keys.values()) if self.store is not None else {}
        if self.cache_only and len(known) < len(set(keys.values())):
            raise CacheMissError(
                f"{len(set(keys.values())) - len(known)} of {len(keys)} answers of "
                f"{self.model_name} are not in the store and cache_only=True."
            )
        records = []
        for text in texts:
            record = {"status": "ok"}
            missing = []
            for query in self.queries:
                if keys[text, query] in known:
                    record.update(json.loads(known[keys[text, query]]))
                else:
                    missing.append(query)
            for query, part in self._ask(text, missing):
                if self.store is not None:
                    self.store.put(keys[text, query], json.dumps(part))
                record.update(part)
            records.append(record)
        return records

    def _key(self, text, query):
        extra = {"list": self.max_new_tokens, "pairs": self.both_orders}.get(query)
        content = [
            "alignment", self.runtime.name, self.questions.fingerprint(), query, extra,
            self.max_text_tokens, list(self.questions.options), text,
        ]  # fmt: skip
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()

    def _ask(self, text, queries):
        """Yield (query, part of the record) for one text."""
        if not queries:
            return
        lm, ids = self.runtime, self.runtime.tokenize(self.questions.text(text))
        ids = ids[: self.max_text_tokens]
        if self.reuse:
            if getattr(lm, "prefix_owner", None) is not self:  # the state is someone else's
                lm.rewind(0)
                lm.read(self._prefix)
                lm.prefix_owner = self
            lm.rewind(len(self._prefix))
        self._context = [*self._prefix, *ids]
        for query in queries:
            yield query, getattr(self, f"_ask_{query}")()
        if not self.reuse:
            lm.prefix_owner = None

    def _ask_list(self):
        lm = self.runtime
        whole = [*self._context, *lm.tokenize(self.questions.list())]
        if not self.reuse:
            lm.rewind(0)
        lm.read(whole[lm.length :])
        hidden = lm.hidden
        tokens, _, logits = lm.generate(self.max_new_tokens)
        scores = label_logits(np.stack(logits or [lm.logits(hidden)]), self._label_ids)
        lm.rewind(len(self._context))
        record = self._list_record("".join(tokens), tokens, scores)
        return {**record, "hidden": np.round(hidden, 5).tolist()}

    def _ask_unary(self):
        continuations = [
            self.runtime.tokenize(self.questions.judge(word)) for word in self.questions.words
        ]
        wanted = sorted({i for own in self._answer_ids for i in own})
        places = [[wanted.index(i) for i in own] for own in self._answer_ids]
        logits = self.runtime.logits(self._after(continuations), wanted)
        return {"unary": label_logits(logits, places).tolist()}

    def _ask_pairs(self):
        options = self.questions.options
        ends = self.questions.pairs(self.both_orders)
        continuations = [
            self.runtime.tokenize(self.questions.compare(options[i], options[j])) for i, j in ends
        ]
        wanted = sorted({i for own in self._label_ids for i in own})
        places = [[wanted.index(i) for i in own] for own in self._label_ids]
        scores = label_logits(self.runtime.logits(self._after(continuations), wanted), places)
        rows = np.arange(len(ends))
        i, j = np.array(ends).T
        return {"pairs": softmax([scores[rows, i], scores[rows, j]], axis=0)[0].tolist()}

    def _after(self, continuations):
        """Hidden states after each continuation of the text."""
        if self.reuse:
            if self.runtime.length < len(self._context):
                self.runtime.read(self._context[self.runtime.length :])
            return self.runtime.branch(continuations)
        states = []
        for ids in continuations:
            self.runtime.rewind(0)
            self.runtime.read([*self._context, *ids])
            states.append(self.runtime.hidden)
        return np.stack(states)


class EndpointCollector(QueryCollector):
    """Collect from a chat endpoint that returns log-probabilities.

    Parameters
    ----------
    ask : callable
        ``ask(requests) -> list of replies``: requests are (messages, params) with messages a
        tuple of (role, content); a reply has ``contents`` and ``logprobs`` (tokens with
        ``token``, ``logprob`` and ``top``), or is None, or has a ``status`` other than "ok",
        where no answer came. Caching, retries and limits are its business.
    questions : Questions
        Labels and wording.
    queries : sequence of {"list", "unary", "pairs"}, default=("list",)
        What to ask; mind the price, see ``calls_per_text``.
    both_orders : bool, default=False
        Ask every pair both ways round.
    max_new_tokens : int, default=24
        Longest generated list.
    top_logprobs : int, default=20
        Alternatives asked for at each position; most endpoints allow 20.
    name : str, default="endpoint"
        Name of the model, for ``meta``.
    """

    def __init__(
        self,
        ask,
        questions,
        *,
        queries=("list",),
        both_orders=False,
        max_new_tokens=24,
        top_logprobs=20,
        name="endpoint",
    ):
        super().__init__(questions, queries, both_orders, max_new_tokens)
        self.ask = ask
        self.top_logprobs = top_logprobs
        self.model_name = name

    def requests(self, text):
        """Return the chat requests about one text as (query, (messages, params))."""
        q = self.questions
        found = []
        if "list" in self.queries:
            found.append(("list", self._request(text, q.list(), self.max_new_tokens, q.options)))
        if "unary" in self.queries:
            found += [
                ("unary", self._request(text, q.judge(word), 1, q.answers)) for word in q.words
            ]
        if "pairs" in self.queries:
            for i, j in q.pairs(self.both_orders):
                two = (q.options[i], q.options[j])
                found.append(("pairs", self._request(text, q.compare(*two), 1, two)))
        return found

    def _request(self, text, question, max_tokens, words):
        # The shared part and then the text come first, so that providers can reuse both.
        told = "Answer with words of this list, separated by commas, and nothing else:"
        if max_tokens == 1:
            told = "Answer with one word of this list and nothing else:"
        listed = "\n".join(f"- {word}" for word in words)
        messages = (
            ("system", f"{self.questions.prefix()}\n\n{told}\n{listed}"),
            ("user", (self.questions.text(text) + question).strip("\n")),
        )
        params = {
            "temperature": 0,
            "max_tokens": max_tokens,
            "logprobs": True,
            "top_logprobs": self.top_logprobs,
        }
        return messages, params

    def _records(self, texts):
        plan = [(t, query, request) for t in texts for query, request in self.requests(t)]
        replies = self.ask([request for _, _, request in plan])
        by_text: dict[str, dict[str, list]] = {
            text: {query: [] for query in self.queries} for text in texts
        }
        for (text, query, _), reply in zip(plan, replies, strict=True):
            by_text[text][query].append(reply)
        return [self._record(by_text[text]) for text in texts]

    def _record(self, replies):
        record = {"status": "ok"}
        for query, answers in replies.items():
            status = next((s for s in map(_status_of_reply, answers) if s != "ok"), "ok")
            if status != "ok":
                return {"status": status}
            record.update(getattr(self, f"_read_{query}")(answers))
        return record

    def _read_list(self, answers):
        (reply,) = answers
        tokens = [t.token for t in reply.logprobs]
        scores = np.array([scores_from_top(t.top, self.questions.options) for t in reply.logprobs])
        return self._list_record(reply.contents[0] or "", tokens, scores)

    def _read_unary(self, answers):
        answer = [scores_from_top(r.logprobs[0].top, self.questions.answers) for r in answers]
        return {"unary": np.array(answer).tolist()}

    def _read_pairs(self, answers):
        options = self.questions.options
        shares = []
        for (i, j), reply in zip(self.questions.pairs(self.both_orders), answers, strict=True):
            first, second = scores_from_top(reply.logprobs[0].top, [options[i], options[j]])
            shares.append(float(softmax([first, second])[0]))
        return {"pairs": shares}


def _status_of_reply(reply):
    """What became of a request: "ok" only with log-probabilities to read."""
    if reply is None:
        return "transport_error"
    status = getattr(reply, "status", "ok")
    if status != "ok":
        return status
    if getattr(reply, "refusal", None):
        return "refused"
    return "ok" if reply.logprobs and reply.logprobs[0].top else "parse_error"
