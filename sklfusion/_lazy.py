"""Names of a package that load on first use, so that importing it brings in nothing heavy."""

import ast
import sys
from importlib import import_module
from pkgutil import get_data


def attach(package):
    """Return ``__getattr__``, ``__dir__`` and ``__all__`` of a package.

    The names stand once, as imports in the package's stub ``__init__.pyi``. Type checkers and
    editors read the stub, and so does this function: the two cannot disagree.

    Parameters
    ----------
    package : str
        Its ``__name__``.
    """
    home = _imports(get_data(package, "__init__.pyi"))

    def load(name):
        if name not in home:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(import_module(home[name]), name)
        vars(sys.modules[package])[name] = value
        return value

    def names():
        return sorted({*vars(sys.modules[package]), *home})

    return load, names, sorted(home)


def _imports(stub):
    """Return the names that a stub imports, each with the module that it lives in."""
    lines = (node for node in ast.parse(stub).body if isinstance(node, ast.ImportFrom))
    return {alias.name: line.module for line in lines for alias in line.names}
