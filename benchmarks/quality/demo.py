"""Run ``sklfusion demo`` and keep its table and picture for the README.

python -m benchmarks.quality.demo
"""

import shutil
import tempfile

from benchmarks._common import IMAGES, mean_spread, print_table, write_json
from sklfusion._demo import run_demo

#: What the results file says about its making.
MADE = {
    "seeds": "draws 0 to 4",
    "interval": "± is the standard deviation over draws",
}


def main():
    with tempfile.TemporaryDirectory() as folder:
        results = run_demo(folder)
        IMAGES.mkdir(parents=True, exist_ok=True)
        shutil.copy(results.pop("files")["picture"], IMAGES / "demo.png")
    names = list(results["scores"])
    print_table(["labelled rows", *names], table_rows(results))
    write_json("demo", results, **MADE)


def table_rows(results):
    """One row per label budget: the mean and spread of every method, the best mean in bold."""
    rows = []
    for number, size in enumerate(results["train_sizes"]):
        draws = {name: values[number] for name, values in results["scores"].items()}
        best = max(sum(v) for v in draws.values())
        cells = [
            f"**{mean_spread(v)}**" if sum(v) == best else mean_spread(v) for v in draws.values()
        ]
        rows.append([size, *cells])
    return rows


if __name__ == "__main__":
    main()
