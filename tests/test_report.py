"""EvaluationReport: what it judges, and that its figures are those of scikit-learn."""

import json

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.decomposition import TruncatedSVD
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, log_loss
from sklearn.model_selection import GridSearchCV, KFold, ShuffleSplit, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.svm import LinearSVC

from sklfusion import (
    AutoFusionClassifier,
    EvaluationReport,
    FusionClassifier,
    LLMEndpoint,
    LLMScorer,
    RecordedScorer,
    ScoringWarning,
    make_fusion_pipeline,
)
from sklfusion.datasets import load_newsdesk
from sklfusion.plotting import expected_calibration_error
from tests._fusion_data import make_labels, make_rows

PARTS = ["LLM alone", "encoder alone"]


@pytest.fixture(scope="module")
def rows():
    """120 rows of numbers in three named classes."""
    X, y = make_rows(n=120, signal=0.4)
    return X, np.array(["blue", "green", "red"])[y]


@pytest.fixture(scope="module")
def of_rows(rows):
    """The report of a fusion of numbers."""
    return EvaluationReport.from_estimator(FusionClassifier(random_state=0), *rows, cv=4)


@pytest.fixture(scope="module")
def desk():
    """90 briefs, and answers of an imaginary LLM that is right on four of five."""
    found = load_newsdesk()
    rng = np.random.default_rng(0)
    rows = rng.permutation(300)[:90]
    texts = [found.data[row] for row in rows]
    y = found.target[rows]
    said = np.where(rng.random(90) < 0.8, y, rng.choice(found.target_names, 90))
    return texts, y, dict(zip(texts, said.tolist(), strict=True)), found.target_names


def embedder():
    return make_pipeline(TfidfVectorizer(), TruncatedSVD(10, random_state=0))


@pytest.fixture(scope="module")
def auto(desk):
    scorer = RecordedScorer(desk[2], classes=desk[3])
    return AutoFusionClassifier(scorer, embedder(), random_state=0)


@pytest.fixture(scope="module")
def of_texts(desk, auto):
    """The report of a fusion of texts."""
    return EvaluationReport.from_estimator(auto, desk[0], desk[1], cv=3)


# ------------------------------------------------------------------------------- the figures


def test_fusion_stands_beside_its_parts_and_rivals(of_rows):
    """In this order, and the fusion is what is evaluated."""
    rivals = ["logistic regression on embedding and scores", "majority"]
    assert of_rows.methods_ == ["fusion", *PARTS, *rivals]
    assert of_rows.figures_["subject"] == "fusion"
    roles = [scores["role"] for scores in of_rows.to_dict()["methods"].values()]
    assert roles == ["fusion", "part", "part", "rival", "rival"]


def test_texts_have_a_rival_that_reads_words(of_texts):
    """TF-IDF and logistic regression."""
    assert "TF-IDF and logistic regression" in of_texts.methods_
    assert of_texts.to_dict()["methods"]["TF-IDF and logistic regression"]["accuracy"] > 0.2


def test_the_figures_are_those_of_scikit_learn(of_rows):
    """On the predictions that the report itself holds, for every method."""
    y, classes = of_rows.y_true_, np.array(of_rows.classes_)
    for name, found in of_rows.to_dict()["methods"].items():
        labels, proba = of_rows.labels_[name], of_rows.proba_[name]
        assert found["accuracy"] == pytest.approx(accuracy_score(y, labels))
        f1 = f1_score(y, labels, average="macro", zero_division=0)
        assert found["macro_f1"] == pytest.approx(f1)
        assert found["log_loss"] == pytest.approx(log_loss(y, proba, labels=classes))
        error = expected_calibration_error(y, proba, classes=classes)
        assert found["calibration_error"] == pytest.approx(error)


def test_the_predictions_are_those_of_cross_validation(rows):
    """With the same folds scikit-learn comes to the same probabilities."""
    folds = list(KFold(3, shuffle=True, random_state=1).split(rows[0]))
    clf = FusionClassifier(random_state=0)
    report = EvaluationReport.from_estimator(clf, *rows, cv=folds)
    expected = cross_val_predict(clf, *rows, cv=folds, method="predict_proba")
    np.testing.assert_allclose(report.proba_["fusion"], expected[report.rows_], atol=1e-6)
    assert report.y_true_.tolist() == rows[1][report.rows_].tolist()


