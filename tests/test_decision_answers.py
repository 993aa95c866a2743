"""What answers to typed questions say, which are none, and when decisions are asked for."""

import json
import warnings

import numpy as np
import pytest
from sklearn.base import clone

from sklfusion import (
    AutoFusionClassifier,
    CascadeClassifier,
    LLMClassifier,
    LLMEndpoint,
    LLMScorer,
)
from sklfusion.exceptions import BudgetExceededError, EndpointError, ModelNotFoundError
from sklfusion.exceptions import ScoringWarning as Warned
from sklfusion.llm._decision_wire import decision_body, decision_reply
from sklfusion.llm.deciders import DECIDERS, Decider, decider_of, register_decider
from sklfusion.persistence import load, save
from sklfusion.prompts import ReplyError
from sklfusion.prompts._decisions import read_decisions

CHOICE = {
    "type": "choice",
    "instructions": "?",
    "choices": [{"value": v} for v in ("a", "b", "c")],
}
PREDICATE = {"type": "predicate", "instructions": "?"}
CLASSES = ["sport", "food"]


def content(answers, dialect="openai"):
    """What the store keeps of a reply."""
    return json.dumps({"dialect": dialect, "answers": answers})


def listed(*pairs, **fields):
    """An answer to a choice in the OpenAI dialect."""
    said = [{"value": value, "probability": p} for value, p in pairs]
    return {"type": "choice", "choice": "a", "confidence": 0.1, "probabilities": said, **fields}


def read_choice(*pairs, **fields):
    """The probabilities of one choice."""
    return read_decisions(content([listed(*pairs, **fields)]), [CHOICE])


# ------------------------------------------------------------------------------------- reading


def test_options_are_found_by_name_whatever_their_order():
    """Of a list and of a map."""
    said = read_choice(("c", 0.125), ("a", 0.625), ("b", 0.25))
    assert said.values == ((0.625, 0.25, 0.125),)
    mapped = {"0": {"probabilities": {"b": 0.25, "c": 0.125, "a": 0.625}, "x_more": 1}}
    assert read_decisions(content(mapped, "systemone"), [CHOICE]).values == said.values


def test_names_may_come_back_composed_otherwise_or_in_another_case():
    """As long as there is one reading."""
    question = {**CHOICE, "choices": [{"value": "Caf\u00e9"}, {"value": "Bar"}]}
    said = [listed(("cafe\u0301", 0.75), ("BAR", 0.25))]
    assert read_decisions(content(said), [question]).values == ((0.75, 0.25),)
    twins = {**CHOICE, "choices": [{"value": "a"}, {"value": "A"}]}
    assert read_decisions(content([listed(("A", 0.75), ("a", 0.25))]), [twins]).values == (
        (0.25, 0.75),
    )
    with pytest.raises(ReplyError, match="malformed"):
        read_decisions(content([listed(("a", 0.75), ("a ", 0.25))]), [twins])


def test_a_gateway_may_make_a_boolean_of_a_name():
    """The string "true" was asked."""
    question = {**CHOICE, "choices": [{"value": "true"}, {"value": "false"}]}
    said = [listed((True, 0.75), (False, 0.25))]
    assert read_decisions(content(said), [question]).values == ((0.75, 0.25),)


def test_confidence_and_choice_are_not_read():
    """They follow another formula at every endpoint."""
    said = read_choice(("a", 0.2), ("b", 0.7), ("c", 0.1), choice="zebra", confidence=float("nan"))
    assert said.values[0] == pytest.approx((0.2, 0.7, 0.1))


