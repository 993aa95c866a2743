"""Texts whose topic shows in their words, for tests that train an encoder."""

import numpy as np

WORDS = {"money": ["bank", "rate", "market", "cuts"], "sport": ["goal", "cup", "team", "late"]}


def make_texts(n, seed=0):
    """Texts of two topics that differ in their words, and their topics."""
    rng = np.random.RandomState(seed)
    labels = np.array(["money", "sport"])[np.arange(n) % 2]
    texts = [" ".join(rng.choice(WORDS[k], 4)) + f" {i}" for i, k in enumerate(labels)]
    return texts, labels
