"""Rows of the reliability battery that can be decided from outside a library.

A row sees a library through scikit-learn's methods and through the ledger of the fault server,
nothing else. Its function returns what it saw, asserts, or calls `skip` where it does not apply.
Ids and faults are those of `docs/scorecard.md`; T01 to T32 are the checks of
`sklfusion.testing.check_text_estimator`. `python -m benchmarks.load.peers` runs them.
"""

from benchmarks.load._peer_rows import (  # noqa: F401, I001 - registers rows, in order
    network,
    replies,
    paying,
    secrets,
)
from benchmarks.load._peer_rows._base import ROWS, Desk, NotApplicable

#: A look at each family, for ``--quick`` and for the tests.
QUICK = ("N01", "N13", "R05", "I12", "C01", "E10", "E11", "S01", "S07", "T01", "T14", "T16")

__all__ = ["QUICK", "ROWS", "Desk", "NotApplicable"]
