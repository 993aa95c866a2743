"""Noise: priors, transitions, guards, repairs and stability in numbers checked by hand."""

import numpy as np
import pytest
from sklearn.datasets import make_blobs, make_circles
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

from sklfusion import (
    KNNLabelPrior,
    LabelDiffusion,
    LabelRepairClassifier,
    MLPTrajectoryEncoder,
    SiDyPClassifier,
    StabilityReport,
)
from sklfusion.noise import _selectors
from sklfusion.noise._candidates import cut_candidates
from sklfusion.noise._diffusion_trainer import DiffusionTrainer, _rate_of_epoch
from sklfusion.noise._labels import validation_split
from sklfusion.noise._metrics import krippendorff_alpha, plateau_slope
from sklfusion.noise._simplex import cosine_schedule, update_weights
from sklfusion.noise._synthetic import add_label_noise
from sklfusion.noise._transition import (
    choose_prior_power,
    deconvolve,
    estimate_transition,
    mutual_information,
    posterior,
)


class TestPriorPower:
    def test_frequencies_count_with_their_power(self):
        """Without confusion the shares stay; times the mean (.7, .3) to the power, normalised."""
        proba = np.array([[0.8, 0.2], [0.6, 0.4]])
        np.testing.assert_allclose(deconvolve(proba, np.eye(2), prior_power=0), proba)
        one = deconvolve(proba, np.eye(2), prior_power=1)
        np.testing.assert_allclose(one, [[0.56 / 0.62, 0.06 / 0.62], [0.42 / 0.54, 0.12 / 0.54]])
        two = deconvolve(proba, np.eye(2), prior_power=2)
        np.testing.assert_allclose(two[1, 1], 0.4 * 0.09 / (0.6 * 0.49 + 0.4 * 0.09))

    @staticmethod
    def narrow():
        """Four rows at .38 that frequencies of (.69, .31) turn round, as their labels ask for."""
        proba = np.array([[0.9, 0.1]] * 12 + [[0.38, 0.62]] * 4 + [[0.05, 0.95]] * 2)
        return proba, np.array([0] * 16 + [1] * 2)

    def test_the_power_that_tells_most_about_the_labels_is_chosen_and_used(self):
        """A square root is too little: 1; and the probabilities are those of the power chosen."""
        proba, codes = self.narrow()
        power, clean = choose_prior_power(proba, np.eye(2), codes)
        assert power == 1
        np.testing.assert_allclose(clean, deconvolve(proba, np.eye(2), prior_power=power))
        assert (clean.argmax(axis=1) == codes).all()

    def test_equal_information_takes_the_least_power(self):
        """Nothing is gained by trusting the frequencies: 0."""
        proba = np.array([[0.9, 0.1]] * 3 + [[0.1, 0.9]] * 3)
        power, _ = choose_prior_power(proba, np.eye(2), np.array([0, 0, 0, 1, 1, 1]))
        assert power == 0

    def test_new_rows_are_judged_by_the_power_that_was_chosen(self):
        """The more the frequencies are trusted, the likelier is the frequent class."""
        rng = np.random.default_rng(0)
        X = rng.normal(size=(200, 2))
        y = (X[:, 0] + rng.normal(size=200) > 0.7).astype(int)
        prior = KNNLabelPrior(15).fit(X, y)
        said = []
        for power in (0.0, 1.0, 2.0):
            prior.prior_power_ = power
            said.append(prior.predict_proba(X)[:, 0].mean())
        assert said[0] < said[1] < said[2]


