"""Labels as points of a simplex, noise on them, and a net that takes the noise off."""

import numpy as np
import torch
from torch import nn

_OFFSET = 1e-4


def cosine_schedule(n_steps):
    """Share of signal (alpha-bar) left at each step, shape (n_steps,): 1 first, then falling.

    Examples
    --------
    >>> from sklfusion.noise._simplex import cosine_schedule
    >>> cosine_schedule(10).round(4).tolist()[:4]
    [1.0, 0.9755, 0.9044, 0.7938]
    """
    s = np.arange(n_steps) / n_steps
    f = np.cos((s + _OFFSET) / (1 + _OFFSET) * np.pi / 2) ** 2
    return f / f[0]


def simplex_points(codes, n_classes, value):
    """Return +value at the class and -value elsewhere, shape (..., K)."""
    return 2 * value * nn.functional.one_hot(codes, n_classes).float() - value


def project(logits, value):
    """Move to the vertex of the largest logit."""
    return simplex_points(logits.argmax(dim=-1), logits.shape[-1], value)


def update_weights(weights, hits, n_resample):
    """Sharpen candidate weights by one answer of the model per row.

    A hit on candidate c turns ``w_c`` into ``w_c + (1 - w_c) / n_resample`` and divides the row
    by its new sum; a hit outside the candidates changes nothing.

    Parameters
    ----------
    weights : ndarray of shape (n, K)
        Rows that sum to 1, zero outside the candidates.
    hits : ndarray of shape (n,) of int
        The model's answers.
    n_resample : int
        Answers per row and epoch.

    Returns
    -------
    ndarray of shape (n, K)

    Notes
    -----
    One hit turns ``1 / (1 - w)`` into ``1 / (1 - w) + 1 / n_resample``, so `n_resample` hits add
    exactly 1: 0.5, 0.667, 0.75, 0.8, ...
    """
    rows = np.arange(len(weights))
    old = weights[rows, hits]
    grow = np.where(old > 0, (1 - old) / n_resample, 0.0)
    out = weights.copy()
    out[rows, hits] += grow
    return out / (1 + grow)[:, None]


class _BranchLinear(nn.Module):
    """One linear map per branch: (n, M, inputs) -> (n, M, outputs)."""

    def __init__(self, n_branches, inputs, outputs):
        super().__init__()
        bound = inputs**-0.5
        self.weight = nn.Parameter(torch.empty(n_branches, inputs, outputs))
        self.bias = nn.Parameter(torch.empty(n_branches, outputs))
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.uniform_(self.bias, -bound, bound)

    def forward(self, x):
        # batched by branch: (M, n, inputs) @ (M, inputs, outputs)
        return (x.transpose(0, 1) @ self.weight).transpose(0, 1) + self.bias


class _BranchNorm(nn.BatchNorm1d):
    """Batch normalisation of (n, M, width), each branch and column by itself."""

    def forward(self, x):
        return super().forward(x.flatten(1)).view_as(x)


class Denoisers(nn.Module):
    """M networks that predict the clean label from a noised one, evaluated together.

    Each sees the noised label, the noisy label, the features of its branch and the time.

    Parameters
    ----------
    n_branches, n_classes, feature_dim : int
        M, K, and columns of the features.
    hidden_dim : int or "trajectory"
        Width; ``"trajectory"`` is the reference's ``feature_dim``.
    n_timesteps : int
        Length of the training schedule.
    """

    def __init__(self, n_branches, n_classes, feature_dim, hidden_dim, n_timesteps):
        super().__init__()
        width = feature_dim if hidden_dim == "trajectory" else hidden_dim
        self.squeeze = width != feature_dim
        self.shape = (n_branches, n_classes, width)
        self.feature_norm = _BranchNorm(n_branches * feature_dim)
        if self.squeeze:
            self.feature_map = _BranchLinear(n_branches, feature_dim, width)
        inputs = (2 * n_classes, width, width)
        self.layers = nn.ModuleList([_BranchLinear(n_branches, i, width) for i in inputs])
        self.norms = nn.ModuleList([_BranchNorm(n_branches * width) for _ in inputs])
        self.times = nn.ModuleList(
            [nn.Embedding(n_timesteps + 1, n_branches * width) for _ in inputs]
        )
        for time in self.times:
            nn.init.uniform_(time.weight)
        self.out = _BranchLinear(n_branches, width, n_classes)

    def features(self, w):
        """Normalise (and squeeze) features of shape (n, M, D); the same for all of a chain."""
        w = self.feature_norm(w)
        return self.feature_map(w) if self.squeeze else w

    def forward(self, x, condition, features, t):
        """Return logits of shape (n, M, K); ``t`` has shape (n, M) or (1, 1)."""
        m, _, width = self.shape
        branch = torch.arange(m)
        a = torch.cat([x, condition], dim=-1)
        for i, (layer, norm, time) in enumerate(
            zip(self.layers, self.norms, self.times, strict=True)
        ):
            gain = time.weight.view(-1, m, width)[t.expand(-1, m), branch]
            a = nn.functional.softplus(norm(gain * layer(a)))
            if i == 0:
                a = a * features
        return self.out(a)


@torch.no_grad()
def reverse_chain(nets, condition, features, settings, generator, *, shared_noise=False):
    """Run the denoising chains from pure noise, conditioned on a label.

    Parameters
    ----------
    nets : Denoisers
        In evaluation mode.
    condition : tensor of shape (n, M) of int
        Label the chain is conditioned on.
    features : tensor of shape (n, M, width)
        Output of ``nets.features``.
    settings : LabelDiffusion
        Scale and lengths.
    generator : torch.Generator
        Advances with every call, so that repeated chains differ.
    shared_noise : bool
        Give all rows the same noise, so that a row's result does not depend on its company.

    Returns
    -------
    tensor of shape (n, M, K)
        The last logits.
    """
    value, n_steps = settings.simplex_value, settings.infer_timesteps
    m, n_classes, _ = nets.shape
    # shifted by one: step t leaves the noise of step t - 1 on the label, the last step none
    alpha_bar = np.r_[1.0, cosine_schedule(n_steps)]
    shape = (1 if shared_noise else len(condition), m, n_classes)
    given = simplex_points(condition, n_classes, value).to(features.dtype)

    def noise():
        return value * torch.randn(shape, generator=generator).to(features.dtype)

    x = noise().expand(len(condition), -1, -1)
    for step in range(n_steps - 1, -1, -1):
        time = step if settings.legacy else round(step / n_steps * settings.train_timesteps)
        logits = nets(x, given, features, torch.tensor([[time]]))
        keep = float(alpha_bar[step])
        vertex = project(logits, value).to(features.dtype)
        x = keep**0.5 * vertex + (1 - keep) ** 0.5 * noise()
    return logits
