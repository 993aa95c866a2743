"""Candidate labels, transition matrices, training dynamics and the cheap baseline."""

import numpy as np
import pytest
from sklearn.datasets import make_blobs
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KNeighborsClassifier

from sklfusion import (
    Annotations,
    KNNLabelPrior,
    MLPTrajectoryEncoder,
    NoisyLabelKNNClassifier,
    TrainingDynamicsNoiseDetector,
)
from sklfusion.exceptions import DataWarning, TrainingDivergedError
from sklfusion.noise._candidates import cut_candidates
from sklfusion.noise._dynamics import class_distances, mark_suspicious, suspicion_scores
from sklfusion.noise._labels import encode_labels
from sklfusion.noise._synthetic import add_label_noise
from sklfusion.noise._transition import deconvolve, estimate_transition, posterior


@pytest.fixture(scope="module")
def data():
    X, gold = make_blobs(300, centers=3, n_features=4, cluster_std=1.5, random_state=1)
    return X, gold, add_label_noise(gold, "symmetric", 0.3, random_state=0)


class TestLabels:
    @pytest.mark.parametrize("hole", [None, -1, float("nan")])
    def test_every_kind_of_hole(self, hole):
        """None, NaN and -1 are holes in labels of any type."""
        labels = np.array(["b", "a", hole, "b"], dtype=object)
        codes, classes = encode_labels(labels)
        assert codes.tolist() == [1, 0, -1, 1]
        assert classes.tolist() == ["a", "b"]

    def test_minus_one_is_a_class_if_told_so(self):
        """missing_label=None makes -1 an ordinary class."""
        assert encode_labels([-1, 1, -1], missing_label=None)[1].tolist() == [-1, 1]

    def test_annotations_and_their_row_lists(self):
        """Annotations, and the list of rows that routing cuts them into, are the same labels."""
        notes = Annotations.from_labels(["x", None, "y"], ["y", "x"])
        whole, classes = encode_labels(notes)
        pieces, _ = encode_labels([notes[0], notes[1], notes[2]])
        assert whole.tolist() == pieces.tolist() == [0, -1, 1]
        assert classes.tolist() == ["x", "y"]

    def test_all_refused_and_one_class(self):
        """Nothing to learn from is an error that says so."""
        with pytest.raises(ValueError, match="all of them missing"):
            encode_labels([-1, -1])
        with pytest.raises(ValueError, match="one class only"):
            encode_labels(["a", "a", None])


class TestCandidates:
    def test_the_three_cases(self):
        """Certain keeps one, dominant keeps two, open keeps all with a weight."""
        proba = np.array([[0.92, 0.05, 0.03, 0], [0.5, 0.35, 0.1, 0.05], [0.4, 0.3, 0.3, 0.0]])
        weights, mask = cut_candidates(proba, certain=0.9, dominant=0.8)
        assert mask.sum(axis=1).tolist() == [1, 2, 3]
        assert weights[0].tolist() == [1, 0, 0, 0]
        assert weights[1, :2] == pytest.approx([0.5 / 0.85, 0.35 / 0.85])
        assert weights[2] == pytest.approx([0.4, 0.3, 0.3, 0])

    def test_weights_are_distributions_on_the_candidates(self):
        """Whatever comes in: rows sum to 1, zero outside, argmax unchanged."""
        proba = np.random.default_rng(0).dirichlet(np.full(5, 0.4), size=200)
        weights, mask = cut_candidates(proba)
        assert weights.sum(axis=1) == pytest.approx(np.ones(200))
        assert (weights[~mask] == 0).all()
        assert (weights.argmax(axis=1) == proba.argmax(axis=1)).all()

    def test_two_classes(self):
        """With two classes every row is certain or keeps both."""
        _, mask = cut_candidates(np.array([[0.95, 0.05], [0.6, 0.4]]))
        assert mask.sum(axis=1).tolist() == [1, 2]