class TestTransition:
    def test_information_of_two_labellings(self):
        """Equal halves share ln 2, independent ones nothing; renaming changes nothing."""
        a, b = np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1])
        assert mutual_information(a, a, 2) == pytest.approx(np.log(2))
        assert mutual_information(a, 1 - a, 2) == pytest.approx(np.log(2))
        assert mutual_information(a, b, 2) == pytest.approx(0)
        mixed = np.array([0, 0, 0, 1])  # joint (2, 0), (1, 1) of 4
        wanted = 0.5 * np.log(0.5 / 0.375) + 0.25 * np.log(2 / 3) + 0.25 * np.log(2)
        assert mutual_information(a, mixed, 2) == pytest.approx(wanted)

    def test_anchors_are_the_rows_of_largest_probability(self):
        """Ten rows of class 1 at .4, their largest anywhere, tell its row."""
        proba = np.array([[0.9, 0.1]] * 30 + [[0.6, 0.4]] * 10)
        codes = np.array([0] * 30 + [1] * 10)
        matrix = estimate_transition(proba, codes)
        np.testing.assert_allclose(matrix, [[0.9, 0.1], [0.6, 0.4]])

    def test_own_label_counts_by_its_column(self):
        """p(z | x) times the probability of this label where z is true."""
        matrix = np.array([[0.9, 0.1], [0.3, 0.7]])
        out = posterior(np.array([[0.2, 0.8]]), matrix, np.array([0]))
        np.testing.assert_allclose(out, [[0.18 / 0.42, 0.24 / 0.42]])

    def test_candidates_are_kept_from_the_thresholds_on(self):
        """.9 stands alone, .5 + .3 stand as two, less leaves all."""
        weights, mask = cut_candidates(
            np.array([[0.9, 0.06, 0.04], [0.5, 0.3, 0.2], [0.5, 0.29, 0.21]])
        )
        assert mask.sum(axis=1).tolist() == [1, 2, 3]
        np.testing.assert_allclose(weights[1], [0.625, 0.375, 0])


class TestNeighbours:
    def test_shares_are_counted_without_the_row_itself(self):
        """Three neighbours on a line: the labels of the row's own are not among them."""
        X = np.array([[0.0], [1.0], [2.1], [3.3], [4.6]])
        y = np.array([0, 1, 1, 0, 0])
        prior = KNNLabelPrior(2, correction=None, certain_threshold=1, dominant_threshold=1)
        prior.fit(X, y)
        np.testing.assert_allclose(prior.prior_[:, 1], [1, 0.5, 0.5, 0.5, 0.5])
        assert prior.noise_rate_ == pytest.approx(1 - (0 + 0.5 + 0.5 + 0.5 + 0.5) / 5)

    def test_near_neighbours_count_by_inverse_distance(self):
        """At distances 1 and 2 of the first row the weights are 2/3 and 1/3."""
        X, y = np.array([[0.0], [1.0], [-2.0], [50.0]]), np.array([0, 1, 0, 0])
        prior = KNNLabelPrior(
            2, weights="distance", correction=None, certain_threshold=1, dominant_threshold=1
        )
        np.testing.assert_allclose(prior.fit(X, y).prior_[0], [1 / 3, 2 / 3])

    def test_a_refused_row_is_nobodys_neighbour(self):
        """The two next rows with a label stand in."""
        X, y = np.array([[0.0], [0.1], [1.0], [1.5], [9.0]]), np.array([0, -1, 1, 1, 0])
        prior = KNNLabelPrior(2, correction=None).fit(X, y)
        assert prior.prior_[0].tolist() == [0, 1]


class TestGuard:
    def test_a_second_stage_that_learnt_nothing_is_refused(self):
        """Denoisers of one hurried epoch tell less than the simple way, which then predicts."""
        X, gold = make_circles(500, factor=0.4, noise=0.08, random_state=0)
        X = np.r_[X, make_blobs(300, centers=[[4, 0]], random_state=0)[0]]
        gold = np.r_[gold, np.full(300, 2)]
        noisy = add_label_noise(gold, "symmetric", 0.1, random_state=0)
        params = {
            "encoder": MLPTrajectoryEncoder(n_branches=1),
            "diffusion": LabelDiffusion(n_epochs=1, lr=1e-7, n_chains=1),
            "random_state": 0,
        }
        model = SiDyPClassifier(**params).fit(X, noisy)
        assert model.diffusion_ is not None  # the neighbours told more than a line
        assert not model.uses_diffusion_
        free = SiDyPClassifier(**params, guard=False).fit(X, noisy)
        assert free.score(X, gold) < model.score(X, gold) - 0.1

    def test_rows_that_validate_hold_all_classes_and_no_holes(self):
        """A fifth of forty known rows, in the shares of their classes; holes are trained on."""
        codes = np.r_[np.repeat([0, 1], [28, 12]), np.full(10, -1)]
        train, val = validation_split(codes, 2, 0.25, 0)
        assert np.array_equal(np.sort(np.r_[train, val]), np.arange(50))
        assert np.bincount(codes[val]).tolist() == [7, 3]


