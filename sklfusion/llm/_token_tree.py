"""Continuations of one state as a tree of tokens, which a causal model reads in one pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


class TokenTree:
    """Continuations of one state, merged where they begin alike."""

    def __init__(self) -> None:
        self.tokens: list[int] = []
        self.ends: list[int] = []
        self._parents: list[int] = []
        self._nodes: dict[tuple[int, int], int] = {}

    def __len__(self) -> int:
        return len(self.tokens)

    def add(self, ids: Sequence[int]) -> None:
        node = -1
        for token in ids:
            key = (node, token)
            if key not in self._nodes:
                self._nodes[key] = len(self.tokens)
                self.tokens.append(token)
                self._parents.append(node)
            node = self._nodes[key]
        self.ends.append(node)

    def visible(self) -> np.ndarray[Any, Any]:
        """Each token sees itself and what led to it, as a boolean matrix."""
        seen = np.eye(len(self.tokens), dtype=bool)
        for node, parent in enumerate(self._parents):  # parents come first
            if parent >= 0:
                seen[node] |= seen[parent]
        return seen

    def mask(self, past: int, dtype: Any) -> tuple[Any, Any]:
        """Return the attention mask and the positions of the tokens behind a state.

        Parameters
        ----------
        past : int
            Tokens of the state, which all see.
        dtype : torch.dtype
            Of the model.

        Returns
        -------
        mask : tensor of shape (1, 1, n, past + n)
            Added to the attention scores.
        positions : tensor of shape (1, n)
        """
        import torch

        visible = torch.from_numpy(self.visible())
        places = past + visible.sum(dim=1) - 1
        visible = torch.cat([torch.ones(len(self), past, dtype=torch.bool), visible], dim=1)
        mask = torch.zeros(visible.shape, dtype=dtype)
        mask = mask.masked_fill(~visible, torch.finfo(dtype).min)
        return mask[None, None], places[None]
