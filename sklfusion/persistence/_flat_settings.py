"""Scorers in older files: where to ask stood in the scorer, and not in its endpoint."""

import copy

#: Parameters that went to the endpoint under their own name.
_SETTINGS = (
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
_USUAL_TEMPERATURE = 0.7


def with_endpoint(state):
    """Return the state of an LLMScorer or LLMClassifier with its settings where they are now.

    Parameters
    ----------
    state : dict
        What the file holds, built; a state of today comes back as it is.

    Returns
    -------
    dict
    """
    from sklfusion.llm.endpoint import SETTINGS, LLMEndpoint, endpoint_for_one

    given = {name: state[name] for name in _SETTINGS if name in state}
    gone = {*given, "temperature", "shot_embedder"} & set(state)
    if not gone:
        return state
    temperature = state.get("temperature", _USUAL_TEMPERATURE)
    if state.get("strategy") == "votes" and temperature != _USUAL_TEMPERATURE:
        said = given.get("request_params") or {}
        given["request_params"] = {"temperature": temperature, **said}
    folded = {name: value for name, value in state.items() if name not in gone}
    if state.get("shot_embedder") is not None:
        folded["shot_selection"] = state["shot_embedder"]
    given = {name: value for name, value in given.items() if value != SETTINGS[name]}
    if given and not isinstance(state["model"], LLMEndpoint):
        folded["model"] = endpoint_for_one(state["model"], **given)
        if "usage_" in state:  # what was spent counts against the budget as before
            folded["model"]._report = copy.deepcopy(state["usage_"])
    elif given:
        folded["model"].set_params(**given)
    return folded
