"""Contrastive fine-tuning: its loss, its batches, its head, and what a user gets."""

import pickle

import numpy as np
import pytest
import torch
from _topics import make_texts
from scipy.special import expit, softmax
from sklearn.base import clone

from sklfusion import (
    AutoFusionClassifier,
    EncoderTraining,
    FusionClassifier,
    RobertaEmbedder,
    TrainingDivergedError,
)
from sklfusion.embedding._contrastive import PairBatches, PairLoss, Vectors, fit_head
from sklfusion.embedding._net import TextRows
from sklfusion.testing import N_TEXT_CHECKS, check_text_estimator

PAIRS = {"contrastive_steps": 30, "lr": 1e-2, "batch_size": 8}


def on_pairs(folder, training=None, **options):
    """An embedder that trains as PAIRS says, but for the changes given."""
    how = EncoderTraining("contrastive", **PAIRS | (training or {}))
    return RobertaEmbedder(folder, fine_tune=how, random_state=0, **options)


def make_rows(target):
    """Rows without texts of their own, for the batches."""
    n = len(target)
    matrix = np.column_stack([target, np.ones(n)])
    return TextRows([[i] for i in range(n)], np.zeros((n, 0)), np.zeros((n, 0)), matrix, 0)


def loss_by_hand(vectors, target):
    """The loss of every pair in turn."""
    alike, unlike = [], []
    for i in range(len(target)):
        for j in range(len(target)):
            if i == j:
                continue
            union = ((target[i] + target[j]) > 0).sum()
            wanted = (target[i] * target[j]).sum() / union if union else 1.0
            (alike if wanted > 0 else unlike).append((vectors[i] @ vectors[j] - wanted) ** 2)
    return np.mean([np.mean(part) for part in (alike, unlike) if part])


@pytest.mark.parametrize(
    "target",
    [
        np.eye(3)[[0, 0, 1, 2, 1]],
        np.array([[1, 1, 0], [1, 0, 0], [0, 0, 0], [0, 0, 0], [0, 1, 1]]),
        np.eye(2)[[1, 1, 1, 1, 1]],
        np.eye(5),
    ],
    ids=["classes", "labels", "one class", "all different"],
)
def test_loss_against_its_definition(target):
    """Cosines against Jaccard indices; the two kinds of pairs weigh the same."""
    vectors = np.random.RandomState(0).normal(size=(5, 4))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    found = PairLoss()(torch.tensor(vectors), torch.tensor(target, dtype=torch.float64))
    assert float(found) == pytest.approx(loss_by_hand(vectors, target))


def test_loss_of_a_single_text_is_nothing():
    """Without a pair there is nothing to learn, and no NaN either."""
    vectors = torch.ones(1, 4, requires_grad=True)
    loss = PairLoss()(vectors, torch.ones(1, 2))
    loss.backward()
    assert float(loss.detach()) == 0


def test_batches_give_every_class_company():
    """Two texts of each of four classes in a batch of eight, however rare the class."""
    labels = np.repeat([0, 1, 2, 3], [60, 20, 5, 2])
    batches = list(PairBatches(make_rows(np.eye(4)[labels]), 8, 50, seed=0))
    assert len(batches) == 50
    seen = set()
    for inputs, target in batches:
        assert target[:, :-1].sum(dim=0).tolist() == [2, 2, 2, 2]
        assert len(set(inputs["ids"][:, 0].tolist())) == 8
        seen |= set(inputs["ids"][:, 0].tolist())
    assert seen == set(range(87))


def test_batches_of_several_labels():
    """A text with two labels comes once per batch, and texts without labels come too."""
    target = np.zeros((30, 3))
    target[:10, :2] = 1
    target[10:20, 2] = 1
    batches = PairBatches(make_rows(target), 12, 20, seed=0)
    rows = [inputs["ids"][:, 0].tolist() for inputs, _ in batches]
    assert all(len(set(batch)) == len(batch) == 12 for batch in rows)
    assert set().union(*map(set, rows)) == set(range(30))


def test_few_texts_are_one_batch():
    """With no more texts than a batch holds, every step sees all of them."""
    batches = list(PairBatches(make_rows(np.eye(2)[[0, 1, 1]]), 8, 4, seed=0))
    assert [len(target) for _, target in batches] == [3] * 4


