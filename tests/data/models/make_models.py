"""Writes the stored models beside it, in the format of the code that runs, and what they predict.

    python tests/data/models/make_models.py

Files of a format stay as they were written; ``expected_<format>.json`` holds, per file, a few
inputs and the outputs that every later version has to give to 1e-6.
"""

import json
import warnings
from pathlib import Path

import numpy as np
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import StandardScaler

from sklfusion import (
    Annotations,
    AutoFusionClassifier,
    CascadeClassifier,
    ClassRoutingClassifier,
    FusionClassifier,
    LLMScorer,
    MultiLabelThresholds,
    RecordedScorer,
    VoteStudent,
    persistence,
)

HERE = Path(__file__).parent
NAMES = np.array(["ham", "spam", "zeta"])
ROWS = 60


def make_rows():
    """Return features (an embedding and votes), codes, and a label indicator."""
    rng = np.random.default_rng(7)
    y = rng.permutation(np.arange(ROWS) % 3)
    embedding = rng.normal(size=(ROWS, 6)) + np.eye(3)[y] @ rng.normal(size=(3, 6))
    votes = np.eye(3)[np.where(rng.random(ROWS) < 0.7, y, rng.integers(3, size=ROWS))]
    labels = np.column_stack([y == 0, y == 1, rng.random(ROWS) < 0.3]).astype(int)
    return np.hstack([embedding, votes]), y, labels


def numeric_models(X, y, labels):
    """Yield (name, fitted model) of those that take numbers."""
    union = FeatureUnion([("scale", StandardScaler()), ("pca", PCA(3, random_state=0))])
    fusion = FusionClassifier(score_classes=NAMES.tolist(), random_state=0)
    concat = FusionClassifier(fusion="concat", max_epochs=3, random_state=0)
    yield "pipeline", make_pipeline(union, LogisticRegression()).fit(X, NAMES[y])
    yield "fusion", fusion.fit(X, NAMES[y])
    yield "residual", FusionClassifier(residual=True, max_epochs=3, random_state=0).fit(X, y)
    yield "thresholds", MultiLabelThresholds(concat, cv=2).fit(X, labels)
    routes = ClassRoutingClassifier(
        [("one", LogisticRegression()), ("two", LogisticRegression(C=0.1))], cv=2
    )
    yield "routing", routes.fit(X, NAMES[y])
    scores = np.clip(X[:, 6:], 0.05, 0.9)
    student = VoteStudent(random_state=0)
    student.fit(X, y, scores=scores, X_unlabeled=X + 0.1, scores_unlabeled=scores)
    yield "student", student


def text_models(y):
    """Yield (name, fitted model) of those that take texts; none sends anything."""
    words = ("apple", "bridge", "copper")
    texts = [f"{words[code]} number {number}" for number, code in enumerate(y)]
    answers = dict(zip(texts, NAMES[np.where(np.arange(ROWS) % 5, y, 0)].tolist(), strict=True))
    embedder = make_pipeline(TfidfVectorizer(), TruncatedSVD(3, random_state=0))
    recorded = RecordedScorer(answers, classes=NAMES.tolist())
    auto = AutoFusionClassifier(recorded, embedder, random_state=0).fit(texts, NAMES[y])
    yield "auto", auto, texts
    probs = np.clip(np.eye(3)[y], 0.1, 0.8)
    annotations = Annotations(NAMES.tolist(), probs=probs, meta={"model": "none"})
    yield "recorded", RecordedScorer(annotations, texts=texts).fit(texts), texts
    cheap = make_pipeline(TfidfVectorizer(), LogisticRegression())
    yield "cascade", CascadeClassifier(cheap, recorded, budget=0.3).fit(texts, NAMES[y]), texts


def llm_scorer():
    """Return a fitted scorer: its prompt, its examples and its price travel along."""
    return LLMScorer(
        "small",
        base_url="http://127.0.0.1:9/v1",
        classes=["ham", "spam"],
        class_descriptions={"spam": "unwanted"},
        strategy="label",
        calibrate=False,
        prices=(1.0, 2.0),
        n_shots=1,
        memory="~/.cache/never-made",
    ).fit(["win more money", "see you soon"], ["spam", "ham"])


def outputs(model, X):
    """Return what a model says, as a list."""
    method = "predict_proba" if hasattr(model, "predict_proba") else "transform"
    return np.asarray(getattr(model, method)(X), dtype=float).tolist()


def main():
    """Write all files."""
    X, y, labels = make_rows()
    cases = [(name, model, X[:4].tolist()) for name, model in numeric_models(X, y, labels)]
    cases += [(name, model, texts[:4]) for name, model, texts in text_models(y)]
    expected = {}
    for name, model, inputs in cases:
        persistence.save(model, HERE / f"{name}_v{persistence.FORMAT}.sklf")
        expected[name] = {"X": inputs, "outputs": outputs(model, inputs)}
    persistence.save(llm_scorer(), HERE / f"scorer_v{persistence.FORMAT}.sklf")
    path = HERE / f"expected_v{persistence.FORMAT}.json"
    path.write_text(json.dumps(expected, indent=1) + "\n")


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main()
