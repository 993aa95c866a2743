"""Time `RobertaEmbedder`, all back ends, beside ``SentenceTransformer.encode``.

python -m benchmarks.speed.embedding [--quick]

Same checkpoint, same length, in turns in one process on one thread: CPU seconds, the least of
three rounds. sentence-transformers runs in float32 with its batch size of 32. Short texts are
news briefs, long ones Reuters stories of more than 150 words, mixed ones half of each. Needs the
packages sentence-transformers, onnxruntime and openvino; bfloat16 is left out where the processor
has no unit for it.
"""

import argparse
import os
import tempfile
import time
import warnings

import numpy as np

from benchmarks._common import print_table, read, write_json

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
    parser.add_argument("--quick", action="store_true", help="few texts, one round")
    quick = parser.parse_args(argv).quick
    results = run(quick)
    print_table(*table(results))
    if not quick:
        write_json("speed_embedding", results)


if __name__ == "__main__":
    main()
