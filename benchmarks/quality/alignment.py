"""Do label distributions of LLMs agree with people? Method by metric on five data sets.

python -m benchmarks.quality._alignment_collect    # the embedded LLM; minutes, resumable
python -m benchmarks.quality.alignment [--quick]   # the table, the figure, the JSON

GoEmotions and SemEval: the embedded LLM (SmolLM2-135M) against 0/1 gold. Unhealthy comments and
Kern tweets: crowd rates, no LLM. BABE: votes of thirteen LLMs under nine prompts against five
experts. Everything that learns is fitted on training rows only; strengths and thresholds are
chosen by cross-validation inside them.
"""

import argparse
import warnings

import numpy as np
from sklearn.base import clone
from sklearn.model_selection import KFold
from sklearn.preprocessing import StandardScaler

from benchmarks._common import embed, print_table, save_figure, write_json
from benchmarks.quality import _alignment_collect as asked
from benchmarks.quality import _alignment_data as data
from sklfusion import Annotations, FusionClassifier, MultiLabelThresholds
from sklfusion.alignment import (
    AlignmentDisplay,
    LabelDistributionEstimator,
    alignment_table,
    calls_per_text,
    example_f1,
)
from sklfusion.exceptions import CacheMissError, DataWarning

ZERO_SHOT = ("hard", "compare_to_none", "max", "unary", "binary")
# The largest of these that has been collected is used.
TEST_SIZES = (200, 180, 160, 140, 120, 100)
TRAIN_SIZES = (200, 100, 60, 50, 40, 30, 20)
PAIR_SIZES = (60, 20)


def stored(source, pool, sizes, queries):
    """Return texts, targets and stored annotations of as many texts of a pool as there are."""
    asker = asked.collector(source, queries).set_params(scorer__cache_only=True)
    for n in sizes:
        texts, y = source.draw(pool, n)
        try:
            return texts, y, asker.annotate(texts)
        except CacheMissError:
            continue
    return None


def llm_dataset(name):
    """One table of the embedded LLM: zero-shot methods, Platt, probes and fusion."""
    source = asked.SOURCES[name]()
    test = stored(source, "test", TEST_SIZES, ["list", "unary"])
    train = stored(source, "train", TRAIN_SIZES, ["list", "unary"])
    if test is None or train is None:
        raise SystemExit(f"Run python -m benchmarks.quality._alignment_collect {name} first.")
    (texts, y, said), (texts_fit, y_fit, said_fit) = test, train
    k = len(source.labels)
    predictions, sets, costs = {}, {}, {}
    for method in ZERO_SHOT[:-1]:
        estimator = LabelDistributionEstimator(method).fit(said)
        predictions[method] = estimator.predict_proba(said)
        costs[method] = estimator.calls_per_text_
    for method in ("max", "unary"):
        estimator = LabelDistributionEstimator(method, calibrate="per_label_platt")
        predictions[f"{method} + Platt"] = estimator.fit(said_fit, y_fit).predict_proba(said)
        costs[f"{method} + Platt"] = estimator.calls_per_text_
    supervised(predictions, sets, costs, texts, said, texts_fit, y_fit, said_fit)
    table = alignment_table(y, predictions, base_rates=y_fit.mean(axis=0), costs=costs, sets=sets)
    for method, chosen in tuned_sets(said, said_fit, y_fit).items():
        table[method]["f1_tuned"] = example_f1(y, chosen)
    for method, chosen in sets.items():
        table[method]["f1_tuned"] = example_f1(y, chosen)
        table[method]["f1"] = example_f1(y, predictions[method])
    return {
        "table": table,
        "n_train": len(texts_fit),
        "n_test": len(texts),
        "labels": list(source.labels),
        "pairs": pair_table(source, k),
    }


