"""Class routing, and scikit-learn's VotingClassifier over text parts."""

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.datasets import make_classification, make_multilabel_classification
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import VotingClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.multiclass import OneVsRestClassifier
from sklearn.naive_bayes import MultinomialNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.tree import DecisionTreeClassifier

from sklfusion import ClassRoutingClassifier, RecordedScorer

NAMES = np.array(["ham", "offer", "spam"])


@pytest.fixture(scope="module")
def data():
    X, y = make_classification(
        n_samples=300, n_features=8, n_informative=5, n_classes=3, random_state=0
    )
    return X, NAMES[y]


class Fixed(DummyClassifier):
    """Always answers one class with a given probability."""

    def __init__(self, answer="ham", p=0.9):
        super().__init__(strategy="constant", constant=answer)
        self.answer = answer
        self.p = p

    def predict_proba(self, X):
        rest = (1 - self.p) / (len(self.classes_) - 1)
        return np.where(self.classes_ == self.answer, self.p, rest)[None, :].repeat(len(X), 0)


@pytest.mark.parametrize(("rules", "winner"), [({"spam": "b"}, "spam"), ({"spam": "a"}, "ham")])
def test_the_answer_of_the_responsible_member_wins(rules, winner, data):
    """An answer counts 2 from the member that is responsible for the class named, else 1."""
    X, y = data
    members = [("a", Fixed("ham")), ("b", Fixed("spam"))]
    clf = ClassRoutingClassifier(members, rules={"ham": "a", **rules}, default="a")
    if rules["spam"] == "b":  # both responsible for what they name: larger probability wins
        clf.set_params(b__p=0.95)
    assert set(clf.fit(X, y).predict(X)) == {winner}


def test_two_members_outvote_one_that_is_not_responsible(data):
    """Sums: two plain votes equal one responsible vote; three beat it."""
    X, y = data
    members = [("a", Fixed("ham", 0.99)), ("b", Fixed("spam")), ("c", Fixed("spam"))]
    rules = {"ham": "a", "spam": "b", "offer": "a"}
    assert set(ClassRoutingClassifier(members, rules=rules).fit(X, y).predict(X)) == {"spam"}


@pytest.mark.parametrize("voting", ["hard", "soft"])
def test_probabilities_agree_with_the_prediction(voting, data):
    """Rows sum to one and the largest is the class predicted."""
    X, y = data
    members = [("lr", LogisticRegression()), ("knn", KNeighborsClassifier())]
    clf = ClassRoutingClassifier(members, voting=voting).fit(X, y)
    p = clf.predict_proba(X)
    np.testing.assert_allclose(p.sum(axis=1), 1)
    np.testing.assert_array_equal(clf.classes_[p.argmax(axis=1)], clf.predict(X))


def test_auto_rules_give_a_class_to_the_member_that_knows_it(data):
    """A useless member is responsible for nothing."""
    X, y = data
    members = [("bad", DummyClassifier(strategy="uniform", random_state=0)),
               ("good", LogisticRegression())]  # fmt: skip
    clf = ClassRoutingClassifier(members).fit(X, y)
    assert set(clf.rules_.values()) == {"good"}
    assert clf.class_scores_.shape == (2, 3)
    assert clf.score(X, y) >= 0.95 * LogisticRegression().fit(X, y).score(X, y)


def test_multilabel_takes_each_label_from_its_member():
    """Label k of the ensemble is label k of the responsible member, names from the frame."""
    X, y = make_multilabel_classification(n_samples=150, n_classes=3, random_state=0)
    frame = pd.DataFrame(y, columns=list("xyz"))
    members = [("lr", OneVsRestClassifier(LogisticRegression(max_iter=500))),
               ("knn", KNeighborsClassifier())]  # fmt: skip
    clf = ClassRoutingClassifier(members, rules={"y": "knn"}).fit(X, frame)
    assert clf.rules_ == {"x": "lr", "y": "knn", "z": "lr"}
    np.testing.assert_array_equal(
        clf.predict(X)[:, 1], clf.named_estimators_["knn"].predict(X)[:, 1]
    )
    found, wanted = clf.predict_proba(X), clf.named_estimators_["lr"].predict_proba(X)
    np.testing.assert_allclose(found[:, 0], wanted[:, 0], rtol=0, atol=1e-12)
    auto = ClassRoutingClassifier(members, cv=3).fit(X, y)
    assert auto.predict(X).shape == y.shape


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"rules": {"egg": "a"}}, "egg"),
        ({"rules": {"ham": "zzz"}}, "zzz"),
        ({"rules": "best"}, "rules='best'"),
        ({"voting": "loud"}, "voting"),
        ({"default": "zzz"}, "default='zzz'"),
        ({"estimators": []}, "empty"),
    ],
)
def test_wrong_rules_are_refused_in_fit(params, message, data):
    """Errors name the rule, member or parameter."""
    clf = ClassRoutingClassifier([("a", LogisticRegression())]).set_params(**params)
    with pytest.raises(ValueError, match=message):
        clf.fit(*data)


def test_routing_is_searched_like_a_voting_classifier(data):
    """Nested parameters, replacement of members and clone work."""
    X, y = data
    clf = ClassRoutingClassifier([("lr", LogisticRegression()), ("knn", KNeighborsClassifier())])
    search = GridSearchCV(clf, {"lr__C": [0.1, 1], "voting": ["hard", "soft"]}, cv=2).fit(X, y)
    assert search.best_score_ > 0.5
    assert (
        clone(clf).set_params(knn=DummyClassifier()).estimators[1][1].__class__ is DummyClassifier
    )


