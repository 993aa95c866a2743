"""Long texts: is the beginning enough, or does reading all of a text in windows classify better?

python -m benchmarks.quality.long_texts [--quick]

Only reviews longer than the 256 tokens that the embedded encoder reads at once, at most 400 per
data set. A logistic regression on the frozen vectors is fitted on 100 or 250 of them and tested
on the others, in 20 draws that are the same for every way.
"""

import argparse

import numpy as np

from benchmarks._common import CACHE, print_table, read, write_json

WAYS = ("truncate", "mean", "max")
DOMAINS = ("imdb", "books", "dvd")
ROWS = (100, 250)
MOST_TEXTS = 400
DRAWS = 20
#: What the results file says about its making.
MADE = {
    "seeds": f"draws 0 to {DRAWS - 1}",
    "interval": "± is the paired standard error over draws",
}


def data_sets(quick):
    """Name -> texts and labels."""
    rows = read("train/sentiment_domains")
    for domain in DOMAINS[:1] if quick else DOMAINS:
        part = rows[rows.domain == domain]
        yield domain, part.text.to_numpy(), part.gold.to_numpy()


def long_ones(texts, labels, n):
    """At most n of the texts that an encoder does not read at once, of classes with 10 or more."""
    from sklfusion import RobertaEmbedder

    order = np.random.RandomState(0).permutation(len(texts))
    texts, labels = texts[order], labels[order]
    long = np.array(RobertaEmbedder().fit(["a"]).truncated(texts.tolist()))
    texts, labels = texts[long][:n], labels[long][:n]
    names, counts = np.unique(labels, return_counts=True)
    kept = np.isin(labels, names[counts >= 10])
    return texts[kept].tolist(), labels[kept]


def scores(vectors, labels, n_rows):
    """Accuracy by draw."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import train_test_split

    found = []
    for draw in range(DRAWS):
        train, test = train_test_split(
            np.arange(len(labels)), train_size=n_rows, stratify=labels, random_state=draw
        )
        model = LogisticRegression(C=10, max_iter=1000).fit(vectors[train], labels[train])
        found.append(float((model.predict(vectors[test]) == labels[test]).mean()))
    return found


def run(quick):
    """Accuracies by data set, number of rows and way."""
    from sklfusion import RobertaEmbedder

    results = {}
    for name, texts, labels in data_sets(quick):
        texts, labels = long_ones(texts, labels, 150 if quick else MOST_TEXTS)
        vectors = {
            way: RobertaEmbedder(memory=CACHE, long_texts=way, dtype="auto").fit_transform(texts)
            for way in WAYS
        }
        results[name] = {
            "texts": len(texts),
            "accuracy": {
                str(n): {way: scores(vectors[way], labels, n) for way in WAYS}
                for n in ROWS
                if n + 50 <= len(texts)
            },
        }
        print_table(*table({"sets": {name: results[name]}}))
    return {"sets": results}


def table(results):
    """Header and rows: mean accuracy by way, windows minus beginning with its standard error."""
    rows = []
    for name, one in results["sets"].items():
        for n, by_way in one["accuracy"].items():
            gain = np.subtract(by_way["mean"], by_way["truncate"])
            error = gain.std(ddof=1) / np.sqrt(len(gain))
            means = [f"{np.mean(by_way[way]):.3f}" for way in WAYS]
            rows.append([name, one["texts"], n, *means, f"{gain.mean():+.3f} ± {error:.3f}"])
    if len(results["sets"]) > 1:
        per_way = [
            np.mean(
                [np.mean(b[way]) for s in results["sets"].values() for b in s["accuracy"].values()]
            )
            for way in WAYS
        ]
        gain = per_way[1] - per_way[0]
        rows.append(["mean", "", "", *(f"{value:.3f}" for value in per_way), f"{gain:+.3f}"])
    return ["data", "long texts", "labelled rows", *WAYS, "mean minus truncate"], rows


def main(argv=None):
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="150 texts of one data set")
    quick = parser.parse_args(argv).quick
    results = run(quick)
    print_table(*table(results))
    if not quick:
        write_json("long_texts", results, **MADE)


if __name__ == "__main__":
    main()
