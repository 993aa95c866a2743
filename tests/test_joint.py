"""Encoder and head trained together: learning rates, scores, weights, multi-label, pickles."""

import pickle

import numpy as np
import pytest
import torch
from _topics import WORDS, make_texts
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.model_selection import GridSearchCV

from sklfusion import EncoderTraining, JointFusionClassifier, TrainingDivergedError, persistence
from sklfusion._scores import bounded_codes
from sklfusion.embedding._net import EncoderNet
from sklfusion.testing import N_TEXT_CHECKS, check_text_estimator

FAST = {"max_epochs": 6, "lr": 1e-2, "head_lr": 5e-2, "batch_size": 8}


def quick(folder, training=None, **options):
    """A classifier that trains as FAST says, but for the changes given."""
    how = EncoderTraining(**FAST | (training or {}))
    return JointFusionClassifier(folder, training=how, random_state=0, **options)


class WordScorer(TransformerMixin, BaseEstimator):
    """A stand-in for an LLM scorer: log-probabilities in its own class order, one text unknown."""

    def fit(self, X, y=None):
        """Set the classes, in an order that is not sorted."""
        self.classes_ = np.array(["sport", "money"])
        return self

    def transform(self, X):
        """Log-probabilities by one word; a row of NaN for "?"."""
        money = np.array([any(w in x for w in WORDS["money"]) for x in X])
        proba = np.where(money[:, None], [0.1, 0.9], [0.9, 0.1])
        proba[[x == "?" for x in X]] = np.nan
        return np.log(proba)


@pytest.fixture(scope="module")
def joint(tiny_roberta):
    texts, labels = make_texts(80)
    return quick(tiny_roberta).fit(texts, labels)


def test_text_contract(tiny_roberta):
    """All 32 checks for text estimators run and pass."""
    classifier = JointFusionClassifier(
        tiny_roberta, training=EncoderTraining(max_epochs=1), random_state=0
    )
    assert check_text_estimator(classifier) == N_TEXT_CHECKS


def test_it_learns_without_scores(joint):
    """Alone it is a fine-tuned text classifier with sorted classes and rows that sum to 1."""
    texts, labels = make_texts(40, seed=1)
    proba = joint.predict_proba(texts)
    np.testing.assert_allclose(proba.sum(axis=1), 1, atol=1e-6)
    assert joint.score(texts, labels) > 0.9
    assert joint.classes_.tolist() == ["money", "sport"]
    assert joint.predict_proba([]).shape == (0, 2)
    assert isinstance(joint.net_, EncoderNet)


def test_it_starts_from_the_llm(tiny_roberta):
    """With almost no training it says what the scorer says, in the right class order."""
    texts, labels = make_texts(24)
    classifier = JointFusionClassifier(
        tiny_roberta,
        scorer=WordScorer(),
        training=EncoderTraining(max_epochs=1, lr=1e-6, head_lr=1e-6),
    ).fit(texts, labels)
    assert classifier.score(texts, labels) == 1.0
    assert not hasattr(classifier.scorer, "classes_")
    assert classifier.n_scores_ == 2


def test_a_text_without_an_answer_gets_the_encoder_alone(tiny_roberta):
    """A row of NaN adds no evidence and gives finite probabilities."""
    texts, labels = make_texts(24)
    classifier = quick(tiny_roberta, scorer=WordScorer())
    classifier.fit([*texts, "?"], [*labels, "sport"])
    assert np.isfinite(classifier.predict_proba(["?", texts[0]])).all()


def test_it_learns_whom_not_to_trust(tiny_roberta):
    """Scores that are always wrong are turned round or left out."""
    texts, labels = make_texts(120)
    wrong = np.where((labels == "money")[:, None], [0.1, 0.9], [0.9, 0.1])
    classifier = quick(tiny_roberta, {"max_epochs": 15})
    classifier.fit(texts, labels, scores=wrong)
    assert (classifier.predict(texts, scores=wrong) == labels).mean() > 0.9


@pytest.mark.parametrize("fusion", ["anchored", "concat"])
def test_several_llms(tiny_roberta, fusion):
    """Two blocks of score columns, with either head."""
    texts, labels = make_texts(40)
    one = np.where((labels == "money")[:, None], [0.7, 0.3], [0.3, 0.7])
    scores = np.hstack([one, np.log(one)])
    classifier = quick(tiny_roberta, fusion=fusion)
    classifier.fit(texts, labels, scores=scores)
    assert (classifier.predict(texts, scores=scores) == labels).mean() > 0.9
    assert (classifier.net_.module_.head.anchor is None) == (fusion == "concat")


