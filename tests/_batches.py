"""What the tests of many texts share: a cheap model, saved, and Parquet files of texts."""

import pyarrow as pa
import pyarrow.parquet as pq
from _topics import make_texts
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from sklfusion import LLMClassifier, persistence

CLASSES = ["money", "sport"]


def word_model():
    """A fitted pipeline of two topics that costs nothing."""
    texts, labels = make_texts(40)
    return make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(texts, labels)


def save_word_model(folder):
    path = folder / "model.sklf"
    persistence.save(word_model(), path)
    return path


def asking(server, **params):
    """An LLM classifier at a loopback endpoint."""
    settings = {"classes": CLASSES, "strategy": "label", "base_url": server.base_url}
    settings |= {"timeout": 10.0, "deadline": 30.0, "max_concurrency": 4}
    return LLMClassifier("loopback", **{**settings, **params}).fit(["any"])


def write_shards(folder, sizes, start=0):
    """Write one Parquet file per size; ids go on from file to file. Returns all texts."""
    folder.mkdir(exist_ok=True)
    texts, _ = make_texts(sum(sizes), seed=1)
    done = 0
    for number, size in enumerate(sizes):
        rows = {"id": range(start + done, start + done + size), "text": texts[done : done + size]}
        pq.write_table(
            pa.table({k: list(v) for k, v in rows.items()}), folder / f"{number}.parquet"
        )
        done += size
    return texts


class Picky(ClassifierMixin, BaseEstimator):
    """Raises over a batch that holds a text with a certain word."""

    classes_ = CLASSES

    def __init__(self, word="poison"):
        self.word = word

    def predict_proba(self, X):
        if any(self.word in text for text in X):
            raise ZeroDivisionError(f"it holds {self.word}")
        return [[0.75, 0.25]] * len(X)
