"""`VoteStudent`: LLM answers on unlabelled texts teach the encoder."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline

from sklfusion.fusion import FusionClassifier
from sklfusion.fusion._student import VoteStudent


def _world(n=320, n_classes=3, accuracy=0.75, seed=0):
    """Embeddings that separate the classes, and votes that are right with a probability."""
    rng = np.random.default_rng(seed)
    y = rng.integers(n_classes, size=n)
    E = rng.normal(size=(n, 12))
    E[:, :n_classes] += 2.5 * np.eye(n_classes)[y]
    wrong = (y + rng.integers(1, n_classes, size=n)) % n_classes
    votes = np.eye(n_classes)[np.where(rng.random(n) < accuracy, y, wrong)]
    return E, votes, y


def _fit(E, votes, y, n_gold=20, **params):
    return VoteStudent(random_state=0, **params).fit(
        E[:n_gold],
        y[:n_gold],
        scores=votes[:n_gold],
        X_unlabeled=E[n_gold:],
        scores_unlabeled=votes[n_gold:],
        classes=None if y.ndim == 2 else np.arange(3),
    )


def test_the_student_beats_its_noisy_teacher():
    """Random errors of the LLM average out over the unlabelled rows."""
    E, votes, y = _world()
    new, _, truth = _world(seed=1)
    student = _fit(E, votes, y)
    teacher = np.mean(votes.argmax(axis=1) == y)
    assert np.mean(student.predict_proba(new).argmax(axis=1) == truth) > teacher + 0.08
    assert student.n_unlabeled_ == 300


def test_probabilities_are_proba_and_columns_follow_the_embeddings():
    """`transform` appends the student's probabilities, named by class."""
    E, votes, y = _world()
    student = _fit(E, votes, y)
    p = student.predict_proba(E)
    np.testing.assert_allclose(p.sum(axis=1), 1)
    np.testing.assert_allclose(student.transform(E), np.hstack([E, p]))
    assert student.get_feature_names_out().tolist()[-3:] == [
        "student_0",
        "student_1",
        "student_2",
    ]


def test_gold_rows_can_turn_a_perverse_llm_around():
    """An LLM that always swaps two classes teaches well once gold rows show the swap."""
    E, _, y = _world(n_classes=3)
    swapped = np.eye(3)[np.array([1, 0, 2])[y]]
    student = _fit(E, swapped, y, n_gold=60)
    assert np.mean(student.predict_proba(E).argmax(axis=1) == y) > 0.9


def test_scores_may_be_votes_probabilities_or_their_logarithms():
    """A scale is no information."""
    E, votes, y = _world()
    soft = 0.94 * votes + 0.02
    logs = _fit(E, np.log(soft), y).predict_proba(E)
    np.testing.assert_allclose(logs, _fit(E, soft, y).predict_proba(E), atol=1e-6)


def test_rows_without_an_answer_are_left_out():
    """Uniform rows teach nothing, in both parts."""
    E, votes, y = _world()
    votes[10:200] = 1 / 3
    student = _fit(E, votes, y)
    assert student.n_unlabeled_ == 120
    one_vote = VoteStudent(random_state=0)
    with pytest.raises(ValueError, match="needs at least 2"):
        one_vote.fit(
            E[:9], y[:9], scores=votes[:9], X_unlabeled=E[9:12], scores_unlabeled=votes[10:13]
        )


def test_several_labels_per_row():
    """Independent probabilities, also for a label that no gold row has."""
    rng = np.random.default_rng(0)
    Y = (rng.random((300, 3)) < 0.4).astype(int)
    Y[:20, 2] = 0
    E = rng.normal(size=(300, 6))
    E[:, :3] += 3 * Y
    votes = np.where(rng.random(Y.shape) < 0.85, Y, 1 - Y).astype(float)
    student = _fit(E, votes, Y)
    p = student.predict_proba(E[20:])
    assert p.shape == (280, 3)
    assert np.mean((p[:, :2] > 0.5) == Y[20:, :2]) > 0.9


def test_it_serves_in_a_pipeline_once_frozen():
    """Fitted beforehand and frozen, it stands between the encoder and the fusion."""
    E, votes, y = _world()
    student = _fit(E, votes, y)
    X = np.hstack([E, votes])

    features = ColumnTransformer(
        [
            ("embedding", FrozenEstimator(student), slice(0, 12)),
            ("llm", "passthrough", [12, 13, 14]),
        ]
    )
    head = FusionClassifier(features="both", score_columns=slice(15, 18), random_state=0)
    pipe = Pipeline([("features", features), ("fusion", head)]).fit(X[:20], y[:20])
    assert pipe.score(X[20:], y[20:]) > 0.85
    assert len(pipe.named_steps["fusion"].source_names_) == 3


