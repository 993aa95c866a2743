"""Where to ask is said once: as an endpoint, or in short beside the model's name."""

import inspect

import numpy as np
import pytest
from _bundles import STORED
from sklearn.base import clone
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.naive_bayes import MultinomialNB
from sklearn.pipeline import make_pipeline
from sklearn.tree import DecisionTreeClassifier

import sklfusion
from sklfusion import (
    AutoFusionClassifier,
    BudgetExceededError,
    CascadeClassifier,
    DataWarning,
    LabelDistributionCollector,
    LLMClassifier,
    LLMEndpoint,
    LLMScorer,
    persistence,
)

CLASSES = ["sport", "food"]
TEXTS = [f"{word} {n}" for n in range(10) for word in CLASSES]
LABELS = [word for _ in range(10) for word in CLASSES]
#: Most parameters that a constructor may have.
MOST_PARAMETERS = 22


def at(server, **params):
    return {"base_url": server.base_url, "timeout": 30.0, "deadline": 60.0, **params}


@pytest.mark.parametrize("kind", [LLMScorer, LLMClassifier])
class TestShorthand:
    """Settings of an endpoint beside the model's name."""

    def test_asks_like_the_endpoint(self, fault_server, kind):
        """The same requests go out, and the estimators are equal."""
        fault_server.reset(keep_bodies=True)
        settings = at(fault_server, request_params={"seed": 7})
        asked = {"classes": CLASSES, "strategy": "label"}
        short, long = kind("m", **settings, **asked), kind(LLMEndpoint("m", **settings), **asked)
        assert short.get_params() == long.get_params()
        for one in (short, long, clone(short)):
            one.fit(["any"]).annotate(["sport 1"])
        first, *others = fault_server.ledger(events=True).bodies
        assert first["seed"] == 7
        assert others == [first, first]

    def test_is_set_by_either_name(self, fault_server, kind):
        """set_params takes the short name and the nested one, and a bare name gets an endpoint."""
        short = kind("m", base_url=fault_server.base_url).set_params(timeout=5.0)
        nested = kind("m").set_params(model__base_url=fault_server.base_url, model__timeout=5.0)
        assert short.get_params() == nested.get_params()
        assert short.timeout == nested.model.timeout == 5.0
        short.budget = {"requests": 0}
        short.set_params(classes=CLASSES, strategy="label").fit(["any"])
        with pytest.raises(BudgetExceededError):
            short.annotate(["sport"])
        with pytest.raises(ValueError, match="Invalid parameter 'tiemout'"):
            short.set_params(tiemout=5.0)

    def test_unknown_names_are_told(self, kind):
        """The nearest of both kinds of parameters, and what has moved."""
        with pytest.raises(TypeError, match=r"no parameter 'tiemout'; did you mean timeout"):
            kind("m", tiemout=5.0)
        with pytest.raises(TypeError, match=r"'clases'; did you mean classes"):
            kind("m", clases=CLASSES)
        with pytest.raises(TypeError, match=r"request_params=\{'temperature'"):
            kind("m", temperature=1.0)
        with pytest.raises(TypeError, match="see help"):
            kind("m", zzz=1)

    def test_its_budget_begins_anew_with_a_fit(self, fault_server, kind):
        """The endpoint is the estimator's alone; one that was given counts on."""
        settings = at(fault_server, budget={"requests": 1})
        for model, again in ((("m", settings), True), ((LLMEndpoint("m", **settings), {}), False)):
            asked = clone(kind(model[0], classes=CLASSES, strategy="label", **model[1]))
            asked = asked if again else kind(model[0], classes=CLASSES, strategy="label")
            asked.fit(["any"]).annotate(["sport 1"])
            asked.fit(["any"])
            if again:
                assert asked.annotate(["sport 2"]).ok.all()
            else:
                with pytest.raises(BudgetExceededError):
                    asked.annotate(["sport 2"])


def test_votes_take_their_temperature_from_the_request(fault_server):
    """0.7 unless request_params says otherwise."""
    fault_server.reset(keep_bodies=True)
    for further in (None, {"temperature": 0.2}):
        asked = LLMScorer(
            "m",
            **at(fault_server, request_params=further),
            classes=CLASSES,
            strategy="votes",
        )
        asked.fit(["any"]).transform(["sport"])
    assert [b["temperature"] for b in fault_server.ledger(events=True).bodies] == [0.7, 0.2]


def test_a_classifier_is_a_scorer(fault_server):
    """It has all its parameters, its columns under their names, and shows what was set."""
    asked = LLMClassifier("m", **at(fault_server), classes=CLASSES, strategy="label")
    assert set(LLMScorer("m").get_params()) < set(asked.get_params())
    assert repr(LLMClassifier("m", n_votes=3)) == "LLMClassifier(model='m', n_votes=3)"
    asked.fit(["any"])
    assert asked.classes_.tolist() == ["food", "sport"]
    assert asked.get_feature_names_out().tolist() == ["llm_sport", "llm_food"]
    scores = np.asarray(asked.transform(["food", "sport"]))
    proba = asked.predict_proba(["food", "sport"])
    np.testing.assert_allclose(np.exp(scores), proba[:, ::-1], atol=1e-5)
    with pytest.warns(DataWarning, match="codes"):
        coded = clone(asked).fit(TEXTS, [1, 0] * 10)
    assert coded.classes_.tolist() == [0, 1]
    assert coded.get_feature_names_out().tolist() == ["llm_sport", "llm_food"]
    union = make_pipeline(clone(asked), LogisticRegression()).fit(TEXTS, LABELS)
    assert union.score(TEXTS, LABELS) == 1.0


