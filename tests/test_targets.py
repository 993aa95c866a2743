"""Several targets of the same texts: one embedding, one request, a fusion each."""

import json

import numpy as np
import pandas as pd
import pytest
from _interrupt import calls_of, interrupted
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.exceptions import NotFittedError

from sklfusion import (
    AutoFusionClassifier,
    FusionClassifier,
    LLMScorer,
    MultiTargetFusionClassifier,
    RecordedScorer,
    persistence,
)
from sklfusion.fusion._reuse import forget_fits
from sklfusion.prompts import DEFAULT_TEMPLATE, ReplyError, Task
from sklfusion.prompts._decisions import choice_question, read_decisions

# counts of the very words that name the classes are as good as an encoder trained on the rows
pytestmark = pytest.mark.filterwarnings(
    "ignore:FusionClassifier got encoder columns that tell:sklfusion.exceptions.DataWarning"
)

TOPICS, TONES, TAGS = ("sport", "food", "money"), ("calm", "urgent"), ("red", "green", "blue")
LEVELS = ["low", "mid", "high"]


class Counts(TransformerMixin, BaseEstimator):
    """How often some words stand in a text; remembers how many texts it was given."""

    read = 0

    def fit(self, X, y=None):
        self.fitted_ = True
        return self

    def transform(self, X):
        type(self).read += len(X)
        words = (*TOPICS, *TONES, *TAGS, *LEVELS)
        rows = [[text.split().count(word) for word in words] for text in X]
        noise = [[len(text) % 7, len(text) % 5] for text in X]
        return np.hstack([np.reshape(rows, (len(X), 11)), np.reshape(noise, (len(X), 2))])


def letters(n, words=6, seed=0):
    """Texts and their targets: a class, levels, and labels of which several hold."""
    rng = np.random.default_rng(seed)
    texts, rows = [], []
    for i in range(n):
        topic, tone = TOPICS[i % 3], TONES[rng.integers(2)]
        level = LEVELS[rng.integers(3)]
        tags = [tag for tag in TAGS if rng.random() < 0.4]
        rest = " ".join(f"w{rng.integers(1000)}" for _ in range(words))
        texts.append(f"letter {i} about {topic} {tone} {level} {' '.join(tags)} {rest}")
        rows.append((topic, level, tags))
    y = pd.DataFrame(rows, columns=["topic", "level", "tags"])
    y["level"] = pd.Categorical(y["level"], LEVELS, ordered=True)
    return texts, y


def recorded(texts, y, share=0.8, seed=1):
    """A scorer per target whose votes are right for a share of the texts."""
    rng = np.random.default_rng(seed)
    found = {}
    for name in y:
        told = list(y[name])
        other = [told[i] for i in rng.permutation(len(told))]
        keep = rng.random(len(told)) < share
        said = [a if k else b for a, b, k in zip(told, other, keep, strict=True)]
        table = dict(zip(texts, said, strict=True))
        if name == "tags":
            found[name] = RecordedScorer(table, classes=sorted(TAGS), multilabel=True)
        else:
            found[name] = RecordedScorer(table, classes=sorted(set(told)))
    return found


def made(llm, **params):
    return MultiTargetFusionClassifier(llm, Counts(), **{"random_state": 0} | params)


def without_llm(**params):
    """The encoder alone, trained in no time."""
    return made(None, fusion=FusionClassifier(random_state=0), **params)


def typed(server, **params):
    """An LLM that is asked by typed questions."""
    return LLMScorer("judge", base_url=server.base_url, strategy="decision", **params)


# ------------------------------------------------------------------------------ without an LLM


@pytest.fixture(scope="module")
def fitted():
    texts, y = letters(90)
    return made(recorded(texts, y)).fit(texts, y), texts, y


def test_predictions_are_a_frame_like_y(fitted):
    """Columns, kinds of cells, categories and the index of X come back."""
    clf, texts, y = fitted
    X = pd.Series(texts[:7], index=list("abcdefg"))
    said = clf.predict(X)
    assert list(said.columns) == clf.targets_ == list(y.columns)
    assert said.index.tolist() == list("abcdefg")
    assert said["level"].dtype == y["level"].dtype
    assert set(said["topic"]) <= set(TOPICS)
    assert all(isinstance(cell, tuple) and set(cell) <= set(TAGS) for cell in said["tags"])
    assert clf.predict(texts[:2]).index.tolist() == [0, 1]
    assert clf.predict([]).shape == (0, 3)


