"""The types that a reader without our table of names has to be told to trust."""

from sklfusion.persistence._names import ESTIMATORS, PARTS, class_of


def trusted_types() -> list[str]:
    """Return the full names of all types of sklfusion that a fitted estimator may hold.

    For ``skops.io.load(..., trusted=...)`` and ``mlflow.sklearn.log_model(...,
    skops_trusted_types=...)``. None of them is a function, or calls one that a file names.

    Returns
    -------
    list of str
        Sorted.

    See Also
    --------
    save : The format that needs no such list.

    Notes
    -----
    A ``FusionClassifier`` whose ``net_params`` choose an optimizer or callbacks of their own
    holds types of skorch and torch besides, which are not in the list. Cost: imports torch.

    Examples
    --------
    >>> from sklfusion.persistence import trusted_types
    >>> [name for name in trusted_types() if "cascade._classifier" in name]
    ['sklfusion.cascade._classifier.CascadeClassifier']
    """
    classes = [class_of(name) for name in sorted({*ESTIMATORS, *PARTS})]
    return sorted({f"{cls.__module__}.{cls.__qualname__}" for cls in classes})
