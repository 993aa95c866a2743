"""Check numbers on real LLM labels: SemEval relations labelled by Mixtral."""

import numpy as np
import pandas as pd
import pytest
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import normalize

from sklfusion import KNNLabelPrior, LabelRepairClassifier
from sklfusion.noise._dynamics import mark_suspicious, suspicion_scores

pytestmark = pytest.mark.data


@pytest.fixture(scope="module")
def semeval(data_dir):
    rows = pd.read_parquet(data_dir / "llm" / "semeval_relation_mixtral.parquet")
    return {
        split: (part.text.tolist(), part.mixtral8x22b.to_numpy(), part.gold.to_numpy())
        for split, part in rows.groupby("split")
    }


@pytest.fixture(scope="module")
def tfidf(semeval):
    vectorizer = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True)
    X = vectorizer.fit_transform(semeval["train"][0])
    return X, vectorizer.transform(semeval["test"][0])


def student():
    return LogisticRegression(C=10, max_iter=300)


def test_published_label_quality(semeval):
    """Mixtral's labels: accuracy 44.48 / 43.82 / 40.83 %, refusals 1 / 1 / 4."""
    wanted = {"train": (44.48, 1), "valid": (43.82, 1), "test": (40.83, 4)}
    for split, (accuracy, refused) in wanted.items():
        _, noisy, gold = semeval[split]
        assert 100 * np.mean(noisy == gold) == pytest.approx(accuracy, abs=0.01)
        assert (noisy < 0).sum() == refused


def test_students_of_gold_and_llm_labels(semeval, tfidf):
    """TF-IDF and logistic regression: 82.2 % / .626 on gold, 45.7 % / .399 on Mixtral's."""
    (X, X_test), (_, noisy, gold), y_test = tfidf, semeval["train"], semeval["test"][2]
    known = noisy >= 0
    for labels, rows, accuracy, f1 in (
        (gold, np.ones_like(known), 0.822, 0.626),
        (noisy, known, 0.457, 0.399),
    ):
        predicted = student().fit(X[rows], labels[rows]).predict(X_test)
        assert np.mean(predicted == y_test) == pytest.approx(accuracy, abs=0.012)
        assert f1_score(y_test, predicted, average="macro") == pytest.approx(f1, abs=0.02)


#: Accuracy after reading gold for a share of the rows, and the share of wrong labels among them.
REPAIR = {
    0.05: {"random": 0.489, "entropy": 0.495, "student": 0.483, "oracle": 0.514},
    0.25: {"random": 0.612, "entropy": 0.662, "student": 0.642, "oracle": 0.721},
    0.5: {"random": 0.740, "entropy": 0.762, "student": 0.778, "oracle": 0.822},
}
WRONG_AT_A_QUARTER = {"random": 0.54, "entropy": 0.66, "student": 0.82, "oracle": 1.0}


@pytest.mark.parametrize("budget", REPAIR)
def test_repair_table(semeval, tfidf, budget):
    """Gold for 5, 25 and 50 % of the rows by four selectors, near the published check."""
    (X, X_test), (_, noisy, gold), y_test = tfidf, semeval["train"], semeval["test"][2]
    for selector, accuracy in REPAIR[budget].items():
        chosen = selector if selector != "oracle" else lambda X, codes, proba: noisy != gold
        model = LabelRepairClassifier(student(), selector=chosen, budget=budget, random_state=0)
        model.fit(X, gold, noisy=noisy)
        assert np.mean(model.predict(X_test) == y_test) == pytest.approx(accuracy, abs=0.03)
        if budget == 0.25:
            wrong = WRONG_AT_A_QUARTER[selector]
            assert model.n_changed_ / model.budget_used_ == pytest.approx(wrong, abs=0.04)


@pytest.fixture(scope="module")
def marked(semeval, tfidf):
    _, noisy, gold = semeval["train"]
    X = normalize(TruncatedSVD(200, random_state=0).fit_transform(tfidf[0])).astype(np.float32)
    # the published check was made with this encoder: 64 hidden units, 10 epochs at 2e-3
    known = noisy >= 0
    net = MLPClassifier(64, learning_rate_init=2e-3, random_state=0)
    epochs = []
    for _ in range(10):
        net.partial_fit(X[known], noisy[known], classes=np.arange(9))
        epochs.append(np.maximum(X @ net.coefs_[0] + net.intercepts_[0], 0))
    return X, noisy, gold, suspicion_scores(np.array([epochs]), noisy, 9)


@pytest.mark.parametrize(
    ("ratio", "error", "uncertain", "contains", "size"),
    [(0.0, None, 0.0, 44.5, 1.0), (0.3, 61.8, 27.2, 58.4, 1.98), (0.5, 61.6, 46.7, 67.7, 2.83)],
)
def test_prior_of_the_reference(marked, ratio, error, uncertain, contains, size):
    """Share of errors among marked rows, of uncertain rows, of candidate sets with the truth, and
    their size, near the published check."""
    X, noisy, gold, scores = marked
    marks = mark_suspicious(scores, ratio)[0]
    prior = KNNLabelPrior(10, weights="distance", correction=None, exclude_self=False)
    prior.fit(X, noisy, suspicious=marks)
    if error is not None:
        assert 100 * np.mean((noisy != gold)[marks]) == pytest.approx(error, abs=3.5)
    assert 100 * prior.uncertain_.mean() == pytest.approx(uncertain, abs=4)
    hit = prior.candidate_mask_[np.arange(len(gold)), gold].mean()
    assert 100 * hit == pytest.approx(contains, abs=4)
    assert prior.candidate_mask_.sum(axis=1).mean() == pytest.approx(size, abs=0.3)


def test_prior_without_self_and_thresholds(marked):
    """Self excluded, no thresholds: 93 % below .9 and the set contains the truth 86.4 %."""
    X, noisy, gold, scores = marked
    prior = KNNLabelPrior(
        10, weights="distance", correction=None, certain_threshold=1.0, dominant_threshold=1.0
    ).fit(X, noisy, suspicious=mark_suspicious(scores, 0.5)[0])
    assert 100 * np.mean(prior.prior_.max(axis=1) < 0.9) == pytest.approx(93, abs=4)
    hit = prior.candidate_mask_[np.arange(len(gold)), gold].mean()
    assert 100 * hit == pytest.approx(86.4, abs=4)
    assert 100 * np.mean(prior.prior_.argmax(axis=1) == gold) == pytest.approx(45.3, abs=4)


def test_correction_beats_the_reference_prior(marked):
    """Undoing the annotator's confusions: the best candidate is right more often by points."""
    X, noisy, gold, _ = marked
    plain = KNNLabelPrior(10, correction=None).fit(X, noisy).prior_
    corrected = KNNLabelPrior().fit(X, noisy).prior_
    right = [np.mean(p.argmax(axis=1) == gold) for p in (plain, corrected)]
    assert right[1] > right[0] + 0.05
