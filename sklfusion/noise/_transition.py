"""How the annotator confuses the classes, estimated without a single gold label."""

import numpy as np


def estimate_transition(proba, codes, *, top_share=0.25, min_rows=10):
    """Estimate the transition matrix of label noise from anchor rows.

    Parameters
    ----------
    proba : ndarray of shape (n, K)
        Probabilities of the *noisy* labels given the text, from a model or neighbourhood that did
        not see the row's own label.
    codes : ndarray of shape (n,)
        Noisy label of each row, -1 where there is none.
    top_share : float, default=0.25
        Anchors per class, as a share of the rows labelled with it.
    min_rows : int, default=10
        At least so many anchors per class. A class with fewer labelled rows has no row of its
        own: it is taken as always called by its name.

    Returns
    -------
    ndarray of shape (K, K)
        Row z: distribution of the noisy label where the true label is z.

    Notes
    -----
    The anchors of class z are the rows with the largest ``p(z | x)`` of all rows, whichever class
    is the likeliest in them: a class whose texts the LLM mostly calls something else is the
    likeliest nowhere, yet its own label is still more frequent among its texts than elsewhere.
    The row of the matrix is the mean probability vector of the anchors (of the probabilities and
    not of the labels, which would make every row with a lucky label an anchor).
    """
    known = codes >= 0
    n_classes = proba.shape[1]
    n_labelled = np.bincount(codes[known], minlength=n_classes)
    matrix = np.empty((n_classes, n_classes))
    for z in range(n_classes):
        if n_labelled[z] < min_rows:
            matrix[z] = np.eye(n_classes)[z]
            continue
        n_anchors = min(len(proba), max(min_rows, int(top_share * n_labelled[z])))
        matrix[z] = proba[np.argsort(-proba[:, z], kind="stable")[:n_anchors]].mean(axis=0)
    matrix = np.maximum(matrix, 1e-6)
    return matrix / matrix.sum(axis=1, keepdims=True)


def deconvolve(proba, matrix, *, n_iter=20, prior_power=0.5):
    """Turn probabilities of noisy labels into probabilities of true labels.

    Parameters
    ----------
    proba : ndarray of shape (n, K)
        ``p(noisy label | x)``.
    matrix : ndarray of shape (K, K)
        Transition matrix, see :func:`estimate_transition`.
    n_iter : int, default=20
        Multiplicative steps from the uniform distribution; few steps regularise.
    prior_power : float, default=0.5
        How far to trust the class frequencies that come out: 0 not at all, 1 fully, more than
        1 to undo that few steps leave them too even. See :func:`choose_prior_power`.

    Returns
    -------
    ndarray of shape (n, K)
        Rows on the simplex, near the solution ``q`` of ``q @ matrix = proba``.
    """
    q = np.full(proba.shape, 1 / proba.shape[1])
    for _ in range(n_iter):
        q = q * ((proba / np.maximum(q @ matrix, 1e-9)) @ matrix.T)
    q /= q.sum(axis=1, keepdims=True)
    q = q * q.mean(axis=0) ** prior_power
    return q / q.sum(axis=1, keepdims=True)


def mutual_information(codes_a, codes_b, n_classes):
    """Mutual information in nats of two labellings of the same rows."""
    joint = np.zeros((n_classes, n_classes))
    np.add.at(joint, (codes_a, codes_b), 1.0)
    joint /= joint.sum()
    independent = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0, keepdims=True)
    seen = joint > 0
    return float((joint[seen] * np.log(joint[seen] / independent[seen])).sum())


def choose_prior_power(proba, matrix, codes, powers=(0.0, 0.5, 1.0, 2.0)):
    """Choose how far to trust the class frequencies, without gold labels.

    Returns
    -------
    power : float
    clean_proba : ndarray of shape (n, K)
        What `deconvolve` gives with it.

    Notes
    -----
    If the annotator's mistakes depend on the true class, then no function of the text tells more
    about the noisy label than the true class does (data processing inequality). So of several
    ways to assign classes the one with the largest mutual information with the noisy labels is
    taken; the probabilities must not have seen the rows' own labels.
    """
    known = codes >= 0
    best: tuple = ()
    for power in powers:
        clean = deconvolve(proba, matrix, prior_power=power)
        score = mutual_information(clean[known].argmax(axis=1), codes[known], len(matrix))
        if not best or score > best[0] + 1e-12:
            best = score, power, clean
    return best[1], best[2]


def posterior(clean_proba, matrix, codes):
    """Add the evidence of each row's own label: ``p(z | x, label) ~ p(z | x) matrix[z, label]``.

    Rows without a label keep their neighbourhood's opinion.
    """
    known = codes >= 0
    out = clean_proba.copy()
    out[known] *= matrix[:, codes[known]].T
    return out / np.maximum(out.sum(axis=1, keepdims=True), 1e-12)