def test_scores_must_come_back(tiny_roberta):
    """Forgotten or misshapen scores are refused with the width that is wanted."""
    texts, labels = make_texts(16)
    classifier = quick(tiny_roberta, {"max_epochs": 1})
    classifier.fit(texts, labels, scores=np.full((16, 2), 0.5))
    with pytest.raises(ValueError, match="2 score columns"):
        classifier.predict(texts)
    with pytest.raises(ValueError, match=r"\(16, 2\)"):
        classifier.predict(texts, scores=np.full((16, 4), 0.5))
    with pytest.raises(ValueError, match="a multiple of 2"):
        clone(classifier).fit(texts, labels, scores=np.full((16, 3), 0.5))
    with pytest.raises(ValueError, match="not both"):
        clone(classifier).set_params(scorer=WordScorer()).fit(texts, labels, scores=labels)
    with pytest.raises(ValueError, match="probabilities"):
        clone(classifier).fit(texts, labels, scores=np.full((16, 2), 7.0))


def test_refit_forgets_scores(tiny_roberta):
    """A second fit without scores needs none at predict."""
    texts, labels = make_texts(16)
    classifier = quick(tiny_roberta, {"max_epochs": 1})
    classifier.fit(texts, labels, scores=np.full((16, 2), 0.5)).fit(texts, labels)
    assert classifier.predict(texts).shape == (16,)


@pytest.mark.parametrize("names", [None, ["any", "money"]])
def test_multilabel(tiny_roberta, names):
    """Indicator targets: independent probabilities and 0/1 predictions of shape (n, K)."""
    pd = pytest.importorskip("pandas")
    texts, labels = make_texts(80)
    y = np.column_stack([np.arange(80) % 3 > 0, labels == "money"]).astype(int)
    scores = np.column_stack([np.full(80, 0.5), np.where(labels == "money", 0.8, 0.1)])
    target = y if names is None else pd.DataFrame(y, columns=names)
    classifier = quick(tiny_roberta).fit(texts, target, scores=scores)
    proba = classifier.predict_proba(texts, scores=scores)
    assert proba.shape == (80, 2)
    assert (proba >= 0).all()
    assert (proba <= 1).all()
    predicted = classifier.predict(texts, scores=scores)
    assert (predicted[:, 1] == y[:, 1]).mean() > 0.9
    assert classifier.classes_.tolist() == (names or [0, 1])
    assert classifier.multilabel_


def test_two_learning_rates_warm_up_and_decay(tiny_roberta, monkeypatch):
    """Encoder and head have their own rates, which rise and then fall to nearly nothing."""
    seen = []
    original = EncoderNet.train_step_single

    def step(net, batch, **options):
        seen.append([group["lr"] for group in net.optimizer_.param_groups])
        return original(net, batch, **options)

    monkeypatch.setattr(EncoderNet, "train_step_single", step)
    texts, labels = make_texts(80)
    JointFusionClassifier(
        tiny_roberta,
        training=EncoderTraining(
            lr=1e-4, head_lr=1e-2, max_epochs=4, batch_size=4, validation_fraction=0
        ),
        random_state=0,
    ).fit(texts, labels)
    rates = np.array(seen)
    assert rates.shape == (80, 2)
    np.testing.assert_allclose(rates[:, 1] / rates[:, 0], 100)
    assert rates[:, 1].argmax() in (7, 8)
    assert rates[:, 1].max() == pytest.approx(1e-2)
    assert rates[0, 1] < 2e-3
    assert rates[-1, 1] < 3e-4


def test_gradients_are_clipped(tiny_roberta):
    """Clipping to a tiny norm leaves training finite."""
    texts, labels = make_texts(40)
    classifier = quick(tiny_roberta, {"gradient_clipping": 1e-3})
    assert np.isfinite(classifier.fit(texts, labels).predict_proba(texts)).all()


