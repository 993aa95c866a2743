"""A fit that is broken off leaves the model of before, whatever the estimator and the point."""

import numpy as np
import pytest
from _interrupt import calls_of, interrupted
from sklearn.base import BaseEstimator, clone
from sklearn.exceptions import NotFittedError
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import MultinomialNB
from sklearn.pipeline import make_pipeline

import sklfusion as skf
from sklfusion.fusion._reuse import forget_fits

#: Points at which each fit is broken off, from its first call to its last.
POINTS = 6
CLOSE = 1e-12
#: Estimators that learn nothing by themselves, so that there is nothing to break off.
WITHOUT_FIT = {"EncoderTraining", "LLMEndpoint", "LabelDiffusion", "LabelDistributionCollector"}
N = 60
HALF = slice(0, N // 2)
WORDS = ("apple", "bridge", "copper")


def make_data():
    """Codes, an embedding, the embedding with votes, probabilities, indicators, texts, names."""
    rng = np.random.default_rng(0)
    y = rng.permutation(np.arange(N) % 3)
    E = rng.normal(size=(N, 5)) + 2 * np.eye(3)[y] @ rng.normal(size=(3, 5))
    votes = np.eye(3)[np.where(rng.random(N) < 0.8, y, rng.integers(3, size=N))]
    labels = np.column_stack([y == 0, y == 1, rng.random(N) < 0.4]).astype(int)
    P = np.clip(labels * 0.6 + 0.2 * rng.random((N, 3)), 0.01, 0.99)
    texts = [f"{WORDS[code]} number {number}" for number, code in enumerate(y)]
    return y, E, np.hstack([E, votes]), P, labels, texts, np.array(["ham", "spam", "zeta"])[y]


Y, E, X, P, LABELS, TEXTS, NAMES = make_data()
RECORDED = skf.RecordedScorer(dict(zip(TEXTS, NAMES.tolist(), strict=True)))
VECTORS = make_pipeline(CountVectorizer())
FEW = {"diffusion": skf.LabelDiffusion(n_epochs=1, n_chains=1), "random_state": 0}
ROUTES = [("a", LogisticRegression()), ("b", LogisticRegression(C=0.01))]


def student(embedding):
    return {"scores": P, "X_unlabeled": embedding + 0.1, "scores_unlabeled": P}


#: Name -> (estimator, arguments of a first fit, of a second one with other classes).
NUMBERS = {
    "FusionClassifier": (
        skf.FusionClassifier(random_state=0),
        ((X, Y), {}),
        ((X[HALF] * 2, Y[HALF] + 10), {}),
    ),
    "FusionClassifier, concatenated": (
        skf.FusionClassifier(fusion="concat", max_epochs=3, random_state=0),
        ((X, LABELS), {}),
        ((X[:, :4], Y), {}),
    ),
    "MultiLabelThresholds": (
        skf.MultiLabelThresholds(),
        ((P, LABELS), {}),
        ((P[HALF, :2], LABELS[HALF, :2]), {}),
    ),
    "MultiLabelCalibrator": (
        skf.MultiLabelCalibrator(),
        ((P, LABELS), {}),
        ((P[HALF, :2], LABELS[HALF, :2]), {}),
    ),
    "ClassRoutingClassifier": (
        skf.ClassRoutingClassifier(ROUTES, cv=2),
        ((X, Y), {}),
        ((X[:, :4], NAMES), {}),
    ),
    "KNNLabelPrior": (skf.KNNLabelPrior(), ((E, Y), {}), ((E[HALF, :3], Y[HALF]), {})),
    "NoisyLabelClassifier": (
        skf.NoisyLabelClassifier(random_state=0),
        ((E, Y), {}),
        ((E[HALF, :3], NAMES[HALF]), {}),
    ),
    "NoisyLabelKNNClassifier": (
        skf.NoisyLabelKNNClassifier(),
        ((E, Y), {}),
        ((E[HALF, :3], NAMES[HALF]), {}),
    ),
    "SimplexDiffusionClassifier": (
        skf.SimplexDiffusionClassifier(n_branches=1, **FEW),
        ((E, Y), {}),
        ((E[HALF, :3], NAMES[HALF]), {}),
    ),
    "SiDyPClassifier": (
        skf.SiDyPClassifier(skf.MLPTrajectoryEncoder(n_branches=1, n_epochs=2), **FEW),
        ((E, Y), {}),
        ((E[HALF, :3], NAMES[HALF]), {}),
    ),
    "TrainingDynamicsNoiseDetector": (
        skf.TrainingDynamicsNoiseDetector(
            skf.MLPTrajectoryEncoder(n_epochs=2, random_state=0), random_state=0
        ),
        ((E, Y), {}),
        ((E[HALF, :3], Y[HALF]), {}),
    ),
    "MLPTrajectoryEncoder": (
        skf.MLPTrajectoryEncoder(n_epochs=3, random_state=0),
        ((E, Y), {"n_classes": 3}),
        ((E[HALF, :3], Y[HALF]), {"n_classes": 4}),
    ),
    "LabelRepairClassifier": (
        skf.LabelRepairClassifier(LogisticRegression(), action="drop", random_state=0),
        ((E, Y), {}),
        ((E[:, :3], NAMES), {}),
    ),
    "VoteStudent": (
        skf.VoteStudent(random_state=0),
        ((E, Y), student(E)),
        ((E[:, :3], NAMES), student(E[:, :3])),
    ),
    "LabelDistributionEstimator": (
        skf.LabelDistributionEstimator("probe", random_state=0),
        ((E, P), {}),
        ((E[:, :3], P[:, :2]), {}),
    ),
    "RecordedScorer": (RECORDED, ((TEXTS, NAMES), {}), ((TEXTS[HALF], NAMES[HALF]), {})),
    "LabelAcquirer": (
        skf.LabelAcquirer(LogisticRegression(), random_state=0),
        ((E,), {}),
        ((E[HALF, :3],), {}),
    ),
    "PrevalenceEstimator": (
        skf.PrevalenceEstimator(LogisticRegression(), cv=2, random_state=0),
        ((E, Y), {}),
        ((E[:, :3], NAMES), {}),
    ),
    "SelectiveClassifier": (
        skf.SelectiveClassifier(
            LogisticRegression(), target_accuracy=0.5, delta=0.4, cv=2, random_state=0
        ),
        ((E, Y), {}),
        ((E[:, :3], NAMES), {}),
    ),
    "StudentClassifier": (
        skf.StudentClassifier(VECTORS, random_state=0),
        ((TEXTS, NAMES), {}),
        ((TEXTS[HALF], Y[HALF]), {}),
    ),
    "AutoFusionClassifier": (
        skf.AutoFusionClassifier(RECORDED, VECTORS, random_state=0),
        ((TEXTS, NAMES), {}),
        ((TEXTS[HALF], NAMES[HALF]), {}),
    ),
    "CascadeClassifier": (
        skf.CascadeClassifier(
            make_pipeline(CountVectorizer(), MultinomialNB()), RECORDED, budget=0.3, cv=2
        ),
        ((TEXTS, NAMES), {}),
        ((TEXTS[HALF], NAMES[HALF]), {}),
    ),
}
ONE_EPOCH = skf.EncoderTraining(max_epochs=1)
ENCODERS = {
    "RobertaEmbedder": {"fine_tune": ONE_EPOCH, "cv": 2},
    "JointFusionClassifier": {"training": ONE_EPOCH, "scorer": RECORDED},
    "FineTunedTrajectoryEncoder": {"training": ONE_EPOCH, "n_branches": 1},
    "StaticEmbedder": {"dimensions": 8},
}


def says(model, data):
    """What a fitted model gives, by whatever method it has."""
    for name in ("predict_proba", "predict_proba_epochs", "transform", "predict"):
        if hasattr(model, name):
            found = getattr(model, name)(data)
            return np.asarray(found.toarray() if hasattr(found, "toarray") else found)
    return np.zeros(0)


def check_whole(made, first, second, points=POINTS, method="fit"):
    """Break the second fit off at several points, with Ctrl-C and with an error."""
    (arguments, options), (others, other_options) = first, second
    model = clone(made).fit(*arguments, **options)
    before = dict(vars(model))
    wanted = says(model, arguments[0])
    spare = clone(made).fit(*arguments, **options)
    forget_fits()
    total = calls_of(lambda: getattr(spare, method)(*others, **other_options))
    stopped = 0
    # what was computed once may be known by now, so a fit may take a few calls less than counted
    for number, point in enumerate(np.linspace(2, 0.95 * total, points).astype(int)):
        error = KeyboardInterrupt if number % 2 else MemoryError
        forget_fits()
        stopped += interrupted(
            lambda: getattr(model, method)(*others, **other_options), int(point), error
        )
        assert {k: id(v) for k, v in vars(model).items()} == {k: id(v) for k, v in before.items()}
        np.testing.assert_allclose(says(model, arguments[0]), wanted, rtol=0, atol=CLOSE)
    assert stopped == points


@pytest.mark.parametrize("name", NUMBERS)
def test_a_refit_that_is_broken_off_leaves_the_model_of_before(name):
    """All its attributes are those of the first fit, and it says the same."""
    check_whole(*NUMBERS[name])


@pytest.mark.parametrize("name", ENCODERS)
def test_so_does_one_of_an_encoder(name, tiny_roberta):
    """Weights are trained in a net of their own."""
    made = getattr(skf, name)(tiny_roberta, **ENCODERS[name])
    if "random_state" in made.get_params():
        made.set_params(random_state=0)
    if name == "FineTunedTrajectoryEncoder":
        fits = (((TEXTS, Y), {"n_classes": 3}), ((TEXTS[HALF], Y[HALF]), {"n_classes": 4}))
    else:
        fits = (((TEXTS, NAMES), {}), ((TEXTS[HALF], Y[HALF].astype(str)), {}))
    if name == "JointFusionClassifier":
        fits = (fits[0], ((TEXTS[HALF], NAMES[HALF]), {}))
    check_whole(made, *fits, points=3)


@pytest.mark.parametrize("name", ["LLMScorer", "LLMClassifier"])
def test_so_does_one_that_asks_an_llm(name, fault_server):
    """The prompt of before with the classes of before; what was paid stays counted."""
    made = getattr(skf, name)(
        "loopback", base_url=fault_server.base_url, strategy="label", calibrate="prior"
    )
    texts = ["note about sport", "note about food"]
    model = made.fit(texts, ["sport", "food"])
    wanted, before = says(model, texts), dict(vars(model))
    others = (["note about ham", "note about eggs", "more ham"], ["ham", "eggs", "ham"])
    total = calls_of(lambda: clone(made).fit(*others))
    # what waits for replies makes more calls or fewer, so the last points could lie behind the end
    for point in np.linspace(2, total / 2, POINTS).astype(int):
        assert interrupted(lambda: model.fit(*others), int(point))
        for attribute in ("classes_", "_task", "_shots", "bias_"):
            assert getattr(model, attribute) is before[attribute]
        np.testing.assert_allclose(says(model, texts), wanted, rtol=0, atol=CLOSE)


def test_every_estimator_is_tried():
    """Whatever is exported with a fit of its own stands above."""
    exported = {n for n in skf.__all__ if isinstance(getattr(skf, n), type)}
    estimators = {n for n in exported if issubclass(getattr(skf, n), BaseEstimator)}
    tried = {name.partition(",")[0] for name in NUMBERS} | set(ENCODERS)
    tried |= {
        "LLMScorer",
        "LLMClassifier",
        "MultiTargetFusionClassifier",  # its in test_targets.py
        "MultilingualEmbedder",  # its in test_embedding_multilingual.py
    }
    assert estimators - WITHOUT_FIT <= tried


@pytest.mark.parametrize("fusion", ["anchored", "concat"])
def test_a_further_epoch_that_is_broken_off_is_taken_back(fusion):
    """partial_fit trains a copy of the net, and only a whole epoch counts."""
    epochs = {"max_epochs": 2} if fusion == "concat" else {}
    made = skf.FusionClassifier(fusion=fusion, random_state=0, **epochs)
    rows = ((X, Y), {})
    check_whole(made, rows, rows, method="partial_fit")


def test_a_first_fit_that_is_broken_off_leaves_nothing():
    """The estimator is not fitted, and says so."""
    model = skf.FusionClassifier(random_state=0)
    assert interrupted(lambda: model.fit(X, Y), 40)
    with pytest.raises(NotFittedError):
        model.predict(X)
    assert vars(model) == model.get_params()


def test_what_was_paid_stays_counted(fault_server):
    """usage_ of a fit that ended early tells what it cost."""
    fault_server.script({"fault": {"kind": "status", "status": 401}, "contains": "second"})
    scorer = skf.LLMScorer(
        "loopback",
        classes=["sport", "food"],
        base_url=fault_server.base_url,
        strategy="label",
        calibrate="prior",
        max_concurrency=1,
    )
    with pytest.raises(skf.AuthenticationError):
        scorer.fit(["first about sport", "second about food"])
    assert scorer.usage_.requests == 1
    assert not hasattr(scorer, "classes_")
