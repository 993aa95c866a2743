"""Checks of parameters and training data of `FusionClassifier`."""

import numbers

import numpy as np
from scipy import sparse
from sklearn.utils.validation import validate_data

from sklfusion._class_labels import in_names, read_labels
from sklfusion._idle import warn_if_set
from sklfusion._sklearn_compat import check_sample_weight
from sklfusion._validation import (
    check_cells,
    check_class_target,
    check_indicator,
    check_layers,
    class_weight_rows,
    is_multilabel,
    plain_labels,
)

_OPTIONS = {
    "fusion": ("anchored", "concat"),
    "loss": ("auto", "cross_entropy", "binary_cross_entropy"),
    "features": ("auto", "embedding", "proba", "both"),
}
# Parameters of a net that may not be trained; not what a net of anybody's has (device, verbose).
_OF_STOPPING = ("validation_fraction", "n_iter_no_change")
_OF_THE_MLP = (
    "hidden_layer_sizes",
    "dropout",
    "lr",
    "max_epochs",
    "batch_size",
    "early_stopping",
    *_OF_STOPPING,
    "net_params",
)


#: Parameter -> what it must be, in words and as a test.
_RANGES = {
    "lr": ("positive and finite", lambda v: 0 < v < np.inf),
    "validation_fraction": ("positive and below 1", lambda v: 0 < v < 1),
    "dropout": ("at least 0 and below 1", lambda v: 0 <= v < 1),
}


def check_options(est):
    """Check the parameters that only take certain values."""
    name = type(est).__name__
    for option, allowed in _OPTIONS.items():
        if getattr(est, option) not in allowed:
            raise ValueError(
                f"{name} got {option}={getattr(est, option)!r}; it must be one of {allowed}."
            )
    check_layers(est.hidden_layer_sizes, caller=name)
    for option, low in (("max_epochs", 1), ("n_iter_no_change", 1)):
        _check_integer(est, option, low)
    if est.batch_size != "auto":
        _check_integer(est, "batch_size", 1)
    for option, (wanted, holds) in _RANGES.items():
        value = getattr(est, option)
        if not isinstance(value, numbers.Real) or isinstance(value, bool) or not holds(value):
            raise ValueError(f"{name} got {option}={value!r}; it must be {wanted}.")
    if est.threshold != "auto" and not (
        isinstance(est.threshold, numbers.Real) and 0 <= est.threshold <= 1
    ):
        raise ValueError(
            f"{name} got threshold={est.threshold!r}; it needs 'auto' or a number in [0, 1]."
        )


def _check_integer(est, option, low):
    value = getattr(est, option)
    if not isinstance(value, numbers.Integral) or isinstance(value, bool) or value < low:
        raise ValueError(
            f"{type(est).__name__} got {option}={value!r}; it needs an integer >= {low}."
        )


def fit_rows(est, X, y, sample_weight, classes=None, reset=True):
    """Return X, the target as (n, K), and the weights of the rows that have one.

    Checks the parameters too; with ``reset`` it sets ``classes_`` and ``multilabel_``.
    """
    check_options(est)
    X, Y = _check_fit_data(est, X, y, classes, reset)
    weights = _row_weights(est, X, Y, sample_weight)
    live = weights > 0
    return X[live], Y[live], weights[live]


def check_rows(est, X):
    """Return rows to predict as a dense array; none at all is legal."""
    X = validate_data(
        est,
        X,
        reset=False,
        accept_sparse="csr",
        dtype=[np.float64, np.float32],
        ensure_min_samples=0,
    )
    return check_cells(X.toarray() if sparse.issparse(X) else X, caller=type(est).__name__)


def _check_fit_data(est, X, y, classes, reset):
    if y is None:
        raise ValueError(
            f"{type(est).__name__} requires y to be passed, but the target y is None."
        )
    names = [str(c) for c in y.columns] if hasattr(y, "columns") else None
    multilabel = is_multilabel(y)
    if multilabel:
        Y = check_indicator(y, caller=type(est).__name__).astype(np.float64)
        multilabel = Y.shape[1] > 1
        y = Y if multilabel else Y.ravel()
    if not multilabel:
        y = read_labels(y, caller=type(est).__name__)
    X, y = validate_data(
        est,
        X,
        y,
        reset=reset,
        accept_sparse="csr",
        dtype=[np.float64, np.float32],
        multi_output=multilabel,
    )
    X = check_cells(X.toarray() if sparse.issparse(X) else X, caller=type(est).__name__)
    if multilabel:
        if est.loss == "cross_entropy":
            raise ValueError(
                f"loss='cross_entropy' needs one class per row, but y is a label indicator of "
                f"shape {y.shape}. Use loss='binary_cross_entropy' or 'auto'."
            )
        if reset:
            est.classes_ = np.arange(y.shape[1]) if names is None else np.asarray(names)
            est.multilabel_ = True
        return X, y
    check_class_target(y, caller=type(est).__name__)
    if not reset:
        classes = est.classes_
    elif classes is None:
        classes = est.classes
    named, codes = in_names(y, classes, caller=type(est).__name__)
    labels = named
    if reset:
        found = named if classes is None else np.array(plain_labels(classes))
        est.classes_ = np.unique(found) if codes is None else codes
        est.multilabel_ = False
        labels = named if codes is None else y
    return X, np.eye(len(est.classes_))[np.searchsorted(est.classes_, labels)]


def warn_of_idle_parameters(est):
    """Warn of parameters of a fitted fusion that were set and changed nothing."""
    has_scores = bool(est.inputs_.blocks)
    if est.chosen_ != "concat" and not est.residual:
        why = "no MLP is trained beside LLM scores unless residual=True or fusion='concat'"
        warn_if_set(est, (*_OF_THE_MLP, "guard"), why)
    elif not est.early_stopping:
        warn_if_set(est, _OF_STOPPING, "early_stopping=False trains all epochs")
    if est.fusion == "concat" or not has_scores:
        why = "there are no LLM scores" if not has_scores else "fusion='concat' is one MLP"
        warn_if_set(est, ("residual", "guard"), why)
    if not has_scores:
        warn_if_set(est, ("features", "score_classes"), "no columns were found to be LLM scores")
    if not est.multilabel_:
        warn_if_set(est, ("threshold",), "it cuts multi-label predictions, and y has one class")


def _row_weights(est, X, Y, sample_weight):
    """Sample weights times class weights, shape (n,)."""
    weights = check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
    if not weights.sum() > 0:
        raise ValueError("Sample weights must contain at least one non-zero number.")
    if est.class_weight is not None:
        y = Y if est.multilabel_ else est.classes_[Y.argmax(axis=1)]
        weights = weights * class_weight_rows(est.class_weight, y, caller=type(est).__name__)
    return weights


def check_two_classes(est, Y):
    """Refuse a multi-class target in which only one class has weight."""
    if est.multilabel_:
        return
    present = est.classes_[Y.any(axis=0)]
    if len(present) < 2:
        raise ValueError(
            f"{type(est).__name__} got {len(present)} class in y ({present.tolist()}); it "
            "needs at least 2 classes with positive weight."
        )
