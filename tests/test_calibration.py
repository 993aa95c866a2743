"""MultiLabelCalibrator, and scikit-learn's own calibration for one label per text."""

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from scipy.special import expit, logit
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import make_classification, make_multilabel_classification
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.multiclass import OneVsRestClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier

from sklfusion import FusionClassifier, MultiLabelCalibrator, MultiLabelThresholds
from sklfusion.exceptions import DataWarning
from sklfusion.multilabel._calibration import PlattScaling, TemperatureScaling, fit_maps
from sklfusion.multilabel._targets import label_scores


def distorted(n=3000, slope=3.0, bias=-1.0, seed=0):
    """Probabilities bent by a known map, and labels drawn from the straight ones."""
    rng = np.random.default_rng(seed)
    truth = rng.uniform(0.02, 0.98, (n, 3))
    y = (rng.random((n, 3)) < truth).astype(int)
    return expit(slope * logit(truth) + bias), truth, y


def bce(y, p):
    p = np.clip(p, 1e-9, 1 - 1e-9)
    return -(y * np.log(p) + (1 - y) * np.log(1 - p)).mean()


@pytest.mark.parametrize("per_label", [True, False])
def test_sigmoid_undoes_a_known_distortion(per_label):
    """Platt finds the inverse slope and intercept of the distortion."""
    p, truth, y = distorted()
    clf = MultiLabelCalibrator(per_label=per_label).fit(p, y)
    for fitted in clf.calibrators_:
        assert fitted.slope == pytest.approx(1 / 3, abs=0.05)
        assert fitted.intercept == pytest.approx(1 / 3, abs=0.12)
    assert np.abs(clf.predict_proba(p) - truth).mean() < 0.02


@pytest.mark.parametrize("method", ["sigmoid", "temperature", "isotonic"])
def test_calibration_improves_log_loss_of_fresh_rows(method):
    """Fitted on some rows, each method lowers the loss of others."""
    p, _, y = distorted(bias=0.0)
    clf = MultiLabelCalibrator(method=method).fit(p[:1500], y[:1500])
    assert bce(y[1500:], clf.predict_proba(p[1500:])) < bce(y[1500:], p[1500:])


@pytest.mark.parametrize("method", ["sigmoid", "temperature", "isotonic"])
def test_calibration_keeps_each_labels_ranking(method):
    """Maps are increasing: no pair of rows changes order within a label."""
    p, _, y = distorted(n=400)
    q = MultiLabelCalibrator(method=method).fit(p, y).predict_proba(p)
    order = p.argsort(axis=0)
    assert (np.diff(np.take_along_axis(q, order, axis=0), axis=0) >= -1e-12).all()


@pytest.mark.parametrize(
    "estimator",
    [OneVsRestClassifier(GaussianNB()), RandomForestClassifier(n_estimators=20, random_state=0)],
    ids=["naive_bayes", "forest"],
)
def test_wrapped_estimator_is_calibrated_on_held_out_scores(estimator):
    """Wrapping lowers the loss of fresh rows; thresholds stack on top."""
    X, y = make_multilabel_classification(n_samples=600, n_classes=4, random_state=0)
    raw = label_scores(clone(estimator).fit(X[:400], y[:400]), X[400:])
    clf = MultiLabelCalibrator(estimator, cv=4).fit(X[:400], y[:400])
    assert bce(y[400:], clf.predict_proba(X[400:])) < bce(y[400:], raw)
    stacked = MultiLabelThresholds(MultiLabelCalibrator(estimator, cv=3), cv=3)
    assert stacked.fit(X[:300], y[:300]).predict(X).shape == y.shape


@pytest.mark.parametrize("value", [0, 1])
def test_one_sided_label_passes_unchanged(value):
    """A label never (or always) on cannot be calibrated: identity and a DataWarning."""
    p, _, y = distorted(n=200)
    y[:, 1] = value
    with pytest.warns(DataWarning, match="pass unchanged"):
        clf = MultiLabelCalibrator().fit(p, pd.DataFrame(y, columns=list("abc")))
    np.testing.assert_allclose(clf.predict_proba(p)[:, 1], p[:, 1], atol=1e-7)


def test_soft_targets_fit_like_the_labels_drawn_from_them():
    """Rates give the map that many annotators' labels would give."""
    p, truth, y = distorted()
    soft = MultiLabelCalibrator().fit(p, truth).calibrators_
    hard = MultiLabelCalibrator().fit(p, y).calibrators_
    for a, b in zip(soft, hard, strict=True):
        assert a.slope == pytest.approx(b.slope, abs=0.06)