def test_bad_arguments_are_named():
    """Each error says what arrived and what was wanted."""
    E, votes, y = _world()
    with pytest.raises(ValueError, match="strength"):
        _fit(E, votes, y, strength=0)
    student = VoteStudent()
    more = {"X_unlabeled": E[9:], "scores_unlabeled": votes[9:]}
    with pytest.raises(ValueError, match="both must be embeddings of one encoder"):
        student.fit(E[:9, :5], y[:9], scores=votes[:9], **more)
    with pytest.raises(ValueError, match=r"scores has 8 rows for 9"):
        student.fit(E[:9], y[:9], scores=votes[:8], **more)
    with pytest.raises(ValueError, match="not in classes"):
        student.fit(E[:9], y[:9] + 1, scores=votes[:9], classes=[0, 1, 2], **more)


def test_it_clones_and_repeats():
    """Constructors only store; a seed fixes the result."""
    E, votes, y = _world()
    student = clone(_fit(E, votes, y, strength=2.0))
    assert student.strength == 2.0
    first, second = _fit(E, votes, y), _fit(E, votes, y)
    np.testing.assert_allclose(first.predict_proba(E), second.predict_proba(E), rtol=0, atol=1e-9)


def test_the_confusion_table_is_counts_and_four_rows_of_usually_right():
    """Six gold rows, answers 0 0 0 1 1 1 of which five are right.

    Pooled accuracy (5 + .8 * 4) / (6 + 4) = .82; answer 0 was class 1 once:
    (2 + 4 * .82) / 7 right. Answer 1 always right: (3 + 4 * .82) / 7.
    """
    y, said = np.array([0, 0, 1, 1, 1, 1]), np.array([0, 0, 0, 1, 1, 1])
    rng = np.random.default_rng(0)
    student = VoteStudent(random_state=0).fit(
        rng.normal(size=(6, 3)),
        y,
        scores=np.eye(2)[said],
        X_unlabeled=rng.normal(size=(30, 3)),
        scores_unlabeled=np.eye(2)[np.arange(30) % 2],
    )
    np.testing.assert_allclose(
        student.confusion_, [[5.28 / 7, 1.72 / 7], [0.72 / 7, 6.28 / 7]], atol=1e-12
    )


def test_label_rates_of_given_and_refused_labels():
    """Two labels, four gold rows; each rate is drawn to the pooled one by four rows.

    Given: 3 votes, 3 right, pooled (3 + .8 * 4) / 7. Refused: 5, of them 1 true,
    pooled (1 + .2 * 4) / 9.
    """
    Y = np.array([[1, 0], [1, 0], [0, 1], [0, 1]])
    votes = np.array([[1, 0], [1, 0], [0, 1], [0, 0]])
    rng = np.random.default_rng(0)
    student = VoteStudent(random_state=0).fit(
        rng.normal(size=(4, 3)),
        Y,
        scores=votes,
        X_unlabeled=rng.normal(size=(30, 3)),
        scores_unlabeled=np.tile([[1, 0], [0, 1], [1, 1]], (10, 1)),
    )
    given, refused = 6.2 / 7, 1.8 / 9
    wanted = [
        [(0 + 4 * refused) / 6, (2 + 4 * given) / 6],
        [(1 + 4 * refused) / 7, (1 + 4 * given) / 5],
    ]
    np.testing.assert_allclose(student.confusion_, wanted, atol=1e-12)


def test_unlabelled_answers_teach_what_the_table_says_of_them():
    """With one kind of answer per cluster the student says the table's row on each cluster."""
    y, said = np.tile([0, 1], 20), np.tile([0, 1], 20)
    y[:8] = [1, 0] * 4  # four of twenty answers of either kind are wrong
    E = np.where(np.arange(600)[:, None] % 2, 3.0, -3.0) * np.ones((1, 2))
    student = VoteStudent(random_state=0).fit(
        E[:40], y, scores=np.eye(2)[said],
        X_unlabeled=E, scores_unlabeled=np.eye(2)[np.arange(600) % 2],
    )  # fmt: skip
    np.testing.assert_allclose(student.predict_proba(E[:2]), student.confusion_, atol=0.03)
