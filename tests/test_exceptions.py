"""Errors are plain: one tree, and nothing is lost on the way through a worker process."""

import copy
import inspect
import pickle

import pytest

from sklfusion import exceptions

ALL = [
    value
    for value in vars(exceptions).values()
    if inspect.isclass(value) and value.__module__ == exceptions.__name__
]


def test_one_except_clause_catches_all_errors():
    """Every class is an error of the package or a warning of it, and none is both."""
    for cls in ALL:
        error, warning = (
            issubclass(cls, base)
            for base in (exceptions.SklFusionError, exceptions.SklFusionWarning)
        )
        assert error != warning, cls


def test_the_tree_at_the_top_of_the_file_is_the_tree():
    """Each name stands there once, below the class that it derives from."""
    above, lines = [], {}
    for line in exceptions.__doc__.splitlines():
        name = next((cls.__name__ for cls in ALL if f" {cls.__name__} " in f"{line} "), None)
        if name:
            indent = line.index(name)
            above = [(i, n) for i, n in above if i < indent]
            lines[name] = above[-1][1] if above else None
            above.append((indent, name))
    assert lines.keys() == {cls.__name__ for cls in ALL}
    for cls in ALL:
        if lines[cls.__name__] is not None:
            assert lines[cls.__name__] in {base.__name__ for base in cls.__bases__}


@pytest.mark.parametrize("send", [copy.copy, lambda e: pickle.loads(pickle.dumps(e))])
@pytest.mark.parametrize("cls", [c for c in ALL if issubclass(c, exceptions.EndpointError)])
def test_what_an_endpoint_said_survives_a_process(cls, send):
    """All fields, and the message reads the same."""
    error = cls("It said no; wait.", status=503, code="busy", origin="https://host:8443")
    again = send(error)
    assert type(again) is cls
    assert str(again) == str(error) == "It said no; wait."
    fields = (again.message, again.status, again.code, again.origin)
    assert fields == ("It said no; wait.", 503, "busy", "https://host:8443")


@pytest.mark.parametrize("cls", ALL)
def test_every_class_can_be_sent_with_a_message_alone(cls):
    """joblib pickles whatever a worker raises or warns of."""
    again = pickle.loads(pickle.dumps(cls("why")))
    assert type(again) is cls
    assert str(again) == "why"
    assert cls.__doc__


def test_what_scikit_learn_users_catch_is_caught():
    """A training that diverges is a ValueError; grid searches then set error_score."""
    with pytest.raises(ValueError, match="nan"):
        raise exceptions.TrainingDivergedError("nan")
