"""Ask the embedded LLM about the texts of the alignment benchmark; resumable.

python -m benchmarks.quality._alignment_collect --seconds 500

Every answer goes into the reply store under the benchmark cache, so a run that is cut short is
continued by the next, and the benchmark itself only reads.
"""

import argparse
import json
import time

from benchmarks._common import CACHE
from benchmarks.quality import _alignment_data as data
from sklfusion import LabelDistributionCollector, LLMScorer

SOURCES = {
    "goemotions": data.goemotions,
    "semeval": data.semeval,
    "unhealthy comments": data.unhealthy,
    "kern tweets": data.kern,
}
#: (pool, queries, texts), in the order in which they are collected.
PLAN = [
    ("test", ("list", "unary"), 200),
    ("train", ("list", "unary"), 200),
    ("test", ("pairs",), 200),
    ("train", ("list", "unary"), 400),
]


def collector(source, queries):
    """Return the collector of some queries over the embedded LLM."""
    scorer = LLMScorer("local/smollm2-135m", classes=list(source.labels), memory=CACHE)
    return LabelDistributionCollector(
        scorer,
        queries=list(queries),
        topic=source.topic,
        aliases=source.aliases,
        examples=source.examples(),
        max_new_tokens=12,
    )


def collect(names, seconds):
    """Collect until everything is there or the time is over; return what is still missing."""
    import torch

    torch.set_num_threads(1)
    end = time.monotonic() + seconds
    sources = {name: SOURCES[name]() for name in names}
    for pool, queries, n in PLAN:
        for name, source in sources.items():
            texts, _ = source.draw(pool, n)
            asker = collector(source, queries)
            for start in range(0, n, 10):
                if time.monotonic() > end:
                    return f"{name}: {pool} {queries} from text {start}"
                asker.annotate(texts[start : start + 10])
            print(f"{name}: {pool} {queries} {n} done", flush=True)
    return None


def costs(name, n=10):
    """Return tokens and CPU seconds per text of each kind of query, measured on one thread.

    Nothing is read from the store or kept in it; the texts come after those of the plan.
    """
    import torch

    from sklfusion.scoring._collector import _load_local
    from sklfusion.scoring._distributions import LocalCollector

    torch.set_num_threads(1)
    path = CACHE / f"alignment_costs_{name.replace(' ', '_')}.json"
    if path.exists():
        return json.loads(path.read_text())
    source = SOURCES[name]()
    texts = source.draw("train", 400 + n)[0][-n:]
    lm, questions = _load_local("smollm2-135m", CACHE), collector(source, ["list"]).questions()
    result = {}
    for query in ("list", "unary", "pairs"):
        asker = LocalCollector(
            lm, questions, queries=[query], both_orders=False, max_new_tokens=12
        )
        asker.annotate(["warm up"])
        result[query] = _measured(asker, lm, texts)
    result["encoder"] = _encoder_cost(texts)
    path.write_text(json.dumps(result))
    return result


def _encoder_cost(texts):
    from sklfusion import RobertaEmbedder

    encoder = RobertaEmbedder().fit(texts)
    encoder.transform(["warm up"])
    cpu = time.process_time()
    encoder.transform(texts)
    return {"tokens_per_text": None, "cpu_s_per_text": (time.process_time() - cpu) / len(texts)}


def _measured(asker, lm, texts):
    tokens, cpu = lm.tokens_computed, time.process_time()
    asker.annotate(texts)
    return {
        "tokens_per_text": (lm.tokens_computed - tokens) / len(texts),
        "cpu_s_per_text": (time.process_time() - cpu) / len(texts),
    }


def prefix_gain(n=3):
    """Return tokens and CPU seconds per text with and without reuse of the shared beginning."""
    from sklfusion.scoring._collector import _load_local
    from sklfusion.scoring._distributions import LocalCollector

    path = CACHE / "alignment_prefix_gain.json"
    if path.exists():
        return json.loads(path.read_text())
    source = data.goemotions()
    texts, _ = source.draw("test", n)
    lm, questions = _load_local("smollm2-135m", CACHE), collector(source, ["list"]).questions()
    result = {}
    for name, reuse in (("shared", True), ("naive", False)):
        asker = LocalCollector(
            lm, questions, queries=["list", "unary"], max_new_tokens=12, reuse=reuse
        )
        asker.annotate(["warm up"])
        result[name] = _measured(asker, lm, texts)
    path.write_text(json.dumps(result))
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=list(SOURCES))
    parser.add_argument("--seconds", type=float, default=1e9)
    parser.add_argument("--cost", action="store_true", help="measure tokens and CPU seconds")
    options = parser.parse_args()
    missing = collect(options.names, options.seconds)
    print("complete" if missing is None else f"missing {missing}", flush=True)
    if options.cost:
        print({name: costs(name) for name in options.names}, prefix_gain())


if __name__ == "__main__":
    main()
