"""BABE in the alignment benchmark: votes of many LLMs and prompts against five experts."""

import numpy as np

from benchmarks._common import embed
from benchmarks.quality import _alignment_data as data
from sklfusion import Annotations
from sklfusion.alignment import LabelDistributionEstimator, alignment_table

N_TEST = 600


class Votes:
    """Sentences with expert rates (n, 2), votes (n, columns) and embeddings."""

    def __init__(self, y, votes, h, columns):
        self.y, self.votes, self.h, self.columns = y, votes, h, columns

    def __getitem__(self, rows):
        return Votes(self.y[rows], self.votes[rows], self.h[rows], self.columns)

    def share(self, chosen):
        """Smoothed share of some votes as a distribution."""
        v = self.votes[:, chosen].T
        said = Annotations(["unbiased", "biased"], repeats=np.stack([1 - v, v], axis=-1))
        return LabelDistributionEstimator("vote_share").fit(said).predict_proba(said)

    @property
    def signed(self):
        """Votes as -1 and 1, 0 where there is none."""
        return np.where(np.isnan(self.votes), 0.0, 2 * self.votes - 1)


def dataset(quick=False, redraws=0):
    """Fixed sentences judged once by models of all others, and redraws of both."""
    texts, rates, votes, columns = data.babe()
    everything = Votes(np.column_stack([1 - rates, rates]), votes, embed(texts), np.array(columns))
    rows = np.random.default_rng(0).permutation(len(texts))
    n_fit = 300 if quick else len(rows) - N_TEST
    fit, new = everything[rows[N_TEST : N_TEST + n_fit]], everything[rows[:N_TEST]]
    predictions = predict(fit, new)
    table = judge(fit, new, predictions)
    return {
        "table": table,
        "n_train": len(fit.y),
        "n_test": N_TEST,
        "lines": lines(table, new, predictions),
        "redraws": redrawn(everything, 0 if quick else redraws),
    }


def judge(fit, new, predictions):
    """The categorical table with calls per text."""
    models = np.array([c.split("__")[0] for c in new.columns])
    gpt4, everyone = int((models == "gpt_4").sum()), len(new.columns)
    calls = {m: everyone for m in predictions} | {"hard, GPT-4 8-shot CoT": 1, "probe, MiniLM": 0}
    calls |= {m: gpt4 for m in predictions if "GPT-4" in m and "8-shot" not in m}
    base = fit.y.mean(axis=0)
    return alignment_table(new.y, predictions, base_rates=base, costs=calls, multilabel=False)


def predict(fit, new):
    """Return the distributions of every method for the sentences of ``new``."""
    models = np.array([c.split("__")[0] for c in new.columns])
    gpt4, everyone = models == "gpt_4", models != ""
    out = {
        "hard, GPT-4 8-shot CoT": hard(new.share(new.columns == "gpt_4__8shot_cot")),
        "hard, majority of GPT-4's prompts": hard(new.share(gpt4)),
        "hard, majority of all": hard(new.share(everyone)),
        "share of GPT-4's prompts": new.share(gpt4),
        "share of all": new.share(everyone),
    }
    out["share of all + Platt"] = probe(
        log_odds(fit.share(everyone)), fit.y, log_odds(out["share of all"])
    )[0]
    out["probe, MiniLM"], held_out = probe(fit.h, fit.y, new.h)
    out["probe on all votes"], _ = probe(fit.signed, fit.y, new.signed)
    encoder = log_odds(held_out), log_odds(out["probe, MiniLM"])
    for name, chosen in (("GPT-4's prompts", gpt4), ("all votes", everyone)):
        X = np.hstack([fit.signed[:, chosen], encoder[0]])
        X_new = np.hstack([new.signed[:, chosen], encoder[1]])
        out[f"fusion with {name}"], _ = probe(X, fit.y, X_new)
    return out


def probe(X, y, X_new):
    """Return distributions for new rows, and held-out ones for the rows learnt from."""
    estimator = LabelDistributionEstimator("probe", n_components=None)
    held_out = estimator.fit_transform(X, y[:, 1:])
    return tuple(np.column_stack([1 - p, p]) for p in (estimator.predict_proba(X_new), held_out))


def hard(probabilities):
    return np.eye(probabilities.shape[1])[probabilities.argmax(axis=1)]


def log_odds(p):
    p = np.clip(p[:, 1:], 0.02, 0.98)
    return np.log(p) - np.log1p(-p)


PAIRS = {
    "hard, majority of GPT-4's prompts": "share of GPT-4's prompts",
    "hard, majority of all": "share of all",
    "hard, GPT-4 8-shot CoT": "share of GPT-4's prompts",
}
FUSIONS = {
    "fusion with GPT-4's prompts": ("probe, MiniLM", "share of GPT-4's prompts"),
    "fusion with all votes": ("probe, MiniLM", "probe on all votes", "share of all"),
}


def lines(table, new, predictions, draws=2000):
    """What the project wants to reach, in figures, with 95 % of a paired bootstrap."""
    found = {}
    for answer, soft in PAIRS.items():
        found[f"{soft} v {answer}: NLL ratio, F1 difference"] = [
            round(table[answer]["nll"] / table[soft]["nll"], 2),
            round(table[soft]["f1"] - table[answer]["f1"], 4),
        ]
    zero = [m for m in table if m.startswith(("hard", "share")) and "Platt" not in m]
    found["probes below all zero-shot rows in NLL and L1"] = [
        m for m in table
        if m.startswith("probe")
        and all(table[m][key] < min(table[z][key] for z in zero) for key in ("nll", "l1"))
    ]  # fmt: skip
    weights = np.random.default_rng(0).multinomial(N_TEST, np.full(N_TEST, 1 / N_TEST), size=draws)
    right = {m: _f1(new.y, p) for m, p in predictions.items()}
    for fused, parts in FUSIONS.items():
        for part in parts:
            gap = right[fused] - right[part]
            low, high = np.percentile(weights @ gap / N_TEST, [2.5, 97.5])
            found[f"{fused} minus {part}: F1, 95 %"] = [
                round(float(v), 4) for v in (gap.mean(), low, high)
            ]
    return found


def _f1(y, p):
    """F1 of each sentence: 1 where the majority's class is the most probable."""
    return (p.argmax(axis=1) == y.argmax(axis=1)).astype(float)


def redrawn(everything, redraws):
    """Mean and spread over other draws of judged and learnt sentences."""
    found = {}
    for seed in range(1, redraws + 1):
        rows = np.random.default_rng(seed).permutation(len(everything.y))
        fit, new = everything[rows[N_TEST:]], everything[rows[:N_TEST]]
        table = judge(fit, new, predict(fit, new))
        for method, row in table.items():
            for key in ("nll", "l1", "f1"):
                found.setdefault(method, {}).setdefault(key, []).append(row[key])
        for fused, parts in FUSIONS.items():
            gap = table[fused]["f1"] - max(table[part]["f1"] for part in parts)
            found.setdefault(f"{fused} minus best part", {}).setdefault("f1", []).append(gap)
    return {
        method: {k: [float(np.mean(v)), float(np.std(v, ddof=1))] for k, v in row.items()}
        for method, row in found.items()
    }