def supervised(predictions, sets, costs, texts, said, texts_fit, y_fit, said_fit):
    """Add the two probes and the fusion: probabilities, and sets by tuned thresholds."""
    h, h_fit = embed(texts), embed(texts_fit)
    z, z_fit = score_block(said), score_block(said_fit)
    k = y_fit.shape[1]
    # Both vectors are what an encoder saw: the sentence, and the state before the first label.
    state = StandardScaler().fit(said_fit.hidden)
    width = np.sqrt(said.hidden.shape[1])
    both = np.hstack([h, state.transform(said.hidden) / width])
    both_fit = np.hstack([h_fit, state.transform(said_fit.hidden) / width])
    fusion = FusionClassifier(
        score_columns=slice(both.shape[1], both.shape[1] + z.shape[1]),
        score_classes=list(range(k)),
        random_state=0,
    )
    rows = {
        "probe, LLM state": (LabelDistributionEstimator("probe"), said_fit.hidden, said.hidden),
        "probe, MiniLM": (LabelDistributionEstimator("probe"), h_fit, h),
        "fusion": (fusion, np.hstack([both_fit, z_fit]), np.hstack([both, z])),
    }
    for name, (estimator, X_fit, X) in rows.items():
        tuned = MultiLabelThresholds(clone(estimator), scoring="f1_samples")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DataWarning)
            tuned.fit(np.asarray(X_fit, dtype=np.float32), y_fit.astype(int))
        X = np.asarray(X, dtype=np.float32)
        predictions[name], sets[name] = tuned.predict_proba(X), tuned.predict(X)
    costs.update({"probe, LLM state": 1, "probe, MiniLM": 0, "fusion": 1 + k})


def score_block(said):
    """LLM scores for the fusion: probabilities by three readings, 3 K columns."""
    readings = ("unary", "compare_to_none", "max")
    return np.hstack(
        [LabelDistributionEstimator(m).fit(said).predict_proba(said) for m in readings]
    )


def tuned_sets(said, said_fit, y_fit):
    """Label sets of zero-shot methods with thresholds tuned on the training rows."""
    out = {}
    for method in ZERO_SHOT[1:-1]:
        estimator = LabelDistributionEstimator(method).fit(said)
        tuner = MultiLabelThresholds(scoring="f1_samples")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DataWarning)
            tuner.fit(estimator.predict_proba(said_fit), y_fit.astype(int))
        out[method] = tuner.predict(estimator.predict_proba(said))
    return out


def pair_table(source, k):
    """The pairwise queries, on fewer texts because they cost K (K + 1) / 2 calls each."""
    found = stored(source, "test", PAIR_SIZES, ["list", "unary", "pairs"])
    if found is None:
        return None
    _, y, said = found
    predictions = {
        m: LabelDistributionEstimator(m).fit(said).predict_proba(said) for m in ZERO_SHOT
    }
    _, y_fit = source.draw("train", 200)
    costs = {m: calls_per_text(m, k) for m in ZERO_SHOT}
    table = alignment_table(y, predictions, base_rates=y_fit.mean(axis=0), costs=costs)
    return {"table": table, "n_test": len(y)}


