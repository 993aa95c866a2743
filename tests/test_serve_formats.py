"""What each format says: questions read, answers written, and what a model tells of itself."""

import contextlib
import json
import socket

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline

from sklfusion import LLMScorer
from sklfusion._scores import ScoreBlock, ScoreColumns
from sklfusion.exceptions import BudgetExceededError, SklFusionError
from sklfusion.models import DEFAULT_LLM
from sklfusion.serve import ServiceSettings
from sklfusion.serve._batcher import as_refused
from sklfusion.serve._body import _check_media_type, parse_strict
from sklfusion.serve._decide import Decided, DecisionQuestion, refuse_unknown
from sklfusion.serve._decisions import (
    QuestionParam,
    UserMessage,
    _decision_answer,
    _input_text,
    _read_param,
)
from sklfusion.serve._door import _host
from sklfusion.serve._errors import Refusal, body_at
from sklfusion.serve._metrics import ServiceMetrics
from sklfusion.serve._predict import as_json
from sklfusion.serve._run import _listen
from sklfusion.serve._served import ServedModel, SourceView, TextAnswer, said_by
from sklfusion.serve._service import _llm_of
from sklfusion.serve._systemone import (
    SystemOneQuestion,
    _read_question,
    _state_text,
    _system_one_answer,
)

CLASSES = ["eggs", "ham", "spam"]


def param(**body):
    return _read_param(TypeAdapter(QuestionParam).validate_python(body), 3)


def question(**body):
    return _read_question("q", TypeAdapter(SystemOneQuestion).validate_python(body))


# -- questions -----------------------------------------------------------------------------


def test_questions_of_decisions_are_read():
    """Options with their descriptions; parts of instructions are lines."""
    parts = [{"type": "input_text", "text": part} for part in ("What", "is it?")]
    choices = [{"value": True}, {"value": "true", "description": "the word"}]
    read = param(type="choice", instructions=parts, choices=choices)
    assert read == DecisionQuestion(
        "choice", "What\nis it?", (True, "true"), (None, "the word"), ("questions", 3)
    )
    levels = [{"label": "low"}, {"label": "high", "description": "very"}]
    read = param(type="score", instructions="How?", levels=levels)
    assert (read.options, read.descriptions) == (("low", "high"), (None, "very"))
    read = param(type="predicate", instructions="spam")
    assert read.options == ("spam",)
    assert read.content == param(type="predicate", instructions="spam").content
    assert read.content.where == ()


def test_messages_are_lines_of_one_text():
    """Whole messages and parts of them."""
    body = [
        {"role": "user", "content": "one"},
        {"role": "user", "content": [{"type": "input_text", "text": t} for t in ("two", "three")]},
    ]
    messages = TypeAdapter(list[UserMessage]).validate_python(body)
    assert _input_text(messages) == "one\ntwo\nthree"
    assert _input_text("as it is") == "as it is"


@pytest.mark.parametrize(
    ("body", "code", "where"),
    [
        ({"type": "predicate", "instructions": " "}, "empty", "instructions"),
        (
            {"type": "choice", "instructions": "x", "choices": [{"value": "a"}, {"value": " "}]},
            "empty",
            1,
        ),
        (
            {"type": "choice", "instructions": "x", "choices": [{"value": "a"}] * 2},
            "duplicate",
            1,
        ),
        ({"type": "score", "instructions": "x", "levels": [{"label": "a"}] * 2}, "duplicate", 1),
    ],
)
def test_questions_without_sense_name_their_place(body, code, where):
    """Refused as a fault of the caller, with the way to it."""
    with pytest.raises(Refusal) as caught:
        param(**body)
    assert (caught.value.status, caught.value.code) == (422, code)
    assert caught.value.where[:2] == ("questions", 3)
    assert caught.value.where[-1] == where


@pytest.mark.parametrize(
    "body",
    [
        {"type": "choice", "instructions": "x", "choices": [{"value": "a"}]},
        {"type": "choice", "instructions": "x", "choices": [{"value": 1}, {"value": "a"}]},
        {"type": "score", "instructions": "x", "levels": [{"label": ""}, {"label": "b"}]},
        {"type": "riddle", "instructions": "x"},
        {"type": "predicate"},
    ],
)
def test_questions_of_another_shape_are_refused(body):
    """By the schema that /openapi.json shows."""
    with pytest.raises(ValidationError):
        param(**body)


