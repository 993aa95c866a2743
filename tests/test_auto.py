"""make_fusion_pipeline and AutoFusionClassifier, on recorded answers and a light embedder."""

import re

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline

from sklfusion import (
    AutoFusionClassifier,
    EncoderTraining,
    LLMScorer,
    RecordedScorer,
    make_fusion_pipeline,
)
from sklfusion._parts import whether_to_fine_tune
from sklfusion.datasets import load_newsdesk


@pytest.fixture(scope="module")
def desk():
    return load_newsdesk()


@pytest.fixture(scope="module")
def votes(desk):
    """Answers of an imaginary LLM that is right on 80 % of the briefs."""
    rng = np.random.default_rng(0)
    wrong = rng.choice(desk.target_names, size=len(desk.data))
    keep = rng.random(len(desk.data)) < 0.8
    return dict(zip(desk.data, np.where(keep, desk.target, wrong).tolist(), strict=True))


@pytest.fixture
def embedder():
    return make_pipeline(TfidfVectorizer(), TruncatedSVD(20, random_state=0))


@pytest.fixture
def scorer(votes, desk):
    return RecordedScorer(votes, classes=desk.target_names)


def test_the_pipeline_has_two_sources_and_a_head(embedder, scorer):
    """Texts go to both sources, numbers to the fusion."""
    pipe = make_fusion_pipeline(embedder, scorer)
    union = pipe.named_steps["features"]
    assert isinstance(pipe, Pipeline)
    assert isinstance(union, FeatureUnion)
    assert [name for name, _ in union.transformer_list] == ["embedding", "llm"]


def test_auto_beats_a_weak_encoder_by_asking_the_llm(embedder, scorer, desk):
    """With 60 labels, TF-IDF is poor and the votes are 80 % right."""
    both = AutoFusionClassifier(scorer, embedder, random_state=0)
    alone = AutoFusionClassifier(None, embedder, random_state=0)
    train, test = slice(0, 60), slice(60, 300)
    both.fit(desk.data[train], desk.target[train])
    alone.fit(desk.data[train], desk.target[train])
    assert both.score(desk.data[test], desk.target[test]) >= 0.78
    assert alone.score(desk.data[test], desk.target[test]) < 0.7


def test_every_part_is_reachable(embedder, scorer, desk):
    """Fitted parts and a report of what was chosen are attributes."""
    auto = AutoFusionClassifier(scorer, embedder, random_state=0)
    auto.fit(desk.data[:100], desk.target[:100])
    assert auto.scorer_.classes_.tolist() == desk.target_names
    assert auto.fusion_.classes_.tolist() == desk.target_names
    assert auto.report_["n_labelled"] == 100
    assert "source_weights" in auto.report_
    proba = auto.predict_proba(desk.data[:5])
    np.testing.assert_allclose(proba.sum(axis=1), 1, atol=1e-6)


def test_declared_class_order_does_not_matter(embedder, votes, desk):
    """Scores are matched to labels by name, not by position."""
    names = desk.target_names
    forward = AutoFusionClassifier(RecordedScorer(votes, classes=names), embedder, random_state=0)
    backward = AutoFusionClassifier(
        RecordedScorer(votes, classes=names[::-1]), embedder, random_state=0
    )
    rows = slice(0, 24)
    a = forward.fit(desk.data[rows], desk.target[rows]).predict_proba(desk.data[100:])
    b = backward.fit(desk.data[rows], desk.target[rows]).predict_proba(desk.data[100:])
    assert np.mean(a.argmax(axis=1) == b.argmax(axis=1)) > 0.97


def test_multilabel_takes_names_from_a_frame(embedder, desk):
    """A DataFrame target names the labels; predictions are an indicator."""
    y = pd.get_dummies(pd.Series(desk.target))[["Sports", "Health", "Business"]].astype(int)
    table = {
        t: dict(zip(y.columns, row, strict=True))
        for t, row in zip(desk.data, y.to_numpy(), strict=True)
    }
    scorer = RecordedScorer(table, classes=list(y.columns), multilabel=True)
    auto = AutoFusionClassifier(scorer, embedder, random_state=0)
    auto.fit(desk.data[:150], y.iloc[:150])
    predicted = auto.predict(desk.data[150:])
    assert auto.classes_.tolist() == ["Sports", "Health", "Business"]
    assert predicted.shape == (150, 3)
    assert (predicted == y.to_numpy()[150:]).mean() > 0.98


