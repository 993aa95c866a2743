"""Why rows of the battery fail: one cause often fails many rows, so causes are what counts."""

#: Cause to the rows that it fails.
CAUSES = {
    "one text without an answer ends the job": "N08 N13 N16 N20 N21 N25 N27 R11",
    "what was paid for is not kept": "N05 N11 I12 C01 C02 C06 P01 P02 E06",
    "asks on after a refusal that is final": "N06 N10 N12",
    "a wait that the endpoint asked for is not kept by all workers": "N02",
    "no limit on the time of a reply": "N22 N23",
    "a redirect takes texts to another server": "N28",
    "the error does not say where": "N17",
    "only the very words of a label are read": "R04",
    "half a reply counts as an answer": "R12",
    "the answer is not fixed": "R17",
    "texts are not looked at before they are sent": "I02 I03 I08 I10 I14 T15 T16 T17 T18 T19 T21",
    "key or texts are found in repr, pickle or log": "S01b S04",
    "a text can close its own quotation": "S07",
    "no probabilities": "E10",
    "scikit-learn's contract": "L02 E11 T03 T06 T31 T32",
}


def cause_of(id):
    """Cause of a row that failed; KeyError if nobody has looked into it."""
    found = {row: cause for cause, rows in CAUSES.items() for row in rows.split()}
    return found[id]


def failed(cells):
    """Cause to the ids of the rows that failed by it, of one library."""
    by_cause = {}
    for id, (verdict, *_) in cells.items():
        if verdict == "fail":
            by_cause.setdefault(cause_of(id), []).append(id)
    return by_cause


def table(results):
    """Header and rows: how many rows each cause fails in each library."""
    by_library = {name: failed(cells) for name, cells in results["cells"].items()}
    rows = []
    for cause in CAUSES:
        counts = [len(found.get(cause, ())) for found in by_library.values()]
        if any(counts):
            rows.append([cause, *(count or "" for count in counts)])
    rows.append(["causes", *(len(found) for found in by_library.values())])
    return ["cause, and rows that fail by it", *by_library], rows