@pytest.mark.parametrize("multilabel", [False, True])
def test_head_is_a_penalised_logistic_regression(multilabel):
    """At its optimum the gradient of the log-loss is the pull of a Gaussian of variance 10."""
    rng = np.random.RandomState(0)
    target = np.eye(3)[np.arange(60) % 3]
    weights = rng.rand(60)
    vectors = rng.normal(size=(60, 5)) + target @ np.eye(3, 5)
    weight, bias = fit_head(vectors, target, weights, multilabel)
    logits = vectors @ weight.T + bias
    proba = expit(logits) if multilabel else softmax(logits, axis=1)
    gradient = (weights[:, None] * (proba - target)).T @ (vectors - vectors.mean(axis=0))
    np.testing.assert_allclose(gradient, -0.1 * weight, atol=2e-3)
    assert (logits.argmax(axis=1) == target.argmax(axis=1)).mean() > 0.6


@pytest.mark.parametrize("multilabel", [False, True])
def test_head_of_a_class_without_rows(multilabel):
    """It is rare, but neither impossible nor NaN."""
    vectors = np.random.RandomState(0).normal(size=(12, 4))
    target = np.eye(3)[np.arange(12) % 2]
    weight, bias = fit_head(vectors, target, np.ones(12), multilabel)
    logits = vectors @ weight.T + bias
    proba = expit(logits) if multilabel else softmax(logits, axis=1)
    assert (proba[:, 2] > 1e-6).all()
    assert proba[:, 2].mean() < 0.15


def test_text_contract(tiny_roberta):
    """All 32 checks run; only "fit_transform equals fit and transform" must fail, by design."""
    embedder = on_pairs(tiny_roberta, {"contrastive_steps": 3}, cv=2)
    reason = "fit_transform gives out-of-fold scores, as TargetEncoder does"
    ran = check_text_estimator(embedder, expected_failed_checks={10: reason})
    assert ran == N_TEXT_CHECKS


@pytest.fixture(scope="module")
def tuned(tiny_roberta):
    texts, labels = make_texts(24)
    return on_pairs(tiny_roberta).fit(texts, labels)


def test_it_learns_from_few_texts(tuned):
    """On 24 texts it learns to tell unseen ones apart; there is one epoch, of its steps."""
    texts, labels = make_texts(60, seed=1)
    scores = tuned.transform(texts)
    np.testing.assert_allclose(np.exp(scores).sum(axis=1), 1, atol=1e-5)
    right = (tuned.classes_[scores.argmax(axis=1)] == labels).mean()
    assert right > 0.9
    assert list(tuned.get_feature_names_out()) == ["encoder_money", "encoder_sport"]
    assert len(tuned.trainer_.net_.history) == 1


def test_pairs_train_the_encoder_and_nothing_else(tuned, tiny_roberta):
    """Vectors of one class come together; the shared frozen model stays as it was."""
    texts, labels = make_texts(40, seed=2)
    module = tuned.trainer_.net_.module_
    original = RobertaEmbedder(tiny_roberta).fit(["a"])._backbone().model.state_dict()
    trained = module.encoder.state_dict()
    assert any(not torch.equal(original[name], trained[name]) for name in original)
    ids = tuned.trainer_._rows(texts, None, None, np.zeros((40, 3))).batch(range(40))[0]
    head, module.head = module.head, Vectors()
    try:
        with torch.inference_mode():
            vectors = module(**ids).numpy()
    finally:
        module.head = head
    cosines = vectors @ vectors.T
    same = labels[:, None] == labels[None, :]
    assert np.diag(cosines) == pytest.approx(1, abs=1e-5)
    assert cosines[same].mean() - cosines[~same].mean() > 0.5


def test_several_labels(tiny_roberta):
    """An indicator target gives log-odds per label; a label that no text has stays unlikely."""
    texts, labels = make_texts(40)
    y = np.column_stack([labels == "money", labels == "sport", np.zeros(40)]).astype(int)
    y[::5] = 0
    embedder = on_pairs(tiny_roberta).fit(texts, y)
    fresh, wanted = make_texts(40, seed=3)
    scores = embedder.transform(fresh)
    assert ((scores[:, 0] > scores[:, 1]) == (wanted == "money")).mean() > 0.9
    assert (scores[:, 2] < 0).all()


def test_frozen_lower_layers(tiny_roberta):
    """freeze_layers works here too, with the lower layers run once per text."""
    texts, labels = make_texts(24)
    embedder = on_pairs(tiny_roberta, {"freeze_layers": 1}).fit(texts, labels)
    fresh, wanted = make_texts(40, seed=3)
    assert (embedder.classes_[embedder.transform(fresh).argmax(axis=1)] == wanted).mean() > 0.9


def test_adapters(tiny_roberta):
    """LoRA trains the encoder on pairs as well, and the head fits the merged weights."""
    pytest.importorskip("peft")
    texts, labels = make_texts(24)
    embedder = on_pairs(tiny_roberta, {"lora": {"r": 4}}).fit(texts, labels)
    assert (embedder.classes_[embedder.transform(texts).argmax(axis=1)] == labels).mean() > 0.9


