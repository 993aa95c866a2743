"""Noisy-label sets: real LLM labels, and synthetic noise of three kinds on gold labels."""

import functools
from dataclasses import dataclass

import numpy as np

from benchmarks._common import embed, read

#: Rows trained on where a set has more; SemEval keeps all of its 1,749.
N_TRAIN = 1000

BABE_LLMS = (
    "falcon_7b", "flan_t5_base", "flan_t5_large", "flan_t5_xl", "flan_ul2", "gpt_3_5", "gpt_4",
    "llama_7b", "llama_13b", "mistral_7b", "mixtral_8x7b", "openchat", "zephyr",
)  # fmt: skip
KINDS = ("symmetric", "asymmetric", "instance")
#: Share of changed labels: below one half for two classes, or they would mean the opposite.
RATES = {"TREC": 0.4, "NumClaim": 0.3}


@dataclass
class NoisySet:
    """Features and labels of one draw; ``noisy`` is -1 where the LLM gave none."""

    name: str
    X: np.ndarray
    noisy: np.ndarray
    gold: np.ndarray
    X_test: np.ndarray
    y_test: np.ndarray


def names():
    """All sets, as ``data/labels``."""
    return [
        "SemEval/Mixtral", "MR/ChatGPT", *(f"BABE/{llm}" for llm in BABE_LLMS),
        *(f"{data}/{kind}" for data in RATES for kind in KINDS),
        *(f"{data}/gold" for data in ("SemEval", "MR", "BABE", *RATES)),
    ]  # fmt: skip


def load(name, seed, *, n_train=N_TRAIN, view="text and entities"):
    """Make one draw of a set: its rows, its split and its noise depend on the seed alone."""
    data, _, labels = name.partition("/")
    rng = np.random.default_rng(seed)
    if data == "SemEval":
        return _semeval(name, labels, view)
    rows, texts, gold, test = {"MR": _mr, "BABE": _babe, "TREC": _trec, "NumClaim": _numclaim}[
        data
    ](rng)
    train = rng.permutation(np.flatnonzero(~test))[:n_train]
    X = _features(tuple(texts))
    noisy = gold[train]
    if data == "MR" and labels != "gold":
        noisy = rows.chatgpt.fillna(-1).to_numpy(dtype=int)[train]
    elif data == "BABE" and labels != "gold":
        noisy = rows[f"{labels}__0shot"].to_numpy(dtype=int)[train]
    elif labels != "gold":
        from sklfusion.noise._synthetic import add_label_noise

        noisy = add_label_noise(noisy, labels, RATES[data], X=X[train], random_state=seed)
    return NoisySet(name, X[train], noisy, gold[train], X[test], gold[test])


@functools.cache
def _features(texts):
    """Embeddings, looked up once for all draws of a process."""
    return embed(texts)


def _semeval(name, labels, view):
    rows = read("llm/semeval_relation_mixtral")
    parts = {
        "text": [rows.text],
        "text and entities": [rows.text, rows.entity1, rows.entity2],
        "entities marked": [_marked(rows)],
        "marked and entities": [_marked(rows), rows.entity1, rows.entity2],
    }[view]
    X = np.hstack([_features(tuple(p)) for p in parts])
    gold, train = rows.gold.to_numpy(), (rows.split == "train").to_numpy()
    test = (rows.split == "test").to_numpy()
    noisy = gold if labels == "gold" else rows.mixtral8x22b.to_numpy()
    return NoisySet(name, X[train], noisy[train], gold[train], X[test], gold[test])


def _marked(rows):
    """Texts with brackets around both entities."""
    out = []
    for text, *spans in zip(
        rows.text, rows.span1_start, rows.span1_end, rows.span2_start, rows.span2_end, strict=True
    ):
        for start, end in sorted([spans[:2], spans[2:]], reverse=True):
            text = f"{text[:start]}<{text[start:end]}>{text[end:]}"
        out.append(text)
    return rows.text.__class__(out)


def _mr(rng):
    rows = read("llm/mr_chatgpt")
    return rows, rows.text.tolist(), rows.gold.to_numpy(int), (rows.split == "test").to_numpy()


def _babe(rng):
    rows = read("llm/babe_llm_votes")
    test = rng.permutation(len(rows)) < 900  # there is no test split with votes
    return rows, rows.text.tolist(), rows.gold.to_numpy(int), test


def _trec(rng):
    rows = read("train/trec6")
    test = (rows.split == "test").to_numpy()
    # test texts begin with the gold fine-grained class and are cased; the others are neither
    texts = [
        (t.split(" ", 1)[1] if is_test else t).lower()
        for t, is_test in zip(rows.text, test, strict=True)
    ]
    return rows, texts, rows.gold.to_numpy(int), test


def _numclaim(rng):
    rows = read("train/numclaim")
    return rows, rows.text.tolist(), rows.gold.to_numpy(int), (rows.split == "test").to_numpy()