def test_probabilities_and_classes_by_target(fitted):
    """One row per text; classes sum to one, labels of a group need not."""
    clf, texts, _ = fitted
    proba = clf.predict_proba(texts)
    assert {name: p.shape for name, p in proba.items()} == dict.fromkeys(proba, (90, 3))
    np.testing.assert_allclose(proba["topic"].sum(axis=1), 1)
    np.testing.assert_allclose(proba["level"].sum(axis=1), 1)
    assert clf.classes_["tags"].tolist() == sorted(TAGS)
    best = clf.classes_["topic"][proba["topic"].argmax(axis=1)]
    assert (best == clf.predict(texts)["topic"]).all()


def test_each_target_is_what_a_model_of_its_own_would_be(fitted):
    """The same probabilities as an AutoFusionClassifier of that target alone."""
    clf, texts, y = fitted
    scorers, proba = recorded(texts, y), clf.predict_proba(texts)
    ordinal = FusionClassifier(loss="ordinal", classes=LEVELS, random_state=0)
    tags = np.array([[tag in cell for tag in sorted(TAGS)] for cell in y["tags"]]).astype(int)
    alone = {
        "topic": ({}, np.asarray(y["topic"])),
        "level": ({"fusion": ordinal}, np.asarray(y["level"])),
        "tags": ({"classes": sorted(TAGS)}, tags),
    }
    for name, (params, target) in alone.items():
        own = AutoFusionClassifier(scorers[name], Counts(), random_state=0, **params)
        own.fit(texts, target)
        np.testing.assert_allclose(own.predict_proba(texts), proba[name], atol=1e-6)


def test_ordered_columns_keep_their_order(fitted):
    """Levels of an ordered Categorical go to the ordinal fusion, other columns to plain ones."""
    clf, _, _ = fitted
    assert clf.fusions_["level"].levels_.tolist() == LEVELS
    assert clf.fusions_["topic"].levels_ is None
    texts, y = letters(40)
    llm = recorded(texts, y)
    weighed = made(llm, fusion=FusionClassifier(class_weight="balanced")).fit(texts, y)
    assert weighed.fusions_["level"].class_weight == "balanced"
    assert weighed.fusions_["level"].loss == "ordinal"


def test_score_is_the_mean_of_the_accuracies(fitted):
    """Of several labels the whole set has to be right; weights count."""
    clf, texts, y = fitted
    said = clf.predict(texts)
    right = [said["topic"] == y["topic"], said["level"].astype(str) == y["level"].astype(str)]
    right.append(
        pd.Series([set(a) == set(b) for a, b in zip(said["tags"], y["tags"], strict=True)])
    )
    assert clf.score(texts, y) == pytest.approx(np.mean([r.mean() for r in right]))
    first = np.zeros(90)
    first[0] = 1
    assert clf.score(texts, y, first) == pytest.approx(np.mean([r[0] for r in right]))


def test_the_encoder_reads_each_text_once():
    """Not once per target, in fit as in predict."""
    texts, y = letters(30)
    Counts.read = 0
    clf = made(recorded(texts, y)).fit(texts, y)
    assert Counts.read == 30
    clf.predict_proba(texts[:10])
    assert Counts.read == 40


def test_either_source_may_be_left_out():
    """No LLM, or no encoder."""
    texts, y = letters(60)
    alone = without_llm().fit(texts, y[["topic", "tags"]])
    assert alone.scorers_ == {}
    assert set(alone.fusions_) == {"topic", "tags"}
    votes = MultiTargetFusionClassifier(recorded(texts, y), None, random_state=0).fit(texts, y)
    assert votes.embedder_ is None
    assert votes.score(texts, y) > 0.6


