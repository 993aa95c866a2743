"""CascadeClassifier: asks the LLM where it pays, and never more than it may."""

import pickle

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score
from sklearn.model_selection import GridSearchCV
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline

from sklfusion import (
    CascadeClassifier,
    LLMClassifier,
    LLMScorer,
    RecordedScorer,
    persistence,
)
from sklfusion._scores import as_told
from sklfusion.cascade import _cost_curve
from sklfusion.plotting import CostCurveDisplay
from sklfusion.testing import N_TEXT_CHECKS, check_text_estimator
from sklfusion.testing.text_checks import LABELS, TEXTS

CLASSES = ["food", "sport"]
CLUES = {"food": ["bread", "soup", "cook"], "sport": ["goal", "team", "race"]}


def corpus(n=120, seed=0, clear=0.6):
    """Texts of which a share ``clear`` holds a clue that words can tell; the rest holds none."""
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.array(CLASSES)[np.arange(n) % 2])
    X = []
    for number, label in enumerate(y):
        word = rng.choice(CLUES[label]) if rng.random() < clear else "thing"
        X.append(f"{word} note {number}-{seed}")
    return X, y


def first():
    return make_pipeline(CountVectorizer(), LogisticRegression())


def recorded(*corpora, right=0.95, seed=1, **params):
    """An LLM that is right about a share of the texts, whatever words they hold."""
    rng = np.random.default_rng(seed)
    other = {"food": "sport", "sport": "food"}
    table = {
        text: label if rng.random() < right else other[label]
        for X, y in corpora
        for text, label in zip(X, y.tolist(), strict=True)
    }
    return RecordedScorer(table, classes=CLASSES, **params)


def cascade(llm, **params):
    return CascadeClassifier(first(), llm, **{"random_state": 0, **params})


def live(server, folder, **params):
    """A scorer on the loopback endpoint, which answers by the class name in the text."""
    return LLMScorer(
        "m", base_url=server.base_url, memory=folder, classes=CLASSES, strategy="label", **params
    )


def spoken(n, start=0):
    """Texts that name their class, so that the loopback endpoint is right about them."""
    y = np.array(CLASSES)[np.arange(n) % 2]
    return [f"note {start + i} of {label}" for i, label in enumerate(y)], y


class Blank(ClassifierMixin, BaseEstimator):
    """A first stage without an opinion."""

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        return self

    def predict_proba(self, X):
        return np.full((len(X), len(self.classes_)), np.nan)

    def predict(self, X):
        return np.repeat(self.classes_[:1], len(X))


def test_asking_about_few_texts_is_worth_more_than_its_share():
    """With a fifth of the texts asked about, more than a fifth of the way is gone."""
    train, test = corpus(200), corpus(400, seed=9)
    llm = recorded(train, test)
    scores = {
        budget: cascade(llm, budget=budget).fit(*train).score(*test) for budget in (0, 0.2, 1.0)
    }
    gain = (scores[0.2] - scores[0]) / (scores[1.0] - scores[0])
    assert scores[1.0] > scores[0] + 0.1
    assert gain > 0.3


def test_those_asked_about_are_fused_and_the_others_keep_the_first_answer():
    """An answer comes from the fusion exactly where ``asks`` says so."""
    train, (X, _) = corpus(), corpus(80, seed=3)
    clf = cascade(recorded(train, (X, np.array(CLASSES)[np.arange(80) % 2])), budget=0.25)
    clf.fit(*train)
    asked, proba = clf.asks(X), clf.predict_proba(X)
    alone = clf.first_.predict_proba(X)
    assert 0 < asked.sum() <= 20
    assert np.allclose(proba[~asked], alone[~asked], rtol=0, atol=1e-12)
    columns = np.hstack([alone[asked], clf.llm_.transform([X[i] for i in np.flatnonzero(asked)])])
    assert np.allclose(proba[asked], clf.fusion_.predict_proba(columns))
    assert alone[asked].max(axis=1).max() <= alone[~asked].max(axis=1).min()


