"""What the experiment programs share: contestants, draws, tables and a dot plot."""

import argparse
import warnings
from contextlib import contextmanager

import numpy as np
from scipy import stats
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, KFold, StratifiedKFold, train_test_split
from sklearn.multiclass import OneVsRestClassifier
from threadpoolctl import threadpool_limits

from benchmarks._common import data_dir, embed, print_table, save_figure, write_json
from benchmarks.quality import _llm_sets
from sklfusion import FusionClassifier, MultiLabelThresholds

C_GRID = np.logspace(-1, 3, 5)


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


def split(data, size, draw):
    """Return training rows and test rows of one draw.

    Half of the rows are for testing, or the data set's own test rows. ``size`` counts every row
    whose label is used, for the encoder's head, for the fusion and for choosing settings alike;
    None is all rows that are not for testing.
    """
    if data.test is not None:
        pool, test = np.flatnonzero(~data.test), np.flatnonzero(data.test)
    else:
        strata = None if data.multilabel else data.y
        pool, test = train_test_split(
            np.arange(len(data.y)), test_size=0.5, stratify=strata, random_state=draw
        )
    return take(data, pool, size, draw), test


def take(data, pool, size, seed):
    """Return ``size`` of the rows ``pool``, classes in proportion where there is room."""
    if size is None or size >= len(pool):
        return pool
    roomy = not data.multilabel and size >= 2 * len(data.classes)
    roomy = roomy and len(pool) - size >= len(data.classes)
    strata = data.y[pool] if roomy and np.bincount(data.y[pool]).min() > 1 else None
    return train_test_split(pool, train_size=size, stratify=strata, random_state=seed)[0]


# -- contestants ---------------------------------------------------------------------------


def llm_alone(votes, y_train):
    """Return the LLM's answers as given; rows without one get the commonest training class."""
    if y_train.ndim == 2:
        return (votes > 0.5).astype(int)
    labels = votes.argmax(axis=1)
    labels[np.ptp(votes, axis=1) < 1e-9] = np.bincount(y_train).argmax()
    return labels


def tuned_logistic(y, seed=0):
    """Logistic regression whose C is chosen by cross-validated log-loss on the same rows."""
    if np.ndim(y) == 2:
        return _tuned_one_vs_rest(y, seed)
    smallest = np.unique(y, return_counts=True)[1].min()
    if smallest < 2:
        return LogisticRegression(C=10.0, max_iter=1000)
    folds = StratifiedKFold(min(5, smallest), shuffle=True, random_state=seed)
    return GridSearchCV(
        LogisticRegression(max_iter=1000), {"C": C_GRID}, scoring="neg_log_loss", cv=folds
    )


def _tuned_one_vs_rest(y, seed):
    one_vs_rest = OneVsRestClassifier(LogisticRegression(max_iter=300))
    return GridSearchCV(
        one_vs_rest,
        {"estimator__C": C_GRID},
        scoring=_indicator_log_loss,
        cv=KFold(5, shuffle=True, random_state=seed),
    )


def _indicator_log_loss(model, X, y):
    p = np.clip(model.predict_proba(X), 1e-4, 1 - 1e-4)
    return float((y * np.log(p) + (1 - y) * np.log(1 - p)).sum(axis=1).mean())


def fit_encoder(E, y, seed):
    """Fit the encoder alone at its best; for several labels its thresholds are tuned too."""
    with _one_sided_labels():
        model = tuned_logistic(y, seed).fit(E, y)
        if y.ndim == 1:
            return model
        best = model.best_estimator_
        always = bool(y.any(axis=1).all())
        return MultiLabelThresholds(
            best, scoring="exact_match", per_label=False, at_least_one=always, cv=5
        ).fit(E, y)


@contextmanager
def _one_sided_labels():
    """Silence the warnings about labels that a small draw never or always shows."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield


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


def vectors(sets):
    """Return the frozen embeddings (n, d) by name of the data set, which its LLMs share."""
    return {name: embed(texts) for name, texts in {s.name: s.texts for s in sets}.items()}


def wide(P, classes, n_classes):
    """Return a column for every class; ``classes`` are those that P (n, k) has columns for."""
    if P.shape[1] == n_classes:
        return P
    columns = np.zeros((len(P), n_classes))
    columns[:, classes] = P
    return columns


def hits(predicted, y):
    """Return per row whether the class, or the whole label set, is right."""
    same = np.asarray(predicted) == y
    return (same.all(axis=1) if same.ndim == 2 else same).astype(float)


# -- running and showing -------------------------------------------------------------------


def paired(differences):
    """Return the mean of paired differences over draws and its standard error."""
    d = np.asarray(differences, dtype=float)
    error = d.std(ddof=1) / np.sqrt(len(d)) if len(d) > 1 else float("nan")
    return float(d.mean()), float(error)


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
    n = len(draws)
    return stats.t.ppf(0.975, n - 1) * spread(draws) / np.sqrt(n) if n > 1 else 0.0


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
        figsize=(2.0 + 2.9 * len(groups), 1.4 + height * len(rows)),
        layout="constrained",
        squeeze=False,
        sharex=True,
        sharey=True,
    )
    for ax, (title, panel) in zip(axes[0], groups.items(), strict=True):
        for position, name in enumerate(rows):
            if name in panel:
                _dots(ax, position, _series(panel[name]), error)
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


def _dots(ax, position, series, error):
    from sklfusion.plotting import METHOD_COLORS

    colors = {None: "#0072B2", "votes and labels": "#E69F00"} | METHOD_COLORS
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