def crowd_dataset(load, quick):
    """Soft targets without an LLM: probes on rates, on majority labels, and the base rates."""
    names, texts_fit, y_fit, texts, y, _ = load()
    n_fit, n = (200, 200) if quick else (600, 400)
    order = np.random.default_rng(0).permutation
    rows_fit, rows = order(len(texts_fit))[:n_fit], order(len(texts))[:n]
    y_fit, y = y_fit[rows_fit], y[rows]
    h_fit, h = embed(texts_fit[rows_fit]), embed(texts[rows])
    probe = LabelDistributionEstimator("probe")
    majority = (y_fit > 0.5).astype(float)
    predictions = {
        "hard, MiniLM": (clone(probe).fit(h_fit, majority).predict(h)).astype(float),
        "probe on majority labels": clone(probe).fit(h_fit, majority).predict_proba(h),
        "probe on rates": clone(probe).fit(h_fit, y_fit).predict_proba(h),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        tuner = MultiLabelThresholds(clone(probe), scoring="f1_samples").fit(
            h_fit, majority.astype(int)
        )
    table = alignment_table(y, predictions, base_rates=y_fit.mean(axis=0))
    table["probe on majority labels"]["f1_tuned"] = example_f1(y, tuner.predict(h))
    return {"table": table, "n_train": len(h_fit), "n_test": len(h), "labels": names}


def babe_dataset(quick):
    """One label per text: votes of LLMs under prompts as a distribution over two classes."""
    texts, rates, votes, columns = data.babe()
    rows = np.random.default_rng(0).permutation(len(texts))[: 300 if quick else 600]
    y = np.column_stack([1 - rates, rates])[rows]
    votes, h = votes[rows], embed([texts[i] for i in rows])
    models = np.array([c.split("__")[0] for c in columns])
    gpt4 = models == "gpt_4"

    def said(chosen):
        v = votes[:, chosen].T
        return Annotations(["unbiased", "biased"], repeats=np.stack([1 - v, v], axis=-1))

    share = LabelDistributionEstimator("vote_share")
    best = np.array(columns) == "gpt_4__8shot_cot"
    predictions = {
        "hard, GPT-4 8-shot": hard(share.fit(said(best)).predict_proba(said(best))),
        "share of GPT-4's prompts": share.fit(said(gpt4)).predict_proba(said(gpt4)),
        "share of all": share.fit(said(models != "")).predict_proba(said(models != "")),
    }
    by_model = np.column_stack(
        [np.nanmean(np.c_[votes[:, models == m], np.full(len(votes), 0.5)], axis=1)
         for m in np.unique(models)]
    )  # fmt: skip
    inputs = {
        "share of all + Platt": logits(predictions["share of all"][:, 1:]),
        "probe, MiniLM": h,
        "probe on LLM shares": logits(by_model),
    }
    for name, X in inputs.items():
        predictions[name] = cross_fitted(X, y)
    predictions["fusion"] = cross_fitted(logits(by_model), y, stacked_on=h)
    base = y.mean(axis=0)
    costs = {
        "hard, GPT-4 8-shot": 1,
        "share of GPT-4's prompts": int(gpt4.sum()),
        **{name: len(columns) for name in predictions if "all" in name or "LLM" in name},
        "fusion": len(columns),
    }
    table = alignment_table(y, predictions, base_rates=base, costs=costs, multilabel=False)
    return {"table": table, "n_train": int(0.8 * len(h)), "n_test": len(h)}


def hard(probabilities):
    return np.eye(probabilities.shape[1])[probabilities.argmax(axis=1)]


def logits(p):
    p = np.clip(p, 0.02, 0.98)
    return np.log(p) - np.log1p(-p)


def cross_fitted(X, y, stacked_on=None):
    """Five-fold out-of-fold probabilities of a probe on the rates.

    With ``stacked_on`` the probe also sees the log-odds of a probe on those features, which are
    out-of-fold themselves on the rows that it learns from.
    """
    out = np.zeros_like(y)
    for train, test in KFold(5, shuffle=True, random_state=0).split(X):
        X_fit, X_new = X[train], X[test]
        if stacked_on is not None:
            inner = LabelDistributionEstimator("probe").fit(stacked_on[train], y[train])
            new = inner.predict_proba(stacked_on[test])
            own = cross_fitted(stacked_on[train], y[train])
            X_fit, X_new = np.c_[X_fit, logits(own[:, 1:])], np.c_[X_new, logits(new[:, 1:])]
        probe = LabelDistributionEstimator("probe").fit(X_fit, y[train])
        out[test] = probe.predict_proba(X_new)
    return out / out.sum(axis=1, keepdims=True)


def verdicts(results):
    """The lines that the project wants to reach, data set by data set."""
    lines = {}
    for name in ("goemotions", "semeval"):
        t = results[name]["table"]
        zero = {m: t[m] for m in ZERO_SHOT[1:-1]}
        winners = [
            m for m, row in zero.items()
            if row["nll"] <= t["hard"]["nll"] / 3 and row["f1"] >= t["hard"]["f1"]
        ]  # fmt: skip
        probes = {m: t[m] for m in ("probe, LLM state", "probe, MiniLM")}
        zero_best = {key: min(row[key] for row in [*zero.values(), t["hard"]])
                     for key in ("nll", "l1")}  # fmt: skip
        lines[name] = {
            "zero-shot NLL at most a third of hard at no smaller F1": winners,
            "probes below all zero-shot in NLL and L1": [
                m for m, row in probes.items()
                if all(row[key] < zero_best[key] for key in zero_best)
            ],
            **{
                f"fusion {key} minus best {kind}": round(
                    t["fusion"][key] - max(row[key] for row in others.values()), 4
                )
                for key in ("f1", "f1_tuned")
                for kind, others in (("probe", probes), ("zero-shot method", zero))
            },
        }  # fmt: skip
    t = results["babe"]["table"]
    lines["babe"] = {
        "share of all: hard NLL divided by its NLL": round(
            t["hard, GPT-4 8-shot"]["nll"] / t["share of all"]["nll"], 2
        ),
        "fusion F1 minus probe": round(t["fusion"]["f1"] - t["probe, MiniLM"]["f1"], 4),
        "fusion F1 minus best LLM row": round(
            t["fusion"]["f1"] - max(t[m]["f1"] for m in list(t)[1:4]), 4
        ),
    }
    return lines


def show(name, result):
    """Print the tables of one data set."""
    print(f"\n**{name}**, {result['n_train']} rows to learn from, {result['n_test']} judged\n")
    header = ["method", "NLL", "L1", "JS", "F1", "F1 tuned", "calls"]
    pairs = result.get("pairs")
    for table in [result["table"]] + ([pairs["table"]] if pairs else []):
        if table is not result["table"]:
            print(f"\n{name} with pairwise queries, first {pairs['n_test']} texts\n")
        rows = [
            [
                method,
                f"{row['nll']:.2f}",
                f"{row['l1']:.2f}",
                f"{row['jensen_shannon']:.3f}",
                f"{row['f1']:.3f}",
                f"{row['f1_tuned']:.3f}" if "f1_tuned" in row else "",
                "" if row["cost"] is None else f"{row['cost']:g}",
            ]
            for method, row in table.items()
        ]
        print_table(header, rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rows, no LLM, no files")
    parser.add_argument("--crowd", action="store_true", help="leave the embedded LLM out")
    options = parser.parse_args()
    quick = options.quick
    results = {
        "unhealthy comments": crowd_dataset(data.unhealthy, quick),
        "kern tweets": crowd_dataset(data.kern, quick),
        "babe": babe_dataset(quick),
    }
    if not (quick or options.crowd):
        results = {name: llm_dataset(name) for name in asked.SOURCES} | results
    for name, result in results.items():
        show(name, result)
    if quick or options.crowd:
        return
    lines = verdicts(results)
    for name, found in lines.items():
        print(f"\n{name}:", *(f"\n  {line}: {value}" for line, value in found.items()))
    gain = asked.prefix_gain()
    tokens = gain["naive"]["tokens_per_text"] / gain["shared"]["tokens_per_text"]
    cpu = gain["naive"]["cpu_s_per_text"] / gain["shared"]["cpu_s_per_text"]
    print(f"\nshared beginning: {tokens:.1f} times fewer tokens, {cpu:.1f} times less CPU time")
    display = AlignmentDisplay({name: result["table"] for name, result in results.items()}).plot()
    save_figure(display.figure_, "alignment")
    write_json(
        "alignment",
        {
            "datasets": results,
            "lines": lines,
            "prefix_gain": {**gain, "tokens_ratio": tokens, "cpu_ratio": cpu},
            "collection_cost": collection_cost(),
        },
    )


def collection_cost():
    """CPU seconds and tokens per text of each query, as measured while collecting."""
    import json

    out = {}
    for name in asked.SOURCES:
        for queries in (("list", "unary"), ("pairs",)):
            path = asked.cost_path(name, queries)
            if path.exists():
                raw = json.loads(path.read_text())
                out[f"{name} {' + '.join(queries)}"] = {
                    "cpu_s_per_text": raw["cpu_s"] / raw["texts"],
                    "tokens_per_text": raw["tokens"] / raw["texts"],
                }
    return out


if __name__ == "__main__":
    main()