def test_seeds_pickle_and_the_global_generator(tuned, tiny_roberta):
    """Equal seeds give equal scores; a pickle carries encoder and head."""
    texts, labels = make_texts(24)
    fresh, _ = make_texts(10, seed=4)
    state = torch.get_rng_state()
    again = clone(tuned).fit(texts, labels)
    assert torch.equal(torch.get_rng_state(), state)
    np.testing.assert_allclose(again.transform(fresh), tuned.transform(fresh), rtol=0, atol=1e-5)
    other = clone(tuned).set_params(random_state=1).fit(texts, labels)
    assert np.abs(other.transform(fresh) - tuned.transform(fresh)).max() > 1e-4
    carried = pickle.loads(pickle.dumps(tuned))
    np.testing.assert_allclose(carried.transform(fresh), tuned.transform(fresh), atol=1e-5)


def test_under_a_fusion_head(tiny_roberta):
    """The fusion takes its out-of-fold scores for encoder probabilities."""
    texts, labels = make_texts(40)
    embedder = on_pairs(tiny_roberta, cv=2)
    said = (labels == "sport") ^ (np.arange(40) % 5 == 0)
    votes = np.eye(2)[said.astype(int)]
    X = np.hstack([embedder.fit_transform(texts, labels), votes])
    head = FusionClassifier(score_columns=slice(2, 4), random_state=0).fit(X, labels)
    fresh, wanted = make_texts(40, seed=5)
    X = np.hstack([embedder.transform(fresh), np.eye(2)[(wanted == "sport").astype(int)]])
    assert head.source_names_ == ["encoder", "llm"]
    assert head.score(X, wanted) > 0.9


def test_asked_of_the_whole_row(tiny_roberta):
    """AutoFusionClassifier hands it on and reports it."""
    texts, labels = make_texts(24)
    auto = AutoFusionClassifier(
        None, str(tiny_roberta), fine_tune="contrastive", random_state=0
    ).fit(texts, labels)
    assert auto.report_["fine_tuned"] == "contrastive"
    assert auto.embedder_.fine_tune == "contrastive"
    assert auto.embedder_.get_feature_names_out()[0] == "encoder_money"


@pytest.mark.parametrize(
    "training",
    [
        EncoderTraining(max_epochs=8, lr=1e-2, head_lr=5e-2, batch_size=8),
        EncoderTraining("contrastive", **PAIRS),
    ],
    ids=["cross-entropy", "contrastive"],
)
def test_classes_that_no_text_shows(tiny_roberta, training):
    """With all classes named there is a column for each, and the missing one is rare."""
    texts, labels = make_texts(40)
    embedder = RobertaEmbedder(
        tiny_roberta, fine_tune=training, classes=["sport", "art", "money"], cv=2, random_state=0
    )
    scores = embedder.fit_transform(texts, labels)
    assert embedder.classes_.tolist() == ["art", "money", "sport"]
    assert scores.shape == (40, 3)
    assert -9 < scores[:, 0].max() < np.log(0.3)
    assert (embedder.classes_[embedder.transform(texts).argmax(axis=1)] == labels).mean() > 0.9


def test_classes_must_cover_the_target(tiny_roberta):
    """A class of y that is not named, and columns without a name, are told."""
    texts, labels = make_texts(8)
    with pytest.raises(ValueError, match=r"but y has \['sport'\] too"):
        on_pairs(tiny_roberta, classes=["art", "money"]).fit(texts, labels)
    y = np.eye(2, dtype=int)[np.arange(8) % 2]
    with pytest.raises(ValueError, match="3 classes and a target of 2 columns"):
        on_pairs(tiny_roberta, classes=["a", "b", "c"]).fit(texts, y)
    with pytest.raises(ValueError, match="got 1 class in y"):
        on_pairs(tiny_roberta, classes=["art", "money"]).fit(texts, ["art"] * 8)


def test_bad_values(tiny_roberta):
    """Unknown ways to train, no steps at all, and a learning rate that blows up."""
    texts, labels = make_texts(24)
    with pytest.raises(ValueError, match=r"fine_tune='pairs'; it must be one of .*'contrastive'"):
        RobertaEmbedder(tiny_roberta, fine_tune="pairs").fit(texts, labels)
    with pytest.raises(ValueError, match="contrastive_steps=0"):
        on_pairs(tiny_roberta, {"contrastive_steps": 0}).fit(texts, labels)
    with pytest.raises(TrainingDivergedError, match="Lower lr"):
        on_pairs(tiny_roberta, {"lr": 1e38}).fit(texts, labels)
