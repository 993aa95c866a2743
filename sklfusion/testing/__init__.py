"""Tools for tests: a loopback LLM endpoint that fails on purpose, and checks for text estimators.

- :class:`FaultServer` starts the endpoint as a process; :class:`LedgerView` is what it has seen.
- :func:`check_text_estimator` does for estimators that take texts what scikit-learn's
  ``check_estimator`` does for estimators that take numbers.
"""

from importlib import import_module as _import_module

_HOME = {
    "FaultServer": "_process",
    "LedgerView": "_process",
    "N_TEXT_CHECKS": "text_checks",
    "check_text_estimator": "text_checks",
    "iter_text_checks": "text_checks",
    "expected_billed": "_profiles",
    "expected_label": "_answers",
    "expected_labels": "_answers",
    "text_digest": "_answers",
}

__all__ = sorted(_HOME)


def __getattr__(name):  # lazily: the server must start fast, and needs no scikit-learn
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(_import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value
