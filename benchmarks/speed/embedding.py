"""Time `RobertaEmbedder`, all back ends, beside ``SentenceTransformer.encode``.

python -m benchmarks.speed.embedding [--quick] [--only times | accuracy]

Same checkpoint, same length, in turns in one process on one thread: CPU seconds, the least of
three rounds. sentence-transformers runs in float32 with its batch size of 32. Short texts are
news briefs, long ones Reuters stories of more than 150 words, mixed ones half of each. Needs the
packages sentence-transformers, onnxruntime and openvino; bfloat16 is left out where the processor
has no unit for it. How many texts a logistic regression gets right on vectors of either kind of
number is asked on the same draws of rows.
"""

import argparse
import os
import tempfile
import time
import warnings

import numpy as np

from benchmarks._common import earlier, print_table, read, write_json

BATCH_SIZE = 32  # of the peer: its default
MAX_LENGTH = 256
ROUNDS = 3
#: Back end and numeric kind; torch in float32 comes first, and the others are held against it.
WAYS = [
    ("torch", "float32"),
    ("onnx", "float32"),
    ("openvino", "float32"),
    ("torch", "bfloat16"),
    ("openvino", "bfloat16"),
]
PEER = "sentence-transformers"
NAME = "speed_embedding"
#: For accuracy: draws of so many labelled rows, out of so many of AG News.
DRAWS, LABELLED, AGNEWS_ROWS = 50, 100, 400
KINDS = ("float32", "bfloat16")
#: What the results file says about its making.
MADE = {
    "seeds": f"accuracy: draws 0 to {DRAWS - 1}",
    "interval": "one machine, CPU seconds, the least of three rounds",
}


def texts_of(name, n, words=0):
    """The first n texts of a data set with more than `words` words, in random order."""
    rows = read(name)
    texts = (
        rows.text.tolist() if "text" in rows else (rows.title + " " + rows.description).tolist()
    )
    texts = [text for text in texts if len(text.split()) > words]
    order = np.random.RandomState(0).permutation(len(texts))[:n]
    return [texts[i] for i in order]


def text_sets(quick):
    """Name -> texts."""
    n_short, n_long = (16, 4) if quick else (40, 12)
    short = texts_of("train/agnews_train", n_short)
    long = texts_of("train/reuters_train", n_long, words=150)
    mixed = [text for pair in zip(short, long, strict=False) for text in pair]
    return {"short": short, "mixed": mixed, "long": long}


def encoders():
    """Name -> function from texts to vectors."""
    import torch

    try:
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise SystemExit("this benchmark needs: pip install sentence-transformers") from error
    from sklfusion import RobertaEmbedder
    from sklfusion._dtype import has_bfloat16
    from sklfusion.models import find_model

    torch.set_num_threads(1)
    peer = SentenceTransformer(str(find_model("all-minilm-l6-v2")), device="cpu")
    peer.max_seq_length = MAX_LENGTH
    found = {
        PEER: lambda texts: peer.encode(texts, batch_size=BATCH_SIZE, show_progress_bar=False)
    }
    for backend, dtype in WAYS:
        if dtype == "float32" or has_bfloat16():
            ours = RobertaEmbedder(
                device="cpu",
                max_length=MAX_LENGTH,
                long_texts="truncate",
                backend=backend,
                dtype=dtype,
            ).fit(["a"])
            found[f"{backend} {dtype}"] = ours.transform
    return found


def measure(functions, texts, rounds):
    """Least CPU seconds of each function, and its vectors."""
    seconds, vectors = dict.fromkeys(functions, np.inf), {}
    for function in functions.values():
        function(texts[:16])  # load and warm up
    for _ in range(rounds):
        for name, function in functions.items():
            start = time.process_time()
            vectors[name] = function(texts)
            seconds[name] = min(seconds[name], time.process_time() - start)
    return seconds, vectors


