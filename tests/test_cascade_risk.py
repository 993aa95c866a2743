"""The cascade's promise: at most so much worse than asking about every text."""

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin

from sklfusion import CascadeClassifier, RecordedScorer
from sklfusion.exceptions import DataWarning
from sklfusion.promises._noninferiority import (
    certified_loss,
    certified_share,
    critical,
    least_rows,
    not_worse,
    score,
)


def test_the_test_has_its_check_numbers():
    assert score(5, 2, 100, 0.02) == pytest.approx(0.3869, abs=6e-5)
    assert critical(100, 0.02, 0.1) == pytest.approx(-1.4307, abs=6e-5)
    assert critical(500, 0.02, 0.1) == pytest.approx(-1.2872, abs=6e-5)
    assert not not_worse(0, 0, 113, 0.02, 0.1)
    assert not_worse(0, 0, 114, 0.02, 0.1)


@pytest.mark.parametrize(
    ("b", "c", "n", "wanted"),
    [(0, 0, 100, 0.025), (6, 6, 200, 0.03), (10, 20, 500, 0.005), (20, 10, 500, 0.04)],
)
def test_certified_losses_have_their_check_numbers(b, c, n, wanted):
    assert certified_loss(b, c, n, 0.1) == wanted


@pytest.mark.parametrize(("eps", "wanted"), [(0.02, 0.4), (0.05, 0.3), (0.01, 1.0)])
def test_certified_shares_have_their_check_numbers(eps, wanted):
    first = np.ones(200, dtype=bool)
    first[120::4] = False
    share = certified_share(np.arange(200) / 200, first, np.ones(200, dtype=bool), eps, 0.1)
    assert share == wanted


@pytest.mark.parametrize(("eps", "wanted"), [(0.05, 45), (0.02, 114), (0.01, 230)])
def test_least_rows_have_their_check_numbers(eps, wanted):
    assert least_rows(eps, 0.1) == wanted


def test_a_classifier_that_is_worse_is_certified_no_more_often_than_promised():
    rng = np.random.default_rng(0)
    for lost, won in ((0.05, 0.0), (0.10, 0.05), (0.15, 0.10)):  # each exactly .05 worse
        draws = rng.multinomial(150, [lost, won, 1 - lost - won], size=2000)
        wrong = np.mean([not_worse(b, c, 150, 0.05, 0.1) for b, c, _ in draws])
        assert wrong <= 0.12  # .1, and three standard errors of 2,000 draws


def test_many_rows_are_judged_like_the_exact_test():
    assert critical(3001, 0.02, 0.1) == pytest.approx(critical(3000, 0.02, 0.1), abs=0.09)


class Told(ClassifierMixin, BaseEstimator):
    """Reads the probability of "b" from the text itself."""

    def predict(self, X):
        """Return the likelier class."""
        return self.classes_[self.predict_proba(X).argmax(axis=1)]

    def fit(self, X, y):
        """Note the classes."""
        self.classes_ = np.unique(y)
        return self

    def predict_proba(self, X):
        """Return (n, 2) probabilities."""
        p = np.array([float(text.split()[0]) for text in X])
        return np.column_stack([1 - p, p])


def texts_and_labels(n, seed=0):
    """The first stage is right nine times of ten; the LLM nearly always."""
    rng = np.random.default_rng(seed)
    p = rng.uniform(0.02, 0.98, n)
    y = np.where(rng.random(n) < p, "b", "a")
    llm = np.where(rng.random(n) < 0.99, y, np.where(y == "a", "b", "a"))
    texts = [f"{v:.6f} text {i}" for i, v in enumerate(p)]
    return texts, y, RecordedScorer(dict(zip(texts, llm.tolist(), strict=True)))


def cascade(recorded, **settings):
    """A cascade of the two."""
    return CascadeClassifier(Told(), recorded, random_state=0, **settings)


def test_a_larger_risk_asks_about_fewer_texts_and_keeps_its_promise():
    texts, y, recorded = texts_and_labels(1500)
    shares, truth = [], []
    asking = cascade(recorded).fit(texts[:500], y[:500])
    full = label_rate(asking, texts[500:], y[500:], 1.0)
    for risk in (0.02, 0.1):
        clf = cascade(recorded, risk=risk).fit(texts[:500], y[:500])
        assert clf.certificate_["eps"] <= risk
        assert clf.certificate_["n"] == 500
        shares.append(clf.share_)
        truth.append(full - np.mean(clf.predict(texts[500:]) == y[500:]))
    assert shares == sorted(shares, reverse=True)
    assert shares[-1] < shares[0]
    assert all(loss < risk + 0.03 for loss, risk in zip(truth, (0.02, 0.1), strict=True))