MALFORMED = {
    "no list": {"0": listed(("a", 0.5), ("b", 0.25), ("c", 0.25))},
    "fewer answers": [],
    "more answers": [listed(("a", 0.5), ("b", 0.25), ("c", 0.25))] * 2,
    "no object": [0.5],
    "missing option": [listed(("a", 0.5), ("b", 0.5))],
    "foreign option": [listed(("a", 0.5), ("b", 0.25), ("z", 0.25))],
    "further option": [listed(("a", 0.5), ("b", 0.25), ("c", 0.25), ("d", 0.0))],
    "option twice": [listed(("a", 0.5), ("b", 0.25), ("b", 0.25))],
    "nan": [listed(("a", float("nan")), ("b", 0.5), ("c", 0.5))],
    "infinite": [listed(("a", float("inf")), ("b", 0.5), ("c", 0.5))],
    "negative": [listed(("a", -0.5), ("b", 0.75), ("c", 0.75))],
    "above one": [listed(("a", 1.5), ("b", 0.0), ("c", 0.0))],
    "text": [listed(("a", "0.5"), ("b", 0.25), ("c", 0.25))],
    "boolean": [listed(("a", True), ("b", 0.0), ("c", 0.0))],
    "null": [listed(("a", None), ("b", 0.5), ("c", 0.5))],
    "sum of zero": [listed(("a", 0.0), ("b", 0.0), ("c", 0.0))],
    "sum too small": [listed(("a", 0.3), ("b", 0.3), ("c", 0.3))],
    "sum too large": [listed(("a", 0.5), ("b", 0.4), ("c", 0.2))],
    "number as option": [listed((1, 0.5), ("b", 0.25), ("c", 0.25))],
    "other type": [{"type": "predicate", "probability": 0.5}],
    "unknown type": [{"type": "poem", "probabilities": []}],
    "no probabilities": [{"type": "choice", "choice": "a", "confidence": 1.0}],
    "other name": [listed(("a", 0.5), ("b", 0.25), ("c", 0.25), name="1")],
}


@pytest.mark.parametrize("what", MALFORMED)
def test_anything_else_is_no_answer(what):
    """Never a guess."""
    with pytest.raises(ReplyError) as caught:
        read_decisions(content(MALFORMED[what]), [CHOICE])
    assert caught.value.cause == "malformed_answer"


BY_ID = {
    "fewer": {"0": {"noul": 0.5}},
    "foreign id": {"0": {"noul": 0.5}, "2": {"noul": 0.5}},
    "further id": {"0": {"noul": 0.5}, "1": {"noul": 0.5}, "2": {"noul": 0.5}},
    "a list": [{"noul": 0.5}, {"noul": 0.5}],
    "no object": {"0": {"noul": 0.5}, "1": 0.5},
    "no number": {"0": {"noul": 0.5}, "1": {"noul": None}},
    "other type": {"0": {"noul": 0.5}, "1": {"type": "score", "score": 0.5}},
}


@pytest.mark.parametrize("what", BY_ID)
def test_maps_have_every_id_and_no_other(what):
    """Fields of the endpoint's own, x_..., do no harm."""
    with pytest.raises(ReplyError, match="malformed_answer"):
        read_decisions(content(BY_ID[what], "systemone"), [PREDICATE] * 2)
    sound = {"1": {"noul": 0.25}, "0": {"type": "noul", "noul": 0.5}, "x_mass": 0.9}
    said = read_decisions(content(sound, "systemone"), [PREDICATE] * 2)
    assert said.values == ((0.5,), (0.25,))


def test_names_out_of_order_are_no_answer():
    """A list is in the order asked; names that say otherwise contradict it."""
    answers = [{"type": "predicate", "probability": p, "name": n} for p, n in ((0.1, 1), (0.9, 0))]
    swapped = [{**answer, "name": str(answer["name"])} for answer in answers]
    with pytest.raises(ReplyError, match="malformed_answer"):
        read_decisions(content(swapped), [PREDICATE] * 2)
    unnamed = [{**answer, "name": None} for answer in answers]
    assert read_decisions(content(unnamed), [PREDICATE] * 2).values == ((0.1,), (0.9,))


def test_a_refused_question_has_no_value():
    """The others have theirs."""
    answers = [{"type": "refusal", "name": "0"}, {"type": "predicate", "probability": 0.75}]
    assert read_decisions(content(answers), [PREDICATE] * 2).values == (None, (0.75,))


# ------------------------------------------------------------------------------------ rounding