def test_weights_reach_the_fusions():
    """Rows of weight 0 teach nothing."""
    texts, y = letters(60)
    other = y.copy()
    other.loc[30:, "topic"] = "sport"
    weights = np.r_[np.ones(30), np.zeros(30)]
    llm = recorded(texts, y)
    one, two = (made(llm).fit(texts, frame, weights) for frame in (y, other))
    np.testing.assert_allclose(
        one.predict_proba(texts)["topic"], two.predict_proba(texts)["topic"], atol=1e-9
    )


def test_it_is_saved_and_cloned(fitted, tmp_path):
    """Targets, scorers and fusions come back; a clone fits again to the same."""
    _, texts, y = fitted
    llm = recorded(texts, y)
    clf = MultiTargetFusionClassifier(llm, None, random_state=0).fit(texts, y)
    persistence.save(clf, tmp_path / "model.sklf")
    again = persistence.load(tmp_path / "model.sklf")
    pd.testing.assert_frame_equal(again.predict(texts), clf.predict(texts))
    anew = clone(clf).fit(texts, y)
    pd.testing.assert_frame_equal(anew.predict(texts), clf.predict(texts))


TEXTS, Y = letters(12)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (Y["topic"], "needs a pandas DataFrame with a column per target"),
        (Y.to_numpy(), "needs a pandas DataFrame"),
        (Y.set_axis([0, 1, 2], axis=1), "different names that are str"),
        (Y.set_axis(["a", "a", "b"], axis=1), "different names that are str"),
        (Y[[]], "different names that are str"),
        (Y.assign(topic=[None, *Y["topic"][1:]]), r"target 'topic': y contains NaN in row"),
        (Y.assign(tags=["red", *Y["tags"][1:]]), r"target 'tags': some cells are lists"),
        (Y[:5], "inconsistent numbers of samples"),
    ],
)
def test_what_is_no_frame_of_targets_is_refused(y, message):
    """In words that say what would do."""
    with pytest.raises(ValueError, match=message):
        without_llm().fit(TEXTS, y)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"classes": {"colour": ["red"]}}, r"classes of \['colour'\]"),
        ({"classes": {"tags": ["red", "green"]}}, "target 'tags': row .* has 'blue'"),
        ({"classes": ["red"]}, "got classes="),
        ({"llm": {"topic": None}}, "none of 'level'"),
        ({"llm": None, "embedder": None}, "llm=None and embedder=None"),
    ],
)
def test_wrong_parameters_are_refused(params, message):
    """Before anything is asked."""
    clf = without_llm().set_params(**params)
    llm = params.get("llm")
    if llm:
        clf.set_params(llm={"topic": RecordedScorer({}, classes=TOPICS)})
    with pytest.raises(ValueError, match=message):
        clf.fit(TEXTS, Y)


def test_an_error_names_its_target():
    """One class is none to learn; a note says where."""
    with pytest.raises(ValueError, match="1 class") as caught:
        without_llm().fit(TEXTS, Y.assign(topic="sport"))
    assert caught.value.__notes__ == ["while fitting or scoring the target 'topic'"]


def test_before_fit_and_other_targets_at_score(fitted):
    """It says so."""
    with pytest.raises(NotFittedError):
        without_llm().predict(TEXTS)
    clf, texts, y = fitted
    with pytest.raises(ValueError, match=r"\['tags'\]; y has no column"):
        clf.score(texts, y.drop(columns="tags"))


def test_a_broken_off_fit_leaves_the_model_of_before():
    """Targets, scorers and fusions of one fit, never of two."""
    clf = without_llm().fit(TEXTS, Y[["topic", "tags"]])
    wanted = clf.predict(TEXTS)
    other = (TEXTS[:9], Y[["topic"]][:9])

    def fit_anew(model):
        forget_fits()  # else the fits before would make this one short
        return model.fit(*other)

    total = calls_of(lambda: fit_anew(clone(clf)))
    for point in np.linspace(2, total * 0.9, 4).astype(int):
        assert interrupted(lambda: fit_anew(clf), int(point))
        pd.testing.assert_frame_equal(clf.predict(TEXTS), wanted)


# ------------------------------------------------------------------------------------ one request


