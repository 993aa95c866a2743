"""A model becomes a student: static vectors, what it learns from, and the gap that is stated."""

import os
import pickle
import shutil
import subprocess
import sys
import warnings

import numpy as np
import pandas as pd
import pytest
from _topics import make_texts
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline

from sklfusion import (
    Annotations,
    CascadeClassifier,
    RecordedScorer,
    RobertaEmbedder,
    StaticEmbedder,
    StudentClassifier,
    distill,
    persistence,
)
from sklfusion.distillation._gap import interval
from sklfusion.distillation._vectors import token_vectors
from sklfusion.exceptions import CacheWarning, ModelLoadError
from sklfusion.models import find_model
from sklfusion.testing import N_TEXT_CHECKS, check_text_estimator


@pytest.fixture(scope="module")
def memory(tmp_path_factory):
    return str(tmp_path_factory.mktemp("static"))


@pytest.fixture
def static(tiny_roberta, memory):
    return StaticEmbedder(tiny_roberta, dimensions=8, memory=memory)


@pytest.fixture
def student(static):
    return StudentClassifier(static, random_state=0)


def teacher(texts, labels):
    """A fitted teacher that is a plain pipeline."""
    return make_pipeline(CountVectorizer(), LogisticRegression()).fit(texts, labels)


def wrong_now_and_then(labels, share, seed=0):
    """Labels of which some are the other one."""
    rng = np.random.RandomState(seed)
    other = np.where(labels == "money", "sport", "money")
    return np.where(rng.random(len(labels)) < share, other, labels)


# -- vectors -------------------------------------------------------------------------------


