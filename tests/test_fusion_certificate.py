"""`certificate_`: at most so much less accurate than LLM or encoder alone."""

import numpy as np
import pytest
from _fusion_data import make_labels, make_rows
from scipy.stats import binom
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from sklfusion import AutoFusionClassifier, FusionClassifier, RecordedScorer, persistence
from sklfusion.fusion._certificate import against_parts


def fitted(*, n=120, **params):
    X, y = make_rows(n, **params)
    return FusionClassifier(random_state=0).fit(X, y)


@pytest.mark.parametrize(
    ("counts", "wanted"),
    [
        (([[0, 0]], [[0, 0]], 100), (0.025, 0.025, 0.025)),
        (([[6, 6]], [[10, 20]], 200), (0.03, None, None)),
        (([[10, 20]], [[20, 10]], 500), (0.005, 0.04, 0.04)),
        (([[10, 20], [20, 10]], [], 500), (0.04, None, 0.04)),
        (([[0, 0]], [], 5), (1.0, None, 1.0)),
    ],
)
def test_the_numbers_of_the_test(counts, wanted):
    """The check numbers of the exact score test, the worst of several, and none at all."""
    llm, encoder, n = counts
    found = against_parts({"llm": llm, "encoder": encoder, "n": n})
    assert found["llm"] == pytest.approx(wanted[0])
    if wanted[1] is not None or not encoder:
        assert found["encoder"] == wanted[1]
        assert found["eps"] == pytest.approx(wanted[2])
    assert (found["delta"], found["n"]) == (0.1, n)


def test_it_says_how_much_may_be_lost_to_either_part():
    """On rows where both parts err, a loss between none and a third is certified."""
    told = fitted(n=300).certificate_
    assert set(told) == {"llm", "encoder", "eps", "delta", "n"}
    assert told["n"] == 300
    assert 0 < told["llm"] <= 0.05  # the fusion is better than the votes
    assert told["eps"] == max(told["llm"], told["encoder"])


def test_a_fusion_that_copies_its_llm_loses_nothing_to_it():
    """Votes that are always right: no row is lost, so 100 rows certify what the table says."""
    X, y = make_rows(100, accuracy=1.0, signal=0.0)
    told = FusionClassifier(random_state=0).fit(X, y).certificate_
    assert told["llm"] == 0.025


def test_repeated_rows_count_once():
    """Every row four times is no more than the rows."""
    X, y = make_rows(90)
    once = FusionClassifier(random_state=0).fit(X, y).certificate_
    again = FusionClassifier(random_state=0).fit(np.tile(X, (4, 1)), np.tile(y, 4)).certificate_
    assert again["n"] == once["n"] == 90


def test_several_llms_are_each_compared():
    """With a second LLM that is as good as the fusion, less can be certified than without it."""
    X, y = make_rows(200, n_llm=2)
    clf = FusionClassifier(score_columns=slice(-6, None), random_state=0).fit(X, y)
    counts = clf._against_parts["llm"]
    assert len(counts) == 2
    proba = clf.oof_proba_.argmax(axis=1) == y
    for (lost, won), block in zip(counts, (X[:, -6:-3], X[:, -3:]), strict=True):
        vote = block.argmax(axis=1) == y
        assert (lost, won) == ((vote & ~proba).sum(), (proba & ~vote).sum())


def test_parts_that_are_not_there_are_none():
    """Scores without an embedding; an embedding without scores; the plain MLP has no encoder."""
    X, y = make_rows(100)
    alone = FusionClassifier(random_state=0, score_columns=slice(0, 3)).fit(X[:, 20:], y)
    assert alone.certificate_["encoder"] is None
    assert alone.certificate_["eps"] == alone.certificate_["llm"]
    encoder = FusionClassifier(random_state=0, score_columns=None).fit(X, y)
    assert encoder.certificate_ is None
    concat = FusionClassifier(random_state=0, fusion="concat", max_epochs=2).fit(X, y)
    assert concat.certificate_["encoder"] is None
    assert concat.certificate_["llm"] is not None