def run(quick):
    """Texts per CPU second and least cosine to torch in float32, by texts and way."""
    from sentence_transformers import __version__

    from sklfusion.exceptions import DataWarning

    results = {}
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        os.environ["XDG_CACHE_HOME"] = folder  # for the exports
        warnings.simplefilter("ignore", DataWarning)  # the peer cuts at the same length
        functions = encoders()
        for label, texts in text_sets(quick).items():
            seconds, vectors = measure(functions, texts, 1 if quick else ROUNDS)
            exact = vectors["torch float32"]
            results[label] = {
                "texts": len(texts),
                "words": float(np.mean([len(text.split()) for text in texts])),
                "per_second": {name: len(texts) / value for name, value in seconds.items()},
                "least_cosine": {
                    name: float((found * exact).sum(axis=1).min())
                    for name, found in vectors.items()
                },
            }
    return {"peer": f"{PEER} {__version__}", "sets": results}


def labelled_sets():
    """Name -> texts, labels, and the rows that every draw tests on (None: all not drawn)."""
    from sklfusion.datasets import load_newsdesk

    train, test = read("train/agnews_train").iloc[:AGNEWS_ROWS], read("replay/agnews_test")
    texts = [*train.text, *(test.title + " " + test.description)]
    desk = load_newsdesk()
    return {
        "AG News": (texts, [*train.gold_name, *test.gold_name], range(len(train), len(texts))),
        "the demo's briefs": (desk.data, desk.target, None),
    }


def accuracy():
    """Share of test rows that a logistic regression gets right, by texts, kind and draw."""
    from sklfusion import RobertaEmbedder

    found = {}
    for name, (texts, labels, test) in labelled_sets().items():
        found[name] = {
            kind: draws_right(
                RobertaEmbedder(device="cpu", dtype=kind).fit_transform(list(texts)),
                np.asarray(labels),
                test,
            )
            for kind in KINDS
        }
    return {"draws": DRAWS, "labelled": LABELLED, "accuracy": found}


def draws_right(vectors, labels, test):
    """Share right in each draw of labelled rows."""
    from sklearn.linear_model import LogisticRegression

    right = []
    for seed in range(DRAWS):
        order = np.random.RandomState(seed).permutation(len(labels) if test is None else test[0])
        fit, rest = order[:LABELLED], order[LABELLED:] if test is None else np.asarray(test)
        model = LogisticRegression(C=10.0, max_iter=2000).fit(vectors[fit], labels[fit])
        right.append(float(model.score(vectors[rest], labels[rest])))
    return right


def accuracy_line(results):
    """Say what bfloat16 does to accuracy."""
    parts = []
    for name, kinds in results["accuracy"].items():
        one, other = (np.mean(kinds[kind]) for kind in KINDS)
        parts.append(f"{name}: {one:.4f} in float32 and {other:.4f} in bfloat16")
    return (
        f"Share of texts that a logistic regression on {results['labelled']} labelled ones gets "
        f"right, mean of {results['draws']} draws. {'; '.join(parts)}."
    )


def table(results):
    """Header and rows: texts per CPU second, times the peer's, and cosine by way."""
    sets = results["sets"]
    rows = []
    for name in sets["short"]["per_second"]:
        row = [results["peer"] if name == PEER else name]
        for one in sets.values():
            rate = one["per_second"]
            row.append(f"{rate[name]:.0f} ({rate[name] / rate[PEER]:.2f})")
        cosine = min(one["least_cosine"][name] for one in sets.values())
        rows.append([*row, f"{cosine:.5f}"])
    names = [f"{name}, {one['words']:.0f} words" for name, one in sets.items()]
    return ["texts per CPU second (times the peer)", *names, "least cosine to torch float32"], rows


def main(argv=None):
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few texts, one round, no file")
    parser.add_argument("--only", choices=["times", "accuracy"], help="keep the other figures")
    args = parser.parse_args(argv)
    results = earlier(NAME)
    if args.only != "accuracy":
        results |= run(args.quick)
    if args.only != "times" and not args.quick:
        results |= accuracy()
    print_table(*table(results))
    if not args.quick:
        print(accuracy_line(results))
        write_json(NAME, results, kept=bool(args.only), **MADE)


if __name__ == "__main__":
    main()
