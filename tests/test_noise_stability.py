"""Agreement measures, synthetic noise, StabilityReport and its display."""

import numpy as np
import pytest
from sklearn.datasets import make_classification
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklfusion import Annotations, StabilityReport
from sklfusion.exceptions import DataWarning
from sklfusion.noise._metrics import krippendorff_alpha, plateau_slope, share_unchanged
from sklfusion.noise._synthetic import add_label_noise
from sklfusion.plotting import StabilityDisplay


class TestAlpha:
    def test_textbook_example(self):
        """Two raters, ratings (1,1)(1,2)(2,2)(2,2): alpha = 1 - 7*2/(2*3*5)."""
        alpha = krippendorff_alpha([[1, 1, 2, 2], [1, 2, 2, 2]])
        assert alpha == pytest.approx(1 - 7 * 2 / (2 * 3 * 5))

    def test_identical_runs_agree_fully(self):
        """Alpha of identical runs is 1, whatever the type of the labels."""
        run = np.array(["a", "b", "c", "a"])
        assert krippendorff_alpha([run] * 5) == pytest.approx(1)

    def test_independent_runs_agree_by_chance(self):
        """Alpha of independent uniform predictions is about 0."""
        runs = np.random.default_rng(0).integers(4, size=(5, 4000))
        assert abs(krippendorff_alpha(runs)) < 0.02

    def test_one_class_only_warns(self):
        """A collapsed classifier gets 1.0 and a warning, not 0 / 0."""
        with pytest.warns(DataWarning, match="Only one class"):
            assert krippendorff_alpha(np.zeros((3, 5), dtype=int)) == 1.0

    def test_missing_ratings_are_left_out(self):
        """A unit with one rating says nothing; NaN, None and the missing value are no ratings."""
        full = krippendorff_alpha([[1, 1, 2, 2], [1, 2, 2, 2]])
        holes = [[1, 1, 2, 2, 5, np.nan], [1, 2, 2, 2, np.nan, np.nan]]
        assert krippendorff_alpha(holes) == pytest.approx(full)
        assert krippendorff_alpha([[1, 1, 2, 2, -1], [1, 2, 2, 2, 1]], missing=-1) == full
        objects = np.array([["x", "x", "y", "y", None], ["x", "y", "y", "y", "x"]], dtype=object)
        assert krippendorff_alpha(objects) == pytest.approx(full)

    def test_renaming_classes_changes_nothing(self):
        """Alpha is nominal: any bijection of the labels leaves it."""
        runs = np.random.default_rng(1).integers(3, size=(4, 50))
        names = np.array(["q", "a", "m"])
        assert krippendorff_alpha(names[runs]) == pytest.approx(krippendorff_alpha(runs))

    def test_nothing_to_compare_is_an_error(self):
        """No unit with two ratings, or a flat array, is refused."""
        with pytest.raises(ValueError, match="two ratings"):
            krippendorff_alpha([[1.0, np.nan], [np.nan, 2.0]])
        with pytest.raises(ValueError, match="n_raters"):
            krippendorff_alpha([1, 2, 3])


def test_share_unchanged_counts_rows_all_runs_agree_on():
    """Two of four rows are the same in all runs."""
    assert share_unchanged([[1, 2, 3, 1], [1, 2, 1, 2], [1, 2, 3, 3]]) == 0.5


class TestPlateau:
    def test_slope_is_gain_per_doubling(self):
        """Scores that rise 0.1 per doubling have slope 0.1, flat ones 0."""
        sizes = [100, 200, 400, 800]
        rising = 0.5 + 0.1 * np.log2(np.divide(sizes, 100))
        slope, low, high = plateau_slope(sizes, [rising, rising], random_state=0)
        assert slope == pytest.approx(0.1)
        assert low == pytest.approx(high)
        flat = plateau_slope(sizes, np.full((3, 4), 0.7), random_state=0)
        assert flat == pytest.approx((0, 0, 0))

    def test_only_the_last_two_doublings_count(self):
        """An early rise is no reason to label more."""
        scores = [[0.1, 0.5, 0.9, 0.9, 0.9]]
        assert plateau_slope([50, 100, 200, 400, 800], scores)[0] == pytest.approx(0)

    def test_one_size_is_an_error(self):
        """There is no slope through one point."""
        with pytest.raises(ValueError, match="two different sizes"):
            plateau_slope([100], [[0.5]])


