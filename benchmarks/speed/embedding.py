"""Time `RobertaEmbedder` beside ``SentenceTransformer.encode`` on the same checkpoint.

python -m benchmarks.speed.embedding [--quick]

Both run in this process, in turns, in float32, with the same batch size and length; ratios of
CPU time are robust against other load on the machine, wall time is shown beside them. Needs the
package sentence-transformers, which sklfusion does not.
"""

import argparse
import time

import numpy as np

from benchmarks._common import print_table, read, write_json

BATCH_SIZE = 32
MAX_LENGTH = 256


def texts_of(name, n):
    """The first n texts of a data set, shuffled, so that lengths come in random order."""
    rows = read(name)
    texts = (
        rows.text.tolist() if "text" in rows else (rows.title + " " + rows.description).tolist()
    )
    order = np.random.RandomState(0).permutation(len(texts))[:n]
    return [texts[i] for i in order]


def encoders():
    """Return name -> function from texts to vectors."""
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise SystemExit("this benchmark needs: pip install sentence-transformers") from error
    from sklfusion import RobertaEmbedder
    from sklfusion.models import find_model

    peer = SentenceTransformer(str(find_model("all-minilm-l6-v2")), device="cpu")
    peer.max_seq_length = MAX_LENGTH
    ours = RobertaEmbedder(device="cpu", max_length=MAX_LENGTH, batch_size=BATCH_SIZE).fit(["a"])
    return {
        "sentence-transformers": lambda texts: peer.encode(
            texts, batch_size=BATCH_SIZE, show_progress_bar=False
        ),
        "RobertaEmbedder": ours.transform,
    }


def measure(functions, texts, rounds):
    """CPU and wall seconds of each function by round, and their last results."""
    times = {name: [] for name in functions}
    vectors = {}
    for function in functions.values():
        function(texts[:64])  # load and warm up
    for number in range(rounds):
        names = list(functions)
        for name in names if number % 2 == 0 else names[::-1]:
            wall, cpu = time.perf_counter(), time.process_time()
            vectors[name] = functions[name](texts)
            times[name].append((time.process_time() - cpu, time.perf_counter() - wall))
    return {name: np.array(value) for name, value in times.items()}, vectors


def run(quick):
    """Ratios by data set: what the peer takes over what `RobertaEmbedder` takes."""
    from sentence_transformers import __version__

    functions = encoders()
    sets = {"short (AG News)": ("train/agnews_train", 200 if quick else 600)}
    if not quick:
        sets["long (Reuters)"] = ("train/reuters_train", 200)
    results = {}
    for label, (name, n) in sets.items():
        times, vectors = measure(functions, texts_of(name, n), 1 if quick else 6)
        peer, ours = (times[name] for name in functions)
        cosine = (vectors["sentence-transformers"] * vectors["RobertaEmbedder"]).sum(axis=1).min()
        results[label] = {
            "texts": n,
            "ratios_cpu": (peer / ours)[:, 0].tolist(),
            "ratios_wall": (peer / ours)[:, 1].tolist(),
            "seconds_wall": {name: value[:, 1].tolist() for name, value in times.items()},
            "least_cosine": float(cosine),
        }
    return {"peer": f"sentence-transformers {__version__}", "sets": results}


def table(results):
    """Header and rows: the peer's time over ours, median and range of the rounds."""

    def ratio(values):
        return f"{np.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"

    rows = [
        [
            name,
            one["texts"],
            ratio(one["ratios_wall"]),
            ratio(one["ratios_cpu"]),
            f"{one['least_cosine']:.6f}",
        ]
        for name, one in results["sets"].items()
    ]
    header = ["texts", "n", f"wall time of {results['peer']} over ours", "CPU time"]
    return [*header, "least cosine between vectors"], rows


def main(argv=None):
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="200 texts, one data set, one round")
    quick = parser.parse_args(argv).quick
    results = run(quick)
    print_table(*table(results))
    if not quick:
        write_json("speed_embedding", results)


if __name__ == "__main__":
    main()