def test_texts_are_predicted_as_by_the_estimator_itself(desk, auto):
    """Taking the fusion apart changes no answer."""
    texts, y, *_ = desk
    report = EvaluationReport.from_estimator(
        auto, texts[:60], y[:60], X_test=texts[60:], y_test=y[60:]
    )
    fitted = clone(auto).fit(texts[:60], y[:60])
    assert report.labels_["fusion"].tolist() == fitted.predict(texts[60:]).tolist()
    expected = fitted.predict_proba(texts[60:])
    np.testing.assert_allclose(report.proba_["fusion"], expected, atol=1e-6)


def test_the_llm_alone_is_what_the_llm_said(of_texts, desk):
    """Its labels are the recorded ones, text by text."""
    said = [desk[2][desk[0][row]] for row in of_texts.rows_]
    assert of_texts.labels_["LLM alone"].tolist() == said


def test_the_majority_is_the_most_frequent_class():
    """Seven of ten rows, whatever the features."""
    X, y = make_rows(n=60)
    y = np.where(np.arange(60) % 10 < 7, "often", "seldom")
    report = EvaluationReport.from_estimator(LogisticRegression(), X, y, cv=3)
    assert report.to_dict()["methods"]["majority"]["accuracy"] == pytest.approx(0.7)
    assert set(report.labels_["majority"]) == {"often"}


def test_the_confusion_matrix_is_that_of_scikit_learn(of_rows):
    """Truth in rows."""
    expected = confusion_matrix(of_rows.y_true_, of_rows.labels_["fusion"])
    assert of_rows.to_dict()["confusion"] == expected.tolist()


def test_classes_add_up(of_rows):
    """Rows by class, recall by class and accuracy belong together."""
    found = of_rows.to_dict()
    mine = found["per_class"]["fusion"]
    assert [one["label"] for one in mine] == ["blue", "green", "red"]
    assert sum(one["rows"] for one in mine) == 120
    right = sum(one["rows"] * one["recall"] for one in mine)
    assert right == pytest.approx(120 * found["methods"]["fusion"]["accuracy"])


def test_the_difference_is_that_of_the_accuracies(of_rows):
    """The best part is the one that did best, and zero is inside or outside as told."""
    found = of_rows.to_dict()
    ahead, methods = found["comparison"], found["methods"]
    best = max(PARTS, key=lambda name: methods[name]["accuracy"])
    assert ahead["best_part"] == best
    difference = methods["fusion"]["accuracy"] - methods[best]["accuracy"]
    assert ahead["difference"] == pytest.approx(difference)
    low, high = ahead["interval"]
    assert low < ahead["difference"] < high


def test_the_cost_curve_ends_at_encoder_and_fusion(of_rows):
    """Asking about nothing is the encoder, asking about everything the fusion."""
    found = of_rows.to_dict()
    curve, methods = found["cost_curve"], found["methods"]
    assert curve["share"][0] == 0
    assert curve["share"][-1] == 1
    assert curve["accuracy"][0] == pytest.approx(methods["encoder alone"]["accuracy"])
    assert curve["accuracy"][-1] == pytest.approx(methods["fusion"]["accuracy"])


def test_trust_has_a_value_per_fold(of_rows):
    """Of each source, and none of them is below zero."""
    trust = of_rows.to_dict()["trust"]
    assert set(trust) == {"encoder", "llm"}
    assert [len(values) for values in trust.values()] == [4, 4]
    assert min(map(min, trust.values())) >= 0


def test_reliability_bins_hold_all_rows(of_rows):
    """Shares sum to one, and the mean accuracy over bins is the accuracy."""
    for name, bins in of_rows.to_dict()["reliability"].items():
        assert sum(bins["share"]) == pytest.approx(1)
        mean = np.dot(bins["share"], bins["accuracy"])
        assert mean == pytest.approx(of_rows.to_dict()["methods"][name]["accuracy"])


def test_rows_shown_are_rows_on_which_sources_differ(of_texts, desk):
    """The text, its label, and what each source said of it."""
    shown = of_texts.to_dict()["disagreements"]
    assert len(shown) == 10
    apart = [one["apart"] for one in shown]
    assert apart == sorted(apart, reverse=True)
    for one in shown:
        assert one["text"] == desk[0][one["row"]]
        assert one["truth"] == desk[1][one["row"]]
        said = one["said"]
        assert said["LLM alone"]["answer"] == desk[2][one["text"]]
        assert said["LLM alone"]["right"] == (said["LLM alone"]["answer"] == one["truth"])
        assert 0 <= said["encoder alone"]["confidence"] <= 1


