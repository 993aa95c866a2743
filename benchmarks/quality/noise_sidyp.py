"""Learning from LLM labels: six simple ways, and what SiDyP's two steps add.

Run as ``python -m benchmarks.quality.noise_sidyp``. Labels are those that LLMs gave, with and
without examples in their prompts; nobody sees a gold label but the last line of each run, which
scores test rows. 60 % of a set's rows, a thousand at most, are trained on. What a method can
choose is chosen by cross-fitted loss on the noisy labels. ``--part`` runs one part: ``simple``
(ten draws), ``steps`` (correction by diffusion, two by two), ``tuned`` (a fine-tuned MiniLM) and
``several`` (all LLMs of a set). Draws that were made are kept; ``--fresh`` forgets them.
"""

import argparse
import json
import time
import warnings

import numpy as np
from sklearn.linear_model import LogisticRegression

from benchmarks._common import CACHE, print_table, save_figure, write_json
from benchmarks._intervals import by_group, family, t_interval
from benchmarks.quality import _llm_labels
from benchmarks.quality._llm_labels import FEWEST_OF_A_CLASS
from sklfusion import (
    EncoderTraining,
    FineTunedTrajectoryEncoder,
    KNNLabelPrior,
    MLPTrajectoryEncoder,
    NoisyLabelClassifier,
    NoisyLabelKNNClassifier,
    SiDyPClassifier,
)
from sklfusion.noise._annotators import choose_penalty, classes_proba, fit_logistic

NAME = "noise_sidyp"
#: Passes after which the net knows its labels by heart (accuracy on them above 99 %).
PASSES = 100
#: Share of wrong labels between which the mean that the program is about is taken.
NOISE = (0.3, 0.6)
SIMPLE = ("net to the end", "logistic", "label smoothing", "CleanLearning", "NoisyLabelClassifier")
STEPS = ("neither", "correction", "diffusion", "both", "SiDyP")
TUNED = ("to the end", "frequencies divided out")
SEVERAL = ("net to the end", "logistic", "NoisyLabelClassifier")
DRAWS = {"simple": 10, "steps": 10, "tuned": 2, "several": 10}
#: Passes of the fine-tuning, and the sets that it is run on: one LLM per task.
TUNED_PASSES = 6
TUNED_SETS = ("CSS emotion/chatgpt", "CSS semeval_stance/flan-ul2",
              "CSS wiki_politeness/chatgpt", "CSS discourse/chatgpt")  # fmt: skip


def net_to_the_end(X, codes, seed):
    """A small network trained until it knows the labels by heart."""
    net = MLPTrajectoryEncoder(
        n_branches=1, n_epochs=PASSES, dropout=0.0, weight_decay=0.0, alpha_coreg=0.0,
        select="last", random_state=seed,
    )  # fmt: skip
    return net.fit(X, codes, n_classes=int(codes.max()) + 1)


def fit_clean(X, codes, X_test, C, seed):
    """Predictions of CleanLearning, whose folds need some rows of each class."""
    from cleanlab.classification import CleanLearning

    names, counts = np.unique(codes, return_counts=True)
    names = names[counts >= FEWEST_OF_A_CLASS]
    if len(names) < 2:
        return np.full(len(X_test), np.bincount(codes).argmax())
    kept = np.isin(codes, names)
    model = CleanLearning(LogisticRegression(C=C, max_iter=500), cv_n_folds=3, seed=seed)
    return names[model.fit(X[kept], np.searchsorted(names, codes[kept])).predict(X_test)]


