"""L: labels, targets, features."""

import warnings

import numpy as np
from scipy import sparse
from sklearn.datasets import make_classification, make_multilabel_classification
from sklearn.dummy import DummyClassifier
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

import sklfusion
from scorecard.rows._base import quiet, raises, row, texts
from sklfusion import (
    CascadeClassifier,
    FusionClassifier,
    LabelDistributionEstimator,
    MultiLabelCalibrator,
    MultiLabelThresholds,
    TrainingDivergedError,
)


def data(n=60, k=3, seed=0):
    X, y = make_classification(
        n, 8, n_informative=5, n_classes=k, class_sep=2.0, random_state=seed
    )
    return X.astype(np.float32), y


def multi(n=60, k=3, seed=0):
    X, Y = make_multilabel_classification(n, 8, n_classes=k, random_state=seed)
    return X.astype(np.float32), Y


def fusion(**params):
    return FusionClassifier(**{"random_state": 0, **params})


def fit(X, y, **params):
    with quiet():
        return fusion(**params).fit(X, y)


@row("L01", "one class only", "clear ValueError")
def _(c):
    X, _ = data()
    error = raises(ValueError, lambda: fit(X, np.zeros(60, int)), "class")
    return str(error)[:80]


@row("L02", "string, int, bool, object labels", "classes_ sorted, exact round trip")
def _(c):
    X, y = data(k=2)
    kinds = {
        "str": np.array(["b", "a"])[y],
        "int": np.array([7, -3])[y],
        "bool": y == 1,
        "object": np.array(["b", "a"], dtype=object)[y],
    }
    for name, labels in kinds.items():
        model = fit(X, labels)
        assert model.classes_.tolist() == sorted(set(labels.tolist())), name
        assert set(model.predict(X).tolist()) <= set(labels.tolist()), name
    return ", ".join(kinds)


@row("L03", "labels at score that training had not", "scored as scikit-learn does")
def _(c):
    X, y = data()
    model = fit(X[y < 2], y[y < 2])
    with quiet():
        score = model.score(X, y)
    assert 0 <= score <= 1
    return f"score {score:.2f}"


@row(
    "L04",
    "declared class that never occurs in y, and the reverse",
    "declared order; error names it",
)
def _(c):
    scorer = c.scorer(classes=["zebra", "sport", "food"])
    assert scorer.get_feature_names_out().tolist() == ["llm_zebra", "llm_sport", "llm_food"]
    with quiet():
        scorer.fit(["a", "b"], ["sport", "food"])
    error = raises(ValueError, lambda: scorer.fit(["a", "b"], ["sport", "lion"]), "lion")
    return str(error)[:80]


@row("L05", "class names empty, equal, 500, with quotes and newlines", "refused, escaped, or ids")
def _(c):
    for classes in (["a", ""], ["a", "A "], ["a"], "ab"):
        raises(ValueError, lambda classes=classes: c.scorer(classes=classes))
    c.server.reset(keep_bodies=True)
    many = [f"class {n}" for n in range(500)]
    odd = ['say "x"', "two\nlines", "- dash", "{brace}"]
    for classes in (many, odd):
        _, a, _ = c.run(["about class 77", "nothing"], classes=classes)
        assert a.ok.all()
    system = c.server.ledger(events=True).bodies[-1]["messages"][0]["content"]
    assert "two\nlines" not in system
    return "4 refused, 500 as ids, odd ones escaped"


@row("L06", "rows without any label", "legal, loss finite")
def _(c):
    X, Y = multi()
    Y[:20] = 0
    model = fit(X, Y)
    assert np.isfinite(model.predict_proba(X)).all()
    return "finite"


@row("L07", "a label column all 0, one all 1", "trains; documented default threshold")
def _(c):
    X, Y = multi()
    Y[:, 0], Y[:, 1] = 0, 1
    model = fit(X, Y)
    assert model.predict(X).shape == (60, 3)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        tuned = MultiLabelThresholds().fit(model.predict_proba(X), Y)
    assert np.allclose(np.asarray(tuned.thresholds_)[:2], 0.5), tuned.thresholds_
    assert caught, "no warning"
    return f"thresholds {np.round(tuned.thresholds_, 2).tolist()}, {len(caught)} warning(s)"


@row("L08", "sparse indicators of all kinds", "as dense")
def _(c):
    X, Y = multi()
    wanted = fit(X, Y).predict_proba(X)
    kinds = [sparse.csr_matrix, sparse.csc_matrix, sparse.coo_matrix, sparse.csr_array]
    for kind in [*kinds, sparse.csc_array, sparse.coo_array]:
        got = fit(X, kind(Y)).predict_proba(X)
        assert np.allclose(got, wanted, atol=1e-5), kind.__name__
    return "6 kinds equal"