def test_no_text_is_shown_if_none_is_wanted(desk, auto):
    """For reports that leave the house."""
    report = EvaluationReport.from_estimator(auto, desk[0], desk[1], cv=2, n_rows_shown=0)
    assert report.to_dict()["disagreements"] == []
    for said in (report.to_html(), report.to_json()):
        assert not [text for text in desk[0] if text[:30] in said]


def test_same_seed_same_figures(rows):
    """And another seed makes other folds."""
    clf = FusionClassifier(random_state=0)
    one, two, other = (
        EvaluationReport.from_estimator(clf, *rows, cv=3, random_state=seed) for seed in (1, 1, 2)
    )
    assert one.rows_.tolist() == two.rows_.tolist() != other.rows_.tolist()
    for name in one.methods_:
        np.testing.assert_allclose(one.proba_[name], two.proba_[name], atol=1e-6)


# ---------------------------------------------------------------------------- kinds of estimator


def test_a_pipeline_and_a_grid_search_are_taken_apart_too(desk):
    """Whatever ends in a fusion has parts."""
    texts, y, said, names = desk
    pipe = make_fusion_pipeline(embedder(), RecordedScorer(said, classes=names))
    grid = {"fusion__features": ["auto", "embedding"]}
    for estimator in (pipe, GridSearchCV(pipe, grid, cv=2)):
        report = EvaluationReport.from_estimator(estimator, texts, y, cv=2)
        assert report.methods_[:3] == ["fusion", *PARTS]
        assert report.to_dict()["methods"]["fusion"]["accuracy"] > 0.7


def test_an_llm_alone_has_no_encoder(desk):
    """One part, nothing to disagree with, and no cost curve."""
    texts, y, said, names = desk
    alone = AutoFusionClassifier(RecordedScorer(said, classes=names), None, random_state=0)
    found = EvaluationReport.from_estimator(alone, texts, y, cv=2).to_dict()
    assert [n for n, scores in found["methods"].items() if scores["role"] == "part"] == PARTS[:1]
    assert found["disagreements"] == []
    assert found["cost_curve"] is None


def test_an_encoder_alone_has_no_llm(desk):
    """The fusion is the encoder's evidence then."""
    alone = AutoFusionClassifier(None, embedder(), random_state=0)
    found = EvaluationReport.from_estimator(alone, desk[0], desk[1], cv=2).to_dict()
    assert [n for n, scores in found["methods"].items() if scores["role"] == "part"] == PARTS[1:]
    assert list(found["trust"]) == ["encoder"]


def test_two_llms_are_two_parts():
    """Each under its own name."""
    X, y = make_rows(n=90, n_llm=2)
    report = EvaluationReport.from_estimator(FusionClassifier(random_state=0), X, y, cv=3)
    alone = [name for name in report.methods_ if name.startswith("LLM alone")]
    assert len(alone) == 2
    assert report.to_dict()["cost_curve"] is not None


def test_any_classifier_is_judged_by_itself(rows):
    """And the report says what it leaves out."""
    report = EvaluationReport.from_estimator(RandomForestClassifier(20, random_state=0), *rows)
    found = report.to_dict()
    methods = ["RandomForestClassifier", "logistic regression", "majority"]
    assert report.methods_ == methods
    assert "no sources that could be judged alone" in found["notes"][0]
    assert found["comparison"] is found["cost_curve"] is None
    assert "Trust per source" not in report.to_html()
    assert "no sources that could be judged alone" in report.to_html()


def test_a_classifier_without_probabilities_has_no_log_loss(rows):
    """A dash, not an invented number."""
    report = EvaluationReport.from_estimator(LinearSVC(), *rows, cv=3)
    scores = report.to_dict()["methods"]["LinearSVC"]
    assert scores["log_loss"] is scores["calibration_error"] is None
    assert "gives no probabilities" in report.to_html()


