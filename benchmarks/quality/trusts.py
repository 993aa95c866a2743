"""Labels that no row shows, and LLMs that tell nothing: what the fusion makes of them.

    python -m benchmarks.quality.trusts [--quick] [--jobs N] [--part labels|llms]

*Several labels*: with its defaults, which leave a label without a positive row to the LLM, and
with one trust for all labels; beside the LLM's own sets. *Several LLMs*: with its defaults, which
hear all of them; without those that alone do worse out of fold than the class frequencies; with
the one that does best out of fold; and with that one only where it does better than all. "Worse"
and "better" are by a paired standard error.

All are fitted on the same labelled rows and judged on the same others, in draws that no other
program shows. What is done about labels was settled on other draws of Reuters and Commodity and on
simulated votes, the margins on CSS emotion and wiki_politeness and on other groups of LLMs of BABE
and FPB.
"""

import argparse
import os
import warnings
from contextlib import ExitStack
from unittest.mock import patch

os.environ.setdefault("OMP_NUM_THREADS", "1")  # the jobs are the parallelism
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import pandas as pd
from joblib import Parallel, delayed

from benchmarks._common import data_dir, earlier, print_table, write_json
from benchmarks._intervals import t_interval
from benchmarks.quality._contest import fusion, hits, llm_alone, split, vectors
from benchmarks.quality._llm_sets import LLMSet, load, one_hot
from benchmarks.quality.fusion_parts import log_loss
from benchmarks.quality.no_llm import by_family
from sklfusion.fusion import _trust
from sklfusion.fusion._reuse import forget_fits

SIZES = {"labels": (20, 50, 100, 200), "llms": (20, 50)}
#: Draws of a set of several labels, and of one with several LLMs.
DRAWS = {"labels": 8, "llms": 4}
FIRST_DRAW = 1000
_MOST_TEST = 1500
#: LLMs at chance that are drawn by us, where a set is to have some.
_N_CHANCE = 3
#: What the results file says about its making.
MADE = {
    "seeds": f"draws from {FIRST_DRAW}: {DRAWS['labels']} (several labels), {DRAWS['llms']}",
    "interval": "95 % by t, over draws (several labels), over families of data sets (LLMs)",
}
#: What to patch in each way.
LABELS = {
    "default": [],
    "one trust": [(_trust, "labels_to_learn", lambda _, problem: np.ones(len(problem.Y.T), bool))],
}
#: Paired standard errors by which an LLM is worse than nothing, or better than all.
_MARGIN = 1.0


def _some_tell_nothing(data):
    """Sets with LLMs of which some are near chance."""
    yield _fpb(data, "gpt4", "chatgpt", "h2o", "falcon_7b", "dolly")
    yield _fpb(data, "gpt4", "h2o", "falcon_7b", "dolly")
    yield _babe(
        data,
        "gpt_3_5__4shot",
        "falcon_7b__0shot_system_prompt",
        "llama_13b__0shot_system_prompt",
        "falcon_7b__0shot_cot",
        "flan_t5_large__0shot_cot",
    )
    small = ("text-ada-001", "text-babbage-001", "text-curie-001", "flan-t5-small")
    yield _css(data, "discourse", "flan-t5-xxl", *small)
    yield _css(data, "semeval_stance", "chatgpt", *small[1:])
    yield _css(data, "reddit_humor", "flan-t5-xl", "flan-t5-small", "text-davinci-001")


def _beside_chance(data):
    """Two LLMs that tell something, and some at chance."""
    pairs = (
        _fpb(data, "chatgpt", "h2o"),
        _babe(data, "mixtral_8x7b__0shot", "zephyr__0shot"),
        _css(data, "discourse", "chatgpt", "flan-t5-xxl"),
        _css(data, "semeval_stance", "chatgpt", "flan-t5-xxl"),
        _css(data, "reddit_humor", "flan-t5-xl", "flan-ul2"),
    )
    for seed, one in enumerate(pairs):
        rng, n_classes = np.random.default_rng(seed), len(one.classes)
        for _ in range(_N_CHANCE):
            one.votes.append(np.eye(n_classes)[rng.integers(n_classes, size=len(one.y))])
        yield one


def _all_tell(data):
    """Sets whose LLMs all tell something."""
    yield _fpb(data, "gpt4", "chatgpt", "h2o")
    own = ("mixtral_8x7b", "openchat", "zephyr", "llama_13b")
    yield _babe(data, *(f"{name}__4shot_cot" for name in own))
    yield _css(data, "discourse", "chatgpt", "flan-t5-xxl", "flan-t5-xl", "text-davinci-002")
    yield _css(data, "semeval_stance", "chatgpt", "flan-t5-xxl", "flan-ul2", "text-davinci-002")


