"""A small text data set that ships with the package."""

from __future__ import annotations

import csv
import io
from importlib.resources import files
from typing import Any

import numpy as np
from sklearn.utils import Bunch

NEWSDESK_DESCRIPTIONS = {
    "Politics": "governments, parliaments, elections, diplomacy",
    "Business": "companies, markets, jobs, prices",
    "Sports": "matches, athletes, clubs, championships",
    "Science": "research, nature, space, technology",
    "Health": "medicine, patients, diseases, hospitals",
    "Culture": "books, music, film, theatre, museums",
}


def load_newsdesk(*, return_X_y: bool = False) -> Any:
    """Load 300 short news briefs, 50 for each of six desks.

    The briefs were written for this package, all about invented people and events. Many cross
    two desks on purpose (the stadium subsidy in parliament, the drug maker's shares), so the
    task is small but not trivial. Licence: that of the package.

    Parameters
    ----------
    return_X_y : bool, default=False
        Return ``(data, target)`` in place of a Bunch.

    Returns
    -------
    :class:`~sklearn.utils.Bunch`
        ``data``: list of 300 str; ``target``: array of shape (300,) of str; ``target_names``:
        list of the six desks in alphabetical order; ``descriptions``: dict from desk to a short
        description for the prompt; ``DESCR``: str.

    Examples
    --------
    >>> from sklfusion.datasets import load_newsdesk
    >>> desk = load_newsdesk()
    >>> len(desk.data), desk.target_names
    (300, ['Business', 'Culture', 'Health', 'Politics', 'Science', 'Sports'])
    """
    source = (files("sklfusion") / "data" / "newsdesk.csv").read_text(encoding="utf-8")
    rows = list(csv.DictReader(io.StringIO(source)))
    data = [row["text"] for row in rows]
    target = np.array([row["desk"] for row in rows])
    if return_X_y:
        return data, target
    return Bunch(
        data=data,
        target=target,
        target_names=sorted(set(target.tolist())),
        descriptions=dict(NEWSDESK_DESCRIPTIONS),
        DESCR=load_newsdesk.__doc__,
    )
