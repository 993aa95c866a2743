"""Time the local LLM, text by text and in batches, beside skorch's ``ZeroShotClassifier``.

python -m benchmarks.speed.local_llm [--quick] [--only times | accuracy]

All score the same AG News texts with the same weights in this process, in turns, on one thread;
each way's CPU seconds per text are the least of three rounds. Two more figures: what a text costs
beside two busy loops with as many threads as the scorer takes by itself, and how often each kind
of number finds the right desk. Needs the package skorch, which sklfusion does not.
"""

import argparse
import json
import os
import subprocess
import sys
import time

from benchmarks._common import earlier, print_table, read, write_json

CLASSES = ["World", "Sports", "Business", "Technology"]
NAME = "speed_local_llm"
MODEL = "local/smollm2-135m"
TEXTS, ROUNDS = 8, 3
# For accuracy: standard error .03, the same rows for each kind.
ROWS = 300
# The loops' CPU seconds over the scorer's, at least: with less the scorer was not beside them.
BUSY = 1.0
# Kinds of number, as a model's name may end in; the first is how the model was run before.
KINDS = {"gguf": "llama.cpp, one by one", "fp32": "float32, batches", "bf16": "bfloat16, batches"}
ALONE = "bfloat16, one by one"
PEER = "skorch.llm, float32"
#: What the results file says about its making.
MADE = {
    "seeds": "one draw of texts",
    "interval": "one machine, CPU seconds, the least of three rounds",
}


def news(start, stop):
    """Texts of AG News, cut to 500 characters, and the desk of each."""
    rows = read("train/agnews_train").iloc[start:stop]
    desks = rows.gold_name.replace("SciTech", "Technology")
    return rows.text.str.slice(0, 500).tolist(), desks.to_numpy()


def classifier(kind=None, **params):
    """Return a fitted classifier that computes with a kind of number."""
    from sklfusion import LLMClassifier

    model = MODEL if kind is None else f"{MODEL}:{kind}"
    return LLMClassifier(model, classes=CLASSES, **params)


def ours(kind):
    """Return a function from texts to probabilities that remembers nothing."""
    return lambda texts: classifier(kind, calibrate=False).fit(["x"]).predict_proba(texts)


def one_by_one(texts):
    """Score each text in a call of its own, in bfloat16."""
    fitted = classifier("bf16", calibrate=False).fit(["x"])
    for text in texts:
        fitted.predict_proba([text])


def peer():
    """Return skorch's way from texts to probabilities."""
    try:
        from skorch.llm import ZeroShotClassifier
    except ImportError as error:
        raise SystemExit("this benchmark needs: pip install skorch") from error
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from sklfusion.llm._local_spec import find_local

    folder = find_local("smollm2-135m:fp32").folder()
    model = ZeroShotClassifier(
        model=AutoModelForCausalLM.from_pretrained(folder),
        tokenizer=AutoTokenizer.from_pretrained(folder),
    )
    # fit empties what skorch remembers of earlier texts
    return lambda texts: model.fit(None, CLASSES).predict_proba(texts)


def measure(ways, texts, rounds=ROUNDS):
    """Return the least CPU seconds per text of each way."""
    for way in ways.values():
        way(texts[:2])  # load
    best = dict.fromkeys(ways, float("inf"))
    for _ in range(rounds):
        for name, way in ways.items():
            start = time.process_time()
            way(texts)
            best[name] = min(best[name], (time.process_time() - start) / len(texts))
    return best


def beside_load(n):
    """Return the CPU seconds per text beside two busy loops, and how busy these were.

    That is the loops' CPU seconds over the scorer's: two loops and one thread get 2 on two cores.
    """
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2)]
    free = {k: v for k, v in os.environ.items() if not k.endswith("_THREADS")}
    start = _children_seconds()
    try:
        line = [sys.executable, "-m", "benchmarks.speed.local_llm", "--alone", str(n)]
        done = subprocess.run(line, env=free, check=True, capture_output=True, text=True)
    finally:
        scorer = _children_seconds() - start
        for loop in loops:
            loop.kill()
            loop.wait()
    share = (_children_seconds() - start - scorer) / scorer
    if share < BUSY:
        raise SystemExit(f"the loops took {share:.2f} times the scorer's CPU: they hardly ran")
    return json.loads(done.stdout), share


def _children_seconds():
    """CPU seconds of the processes that this one started and has seen end."""
    used = os.times()
    return used.children_user + used.children_system


def accuracy(n):
    """Return the share right of n rows of each kind, its bias fitted on 100 others."""
    train, _ = news(0, 100)
    texts, desks = news(100, 100 + n)
    found = {}
    for kind in KINDS:
        predicted = classifier(kind).fit(train).predict(texts)
        found[kind] = float((predicted == desks).mean())
    return found


def times(quick):
    """CPU seconds per text of each way, and beside two busy loops."""
    import torch

    torch.set_num_threads(1)
    os.environ["SKLFUSION_LOCAL_THREADS"] = "1"
    texts, _ = news(0, TEXTS)
    ways = {name: ours(kind) for kind, name in KINDS.items()}
    seconds = measure({**ways, ALONE: one_by_one, PEER: peer()}, texts, 1 if quick else ROUNDS)
    loaded, share = beside_load(len(texts))
    return {
        "texts": len(texts),
        "seconds": seconds,
        "beside_two_loops": loaded,
        "loops_over_scorer": share,
        "load_ratio": loaded / seconds[KINDS["bf16"]],
    }


def table(results):
    """Header and rows: CPU milliseconds per text and how many times quicker than before."""
    before = results["seconds"][KINDS["gguf"]]
    header = ["way", "CPU ms per text", "times the texts per second"]
    rows = [[n, f"{1000 * s:.0f}", f"{before / s:.1f}"] for n, s in results["seconds"].items()]
    if "accuracy" in results:
        header.append("accuracy")
        right = {name: f"{results['accuracy'][kind]:.3f}" for kind, name in KINDS.items()}
        rows = [[*row, right.get(row[0], "")] for row in rows]
    return header, rows


def load_line(results):
    """Say what a text costs on a busy machine."""
    line = (
        f"Beside two busy loops, which took {results['loops_over_scorer']:.1f} times its CPU, a "
        f"text takes {results['load_ratio']:.2f} times the CPU time that it takes on one thread "
        f"alone ({results['texts']} texts)."
    )
    if "accuracy" in results:
        line += f" Accuracy: {results['rows']} rows, calibrated on 100 others, no examples."
    return line


def main(argv=None):
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one round, no accuracy, no file")
    parser.add_argument("--only", choices=["times", "accuracy"], help="keep the other figures")
    parser.add_argument("--alone", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.alone:
        texts, _ = news(0, args.alone)
        print(json.dumps(min(measure({"": ours("bf16")}, texts).values())))
        return
    results = earlier(NAME)
    if args.only != "accuracy":
        results |= times(args.quick)
    if args.only != "times" and not args.quick:
        results |= {"rows": ROWS, "accuracy": accuracy(ROWS)}
    if not args.quick:
        write_json(NAME, results, kept=bool(args.only), **MADE)
    if "seconds" in results:
        print_table(*table(results))
        print(load_line(results))


if __name__ == "__main__":
    main()