def test_sparse_target_equals_dense():
    """csr and dense indicators give the same maps."""
    p, _, y = distorted(n=300)
    a = MultiLabelCalibrator().fit(p, y).predict_proba(p)
    b = MultiLabelCalibrator().fit(p, sparse.csr_array(y)).predict_proba(p)
    np.testing.assert_allclose(a, b, rtol=0, atol=1e-12)


def test_separable_scores_give_finite_maps():
    """Perfectly separated scores stay finite and certain scores do not overflow."""
    p = np.repeat([[0.0], [1.0]], 10, axis=0) * np.ones((1, 2))
    q = MultiLabelCalibrator().fit(p, p.astype(int)).predict_proba(p)
    assert np.isfinite(q).all()
    assert q[0, 0] < 0.2 < 0.8 < q[-1, 0]


def test_anti_correlated_scores_become_the_base_rate():
    """A label whose scores point the wrong way is not turned round but made constant."""
    y = np.r_[np.zeros(30), np.ones(30)]
    fitted = PlattScaling().fit(np.where(y == 1, -1.0, 1.0), y)
    assert fitted.slope == 0
    assert fitted.predict(np.array([0.0]))[0] == pytest.approx(0.5, abs=0.02)
    assert TemperatureScaling().fit(np.where(y == 1, -1.0, 1.0), y).temperature > 1000


def test_skipped_labels_are_the_identity():
    """fit_maps leaves the labels of ``skip`` alone."""
    s = np.linspace(-3, 3, 20)[:, None]
    (identity,) = fit_maps(s, (s > 0).astype(float), skip=np.array([True]))
    np.testing.assert_allclose(identity.predict(s[:, 0]), expit(s[:, 0]))


@pytest.mark.parametrize(
    ("params", "X", "message"),
    [
        ({"method": "beta"}, np.full((4, 2), 0.5), "method='beta'"),
        ({}, np.full((4, 2), 1.5), r"outside \[0, 1\]"),
        ({}, np.full((4, 3), 0.5), "one column per class"),
        ({"estimator": object()}, np.full((4, 2), 0.5), "decision_function"),
    ],
)
def test_wrong_input_is_refused(params, X, message):
    """Errors say what arrived and what was wanted."""
    y = np.array([[0, 1], [1, 0], [1, 1], [0, 0]])
    with pytest.raises((ValueError, TypeError), match=message):
        MultiLabelCalibrator(**params).fit(X, y)


def test_sklearn_temperature_calibrates_one_label_per_text():
    """For multi-class, scikit-learn's own temperature scaling does the job."""
    X, y = make_classification(
        n_samples=900, n_features=30, n_informative=4, n_redundant=20, n_classes=3, random_state=0
    )
    y = np.array(["a", "b", "c"])[y]
    plain = GaussianNB().fit(X[:600], y[:600])
    cooled = CalibratedClassifierCV(GaussianNB(), method="temperature", ensemble=False)
    cooled.fit(X[:600], y[:600])
    assert log_loss(y[600:], cooled.predict_proba(X[600:])) < log_loss(
        y[600:], plain.predict_proba(X[600:])
    )
    np.testing.assert_array_equal(cooled.predict(X[600:]), plain.predict(X[600:]))


def test_calibrator_wraps_a_linear_model_that_needs_little():
    """A well calibrated model is changed little."""
    X, y = make_multilabel_classification(n_samples=500, n_classes=4, random_state=0)
    X = X / X.std(axis=0)
    inner = OneVsRestClassifier(LogisticRegression(C=0.1))
    raw = inner.fit(X, y).predict_proba(X)
    assert np.abs(MultiLabelCalibrator(inner).fit(X, y).predict_proba(X) - raw).mean() < 0.1


def fusion_data(multilabel):
    """Weak embeddings and overconfident LLM scores of three classes."""
    rng = np.random.default_rng(0)
    y = (rng.random((300, 3)) < 0.4).astype(int) if multilabel else rng.integers(0, 3, 300)
    truth = y if multilabel else np.eye(3)[y]
    embedding = rng.normal(size=(300, 6)) + np.repeat(truth, 2, axis=1)
    scores = expit(6 * (truth - 0.5) + 6 * rng.normal(size=truth.shape))
    if not multilabel:
        scores /= scores.sum(axis=1, keepdims=True)
    return np.hstack([embedding, scores]), y


