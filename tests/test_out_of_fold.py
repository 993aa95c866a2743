"""`oof_proba_`: what a fitted model would have said of its training rows, had it not seen them."""

import numpy as np
import pytest
from _fusion_data import make_labels, make_rows
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline

from sklfusion import (
    AutoFusionClassifier,
    CascadeClassifier,
    FusionClassifier,
    RecordedScorer,
    persistence,
)


def small_net(**params):
    """A fusion that is one small MLP, whatever its columns are."""
    net = {"hidden_layer_sizes": (8,), "max_epochs": 15, "early_stopping": False, "lr": 0.02}
    return FusionClassifier(fusion="concat", **{"random_state": 0} | net | params)


MODELS = {
    "anchored": FusionClassifier(random_state=0),
    "concat": small_net(),
    "one-vs-rest": FusionClassifier(loss="binary_cross_entropy", random_state=0),
}


def hits(proba, y):
    return float((proba.argmax(axis=1) == y).mean())


@pytest.mark.parametrize("name", MODELS)
def test_it_says_what_cross_validation_says(name):
    """Accuracy and log-loss of folds that are each fitted anew, without fitting them."""
    X, y = make_rows(400, accuracy=0.7, signal=0.25)
    clf = clone(MODELS[name]).fit(X, y)
    folds = 3 if name == "concat" else 5  # as many as the fit takes
    own, other = clf.oof_proba_, cross_val_predict(clf, X, y, method="predict_proba", cv=folds)
    assert own.shape == (400, 3)
    np.testing.assert_allclose(own.sum(axis=1), 1, atol=1e-9)
    assert abs(hits(own, y) - hits(other, y)) < 0.035
    assert abs(log_loss(y, own) - log_loss(y, other)) < 0.06


@pytest.mark.parametrize("name", ["anchored", "concat"])
def test_labels_drawn_by_lot_are_not_known(name):
    """Rows whose labels say nothing are right by chance, though the fit may know them by heart."""
    found = []
    for seed in range(4):
        X, _ = make_rows(150, seed=seed)
        y = np.random.default_rng(seed + 100).permutation(np.arange(150) % 3)
        found.append(hits(clone(MODELS[name]).fit(X, y).oof_proba_, y))
    assert abs(np.mean(found) - 1 / 3) < 4 * np.sqrt(2 / 9 / 600)


def test_its_rows_are_those_of_fit_and_its_columns_the_classes():
    """Shuffled rows have shuffled values; each row's class is the likeliest in its own column."""
    X, y = make_rows(150, accuracy=1.0, signal=2.0)
    animals = ["zebra", "ant", "mole"]
    names = np.array(animals)[y]
    clf = FusionClassifier(score_classes=animals, random_state=0).fit(X, names)
    assert (clf.classes_[clf.oof_proba_.argmax(axis=1)] == names).mean() > 0.97
    order = np.random.default_rng(0).permutation(150)
    again = clone(clf).fit(X[order], names[order])
    assert np.abs(again.oof_proba_ - clf.oof_proba_[order]).max() < 0.2
    assert (again.classes_[again.oof_proba_.argmax(axis=1)] == names[order]).mean() > 0.97


def test_a_fit_of_one_seed_gives_one_value():
    X, y = make_rows(90)
    for model in (FusionClassifier(random_state=3), small_net(random_state=3)):
        one, two = (clone(model).fit(X, y).oof_proba_ for _ in range(2))
        np.testing.assert_allclose(one, two, atol=1e-8)


def test_rows_without_weight_have_none():
    """They took no part; the others have what they have in a fit without those rows."""
    X, y = make_rows(120)
    weights = np.where(np.arange(120) % 4 == 0, 0.0, 2.0)
    clf = FusionClassifier(random_state=0).fit(X, y, sample_weight=weights)
    assert np.isnan(clf.oof_proba_[weights == 0]).all()
    live = weights > 0
    alone = FusionClassifier(random_state=0).fit(X[live], y[live], sample_weight=weights[live])
    np.testing.assert_allclose(clf.oof_proba_[live], alone.oof_proba_, atol=1e-8)