def test_a_grid_search_reaches_both_kinds(fault_server):
    """Parameters of the question and of the endpoint, by either name."""
    asked = LLMClassifier("m", **at(fault_server), classes=CLASSES, strategy="label")
    grid = {"timeout": [20.0, 30.0], "model__max_concurrency": [1, 4], "order_swap": [True]}
    search = GridSearchCV(asked, grid, cv=2, error_score="raise").fit(TEXTS, LABELS)
    assert search.best_score_ == 1.0
    best = search.best_estimator_
    assert (best.order_swap, best.model.timeout) == (True, search.best_params_["timeout"])
    assert asked.model.timeout == 30.0


def test_wholes_share_the_account_of_a_scorer_over_an_endpoint(fault_server):
    """A string, an endpoint or a scorer: what a given endpoint may spend holds for the whole."""
    first = make_pipeline(CountVectorizer(analyzer="char"), MultinomialNB())
    asked = {"classes": CLASSES, "strategy": "label"}
    for make in (
        lambda scorer: AutoFusionClassifier(scorer, None, random_state=0),
        lambda scorer: CascadeClassifier(first, scorer, random_state=0),
    ):
        fault_server.reset()
        endpoint = LLMEndpoint("m", **at(fault_server, budget={"requests": 25}))
        whole = make(LLMScorer(endpoint, **asked)).fit(TEXTS, LABELS)
        assert endpoint.usage_.requests == fault_server.ledger().received > 0
        with pytest.raises(BudgetExceededError):
            LLMScorer(endpoint, **asked).fit(["any"]).transform([f"food {n}" for n in range(50)])
        assert fault_server.ledger().received == 25
        assert whole.get_params()["llm__model"] is endpoint


def test_a_cascade_takes_a_classifier_for_its_probabilities(fault_server):
    """Declared and sorted order differ, and its scores stand in the order of its classes."""
    llm = LLMClassifier("m", **at(fault_server), classes=CLASSES, strategy="label")
    first = make_pipeline(CountVectorizer(analyzer="char"), DecisionTreeClassifier(max_depth=1))
    clf = CascadeClassifier(first, llm, random_state=0).fit(TEXTS, LABELS)
    assert clf.predict(["sport again", "food again"]).tolist() == CLASSES
    scores, told = clf._ask(["sport", "food"], "predict")
    assert told.all()
    assert clf.llm_.classes_[np.asarray(scores).argmax(axis=1)].tolist() == CLASSES


def test_a_collector_takes_what_a_scorer_takes(fault_server):
    """A name, an endpoint or a scorer; the classes come from either place, not from two."""
    endpoint = LLMEndpoint("m", **at(fault_server))
    for source in ("m", endpoint, LLMScorer(endpoint)):
        collector = LabelDistributionCollector(source, classes=CLASSES, queries=["unary"])
        assert clone(collector).calls_per_text() == 2
    said = collector.annotate(["sport 1"])
    assert len(said) == 1
    assert endpoint.usage_.requests == fault_server.ledger().received == 2
    own = LabelDistributionCollector(LLMScorer("m", classes=CLASSES), queries=["pairs"])
    assert own.calls_per_text() == 3


def test_a_file_with_the_settings_in_the_estimator_loads():
    """They are where they belong now, and the estimator is shown, cloned and fitted."""
    clf = persistence.load(STORED / "flat_v2.sklf")
    endpoint = LLMEndpoint(
        "small",
        base_url="http://127.0.0.1:9/v1",
        timeout=7.0,
        deadline=9.0,
        max_concurrency=2,
        budget={"requests": 5},
        prices={"input": 1.0, "output": 2.0},
        request_params={"seed": 1, "temperature": 0.9},
        requests_per_minute=60.0,
        cache_only=True,
        max_text_tokens=500,
    )
    assert clf.model == endpoint
    assert set(vars(clf)) >= set(clf.get_params(deep=False))
    assert not {"timeout", "temperature", "shot_embedder"} & set(vars(clf))
    assert clone(clf).get_params(deep=False).keys() == clf.get_params(deep=False).keys()
    assert list(clf.shot_selection.named_steps) == ["tfidfvectorizer", "truncatedsvd"]
    assert (clf.strategy, clf.n_votes, clf.abstain_below) == ("votes", 3, 0.2)
    assert clf.classes_.tolist() == ["ham", "spam"]


def test_equal_settings_are_equal():
    """By value, like the parameters that they are."""
    assert LLMEndpoint("m", timeout=5.0) == LLMEndpoint("m", timeout=5.0)
    assert LLMEndpoint("m", timeout=5.0) != LLMEndpoint("m")
    assert LLMEndpoint("m") != "m"
    assert len({LLMEndpoint("m"), LLMEndpoint("m")}) == 2


@pytest.mark.parametrize("name", ["LLMScorer", "LLMClassifier", "LLMEndpoint"])
def test_no_long_constructors(name):
    """A constructor that nobody can read is a sign of a missing noun."""
    kind = getattr(sklfusion, name)
    assert len(inspect.signature(kind).parameters) <= MOST_PARAMETERS
    assert len(kind("m").get_params(deep=False)) <= MOST_PARAMETERS
