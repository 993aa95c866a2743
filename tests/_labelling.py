"""What the tests of labelling share: a pool, its truth, and a small model."""

from sklearn.feature_extraction.text import CountVectorizer
from sklearn.naive_bayes import MultinomialNB
from sklearn.pipeline import make_pipeline

SAID = {"ham": "a nice letter from a friend", "spam": "win money now, click here"}
POOL = [f"{said} {n}" for n in range(20) for said in SAID.values()]


def truth_of(text):
    return "spam" if "money" in text else "ham"


def word_counts():
    return make_pipeline(CountVectorizer(), MultinomialNB())
