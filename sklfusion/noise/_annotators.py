"""What several annotators, or one and a few gold labels, say about the true labels."""

import numpy as np
from sklearn.linear_model import LogisticRegression

#: Parts of a cross-fit.
_PARTS = 5
#: Strengths of logistic regression to choose from, strongest penalty first. For embeddings of
#: length one; tried on labels of ten LLMs on four tasks and on clean labels of three others.
STRENGTHS = (0.3, 0.6, 1.0, 3.0, 10.0)
#: A stronger penalty is taken unless it is worse by so many standard errors of the paired
#: difference: what cannot be told from the best regularises against the mistakes.
_STANDARD_ERRORS = 2.0
#: An annotator's confusions are drawn towards those of an average class by so many rows, so that a
#: class with fewer than about ten has no confusions of its own.
_PRIOR_ROWS = 10.0
_EM_ROUNDS, _EM_STEPS = 2, 10
#: Penalty of the model between the rounds.
_COVARIATE_PENALTY = 1.0


def fit_logistic(X, weights, C):
    """Logistic regression on label distributions (n, K); rows of zeros are left out."""
    rows, labels = np.nonzero(weights > 1e-4)
    if len(np.unique(labels)) < 2:
        return None
    model = LogisticRegression(C=C, max_iter=1000)
    return model.fit(X[rows], labels, sample_weight=weights[rows, labels])


def classes_proba(model, X, weights):
    """Probabilities of all K classes; those of the weights themselves where there is no model."""
    share = weights.sum(axis=0) / weights.sum()
    if model is None:
        return np.tile(share, (len(X), 1))
    out = np.zeros((len(X), weights.shape[1]))
    out[:, model.classes_] = model.predict_proba(X)
    return out


def held_out_proba(X, weights, C, rng):
    """Probabilities of rows by models that did not see them; all rows, labelled or not."""
    # dealt out by class, so that every part has rows of each
    order = np.lexsort((rng.random(len(X)), weights.argmax(axis=1)))
    part = np.empty(len(X), dtype=int)
    part[order] = np.arange(len(X)) % _PARTS
    out = np.empty(weights.shape)
    for fold in range(_PARTS):
        held = part == fold
        if not held.any():
            continue
        seen = weights[~held] if weights[~held].any() else weights
        rows = X[~held] if weights[~held].any() else X
        out[held] = classes_proba(fit_logistic(rows, seen, C), X[held], seen)
    return np.maximum(out, 1e-9)


def choose_penalty(X, weights, rng):
    """Strongest penalty that predicts held-out labels as well as the best, within the error.

    Returns
    -------
    C : float
    proba : ndarray of shape (n, K)
        Its cross-fitted probabilities.
    """
    known = weights.sum(axis=1) > 0
    fits = [held_out_proba(X, weights, C, rng) for C in STRENGTHS]
    loss = np.array([-(weights[known] * np.log(p[known])).sum(axis=1) for p in fits])
    behind = loss - loss[loss.mean(axis=1).argmin()]
    error = behind.std(axis=1) / np.sqrt(known.sum())
    best = int(np.argmax(behind.mean(axis=1) <= _STANDARD_ERRORS * error + 1e-12))
    return STRENGTHS[best], fits[best]


def confusions(weights, codes):
    """Confusion matrix (K, K) of one annotator given the weights of the true classes.

    Row z is the distribution of the label where z is true, drawn towards a class of average
    reliability whose mistakes fall as the labels do.
    """
    known, k = codes >= 0, weights.shape[1]
    counts = np.zeros((k, k))
    np.add.at(counts.T, codes[known], weights[known])
    right = (np.trace(counts) + 1) / (counts.sum() + 2)
    spread = (counts.sum(axis=0) + 1) / (counts.sum() + k)
    average = right * np.eye(k) + (1 - right) * spread
    counts += _PRIOR_ROWS * average
    return counts / counts.sum(axis=1, keepdims=True)


def annotator_posterior(X, labels, gold, n_classes, rng):
    """Weights of the true classes by Dawid and Skene's model with the text as a covariate.

    Parameters
    ----------
    X : ndarray of shape (n, d)
        Features.
    labels : ndarray of shape (n, L)
        Labels of L annotators as codes, -1 where there is none.
    gold : ndarray of shape (n,)
        Known true classes, -1 elsewhere; they stay.
    n_classes : int
        K.
    rng : numpy Generator
        Deals out the cross-fit.

    Returns
    -------
    weights : ndarray of shape (n, K)
    matrices : ndarray of shape (L, K, K)
        The annotators' confusions.
    """
    told, eye = gold >= 0, np.eye(n_classes)
    # beginning: the vote of all, with a little of every class
    weights = eye[np.maximum(labels, 0)] * (labels >= 0)[..., None]
    weights = weights.sum(axis=1) + 0.1
    prior = None
    for round_ in range(1 + _EM_ROUNDS):
        for step in range(_EM_STEPS):
            weights /= weights.sum(axis=1, keepdims=True)
            weights[told] = eye[gold[told]]
            # gold rows begin alone, where there are some: the votes would only confirm themselves
            rows = told if told.any() and not round_ + step else np.ones(len(X), dtype=bool)
            matrices = np.array([confusions(weights[rows], codes[rows]) for codes in labels.T])
            share = (weights.sum(axis=0) + 1) / (len(X) + n_classes)
            log = np.log(np.tile(share, (len(X), 1)) if prior is None else prior)
            for matrix, codes in zip(matrices, labels.T, strict=True):
                log[codes >= 0] += np.log(matrix[:, codes[codes >= 0]].T)
            weights = np.exp(log - log.max(axis=1, keepdims=True))
        weights /= weights.sum(axis=1, keepdims=True)
        weights[told] = eye[gold[told]]
        prior = held_out_proba(X, weights, _COVARIATE_PENALTY, rng)
        # the frequencies of the last round count half: they hold its mistakes too
        prior /= np.sqrt(prior.mean(axis=0))
        prior = np.maximum(prior / prior.sum(axis=1, keepdims=True), 1e-6)
    return weights, matrices


def tells_more(other, said, codes, n_classes, rng):
    """Whether `said` tells more about labels that it was not made from than `other` does.

    Parameters
    ----------
    other, said : ndarray of shape (n,)
        Supposed true classes as codes, cross-fitted.
    codes : ndarray of shape (n,)
        Labels; rows of -1 do not count.
    n_classes : int
        K.
    rng : numpy Generator
        Deals out the rows.

    Returns
    -------
    bool
        Whether the labels are likelier, through confusions learnt on other rows, by more than a
        standard error of the paired difference.

    Notes
    -----
    If mistakes depend on the true class, nothing that is known of the text tells more about the
    label than the true class does (data processing inequality).
    """
    known = codes >= 0
    codes, part = codes[known], rng.permutation(int(known.sum())) % _PARTS
    log = []
    for classes in (other[known], said[known]):
        out = np.empty(len(codes))
        for fold in range(_PARTS):
            held = part == fold
            matrix = confusions(np.eye(n_classes)[classes[~held]], codes[~held])
            out[held] = np.log(matrix[classes[held], codes[held]])
        log.append(out)
    gain = log[1] - log[0]
    return bool(gain.mean() > gain.std() / np.sqrt(len(gain)) + 1e-9)
