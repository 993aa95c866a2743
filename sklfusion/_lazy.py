"""Names of a package that load on first use, so that importing it brings in nothing heavy."""

import sys
from importlib import import_module


def attach(package, homes):
    """Return ``__getattr__``, ``__dir__`` and ``__all__`` of a package.

    Parameters
    ----------
    package : str
        Its ``__name__``.
    homes : dict of str to list of str
        Module below the package to the names that live in it.
    """
    home = {name: module for module, names in homes.items() for name in names}

    def load(name):
        if name not in home:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(import_module(f"{package}.{home[name]}"), name)
        vars(sys.modules[package])[name] = value
        return value

    def names():
        return sorted({*vars(sys.modules[package]), *home})

    return load, names, sorted(home)
