"""The report from the shell, its folds, and skore's report on our estimators."""

import json

import numpy as np
import pandas as pd
import pytest
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from typer.testing import CliRunner

from sklfusion import (
    AutoFusionClassifier,
    CascadeClassifier,
    EvaluationReport,
    FusionClassifier,
    LLMScorer,
    RecordedScorer,
    make_fusion_pipeline,
)
from sklfusion.cli import load_app
from sklfusion.datasets import load_newsdesk
from sklfusion.report._evaluate import _with_memory
from sklfusion.report._rivals import majority, on_numbers, on_words
from sklfusion.report._sources import LogisticProbe, may_hold_a_fusion
from sklfusion.report._table import folds_of, read_rows
from tests._fusion_data import make_labels, make_rows


@pytest.fixture(scope="module")
def desk():
    found = load_newsdesk()
    rows = np.random.default_rng(0).permutation(300)[:60]
    return [found.data[row] for row in rows], found.target[rows], found.target_names


@pytest.fixture
def tables(desk, tmp_path):
    """A table of 40 labelled briefs, one without a label, and one of 20 others."""
    frame = pd.DataFrame({"text": desk[0], "label": desk[1]})
    frame.loc[3, "label"] = ""
    train, test = tmp_path / "train.csv", tmp_path / "test.csv"
    frame[:40].to_csv(train, index=False)
    frame[40:].to_csv(test, index=False)
    return train, test


def evaluate(*args):
    return CliRunner().invoke(load_app(), ["evaluate", *map(str, args)])


@pytest.fixture
def asking(fault_server, tmp_path):
    """Options that ask the loopback endpoint and train no encoder."""
    place = ["--base-url", fault_server.base_url, "--memory", tmp_path / "memory"]
    return ["--llm", "m", *place, "--embedder", "none", "--cv", "2"]


# ----------------------------------------------------------------------------------- the shell


def test_a_table_becomes_a_page(tables, asking, tmp_path):
    """Cross-validated, with the short report on the screen."""
    out = tmp_path / "report.html"
    done = evaluate(tables[0], "-o", out, *asking)
    assert done.exit_code == 0, done.output
    assert "Evaluation on train.csv (39 rows)" in done.stdout
    assert "LLM alone" in done.stdout
    page = out.read_text(encoding="utf-8")
    assert "left out, without a label" in page
    assert "LLM alone" in page


def test_test_rows_and_json(tables, asking, tmp_path, fault_server):
    """One JSON object with all figures, nothing else on the screen, each text asked once."""
    out = tmp_path / "report.html"
    done = evaluate(tables[0], "-o", out, "--test", tables[1], "--json", *asking)
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["written"] == str(out)
    assert found["folds"] is None
    assert found["data"]["rows"] == 20
    assert found["training"]["missing"] == {"label": 1, "text": 0}
    assert set(found["methods"]) > {"fusion", "LLM alone", "majority"}
    assert found["usage"]["requests"] == fault_server.ledger().billed == 59


