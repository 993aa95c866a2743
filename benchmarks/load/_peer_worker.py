"""Runs rows of `benchmarks.load._peer_rows` inside the environment of one library.

    python -m benchmarks.load._peer_worker rows LIBRARY PORT ADAPTER OTHER FOLDER
    python -m benchmarks.load._peer_worker child LIBRARY PORT ADAPTER FOLDER

``rows`` reads ids from its input, one a line, and answers each with one line of JSON. ``child``
reads texts, says "ready", waits for "go", and prints the labels; rows about kills start it.
"""

import json
import os
import signal
import sys
import tempfile

from benchmarks.load._peer_libraries import LIBRARIES


def judge(row, library, other):
    """Run one row; return its verdict and one short sentence."""
    from benchmarks.load._peer_rows import Desk, NotApplicable

    if row.wire and library.local:
        return "n.a.", "the model runs in the process: nothing goes over the wire"
    try:
        return "pass", str(row.run(Desk(library, other)))
    except NotApplicable as reason:
        return "n.a.", str(reason)
    except AssertionError as error:
        return "fail", str(error) or "an assertion of the row"
    except Exception as error:
        return "fail", f"ends in {type(error).__name__}: {error}"


def rows(name, port, adapter, other, folder):
    """Answer ids until the input ends."""
    from benchmarks.load._peer_rows import ROWS

    answers = os.fdopen(os.dup(1), "w", buffering=1)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)  # libraries print; the answers go through the copy
    os.dup2(nowhere, 2)
    answers.write(json.dumps({"versions": LIBRARIES[name](name, 0, 0, folder).versions()}) + "\n")
    for line in sys.stdin:
        row = ROWS[line.strip()]
        place = tempfile.mkdtemp(dir=folder)
        verdict, said = judge(row, LIBRARIES[name](name, port, adapter, place), other)
        said = " ".join(said.split())[:120]
        answers.write(json.dumps({"id": row.id, "verdict": verdict, "said": said}) + "\n")


def child(name, port, adapter, folder):
    """Label texts when told to."""
    # A shell that starts us in the background ignores SIGINT for its children.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    from benchmarks.load._peer_libraries import TARGET, TRAIN

    library = LIBRARIES[name](name, port, adapter, folder)
    X = json.loads(sys.stdin.readline())
    estimator = library.make().fit(list(TRAIN), TARGET)
    print("ready", flush=True)
    sys.stdin.readline()
    print(json.dumps([str(label) for label in library.predict(estimator, X)]), flush=True)


if __name__ == "__main__":
    kind, name, *numbers, folder = sys.argv[1:]
    {"rows": rows, "child": child}[kind](name, *map(int, numbers), folder)