def test_sklearn_temperature_works_with_our_fusion():
    """CalibratedClassifierCV(method="temperature") wraps FusionClassifier and does not hurt."""
    X, y = fusion_data(multilabel=False)
    fusion = FusionClassifier(score_columns=slice(6, 9), residual=False, random_state=0)
    plain = clone(fusion).fit(X[:200], y[:200])
    cooled = CalibratedClassifierCV(fusion, method="temperature", ensemble=False, cv=3)
    cooled.fit(X[:200], y[:200])
    ours = log_loss(y[200:], cooled.predict_proba(X[200:]))
    assert ours < log_loss(y[200:], plain.predict_proba(X[200:])) + 0.02


def test_calibration_and_thresholds_wrap_our_multilabel_fusion():
    """The multi-label tools take FusionClassifier as they take any classifier."""
    X, y = fusion_data(multilabel=True)
    fusion = FusionClassifier(score_columns=slice(6, 9), residual=False, random_state=0)
    calibrated = MultiLabelCalibrator(fusion, cv=3).fit(X[:200], y[:200])
    plain = clone(fusion).fit(X[:200], y[:200])
    assert bce(y[200:], calibrated.predict_proba(X[200:])) < 0.02 + bce(
        y[200:], plain.predict_proba(X[200:])
    )
    tuned = MultiLabelThresholds(fusion, cv=3).fit(X[:200], y[:200])
    assert tuned.predict(X[200:]).shape == (100, 3)


# ---------------------------------------------------------------- numbers checked by hand


def test_platt_targets_keep_one_row_of_doubt_on_either_side():
    """Three of four on at one score: targets .8 and 1/3, so (3 * .8 + 1/3) / 4, not 3/4.

    With two scores each side is its own mean: all of three on is .8, none of one is 1/3.
    """
    on = np.array([1.0, 1.0, 1.0, 0.0])
    same = PlattScaling().fit(np.zeros(4), on)
    assert same.predict(np.zeros(1))[0] == pytest.approx((3 * 0.8 + 1 / 3) / 4, abs=1e-4)
    apart = PlattScaling().fit(np.array([2.0, 2.0, 2.0, -2.0]), on)
    assert apart.predict(np.array([2.0, -2.0])) == pytest.approx([0.8, 1 / 3], abs=1e-3)
    clf = MultiLabelCalibrator().fit(np.full((4, 1), 0.5), on[:, None])
    assert clf.predict_proba([[0.5]])[0, 0] == pytest.approx((3 * 0.8 + 1 / 3) / 4, abs=1e-4)


def test_a_temperature_is_the_ratio_of_log_odds():
    """Said .88 (log-odds 2), right 3 times of 4 (log-odds ln 3): T = 2 / ln 3."""
    fitted = TemperatureScaling().fit(np.full(4, 2.0), np.array([1.0, 1.0, 1.0, 0.0]))
    assert fitted.temperature == pytest.approx(2 / np.log(3), rel=1e-3)
    assert fitted.predict(np.array([2.0, 0.0])) == pytest.approx([0.75, 0.5], abs=1e-3)


def test_a_map_that_would_turn_the_ranking_round_says_the_mean_target():
    """Two of four on, the low scores: targets .75 and .25 mean .5 everywhere."""
    fitted = PlattScaling().fit(np.array([-1.0, -1, 1, 1]), np.array([1.0, 1, 0, 0]))
    assert fitted.slope == 0
    assert fitted.predict(np.array([-9.0, 9.0])) == pytest.approx([0.5, 0.5])


def test_scores_that_a_model_gives_its_own_rows_are_not_believed():
    """A nearest neighbour is certain of rows it has seen and guesses coin flips: so is the map."""
    rng = np.random.default_rng(0)
    X, y = rng.random((200, 3)), (rng.random((200, 2)) < 0.5).astype(int)
    clf = MultiLabelCalibrator(KNeighborsClassifier(1)).fit(X, y)
    assert np.abs(clf.predict_proba(X) - 0.5).max() < 0.2
    own = KNeighborsClassifier(1).fit(X, y)
    assert MultiLabelCalibrator(own, cv="prefit").fit(X, y).predict_proba(X).max() > 0.95
