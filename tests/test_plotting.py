"""Displays: numbers first, then that something is drawn."""

import matplotlib
import numpy as np
import pytest
from sklearn.datasets import make_classification
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedShuffleSplit
from sklearn.utils import Bunch

matplotlib.use("agg")
from matplotlib import pyplot as plt

import sklfusion
from sklfusion import plotting
from sklfusion.plotting import (
    BudgetPlanDisplay,
    DataEfficiencyDisplay,
    MethodsDisplay,
    ReliabilityDisplay,
    SourceTrustDisplay,
    expected_calibration_error,
)


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


def test_data_efficiency_scores_every_method_on_every_budget():
    """A better model's line lies above, and every cell is filled."""
    X, y = make_classification(300, 10, n_informative=5, random_state=0)
    display = DataEfficiencyDisplay.from_estimators(
        {"encoder alone": LogisticRegression(), "dummy": DummyClassifier()},
        X,
        y,
        train_sizes=[20, 100],
        cv=StratifiedShuffleSplit(3, test_size=100, random_state=0),
    )
    assert np.isfinite(display.scores["dummy"]).all()
    assert (display.mean("encoder alone") > display.mean("dummy")).all()
    assert len(display.lines_) == 2


def test_perfect_confidence_has_no_calibration_error():
    """ECE is 0 for right certainties and 1 for wrong ones."""
    prob = np.array([[1.0, 0.0], [0.0, 1.0]])
    assert expected_calibration_error(["a", "b"], prob) == 0
    assert expected_calibration_error(["b", "a"], prob) == 1


def test_calibration_error_of_a_coin_is_its_distance_from_a_half():
    """Confidence .8 at accuracy .5 is an error of .3."""
    prob = np.tile([0.8, 0.2], (100, 1))
    y = np.repeat(["a", "b"], 50)
    assert expected_calibration_error(y, prob) == pytest.approx(0.3)


def test_calibration_error_reads_indicators_cell_by_cell():
    """Multi-label probabilities are binary predictions."""
    y = np.array([[1, 0], [1, 0]])
    assert expected_calibration_error(y, y.astype(float)) == 0
    assert expected_calibration_error(y, np.full((2, 2), 0.5)) == pytest.approx(0.0)


def test_calibration_error_refuses_a_wrong_number_of_columns():
    """Columns without a label cannot be judged."""
    with pytest.raises(ValueError, match="3 columns for 2 classes"):
        expected_calibration_error(["a", "b"], np.ones((2, 3)) / 3)


def test_reliability_names_the_error_of_each_method():
    """The legend carries the figure that the plot shows."""
    y = np.array(["a", "b", "a", "b"])
    prob = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.3, 0.7]])
    display = ReliabilityDisplay(y, {"fusion": prob}, classes=["a", "b"]).plot()
    label = display.ax_.get_legend().get_texts()[0].get_text()
    assert f"{display.ece_['fusion']:.3f}" in label


def test_source_trust_needs_a_fitted_fusion():
    """The error says what to fit."""
    with pytest.raises(ValueError, match="source_weights_"):
        SourceTrustDisplay.from_estimator(LogisticRegression())


def test_source_trust_draws_one_bar_a_source():
    """Weights become bars in their order."""
    display = SourceTrustDisplay({"encoder": 0.4, "llm": 1.2}).plot()
    assert [p.get_width() for p in display.ax_.patches] == [0.4, 1.2]


# ---------------------------------------------------------------- numbers checked by hand


def test_the_calibration_error_weighs_the_bins_by_their_rows():
    """Three rows at .95, two of them right: gap .283; one row at .55, right: gap .45."""
    prob = np.array([[0.95, 0.05], [0.95, 0.05], [0.05, 0.95], [0.45, 0.55]])
    y = np.array(["a", "b", "b", "b"])
    wanted = 0.75 * (0.95 - 2 / 3) + 0.25 * (1 - 0.55)
    assert expected_calibration_error(y, prob) == pytest.approx(wanted)
    assert expected_calibration_error(y, prob, n_bins=1) == pytest.approx(abs(3.4 / 4 - 3 / 4))


def test_a_confidence_on_the_edge_of_a_bin_belongs_to_the_upper_one():
    """.6 is with .65, apart from .55; a confidence of 1 is in the last bin."""
    y = np.array([[1], [0], [1]])
    prob = np.array([[0.6], [0.65], [0.55]])
    assert expected_calibration_error(y, prob) == pytest.approx(
        (2 / 3) * abs(0.625 - 0.5) + (1 / 3) * 0.45
    )
    assert expected_calibration_error([[1.0], [0.0]], [[1.0], [1.0]]) == pytest.approx(0.5)


def test_columns_are_the_classes_in_the_order_given():
    """Without classes they are sorted."""
    prob = np.array([[0.9, 0.1], [0.2, 0.8]])
    assert expected_calibration_error(["b", "a"], prob, classes=["b", "a"]) == pytest.approx(0.15)
    assert expected_calibration_error(["b", "a"], prob) == pytest.approx(0.85)


