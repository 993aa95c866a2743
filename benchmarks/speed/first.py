"""What a new process takes to import sklfusion, to its first embedding and to its first score.

python -m benchmarks.speed.first

Whole processes on one thread, started in turns: CPU seconds from start to end, the median of five
rounds. The peers load the same encoder (sentence-transformers) and the same language model
(transformers, llama.cpp) and do the same once. Needs the package sentence-transformers.
"""

import os
import subprocess
import sys

import numpy as np

from benchmarks._common import print_table, write_json

ROUNDS = 5
TEXT = "The bank raised its rates."
CLASSES = ["World", "Sports", "Business"]
SCORE = f"from sklfusion import LLMClassifier; LLMClassifier('local/smollm2-135m{{}}', \
classes={CLASSES}).fit(['x']).predict_proba(['{TEXT}'])"
#: Group, way, program.
PROGRAMS = [
    ("import", "`import sklfusion`", "import sklfusion"),
    ("import", "`import sklearn`", "import sklearn"),
    (
        "first embedding",
        "`RobertaEmbedder`",
        f"from sklfusion import RobertaEmbedder; RobertaEmbedder().fit_transform(['{TEXT}'])",
    ),
    (
        "first embedding",
        "sentence-transformers",
        "from sentence_transformers import SentenceTransformer; "
        "from sklfusion.models import find_model; "
        f"SentenceTransformer(str(find_model('all-minilm-l6-v2'))).encode(['{TEXT}'])",
    ),
    ("first score", "`LLMClassifier`, as shipped", SCORE.format("")),
    ("first score", "`LLMClassifier`, `:gguf` (llama.cpp)", SCORE.format(":gguf")),
    (
        "first score",
        "transformers, one forward pass",
        "from transformers import AutoModelForCausalLM, AutoTokenizer; "
        "from sklfusion.llm._local_spec import find_local; "
        "spec = find_local('smollm2-135m'); folder = spec.folder(); "
        "import torch; tokenizer = AutoTokenizer.from_pretrained(folder); "
        "model = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, spec.dtype)); "
        f"model(**tokenizer('{TEXT}', return_tensors='pt'))",
    ),
]
#: What the results file says about its making.
MADE = {
    "seeds": f"{ROUNDS} rounds",
    "interval": "one machine, CPU seconds, the median of the rounds",
}


def seconds(program):
    """CPU seconds of a process that runs a program."""
    limits = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    before = os.times()
    subprocess.run(
        [sys.executable, "-c", program], env=os.environ | limits, check=True, capture_output=True
    )
    after = os.times()
    return sum(after[2:4]) - sum(before[2:4])


def run():
    """Seconds of every round by way."""
    found = {way: [] for _, way, _ in PROGRAMS}
    for _ in range(ROUNDS):
        for _, way, program in PROGRAMS:
            found[way].append(seconds(program))
    return {"rounds": found}


def table(results):
    """Header and rows."""
    rows = [[group, way, f"{np.median(results['rounds'][way]):.2f}"] for group, way, _ in PROGRAMS]
    return ["what", "by", "CPU seconds"], rows


def main():
    """Measure and print."""
    results = run()
    print_table(*table(results))
    write_json("speed_first", results, **MADE)


if __name__ == "__main__":
    main()
