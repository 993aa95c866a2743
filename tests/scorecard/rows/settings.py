"""M: what labels mean, what the user set, and rows without an answer."""

import enum
import tempfile
import warnings

import numpy as np
import pandas as pd
from sklearn.ensemble import StackingClassifier, VotingClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict, cross_val_score
from sklearn.pipeline import make_pipeline

from scorecard.rows._base import CLASSES, quiet, raises, row, texts
from sklfusion import (
    AutoFusionClassifier,
    CascadeClassifier,
    FusionClassifier,
    LLMClassifier,
    LLMScorer,
    RecordedScorer,
)
from sklfusion.cli._tables import class_names, read_table

NAMES = ["food", "sport"]


def data(n=12):
    """Texts that name their class, and the classes."""
    return texts(n) + texts(n, "food", n), np.array(["sport"] * n + ["food"] * n)


def weak():
    return TfidfVectorizer(max_features=3)


def tfidf():
    return make_pipeline(TfidfVectorizer(), LogisticRegression())


def told(function):
    """Return what a call warned of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        function()
    return " ".join(str(one.message) for one in caught)


def shown(c):
    """All lists of classes that the model was shown."""
    bodies = c.server.ledger(events=True).bodies
    lines = (body["messages"][0]["content"].splitlines() for body in bodies)
    return {tuple(line[2:] for line in part if line.startswith("- ")) for part in lines}


def estimators(c, **params):
    """One estimator of each kind that talks to the endpoint, fresh."""
    options = {**c.params(memory=None), **params}
    return {
        "LLMClassifier": LLMClassifier(**options),
        "AutoFusionClassifier": AutoFusionClassifier(LLMScorer(**options), weak(), random_state=0),
        "CascadeClassifier": CascadeClassifier(tfidf(), LLMScorer(**options), random_state=0),
    }


@row("M01", "cross_val_predict encodes y", "the LLM is asked about names; codes come back")
def _(c):
    X, y = data()
    c.server.reset(keep_bodies=True)
    for name, model in estimators(c, classes=NAMES).items():
        proba = cross_val_predict(model, X, y, cv=3, method="predict_proba")
        right = (np.array(NAMES)[proba.argmax(axis=1)] == y).mean()
        assert right == 1, f"{name}: {right}"
    assert shown(c) == {tuple(NAMES)}
    return "3 kinds of estimator, accuracy 1"


@row("M02", "VotingClassifier, StackingClassifier", "names to the LLM, labels of y back")
def _(c):
    X, y = data()
    c.server.reset(keep_bodies=True)
    members = [("llm", LLMClassifier(**c.params(classes=NAMES))), ("tfidf", tfidf())]
    for model in (VotingClassifier(members, voting="soft"), StackingClassifier(members, cv=3)):
        assert (model.fit(X, y).predict(X) == y).all()
    assert shown(c) == {tuple(NAMES)}
    return "both right"


@row("M03", "y of bare 0..K-1, nobody named them", "refused before anything is sent")
def _(c):
    X, y = data()
    codes = np.unique(y, return_inverse=True)[1]
    for numbers in (codes, codes + 1, codes.astype(float), codes.astype(str)):
        for model in estimators(c, classes=None).values():
            raises(ValueError, lambda m=model, n=numbers: m.fit(X, n), "nothing was sent")
    recorded = RecordedScorer(dict(zip(X, y.tolist(), strict=True)))
    raises(ValueError, lambda: recorded.fit(X, codes), "classes=")
    assert c.server.ledger().received == 0
    return "4 kinds of numbers, 4 estimators, 0 requests"


@row("M04", "codes with two readings", "refused, or read by the rule with a warning")
def _(c):
    X, y = data()
    codes = np.unique(y, return_inverse=True)[1]
    unsorted = LLMClassifier(**c.params(classes=["sport", "food"]))
    assert "0 = 'food'" in told(lambda: unsorted.fit(X, codes))
    assert (unsorted.predict(X) == codes).all()
    three = LLMClassifier(**c.params(classes=["food", "sport", "travel"]))
    assert "holds the codes" in told(lambda: three.fit(X, codes))
    stars = LLMClassifier(**c.params(classes=["1", "2", "3"]))
    raises(ValueError, lambda: stars.fit(X, codes + 1), "one type")
    return "2 warned, 1 refused"


@row("M05", "missing labels: None, NaN, NA, masked", "'Input y contains NaN', with the rows")
def _(c):
    X, y = data()
    holes = {
        "None": [None, *y[1:].tolist()],
        "NA": pd.Series([None, *y[1:]], dtype="string"),
        "NaN": np.array([np.nan, *y[1:]], dtype=object),
        "category": pd.Series([None, *y[1:]], dtype="category"),
    }
    for labels in holes.values():
        for model in estimators(c).values():
            raises(
                ValueError,
                lambda m=model, v=labels: m.fit(X, v),
                r"Input y contains NaN.*row\(s\) 0 ",
            )
    assert c.server.ledger().received == 0
    return f"{len(holes)} kinds, 3 estimators, 0 requests"


@row("M06", "classes called None, NA, null in a table", "names; an empty cell is missing")
def _(c):
    path = c.folder / "table.csv"
    path.write_text("text,label\na,None\nb,NA\nc,null\n", encoding="utf-8")
    assert class_names(read_table(path, ["text", "label"])["label"]) == ["NA", "None", "null"]
    path.write_text("text,label\na,None\nb,\n", encoding="utf-8")
    hole = read_table(path, ["text", "label"])["label"]
    raises(ValueError, lambda: class_names(hole), "Input y contains NaN")
    return "3 names, 1 hole"


@row("M07", "one text refused, training labels known", "most frequent class, warned")
def _(c):
    X, y = data()
    X, y = [*X, "mute"], np.array([*y, "sport"])
    c.server.script(c.fault("status", status=400, contains="mute"))
    model = LLMClassifier(**c.params()).fit(X, y)
    assert "predicted as 'sport'" in told(lambda: model.predict(X))
    with quiet():
        assert (model.predict(X) == y).all()
        scores = cross_val_score(LLMClassifier(**c.params()), X, y, cv=3, error_score="raise")
    return f"cross-validated accuracy {scores.mean():.2f}"


@row("M08", "one text refused, no training labels", "None unless abstain_label is set")
def _(c):
    X = [*texts(4), "mute"]
    c.server.script(c.fault("status", status=400, contains="mute"))
    model = LLMClassifier(**c.params()).fit(X)
    with quiet():
        assert model.predict(X).tolist() == ["sport"] * 4 + [None]
        asked = LLMClassifier(**c.params(), abstain_label="?").fit(X).predict(X)
    assert asked.tolist() == ["sport"] * 4 + ["?"]
    return "None; '?'"


@row("M09", "settings of AutoFusionClassifier, an own scorer", "used; a second fit pays nothing")
def _(c):
    X, y = data()
    folder = tempfile.mkdtemp(dir=c.folder)
    c.server.reset(keep_bodies=True)
    options = {
        "memory": folder,
        "instructions": "GIRAFFE",
        "class_descriptions": {"food": "ZEBRA"},
    }
    for _ in range(2):
        scorer = LLMScorer(**c.params(memory=None, classes=None))
        AutoFusionClassifier(scorer, weak(), random_state=0, **options).fit(X, y)
        assert c.server.ledger().received == len(X)
    said = c.server.ledger(events=True).bodies[0]["messages"][0]["content"]
    assert "GIRAFFE" in said
    assert "ZEBRA" in said
    return f"{len(X)} requests for two fits"


@row("M10", "whole and part contradict each other", "refused, both values named")
def _(c):
    X, y = data()
    mine, yours = str(c.folder / "a"), str(c.folder / "b")
    for setting, a, b in (("memory", mine, yours), ("instructions", "this", "that")):
        own = {**c.params(memory=None), setting: a}
        auto = AutoFusionClassifier(LLMScorer(**own), weak(), **{setting: b})
        raises(ValueError, lambda m=auto: m.fit(X, y), f"{setting}=.*its llm has")
    cascade = CascadeClassifier(tfidf(), LLMScorer(**c.params(memory=mine)), memory=yours)
    raises(ValueError, lambda: cascade.fit(X, y), "memory=.*its llm has")
    assert c.server.ledger().received == 0
    return "3 refused, 0 requests"


@row("M11", "parameters without effect", "warned by name; defaults never")
def _(c):
    rng = np.random.default_rng(0)
    y = rng.integers(2, size=60)
    X = np.hstack([rng.normal(size=(60, 4)), np.eye(2)[y]])
    idle = {"hidden_layer_sizes": (2,), "dropout": 0.9, "lr": 1.0, "max_epochs": 3}
    said = told(lambda: FusionClassifier(random_state=0, **idle).fit(X, y))
    assert all(name in said for name in idle), said
    same = {"hidden_layer_sizes": [64, 32], "dropout": 0.1, "max_epochs": 100}
    assert told(lambda: FusionClassifier(random_state=0, **same).fit(X, y)) == ""
    used = {"fusion": "concat", "max_epochs": 3}
    assert told(lambda: FusionClassifier(random_state=0, **used).fit(X, y)) == ""
    asking = LLMClassifier(**c.params(n_votes=9), threshold=0.3)
    assert "n_votes" in told(lambda: asking.fit(texts(3)))
    return "4 and 2 named, 2 quiet"


@row("M12", "score columns before other columns, no names", "a warning names them")
def _(c):
    rng = np.random.default_rng(0)
    y = rng.integers(3, size=60)
    logs = np.log(np.eye(3)[y] * 0.7 + 0.1)
    noise = rng.normal(size=(60, 4))
    said = told(lambda: FusionClassifier(random_state=0).fit(np.hstack([noise, logs, noise]), y))
    assert "Columns 4 to 6" in said, said
    last = np.hstack([noise, logs])
    assert told(lambda: FusionClassifier(random_state=0).fit(last, y)) == ""
    return "warned; silent where they are last"


@row("M13", "members of an Enum, punctuation, pyarrow texts", "values, names, texts")
def _(c):
    class Topic(str, enum.Enum):  # noqa: UP042 - what typed clients have
        SPORT = "sport"
        FOOD = "food"

    X, y = data()
    model = LLMClassifier(**c.params(classes=Topic)).fit(X, [Topic(name) for name in y])
    assert (model.predict(X) == y).all()
    assert model.classes_.tolist() == sorted(CLASSES)
    stars = np.where(y == "food", "*", "**")
    recorded = RecordedScorer(dict(zip(X, stars.tolist(), strict=True)))
    auto = AutoFusionClassifier(recorded, weak(), random_state=0).fit(X, stars)
    assert (auto.predict(X) == stars).all()
    import pyarrow

    for box in (pyarrow.array(X), pyarrow.chunked_array([X]), pyarrow.table({"t": X})):
        assert (auto.predict(box) == stars).all()
    return "3 kinds"


@row("M14", "sample_weight of AutoFusionClassifier", "reaches the fusion, with routing as without")
def _(c):
    import sklearn

    X, y = data()
    both, wrong = [*X, *X], np.concatenate([y, y[::-1]])
    weights = np.r_[np.ones(len(X)), np.zeros(len(X))]
    table = RecordedScorer(dict(zip(X, y.tolist(), strict=True)))
    model = AutoFusionClassifier(table, weak(), random_state=0)
    plain = model.fit(both, wrong, sample_weight=weights).predict_proba(X)
    with sklearn.config_context(enable_metadata_routing=True):
        model = AutoFusionClassifier(table, weak(), random_state=0)
        model.set_fit_request(sample_weight=True).fit(both, wrong, sample_weight=weights)
        routed = model.predict_proba(X)
    assert np.allclose(plain, routed, atol=1e-9)
    assert (model.predict(X) == y).all()
    return "accuracy 1, equal both ways"