def test_features_that_are_no_numbers_have_no_logistic_rival():
    """Colours in a frame, for a classifier that takes them."""

    class ByColor(ClassifierMixin, BaseEstimator):
        def fit(self, X, y):
            self.classes_ = np.unique(y)
            self.table_ = X.assign(y=y).groupby("color")["y"].first()
            return self

        def predict(self, X):
            return self.table_.loc[X["color"]].to_numpy()

    X = pd.DataFrame({"color": ["red", "blue"] * 10})
    y = np.array(["warm", "cold"] * 10)
    report = EvaluationReport.from_estimator(ByColor(), X, y, cv=2)
    assert report.methods_ == ["ByColor", "majority"]
    assert report.to_dict()["methods"]["ByColor"]["accuracy"] == 1
    assert any("no numbers" in note for note in report.to_dict()["notes"])


def test_the_estimator_stays_as_it_was(desk, auto):
    """It is cloned: neither fitted nor changed."""
    before = {name: repr(value) for name, value in auto.get_params().items()}
    EvaluationReport.from_estimator(auto, desk[0][:40], desk[1][:40], cv=2)
    assert {name: repr(value) for name, value in auto.get_params().items()} == before
    assert not hasattr(auto, "classes_")


# -------------------------------------------------------------------------------- several labels


@pytest.fixture(scope="module")
def of_labels():
    X, Y = make_labels(n=120, k=4)
    frame = pd.DataFrame(Y, columns=["news", "opinion", "sport", "<b>ad</b>"])
    return EvaluationReport.from_estimator(FusionClassifier(random_state=0), X, frame, cv=3)


def test_several_labels_are_judged_as_sets(of_labels):
    """Exact match, and the F1 of scikit-learn in both averages."""
    y, found = of_labels.y_true_, of_labels.to_dict()
    assert found["multilabel"]
    for name, scores in found["methods"].items():
        labels = of_labels.labels_[name]
        assert scores["accuracy"] == pytest.approx((labels == y).all(axis=1).mean())
        for average in ("micro", "macro"):
            expected = f1_score(y, labels, average=average, zero_division=0)
            assert scores[f"{average}_f1"] == pytest.approx(expected)
        losses = [log_loss(y[:, k], of_labels.proba_[name][:, k], labels=[0, 1]) for k in range(4)]
        assert scores["log_loss"] == pytest.approx(np.mean(losses))


def test_labels_have_a_table_each(of_labels):
    """One row per label, by name; no confusion matrix."""
    found = of_labels.to_dict()
    names = [one["label"] for one in found["per_class"]["fusion"]]
    assert names == ["news", "opinion", "sport", "<b>ad</b>"] == of_labels.classes_
    assert found["confusion"] is None
    assert found["data"]["labels_per_row"] == pytest.approx(of_labels.y_true_.sum(1).mean())
    page = of_labels.to_html()
    assert "<b>ad</b>" not in page
    assert "&lt;b&gt;ad&lt;/b&gt;" in page


def test_forests_of_several_labels_are_judged(of_labels):
    """They give a list of probabilities, one per label."""
    X, Y = make_labels(n=80, k=3)
    forest = RandomForestClassifier(10, random_state=0)
    report = EvaluationReport.from_estimator(forest, X, Y, cv=2)
    assert report.proba_["RandomForestClassifier"].shape == (80, 3)
    assert report.classes_ == [0, 1, 2]
    sets = report.labels_["RandomForestClassifier"]
    assert sets.shape == (80, 3)


def test_texts_of_several_labels(desk):
    """Names travel from the columns of y to scorer, fusion and report."""
    texts, y, said, _ = desk
    names = ["Business", "Health", "Sports"]
    Y = pd.DataFrame({name: (y == name).astype(int) for name in names})
    table = {text: {name: float(said[text] == name) for name in names} for text in texts}
    scorer = RecordedScorer(table, classes=names, multilabel=True)
    auto = AutoFusionClassifier(scorer, embedder(), random_state=0)
    report = EvaluationReport.from_estimator(auto, texts, Y, cv=2)
    assert report.methods_[:3] == ["fusion", *PARTS]
    assert report.to_dict()["methods"]["LLM alone"]["accuracy"] > 0.7
    assert isinstance(report.to_dict()["disagreements"][0]["truth"], list)


# ------------------------------------------------------------------------------- what it costs


