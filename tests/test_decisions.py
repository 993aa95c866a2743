"""Decision models: typed questions, one request, a probability for every class."""

import warnings

import numpy as np
import pytest

from sklfusion import LabelDistributionCollector, LLMScorer
from sklfusion._chat import DecisionRequest
from sklfusion.exceptions import ScoringWarning
from sklfusion.llm._decision_route import told_of_questions
from sklfusion.llm._faults import Fault
from sklfusion.llm.deciders import ways_to
from sklfusion.prompts import DEFAULT_TEMPLATE, Task
from sklfusion.prompts._decisions import (
    choice_question,
    predicate_question,
)
from sklfusion.testing import expected_label, expected_labels

CLASSES = ["sport", "food", "money"]
MANY = [f"t{n}" for n in range(12)]
DIALECTS = {
    "openai": {"/v1/decisions": "openai"},
    "perplexity": {"/v1/decisions": "systemone"},
    "systemone": {"/v1/systemone": "systemone"},
    "both": {"/v1/decisions": "openai", "/v1/systemone": "systemone"},
}


def texts(n, word="sport"):
    """Distinct texts with a word that the endpoint looks for."""
    return [f"note {number} about {word}" for number in range(n)]


def scorer(server, **params):
    """A fitted scorer that asks for decisions."""
    made = {"classes": CLASSES, "strategy": "decision", "base_url": server.base_url, **params}
    return LLMScorer(made.pop("model", "judge"), **made).fit(["any"])


