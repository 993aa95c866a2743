"""Parameters that stood flat in an estimator when a file was written, and are nested today."""

import copy

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
#: Parameters that a scorer took for its endpoint, which kept their names.
_OF_THE_ENDPOINT = {
    name: name
    for name in (
        "api_key_env",
        "base_url",
        "budget",
        "cache_only",
        "deadline",
        "max_concurrency",
        "max_text_tokens",
        "on_failure",
        "prices",
        "request_params",
        "requests_per_minute",
        "service",
        "texts_per_request",
        "timeout",
        "tokens_per_minute",
    )
}
_TEMPERATURE = 0.7
#: Parameters of the parts of `SiDyPClassifier`: what they were called there, and are in the part.
_OF_THE_ENCODER = {
    "n_branches": "n_branches",
    "encoder_epochs": "n_epochs",
    "alpha_coreg": "alpha_coreg",
}
_OF_THE_PRIOR = {
    name: name
    for name in (
        "n_neighbors",
        "correction",
        "certain_threshold",
        "dominant_threshold",
        "exclude_self",
    )
}
_OF_THE_DIFFUSION = {"diffusion_epochs": "n_epochs", "diffusion_lr": "lr"} | {
    name: name
    for name in (
        "simplex_value",
        "train_timesteps",
        "infer_timesteps",
        "n_resample",
        "resample_start",
        "warmup",
        "lambda_coreg",
        "hidden_dim",
        "readout",
        "n_chains",
    )
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


def _embedder(state):
    state.setdefault("long_texts", "truncate")  # what there was before the parameter
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


def _scorer(state):
    from sklfusion.llm.endpoint import SETTINGS, LLMEndpoint, endpoint_for_one

    values = _take(state, _OF_THE_ENDPOINT)
    temperature = state.pop("temperature", _TEMPERATURE)
    if state.get("strategy") == "votes" and temperature != _TEMPERATURE:
        said = values.get("request_params") or {}
        values["request_params"] = {"temperature": temperature, **said}
    embedder = state.pop("shot_embedder", None)
    if embedder is not None:
        state["shot_selection"] = embedder
    values = {name: value for name, value in values.items() if value != SETTINGS[name]}
    if values and isinstance(state["model"], LLMEndpoint):
        state["model"].set_params(**values)
    elif values:
        state["model"] = endpoint_for_one(state["model"], **values)
        if "usage_" in state:  # what was spent counts against the budget as before
            state["model"]._report = copy.deepcopy(state["usage_"])
    return state


def _sidyp(state):
    parts = {
        "encoder": ("MLPTrajectoryEncoder", _take(state, _OF_THE_ENCODER)),
        "prior": ("KNNLabelPrior", _take(state, _OF_THE_PRIOR)),
        "diffusion": ("LabelDiffusion", _take(state, _OF_THE_DIFFUSION)),
    }
    for place, (name, values) in parts.items():
        if values and state.get(place) is None:
            state[place] = _settings(name, values)
    return state


def _simplex(state):
    values = _take(state, _OF_THE_DIFFUSION | {"legacy": "legacy"})
    if values:
        state["diffusion"] = _settings("LabelDiffusion", {"hidden_dim": 64, **values})
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
    "LLMClassifier": _scorer,
    "LLMScorer": _scorer,
    "RobertaEmbedder": _embedder,
    "SiDyPClassifier": _sidyp,
    "SimplexDiffusionClassifier": _simplex,
}
