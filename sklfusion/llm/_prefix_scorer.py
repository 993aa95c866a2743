"""A causal language model whose states are at hand: shared beginnings are read once."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cached_property
from typing import Any, Self

import numpy as np

from sklfusion.llm._causal_lm import CausalLM, load_weights
from sklfusion.llm._gguf_copy import transformers_folder
from sklfusion.llm._token_tree import TokenTree

_PACKED_TOKENS = 512


class PrefixScorer(CausalLM):
    """A transformers causal language model that keeps the state of what it has read.

    There is one key-value cache. ``read`` extends it, ``rewind`` cuts it back, and ``branch``
    looks at several continuations of the same state in one forward pass: they are packed into
    one sequence, a tree whose attention mask hides its branches from each other. So a shared
    beginning is computed once, for all texts, for all questions about a text, and for questions
    that begin alike.

    Parameters
    ----------
    model, tokenizer, name
        See :class:`~sklfusion.llm._causal_lm.CausalLM`.

    Attributes
    ----------
    tokens_computed : int
        Tokens that went through the model so far.
    """

    def __init__(self, model: Any, tokenizer: Any, name: str) -> None:
        super().__init__(model, tokenizer, name)
        self.tokens_computed = 0
        self._cache: Any = None
        self._hidden: Any = None

    @classmethod
    def load(
        cls, model: str = "smollm2-135m", *, cache_dir: str | os.PathLike[str] | None = None
    ) -> Self:
        """Load an embedded model, a GGUF file or a transformers folder.

        A GGUF file takes a minute to read in transformers, so it is converted once and the copy
        (540 MB for the embedded model) kept under ``cache_dir``.

        Raises
        ------
        ModelLoadError
            If it is not there or cannot be read.
        """
        folder, name = transformers_folder(model, cache_dir)
        return cls(*load_weights(folder), name)

    @property
    def length(self) -> int:
        """Number of tokens in the state."""
        return 0 if self._cache is None else self._cache.get_seq_length()

    @property
    def hidden(self) -> np.ndarray[Any, Any]:
        """Last hidden state at the last token read, shape (D,), float32."""
        return np.asarray(self._hidden.float().cpu())

    def read(self, ids: Sequence[int]) -> None:
        """Extend the state by some tokens."""
        import torch
        from transformers import DynamicCache

        if self._cache is None:
            self._cache = DynamicCache()
        with torch.inference_mode():
            out = self._forward(torch.tensor([list(ids)], device=self.model.device))
        self._hidden = out.last_hidden_state[0, -1]
        self.tokens_computed += len(ids)

    def rewind(self, length: int) -> None:
        """Forget all but the first ``length`` tokens."""
        if length == 0:
            self._cache = None
        elif self._cache is not None and length < self.length:
            self._cache.crop(length - self.length)  # negative: how many to drop

    def branch(self, continuations: Sequence[Sequence[int]]) -> np.ndarray[Any, Any]:
        """Return the hidden state after each continuation, shape (m, D); the state stays.

        What continuations begin with alike is computed once.

        Parameters
        ----------
        continuations : list of m lists of ids
        """
        rows, tree = [], TokenTree()
        for ids in continuations:
            if len(tree) and len(tree) + len(ids) > _PACKED_TOKENS:
                rows.append(self._branch_packed(tree))
                tree = TokenTree()
            tree.add(ids)
        return np.concatenate([*rows, self._branch_packed(tree)])

    def _branch_packed(self, tree: TokenTree) -> np.ndarray[Any, Any]:
        import torch

        past = self.length
        device = self.model.device
        mask, places = tree.mask(past, self.model.dtype)
        with torch.inference_mode():
            out = self._forward(
                torch.tensor([tree.tokens], device=device),
                attention_mask=mask.to(device),
                position_ids=places.to(device),
            )
        self.rewind(past)
        self.tokens_computed += len(tree)
        return np.asarray(out.last_hidden_state[0, tree.ends].float().cpu())

    def _forward(self, tokens: Any, **kwargs: Any) -> Any:
        return self.model.base_model(
            input_ids=tokens, past_key_values=self._cache, use_cache=True, **kwargs
        )

    def logits(self, hidden: Any, ids: Any = None) -> np.ndarray[Any, Any]:
        """Return logits of hidden states (..., D), of some tokens or of the whole vocabulary."""
        weight = self._output_weight
        weight = weight if ids is None else weight[np.asarray(ids)]
        return np.asarray(np.matmul(hidden, weight.T))

    @cached_property
    def _output_weight(self) -> np.ndarray[Any, Any]:
        weight = self.model.get_output_embeddings().weight.detach()
        return np.asarray(weight.float().cpu())

    def generate(
        self, max_tokens: int, stop: str = "\n"
    ) -> tuple[list[str], list[int], list[np.ndarray[Any, Any]]]:
        """Continue greedily and return (token texts, ids, logits before each token).

        Ends at the end token, after a token that contains ``stop``, or after ``max_tokens``.
        The state is rewound to where it was.
        """
        texts: list[str] = []
        ids: list[int] = []
        steps: list[np.ndarray[Any, Any]] = []
        start, hidden = self.length, self._hidden
        while len(ids) < max_tokens:
            logits = self.logits(self.hidden)
            token = int(logits.argmax())
            if token in self._ends:
                break
            texts.append(self.decode([token]))
            ids.append(token)
            steps.append(logits)
            if stop in texts[-1] or len(ids) == max_tokens:
                break
            self.read([token])
        self.rewind(start)
        self._hidden = hidden
        return texts, ids, steps