def test_every_method_is_trained_on_the_same_first_rows_of_a_split():
    """Scores of draws are paired; the lines are means, the bands one standard deviation."""
    X, y = make_classification(120, 6, n_informative=4, random_state=0)
    splitter = StratifiedShuffleSplit(4, test_size=40, random_state=0)
    display = DataEfficiencyDisplay.from_estimators(
        {"one": LogisticRegression(), "two": LogisticRegression()},
        X, y, train_sizes=[15, 60], cv=splitter,
    )  # fmt: skip
    assert np.array_equal(display.scores["one"], display.scores["two"])
    for column, (train, test) in enumerate(splitter.split(X, y)):
        model = LogisticRegression().fit(X[train[:15]], y[train[:15]])
        assert display.scores["one"][0, column] == model.score(X[test], y[test])
    table = np.asarray(display.scores["one"])
    np.testing.assert_allclose(display.lines_[0].get_ydata(), table.mean(axis=1))
    np.testing.assert_allclose(display.spread("one"), table.std(axis=1))


def test_the_reliability_line_goes_through_the_bins():
    """Two bins: confidence .625 at accuracy .5, .9 at 1."""
    y = np.array(["a", "b", "a"])
    prob = np.array([[0.6, 0.4], [0.65, 0.35], [0.9, 0.1]])
    display = ReliabilityDisplay(y, {"fusion": prob}, classes=["a", "b"]).plot()
    line = display.ax_.get_lines()[1]
    np.testing.assert_allclose(line.get_xydata(), [[0.625, 0.5], [0.9, 1.0]])
    assert display.ece_["fusion"] == pytest.approx((2 / 3) * 0.125 + (1 / 3) * 0.1)


def test_all_displays_are_found_in_one_place():
    """What draws something is in sklfusion.plotting, and not among the estimators."""
    displays = {name for name in plotting.__all__ if name.endswith("Display")}
    assert displays == {
        f"{what}Display"
        for what in (
            "Alignment", "BudgetPlan", "CostCurve", "DataEfficiency", "Methods", "Prevalence",
            "Reliability", "RiskCoverage", "SourceTrust", "Stability",
        )
    }  # fmt: skip
    assert not any(name.endswith("Display") for name in sklfusion.__all__)
    assert all(callable(getattr(plotting, name).plot) for name in displays)


PLAN = Bunch(
    n_labels=np.array([50, 100, 200]),
    accuracy=np.array([0.8, 0.83, 0.85]),
    low=np.array([0.74, 0.79, 0.81]),
    high=np.array([0.86, 0.88, 0.89]),
    cost=np.array([0.0, 25.0, 75.0]),
    confidence=0.9,
    enough=180,
)


def test_a_plan_is_drawn_with_its_band_and_costs():
    """The line is the forecast, the band its bounds, the ticks say what the labels cost."""
    display = BudgetPlanDisplay(PLAN).plot()
    lines = {line.get_label(): line.get_xydata() for line in display.ax_.get_lines()}
    np.testing.assert_allclose(
        lines["accuracy, forecast"], np.column_stack([PLAN.n_labels, PLAN.accuracy])
    )
    assert lines["from here twice as many buy less than a point"][0, 0] == 180
    assert [t.get_text() for t in display.ax_.get_xticklabels()] == [
        "50\n(0)", "100\n(25)", "200\n(75)",
    ]  # fmt: skip
    band = display.ax_.collections[0].get_paths()[0].vertices[:, 1]
    assert (band.min(), band.max()) == (0.74, 0.89)


def test_a_plan_without_a_price_or_an_end_leaves_both_out():
    """No cost that nobody named, and no line beyond the labels that were looked at."""
    plan = Bunch(**{**PLAN, "cost": np.full(3, np.nan), "enough": 900})
    display = BudgetPlanDisplay(plan).plot()
    assert [t.get_text() for t in display.ax_.get_xticklabels()] == ["50", "100", "200"]
    assert display.ax_.get_xlabel() == "labels"
    assert len(display.ax_.get_lines()) == 2


def test_a_plan_can_be_made_and_drawn_in_one_call():
    """With the settings of plan_budget."""
    X, y = make_classification(60, random_state=0)
    display = BudgetPlanDisplay.from_estimator(
        LogisticRegression(), X, y, sizes=(100, 400), price_per_label=0.5, random_state=0
    )
    assert display.plan.n_labels.tolist() == [60, 100, 400]
    assert display.plan.cost.tolist() == [0, 20, 170]


def test_methods_of_a_report_stand_best_first():
    """With the intervals that the report tells."""
    X, y = make_classification(60, random_state=0)
    report = sklfusion.EvaluationReport.from_estimator(LogisticRegression(), X, y, cv=2)
    display = MethodsDisplay.from_report(report)
    told = report.to_dict()["methods"]
    names = [t.get_text() for t in display.ax_.get_yticklabels()]
    assert sorted(names) == sorted(told)
    heights = [told[name]["accuracy"] for name in names]
    assert heights == sorted(heights, reverse=True)
    ends = [path.vertices[:, 0] for c in display.ax_.collections for path in c.get_paths()]
    np.testing.assert_allclose(ends, [told[name]["accuracy_interval"] for name in names])
