"""The scikit-learn contract of all noise estimators, and routing of `noisy`."""

import pickle
import warnings

import numpy as np
import pytest
import sklearn
from sklearn.base import clone
from sklearn.datasets import make_blobs
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

from sklfusion import (
    Annotations,
    EncoderTraining,
    FineTunedTrajectoryEncoder,
    KNNLabelPrior,
    LabelDiffusion,
    LabelRepairClassifier,
    MLPTrajectoryEncoder,
    NoisyLabelClassifier,
    NoisyLabelKNNClassifier,
    SiDyPClassifier,
    SimplexDiffusionClassifier,
    TrainingDynamicsNoiseDetector,
)
from sklfusion.exceptions import DataWarning
from sklfusion.noise._synthetic import add_label_noise

SHORT = LabelDiffusion(n_epochs=4, lr=5e-3, hidden_dim=24, n_resample=1, n_chains=1)
LIGHT = MLPTrajectoryEncoder(n_branches=1, n_epochs=4, hidden_dim=16, random_state=0)

# missing_label=None: several checks use -1 as an ordinary class; by default it is a refused text
ESTIMATORS = [
    (LabelRepairClassifier(selector="student", action="drop", missing_label=None), 50),
    (NoisyLabelClassifier(missing_label=None), 50),
    (NoisyLabelKNNClassifier(missing_label=None), 50),
    (
        SimplexDiffusionClassifier(
            n_branches=1, diffusion=SHORT, random_state=0, missing_label=None,
        ),
        50,
    ),
    (
        SiDyPClassifier(
            LIGHT, diffusion=SHORT, random_state=0, missing_label=None,
        ),
        50,
    ),
    (KNNLabelPrior(n_neighbors="auto", missing_label=None), 35),
    (TrainingDynamicsNoiseDetector(LIGHT, missing_label=None), 35),
]  # fmt: skip
IDS = [type(e).__name__ for e, _ in ESTIMATORS]


def _slow_if_alike(estimator, at_least):
    # stage II alone runs the same code as SiDyP, whose checks are always run
    alike = isinstance(estimator, SimplexDiffusionClassifier)
    return pytest.param(estimator, at_least, marks=[pytest.mark.slow] if alike else [])


