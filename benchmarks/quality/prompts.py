"""Prompt ablation: what better prompts are worth to the LLM, and to the fusion.

`compare_prompts` takes any named scorers (prompts, models, shots) and labelled texts, and gives
one row per scorer: the LLM alone, the encoder alone and the fusion on the same draws. Run as a
program it compares three prompts of the embedded LLM on the bundled news briefs; replies are kept,
so a second run asks nothing.

python -m benchmarks.quality.prompts [--quick]
"""

import numpy as np
from sklearn.base import clone
from sklearn.model_selection import StratifiedShuffleSplit

from benchmarks._common import CACHE, embed, mean_spread
from benchmarks.quality import _contest
from sklfusion import FusionClassifier, LLMScorer
from sklfusion.datasets import load_newsdesk

N_TEXTS, TRAIN_ROWS, N_DRAWS = 120, 40, 10
#: One worked example per desk, about nobody and nothing in the bundle.
EXAMPLES = [
    ("The central bank of Norland left its key rate unchanged.", "Business"),
    ("The string quartet opened the winter season with three new works.", "Culture"),
    ("A trial of the new vaccine found no serious side effects.", "Health"),
    ("The upper house sent the electoral bill back to committee.", "Politics"),
    ("Astronomers found water vapour around a planet of a red dwarf.", "Science"),
    ("The visitors won the derby with a goal in stoppage time.", "Sports"),
]
#: What the results file says about its making.
MADE = {
    "seeds": f"draws 0 to {N_DRAWS - 1}",
    "interval": "± is the standard deviation over draws, SE the paired standard error over draws",
}


def named_scorers(desk):
    """Return three prompts for the embedded LLM, from bare to full."""

    def scorer(**params):
        return LLMScorer(classes=desk.target_names, memory=CACHE, **params)

    described = {"class_descriptions": desk.descriptions}
    return {
        "class names only": scorer(),
        "with descriptions": scorer(**described),
        "and six examples": scorer(**described, examples=EXAMPLES),
    }


def compare_prompts(scorers, texts, y, *, train_rows, n_draws, embeddings=None, seed=0):
    """Return accuracies of LLM, encoder and fusion for each named scorer.

    Parameters
    ----------
    scorers : dict of str to transformer
        Unfitted; texts to one score column per sorted class of ``y``.
    texts : list of str
    y : array-like of shape (n,)
    train_rows : int
        Labelled rows of each draw; the others are for testing.
    n_draws : int
    embeddings : ndarray of shape (n, d), optional
        By default those of the embedded encoder.
    seed : int

    Returns
    -------
    dict of str to dict of str to list of float
        Scorer name to method to the accuracies of the draws.
    """
    texts, y = np.array(texts, dtype=object), np.asarray(y)
    E = embed(texts.tolist()) if embeddings is None else embeddings
    classes = np.unique(y)
    splits = StratifiedShuffleSplit(n_draws, train_size=train_rows, random_state=seed)
    splits = list(splits.split(texts, y))
    encoder = []
    for train, test in splits:
        predicted = _contest.fit_encoder(E[train], y[train], seed).predict(E[test])
        encoder.append(float(np.mean(predicted == y[test])))
    results = {}
    for name, scorer in scorers.items():
        results[name] = {"LLM alone": [], "encoder alone": encoder, "fusion": []}
        for draw, (train, test) in enumerate(splits):
            fitted = clone(scorer).fit(texts[train].tolist(), y[train])
            scores = fitted.transform(texts.tolist())
            X = np.hstack([E, scores])
            columns = slice(E.shape[1], X.shape[1])
            head = FusionClassifier(score_columns=columns, random_state=draw)
            fusion = head.fit(X[train], y[train])
            right = classes[scores[test].argmax(axis=1)] == y[test]
            results[name]["LLM alone"].append(float(right.mean()))
            results[name]["fusion"].append(float(fusion.score(X[test], y[test])))
    return results


def run(quick=False):
    """Compare three prompts of the embedded LLM on the bundled news briefs."""
    desk = load_newsdesk()
    scorers, n_texts, train_rows, n_draws = named_scorers(desk), N_TEXTS, TRAIN_ROWS, N_DRAWS
    if quick:
        n_texts, train_rows, n_draws = 12, 6, 1
        scorers = dict(list(scorers.items())[:1])
    picked = _every_class(desk.target, n_texts)
    scores = compare_prompts(
        scorers,
        [desk.data[i] for i in picked],
        desk.target[picked],
        train_rows=train_rows,
        n_draws=n_draws,
    )
    return {"texts": len(picked), "train_rows": train_rows, "draws": n_draws, "scores": scores}


def _every_class(target, n_rows):
    """Return rows in turn from every class."""
    rng = np.random.default_rng(0)
    columns = [rng.permutation(np.flatnonzero(target == label)) for label in np.unique(target)]
    return np.array([i for group in zip(*columns, strict=True) for i in group])[:n_rows]


def table(results):
    """One row per prompt."""
    rows = []
    for name, cells in results["scores"].items():
        fusion = np.array(cells["fusion"])
        best = max(cells["LLM alone"], cells["encoder alone"], key=np.mean)
        gain = _contest.paired_cell(fusion - np.array(best))
        rows.append([name, *(mean_spread(v) for v in cells.values()), gain])
    return ["prompt", "LLM alone", "encoder alone", "fusion", "fusion minus best part"], rows


def draw(results):
    """LLM, encoder and fusion, prompts as rows."""
    return _contest.dot_plot({"news briefs, 40 labelled rows": results["scores"]})


if __name__ == "__main__":
    _contest.program("prompts", run, table, draw, **MADE)
