"""``sklfusion demo``: the bundled texts, encoder and LLM."""

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from sklfusion.cli._app import AROUND, command
from sklfusion.cli._screen import Screen


@command("demo", panel=AROUND)
def demo_command(
    output: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("sklfusion_demo"),
    draws: Annotated[int, typer.Option(min=1, max=50, help="Random splits.")] = 5,
    *,
    screen: Screen,
):
    """Fuse the embedded encoder and LLM on 300 bundled texts. Offline, a few minutes."""
    from sklfusion._demo import run_demo

    results = run_demo(output, n_draws=draws, echo=screen.line)
    if screen.json:
        return results
    screen.line("")
    screen.rich(demo_table(results))
    for kind, path in results["files"].items():
        screen.line(f"{kind:>8}: {path}")
    screen.line(f"{'time':>8}: {results['seconds']:.0f} s")
    return None


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
