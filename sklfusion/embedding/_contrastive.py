"""Train an encoder on pairs of a few labelled texts, then fit a linear model on its vectors.

A few texts make many pairs. The encoder learns to bring texts of one class together and to turn
those of different classes at right angles. What it learnt is then read by a penalised linear
model, a convex problem that needs neither epochs nor rows to watch them.
"""

import numpy as np
import torch

from sklfusion._logistic import fit_grouped, smoothed_log_prior
from sklfusion._threads import one_thread

#: Precision of the head's coefficients on vectors of length 1 (1 / C of a logistic regression).
_HEAD_PRECISION = 0.1


class Vectors(torch.nn.Module):
    """In the place of a head: hands on the encoder's vector."""

    def forward(self, vectors, codes, answered):
        """The vectors (b, d) as they come."""
        return vectors


class PairLoss(torch.nn.Module):
    """Squared error of the cosine of every pair in a batch against what the labels share.

    The wanted cosine is 1 for equal label sets and 0 for disjoint ones; with several labels per
    text it is the Jaccard index. Pairs that share something and pairs that do not weigh the same
    in sum, however many there are of each.
    """

    def forward(self, vectors, target):
        """Loss of unit vectors (b, d) with one-hot or indicator targets (b, K)."""
        common = target @ target.T
        sizes = target.sum(dim=1)
        union = sizes[:, None] + sizes[None, :] - common
        wanted = torch.where(union > 0, common / union.clamp_min(1), 1.0)
        errors = (vectors @ vectors.T - wanted) ** 2
        others = ~torch.eye(len(target), dtype=torch.bool, device=target.device)
        parts = [errors[others & (wanted > 0)], errors[others & (wanted == 0)]]
        means = [part.mean() for part in parts if len(part)]
        return sum(means, start=vectors.sum() * 0) / max(len(means), 1)


class PairBatches:
    """Batches in which every class has company, `n_steps` of them.

    The classes take turns (labels, where a text has several; texts without any are one more
    group) and each gives two texts, until the batch is full. Few texts are one batch.

    Parameters
    ----------
    dataset : TextRows
        The texts.
    batch_size : int
        Texts per batch.
    n_steps : int
        Batches per pass.
    seed : int
        Seed of the order.
    """

    def __init__(self, dataset, batch_size, n_steps, seed):
        self.dataset = dataset
        self.batch_size = batch_size
        self.n_steps = n_steps
        self.seed = seed

    def __len__(self):
        return self.n_steps

    def __iter__(self):
        rng = np.random.RandomState(self.seed)
        target = self.dataset.target[:, :-1].numpy() > 0
        groups = [np.flatnonzero(column) for column in target.T]
        groups.append(np.flatnonzero(~target.any(axis=1)))
        groups = [_twos(group, rng) for group in groups if len(group)]
        n = len(target)
        for _ in range(self.n_steps):
            rows = range(n) if n <= self.batch_size else self._draw(groups, rng)
            yield self.dataset.batch(list(rows))

    def _draw(self, groups, rng):
        rows: dict[int, None] = {}  # a dict keeps order, and a text that has two labels comes once
        while len(rows) < self.batch_size:
            for i in rng.permutation(len(groups)):
                rows |= dict.fromkeys(next(groups[i]))
        return list(rows)[: self.batch_size]


def _twos(group, rng):
    """Two rows of a group at a time (one, if it has no more), all of them equally often."""
    left: list[int] = []
    while True:
        if len(left) < 2:
            left += [row for row in rng.permutation(group) if row not in left]
        yield left[:2]
        left = left[2:]


@one_thread()
def fit_head(vectors, target, weights, multilabel):
    """Weight (K, d) and bias (K,) of a penalised linear model on unit vectors.

    A class that no row shows keeps its smoothed frequency and is never impossible.
    """
    family = "sigmoid" if multilabel else "softmax"
    prior = smoothed_log_prior(target, weights, family)
    center = vectors.mean(axis=0)
    A = (vectors - center).astype(np.float64)
    start = np.zeros((A.shape[1], 1, target.shape[1]))
    offset = np.broadcast_to(prior, target.shape)
    coef = fit_grouped(A, offset, target, weights[:, None], family, _HEAD_PRECISION, start)[:, 0]
    return coef.T, prior - center @ coef