def test_sample_weight_and_class_weight(tiny_roberta):
    """Weight zero is absence; heavier classes are predicted more."""
    texts, labels = make_texts(60)
    weight = (np.arange(60) < 40).astype(float)
    training = {"max_epochs": 3, "validation_fraction": 0}
    weighted = quick(tiny_roberta, training).fit(texts, labels, weight)
    absent = quick(tiny_roberta, training).fit(texts[:40], labels[:40])
    np.testing.assert_allclose(
        weighted.predict_proba(texts), absent.predict_proba(texts), atol=1e-4
    )
    heavy = quick(tiny_roberta, training, class_weight={"money": 50, "sport": 1})
    unclear = ["the for and"] * 3
    p = heavy.fit(texts, labels).predict_proba(unclear)[:, 0]
    q = absent.predict_proba(unclear)[:, 0]
    assert (p > q).all()


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"fusion": "average"}, "fusion='average'"),
        ({"loss": "hinge"}, "loss='hinge'"),
        ({"loss": "binary_cross_entropy"}, "one class per text"),
        ({"training": EncoderTraining(lr=0)}, "lr=0"),
        ({"training": EncoderTraining(validation_fraction=1)}, "validation_fraction=1"),
        ({"training": EncoderTraining("contrastive")}, "here it must be cross_entropy"),
        (
            {"training": EncoderTraining("pairs")},
            "method='pairs'; it must be 'cross_entropy' or 'contrastive'",
        ),
    ],
)
def test_bad_parameters(tiny_roberta, parameters, words):
    """A parameter without a legal value is named with its value."""
    texts, labels = make_texts(8)
    with pytest.raises(ValueError, match=words):
        JointFusionClassifier(tiny_roberta, **parameters).fit(texts, labels)


def test_bad_weights(tiny_roberta):
    """Negative and all-zero weights are refused; class_weight is for single labels."""
    texts, labels = make_texts(8)
    classifier = quick(tiny_roberta)
    for weight in ([-1] + [1] * 7, [0] * 8):
        with pytest.raises(ValueError, match=r"[Ss]ample.weight"):
            classifier.fit(texts, labels, weight)
    with pytest.raises(ValueError, match="class_weight"):
        clone(classifier).set_params(class_weight="balanced").fit(texts, np.eye(2)[[0, 1] * 4])


def test_divergence_is_an_error(tiny_roberta):
    """A loss that stops being finite raises instead of leaving a broken model."""
    texts, labels = make_texts(64)
    with pytest.raises(TrainingDivergedError):
        quick(tiny_roberta, {"lr": 1e38, "head_lr": 1e38}).fit(texts, labels)


def test_pickle_carries_the_weights(joint):
    """The pickle alone predicts the same, wherever the model's folder is."""
    texts, _ = make_texts(6, seed=2)
    other = pickle.loads(pickle.dumps(joint))
    other.model = "gone"
    np.testing.assert_allclose(other.predict_proba(texts), joint.predict_proba(texts), atol=1e-6)
    assert not any(isinstance(v, torch.utils.data.Dataset) for v in vars(other.net_).values())


def test_saved_without_pickle(joint, tmp_path):
    """JSON and tensors are enough: the saved model predicts the same and keeps its losses."""
    texts, _ = make_texts(6, seed=2)
    persistence.save(joint, tmp_path / "model.sklf")
    other = persistence.load(tmp_path / "model.sklf")
    np.testing.assert_allclose(other.predict_proba(texts), joint.predict_proba(texts), atol=1e-6)
    assert other.net_.history[:, "train_loss"] == joint.net_.history[:, "train_loss"]


def test_grid_search(tiny_roberta):
    """Parameters can be searched, also in two processes."""
    texts, labels = make_texts(32)
    search = GridSearchCV(
        quick(tiny_roberta, {"max_epochs": 1}),
        {"training__head_lr": [1e-3, 5e-2]},
        cv=2,
    ).fit(texts, labels)
    assert search.best_params_["training__head_lr"] in (1e-3, 5e-2)


def test_codes_of_scores():
    """Votes count as bounded evidence, no opinion as none, and a missing answer as zero."""
    votes = np.array([[1.0, 0.0, 0.0], [1 / 3, 1 / 3, 1 / 3], [np.nan] * 3])
    codes, answered = bounded_codes(votes, 3, multilabel=False)
    assert codes[0, 0] > 2
    np.testing.assert_allclose(codes.sum(axis=1), 0, atol=1e-12)
    np.testing.assert_allclose(codes[1:], 0, atol=1e-12)
    assert answered.ravel().tolist() == [1, 1, 0]
    with np.errstate(divide="ignore"):
        logs, _ = bounded_codes(np.log(votes), 3, multilabel=False)
    np.testing.assert_allclose(logs[1:], codes[1:], atol=1e-12)
    odds, _ = bounded_codes(np.array([[0.5, 1.0, 0.0]]), 3, multilabel=True)
    np.testing.assert_allclose(odds[0, 0], 0, atol=1e-12)
    assert odds[0, 1] == pytest.approx(-odds[0, 2])
    assert odds[0, 1] > 3
