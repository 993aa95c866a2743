"""A process that scores shards: one JSON line in, one out, until its input ends.

::

    python -m sklfusion.batch._worker     # started by score_shards, not by hand

A process of its own, not a fork and not a pool: it starts with its own threads and connections,
needs no guard in the user's script, and one that is killed takes nothing but itself along.
"""

from __future__ import annotations

import json
import os
import sys
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

from sklfusion.exceptions import SklFusionError


def outcome(scorer: Any, job: dict[str, str]) -> dict[str, Any]:
    """Score one shard and say how it went, in plain JSON values.

    Parameters
    ----------
    scorer : BatchScorer
    job : dict
        ``source``, ``folder`` and ``name``.

    Returns
    -------
    dict
        ``state`` is "done" (with the counts), "unreadable" or "failed" (with a ``reason``: this
        shard's fault, others may go on) or "stopped" (with ``error``, the name of an exception of
        ours, and ``reason``: nothing can go on).
    """
    from sklfusion.batch._one_shard import UnreadableShard, score_shard

    try:
        facts = score_shard(scorer, Path(job["source"]), Path(job["folder"]), job["name"])
    except UnreadableShard as error:
        return {"state": "unreadable", "reason": str(error)}
    except SklFusionError as error:
        return {"state": "stopped", "error": type(error).__name__, "reason": str(error)}
    except Exception as error:
        return {"state": "failed", "reason": f"{type(error).__name__}: {error}"}
    return {"state": "done", **facts}


def main() -> None:
    """Read the settings from the first line, then jobs until the parent closes the pipe."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a library prints must not be read as an answer
    warnings.simplefilter("ignore")
    settings = json.loads(sys.stdin.readline())
    scorer = None
    for line in sys.stdin:
        try:
            scorer = scorer or _make_scorer(settings)
            said = outcome(scorer, json.loads(line))
        except Exception as error:
            said = {"state": "stopped", "error": type(error).__name__, "reason": str(error)}
        answers.write(json.dumps(said) + "\n")
        answers.flush()


def _make_scorer(settings):
    from sklfusion.batch._scorer import BatchScorer

    return BatchScorer(**settings)


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):  # told by the parent
        main()
