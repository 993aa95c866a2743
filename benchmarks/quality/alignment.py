"""Do label distributions of LLMs agree with people? Method by metric on five data sets.

python -m benchmarks.quality._alignment_collect --cost   # the embedded LLM; resumable, an hour
python -m benchmarks.quality.alignment [--quick]         # the table, the figure, the JSON

GoEmotions and SemEval: the embedded LLM (SmolLM2-135M) against 0/1 gold. Unhealthy comments and
Kern tweets: the same against crowd rates. BABE: votes of thirteen LLMs under nine prompts against
five experts.

The protocol of the first four: 200 texts are judged, up to 400 others were read by the LLM and
are learnt from, and the encoder's probe sees 2,000 labelled texts of the training pool, which
needs no LLM. Every strength is chosen by cross-validation within the training texts. "F1" cuts at
0.5; "F1 set" says the set of largest expected F1, which has nothing to tune. Intervals come from
a bootstrap over the judged texts, spreads from five redraws of judged and learnt texts.
"""

import argparse
import warnings

import numpy as np
from sklearn.base import clone
from sklearn.preprocessing import StandardScaler

from benchmarks._common import earlier, embed, print_table, save_figure, write_json
from benchmarks.quality import _alignment_babe as babe
from benchmarks.quality import _alignment_collect as asked
from benchmarks.quality import _alignment_picture as picture
from sklfusion import FusionClassifier
from sklfusion.alignment import (
    DistributionPool,
    LabelDistributionEstimator,
    alignment_table,
    calls_per_text,
    example_f1,
    expected_f1_sets,
)
from sklfusion.exceptions import CacheMissError, DataWarning

ZERO_SHOT = ("hard", "compare_to_none", "max", "unary", "binary")
PLATT = ("compare_to_none", "max", "unary")
#: Calibrations that see texts but no label.
BATCH = {" + batch": "batch", " + shared batch": "batch_shared"}
PROBES = ("probe, LLM state", "probe, MiniLM", "probe, MiniLM, all texts")
READINGS = ("unary", "compare_to_none", "max")
N_TEST, N_ENCODER = 200, 2000
TRAIN_SIZES = (400, 300, 200)  # the largest that has been collected is used
REDRAWS = 5
#: What the results file says about its making.
MADE = {
    "seeds": f"fixed rows, {REDRAWS} redraws of judged and learnt texts",
    "interval": "95 % by bootstrap over the judged texts, spreads over the redraws",
}


class Texts:
    """Texts with rates, embeddings, and what the LLM said about them."""

    def __init__(self, y, h, said):
        self.y, self.h, self.said = y, h, said

    def __getitem__(self, rows):
        return Texts(self.y[rows], self.h[rows], self.said[rows])

    @property
    def columns(self):
        """LLM scores for a fusion: probabilities by three readings, 3 K columns."""
        return np.hstack([reading(method, self.said) for method in READINGS])


def reading(method, said):
    """Zero-shot probabilities."""
    return LabelDistributionEstimator(method).fit(said).predict_proba(said)


def stored(source, pool, n, queries):
    """Return texts, targets and stored annotations, or None if some are missing."""
    texts, y = source.draw(pool, n)
    asker = asked.collector(source, queries).set_params(scorer__cache_only=True)
    try:
        return Texts(y, embed(texts), asker.annotate(texts))
    except CacheMissError:
        return None


def llm_dataset(name, redraws=REDRAWS):
    """One table of the embedded LLM, and how it varies."""
    source = asked.SOURCES[name]()
    both = ["list", "unary"]
    test = stored(source, "test", N_TEST, [*both, "pairs"])
    found = (stored(source, "train", n, both) for n in TRAIN_SIZES)
    train = next((part for part in found if part is not None), None)
    if test is None or train is None:
        raise SystemExit("Run python -m benchmarks.quality._alignment_collect first.")
    n = len(train.y)
    texts, y = source.draw("train", N_ENCODER)
    more = (y[n:], embed(texts)[n:])
    predictions = predict(train, test, more, pairs=True)
    table = judge(test.y, predictions, train.y.mean(axis=0))
    add_costs(table, name, len(source.labels))
    return {
        "table": table,
        "n_train": n,
        "n_encoder": len(texts),
        "n_test": N_TEST,
        "labels": list(source.labels),
        "lines": {**lines(table), **intervals(test.y, predictions)},
        "redraws": redrawn(train, test, more, redraws),
    }


