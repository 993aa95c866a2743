"""The simplex diffusion, SiDyPClassifier, its legacy mode and its promises."""

import copy
import time

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import make_blobs, make_circles

from sklfusion import (
    Annotations,
    KNNLabelPrior,
    LabelDiffusion,
    MLPTrajectoryEncoder,
    SiDyPClassifier,
    SimplexDiffusionClassifier,
)
from sklfusion.exceptions import TrainingDivergedError
from sklfusion.noise._annotators import tells_more
from sklfusion.noise._dynamics import flat_epochs
from sklfusion.noise._simplex import cosine_schedule, project, simplex_points, update_weights
from sklfusion.noise._synthetic import add_label_noise

SHORT = {"n_epochs": 6, "hidden_dim": 32}
FAST = {
    "encoder": MLPTrajectoryEncoder(n_epochs=4),
    "diffusion": LabelDiffusion(**SHORT),
    "random_state": 0,
}


@pytest.fixture(scope="module")
def data():
    X, gold = make_blobs(400, centers=3, n_features=6, cluster_std=2.0, random_state=3)
    return X, gold, add_label_noise(gold, "symmetric", 0.3, random_state=0)


class TestSimplex:
    def test_schedule_values(self):
        """The ten steps of the inference schedule, as published."""
        wanted = [1, 0.9755, 0.9044, 0.7938, 0.6544, 0.4999, 0.3454, 0.2061, 0.0955, 0.0245]
        assert cosine_schedule(10) == pytest.approx(wanted, abs=6e-5)

    def test_schedule_falls(self):
        """The share of signal starts at 1 and falls strictly, at any length."""
        schedule = cosine_schedule(800)
        assert schedule[0] == 1
        assert (np.diff(schedule) < 0).all()
        assert schedule[9] == pytest.approx(0.9997, abs=1e-4)

    def test_vertices(self):
        """A label is +k at its class and -k elsewhere."""
        assert simplex_points(torch.tensor([1]), 3, 5.0).tolist() == [[-5, 5, -5]]

    def test_projection_is_idempotent(self):
        """Projecting twice is projecting once, and vertices stay."""
        logits = torch.randn(20, 4, generator=torch.Generator().manual_seed(0))
        once = project(logits, 5.0)
        assert torch.equal(project(once, 5.0), once)

    @pytest.mark.parametrize("beta", [1, 4, 6])
    def test_dynamic_update_closed_form(self, beta):
        """One hit adds 1/beta to 1/(1-w); beta hits add 1: .5, .667, .75, .8."""
        weights = np.array([[0.5, 0.3, 0.2]])
        wanted = 1 / (1 - 0.5)
        for epoch in range(3):
            for _ in range(beta):
                weights = update_weights(weights, np.array([0]), beta)
            wanted += 1
            assert 1 / (1 - weights[0, 0]) == pytest.approx(wanted)
            assert weights[0, 0] == pytest.approx([2 / 3, 3 / 4, 4 / 5][epoch])
            assert weights[0, 1] / weights[0, 2] == pytest.approx(1.5)

    def test_update_stays_on_the_candidates(self):
        """Weights sum to 1, outsiders stay 0, and a hit outside changes nothing."""
        rng = np.random.default_rng(0)
        weights = rng.dirichlet(np.ones(4), size=50)
        weights[:, 3] = 0
        weights /= weights.sum(axis=1, keepdims=True)
        outside = update_weights(weights, np.full(50, 3), 6)
        assert (outside == weights).all()
        for _ in range(20):
            weights = update_weights(weights, rng.integers(4, size=50), 6)
        assert weights.sum(axis=1) == pytest.approx(np.ones(50))
        assert (weights[:, 3] == 0).all()

    def test_flattening_keeps_epochs_side_by_side(self):
        """(M, E, n, d) becomes (M, n, E * d) with epoch 0 first."""
        features = np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5)
        flat = flat_epochs(features)
        assert flat.shape == (2, 4, 15)
        assert (flat[1, 2, :5] == features[1, 0, 2]).all()


@pytest.fixture(scope="module")
def fitted(data):
    X, gold, noisy = data
    return SiDyPClassifier(**FAST, guard=False).fit(X, gold, noisy=noisy)


