"""Fine-tune the encoder of a `RobertaEmbedder`: targets, folds, scores in and out of fold."""

import numbers

import numpy as np
from sklearn.model_selection import check_cv, train_test_split
from sklearn.utils import check_random_state

from sklfusion._class_labels import in_names, read_labels
from sklfusion._text_input import distinct
from sklfusion._validation import (
    check_class_target,
    check_indicator,
    is_multilabel,
    plain_labels,
)
from sklfusion.embedding._checks import training_of
from sklfusion.embedding._trainer import EncoderTrainer
from sklfusion.embedding._training import EVAL_BATCH_SIZE, trainer_settings

_MIN_VALIDATION = 8  # with fewer rows the best epoch is a matter of luck


class Target:
    """Classes and one-hot or indicator matrix of a target.

    Parameters
    ----------
    y : array-like of shape (n,) or (n, K)
        Class labels or a label indicator matrix.
    n : int
        Number of texts.
    caller : str
        Name of the estimator, for messages.
    classes : sequence, optional
        All classes, where y may show only some, or codes 0..K-1 of the sorted names; for an
        indicator matrix the names of its columns.
    """

    def __init__(self, y, n, caller, classes=None):
        if y is None:
            raise ValueError(
                f"{caller} requires y to be passed, but the target y is None. It needs class "
                "labels or a label indicator matrix."
            )
        self.multilabel = is_multilabel(y)
        if self.multilabel:
            self.matrix = check_indicator(y, caller=caller)
            self.classes = found = _column_names(y, self.matrix, classes, caller)
            self.labels = None
        else:
            labels = read_labels(y, caller=caller)
            check_class_target(labels, caller=caller)
            labels, _ = in_names(labels, classes, caller=caller)
            found = np.unique(labels)
            self.classes = found if classes is None else np.unique(plain_labels(classes))
            self.labels = np.searchsorted(self.classes, labels)
            self.matrix = np.eye(len(self.classes), dtype=np.float32)[self.labels]
        if len(self.matrix) != n:
            raise ValueError(
                f"{caller} got {n} texts and {len(self.matrix)} targets; it needs one target per "
                "text (found input variables with inconsistent numbers of samples)."
            )
        if len(found) < 2:
            raise ValueError(
                f"{caller} got 1 class in y ({found.tolist()}); it needs at least two classes."
            )

    def holdout(self, rows, fraction, rng):
        """Split `rows` into training and validation rows (or None when there are too few)."""
        n_valid = round(fraction * len(rows))
        if n_valid < max(_MIN_VALIDATION, 0 if self.multilabel else len(self.classes)):
            return rows, None
        stratify = None
        if self.labels is not None:
            counts = np.bincount(self.labels[rows])
            stratify = self.labels[rows] if counts[counts > 0].min(initial=2) >= 2 else None
        return train_test_split(rows, test_size=n_valid, stratify=stratify, random_state=rng)


def _column_names(y, matrix, classes, caller):
    """Names of the columns of an indicator matrix."""
    names = getattr(y, "columns", range(matrix.shape[1])) if classes is None else classes
    if len(names) != matrix.shape[1]:
        raise ValueError(
            f"{caller} got {len(names)} classes and a target of {matrix.shape[1]} columns; name "
            "every column."
        )
    return np.asarray(list(names))


def fit_encoder(embedder, texts, y):
    """Train the final encoder of a `RobertaEmbedder` and set its fitted attributes."""
    target = Target(y, len(texts), type(embedder).__name__, embedder.classes)
    seed = check_random_state(embedder.random_state).randint(2**31 - 1)
    embedder.classes_ = target.classes
    embedder.trainer_ = _trainer(embedder).fit(texts, target, seed=seed)
    embedder.n_features_out_ = len(target.classes)
    if embedder.output == "both":
        embedder.n_features_out_ += embedder._width
    return target, seed


def cross_fit(embedder, texts, y):
    """Fit a `RobertaEmbedder` and return the out-of-fold scores of its training texts.

    Equal texts stay in one fold: a copy in the training part would tell the label.
    """
    target, seed = fit_encoder(embedder, texts, y)
    scores = np.empty((len(texts), len(target.classes)), dtype=np.float32)
    for train, test in folds(embedder.cv, texts, target, seed):
        trainer = _trainer(embedder).fit(texts, target, train, seed=seed)
        scores[test] = trainer.scores([texts[i] for i in test], tell=False)
    return scores


def folds(cv, texts, target, seed):
    """Train and test rows of each fold; every row is tested once."""
    n = len(texts)
    if not isinstance(cv, numbers.Integral):
        cv = check_cv(cv, target.labels if target.labels is not None else target.matrix)
        groups = np.zeros(n) if target.labels is None else target.labels
        pairs = list(cv.split(texts, groups))
        tested = np.bincount(np.concatenate([test for _, test in pairs]), minlength=n)
        if (tested != 1).any():
            raise ValueError("cv must test every text exactly once, as KFold does.")
        return pairs
    if cv < 2:
        raise ValueError(f"cv={cv!r}; it must be at least 2, or a splitter.")
    fold = _fold_of_texts(texts, target, min(int(cv), n), seed)
    return [(np.flatnonzero(fold != k), np.flatnonzero(fold == k)) for k in np.unique(fold)]


def _fold_of_texts(texts, target, n_folds, seed):
    """Fold number per text: equal texts together, classes spread evenly."""
    rng = np.random.RandomState(seed)
    _, group = distinct(texts)
    _, first = np.unique(group, return_index=True)
    shuffled = rng.permutation(len(first))
    if target.labels is not None:
        by_class = np.argsort(target.labels[first][shuffled], kind="stable")
        shuffled = shuffled[by_class]
    fold = np.empty(len(first), dtype=int)
    fold[shuffled] = np.arange(len(first)) % min(n_folds, max(2, len(first)))
    return fold[group]


def _trainer(embedder):
    settings = trainer_settings(
        training_of(embedder),
        head={"hidden_layer_sizes": (), "dropout": 0.0},
        eval_batch_size=EVAL_BATCH_SIZE if embedder.batch_size == "auto" else embedder.batch_size,
        pooling=embedder.pooling,
        max_length=embedder.max_length,
        device=str(embedder.device),
        verbose=embedder.verbose,
    )
    return EncoderTrainer(embedder._source(), embedder.revision, settings)
