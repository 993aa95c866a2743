"""Learning from LLM labels the simple way: frequencies, several LLMs, some gold labels."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import make_blobs
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score

from sklfusion import Annotations, NoisyLabelClassifier, persistence
from sklfusion.noise._annotators import annotator_posterior, confusions, held_out_proba
from sklfusion.noise._transition import estimate_transition


def say(gold, matrix, seed):
    """Labels of an LLM that confuses the classes as the matrix says."""
    draws = np.random.default_rng(seed).random((len(gold), 1))
    return (draws > matrix[gold].cumsum(axis=1)).sum(axis=1)


#: Calls most of everything 0.
BIASED = np.array([[0.9, 0.05, 0.05], [0.6, 0.35, 0.05], [0.6, 0.05, 0.35]])


@pytest.fixture(scope="module")
def data():
    X, gold = make_blobs(900, centers=3, n_features=20, cluster_std=6.0, random_state=4)
    X = X / np.linalg.norm(X, axis=1, keepdims=True)
    return X[:450], gold[:450], X[450:], gold[450:]


class TestOneLLM:
    def test_a_class_that_the_llm_says_too_often(self, data):
        """Half of two classes are called by the third: more points than the labels allow."""
        X, gold, X_test, y_test = data
        llm = say(gold, BIASED, 0)
        model = NoisyLabelClassifier(random_state=0).fit(X, llm)
        plain = LogisticRegression(C=3.0).fit(X, llm)
        assert model.score(X_test, y_test) > plain.score(X_test, y_test) + 0.1
        assert model.score(X_test, y_test) > np.mean(llm == gold) + 0.1
        assert model.transition_matrices_ is None

    def test_clean_labels_cost_nothing(self, data):
        """Gold labels, a tenth of them of one class: within a point of plain regression."""
        X, gold, X_test, y_test = data
        keep = (gold != 2) | (np.arange(len(gold)) % 6 == 0)
        keep_test = (y_test != 2) | (np.arange(len(y_test)) % 6 == 0)
        X_test, y_test = X_test[keep_test], y_test[keep_test]
        model = NoisyLabelClassifier(random_state=0).fit(X[keep], gold[keep])
        plain = LogisticRegression(C=10.0).fit(X[keep], gold[keep])
        assert model.score(X_test, y_test) > plain.score(X_test, y_test) - 0.015
        assert model.agreement_ > 0.6

    def test_known_frequencies_are_used(self, data):
        """A class that is said to be nearly absent is nearly never predicted, and others are."""
        X, gold, X_test, _ = data
        rare = NoisyLabelClassifier(class_prior=[0.495, 0.495, 0.01], random_state=0)
        said = rare.fit(X, say(gold, BIASED, 0)).predict(X_test)
        assert np.mean(said == 2) < 0.1
        even = clone(rare).set_params(class_prior=[1, 1, 1]).fit(X, say(gold, BIASED, 0))
        assert balanced_accuracy_score(data[3], even.predict(X_test)) > 0.6
        labels = clone(rare).set_params(class_prior="labels").fit(X, say(gold, BIASED, 0))
        assert np.mean(labels.predict(X_test) == 0) > np.mean(even.predict(X_test) == 0) + 0.1

    def test_refused_texts_teach_nothing(self, data):
        """Rows without a label change no probability; their own held-out ones are there."""
        X, gold, X_test, _ = data
        names = np.array(["a", "b", "c"], dtype=object)[gold]
        holes = np.r_[names, [None] * 50]
        model = NoisyLabelClassifier(class_prior="labels", random_state=0)
        rows = np.r_[X, X[:50] * -1]
        proba = model.fit(rows, holes).predict_proba(X_test)
        assert model.classes_.tolist() == ["a", "b", "c"]
        assert (model.label_proba_[450:] == 0).all()
        assert model.oof_proba_.sum(axis=1) == pytest.approx(np.ones(500))
        assert proba.sum(axis=1) == pytest.approx(np.ones(len(X_test)))

    def test_takes_annotations(self, data):
        """Annotations are the labels they hold."""
        X, gold, X_test, _ = data
        notes = Annotations.from_labels(gold.tolist(), [0, 1, 2])
        a = NoisyLabelClassifier(random_state=0).fit(X, gold)
        b = NoisyLabelClassifier(random_state=0).fit(X, notes)
        assert np.allclose(a.predict_proba(X_test), b.predict_proba(X_test), atol=1e-9)

    def test_rows_are_not_seen_by_their_own_model(self, data):
        """Held-out probabilities know nothing of random labels."""
        X = data[0]
        labels = np.random.default_rng(0).integers(3, size=len(X))
        proba = held_out_proba(X, np.eye(3)[labels], 10.0, np.random.default_rng(0))
        assert np.mean(proba.argmax(axis=1) == labels) < 0.45


class TestSeveralLLMs:
    def test_a_good_llm_among_bad_ones_is_found(self, data):
        """Two LLMs near chance do not drown a good one, as their majority would."""
        X, gold, X_test, y_test = data
        good = say(gold, np.full((3, 3), 0.1) + 0.7 * np.eye(3), 0)
        bad = [say(gold, BIASED[[0, 0, 0]] * 0.9 + 0.1 * np.eye(3), s) for s in (1, 2)]
        labels = np.column_stack([good, *bad])
        model = NoisyLabelClassifier(random_state=0).fit(X, labels)
        right = np.mean(model.label_proba_.argmax(axis=1) == gold)
        assert right > np.mean(good == gold) - 0.02
        diagonals = [np.trace(m) / 3 for m in model.transition_matrices_]
        assert int(np.argmax(diagonals)) == 0
        assert model.score(X_test, y_test) > 0.6

    def test_refusals_of_one_llm_leave_the_others(self, data):
        """A text that one LLM refused is labelled by the others."""
        X, gold, _, _ = data
        labels = np.column_stack([say(gold, 0.1 + 0.7 * np.eye(3), s) for s in range(3)])
        labels[:100, 0] = -1
        model = NoisyLabelClassifier(random_state=0).fit(X, labels)
        assert np.mean(model.label_proba_[:100].argmax(axis=1) == gold[:100]) > 0.75


class TestGold:
    def test_some_gold_labels_tell_the_confusions(self, data):
        """An LLM that swaps two classes is set right by ninety gold labels."""
        X, gold, X_test, y_test = data
        swapped = say(gold, np.array([[0.1, 0.8, 0.1], [0.8, 0.1, 0.1], [0.1, 0.1, 0.8]]), 0)
        told = np.where(np.arange(len(gold)) < 90, gold.astype(float), np.nan)
        alone = NoisyLabelClassifier(random_state=0).fit(X, swapped)
        model = NoisyLabelClassifier(random_state=0).fit(X, swapped, gold=told)
        assert model.score(X_test, y_test) > alone.score(X_test, y_test) + 0.3
        assert model.transition_matrices_[0, 0].argmax() == 1

    def test_gold_labels_stay(self, data):
        """What is known is learnt as it is, a class that no LLM ever said included."""
        X, gold, _, _ = data
        told = np.where(np.arange(len(gold)) < 30, gold, -1)
        model = NoisyLabelClassifier(random_state=0).fit(X, np.minimum(gold, 1), gold=told)
        assert model.classes_.tolist() == [0, 1, 2]
        assert (model.label_proba_[:30] == np.eye(3)[gold[:30]]).all()

    def test_gold_of_another_length_is_refused(self, data):
        """The message says what arrived and what was wanted."""
        X, gold, _, _ = data
        with pytest.raises(ValueError, match=r"gold of shape \(3,\).*each of the 450 rows"):
            NoisyLabelClassifier().fit(X, gold, gold=[0, 1, 2])

    def test_gold_routed_as_metadata_beside_y(self, data):
        """noisy= is learnt and y is not, as everywhere in this package."""
        X, gold, X_test, _ = data
        a = NoisyLabelClassifier(random_state=0).fit(X, say(gold, BIASED, 0))
        b = NoisyLabelClassifier(random_state=0).fit(X, gold, noisy=say(gold, BIASED, 0))
        assert np.allclose(a.predict_proba(X_test), b.predict_proba(X_test), atol=1e-9)


class TestConfusions:
    def test_many_rows_give_the_matrix(self):
        """With thousands of rows the estimate is the truth."""
        gold = np.random.default_rng(0).integers(3, size=30000)
        assert confusions(np.eye(3)[gold], say(gold, BIASED, 1)) == pytest.approx(BIASED, abs=0.02)

    def test_a_class_without_rows_is_an_average_one(self):
        """Nothing known of a class: as reliable as the others together, no zero anywhere."""
        gold = np.repeat([0, 1], 500)
        matrix = confusions(np.eye(3)[gold], gold)
        assert matrix[2, 2] > 0.95
        assert (matrix > 0).all()
        assert matrix.sum(axis=1) == pytest.approx(np.ones(3))

    def test_a_class_of_few_rows_has_no_confusions(self):
        """Anchors of a class with fewer labels than ten would be rows of other classes."""
        codes = np.r_[np.zeros(200, int), np.ones(200, int), np.full(5, 2)]
        proba = np.full((405, 3), 0.1) + 0.7 * np.eye(3)[codes]
        assert estimate_transition(proba, codes)[2].round(3).tolist() == [0, 0, 1]

    def test_posterior_of_agreeing_annotators_is_theirs(self, data):
        """Three that always agree leave little doubt."""
        X, gold, _, _ = data
        labels, none = np.tile(gold[:, None], (1, 3)), np.full(len(gold), -1)
        weights, _ = annotator_posterior(X, labels, none, 3, np.random.default_rng(0))
        assert (weights.argmax(axis=1) == gold).all()
        assert weights.max(axis=1).mean() > 0.95


def test_wrong_parameters_are_named(data):
    """A prior of another length, a negative one, an unknown word."""
    X, gold, _, _ = data
    for prior in ([0.5, 0.5], [1, 1, -1]):
        with pytest.raises(ValueError, match="one positive number for each of the classes"):
            NoisyLabelClassifier(class_prior=prior).fit(X, gold)
    with pytest.raises(ValueError, match="class_prior"):
        NoisyLabelClassifier(class_prior="gold").fit(X, gold)


def test_saved_and_loaded(data, tmp_path):
    """A saved model predicts the same."""
    X, gold, X_test, _ = data
    model = NoisyLabelClassifier(random_state=0).fit(X, say(gold, BIASED, 0))
    persistence.save(model, tmp_path / "model")
    again = persistence.load(tmp_path / "model")
    assert np.allclose(again.predict_proba(X_test), model.predict_proba(X_test), atol=1e-12)
