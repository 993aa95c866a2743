"""A small text data set that ships with the package."""

from __future__ import annotations

import csv
import io
from importlib.resources import files
from typing import Any

import numpy as np
from sklearn.utils import Bunch

from sklfusion.annotations import Annotations
from sklfusion.models import DEFAULT_LLM

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
        description for the prompt; ``answers``: :class:`~sklfusion.Annotations`, what the embedded
        LLM said about each brief when it was asked; ``DESCR``: str.

    See Also
    --------
    RecordedScorer : Scores texts with such answers.

    Examples
    --------
    >>> from sklfusion.datasets import load_newsdesk
    >>> desk = load_newsdesk()
    >>> len(desk.data), desk.target_names
    (300, ['Business', 'Culture', 'Health', 'Politics', 'Science', 'Sports'])
    >>> float((desk.answers.labels() == desk.target).mean().round(2))
    0.77
    """
    rows = _bundled_rows("newsdesk.csv")
    data = [row["text"] for row in rows]
    target = np.array([row["desk"] for row in rows])
    if return_X_y:
        return data, target
    return Bunch(
        data=data,
        target=target,
        target_names=sorted(set(target.tolist())),
        descriptions=dict(NEWSDESK_DESCRIPTIONS),
        answers=_answers(),
        DESCR=load_newsdesk.__doc__,
    )


def _bundled_rows(name):
    source = (files("sklfusion") / "data" / name).read_text(encoding="utf-8")
    return list(csv.DictReader(io.StringIO(source)))


def _answers():
    """Return what the embedded LLM said about the briefs, in their order."""
    rows = _bundled_rows("newsdesk_answers.csv")
    classes = tuple(sorted(NEWSDESK_DESCRIPTIONS))
    return Annotations(
        classes,
        probs=[[float(row[name]) for name in classes] for row in rows],
        coverage=[float(row["coverage"]) for row in rows],
        meta={"model": DEFAULT_LLM, "strategy": "logprobs"},
    )
