"""The cells of the bench: data sets with LLM answers, numbers of labelled rows, ten draws."""

import hashlib
from dataclasses import dataclass

import numpy as np

from benchmarks._common import data_dir
from benchmarks.quality import _llm_sets
from benchmarks.quality._parts import split

#: Labelled rows; None is all that are not for testing.
SIZES = (20, 50, 100, 200, 500, None)
DRAWS = 10


@dataclass(frozen=True)
class Task:
    """What a classifier may know of its cell beside the labelled rows.

    Attributes
    ----------
    n_embedding : int
        Width of the embedding: the first columns of X.
    n_classes, n_llms : int
        The other columns are ``n_llms`` blocks of ``n_classes`` scores.
    multilabel : bool
        Whether y is an indicator (n, n_classes), else class numbers from 0 to n_classes - 1.
    seed : int
        Number of the draw.
    """

    n_embedding: int
    n_classes: int
    n_llms: int
    multilabel: bool
    seed: int

    @property
    def blocks(self):
        """A slice of columns for each LLM."""
        starts = [self.n_embedding + n * self.n_classes for n in range(self.n_llms)]
        return [slice(start, start + self.n_classes) for start in starts]

    @property
    def scores(self):
        """All score columns as one slice."""
        return slice(self.n_embedding, self.n_embedding + self.n_llms * self.n_classes)


def sets(names=None):
    """The pairs of data set and LLM, all or those of some data sets."""
    found = [s for s in _llm_sets.load(data_dir()) if names is None or s.name in names]
    unknown = set(names or ()) - {s.name for s in found}
    if unknown:
        raise ValueError(f"No data set {sorted(unknown)}; there are {', '.join(set_names())}.")
    return found


def set_names():
    """The data sets, in the order of the tables."""
    return list(dict.fromkeys(s.name for s in _llm_sets.load(data_dir())))


def sizes_of(data, sizes=SIZES):
    """The numbers of labelled rows that a data set has room for."""
    room = len(split(data, None, 0)[0])
    return [size for size in sizes if size is None or size < room]


def digest(data):
    """Digest of texts, labels and votes: stored in entries in place of the data."""
    told = hashlib.sha256("\0".join(data.texts).encode())
    for values in (data.y, *data.votes):
        told.update(np.ascontiguousarray(values, dtype=np.float64).tobytes())
    return told.hexdigest()[:12]


def cell(data, E, size, draw):
    """Features, labels, training rows, test rows and the task of one draw.

    Returns
    -------
    X : ndarray (n, d + n_llms n_classes)
    y : ndarray (n,) or (n, n_classes)
    train, test : ndarray of row numbers
    task : Task
    """
    train, test = split(data, size, draw)
    task = Task(E.shape[1], len(data.classes), len(data.votes), data.multilabel, draw)
    return np.hstack([E, *data.votes]), data.y, train, test, task
