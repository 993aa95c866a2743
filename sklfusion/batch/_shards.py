"""`score_shards`: a folder of Parquet files in, a folder of Parquet files out, restartable."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

from sklfusion import exceptions, persistence
from sklfusion.batch._manifest import (
    MANIFEST_FORMAT,
    check_same_run,
    digest_of,
    facts_of,
    fingerprint,
    sweep,
    told_if_full,
    write_manifest,
)
from sklfusion.batch._scorer import BatchScorer
from sklfusion.batch._sources import parquet_files
from sklfusion.batch._team import Team
from sklfusion.batch._worker import outcome
from sklfusion.exceptions import DataWarning, SklFusionError

_STORE = "replies"  # folder of the reply store where the model has none


def score_shards(
    model: str | os.PathLike[str],
    source: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    text: str = "text",
    label: str = "label",
    workers: int = 1,
    batch_size: int = 1024,
    memory: Any = None,
    endpoints: Any = (),
) -> dict[str, Any]:
    """Score a folder of Parquet files into another folder, one file at a time per worker.

    Call it again after a crash, a kill, a full disk or an endpoint that was down: it goes on
    where it stopped. A shard is done when its output stands under its name, to which it is moved
    once it is whole; half a file is never seen there.

    Parameters
    ----------
    model : str or Path
        A file that :func:`sklfusion.persistence.save` wrote.
    source : str or Path
        A Parquet file, or a folder with ``.parquet`` files in it or below it. Names that begin
        with ``_`` or ``.`` are left out.
    output : str or Path
        Folder of the results, made if it is not there: every shard under its own name with the
        columns of :class:`BatchScorer` added; the rows without a label once more below
        ``dead_letters/``, with their columns, a status and a reason; and ``manifest.json``.
    text : str, default="text"
        Column of the texts.
    label : str, default="label"
        Name of the column of labels that is added.
    workers : int, default=1
        Processes. 1 works in this one. They share the cores, and one reply store.
    batch_size : int, default=1024
        Texts per call of the model, and rows per row group of the output.
    memory : str or Path, optional
        Store of replies and embeddings to use in place of the model's own. A model that asks an
        LLM and has none gets ``output/replies``, without which a restart would pay again.
    endpoints : sequence of str, default=()
        Addresses that the model may send to, as in :func:`sklfusion.persistence.load`.

    Returns
    -------
    dict
        The manifest: ``format``, ``settings`` (digest of the model, columns), ``shards`` (by name:
        ``state`` "done", "unreadable" or "failed", with counts or a reason), and ``totals``:
        ``shards``, ``done``, ``earlier`` (done before this call), ``failed``, ``rows``,
        ``labelled``, ``dead``.

    Raises
    ------
    StorageError
        If the output cannot be written, as on a full disk. What is done is kept.
    SklFusionError
        If the output holds the results of another model, or if the endpoint, the budget or the
        store fails. What is done is kept.
    ValueError
        If there is no Parquet file, or ``workers`` or ``batch_size`` is below 1.

    Warns
    -----
    DataWarning
        If shards could not be read or scored; the others are done.

    See Also
    --------
    stream : One process, nothing kept.
    sklfusion.BatchScorer : What it runs.

    Notes
    -----
    A worker that is killed is replaced and its shard begun anew; replies that had arrived are in
    the store, so only requests that were under way are paid again. A shard that costs three
    workers counts as failed. A shard that has changed since it was scored is scored again.

    Cost: memory of one model and one batch per worker, whatever the number of rows; half a
    second to start a worker, more where the model needs torch.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import pyarrow as pa, pyarrow.parquet as pq
    >>> from sklearn.feature_extraction.text import CountVectorizer
    >>> from sklearn.naive_bayes import MultinomialNB
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklfusion import persistence
    >>> from sklfusion.batch import score_shards
    >>> here = pathlib.Path(tempfile.mkdtemp())
    >>> model = make_pipeline(CountVectorizer(), MultinomialNB())
    >>> persistence.save(model.fit(["a goal", "a bank"], ["sport", "money"]), here / "m.sklf")
    >>> (here / "in").mkdir()
    >>> pq.write_table(pa.table({"text": ["late goal", None]}), here / "in" / "a.parquet")
    >>> score_shards(here / "m.sklf", here / "in", here / "out")["totals"]
    {'shards': 1, 'done': 1, 'earlier': 0, 'failed': 0, 'rows': 2, 'labelled': 1, 'dead': 1}
    >>> pq.read_table(here / "out" / "a.parquet")["label"].to_pylist()
    ['sport', None]
    """
    if int(workers) < 1:
        raise ValueError(f"score_shards got workers={workers!r}; it needs at least 1.")
    settings = _scorer_settings(model, Path(output), text, label, batch_size, memory, endpoints)
    scorer = BatchScorer(**settings)  # says what is wrong with them before anything is made
    run = _ShardRun(Path(model), Path(source), Path(output), text, label)
    if workers == 1:
        for job in run.jobs():
            if not run.tell(job, outcome(scorer, job)):
                break
    else:
        Team(run.jobs(), settings, int(workers), run.tell).run()
    return run.end()


def _scorer_settings(model, output, text, label, batch_size, memory, endpoints):
    """Parameters of the scorers, as plain JSON values."""
    if memory is None:
        told = persistence.info(model)
        if told["endpoints"] and not told["memory"]:
            memory = output / _STORE
    return {
        "model": os.path.abspath(model),
        "text": text,
        "label": label,
        "batch_size": int(batch_size),
        "memory": None if memory is None else os.path.abspath(os.path.expanduser(memory)),
        "endpoints": [endpoints] if isinstance(endpoints, str) else list(endpoints),
    }


class _ShardRun:
    """The shards of one call: which are done, which are left, what became of them."""

    def __init__(self, model, source, output, text, label):
        self.output = output
        files = parquet_files(source)
        top = source if source.is_dir() else source.parent
        self.shards = {file.relative_to(top).as_posix(): file for file in files}
        self.settings = {"model_sha256": digest_of(model), "text": text, "label": label}
        with told_if_full(output):
            output.mkdir(parents=True, exist_ok=True)
        if output.resolve() in (top.resolve(), *top.resolve().parents):
            raise ValueError(f"The output {output} holds the input {source}; name another folder.")
        check_same_run(output, self.settings)
        sweep(output)
        self.found = {n: f for n, f in map(self._earlier, self.shards) if f is not None}
        self.earlier = len(self.found)
        self.error = None
        self._write()

    def _earlier(self, name):
        facts = facts_of(self.output / name)
        if facts is None or facts["source"] != fingerprint(self.shards[name]):
            return name, None
        return name, {"state": "done", **facts}

    def jobs(self):
        """Return what is left to do."""
        left = [name for name in self.shards if name not in self.found]
        place = {"folder": str(self.output.absolute())}
        return [{"source": str(self.shards[n].absolute()), "name": n, **place} for n in left]

    def tell(self, job, said):
        """Write down what became of a shard; returns whether to go on."""
        if said["state"] == "stopped":
            self.error = self.error or said
            return False
        self.found[job["name"]] = said
        self._write()
        return True

    def _write(self):
        shards = {name: self.found.get(name, {"state": "waiting"}) for name in self.shards}
        done = [facts for facts in shards.values() if facts["state"] == "done"]
        failed = sum(facts["state"] in ("unreadable", "failed") for facts in shards.values())
        totals = {"shards": len(shards), "done": len(done), "earlier": self.earlier}
        totals |= {"failed": failed}
        totals |= {key: sum(f[key] for f in done) for key in ("rows", "labelled", "dead")}
        self.manifest = {
            "format": MANIFEST_FORMAT,
            "settings": self.settings,
            "totals": totals,
            "shards": shards,
        }
        write_manifest(self.output, self.manifest)

    def end(self):
        """Raise what stopped the run, warn of shards that failed, or return the manifest."""
        if self.error is not None:
            kind = getattr(exceptions, self.error["error"], SklFusionError)
            raise kind(self.error["reason"])
        bad = {n: f for n, f in self.found.items() if f["state"] != "done"}
        if bad:
            name, facts = next(iter(bad.items()))
            warnings.warn(
                f"{len(bad)} of {len(self.shards)} shards have no result, the first is {name}: "
                f"{facts['reason']} The others are done; see {self.output / 'manifest.json'}.",
                DataWarning,
                stacklevel=3,
            )
        return self.manifest
