"""Questions to a served model: which it answers itself, and what an LLM says about the others."""

import shutil
import subprocess

import numpy as np
import pytest

from sklfusion import LLMScorer, persistence
from sklfusion.serve._decide import (
    DecisionQuestion,
    ZeroShot,
    choice_confidence,
    class_numbers,
    expected_level,
    restricted,
    score_confidence,
)
from sklfusion.testing import expected_label
from tests._bundles import make_auto
from tests._serving import serving

CLASSES = ["ham", "spam", "eggs"]


def _question(kind, *options, instructions="What is it?"):
    return DecisionQuestion(kind, instructions, options, (None,) * len(options))


@pytest.mark.parametrize(
    ("question", "numbers"),
    [
        (_question("choice", "eggs", "ham"), [2, 0]),
        (_question("choice", " eggs ", "ham"), [2, 0]),
        (_question("choice", "eggs", "Ham"), None),
        (_question("choice", "eggs", "bacon"), None),
        (_question("choice", "eggs", "eggs "), None),
        (_question("score", "ham", "spam", "eggs"), [0, 1, 2]),
        (_question("predicate", "spam"), [1]),
        (_question("predicate", "spam", "Is it junk?"), [1]),
        (_question("predicate", "not spam"), None),
    ],
)
def test_which_classes_are_meant(question, numbers):
    """All options or none; space around a name and its Unicode form do not count."""
    assert class_numbers(question, CLASSES, multilabel=False) == numbers


def test_names_are_compared_composed():
    """An accent may come as one character or two."""
    question = _question("choice", "cafe\u0301", "tea")
    assert class_numbers(question, ["caf\u00e9", "tea"], multilabel=False) == [0, 1]


def test_true_and_its_name_are_two_options():
    """A boolean class is a boolean option, and a string one a string."""
    assert class_numbers(_question("choice", True, False), [False, True], False) == [1, 0]
    assert class_numbers(_question("choice", True, False), ["False", "True"], False) is None
    assert class_numbers(_question("choice", "3", "4"), [3, 4], False) == [0, 1]


def test_several_labels_have_no_one_of_these():
    """Only predicates ask what such a model knows."""
    assert class_numbers(_question("choice", "ham", "spam"), CLASSES, multilabel=True) is None
    assert class_numbers(_question("predicate", "ham"), CLASSES, multilabel=True) == [0]


def test_restricted_to_some_classes():
    """The odds of what is left stay; a predicate is left as it is."""
    proba = np.array([0.1, 0.6, 0.3])
    choice = restricted(proba, _question("choice", "eggs", "ham"), [2, 0])
    assert choice.values == pytest.approx((0.75, 0.25))
    assert restricted(proba, _question("predicate", "spam"), [1]).values == (0.6,)
    nothing = restricted(np.array([0.0, 1.0, 0.0]), _question("choice", "ham", "eggs"), [0, 2])
    assert nothing.values == (0.5, 0.5)
    assert restricted(None, _question("choice", "ham", "eggs"), [0, 2]).values is None


def test_confidence_goes_from_chance_to_certain():
    """0 for the uniform answer, 1 for one option alone."""
    assert choice_confidence([0.25] * 4) == 0
    assert choice_confidence([1.0, 0.0]) == 1
    assert choice_confidence([1.0]) == score_confidence([1.0]) == 1
    assert score_confidence([0.0, 1.0, 0.0]) == 1
    assert score_confidence([1 / 3] * 3) == pytest.approx(0)
    assert score_confidence([0.5, 0.0, 0.0, 0.5]) == 0
    assert expected_level([0.2, 0.3, 0.5]) == pytest.approx(1.3)


# ------------------------------------------------------------------------------ an LLM is asked


@pytest.fixture
def llm(fault_server):
    return LLMScorer("m", base_url=fault_server.base_url, classes=CLASSES, strategy="label")


def test_an_llm_answers_what_the_model_cannot(llm, fault_server):
    """The options as classes, in one request per distinct text."""
    texts = ["one", "two", "one"]
    colours = ("red", "green", "blue")
    told = ZeroShot(llm).answer(_question("choice", *colours), texts)
    for text, decided in zip(texts, told, strict=True):
        assert decided.source == "zero_shot"
        assert sum(decided.values) == pytest.approx(1, abs=1e-12)
        assert colours[int(np.argmax(decided.values))] == expected_label(text, colours)
    assert fault_server.ledger().received == 2


def test_a_predicate_is_true_or_false(llm):
    """One number, the probability of true."""
    (told,) = ZeroShot(llm).answer(_question("predicate", "It is red."), ["one"])
    assert len(told.values) == 1
    assert (told.values[0] > 0.5) == (expected_label("one", ("true", "false")) == "true")


def test_one_option_is_certain_and_costs_nothing(llm, fault_server):
    """There is nothing to ask."""
    (told,) = ZeroShot(llm).answer(_question("choice", "red"), ["one"])
    assert told.values == (1.0,)
    assert fault_server.ledger().received == 0


def test_many_options_are_asked_about_in_groups(llm, fault_server):
    """All of them get a probability, they sum to 1, and the cost is one request per group."""
    options = tuple(f"option {n}" for n in range(150))
    (told,) = ZeroShot(llm).answer(_question("choice", *options), ["one"])
    assert len(told.values) == 150
    assert min(told.values) > 0
    assert sum(told.values) == pytest.approx(1, abs=1e-12)
    assert fault_server.ledger().received == 4


def test_true_and_its_name_are_told_apart(llm):
    """The LLM hears two names."""
    (told,) = ZeroShot(llm).answer(_question("choice", True, "true", False), ["one"])
    assert len(told.values) == 3


@pytest.mark.filterwarnings("ignore:LLMScorer got no usable answer")
def test_no_answer_is_none(fault_server):
    """Nothing is made up where the LLM said nothing."""
    mute = LLMScorer("m", base_url=fault_server.base_url, classes=CLASSES)
    fault_server.script({"fault": {"kind": "status", "status": 400}, "contains": "broken"})
    (told,) = ZeroShot(mute).answer(_question("choice", "red", "green"), ["broken"])
    assert told.values is None


@pytest.fixture(scope="module")
def news(tmp_path_factory):
    """A model whose classes the suite never asks about, without an LLM of its own."""
    texts = [f"{word} {n}" for n in range(8) for word in ("goal", "market", "vote")]
    model = make_auto(texts, ["ham", "spam", "spam"] * 8)
    path = tmp_path_factory.mktemp("open") / "news.sklf"
    persistence.save(model, path)
    return path


@pytest.mark.nightly
@pytest.mark.models
def test_jevcompat_passes_every_must(news):
    """The public suite of the System One format, in mode open, with the embedded LLM."""
    suite = shutil.which("jevcompat")
    if suite is None:
        pytest.skip("jevcompat is not on the path (pip install jevcompat, in any environment)")
    with serving(news, "--mode", "open") as running:
        done = subprocess.run(
            [suite, "test", running.url], capture_output=True, text=True, timeout=800, check=False
        )
    assert " MUST 32/32" in done.stdout, done.stdout[-3000:]