def fit_simple(X, codes, X_test, seed):
    """Predictions of the simple ways for the test rows, by name."""
    known = codes >= 0
    X, codes = X[known], codes[known]
    onehot = np.eye(int(codes.max()) + 1)[codes]
    C, _ = choose_penalty(X, onehot, np.random.default_rng(seed))
    smooth = 0.8 * onehot + 0.2 / onehot.shape[1]
    smoothed = classes_proba(fit_logistic(X, smooth, C), X_test, smooth)
    return {
        "net to the end": net_to_the_end(X, codes, seed).predict_proba(X_test).argmax(axis=1),
        "logistic": LogisticRegression(C=C, max_iter=500).fit(X, codes).predict(X_test),
        "label smoothing": smoothed.argmax(axis=1),
        "CleanLearning": fit_clean(X, codes, X_test, C, seed),
        "NoisyLabelClassifier": NoisyLabelClassifier(random_state=seed)
        .fit(X, codes).predict(X_test),
    }  # fmt: skip


def fit_steps(X, codes, X_test, seed):
    """Correction by diffusion, two by two, and SiDyP as it is."""
    plain = KNNLabelPrior(correction=None)
    both = SiDyPClassifier(guard=False, random_state=seed).fit(X, codes)
    other = SiDyPClassifier(prior=plain, guard=False, random_state=seed).fit(X, codes)
    return {
        "neither": both.classes_[both.encoder_proba(X_test).argmax(axis=1)],
        "correction": NoisyLabelKNNClassifier(prior=KNNLabelPrior())
        .fit(X, codes).predict(X_test),
        "diffusion": other.predict(X_test),
        "both": both.predict(X_test),
        "SiDyP": SiDyPClassifier(random_state=seed).fit(X, codes).predict(X_test),
    }  # fmt: skip


def fit_tuned(data, train, test, seed):
    """A fine-tuned MiniLM at its last pass, and the same with the frequencies divided out."""
    codes = data.labels[train]
    training = EncoderTraining(
        max_epochs=TUNED_PASSES, batch_size=16, warmup=0.06, freeze_layers=-1
    )
    encoder = FineTunedTrajectoryEncoder(
        n_branches=1, alpha_coreg=0.0, training=training, random_state=seed
    )
    encoder.fit([data.texts[i] for i in train], codes, n_classes=int(data.gold.max()) + 1)
    encoder.snapshots_ = encoder.snapshots_[-1:]
    proba = encoder.predict_proba_epochs([data.texts[i] for i in test])[:, -1].mean(axis=0)
    frozen = NoisyLabelClassifier(random_state=seed).fit(data.X[train], codes)
    share = (np.bincount(codes[codes >= 0], minlength=proba.shape[1]) + 1.0) / len(codes)
    divided = proba * share ** -(1 - frozen.agreement_**2)
    return {TUNED[0]: proba.argmax(axis=1), TUNED[1]: divided.argmax(axis=1)}


def fit_several(X, labels, X_test, seed):
    """All LLMs: their majority as labels of the plain ways, all of them for ours."""
    k = int(labels.max()) + 1
    votes = (np.eye(k)[np.maximum(labels, 0)] * (labels >= 0)[..., None]).sum(axis=1)
    # ties fall to the earlier LLM
    votes += 0.1 * np.eye(k)[np.maximum(labels[:, 0], 0)] * (labels[:, :1] >= 0)
    codes = np.where(votes.sum(axis=1) > 0, votes.argmax(axis=1), -1)
    known = codes >= 0
    onehot = np.eye(k)[codes[known]]
    C, _ = choose_penalty(X[known], onehot, np.random.default_rng(seed))
    logistic = LogisticRegression(C=C, max_iter=500).fit(X[known], codes[known])
    ours = NoisyLabelClassifier(random_state=seed).fit(X, labels)
    return {
        "net to the end": net_to_the_end(X, codes, seed).predict_proba(X_test).argmax(axis=1),
        "logistic": logistic.predict(X_test),
        "NoisyLabelClassifier": ours.predict(X_test),
    }


def sets_of(part):
    """Names of the sets of a part."""
    if part == "tuned":
        return TUNED_SETS
    sets = _llm_labels.load()
    names = [n for n in sets if n.endswith("/all") == (part == "several")]
    # the steps are for mistakes: they are taken apart where there are many
    return [n for n in names if part != "steps" or NOISE[0] <= sets[n].wrong <= NOISE[1]]


