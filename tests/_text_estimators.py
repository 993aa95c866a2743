"""Small text estimators for the tests of the checks; importable in a fresh process."""

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin
from sklearn.utils.validation import check_consistent_length, check_is_fitted

from sklfusion._text_input import check_texts


class LetterCounts(TransformerMixin, BaseEstimator):
    """Counts letters; keeps the whole contract."""

    def __init__(self, letters="aeiou", *, batch_size=8):
        self.letters = letters
        self.batch_size = batch_size

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.two_d_array = False
        return tags

    def fit(self, X, y=None):
        check_texts(X, caller="LetterCounts")
        self.n_letters_ = len(self.letters)
        return self

    def transform(self, X):
        check_is_fitted(self)
        texts = check_texts(X, caller="LetterCounts", allow_empty=True)
        counts = [[text.count(letter) for letter in self.letters] for text in texts]
        return np.array(counts, dtype=np.float64).reshape(len(texts), self.n_letters_)

    def get_feature_names_out(self, input_features=None):
        return np.array([f"n_{letter}" for letter in self.letters], dtype=object)


class Stateful(LetterCounts):
    """Its result depends on the row's place."""

    def transform(self, X):
        return super().transform(X) + np.arange(len(X))[:, None] * 0.1


class Eager(LetterCounts):
    """Validates and computes in the constructor."""

    def __init__(self, letters="aeiou", *, batch_size=8):
        super().__init__(letters, batch_size=batch_size)
        self.n = len(letters)


class Trusting(LetterCounts):
    """Looks at nothing that comes in."""

    def fit(self, X, y=None):
        self.n_letters_ = len(self.letters)
        return self

    def transform(self, X):
        counts = [[str(text).count(letter) for letter in self.letters] for text in X]
        return np.array(counts, dtype=np.float64)


class Tagless(LetterCounts):
    """Says nothing about its input, and has the names of its columns wrong."""

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = True
        return tags

    def get_feature_names_out(self, input_features=None):
        return np.array(["n"] * len(self.letters), dtype=object)


class Forgetful(LetterCounts):
    """Changes its parameters in fit, and needs no fit."""

    def fit(self, X, y=None):
        self.letters = "".join(sorted(self.letters, reverse=True))
        return super().fit(X)

    def transform(self, X):
        self.n_letters_ = len(self.letters)
        return super().transform(X)


class NearestLength(ClassifierMixin, BaseEstimator):
    """Predicts the label of the text of the nearest length; has no probabilities."""

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.two_d_array = False
        return tags

    def fit(self, X, y):
        texts = check_texts(X, caller="NearestLength")
        check_consistent_length(texts, y)
        self.lengths_ = np.array([len(text) for text in texts])
        self.classes_, self.codes_ = np.unique(np.asarray(y), return_inverse=True)
        return self

    def predict(self, X):
        check_is_fitted(self)
        texts = check_texts(X, caller="NearestLength", allow_empty=True)
        near = [int(np.abs(self.lengths_ - len(text)).argmin()) for text in texts]
        return self.classes_[self.codes_[np.array(near, dtype=int)]]
