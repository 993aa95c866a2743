"""Fine-tuning: it learns, its training scores are out of fold, and pickles carry it."""

import json
import pickle
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from _topics import make_texts
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, KFold, StratifiedKFold
from sklearn.pipeline import make_pipeline

from sklfusion import EncoderTraining, FusionClassifier, RobertaEmbedder, TrainingDivergedError
from sklfusion.embedding import _frozen_layers, _trainer
from sklfusion.embedding._finetune import Target, folds
from sklfusion.testing import N_TEXT_CHECKS, check_text_estimator

FAST = {"max_epochs": 6, "lr": 1e-2, "head_lr": 5e-2, "batch_size": 8}


def tuning(folder, training=None, **options):
    """An embedder that trains as FAST says, but for the changes given."""
    how = EncoderTraining(**FAST | (training or {}))
    return RobertaEmbedder(folder, fine_tune=how, random_state=0, **options)


@pytest.fixture(scope="module")
def tuned(tiny_roberta):
    texts, labels = make_texts(80)
    return tuning(tiny_roberta).fit(texts, labels)


def test_text_contract(tiny_roberta):
    """All 32 checks run; only "fit_transform equals fit and transform" must fail, by design."""
    training = EncoderTraining(max_epochs=2, lr=1e-2, head_lr=0.1)
    embedder = RobertaEmbedder(tiny_roberta, fine_tune=training, cv=2, random_state=0)
    reason = "fit_transform gives out-of-fold scores, as TargetEncoder does"
    ran = check_text_estimator(embedder, expected_failed_checks={10: reason})
    assert ran == N_TEXT_CHECKS


def test_it_learns(tuned):
    """Scores of unseen texts tell the classes apart, as log-probabilities in class order."""
    texts, labels = make_texts(40, seed=1)
    scores = tuned.transform(texts)
    assert scores.dtype == np.float32
    assert (tuned.classes_[scores.argmax(axis=1)] == labels).mean() > 0.9
    np.testing.assert_allclose(np.exp(scores).sum(axis=1), 1, atol=1e-5)
    assert list(tuned.get_feature_names_out()) == ["encoder_money", "encoder_sport"]
    assert tuned.transform([]).shape == (0, 2)


@pytest.mark.parametrize(
    "options",
    [
        {"validation_fraction": 0, "max_epochs": 25, "head_lr": 5e-2, "batch_size": 8},
        {"method": "contrastive", "contrastive_steps": 150, "batch_size": 16},
    ],
    ids=["cross-entropy", "contrastive"],
)
def test_training_scores_are_out_of_fold(tiny_roberta, options):
    """On random labels, fit_transform's scores stay at chance although the encoder memorises."""
    rng = np.random.RandomState(0)
    texts = [f"{a} {b}" for a, b in rng.randint(0, 10**6, (60, 2))]
    labels = rng.permutation(np.arange(60) % 2)
    training = EncoderTraining(lr=1e-2, **options)
    embedder = RobertaEmbedder(tiny_roberta, fine_tune=training, random_state=0)
    scores = embedder.fit_transform(texts, labels)
    memorised = (embedder.transform(texts).argmax(axis=1) == labels).mean()
    honest = (scores.argmax(axis=1) == labels).mean()
    assert memorised > 0.75
    assert 0.25 < honest < 0.72


def test_same_names_and_width_from_both_ways(tiny_roberta):
    """fit_transform and transform have the same columns; output="both" adds the frozen vector."""
    texts, labels = make_texts(24)
    embedder = tuning(tiny_roberta, {"max_epochs": 1}, output="both", cv=2)
    embedder.set_output(transform="pandas")
    first = embedder.fit_transform(pd.Series(texts, index=range(100, 124)), labels)
    again = embedder.transform(texts)
    assert list(first.columns) == list(again.columns) == list(embedder.get_feature_names_out())
    assert first.shape == (24, 2 + 16)
    assert first.index[0] == 100
    frozen = RobertaEmbedder(tiny_roberta).fit_transform(texts)
    np.testing.assert_allclose(first.to_numpy()[:, 2:], frozen, atol=1e-5)