def test_questions_of_system_one_are_read():
    """Criteria may be any JSON; what is no text is shown as JSON."""
    read = question(type="choice", criteria={"a": None, "b": {"x": "é"}, "c": ""})
    assert read.options == ("a", "b", "c")
    assert read.descriptions == (None, '{"x": "é"}', None)
    read = question(type="score", instructions=["How?"], criteria=["low", 2])
    assert (read.instructions, read.options) == ('["How?"]', ("low", "2"))
    read = question(type="noul", instructions="spam", criteria={"true": "junk", "false": None})
    assert read.options == ("junk", "spam")
    assert read.instructions == "spam\nAnswer true when: junk"
    assert _state_text({"a": [1, "é"]}) == '{"a": [1, "é"]}'


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"type": "noul"}, "empty"),
        ({"type": "noul", "criteria": {"false": "never"}}, "empty"),
        ({"type": "score", "criteria": ["low", None]}, "null_level"),
        ({"type": "score", "criteria": ["low", "low"]}, "duplicate"),
        ({"type": "choice", "criteria": {"": "nothing"}}, "empty"),
    ],
)
def test_questions_of_system_one_without_sense(body, code):
    """Under their own id."""
    with pytest.raises(Refusal) as caught:
        question(**body)
    assert caught.value.code == code
    assert caught.value.where[:2] == ("questions", "q")


@pytest.mark.parametrize(
    ("kind", "multilabel", "words"),
    [
        ("predicate", False, "the name of one class"),
        ("choice", False, "one of its classes"),
        ("choice", True, "one predicate per label"),
    ],
)
def test_what_the_model_knows_is_told(kind, multilabel, words):
    """With the way to ask it; of many classes the first twenty."""
    asked = DecisionQuestion(kind, "?", ("bacon",), (None,), ("questions", 0))
    told = refuse_unknown(asked, CLASSES, multilabel)
    assert words in told.message
    assert told.message.endswith("It has 'eggs', 'ham', 'spam'.")
    many = refuse_unknown(asked, [f"c{n}" for n in range(30)], multilabel)
    assert "'c19', ..." in many.message
    assert "'c20'" not in many.message


# -- answers -------------------------------------------------------------------------------


def test_answers_of_decisions():
    """Choices and levels with their probabilities; no answer is a refusal."""
    asked = DecisionQuestion("choice", "?", ("a", True), (None, None))
    told = _decision_answer("mine", asked, Decided((0.25, 0.75), "fused"))
    assert (told["name"], told["choice"], told["x_source"]) == ("mine", True, "fused")
    assert told["probabilities"][1] == {"value": True, "probability": 0.75}
    assert told["confidence"] == pytest.approx(0.5)
    asked = DecisionQuestion("score", "?", ("low", "high"), (None, None))
    told = _decision_answer(None, asked, Decided((0.25, 0.75), "zero_shot"))
    assert told["score"] == 0.75
    assert told["probabilities"][0] == {"value": 0, "label": "low", "probability": 0.25}
    asked = DecisionQuestion("predicate", "?", ("spam",), (None,))
    assert _decision_answer(None, asked, Decided((0.3,), "fused"))["probability"] == 0.3
    told = _decision_answer(None, asked, Decided(None, "fused"))
    assert told == {"type": "refusal", "name": None, "x_source": "fused"}


def test_answers_of_system_one():
    """By option, by level, or one number."""
    asked = DecisionQuestion("choice", "?", ("a", "b"), (None, None))
    told = _system_one_answer(asked, Decided((0.9, 0.1), "fused"), {"a": None, "b": None})
    assert (told["choice"], told["probabilities"]) == ("a", {"a": 0.9, "b": 0.1})
    asked = DecisionQuestion("score", "?", ("low", "high"), (None, None))
    told = _system_one_answer(asked, Decided((0.25, 0.75), "fused"), ["low", "high"])
    assert told["legend"] == {"0": "low", "1": "high"}
    assert told["score"] == 0.75
    asked = DecisionQuestion("predicate", "?", ("spam",), (None,))
    told = _system_one_answer(asked, Decided((0.3,), "fused"), None)
    assert told == {"type": "noul", "noul": 0.3, "x_source": "fused"}