class TestDiffusion:
    def test_labels_are_drawn_by_their_weights(self):
        """.5, .3, .2 and never; each draw comes with its own weight, branch by branch."""
        diffusion = DiffusionTrainer(LabelDiffusion(), 4, 0)
        diffusion.prior = np.tile([[[0.5, 0.3, 0.2, 0.0]], [[0.0, 0.0, 0.1, 0.9]]], (1, 4000, 1))
        diffusion._rng = np.random.default_rng(0)
        targets, weights = diffusion._draw_targets()
        for branch in range(2):
            shares = np.bincount(targets[:, branch], minlength=4) / 4000
            np.testing.assert_allclose(shares, diffusion.prior[branch, 0], atol=0.03)
            assert (weights[:, branch] == diffusion.prior[branch, 0][targets[:, branch]]).all()

    def test_the_learning_rate_rises_in_the_warm_up_and_falls_to_nothing(self):
        """Half way up after one of two epochs, at its peak at the second, half of it midway."""
        rates = [_rate_of_epoch(epoch, 2, 10) for epoch in (1, 2, 6, 10)]
        assert rates == pytest.approx([0.5, 1.0, 0.5, 0.0])
        assert 0 < _rate_of_epoch(0, 2, 10) < 0.02

    def test_the_last_step_of_a_chain_has_no_noise_left(self):
        """All of the signal is there at first, and less at each step of the schedule."""
        schedule = cosine_schedule(50)
        assert schedule[0] == 1
        assert (np.diff(schedule) < 0).all()
        assert schedule[-1] < 0.01
        assert schedule[25] == pytest.approx(0.5, abs=0.01)

    def test_a_hit_moves_the_weights_by_the_formula(self):
        """.5 of two candidates, six answers a row: (.5 + .5 / 6) / (1 + .5 / 6)."""
        weights = np.array([[0.5, 0.5, 0.0], [0.5, 0.5, 0.0]])
        moved = update_weights(weights, np.array([0, 2]), 6)
        np.testing.assert_allclose(moved[0], np.array([3.5, 3.0, 0]) / 6.5)
        np.testing.assert_allclose(moved[1], weights[1])


