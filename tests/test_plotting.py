"""Displays: numbers first, then that something is drawn."""

import matplotlib
import numpy as np
import pytest
from sklearn.datasets import make_classification
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedShuffleSplit

matplotlib.use("agg")
from matplotlib import pyplot as plt

from sklfusion.plotting import (
    DataEfficiencyDisplay,
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