@pytest.mark.parametrize("unit", [0.01, 0.001, 0.0001])
def test_a_zero_of_rounding_becomes_half_the_unit(unit):
    """Else the log of a class that happens is infinite."""
    said = read_choice(("a", 1 - 7 * unit), ("b", 7 * unit), ("c", 0.0))
    assert said.unit == unit
    a, b, c = said.values[0]
    assert a + b + c == pytest.approx(1, abs=1e-12)
    assert c == pytest.approx(unit / 2 / (1 + unit / 2))
    assert a > b > c


@pytest.mark.parametrize("total", [0.99, 1.02])
def test_sums_that_rounding_leaves_are_made_one(total):
    """And said."""
    said = read_choice(("a", 0.5), ("b", 0.4), ("c", round(total - 0.9, 2)))
    assert sum(said.values[0]) == pytest.approx(1, abs=1e-12)
    assert (said.unit, said.normalised) == (0.01, False)


def test_what_is_exact_stays_as_it_is():
    """Round numbers that sum to one need no repair, and bare zeros of others are not rounding."""
    said = read_choice(("a", 0.5), ("b", 0.25), ("c", 0.25))
    assert (said.values[0], said.unit, said.normalised) == ((0.5, 0.25, 0.25), 0.0, False)
    third = 1 / 3
    said = read_choice(("a", third), ("b", 2 * third), ("c", 0.0))
    assert (said.values[0][2], said.unit) == (0.0, 0.0)


def test_a_sum_that_is_off_without_rounding_is_told_too():
    """Within the tolerance."""
    said = read_choice(("a", 0.512345), ("b", 0.3), ("c", 0.2))
    assert sum(said.values[0]) == pytest.approx(1, abs=1e-12)
    assert (said.unit, said.normalised) == (0.0, True)


def test_predicates_are_kept_off_both_ends():
    """Of a reply that rounds."""
    answers = [{"type": "predicate", "probability": p} for p in (0.0, 0.3, 1.0)]
    said = read_decisions(content(answers), [PREDICATE] * 3)
    assert said.values == ((0.005,), (0.3,), (0.995,))
    assert said.unit == 0.01


def test_meta_and_usage_tell_of_rounding(fault_server):
    """With the unit, from the endpoint to the annotations."""
    rounds = {"kind": "rounded", "decimals": 1}
    fault_server.reset(decisions=True, script=[{"fault": {**rounds, "decimals": 2}}])
    classes = [f"c{n}" for n in range(30)]  # 0.1 / 29 rounds to 0.00
    s = judge(fault_server, classes=classes)
    annotations = s.annotate(["about c3", "about c4"])
    assert annotations.meta["flags"] == {"rounded_to_0.01": 2}
    assert s.usage_.flags == {"rounded_to_0.01": 2}
    assert (annotations.probs > 0.004).all()
    np.testing.assert_allclose(annotations.probs.sum(axis=1), 1)


# --------------------------------------------------------------------------------- on the wire


def judge(server, kind=LLMScorer, model="judge", **params):
    """An estimator that asks for decisions, fitted."""
    made = {"classes": CLASSES, "strategy": "decision", "base_url": server.base_url, **params}
    return kind(model, **made).fit(["any"])


def quiet(call):
    """What a call returns, whatever it warns of."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Warned)
        return call()


@pytest.mark.parametrize("dialect", ["openai", "systemone"])
def test_a_malformed_answer_is_asked_for_once_more(fault_server, dialect):
    """It was paid for; then the row abstains with its cause."""
    served = {"/v1/x": dialect}
    fault = {"kind": "content", "content": [] if dialect == "openai" else {}}
    rules = [
        {"fault": fault, "contains": "once", "attempts": [1]},
        {"fault": fault, "contains": "always"},
    ]
    fault_server.reset(decisions=served, script=rules)
    s = judge(fault_server, path="x")
    annotations = quiet(lambda: s.annotate(["food", "once sport", "always sport"]))
    assert annotations.status.tolist() == ["ok", "ok", "parse_error"]
    assert annotations.meta["causes"] == {"malformed_answer": 1}
    ledger = fault_server.ledger()
    assert ledger.billed == s.usage_.requests == 1 + 2 + 2
    assert s.usage_.reparsed == 2


def test_nan_on_the_wire_is_malformed(fault_server):
    """Python's JSON reads it; nobody takes it for a probability."""
    fields = {"answers": {0: {"probabilities": {0: {"probability": float("nan")}}}}}
    fault_server.reset(decisions=True, script=[{"fault": {"kind": "merge", "fields": fields}}])
    annotations = quiet(lambda: judge(fault_server).annotate(["food"]))
    assert annotations.meta["causes"] == {"malformed_answer": 1}


