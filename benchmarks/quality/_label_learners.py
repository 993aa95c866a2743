"""Learners of LLM labels: with none, a few or all gold labels; each gives its share of hits."""

import numpy as np
from sklearn.linear_model import LogisticRegression

from benchmarks._common import CACHE, read
from benchmarks.quality import _contest, _parts
from benchmarks.quality._llm_labels import FEWEST_OF_A_CLASS
from sklfusion import (
    LabelRepairClassifier,
    RobertaEmbedder,
    SiDyPClassifier,
    StaticEmbedder,
    distill,
)

MAX_TRAIN, MAX_TEST = 1000, 1000
GOLD = (20, 50, 100)
#: Rows, and share of the rows, that a selector may ask about.
BUDGETS = (50, 0.25)
SELECTORS = ("random", "entropy", "student", "error_model", "neighbors", "sampled", "oracle")
#: Selectors that draw rows at random: the mean of so many.
REPEATS = {"random": 2, "sampled": 2}
#: Prompts of one LLM on BABE, whose answers count as repeats of a question.
PROMPTS = ("0shot", "0shot_system_prompt", "2shot", "4shot", "8shot")
#: SiDyP takes longer than all others together; so many draws of each set.
SIDYP_DRAWS = 2
PLAIN, ALL_GOLD = "LLM labels alone", "gold labels of all rows"
STUDENTS = {
    "gold": "gold rows alone",
    "student": "distill, on the encoder",
    "static": "distill, static vectors",
    "replaced": "the same rows replaced by gold",
    "fused": "fusion, the LLM at hand",
}
WITHOUT_GOLD = {"clean": "CleanLearning", "sidyp": "SiDyP"}


def rows_of(data, draw):
    """Training rows that the LLM answered, in random order, and test rows, of one draw."""
    pool, test = _parts.split(data, None, draw)
    pool = np.random.default_rng(draw).permutation(pool)
    pool = pool[np.ptp(data.votes[0][pool], axis=1) > 0]
    return pool[:MAX_TRAIN], test[:MAX_TEST]


def said(data):
    """The LLM's classes, or its label sets."""
    votes = data.votes[0]
    return (votes > 0.5).astype(int) if data.multilabel else votes.argmax(axis=1)


def varied(y):
    """Whether labels show two classes."""
    return len(np.unique(y, axis=0)) > 1


def plain(E, y, rows, test, seed):
    """Answers on test rows of a logistic regression that chooses its own settings."""
    if not varied(y[rows]):
        return np.repeat(y[rows[:1]], len(test), axis=0)
    return _parts.fit_encoder(E[rows], y[rows], seed).predict(E[test])


def taught(data, train, n, test, seed, embedder):
    """Answers of a student of all answers and of ``n`` gold labels."""
    texts, known = np.array(data.texts, dtype=object), np.arange(len(train)) < n
    answers, y = said(data)[train], data.y[train]
    if data.multilabel:
        gold = np.where(known[:, None], y, np.nan)
    else:
        gold = np.where(known, y.astype(object), None)
    settings = {"embedder": embedder, "cv": 2, "random_state": seed}
    return distill(answers, texts[train], y=gold, **settings).predict(texts[test])


def fused(data, E, train, n, test, seed):
    """Answers of a fusion of vectors and the LLM, learnt from ``n`` gold labels."""
    X, rows = np.hstack([E, data.votes[0]]), train[:n]
    model = _contest.fusion(data, seed, n_embedding=E.shape[1])
    return model.fit(X[rows], data.y[rows]).predict(X[test])


def students(data, E, train, test, seed):
    """Share of hits of everyone who gets gold labels of random rows, or none, or all."""
    encoder, static = RobertaEmbedder(memory=CACHE), StaticEmbedder(memory=CACHE)
    answers = {
        PLAIN: plain(E, said(data), train, test, seed),
        ALL_GOLD: plain(E, data.y, train, test, seed),
    }
    for n in GOLD:
        if not varied(data.y[train[:n]]):
            continue
        mixed = said(data).copy()
        mixed[train[:n]] = data.y[train[:n]]
        answers |= {
            f"{STUDENTS['gold']} {n}": plain(E, data.y, train[:n], test, seed),
            f"{STUDENTS['replaced']} {n}": plain(E, mixed, train, test, seed),
            f"{STUDENTS['student']} {n}": taught(data, train, n, test, seed, encoder),
            f"{STUDENTS['static']} {n}": taught(data, train, n, test, seed, static),
            f"{STUDENTS['fused']} {n}": fused(data, E, train, n, test, seed),
        }
    return {
        name: float(_parts.hits(found, data.y[test]).mean()) for name, found in answers.items()
    }


