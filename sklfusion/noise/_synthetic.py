"""Label noise of known kind and rate, to test against."""

import numpy as np

from sklfusion._validation import check_unit_interval

NOISE_KINDS = ("symmetric", "asymmetric", "instance")


def add_label_noise(y, kind="symmetric", rate=0.3, *, X=None, random_state=None):
    """Flip a known share of labels.

    Parameters
    ----------
    y : array-like of shape (n,)
        Clean labels, of any type.
    kind : {"symmetric", "asymmetric", "instance"}, default="symmetric"
        ``"symmetric"``: with probability ``rate * K / (K - 1)`` a label is drawn anew from all K
        classes, so that a share ``rate`` really changes. ``"asymmetric"``: class c becomes the
        next class with probability ``rate``. ``"instance"``: every row has its own rate, from
        N(rate, 0.1) cut to [0, 1], and its target class is drawn from the softmax of a random
        linear map of its features.
    rate : float, default=0.3
        Expected share of changed labels, in [0, 1].
    X : array-like of shape (n, d), optional
        Features, for ``kind="instance"``.
    random_state : int, Generator or None
        Seed.

    Returns
    -------
    ndarray of shape (n,)
        Noisy labels of the same type.

    Examples
    --------
    >>> import numpy as np
    >>> from sklfusion.noise._synthetic import add_label_noise
    >>> y = np.repeat(["a", "b"], 500)
    >>> noisy = add_label_noise(y, "asymmetric", 0.2, random_state=0)
    >>> bool(0.15 < np.mean(noisy != y) < 0.25)
    True
    """
    check_unit_interval(rate, "rate", caller="add_label_noise")
    if kind not in NOISE_KINDS:
        raise ValueError(f"add_label_noise got kind={kind!r}; it knows {', '.join(NOISE_KINDS)}.")
    classes, codes = np.unique(np.asarray(y), return_inverse=True)
    k, n = len(classes), len(codes)
    if k < 2:
        raise ValueError("add_label_noise got one class; it needs at least two.")
    rng = np.random.default_rng(random_state)
    if kind == "symmetric":
        redraw = rng.random(n) < min(1.0, rate * k / (k - 1))
        codes = np.where(redraw, rng.integers(k, size=n), codes)
    elif kind == "asymmetric":
        codes = np.where(rng.random(n) < rate, (codes + 1) % k, codes)
    else:
        codes = _flip_by_instance(codes, k, rate, X, rng)
    return classes[codes]


def _flip_by_instance(codes, k, rate, X, rng):
    if X is None or len(X) != len(codes):
        raise ValueError('add_label_noise needs X, one row per label, for kind="instance".')
    X = np.asarray(X, dtype=float)
    logits = (X - X.mean(axis=0)) @ rng.normal(size=(X.shape[1], k))
    logits /= max(logits.std(), 1e-12)
    logits[np.arange(len(codes)), codes] = -np.inf
    # the largest of logits + Gumbel noise is a draw from their softmax
    target = (logits + rng.gumbel(size=logits.shape)).argmax(axis=1)
    own_rate = np.clip(rng.normal(rate, 0.1, size=len(codes)), 0, 1)
    return np.where(rng.random(len(codes)) < own_rate, target, codes)
