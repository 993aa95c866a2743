"""Trains SetFit for `benchmarks.quality.few_shot`, in an environment that has it.

Reads one job per line from standard input, JSON with ``model``, ``texts``, ``labels``, ``test``
and ``seed``; writes one line with ``predicted`` and ``seconds`` of training for each.
"""

import json
import sys
import tempfile
import time


def train(job):
    """Predicted labels of the test texts, and the seconds that the training took."""
    from datasets import Dataset
    from setfit import SetFitModel, Trainer, TrainingArguments

    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            seed=job["seed"],
            report_to="none",
            save_strategy="no",
            show_progress_bar=False,
        )
        start = time.perf_counter()
        model = SetFitModel.from_pretrained(job["model"])
        rows = Dataset.from_dict({"text": job["texts"], "label": job["labels"]})
        Trainer(model=model, args=arguments, train_dataset=rows).train()
        seconds = time.perf_counter() - start
        predicted = [int(label) for label in model.predict(job["test"])]
    return {"predicted": predicted, "seconds": seconds}


def main():
    """Answer jobs until the input ends; the libraries print to standard output as well."""
    answers, sys.stdout = sys.stdout, sys.stderr
    for line in sys.stdin:
        print(json.dumps(train(json.loads(line))), file=answers, flush=True)


if __name__ == "__main__":
    main()
