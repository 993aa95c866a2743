"""Typed questions to the embedded LLM: label words beside the letters of transformers' pipeline.

    python -m benchmarks.quality.local_decision [--quick]

Texts of AG News, no labels and no examples. `strategy="decision"` asks one choice question and
reads the words of the labels, `strategy="logprobs"` shows the labels before the text, and
transformers' `pipeline("decision")` reads the letters of options. All in float32 on one thread;
*prior-matched* is `calibrate="prior"` on the same texts. Told too: the tokens of a yes-or-no
question per class, all in one pass and one by one, and by how much the answers differ.
"""

import argparse
import time

import numpy as np

from benchmarks._common import print_table, read, write_json
from sklfusion import LLMScorer
from sklfusion._chat import DecisionRequest
from sklfusion.llm._local import load_runtime
from sklfusion.llm._local_spec import find_local
from sklfusion.prompts import DEFAULT_TEMPLATE, Task
from sklfusion.prompts._decisions import predicate_question, read_decisions
from sklfusion.prompts._local_questions import in_words, text_messages
from sklfusion.scoring._calibration import apply_bias, prior_bias

CLASSES = ("World", "Sports", "Business", "Technology")
MODEL = "smollm2-135m:fp32"
N_TEXTS, N_TOGETHER = 60, 8
#: What the results file says about its making.
MADE = {
    "seeds": f"one draw of {N_TEXTS} texts",
    "interval": "none: one draw",
}


def texts_and_classes(n):
    """Return ``n`` texts of AG News and their classes as places in :data:`CLASSES`."""
    rows = read("replay/agnews_test").sample(n, random_state=0)
    return (rows.title + ". " + rows.description).tolist(), rows.gold.to_numpy()


def by_words(strategy):
    """Return a function from texts to probabilities, asked in words."""
    scorer = LLMScorer(
        f"local/{MODEL}",
        classes=list(CLASSES),
        strategy=strategy,
        calibrate=False,
        output="proba",
    )
    return lambda texts: scorer.fit(texts).annotate(texts).probs


def by_letters():
    """Return the same function, reading the letters of the options as transformers does."""
    from transformers import AutoModelForCausalLM, AutoTokenizer, pipeline
    from transformers.decision import DecisionConfig

    folder = find_local(MODEL).folder()
    decide = pipeline(
        "decision",
        model=AutoModelForCausalLM.from_pretrained(folder),
        tokenizer=AutoTokenizer.from_pretrained(folder),
        decision_config=DecisionConfig(),
    )
    question = {
        "type": "choice",
        "instructions": DEFAULT_TEMPLATE.question_choice,
        "criteria": dict.fromkeys(CLASSES),
    }

    def ask(texts):
        answers = [decide({"state": text, "questions": {"label": question}}) for text in texts]
        return np.array([[a["label"]["probabilities"][c] for c in CLASSES] for a in answers])

    return ask


def measure(ask, texts, y):
    """Return accuracy, prior-matched accuracy, log-loss and CPU milliseconds of a text."""
    ask(texts[:1])  # loads
    start = time.process_time()
    probs = ask(texts)
    seconds = (time.process_time() - start) / len(texts)
    matched = apply_bias(probs, prior_bias(probs, multilabel=False), multilabel=False)
    return {
        "accuracy": float(np.mean(probs.argmax(axis=1) == y)),
        "prior-matched": float(np.mean(matched.argmax(axis=1) == y)),
        "log-loss": float(-np.log(np.maximum(probs[np.arange(len(y)), y], 1e-6)).mean()),
        "CPU ms": 1000 * seconds,
    }


def together(texts):
    """Return tokens of a question per class in one pass and one by one, and their difference."""
    spec, task = find_local(MODEL), Task(CLASSES)
    questions = [
        in_words(predicate_question(task, k, (), DEFAULT_TEMPLATE), DEFAULT_TEMPLATE)
        for k in range(len(CLASSES))
    ]
    tokens, difference = [0, 0], 0.0
    for text in texts:
        messages = text_messages(text, DEFAULT_TEMPLATE)
        once = _answer(spec, messages, questions)
        alone = [_answer(spec, messages, [question]) for question in questions]
        tokens[0] += once[1]
        tokens[1] += sum(count for _, count in alone)
        own = [probs[0] for probs, _ in alone]
        difference = max(difference, float(np.abs(np.subtract(once[0], own)).max()))
    return {
        "tokens, one pass": tokens[0] / len(texts),
        "tokens, one by one": tokens[1] / len(texts),
        "difference": difference,
    }


def _answer(spec, messages, questions):
    request = DecisionRequest("local", spec.name, messages, {"questions": questions})
    [reply] = load_runtime(spec).complete([request])
    probs = [value[0] for value in read_decisions(reply.contents[0], questions).values]
    return probs, reply.usage.prompt_tokens - reply.usage.cached_tokens


def table(results):
    """Header and rows of the table in docs/scoring.md."""
    header = ["asked", "accuracy", "prior-matched", "log-loss", "CPU ms a text"]
    rows = [
        [
            name,
            f"{row['accuracy']:.2f}",
            f"{row['prior-matched']:.2f}",
            f"{row['log-loss']:.2f}",
            f"{row['CPU ms']:.0f}",
        ]
        for name, row in results["ways"].items()
    ]
    return header, rows


def told(results):
    """Return what the program says of questions that are asked together."""
    found = results["together"]
    return (
        f"{results['n_texts']} texts. {len(CLASSES)} yes-or-no questions about a text take "
        f"{found['tokens, one pass']:.0f} tokens in one pass and "
        f"{found['tokens, one by one']:.0f} one by one; their probabilities differ by at most "
        f"{found['difference']:.0e}."
    )


def main(argv=None):
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args(argv).quick
    texts, y = texts_and_classes(4 if quick else N_TEXTS)
    ways = {
        '`strategy="decision"`, label words': by_words("decision"),
        '`strategy="logprobs"`': by_words("logprobs"),
        '`pipeline("decision")`, letters': by_letters(),
    }
    results = {
        "n_texts": len(texts),
        "ways": {name: measure(ask, texts, y) for name, ask in ways.items()},
        "together": together(texts[: 2 if quick else N_TOGETHER]),
    }
    print_table(*table(results))
    print("\n" + told(results))
    if not quick:
        write_json("local_decision", results, **MADE)


if __name__ == "__main__":
    main()