def test_an_endpoint_without_the_route_is_a_typed_failure(fault_server):
    """Per row, with the ways that were tried; many rows end the run."""
    annotations = quiet(lambda: judge(fault_server).annotate(["food", "sport"]))
    assert annotations.meta["causes"] == {"no_route": 2}
    assert annotations.status.tolist() == ["transport_error"] * 2
    with pytest.raises(EndpointError, match=r"no route for decisions.*decisions \(openai\)"):
        judge(fault_server).annotate([f"sport {n}" for n in range(40)])
    assert fault_server.ledger().billed == 0


def test_a_wrong_model_is_told_as_such(fault_server):
    """It is the user's to correct, not a matter of dialects."""
    body = {"error": {"message": "Unknown model: jav-latest"}}
    fault = {"kind": "status", "status": 400, "body": body}
    fault_server.reset(decisions=True, script=[{"fault": fault}])
    with pytest.raises(ModelNotFoundError, match="jav-latest"):
        judge(fault_server, model="jav-latest").annotate(["food"])
    assert fault_server.ledger().received == 1


def test_what_the_endpoint_says_is_masked(fault_server, monkeypatch):
    """Neither a key nor the text stands in a message."""
    monkeypatch.setenv("JUDGE_KEY", "canary-key-1234567")
    said = "rejected canary-key-1234567 for: the secret note about sport"
    fault = {"kind": "status", "status": 400, "body": {"error": {"message": said}}}
    fault_server.reset(decisions=True, script=[{"fault": fault, "contains": "secret"}])
    s = judge(fault_server, api_key_env="JUDGE_KEY")
    with pytest.warns(Warned) as warned:
        annotations = s.annotate(["food", "the secret note about sport"])
    told = " ".join(str(w.message) for w in warned) + str(annotations.meta)
    assert "canary" not in told
    assert "secret note" not in told


def test_cloudflare_wraps_its_replies():
    """The envelope is taken off."""
    answers = {"0": {"type": "noul", "noul": 0.5}}
    inner = {"model": "clef", "answers": answers, "usage": {"input_tokens": 3, "output_tokens": 0}}
    body = json.dumps({"result": inner, "success": True, "errors": []}).encode()
    reply = decision_reply(body, "systemone", lambda *_: None)
    assert (reply.model, reply.usage.prompt_tokens) == ("clef", 3)
    assert read_decisions(reply.contents[0], [PREDICATE]).values == ((0.5,),)


def test_usage_prices_and_budget_count(fault_server):
    """Cached tokens in the words of each endpoint."""
    fields = {
        "usage": {
            "input_tokens": 1000,
            "output_tokens": 0,
            "input_tokens_details": {"cached_tokens": 400},
        }
    }
    rule = {"fault": {"kind": "merge", "fields": fields, "usable": True}}
    fault_server.reset(decisions=True, script=[rule])
    s = judge(fault_server, prices={"input": 1.0, "output": 5.0, "cached": 0.1})
    s.annotate(["food", "sport"])
    used = s.usage_
    assert (used.prompt_tokens, used.completion_tokens, used.cached_tokens) == (2000, 0, 800)
    assert used.cost == pytest.approx((2 * 600 * 1.0 + 2 * 400 * 0.1) / 1e6)
    s = judge(fault_server, budget={"requests": 2}, max_concurrency=1)
    with pytest.raises(BudgetExceededError):
        s.annotate(["a sport", "b sport", "c sport"])


def test_the_estimate_knows_the_questions(fault_server):
    """They are most of what a short text costs."""
    long = judge(fault_server, class_descriptions={"food": "what is eaten " * 40})
    short = judge(fault_server)
    tokens = [s.estimate(["food"])["prompt_tokens"] for s in (short, long)]
    assert tokens[1] - tokens[0] > 100
    assert fault_server.ledger().received == 0