def run_draw(part, name, seed):
    """Accuracy of all methods of a part on one draw of one set."""
    data = _llm_labels.load()[name]
    train, test = data.split(seed)
    X, labels = data.X[train], data.labels[train]
    if part == "tuned":
        said = fit_tuned(data, train, test, seed)
    else:
        fit = {"simple": fit_simple, "steps": fit_steps, "several": fit_several}[part]
        said = fit(X, labels, data.X[test], seed)
    right = {m: float(np.mean(p == data.gold[test])) for m, p in said.items()}
    return right | {"labels": float(np.mean(data.gold[train] == labels.T)), "n": len(train)}


def means(draws):
    """Per set and method: mean accuracy over its draws."""
    return {
        name: {key: float(np.mean([d[key] for d in seeds.values()])) for key in
               next(iter(seeds.values()))} | {"draws": len(seeds)}
        for name, seeds in draws.items() if seeds
    }  # fmt: skip


def is_noisy(row):
    """Whether between 30 and 60 % of a set's labels are wrong."""
    return NOISE[0] <= 1 - row["labels"] <= NOISE[1]


def gain(rows, method, base):
    """Mean gain over families in points, and its interval by t."""
    names = [name.partition("/")[0] for name in rows]
    values = [100 * (row[method] - row[base]) for row in rows.values()]
    return t_interval(by_group(names, values, family)), len(by_group(names, values, family))


def gain_table(draws, methods):
    """Mean accuracy per method over families, and its gain over the first."""
    rows, out = means(draws), []
    names = [name.partition("/")[0] for name in rows]
    for method in methods:
        values = [100 * row[method] for row in rows.values()]
        ahead = "" if method == methods[0] else _cell(gain(rows, method, methods[0])[0])
        behind = sum(row[method] < row[methods[0]] for row in rows.values())
        mean = by_group(names, values, family).mean()
        out.append([method, f"{mean:.1f}", ahead, f"{behind} of {len(rows)}" if ahead else ""])
    return ["", "accuracy", f"gain over the {methods[0]}", "sets below it"], out


def _cell(interval):
    mean, low, high = interval
    return f"{mean:+.1f}" if np.isnan(low) else f"{mean:+.1f} [{low:+.1f}, {high:+.1f}]"


def set_table(draws, methods):
    """Accuracy by set, noisiest labels first."""
    rows = sorted(means(draws).items(), key=lambda item: item[1]["labels"])
    return ["set/labels of", "right", *methods, "draws"], [
        [name, f"{100 * r['labels']:.0f}", *(f"{100 * r[m]:.1f}" for m in methods), r["draws"]]
        for name, r in rows
    ]


def _noisy(draws):
    return {n: s for n, s in draws.items() if s and is_noisy(means({n: s})[n])}


def table(results):
    """The simple ways: mean over families of sets with many wrong labels, and the gain."""
    return gain_table(_noisy(results["draws"]["simple"]), SIMPLE)


def by_set_table(results):
    """The same by set."""
    return set_table(_noisy(results["draws"]["simple"]), SIMPLE)


def steps_table(results):
    """Correction by diffusion, two by two, and SiDyP with its guard."""
    return set_table(results["draws"]["steps"], STEPS)


def several_table(results):
    """All LLMs of a set at once: their majority for the plain ways."""
    return set_table(results["draws"]["several"], SEVERAL)


def steps_gain_table(results):
    """The same as means over families, and what each is above "neither"."""
    return gain_table(results["draws"]["steps"], STEPS)


def tuned_table(results):
    """A fine-tuned encoder, and the same with the frequencies of its labels divided out."""
    return set_table(results["draws"]["tuned"], TUNED)


def report(results):
    """Print all tables that there are draws for."""
    print_table(*table(results))
    print_table(*by_set_table(results))
    for part, methods in (("steps", STEPS), ("several", SEVERAL), ("tuned", TUNED)):
        if results["draws"].get(part):
            print_table(*set_table(results["draws"][part], methods))