def test_predictions_are_plain_values():
    """What no source said is null; sources can be left out."""
    served = ServedModel(_words())
    view = SourceView("llm", None, 0.5, np.array([1.0, -1.0]))
    answer = TextAnswer("ham", np.array([0.75, 0.25]), [view], asked=True, doubt=0.1)
    told = as_json(answer, served, sources=True)
    assert json.loads(json.dumps(told)) == told
    assert told["probabilities"] == {"ham": 0.75, "spam": 0.25}
    assert told["sources"] == [
        {
            "name": "llm",
            "trust": 0.5,
            "probabilities": None,
            "log_odds": {"ham": 1.0, "spam": -1.0},
        }
    ]
    assert told["asked_llm"]
    short = as_json(TextAnswer(None, None), served, sources=False)
    assert short == {"label": None, "probabilities": None}


# -- what a model says ---------------------------------------------------------------------


def _words(y=("ham", "spam"), texts=("good mail", "bad junk"), head=None):
    """A small fitted pipeline of texts."""
    head = LogisticRegression() if head is None else head
    return make_pipeline(TfidfVectorizer(), head).fit(list(texts) * 5, list(y) * 5)


def test_classes_stay_numbers_and_names_are_texts():
    """A caller gets the label that the model was fitted with."""
    served = ServedModel(_words(y=(3, 7)))
    (answer,) = served.answer(["good mail"])
    assert (answer.label, served.names, served.thresholds) == (3, ["3", "7"], {})
    assert type(answer.label) is int


def test_a_row_without_probabilities_has_no_label():
    """NaN is no opinion, and not the first class."""

    class Silent:
        classes_ = np.array(["a", "b"])

        def predict_proba(self, X):
            return np.array([[0.2, 0.8], [np.nan, np.nan]])[: len(X)]

    told = ServedModel(Silent()).answer(["one", "two"])
    assert [(answer.label, answer.proba is None) for answer in told] == [
        ("b", False),
        (None, True),
    ]


def test_several_labels_of_a_plain_model_go_by_its_own_predict():
    """It may cut elsewhere than at one half."""
    model = OneVsRestClassifier(LogisticRegression())
    model = make_pipeline(TfidfVectorizer(), model)
    model.fit(["good mail", "bad junk"] * 5, np.array([[1, 0], [0, 1]] * 5))
    model.multilabel_ = True
    served = ServedModel(model)
    assert served.multilabel
    assert served.thresholds == {"label": 0.5}
    assert [answer.label for answer in served.answer(["good", "junk"])] == [[0], [1]]


def _scores(values, classes, scale, answered):
    block = ScoreBlock("llm", np.arange(len(classes)), classes=np.array(classes), scale=scale)
    return ScoreColumns(np.array(values), [block], np.array(answered)[:, None])


def test_scores_of_every_scale_become_probabilities_by_name():
    """In the order of the model's classes; a row without an answer is NaN."""
    p = np.array([[0.7, 0.2, 0.1], [1 / 3] * 3])
    order = ["spam", "eggs", "ham"]
    for scale, values in (("proba", p), ("log_proba", np.log(p))):
        (told,) = said_by(_scores(values, order, scale, [True, False]), CLASSES, False)
        np.testing.assert_allclose(told[0], [0.2, 0.1, 0.7])
        assert np.isnan(told[1]).all()
    (told,) = said_by(_scores([[0.0, 2.0, -2.0]], order, "logit", [True]), CLASSES, True)
    np.testing.assert_allclose(told[0], 1 / (1 + np.exp([-2.0, 2.0, 0.0])))


def test_scores_of_other_classes_are_left_out():
    """Codes of y go by the sorted names; what cannot be matched is not shown as if it could."""
    p = [[0.7, 0.3]]
    (told,) = said_by(_scores(p, ["spam", "ham"], "proba", [True]), ["0", "1"], False)
    np.testing.assert_allclose(told, [[0.3, 0.7]])
    assert said_by(_scores(p, ["a", "b"], "proba", [True]), CLASSES, False) == []
    assert said_by(None, CLASSES, False) == []


