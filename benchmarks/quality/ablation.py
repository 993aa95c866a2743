"""What each input is worth: embedding only, LLM scores only, both.

For the plain concatenation and for anchored fusion, on four sets with real votes: AG News, the
Financial PhraseBank with a good LLM and with one below chance, and Reuters (several labels). For
"embedding only" the anchored fusion meets an LLM that never answers.

python -m benchmarks.quality.ablation [--quick]
"""

import numpy as np

from benchmarks._common import mean_spread
from benchmarks.quality import _contest

SETS = (
    ("AG News", "gpt-5-nano"),
    ("FPB", "gpt4"),
    ("FPB", "falcon_7b"),
    ("Reuters", "gpt-5-nano"),
)
INPUTS = ("embedding only", "scores only", "both")
KINDS = {"concatenation": "concat", "fusion": "anchored"}
SIZE, N_DRAWS = 200, 4
#: What the results file says about its making.
MADE = {
    "seeds": f"draws 0 to {N_DRAWS - 1}",
    "interval": "± is the standard deviation over draws",
}


def columns(data, X, inputs):
    """Return the features for one choice of inputs and how many of them are embeddings."""
    width = len(data.classes)
    E, scores = X[:, :-width], X[:, -width:]
    if inputs == "scores only":
        return scores, 0
    if inputs == "embedding only":
        scores = np.full_like(scores, 0.5 if data.multilabel else 1 / width)
    return np.hstack([E, scores]), E.shape[1]


def run(quick=False):
    """Measure every choice of inputs with both ways to fuse."""
    sets, size, n_draws = SETS, SIZE, N_DRAWS
    if quick:
        sets, size, n_draws = SETS[:1], 40, 1
    results = {"size": size, "draws": n_draws, "sets": {}}
    for data in _contest.load_sets(*sets):
        data = _contest.head(data, 90) if quick else data
        X = _contest.features(data)
        cells = {}
        for train, test, seed in _contest.splits(data, size, n_draws):
            for kind, option in KINDS.items():
                for inputs in INPUTS:
                    Z, n_embedding = columns(data, X, inputs)
                    clf = _contest.fusion(data, seed, n_embedding=n_embedding, fusion=option)
                    predicted = clf.fit(Z[train], data.y[train]).predict(Z[test])
                    score = _contest.hits(predicted, data.y[test]).mean()
                    cells.setdefault(f"{kind}, {inputs}", []).append(float(score))
            llm = _contest.llm_alone(data.votes[0][test], data.y[train])
            score = float(_contest.hits(llm, data.y[test]).mean())
            cells.setdefault("LLM's own answer", []).append(score)
        results["sets"][f"{data.name}, {data.llm}"] = cells
    return results


def table(results):
    """One row per data set and way to fuse."""
    rows = []
    for name, cells in results["sets"].items():
        for kind in KINDS:
            scores = [mean_spread(cells[f"{kind}, {inputs}"]) for inputs in INPUTS]
            rows.append([name, kind, mean_spread(cells["LLM's own answer"]), *scores])
    return ["data, LLM", "way", "LLM's own answer", *INPUTS], rows


def draw(results):
    """One panel per data set."""
    return _contest.dot_plot(results["sets"])


if __name__ == "__main__":
    _contest.program("ablation", run, table, draw, **MADE)