def test_a_deadline_ends_what_never_answers(fault_server):
    """As for every strategy."""
    fault_server.reset(decisions=True, script=[{"fault": {"kind": "hang"}, "contains": "hang"}])
    s = judge(fault_server, timeout=0.3, deadline=1.5)
    annotations = quiet(lambda: s.annotate(["food", "hang sport"]))
    assert annotations.status.tolist() == ["ok", "transport_error"]


def test_two_processes_worth_of_objects_pay_once(fault_server, tmp_path):
    """What one object stored another finds, though it never learned the dialect."""
    fault_server.reset(decisions={"/v1/systemone": "systemone"})
    X = [f"sport {n}" for n in range(5)]
    one = judge(fault_server, memory=str(tmp_path)).transform(X)
    two = judge(fault_server, memory=str(tmp_path), cache_only=True).transform(X)
    np.testing.assert_array_equal(np.asarray(one), np.asarray(two))
    assert fault_server.ledger().billed == 5


def test_what_is_set_is_part_of_the_request(fault_server, tmp_path):
    """Another path may lead to another model; what was found out may not cost twice."""
    fault_server.reset(decisions={"/v1/systemone": "systemone", "/v1/other": "systemone"})
    for settings, paid in (({}, 1), ({}, 1), ({"path": "other"}, 2), ({"path": "other"}, 2)):
        judge(fault_server, memory=str(tmp_path), **settings).annotate(["sport"])
        assert fault_server.ledger().billed == paid


# ---------------------------------------------------------------------------------------- auto


@pytest.mark.parametrize(
    ("origin", "model", "preferred"),
    [
        ("https://api.openai.com/v1", "gpt-6-luna", True),
        ("https://api.openai.com/v1", "gpt-5-nano", False),
        ("https://api.typesafe.ai/v1", "jev-latest", True),
        ("http://127.0.0.1:8080/v1", "openjev-9b", True),
        ("http://127.0.0.1:8080/v1", "pplx-decider-v1.2", True),
        ("https://api.perplexity.ai", "sonar", False),
        ("http://127.0.0.1:8000/v1", "Qwen/Qwen3-4B", False),
        ("http://127.0.0.1:8000/v1", "levitate-7b", False),
        ("http://127.0.0.1:8000/v1", "HuggingFaceTB/SmolLM2-135M-Instruct", False),
        ("http://gateway.invalid/v1", "@cf/cloudflare/clef", True),
    ],
)
def test_models_that_were_made_to_decide(origin, model, preferred):
    """By provider and name; others that serve the route are not among them."""
    assert decider_of(origin, model).preferred is preferred


def test_the_table_is_extensible(fault_server):
    """What is registered goes before what is known."""
    before = list(DECIDERS)
    try:
        register_decider(Decider(model=r"our-judge.*", options=7, questions=3))
        fault_server.reset(decisions=True)
        s = judge(fault_server, strategy="auto", model="our-judge-2", classes=list("abcdefgh"))
        annotations = s.annotate(["b"])
        assert annotations.meta["strategy"] == "decision"
        assert annotations.meta["asked_as"] == "predicates"
        assert fault_server.ledger().received == 3
    finally:
        DECIDERS[:] = before
    assert decider_of("http://127.0.0.1:1/v1", "our-judge-2").options == 255


def test_auto_takes_it_for_known_models(fault_server):
    """The first question finds the dialect and its answer is kept."""
    fault_server.reset(decisions={"/v1/systemone": "systemone"})
    annotations = judge(fault_server, strategy="auto", model="jev-latest").annotate(
        ["sport", "food", "sport and food"]
    )
    assert annotations.meta["strategy"] == "decision"
    assert annotations.labels().tolist() == ["sport", "food", "sport"]
    assert fault_server.ledger().received == fault_server.ledger().billed == 3


