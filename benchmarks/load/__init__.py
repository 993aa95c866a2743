"""Programs on faults, load and peers. The rows that they run are tests: tests/scorecard/rows."""

import sys
from pathlib import Path

# The scorecard is a package of the test folder, which no installation puts on the path.
_TESTS = str(Path(__file__).parents[2] / "tests")
if _TESTS not in sys.path:
    sys.path.append(_TESTS)
