"""What a score column means: columns of our scorers know it, others are read by their values."""

import pickle

import numpy as np
import pandas as pd
import pytest
from _fusion_data import make_labels, make_rows
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.model_selection import train_test_split
from sklearn.pipeline import FeatureUnion, Pipeline

from sklfusion import AutoFusionClassifier, FusionClassifier, RecordedScorer, make_fusion_pipeline
from sklfusion._scores import ScoreBlock, ScoreColumns, as_told, score_columns, score_names
from sklfusion.annotations import Annotations
from sklfusion.fusion import VoteStudent

CLASSES = ["a", "b", "c"]
pytestmark = pytest.mark.filterwarnings("ignore:RecordedScorer has no output")


class Rows(TransformerMixin, BaseEstimator):
    """An encoder whose texts are the numbers of stored rows."""

    def __init__(self, rows):
        self.rows = rows

    def fit(self, X, y=None):
        """Nothing to learn."""
        return self

    def transform(self, X):
        """The rows."""
        return np.array([self.rows[int(text)] for text in X])

    def __sklearn_is_fitted__(self):
        return True


def texts_of(n):
    return [str(i) for i in range(n)]


def recorded(probs, classes, **params):
    """A scorer that says these probabilities, row by row."""
    said = Annotations(classes, probs=probs, multilabel=params.get("multilabel", False))
    return RecordedScorer(said, texts=texts_of(len(probs)), **params)


def world(n=90, seed=0):
    """Embedding, probabilities of an LLM in the order a, b, c, and labels."""
    X, y = make_rows(n, seed=seed)
    soft = np.random.default_rng(seed).dirichlet(np.ones(3), size=n)
    return X[:, :20], 0.6 * X[:, 20:] + 0.4 * soft, np.array(CLASSES)[y]


@pytest.mark.parametrize("output", ["proba", "log_proba"])
@pytest.mark.parametrize("flag", [False, True])
def test_columns_of_a_scorer_know_class_scale_and_who_answered(output, flag):
    """An answer at even odds is an answer; a lost one has the same numbers and is none."""
    probs = np.array([[0.2, 0.8], [0.5, 0.5], [np.nan, np.nan]])
    columns = score_columns(
        Annotations(["x", "y"], probs=probs), output=output, add_indicator=flag
    )
    (block,) = columns.blocks
    assert (block.classes, block.scale) == (["x", "y"], output)
    assert block.flag == (2 if flag else None)
    assert columns.answers.ravel().tolist() == [True, True, False]
    assert block.answered(columns, False).tolist() == [True, True, False]
    assert columns.shape[1] == len(score_names(["x", "y"], flag))
    np.testing.assert_array_equal(np.asarray(columns)[1, :2], np.asarray(columns)[2, :2])
    told = block.read(columns, "softmax", False)
    np.testing.assert_allclose(np.exp(told.scores[0]), [0.2, 0.8], atol=1e-6)


def test_rows_and_neighbours_keep_the_meaning_and_arithmetic_drops_it():
    """What is still the same score says so, whatever else claims nothing."""
    columns = score_columns(
        Annotations(CLASSES, probs=[[1, 0, 0], [np.nan] * 3, [0, 0, 1]]),
        output="proba",
        add_indicator=False,
    )
    for rows in (slice(1, 3), np.array([1, 2]), [1, 2], np.array([False, True, True])):
        assert columns[rows].answers.ravel().tolist() == [False, True]
    beside = np.hstack([np.ones((3, 2)), columns, np.zeros((3, 1)), columns])
    assert [b.columns.tolist() for b in beside.blocks] == [[2, 3, 4], [6, 7, 8]]
    assert beside.answers.tolist() == [[True] * 2, [False] * 2, [True] * 2]
    part, _ = train_test_split(beside, test_size=1, random_state=0)
    assert part.answers.shape == (2, 2)
    again = pickle.loads(pickle.dumps(beside))
    assert again.answers.tolist() == beside.answers.tolist()
    assert again.blocks[1].classes == CLASSES
    for plain in (2 * columns, columns[:, :2], columns.copy(), columns.T, np.log1p(columns)):
        assert not getattr(plain, "blocks", ())
    assert repr(columns) == repr(np.asarray(columns))


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 0, 1], [1, 2, 0]])
@pytest.mark.parametrize("last", [False, True])
def test_a_union_hands_classes_along_without_names(order, last):
    """In any order of the classes, and wherever the columns stand, the fusion is the same."""
    E, P, y = world()
    scorer = recorded(P[:, order], [CLASSES[k] for k in order])
    parts = [("encoder", Rows(E)), ("llm", scorer)]
    model = Pipeline(
        [
            ("features", FeatureUnion(parts if last else parts[::-1])),
            ("fusion", FusionClassifier(random_state=0)),
        ]
    ).fit(texts_of(60), y[:60])
    plain = FusionClassifier(random_state=0).fit(np.hstack([E, P])[:60], y[:60])
    rest = texts_of(90)[60:]
    wanted = plain.predict_proba(np.hstack([E, P])[60:])
    assert model[-1].found_by_ == "columns"
    assert plain.found_by_ == "values"
    np.testing.assert_allclose(model.predict_proba(rest), wanted, atol=0.02)


