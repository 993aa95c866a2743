"""Sets whose labels real LLMs gave, to train on: one column each, or all LLMs of a set."""

import functools
from dataclasses import dataclass

import numpy as np

from benchmarks._common import data_dir, embed
from benchmarks.quality import _llm_sets

#: Rows trained on at most, and share of a set that is trained on; the others test.
N_TRAIN, SHARE = 1000, 0.6
#: Classes with fewer labels than this are left out where folds are cut.
FEWEST_OF_A_CLASS = 5
#: Sets of several labels per text and of no text are left out.
_LEFT_OUT = ("Reuters", "Commodity", "GoEmotions", "Global warming")
#: BABE: prompts with four examples beside those without, of the same LLMs.
_BABE_FEW = ("mixtral_8x7b__4shot", "zephyr__4shot", "falcon_7b__4shot_cot", "llama_7b__4shot")


@dataclass
class Labelled:
    """Features, gold labels and the labels of one LLM (n,) or several (n, L); -1 for none."""

    name: str
    llm: str
    texts: list
    X: np.ndarray
    gold: np.ndarray
    labels: np.ndarray

    @property
    def wrong(self):
        """Share of wrong labels."""
        return float(np.mean(self.gold != self.labels.T))

    def split(self, seed):
        """Training and test rows of a draw."""
        rows = np.random.default_rng(seed).permutation(len(self.gold))
        cut = int(SHARE * len(rows))
        return rows[:cut][:N_TRAIN], rows[cut:][:N_TRAIN]


@functools.cache
def load():
    """All sets of one label per text, the name ``set/LLM`` each."""
    found = []
    for entry in _llm_sets.load(data_dir()):
        if entry.name in _LEFT_OUT or entry.multilabel or " all " in f" {entry.llm} ":
            continue
        codes = np.where(entry.votes[0].max(axis=1) == 1, entry.votes[0].argmax(axis=1), -1)
        found.append((entry.name, entry.llm, entry.texts, entry.y, codes))
    found += _few_shot()
    out = {f"{n}/{llm}": Labelled(n, llm, t, _features(n, t), y, v) for n, llm, t, y, v in found}
    return out | _several(out)


def _few_shot():
    import pandas as pd

    rows = pd.read_parquet(data_dir() / "llm/babe_llm_votes.parquet")
    texts, y = rows.text.tolist(), rows.gold.to_numpy(int)
    return [("BABE", llm.replace("__", ", "), texts, y, rows[llm].to_numpy(int))
            for llm in _BABE_FEW]  # fmt: skip


def _several(singles):
    """All LLMs of a set at once, for sets with several zero-shot ones."""
    out = {}
    for name in dict.fromkeys(s.name for s in singles.values()):
        columns = [s for s in singles.values() if s.name == name and "shot" not in s.llm]
        if len(columns) > 1:
            labels = np.column_stack([s.labels for s in columns])
            first = columns[0]
            args = (name, "all", first.texts, first.X, first.gold, labels)
            out[f"{name}/all"] = Labelled(*args)
    return out


@functools.cache
def _embedded(texts):
    return embed(texts)


def _features(name, texts):
    if name != "SemEval":
        return _embedded(tuple(texts))
    import pandas as pd

    # the relation is between two words of the text, which its embedding alone does not say
    rows = pd.read_parquet(data_dir() / "llm/semeval_relation_mixtral.parquet")
    parts = (rows.text, rows.entity1, rows.entity2)
    return np.hstack([_embedded(tuple(p)) for p in parts])