def test_a_text_without_an_answer_counts_as_the_commonest_class():
    """An LLM that never answers is right as often as the commonest class is."""
    X, y = make_rows(150)
    X[:, -3:] = np.nan
    y = np.where(np.arange(150) % 5 < 3, 0, y)
    clf = FusionClassifier(score_columns=slice(-3, None), random_state=0).fit(X, y)
    [[lost, won]] = clf._against_parts["llm"]
    proba = clf.oof_proba_.argmax(axis=1) == y
    common = y == 0
    assert (lost, won) == ((common & ~proba).sum(), (proba & ~common).sum())


def test_of_several_labels_the_whole_set_has_to_be_right():
    """Exact match, against the votes as they are."""
    X, Y = make_labels(200)
    clf = FusionClassifier(score_columns=slice(-5, None), random_state=0).fit(X, Y)
    [[lost, won]] = clf._against_parts["llm"]
    cut = clf.oof_proba_ >= clf.threshold_
    empty = ~cut.any(axis=1) & clf.fill_empty_
    cut[empty, clf.oof_proba_[empty].argmax(axis=1)] = True
    ours = (cut == Y).all(axis=1)
    theirs = ((X[:, -5:] > 0.5) == Y).all(axis=1)
    assert (lost, won) == ((theirs & ~ours).sum(), (ours & ~theirs).sum())
    assert 0 < clf.certificate_["eps"] <= 0.3


def test_rows_that_were_not_drawn_alike_certify_nothing():
    """Unequal weights say that rows stand for others; equal ones, and class weights, do not."""
    X, y = make_rows(100)
    weights = np.linspace(0.5, 1.5, 100)
    clf = FusionClassifier(random_state=0)
    assert clf.fit(X, y, weights).certificate_ is None
    assert clf.fit(X, y, np.full(100, 2.0)).certificate_ is not None
    assert clf.set_params(class_weight="balanced").fit(X, y).certificate_ is not None
    clf.partial_fit(X, y)
    assert clf.certificate_ is None


def test_it_is_a_report_and_changes_no_prediction(tmp_path):
    """Saved with the model; models saved before there was one load without it."""
    clf = fitted()
    persistence.save(clf, tmp_path / "model.sklf")
    assert persistence.load(tmp_path / "model.sklf").certificate_ == clf.certificate_
    del clf._against_parts
    persistence.save(clf, tmp_path / "old.sklf")
    assert persistence.load(tmp_path / "old.sklf").certificate_ is None
    with pytest.raises(AttributeError, match="not fitted"):
        _ = FusionClassifier().certificate_


def test_texts_have_it_too():
    """`AutoFusionClassifier` hands on that of its fusion."""
    texts = [f"{word} {i}" for i in range(40) for word in ("ham", "egg")]
    y = ["a", "b"] * 40
    llm = RecordedScorer(dict(zip(texts, y, strict=True)))
    dense = FunctionTransformer(lambda counts: counts.toarray())
    words = make_pipeline(CountVectorizer(token_pattern=r"\w+"), dense)
    clf = AutoFusionClassifier(llm, words, random_state=0).fit(texts, y)
    assert clf.certificate_ == clf.fusion_.certificate_
    assert clf.certificate_["llm"] <= 0.1
    with pytest.raises(AttributeError, match="has certificate_ after fit"):
        _ = AutoFusionClassifier(llm).certificate_


def test_it_holds_as_often_as_it_says():
    """Of 60 draws at least nine of ten hold on 4,000 fresh rows, within their binomial error."""
    fresh, truth = make_rows(4000, accuracy=0.75, signal=0.35, seed=10_000)
    theirs = (fresh[:, 20:].argmax(axis=1) == truth).mean()
    kept, said = 0, []
    for seed in range(60):
        X, y = make_rows(60, accuracy=0.75, signal=0.35, seed=seed)
        clf = FusionClassifier(random_state=0).fit(X, y)
        said.append(clf.certificate_["llm"])
        kept += clf.score(fresh, truth) >= theirs - said[-1]
    assert kept >= binom.ppf(0.01, 60, 0.9)
    assert np.median(said) < 0.2  # and it says something
