"""Label distributions from a decision model: every question about a text in one request."""

from __future__ import annotations

from typing import Any

import numpy as np

from sklfusion.llm._where import where_of
from sklfusion.llm.endpoint import endpoint_of
from sklfusion.scoring._distributions import QueryCollector
from sklfusion.scoring._to_annotations import status_of

#: A probability is kept this far from 0 and 1 before its logarithm is taken.
_SHY_OF_CERTAIN = 1e-6


class DecisionCollector(QueryCollector):
    """Collect from an endpoint that answers typed questions.

    Parameters
    ----------
    scorer : LLMScorer
        Where to ask; fitted where texts are annotated.
    questions : Questions
        Labels and wording.
    queries : sequence of {"unary", "pairs"}
        A predicate for every label; a choice between every two.
    both_orders : bool
        Ask every pair both ways round.

    Raises
    ------
    ValueError
        If a list is wanted, which such a model does not write.
    """

    def __init__(self, scorer, questions, *, queries, both_orders=False):
        if "list" in queries:
            raise ValueError(
                f"queries={tuple(queries)!r} with strategy='decision': such a model writes no "
                "list. Set queries=['unary'], or ['unary', 'pairs']."
            )
        super().__init__(questions, queries, both_orders, max_new_tokens=0)
        self.scorer = scorer
        self.model_name = endpoint_of(scorer).model

    def typed_questions(self):
        """Return the questions about one text: those about labels, then those about pairs."""
        told, words = self.questions.prefix(), self.questions
        found: list[dict[str, Any]] = []
        if "unary" in self.queries:
            found += [
                {"type": "predicate", "instructions": f"{told}\n{_unbegun(words.judge(word))}"}
                for word in words.words
            ]
        for i, j in words.pairs(self.both_orders) if "pairs" in self.queries else ():
            two = (words.options[i], words.options[j])
            found.append(
                {
                    "type": "choice",
                    "instructions": f"{told}\n{_unbegun(words.compare(*two))}",
                    "choices": [{"value": word} for word in two],
                }
            )
        return tuple(found)

    def calls_per_text(self):
        """Return how many requests one text costs."""
        most = where_of(self.scorer).decision_settings()["most_questions"]
        return -(-len(self.typed_questions()) // most)

    def _records(self, texts):
        places = self.scorer._texts(texts)
        session = self.scorer._session(asked=self.typed_questions())
        try:
            session.ask(places)
        finally:
            session.call.meter.close()
        return [self._record(places, place) for place in places.rows_of]

    def _record(self, texts, place):
        row, record = texts.rows[place], {"status": status_of(texts.causes.get(place))}
        if row is None:
            return record
        k = len(self.questions.words) * ("unary" in self.queries)
        if k:
            yes = np.clip(row.probs[:k], _SHY_OF_CERTAIN, 1 - _SHY_OF_CERTAIN)
            record["unary"] = np.log(np.column_stack([yes, 1 - yes])).tolist()
        if "pairs" in self.queries:
            record["pairs"] = row.probs[k:].tolist()
        return record


def _unbegun(asked: str) -> str:
    """Return a question without the beginning of its answer."""
    return asked.strip().removesuffix("Answer:").rstrip()
