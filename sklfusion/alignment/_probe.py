"""A linear probe for soft targets: K logistic regressions fitted together."""

import numpy as np
from scipy.special import expit
from sklearn.decomposition import PCA
from sklearn.model_selection import KFold
from sklearn.preprocessing import StandardScaler

from sklfusion._logistic import fit_labels
from sklfusion._threads import one_thread
from sklfusion._validation import check_cells

# Inverse ridges that "auto" tries.
_RIDGES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
# Ridge of the intercepts: as good as none, but finite where a label has no positives.
_TRACE = 1e-3


class LinearProbe:
    """Standardise, keep the leading components, and fit K ridge logistic regressions.

    Parameters
    ----------
    C : float or "auto"
        Inverse strength of the ridge, as in ``LogisticRegression``. "auto" takes the value of
        least cross-validated loss out of six.
    n_components : int, "auto" or None
        Components kept; "auto" is max(D // 4, 512) as in the paper, capped by the data. None
        keeps all.
    random_state : int, RandomState instance or None
        For the folds and the decomposition.
    """

    def __init__(self, C="auto", n_components="auto", random_state=None):
        self.C = C
        self.n_components = n_components
        self.random_state = random_state

    def fit(self, X, Y):
        """Fit to features (n, D) and rates (n, K)."""
        X = check_cells(np.asarray(X, dtype=np.float64), caller="LinearProbe")
        with one_thread(X):
            return self._fit(X, Y)

    def _fit(self, X, Y):
        self.scaler = StandardScaler().fit(X)
        Z = self.scaler.transform(X)
        wanted = max(X.shape[1] // 4, 512) if self.n_components == "auto" else self.n_components
        # A ridge does not see directions without data, so fewer texts than features are turned
        # into their own space: the same probe, in fewer unknowns.
        wanted = min(Z.shape) if wanted is None else min(wanted, *Z.shape)
        self.reducer = None
        if wanted < Z.shape[1]:
            self.reducer = PCA(wanted, random_state=self.random_state).fit(Z)
            Z = self.reducer.transform(Z)
        self.C_ = self._choose(Z, Y) if self.C == "auto" else float(self.C)
        self.coef, self.intercept = fit_ridge_logistic(Z, Y, self.C_)
        return self

    def _choose(self, Z, Y):
        if len(Z) < 10:
            return 1e-2
        folds = KFold(min(5, len(Z) // 2), shuffle=True, random_state=self.random_state)
        splits = list(folds.split(Z))
        starts: list = [None] * len(splits)
        losses: list[float] = []
        for C in _RIDGES:
            losses.append(0.0)
            for number, (train, test) in enumerate(splits):
                starts[number] = fit_ridge_logistic(Z[train], Y[train], C, starts[number])
                z = Z[test] @ starts[number][0] + starts[number][1]
                losses[-1] += (np.logaddexp(0, z) - Y[test] * z).sum()
            if len(losses) > 2 and losses[-3] < losses[-2] < losses[-1]:
                break  # weaker ridges only get worse from here, and take longest
        return _RIDGES[int(np.argmin(losses))]

    def predict_proba(self, X):
        """Return independent probabilities of shape (n, K)."""
        Z = self.scaler.transform(
            check_cells(np.asarray(X, dtype=np.float64), caller="LinearProbe")
        )
        if self.reducer is not None:
            Z = self.reducer.transform(Z)
        return expit(Z @ self.coef + self.intercept)


def fit_ridge_logistic(Z, Y, C, start=None):
    """Return coefficients (D, K) and intercepts (K,) that minimise the cross-entropy to rates.

    The objective is Σ BCE + ‖W‖² / (2 C), the intercept free but for a trace of ridge that keeps
    labels without positives finite. Rates need no duplicated rows: the gradient is Zᵀ(P − Y).
    """
    A = np.column_stack([Z, np.ones(len(Z))])
    penalty = np.full((A.shape[1], 1), 1 / C)
    penalty[-1] = _TRACE
    if start is None:
        rate = (Y.sum(axis=0) + 0.5) / (len(Y) + 1)
        W = np.vstack([np.zeros((Z.shape[1], Y.shape[1])), np.log(rate) - np.log1p(-rate)])
    else:
        W = np.vstack(start)
    W = fit_labels(A, Y, penalty, W, tolerance=1e-10)
    return W[:-1], W[-1]
