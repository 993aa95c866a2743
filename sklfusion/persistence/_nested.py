"""Parameters that stood flat in an estimator when a file was written, and are nested today."""

from sklfusion.persistence._names import class_of

#: What `FusionClassifier` took by names of its own, and takes through ``net_params``: the name
#: there, and the value that needs no telling.
_OF_THE_NET = {
    "activation": ("module__activation", "relu"),
    "weight_decay": ("optimizer__weight_decay", 0.01),
}
#: Parameters of the training of an encoder that kept their names.
_TRAINING = {
    name: name
    for name in (
        "lr",
        "head_lr",
        "max_epochs",
        "contrastive_steps",
        "freeze_layers",
        "lora",
        "validation_fraction",
        "patience",
        "amp",
    )
}
_OF_THE_STEPS = {name: name for name in ("warmup", "weight_decay", "gradient_clipping")}


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


def _embedder(state):
    values = _take(state, _TRAINING | {"train_batch_size": "batch_size"})
    if values and state.get("fine_tune"):
        method = "contrastive" if state["fine_tune"] == "contrastive" else "cross_entropy"
        state["fine_tune"] = _settings("EncoderTraining", {"method": method, **values})
    return state


def _joint(state):
    names = {"encoder_lr": "lr", "batch_size": "batch_size", **_TRAINING, **_OF_THE_STEPS}
    values = _take(state, names)
    if values:
        state["training"] = _settings("EncoderTraining", values)
    return state


def _trajectory(state):
    names = {
        "learning_rate": "lr",
        "head_learning_rate": "head_lr",
        "n_epochs": "max_epochs",
        "batch_size": "batch_size",
    }
    values = _take(state, names)
    if values:
        fixed = {"max_epochs": 3, "batch_size": 32, "warmup": 0.06, "freeze_layers": -1}
        state["training"] = _settings("EncoderTraining", {**fixed, **values})
    return state


def _take(state, names):
    """Take the parameters of these names out of a state, and return them under their new ones."""
    return {new: state.pop(old) for old, new in names.items() if old in state}


def _settings(name, values):
    return class_of(name)(**values)


_CONVERTERS = {
    "FineTunedTrajectoryEncoder": _trajectory,
    "FusionClassifier": _fusion,
    "JointFusionClassifier": _joint,
    "RobertaEmbedder": _embedder,
}