def quiet(call):
    """What a call returns, whatever it warns of."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ScoringWarning)
        return call()


# ------------------------------------------------------------------------ dialects, found out


@pytest.mark.parametrize("served", DIALECTS)
def test_every_dialect_on_every_path_is_found_out(fault_server, served):
    """By the first question, whose answer counts: each text is paid for once."""
    fault_server.reset(decisions=DIALECTS[served], keep_bodies=True)
    X = [*texts(6), "money talks", "nothing of the kind"]
    annotations = scorer(fault_server).annotate(X)
    assert annotations.labels().tolist() == [expected_label(text, CLASSES) for text in X]
    ledger = fault_server.ledger(events=True)
    assert (ledger.billed, ledger.usable, ledger.avoidable) == (8, 8, 0)
    path, dialect = next(iter(DIALECTS[served].items()))
    told = {"path": path.removeprefix("/v1/"), "dialect": dialect}
    assert annotations.meta["adapted"] == told
    assert annotations.meta["strategy"] == "decision"
    # Refusals before the first answer, and none after it.
    assert [event["status"] for event in ledger.events].count(200) == 8
    assert [event["status"] for event in ledger.events][-7:] == [200] * 7


def test_a_way_that_is_set_is_the_only_one_that_is_tried(fault_server):
    """Path and dialect are two settings, since neither tells the other."""
    fault_server.reset(decisions={"/api/alpha/decisions": "systemone"})
    s = scorer(fault_server, path="/api/alpha/decisions", dialect="systemone")
    assert s.annotate(texts(3)).ok.all()
    assert fault_server.ledger().received == 3
    assert [p for p in fault_server.ledger().paths if "__" not in p] == ["/api/alpha/decisions"]


@pytest.mark.parametrize(
    ("path", "dialect", "wanted"),
    [
        (None, None, ["decisions/openai", "decisions/systemone", "systemone/systemone"]),
        (None, "systemone", ["systemone/systemone", "decisions/systemone"]),
        (None, "openai", ["decisions/openai"]),
        ("systemone", None, ["systemone/systemone", "systemone/openai"]),
        ("a/b", None, ["a/b/openai", "a/b/systemone"]),
        ("/a", "openai", ["/a/openai"]),
    ],
)
def test_ways_are_tried_in_order(path, dialect, wanted):
    """What is set limits them."""
    ways = ways_to("http://127.0.0.1:1/v1", "m", path, dialect)
    assert ["/".join(way) for way in ways] == wanted


def test_ways_of_known_places():
    """OpenRouter and Perplexity speak System One at paths of decisions."""
    assert ways_to("https://openrouter.ai/api/v1", "pplx-decider-1.2", None, None) == [
        ("/api/alpha/decisions", "systemone")
    ]
    assert ways_to("https://api.typesafe.ai", "jev-latest", None, None)[0] == (
        "v1/systemone",
        "systemone",
    )
    assert ways_to("https://api.openai.com/v1", "gpt-6-luna", None, None) == [
        ("decisions", "openai")
    ]


def test_our_body_is_what_the_openai_client_sends(fault_server, deciding_client):
    """The call of the SDK and our own request differ in nothing but the name of the question."""
    fault_server.reset(decisions=True, keep_bodies=True)
    scorer(fault_server, class_descriptions={"food": "what is eaten"}).annotate(["good food"])
    (ours,) = fault_server.ledger(events=True).bodies
    answered = deciding_client.decisions.create(**ours)
    assert fault_server.ledger(events=True).bodies[1] == ours
    assert answered.answers[0].choice == "food"
    assert answered.answers[0].name == "0"
    assert [p.value for p in answered.answers[0].probabilities] == CLASSES


# -------------------------------------------------------------------------------- what is asked


def test_a_choice_has_its_classes_in_order_with_their_descriptions(fault_server):
    """Text alone in the input; instructions always there."""
    fault_server.reset(decisions=True, keep_bodies=True)
    described = {"food": "what is eaten"}
    scorer(fault_server, class_descriptions=described, instructions="News.").annotate(['a "text"'])
    (body,) = fault_server.ledger(events=True).bodies
    assert body["input"] == 'a "text"'
    (question,) = body["questions"]
    assert [c["value"] for c in question["choices"]] == CLASSES
    assert [c.get("description") for c in question["choices"]] == [None, "what is eaten", None]
    assert question["instructions"].startswith("News.")
    assert set(body) == {"model", "input", "questions"}


def test_several_labels_are_one_request(fault_server):
    """K predicates, not K requests."""
    fault_server.reset(decisions=True, keep_bodies=True)
    X = [f"note {n} on t{n % 12} and t{(n * 5 + 1) % 12}" for n in range(30)]
    s = scorer(fault_server, classes=MANY, multilabel=True, class_descriptions={"t3": "the third"})
    assert s.estimate(X)["requests"] == 30
    annotations = s.annotate(X)
    ledger = fault_server.ledger(events=True)
    assert (ledger.received, ledger.billed, s.usage_.requests) == (30, 30, 30)
    said = [[MANY[k] for k in np.flatnonzero(row)] for row in annotations.labels()]
    assert said == [sorted(expected_labels(text, MANY), key=MANY.index) for text in X]
    assert annotations.meta["questions_per_request"] == 12
    third = ledger.bodies[0]["questions"][3]
    assert third["type"] == "predicate"
    assert third["instructions"].endswith("Answer true when: the third")


def test_predicates_of_the_other_dialect_are_nouls(fault_server):
    """Ids are places, which no prompt shows."""
    fault_server.reset(decisions=DIALECTS["systemone"], keep_bodies=True)
    annotations = scorer(fault_server, classes=MANY, multilabel=True).annotate(["t1 and t11"])
    assert np.flatnonzero(annotations.labels()[0]).tolist() == [1, 11]
    body = fault_server.ledger(events=True).bodies[-1]
    assert list(body["questions"]) == [str(n) for n in range(12)]
    assert {q["type"] for q in body["questions"].values()} == {"noul"}


def test_examples_go_into_the_instructions():
    """Never beside the text."""
    task = Task(("a", "b"), ("first", None), "Sort.", multilabel=False)
    question = choice_question(task, [("one\ntext", 1)], DEFAULT_TEMPLATE)
    lines = question["instructions"].splitlines()
    assert lines[0] == "Sort."
    assert '"one\\ntext" -> b' in lines
    assert lines[-1] == DEFAULT_TEMPLATE.question_choice
    many = Task(("a", "b"), (None, None), multilabel=True)
    asked = [predicate_question(many, k, [("x", {0})], DEFAULT_TEMPLATE) for k in (0, 1)]
    assert ['"x" -> yes' in asked[0]["instructions"], '"x" -> no' in asked[1]["instructions"]] == [
        True,
        True,
    ]


def test_shots_are_chosen_as_for_every_strategy(fault_server):
    """A text that shows other examples is another request."""
    fault_server.reset(decisions=True, keep_bodies=True)
    X, y = texts(4, "sport") + texts(4, "food"), ["sport"] * 4 + ["food"] * 4
    made = LLMScorer(
        "judge",
        base_url=fault_server.base_url,
        strategy="decision",
        n_shots=2,
        shot_selection="random",
        random_state=0,
    )
    annotations = made.fit(X, y).annotate(["new sport"])
    assert annotations.labels().tolist() == ["sport"]
    told = fault_server.ledger(events=True).bodies[-1]["questions"][0]["instructions"]
    assert told.count(" -> ") == 2


def test_both_orders_are_asked_and_averaged(fault_server):
    """Position bias is taken out here too; columns stay in the order of the classes."""
    fault_server.reset(decisions=True, keep_bodies=True)
    annotations = scorer(fault_server, order_swap=True).annotate(["food"])
    bodies = fault_server.ledger(events=True).bodies
    orders = [[c["value"] for c in body["questions"][0]["choices"]] for body in bodies]
    assert sorted(orders) == sorted([CLASSES, CLASSES[::-1]])
    assert annotations.probs[0].argmax() == 1
    assert annotations.probs[0].sum() == pytest.approx(1)


def test_fields_of_the_user_go_along_and_are_left_out_where_refused(fault_server):
    """With a warning, as for chat requests."""
    said = {"detail": [{"loc": ["body", "mode"], "msg": "Extra inputs are not permitted"}]}
    refuse = {"kind": "status", "status": 422, "body": said}
    fault_server.reset(
        decisions=True, keep_bodies=True, script=[{"fault": refuse, "field": "mode"}]
    )
    s = scorer(fault_server, request_params={"mode": "fast", "prompt_cache_key": "k"})
    with pytest.warns(ScoringWarning, match="mode"):
        assert s.annotate(texts(3)).ok.all()
    bodies = fault_server.ledger(events=True).bodies
    assert bodies[0]["mode"] == "fast"
    assert [("mode" in body, body["prompt_cache_key"]) for body in bodies[1:]] == [
        (False, "k")
    ] * 3


# ------------------------------------------------------------------------------------- refusals


def test_a_refused_choice_abstains_and_is_never_asked_again(fault_server, tmp_path):
    """It is stored with its reason."""
    refuse = {"fault": {"kind": "refuse", "questions": [0]}, "contains": "bad"}
    fault_server.reset(decisions=True, script=[refuse])
    X = [*texts(3), "bad sport"]
    for paid in (4, 4):
        s = scorer(fault_server, memory=str(tmp_path))
        annotations = quiet(lambda s=s: s.annotate(X))
        assert annotations.status.tolist() == ["ok", "ok", "ok", "refused"]
        assert annotations.meta["causes"] == {"refusal": 1}
        assert fault_server.ledger().received == paid
    np.testing.assert_allclose(quiet(lambda: s.transform(X))[3], np.log(1 / 3), rtol=1e-5)


def test_other_questions_count_where_one_is_refused(fault_server):
    """The refused label says nothing, which is 0.5; meta and usage say how many."""
    refuse = {"fault": {"kind": "refuse", "questions": [3]}, "contains": "t3"}
    fault_server.reset(decisions=True, script=[refuse])
    s = scorer(fault_server, classes=MANY, multilabel=True)
    annotations = s.annotate(["t3 and t5", "t5 alone"])
    assert annotations.status.tolist() == ["ok", "ok"]
    assert annotations.probs[0][[2, 3, 5]].tolist() == [0.05, 0.5, 0.9]
    assert annotations.meta["flags"] == {"refused_question": 1}
    assert s.usage_.flags == {"refused_question": 1}


@pytest.mark.parametrize("questions", [12, 5])
def test_a_text_whose_questions_are_all_refused_abstains(fault_server, questions):
    """In one request or in several."""
    refuse = {"fault": {"kind": "refuse", "questions": list(range(12))}, "contains": "bad"}
    fault_server.reset(decisions=True, script=[refuse])
    s = scorer(
        fault_server, classes=MANY, multilabel=True, decision_limits={"questions": questions}
    )
    annotations = quiet(lambda: s.annotate(["bad t3", "t5"]))
    assert annotations.status.tolist() == ["refused", "ok"]
    assert fault_server.ledger().received == 2 * -(-12 // questions)


# --------------------------------------------------------------------------------------- limits


def test_questions_beyond_the_limit_are_chunked(fault_server):
    """A limit that the user sets goes before the table's."""
    fault_server.reset(decisions=True, limits={"questions": 5}, keep_bodies=True)
    s = scorer(fault_server, classes=MANY, multilabel=True, decision_limits={"questions": 5})
    assert s.estimate(["t3", "t4"])["requests"] == 6
    annotations = s.annotate(["t3 and t11"])
    assert np.flatnonzero(annotations.labels()[0]).tolist() == [3, 11]
    sizes = [len(body["questions"]) for body in fault_server.ledger(events=True).bodies]
    assert sorted(sizes) == [2, 5, 5]