def test_whose_llm_answers_other_questions():
    """The one that is named, that of the model, or the embedded one."""

    class Model:
        scorer_ = LLMScorer("openai/m", classes=CLASSES)

    assert _llm_of(Model(), ServiceSettings(mode="open")) is Model.scorer_
    named = ServiceSettings(mode="open", zero_shot="openai/other")
    assert _llm_of(Model(), named) == "openai/other"
    assert _llm_of(object(), ServiceSettings(mode="open")) == DEFAULT_LLM


# -- bodies, doors and errors --------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "not JSON: Expecting value at character 0"),
        (b"\xff", "not UTF-8"),
        (b'{"a": Infinity}', "Infinity is not JSON"),
        (b"[1e999]", "larger than any number"),
        (b"[" + b"9" * 10_000 + b"]", "a number is too long"),
        (b'["\\ud800"]', "half a character"),
        (b'{"\\udc00": 1}', "half a character"),
        (b"[" * 100_000, "deeper than 64"),
        (b'{"a":' * 65 + b"1" + b"}" * 65, "deeper than 64"),
    ],
)
def test_bodies_that_are_no_json(body, words):
    """Each with its own word, none with what was sent."""
    with pytest.raises(Refusal, match=words) as caught:
        parse_strict(body)
    assert caught.value.status == 400


@pytest.mark.parametrize(
    "said", ["application/json", "Application/JSON; charset=utf-8", "a/b+json"]
)
def test_media_types_of_json(said):
    """Whatever the case and the parameters."""
    _check_media_type(said)


@pytest.mark.parametrize("said", ["", "text/plain", "application/x-www-form-urlencoded", "json"])
def test_what_a_page_elsewhere_could_send_is_refused(said):
    """Without a preflight, a browser sends no JSON by name."""
    with pytest.raises(Refusal, match="Content-Type: application/json") as caught:
        _check_media_type(said)
    assert caught.value.status == 415


@pytest.mark.parametrize(
    ("said", "host"),
    [
        ("localhost:8000", "localhost"),
        ("LOCALHOST", "localhost"),
        ("127.0.0.1", "127.0.0.1"),
        ("[::1]:8000", "::1"),
        ("[::1]", "::1"),
        ("", ""),
    ],
)
def test_a_host_without_its_port(said, host):
    """As it is compared with those that are served."""
    assert _host(said) == host


def test_what_a_caller_hears_of_a_failure(caplog):
    """The kind of error; its words may quote a text, and stay out of reply and log."""
    told = as_refused(ZeroDivisionError("secret"))
    assert (told.status, told.code) == (500, "model_failed")
    again = as_refused(BudgetExceededError("secret"))
    assert (again.status, again.headers["Retry-After"]) == (503, "5")
    assert as_refused(told) is told
    assert "ZeroDivisionError" in told.message
    assert "secret" not in told.message + again.message + caplog.text


def test_a_status_without_a_name_has_a_type():
    """Callers of the OpenAI SDK switch on it."""
    told = body_at("/predict", Refusal(418, "Why."))["error"]
    assert (told["type"], told["param"]) == ("api_error", None)
    told = body_at("/v1/systemone", Refusal(503, "Why."))["detail"]
    assert told == {"error_type": "overloaded_error", "message": "Why."}


def test_two_services_count_apart():
    """In one process, as in tests of whoever embeds the app."""
    one, other = ServiceMetrics(), ServiceMetrics()
    one.batch(3, 0.02)
    one.requests.labels("/predict", "200").inc()
    page = one.page().decode()
    assert "sklfusion_batch_texts_sum 3.0" in page
    assert 'sklfusion_requests_total{route="/predict",status="200"} 1.0' in page
    assert "sklfusion_batch_texts_sum 0.0" in other.page().decode()


def test_a_free_port_is_found_and_a_taken_one_told():
    """Before the model is loaded, which takes long."""
    with contextlib.closing(_listen("127.0.0.1", 0)) as made:
        made.listen()
        port = made.getsockname()[1]
        assert port > 0
        with pytest.raises(SklFusionError, match=f"Port {port} of 127.0.0.1 is in use"):
            _listen("127.0.0.1", port)
    with contextlib.closing(_listen("127.0.0.1", port)) as again:  # free again at once
        assert again.family == socket.AF_INET
