"""Checks of parameters and training data of `FusionClassifier`."""

import numpy as np
from scipy import sparse
from sklearn.utils.validation import check_array, validate_data

from sklfusion._class_labels import in_names, read_labels
from sklfusion._idle import warn_if_set
from sklfusion._scores import tell_again, told_by
from sklfusion._sklearn_compat import (
    check_parameters,
    check_sample_weight,
    integer,
    number,
    one_of,
)
from sklfusion._validation import (
    check_cells,
    check_class_target,
    check_indicator,
    check_layers,
    class_weight_rows,
    is_multilabel,
    plain_labels,
)
from sklfusion.fusion._columns import known_scores
from sklfusion.fusion._levels import levels_of, ordered_categories

#: What the parameters of a FusionClassifier may be.
CONSTRAINTS = {
    "fusion": [one_of("anchored", "concat")],
    "loss": [one_of("auto", "cross_entropy", "binary_cross_entropy", "ordinal")],
    "features": [one_of("auto", "embedding", "proba", "both")],
    "dropout": [number(0, 1, closed="left")],
    "residual": ["boolean"],
    "guard": ["boolean"],
    "lr": [number(0, closed="neither")],
    "max_epochs": [integer(1)],
    "batch_size": [integer(1), one_of("auto")],
    "early_stopping": ["boolean"],
    "validation_fraction": [number(0, 1, closed="neither")],
    "n_iter_no_change": [integer(1)],
    "threshold": [number(0, 1), one_of("auto")],
    "class_weight": [dict, list, one_of("balanced", None)],
    "random_state": ["random_state"],
    "net_params": [dict, None],
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


def fit_rows(est, X, y, sample_weight, classes=None, reset=True):
    """Return X, the target as (n, K) and weights of the rows that have one, and which those are.

    Checks the parameters too; with ``reset`` it sets ``classes_`` and ``multilabel_``.
    """
    check_parameters(est)
    check_layers(est.hidden_layer_sizes, caller=type(est).__name__)
    X, Y = _check_fit_data(est, X, y, classes, reset)
    weights = _row_weights(est, X, Y, sample_weight)
    live = weights > 0
    return X[live], Y[live], weights[live], live


def check_rows(est, X):
    """Return rows to predict as a dense array; none at all is legal."""
    checked = validate_data(
        est,
        X,
        reset=False,
        accept_sparse="csr",
        dtype=[np.float64, np.float32],
        ensure_min_samples=0,
        ensure_all_finite="allow-nan",
    )
    return tell_again(_dense_cells(est, checked, _may_lack_answers(est)), X)


def _check_fit_data(est, X, y, classes, reset):
    caller = type(est).__name__
    if y is None:
        raise ValueError(f"{caller} requires y to be passed, but the target y is None.")
    names = [str(c) for c in y.columns] if hasattr(y, "columns") else None
    multilabel, categories = is_multilabel(y), ordered_categories(y)
    if multilabel:
        Y = check_indicator(y, caller=caller).astype(np.float64)
        multilabel = Y.shape[1] > 1
        y = Y if multilabel else Y.ravel()
    if not multilabel:
        y = read_labels(y, caller=caller)
    checked, y = validate_data(
        est,
        X,
        y,
        reset=reset,
        accept_sparse="csr",
        dtype=[np.float64, np.float32],
        multi_output=multilabel,
        ensure_all_finite="allow-nan",
    )
    may_lack = _known_scores(est, X) if reset else _may_lack_answers(est)
    X = tell_again(_dense_cells(est, checked, may_lack), X)
    if not multilabel:
        return X, _class_columns(est, y, classes, reset, categories)
    if est.loss in ("cross_entropy", "ordinal"):
        raise ValueError(
            f"loss={est.loss!r} needs one class per row, but y is a label indicator of "
            f"shape {y.shape}. Use loss='binary_cross_entropy' or 'auto'."
        )
    if reset:
        est.classes_ = np.arange(y.shape[1]) if names is None else np.asarray(names)
        est.multilabel_, est.levels_ = True, None
    return X, y


def _class_columns(est, y, classes, reset, categories):
    """Return one class per row as (n, K); with ``reset`` set ``classes_`` and ``levels_``."""
    caller = type(est).__name__
    check_class_target(y, caller=caller)
    if not reset:
        classes = est.classes_
    elif classes is None:
        classes = est.classes
        if classes is None and est.loss == "ordinal":
            classes = categories
    named, codes = in_names(y, classes, caller=caller)
    labels = named
    if reset:
        found = named if classes is None else np.array(plain_labels(classes))
        est.classes_ = np.unique(found) if codes is None else codes
        est.multilabel_ = False
        est.levels_ = _levels(est, np.unique(found), codes, categories)
        labels = named if codes is None else y
    return np.eye(len(est.classes_))[np.searchsorted(est.classes_, labels)]


def _levels(est, named, codes, categories):
    """The classes from lowest to highest as y has them, where they are ordered."""
    if est.loss != "ordinal":
        return None
    caller = type(est).__name__
    if est.fusion == "concat" or est.residual:
        raise ValueError(
            f"{caller} got loss='ordinal' with fusion={est.fusion!r}, residual={est.residual}; an "
            "MLP knows no order of the classes. Leave fusion='anchored' and residual=False, or "
            "loss='auto'."
        )
    order = levels_of(named, est.classes, categories, caller=caller)
    own = dict(zip(named.tolist(), (named if codes is None else codes).tolist(), strict=True))
    return np.array([own[level] for level in order])


def _known_scores(est, X):
    """Numbers of the columns that are scores whatever their values are, before a fit."""
    names = getattr(est, "feature_names_in_", None)
    return known_scores(est.score_columns, est.n_features_in_, names, told_by(X))


def _may_lack_answers(est):
    """Numbers of the columns in which a fitted fusion takes NaN for "no answer"."""
    by_values = getattr(est, "found_by_", "values") == "values"
    return [] if by_values else [c for block in est.inputs_.blocks for c in block.columns]


def _dense_cells(est, X, may_lack):
    """Features as a dense array, without NaN but in the columns ``may_lack``."""
    X = X.toarray() if sparse.issparse(X) else X
    lacking = np.isnan(X)
    if not lacking.any():
        return check_cells(X, caller=type(est).__name__)
    lacking[:, may_lack] = False
    if lacking.any():
        check_array(X, estimator=est, input_name="X")
    check_cells(np.nan_to_num(X, nan=0.0), caller=type(est).__name__)
    return X


def warn_of_idle_parameters(est):
    """Warn of parameters of a fitted fusion that were set and changed nothing."""
    if est.fusion != "concat" and not est.residual:
        why = "no MLP is trained unless residual=True or fusion='concat'"
        warn_if_set(est, (*_OF_THE_MLP, "guard"), why)
    elif not est.early_stopping:
        warn_if_set(est, _OF_STOPPING, "early_stopping=False trains all epochs")
    if est.fusion == "concat":
        warn_if_set(est, ("residual", "guard"), "fusion='concat' is one MLP")
    if not est.inputs_.blocks:
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
