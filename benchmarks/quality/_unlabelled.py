"""Two ways to correct a fusion by unlabelled texts of a new place, and two signals of drift.

*Frequencies* are the class frequencies of the new place by which the fusion's probabilities there
explain themselves best (EM of Saerens, Latinne and Decaestecker, 2002).

*Mixture* re-weighs the LLM too. Its answers in the new place are explained, by EM, as
p(answer | text) = sum over classes of p(class | embedding) p(answer | class): the encoder's word
for the class, and how often the LLM says what of each class. What has changed since the labelled
rows is added to the log-odds, the LLM's part times its trust.

Both are drawn towards the labelled rows, and new texts count for no more rows than those, by whose
number the probabilities are known. With several labels each is a case of two classes.
"""

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score

#: Rows' worth per class by which both are drawn towards the labelled rows, as votes are in a fit.
STRENGTH = 20.0
_N_STEPS = 50


def as_pairs(P):
    """Probabilities of labels (n, K) as a list of (n, 2), one per label."""
    return [np.column_stack([1 - p, p]) for p in np.asarray(P).T]


def rates(Y):
    """Smoothed frequencies (K,) of the classes of indicators (n, K)."""
    return (Y.sum(axis=0) + 1) / (len(Y) + Y.shape[1])


def margins(scores):
    """By how much the likeliest class of each row is ahead of the next, (n,)."""
    ordered = np.sort(scores, axis=1)
    return ordered[:, -1] - ordered[:, -2]


def codes_of(scores, middle):
    """Answers as numbers (n,): the class, and whether it was said more surely than ``middle``.

    Equal scores, no answer, are -1.
    """
    margin = margins(scores)
    return np.where(margin < 1e-9, -1, 2 * scores.argmax(axis=1) + (margin > middle))


def _normal(counts):
    return counts / counts.sum(axis=-1, keepdims=True)


def _counts(weights, codes, n_codes):
    """Sum of the weights (n, K) of the rows that gave each answer, (K, n_codes)."""
    said = codes[:, None] == np.arange(n_codes)
    return weights.T @ said


def frequencies(P, Y):
    """Log-odds to add to every new row, (K,).

    ``P`` (n, K) are the fusion's probabilities there, ``Y`` (m, K) the labelled rows.
    """
    prior = now = rates(Y)
    share = min(1.0, len(Y) / len(P))
    for _ in range(_N_STEPS):
        q = _normal(P * now / prior)
        now = _normal(STRENGTH * len(prior) * prior + share * q.sum(axis=0))
    return np.log(now / prior)


def mixture(P, scores, Y, old_scores):
    """Log-odds to add to each new row: by the LLM's answers (n, K), and by frequencies (K,).

    ``P`` (n, K) are the encoder's probabilities and ``scores`` (n, K) the LLM's in the new place,
    ``Y`` and ``old_scores`` (m, K) the labelled rows and the LLM's scores of them.
    """
    middle, n_codes = np.median(margins(old_scores)), 2 * Y.shape[1]
    codes = codes_of(scores, middle)
    told = _counts(Y, codes_of(old_scores, middle), n_codes)
    known = T = _normal(told + 1 / n_codes)  # p(answer | class)
    prior = now = rates(Y)
    share = min(1.0, len(Y) / len(P))
    for _ in range(_N_STEPS):
        q = _normal(P * (now / prior) * _of_rows(T, codes))
        T = _normal(STRENGTH * known + share * _counts(q, codes, n_codes))
        now = _normal(STRENGTH * len(prior) * prior + share * q.sum(axis=0))
    return np.log(_of_rows(T, codes) / _of_rows(known, codes)), np.log(now / prior)


def _of_rows(T, codes):
    """p(its answer | class) of each row, (n, K); one without an answer tells nothing."""
    return np.where((codes >= 0)[:, None], T.T[codes], 1.0)


def two_sample_auc(old, new, seed, most=200):
    """How well a logistic regression tells new embeddings from old: 0.5 is not at all."""
    rng = np.random.default_rng(seed)
    n = min(len(old), len(new), most)
    X = np.vstack([rng.permutation(old)[:n], rng.permutation(new)[:n]])
    model = LogisticRegression(max_iter=300)
    return float(cross_val_score(model, X, np.repeat([0, 1], n), cv=5, scoring="roc_auc").mean())