def test_a_vector_is_the_mean_of_its_tokens(static):
    """Any text is its tokens' rows added up and brought to length 1, whatever their order."""
    static.fit(["a"])
    one, other, both = static.transform(["bank", " cup", "bank cup"]).astype(np.float64)
    turned = static.transform([" cup", "bank"])[::-1]
    np.testing.assert_allclose(np.linalg.norm([one, other, both], axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(turned, [one, other], rtol=1e-5)
    spanned = np.linalg.lstsq(np.column_stack([one, other]), both, rcond=None)[0]
    np.testing.assert_allclose(np.column_stack([one, other]) @ spanned, both, atol=1e-5)
    assert (spanned > 0).all()


def test_vectors_are_those_of_the_encoder_shortened(tiny_roberta, static):
    """At full width, distances between tokens are those of the encoder's own vectors."""
    words = [" bank", " rate", " market", " goal", " cup", " team", " late", " the"]
    encoder = RobertaEmbedder(tiny_roberta, pooling="mean", normalize=False).fit(words)
    wide = clone(static).set_params(dimensions=16).fit(words)
    tokenizer = wide._tokenizer()
    ids = [tokenizer.encode(w, add_special_tokens=False).ids for w in words]
    words, rows = zip(
        *[(w, i[0]) for w, i in zip(words, ids, strict=True) if len(i) == 1], strict=True
    )
    assert len(words) >= 3
    known = encoder.transform(list(words)).astype(np.float64)
    made = wide.vectors_[list(rows)].astype(np.float64)
    wanted = known[1:] - known[:-1]
    found = made[1:] - made[:-1]
    ratio = np.linalg.norm(found, axis=1) / np.linalg.norm(wanted, axis=1)
    # one byte per number, and frequent tokens count less
    assert ratio.std() / ratio.mean() < 0.15


def test_texts_of_any_length_and_kind(static):
    """Nothing is cut; an empty text, and one of no known token, is zero."""
    static.fit(["a"])
    long = "late goal " * 5000 + "bank " * 5000
    vectors = static.transform(["", long, "late goal " * 5000])
    assert not vectors[0].any()
    assert np.abs(vectors[1] - vectors[2]).max() > 0.01
    assert static.transform([]).shape == (0, 8)
    assert static.get_feature_names_out()[-1] == "static_7"


def test_vectors_are_made_once(tiny_roberta, tmp_path):
    """The second fit reads the file, also when the weights of the encoder are gone."""
    folder = tmp_path / "encoder"
    shutil.copytree(tiny_roberta, folder)
    first = StaticEmbedder(folder, dimensions=4, memory=tmp_path).fit(["a"])
    files = list((tmp_path / "static").iterdir())
    assert [file.suffix for file in files] == [".safetensors"]
    stamp = files[0].stat().st_mtime_ns
    again = StaticEmbedder(folder, dimensions=4, memory=tmp_path).fit(["a"])
    np.testing.assert_array_equal(first.vectors_, again.vectors_)
    assert files[0].stat().st_mtime_ns == stamp
    # another width is another file
    StaticEmbedder(folder, dimensions=5, memory=tmp_path).fit(["a"])
    assert len(list((tmp_path / "static").iterdir())) == 2


@pytest.mark.parametrize("how", ["cut", "changed", "empty"])
def test_damaged_vectors_are_made_anew(tiny_roberta, tmp_path, how):
    """A changed byte is noticed, said, and mended."""
    wanted = StaticEmbedder(tiny_roberta, dimensions=4, memory=tmp_path).fit(["a"]).vectors_
    (file,) = (tmp_path / "static").iterdir()
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes({"cut": data[:100], "changed": data, "empty": b""}[how])
    with pytest.warns(CacheWarning, match="made anew"):
        mended = StaticEmbedder(tiny_roberta, dimensions=4, memory=tmp_path).fit(["a"])
    np.testing.assert_array_equal(mended.vectors_, wanted)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        StaticEmbedder(tiny_roberta, dimensions=4, memory=tmp_path).fit(["a"])


def test_a_place_that_cannot_be_written_costs_time_only(tiny_roberta, tmp_path):
    """The vectors are made, and the warning says what to do."""
    made = StaticEmbedder(tiny_roberta, dimensions=4, memory=tmp_path).fit(["a"])
    (file,) = (tmp_path / "static").iterdir()
    file.unlink()
    # a folder stands where the file is written before it is moved to its place
    file.with_suffix(f".{os.getpid()}.partial").mkdir()
    with pytest.warns(CacheWarning, match="memory="):
        found = token_vectors(tiny_roberta, 4, tmp_path)
    np.testing.assert_array_equal(found.vectors, made.vectors_)


def test_the_user_cache_is_the_default_place(tiny_roberta, tmp_path, monkeypatch):
    """Without a memory the vectors lie in the cache folder of the user."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    StaticEmbedder(tiny_roberta, dimensions=4).fit(["a"])
    assert len(list((tmp_path / "sklfusion" / "static").iterdir())) == 1


def test_encoders_that_cannot_serve(tiny_roberta, tmp_path):
    """Too wide a wish, no such folder, no width at all."""
    with pytest.raises(ValueError, match=r"dimensions=17; .* gives 16"):
        StaticEmbedder(tiny_roberta, dimensions=17, memory=tmp_path).fit(["a"])
    with pytest.raises(ModelLoadError, match="no folder"):
        StaticEmbedder("./nowhere", memory=tmp_path).fit(["a"])
    with pytest.raises(ValueError, match="dimensions"):
        StaticEmbedder(tiny_roberta, dimensions=0, memory=tmp_path).fit(["a"])
    with pytest.raises(NotFittedError):
        StaticEmbedder(tiny_roberta).transform(["a"])


# -- the classifier ------------------------------------------------------------------------


def test_text_contract(static, student):
    """All checks for estimators of texts, for both."""
    assert check_text_estimator(static) == N_TEXT_CHECKS
    assert check_text_estimator(student) == N_TEXT_CHECKS


def test_learns_from_labels(student):
    """Topics that show in words are told apart, and probabilities are probabilities."""
    texts, labels = make_texts(80)
    student.fit(texts, labels)
    new, wanted = make_texts(40, seed=1)
    proba = student.predict_proba(new)
    assert student.score(new, wanted) > 0.9
    np.testing.assert_allclose(proba.sum(axis=1), 1)
    assert student.classes_.tolist() == ["money", "sport"]
    assert student.predict([]).shape == (0,)


def test_saved_and_loaded_it_answers_alike(student, tmp_path):
    """Persistence and pickle, with a plain head and with one that weighs a teacher."""
    texts, labels = make_texts(80)
    proba = np.eye(2)[(labels == "sport").astype(int)] * 0.8 + 0.1
    some = np.where(np.arange(80) < 20, labels, None)
    for number, model in enumerate(
        (
            clone(student).fit(texts, labels),
            clone(student).fit(texts, some, teacher_proba=proba, classes=["money", "sport"]),
        )
    ):
        wanted = model.predict_proba(texts)
        persistence.save(model, tmp_path / f"{number}.sklf")
        for other in (
            persistence.load(tmp_path / f"{number}.sklf"),
            pickle.loads(pickle.dumps(model)),
        ):
            np.testing.assert_allclose(other.predict_proba(texts), wanted, atol=1e-9)
    assert type(model.head_).__name__ == "WeighedHead"


def test_a_loaded_student_needs_neither_torch_nor_transformers(student, tmp_path):
    """What predicts is numpy and the tokenizer, which is the point."""
    texts, labels = make_texts(40)
    persistence.save(student.fit(texts, labels), tmp_path / "m.sklf")
    code = (
        "import sys; from sklfusion import persistence;"
        f"m = persistence.load({str(tmp_path / 'm.sklf')!r});"
        "print(*m.predict(['bank rate', 'goal cup']));"
        "print(sorted({'torch', 'transformers', 'openai'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120
    )
    assert done.stdout.splitlines() == ["money sport", "[]"], done.stderr


def test_columns_of_a_teacher_come_in_any_order(student):
    """Classes are sorted in the student, whatever the order of the teacher's columns."""
    texts, labels = make_texts(80)
    proba = np.eye(2)[(labels == "sport").astype(int)] * 0.8 + 0.1
    one = clone(student).fit(texts, teacher_proba=proba, classes=["money", "sport"])
    two = clone(student).fit(texts, teacher_proba=proba[:, ::-1], classes=["sport", "money"])
    np.testing.assert_allclose(one.predict_proba(texts), two.predict_proba(texts), atol=1e-9)
    assert one.score(texts, labels) > 0.9


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"y": None}, "requires y"),
        ({"y": ["a", None] * 10}, "needs a label for every row"),
        ({"y": ["a"] * 20}, "one class"),
        ({"y": ["a", "b"] * 9}, "20 texts and 18 labels"),
        ({"y": np.array([[0, 1.0], [np.nan, 0]] * 10)}, "row 1 has none"),
        ({"teacher_proba": np.full((20, 2), np.nan)}, "no row has"),
        ({"teacher_proba": np.full((19, 2), 0.5)}, "19 rows of probabilities|20 texts"),
        ({"teacher_proba": np.full((20, 2), 3.0)}, r"\[0, 1\]"),
        (
            {"y": ["a", "x"] * 10, "teacher_proba": np.eye(2)[[0, 1] * 10], "classes": ["a", "b"]},
            "label 'x'",
        ),
    ],
)
def test_what_it_cannot_learn_from(student, arguments, words):
    """Each with what arrived and what was wanted."""
    with pytest.raises(ValueError, match=words):
        student.fit(make_texts(20)[0], **arguments)


