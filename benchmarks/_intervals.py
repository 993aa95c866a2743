"""Errors and intervals of all tables: over draws, over data sets, over families of data sets."""

import numpy as np
from scipy import stats

#: What "ahead", "level", "behind" and "below" mean in every table.
LEVEL = "level: within one standard error of the difference, paired over draws"


def paired(differences):
    """Return the mean of paired differences over draws and its standard error."""
    d = np.asarray(differences, dtype=float)
    error = d.std(ddof=1) / np.sqrt(len(d)) if len(d) > 1 else float("nan")
    return float(d.mean()), float(error)


def verdict(differences):
    """1 if ahead, -1 if behind, 0 if level, by the one definition (``LEVEL``)."""
    mean, error = paired(differences)
    return 0 if abs(mean) <= np.nan_to_num(error) else int(np.sign(mean))


def t_interval(values, level=0.95):
    """Mean of independent values, and low and high end of its interval by Student's t."""
    values = np.asarray(values, dtype=float)
    half = np.nan
    if len(values) > 1:
        half = stats.t.ppf((1 + level) / 2, len(values) - 1) * stats.sem(values)
    return float(values.mean()), float(values.mean() - half), float(values.mean() + half)


def family(name):
    """Family of a data set: the tasks of one benchmark on social science are one."""
    return "CSS" if name.startswith("CSS ") else name


def by_group(names, values, group=str):
    """Mean value per data set, or per family of data sets (``group=family``), each counted once.

    Data sets of a family are averaged first, so that one with many LLMs counts like the others.
    """
    sets = {}
    for name, value in zip(names, values, strict=True):
        sets.setdefault(name, []).append(value)
    groups = {}
    for name, found in sets.items():
        groups.setdefault(group(name), []).append(np.mean(found))
    return np.array([np.mean(found) for found in groups.values()])


def interval_cell(names, values, group=str):
    """Mean over data sets (or families) and its 95 % interval, as a table shows them."""
    mean, low, high = t_interval(by_group(names, values, group))
    return f"{mean:+.3f} [{low:+.3f}, {high:+.3f}]"