def test_a_text_is_asked_about_once(fault_server, desk):
    """Over folds, parts and rivals, though the estimator has no memory."""
    texts, y, _, names = desk
    endpoint = LLMEndpoint("m", base_url=fault_server.base_url, api_key_env=None)
    scorer = LLMScorer(endpoint, classes=names, strategy="label")
    auto = AutoFusionClassifier(scorer, embedder(), random_state=0)
    texts = [*texts[:36], *texts[:4]]
    report = EvaluationReport.from_estimator(auto, texts, [*y[:36], *y[:4]], cv=3)
    assert fault_server.ledger().billed == 36
    usage = report.to_dict()["usage"]
    assert usage["requests"] == 36
    assert usage["prompt_tokens"] > 0
    assert usage["cached"] > 0
    assert report.to_dict()["failures"] == {}
    assert "answered from the store" in report.to_html()


def test_replies_stay_where_the_user_wants_them(fault_server, desk, tmp_path):
    """A second report pays nothing."""
    texts, y, _, names = desk
    endpoint = LLMEndpoint("m", base_url=fault_server.base_url, api_key_env=None)
    scorer = LLMScorer(endpoint, classes=names, strategy="label")
    auto = AutoFusionClassifier(scorer, None, random_state=0)
    spent = []
    for _ in range(2):
        report = EvaluationReport.from_estimator(auto, texts[:30], y[:30], cv=2, memory=tmp_path)
        spent.append(report.to_dict()["usage"]["requests"])
    assert spent == [30, 0]


def test_rows_without_an_answer_are_counted(desk):
    """They get the prior, and the table says how many they are."""
    texts, y, said, names = desk
    silent = {text: None if n < 7 else said[text] for n, text in enumerate(texts)}
    auto = AutoFusionClassifier(RecordedScorer(silent, classes=names), embedder(), random_state=0)
    with pytest.warns(ScoringWarning):
        report = EvaluationReport.from_estimator(auto, texts, y, cv=2)
    assert report.to_dict()["methods"]["LLM alone"]["rows_without_answer"] == 7
    assert "(7 rows without an answer)" in report.to_html()
    shown = {one["text"] for one in report.to_dict()["disagreements"]}
    assert not shown & set(texts[:7])


# ---------------------------------------------------------------------------------- rows and folds


def test_repeats_of_a_text_stay_together(desk, auto):
    """No text is judged by a model that was trained on it."""
    texts, y = desk[0][:30] * 2, np.tile(desk[1][:30], 2)
    report = EvaluationReport.from_estimator(auto, texts, y, cv=3)
    assert report.to_dict()["data"]["repeated_texts"] == 30
    places = np.argsort(report.rows_) // 20  # the fold of each row
    assert places[:30].tolist() == places[30:].tolist()


def test_rows_without_label_or_text_are_left_out_and_counted(desk, auto):
    """They cannot be judged, and the reader should know."""
    texts, y = [*desk[0][:40]], [*desk[1][:40]]
    y[3] = None
    y[5] = float("nan")
    texts[8] = None
    report = EvaluationReport.from_estimator(auto, texts, y, cv=2)
    found = report.to_dict()["data"]
    assert found["rows"] == 37
    assert found["missing"] == {"label": 2, "text": 1}
    assert not {3, 5, 8} & set(report.rows_.tolist())
    assert sum(n for _, n in found["classes"]) == 37


def test_few_rows_make_wide_intervals_and_fewer_folds(rows):
    """Nine rows of three classes: three folds instead of five."""
    X, y = rows
    few = EvaluationReport.from_estimator(LogisticRegression(), X[:9], y[:9])
    assert few.to_dict()["folds"] == 3
    many = EvaluationReport.from_estimator(LogisticRegression(), X, y)
    low, high = few.to_dict()["methods"]["LogisticRegression"]["accuracy_interval"]
    less, more = many.to_dict()["methods"]["LogisticRegression"]["accuracy_interval"]
    assert high - low > 2 * (more - less)


def test_a_class_of_one_row_is_judged(rows):
    """A model that has not seen it cannot be right, and nothing breaks or warns."""
    X, y = rows[0][:40], rows[1][:40].copy()
    y[7] = "pink"
    report = EvaluationReport.from_estimator(LogisticRegression(max_iter=500), X, y, cv=4)
    assert "pink" in report.classes_
    place = report.rows_.tolist().index(7)
    assert report.labels_["LogisticRegression"][place] != "pink"
    assert report.proba_["LogisticRegression"][place, report.classes_.index("pink")] == 0