class TestSiDyP:
    def test_no_worse_than_its_encoder(self, data, fitted):
        """30 % symmetric noise on blobs: at least as good as stage I."""
        X, gold, _ = data
        encoder = np.mean(fitted.encoder_proba(X).argmax(axis=1) == gold)
        assert fitted.score(X, gold) >= encoder - 0.01
        assert fitted.n_corrected_ > 60

    def test_attributes_have_the_documented_shapes(self, fitted):
        """Prior, masks and scores are told per row and branch."""
        assert fitted.prior_.shape == fitted.candidate_mask_.shape == (400, 3, 3)
        assert fitted.uncertain_.shape == fitted.suspicion_scores_.shape == (400, 3)
        assert fitted.prior_.sum(axis=2) == pytest.approx(np.ones((400, 3)))
        assert (fitted.prior_[~fitted.candidate_mask_] == 0).all()
        assert len(fitted.train_rows_) == 360
        assert len(fitted.val_scores_) == 6

    def test_updated_weights_stay_on_the_candidates(self, data, fitted):
        """Stage II moves weight only among candidates; certain rows never change."""
        before = fitted.prior_[fitted.train_rows_].transpose(1, 0, 2)
        after = fitted.diffusion_.prior
        assert after.sum(axis=2) == pytest.approx(np.ones(after.shape[:2]))
        assert (after[before == 0] == 0).all()
        certain = (before > 0).sum(axis=2) == 1
        assert (after[certain] == before[certain]).all()

    def test_same_seed_same_bits(self, data, fitted):
        """Two fits with one seed predict the same probabilities."""
        X, _, noisy = data
        again = SiDyPClassifier(**FAST, guard=False).fit(X, noisy)
        assert np.allclose(again.predict_proba(X), fitted.predict_proba(X), rtol=0, atol=1e-6)

    def test_rows_do_not_depend_on_their_company(self, data, fitted):
        """A row alone, in a batch or in another order has the same probabilities."""
        X, _, _ = data
        whole = fitted.predict_proba(X)
        order = np.random.default_rng(0).permutation(400)
        assert np.allclose(fitted.predict_proba(X[order]), whole[order], atol=1e-12)
        assert np.allclose(fitted.predict_proba(X[:1]), whole[:1], atol=1e-12)

    def test_clean_labels_cost_nothing(self, data):
        """On clean labels SiDyP is within a point of its encoder."""
        X, gold, _ = data
        model = SiDyPClassifier(**FAST).fit(X[:300], gold[:300])
        encoder = np.mean(model.encoder_proba(X).argmax(axis=1) == gold)
        assert model.score(X, gold) >= encoder - 0.01

    def test_asymmetric_noise_of_two_classes_is_not_inverted(self):
        """40 % of both labels flipped: still better than the labels themselves."""
        X, gold = make_blobs(400, centers=2, n_features=6, random_state=0)
        noisy = add_label_noise(gold, "asymmetric", 0.4, random_state=1)
        model = SiDyPClassifier(**FAST).fit(X, noisy)
        assert model.score(X, gold) > 0.9

    def test_refused_by_the_guard_predicts_as_the_simple_way(self):
        """On blobs both are right: no evidence, and the corrected logistic regression predicts."""
        X, gold = make_blobs(400, centers=2, n_features=6, random_state=0)
        noisy = add_label_noise(gold, "symmetric", 0.2, random_state=1)
        model = SiDyPClassifier(**FAST).fit(X, noisy)
        assert not model.uses_diffusion_
        assert model.diffusion_ is None
        assert np.mean(model.refined_labels_ == gold) > 0.95
        simple = model.simple_.predict_proba(X)
        assert np.allclose(model.predict_proba(X), simple, rtol=0, atol=1e-4)
        free = SiDyPClassifier(**FAST, guard=False).fit(X, noisy)
        assert free.uses_diffusion_
        assert free.simple_ is None
        assert not np.allclose(free.predict_proba(X), simple, atol=1e-3)

    def test_the_guard_lets_through_what_a_line_cannot_say(self):
        """Classes in rings: neighbours tell much more of the labels than a logistic regression."""
        X, gold = make_circles(500, factor=0.4, noise=0.08, random_state=0)
        noisy = add_label_noise(gold, "symmetric", 0.2, random_state=1)
        model = SiDyPClassifier(**FAST).fit(X, noisy)
        assert model.uses_diffusion_
        assert model.score(X, gold) > model.simple_.score(X, gold) + 0.2

    def test_models_saved_before_the_simple_way_predict(self, data, fitted):
        """A refused model of an older version has no simple part: its encoder predicts."""
        old = copy.copy(fitted)
        old.uses_diffusion_ = False
        del old.simple_
        X, _, _ = data
        assert np.allclose(old.predict_proba(X), old.encoder_proba(X), rtol=0, atol=1e-6)

    def test_what_tells_more_of_the_labels(self):
        """The truth tells more of noisy labels than a coin, and nothing tells more than itself."""
        rng = np.random.default_rng(0)
        gold, coin = rng.integers(3, size=300), rng.integers(3, size=300)
        noisy = add_label_noise(gold, "symmetric", 0.4, random_state=0)
        noisy[:20] = -1
        assert tells_more(coin, gold, noisy, 3, np.random.default_rng(1))
        assert not tells_more(gold, coin, noisy, 3, np.random.default_rng(1))
        assert not tells_more(gold, gold, noisy, 3, np.random.default_rng(1))

    def test_onehot_readout_is_a_relabelling(self, data):
        """With one chain and one-hot read-out, p(y|x) = sum_c f_c 1[relabel(c) = y]."""
        X, _, noisy = data
        model = SiDyPClassifier(
            MLPTrajectoryEncoder(n_branches=1, n_epochs=4),
            diffusion=LabelDiffusion(readout="onehot", n_chains=1, **SHORT),
            guard=False,
            random_state=0,
        ).fit(X, noisy)
        relabel = model.diffusion_.relabel_proba(flat_epochs(model.encoder_.transform_epochs(X)))[
            0
        ]
        assert relabel.max(axis=2).min() > 0.999
        target = relabel.argmax(axis=2)
        expected = np.zeros((400, 3))
        for c in range(3):
            expected[np.arange(400), target[:, c]] += model.encoder_proba(X)[:, c]
        assert model.predict_proba(X) == pytest.approx(expected, abs=1e-3)

    def test_refused_rows_are_uncertain_not_random(self, data):
        """Refused rows train no encoder and are refined from their neighbours."""
        X, gold, _ = data
        names = np.array(["x", "y", "z"], dtype=object)[gold]
        names[::4] = None
        model = SiDyPClassifier(**FAST).fit(X, names)
        assert model.classes_.tolist() == ["x", "y", "z"]
        wanted = np.array(["x", "y", "z"])[gold]
        assert np.mean(model.refined_labels_[::4] == wanted[::4]) > 0.85

    def test_takes_annotations(self, data):
        """Annotations with refused rows are the same as labels with -1."""
        X, _, noisy = data
        holes = np.where(np.arange(400) % 10 == 0, -1, noisy)
        notes = Annotations.from_labels([None if v < 0 else v for v in holes.tolist()], [0, 1, 2])
        a = SiDyPClassifier(**FAST).fit(X, holes)
        b = SiDyPClassifier(**FAST).fit(X, notes)
        assert np.allclose(a.predict_proba(X), b.predict_proba(X), rtol=0, atol=1e-5)

    def test_encoder_is_replaceable(self, data):
        """Any encoder with the documented methods stands in."""
        X, gold, noisy = data
        encoder = MLPTrajectoryEncoder(n_branches=1, hidden_dim=16, n_epochs=2, random_state=0)
        model = SiDyPClassifier(**FAST | {"encoder": encoder}).fit(X, noisy)
        assert model.prior_.shape == (400, 1, 3)
        assert model.score(X, gold) > 0.8

    def test_texts_through_an_embedder(self):
        """With an embedder X is texts; the encoder gets them as they are."""
        from sklearn.decomposition import TruncatedSVD
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.pipeline import make_pipeline

        rng = np.random.default_rng(0)
        words = [["goal", "match", "team", "win"], ["bank", "stock", "rate", "loan"]]
        y = np.repeat([0, 1], 30)
        texts = [" ".join(rng.choice(words[c], 4)) for c in y]
        embed = make_pipeline(TfidfVectorizer(), TruncatedSVD(4, random_state=0))

        class TextEncoder(MLPTrajectoryEncoder):
            def fit(self, X, codes, **kwargs):
                assert all(isinstance(t, str) for t in X)
                self.embed_ = embed.fit(X)
                if kwargs.get("X_val") is not None:
                    kwargs["X_val"] = self.embed_.transform(kwargs["X_val"])
                return super().fit(self.embed_.transform(X), codes, **kwargs)

            def transform_epochs(self, X):
                return super().transform_epochs(self.embed_.transform(X))

            def predict_proba_epochs(self, X):
                if isinstance(X[0], str):
                    X = self.embed_.transform(X)
                return super().predict_proba_epochs(X)

        model = SiDyPClassifier(
            TextEncoder(n_epochs=3, learning_rate=0.02, random_state=0),
            embedder=embed,
            diffusion=LabelDiffusion(n_epochs=12, hidden_dim=32),
            random_state=0,
        )
        assert model.fit(texts, y).score(texts, y) > 0.9

    def test_noise_ratio_auto_and_extremes(self, data):
        """ "auto" marks the estimated noise rate; 1.0 leaves no neighbour and says so."""
        X, _, noisy = data
        model = SiDyPClassifier(**FAST, noise_ratio="auto").fit(X, noisy)
        assert 0.1 < model.noise_markers_.mean() < 0.5
        with pytest.raises(ValueError, match="Lower noise_ratio"):
            SiDyPClassifier(**FAST, noise_ratio=1.0).fit(X, noisy)

    def test_divergence_is_an_error(self, data):
        """A learning rate that is far too large stops with a message."""
        X, _, noisy = data
        with pytest.raises(TrainingDivergedError):
            clone(SiDyPClassifier(**FAST, guard=False)).set_params(diffusion__lr=1e30).fit(
                X, noisy
            )

    def test_wrong_parameters_are_named(self, data):
        """Parameters are checked in fit, with one form of message."""
        X, _, noisy = data
        with pytest.raises(ValueError, match="noise_ratio"):
            SiDyPClassifier(noise_ratio=2).fit(X, noisy)
        with pytest.raises(ValueError, match=r"LabelDiffusion got readout='best'; it must be"):
            SiDyPClassifier(diffusion=LabelDiffusion(readout="best")).fit(X, noisy)
        with pytest.raises(ValueError, match=r"LabelDiffusion got n_epochs=0"):
            SimplexDiffusionClassifier(diffusion=LabelDiffusion(n_epochs=0)).fit(X, noisy)
        with pytest.raises(ValueError, match="got prior="):
            SiDyPClassifier(prior="knn").fit(X, noisy)

    def test_searches_reach_into_the_parts(self, data):
        """Encoder, prior and diffusion are parameters, told in one call, and copied by fit."""
        X, _, noisy = data
        model = clone(SiDyPClassifier(**FAST, guard=False, prior=KNNLabelPrior()))
        model.set_params(encoder__n_branches=2, prior__n_neighbors=7, diffusion__n_epochs=3)
        model.fit(X, noisy)
        assert model.encoder_.n_branches == model.prior_.shape[1] == 2
        assert len(model.val_scores_) == 3
        assert not hasattr(model.encoder, "snapshots_")
        assert not hasattr(model.prior, "prior_")

    def test_one_seed_is_enough(self, data):
        """The encoder takes the seed of the whole, unless it has its own."""
        X, _, noisy = data
        parts = {"encoder": MLPTrajectoryEncoder(n_epochs=2), "diffusion": LabelDiffusion(**SHORT)}
        a, b, c = (SiDyPClassifier(**parts, random_state=s).fit(X, noisy) for s in (0, 0, 1))
        np.testing.assert_allclose(a.encoder_proba(X), b.encoder_proba(X), rtol=0, atol=1e-5)
        assert np.abs(a.encoder_proba(X) - c.encoder_proba(X)).max() > 1e-3
        parts["encoder"].random_state = 5
        a, c = (SiDyPClassifier(**parts, random_state=s).fit(X, noisy) for s in (0, 1))
        assert (a.encoder_.random_state, c.encoder_.random_state) == (5, 5)

    def test_a_prior_of_ones_own(self, data):
        """What it was told stays, and codes are no longer taken for its missing label."""
        X, _, noisy = data
        holes = np.where(np.arange(400) % 10 == 0, -1, noisy)
        prior = KNNLabelPrior(5, correction=None, missing_label=2)
        model = SiDyPClassifier(**FAST, prior=prior).fit(X, holes)
        assert (model.transition_matrix_ == np.eye(3)).all()
        wanted = KNNLabelPrior(5, correction=None).fit(X, holes)
        np.testing.assert_allclose(model.prior_[:, 0], wanted.prior_, atol=1e-6)


