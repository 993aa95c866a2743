"""Learning from LLM labels: SiDyP beside plain training and four other ways.

Run as ``python -m benchmarks.quality.noise_sidyp``. Nobody sees a gold label but the last line of
each run, which scores test rows. What a method can choose (regularisation, strength of smoothing)
is chosen by accuracy on the *noisy* labels of validation rows, a tenth of the training rows, the
same for all. Draws that are in the results file are not made again; ``--fresh`` forgets them.
"""

import argparse
import itertools
import json
import time
import warnings

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.model_selection import train_test_split

from benchmarks._common import CACHE, print_table, save_figure, write_json
from benchmarks.quality import _noise_sets
from sklfusion import (
    KNNLabelPrior,
    LabelDiffusion,
    MLPTrajectoryEncoder,
    NoisyLabelKNNClassifier,
    SiDyPClassifier,
    TrainingDynamicsNoiseDetector,
)

NAME = "noise_sidyp"
GRID = (0.1, 0.3, 1.0, 3.0, 10.0)
SEEDS = 5
METHODS = (
    "plain", "label smoothing", "CleanLearning", "kNN baseline", "kNN + transition", "encoder",
    "SiDyP",
)  # fmt: skip
#: What the results file says about its making.
MADE = {
    "seeds": f"seeds 0 to {SEEDS - 1}",
    "interval": "± is the deviation over seeds, of a difference the paired standard error",
}


def logistic(C):
    return LogisticRegression(C=C, max_iter=1000)


def soft_logistic(X, target, C):
    """Logistic regression on label distributions: each row once per class, with weights."""
    rows, labels = np.nonzero(target)
    return logistic(C).fit(X[rows], labels, sample_weight=target[rows, labels])


def candidates(name, X, codes, seed):
    """Yield (setting, fitted model) for the settings a method may choose from."""
    from cleanlab.classification import CleanLearning

    onehot = np.eye(int(codes.max()) + 1)[codes]
    if name == "plain":
        for C in GRID:
            yield {"C": C}, logistic(C).fit(X, codes)
    elif name == "label smoothing":
        for C in GRID[1:4]:
            for s in (0.1, 0.3):
                target = (1 - s) * onehot + s / onehot.shape[1]
                yield {"C": C, "smoothing": s}, soft_logistic(X, target, C)
    elif name == "CleanLearning":
        for C in GRID[1:4]:
            yield {"C": C}, CleanLearning(logistic(C), cv_n_folds=3, seed=seed).fit(X, codes)
    else:
        prior, detector = KNNLabelPrior(), None
        if name == "kNN baseline":
            prior, detector = None, TrainingDynamicsNoiseDetector(random_state=seed)
        first = NoisyLabelKNNClassifier(logistic(GRID[1]), prior=prior, detector=detector)
        first.fit(X, codes)
        yield {"C": GRID[1]}, first.estimator_
        for C in GRID[2:4]:  # the candidates do not depend on C
            yield {"C": C}, soft_logistic(X, first.prior_estimator_.prior_, C)


def fit_baseline(name, data, seed):
    """Choose on noisy validation labels; return test predictions and the choice."""
    known = np.flatnonzero(data.noisy >= 0)
    train, val = train_test_split(
        known, test_size=0.1, random_state=seed, stratify=data.noisy[known]
    )
    best = None
    for setting, model in candidates(name, data.X[train], data.noisy[train], seed):
        score = np.mean(model.predict(data.X[val]) == data.noisy[val])
        if best is None or score > best[0]:
            best = score, setting, model
    return best[2].predict(data.X_test), best[1]


def fit_sidyp(data, seed, **params):
    """Fit SiDyP around the encoder that noisy validation labels prefer."""
    known = np.flatnonzero(data.noisy >= 0)
    train, val = train_test_split(
        known, test_size=0.1, random_state=seed, stratify=data.noisy[known]
    )
    encoders = [MLPTrajectoryEncoder(dropout=d, random_state=seed) for d in (0.1, 0.5)]
    scores = []
    for encoder in encoders:
        encoder.fit(
            data.X[train], data.noisy[train], n_classes=int(data.noisy.max()) + 1,
            X_val=data.X[val], codes_val=data.noisy[val],
        )  # fmt: skip
        scores.append(max(encoder.val_scores_))
    encoder = encoders[int(np.argmax(scores))]
    parts = {"prior": KNNLabelPrior(), "diffusion": LabelDiffusion()}
    model = SiDyPClassifier(encoder, **parts, random_state=seed).set_params(**params)
    return model.fit(data.X, data.noisy)