TEXTS = ["cheap pills now", "win a cheap prize", "lunch at noon", "see you at lunch"] * 10
LABELS = np.array(["spam", "spam", "ham", "ham"] * 10)


@pytest.mark.parametrize("voting", ["hard", "soft"])
@pytest.mark.parametrize("weights", [None, [2, 1]])
def test_voting_classifier_takes_text_parts(voting, weights):
    """scikit-learn's VotingClassifier is the voting and weighted ensemble, over raw texts."""
    encoder = make_pipeline(TfidfVectorizer(), LogisticRegression())
    scores = make_pipeline(
        FunctionTransformer(
            lambda texts: np.array([["cheap" in t, "lunch" in t] for t in texts], float)
        ),
        MultinomialNB(),
    )
    clf = VotingClassifier([("encoder", encoder), ("llm", scores)], voting=voting, weights=weights)
    assert clf.fit(TEXTS, LABELS).predict(["cheap pills", "lunch"]).tolist()[0] == "spam"


@pytest.fixture(scope="module")
def parts():
    """An encoder pipeline, and an LLM that was recorded and is right four times out of five."""
    rng = np.random.default_rng(0)
    texts = [f"{text} {i}" for i, text in enumerate(TEXTS)]
    wrong = rng.random(len(texts)) < 0.2
    said = np.where(wrong, np.where(LABELS == "ham", "spam", "ham"), LABELS)
    llm = RecordedScorer(dict(zip(texts, said, strict=True)), classes=["ham", "spam"])
    encoder = make_pipeline(TfidfVectorizer(), LogisticRegression())
    return texts, encoder, make_pipeline(llm, LogisticRegression())


@pytest.mark.parametrize("voting", ["hard", "soft"])
def test_voting_classifier_takes_our_scorer(voting, parts):
    """A scorer of ours in a pipeline is a member like any other."""
    texts, encoder, llm = parts
    clf = VotingClassifier([("encoder", encoder), ("llm", llm)], voting=voting, weights=[2, 1])
    assert clf.fit(texts, LABELS).score(texts, LABELS) == 1.0


def test_routing_takes_our_scorer(parts):
    """Routing over texts gives each class to a member by cross-validation."""
    texts, encoder, llm = parts
    clf = ClassRoutingClassifier([("llm", llm), ("encoder", encoder)]).fit(texts, LABELS)
    assert set(clf.rules_.values()) == {"encoder"}
    assert clf.score(texts, LABELS) == 1.0


# ---------------------------------------------------------------- numbers checked by hand


class Says(ClassifierMixin, BaseEstimator):
    """Answers with the probabilities given, the same for every row."""

    def __init__(self, proba=(0.2, 0.3, 0.5)):
        self.proba = proba

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        return self

    def predict_proba(self, X):
        return np.tile(self.proba, (len(X), 1))

    def predict(self, X):
        return self.classes_[self.predict_proba(X).argmax(axis=1)]


def test_soft_votes_are_probabilities_with_the_responsible_one_counted_twice():
    """ham: 2 * .2 + .6; offer: .3 + 2 * .3; spam: 2 * .5 + .1; over their sum of 3."""
    X, y = np.zeros((6, 1)), NAMES[np.arange(6) % 3]
    members = [("a", Says((0.2, 0.3, 0.5))), ("b", Says((0.6, 0.3, 0.1)))]
    rules = {"ham": "a", "offer": "b", "spam": "a"}
    clf = ClassRoutingClassifier(members, rules=rules, voting="soft").fit(X, y)
    np.testing.assert_allclose(clf.predict_proba(X[:1])[0], np.array([1.0, 0.9, 1.1]) / 3)
    assert clf.predict(X[:1]).tolist() == ["spam"]


def test_hard_votes_are_counts():
    """Two for spam beat one for ham; the one responsible for ham makes it two to two."""
    X, y = np.zeros((6, 1)), NAMES[np.arange(6) % 3]
    ham, spam = Says((0.8, 0.1, 0.1)), Says((0.1, 0.2, 0.7))
    members = [("a", ham), ("b", spam), ("c", spam)]
    clf = ClassRoutingClassifier(members, rules={"spam": "a", "ham": "b"}, default="a").fit(X, y)
    proba = clf.predict_proba(X[:1])[0]
    np.testing.assert_allclose(proba, [1 / 3, 0, 2 / 3], atol=1e-5)
    clf.set_params(rules={"spam": "a", "ham": "a"}).fit(X, y)
    np.testing.assert_allclose(clf.predict_proba(X[:1])[0], [0.5, 0, 0.5], atol=1e-5)
    assert clf.predict(X[:1]).tolist() == ["ham"]  # .8 for ham by a, .1 for spam by a


def test_members_are_judged_on_rows_that_they_have_not_seen():
    """A nearest neighbour is always right about its own rows; on coin flips it knows nothing."""
    rng = np.random.default_rng(0)
    X, y = rng.random((240, 2)), NAMES[rng.integers(3, size=240)]
    members = [("knn", KNeighborsClassifier(1)), ("tree", DecisionTreeClassifier(random_state=0))]
    scores = ClassRoutingClassifier(members).fit(X, y).class_scores_
    assert scores.max() < 0.55
    labels = (rng.random((240, 3)) < 0.3).astype(int)
    scores = ClassRoutingClassifier(members).fit(X, labels).class_scores_
    assert scores.max() < 0.5
