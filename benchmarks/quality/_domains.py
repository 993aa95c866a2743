"""Texts of the seven sentiment domains with embeddings and local LLM scores, kept between runs."""

import numpy as np

from benchmarks._common import CACHE, embed, read

CLASSES = ["negative", "positive"]
DESCRIPTIONS = {
    "negative": "the writer is unhappy or dislikes it",
    "positive": "the writer is happy or likes it",
}
INSTRUCTIONS = "Decide the sentiment of a review or post."
MAX_CHARS = 500  # both sources see the same head of each text, which bounds the LLM's cost


def load_domains(per_domain, *, seed=0, names=None):
    """Return a dict of domain to (texts, y), ``per_domain`` balanced rows each.

    Texts are cut after 500 characters; of the first ``per_domain`` rows of a larger sample the
    smaller one is a part, so that scores are asked for once.
    """
    rows = read("train/sentiment_domains")
    domains = {}
    for name in names or sorted(rows.domain.unique()):
        part = rows[rows.domain == name]
        half = [
            part[part.gold == label].sample(frac=1, random_state=seed).head((per_domain + 1) // 2)
            for label in (0, 1)
        ]
        picked = [
            row for pair in zip(*(h.itertuples() for h in half), strict=True) for row in pair
        ]
        picked = picked[:per_domain]
        texts = [row.text[:MAX_CHARS] for row in picked]
        domains[name] = (texts, np.array([row.gold for row in picked], dtype=int))
    return domains


def llm_scorer(**params):
    """Return the scorer of the domain experiment: the embedded LLM, replies kept by text."""
    from sklfusion import LLMScorer

    return LLMScorer(
        classes=CLASSES,
        class_descriptions=DESCRIPTIONS,
        instructions=INSTRUCTIONS,
        memory=CACHE,
        **params,
    )


def embed_domains(domains):
    """Return a dict of domain to embeddings (n, 384)."""
    return {name: embed(texts) for name, (texts, _) in domains.items()}