def predict(train, test, more, pairs=False):
    """Return the probabilities of every method for the texts of ``test``."""
    out = {m: reading(m, test.said) for m in ZERO_SHOT if pairs or m != "binary"}
    for method in PLATT:
        for name, calibrate in BATCH.items():
            batch = LabelDistributionEstimator(method, calibrate=calibrate).fit(train.said)
            out[method + name] = batch.predict_proba(test.said)
    for method in PLATT:
        estimator = LabelDistributionEstimator(method, calibrate="per_label_platt")
        out[f"{method} + Platt"] = estimator.fit(train.said, train.y).predict_proba(test.said)
    out |= supervised(train, test, more)
    return out


def supervised(train, test, more):
    """Probes, their pool with the LLM's readings, and the classifier of the package."""
    y_all, h_all = np.vstack([train.y, more[0]]), np.vstack([train.h, more[1]])
    probe = LabelDistributionEstimator("probe")
    given = {
        "probe, LLM state": (train.said.hidden, train.y, test.said.hidden),
        "probe, MiniLM": (train.h, train.y, test.h),
        "probe, MiniLM, all texts": (h_all, y_all, test.h),
    }
    out, held_out = {}, {}
    for name, (X, y, X_new) in given.items():
        fitted = clone(probe)
        held_out[name] = fitted.fit_transform(X, y)[: len(train.y)]
        out[name] = fitted.predict_proba(X_new)
    majority = (y_all > 0.5).astype(float)
    if (majority != y_all).any():
        out["probe on majority labels"] = clone(probe).fit(h_all, majority).predict_proba(test.h)
    parts = ("probe, LLM state", "probe, MiniLM, all texts")
    pool = DistributionPool().fit(
        np.hstack([*(held_out[part] for part in parts), train.columns]), train.y
    )
    out["fusion"] = pool.predict_proba(np.hstack([*(out[part] for part in parts), test.columns]))
    out["FusionClassifier"] = classifier(train, test)
    return out