def test_multilabel_without_names_says_what_to_pass(embedder, desk):
    """The LLM cannot be asked about column 3."""
    y = np.eye(6, dtype=int)[np.unique(desk.target, return_inverse=True)[1]]
    auto = AutoFusionClassifier("openai/gpt-5-nano", embedder)
    with pytest.raises(ValueError, match=r"Pass classes=\[\.\.\.\]"):
        auto.fit(desk.data, y)


def test_one_source_is_needed(desk):
    """Nothing in, nothing out."""
    with pytest.raises(ValueError, match="give one"):
        AutoFusionClassifier(None, None).fit(desk.data, desk.target)


def test_clone_and_cross_validation(embedder, scorer, desk):
    """It is a scikit-learn classifier of texts."""
    auto = clone(AutoFusionClassifier(scorer, embedder, random_state=0))
    scores = cross_val_score(auto, desk.data, desk.target, cv=3)
    assert scores.min() > 0.7


def test_same_seed_same_probabilities(embedder, scorer, desk):
    """random_state fixes everything."""
    fits = [
        AutoFusionClassifier(scorer, embedder, random_state=7).fit(
            desk.data[:80], desk.target[:80]
        )
        for _ in range(2)
    ]
    a, b = (f.predict_proba(desk.data[80:120]) for f in fits)
    np.testing.assert_allclose(a, b, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("X", "error", "match"),
    [
        ("one bare string", TypeError, r"Did you mean \[text\]"),
        ([], ValueError, "0 texts"),
        (["a", None], ValueError, r"texts\[1\] is missing"),
        (["a", 3], TypeError, r"texts\[1\] is int"),
    ],
)
def test_bad_texts_are_named_by_index(embedder, scorer, X, error, match):
    """What arrived, what was wanted, what to do."""
    with pytest.raises(error, match=match):
        AutoFusionClassifier(scorer, embedder).fit(X, ["x"] * len(X))


def test_lengths_must_match(embedder, scorer, desk):
    """Texts and labels come in pairs."""
    with pytest.raises(ValueError, match="must match"):
        AutoFusionClassifier(scorer, embedder).fit(desk.data[:10], desk.target[:9])


def test_the_encoder_is_trained_only_with_many_labels(desk):
    """The decision and its reason are in the report."""
    told = AutoFusionClassifier(None).get_params(deep=False)
    few, why = whether_to_fine_tune("auto", told["embedder"], 300)
    assert few is False
    assert "fewer than" in why
    assert whether_to_fine_tune("auto", told["embedder"], 5000)[0] is True
    with pytest.raises(ValueError, match="fine_tune='yes'"):
        AutoFusionClassifier(fine_tune="yes").fit(desk.data, desk.target)


@pytest.mark.filterwarnings("ignore:.*longer than the 40 tokens")  # of a tiny encoder
def test_a_trained_encoder_can_be_asked_for(tiny_roberta, scorer, desk):
    """fine_tune=True puts out-of-fold class scores of the encoder into the fusion."""
    auto = AutoFusionClassifier(scorer, str(tiny_roberta), fine_tune=True, random_state=0)
    auto.fit(desk.data[:60], desk.target[:60])
    assert auto.report_["fine_tuned"] is True
    assert auto.embedder_.get_feature_names_out()[0] == "encoder_Business"
    assert auto.fusion_.source_names_ == ["encoder", "llm"]
    assert auto.score(desk.data[60:], desk.target[60:]) > 0.7


@pytest.mark.filterwarnings("ignore:.*longer than the 40 tokens")  # of a tiny encoder
def test_how_it_is_trained_reaches_the_encoder(tiny_roberta, desk):
    """An EncoderTraining goes to the embedder, and the report names its method."""
    training = EncoderTraining("contrastive", contrastive_steps=2, batch_size=8)
    auto = AutoFusionClassifier(None, str(tiny_roberta), fine_tune=training, random_state=0)
    auto.set_params(fine_tune__lr=1e-3)
    auto.fit(desk.data[:40], desk.target[:40])
    assert auto.report_["fine_tuned"] == "contrastive"
    told = auto.embedder_.trainer_.settings
    assert (told["lr"], told["contrastive_steps"], told["batch_size"]) == (1e-3, 2, 8)