def score(predicted, data):
    """Accuracy and macro-F1 against gold test labels."""
    return {
        "accuracy": float(np.mean(predicted == data.y_test)),
        "macro_f1": float(f1_score(data.y_test, predicted, average="macro")),
    }


def run_draw(name, seed, done, methods=METHODS):
    """Add what is missing to one draw of one set."""
    data = _noise_sets.load(name, seed)
    out = done | {
        "n": len(data.noisy), "n_test": len(data.y_test),
        "label_accuracy": float(np.mean(data.noisy == data.gold)),
    }  # fmt: skip
    for method in METHODS[:-2]:
        if method in methods and method not in out:
            predicted, setting = fit_baseline(method, data, seed)
            out[method] = score(predicted, data) | {"setting": setting}
    if "SiDyP" in methods and "SiDyP" not in out:
        out |= sidyp_draw(data, seed)
    return out


def sidyp_draw(data, seed):
    """SiDyP and its encoder."""
    start = time.perf_counter()
    model = fit_sidyp(data, seed)
    seconds = time.perf_counter() - start
    encoder = model.classes_[model.encoder_proba(data.X_test).argmax(axis=1)]
    return {
        "encoder": score(encoder, data),
        "SiDyP": score(model.predict(data.X_test), data) | {"seconds": seconds},
        "refined_accuracy": float(np.mean(model.refined_labels_ == data.gold)),
        "uses_diffusion": model.uses_diffusion_,
    }


NO_CORRECTION = {"prior__correction": None, "prior__n_neighbors": 10}
#: What is changed in each row of the ablation, on SemEval; all but the first without the guard,
#: which would hide what a part is worth.
ABLATION = {
    "SiDyP": {"guard": True},
    "no guard": {},
    "fixed prior": {"diffusion__n_resample": 0},
    "sharpening from the warm-up on": {"diffusion__resample_start": 0.2},
    "marked rows left out (30 %)": {"noise_ratio": 0.3},
    "no correction of the prior": NO_CORRECTION,
    "no correction, 30 % marked": NO_CORRECTION | {"noise_ratio": 0.3},
    "no agreement terms": {"encoder__alpha_coreg": 0.0, "diffusion__lambda_coreg": 0.0},
    "one-hot read-out, one chain": {"diffusion__readout": "onehot", "diffusion__n_chains": 1},
    "as the reference (legacy)": {
        "legacy": True, "noise_ratio": 0.3, "diffusion__n_epochs": 10,
    },
}  # fmt: skip
VIEWS = ("text", "entities marked", "marked and entities")


def ablation_draw(variant, seed):
    """One variant of SiDyP on SemEval, one seed."""
    if variant in ABLATION:
        data = _noise_sets.load("SemEval/Mixtral", seed)
        model = fit_sidyp(data, seed, **{"guard": False} | ABLATION[variant])
        return {variant: score(model.predict(data.X_test), data)}
    data = _noise_sets.load("SemEval/Mixtral", seed, view=variant)
    model = fit_sidyp(data, seed, guard=False)
    encoder = model.classes_[model.encoder_proba(data.X_test).argmax(axis=1)]
    return {
        f"embedding: {variant}": score(model.predict(data.X_test), data),
        f"embedding: {variant}, encoder alone": score(encoder, data),
    }


def summarise(draws):
    """Per set: means, standard deviations and the paired gain of SiDyP over its encoder."""
    out = {}
    for name, seeds in draws.items():
        runs = list(seeds.values())
        row = {
            "n_seeds": len(runs),
            "label_accuracy": np.mean([r["label_accuracy"] for r in runs]),
        }
        for method in METHODS:
            values = [r[method]["accuracy"] for r in runs]
            row[method] = float(np.mean(values))
            row[f"{method} sd"] = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
        gain = [r["SiDyP"]["accuracy"] - r["encoder"]["accuracy"] for r in runs]
        p, n = row["encoder"], runs[0]["n_test"]
        row["gain"] = float(np.mean(gain))
        row["gain error"] = float(np.std(gain, ddof=min(1, len(gain) - 1)) / len(gain) ** 0.5)
        row["with stage II"] = sum(r["uses_diffusion"] for r in runs)
        # the error of a test set of this size, which all seeds share
        row["test_se"] = float(np.sqrt(p * (1 - p) / n))
        out[name] = row
    return out


def table(results):
    """Header and rows of the main table."""
    header = ["set", "labels", *METHODS, "SiDyP - encoder", "test SE", "with stage II", "seeds"]
    return header, [
        [name, f"{100 * row['label_accuracy']:.1f}"]
        + [f"{100 * row[m]:.1f} ± {100 * row[f'{m} sd']:.1f}" for m in METHODS]
        + [f"{100 * row['gain']:+.1f} ± {100 * row['gain error']:.1f}"]
        + [f"{100 * row['test_se']:.1f}", row["with stage II"], row["n_seeds"]]
        for name, row in results["summary"].items()
    ]


