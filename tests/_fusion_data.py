"""Made-up rows for the fusion tests."""

import numpy as np


def make_rows(n=120, accuracy=0.8, signal=1.0, seed=0, n_llm=1, d=20, k=3):
    """Embedding with a class signal, votes right with ``accuracy``; returns X, y (codes)."""
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.arange(n) % k)
    centers = np.random.default_rng(99).normal(size=(k, d))
    embedding = rng.normal(size=(n, d)) + signal * centers[y]
    blocks = [embedding]
    for _ in range(n_llm):
        vote = np.where(rng.random(n) < accuracy, y, rng.integers(k, size=n))
        blocks.append(np.eye(k)[vote])
    return np.hstack(blocks), y


def make_labels(n=200, seed=0, d=20, k=5, accuracy=0.9, signal=1.0):
    """Multi-label rows: embedding, votes per label; returns X, Y."""
    rng = np.random.default_rng(seed)
    Y = (rng.random((n, k)) < np.linspace(0.5, 0.1, k)).astype(int)
    Y[Y.sum(axis=1) == 0, 0] = 1
    centers = np.random.default_rng(99).normal(size=(k, d))
    votes = np.where(rng.random(Y.shape) < accuracy, Y, 1 - Y)
    return np.hstack([rng.normal(size=(n, d)) + signal * Y @ centers, votes]), Y


def short(fusion, **params):
    """Parameters of a short training, where there is an MLP to train."""
    return {"fusion": fusion, "random_state": 0} | (params if fusion == "concat" else {})