class TestLegacy:
    def test_reference_prior(self, data):
        """Reference mode with nothing marked: no row is uncertain, all keep their label."""
        X, _, noisy = data
        model = SiDyPClassifier(**FAST, legacy=True, noise_ratio=0.0).fit(X, noisy)
        assert not model.uncertain_.any()
        assert (model.refined_labels_ == noisy).all()

    def test_only_marked_rows_are_refined(self, data):
        """Reference mode: what is uncertain was marked by its branch."""
        X, _, noisy = data
        model = SiDyPClassifier(**FAST, legacy=True, noise_ratio=0.3).fit(X, noisy)
        assert model.uncertain_.any()
        assert not model.uncertain_[~model.noise_markers_].any()
        assert model.encoder_.best_epoch_ == 3

    def test_refused_rows_get_random_labels(self, data):
        """Reference mode draws a label for a refused row."""
        X, _, noisy = data
        holes = np.where(np.arange(400) < 40, -1, noisy)
        model = SiDyPClassifier(**FAST, legacy=True, noise_ratio=0.0).fit(X, holes)
        assert len(set(model.refined_labels_[:40].tolist())) == 3

    def test_readout_is_one_hot(self, data):
        """Reference mode: the conditional distribution is a deterministic relabelling."""
        X, _, noisy = data
        model = SiDyPClassifier(**FAST, legacy=True).fit(X, noisy)
        features = flat_epochs(model.encoder_.transform_epochs(X))
        assert np.isfinite(model.predict_proba(X)).all()
        assert model.diffusion_.relabel_proba(features).sum(axis=3) == pytest.approx(
            np.ones((3, 400, 3))
        )


