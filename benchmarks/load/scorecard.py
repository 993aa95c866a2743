"""The reliability scorecard: every fault and bad input, what must happen, and what did.

::

    python -m benchmarks.load.scorecard --tier ci          # every run
    python -m benchmarks.load.scorecard --tier nightly     # everything
    python -m benchmarks.load.scorecard -k N07 -k C        # some rows, no files
    python -m benchmarks.load.scorecard --tier nightly -k E08 --merge   # into the files

Each row is also a pytest id: ``pytest tests/scorecard -k N07``. Rows without a function are
counted as missing, never as passed. With no ``-k``, or with ``--merge``, a markdown copy goes to
docs/scorecard.md; merged rows replace those of earlier runs, so that a long run can be cut up.
"""

import argparse
import sys
import time

from scorecard.rows import NIGHTLY, ROWS, all_ids
from scorecard.rows._base import execute

from benchmarks._common import ROOT, earlier, write_json
from sklfusion.testing import FaultServer

NAMES = ("id", "fault", "expected", "got", "verdict", "seconds")
#: What the results file says about its making.
MADE = {
    "seeds": "one run",
    "interval": "pass or fail by row",
}


def chosen(tier, keys):
    """Return the ids of a tier ("ci" or "nightly", which holds all) that contain a key."""
    ids = [i for i in all_ids() if tier == "nightly" or i not in NIGHTLY]
    return [i for i in ids if not keys or any(key in i for key in keys)]


def run(ids):
    """Run rows; yield (id, fault, expected, got, verdict, seconds)."""
    with FaultServer() as server:
        for id in ids:
            if id not in ROWS:
                yield id, "", "", "", "MISSING", 0.0
                continue
            row = ROWS[id]
            start = time.monotonic()
            passed, got = execute(row, server)
            seconds = time.monotonic() - start
            yield id, row.fault, row.expected, got, "pass" if passed else "FAIL", seconds


def markdown(results, tier, line):
    """Return the table as a page of the documentation."""
    out = [
        "# Reliability scorecard",
        "",
        f"Written by `python -m benchmarks.load.scorecard --tier {tier}`: {line}.",
        "",
        "| id | fault or input | expected | got | |",
        "| --- | --- | --- | --- | --- |",
    ]
    for id, fault, expected, got, verdict, _ in results:
        cells = [id, fault, expected, " ".join(got.split())[:160], verdict]
        out.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(out) + "\n"


def summary(results):
    """Return "N passed, N failed" with the number of missing rows if there are any."""
    verdicts = [result[4] for result in results]
    passed, failed, missing = (verdicts.count(v) for v in ("pass", "FAIL", "MISSING"))
    return f"{passed} passed, {failed} failed" + (f", {missing} missing" if missing else "")


def write(results, tier, *, merge):
    """Write JSON and markdown; with ``merge`` the rows that did not run keep their places."""
    if merge and (saved := earlier("scorecard")):
        rows = {row["id"]: tuple(row[name] for name in NAMES) for row in saved["rows"]}
        rows |= {result[0]: result for result in results}
        results = [rows[id] for id in all_ids() if id in rows]
        tier = "nightly" if "nightly" in (tier, saved["tier"]) else tier
    line = summary(results)
    rows = [dict(zip(NAMES, result, strict=True)) for result in results]
    write_json("scorecard", {"tier": tier, "line": line, "rows": rows}, kept=merge, **MADE)
    (ROOT / "docs" / "scorecard.md").write_text(markdown(results, tier, line))


def main():
    """Run the program."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.load.scorecard")
    parser.add_argument("--tier", choices=["ci", "nightly"], default="ci")
    parser.add_argument("-k", action="append", default=[], help="only ids that contain this")
    parser.add_argument("--quick", action="store_true", help="write no files")
    parser.add_argument("--merge", action="store_true", help="write what -k chose into the files")
    arguments = parser.parse_args()
    results = []
    for result in run(chosen(arguments.tier, arguments.k)):
        id, fault, expected, got, verdict, seconds = result
        results.append(result)
        print(f"{id}  {verdict:7}  {seconds:5.1f} s  {fault}", flush=True)
        if verdict == "FAIL" or arguments.k:
            print(f"      expected: {expected}\n      got:      {' '.join(got.split())[:600]}")
    line = summary(results)
    if not arguments.quick and (arguments.merge or not arguments.k):
        write(results, arguments.tier, merge=arguments.merge)
    print(line)
    sys.exit(any(result[4] != "pass" for result in results))


if __name__ == "__main__":
    main()