def draw_figure(results):
    """Gain of each way over the net: every set, and the mean over families with its interval."""
    import matplotlib.pyplot as plt

    rows = means(_noisy(results["draws"]["simple"]))
    figure, ax = plt.subplots(figsize=(7.2, 2.9), layout="constrained")
    for place, method in enumerate(SIMPLE[1:]):
        gains = np.sort([100 * (r[method] - r[SIMPLE[0]]) for r in rows.values()])
        # sets below the line of the mean, one beside the other where they are close
        ax.plot(gains, np.full(len(gains), place + 0.22), "|", color="#888888", ms=9)
        (mean, low, high), _ = gain(rows, method, SIMPLE[0])
        color = "#0072B2" if method == SIMPLE[-1] else "#444444"
        error = [[mean - low], [high - mean]]
        ax.errorbar(mean, place - 0.1, xerr=error, fmt="o", ms=6, lw=1.6, capsize=3, color=color)
    ax.axvline(0, color="#666666", lw=0.9, zorder=0)
    ax.set_yticks(range(len(SIMPLE) - 1), SIMPLE[1:])
    ax.set_ylim(len(SIMPLE) - 1.5, -0.5)
    ax.grid(axis="x", color="#dddddd", linewidth=0.8)
    ax.spines[["top", "right"]].set_visible(False)
    ax.set_xlabel(
        "points of accuracy over a net trained to the end\n"
        "dot: mean over families of sets with its 95 % interval; strokes: sets"
    )
    save_figure(figure, NAME, shows="Gain of four ways to learn from LLM labels over a net")


def run(draws, parts, args):
    """Make the missing draws, seed by seed, and yield after each."""
    for part in parts:
        kept = draws.setdefault(part, {})
        for seed in range(min(args.seeds, DRAWS[part])):
            for name in sets_of(part):
                done = kept.setdefault(name, {})
                if str(seed) not in done:
                    done[str(seed)] = run_draw(part, name, seed)
                    yield f"{part} {name} {seed}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="one draw each, nothing written")
    parser.add_argument("--fresh", action="store_true", help="forget earlier draws")
    parser.add_argument("--part", choices=DRAWS, action="append", help="only this part")
    parser.add_argument("--seeds", type=int, default=max(DRAWS.values()))
    parser.add_argument("--show", action="store_true", help="write what is there, run nothing")
    parser.add_argument("--seconds", type=float, default=np.inf, help="stop after so long")
    args = parser.parse_args()
    warnings.filterwarnings("ignore", message=".*does not have valid feature names.*")
    warnings.filterwarnings("ignore", message=".*has too few examples.*")
    parts, start = [] if args.show else args.part or list(DRAWS), time.perf_counter()
    draws = {}
    for part in DRAWS:
        path = CACHE / f"{NAME}_{part}.json"
        kept = not (args.fresh and part in parts) and not args.quick
        if path.exists() and kept:
            draws[part] = json.loads(path.read_text())
    args.seeds = 1 if args.quick else args.seeds
    for done in run(draws, parts, args):
        print(f"{done}, {time.perf_counter() - start:.0f} s", flush=True)
        if not args.quick:
            part = done.partition(" ")[0]
            (CACHE / f"{NAME}_{part}.json").write_text(json.dumps(draws[part]))
        if time.perf_counter() - start > args.seconds:
            return
    results = {"draws": {part: kept for part, kept in draws.items() if kept}}
    report(results)
    if not args.quick and "simple" in results["draws"]:
        made = {part: max(len(s) for s in kept.values()) for part, kept in draws.items() if kept}
        seeds = ", ".join(f"{part}: {n} from seed 0 on" for part, n in made.items())
        write_json(NAME, results, seeds=seeds, interval="95 % by t over families of sets")
        draw_figure(results)


if __name__ == "__main__":
    main()
