"""Import of optional dependencies, with an error that says what to install."""

from importlib import import_module


def import_optional(module, *, extra, purpose):
    """Import ``module`` or raise an ImportError that names the extra to install.

    Parameters
    ----------
    module : str
        Name of the module.
    extra : str
        The extra of sklfusion that brings it.
    purpose : str
        What needs it, as the start of a sentence ("Plots", "The command line").

    Returns
    -------
    module
        The imported module.

    Raises
    ------
    ImportError
        If the module is not installed.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise ImportError(
            f"{purpose} needs the package {module.split('.')[0]!r}, which is not installed. "
            f'Install it with: pip install "sklfusion[{extra}]"'
        ) from error