def test_auto_does_not_take_it_because_the_route_is_served(fault_server):
    """Chat models answer it by the letters of the options."""
    fault_server.reset(decisions=True)
    annotations = judge(fault_server, strategy="auto", model="chat-1").annotate(["sport", "food"])
    assert annotations.meta["strategy"] == "logprobs"
    assert not [path for path in fault_server.ledger().paths if "decisions" in path]


def test_auto_takes_it_where_nobody_chats(fault_server, tmp_path):
    """And the next process knows."""
    fault_server.reset(decisions={"/v1/systemone": "systemone"}, chat=False)
    for word, paid in (("sport", 1), ("food", 2)):
        s = judge(fault_server, strategy="auto", model="any", memory=str(tmp_path))
        annotations = s.annotate([word])
        assert annotations.meta["strategy"] == "decision"
        assert annotations.labels().tolist() == [word]
        assert fault_server.ledger().billed == paid


def test_auto_takes_it_before_probabilities(fault_server):
    """Where log-probabilities are refused."""
    said = {"error": {"message": "logprobs are not supported", "param": "logprobs"}}
    refuse = {"kind": "status", "status": 400, "body": said}
    rule = {"fault": refuse, "field": "logprobs"}
    for served, strategy in ((True, "decision"), (False, "probabilities")):
        fault_server.reset(decisions=served, script=[rule])
        annotations = judge(fault_server, strategy="auto", model="any").annotate(["sport", "food"])
        assert annotations.meta["strategy"] == strategy
        assert annotations.labels().tolist() == ["sport", "food"]
        assert fault_server.ledger().billed == 2


def test_a_known_name_at_an_endpoint_that_only_chats(fault_server):
    """Falls to the strategies of chat models."""
    annotations = judge(fault_server, strategy="auto", model="jev-7b").annotate(["sport", "food"])
    assert annotations.meta["strategy"] == "logprobs"
    assert annotations.labels().tolist() == ["sport", "food"]


def test_a_model_that_decides_nothing_does_not_end_auto(fault_server):
    """Some endpoints call it unknown on that route."""
    said = {"error": {"message": "The model does not exist", "code": "model_not_found"}}
    unknown = {"fault": {"kind": "status", "status": 404, "body": said}, "field": "questions"}
    no = {"error": {"message": "logprobs are not supported", "param": "logprobs"}}
    refuse = {"fault": {"kind": "status", "status": 400, "body": no}, "field": "logprobs"}
    fault_server.reset(decisions=True, script=[unknown, refuse])
    annotations = judge(fault_server, strategy="auto", model="any").annotate(["sport", "food"])
    assert annotations.meta["strategy"] == "probabilities"


def test_stores_of_earlier_versions_keep_their_strategy(fault_server, tmp_path):
    """What was written down for the strategies of then holds: the store answers alone."""
    said = {"error": {"message": "logprobs are not supported", "param": "logprobs"}}
    refuse = {"fault": {"kind": "status", "status": 400, "body": said}, "field": "logprobs"}
    fault_server.reset(script=[refuse])
    params = {"strategy": "auto", "model": "any", "memory": str(tmp_path)}
    judge(fault_server, **params).annotate(["sport", "food"])
    fault_server.reset(decisions=True)
    annotations = judge(fault_server, cache_only=True, **params).annotate(["sport", "food"])
    assert annotations.meta["strategy"] == "probabilities"
    assert fault_server.ledger().received == 0


# ------------------------------------------------------------------------------- as estimators


def test_it_classifies(fault_server):
    """Multi-class and multi-label."""
    fault_server.reset(decisions=True)
    X = ["food first", "sport later", "food"]
    clf = judge(fault_server, LLMClassifier)
    assert clf.predict(X).tolist() == ["food", "sport", "food"]
    np.testing.assert_allclose(clf.predict_proba(X).sum(axis=1), 1)
    several = judge(fault_server, LLMClassifier, multilabel=True)
    assert several.predict(["food and sport", "neither"]).tolist() == [[1, 1], [0, 0]]


