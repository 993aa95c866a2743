"""DistributionPool, sets of largest expected F1, and label distributions as score columns."""

from itertools import product

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from scipy.special import expit, logit
from sklearn.base import clone
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import FunctionTransformer

from sklfusion import (
    Annotations,
    FusionClassifier,
    LabelDistributionCollector,
    LabelDistributionEstimator,
    LLMScorer,
    MultiLabelThresholds,
)
from sklfusion.alignment import (
    DistributionPool,
    alignment_l1,
    alignment_nll,
    example_f1,
    expected_f1_sets,
)


def sources(n=300, k=4, seed=0):
    """Rates, a good source, an overconfident one and noise."""
    rng = np.random.default_rng(seed)
    z = rng.normal(-0.7, 1.2, (n, k))
    good = expit(z + 0.5 * rng.normal(size=(n, k)))
    loud = expit(4 * z + 3 * rng.normal(size=(n, k)))
    return expit(z), good, loud, rng.random((n, k))


# ---------------------------------------------------------------- the pool


def test_pool_beats_its_sources_on_new_texts():
    """Two views with independent errors are better together, in NLL, L1 and F1 of the best set."""
    rates, good, loud, noise = sources(600)
    X, fit, new = np.hstack([good, loud, noise]), slice(0, 200), slice(200, None)
    pool = DistributionPool().fit(X[fit], rates[fit])
    p = pool.predict_proba(X[new])
    assert pool.weights_[2] < 0.1 * pool.weights_[0]
    for source in (good, loud):
        alone = DistributionPool().fit(source[fit], rates[fit]).predict_proba(source[new])
        assert alignment_nll(rates[new], p) < alignment_nll(rates[new], alone)
        assert alignment_l1(rates[new], p) < alignment_l1(rates[new], alone)


def test_pool_of_one_true_source_returns_it():
    """Rates that are right already get weight 1 and intercept 0."""
    rates = sources(2000)[0]
    pool = DistributionPool(penalty=0).fit(rates, rates)
    np.testing.assert_allclose(pool.weights_, [1], atol=0.01)
    np.testing.assert_allclose(pool.intercept_, 0, atol=0.02)


def test_pool_finds_the_minimum():
    """No small change of weights or intercepts lowers the penalised loss: the fit is convex."""
    rates, good, loud, _ = sources(150)
    X = np.hstack([good, loud])
    pool = DistributionPool(penalty=0).fit(X, rates)
    Z = logit(np.clip(X, 1e-4, 1 - 1e-4)).reshape(len(X), 2, -1)

    def loss(w, b):
        z = np.einsum("nsk,s->nk", Z, w) + b
        return (np.logaddexp(0, z) - rates * z).sum()

    best = loss(pool.weights_, pool.intercept_)
    rng = np.random.default_rng(0)
    for _ in range(50):
        w = np.maximum(pool.weights_ + 0.05 * rng.normal(size=2), 0)
        assert loss(w, pool.intercept_ + 0.05 * rng.normal(size=4)) > best - 1e-2


def test_pool_never_turns_a_source_round():
    """A source that contradicts the texts gets weight 0, not a negative one."""
    rates = sources()[0]
    pool = DistributionPool().fit(np.hstack([rates, 1 - rates]), rates)
    assert pool.weights_[1] == 0


@pytest.mark.parametrize(
    "convert", [sparse.csr_matrix, lambda y: pd.DataFrame(y), np.ndarray.tolist]
)
def test_pool_takes_every_form_of_target(convert):
    """Sparse, frame and list targets teach what the array teaches."""
    rates, good, loud, _ = sources()
    X, y = np.hstack([good, loud]), (rates > 0.4).astype(int)
    expected = DistributionPool().fit(X, y).predict_proba(X)
    np.testing.assert_allclose(DistributionPool().fit(X, convert(y)).predict_proba(X), expected)


def test_pool_permutes_with_labels():
    """Labels are treated alike."""
    rates, good, loud, _ = sources()
    order = [2, 0, 3, 1]
    p = (
        DistributionPool()
        .fit(np.hstack([good, loud]), rates)
        .predict_proba(np.hstack([good, loud]))
    )
    X = np.hstack([good[:, order], loud[:, order]])
    q = DistributionPool().fit(X, rates[:, order]).predict_proba(X)
    np.testing.assert_allclose(p[:, order], q, atol=1e-4)