@row("L09", "indicator with 2, -1, NaN, 0.3", "ValueError")
def _(c):
    X, Y = multi()
    for value in (2, -1, np.nan, 0.3):
        bad = Y.astype(float)
        bad[3, 1] = value
        raises(ValueError, lambda bad=bad: fit(X, bad, loss="binary_cross_entropy"))
        raises(ValueError, lambda bad=bad: MultiLabelThresholds().fit(np.full(Y.shape, 0.5), bad))
    return "4 values refused"


@row("L10", "list of label sets", "error names MultiLabelBinarizer")
def _(c):
    X, _ = multi()
    raises(ValueError, lambda: fit(X, [("a",), ("a", "b")] * 30), "MultiLabelBinarizer")
    return "refused"


@row(
    "L11",
    "label sets with the loss of classes, and the reverse",
    "refused; one-vs-rest as documented",
)
def _(c):
    X, y = data()
    X2, Y = multi()
    raises(ValueError, lambda: fit(X2, Y, loss="cross_entropy"))
    # scikit-learn's checks want a classifier to take classes in both modes.
    model = fit(X, y, loss="binary_cross_entropy")
    got = model.predict_proba(X)
    assert got.shape == (60, 3)
    assert np.allclose(got.sum(axis=1), 1, atol=1e-4)
    return "label sets refused; classes one-vs-rest, probabilities sum to 1"


@row(
    "L12",
    "soft targets outside [0, 1], distributions that sum to 0.7",
    "error with the row; sums as documented",
)
def _(c):
    from sklfusion._validation import check_indicator

    Y = np.full((5, 3), 1 / 3)
    Y[3, 1] = 1.2
    raises(ValueError, lambda: check_indicator(Y, soft=True), r"\[3, 1\]")
    probs = np.random.default_rng(0).dirichlet(np.ones(3), 40)
    said = sklfusion.Annotations(["a", "b", "c"], probs=probs)
    raises(ValueError, lambda: LabelDistributionEstimator().fit(said, np.full((40, 3), 1.2)))
    short = np.full((40, 3), 0.7 / 3)
    raises(ValueError, lambda: LabelDistributionEstimator("base_rate").fit(said, short), "row|sum")
    return "named by row"


@row("L13", "NaN and inf in features", "ValueError at fit and predict")
def _(c):
    X, y = data()
    model = fit(X, y)
    for value in (np.nan, np.inf, -np.inf):
        bad = X.copy()
        bad[7, 2] = value
        raises(ValueError, lambda bad=bad: fit(bad, y), "NaN|inf")
        raises(ValueError, lambda bad=bad: model.predict(bad), "NaN|inf")
    return "3 values refused"


@row("L14", "float64, int, float16, Fortran order, memmap, sparse", "as float32")
def _(c):
    X, y = data()
    X = np.round(X * 4).astype(np.float32)
    wanted = fit(X, y).predict_proba(X)
    path = c.folder / "x.npy"
    np.save(path, X)
    forms = {
        "float64": X.astype(np.float64),
        "int": X.astype(np.int64),
        "float16": X.astype(np.float16),
        "fortran": np.asfortranarray(X),
        "memmap": np.load(path, mmap_mode="r"),
        "list": X.tolist(),
    }
    for name, form in forms.items():
        got = fit(form, y).predict_proba(form)
        assert np.allclose(got, wanted, atol=1e-4), name
    got = fit(sparse.csr_matrix(X), y).predict_proba(sparse.csr_matrix(X))
    assert np.allclose(got, wanted, atol=1e-4), "sparse"
    return f"{len(forms) + 1} forms equal"


@row(
    "L15",
    "0 rows, 1 row, 0 columns, fewer rows than folds",
    "clear errors; predict of 0 rows is empty",
)
def _(c):
    X, y = data()
    raises(ValueError, lambda: fit(X[:0], y[:0]), "0 sample|minimum")
    raises(ValueError, lambda: fit(X[:, :0], y), "0 feature|minimum")
    raises(ValueError, lambda: fit(X[:1], y[:1]), "class|sample")
    first = np.concatenate([np.flatnonzero(y == k)[:1] for k in range(3)])
    model = fit(X[first], y[first])
    assert model.predict_proba(X).shape == (60, 3)
    empty = fit(X, y).predict_proba(X[:0])
    assert empty.shape == (0, 3)
    return f"3 errors; 3 rows fit; predict of 0 rows: {empty.shape}"


@row("L16", "another number of columns at predict", "ValueError with both numbers")
def _(c):
    X, y = data()
    model = fit(X, y)
    raises(ValueError, lambda: model.predict(X[:, :5]), "5.*8|8.*5")
    return "5 and 8 named"


