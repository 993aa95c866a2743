"""Two learning rates: encoder and head trained together, beside frozen, and fine-tuned then fused.

    python -m benchmarks.quality.two_rates [--quick] [--seconds N]

Relations of SemEval with Mixtral's votes and Reuters with those of gpt-5-nano, the embedded
encoder, the default settings of every way. "Fine-tuned, then fused" trains one encoder more per
fold, so that the fusion hears scores of texts that no encoder was trained on. (The votes recorded
for AG News are those of 500 rows: too few to train on.) Test rows whose class no training row
shows are misses of all ways. Cells are kept as they come; a second run goes on.
"""

import argparse
import time
from functools import partial

import numpy as np

from benchmarks._common import data_dir, print_table, write_json
from benchmarks._intervals import paired
from benchmarks.quality._contest import hits
from benchmarks.quality._llm_sets import load
from benchmarks.quality._resume import resume

#: Draws by labelled rows: as many as a core gives in an hour and a half. Reuters takes four times
#: as long, its texts being longer.
DRAWS = {"SemEval": {500: 3, 1000: 1, 2000: 1}, "Reuters": {500: 1}}
MOST_TEST = 1000
#: Tokens of a text that are read, in every way.
MAX_LENGTH = 128
WAYS = ("frozen, fused", "fine-tuned, then fused", "trained together")
#: What the results file says about its making.
MADE = {
    "seeds": "SemEval with 500 rows draws 0 to 2, else draw 0",
    "interval": "± is the paired standard error over draws, where there are several",
}


def frozen(texts, y, votes, draw):
    """The fusion on the frozen embedding."""
    from sklfusion import FusionClassifier, RobertaEmbedder

    encoder = RobertaEmbedder(max_length=MAX_LENGTH)  # without memory: its time counts
    head = FusionClassifier(score_columns=_last(votes), random_state=draw)
    head.fit(np.hstack([encoder.fit_transform(texts), votes]), y)
    return lambda new, their: head.predict(np.hstack([encoder.transform(new), their]))


def tuned(texts, y, votes, draw):
    """The fusion on out-of-fold scores of a fine-tuned encoder."""
    from sklfusion import FusionClassifier, RobertaEmbedder

    encoder = RobertaEmbedder(fine_tune=True, max_length=MAX_LENGTH, random_state=draw)
    scores = encoder.fit_transform(texts, y)
    # log-probabilities, or log-odds: scores of a source like the LLM's votes
    columns = slice(0, scores.shape[1] + votes.shape[1])
    head = FusionClassifier(score_columns=columns, random_state=draw)
    head.fit(np.hstack([scores, votes]), y)
    return lambda new, their: head.predict(np.hstack([encoder.transform(new), their]))


def together(texts, y, votes, draw):
    """Encoder and head in one training, each with its learning rate."""
    from sklfusion import JointFusionClassifier

    model = JointFusionClassifier(max_length=MAX_LENGTH, random_state=draw).fit(
        texts, y, scores=votes
    )
    return lambda new, their: model.predict(new, scores=their)


def _last(votes):
    return slice(-votes.shape[1], None)


def as_scores(votes, multilabel):
    """Votes as log-probabilities, or as probabilities of several labels."""
    return votes if multilabel else np.log(np.clip(votes, 1e-6, 1 - 1e-6))


def cell(data, size, draw):
    """Share of hits and CPU seconds of every way in one draw."""
    order = np.random.default_rng(draw).permutation(len(data.texts))
    train, test = order[:size], order[size : size + MOST_TEST]
    votes = data.votes[0] if data.multilabel else data.votes[0][:, np.unique(data.y[train])]
    votes = as_scores(votes, data.multilabel)
    texts = [[data.texts[i] for i in rows] for rows in (train, test)]
    found = {"score": {}, "seconds": {}}
    for way, fit in zip(WAYS, (frozen, tuned, together), strict=True):
        start = time.process_time()
        predict = fit(texts[0], data.y[train], votes[train], draw)
        found["seconds"][way] = time.process_time() - start
        right = hits(predict(texts[1], votes[test]), data.y[test])
        found["score"][way] = float(right.mean())
    return found


def run(seconds=np.inf):
    """All cells; those of an earlier run that was broken off are read."""
    sets = {d.name: d for d in load(data_dir()) if d.name in DRAWS}
    wanted = {
        f"{name}/{size}/{draw}": partial(cell, sets[name], size, draw)
        for name, sizes in DRAWS.items()
        for size, n_draws in sizes.items()
        for draw in range(n_draws)
    }
    return {"cells": resume("two_rates", wanted, seconds)}


def quick_run():
    """One cell of 40 rows."""
    data = next(d for d in load(data_dir()) if d.name == "SemEval")
    return {"cells": {"SemEval/40/0": cell(data, 40, 0)}}


def table(results):
    """One row per data set and number of rows."""
    groups = {}
    for key, found in results["cells"].items():
        name, size, _ = key.split("/")
        groups.setdefault((name, int(size)), []).append(found)
    rows = []
    for (name, size), found in sorted(groups.items(), key=lambda item: (item[0][0], item[0][1])):
        scores = {way: [one["score"][way] for one in found] for way in WAYS}
        means = [f"{np.mean(scores[way]):.3f}" for way in WAYS]
        mean, error = paired(np.subtract(scores[WAYS[2]], scores[WAYS[1]]))
        gain = f"{mean:+.3f}" + ("" if np.isnan(error) else f" ± {error:.3f}")
        seconds = " / ".join(f"{np.mean([o['seconds'][way] for o in found]):.0f}" for way in WAYS)
        rows.append([name, size, len(found), *means, gain, seconds])
    header = ["data", "labelled rows", "draws", *WAYS, "together minus fine-tuned"]
    return [*header, "CPU seconds of a fit"], rows


def main(argv=None):
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="40 rows, writes nothing")
    parser.add_argument("--seconds", type=float, default=np.inf, help="begin none after so long")
    options = parser.parse_args(argv)
    results = quick_run() if options.quick else run(options.seconds)
    print_table(*table(results))
    if not options.quick:
        write_json("two_rates", results, **MADE)


if __name__ == "__main__":
    main()