@pytest.mark.parametrize("dialect", ["openai", "systemone"])
def test_a_refusal_for_size_halves_the_chunk_and_is_remembered(fault_server, tmp_path, dialect):
    """Found out with the first text; the next process begins where this one ended."""
    fault_server.reset(decisions=DIALECTS[dialect], limits={"questions": 5})
    X = [f"note {n} on t{n % 12}" for n in range(8)]
    params = {"classes": MANY, "multilabel": True, "memory": str(tmp_path), "dialect": dialect}
    s = scorer(fault_server, **params)
    annotations = s.annotate(X)
    assert annotations.ok.all()
    assert annotations.meta["questions_per_request"] == 3
    ledger = fault_server.ledger()
    assert ledger.billed == 8 * 4
    assert ledger.received == ledger.billed + 3  # one of 12, two of 6
    again = scorer(fault_server, **params)
    assert again.estimate(X)["requests"] == 0
    assert again.estimate(["new t3"])["requests"] == 4
    assert again.annotate([*X, "new t3"]).ok.all()
    assert fault_server.ledger().received == ledger.received + 4


def test_what_was_answered_in_larger_requests_is_not_paid_for_again(fault_server, tmp_path):
    """A text that came later needed smaller ones."""
    too_long = {
        "kind": "status",
        "status": 400,
        "body": {"error": {"message": "the request exceeds the context size of 2048 tokens"}},
    }
    rule = {"fault": too_long, "contains": "long", "times": 1}
    fault_server.reset(decisions=True, script=[rule])
    params = {"classes": MANY, "multilabel": True, "memory": str(tmp_path)}
    assert scorer(fault_server, **params).annotate([*texts(5, "t3"), "a long t4"]).ok.all()
    paid = fault_server.ledger().billed
    assert paid == 5 + 2
    s = scorer(fault_server, cache_only=True, **params)
    annotations = s.annotate([*texts(5, "t3"), "a long t4"])
    assert annotations.ok.all()
    assert annotations.labels()[:, 3].tolist() == [1] * 5 + [0]
    assert fault_server.ledger().billed == paid