class TestTransition:
    def test_undoes_a_known_matrix(self):
        """Probabilities pushed through a matrix come back out of it."""
        rng = np.random.default_rng(0)
        clean = np.eye(3)[rng.integers(3, size=400)] * 0.98 + 0.02 / 3
        matrix = np.array([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3], [0.3, 0.1, 0.6]])
        back = deconvolve(clean @ matrix, matrix, n_iter=100, prior_power=0)
        assert (back.argmax(axis=1) == clean.argmax(axis=1)).all()

    def test_finds_a_class_that_never_wins(self):
        """A class mostly called something else is found where it is said the most."""
        rng = np.random.default_rng(0)
        matrix = np.array([[0.9, 0.05, 0.05], [0.05, 0.9, 0.05], [0.45, 0.15, 0.4]])
        true = np.repeat([0, 1, 2], [400, 400, 400])
        codes = np.array([rng.choice(3, p=matrix[z]) for z in true])
        proba = matrix[true] + rng.normal(0, 0.02, size=(1200, 3))
        proba = np.clip(proba, 1e-3, 1)
        proba /= proba.sum(axis=1, keepdims=True)
        estimate = estimate_transition(proba, codes)
        assert np.abs(estimate - matrix).max() < 0.06
        fixed = deconvolve(proba, estimate).argmax(axis=1)
        assert np.mean(proba.argmax(axis=1) == true) < 0.8 < np.mean(fixed == true)

    def test_own_label_is_evidence(self):
        """A believable label pulls the posterior; a missing one leaves it."""
        clean = np.array([[0.5, 0.5], [0.5, 0.5]])
        out = posterior(clean, np.array([[0.9, 0.1], [0.2, 0.8]]), np.array([1, -1]))
        assert out[0] == pytest.approx([0.1 / 0.9, 0.8 / 0.9])
        assert out[1] == pytest.approx([0.5, 0.5])


class TestKNNLabelPrior:
    def test_reference_mode_is_the_library_classifier(self, data):
        """Without correction, self included: exactly an inverse-distance neighbour vote."""
        X, _, noisy = data
        marks = np.arange(300) % 4 == 0
        prior = KNNLabelPrior(
            10, weights="distance", correction=None, exclude_self=False,
            certain_threshold=1.0, dominant_threshold=1.0,
        ).fit(X, noisy, suspicious=marks)  # fmt: skip
        X32 = X.astype(np.float32)
        reference = KNeighborsClassifier(10, weights="distance").fit(X32[~marks], noisy[~marks])
        # 1e-6: candidates of a smaller weight than that are cut
        assert np.allclose(prior.prior_, reference.predict_proba(X32), atol=1e-5)

    def test_self_neighbours_make_clean_rows_certain(self, data):
        """The reference's fact: every row not marked is certain of its own label."""
        X, _, noisy = data
        marks = np.arange(300) < 100
        prior = KNNLabelPrior(10, weights="distance", correction=None, exclude_self=False)
        prior.fit(X, noisy, suspicious=marks)
        assert (prior.prior_[100:].argmax(axis=1) == noisy[100:]).all()
        assert not prior.uncertain_[100:].any()
        nothing_marked = prior.fit(X, noisy)
        assert not nothing_marked.uncertain_.any()

    def test_leaving_self_out_corrects_labels(self, data):
        """Leave-one-out neighbours see most errors; the labels themselves do not."""
        X, gold, noisy = data
        for correction in (None, "transition"):
            prior = KNNLabelPrior(20, correction=correction).fit(X, gold, noisy=noisy)
            refined = prior.prior_.argmax(axis=1)
            assert np.mean(refined == gold) > np.mean(noisy == gold) + 0.15
            assert prior.n_corrected_ > 50

    def test_clean_labels_stay(self, data):
        """On clean labels the best candidate is the label, nearly always."""
        X, gold, _ = data
        prior = KNNLabelPrior().fit(X, gold)
        assert np.mean(prior.prior_.argmax(axis=1) == gold) > 0.97
        assert prior.noise_rate_ < 0.08

    def test_refused_rows_get_their_neighbours_candidates(self, data):
        """A refused row is nobody's neighbour and its candidates are its neighbours' labels."""
        X, gold, _ = data
        holes = gold.copy()
        holes[::5] = -1
        prior = KNNLabelPrior(20).fit(X, holes)
        assert np.mean(prior.prior_[::5].argmax(axis=1) == gold[::5]) > 0.9
        assert prior.prior_.sum(axis=1) == pytest.approx(np.ones(300))

    def test_too_many_neighbours_warns(self):
        """More neighbours than rows: all of them, and a warning."""
        X = np.arange(12.0)[:, None]
        with pytest.warns(DataWarning, match="more than the 11 usable"):
            prior = KNNLabelPrior(50).fit(X, [0, 1] * 6)
        assert prior.n_neighbors_ == 11

    def test_all_rows_suspicious_is_an_error(self, data):
        """Without any usable neighbour there is no prior."""
        X, _, noisy = data
        with pytest.raises(ValueError, match="no row left"):
            KNNLabelPrior().fit(X, noisy, suspicious=np.ones(300, dtype=bool))

    def test_class_lost_to_marking_has_a_zero_column(self, data):
        """A class all of whose rows are marked keeps its column, at zero."""
        X, _, noisy = data
        prior = KNNLabelPrior(5, correction=None).fit(X, noisy, suspicious=noisy == 1)
        assert prior.prior_.shape == (300, 3)
        assert (prior.prior_[:, 1] == 0).all()

    def test_new_rows(self, data):
        """predict_proba gives distributions for new rows, also for none at all."""
        X, gold, noisy = data
        prior = KNNLabelPrior(20).fit(X, noisy)
        proba = prior.predict_proba(X)
        assert proba.sum(axis=1) == pytest.approx(np.ones(300))
        assert np.mean(proba.argmax(axis=1) == gold) > 0.85


