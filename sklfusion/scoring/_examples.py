"""Choosing labelled examples for a prompt, never a text's own.

Whether a text is scored in training or later, what it is shown does not depend on its own label:
rows with the same text are taken out of the pool first, and the order in which the pool is gone
through is made without labels. So scores of training texts are as honest as those of new ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.utils import check_random_state

from sklfusion._text_input import check_texts
from sklfusion._validation import check_indicator, plain_label

SELECTIONS = ("random", "nearest", "diverse")
# Beyond this many candidates per query, the balance over classes would cost more than it gives.
_CANDIDATES = 200


class ShotSelector:
    """Fixed examples, and ``n_shots`` chosen from the training texts.

    Parameters
    ----------
    examples : sequence of (text, label) or None
        Shown always, first. For multi-label a collection of labels.
    n_shots : int
        How many to choose from the training texts.
    selection : {"random", "nearest", "diverse"}
        ``"random"``: one draw for all texts, balanced over classes. ``"nearest"``: those most
        like the text, the most similar last. ``"diverse"``: one draw for all texts that covers
        the training texts (farthest points first), balanced over classes.
    classes : tuple
        Labels in column order.
    multilabel : bool
        Whether targets are sets.
    embedder : transformer, "auto" or None
        For "nearest" and "diverse": texts to vectors.
    random_state : int, RandomState or None
        Of "random" and of the first point of "diverse".
    """

    def __init__(
        self,
        examples: Any,
        n_shots: int,
        selection: str,
        *,
        classes: tuple[Any, ...],
        multilabel: bool,
        embedder: Any,
        random_state: Any,
    ) -> None:
        self.examples = examples
        self.n_shots = n_shots
        self.selection = selection
        self.classes = classes
        self.multilabel = multilabel
        self.embedder = embedder
        self.random_state = random_state

    def fit(self, texts: Sequence[str], y: Any) -> ShotSelector:
        """Check the examples and keep the labelled texts to choose from.

        Raises
        ------
        ValueError
            If an example has an unknown label, or ``n_shots`` is asked for without ``y``.
        """
        if self.selection not in SELECTIONS:
            raise ValueError(
                f"shot_selection={self.selection!r}; use one of {SELECTIONS}, or a transformer."
            )
        index = {str(label): position for position, label in enumerate(self.classes)}
        self._fixed = [self._example(item, index) for item in self.examples or ()]
        self._pool: list[str] = []
        self._targets: list[Any] = []
        if not self.n_shots:
            return self
        if y is None:
            raise ValueError(f"n_shots={self.n_shots} needs labelled texts: fit with y.")
        targets = self._read_targets(y, index)
        if len(targets) != len(texts):
            raise ValueError(f"Found {len(texts)} texts and {len(targets)} labels.")
        self._pool, self._targets = list(texts), targets
        self._vectors: Any = None
        if self.selection != "random":
            self._embedder = self._make_embedder()
            self._vectors = _unit(self._embedder.transform(self._pool))
        if self.selection != "nearest":
            self._order = self._common_order()
        return self

    def _example(self, item: Any, index: dict[str, int]) -> tuple[str, Any]:
        try:
            text, label = item
            (text,) = check_texts([text], caller="examples")
            labels = label if self.multilabel else [label]
            positions = [index[str(plain_label(one))] for one in labels]
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"examples needs (text, label) pairs with labels from {list(self.classes)!r}"
                f"{' (a list of labels each)' if self.multilabel else ''}: {error}"
            ) from None
        return text, (frozenset(positions) if self.multilabel else positions[0])

    def _read_targets(self, y: Any, index: dict[str, int]) -> list[Any]:
        if self.multilabel:
            matrix = check_indicator(y, caller="n_shots")
            return [frozenset(np.flatnonzero(row).tolist()) for row in matrix]
        return [index[str(label)] for label in np.asarray(y).tolist()]

    def _make_embedder(self) -> Any:
        if self.embedder not in (None, "auto"):
            return clone(self.embedder).fit(self._pool)
        from sklfusion.exceptions import ModelLoadError
        from sklfusion.models import find_model

        try:
            find_model("all-minilm-l6-v2")
        except ModelLoadError:
            from sklearn.feature_extraction.text import TfidfVectorizer

            return TfidfVectorizer(sublinear_tf=True).fit(self._pool)
        from sklfusion.embedding import RobertaEmbedder

        return RobertaEmbedder("all-minilm-l6-v2").fit(self._pool)

    def _common_order(self) -> list[int]:
        rng = check_random_state(self.random_state if self.random_state is not None else 0)
        n = len(self._pool)
        if self.selection == "random":
            return [int(i) for i in rng.permutation(n)]
        # Farthest point first: each next one is the least like those taken so far.
        order = [int(rng.randint(n))]
        nearest = self._similarity(order[0])
        for _ in range(min(n, _CANDIDATES) - 1):
            nearest[order] = np.inf
            order.append(int(nearest.argmin()))
            nearest = np.maximum(nearest, self._similarity(order[-1]))
        return order

    def _similarity(self, row: int) -> Any:
        product = self._vectors @ self._vectors[row].T
        dense = product.toarray() if hasattr(product, "toarray") else product
        return np.asarray(dense, dtype=float).ravel()

    @property
    def any(self) -> bool:
        """Whether there are any examples to show."""
        return bool(self._fixed or self._pool)

    def select(self, texts: Sequence[str]) -> list[list[tuple[str, Any]]]:
        """Return the examples to show with each text."""
        nearest = self.selection == "nearest" and bool(self._pool)
        orders = self._nearest(texts) if nearest else None
        out = []
        for number, text in enumerate(texts):
            own = text.strip()
            shown = [(t, target) for t, target in self._fixed if t.strip() != own]
            if self._pool:
                order = self._order if orders is None else orders[number]
                chosen = self._choose(order, own, balance=not nearest)
                # The most similar one last, next to the text.
                chosen = chosen[::-1] if nearest else chosen
                shown += [(self._pool[i], self._targets[i]) for i in chosen]
            out.append(shown)
        return out

    def _nearest(self, texts: Sequence[str]) -> list[list[int]]:
        queries = _unit(self._embedder.transform(list(texts)))
        orders = []
        for start in range(0, len(texts), 256):
            block = queries[start : start + 256] @ self._vectors.T
            block = block.toarray() if hasattr(block, "toarray") else np.asarray(block)
            # Rounded, so that noise in the last bits does not choose other examples.
            ranked = np.argsort(-np.round(block, 5), axis=1, kind="stable")
            orders += [[int(i) for i in row[:_CANDIDATES]] for row in ranked]
        return orders

    def _choose(self, order: Sequence[int], own: str, *, balance: bool) -> list[int]:
        seen = {own}
        free = []
        for i in order:
            text = self._pool[i].strip()
            if text not in seen:
                seen.add(text)
                free.append(i)
        if not balance:
            return free[: self.n_shots]
        # One of each kind of target in turn, in the common order.
        groups: dict[Any, list[int]] = {}
        for i in free:
            groups.setdefault(self._targets[i], []).append(i)
        queues = sorted(groups.values(), key=lambda rows: free.index(rows[0]))
        chosen: list[int] = []
        while queues and len(chosen) < self.n_shots:
            for queue in queues:
                chosen.append(queue.pop(0))
            queues = [queue for queue in queues if queue]
        return chosen[: self.n_shots]


def _unit(vectors: Any) -> Any:
    """Return rows of length 1 (dense or sparse)."""
    from sklearn.preprocessing import normalize

    return normalize(vectors)