@pytest.mark.parametrize("budget", [0.0, 0.1, 0.25, 0.5, 1.0])
def test_a_call_never_asks_about_more_than_the_budget(budget):
    """Rounded down, for any number of texts, also when all of them are doubtful."""
    train = corpus()
    clf = cascade(recorded(train, right=1.0), budget=budget).fit(*train)
    clf.threshold_ = -np.inf  # whatever was chosen in fit, the budget holds
    for n in (0, 1, 3, 4, 17, 80):
        X = [f"thing {i} unheard of" for i in range(n)]
        assert clf.asks(X).sum() == int(budget * n)


def test_budget_zero_sends_nothing_and_answers_as_the_first_stage(fault_server, tmp_path):
    """Not even fit asks; there is no fusion and no curve."""
    X, y = spoken(20)
    clf = cascade(live(fault_server, tmp_path), budget=0).fit(X, y)
    assert np.allclose(clf.predict_proba(X), clf.first_.predict_proba(X), rtol=0, atol=1e-12)
    assert fault_server.ledger().received == 0
    assert (clf.llm_, clf.fusion_, clf.cost_curve_, clf.share_) == (None, None, None, 0.0)


def test_the_ledger_agrees_with_the_budget(fault_server, tmp_path):
    """Fit pays for its distinct texts, predict for its share; duplicates are paid once."""
    X, y = spoken(40)
    clf = cascade(live(fault_server, tmp_path), budget=0.25).fit(X, y)
    assert fault_server.ledger().billed == clf.asked_["fit"] == 40
    new = [f"plain remark {i}" for i in range(20)]
    clf.threshold_ = -np.inf
    clf.predict(new * 3)
    assert fault_server.ledger().billed == 40 + 5
    assert clf.asked_ == {"fit": 40, "predict": 5, "texts": 20}
    asked = fault_server.ledger().received
    clf.asks([f"another remark {i}" for i in range(20)])
    assert fault_server.ledger().received == asked


def test_n_fit_bounds_what_fit_asks_and_keeps_every_class(fault_server, tmp_path):
    """A rare class is among the few rows that are asked about."""
    X, y = spoken(40)
    y = np.where(np.isin(np.arange(40), [7, 11, 13]), "sport", "food")
    clf = cascade(live(fault_server, tmp_path), n_fit=10).fit(X, y)
    assert fault_server.ledger().billed == clf.asked_["fit"] == 10
    assert clf.classes_.tolist() == CLASSES


def test_a_budget_of_money_needs_a_price(fault_server, tmp_path):
    """It is refused before anything is paid for."""
    X, y = spoken(12)
    for llm in (live(fault_server, tmp_path), recorded((X, y))):
        with pytest.raises(ValueError, match=r"price of its LLM is not known.*prices="):
            cascade(llm, budget={"money": 1.0}).fit(X, y)
    assert fault_server.ledger().received == 0


def test_a_budget_of_money_is_kept(fault_server, tmp_path):
    """What predict spends stays below the budget for its texts; the curve has costs."""
    prices = {"input": 1000.0, "output": 1000.0}
    X, y = corpus(60)
    llm = live(fault_server, tmp_path, prices=prices)
    clf = cascade(llm, budget={"money": 40.0}).fit(X, y)
    assert 0 < clf.price_ < 1
    assert clf.cost_curve_["cost"][-1] == pytest.approx(1000 * clf.price_)
    assert clf.share_ <= 40.0 / (1000 * clf.price_)
    clf.threshold_ = -np.inf
    spent = clf.llm_.usage_.cost
    new = [f"thing {i} is here" for i in range(100)]
    clf.predict(new)
    spent = clf.llm_.usage_.cost - spent
    assert 0 < spent <= 40.0 * 100 / 1000


def test_the_price_is_known_though_all_texts_are_stored(fault_server, tmp_path):
    """A second fit pays nothing and chooses the same share."""
    prices = {"input": 1000.0, "output": 1000.0}
    X, y = spoken(30)
    clf = cascade(live(fault_server, tmp_path, prices=prices), budget={"money": 40.0})
    one, two = clone(clf).fit(X, y), clone(clf).fit(X, y)
    assert fault_server.ledger().billed == 30
    assert (one.price_, one.share_) == (two.price_, two.share_)


