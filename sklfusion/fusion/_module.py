"""`FusionMLP`: the torch module that fuses encoder features with LLM scores."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch import nn

_ACTIVATIONS = {"relu": nn.ReLU, "gelu": nn.GELU, "tanh": nn.Tanh, "silu": nn.SiLU}


class SeededDropout(nn.Module):
    """Dropout that draws from its own generator and leaves torch's global one alone."""

    def __init__(self, p):
        super().__init__()
        self.p = p
        self.generator = None

    def forward(self, x):
        """Zero a share p of the entries in training mode and rescale the rest."""
        if not self.training or self.p == 0:
            return x
        keep = torch.empty(x.shape, dtype=x.dtype)
        if self.generator is None:
            keep.bernoulli_(1 - self.p)
        else:
            keep.bernoulli_(1 - self.p, generator=self.generator)
        return x * keep.to(x.device) / (1 - self.p)

    def __getstate__(self):
        return {**super().__getstate__(), "generator": None}


class FusionMLP(nn.Module):
    """Fuse encoder features with coded LLM scores into class logits.

    ``anchor=False`` is the network of LabelFusion: the blocks are concatenated and pass through
    a small MLP. ``anchor=True`` adds linear evidence per source::

        logits = prior + a * (E @ probe) + sum_m b_m * (Z_m @ table_m) + mix + residual MLP

    whose parameters :class:`FusionClassifier` sets in closed form or by convex optimisation, and
    which ``partial_fit`` then trains like any other parameter.

    Parameters
    ----------
    n_encoder : int
        Columns of the scaled encoder features; 0 for none.
    block_sizes : tuple of int
        Columns of the coded scores of each LLM.
    n_classes : int
        K.
    hidden_layer_sizes : tuple of int
        Widths of the hidden layers; ``()`` is a linear head.
    activation : {"relu", "gelu", "tanh", "silu"}
        Non-linearity.
    dropout : float
        Dropout rate after each hidden layer.
    anchor : bool
        Whether there is linear evidence per source.
    mlp : bool
        Whether there is an MLP; with ``anchor`` it is the residual, and starts at zero.
    mix : bool
        Whether there is a mixing matrix (``anchor`` only).
    trust_by_label : bool
        Whether the trusts a and b_m are vectors, one value per class (``anchor`` only).
    input_scale : array of shape (n_inputs,), optional
        Factor per input column of the MLP, so that no block drowns another.
    seed : int
        Seed of the initial weights; the global generator is not touched.

    See Also
    --------
    FusionClassifier : The classifier around it.

    Notes
    -----
    ``forward`` takes ``encoder`` (n, n_encoder), ``codes`` (n, sum of block_sizes) and
    ``answered`` (n, number of blocks), 0 where an LLM gave no answer. ``offset`` (n, K), when
    given, replaces the anchored part: that is how the residual is trained on out-of-fold logits.

    Examples
    --------
    >>> import torch
    >>> from sklfusion import FusionMLP
    >>> module = FusionMLP(8, (3,), 3, anchor=False)
    >>> encoder, codes, answered = torch.zeros(2, 8), torch.zeros(2, 3), torch.ones(2, 1)
    >>> tuple(module(encoder, codes, answered).shape)
    (2, 3)
    """

    def __init__(
        self,
        n_encoder: int,
        block_sizes: tuple[int, ...] = (),
        n_classes: int = 2,
        *,
        hidden_layer_sizes: tuple[int, ...] = (64, 32),
        activation: str = "relu",
        dropout: float = 0.1,
        anchor: bool = False,
        mlp: bool = True,
        mix: bool = False,
        trust_by_label: bool = False,
        input_scale: Any = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if activation not in _ACTIVATIONS:
            raise ValueError(
                f"FusionMLP got activation={activation!r}; it must be one of {list(_ACTIVATIONS)}."
            )
        self.n_encoder = n_encoder
        self.block_sizes = tuple(block_sizes)
        self.n_classes = n_classes
        self.trust_by_label = trust_by_label
        generator = torch.Generator().manual_seed(seed)
        self.mlp: Any = (
            self._make_mlp(hidden_layer_sizes, activation, dropout, generator, anchor)
            if mlp
            else None
        )
        self.anchor = self._make_anchor(mix) if anchor else None
        scale = torch.ones(1) if input_scale is None else torch.as_tensor(input_scale)
        self.register_buffer("input_scale", scale.float())

    def _make_mlp(self, hidden, activation, dropout, generator, zero_last):
        # one more column per LLM says whether it answered
        widths = [self.n_encoder + sum(self.block_sizes) + len(self.block_sizes), *hidden]
        layers = []
        for wide, narrow in pairwise(widths):
            layers += [
                _linear(wide, narrow, generator),
                _ACTIVATIONS[activation](),
                SeededDropout(dropout),
            ]
        last = _linear(widths[-1], self.n_classes, generator)
        if zero_last:
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)
        return nn.Sequential(*layers, last)

    def _make_anchor(self, mix):
        k, total = self.n_classes, sum(self.block_sizes)
        each = (k,) if self.trust_by_label else ()
        trust_llm = torch.ones(len(self.block_sizes), *each)
        parameters = {"bias": torch.zeros(k), "trust_llm": trust_llm}
        if self.n_encoder:
            parameters |= {
                "trust_encoder": torch.full((1, *each), 0.5),
                "probe": torch.zeros(self.n_encoder, k),
                "probe_bias": torch.zeros(k),
            }
        for m, size in enumerate(self.block_sizes):
            parameters |= {f"table_{m}": torch.zeros(size, k), f"table_bias_{m}": torch.zeros(k)}
        if mix:
            parameters["mix"] = torch.zeros((k if self.n_encoder else 0) + total, k)
        return nn.ParameterDict({name: nn.Parameter(value) for name, value in parameters.items()})

    def contributions(self, encoder: Any, codes: Any, answered: Any) -> Any:
        """Return the logits that each part adds; they sum to the logits.

        Parameters
        ----------
        encoder : tensor of shape (n, d)
            Scaled features of the encoder.
        codes : tensor of shape (n, sum of ``block_sizes``)
            Coded scores of the LLMs, side by side.
        answered : tensor of shape (n, number of blocks)
            1 where the LLM answered, else 0.

        Returns
        -------
        list of (str, tensor of shape (n, K))
            Name and logits of each part.
        """
        parts, mixed = [], []
        if self.anchor is not None:
            anchor = self.anchor
            parts.append(("prior", anchor["bias"].expand(codes.shape[0], -1)))
            if self.n_encoder:
                evidence = encoder @ anchor["probe"] + anchor["probe_bias"]
                mixed.append(evidence)
                parts.append(("encoder", anchor["trust_encoder"] * evidence))
            for m, block in enumerate(codes.split(self.block_sizes, dim=1)):
                evidence = block @ anchor[f"table_{m}"] + anchor[f"table_bias_{m}"]
                evidence = evidence * answered[:, m : m + 1]
                mixed.append(block * answered[:, m : m + 1])
                parts.append((f"block_{m}", anchor["trust_llm"][m] * evidence))
            if "mix" in anchor:
                parts.append(("mix", torch.cat(mixed, dim=1) @ anchor["mix"]))
        if self.mlp is not None:
            parts.append(("mlp", self._residual(encoder, codes, answered)))
        return parts

    def _residual(self, encoder, codes, answered):
        return self.mlp(torch.cat([encoder, codes, 1 - answered], dim=1) * self.input_scale)

    def forward(self, encoder: Any, codes: Any, answered: Any, offset: Any = None) -> Any:
        """Return class logits.

        Parameters
        ----------
        encoder : tensor of shape (n, d)
            Scaled features of the encoder.
        codes : tensor of shape (n, sum of ``block_sizes``)
            Coded scores of the LLMs, side by side.
        answered : tensor of shape (n, number of blocks)
            1 where the LLM answered, else 0.
        offset : tensor of shape (n, K), optional
            Added to the logits.

        Returns
        -------
        tensor of shape (n, K)
            Logits.
        """
        if offset is not None:
            return offset + self._residual(encoder, codes, answered)
        return sum(part for _, part in self.contributions(encoder, codes, answered))


def _linear(wide, narrow, generator):
    """A linear layer with torch's usual initial law, drawn from ``generator``."""
    layer = nn.utils.skip_init(nn.Linear, wide, narrow)
    bound = max(wide, 1) ** -0.5
    with torch.no_grad():
        layer.weight.uniform_(-bound, bound, generator=generator)
        layer.bias.uniform_(-bound, bound, generator=generator)
    return layer
