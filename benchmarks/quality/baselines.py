"""Fusion against its parts and against the usual ensembles, on real gpt-5-nano votes.

The 500 AG News test rows of the published replay: 250 train, 250 test, ten draws. (The votes
stored with the validation rows belong to other texts, so they are not used.) Every contestant
is a scikit-learn estimator from texts to labels; settings are chosen by cross-validation within
the training rows.

python -m benchmarks.quality.baselines [--quick]
"""

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.ensemble import StackingClassifier, VotingClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import make_pipeline

from benchmarks._common import CACHE, embed, mean_spread
from benchmarks.quality import _contest
from sklfusion import (
    ClassRoutingClassifier,
    FusionClassifier,
    RecordedScorer,
    RobertaEmbedder,
    make_fusion_pipeline,
)
from sklfusion.plotting import ReliabilityDisplay, expected_calibration_error

TRAIN_ROWS = 250
_WEIGHTS = [(1, 1, 1), (2, 1, 1), (1, 2, 1), (2, 2, 1), (3, 2, 1), (2, 3, 1)]
#: What the results file says about its making.
MADE = {
    "seeds": "draws 0 to 9",
    "interval": "± is the standard deviation over draws, SE the paired standard error over draws",
}


class ScoreReader(ClassifierMixin, BaseEstimator):
    """Take score columns as the probabilities of the sorted classes: the LLM as a classifier."""

    def fit(self, X, y):
        """Remember the classes."""
        self.classes_ = np.unique(y)
        return self

    def predict_proba(self, X):
        """Return the scores, normalised in double precision."""
        scores = np.asarray(X, dtype=float)
        return scores / scores.sum(axis=1, keepdims=True)

    def predict(self, X):
        """Return the class of the largest score."""
        return self.classes_[self.predict_proba(X).argmax(axis=1)]


def contestants(data, train, seed):
    """Return every contestant by name, unfitted.

    The C of the linear parts is chosen once, by cross-validation on the training rows, so that
    ensembles of them need not choose it again in every fold.
    """
    labels = sorted(set(data.y.tolist()))
    texts, y = [data.texts[i] for i in train], data.y[train]
    table = dict(zip(data.texts, data.votes[0].argmax(axis=1).tolist(), strict=True))
    scorer = RecordedScorer(table, classes=labels)
    embedder = RobertaEmbedder(memory=CACHE)
    folds = StratifiedKFold(5, shuffle=True, random_state=seed)

    def tuned(*steps):
        features = make_pipeline(*steps).fit_transform(texts)
        search = GridSearchCV(
            LogisticRegression(max_iter=1000),
            {"C": _contest.C_GRID},
            scoring="neg_log_loss",
            cv=folds,
        )
        return make_pipeline(*steps, search.fit(features, y).best_estimator_)

    def pipeline(**params):
        head = FusionClassifier(random_state=seed, **params)
        return make_fusion_pipeline(embedder, scorer, head)

    llm = make_pipeline(RecordedScorer(table, classes=labels, output="proba"), ScoreReader())
    encoder = tuned(embedder)
    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    tfidf = tuned(words)
    parts = [("llm", llm), ("encoder", encoder), ("tfidf", tfidf)]
    soft = VotingClassifier(parts, voting="soft")
    stacker = GridSearchCV(
        LogisticRegression(max_iter=1000),
        {"C": _contest.C_GRID},
        scoring="neg_log_loss",
        cv=folds,
    )
    return {
        "LLM alone": llm,
        "encoder alone": encoder,
        "TF-IDF and logistic regression": tfidf,
        "VotingClassifier, hard": VotingClassifier(parts, voting="hard"),
        "VotingClassifier, soft": soft,
        "VotingClassifier, weights by CV": GridSearchCV(
            soft, {"weights": _WEIGHTS}, scoring=_soft_log_likelihood, cv=folds
        ),
        "ClassRoutingClassifier": ClassRoutingClassifier(parts),
        "StackingClassifier": StackingClassifier(
            parts[:2], stacker, stack_method="predict_proba", cv=folds
        ),
        "concatenation": pipeline(fusion="concat"),
        "fusion": pipeline(),
    }


def _soft_log_likelihood(model, X, y):
    """Mean log-probability of the right class; float32 members need not sum to 1 exactly."""
    proba = model.predict_proba(X)
    right = proba[np.arange(len(y)), np.searchsorted(model.classes_, y)] / proba.sum(axis=1)
    return float(np.log(np.clip(right, 1e-6, 1)).mean())


def run(quick=False):
    """Compare fusion with its parts and the usual ensembles."""
    [data] = _contest.load_sets(("AG News", "gpt-5-nano"))
    n_draws, size = 10, TRAIN_ROWS
    if quick:
        data, n_draws, size = _contest.head(data, 90), 1, 45
    embed(data.texts)
    texts = np.array(data.texts, dtype=object)
    scores, losses, errors, pooled, gold = {}, {}, {}, {}, []
    for train, test, draw in _contest.splits(data, size, n_draws):
        gold.append(data.y[test])
        for name, model in contestants(data, train, draw).items():
            model.fit(texts[train].tolist(), data.y[train])
            predicted = model.predict(texts[test].tolist())
            scores.setdefault(name, []).append(_contest.hits(predicted, data.y[test]).mean())
            proba = _probabilities(model, texts[test].tolist())
            if proba is None:
                continue
            right = np.clip(proba[np.arange(len(test)), data.y[test]], 1e-3, 1)
            losses.setdefault(name, []).append(float(-np.log(right).mean()))
            errors.setdefault(name, []).append(expected_calibration_error(data.y[test], proba))
            pooled.setdefault(name, []).append(proba)
    shown = ("encoder alone", "StackingClassifier", "concatenation", "fusion")
    return {
        "train_rows": size,
        "test_rows": len(gold[0]),
        "draws": n_draws,
        "accuracy": scores,
        "log_loss": losses,
        "calibration_error": errors,
        "_pooled": {
            "y": np.concatenate(gold),
            "proba": {name: np.round(np.concatenate(pooled[name]), 4) for name in shown},
        },
    }


def _probabilities(model, texts):
    try:
        proba = np.clip(model.predict_proba(texts), 1e-9, None)
        return proba / proba.sum(axis=1, keepdims=True)
    except AttributeError:  # hard voting has none
        return None


def table(results):
    """One row per contestant; the last column is fusion minus the contestant, paired by draw."""
    ours = np.array(results["accuracy"]["fusion"])
    rows = []
    for name, draws in results["accuracy"].items():
        loss, error = results["log_loss"].get(name), results["calibration_error"].get(name)
        one_hot = name == "LLM alone"
        rows.append(
            [
                name,
                mean_spread(draws),
                "-" if loss is None or one_hot else mean_spread(loss),
                "-" if error is None or one_hot else mean_spread(error),
                "" if name == "fusion" else _contest.paired_cell(ours - np.array(draws)),
            ]
        )
    return ["contestant", "accuracy", "log-loss", "calibration error", "fusion minus it"], rows


def draw(results):
    """Reliability of the fused probabilities and of the alternatives, all draws pooled."""
    pooled = results["_pooled"]
    return ReliabilityDisplay(np.asarray(pooled["y"]), pooled["proba"]).plot().figure_


if __name__ == "__main__":
    _contest.program("baselines", run, table, draw, **MADE)