def label_rate(clf, texts, y, share):
    """Accuracy of a fitted cascade that asks about a share of the texts."""
    clf.threshold_ = -np.inf if share == 1 else clf.threshold_
    return np.mean(clf.predict(texts) == y)


def test_a_budget_that_is_too_small_for_the_risk_is_told():
    texts, y, recorded = texts_and_labels(400)
    with pytest.warns(DataWarning, match=r"risk=0.02 takes asking about .* allows 10%"):
        clf = cascade(recorded, risk=0.02, budget=0.1).fit(texts, y)
    assert clf.share_ == 0.1
    assert clf.certificate_["eps"] > 0.02


def test_there_is_a_certificate_whatever_chose_the_share():
    texts, y, recorded = texts_and_labels(300)
    by_budget = cascade(recorded, budget=0.3).fit(texts, y).certificate_
    assert 0.02 < by_budget["eps"] <= 1.0
    assert (by_budget["n"], by_budget["delta"]) == (300, 0.1)
    assert cascade(recorded, budget=0).fit(texts, y).certificate_ is None
    asks_all = cascade(recorded).fit(texts, y)
    assert asks_all.share_ < 1 or asks_all.certificate_["eps"] <= 0.01


def test_a_class_that_a_fold_lacks_takes_part():
    texts, y, _ = texts_and_labels(120)
    y[:1] = "c"
    said = RecordedScorer(dict(zip(texts, y.tolist(), strict=True)))

    class Three(Told):
        def predict_proba(self, X):
            two = super().predict_proba(X)
            rare = np.full((len(two), len(self.classes_) - 2), 0.01)
            return np.hstack([two - rare.sum(axis=1, keepdims=True) / 2, rare])

    clf = CascadeClassifier(Three(), said, budget=0.5, random_state=0).fit(texts, y)
    assert clf.classes_.tolist() == ["a", "b", "c"]
    assert clf.oof_proba_.shape == (120, 3)
    np.testing.assert_allclose(clf.predict_proba(texts[:5]).sum(axis=1), 1)


def test_repeated_texts_certify_nothing_more():
    texts, y, recorded = texts_and_labels(120)
    clf = cascade(recorded, budget=0.5).fit(texts * 4, np.tile(y, 4))
    assert clf.certificate_["n"] == 120


def test_a_risk_that_cannot_be_promised_is_refused_before_anything_is_asked():
    texts, y, recorded = texts_and_labels(100)
    with pytest.raises(ValueError, match="from 114 texts on"):
        cascade(recorded, risk=0.02).fit(texts, y)
    with pytest.raises(ValueError, match="from 114 texts on"):
        cascade(recorded, risk=0.02).fit(texts * 2, np.tile(y, 2))
    with pytest.raises(ValueError, match="about accuracy"):
        cascade(recorded, risk=0.05, scoring="f1_macro").fit(texts, y)
    with pytest.raises(ValueError, match="about accuracy"):
        cascade(recorded, risk=0.05, cost=0.1).fit(texts, y)
    with pytest.raises(ValueError, match="risk=2"):
        cascade(recorded, risk=2).fit(texts, y)


def test_several_labels_are_judged_as_sets():
    rng = np.random.default_rng(0)
    Y = (rng.random((300, 3)) < 0.4).astype(int)
    texts = [" ".join(map(str, row)) + f" text {i}" for i, row in enumerate(Y)]
    scores = np.clip(Y + rng.normal(scale=0.2, size=Y.shape), 0.01, 0.99)
    names = ["x", "y", "z"]
    table = {
        text: dict(zip(names, row, strict=True))
        for text, row in zip(texts, scores.tolist(), strict=True)
    }
    recorded = RecordedScorer(table, classes=names, multilabel=True)

    class Noisy(ClassifierMixin, BaseEstimator):
        def fit(self, X, y):
            self.classes_ = np.arange(3)
            return self

        def predict(self, X):
            return (self.predict_proba(X) > 0.5).astype(int)

        def predict_proba(self, X):
            own = np.array([[int(v) for v in text.split()[:3]] for text in X])
            noise = np.random.default_rng(1).normal(scale=0.45, size=own.shape)
            return np.clip(own + noise, 0.01, 0.99)

    clf = CascadeClassifier(Noisy(), recorded, risk=0.1, random_state=0).fit(texts, Y)
    assert clf.certificate_["eps"] <= 0.1
    assert 0 < clf.share_ <= 1
