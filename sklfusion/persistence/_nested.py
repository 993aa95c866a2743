"""Parameters that stood flat in an estimator when a file was written, and are nested today."""

#: What `FusionClassifier` took by names of its own, and takes through ``net_params``: the name
#: there, and the value that needs no telling.
_OF_THE_NET = {
    "activation": ("module__activation", "relu"),
    "weight_decay": ("optimizer__weight_decay", 0.01),
}


def nested(name, state):
    """Return the state of an estimator of that name with its parameters where they are today.

    Parameters
    ----------
    name : str
        Name of the class in files.
    state : dict
        As written, with its values built.

    Returns
    -------
    dict
        ``state`` itself where it is of today.
    """
    convert = _CONVERTERS.get(name)
    return state if convert is None else convert(dict(state))


def _fusion(state):
    told = {}
    for flat, (name, default) in _OF_THE_NET.items():
        value = state.pop(flat, default)
        if value != default:
            told[name] = value
    if told:
        state["net_params"] = {**told, **(state.get("net_params") or {})}
    return state


_CONVERTERS = {"FusionClassifier": _fusion}
