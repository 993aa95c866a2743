"""Fine-tune the embedded encoder on two cores, then fuse its scores with recorded LLM votes.

python -m benchmarks.quality.fine_tune [--quick] [--only agnews|reuters] [--retrain] [--search]

AG News: trained on balanced rows of ``train/agnews_train``; the 500 test rows are cross-fitted
(the head learns on nine tenths of them, ten times). Reuters: trained on ``train/reuters_train``;
the head learns on the 647 validation rows, tested on the shared half of the test rows.

Training takes about ten minutes per data set on two idle cores. Scores are kept in the benchmark
cache, so a second run only fuses. ``--search`` repeats the choice of the learning rate on a part
of the training rows; no test row has a part in it.
"""

import argparse
import time

import numpy as np
from sklearn.model_selection import StratifiedKFold, train_test_split

from benchmarks._common import CACHE, earlier, embed, print_table, read, write_json

SETTINGS = {
    "agnews": {
        "rows": 8000,
        "lr": 1e-4,
        "max_epochs": 2,
        "max_length": 96,
        "freeze_layers": 4,
        "batch_size": 16,
    },
    "reuters": {
        "rows": 5821,
        "lr": 2e-4,
        "max_epochs": 3,
        "max_length": 80,
        "freeze_layers": 4,
        "batch_size": 16,
    },
}
EMBEDDED = "all-minilm-l6-v2"
#: What is usual for encoders of RoBERTa's size; not tuned, on any row.
USUAL = {"lr": 2e-5, "max_epochs": 3, "max_length": 128, "freeze_layers": 0}
SEEDS = range(5)
Z95 = 1.96
#: What the results file says about its making.
MADE = {
    "seeds": f"one training, seeds 0 to {SEEDS[-1]} of the head",
    "interval": "95 % over the test rows of that training",
}


def load_agnews():
    """Training texts and labels; test texts, labels and one-hot votes (NaN: no answer)."""
    train, test = read("train/agnews_train"), read("replay/agnews_test")
    texts = (test.title + " " + test.description).tolist()
    votes = np.full((len(test), 4), np.nan)
    answered = test.openai_fewshot.to_numpy() >= 0
    votes[answered] = np.eye(4)[test.openai_fewshot[answered]]
    return train.text.tolist(), train.gold.to_numpy(), texts, test.gold.to_numpy(), votes


def load_reuters():
    """Training texts and labels, then (texts, labels, votes) of validation and test rows."""
    train = read("train/reuters_train")
    labels = [name for name in train if name.startswith("gold__")]
    votes = ["openai_fewshot__" + name.removeprefix("gold__") for name in labels]
    parts = []
    for name in ("replay/reuters_val", "replay/reuters_test_shared"):
        rows = read(name)
        parts.append((rows.text.tolist(), rows[labels].to_numpy(), rows[votes].to_numpy(float)))
    return train.text.tolist(), train[labels].to_numpy(), *parts


def balanced(y, n, seed=0):
    """Indices of n rows, as many of each class."""
    rng = np.random.RandomState(seed)
    per_class = n // len(np.unique(y))
    picked = [rng.permutation(np.flatnonzero(y == k))[:per_class] for k in np.unique(y)]
    return rng.permutation(np.concatenate(picked))


def encoder_of(settings):
    """The encoder that trains with these settings."""
    from sklfusion import EncoderTraining, RobertaEmbedder

    training = dict(settings)
    of_encoder = {k: training.pop(k) for k in ("model", "device", "max_length") if k in training}
    return RobertaEmbedder(fine_tune=EncoderTraining(**training), random_state=0, **of_encoder)


def fine_tuned_scores(name, texts, y, targets, options):
    """Train on (texts, y) and score the lists of texts in `targets`; kept in the cache."""
    quick, retrain = options.quick, options.retrain
    settings = dict(SETTINGS[name])
    if options.model != EMBEDDED:
        settings |= USUAL | {"model": options.model, "device": options.device}
    if quick:
        settings |= {"rows": 400, "max_epochs": 1}
    n = settings.pop("rows")
    tag = "-".join(f"{key}{value}" for key, value in sorted(settings.items())).replace("/", "_")
    path = CACHE / f"fine_tune-{name}-{n}-{tag}.npz"
    if path.exists() and not retrain:
        print(f"scores from {path.name}")
        kept = np.load(path)
        return [kept[f"scores_{i}"] for i in range(len(targets))], float(kept["seconds"])
    rows = balanced(y, n) if y.ndim == 1 else np.random.RandomState(0).permutation(len(y))[:n]
    start = time.perf_counter()
    encoder = encoder_of(settings | {"patience": 5}).set_params(verbose=1)
    encoder.fit([texts[i] for i in rows], y[rows])
    seconds = time.perf_counter() - start
    print(f"{name}: trained on {n} rows in {seconds:.0f} s")
    scores = [encoder.transform(part) for part in targets]
    CACHE.mkdir(parents=True, exist_ok=True)
    kept = {f"scores_{i}": part for i, part in enumerate(scores)}
    np.savez(path, seconds=seconds, **kept)
    return scores, seconds


def log_votes(votes, multilabel):
    """Votes as log-probabilities or probabilities, as `LLMScorer` gives them."""
    k = votes.shape[1]
    if multilabel:
        return np.where(np.isnan(votes), 0.5, votes)
    hard = np.clip(votes, 1e-6, 1 - 1e-6)
    return np.where(np.isnan(votes), -np.log(k), np.log(hard))


def interval(correct):
    """Mean of 0/1 outcomes with its 95 % Wilson interval."""
    n, p = len(correct), float(np.mean(correct))
    middle = (p + Z95**2 / (2 * n)) / (1 + Z95**2 / n)
    half = Z95 * np.sqrt(p * (1 - p) / n + Z95**2 / (4 * n**2)) / (1 + Z95**2 / n)
    return p, middle - half, middle + half