def test_an_llm_hears_of_all_classes_in_every_fold(desk):
    """Prompts are the same in each fold, or a text would be paid for again."""
    texts, y = desk[0][:30], desk[1][:30].copy()
    y[:] = np.where(np.arange(30) % 2, "Sports", "Health")
    y[4] = "Culture"
    table = dict(zip(texts, y.tolist(), strict=True))
    auto = AutoFusionClassifier(RecordedScorer(table), embedder(), random_state=0)
    report = EvaluationReport.from_estimator(auto, texts, y, cv=3)
    assert any("all classes were named" in note for note in report.to_dict()["notes"])
    place = report.rows_.tolist().index(4)
    assert report.labels_["LLM alone"][place] == "Culture"


def test_test_rows_are_judged_by_one_fit(rows):
    """Both tables have a data sheet; labels that training lacks are wrong, not an error."""
    X, y = rows
    later = y[80:].copy()
    later[0] = "pink"
    clf = FusionClassifier(random_state=0)
    report = EvaluationReport.from_estimator(clf, X[:80], y[:80], X_test=X[80:], y_test=later)
    found = report.to_dict()
    assert found["folds"] is None
    assert (found["data"]["rows"], found["training"]["rows"]) == (40, 80)
    expected = clf.fit(X[:80], y[:80]).score(X[80:], later)
    assert found["methods"]["fusion"]["accuracy"] == pytest.approx(expected)
    assert "pink" in report.classes_
    assert "Training rows" in report.to_html()


def test_test_texts_that_stand_in_training_are_counted(desk, auto):
    """A leak is told, not hidden."""
    texts, y, *_ = desk
    report = EvaluationReport.from_estimator(
        auto, texts[:50], y[:50], X_test=texts[40:70], y_test=y[40:70]
    )
    assert report.to_dict()["data"]["also_in_training"] == 10


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"y": None}, "y to be passed"),
        ({"y": ["a"] * 3}, "120 rows and 3 labels"),
        ({"y": ["a"] * 120}, r"1 class\(es\)"),
        ({"y": ["a"] * 119 + ["b"]}, "two classes of 2 rows"),
        ({"y": [None] * 120}, "no row with both"),
        ({"y": np.linspace(0, 1, 120)}, "continuous|Unknown label type"),
        ({"cv": 1}, "2 folds or more"),
        ({"cv": True}, "2 folds or more"),
        ({"cv": ShuffleSplit(5, test_size=0.5, random_state=0)}, "rows twice"),
        ({"X_test": [[0.0] * 23]}, "pass both"),
        ({"X_test": [[0.0] * 23] * 2, "y_test": [[0, 1], [1, 0]]}, "different kinds"),
    ],
)
def test_what_cannot_be_judged_is_told(rows, change, match):
    """Before anything is fitted or paid for."""
    given = {"X": rows[0], "y": rows[1]} | change
    with pytest.raises((ValueError, TypeError), match=match):
        EvaluationReport.from_estimator(FusionClassifier(), **given)


# --------------------------------------------------------------------------------- the ways out


def test_json_holds_what_the_dict_holds(of_texts, tmp_path):
    """Plain values, in the file as in the text."""
    path = tmp_path / "report.json"
    said = of_texts.to_json(path)
    assert json.loads(said) == of_texts.to_dict() == json.loads(path.read_text("utf-8"))
    json.dumps(of_texts.to_dict(), allow_nan=False)


def test_the_dict_is_a_copy(of_rows):
    """Who changes it does not change the page."""
    of_rows.to_dict()["methods"].clear()
    assert "encoder alone" in of_rows.to_html()


def test_the_repr_is_a_short_text(of_rows):
    """A line per method with its interval, and the difference."""
    lines = repr(of_rows).splitlines()
    assert len(lines) == 2 + len(of_rows.methods_)
    assert lines[0] == "Evaluation of FusionClassifier (120 rows)"
    assert lines[1].split()[0] == "fusion"
    accuracy = of_rows.to_dict()["methods"]["fusion"]["accuracy"]
    assert f"{accuracy:.3f} [" in lines[1]
    assert lines[-1].startswith("  fusion minus ")


def test_versions_seeds_and_date_are_told(of_rows):
    """What it takes to do it again."""
    made = of_rows.to_dict()["made"]
    assert {"python", "scikit-learn", "numpy"} <= set(made["versions"])
    assert made["seeds"] == {"report": 0, "random_state": "0"}
    assert made["date"].endswith("UTC")
    assert made["estimator"] == "FusionClassifier(random_state=0)"