class TestSyntheticNoise:
    @pytest.mark.parametrize("kind", ["symmetric", "asymmetric", "instance"])
    def test_share_of_changed_labels_is_the_rate(self, kind):
        """The three kinds flip the share of labels that was asked for."""
        y = np.repeat([0, 1, 2, 3], 1000)
        X = np.random.default_rng(0).normal(size=(4000, 5))
        noisy = add_label_noise(y, kind, 0.3, X=X, random_state=0)
        assert np.mean(noisy != y) == pytest.approx(0.3, abs=0.03)

    @pytest.mark.parametrize("kind", ["symmetric", "asymmetric", "instance"])
    def test_rate_zero_and_one(self, kind):
        """Rate 0 changes nothing; asymmetric rate 1 moves every label to the next class."""
        y = np.array(["a", "b", "c"] * 10)
        X = np.random.default_rng(0).normal(size=(30, 2))
        if kind != "instance":
            assert (add_label_noise(y, kind, 0.0, X=X, random_state=0) == y).all()
        if kind == "asymmetric":
            moved = add_label_noise(y, kind, 1.0, random_state=0)
            assert (moved == np.array(["b", "c", "a"] * 10)).all()

    def test_bad_arguments(self):
        """Unknown kinds, rates outside [0, 1], one class and missing features are refused."""
        with pytest.raises(ValueError, match="knows symmetric"):
            add_label_noise([0, 1], "salt")
        with pytest.raises(ValueError, match="rate"):
            add_label_noise([0, 1], rate=1.5)
        with pytest.raises(ValueError, match="needs X"):
            add_label_noise([0, 1], "instance")
        with pytest.raises(ValueError, match="at least two"):
            add_label_noise([1, 1])


@pytest.fixture(scope="module")
def data():
    X, gold = make_classification(300, 10, n_informative=5, n_classes=3, random_state=0)
    noisy = add_label_noise(gold, "asymmetric", 0.35, random_state=0)
    return X[:200], gold[:200], noisy[:200], X[200:], gold[200:]


