"""Train on some domains, test on others: does fusion survive the shift better than its parts?

Sentiment in seven domains (books, films, kitchen ware, airlines, blogs, ...). Each draw picks
three domains, labels 90 of their texts, and tests on the other texts of these domains and on
the four domains never seen. The LLM is the embedded one, zero-shot, its bias for a label taken
off with
the training texts (without their labels); the encoder is frozen MiniLM. Both see the first 500
characters of each text.

python -m benchmarks.quality.domain_shift [--quick]
"""

import numpy as np

from benchmarks._common import mean_spread
from benchmarks.quality import _contest
from benchmarks.quality._domains import embed_domains, llm_scorer, load_domains
from sklfusion import FusionClassifier

PER_DOMAIN, TRAIN_ROWS, N_TRAIN_DOMAINS, N_DRAWS = 50, 90, 3, 10
METHODS = ("LLM alone", "encoder alone", "concatenation", "fusion")
#: What the results file says about its making.
MADE = {
    "seeds": f"draws 0 to {N_DRAWS - 1} of domains and rows",
    "interval": "± is the standard deviation over draws, SE the paired standard error over draws",
}


def answers(scores, E, y, train, seed):
    """Return what each method predicts for all rows after seeing the rows ``train``."""
    X = np.hstack([E, scores])
    columns = slice(E.shape[1], X.shape[1])
    told = {"LLM alone": scores.argmax(axis=1)}
    told["encoder alone"] = _contest.fit_encoder(E[train], y[train], seed).predict(E)
    for name, kind in (("concatenation", "concat"), ("fusion", "anchored")):
        clf = FusionClassifier(fusion=kind, score_columns=columns, random_state=seed)
        told[name] = clf.fit(X[train], y[train]).predict(X)
    return told


def run(quick=False):
    """Measure accuracy inside and outside the training domains."""
    per_domain, train_rows, n_draws, names = PER_DOMAIN, TRAIN_ROWS, N_DRAWS, None
    if quick:
        per_domain, train_rows, n_draws = 6, 8, 1
        names = ["airline", "blog", "books"]
    domains = load_domains(per_domain, names=names)
    names = np.array(list(domains))
    texts = np.array([t for texts, _ in domains.values() for t in texts], dtype=object)
    y = np.concatenate([y for _, y in domains.values()])
    E = np.concatenate(list(embed_domains(domains).values()))
    where = np.repeat(names, [len(labels) for _, labels in domains.values()])
    parts = {"seen domains": {m: [] for m in METHODS}, "new domains": {m: [] for m in METHODS}}
    each = {name: {m: [] for m in METHODS} for name in names}
    for seed in range(n_draws):
        rng = np.random.default_rng(seed)
        seen = np.isin(where, rng.choice(names, min(N_TRAIN_DOMAINS, len(names) - 1), False))
        train = rng.permutation(np.flatnonzero(seen))[:train_rows]
        scorer = llm_scorer().fit(texts[train].tolist())
        told = answers(scorer.transform(texts.tolist()), E, y, train, seed)
        rest = np.setdiff1d(np.flatnonzero(seen), train)
        for method, predicted in told.items():
            right = predicted == y
            parts["seen domains"][method].append(float(right[rest].mean()))
            parts["new domains"][method].append(float(right[~seen].mean()))
            for name in np.unique(where[~seen]):
                each[name][method].append(float(right[where == name].mean()))
    return {"train_rows": train_rows, "draws": n_draws, "scores": parts, "new_domain": each}


def table(results):
    """One row per place of the test texts; the gain is fusion minus the better part, paired."""
    rows = []
    for place, cells in [*results["scores"].items(), *results["new_domain"].items()]:
        if not cells["fusion"]:
            continue
        best = max(cells["LLM alone"], cells["encoder alone"], key=np.mean)
        gain = _contest.paired_cell(np.array(cells["fusion"]) - np.array(best))
        name = place if place in results["scores"] else f"new domain: {place}"
        rows.append([name, *(mean_spread(cells[m]) for m in METHODS), gain])
    return ["test texts from", *METHODS, "fusion minus best part"], rows


def draw(results):
    """Accuracy inside and outside the training domains."""
    return _contest.dot_plot(results["scores"])


if __name__ == "__main__":
    _contest.program("domain_shift", run, table, draw, **MADE)