@pytest.mark.parametrize("n", [60, pytest.param(1000, marks=pytest.mark.nightly)])
def test_three_targets_cost_the_texts_once(fault_server, n):
    """At most 1.1 times the input tokens of one target, as the endpoint counts them."""
    texts, y = letters(n, words=300)
    tokens = []
    y["tone"] = [text.split()[4] for text in texts]
    for targets in (["topic"], ["topic", "level", "tone"]):
        fault_server.reset(decisions=True)
        made(typed(fault_server)).fit(texts, y[targets])
        ledger = fault_server.ledger()
        assert (ledger.billed, ledger.avoidable) == (n, 0)
        tokens.append(ledger.prompt_tokens)
    assert tokens[1] <= 1.1 * tokens[0]
    assert tokens[1] > tokens[0]  # the further questions are there


@pytest.mark.parametrize("dialect", ["openai", "systemone"])
def test_the_scores_are_those_of_each_target_alone(fault_server, dialect):
    """What is read out of the shared reply is what a request of its own would have told."""
    fault_server.reset(decisions={"/v1/decisions": dialect})
    texts, y = letters(20)
    clf = made(typed(fault_server)).fit(texts, y)
    assert fault_server.ledger().billed == 20
    for name, scorer in clf.scorers_.items():
        alone = clone(scorer).set_params(classes=scorer.classes_.tolist()).fit(texts)
        shared, own = scorer.annotate(texts), alone.annotate(texts)
        np.testing.assert_allclose(shared.probs, own.probs, atol=1e-9)
        assert shared.meta["tasks_per_request"] == 3, name
        assert "tasks_per_request" not in own.meta


@pytest.mark.parametrize("dialect", ["openai", "systemone"])
def test_levels_are_asked_for_as_a_score(fault_server, dialect):
    """From the lowest, with what they mean; the answer's distribution is the LLM's evidence."""
    fault_server.reset(decisions={"/v1/decisions": dialect}, keep_bodies=True)
    texts, y = letters(10)
    meaning = {"level": {"low": "can wait", "high": "today"}}
    clf = made(typed(fault_server), class_descriptions=meaning).fit(texts, y)
    bodies = fault_server.ledger(events=True).bodies
    asked = bodies[-1]["questions"]
    asked = asked[1] if dialect == "openai" else asked["1"]
    assert asked["type"] == "score"
    if dialect == "openai":
        assert [level["label"] for level in asked["levels"]] == LEVELS
        assert [level.get("description") for level in asked["levels"]] == [
            "can wait",
            None,
            "today",
        ]
        said = clf.scorers_["level"].annotate(texts).labels()
        assert said.tolist() == [str(level) for level in y["level"]]
    else:
        assert asked["criteria"] == ["low: can wait", "mid", "high: today"]
    probs = clf.scorers_["level"].annotate(texts).probs
    np.testing.assert_allclose(probs.sum(axis=1), 1)


def test_many_levels_are_a_choice():
    """More than every endpoint takes in a score."""
    for count, kind in ((10, "score"), (11, "choice")):
        task = Task(tuple(f"level {n}" for n in range(count)), ordered=True)
        assert choice_question(task, (), DEFAULT_TEMPLATE)["type"] == kind
    turned = Task(("low", "high"), order=(1, 0), ordered=True)
    assert choice_question(turned, (), DEFAULT_TEMPLATE)["type"] == "choice"


@pytest.mark.parametrize(
    "answer",
    [
        {"type": "score", "probabilities": {"0": 0.2, "1": 0.7, "2": 0.1}},
        {"probabilities": {"2": 0.1, "0": 0.2, "1": 0.7}, "score": 0.9},
        {
            "probabilities": [
                {"value": v, "probability": p} for v, p in ((2, 0.1), (0, 0.2), (1, 0.7))
            ]
        },
    ],
)
def test_a_score_is_read_by_the_number_of_the_level(answer):
    """In any order, as a list or a map."""
    question = choice_question(Task(tuple(LEVELS), ordered=True), (), DEFAULT_TEMPLATE)
    said = json.dumps({"dialect": "systemone", "answers": {"0": answer}})
    assert read_decisions(said, [question]).values == (pytest.approx((0.2, 0.7, 0.1)),)