class TestStabilityReport:
    def test_deterministic_student_is_stable(self, data):
        """A student without randomness has alpha 1, no spread, and all predictions unchanged."""
        X, gold, _, X_test, y_test = data
        result = StabilityReport(LogisticRegression(), n_runs=3).evaluate(X, gold, X_test, y_test)
        summary = result.summary()
        assert summary["alpha"] == pytest.approx(1)
        assert summary["unchanged"] == 1
        assert summary["accuracy_std"] == 0

    def test_noisy_labels_cost_accuracy_and_stability(self, data):
        """Worse labels: lower accuracy, lower alpha, and the recall gap says where."""
        X, gold, noisy, X_test, y_test = data
        report = StabilityReport(make_pipeline(StandardScaler(), SGDClassifier()), n_runs=4)
        table = report.compare(X, {"gold": gold, "llm": noisy}, X_test, y_test)
        assert table["gold"]["accuracy_gap"] == 0
        assert table["llm"]["accuracy_gap"] > 0.03
        assert table["llm"]["alpha"] < table["gold"]["alpha"]
        assert set(table["llm"]["recall_gap"]) == {0, 1, 2}

    def test_runs_are_paired(self, data):
        """Equal labels under two names give a gap of exactly 0 in every run."""
        X, gold, _, X_test, y_test = data
        report = StabilityReport(SGDClassifier(), n_runs=3)
        table = report.compare(X, {"a": gold, "b": gold}, X_test, y_test)
        assert table["b"]["accuracy_gap"] == table["b"]["accuracy_gap_std"] == 0

    def test_learning_curve_is_nested_and_ends_at_all_rows(self, data):
        """Sizes are shares or counts; the curve ends at all rows and its end is the accuracy."""
        X, gold, _, X_test, y_test = data
        report = StabilityReport(SGDClassifier(), n_runs=2, train_sizes=[0.25, 100])
        result = report.evaluate(X, gold, X_test, y_test)
        assert result.sizes.tolist() == [50, 100, 200]
        assert result.curve[:, -1] == pytest.approx(result.accuracy)
        assert len(result.plateau(random_state=0)) == 3

    def test_refused_rows_are_not_trained_on(self, data):
        """Rows of -1 are left out: garbage features there change nothing."""
        X, gold, _, X_test, y_test = data
        labels, dirty = gold.copy(), X.copy()
        labels[:50] = -1
        dirty[:50] = 1e6
        a = StabilityReport(LogisticRegression(), n_runs=2).evaluate(X, labels, X_test, y_test)
        b = StabilityReport(LogisticRegression(), n_runs=2).evaluate(dirty, labels, X_test, y_test)
        assert (a.predictions == b.predictions).all()

    def test_takes_annotations_and_redraws_labels(self, data):
        """With reseed="both" each run trains on another repeat of the annotations."""
        X, gold, noisy, X_test, y_test = data
        repeats = np.eye(3)[np.stack([gold, noisy])]
        notes = Annotations([0, 1, 2], votes=repeats[0], repeats=repeats)
        model = LogisticRegression()
        fixed = StabilityReport(model, n_runs=2).evaluate(X, notes, X_test, y_test)
        redrawn = StabilityReport(model, n_runs=2, reseed="both").evaluate(
            X, notes, X_test, y_test
        )
        columns = StabilityReport(model, n_runs=2, reseed="both").evaluate(
            X, np.stack([gold, noisy], axis=1), X_test, y_test
        )
        assert fixed.alpha == pytest.approx(1)
        assert redrawn.alpha < 1
        assert (redrawn.predictions == columns.predictions).all()

    def test_class_never_predicted_counts_in_macro_f1(self):
        """Macro-F1 runs over a fixed list of classes, absent ones included."""
        X = np.arange(20.0)[:, None]
        y = np.repeat([0, 1], 10)
        result = StabilityReport(LogisticRegression(), n_runs=2).evaluate(
            X, y, X[[0, 19, 3, 1, 18, 4]], np.array([0, 1, 2, 0, 1, 2])
        )
        assert result.classes.tolist() == [0, 1, 2]
        assert (result.recall[:, 2] == 0).all()

    def test_bad_settings(self, data):
        """One run, an unknown reseed, sizes out of range and no labels are refused in fit."""
        X, gold, _, X_test, y_test = data
        model = LogisticRegression()
        with pytest.raises(ValueError, match="at least 2"):
            StabilityReport(model, n_runs=1).evaluate(X, gold, X_test, y_test)
        with pytest.raises(ValueError, match="student"):
            StabilityReport(model, reseed="x").evaluate(X, gold, X_test, y_test)
        with pytest.raises(ValueError, match="train_sizes"):
            StabilityReport(model, train_sizes=[500]).evaluate(X, gold, X_test, y_test)
        with pytest.raises(ValueError, match="no labels"):
            StabilityReport(model).compare(X, {}, X_test, y_test)
        with pytest.raises(ValueError, match="is none of"):
            StabilityReport(model).compare(X, {"a": gold}, X_test, y_test, reference="b")
        result = StabilityReport(model, n_runs=2).evaluate(X, gold, X_test, y_test)
        with pytest.raises(ValueError, match="train_sizes"):
            result.plateau()


class TestDisplay:
    @pytest.fixture(autouse=True)
    def _headless(self):
        matplotlib = pytest.importorskip("matplotlib")
        matplotlib.use("Agg")
        yield
        import matplotlib.pyplot as plt

        plt.close("all")

    def test_from_estimator_draws_one_group_per_label_set(self, data):
        """Without sizes: the runs per set of labels, on axes of its own."""
        X, gold, noisy, X_test, y_test = data
        display = StabilityDisplay.from_estimator(
            SGDClassifier(), X, {"gold": gold, "llm": noisy}, X_test, y_test, n_runs=2
        )
        assert [t.get_text().split("\n")[0] for t in display.ax_.get_xticklabels()] == [
            "gold",
            "llm",
        ]
        assert display.figure_ is display.ax_.figure

    def test_curves_go_to_the_axes_given(self, data):
        """With sizes: one learning curve per set, drawn on the axes that were passed."""
        import matplotlib.pyplot as plt

        X, gold, _, X_test, y_test = data
        report = StabilityReport(SGDClassifier(), n_runs=2, train_sizes=[0.5])
        report.evaluate(X, gold, X_test, y_test, name="gold")
        _, ax = plt.subplots()
        display = StabilityDisplay.from_report(report).plot(ax=ax)
        assert display.ax_ is ax
        assert ax.get_xlabel() == "training rows"

    def test_empty_report_is_refused(self):
        """A report that was not run has nothing to show."""
        with pytest.raises(ValueError, match="empty"):
            StabilityDisplay.from_report(StabilityReport(SGDClassifier()))