def test_weights_count_out_of_fold_too():
    """Class weights that favour a class make it likelier, as they do in ``predict_proba``."""
    X, y = make_rows(150, accuracy=0.5, signal=0.2)
    plain = FusionClassifier(random_state=0).fit(X, y)
    tilted = FusionClassifier(class_weight={0: 5, 1: 1, 2: 1}, random_state=0).fit(X, y)
    shift = (tilted.oof_proba_ - plain.oof_proba_)[:, 0].mean()
    assert shift > 0.15
    assert abs(shift - (tilted.predict_proba(X) - plain.predict_proba(X))[:, 0].mean()) < 0.1


@pytest.mark.parametrize("fusion", ["anchored", "concat"])
def test_several_labels_have_a_probability_each(fusion):
    """Shape (n, L), the columns not tied to sum to one, and right where votes are."""
    X, Y = make_labels(160, k=4)
    model = FusionClassifier(random_state=0) if fusion == "anchored" else small_net(lr=0.01)
    clf = model.fit(X, Y)
    assert clf.oof_proba_.shape == (160, 4)
    assert ((clf.oof_proba_ >= 0.5) == Y).mean() > 0.85
    assert np.ptp(clf.oof_proba_.sum(axis=1)) > 0.5


@pytest.mark.parametrize("name", ["anchored", "concat"])
def test_without_score_columns_it_is_that_of_the_embedding(name):
    """Held out, a model is right less often than on the rows it trained on."""
    X, y = make_rows(200, signal=0.4)
    X = X[:, :20]
    net = {"hidden_layer_sizes": (32,), "max_epochs": 60}
    clf = {"anchored": FusionClassifier(random_state=0), "concat": small_net(**net)}[name]
    clf.fit(X, y)
    assert clf.chosen_ == name
    other = cross_val_predict(clf, X, y, method="predict_proba", cv=3)
    assert abs(hits(clf.oof_proba_, y) - hits(other, y)) < 0.1
    assert hits(clf.predict_proba(X), y) > hits(clf.oof_proba_, y) + 0.05


def test_more_batches_leave_none():
    """Their rows are not kept, so there is nothing to cross-fit."""
    X, y = make_rows(60)
    clf = FusionClassifier(random_state=0).partial_fit(X[:30], y[:30], classes=[0, 1, 2])
    assert clf.oof_proba_ is None
    assert clf.fit(X, y).oof_proba_.shape == (60, 3)
    assert clf.partial_fit(X[:30], y[:30]).oof_proba_ is None


# --------------------------------------------------------------------------------------- texts


class Jitter(TransformerMixin, BaseEstimator):
    """An encoder that places texts anywhere, and a repeated one almost where it was."""

    def fit(self, X, y=None):
        return self

    def transform(self, X):
        rng = np.random.default_rng(0)
        place = {text: np.random.default_rng(abs(int(text.split()[1]))) for text in set(X)}
        base = {text: drawn.normal(size=12) for text, drawn in place.items()}
        return np.array([base[text] for text in X]) + 1e-9 * rng.normal(size=(len(X), 12))


def by_lot(n_texts, times, seed):
    """Distinct texts, each ``times`` times, with classes and votes drawn by lot."""
    rng = np.random.default_rng(seed)
    texts = [f"text {i}" for i in range(n_texts)]
    y = rng.permutation(np.array(["a", "b"])[np.arange(n_texts) % 2])
    votes = rng.choice(["a", "b"], size=n_texts)
    llm = RecordedScorer(dict(zip(texts, votes.tolist(), strict=True)), classes=["a", "b"])
    order = rng.permutation(np.repeat(np.arange(n_texts), times))
    return [texts[i] for i in order], y[order], llm


@pytest.mark.parametrize("n_texts", [20, 60])
def test_a_repeated_text_does_not_vouch_for_itself(n_texts):
    """Six copies of every text, the encoder rounding each its own way: right by chance."""
    found = []
    for seed in range(5):
        X, y, llm = by_lot(n_texts, 6, seed)
        clf = AutoFusionClassifier(llm, Jitter(), random_state=0).fit(X, y)
        assert clf.oof_proba_ is clf.fusion_.oof_proba_
        found.append(hits(clf.oof_proba_, (y == "b").astype(int)))
    assert np.mean(found) < 0.5 + 3 * np.sqrt(0.25 / (5 * n_texts))