def test_more_classes_than_options_are_asked_one_by_one(fault_server):
    """Never cut; meta says so."""
    fault_server.reset(decisions=True, limits={"options": 8})
    s = scorer(fault_server, classes=MANY, decision_limits={"options": 8})
    annotations = s.annotate(["note on t7"])
    assert fault_server.ledger().received == 1
    assert annotations.meta["asked_as"] == "predicates"
    assert annotations.probs[0].sum() == pytest.approx(1)
    assert annotations.labels().tolist() == ["t7"]


@pytest.mark.parametrize("dialect", ["openai", "systemone"])
def test_a_limit_of_options_that_nobody_knew_is_learned(fault_server, tmp_path, dialect):
    """From the refusal of the first text."""
    fault_server.reset(decisions=DIALECTS[dialect], limits={"options": 8, "questions": 64})
    params = {"classes": MANY, "memory": str(tmp_path), "dialect": dialect}
    annotations = scorer(fault_server, **params).annotate(texts(6, "t7"))
    assert annotations.labels().tolist() == ["t7"] * 6
    assert annotations.meta["asked_as"] == "predicates"
    assert fault_server.ledger().received == 7
    assert scorer(fault_server, **params).annotate(texts(7, "t7")).ok.all()
    assert fault_server.ledger().received == 8


def test_a_text_that_no_request_has_room_for_abstains(fault_server):
    """Halved as far as it goes, and no further."""
    too_long = {"kind": "status", "status": 413}
    fault_server.reset(decisions=True, script=[{"fault": too_long, "contains": "endless"}])
    s = scorer(fault_server, classes=MANY[:4], multilabel=True)
    annotations = quiet(lambda: s.annotate(["t1", "endless t2"]))
    assert annotations.status.tolist() == ["ok", "missing"]
    assert annotations.meta["causes"] == {"too_long": 1}


