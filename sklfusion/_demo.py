"""The demo behind ``sklfusion demo``: an encoder and an LLM fused on the bundled texts."""

import json
import time
from pathlib import Path

import numpy as np
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold, StratifiedShuffleSplit
from sklearn.pipeline import Pipeline

from sklfusion._delimited import write_rows
from sklfusion._pipeline import make_fusion_pipeline
from sklfusion._progress import progress_bar
from sklfusion._threads import one_thread
from sklfusion.datasets import load_newsdesk
from sklfusion.embedding import RobertaEmbedder
from sklfusion.fusion import FusionClassifier
from sklfusion.scoring import LLMClassifier

TRAIN_SIZES = (12, 24, 48, 96, 180)
TEST_ROWS = 120
# Of the briefs, what the table to try the other commands on has labels for.
LABELLED_ROWS = 120


def _tuned_logistic(n_rows, n_classes):
    """Logistic regression with C chosen by cross-validation: the encoder alone at its best."""
    folds = max(2, min(5, n_rows // n_classes))
    return GridSearchCV(
        LogisticRegression(max_iter=2000),
        {"C": [0.1, 1.0, 10.0, 100.0]},
        scoring="neg_log_loss",
        cv=StratifiedKFold(folds, shuffle=True, random_state=0),
    )


def _demo_models(n_rows, desk, memory):
    """Return the four contestants, each a complete estimator from texts to labels."""
    embedder = RobertaEmbedder(memory=memory)
    fusion = make_fusion_pipeline(
        embedder,
        fusion=FusionClassifier(random_state=0),
        classes=desk.target_names,
        class_descriptions=desk.descriptions,
        memory=memory,
    )
    logistic = _tuned_logistic(n_rows, len(desk.target_names))
    return {
        "LLM alone": LLMClassifier(
            classes=desk.target_names, class_descriptions=desk.descriptions, memory=memory
        ),
        "encoder alone": Pipeline([("embedding", embedder), ("logistic", logistic)]),
        "concatenation": clone(fusion).set_params(fusion__fusion="concat"),
        "fusion": fusion,
    }


def run_demo(output="sklfusion_demo", *, n_draws=5, echo=print):
    """Run the demo and return its results.

    Parameters
    ----------
    output : str or Path
        Folder for the table, the picture and the caches; a second run reuses the caches.
    n_draws : int, default=5
        Random train/test splits.
    echo : callable
        Prints one line.

    Returns
    -------
    dict
        ``train_sizes``, ``scores`` (method to (n_sizes, n_draws)), ``seconds`` and ``files``.
    """
    start = time.perf_counter()
    output = Path(output)
    output.mkdir(parents=True, exist_ok=True)
    memory = output / "cache"
    desk = load_newsdesk()
    texts = np.array(desk.data, dtype=object)
    echo(f"{len(texts)} bundled news briefs, {len(desk.target_names)} desks, all offline.")
    echo("1/3  encoder: one embedding per brief (all-MiniLM-L6-v2)")
    RobertaEmbedder(memory=memory, verbose=1).fit_transform(desk.data)
    echo("2/3  LLM: one request per brief, kept in the reply store (SmolLM2-135M, in process)")
    LLMClassifier(
        classes=desk.target_names,
        class_descriptions=desk.descriptions,
        memory=memory,
        verbose=1,
    ).fit(desk.data, desk.target)
    echo("3/3  fits on several label budgets, each scored on 120 other briefs")
    # A hundred small fits: more than one thread each would only wait for the other.
    with one_thread(openmp=False):
        scores, trusted = _score(texts, desk, memory, n_draws)
    results = {
        "train_sizes": list(TRAIN_SIZES),
        "test_rows": TEST_ROWS,
        "draws": n_draws,
        "scores": {name: values.tolist() for name, values in scores.items()},
        "source_weights": trusted,
        "seconds": time.perf_counter() - start,
    }
    results["files"] = _write_results(results, output)
    return results


def _score(texts, desk, memory, n_draws):
    splitter = StratifiedShuffleSplit(n_draws, test_size=TEST_ROWS, random_state=0)
    names = list(_demo_models(12, desk, memory))
    scores = {name: np.full((len(TRAIN_SIZES), n_draws), np.nan) for name in names}
    trusted = {}
    bar = progress_bar(n_draws * len(TRAIN_SIZES) * len(names), "demo", "fit")
    for draw, (train, test) in enumerate(splitter.split(texts, desk.target)):
        for row, size in enumerate(TRAIN_SIZES):
            head = _stratified_head(train, desk.target, size, draw)
            for name, model in _demo_models(size, desk, memory).items():
                _fit_contestant(model, texts[head].tolist(), desk.target[head])
                predicted = model.predict(texts[test].tolist())
                scores[name][row, draw] = np.mean(predicted == desk.target[test])
                bar.update()
                if name == "fusion":
                    weights = model.named_steps["fusion"].source_weights_
                    trusted[str(size)] = {k: float(np.mean(v)) for k, v in weights.items()}
    bar.close()
    return scores, trusted


def _fit_contestant(model, texts, target):
    """Fit a contestant; nothing here reads the held-out probabilities of a plain concatenation.

    They take three further trainings; a first ``partial_fit`` does without them.
    """
    if getattr(model[-1] if isinstance(model, Pipeline) else model, "fusion", None) != "concat":
        return model.fit(texts, target)
    features = model[:-1].fit_transform(texts, target)
    model[-1].partial_fit(features, target, classes=np.unique(target))
    return model


def _stratified_head(train, target, size, seed):
    """Return ``size`` of the training rows, every class as often as the other."""
    if size == len(train):
        return train
    split = StratifiedShuffleSplit(1, train_size=size, random_state=seed)
    keep, _ = next(split.split(train, target[train]))
    return train[keep]


def _write_results(results, output):
    table = output / "demo.json"
    table.write_text(json.dumps({k: v for k, v in results.items() if k != "files"}, indent=1))
    files = {"table": str(table), **_write_tables(output)}
    try:
        import matplotlib
    except ImportError:
        return files
    with matplotlib.rc_context({"backend": "agg"}):
        from sklfusion.plotting import DataEfficiencyDisplay

        display = DataEfficiencyDisplay(results["train_sizes"], results["scores"]).plot()
        display.ax_.set_title(f"News desk: mean and spread of {results['draws']} draws")
        picture = output / "demo.png"
        display.figure_.savefig(picture, dpi=150)
    return {**files, "picture": str(picture)}


def _write_tables(output):
    """Write the briefs as a table with labels and one without, for the other commands."""
    texts, desks = load_newsdesk(return_X_y=True)
    rows = np.arange(len(texts))
    known = _stratified_head(rows, desks, LABELLED_ROWS, seed=0)
    tables = {
        "labelled": [["text", "label"], *([texts[i], desks[i]] for i in sorted(known))],
        "new": [["text"], *([texts[i]] for i in np.setdiff1d(rows, known))],
    }
    for name, table in tables.items():
        with (output / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
            write_rows(table, file)
    return {name: str(output / f"{name}.csv") for name in tables}