@pytest.mark.parametrize("whole", [AutoFusionClassifier, CascadeClassifier])
def test_wholes_take_a_scorer_that_asks_for_decisions(fault_server, whole):
    """Through the fusion and the cascade; one request per distinct text."""
    fault_server.reset(decisions=True)
    X = [f"note {n} about {CLASSES[n % 2]}" for n in range(40)]
    y = [CLASSES[n % 2] for n in range(40)]
    s = LLMScorer("judge", strategy="decision", base_url=fault_server.base_url)
    model = quiet(lambda: whole(llm=s, random_state=0).fit(X, y))
    assert quiet(lambda: np.mean(model.predict(X) == np.array(y))) == 1.0
    ledger = fault_server.ledger()
    assert ledger.billed > 0
    assert [path for path in ledger.paths if "chat" in path] == []


def test_settings_survive_clones_and_files(fault_server, tmp_path):
    """Path, dialect and limits are parameters of the endpoint."""
    fault_server.reset(decisions={"/v1/x": "systemone"})
    limits = {"options": 9, "questions": 4}
    where = LLMEndpoint(
        "judge",
        base_url=fault_server.base_url,
        path="x",
        dialect="systemone",
        decision_limits=limits,
    )
    fitted = LLMScorer(where, classes=CLASSES, strategy="decision").fit(["any"])
    save(fitted, tmp_path / "judge.sklf")
    for twin in (
        clone(fitted).fit(["any"]),
        load(tmp_path / "judge.sklf", endpoints=[fault_server.base_url]),
    ):
        assert twin.get_params()["model__decision_limits"] == limits
        assert twin.annotate(["food"]).labels().tolist() == ["food"]
    assert LLMScorer("m", path="y", dialect="openai").get_params()["model__path"] == "y"


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"dialect": "anthropic"}, "dialect='anthropic'"),
        ({"path": "http://elsewhere.invalid/x"}, "path="),
        ({"path": "a?key=b"}, "path="),
        ({"path": ""}, "path="),
        ({"decision_limits": 8}, "decision_limits=8"),
        ({"decision_limits": {"levels": 8}}, "decision_limits"),
        ({"decision_limits": {"options": 1}}, "from 2 on"),
        ({"decision_limits": {"questions": 0}}, "from 1 on"),
        ({"decision_limits": {"questions": 2.5}}, "whole number"),
        ({"service": "batch", "memory": "x"}, "service='batch'"),
    ],
)
def test_settings_that_cannot_be_are_refused_before_anything_is_sent(settings, match):
    """With the parameter's name, what arrived and what is wanted."""
    with pytest.raises(ValueError, match=match):
        LLMScorer(
            "m", classes=CLASSES, strategy="decision", base_url="http://127.0.0.1:1/v1", **settings
        ).fit(["any"])


def test_bodies_of_both_dialects():
    """Descriptions are null in one and absent in the other."""
    from sklfusion._chat import DecisionRequest

    described = [{"value": "a", "description": "first"}, {"value": "b"}]
    params = {"questions": [{**CHOICE, "choices": described}], "dialect": "systemone", "path": "p"}
    request = DecisionRequest("http://127.0.0.1:1/v1", "m", (("user", '"it\\n"'),), params)
    body = decision_body(request)
    assert body["state"] == "it\n"
    assert body["questions"]["0"]["criteria"] == {"a": "first", "b": None}
    openai = DecisionRequest(
        "http://127.0.0.1:1/v1", "m", (("user", '"it"'),), {**params, "dialect": "openai"}
    )
    assert decision_body(openai)["questions"] == [
        {"type": "choice", "instructions": "?", "choices": described, "name": "0"}
    ]


def test_a_key_that_is_good_for_chat_alone_does_not_end_auto(fault_server):
    """Where decisions are only tried because log-probabilities are missing."""
    closed = {"fault": {"kind": "status", "status": 401}, "field": "questions"}
    no = {"error": {"message": "logprobs are not supported", "param": "logprobs"}}
    refuse = {"fault": {"kind": "status", "status": 400, "body": no}, "field": "logprobs"}
    fault_server.reset(decisions=True, script=[closed, refuse])
    annotations = judge(fault_server, strategy="auto", model="any").annotate(["sport", "food"])
    assert annotations.meta["strategy"] == "probabilities"


