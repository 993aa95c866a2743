"""`LabelAcquirer`: which texts to label next, drawn with probabilities that are known."""

from __future__ import annotations

import numbers
import warnings
from dataclasses import asdict, replace
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, clone
from sklearn.utils import Bunch, Tags, check_random_state, get_tags
from sklearn.utils.validation import check_is_fitted

from sklfusion._class_labels import read_labels
from sklfusion._sklearn_compat import check_parameters, integer, number, safe_indexing
from sklfusion._text_input import distinct
from sklfusion._whole import whole
from sklfusion.exceptions import DataWarning
from sklfusion.promises._draw import doubt_of, draw_in_turn, drawing_weights, lure_weights
from sklfusion.promises._held_out import proba_of, row_keys
from sklfusion.promises._labelling import (
    ASKED,
    LABELLED,
    SKIPPED,
    STATE_VERSION,
    LabelEntry,
    check_state,
    plain_answer,
    pool_print,
    refuse_mixed_answers,
)

#: What a query tells of each row beside its place.
_TOLD = ("q", "utility")


class LabelAcquirer(BaseEstimator):
    """Draws the texts to label next: more of those the model is unsure of, by known chances.

    Each row is drawn with a probability that is kept: ``floor`` of it is even, the rest goes by
    ``(1 - margin)^2`` of the model's probabilities. So the model learns a little more from each
    label, and shares of the pool stay unbiased with :attr:`weights_`.

    **Limits.** The gain is small: about a fifth of the labels in the mean over data sets, nothing
    on some of them. Rows so drawn are no random sample: :class:`SelectiveClassifier` and
    :class:`CascadeClassifier` certify nothing on them. Labelling where encoder and LLM disagree
    does harm: it collects the errors of the LLM.

    Parameters
    ----------
    model : classifier with ``predict_proba``
        On whatever the pool holds: texts, or numbers. For several labels per text one that takes
        label indicators.
    batch_size : int, default=20
        Rows that :meth:`query` draws.
    floor : float, default=0.3
        Share of the probability that all rows have evenly; 1 is random labelling.
    random_state : int, RandomState or None, default=None
        With an int a labelling that is taken up again draws what it would have drawn.

    Attributes
    ----------
    pool_ : sequence of length N
        As given to :meth:`fit`.
    model_ : classifier
        Fitted on the rows labelled when it was last needed; see :meth:`refit`.
    rows_ : ndarray of shape (n,) of int
        Rows of the pool that have a label, in the order drawn.
    y_ : ndarray of shape (n,) or (n, L)
        Their labels.
    weights_ : ndarray of shape (n,)
        Design weights, for ``PrevalenceEstimator.estimate(..., sample_weight=)``.
    outstanding_ : ndarray of int
        Rows asked for that have no answer yet.

    See Also
    --------
    PrevalenceEstimator : Shares of the pool from such rows.
    plan_budget : How many labels it takes.

    Notes
    -----
    Cost of a query: one fit, and one prediction of all rows without a label. An LLM inside the
    model is asked about the whole pool, once per text; give it ``memory``. Rows are fitted
    without weights: those make the model worse. Equal rows of the pool are asked about once.

    References
    ----------
    Farquhar, Gal and Rainforth, "On statistical bias in active learning", ICLR 2021.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklfusion import LabelAcquirer, PrevalenceEstimator
    >>> rng = np.random.default_rng(0)
    >>> truth = (rng.random(500) < 0.3).astype(int)
    >>> X = truth[:, None] + rng.normal(scale=0.4, size=(500, 1))
    >>> acquirer = LabelAcquirer(LogisticRegression(), random_state=0).fit(X)
    >>> for _ in range(3):
    ...     batch = acquirer.query()
    ...     acquirer = acquirer.add(batch.rows, truth[batch.rows])  # the person answers
    >>> acquirer.rows_.shape
    (60,)
    >>> shares = PrevalenceEstimator(LogisticRegression(), random_state=0)
    >>> shares = shares.fit(X[acquirer.rows_], acquirer.y_)
    >>> answer = shares.estimate(X, sample_weight=acquirer.weights_)
    >>> bool(answer.low[1] < truth.mean() < answer.high[1])
    True
    """

    _parameter_constraints: dict = {
        "batch_size": [integer(1)],
        "floor": [number(0, 1, "right")],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        model: Any,
        *,
        batch_size: int = 20,
        floor: float = 0.3,
        random_state: Any = None,
    ) -> None:
        self.model = model
        self.batch_size = batch_size
        self.floor = floor
        self.random_state = random_state

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags = get_tags(self.model).input_tags
        return tags

    @whole
    def fit(self, X: Any, y: Any = None) -> Self:
        """Take the pool; nothing is asked, and no model fitted.

        Parameters
        ----------
        X : sequence of length N
            Texts, or whatever the model takes.
        y : None
            Ignored. Labels that are there already go to :meth:`add`.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If the pool is empty.
        """
        check_parameters(self)
        keys = row_keys(X)
        if not keys:
            raise ValueError("LabelAcquirer got a pool of 0 rows; it needs texts to choose from.")
        _, place = distinct(keys)
        _, first, self._copies = np.unique(place, return_index=True, return_counts=True)
        self._place, self._first = place, first
        self._pool_print = pool_print(keys)
        self.pool_ = X
        self._entries: dict[int, LabelEntry] = {}  # by place, in the order drawn
        self._stale = True
        return self

    def query(self, size: int | None = None) -> Bunch:
        """Return the rows to label next.

        Rows asked for that have no answer yet are returned again, and none is drawn: answer, or
        skip, them first. The first batch is drawn evenly.

        Parameters
        ----------
        size : int, optional
            Rows to draw; ``batch_size`` by default. Fewer, or none, where the pool is used up.

        Returns
        -------
        Bunch
            ``rows``, places in the pool; ``X``, what stands there; ``q``, the probability that
            each had at its turn; ``utility``, the model's doubt of it, from 0 to 1.

        Raises
        ------
        ValueError
            If size is below 1.
        """
        check_is_fitted(self, "pool_")
        size = self.batch_size if size is None else size
        if not isinstance(size, numbers.Integral) or size < 1:
            raise ValueError(f"LabelAcquirer.query got size={size!r}; it must be at least 1.")
        if not self._of(ASKED):
            self._draw(size)
        asked = self._of(ASKED)
        rows = np.array([entry.row for entry in asked], dtype=np.int64)
        told = {name: np.array([getattr(e, name) for e in asked], float) for name in _TOLD}
        return Bunch(rows=rows, X=safe_indexing(self.pool_, rows), **told)

    def _draw(self, size):
        left = np.setdiff1d(np.arange(len(self._first)), list(self._entries))
        if not len(left):
            return
        doubt = self._doubt(self._first[left])
        weights = drawing_weights(doubt, self.floor)
        drawn, q = draw_in_turn(weights, size, self._rng())
        for chosen, chance in zip(drawn, q, strict=True):
            place = int(left[chosen])
            told = (float(chance), float(doubt[chosen]))
            self._entries[place] = LabelEntry(int(self._first[place]), *told, ASKED)

    def _doubt(self, rows):
        y = self.y_
        if len(y) == 0 or len(np.unique(y, axis=0)) < 2:
            return np.ones(len(rows))  # nothing is learnt yet: all are alike
        model = self.refit()
        classes = np.arange(y.shape[1]) if y.ndim == 2 else np.asarray(model.classes_)
        unlabelled = safe_indexing(self.pool_, rows)
        proba = proba_of(model, unlabelled, classes, multilabel=y.ndim == 2)
        return doubt_of(proba, multilabel=y.ndim == 2)

    def _rng(self):
        if isinstance(self.random_state, numbers.Integral):
            return np.random.default_rng([int(self.random_state), len(self._entries)])
        return check_random_state(self.random_state)

    def add(self, rows: Any, labels: Any) -> Self:
        """Take labels.

        Rows that were not asked for, labelled before or by choice, are fitted on, and stand in
        shares for themselves only. A row that has a label gets the new one.

        Parameters
        ----------
        rows : array-like of shape (m,) of int
            Places in the pool.
        labels : sequence of length m, or array-like of shape (m, L)
            Classes, or rows of a label indicator matrix. None or NaN: nobody can tell; the row
            is left out from now on.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If lengths differ, or a row is not in the pool.

        Warns
        -----
        DataWarning
            If a row is left out: shares are then those of the texts that can be labelled.
        """
        check_is_fitted(self, "pool_")
        rows = np.atleast_1d(np.asarray(rows))
        answers = [plain_answer(label) for label in np.atleast_1d(np.asarray(labels, object))]
        self._check_added(rows, answers)
        for row, label in zip(rows, answers, strict=True):
            place = int(self._place[row])
            old = self._entries.get(place, LabelEntry(int(self._first[place]), None, None, ASKED))
            status = SKIPPED if label is None else LABELLED
            self._entries[place] = replace(old, status=status, label=label)
        self._stale = True
        skipped = [int(row) for row, label in zip(rows, answers, strict=True) if label is None]
        if skipped:
            warnings.warn(
                f"LabelAcquirer leaves out {len(skipped)} row(s) without a label, the first is "
                f"row {skipped[0]}; shares are then those of the texts that can be labelled.",
                DataWarning,
                stacklevel=2,
            )
        return self

    def _check_added(self, rows, answers):
        if rows.shape != (len(answers),):
            raise ValueError(
                f"LabelAcquirer.add got {rows.size} rows and {len(answers)} labels; it needs one "
                "label for each row."
            )
        refuse_mixed_answers([entry.label for entry in self._of(LABELLED)] + answers)
        bad = [r for r in rows.tolist() if not isinstance(r, int) or not 0 <= r < len(self._place)]
        if bad:
            raise ValueError(
                f"LabelAcquirer.add got row {bad[0]!r}; rows are places in the pool, integers "
                f"from 0 to {len(self._place) - 1}."
            )

    def refit(self) -> Any:
        """Return the model, fitted on all rows that have a label now.

        Returns
        -------
        classifier
            Also ``model_``. It is fitted only if there are new labels.

        Raises
        ------
        ValueError
            If no row has a label.
        """
        check_is_fitted(self, "pool_")
        if self._stale or not hasattr(self, "model_"):
            if not len(self.rows_):
                raise ValueError("LabelAcquirer has no labels to fit on; query() and add() first.")
            labelled = safe_indexing(self.pool_, self.rows_)
            self.model_ = clone(self.model).fit(labelled, self.y_)
            self._stale = False
        return self.model_

    def _of(self, status):
        check_is_fitted(self, "pool_")
        return [entry for entry in self._entries.values() if entry.status == status]

    @property
    def rows_(self) -> np.ndarray:
        """Rows that have a label, in the order drawn."""
        return np.array([entry.row for entry in self._of(LABELLED)], dtype=np.int64)

    @property
    def y_(self) -> np.ndarray:
        """Their labels: (n,) classes or (n, L) of 0 and 1."""
        labels = [entry.label for entry in self._of(LABELLED)]
        if labels and isinstance(labels[0], list):
            return np.array(labels, dtype=np.int64)
        return read_labels(labels, caller="LabelAcquirer") if labels else np.array([])

    @property
    def outstanding_(self) -> np.ndarray:
        """Rows asked for that have no answer yet."""
        return np.array([entry.row for entry in self._of(ASKED)], dtype=np.int64)

    @property
    def weights_(self) -> np.ndarray:
        """Design weights of ``rows_``, up to a factor.

        Of drawn rows those of Farquhar et al., whose mean over the rows is unbiased, times the
        copies that a row has in the pool. A row that was labelled before stands for itself. Rows
        left out count as not in the pool, those still to be answered as not drawn.
        """
        here = [e.status == LABELLED for e in self._entries.values()]
        left = len(self._first) - np.flatnonzero(here)  # rows that were there at its turn
        labelled = self._of(LABELLED)
        drawn = np.array([entry.q is not None for entry in labelled], dtype=bool)
        n_pool = len(self._first) - len(self._of(SKIPPED)) - int((~drawn).sum())
        weights = np.full(len(labelled), max(drawn.sum(), 1) / max(n_pool, 1))
        q = [entry.q for entry in labelled if entry.q is not None]
        weights[drawn] = lure_weights(q, n_pool, left[drawn])
        return weights * self._copies[self._place[self.rows_]]

    def get_state(self) -> dict[str, Any]:
        """Return the labelling so far, as JSON can hold it; the pool itself is not in it.

        Returns
        -------
        dict
            ``version``; ``pool``, a check sum; ``entries``, a list of dicts of ``row``, ``q``,
            ``utility``, ``status`` ("asked", "labelled" or "skipped") and ``label``.
        """
        check_is_fitted(self, "pool_")
        entries = [asdict(entry) for entry in self._entries.values()]
        return {"version": STATE_VERSION, "pool": self._pool_print, "entries": entries}

    def set_state(self, state: dict[str, Any]) -> Self:
        """Take up a labelling where :meth:`get_state` left it; :meth:`fit` on the pool first.

        Parameters
        ----------
        state : dict

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If it is no state, or that of other texts.
        """
        check_is_fitted(self, "pool_")
        entries = check_state(state, self._pool_print)
        self._entries = {int(self._place[entry.row]): entry for entry in entries}
        self._stale = True
        return self
