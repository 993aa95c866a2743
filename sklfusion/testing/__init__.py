"""Tools for tests: a loopback LLM endpoint that fails on purpose, and checks for text estimators.

- :class:`FaultServer` starts the endpoint as a process; :class:`LedgerView` is what it has seen.
- :func:`check_text_estimator` does for estimators that take texts what scikit-learn's
  ``check_estimator`` does for estimators that take numbers.
"""

from sklfusion._lazy import attach as _attach

# The server must start fast, and needs no scikit-learn.
__getattr__, __dir__, __all__ = _attach(__name__)
