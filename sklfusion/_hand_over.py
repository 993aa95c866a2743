"""Settings of a whole, handed to the parts that a user built: used, or refused, never dropped."""

import os

import numpy as np

from sklfusion._idle import warn_without_effect
from sklfusion._validation import plain_label
from sklfusion.llm.endpoint import clone_at_endpoint, names_a_model

# What a setting that nobody set looks like; None elsewhere.
_UNSET = {"verbose": 0, "multilabel": False}
# Settings in which a part may differ from the whole: its own value stays.
_OWN_STAYS = ("classes", "verbose", "random_state")
# Settings that only an LLM can use; for any other part they would be lost.
_FOR_AN_LLM = ("class_descriptions", "instructions")


def hand_over(part, *, caller, role, **settings):
    """Return a part of a composite estimator with the settings of the whole.

    A setting goes to the part where the part has such a parameter and did not set it itself.

    Parameters
    ----------
    part : estimator
        A scorer, an embedder or a head; it is not changed. Parts that are not of sklfusion keep
        what they have: their ``memory`` may mean something else.
    caller, role : str
        The whole and its parameter that holds the part, for messages.
    **settings
        Values of the whole; None (``verbose`` 0, ``multilabel`` False) is not set.

    Returns
    -------
    estimator
        ``part`` itself where nothing is to be told, else a changed clone.

    Raises
    ------
    ValueError
        If whole and part both set something and differ (``classes``, ``verbose`` and
        ``random_state``: the part's own stays).

    Warns
    -----
    DataWarning
        If the part cannot use a description or an instruction.
    """
    own = part.get_params(deep=False) if _is_ours(part) else {}
    told, lost = {}, []
    for name, value in settings.items():
        if _is_unset(name, value):
            continue
        if name not in own:
            lost += [name] * (name in _FOR_AN_LLM)
        elif _is_unset(name, own[name]):
            told[name] = value
        elif name not in _OWN_STAYS and not _same_setting(name, own[name], value):
            raise ValueError(
                f"{caller} got {name}={value!r}, and its {role} has {name}={own[name]!r}. "
                "Set it in one place, or the same in both."
            )
    if lost:
        warn_without_effect(caller, lost, f"{role}={type(part).__name__} asks no LLM")
    return clone_at_endpoint(part).set_params(**told) if told else part


def _is_ours(part):
    return any(kind.__module__.startswith("sklfusion.") for kind in type(part).__mro__)


def _is_unset(name, value):
    return value is None or (name in _UNSET and value == _UNSET[name])


def _same_setting(name, a, b):
    if name == "memory":
        return _location(a) == _location(b)
    if name == "class_descriptions":
        return _described(a) == _described(b)
    return bool(np.all(a == b))


def _location(memory):
    location = getattr(memory, "location", memory)
    return None if location is None else os.path.abspath(os.path.expanduser(location))


def _described(descriptions):
    return {plain_label(label): text for label, text in descriptions.items()}


def asks_unnamed(llm):
    """Whether an LLM, by name, endpoint or estimator, takes its class names from y alone."""
    if names_a_model(llm):
        return True
    own = llm.get_params(deep=False) if hasattr(llm, "get_params") else {}
    return (
        "class_descriptions" in own
        and not own["class_descriptions"]
        and own.get("classes") is None
    )