@pytest.mark.filterwarnings("ignore::sklfusion.ScoringWarning")
def test_where_both_stages_abstain_the_class_frequencies_answer():
    """Prior of the training labels; one opinion of the LLM is enough to leave it."""
    X = [f"text {i}" for i in range(30)]
    y = np.array(["food"] * 20 + ["sport"] * 10)
    table = {text: label for text, label in zip(X, y.tolist(), strict=True)} | {"silent": None}
    clf = CascadeClassifier(Blank(), RecordedScorer(table, classes=CLASSES), random_state=0)
    clf.fit(X, y)
    assert clf.share_ > 0.3
    got = clf.predict_proba(["silent", "text 25"])
    assert np.allclose(got[0], [2 / 3, 1 / 3])
    assert got[1, 1] > 0.5
    only = CascadeClassifier(Blank(), RecordedScorer(table, classes=CLASSES), budget=0).fit(X, y)
    assert np.allclose(only.predict_proba(X), [2 / 3, 1 / 3])


@pytest.mark.filterwarnings("ignore::sklfusion.ScoringWarning")
def test_an_llm_without_an_answer_leaves_the_first_answer(fault_server, tmp_path):
    """A text that the endpoint fails on is answered as if it had not been asked about."""
    X, y = spoken(30)
    clf = cascade(live(fault_server, tmp_path, deadline=2.0), strict=False).fit(X, y)
    clf.threshold_ = -np.inf
    fault_server.script({"fault": {"kind": "status", "status": 400}, "contains": "broken"})
    texts = ["broken sport", "fine sport note", *(f"sport {i}" for i in range(8))]
    got = clf.predict_proba(texts)
    assert np.allclose(got[0], clf.first_.predict_proba(["broken sport"])[0], rtol=0, atol=1e-12)
    assert not np.allclose(got[1], clf.first_.predict_proba(["fine sport note"])[0])


def test_the_curve_starts_at_the_first_stage_and_ends_at_the_fusion():
    """Its ends are the scores of the parts; the budget is a point of it."""
    X, y = corpus()
    clf = cascade(recorded((X, y)), budget=0.33).fit(X, y)
    curve = clf.cost_curve_
    assert 0.33 in curve["share"]
    assert clf.share_ <= 0.33
    assert curve["score"][-1] > curve["score"][0] + 0.1
    assert curve["threshold"][0] == np.inf
    assert curve["threshold"][-1] == -np.inf
    assert (np.diff(curve["threshold"]) <= 0).all()
    assert np.isnan(curve["cost"]).all()


def test_cost_buys_fewer_texts():
    """The dearer an answer, the fewer; none where it costs more than it can bring."""
    X, y = corpus(200)
    shares = [cascade(recorded((X, y)), cost=cost).fit(X, y).share_ for cost in (0.0, 0.3, 5.0)]
    assert shares[0] >= shares[1] >= shares[2] == 0
    assert shares[0] > 0.2


def test_a_useless_llm_is_not_asked_for_long():
    """An LLM that guesses costs no accuracy."""
    train, test = corpus(200), corpus(300, seed=5)
    clf = cascade(recorded(train, test, right=0.5)).fit(*train)
    alone = accuracy_score(test[1], clf.first_.predict(test[0]))
    assert clf.score(*test) > alone - 0.03


def test_the_scorer_that_was_asked_for_decides():
    """Any scikit-learn scorer, with probabilities or labels."""
    X, y = corpus()
    for scoring in ("neg_log_loss", "f1_macro", "roc_auc"):
        curve = cascade(recorded((X, y)), scoring=scoring).fit(X, y).cost_curve_
        assert np.isfinite(curve["score"]).all()
    assert (
        (cascade(recorded((X, y)), scoring="neg_log_loss").fit(X, y).cost_curve_["score"]).max()
        < 0
    )