KINDS = {
    "some tell nothing": _some_tell_nothing,
    f"{_N_CHANCE} drawn at chance": _beside_chance,
    "all tell something": _all_tell,
}


def _fpb(data, *llms):
    rows = pd.read_parquet(data / "llm/fpb_llm.parquet")
    rows = rows[rows.seed == rows.seed.min()]
    votes = [one_hot(rows[llm], 3) for llm in llms]
    return LLMSet(
        "FPB", " + ".join(llms), rows.text.tolist(), rows.gold.to_numpy(), votes, [0, 1, 2]
    )


def _babe(data, *llms):
    rows = pd.read_parquet(data / "llm/babe_llm_votes.parquet")
    votes = [one_hot(rows[llm].fillna(-1), 2) for llm in llms]
    y = rows.gold.to_numpy(dtype=int)
    return LLMSet("BABE", " + ".join(llms), rows.text.tolist(), y, votes, [0, 1])


def _css(data, task, *llms):
    rows = pd.read_parquet(data / "llm/css_items.parquet").query("task == @task")
    said = pd.read_parquet(data / "llm/css_votes.parquet").query("task == @task")
    said = said.pivot(index="row_id", columns="model", values="vote").loc[rows.row_id]
    classes = sorted(rows.gold_name.unique())
    number = {name: i for i, name in enumerate(classes)}
    votes = [one_hot([number.get(v, -1) for v in said[llm]], len(classes)) for llm in llms]
    y = rows.gold_name.map(number).to_numpy()
    return LLMSet(f"CSS {task}", " + ".join(llms), rows.text.tolist(), y, votes, classes)


def _fit(data, E, votes, train, draw, patches=()):
    """A fitted fusion and its columns for all rows."""
    X = np.hstack([E, *votes])
    part = LLMSet(data.name, data.llm, data.texts, data.y, votes, data.classes)
    with ExitStack() as stack:
        for target in patches:
            stack.enter_context(patch.object(*target))
        forget_fits()  # they were made with other constants
        return fusion(part, draw, n_embedding=E.shape[1]).fit(X[train], data.y[train]), X


def _judged(clf, X, data, test):
    right = hits(clf.predict(X[test]), data.y[test]).mean()
    return [float(right), log_loss(clf.predict_proba(X[test]), data.y[test])]


def labels_cell(data, E, size, draw):
    """One draw of several labels: exact match, log-loss, and recall where no row has the label."""
    warnings.simplefilter("ignore")
    train, test = split(data, size, draw)
    test = np.random.default_rng(draw).permutation(test)[:_MOST_TEST]
    unseen = ~data.y[train].any(axis=0)
    there = data.y[test][:, unseen] == 1
    said = llm_alone(data.votes[0][test], data.y[train])
    seen = {"LLM": _share(said[:, unseen][there])}
    found = {"LLM": [float(hits(said, data.y[test]).mean()), None]}
    for way, patches in LABELS.items():
        clf, X = _fit(data, E, data.votes, train, draw, patches)
        found[way] = _judged(clf, X, data, test)
        seen[way] = _share(clf.predict(X[test])[:, unseen][there])
    return {"data": data.name, "size": size, "draw": draw, "found": found, "seen": seen}


def _share(values):
    return float(values.mean()) if values.size else None


def llms_cell(kind, data, E, size, draw):
    """One draw of several LLMs: accuracy and log-loss of every way, and how many tell nothing."""
    warnings.simplefilter("ignore")
    train, test = split(data, size, draw)
    test = np.random.default_rng(draw).permutation(test)[:_MOST_TEST]
    y = data.y[train]
    every = _fit(data, E, data.votes, train, draw)
    single = [_fit(data, E, [votes], train, draw) for votes in data.votes]
    best = single[int(np.argmin([_losses(clf, y).mean() for clf, _ in single]))]
    useful = [votes for votes in data.votes if _tells(data, votes, train, draw)]
    few = 0 < len(useful) < len(data.votes)
    models = {
        "all": every,
        "without idle ones": _fit(data, E, useful, train, draw) if few else every,
        "one LLM as challenger": best if _better(best[0], every[0], y) else every,
        "one LLM": best,
    }
    return {
        "kind": kind,
        "data": data.name,
        "llms": data.llm,
        "size": size,
        "draw": draw,
        "found": {way: _judged(*model, data, test) for way, model in models.items()},
        "left_out": 1 - len(useful) / len(data.votes) if few else 0.0,
    }


def _losses(clf, y):
    """Out-of-fold log-loss of each training row."""
    return -np.log(np.maximum(clf.oof_proba_[np.arange(len(y)), y], 1e-9))


def _exceeds(gain):
    return gain.mean() > _MARGIN * gain.std() / np.sqrt(len(gain))


def _better(challenger, holder, y):
    return _exceeds(_losses(holder, y) - _losses(challenger, y))