class TestSimplexDiffusion:
    def test_learns_from_a_given_prior(self, data):
        """Told the truth as prior, it predicts the truth from noisy labels."""
        X, gold, noisy = data
        model = SimplexDiffusionClassifier(
            diffusion=LabelDiffusion(n_epochs=10, n_resample=0, hidden_dim=64), random_state=0
        )
        assert model.fit(X, noisy, prior=np.eye(3)[gold]).score(X, gold) > 0.95

    def test_prior_is_checked(self, data):
        """Shape, sign and empty rows are named."""
        X, _, noisy = data
        model = SimplexDiffusionClassifier()
        with pytest.raises(ValueError, match="shape"):
            model.fit(X, noisy, prior=np.ones((400, 2)))
        with pytest.raises(ValueError, match=r"prior\[3\]"):
            model.fit(X, noisy, prior=np.where(np.arange(400) == 3, 0, 1)[:, None] * np.ones(3))


@pytest.mark.slow
def test_two_thousand_texts_in_time_and_memory():
    """2,000 rows of 384 columns: under two minutes of processor time, and 2 GiB more."""
    import resource

    X, gold = make_blobs(2000, centers=6, n_features=384, cluster_std=8.0, random_state=0)
    noisy = add_label_noise(gold, "symmetric", 0.3, random_state=0)
    start, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    SiDyPClassifier(random_state=0).fit(X, noisy).predict_proba(X)
    assert time.process_time() - start < 120
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 2 * 1024**2  # KiB