def fuse(X_fit, y_fit, X_test, k, seed):
    """Fit the default head and predict; the last k columns are the LLM's."""
    from sklfusion import FusionClassifier

    columns = slice(X_fit.shape[1] - k, X_fit.shape[1])
    head = FusionClassifier(score_columns=columns, random_state=seed)
    return head.fit(X_fit, y_fit).predict(X_test)


def run_agnews(options):
    """Rows of the table for AG News."""
    texts, y, test_texts, test_y, votes = load_agnews()
    (scores,), seconds = fine_tuned_scores("agnews", texts, y, [test_texts], options)
    outcomes = {
        "LLM alone": [np.nan_to_num(votes).argmax(1) == test_y],
        "encoder alone": [scores.argmax(1) == test_y],
    }
    llm, frozen = log_votes(votes, False), embed(test_texts)
    inputs = {"fusion": [scores, llm], "fusion + frozen embedding": [scores, frozen, llm]}
    seeds = list(SEEDS)[:1] if options.quick else SEEDS
    for name, blocks in inputs.items():
        X = np.hstack(blocks)
        outcomes[name] = []
        for seed in seeds:
            folds = StratifiedKFold(10, shuffle=True, random_state=seed)
            predicted = np.empty_like(test_y)
            for train, test in folds.split(X, test_y):
                predicted[test] = fuse(X[train], test_y[train], X[test], 4, seed)
            outcomes[name].append(predicted == test_y)
    return summary(outcomes), seconds


def run_reuters(options):
    """Rows of the table for Reuters: exact match on the shared half of the test rows."""
    texts, y, (val_texts, val_y, val_votes), (test_texts, test_y, test_votes) = load_reuters()
    targets = [val_texts, test_texts]
    (val, test), seconds = fine_tuned_scores("reuters", texts, y, targets, options)

    def exact(predicted):
        return (predicted == test_y).all(axis=1)

    outcomes = {
        "LLM alone": [exact(test_votes)],
        "encoder alone, cut at 0.5": [exact(test > 0)],
    }
    blocks = [(val, test), (log_votes(val_votes, True), log_votes(test_votes, True))]
    X_val, X_test = (np.hstack(part) for part in zip(*blocks, strict=True))
    seeds = list(SEEDS)[:1] if options.quick else SEEDS
    outcomes["fusion"] = [exact(fuse(X_val, val_y, X_test, 10, seed)) for seed in seeds]
    return summary(outcomes), seconds


def summary(outcomes):
    """Mean over seeds, its spread, and the interval over test rows, per method."""
    rows = {}
    for name, runs in outcomes.items():
        means = [run.mean() for run in runs]
        _, low, high = interval(np.mean(runs, axis=0))
        rows[name] = {
            "score": float(np.mean(means)),
            "spread": float(np.std(means)),
            "interval": [float(low), float(high)],
        }
    return rows


def search(rates=(5e-5, 1e-4, 2e-4), n=1500):
    """Accuracy of each learning rate on held-out training rows of AG News."""
    texts, y, *_ = load_agnews()
    rows = balanced(y, n, seed=1)
    train, valid = train_test_split(rows, test_size=0.4, stratify=y[rows], random_state=0)
    found = {}
    for rate in rates:
        settings = {**SETTINGS["agnews"], "lr": rate}
        settings.pop("rows")
        encoder = encoder_of(settings)
        encoder.fit([texts[i] for i in train], y[train])
        scores = encoder.transform([texts[i] for i in valid])
        loss = -scores[np.arange(len(valid)), y[valid]].mean()
        found[str(rate)] = {
            "accuracy": float((scores.argmax(1) == y[valid]).mean()),
            "log_loss": float(loss),
        }
    print_table(
        ["lr", "accuracy", "log-loss"],
        [[rate, f"{r['accuracy']:.3f}", f"{r['log_loss']:.3f}"] for rate, r in found.items()],
    )
    return found


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="400 rows, one epoch, one seed")
    parser.add_argument("--only", choices=["agnews", "reuters"])
    parser.add_argument("--retrain", action="store_true", help="ignore kept scores")
    parser.add_argument("--search", action="store_true", help="choose the learning rate again")
    parser.add_argument("--model", default=EMBEDDED, help="hub id or folder of another encoder")
    parser.add_argument("--device", default="auto", help="where that one runs, such as cuda")
    arguments = parser.parse_args(argv)
    results = {"settings": SETTINGS}
    if arguments.search:
        results["search"] = search()
    runs = {"agnews": run_agnews, "reuters": run_reuters}
    for name in [arguments.only] if arguments.only else runs:
        table, seconds = runs[name](arguments)
        results[name] = {"methods": table, "training_seconds": seconds}
        print(f"\n{name} (training took {seconds:.0f} s)")
        print_table(*table_of({name: results[name]}))
    if not arguments.quick:
        written = "fine_tune" if arguments.model == EMBEDDED else "real_roberta"
        results = {**earlier(written), **results, "model": arguments.model}
        write_json(written, results, kept=bool(arguments.only), **MADE)
    return results


def table_of(results):
    """Header and rows of the table, one row per data set and method."""
    header = ["data", "method", "score", "spread over heads of one training", "95 % interval"]
    rows = [
        [
            name,
            method,
            f"{r['score']:.3f}",
            f"{r['spread']:.3f}",
            f"{r['interval'][0]:.3f} to {r['interval'][1]:.3f}",
        ]
        for name in ("agnews", "reuters")
        if name in results
        for method, r in results[name]["methods"].items()
    ]
    return header, rows


if __name__ == "__main__":
    main()