@pytest.mark.parametrize(
    "answer",
    [
        {"type": "choice", "probabilities": {"0": 0.2, "1": 0.7, "2": 0.1}},
        {"probabilities": {"0": 0.3, "1": 0.7}},
        {"probabilities": {"1": 0.2, "2": 0.7, "3": 0.1}},
        {"score": 0.9},
    ],
)
def test_a_score_without_its_levels_is_no_answer(answer):
    """One level too few, others, or none: never a guess."""
    question = choice_question(Task(tuple(LEVELS), ordered=True), (), DEFAULT_TEMPLATE)
    said = json.dumps({"dialect": "systemone", "answers": {"0": answer}})
    with pytest.raises(ReplyError, match="malformed_answer"):
        read_decisions(said, [question])


def test_a_second_call_pays_for_nothing(fault_server, tmp_path):
    """Within one object without a store, and across objects and processes with one."""
    fault_server.reset(decisions=True)
    texts, y = letters(20)
    clf = made(typed(fault_server)).fit(texts, y)
    clf.predict(texts)
    assert fault_server.ledger().billed == 20
    kept = made(typed(fault_server), memory=tmp_path).fit(texts, y)
    clone(kept).fit(texts, y).predict(texts)
    assert fault_server.ledger().billed == 40


def test_a_refused_question_costs_its_target_only(fault_server, tmp_path):
    """The others of the same request count, and nothing is asked again."""
    refuse = {"fault": {"kind": "refuse", "questions": [0]}, "contains": "letter 3 "}
    fault_server.reset(decisions=True, script=[refuse])
    texts, y = letters(10)
    clf = made(typed(fault_server), memory=tmp_path)
    with pytest.warns(UserWarning, match="no usable answer"):
        clf.fit(texts, y)
    billed = fault_server.ledger().billed
    with pytest.warns(UserWarning, match="no usable answer"):
        status = {name: s.annotate(texts).ok for name, s in clf.scorers_.items()}
    assert status["topic"].tolist() == [i != 3 for i in range(10)]
    assert status["level"].all()
    assert status["tags"].all()
    assert fault_server.ledger().billed == billed == 10


@pytest.mark.parametrize("told", [True, False])
def test_an_endpoint_that_takes_fewer_questions_is_asked_target_by_target(fault_server, told):
    """Whether the user knows its limit or it says so: each target's answers are there."""
    fault_server.reset(decisions=True, limits={"questions": 3})
    texts, y = letters(12)
    limits = {"decision_limits": {"questions": 3}} if told else {}
    clf = made(typed(fault_server, **limits)).fit(texts, y)
    assert all(scorer.annotate(texts).ok.all() for scorer in clf.scorers_.values())
    assert fault_server.ledger().billed == 36


def test_targets_with_examples_are_asked_one_by_one(fault_server):
    """Examples belong to one target; those without any still share."""
    fault_server.reset(decisions=True)
    texts, y = letters(10)
    llm = typed(fault_server)
    shown = typed(fault_server, examples=[("we won", "sport")])
    made({"topic": shown, "level": llm, "tags": llm}).fit(texts, y)
    assert fault_server.ledger().billed == 20


def test_other_strategies_ask_per_target(fault_server):
    """A chat model is asked about each target by itself."""
    texts, y = letters(8)
    llm = LLMScorer("chat", base_url=fault_server.base_url, strategy="label")
    clf = made(llm).fit(texts, y)
    assert fault_server.ledger().billed == 24
    assert clf.predict(texts).shape == (8, 3)


def test_what_a_target_is_asked_about_names_it(fault_server):
    """Levels alone would not tell of what; the user's own words stand instead."""
    fault_server.reset(decisions=True, keep_bodies=True)
    texts, y = letters(6)
    told = {"instructions": {"level": "How soon must it be answered?"}}
    made(typed(fault_server), **told).fit(texts, y)
    questions = fault_server.ledger(events=True).bodies[-1]["questions"]
    asked = [question["instructions"] for question in questions]
    assert "Decide: topic." in asked[0]
    assert asked[1].startswith("How soon must it be answered?")
    assert "Decide" not in asked[1]
    assert all("Decide: tags." in one for one in asked[2:])