class TestRepair:
    def test_entropy_and_disagreement(self):
        """A half is ln 2; three votes of four disagree by a quarter, ties go by entropy."""
        rows = np.array([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0], [2.0, 2.0, 0.0]])
        assert _selectors.row_entropy(rows) == pytest.approx([np.log(2), 0, np.log(2)], abs=1e-9)
        shares = _selectors.vote_shares(np.array([[0, 0, 0, 1], [0, 1, 2, -1]]), 3)
        np.testing.assert_allclose(shares, [[0.75, 0.25, 0], [1 / 3] * 3])
        assert _selectors.disagreement(shares) == pytest.approx([0.25, 2 / 3], abs=1e-5)

    def test_doubt_of_a_student_that_saw_its_rows_would_be_nothing(self):
        """A nearest neighbour on coin flips doubts about half of the labels."""
        rng = np.random.default_rng(0)
        X, codes = rng.random((120, 3)), rng.integers(2, size=120)
        proba = _selectors.out_of_fold_proba(KNeighborsClassifier(1), X, codes, 2)
        assert 0.3 < _selectors.self_doubt(proba, codes).mean() < 0.7

    def test_rows_without_a_label_get_the_mean_of_the_folds(self):
        """Constant students say the frequencies; so does their mean."""
        codes = np.array([0, 1] * 10 + [-1] * 3)
        student = DummyClassifier(strategy="prior")
        proba = _selectors.out_of_fold_proba(student, np.zeros((23, 1)), codes, 2)
        np.testing.assert_allclose(proba, 0.5)

    def test_gold_goes_to_the_most_doubtful_rows_and_only_to_these(self):
        """A fifth of 21 rows, rounded up, is five; their labels are right thereafter."""
        rng = np.random.default_rng(0)
        X, gold = rng.normal(size=(21, 2)), np.arange(21) % 2
        llm = gold.copy()
        llm[[3, 8, 13]] = 1 - llm[[3, 8, 13]]
        doubt = np.linspace(0, 0.5, 21)
        doubt[[3, 8, 13, 5, 6]] = [0.9, 0.8, 0.7, 0.65, 0.6]
        asked = []

        def ask(rows):
            asked.extend(rows.tolist())
            return gold[rows]

        repair = LabelRepairClassifier(
            LogisticRegression(), selector=lambda X, codes, proba: doubt, budget=0.2,
            random_state=0,
        )  # fmt: skip
        repair.fit(X, llm, gold=ask)
        assert repair.queried_.tolist() == [3, 8, 13, 5, 6]
        assert sorted(asked) == [3, 5, 6, 8, 13]
        assert (repair.budget_used_, repair.n_changed_) == (5, 3)
        plain = LogisticRegression().fit(X, gold)
        np.testing.assert_allclose(repair.estimators_[0].coef_, plain.coef_, atol=1e-3)


class TestStability:
    def test_alpha_of_a_table_by_hand(self):
        """Two runs, four rows, one differs: pairs 8, observed 2, expected (64 - 25 - 9) / 7."""
        alpha = krippendorff_alpha([["a", "a", "b", "b"], ["a", "a", "a", "b"]])
        assert alpha == pytest.approx(1 - 7 * 2 / (64 - 25 - 9))

    def test_a_doubling_is_worth_its_slope(self):
        """Two points at 50 and 100 rows, one run .6 to .7, another .6 to .8: .15."""
        slope, low, high = plateau_slope([50, 100], [[0.6, 0.7], [0.6, 0.8]], random_state=0)
        assert slope == pytest.approx(0.15)
        assert (low, high) == pytest.approx((0.1, 0.2))

    def test_scores_of_runs_by_hand(self):
        """A student that always says "a": accuracy .75, macro-F1 half of 6/7, recalls 1 and 0."""
        y_test = np.array(["a", "a", "a", "b"])
        report = StabilityReport(DummyClassifier(strategy="most_frequent"), n_runs=2)
        with pytest.warns(UserWarning, match="Only one class"):
            result = report.evaluate(
                np.zeros((4, 1)), ["a", "a", "b", "a"], np.zeros((4, 1)), y_test
            )
        assert result.accuracy.tolist() == [0.75, 0.75]
        assert result.macro_f1 == pytest.approx([3 / 7, 3 / 7])
        assert result.recall.tolist() == [[1, 0], [1, 0]]
        assert result.unchanged == 1

    def test_gaps_are_the_reference_minus_the_set(self):
        """Labels turned round give 1 - accuracy."""
        X = np.arange(20.0)[:, None]
        y = (X[:, 0] > 9).astype(int)
        report = StabilityReport(LogisticRegression(), n_runs=2)
        table = report.compare(X, {"gold": y, "turned": 1 - y}, X, y)
        assert table["gold"]["accuracy_gap"] == 0
        assert table["turned"]["accuracy_gap"] == pytest.approx(1.0)
        assert table["turned"]["recall_gap"] == {0: 1.0, 1: 1.0}