def test_two_scorers_in_two_threads_keep_their_answers_apart():
    """Each LLM is silent about other texts."""
    E, P, y = world()
    first, second = P.copy(), P.copy()
    first[::5], second[1::5] = np.nan, np.nan
    union = FeatureUnion(
        [("e", Rows(E)), ("one", recorded(first, CLASSES)), ("two", recorded(second, CLASSES))],
        n_jobs=2,
    )
    X = union.fit_transform(texts_of(90), y)
    clf = FusionClassifier(random_state=0).fit(X, y)
    added = clf.contributions(X)
    assert np.abs(added["llm_1"][::5]).max() == 0 == np.abs(added["llm_2"][1::5]).max()
    assert np.abs(added["llm_1"][1::5]).min(axis=1).max() > 0


def test_an_answer_at_even_odds_is_no_silence():
    """Where the columns know it, a flat answer counts; from bare numbers it looks like none."""
    E, P, y = world()
    P[::4] = 1 / 3
    known = FeatureUnion([("e", Rows(E)), ("llm", recorded(P, CLASSES))])
    X = known.fit_transform(texts_of(90), y)
    told = FusionClassifier(random_state=0).fit(X, y)
    assert told.inputs_.transform(X)["answered"].all()
    bare = FusionClassifier(random_state=0).fit(np.asarray(X), y)
    assert bare.inputs_.transform(np.asarray(X))["answered"].ravel().tolist() == [
        i % 4 != 0 for i in range(90)
    ]


@pytest.mark.parametrize("silence", ["nan", "flag"])
@pytest.mark.parametrize("multilabel", [False, True])
def test_nan_and_flag_say_the_same(silence, multilabel):
    """Both ways of telling give the model that the scorer's own knowledge gives."""
    X, y = make_labels(90, k=3) if multilabel else make_rows(90)
    E, P = X[:, :20], X[:, 20:].copy()
    lost = np.arange(90) % 6 == 0
    said = np.where(lost[:, None], np.nan, P)
    scorer = recorded(said, CLASSES, multilabel=multilabel, output="proba").fit(texts_of(90))
    told = np.hstack([E, scorer.transform(texts_of(90))])
    known = FusionClassifier(random_state=0).fit(told, y)
    if silence == "nan":
        other, where = np.hstack([E, said]), slice(20, 23)
    else:
        other, where = np.hstack([E, P, lost[:, None]]), slice(20, 24)
    clf = FusionClassifier(score_columns=where, random_state=0).fit(other, y)
    assert np.abs(clf.contributions(other)["llm"][lost]).max() == 0
    np.testing.assert_allclose(clf.predict_proba(other), known.predict_proba(told), atol=0.02)


def test_nan_is_silence_in_score_columns_and_an_error_elsewhere():
    """By number, by name; not where the values alone make a column a score."""
    X, y = make_rows(60)
    X[3, 20:] = np.nan
    names = [f"e{i}" for i in range(20)] + [f"llm_{k}" for k in range(3)]
    frame = pd.DataFrame(X, columns=names)
    by_name = FusionClassifier(random_state=0).fit(frame, y)
    by_number = FusionClassifier(score_columns=slice(20, 23), random_state=0).fit(X, y)
    assert (by_name.found_by_, by_number.found_by_) == ("names", "numbers")
    np.testing.assert_allclose(by_name.predict_proba(frame), by_number.predict_proba(X), atol=1e-9)
    assert np.abs(by_number.contributions(X[3:4])["llm"]).max() == 0
    with pytest.raises(ValueError, match="contains NaN"):
        FusionClassifier().fit(X, y)
    X[3, 0] = np.nan
    with pytest.raises(ValueError, match="contains NaN"):
        by_number.predict(X)
    with pytest.raises(ValueError, match="contains NaN"):
        FusionClassifier(score_columns=slice(20, 23)).fit(X, y)


