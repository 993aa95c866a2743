"""Record what the embedded LLM says about the bundled briefs: sklfusion/data/newsdesk_answers.csv.

python -m benchmarks.newsdesk_answers      # the embedded LLM; a quarter of a minute
"""

import csv

from benchmarks._common import ROOT
from sklfusion import LLMScorer
from sklfusion.datasets import load_newsdesk
from sklfusion.models import DEFAULT_LLM

FILE = ROOT / "sklfusion" / "data" / "newsdesk_answers.csv"
#: Digits after the point: finer than two kinds of processor agree.
DIGITS = 4


def ask():
    """Return the annotations of all briefs; what is said of one is set right by the others."""
    desk = load_newsdesk()
    scorer = LLMScorer(
        DEFAULT_LLM, classes=desk.target_names, class_descriptions=desk.descriptions
    )
    return scorer.fit(desk.data).annotate(desk.data)


def main():
    """Ask about every brief and write a row for each."""
    said = ask()
    with FILE.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*said.classes, "coverage"])
        for probabilities, coverage in zip(said.probs, said.coverage, strict=True):
            writer.writerow([f"{value:.{DIGITS}f}" for value in (*probabilities, coverage)])
    print(f"written: {FILE.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