def test_a_class_without_a_labelled_row_can_be_predicted(embedder, scorer, desk):
    """With all classes named, the LLM's word is enough for one that y never shows."""
    rows = [i for i in range(120) if desk.target[i] != "Sports"][:60]
    auto = AutoFusionClassifier(scorer, embedder, classes=desk.target_names, random_state=0)
    auto.fit([desk.data[i] for i in rows], desk.target[rows])
    assert auto.classes_.tolist() == desk.target_names
    assert "Sports" in auto.predict(desk.data[120:])


def test_unlabelled_texts_teach_the_encoder(embedder, scorer, desk):
    """With 12 labels, answers about 150 further texts make the encoder's part better."""
    rows, more, test = slice(0, 12), slice(12, 162), slice(162, 300)
    embedder = embedder.fit(desk.data)
    auto = AutoFusionClassifier(scorer, embedder, classes=desk.target_names, random_state=0)
    auto.fit(desk.data[rows], desk.target[rows], unlabeled=desk.data[more])
    assert auto.student_.n_unlabeled_ == 150
    assert auto.report_["fine_tuned"] is False
    assert auto.score(desk.data[test], desk.target[test]) > 0.7
    assert auto.predict_proba(desk.data[test]).shape == (138, 6)


def test_labelled_texts_are_not_unlabelled_ones(embedder, scorer, desk):
    """A text of the training rows does not teach the student."""
    auto = AutoFusionClassifier(scorer, embedder, classes=desk.target_names, random_state=0)
    auto.fit(desk.data[:30], desk.target[:30], unlabeled=[*desk.data[20:60], desk.data[59]])
    assert auto.student_.n_unlabeled_ == 30


def test_unlabelled_texts_need_both_sources(embedder, desk):
    """Without an LLM nobody can say anything about them."""
    auto = AutoFusionClassifier(None, embedder)
    with pytest.raises(ValueError, match="needs both"):
        auto.fit(desk.data[:30], desk.target[:30], unlabeled=desk.data[30:])


def test_a_notebook_shows_sources_trust_and_spend(embedder, fault_server, monkeypatch):
    """Which model, how far it is trusted, what was paid; the key is nowhere."""
    monkeypatch.setenv("CANARY_KEY", "sk-canary-in-html")
    texts = [f"text{n} of {'sport' if n % 2 else 'money'}" for n in range(24)]
    llm = LLMScorer(
        "loopback", base_url=fault_server.base_url, api_key_env="CANARY_KEY", prices=(1.0, 1.0)
    )
    clf = AutoFusionClassifier(llm, embedder, random_state=0)
    assert "paid requests" not in clf._repr_html_()
    clf.fit(texts, ["sport" if n % 2 else "money" for n in range(24)])
    shown, usage = clf._repr_html_(), clf.scorer_.usage_
    trust = clf.fusion_.source_weights_
    assert usage.requests == 24
    assert f"loopback, trust {trust['llm']:.2f}, 24 paid requests, 0 kept, cost " in shown
    assert f">trust {trust['encoder']:.2f}<" in shown
    assert ">anchored, 24 labelled texts<" in shown
    assert "sk-canary" not in shown
    assert {"LLMScorer", "FusionClassifier", "Pipeline"} <= set(re.findall(r"\w+", shown))


def test_a_notebook_shows_hostile_names_as_what_they_are(embedder, votes, desk):
    """A model's name and class names are text, never markup; one source is shown alone."""

    class Named(RecordedScorer):
        model = "<img src=x onerror=alert(1)>"

    clf = AutoFusionClassifier(Named(votes, classes=desk.target_names), None, random_state=0)
    shown = clf.fit(desk.data, desk.target)._repr_html_()
    assert "&lt;img src=x onerror=alert(1)&gt;" in shown
    assert "<img src=x" not in shown
    assert "embedding" not in re.findall(r"<label>(\w+)</label>", shown)