def classifier(train, test):
    """The classifier of the package: embedding and hidden state, and three readings as scores."""
    # Both vectors are what an encoder saw: the sentence, and the state before the first label.
    state = StandardScaler().fit(train.said.hidden)
    width = np.sqrt(train.said.hidden.shape[1])

    def features(part):
        return np.hstack([part.h, state.transform(part.said.hidden) / width, part.columns])

    X, scores = features(train), train.columns.shape[1]
    fusion = FusionClassifier(
        score_columns=slice(X.shape[1] - scores, X.shape[1]),
        score_classes=list(range(train.y.shape[1])),
        random_state=0,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        fusion.fit(X.astype(np.float32), (train.y > 0.5).astype(int))
    return fusion.predict_proba(features(test).astype(np.float32))


def judge(y, predictions, base_rates):
    """The table, with the F1 of the sets of largest expected F1 as a further column."""
    table = alignment_table(y, predictions, base_rates=base_rates)
    everything = {"base rate": np.tile(base_rates, (len(y), 1)), **predictions}
    for method, p in everything.items():
        table[method]["f1_set"] = example_f1(y, expected_f1_sets(p))
    return table


def rivals(table):
    """The rows that the fusion should beat: probes, and readings of the LLM with or without
    Platt scaling. (The probe on majority labels aims at another target; it is only shown.)"""
    probes = list(PROBES)
    zero = [m for m in table if m.split(" + ")[0] in ZERO_SHOT]
    return probes, zero


def lines(table):
    """What the project wants to reach, in figures."""
    probes, zero = rivals(table)
    plain = [m for m in zero if not m.endswith("Platt")]
    hard = table["hard"]
    best_zero = {key: min(table[m][key] for m in plain) for key in ("nll", "l1")}
    return {
        "zero-shot: NLL of hard divided by its own, where F1 is no smaller": {
            m: round(hard["nll"] / table[m]["nll"], 2)
            for m in plain[1:]
            if table[m]["f1"] >= hard["f1"]
        },
        "probes below all zero-shot rows in NLL and L1": [
            m for m in probes if all(table[m][key] < best_zero[key] for key in best_zero)
        ],
        **{
            f"fusion {key} minus the best {kind}": round(
                table["fusion"][key] - max(table[m][key] for m in rows), 4
            )
            for key in ("f1", "f1_set")
            for kind, rows in (("probe", probes), ("reading of the LLM", zero))
        },
    }


def intervals(y, predictions, draws=2000):
    """Paired bootstrap over the judged texts: differences of F1 with their 95 % intervals."""
    probes, zero = rivals(predictions)
    rng = np.random.default_rng(0)
    weights = rng.multinomial(len(y), np.full(len(y), 1 / len(y)), size=draws)

    def interval(gap):
        found = [gap.mean(), *np.percentile(weights @ gap / len(y), [2.5, 97.5])]
        return [round(float(v), 4) for v in found]

    def said(method):
        return per_text_f1(y, predictions[method] > 0.5)

    found = {
        f"{m} minus hard: F1, 95 %": interval(said(m) - said("hard"))
        for m in ZERO_SHOT[1:]
        if m in predictions
    }
    for key, decide in (("f1", lambda p: p > 0.5), ("f1_set", expected_f1_sets)):
        own = per_text_f1(y, decide(predictions["fusion"]))
        for kind, rows in (("probe", probes), ("reading of the LLM", zero)):
            best = max(rows, key=lambda m: example_f1(y, decide(predictions[m]).astype(float)))
            gap = own - per_text_f1(y, decide(predictions[best]))
            found[f"fusion {key} minus {best}, the best {kind}: 95 %"] = interval(gap)
    return found


def per_text_f1(y, sets):
    """F1 of each text between its majority set and a set."""
    sets = np.asarray(sets, dtype=float)
    return np.array([example_f1(y[i : i + 1], sets[i : i + 1]) for i in range(len(y))])


def redrawn(train, test, more, redraws):
    """Mean and spread of NLL, L1 and F1 when judged and learnt texts are drawn anew."""
    said = _joined(train.said, test.said)
    everything = Texts(np.vstack([train.y, test.y]), np.vstack([train.h, test.h]), said)
    found = {}
    for seed in range(redraws):
        rows = np.random.default_rng(seed).permutation(len(everything.y))
        fit, new = everything[rows[N_TEST:]], everything[rows[:N_TEST]]
        table = judge(new.y, predict(fit, new, more), fit.y.mean(axis=0))
        probes, zero = rivals(table)
        for method, row in table.items():
            for key in ("nll", "l1", "f1", "f1_set"):
                found.setdefault(method, {}).setdefault(key, []).append(row[key])
        for key in ("f1", "f1_set"):
            gap = table["fusion"][key] - max(table[m][key] for m in [*probes, *zero])
            found.setdefault("fusion minus best rival", {}).setdefault(key, []).append(gap)
    return {
        method: {k: [float(np.mean(v)), float(np.std(v, ddof=1))] for k, v in row.items()}
        for method, row in found.items()
    }


def _joined(a, b):
    """Annotations of two sets of texts, with the fields that both have."""
    from sklfusion import Annotations

    fields = ("votes", "first_step_logits", "unary_logits", "hidden", "status")
    both = {name: np.concatenate([getattr(a, name), getattr(b, name)]) for name in fields}
    steps = [*a.step_probs, *b.step_probs]
    return Annotations(a.classes, multilabel=True, step_probs=steps, **both)


def add_costs(table, name, k):
    """Calls, tokens and CPU seconds per text of each method, as measured on one thread."""
    measured = asked.costs(name)
    asks = {m: ("list",) for m in ("hard", "compare_to_none", "max", "probe, LLM state")}
    asks |= {"unary": ("unary",), "binary": ("pairs",), "fusion": ("list", "unary", "encoder")}
    asks |= {m: ("encoder",) for m in table if m.startswith("probe") and m not in asks}
    asks["FusionClassifier"] = asks["fusion"]
    calls = {
        "list": 1, "unary": calls_per_text("unary", k), "pairs": calls_per_text("binary", k),
        "encoder": 0,
    }  # fmt: skip
    for method, row in table.items():
        parts = asks.get(method.split(" + ")[0], ())
        row["cost"] = sum(calls[part] for part in parts)
        row["tokens"] = sum(measured[part]["tokens_per_text"] or 0 for part in parts)
        row["cpu_s"] = sum(measured[part]["cpu_s_per_text"] for part in parts)


def show(name, result):
    """Print the table of one data set."""
    learnt = f"{result['n_train']:,} texts to learn from"
    if "n_encoder" in result:
        learnt += f", {result['n_encoder']:,} for the encoder's probe"
    print(f"\n**{name}**, {learnt}, {result['n_test']} judged\n")
    header = ["method", "NLL", "L1", "JS", "F1", "F1 set", "calls", "tokens", "CPU s"]
    rows = [
        [
            method,
            f"{row['nll']:.2f}",
            f"{row['l1']:.2f}",
            f"{row['jensen_shannon']:.3f}",
            f"{row['f1']:.3f}",
            f"{row['f1_set']:.3f}" if "f1_set" in row else "",
            "" if row["cost"] is None else f"{row['cost']:g}",
            f"{row['tokens']:.0f}" if row.get("tokens") else "",
            f"{row['cpu_s']:.2f}" if row.get("cpu_s") else "",
        ]
        for method, row in result["table"].items()
    ]
    keep = [i for i in range(len(header)) if any(row[i] for row in rows)]
    print_table([header[i] for i in keep], [[row[i] for i in keep] for row in rows])
    for method, gaps in (result.get("redraws") or {}).items():
        if " minus " in method:
            said = ", ".join(f"{k}: {m:+.3f} ± {d:.3f}" for k, (m, d) in gaps.items())
            print(f"\nJudged and learnt texts redrawn, {method}, {said}.")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rows, no LLM, no files")
    parser.add_argument("--only", help="renew one data set")
    parser.add_argument("--redraws", type=int, default=REDRAWS, help="for the spreads; 0: none")
    options = parser.parse_args()
    results = earlier("alignment").get("datasets", {}) if options.only else {}
    for name in [options.only] if options.only else [*asked.SOURCES, "babe"]:
        if name == "babe":
            results[name] = babe.dataset(options.quick, options.redraws)
        elif not options.quick:
            results[name] = llm_dataset(name, options.redraws)
        if name in results:
            show(name, results[name])
            lines_of = results[name]["lines"].items()
            print(f"\n{name}:", *(f"\n  {line}: {value}" for line, value in lines_of))
    if options.quick:
        return
    gain = asked.prefix_gain()
    tokens = gain["naive"]["tokens_per_text"] / gain["shared"]["tokens_per_text"]
    cpu = gain["naive"]["cpu_s_per_text"] / gain["shared"]["cpu_s_per_text"]
    print(f"\nshared beginning: {tokens:.1f} times fewer tokens, {cpu:.1f} times less CPU time")
    order = [name for name in [*asked.SOURCES, "babe"] if name in results]
    asked_llm = {name: results[name] for name in order if name in asked.SOURCES}
    save_figure(picture.plot(asked_llm), "alignment")
    gain |= {"tokens_ratio": tokens, "cpu_ratio": cpu}
    results = {name: results[name] for name in order}
    write_json("alignment", {"datasets": results, "prefix_gain": gain}, **MADE)


if __name__ == "__main__":
    main()