@pytest.mark.parametrize(
    ("words", "options", "questions", "cause"),
    [
        ("a choice takes at most 26 options", 30, 1, "too_many_options"),
        (
            "dictionary should have at most 26 items; questions.0.criteria",
            30,
            1,
            "too_many_options",
        ),
        ("questions should have at most 64 items, not 65", 0, 65, "too_many_questions"),
        ("too many questions: 9 (max 8)", 0, 9, "too_many_questions"),
        ("instructions of a question are too long: at most 100", 0, 1, "http_400"),
        ("the model is busy", 30, 1, "http_400"),
    ],
)
def test_what_there_is_too_much_of(words, options, questions, cause):
    """Read from the words of the refusal."""
    question = {"type": "predicate", "instructions": "?"}
    if options:
        choices = [{"value": str(n)} for n in range(options)]
        question = {"type": "choice", "instructions": "?", "choices": choices}
    asked = {"questions": [question] * questions}
    request = DecisionRequest("http://127.0.0.1:1/v1", "m", (("user", '"x"'),), asked)
    fault = Fault("text", "http_400", status=400, words=words)
    assert told_of_questions(request, [fault]).cause == cause


# ------------------------------------------------------------------------- label distributions


def collector(server, **params):
    """A collector over a scorer that asks for decisions."""
    s = LLMScorer(
        "judge",
        classes=["joy", "anger", "fear"],
        strategy="decision",
        base_url=server.base_url,
        **params.pop("scorer", {}),
    )
    return LabelDistributionCollector(s, **params)


@pytest.mark.parametrize("dialect", ["openai", "systemone"])
def test_every_query_about_a_text_is_in_one_request(fault_server, dialect):
    """Labels and pairs, where a chat model takes a request for each."""
    fault_server.reset(decisions=DIALECTS[dialect], keep_bodies=True)
    asks = collector(fault_server, queries=["unary", "pairs"], topic="emotion")
    assert asks.calls_per_text() == 1
    annotations = asks.annotate(["so much joy", "fear and anger", "so much joy"])
    ledger = fault_server.ledger(events=True)
    assert ledger.billed == 2
    yes = np.exp(annotations.unary_logits[:, :, 0])
    np.testing.assert_allclose(yes[:2], [[0.9, 0.05, 0.05], [0.05, 0.9, 0.9]])
    np.testing.assert_allclose(np.exp(annotations.unary_logits).sum(axis=2), 1)
    pairs = {tuple(ends): p for *ends, p in annotations.pair_probs[1].tolist()}
    assert pairs[0, 1] == pytest.approx(0.1)  # anger rather than joy
    assert pairs[1, 2] == pytest.approx(0.1)  # fear stands first
    np.testing.assert_array_equal(annotations.pair_probs[0], annotations.pair_probs[2])
    assert annotations.meta["calls_per_text"] == 1
    questions = ledger.bodies[-1]["questions"]
    assert len(questions) == 3 + 6
    told = questions[0] if dialect == "openai" else questions["0"]
    assert told["instructions"].endswith("Does it express joy?")


def test_the_collector_keeps_its_limits_and_pays_once(fault_server, tmp_path):
    """Chunks, refusals for size, and the store."""
    fault_server.reset(decisions=True, limits={"questions": 5})
    params = {"queries": ["unary", "pairs"], "scorer": {"memory": str(tmp_path)}}
    once = collector(fault_server, **params).annotate(["joy", "anger"])
    paid = fault_server.ledger().billed
    assert paid == 2 * 3  # nine questions, four at a time
    again = collector(fault_server, **params).annotate(["joy", "anger"])
    assert fault_server.ledger().billed == paid
    np.testing.assert_array_equal(once.unary_logits, again.unary_logits)


def test_a_text_of_the_collector_without_an_answer_has_a_status(fault_server):
    """Refused as a whole, or not readable."""
    rules = [
        {"fault": {"kind": "refuse", "questions": [0, 1, 2]}, "contains": "bad"},
        {"fault": {"kind": "content", "content": []}, "contains": "odd"},
    ]
    fault_server.reset(decisions=True, script=rules)
    annotations = collector(fault_server, queries=["unary"]).annotate(["joy", "bad", "odd"])
    assert annotations.status.tolist() == ["ok", "refused", "parse_error"]
    assert np.isnan(annotations.unary_logits[1:]).all()


def test_a_decision_model_writes_no_list(fault_server):
    """It is said before anything is sent."""
    with pytest.raises(ValueError, match="queries=\\['unary'\\]"):
        collector(fault_server).annotate(["joy"])
    assert fault_server.ledger().received == 0
