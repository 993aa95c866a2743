"""A look at what was typed, before any of it is read or shown."""

import sys
from pathlib import Path

#: Endings of files that may be called like a key.
_FILES = (".csv", ".tsv", ".jsonl", ".parquet", ".gz", ".json", ".sklf", ".html")


def refuse_pasted_keys(arguments):
    """End with status 2 if an argument is a key, without showing it."""
    from sklfusion.llm._keylike import looks_like_key

    for argument in arguments:
        value = argument.partition("=")[2] if argument.startswith("--") else argument
        if not looks_like_key(value) or value.lower().endswith(_FILES) or Path(value).exists():
            continue
        print(
            "sklfusion: an argument looks like a key (it is not shown, and nothing was sent). "
            "Put the key into an environment variable and name that: --api-key-env NAME. What "
            "was typed may stand in your shell's history now: delete it there, or change the key.",
            file=sys.stderr,
        )
        sys.exit(2)