def selectors(data, E, train, test, seed):
    """Share of hits of every selector at every budget, and of wrong labels among the selected."""
    codes, gold, out = said(data)[train], data.y[train], {}
    if data.multilabel or not varied(codes):
        return out
    search = _parts.tuned_logistic(codes, seed).fit(E[train], codes)
    best = getattr(search, "best_estimator_", search)
    student = LogisticRegression(C=best.C, max_iter=1000)
    wrong = (codes != gold).astype(float)
    for selector in SELECTORS:
        chosen = selector if selector != "oracle" else lambda X, codes, proba: wrong
        for budget in BUDGETS:
            runs = []
            for repeat in range(REPEATS.get(selector, 1)):
                model = LabelRepairClassifier(
                    student,
                    selector=chosen,
                    budget=budget,
                    missing_label=None,
                    random_state=100 * repeat + seed,
                ).fit(E[train], gold, noisy=codes)
                hits = _parts.hits(model.predict(E[test]), data.y[test])
                runs.append((hits.mean(), wrong[model.queried_].mean()))
            name = f"{selector} {budget}"
            out[name], out[f"{name} wrong"] = (float(v) for v in np.mean(runs, axis=0))
    return out | {"no repair": float(_parts.hits(search.predict(E[test]), data.y[test]).mean())}


def repeats(data, E, train, test, seed):
    """Rows on which repeated answers differ get a gold label, and as many random rows."""
    codes, gold = said(data)[train], data.y[train]
    if data.name != "BABE":
        return {}
    table = read("llm/babe_llm_votes")
    asked = table[[f"{data.llm}__{prompt}" for prompt in PROMPTS]].to_numpy(dtype=int)[train]
    budget = int((asked != asked[:, :1]).any(axis=1).sum())
    search = _parts.tuned_logistic(codes, seed).fit(E[train], codes)
    student = LogisticRegression(C=search.best_params_["C"], max_iter=1000)
    out = {"repeats share": budget / len(train)}
    for selector in ("disagreement", "random"):
        settings = {"selector": selector, "budget": budget, "random_state": seed}
        model = LabelRepairClassifier(student, **settings)
        model.fit(E[train], gold, noisy=codes, llm_repeats=asked)
        hits = _parts.hits(model.predict(E[test]), data.y[test])
        out[f"repeats {selector}"] = float(hits.mean())
    return out


def clean(data, E, train, test, seed):
    """Share of hits of CleanLearning around the tuned logistic regression."""
    from cleanlab.classification import CleanLearning

    codes = said(data)[train]
    names, counts = np.unique(codes, return_counts=True)
    names = names[counts >= FEWEST_OF_A_CLASS]
    if data.multilabel or len(names) < 2:
        return {}
    rows = train[np.isin(codes, names)]
    labels = np.searchsorted(names, said(data)[rows])
    search = _parts.tuned_logistic(labels, seed).fit(E[rows], labels)
    model = CleanLearning(
        LogisticRegression(C=search.best_params_["C"], max_iter=1000), seed=seed
    ).fit(E[rows], labels)
    predicted = names[model.predict(E[test])]
    return {WITHOUT_GOLD["clean"]: float(np.mean(predicted == data.y[test]))}


def sidyp(data, E, train, test, seed):
    """Share of hits of SiDyP as it is by default."""
    if data.multilabel or seed >= SIDYP_DRAWS or not varied(said(data)[train]):
        return {}
    model = SiDyPClassifier(random_state=seed, missing_label=None)
    predicted = model.fit(E[train], said(data)[train]).predict(E[test])
    return {WITHOUT_GOLD["sidyp"]: float(np.mean(predicted == data.y[test]))}
