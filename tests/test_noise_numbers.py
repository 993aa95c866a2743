"""Noise: priors, transitions, guards, repairs and stability in numbers checked by hand."""

import numpy as np
import pytest
from sklearn.datasets import make_blobs, make_circles

from sklfusion import (
    KNNLabelPrior,
    LabelDiffusion,
    MLPTrajectoryEncoder,
    SiDyPClassifier,
)
from sklfusion.noise._candidates import cut_candidates
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