def test_loose_budgets_do_not_depend_on_the_texts_beside():
    """With strict=False one text is asked about as it is within many."""
    train, (X, _) = corpus(200), corpus(60, seed=4)
    clf = cascade(recorded(train), budget=0.3, strict=False).fit(*train)
    together = clf.asks(X)
    assert together.any()
    assert [bool(clf.asks([text])[0]) for text in X] == together.tolist()
    strict = cascade(recorded(train), budget=0.3).fit(*train)
    assert not any(strict.asks([text])[0] for text in X)


def test_the_llm_may_be_a_classifier(fault_server, tmp_path):
    """LLMClassifier, or anything with predict_proba on texts."""
    X, y = spoken(30)
    llm = LLMClassifier(
        "m", classes=CLASSES[::-1], base_url=fault_server.base_url, memory=tmp_path
    )
    clf = cascade(llm).fit(X, y)
    assert clf.score(X, y) == 1.0


def test_several_labels_per_text():
    """Indicators in and out, with a cut chosen on the answers of the cascade."""
    rng = np.random.default_rng(0)
    X = [
        f"{'bread' if a else 'x'} {'goal' if b else 'x'} {i}"
        for i, (a, b) in enumerate(rng.random((120, 2)) < 0.4)
    ]
    gold = np.array([["bread" in text, "goal" in text] for text in X])
    hidden = rng.random(120) < 0.5
    shown = [
        f"thing {i}" if h else text for i, (h, text) in enumerate(zip(hidden, X, strict=True))
    ]
    y = gold.astype(int)
    table = {
        text: [c for c, on in zip(CLASSES, row, strict=True) if on]
        for text, row in zip(shown, y, strict=True)
    }
    llm = RecordedScorer(table, classes=CLASSES, multilabel=True)
    base = make_pipeline(CountVectorizer(), OneVsRestClassifier(LogisticRegression()))
    clf = CascadeClassifier(base, llm, budget=0.6, random_state=0).fit(shown, y)
    assert clf.predict_proba(shown).shape == (120, 2)
    assert clf.score(shown, y) > accuracy_score(y, base.fit(shown, y).predict(shown)) + 0.1
    assert clf.asks(shown).sum() <= 72


@pytest.mark.models
def test_the_default_first_stage_takes_both_kinds_of_target(tmp_path):
    """The embedded encoder under a logistic regression, one per label for indicators."""
    X, y = corpus(30)
    indicator = np.column_stack([y == c for c in CLASSES]).astype(int)
    sets = {text: [label] for text, label in zip(X, y.tolist(), strict=True)}
    for llm, target in (
        (recorded((X, y)), y),
        (RecordedScorer(sets, classes=CLASSES, multilabel=True), indicator),
    ):
        clf = CascadeClassifier(llm=llm, budget=0.5, memory=tmp_path, random_state=0)
        assert clf.fit(X, target).predict_proba(X[:4]).shape == (4, 2)


def test_a_grid_search_pays_for_every_text_once(fault_server, tmp_path):
    """Four candidates, three folds, one request per distinct text."""
    X, y = spoken(36)
    clf = cascade(live(fault_server, tmp_path), strict=False)
    grid = {"budget": [0.2, 0.5], "first__logisticregression__C": [0.1, 1.0]}
    search = GridSearchCV(clf, grid, cv=3, error_score="raise").fit(np.array(X, dtype=object), y)
    assert fault_server.ledger().billed <= 36
    assert search.best_score_ > 0.5


def test_clone_pickle_and_bundle_keep_the_answers(tmp_path):
    """And the clone is unfitted."""
    train, (X, _) = corpus(), corpus(30, seed=2)
    clf = cascade(recorded(train, (X, np.array(CLASSES)[np.arange(30) % 2]))).fit(*train)
    wanted = clf.predict_proba(X)
    assert not hasattr(clone(clf), "first_")
    assert np.allclose(
        pickle.loads(pickle.dumps(clf)).predict_proba(X), wanted, rtol=0, atol=1e-12
    )
    persistence.save(clf, tmp_path / "cascade.sklf")
    assert np.allclose(persistence.load(tmp_path / "cascade.sklf").predict_proba(X), wanted)


