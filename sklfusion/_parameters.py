"""Parameters that are written once: a constructor that hands the rest to the one it builds on."""

import inspect


def with_parameters_of(base):
    """Decorate ``__init__(self, ..., **rest)`` that hands ``rest`` to the ``__init__`` of a base.

    Its signature then names the parameters of both, which is what scikit-learn reads for
    ``get_params``, ``clone``, ``set_params`` and ``repr``. Keywords that the base itself only
    hands on are taken as well and, not being parameters, not named.

    Parameters
    ----------
    base : type
        The class whose parameters are taken over.

    Returns
    -------
    callable
        The decorator.
    """

    def decorate(init):
        signature = inspect.signature(init)
        inherited = inspect.signature(base.__init__).parameters
        merged = {**inherited, **signature.parameters}
        keep = [p for p in merged.values() if p.kind is not p.VAR_KEYWORD]
        init.__signature__ = signature.replace(parameters=sorted(keep, key=lambda p: p.kind))
        return init

    return decorate
