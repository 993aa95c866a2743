"""What is refused in ``fit``, before anything is sent."""

import numpy as np

from sklfusion._class_labels import in_names, read_labels, refuse_bare_numbers
from sklfusion._idle import warn_if_set
from sklfusion._sklearn_compat import check_parameters, integer, one_of
from sklfusion._validation import check_classes, is_multilabel, refuse_label_sets
from sklfusion.llm._where import where_of
from sklfusion.scoring._strategies import STRATEGIES

#: What the parameters of a scorer may be; those of its endpoint are checked where it is used.
SCORER_CONSTRAINTS = {
    "multilabel": ["boolean"],
    "instructions": [str, None],
    "strategy": [one_of(*STRATEGIES)],
    "output": [one_of("log_proba", "proba")],
    "add_indicator": ["boolean"],
    "calibrate": [one_of("auto", True, False, "prior", "contextual")],
    "n_shots": [integer(0)],
    "random_state": ["random_state"],
    "n_votes": [integer(1)],
    "order_swap": ["boolean"],
}


def check_params(estimator, caller):
    """Check the parameters of an estimator that asks an LLM.

    Raises
    ------
    ValueError
        Names the parameter, what arrived and what is wanted.
    """
    check_parameters(estimator)
    where = where_of(estimator)
    where.check(caller)
    if estimator.strategy == "unary" and not estimator.multilabel:
        raise ValueError("strategy='unary' asks yes or no per label; it needs multilabel=True.")
    packed = where.endpoint.texts_per_request
    if packed > 1 and (
        estimator.strategy not in ("auto", "label") or estimator.n_shots or estimator.examples
    ):
        raise ValueError(
            f"texts_per_request={packed} serves strategy='label' without examples; set "
            "texts_per_request=1 for anything else."
        )
    if where.batch:
        _check_batch(estimator, where, caller)
    if estimator.strategy == "decision" and where.batch:
        raise ValueError(
            f"{caller} got strategy='decision', which asks one request at a time; "
            "service='batch' takes another strategy."
        )
    _warn_of_idle_parameters(estimator)


def _warn_of_idle_parameters(estimator):
    """Warn of parameters that were set and that this way of asking does not use."""
    if estimator.strategy != "votes":
        why = f"strategy={estimator.strategy!r} samples no votes"
        warn_if_set(estimator, ("n_votes",), why)
    if not estimator.n_shots:
        warn_if_set(estimator, ("shot_selection",), "n_shots=0 chooses no examples")
    if estimator.strategy == "unary":
        warn_if_set(estimator, ("order_swap",), "strategy='unary' shows no list of classes")
    if estimator.strategy == "decision":
        warn_if_set(estimator, ("label_form",), "strategy='decision' asks by the class names")
        if estimator.multilabel:
            warn_if_set(estimator, ("order_swap",), "each class is a question of its own")
    if not hasattr(estimator, "predict"):
        return
    if estimator.multilabel:
        idle = ("abstain_below", "abstain_label")
        warn_if_set(estimator, idle, "with several labels per text nobody abstains")
    else:
        warn_if_set(estimator, ("threshold",), "it cuts multi-label predictions")


def _check_batch(estimator, where, caller):
    if where.is_local or estimator.memory is None:
        raise ValueError(
            f"{caller} got service='batch'; it needs a remote endpoint, and memory= so that "
            "a job that takes hours can be found again."
        )
    if estimator.strategy == "auto":
        raise ValueError(
            "service='batch' cannot probe the endpoint; choose the strategy, for example "
            "'probabilities'."
        )


def read_classes(estimator, y, caller):
    """Return the class names of an estimator that asks an LLM, and the labels in these names.

    Returns
    -------
    classes : tuple of K labels
        In the order of ``classes=``, else sorted.
    y : ndarray of shape (n,), an indicator as it came, or None
    codes : ndarray of shape (K,) or None
        See :func:`~sklfusion._class_labels.in_names`.
    """
    if y is not None and not estimator.multilabel and not is_multilabel(y):
        y = read_labels(y, caller=caller)
    elif y is not None:
        refuse_label_sets(y, caller=caller)
    classes = estimator.classes
    if classes is None:
        if y is None:
            raise ValueError(
                f"{caller} does not know the classes; pass classes=[...] or fit with y."
            )
        if estimator.multilabel or np.ndim(y) != 1:
            raise ValueError(
                f"{caller} cannot take the class names from a label indicator matrix; pass "
                "classes=[...] in the order of its columns."
            )
        classes = np.unique(y)
        if not estimator.class_descriptions:
            refuse_bare_numbers(classes, caller=caller)
    classes = check_classes(classes, caller=caller)
    if y is None or estimator.multilabel or np.ndim(y) != 1:
        return classes, y, None
    return classes, *in_names(y, classes, caller=caller)