class TestEncoder:
    def test_shapes_and_seeds(self, data):
        """Trajectories are (M, E, n, d), probabilities (M, E, n, K); a seed fixes all bits."""
        X, _, noisy = data
        encoder = MLPTrajectoryEncoder(n_branches=2, hidden_dim=8, n_epochs=3, random_state=0)
        a = encoder.fit(X, noisy, n_classes=3).transform_epochs(X)
        b = encoder.fit(X, noisy, n_classes=3).transform_epochs(X)
        assert a.shape == (2, 3, 300, 8)
        assert (a == b).all()
        proba = encoder.predict_proba_epochs(X)
        assert proba.shape == (2, 3, 300, 3)
        assert proba.sum(axis=-1) == pytest.approx(np.ones((2, 3, 300)))

    def test_best_validation_epoch_predicts(self, data):
        """The snapshot with the best noisy validation accuracy is the one that predicts."""
        X, _, noisy = data
        encoder = MLPTrajectoryEncoder(n_epochs=5, random_state=0)
        encoder.fit(X[:200], noisy[:200], n_classes=3, X_val=X[200:], codes_val=noisy[200:])
        assert encoder.val_scores_[encoder.best_epoch_] == max(encoder.val_scores_)
        assert np.allclose(
            encoder.predict_proba(X),
            encoder.predict_proba_epochs(X)[:, encoder.best_epoch_].mean(axis=0),
        )

    def test_many_classes_on_few_rows_are_learnt(self):
        """Sixty classes of ten rows each: as good as logistic regression, though few passes."""
        X, gold = make_blobs(1200, centers=60, n_features=30, cluster_std=4.0, random_state=0)
        X, X_test, y, y_test = train_test_split(X, gold, stratify=gold, random_state=0)
        encoder = MLPTrajectoryEncoder(random_state=0).fit(X[:600], y[:600], n_classes=60)
        right = np.mean(encoder.predict_proba(X_test).argmax(axis=1) == y_test)
        plain = LogisticRegression(C=0.01).fit(X[:600], y[:600]).score(X_test, y_test)
        assert right > plain - 0.03

    def test_legacy_keeps_the_last_epoch(self, data):
        """The reference's selection is without effect: the last epoch predicts."""
        X, _, noisy = data
        encoder = MLPTrajectoryEncoder(n_epochs=3, legacy=True, random_state=0)
        encoder.fit(X, noisy, n_classes=3, X_val=X, codes_val=noisy)
        assert encoder.best_epoch_ == 2

    def test_global_random_state_is_untouched(self, data):
        """Fitting leaves torch's global generator alone."""
        import torch

        X, _, noisy = data
        before = torch.random.get_rng_state()
        MLPTrajectoryEncoder(n_epochs=1, random_state=0).fit(X, noisy, n_classes=3)
        assert (torch.random.get_rng_state() == before).all()

    def test_divergence_is_an_error(self, data):
        """A loss of NaN stops with a message instead of giving a silent NaN model."""
        X, _, noisy = data
        with pytest.raises(TrainingDivergedError, match="lower learning_rate"):
            MLPTrajectoryEncoder(learning_rate=1e30, random_state=0).fit(X, noisy, n_classes=3)