def test_pool_survives_missing_answers_and_one_sided_labels():
    """NaN means the source's average; labels never or always on stay finite."""
    rates, good, loud, _ = sources()
    X = np.hstack([good, loud])
    X[::3, 4:] = np.nan
    rates[:, 0], rates[:, 1] = 0, 1
    p = DistributionPool().fit(X, rates).predict_proba(X)
    assert np.isfinite(p).all()
    assert (p[:, 0] < 0.05).all()
    assert (p[:, 1] > 0.95).all()
    gone = np.full_like(X, np.nan)
    assert np.isfinite(DistributionPool().fit(gone, rates).predict_proba(gone)).all()


@pytest.mark.parametrize(
    ("X", "penalty", "message"),
    [
        (np.full((6, 3), 0.5), 1.0, "3 columns for 2 labels"),
        (np.full((6, 4), 1.5), 1.0, r"outside \[0, 1\]"),
        (np.full((6, 4), 0.5), -1, "penalty"),
        (np.full((5, 4), 0.5), 1.0, "X has 5 texts, y has 6"),
    ],
)
def test_pool_refuses_what_is_no_probability(X, penalty, message):
    """Errors say what arrived and what was wanted."""
    with pytest.raises(ValueError, match=message):
        DistributionPool(penalty=penalty).fit(X, np.full((6, 2), 0.5))


def test_pool_refuses_another_number_of_sources():
    """Two sources were fitted, one arrives."""
    rates, good, loud, _ = sources()
    pool = DistributionPool().fit(np.hstack([good, loud]), rates)
    with pytest.raises(ValueError, match=r"1 sources.* fitted with 2"):
        pool.predict_proba(good)


def test_label_sets_get_advice():
    """A list of sets names MultiLabelBinarizer."""
    with pytest.raises(ValueError, match="MultiLabelBinarizer"):
        DistributionPool().fit(np.full((2, 4), 0.5), [{"a"}, {"b"}])


# ---------------------------------------------------------------- sets of largest expected F1


@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_expected_f1_sets_are_the_best_of_all_sets(k):
    """Trying every set against every outcome finds no better one."""
    rng = np.random.default_rng(k)
    p = rng.random((25, k)) ** 2
    outcomes = np.array(list(product([0, 1], repeat=k)))
    chance = np.prod(np.where(outcomes[None], p[:, None], 1 - p[:, None]), axis=2)
    overlap = outcomes @ outcomes.T
    sizes = outcomes.sum(axis=1)
    total = sizes[:, None] + sizes[None]
    f1 = np.where(total == 0, 1.0, 2 * overlap / np.maximum(total, 1))
    expected = chance @ f1  # (n, sets)
    said = expected_f1_sets(p)
    mine = np.array([(outcomes == row).all(axis=1).argmax() for row in said])
    np.testing.assert_allclose(expected[np.arange(25), mine], expected.max(axis=1), atol=1e-12)


def test_expected_f1_sets_beat_one_half_where_probabilities_are_true():
    """On outcomes drawn from the probabilities they win; labels and rows are treated alike."""
    rng = np.random.default_rng(0)
    p = rng.beta(0.6, 2, (3000, 6))
    y = (rng.random(p.shape) < p).astype(int)
    sets = expected_f1_sets(p)
    assert example_f1(y, sets) > example_f1(y, p) + 0.02
    np.testing.assert_array_equal(expected_f1_sets(p[::-1, ::-1]), sets[::-1, ::-1])
    assert expected_f1_sets(np.zeros((0, 3))).shape == (0, 3)
    assert expected_f1_sets([[0.0, 1.0]]).tolist() == [[0, 1]]


def test_estimator_says_the_set_of_largest_expected_f1():
    """threshold="expected_f1" changes predict alone; other words are refused."""
    said = Annotations(["a", "b"], multilabel=True, probs=[[0.45, 0.4], [0.1, 0.1]])
    est = LabelDistributionEstimator("vote_share", threshold="expected_f1").fit(said)
    assert est.predict(said).tolist() == [[1, 1], [0, 0]]
    assert clone(est).set_params(threshold=0.5).fit(said).predict(said).sum() == 0
    with pytest.raises(ValueError, match="expected_f1"):
        LabelDistributionEstimator(threshold="best").fit(said)
    with pytest.raises(ValueError, match=r"outside \[0, 1\]"):
        expected_f1_sets([[2.0, 0.1]])


# ---------------------------------------------------------------- score columns for a fusion

LABELS = ["joy", "anger", "fear"]


