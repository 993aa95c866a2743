"""All experiments on fusion, one after the other; each is a program of its own as well.

python -m benchmarks.quality.experiments [--quick] [NAME ...]

Names: baselines, label_budget, ablation, architecture, prompts, domain_shift, semi_supervised,
cascade.
Each prints one table and writes ``benchmarks/results/NAME.json`` and ``docs/images/NAME.png``.
"""

import argparse
import importlib

from benchmarks.quality import _contest

PROGRAMS = (
    "baselines",
    "label_budget",
    "ablation",
    "architecture",
    "prompts",
    "domain_shift",
    "semi_supervised",
    "cascade",
)


def main():
    """Run the experiments named on the command line, by default all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(PROGRAMS))
    parser.add_argument("--quick", action="store_true", help="few rows, tables only")
    args = parser.parse_args()
    unknown = set(args.names) - set(PROGRAMS)
    if unknown:
        parser.error(f"unknown {sorted(unknown)}; the names are {', '.join(PROGRAMS)}")
    for name in args.names or PROGRAMS:
        module = importlib.import_module(f"benchmarks.quality.{name}")
        print(f"\n{name}: {module.__doc__.splitlines()[0]}\n")
        _contest.execute(name, module.run, module.table, module.draw, args.quick, **module.MADE)


if __name__ == "__main__":
    main()