class TestDetector:
    def test_finds_wrong_labels(self, data):
        """Among the marked rows most labels are wrong."""
        X, gold, noisy = data
        detector = TrainingDynamicsNoiseDetector(noise_ratio=0.25, random_state=0)
        detector.fit(X, gold, noisy=noisy)
        assert detector.detection_rate_ > 0.8
        assert detector.suspicious_.sum() == pytest.approx(75, abs=15)

    @pytest.mark.parametrize(("ratio", "count"), [(0.0, 0), (1.0, 300)])
    def test_extreme_ratios(self, data, ratio, count):
        """Ratio 0 marks nothing, 1 everything."""
        X, _, noisy = data
        detector = TrainingDynamicsNoiseDetector(noise_ratio=ratio, random_state=0)
        assert detector.fit_predict(X, noisy).sum() == count

    def test_refused_rows_are_always_marked(self, data):
        """A row without a label is uncertain, not a random label, and leads the ranking."""
        X, _, noisy = data
        holes = noisy.copy()
        holes[[7, 70]] = -1
        detector = TrainingDynamicsNoiseDetector(noise_ratio=0.1, random_state=0).fit(X, holes)
        assert detector.suspicious_[[7, 70]].all()
        assert set(detector.rank()[:2].tolist()) == {7, 70}

    def test_score_is_mean_plus_spread_of_own_distance(self):
        """score = mean_e + sd_e (unbiased) of the distance to the own class centre."""
        features = np.random.default_rng(0).normal(size=(1, 4, 6, 2))
        codes = np.array([0, 0, 0, 1, 1, -1])
        distances = class_distances(features, codes, 2)
        own = distances[0, :, 3, 1]
        score = suspicion_scores(features, codes, 2)
        assert score[0, 3] == pytest.approx(own.mean() + own.std(ddof=1))
        assert np.isnan(score[0, 5])
        centre = features[0, 0, 3:5].mean(axis=0)
        assert distances[0, 0, 0, 1] == pytest.approx(np.linalg.norm(features[0, 0, 0] - centre))

    def test_absent_class_is_nan_not_a_crash(self):
        """A class without rows has no centre."""
        features = np.ones((1, 2, 3, 2))
        assert np.isnan(class_distances(features, np.zeros(3, int), 2)[..., 1]).all()

    def test_count_of_marks(self):
        """Exactly int(ratio * n) of the known rows are marked, plus the unknown."""
        scores = np.array([[0.1, 0.9, np.nan, 0.5, 0.7]])
        assert mark_suspicious(scores, 0.5)[0].tolist() == [False, True, True, False, True]


class TestBaseline:
    def test_beats_plain_training_on_its_own_ground(self):
        """Structured noise on clusters: neighbours help a student that can overfit."""
        X, gold = make_blobs(400, centers=4, n_features=20, cluster_std=3, random_state=0)
        noisy = add_label_noise(gold, "asymmetric", 0.4, random_state=0)
        plain = LogisticRegression(C=1e3, max_iter=2000).fit(X, noisy).score(X, gold)
        model = NoisyLabelKNNClassifier(prior=KNNLabelPrior())
        assert model.fit(X, noisy).score(X, gold) >= plain

    def test_detector_takes_part(self, data):
        """With a detector its marked rows are nobody's neighbour."""
        X, gold, noisy = data
        model = NoisyLabelKNNClassifier(
            detector=TrainingDynamicsNoiseDetector(noise_ratio=0.3, random_state=0)
        ).fit(X, noisy)
        assert model.score(X, gold) > 0.85
        assert model.refined_labels_.shape == (300,)