@pytest.mark.parametrize(
    ("estimator", "at_least"), [_slow_if_alike(*e) for e in ESTIMATORS], ids=IDS
)
def test_estimator_checks(estimator, at_least):
    """scikit-learn's own checks pass, none is expected to fail, and their number is asserted."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        results = check_estimator(estimator, on_fail=None, on_skip=None)
    failed = [(r["check_name"], r["exception"]) for r in results if r["status"] == "failed"]
    assert failed == []
    assert sum(r["status"] == "passed" for r in results) >= at_least


@pytest.mark.parametrize(("estimator", "at_least"), ESTIMATORS, ids=IDS)
def test_constructor_only_stores(estimator, at_least):
    """Parameters come back as they were passed, bad ones too, until fit."""
    params = estimator.get_params(deep=False)
    for name in params:
        marker = object()
        made = type(estimator)(**{name: marker})
        assert getattr(made, name) is marker
    assert clone(estimator).get_params(deep=False).keys() == params.keys()


@pytest.fixture(scope="module")
def data():
    X, gold = make_blobs(180, centers=3, n_features=5, cluster_std=2.0, random_state=1)
    return X, gold, add_label_noise(gold, "symmetric", 0.2, random_state=0)


QUICK = {
    "diffusion": LabelDiffusion(n_epochs=6, lr=4e-3, hidden_dim=24, n_resample=1, n_chains=1),
    "random_state": 0,
}
CLASSIFIERS = [
    (
        LabelRepairClassifier(selector="student", budget=0.2, action="drop", random_state=0),
        "noisy",
    ),
    (NoisyLabelClassifier(random_state=0), "noisy"),
    (NoisyLabelKNNClassifier(), "noisy"),
    (SimplexDiffusionClassifier(n_branches=1, **QUICK), "noisy"),
    (SiDyPClassifier(LIGHT, **QUICK), "noisy"),
]


@pytest.mark.parametrize(
    "estimator", [e for e, _ in CLASSIFIERS], ids=[type(e).__name__ for e, _ in CLASSIFIERS]
)
class TestClassifiers:
    def test_routing_of_noisy_through_a_pipeline(self, estimator, data):
        """cross_val_score trains on `noisy` (array or annotations) and scores on gold."""
        X, gold, noisy = data
        notes = Annotations.from_labels(noisy.tolist(), [0, 1, 2])
        with sklearn.config_context(enable_metadata_routing=True):
            pipe = make_pipeline(StandardScaler(), clone(estimator).set_fit_request(noisy=True))
            arrays = cross_val_score(pipe, X, gold, cv=2, params={"noisy": noisy})
            noted = cross_val_score(pipe, X, gold, cv=2, params={"noisy": notes})
        assert arrays.tolist() == noted.tolist()
        assert arrays.mean() > 0.8

    def test_gold_beside_noisy_is_never_learnt_from(self, estimator, data):
        """Shuffled gold labels beside the noisy ones change no prediction."""
        X, gold, noisy = data
        shuffled = np.random.default_rng(0).permutation(gold)
        a = clone(estimator).fit(X, gold, noisy=noisy).predict_proba(X)
        b = clone(estimator).fit(X, shuffled, noisy=noisy).predict_proba(X)
        assert (a == b).all()

    def test_label_types_round_trip(self, estimator, data):
        """Strings, ints and bools come back as they went in, in sorted order."""
        X, gold, _ = data
        for names in (np.array(["c", "a", "b"]), np.array([30, 10, 20])):
            model = clone(estimator).fit(X, names[gold])
            assert model.classes_.tolist() == sorted(names.tolist())
            assert model.classes_.dtype == names.dtype
            assert set(model.predict(X).tolist()) <= set(names.tolist())
        model = clone(estimator).fit(X, gold > 0)
        assert model.classes_.dtype == bool

    def test_feature_storage_does_not_matter(self, estimator, data):
        """float64, Fortran order and read-only give the result of float32."""
        X, _, noisy = data
        X = X.astype(np.float32)
        frozen = np.asfortranarray(X.astype(np.float64))
        frozen.setflags(write=False)
        a = clone(estimator).fit(X, noisy).predict_proba(X)
        b = clone(estimator).fit(frozen, noisy).predict_proba(frozen)
        assert np.allclose(a, b, atol=1e-4)

    def test_pickle(self, estimator, data):
        """A fitted classifier survives pickling with equal predictions."""
        X, _, noisy = data
        model = clone(estimator).fit(X, noisy)
        again = pickle.loads(pickle.dumps(model))
        assert np.allclose(
            again.predict_proba(X[:9]), model.predict_proba(X[:9]), rtol=0, atol=1e-6
        )

    def test_bad_features_and_labels(self, estimator, data):
        """NaN, infinity, wrong widths, all refused and lengths that differ are refused."""
        X, _, noisy = data
        bad = X.copy()
        bad[3, 1] = np.nan
        with pytest.raises(ValueError, match="NaN"):
            clone(estimator).fit(bad, noisy)
        model = clone(estimator).fit(X, noisy)
        with pytest.raises(ValueError, match="features"):
            model.predict(X[:, :2])
        with pytest.raises(ValueError, match="all of them missing"):
            clone(estimator).fit(X, np.full(180, -1))
        with pytest.raises(ValueError, match=r"inconsistent|labels"):
            clone(estimator).fit(X, noisy[:100])

    def test_tiny_data(self, estimator):
        """Six rows of two classes train, or say what is missing."""
        X = np.array([[0.0, 0], [0, 1], [1, 0], [5, 5], [5, 6], [6, 5]])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DataWarning)
            model = clone(estimator).fit(X, list("aaabbb"))
        assert model.predict_proba(X).shape == (6, 2)


def test_grid_search_over_nested_parameters(data):
    """Nested names are seen by a grid search."""
    X, _, noisy = data
    search = GridSearchCV(
        NoisyLabelKNNClassifier(prior=KNNLabelPrior()),
        {"prior__n_neighbors": [5, 20], "prior__correction": [None, "transition"]},
        cv=2,
    ).fit(X, noisy)
    assert search.best_params_["prior__n_neighbors"] in (5, 20)


class TestFineTunedTrajectories:
    """The transformer of stage I trains as its `EncoderTraining` says, without its best epoch."""

    TEXTS = ("the market rises", "a late goal", "the bank cuts its rate", "the cup for the team")
    CODES = np.array([0, 1, 0, 1])

    def fitted(self, folder, training=None):
        encoder = FineTunedTrajectoryEncoder(folder, training=training, random_state=0)
        return encoder.fit(list(self.TEXTS), self.CODES, n_classes=2)

    def test_none_is_the_training_in_the_docs(self, tiny_roberta):
        """Written out, it gives the same probabilities in every epoch."""
        told = EncoderTraining(max_epochs=3, batch_size=32, warmup=0.06, freeze_layers=-1)
        a, b = self.fitted(tiny_roberta), self.fitted(tiny_roberta, told)
        texts = list(self.TEXTS)
        assert a.predict_proba_epochs(texts).shape == (3, 3, 4, 2)
        np.testing.assert_allclose(
            a.predict_proba_epochs(texts), b.predict_proba_epochs(texts), rtol=0, atol=1e-6
        )

    @pytest.mark.parametrize(("layers", "moved"), [(-1, True), (0, False)])
    def test_frozen_weights_stay(self, tiny_roberta, layers, moved):
        """Token embeddings learn only where nothing is frozen; the layers above do."""
        encoder = self.fitted(tiny_roberta, EncoderTraining(lr=1e-2, freeze_layers=layers))
        first, last = encoder.snapshots_[0], encoder.snapshots_[-1]
        changed = {name for name in first if not np.array_equal(first[name], last[name])}
        assert ("encoder.embeddings.word_embeddings.weight" in changed) is moved
        assert any("encoder.encoder.layer.1" in name for name in changed)
        assert len(encoder.snapshots_) == 4

    def test_what_it_cannot_do_is_told(self, tiny_roberta):
        """Pairs are refused, early stopping warns, other objects are no training."""
        with pytest.raises(ValueError, match="here it must be cross_entropy"):
            self.fitted(tiny_roberta, EncoderTraining("contrastive"))
        with pytest.raises(TypeError, match="training is dict; it must be an EncoderTraining"):
            self.fitted(tiny_roberta, {"lr": 1.0})
        with pytest.warns(DataWarning, match="EncoderTraining: patience has no effect"):
            self.fitted(tiny_roberta, EncoderTraining(max_epochs=1, patience=7))