def test_it_keeps_the_text_contract():
    """All 32 checks, where no call is held to a budget of its own."""
    llm = RecordedScorer(dict(zip(TEXTS, LABELS, strict=True)), classes=CLASSES)
    model = cascade(llm, budget=0.5, strict=False)
    assert check_text_estimator(model) == N_TEXT_CHECKS


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"budget": 1.2}, "share of the texts"),
        ({"budget": -1}, "share of the texts"),
        ({"budget": {"tokens": 3}}, "'money'"),
        ({"budget": {"money": -3}}, "'money'"),
        ({"budget": "much"}, "share of the texts"),
        ({"cost": -0.1}, "cost"),
        ({"n_fit": 1}, "n_fit"),
    ],
)
def test_wrong_parameters_are_named(params, message):
    """In fit, with what arrived and what is wanted."""
    X, y = corpus(20)
    with pytest.raises(ValueError, match=message):
        cascade(recorded((X, y)), **params).fit(X, y)


def test_wrong_targets_are_named():
    """One class, no y, and an LLM by name for several labels."""
    X, y = corpus(20)
    with pytest.raises(ValueError, match="one class"):
        cascade(recorded((X, y))).fit(X, ["food"] * 20)
    with pytest.raises(ValueError, match=r"llm of .*\['tea'\] too, not in classes"):
        cascade(recorded((X, y))).fit(X, [*y[:18], "tea", "tea"])
    with pytest.raises(ValueError, match="requires y"):
        cascade(recorded((X, y))).fit(X, None)
    base = make_pipeline(CountVectorizer(), OneVsRestClassifier(LogisticRegression()))
    with pytest.raises(ValueError, match="multilabel=True"):
        CascadeClassifier(base, "openai/any").fit(X, np.eye(2, dtype=int)[np.arange(20) % 2])


def test_a_threshold_within_ties_asks_about_fewer():
    """Rows as doubtful as the bound are left out; none and all have bounds of their own."""
    unsure = np.array([0.5, 0.3, 0.3, 0.1])
    for n, asked in ((0, 0), (1, 1), (2, 1), (3, 3), (4, 4)):
        assert (unsure > _cost_curve.threshold(unsure, n)).sum() == asked
    nothing = np.array([np.inf, np.inf, 0.2])
    assert (nothing > _cost_curve.threshold(nothing, 2)).sum() == 2


def test_doubt_is_what_the_likeliest_answer_leaves():
    """One minus the largest probability, or the mean chance that a label is wrong."""
    proba, silent = _cost_curve.usable([[0.9, 0.1], [0.5, 0.5], [np.nan, 0.2]], [0.6, 0.4], False)
    assert proba[1:].tolist() == [[0.6, 0.4]] * 2
    assert _cost_curve.doubt(proba, silent, False) == pytest.approx([0.1, np.inf, np.inf])
    labels, silent = _cost_curve.usable([[0.9, 0.4], [0.0, 0.0]], [0.6, 0.4], True)
    assert _cost_curve.doubt(labels, silent, True) == pytest.approx([0.25, 0.0])


def test_equal_scores_are_no_answer():
    """For label sets all refused is an answer, all at one half is not."""
    logs = as_told(np.log([[0.5, 0.5], [0.9, 0.1]]), ["a", "b"], False)
    assert logs.answers.ravel().tolist() == [False, True]
    sets = as_told([[0.0, 0.0], [0.5, 0.5], [1.0, 0.0]], ["a", "b"], True)
    assert sets.answers.ravel().tolist() == [True, False, True]


def test_the_display_shows_the_curve_and_the_choice():
    """One line of scores and one mark; a cascade that never asks has nothing to show."""
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("agg")
    from matplotlib import pyplot as plt

    X, y = corpus(60)
    clf = cascade(recorded((X, y)), budget=0.5).fit(X, y)
    display = CostCurveDisplay.from_estimator(clf)
    drawn = display.ax_.get_lines()
    assert np.allclose(drawn[0].get_ydata(), clf.cost_curve_["score"])
    assert drawn[1].get_xdata()[0] == 100 * clf.share_
    plt.close("all")
    with pytest.raises(ValueError, match="no cost curve"):
        CostCurveDisplay.from_estimator(cascade(recorded((X, y)), budget=0).fit(X, y))