@pytest.mark.slow
@pytest.mark.models
def test_fine_tuned_transformer_as_encoder(tmp_path):
    """A transformer fine-tuned on texts stands in for stage I, and pickles."""
    import pickle

    from sklfusion import EncoderTraining, FineTunedTrajectoryEncoder, RobertaEmbedder

    rng = np.random.default_rng(0)
    words = [["goal", "match", "team", "win"], ["bank", "stock", "rate", "loan"]]
    y = np.repeat([0, 1], 15)
    texts = [" ".join(rng.choice(words[c], 4)) for c in y]
    training = EncoderTraining(max_epochs=2, batch_size=8, warmup=0.06, freeze_layers=-1)
    encoder = FineTunedTrajectoryEncoder(n_branches=2, training=training, random_state=0)
    model = SiDyPClassifier(
        encoder,
        embedder=RobertaEmbedder(),
        diffusion=LabelDiffusion(n_epochs=30, hidden_dim=16),
        random_state=0,
    ).fit(texts, y)
    assert model.score(texts, y) > 0.9
    assert model.encoder_.transform_epochs(texts).shape == (2, 2, 30, 384)
    again = pickle.loads(pickle.dumps(model))
    assert np.allclose(again.predict_proba(texts[:3]), model.predict_proba(texts[:3]))
