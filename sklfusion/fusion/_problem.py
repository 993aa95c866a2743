"""What every part of a fit is asked: targets, row weights, folds and link, in one object."""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from sklfusion._logistic import mean_loss, row_losses, smoothed_log_prior


@dataclass(frozen=True)
class Problem:
    """Targets and folds of one fit.

    Parameters
    ----------
    Y : ndarray of shape (n, K)
        Targets, 0 and 1 (or rates between).
    weights : ndarray of shape (n,)
        Row weights.
    folds : ndarray of shape (n,) of int
        Fold of each row.
    family : {"softmax", "sigmoid"}
        Link: one class per row, or independent labels.
    texts : ndarray of shape (n,) of int, optional
        Number of each row's text, where some are the same.
    levels : ndarray of shape (K,), optional
        Place of each class on a line, where classes are ordered.
    """

    Y: np.ndarray
    weights: np.ndarray
    folds: np.ndarray
    family: str
    texts: np.ndarray | None = None
    levels: np.ndarray | None = None

    @cached_property
    def log_prior(self):
        """Logit of the class frequencies, shape (K,); evidence is what is added to it."""
        return smoothed_log_prior(self.Y, self.weights, self.family)

    @property
    def offset(self):
        """The same for every row, shape (n, K)."""
        return np.broadcast_to(self.log_prior, self.Y.shape)

    @cached_property
    def masks(self):
        """Training weights per fold plus one column for all rows, shape (n, F + 1)."""
        keep = self.folds[:, None] != np.arange(self.folds.max() + 1)[None, :]
        return np.hstack([keep * self.weights[:, None], self.weights[:, None]])

    def only(self, rows):
        """The same problem with no weight on rows outside of the boolean mask ``rows``.

        It keeps the class frequencies of all rows.
        """
        part = replace(self, weights=self.weights * rows)
        part.__dict__["log_prior"] = self.log_prior
        return part

    def of_own_text(self, values):
        """Sum of values (n,) or (n, K) over the rows of the same text, for each row."""
        if self.texts is None:
            return values
        sums = np.zeros((self.texts.max() + 1, *values.shape[1:]))
        np.add.at(sums, self.texts, values)
        return sums[self.texts]

    def held_out(self, A, W):
        """Product of each row of A (n, d) with the coefficients (d, F + 1, K) that left it out."""
        product = np.empty((len(A), W.shape[2]))
        for fold in range(self.folds.max() + 1):
            rows = self.folds == fold
            product[rows] = A[rows] @ W[:, fold, :]
        return product

    def losses(self, evidence):
        """Log-loss per row of evidence (n, K), shape (n,)."""
        return row_losses(self.log_prior + evidence, self.Y, self.family)

    def loss(self, evidence):
        """Weighted mean log-loss of evidence (n, K)."""
        return mean_loss(evidence, self.Y, self.weights, self.log_prior, self.family)