def ablation_table(results):
    """Header and rows of the ablation."""
    runs = list(results["ablation"].values())
    rows = []
    for variant in dict.fromkeys(v for run in runs for v in run):
        done = [run[variant] for run in runs if variant in run]
        cells = [_percent([d[m] for d in done]) for m in ("accuracy", "macro_f1")]
        rows.append([variant, *cells, len(done)])
    return ["variant, SemEval/Mixtral", "accuracy", "macro-F1", "seeds"], rows


def report(results):
    """Print the tables."""
    print_table(*table(results))
    print()
    print_table(*ablation_table(results))


def _percent(values):
    spread = np.std(values, ddof=1) if len(values) > 1 else 0.0
    return f"{100 * np.mean(values):.1f} ± {100 * spread:.1f}"


def draw_figure(summary):
    """Gain of every method over plain training."""
    import matplotlib.pyplot as plt

    names = list(summary)
    figure, ax = plt.subplots(figsize=(8, 0.3 * len(names) + 1.5), layout="constrained")
    for method, marker in zip(METHODS[1:], "sDv^ox", strict=True):
        gains = [100 * (summary[n][method] - summary[n]["plain"]) for n in names]
        ax.plot(gains, range(len(names)), marker, label=method, alpha=0.8)
    ax.axvline(0, color="grey", lw=1)
    ax.set_yticks(range(len(names)), names)
    ax.invert_yaxis()
    ax.set_xlabel("points of accuracy above plain training on the noisy labels")
    ax.legend(fontsize=8)
    save_figure(figure, NAME)


def complete(draws):
    """The draws on which all methods have run, sets in order."""
    out = {n: {s: d for s, d in draws.get(n, {}).items() if "SiDyP" in d and "plain" in d}
           for n in _noise_sets.names()}  # fmt: skip
    return {name: seeds for name, seeds in out.items() if seeds}


def run(draws, names, args):
    """Make the missing draws, seed by seed, and yield after each."""
    for seed in map(str, range(args.seeds)):
        for name in names:
            done = draws.setdefault(name, {}).get(seed, {})
            if not set(args.methods) <= set(done):
                draws[name][seed] = run_draw(name, int(seed), done, args.methods)
                yield f"{name} {seed}"


def run_ablation(ablation, args):
    """The same for the ablation, variant by variant."""
    for seed in map(str, range(min(args.seeds, 3))):
        done = ablation.setdefault(seed, {})
        for variant in (*ABLATION, *VIEWS):
            if variant not in done and f"embedding: {variant}" not in done:
                done |= ablation_draw(variant, int(seed))
                yield f"{variant} {seed}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="two sets, one seed, nothing written")
    parser.add_argument("--fresh", action="store_true", help="forget earlier draws")
    parser.add_argument("--sets", nargs="*", help="only these sets")
    parser.add_argument("--methods", nargs="*", default=METHODS, help="only these methods")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--seconds", type=float, default=np.inf, help="stop after so long")
    parser.add_argument("--ablation", action="store_true", help="only the ablation")
    args = parser.parse_args()
    warnings.filterwarnings("ignore", message=".*does not have valid feature names.*")
    path = CACHE / f"{NAME}.json"
    stored = json.loads(path.read_text()) if path.exists() and not args.fresh else {}
    draws, ablation = stored.get("draws", {}), stored.get("ablation", {})
    names, start = args.sets or _noise_sets.names(), time.perf_counter()
    if args.quick:
        draws, ablation, args.seeds = {}, {}, 1
        names = ["SemEval/Mixtral", "TREC/asymmetric"]
    steps = [] if args.ablation else [run(draws, names, args)]
    steps += [run_ablation(ablation, args)] if args.ablation else []
    for done in itertools.chain(*steps):
        print(f"{done}, {time.perf_counter() - start:.0f} s", flush=True)
        if not args.quick:
            path.write_text(json.dumps({"draws": draws, "ablation": ablation}))
        if time.perf_counter() - start > args.seconds:
            return
    draws = complete(draws)
    results = {"draws": draws, "ablation": ablation, "summary": summarise(draws)}
    report(results)
    if not (args.quick or args.sets or set(args.methods) < set(METHODS)):
        write_json(NAME, results, kept=not args.fresh, **MADE)
        draw_figure(results["summary"])


if __name__ == "__main__":
    main()
