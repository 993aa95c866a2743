"""What the experiment programs share: contestants, draws, tables and a dot plot."""

import argparse
import warnings

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks._common import data_dir, embed, print_table, save_figure, write_json
from benchmarks._intervals import paired as paired
from benchmarks._intervals import t_interval
from benchmarks.quality import _llm_sets
from benchmarks.quality._parts import fit_encoder as fit_encoder
from benchmarks.quality._parts import hits as hits
from benchmarks.quality._parts import llm_alone as llm_alone
from benchmarks.quality._parts import split as split
from benchmarks.quality._parts import take as take
from benchmarks.quality._parts import tuned_logistic as tuned_logistic
from benchmarks.quality._parts import vectors as vectors
from benchmarks.quality._parts import wide as wide
from sklfusion import FusionClassifier

# -- data ----------------------------------------------------------------------------------


def load_sets(*wanted):
    """Return the data sets named by (name, llm) pairs, in that order."""
    found = {(s.name, s.llm): s for s in _llm_sets.load(data_dir()) if (s.name, s.llm) in wanted}
    return [found[key] for key in wanted]


def head(data, n_rows):
    """Return the data set with a random ``n_rows`` of its rows, for quick runs."""
    n_rows = min(n_rows, len(data.y))
    rows = np.random.default_rng(0).permutation(len(data.y))[:n_rows]
    return _llm_sets.LLMSet(
        data.name,
        data.llm,
        [data.texts[i] for i in rows],
        data.y[rows],
        [votes[rows] for votes in data.votes],
        data.classes,
        None if data.test is None else data.test[rows],
    )


def features(data):
    """Return (n, d + m K): frozen embeddings, then the scores of each LLM."""
    return np.hstack([embed(data.texts), *data.votes])


def splits(data, size, n_draws):
    """Yield training rows, test rows and the number of each draw; see :func:`split`."""
    for draw in range(n_draws):
        yield *split(data, size, draw), draw


# -- contestants ---------------------------------------------------------------------------


def fusion(data, seed, *, n_embedding=None, **params):
    """Return an unfitted FusionClassifier that knows which columns are scores."""
    n_embedding = embedding_width(data) if n_embedding is None else n_embedding
    width = len(data.classes) * len(data.votes)
    known = None if data.multilabel else list(range(len(data.classes)))
    return FusionClassifier(
        score_columns=slice(n_embedding, n_embedding + width),
        score_classes=known,
        classes=known,
        random_state=seed,
        **params,
    )


def embedding_width(data):
    """Return the width of the embedded encoder's output."""
    return embed(data.texts[:1]).shape[1]


# -- running and showing -------------------------------------------------------------------


def quietly(function, *args):
    """Call a function without its warnings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a part that cannot be fitted well is a result here
        return function(*args)


def paired_cell(differences):
    """Format :func:`paired`."""
    mean, error = paired(differences)
    return f"{mean:+.3f} (SE {error:.3f})"


def program(name, run, table, draw, **made):
    """Run one experiment from the command line: table, JSON and picture, or only the table.

    Parameters
    ----------
    name : str
        Of the files.
    run : callable
        ``run(quick)`` returns the results, a dict that JSON can hold; keys that begin with an
        underscore are for the picture only.
    table : callable
        ``table(results)`` returns header and rows.
    draw : callable
        ``draw(results)`` returns a figure.
    made : dict
        Seeds and interval, as `write_json` wants them.
    """
    parser = argparse.ArgumentParser(description=run.__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="few rows, table only; nothing is written"
    )
    quick = parser.parse_args().quick
    execute(name, run, table, draw, quick, **made)


def execute(name, run, table, draw, quick=False, **made):
    """Run one experiment, print its table, and unless ``quick`` write its files."""
    with threadpool_limits(1):  # many small fits: more threads would only wait for each other
        results = run(quick)
    print_table(*table(results))
    import matplotlib

    with matplotlib.rc_context({"backend": "agg"}):
        figure = draw(results)
        if not quick:
            told = {k: v for k, v in results.items() if not k.startswith("_")}
            write_json(name, told, **made)
            save_figure(figure, name)
        import matplotlib.pyplot as plt

        plt.close(figure)
    return results


def spread(draws):
    """Return the standard deviation over draws."""
    return np.std(draws, ddof=1) if len(draws) > 1 else 0.0


def half_width(draws):
    """Return half of the 95 % interval of a mean over draws, by Student's t."""
    mean, low, _ = t_interval(draws)
    return 0.0 if np.isnan(low) else mean - low


def dot_plot(groups, *, xlabel="accuracy", error=spread):
    """Draw several draws as a dot with a bar, one panel per group, all on the same axes.

    Parameters
    ----------
    groups : dict of str to dict of str to (sequence of float, or dict of str to sequence)
        Panel title to row name to the scores of the draws; with several methods in a row, by
        method, one above the other.
    xlabel : str
    error : callable
        What the bars show: :func:`spread`, or :func:`half_width` for differences, which get a line
        at zero.

    Returns
    -------
    matplotlib Figure
    """
    import matplotlib.pyplot as plt

    rows = {name: value for panel in groups.values() for name, value in panel.items()}
    series = [name for name in dict.fromkeys(n for v in rows.values() for n in _series(v))]
    height = max(0.27, 0.17 * len(series))
    figure, axes = plt.subplots(
        1,
        len(groups),
        figsize=(2.6 + 2.3 * len(groups), 1.4 + height * len(rows)),
        layout="constrained",
        squeeze=False,
        sharex=True,
        sharey=True,
    )
    for ax, (title, panel) in zip(axes[0], groups.items(), strict=True):
        for position, name in enumerate(rows):
            if name in panel:
                _dots(ax, position, name, _series(panel[name]), error)
        if error is half_width:
            ax.axvline(0, color="#666666", lw=0.9, zorder=0)
        _dress(ax, list(rows), title, xlabel)
    if len(series) > 1:
        handles = axes[0, 0].get_legend_handles_labels()
        known = dict(zip(handles[1], handles[0], strict=True))
        figure.legend(
            known.values(), known, loc="outside upper center", ncols=len(known), frameon=False
        )
    return figure


def _series(value):
    return value if isinstance(value, dict) else {None: value}


def _dots(ax, position, row, series, error):
    from sklfusion.plotting import METHOD_COLORS

    colors = {None: METHOD_COLORS.get(row, "#0072B2"), "votes and labels": "#E69F00"}
    colors |= METHOD_COLORS
    for number, (name, draws) in enumerate(series.items()):
        shift = 0.2 * (number - (len(series) - 1) / 2)
        ax.errorbar(
            np.mean(draws),
            position + shift,
            xerr=error(draws),
            fmt="o",
            ms=4.5,
            color=colors[name],
            lw=1.4,
            label=name,
        )


def _dress(ax, rows, title, xlabel):
    ax.set_yticks(range(len(rows)), rows)
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.set_title(title, fontsize=10)
    ax.set_xlabel(xlabel)
    ax.locator_params(axis="x", nbins=4)  # more would run into each other
    ax.grid(axis="x", color="#dddddd", linewidth=0.8)
    ax.set_axisbelow(True)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
