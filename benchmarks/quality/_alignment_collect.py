"""Ask the embedded LLM about the texts of the alignment benchmark; resumable.

python -m benchmarks.quality._alignment_collect goemotions semeval --seconds 500

Every answer goes into the reply store under the benchmark cache, so a run that is cut short is
continued by the next, and the benchmark itself only reads.
"""

import argparse
import json
import time

from benchmarks._common import CACHE
from benchmarks.quality import _alignment_data as data
from sklfusion import LabelDistributionCollector, LLMScorer

SOURCES = {"goemotions": data.goemotions, "semeval": data.semeval}
#: (pool, queries, texts), in the order in which they are collected.
PLAN = [
    ("test", ("list", "unary"), 100),
    ("train", ("list", "unary"), 60),
    ("test", ("list", "unary"), 140),
    ("train", ("list", "unary"), 100),
    ("test", ("list", "unary"), 200),
    ("test", ("pairs",), 20),
    ("train", ("list", "unary"), 200),
    ("test", ("pairs",), 60),
]


def collector(source, queries):
    """Return the collector of some queries over the embedded LLM."""
    scorer = LLMScorer("local/smollm2-135m", classes=list(source.labels), memory=CACHE)
    return LabelDistributionCollector(
        scorer,
        queries=list(queries),
        topic="emotion",
        examples=source.examples(),
        max_new_tokens=12,
    )


def cost_path(name, queries):
    """File with the measured cost of some queries."""
    return CACHE / f"alignment_cost_{name}_{'_'.join(queries)}.json"


def collect(name, seconds):
    """Collect until everything is there or the time is over; return what is still missing."""
    import torch

    torch.set_num_threads(1)
    end = time.monotonic() + seconds
    source = SOURCES[name]()
    for pool, queries, n in PLAN:
        texts, _ = source.draw(pool, n)
        asker = collector(source, queries)
        for start in range(0, n, 10):
            if time.monotonic() > end:
                return f"{pool} {queries} from text {start}"
            cpu, chunk = time.process_time(), texts[start : start + 10]
            tokens = _tokens()
            asker.annotate(chunk)
            if tokens and _tokens() - tokens > 20 * len(chunk):  # not from the store
                _note(name, queries, len(chunk), time.process_time() - cpu, _tokens() - tokens)
        print(f"{name}: {pool} {queries} {n} done", flush=True)
    return None


def _tokens():
    from sklfusion.collector import _models

    return sum(model.tokens_computed for model in _models.values())


def _note(name, queries, texts, cpu, tokens):
    path = cost_path(name, queries)
    old = json.loads(path.read_text()) if path.exists() else {"texts": 0, "cpu_s": 0, "tokens": 0}
    new = {"texts": texts, "cpu_s": cpu, "tokens": tokens}
    path.write_text(json.dumps({key: old[key] + new[key] for key in old}))


def prefix_gain(n=3):
    """Return tokens and CPU seconds per text with and without reuse of the shared beginning."""
    from sklfusion.alignment.collect import LocalCollector
    from sklfusion.collector import _load

    path = CACHE / "alignment_prefix_gain.json"
    if path.exists():
        return json.loads(path.read_text())
    source = data.goemotions()
    texts, _ = source.draw("test", n)
    lm, questions = _load("smollm2-135m", CACHE), collector(source, ["list"]).questions()
    result = {}
    for name, reuse in (("shared", True), ("naive", False)):
        asker = LocalCollector(
            lm, questions, queries=["list", "unary"], max_new_tokens=12, reuse=reuse
        )
        asker.annotate(["warm up"])
        tokens, cpu = lm.tokens_computed, time.process_time()
        asker.annotate(texts)
        result[name] = {
            "tokens_per_text": (lm.tokens_computed - tokens) / n,
            "cpu_s_per_text": (time.process_time() - cpu) / n,
        }
    path.write_text(json.dumps(result))
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=list(SOURCES))
    parser.add_argument("--seconds", type=float, default=1e9)
    parser.add_argument("--gain", action="store_true")
    options = parser.parse_args()
    for name in options.names:
        missing = collect(name, options.seconds / len(options.names))
        print(f"{name}: {'complete' if missing is None else 'missing ' + missing}", flush=True)
    if options.gain:
        print(prefix_gain())


if __name__ == "__main__":
    main()
