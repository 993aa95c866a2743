"""LLM scores as inputs of a head that is trained by gradient descent."""

import numpy as np

# A vote counts as odds of about fifty to one at the start; the head learns the true odds.
_FLOOR = 0.02


def bounded_codes(columns, n_classes, multilabel):
    """Return evidence per class and LLM, and which LLM answered.

    Parameters
    ----------
    columns : ndarray of shape (n, m * n_classes)
        Probabilities or log-probabilities of m LLMs; a row of NaN in a block is no answer.
    n_classes : int
        K.
    multilabel : bool
        Log-odds per label instead of centred log-probabilities.

    Returns
    -------
    codes : ndarray of shape (n, m * K)
        0 where there is no answer, and where an LLM has no opinion.
    answered : ndarray of shape (n, m)
        1 where the LLM answered.

    Raises
    ------
    ValueError
        If values are neither probabilities nor log-probabilities.
    """
    coded, answered = [], []
    for block in np.split(columns, columns.shape[1] // n_classes, axis=1):
        present = np.isfinite(block).all(axis=1)
        block = np.where(present[:, None], block, 0.0)
        proba = np.exp(block) if (block < 0).any() else block
        if (proba > 1 + 1e-6).any():
            raise ValueError(
                "scores must be probabilities or log-probabilities; the largest value is "
                f"{block.max():.3g} and the smallest {block.min():.3g}."
            )
        proba = np.clip(proba, _FLOOR, 1 - _FLOOR)
        code = np.log(proba)
        code = code - np.log1p(-proba) if multilabel else code - code.mean(axis=1, keepdims=True)
        coded.append(code * present[:, None])
        answered.append(present)
    return np.hstack(coded), np.column_stack(answered).astype(float)


def as_matrix(scores):
    """Scores as a float matrix; one column may come as a vector."""
    matrix = np.asarray(scores, dtype=float)
    return matrix[:, None] if matrix.ndim == 1 else matrix