def test_another_fusion_may_have_none():
    X, y, llm = by_lot(30, 1, 0)
    auto = AutoFusionClassifier(llm, Jitter(), fusion=LogisticRegression())
    assert not hasattr(auto, "oof_proba_")
    auto.fit(X, y)
    with pytest.raises(AttributeError, match="after fit, if its fusion has"):
        _ = auto.oof_proba_


def notes(n, seed=0, clear=0.5):
    """Notes of which a share holds the word of their class, and an LLM right on 90 %."""
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.array(["food", "sport"])[np.arange(n) % 2])
    words = np.where(rng.random(n) < clear, np.where(y == "food", "soup", "goal"), "thing")
    X = [f"{word} note{i}" for i, word in enumerate(words)]
    other = np.where(y == "food", "sport", "food")
    votes = np.where(rng.random(n) < 0.9, y, other)
    return X, y, RecordedScorer(dict(zip(X, votes.tolist(), strict=True)), classes=list(set(y)))


def first_stage():
    return make_pipeline(CountVectorizer(), LogisticRegression())


def test_a_cascade_tells_both_of_its_stages():
    """The first stage as cross-validation has it; fused, it is better where words say nothing."""
    X, y, llm = notes(200)
    clf = CascadeClassifier(first_stage(), llm, random_state=0).fit(X, y)
    truth = (y == "sport").astype(int)
    other = cross_val_predict(first_stage(), X, y, method="predict_proba")
    assert abs(hits(clf.oof_proba_first_, truth) - hits(other, truth)) < 0.05
    assert hits(clf.oof_proba_, truth) > hits(clf.oof_proba_first_, truth) + 0.1
    assert hits(clf.predict_proba(X), truth) >= hits(clf.oof_proba_, truth) - 0.02


def test_texts_that_the_llm_was_not_asked_about_have_no_fused_value():
    """``n_fit`` of them have one, each in its own row; the first stage has all."""
    X, y, llm = notes(120)
    clf = CascadeClassifier(first_stage(), llm, n_fit=60, random_state=0).fit(X, y)
    has = np.isfinite(clf.oof_proba_).all(axis=1)
    assert has.sum() == clf.asked_["fit"] == 60
    assert np.isfinite(clf.oof_proba_first_).all()
    right = clf.classes_[clf.oof_proba_[has].argmax(axis=1)] == y[has]
    assert right.mean() > 0.8


def test_a_cascade_that_never_asks_has_none():
    X, y, llm = notes(40)
    clf = CascadeClassifier(first_stage(), llm, budget=0, random_state=0).fit(X, y)
    assert clf.oof_proba_ is None
    assert clf.oof_proba_first_ is None


def test_repeated_texts_of_a_cascade_are_in_one_fold():
    """A first stage that knows texts by heart is right by chance on labels drawn by lot."""
    found = []
    for seed in range(3):
        X, y, llm = by_lot(60, 4, seed)
        first = make_pipeline(CountVectorizer(token_pattern=r"\d+"), LogisticRegression(C=100))
        clf = CascadeClassifier(first, llm, random_state=0).fit(X, y)
        truth = (y == "b").astype(int)
        found.append([hits(clf.oof_proba_first_, truth), hits(clf.oof_proba_, truth)])
    assert np.max(np.mean(found, axis=0)) < 0.5 + 3 * np.sqrt(0.25 / 180)


def test_a_saved_model_keeps_it(tmp_path):
    """To the last digit, of all three; models saved before there was one load without it."""
    X, y, llm = notes(60)
    fused = FusionClassifier(random_state=0).fit(*make_rows(60))
    auto = AutoFusionClassifier(llm, first_stage()[:1], random_state=0).fit(X, y)
    cascade = CascadeClassifier(first_stage(), llm, random_state=0).fit(X, y)
    for model in (fused, auto, cascade):
        persistence.save(model, tmp_path / "model.sklf")
        again = persistence.load(tmp_path / "model.sklf")
        np.testing.assert_array_equal(again.oof_proba_, model.oof_proba_)
    np.testing.assert_array_equal(again.oof_proba_first_, cascade.oof_proba_first_)
    for old in (fused, auto.fusion_):
        del old.oof_proba_
    for old in (fused, auto):
        persistence.save(old, tmp_path / "old.sklf")
        assert not hasattr(persistence.load(tmp_path / "old.sklf"), "oof_proba_")