@row("L17", "sample_weight zero, negative, of wrong length", "as scikit-learn")
def _(c):
    X, y = data()

    def weighted(weights):
        with quiet():
            return fusion().fit(X, y, sample_weight=weights)

    raises(ValueError, lambda: weighted(np.ones(59)))
    raises(ValueError, lambda: weighted(np.zeros(60)))
    raises(ValueError, lambda: weighted(np.full(60, np.nan)))
    try:
        weighted(np.where(np.arange(60) == 3, -1.0, 1.0))
        said = "accepted"
    except ValueError:
        said = "refused"
    return f"length, zero, NaN refused; negative {said}"


@row("L18", "probabilities of label sets", "(n, K), each in [0, 1]")
def _(c):
    X, Y = multi()
    got = fit(X, Y).predict_proba(X)
    assert got.shape == (60, 3)
    assert ((got >= 0) & (got <= 1)).all()
    return str(got.shape)


@row("L19", "training diverges (lr 1e6)", "stops with a message or stays finite")
def _(c):
    X, y = data()
    said = []
    for kind in ("anchored", "concat"):
        try:
            model = fit(X * 1e6, y, lr=1e6, fusion=kind, max_epochs=20)
        except TrainingDivergedError as error:
            said.append(f"{kind}: {str(error)[:40]}")
        else:
            assert np.isfinite(model.predict_proba(X)).all()
            said.append(f"{kind}: finite")
    return "; ".join(said)


@row(
    "L20",
    "noise: nothing left, neighbours above n, noise rate 1, no label",
    "clear error or documented fallback",
)
def _(c):
    X, y = data(30)
    said = []
    raises(ValueError, lambda: sklfusion.KNNLabelPrior().fit(X, np.full(30, -1)))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        prior = sklfusion.KNNLabelPrior(n_neighbors=500).fit(X, y)
    assert caught, "no warning for 500 neighbours of 30"
    assert prior.n_neighbors_ <= 30
    said.append(f"500 neighbours -> {prior.n_neighbors_}, warned")
    with quiet():
        for ratio in (0.0, 1.0):
            try:
                found = sklfusion.TrainingDynamicsNoiseDetector(noise_ratio=ratio).fit(X, y)
            except ValueError:
                said.append(f"ratio {ratio} refused")
            else:
                said.append(f"ratio {ratio} marks {int(np.sum(found.suspicious_))}")
        wrong = np.random.default_rng(0).permutation(y)
        model = sklfusion.NoisyLabelKNNClassifier().fit(X, wrong)
        assert np.isfinite(model.predict_proba(X)).all()
    return "; ".join(said)


@row("L21", "votes of nobody, zero probabilities", "smoothed, finite")
def _(c):
    rng = np.random.default_rng(0)
    probs = rng.uniform(0, 1, (30, 4))
    target = np.round(rng.uniform(0, 1, (30, 4)) * 3) / 3
    probs[0], target[1], probs[2], target[3] = 0.0, 0.0, 1.0, 1.0
    votes = np.round(probs)
    steps = [row[None, :] for row in np.column_stack([probs, np.zeros(30)])]
    said = sklfusion.Annotations(
        list("abcd"), probs=probs, votes=votes, step_probs=steps, multilabel=True
    )
    with quiet():
        model = LabelDistributionEstimator().fit(said, target)
        got = np.asarray(model.predict_proba(said))
        calibrated = MultiLabelCalibrator().fit(probs, target >= 0.5).predict_proba(probs)
    assert np.isfinite(got).all()
    assert np.isfinite(calibrated).all()
    return "finite"


@row(
    "L22",
    "cascade: budget 0, price missing, both stages abstain",
    "first stage without a request; refused; class frequencies",
)
def _(c):
    X = texts(15) + texts(15, "food")
    y = np.array(["sport"] * 15 + ["food"] * 15)
    first = make_pipeline(CountVectorizer(), LogisticRegression())
    none = CascadeClassifier(first, c.scorer(), budget=0).fit(X, y)
    assert np.array_equal(none.predict_proba(X), none.first_.predict_proba(X))
    dear = CascadeClassifier(first, c.scorer(), budget={"money": 1.0})
    raises(ValueError, lambda: dear.fit(X, y), "price.*not known")
    assert c.server.ledger().received == 0
    blank = CascadeClassifier(DummyClassifier(strategy="uniform"), c.scorer(), random_state=0)
    with quiet():
        blank.fit(X[:25], y[:25])
        c.server.script(c.fault("status", status=400, contains="mute"))
        got = blank.predict_proba([*texts(5, start=90), "mute"])
    assert np.allclose(got[-1], [0.4, 0.6]), got[-1]
    assert (got[:-1, 1] > 0.6).all()
    return "0 requests; refused before any; [0.4, 0.6]"