# -- distill -------------------------------------------------------------------------------


def test_a_student_of_a_fitted_model(static):
    """It agrees with its teacher on texts that neither has seen, and states how often."""
    texts, labels = make_texts(60)
    model = teacher(texts, labels)
    pool, _ = make_texts(300, seed=1)
    student = distill(model, pool, embedder=static, random_state=0)
    new, _ = make_texts(200, seed=2)
    agreement = student.report_["agreement"]
    assert student.report_["n_texts"] == 300
    assert "gap" not in student.report_
    assert agreement["low"] < agreement["mean"] < agreement["high"] <= 1 or agreement["mean"] == 1
    found = np.mean(student.predict(new) == model.predict(new))
    assert found > 0.85
    assert agreement["low"] - 0.05 <= found <= agreement["high"] + 0.05


def test_gold_labels_correct_a_teacher_that_is_wrong(static):
    """An LLM that mixes up two classes: with labels the student is better than it, and says so."""
    texts, labels = make_texts(400)
    said = wrong_now_and_then(labels, 0.75)
    llm = RecordedScorer(dict(zip(texts, said, strict=True)), classes=["money", "sport"])
    llm.fit(texts)
    y = np.where(np.arange(400) < 60, labels, None)
    blind = distill(llm, texts, embedder=static, random_state=0)
    taught = distill(llm, texts, y=y, embedder=static, random_state=0)
    new, wanted = make_texts(200, seed=3)
    assert blind.score(new, wanted) < 0.3
    assert taught.score(new, wanted) > 0.8
    report = taught.report_
    assert (report["n_gold"], report["measure"]) == (60, "accuracy")
    assert report["gap"]["low"] > 0.2
    assert (
        abs(report["gap"]["mean"] - report["student"]["mean"] + report["teacher"]["mean"]) < 1e-9
    )