def test_multilabel(tiny_roberta):
    """An indicator target trains with binary cross-entropy and gives log-odds per label."""
    texts, labels = make_texts(80)
    y = pd.DataFrame({"money": labels == "money", "any": np.arange(80) % 3 > 0}).astype(int)
    embedder = tuning(tiny_roberta).fit(texts, y)
    scores = embedder.transform(texts)
    assert list(embedder.get_feature_names_out()) == ["encoder_money", "encoder_any"]
    assert ((scores[:, 0] > 0) == (labels == "money")).mean() > 0.9


def test_frozen_weights_stay(tiny_roberta, tuned):
    """Fine-tuning never touches the shared frozen model, nor the layers that are to stay."""
    before = RobertaEmbedder(tiny_roberta).fit_transform(["the bank"])
    texts, labels = make_texts(24)
    embedder = tuning(tiny_roberta, {"freeze_layers": 1})
    embedder.fit(texts, labels)
    trained = embedder.trainer_.net_.module_.encoder.state_dict()
    original = RobertaEmbedder(tiny_roberta).fit(["a"])._backbone().model.state_dict()
    changed = {name for name in original if not torch.equal(original[name], trained[name])}
    assert changed
    assert all(".layer.1." in name for name in changed)
    again = RobertaEmbedder(tiny_roberta).fit_transform(["the bank"])
    np.testing.assert_allclose(again, before, rtol=0, atol=1e-6)


def test_embeddings_are_trained_on_demand(tiny_roberta):
    """freeze_layers=-1 trains the token embeddings too."""
    texts, labels = make_texts(16)
    embedder = tuning(tiny_roberta, {"freeze_layers": -1})
    embedder.fit(texts, labels)
    name = "embeddings.word_embeddings.weight"
    trained = embedder.trainer_.net_.module_.encoder.state_dict()[name]
    original = RobertaEmbedder(tiny_roberta).fit(["a"])._backbone().model.state_dict()[name]
    assert not torch.equal(trained, original)


def test_best_epoch_is_restored(tiny_roberta):
    """The kept weights are those of the epoch with the lowest validation loss."""
    texts, labels = make_texts(100)
    labels = np.where(np.random.RandomState(0).rand(100) < 0.3, labels[::-1], labels)
    training = {"validation_fraction": 0.3, "patience": 30, "max_epochs": 12}
    embedder = tuning(tiny_roberta, training).fit(texts, labels)
    target = Target(labels, 100, "test")
    seed = np.random.RandomState(0).randint(2**31 - 1)
    _, valid = target.holdout(np.arange(100), 0.3, np.random.RandomState(seed))
    scores = embedder.transform([texts[i] for i in valid])
    loss = -scores[np.arange(len(valid)), target.labels[valid]].mean()
    losses = embedder.trainer_.net_.history[:, "valid_loss"]
    assert loss == pytest.approx(min(losses), abs=1e-3)
    assert losses[-1] > min(losses)


def test_random_state_and_global_generator(tiny_roberta):
    """Equal seeds give equal scores, and torch's global generator is left as it was."""
    texts, labels = make_texts(24)
    embedder = tuning(tiny_roberta, {"max_epochs": 2})
    state = torch.get_rng_state()
    first = clone(embedder).fit(texts, labels).transform(texts)
    second = clone(embedder).fit(texts, labels).transform(texts)
    np.testing.assert_allclose(first, second, rtol=0, atol=1e-5)
    assert torch.equal(torch.get_rng_state(), state)
    other = clone(embedder).set_params(random_state=1).fit(texts, labels).transform(texts)
    assert np.abs(first - other).max() > 1e-4