def words(n=80, seed=0):
    """Texts that name some labels, which the scripted endpoint recognises, and what is true."""
    rng = np.random.default_rng(seed)
    y = (rng.random((n, 3)) < 0.4).astype(int)
    y[:, 2] = 0  # a label that no text has
    texts = []
    for row in y:
        seen = [w for w, on in zip(LABELS, row, strict=True) if on and rng.random() < 0.9]
        texts.append(" ".join(["day", *seen, f"n{rng.integers(1_000_000)}"]))
    return texts, y


def test_probe_columns_of_training_texts_are_held_out():
    """fit_transform gives a probe's scores by folds that did not see the text."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(60, 80)), rng.random((60, 2)).round()
    est = LabelDistributionEstimator("probe", C=10.0)
    held_out = est.fit_transform(X, y)
    assert alignment_nll(y, est.transform(X)) < 0.5 < 1.3 < alignment_nll(y, held_out)
    assert est.get_feature_names_out().tolist() == ["probe_0", "probe_1"]


@pytest.mark.parametrize(
    ("strategy", "method"),
    [
        ("label", "hard"),
        ("votes", "vote_share"),
        ("logprobs", "max"),
        ("logprobs", "compare_to_none"),
        ("unary", "unary"),
        ("logprobs", "binary"),
    ],
)
def test_scorer_strategies_feed_the_methods_and_the_fusion(
    fault_server, tmp_path, strategy, method
):
    """Texts to fused label probabilities over a real endpoint: they agree better than base rates.

    One of the labels is never positive and some sets are empty.
    """
    texts, y = words()
    scorer = LLMScorer(
        "any",
        base_url=fault_server.base_url,
        classes=LABELS,
        multilabel=True,
        strategy=strategy,
        memory=tmp_path,
    )
    pairs = LabelDistributionCollector(scorer, queries=["pairs"])
    columns = LabelDistributionEstimator(method, annotator=pairs if method == "binary" else scorer)
    union = FeatureUnion([("text", _dense(HashingVectorizer(n_features=16))), ("llm", columns)])
    fusion = FusionClassifier(score_columns=slice(16, 19), score_classes=[0, 1, 2], random_state=0)
    model = make_pipeline(union, fusion)
    model.fit(texts[:50], y[:50])
    asked = fault_server.ledger().received
    p = model.predict_proba(texts[50:])
    assert p.shape == (30, 3)
    assert fault_server.ledger().received > asked
    base = np.tile(y[:50].mean(axis=0), (30, 1))
    assert alignment_nll(y[50:], p) < alignment_nll(y[50:], base)
    assert alignment_l1(y[50:], p) < alignment_l1(y[50:], base)
    assert example_f1(y[50:], expected_f1_sets(p)) > example_f1(y[50:], expected_f1_sets(base))
    assert union.transformer_list[1][1].get_feature_names_out()[0] == f"{method}_joy"


def test_collected_distributions_are_pooled_with_a_text_classifier(fault_server, tmp_path):
    """List, unary and pairwise queries, an encoder's held-out probabilities, and a pool."""
    texts, y = words(60)
    scorer = LLMScorer("any", base_url=fault_server.base_url, classes=LABELS, memory=tmp_path)
    collector = LabelDistributionCollector(scorer, queries=["list", "unary", "pairs"])
    said = collector.annotate(texts)
    H = HashingVectorizer(n_features=32).transform(texts).toarray()
    encoder = LabelDistributionEstimator("probe", C=0.1)
    blocks = [cross_val_predict(encoder, H[:40], y[:40], method="predict_proba", cv=5)]
    new = [encoder.fit(H[:40], y[:40]).predict_proba(H[40:])]
    for method in ("unary", "max", "binary"):
        p = LabelDistributionEstimator(method).fit(said).predict_proba(said)
        blocks.append(p[:40])
        new.append(p[40:])
    pool = DistributionPool().fit(np.hstack(blocks), y[:40])
    fused = pool.predict_proba(np.hstack(new))
    base = np.tile(y[:40].mean(axis=0), (20, 1))
    assert alignment_nll(y[40:], fused) < alignment_nll(y[40:], base)
    tuned = MultiLabelThresholds(DistributionPool(), scoring="f1_samples")
    with pytest.warns(match="label"):
        tuned.fit(np.hstack(blocks), y[:40])
    assert example_f1(y[40:], tuned.predict(np.hstack(new))) > example_f1(y[40:], base)


def _dense(vectorizer):
    return make_pipeline(vectorizer, FunctionTransformer(_to_array, accept_sparse=True))


def _to_array(X):
    return X.toarray()