def _tells(data, votes, train, draw):
    """Whether the votes alone are not clearly worse than the class frequencies."""
    y, n_classes = data.y[train], len(data.classes)
    rates = (np.bincount(y, minlength=n_classes) + 1) / (len(y) + n_classes)
    alone, _ = _fit(data, np.empty((len(data.y), 0)), [votes], train, draw)
    return not _exceeds(_losses(alone, y) + np.log(rates[y]))


def run(jobs, part, quick=False):
    """Fit all ways on all cells of one part."""
    if part == "labels":
        sets = [(data,) for data in load(data_dir()) if data.multilabel]
    else:
        sets = [(kind, one) for kind, make in KINDS.items() for one in make(data_dir())]
    sets = sets[:1] if quick else sets
    embedded, tasks = vectors([one[-1] for one in sets]), []
    for one in sets:
        tasks += [
            (*one, embedded[one[-1].name], size, FIRST_DRAW + draw)
            for size in SIZES[part][: 1 if quick else None]
            for draw in range(1 if quick else DRAWS[part])
        ]
    cell = labels_cell if part == "labels" else llms_cell
    return Parallel(n_jobs=jobs, verbose=1)(delayed(cell)(*task) for task in tasks)


def labels_table(results):
    """One row per data set of several labels and number of labelled rows."""
    rows = []
    cells = results["labels"]
    for name in sorted({one["data"] for one in cells}):
        for size in SIZES["labels"]:
            own = [one for one in cells if (one["data"], one["size"]) == (name, size)]
            rows += [_labels_row(name, size, own)] if own else []
    header = [
        "data",
        "labelled rows",
        "one trust for all",
        "default minus it, points",
        "its log-loss",
    ]
    header += ["worst draw beside the LLM: one trust, default"]
    return [*header, "recall of unseen labels: LLM, one trust, default"], rows


def _labels_row(name, size, cells):
    found = {way: np.array([one["found"][way][0] for one in cells]) for way in ("LLM", *LABELS)}
    loss = {way: np.array([one["found"][way][1] for one in cells]) for way in LABELS}
    worst = [100 * (found[way] - found["LLM"]).min() for way in ("one trust", "default")]
    seen = [one["seen"] for one in cells if one["seen"]["LLM"] is not None]
    recall = [
        np.mean([one[way] for one in seen]) for way in ("LLM", "one trust", "default") if seen
    ]
    percent = 100 * np.log(loss["default"] / loss["one trust"])
    return [
        name,
        size,
        f"{found['one trust'].mean():.3f}",
        _shown(t_interval(100 * (found["default"] - found["one trust"])), 2),
        _shown(t_interval(percent), 1, " %"),
        ", ".join(f"{value:+.1f}" for value in worst),
        ", ".join(f"{value:.2f}" for value in recall) or "every label seen",
    ]


def llms_table(results):
    """One row per kind of LLMs and number of labelled rows; differences are to all of them."""
    rows, ways = [], ("without idle ones", "one LLM as challenger", "one LLM")
    for kind in KINDS:
        for size in SIZES["llms"]:
            cells = [c for c in results["llms"] if (c["kind"], c["size"]) == (kind, size)]
            if cells:
                rows.append(
                    [kind, size, f"{by_family(cells, 'all', 0).mean():.3f}"]
                    + [_gains(cells, way) for way in ways]
                    + [f"{np.mean([c['left_out'] for c in cells]):.0%}"]
                )
    return ["LLMs", "labelled rows", "all of them (default)", *ways, "of them idle"], rows


def _gains(cells, way):
    """Points of accuracy with interval, and percent of log-loss, beside all LLMs."""
    points = t_interval(100 * (by_family(cells, way, 0) - by_family(cells, "all", 0)))
    loss = np.log(by_family(cells, way, 1) / by_family(cells, "all", 1)).mean()
    return f"{_shown(points, 1)}, {100 * loss:+.1f} %"


def _shown(values, digits, unit=""):
    mean, low, high = values
    return f"{mean:+.{digits}f}{unit} [{low:+.{digits}f}, {high:+.{digits}f}]"


TABLES = {"labels": labels_table, "llms": llms_table}


def main():
    """Run the program."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality.trusts")
    parser.add_argument("--quick", action="store_true", help="20 rows, one draw, no files")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--part", choices=list(DRAWS), help="this anew, the other as it was")
    arguments = parser.parse_args()
    parts = [arguments.part] if arguments.part else list(DRAWS)
    found = {part: run(arguments.jobs, part, arguments.quick) for part in parts}
    for part in parts:
        print_table(*TABLES[part](found))
    if not arguments.quick:
        results = earlier("trusts") | found  # read now: the other part may have come meanwhile
        write_json("trusts", results, **MADE, kept=arguments.part is not None)


if __name__ == "__main__":
    main()