def test_names_that_would_break_a_prompt_are_options_as_they_are(fault_server):
    """No ids: an option is data, not a line of a prompt."""
    fault_server.reset(decisions=True, keep_bodies=True)
    classes = ["a: b\nc", 'say "sport"', "x" * 300]
    annotations = judge(fault_server, classes=classes).annotate(["nothing"])
    (body,) = fault_server.ledger(events=True).bodies
    assert [choice["value"] for choice in body["questions"][0]["choices"]] == classes
    assert annotations.meta["label_form"] == "words"


def test_parameters_without_effect_warn(fault_server):
    """Predicates have no order, and options are names."""
    with pytest.warns(UserWarning, match="order_swap"):
        judge(fault_server, multilabel=True, order_swap=True)
    with pytest.warns(UserWarning, match="label_form"):
        judge(fault_server, label_form="ids")


# ------------------------------------------------------------------------ the loopback endpoint


def post(server, path, body):
    """Status and value of a request."""
    import http.client

    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    connection.request("POST", path, json.dumps(body))
    response = connection.getresponse()
    value = json.loads(response.read())
    connection.close()
    return response.status, value


SCORE = {"type": "score", "instructions": "How good?"}


def test_the_loopback_endpoint_answers_every_kind_of_question(fault_server):
    """Scores too, in both dialects, as their documents say."""
    fault_server.reset(decisions=True)
    levels = [{"label": "bad"}, {"label": "fair"}, {"label": "good"}]
    asked = {"model": "m", "input": "good", "questions": [{**SCORE, "levels": levels}]}
    status, openai = post(fault_server, "/v1/decisions", asked)
    (answer,) = openai["answers"]
    assert status == 200
    assert answer["name"] is None
    assert answer["score"] == pytest.approx(0.05 + 2 * 0.9)
    assert [level["label"] for level in answer["probabilities"]] == ["bad", "fair", "good"]
    assert openai["usage"]["total_tokens"] == sum(
        openai["usage"][name] for name in ("input_tokens", "output_tokens")
    )
    asked = {"state": "good", "questions": {"id": {**SCORE, "criteria": ["bad", "fair", "good"]}}}
    status, system_one = post(fault_server, "/v1/systemone", asked)
    said = system_one["answers"]["id"]
    assert said["legend"] == {"0": "bad", "1": "fair", "2": "good"}
    assert said["probabilities"]["2"] == 0.9
    assert (status, said["score"]) == (200, answer["score"])


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v1/decisions", {"state": "x", "questions": {"a": PREDICATE}}, 400),
        ("/v1/decisions", {"input": "x", "questions": {"a": PREDICATE}}, 400),
        ("/v1/decisions", {"input": "x", "questions": []}, 400),
        ("/v1/decisions", {"input": "x", "questions": [{"type": "predicate"}]}, 400),
        ("/v1/decisions", {"input": "x", "questions": [PREDICATE] * 4}, 400),
        ("/v1/systemone", {"input": "x", "questions": [PREDICATE]}, 422),
        ("/v1/systemone", {"state": "x", "questions": [PREDICATE]}, 422),
        ("/v1/systemone", {"state": "x", "questions": {}}, 422),
        ("/v1/elsewhere", {"state": "x", "questions": {"a": PREDICATE}}, 404),
    ],
)
def test_the_loopback_endpoint_refuses_the_other_dialect(fault_server, path, body, status):
    """In the words of each; nothing is charged."""
    fault_server.reset(decisions=True, limits={"questions": 3})
    got, said = post(fault_server, path, body)
    assert got == status
    assert ("detail" in said) == (status == 422)
    assert fault_server.ledger().billed == 0


def test_the_openai_client_reads_refusals_of_the_loopback_endpoint(fault_server, deciding_client):
    """As its own types."""
    fault_server.reset(decisions=True, script=[{"fault": {"kind": "refuse", "questions": [1]}}])
    asked = [{**PREDICATE, "name": name} for name in ("one", "two")]
    said = deciding_client.decisions.create(model="m", input="x", questions=asked)
    assert [(answer.type, answer.name) for answer in said.answers] == [
        ("predicate", "one"),
        ("refusal", "two"),
    ]