def test_pickle_carries_trained_weights_once(tuned, tmp_path):
    """A fresh process without the hub gives the same scores; nothing of the training is inside."""
    texts, _ = make_texts(5, seed=3)
    data = pickle.dumps(tuned)
    weights = sum(p.numel() * 4 for p in tuned.trainer_.net_.module_.parameters())
    assert len(data) < 1.5 * weights + 60_000
    (tmp_path / "model.pickle").write_bytes(data)
    np.save(tmp_path / "wanted.npy", tuned.transform(texts))
    code = (
        "import json, pickle, sys, numpy as np\n"
        "embedder = pickle.load(open('model.pickle', 'rb'))\n"
        "embedder.model = 'gone'\n"
        "found = embedder.transform(json.loads(sys.argv[1]))\n"
        "assert np.allclose(found, np.load('wanted.npy'), atol=1e-5)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(texts)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr


def test_lora_trains_adapters_and_merges_them(tiny_roberta):
    """LoRA learns too, and what is kept is a plain encoder that needs no peft."""
    pytest.importorskip("peft")
    texts, labels = make_texts(80)
    embedder = tuning(tiny_roberta, {"lora": {"r": 4}})
    embedder.fit(texts, labels)
    encoder = embedder.trainer_.net_.module_.encoder
    assert type(encoder).__name__ == "RobertaModel"
    assert not any("lora" in name for name in encoder.state_dict())
    assert (embedder.classes_[embedder.transform(texts).argmax(1)] == labels).mean() > 0.9


def test_lora_without_peft(tiny_roberta, monkeypatch):
    """Without peft the error names the extra to install."""
    monkeypatch.setitem(sys.modules, "peft", None)
    texts, labels = make_texts(16)
    with pytest.raises(ImportError, match=r"sklfusion\[lora\]"):
        tuning(tiny_roberta, {"lora": True}).fit(texts, labels)


def test_divergence_is_an_error(tiny_roberta):
    """A learning rate that blows up raises instead of leaving a broken model."""
    texts, labels = make_texts(64)
    embedder = tuning(tiny_roberta, {"lr": 1e38, "head_lr": 1e38})
    with pytest.raises(TrainingDivergedError, match="Lower lr"):
        embedder.fit(texts, labels)


@pytest.mark.parametrize(
    ("y", "words"),
    [
        (None, "requires y"),
        (["a"] * 8, "got 1 class"),
        (["a", "b"] * 3, "6 targets"),
        (np.linspace(0, 1, 8), "Unknown label type"),
        (np.full((8, 2), 0.5), "only 0 and 1"),
    ],
)
def test_bad_targets(tiny_roberta, y, words):
    """A target that cannot be learnt is refused with what was wanted."""
    with pytest.raises(ValueError, match=words):
        RobertaEmbedder(tiny_roberta, fine_tune=True).fit(make_texts(8)[0], y)


@pytest.mark.parametrize("layers", [-2, 3, 1.5])
def test_bad_freeze_layers(tiny_roberta, layers):
    """freeze_layers beyond the encoder's layers is refused with their number."""
    texts, labels = make_texts(8)
    with pytest.raises(ValueError, match="from -1 to 2"):
        tuning(tiny_roberta, {"freeze_layers": layers}).fit(texts, labels)


def test_folds_keep_equal_texts_together():
    """A copy of a text is never in the training part of its own fold; classes are spread."""
    texts = ["copy"] * 10 + [f"text {i}" for i in range(50)]
    labels = np.array([0] * 10 + [0, 1] * 25)
    target = Target(labels, 60, "test")
    tested = np.zeros(60)
    for train, test in folds(5, texts, target, seed=0):
        assert not {texts[i] for i in train} & {texts[i] for i in test}
        assert set(labels[train]) == {0, 1}
        tested[test] += 1
    assert (tested == 1).all()


def test_splitters_are_taken_if_they_test_each_text_once():
    """A scikit-learn splitter can be given; one that skips rows is refused."""
    texts, labels = make_texts(20)
    target = Target(labels, 20, "test")
    for splitter in (KFold(4), StratifiedKFold(4)):
        assert len(folds(splitter, texts, target, seed=0)) == 4
    with pytest.raises(ValueError, match="exactly once"):
        folds([(np.arange(10), np.arange(10, 20))], texts, target, seed=0)
    with pytest.raises(ValueError, match="at least 2"):
        folds(1, texts, target, seed=0)


def test_fusion_head_on_cross_fitted_scores(tiny_roberta):
    """In a pipeline the head is fitted on out-of-fold scores, which it then can trust."""
    texts, labels = make_texts(80)
    embedder = tuning(tiny_roberta, cv=2)
    pipe = make_pipeline(embedder, FusionClassifier(random_state=0)).fit(texts, labels)
    fresh, wanted = make_texts(40, seed=5)
    assert (pipe.predict(fresh) == wanted).mean() > 0.9


def test_amp_is_for_accelerators():
    """Mixed precision is refused an unknown value and never used on a CPU."""
    assert not _trainer.use_amp("auto", torch.device("cpu"))
    assert not _trainer.use_amp(True, torch.device("cpu"))
    with pytest.raises(ValueError, match="amp='half'"):
        _trainer.use_amp("half", torch.device("cpu"))


def test_frozen_layers_run_once_per_text(tiny_roberta, monkeypatch):
    """With frozen layers on a CPU, epochs run the upper part on kept states; results agree."""
    from transformers.models.roberta.modeling_roberta import RobertaEmbeddings

    texts, labels = make_texts(40)
    calls = []
    original = RobertaEmbeddings.forward
    monkeypatch.setattr(
        RobertaEmbeddings, "forward", lambda *a, **k: calls.append(1) or original(*a, **k)
    )
    embedder = tuning(tiny_roberta, {"freeze_layers": 1, "validation_fraction": 0})
    embedder.fit(texts, labels)
    assert len(calls) < 6  # two batches, and the test whether the halves fit
    monkeypatch.setattr(_frozen_layers, "_MAX_BYTES", 0)
    plain = clone(embedder).fit(texts, labels)
    assert len(calls) > 30
    fresh, wanted = make_texts(40, seed=9)
    for fitted in (embedder, plain):
        assert (fitted.classes_[fitted.transform(fresh).argmax(1)] == wanted).mean() > 0.9
    encoder = embedder.trainer_.net_.module_.encoder
    assert len(encoder.encoder.layer) == 2
    assert type(encoder.embeddings).__name__ == "RobertaEmbeddings"


def test_the_training_is_one_parameter_into_which_searches_reach(tiny_roberta):
    """True is short for the default object, and its learning rate can be searched for."""
    texts, labels = make_texts(24)
    short = RobertaEmbedder(tiny_roberta, fine_tune=True, cv=2, random_state=0)
    long = clone(short).set_params(fine_tune=EncoderTraining())
    np.testing.assert_allclose(
        short.fit(texts, labels).transform(texts),
        long.fit(texts, labels).transform(texts),
        rtol=0,
        atol=1e-5,
    )
    pipe = make_pipeline(tuning(tiny_roberta, {"max_epochs": 1}, cv=2), LogisticRegression())
    rates = {"robertaembedder__fine_tune__lr": [1e-5, 1e-2]}
    search = GridSearchCV(pipe, rates, cv=2).fit(texts, labels)
    fitted = search.best_estimator_[0]
    assert fitted.trainer_.settings["lr"] == search.best_params_[next(iter(rates))]
    assert fitted.fine_tune.max_epochs == 1


@pytest.mark.parametrize(
    ("training", "words"),
    [
        (EncoderTraining("pairs"), "method='pairs'; it must be 'cross_entropy' or 'contrastive'"),
        (EncoderTraining(max_epochs=1.5), "max_epochs=1.5; it must be an int"),
        (EncoderTraining(batch_size=0), "batch_size=0"),
        (EncoderTraining(warmup=1.0), "warmup=1.0; it must be a number in the range"),
        (EncoderTraining(weight_decay=-1), "weight_decay=-1"),
        (EncoderTraining(amp="yes"), "amp='yes'"),
        ("yes", "fine_tune='yes'; it must be one of False, True, 'contrastive', or an Enc"),
    ],
)
def test_bad_trainings(tiny_roberta, training, words):
    """What has no legal value is named with its value before a text is looked at."""
    with pytest.raises(ValueError, match=words):
        RobertaEmbedder(tiny_roberta, fine_tune=training).fit(["a", "b"], [0, 1])