def test_scores_of_classes_that_y_never_shows_are_known_all_the_same():
    """Bare numbers of three classes would not fit a y of two."""
    E, P, y = world()
    two = y != "c"
    texts = [text for text, keep in zip(texts_of(90), two, strict=True) if keep]
    pipe = make_fusion_pipeline(Rows(E), recorded(P, CLASSES), FusionClassifier(random_state=0))
    pipe.fit(texts, y[two])
    assert pipe[-1].score_columns_.tolist() == [20, 21, 22]
    assert pipe[-1].classes_.tolist() == ["a", "b"]


def test_label_columns_are_matched_by_name_where_y_has_names():
    """A frame of labels, and an LLM that scores the same labels in another order."""
    X, Y = make_labels(120, k=3)
    frame = pd.DataFrame(Y, columns=CLASSES)
    E, P = X[:, :20], X[:, 20:]
    order = [2, 0, 1]
    scorer = recorded(P[:, order], [CLASSES[k] for k in order], multilabel=True)
    llm = RecordedScorer(scorer.table, texts=scorer.texts, multilabel=True)
    clf = AutoFusionClassifier(llm, Rows(E), random_state=0).fit(texts_of(80), frame[:80])
    straight = AutoFusionClassifier(
        recorded(P, CLASSES, multilabel=True), Rows(E), random_state=0
    ).fit(texts_of(80), frame[:80])
    rest = texts_of(120)[80:]
    np.testing.assert_allclose(clf.predict_proba(rest), straight.predict_proba(rest), atol=1e-6)


def test_columns_of_another_scorer_are_read_by_its_classes():
    """One column per class and perhaps a flag; anything else is refused."""
    values = np.array([[0.9, 0.1, 0.0], [0.5, 0.5, 1.0]])
    told = as_told(values, ["x", "y"], False)
    assert isinstance(told, ScoreColumns)
    assert (told.blocks[0].flag, told.blocks[0].scale) == (2, "proba")
    assert told.answers.ravel().tolist() == [True, False]
    assert as_told(told, ["x", "y"], False) is told
    np.testing.assert_array_equal(told.arranged(["y", "x"]), [[0.1, 0.9], [np.nan, np.nan]])
    with pytest.raises(ValueError, match="one column per class"):
        as_told(values, ["x"], False)
    with pytest.raises(ValueError, match=r"y also has \['z'\]"):
        told.arranged(["x", "z"])


def test_a_student_takes_the_word_of_the_columns():
    """Classes, flag and silence come with the scores."""
    E, P, y = world()
    P[::9] = np.nan
    order = [2, 0, 1]
    said = recorded(P[:, order], [CLASSES[k] for k in order], add_indicator=True)
    scores = said.fit(texts_of(90)).transform(texts_of(90))
    student = VoteStudent(random_state=0).fit(
        E[:20], y[:20], scores=scores[:20], X_unlabeled=E[20:], scores_unlabeled=scores[20:]
    )
    by_hand = VoteStudent(random_state=0).fit(
        E[:20], y[:20], scores=P[:20], X_unlabeled=E[20:], scores_unlabeled=P[20:]
    )
    assert student.n_unlabeled_ == by_hand.n_unlabeled_ == 70 - 7
    assert student.classes_.tolist() == ["c", "a", "b"]
    np.testing.assert_allclose(
        student.predict_proba(E)[:, [1, 2, 0]], by_hand.predict_proba(E), atol=1e-4
    )


def test_blocks_of_earlier_files_read_as_they_did():
    """The scale had another word, and a flat row was no answer whatever its flag said."""
    block = ScoreBlock("llm", np.arange(2), 2, None, "log", np.arange(2))
    assert block.scale == "log_proba"
    X = np.array([[np.log(0.5), np.log(0.5), 0.0], [-0.1, -2.4, 0.0], [-0.1, -2.4, 1.0]])
    assert block.answered(X, False).tolist() == [False, True, False]