def test_several_labels_in_a_cell(desk, asking, tmp_path):
    """A label that no training row has is told with the remedy, before anything is asked."""
    train, test = tmp_path / "train.csv", tmp_path / "test.csv"
    sets = [["Sports", "Sports;Health", "Health"][row % 3] for row in range(60)]
    frame = pd.DataFrame({"text": desk[0], "label": sets})
    frame[:40].to_csv(train, index=False)
    frame[40:].to_csv(test, index=False)
    out = tmp_path / "report.html"
    given = [train, "-o", out, "--multilabel", "--separator", ";", "--test", test, *asking]
    done = evaluate(*given, "--classes", "Health,Sports,Culture", "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["multilabel"]
    assert dict(found["data"]["classes"])["Culture"] == 0
    frame.loc[50, "label"] = "Art"
    frame[40:].to_csv(test, index=False)
    refused = evaluate(*given)
    assert refused.exit_code == 1
    assert "name all labels with --classes" in refused.output


def test_no_text_leaves_the_table_if_none_is_to_be_shown(tables, desk, asking, tmp_path):
    """For a report to show around."""
    out = tmp_path / "report.html"
    assert evaluate(tables[0], "-o", out, "--rows-shown", "0", *asking).exit_code == 0
    page = out.read_text(encoding="utf-8")
    assert not [text for text in desk[0] if text[:30] in page]


def test_errors_come_before_anything_is_paid(tables, asking, tmp_path, fault_server):
    """A folder that is not there, a column that is not there, too few folds."""
    nowhere = evaluate(tables[0], "-o", tmp_path / "no" / "report.html", *asking)
    assert nowhere.exit_code == 1
    column = evaluate(tables[0], "-o", tmp_path / "r.html", "--text", "body", *asking)
    assert column.exit_code == 1
    folds = evaluate(tables[0], "-o", tmp_path / "r.html", *asking[:-1], "1")
    assert folds.exit_code == 2
    assert fault_server.ledger().billed == 0
    assert not (tmp_path / "r.html").exists()


# ------------------------------------------------------------------------------- rows and folds


def test_a_table_can_be_cut(desk):
    """Texts, labels and places stay together."""
    table = read_rows(pd.Series(desk[0]), pd.Series(desk[1]))
    part = table.take(np.array([5, 2, 40]))
    assert part.X == part.texts == [desk[0][row] for row in (5, 2, 40)]
    assert part.y.tolist() == [desk[1][row] for row in (5, 2, 40)]
    assert part.rows.tolist() == [5, 2, 40]
    assert not part.multilabel


@pytest.mark.parametrize("kind", [list, np.array, pd.Series, lambda y: pd.Categorical(y)])
def test_labels_come_in_any_container(kind, desk):
    """They are the same labels."""
    assert read_rows(desk[0], kind(desk[1])).y.tolist() == desk[1].tolist()


def test_texts_and_numbers_are_told_apart(desk):
    """A column of words is texts; a frame, a matrix and a sparse one are features."""
    from scipy import sparse

    X = np.eye(6)
    y = ["a", "b"] * 3
    for features in (X, sparse.csr_matrix(X), pd.DataFrame(X), X.tolist()):
        table = read_rows(features, y)
        assert table.texts is None
        assert len(table.take(np.array([1, 3])).y) == 2
    assert read_rows(np.array(desk[0], dtype=object), desk[1]).texts == desk[0]
    assert read_rows(pd.Series(desk[0]), desk[1]).texts == desk[0]


@pytest.mark.parametrize("cv", [2, 3, 5, 10])
def test_folds_judge_each_row_once(desk, cv):
    """And each training part has two classes or more."""
    table = read_rows(*desk[:2])
    splits = folds_of(table, cv, 0)
    judged = np.concatenate([test for _, test in splits])
    assert sorted(judged.tolist()) == list(range(60))
    for train, test in splits:
        assert not set(train) & set(test)
        assert len(train) + len(test) == 60
        assert len(np.unique(table.y[train])) > 1


def test_folds_hold_every_class_alike():
    """Shares of a class are about the same in all folds, rare ones are spread."""
    y = np.array(["a"] * 50 + ["b"] * 20 + ["c"] * 2 + ["d"])
    table = read_rows(np.zeros((73, 1)), y)
    splits = folds_of(table, 5, 0)
    assert len(splits) == 5
    for name in ("a", "b"):
        counts = [(y[test] == name).sum() for _, test in splits]
        assert max(counts) - min(counts) <= 3  # the rare ones stand in for some
    assert max(np.isin(y[test], ["c", "d"]).sum() for _, test in splits) <= 3


def test_repeats_stay_in_one_fold(desk):
    """Whatever their labels are."""
    texts, y = desk[0][:20] * 3, np.concatenate([desk[1][:20], desk[1][:40]])
    for train, test in folds_of(read_rows(texts, y), 4, 0):
        assert not {texts[row] for row in train} & {texts[row] for row in test}


def test_folds_of_several_labels(desk):
    """Iteratively stratified, and repeats together as well."""
    Y = make_labels(n=60, k=3)[1]
    texts = desk[0][:30] * 2
    splits = folds_of(read_rows(texts, np.vstack([Y[:30], Y[:30]])), 3, 0)
    assert len(splits) == 3
    for train, test in splits:
        assert not {texts[row] for row in train} & {texts[row] for row in test}


# ------------------------------------------------------------------------------ rivals and parts


def test_a_logistic_probe_tells_classes_apart():
    """Better than chance on rows that it has not seen, with probabilities."""
    X, y = make_rows(n=200, d=10)
    model = LogisticProbe(X[:100, :10], np.eye(3)[y[:100]], False, 0)
    opinion = model.opinion(X[100:, :10], "part")
    assert (opinion.labels == y[100:]).mean() > 0.8
    np.testing.assert_allclose(opinion.proba.sum(axis=1), 1)


def test_a_logistic_probe_finds_sets_of_labels():
    """With a cut from held-out rows."""
    X, Y = make_labels(n=200, k=3)
    opinion = LogisticProbe(X[:120, :20], Y[:120], True, 0).opinion(X[120:, :20], "part")
    assert (opinion.labels == Y[120:]).mean() > 0.8
    assert opinion.proba.shape == (80, 3)


def test_columns_that_say_nothing_break_no_probe():
    """All alike: the classes are as likely as they are frequent."""
    y = np.arange(30) % 3 > 0
    opinion = LogisticProbe(np.ones((30, 4)), np.eye(2)[y.astype(int)], False, 0).opinion(
        np.ones((5, 4)), "part"
    )
    np.testing.assert_allclose(opinion.proba[:, 1], 2 / 3, atol=0.05)


def test_rivals_know_all_classes(desk):
    """Also those that their training rows lack: with probability zero."""
    table = read_rows(*desk[:2])
    names = sorted(set(desk[1]))
    Y = (table.y[:, None] == np.array([*names, "unseen"])).astype(int)
    for opinion in (on_words(table, table, Y, False), majority(Y, 60, False)):
        assert opinion.proba.shape == (60, len(names) + 1)
        assert (opinion.proba[:, -1] == 0).all()
        assert opinion.role == "rival"


def test_rivals_of_several_labels():
    """The most frequent set, and a logistic regression per label, also of one that all have."""
    X, Y = make_labels(n=60, k=3)
    Y[:, 2] = 1
    table = read_rows(X, Y)
    numbers = on_numbers(table, table, Y, True)
    assert numbers.labels.shape == (60, 3)
    assert (numbers.labels[:, 2] == 1).all()
    sets, counts = np.unique(Y, axis=0, return_counts=True)
    assert majority(Y, 2, True).labels.tolist() == [sets[counts.argmax()].tolist()] * 2


def test_what_ends_in_a_fusion_is_known_before_the_fit():
    """Searches and pipelines are looked into."""
    from sklearn.model_selection import RandomizedSearchCV

    pipe = Pipeline([("a", TfidfVectorizer()), ("b", FusionClassifier())])
    assert may_hold_a_fusion(pipe)
    assert may_hold_a_fusion(RandomizedSearchCV(pipe, {"b__lr": [0.1]}))
    assert may_hold_a_fusion(AutoFusionClassifier())
    assert not may_hold_a_fusion(make_pipeline(TfidfVectorizer(), LogisticRegression()))


def test_a_memory_is_given_where_there_is_none():
    """To the outermost part of ours that takes one; what the user set stays."""
    assert _with_memory(AutoFusionClassifier(), "here").memory == "here"
    assert _with_memory(AutoFusionClassifier(memory="mine"), "here").memory == "mine"
    pipe = _with_memory(make_fusion_pipeline(scorer=LLMScorer("openai/m", memory="mine")), "here")
    parts = dict(pipe.named_steps["features"].transformer_list)
    assert (parts["embedding"].memory, parts["llm"].memory) == ("here", "mine")
    assert pipe.memory is None
    inner = AutoFusionClassifier(LLMScorer("openai/m"), memory="mine")
    assert _with_memory(inner, "here").llm.memory is None
    outer = _with_memory(AutoFusionClassifier(LLMScorer("openai/m", memory="mine")), "here")
    assert (outer.memory, outer.llm.memory) == ("mine", "mine")


# ----------------------------------------------------------------------------------------- skore


@pytest.fixture(scope="module")
def skore():
    """The package of the same purpose for any estimator."""
    return pytest.importorskip("skore", reason="skore, of the extra `test`")


def test_skore_evaluates_a_fusion_of_numbers(skore):
    """Its accuracy is that of scikit-learn on the same split."""
    from sklearn.model_selection import train_test_split

    X, y = make_rows(n=90)
    clf = FusionClassifier(random_state=0)
    found = skore.evaluate(clf, X, y, splitter=0.3).metrics.accuracy()
    a, b, ya, yb = train_test_split(X, y, test_size=0.3, random_state=0)
    assert found == pytest.approx(clf.fit(a, ya).score(b, yb), abs=0.08)


@pytest.mark.parametrize("box", [lambda t: np.array(t, dtype=object), pd.Series])
def test_skore_evaluates_a_fusion_of_texts(skore, desk, box):
    """As an array or a Series; a list it takes for several tables."""
    said = dict(zip(desk[0], desk[1].tolist(), strict=True))
    embedder = make_pipeline(TfidfVectorizer(), TruncatedSVD(5, random_state=0))
    scorer = RecordedScorer(said, classes=desk[2])
    auto = AutoFusionClassifier(scorer, embedder, random_state=0)
    report = skore.evaluate(auto, box(desk[0]), desk[1], splitter=0.3)
    assert report.metrics.accuracy() > 0.9
    with pytest.raises(TypeError, match="single array-like"):
        skore.evaluate(auto, desk[0], desk[1], splitter=0.3)


# ----------------------------------------------------------------------------------- a cascade


def _cascade_report(said, **params):
    """A report of a cascade whose LLM knows the texts."""
    words = ("bread", "goal", "thing", "thing") * 20  # half of them say nothing
    texts = [f"{word} note {n}" for n, word in enumerate(words)]
    y = ["food", "sport"] * 40
    first = make_pipeline(CountVectorizer(), LogisticRegression())
    llm = RecordedScorer(dict(zip(texts, said or y, strict=True)), classes=["food", "sport"])
    cascade = CascadeClassifier(first, llm, random_state=0, **params)
    return EvaluationReport.from_estimator(cascade, texts, y, cv=3), texts, np.array(y)


def test_a_cascade_stands_beside_its_first_stage():
    """With the trust of its fusion, and its cost curve as the mean over folds."""
    report, _, y = _cascade_report(None)
    assert report.methods_[:2] == ["cascade", "first stage alone"]
    found = report.to_dict()
    assert found["subject"] == "cascade"
    assert found["comparison"]["best_part"] == "first stage alone"
    scores = {name: said["accuracy"] for name, said in found["methods"].items()}
    assert scores["cascade"] > scores["first stage alone"]
    assert scores["cascade"] == pytest.approx((report.labels_["cascade"] == report.y_true_).mean())
    curve = found["cost_curve"]
    assert curve["share"][0] == 0
    assert curve["share"][-1] == 1
    assert curve["accuracy"][-1] > curve["accuracy"][0]
    assert set(found["trust"]) == {"first stage", "llm"}
    assert all(len(values) == 3 for values in found["trust"].values())
    page = report.to_html()
    assert "What the cascade expects" in page
    assert "Cascade minus first stage alone" in page
    assert "it is not judged" in page
    assert sorted(y) == sorted(report.y_true_)


def test_a_cascade_that_may_not_ask_has_no_curve():
    """Nor one that is tuned to another score than the page shows."""
    report, _, _ = _cascade_report(None, budget=0)
    found = report.to_dict()
    assert found["cost_curve"] is None
    assert found["trust"] == {}
    assert found["methods"]["cascade"]["accuracy"] == pytest.approx(
        found["methods"]["first stage alone"]["accuracy"]
    )
    scored = _cascade_report(None, scoring="neg_log_loss")[0].to_dict()
    assert scored["cost_curve"] is None
    assert scored["trust"]