def test_labels_on_every_row(static):
    """Nothing is left for the teacher alone; labels and probabilities are then averaged."""
    texts, labels = make_texts(80)
    student = distill(teacher(texts, labels), texts, y=labels, embedder=static, random_state=0)
    assert student.score(texts, labels) > 0.9
    assert student.report_["n_gold"] == 80


def test_silence_teaches_nothing(static):
    """Texts without an answer of the LLM are left out, and counted."""
    texts, labels = make_texts(120)
    known = {text: label for text, label in list(zip(texts, labels, strict=True))[:90]}
    llm = RecordedScorer(known, classes=["money", "sport"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        student = distill(llm.fit(texts), texts, embedder=static, random_state=0)
    assert student.report_["n_silent"] == 30
    assert student.score(texts[90:], labels[90:]) > 0.85


def test_a_text_that_comes_twice_is_held_out_as_one(static):
    """Otherwise the fold would have seen its held-out rows; and the teacher is asked once."""
    texts, _ = make_texts(40)
    asked = []

    class Counting:
        classes_ = np.array(["money", "sport"])

        def predict_proba(self, X):
            asked.extend(X)
            # no rule in it: what was not seen cannot be known
            rng = np.random.RandomState(0)
            return np.eye(2)[rng.randint(2, size=len(X))] * 0.98 + 0.01

    student = distill(Counting(), texts * 5, embedder=static, random_state=0)
    assert sorted(asked) == sorted(texts)
    assert student.report_["agreement"]["mean"] < 0.8


def test_several_labels(static):
    """Label sets, with the cut at which the student gives as many as its teacher."""
    rng = np.random.RandomState(0)
    Y = (rng.random((300, 2)) < 0.5).astype(int)
    texts = [
        " ".join(["bank market"] * a + ["goal cup"] * b + ["the"]) + f" {i}"
        for i, (a, b) in enumerate(Y)
    ]
    model = make_pipeline(CountVectorizer(), OneVsRestClassifier(LogisticRegression()))
    model.fit(texts[:100], Y[:100])
    gold = Y.astype(float)
    gold[40:] = np.nan
    for y in (None, gold):
        student = distill(model, texts, y=y, embedder=static, random_state=0)
        assert student.multilabel_
        assert student.predict(texts).shape == (300, 2)
        assert (student.predict(texts) == Y).mean() > 0.9
        assert student.report_["measure"] == "samples F1"
        assert student.report_["agreement"]["mean"] > 0.85
    assert student.report_["n_gold"] == 40


# -- what an LLM already said --------------------------------------------------------------


def test_labels_of_an_llm_teach_as_a_scorer_of_them_does(static):
    """Bare labels, annotations and a recorded scorer are one teacher; None is no answer."""
    texts, labels = make_texts(120)
    said = wrong_now_and_then(labels, 0.2).astype(object)
    said[100:] = None
    y = np.where(np.arange(120) < 30, labels, None)
    known = {text: label for text, label in zip(texts, said, strict=True) if label is not None}
    classes = ["money", "sport"]
    votes = np.where(pd.isna(said)[:, None], np.nan, said[:, None] == np.array(classes))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        llm = RecordedScorer(known, classes=classes).fit(texts)
        wanted = distill(llm, texts, y=y, embedder=static, random_state=0)
    for teaches in (
        said,
        list(said),
        pd.Series(said),
        Annotations(classes, votes=votes.astype(float)),
    ):
        found = distill(teaches, texts, y=y, embedder=static, random_state=0)
        proba = found.predict_proba(texts)
        np.testing.assert_allclose(proba, wanted.predict_proba(texts), atol=1e-4)
        assert found.report_["gap"] == pytest.approx(wanted.report_["gap"], abs=0.05)
        assert (found.report_["n_silent"], found.report_["n_gold"]) == (20, 30)


def test_a_class_that_only_the_gold_rows_show(static):
    """The LLM never says it; the student does, and the stated gap tells what that is worth."""
    texts, labels = make_texts(200)
    said = np.full(200, "money", dtype=object)
    said[::9] = "other"
    y = np.where(np.arange(200) < 80, labels, None)
    student = distill(said, texts, y=y, embedder=static, random_state=0)
    assert student.classes_.tolist() == ["money", "other", "sport"]
    assert student.score(texts[80:], labels[80:]) > 0.9
    assert student.report_["gap"]["low"] > 0.2


def test_a_text_with_two_answers_keeps_both(static):
    """Answers belong to rows; a text that comes twice is still held out as one."""
    texts, labels = make_texts(60)
    other = np.where(labels == "money", "sport", "money")
    student = distill([*labels, *other], texts * 2, embedder=static, random_state=0)
    proba = student.predict_proba(texts)
    np.testing.assert_allclose(proba, 0.5, atol=0.1)
    assert student.report_["n_texts"] == 120


def test_label_sets_that_an_llm_gave(static):
    """An indicator with rows of NaN; a DataFrame names its labels."""
    rng = np.random.RandomState(0)
    Y = (rng.random((200, 2)) < 0.5).astype(int)
    texts = [
        " ".join(["bank market"] * a + ["goal cup"] * b + ["the"]) + f" {i}"
        for i, (a, b) in enumerate(Y)
    ]
    said = np.where(rng.random((200, 2)) < 0.2, 1 - Y, Y).astype(float)
    said[150:] = np.nan
    gold = Y.astype(float)
    gold[50:] = np.nan
    frame = pd.DataFrame(said, columns=["banks", "games"])
    student = distill(frame, texts, y=gold, embedder=static, random_state=0)
    assert student.multilabel_
    assert student.classes_.tolist() == ["banks", "games"]
    assert (student.predict(texts[50:]) == Y[50:]).mean() > 0.9
    assert (student.report_["n_silent"], student.report_["n_gold"]) == (50, 50)
    assert student.report_["gap"]["mean"] > 0


@pytest.mark.parametrize(
    ("answers", "error", "words"),
    [
        (["a", "b", "a"], ValueError, "3 answers of the LLM and 4 texts"),
        ([1, -1, 0, 1], ValueError, "label -1"),
        ([1, "a", 0, 1], TypeError, "uniformly strings or numbers"),
        ([None] * 4, ValueError, "no row has a label"),
        (["a"] * 4, ValueError, "one class"),
        ({"x": "a"}, TypeError, "RecordedScorer"),
        ("abab", TypeError, "one label per text"),
        (7, TypeError, "one label per text"),
        ([["a"], ["a", "b"], [], ["b"]], ValueError, "MultiLabelBinarizer"),
        ([[1, 0], [0, 1], [2, 0], [1, 1]], ValueError, "only 0 and 1"),
    ],
)
def test_answers_that_cannot_teach(answers, error, words):
    """Each is refused before anything is embedded, with a word on what would do."""
    with pytest.raises(error, match=words):
        distill(answers, ["one", "two", "three", "four"], embedder="never reached")


def test_gold_labels_written_as_missing_numbers_are_no_class(static):
    """-1 for "not looked at" would be a class of its own; it is refused by name."""
    texts, labels = make_texts(20)
    codes = (labels == "sport").astype(int)
    with pytest.raises(ValueError, match="None where there is no label"):
        distill(codes, texts, y=np.where(np.arange(20) < 9, codes, -1), embedder=static)


def test_first_stage_of_a_cascade(static):
    """A cascade takes a student as it takes any classifier of texts."""
    texts, labels = make_texts(80)
    llm = RecordedScorer(dict(zip(texts, labels, strict=True)), classes=["money", "sport"])
    first = StudentClassifier(static, random_state=0)
    cascade = CascadeClassifier(first, llm, budget=0.2, random_state=0).fit(texts, labels)
    assert cascade.share_ <= 0.2
    assert cascade.score(texts, labels) > 0.9
    assert isinstance(cascade.first_, StudentClassifier)


def test_what_cannot_teach(static):
    """No probabilities, not fitted, labels of another kind or name, no folds."""
    texts, labels = make_texts(20)
    model = teacher(texts, labels)
    with pytest.raises(TypeError, match="neither predict_proba nor scores"):
        distill(StaticEmbedder(), texts, embedder=static)
    with pytest.raises(NotFittedError):
        distill(make_pipeline(CountVectorizer(), LogisticRegression()), texts, embedder=static)
    with pytest.raises(ValueError, match="label 'x'"):
        distill(model, texts, y=["x"] * 20, embedder=static)
    with pytest.raises(ValueError, match="one label per text"):
        distill(model, texts, y=np.zeros((20, 2)), embedder=static)
    with pytest.raises(ValueError, match="cv=1"):
        distill(model, texts, embedder=static, cv=1)


@pytest.mark.parametrize("share", [0.05, 0.5, 0.98])
def test_intervals_hold_what_they_say(share):
    """Of many samples, about 95 % of the intervals hold the truth, near the ends too."""
    rng = np.random.RandomState(0)
    shares, gaps = [], []
    for _ in range(400):
        one = (rng.random(60) < share).astype(float)
        other = (rng.random(60) < 0.5).astype(float)
        found = interval(one, (2.0, 2.0, 4.0))
        shares.append(found["low"] <= share <= found["high"])
        found = interval(one - other, (0.0, 1.0, 2.0))
        gaps.append(found["low"] <= share - 0.5 <= found["high"])
    assert 0.92 <= np.mean(shares) <= 0.995
    assert 0.92 <= np.mean(gaps) <= 0.985


@pytest.mark.models
@pytest.mark.nightly
def test_the_embedded_encoder_makes_the_vectors_of_model2vec(tmp_path):
    """Same recipe, other program: the vectors of texts agree up to a rotation."""
    peer = pytest.importorskip("model2vec.distill", exc_type=ImportError)
    texts = [" ".join(make_texts(40, seed=s)[0][:3]) for s in range(60)]
    ours = StaticEmbedder(memory=tmp_path).fit(texts).transform(texts)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        folder = str(find_model("all-minilm-l6-v2"))
        model = peer.distill(folder, device="cpu", pca_dims=128, quantize_to="int8")
        theirs = model.encode(texts)
    np.testing.assert_allclose(ours @ ours.T, theirs @ theirs.T, atol=0.02)
