"""`Annotations`: what an LLM said about n texts, as plain arrays."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field, fields, replace
from typing import IO, Any, Self

import numpy as np

from sklfusion._validation import check_classes, plain_label

#: What can have happened to a text. Only ``"ok"`` rows carry an answer.
STATUSES = ("ok", "refused", "parse_error", "transport_error", "missing")

_ROW_FIELDS = (
    "votes",
    "probs",
    "first_step_logits",
    "unary_logits",
    "pair_probs",
    "hidden",
    "coverage",
    "status",
)


@dataclass(frozen=True, eq=False)
class Annotations:
    """What an LLM said about n texts.

    Scorers make it, the reply store can rebuild it, every other part of sklfusion consumes it,
    so each can be used and tested without an LLM. A failed call has a status, never a label.

    Parameters
    ----------
    classes : sequence of K labels
        In the order of the columns.
    votes : ndarray of shape (n, K), optional
        0/1 votes, or vote shares. A row of NaN is a text without a usable answer.
    probs : ndarray of shape (n, K), optional
        Probabilities: rows on the simplex (multi-class) or independent per label (multi-label).
        A row of NaN is a text without a usable answer.
    repeats : ndarray of shape (R, n, K), optional
        Votes of R repeated queries (other prompts, demonstrations or samples).
    first_step_logits : ndarray of shape (n, K + 1), optional
        Logits (or log-probabilities) at the first label step; the last column is "none".
    step_probs : list of n arrays of shape (S_i, K + 1), optional
        Probabilities at every label step of one generation; the last column is "none".
    unary_logits : ndarray of shape (n, K, 2) or (n, K + 1, 2), optional
        Logits of "reasonable" and "unreasonable" per label.
    pair_probs : ndarray of shape (n, P, 3), optional
        Rows (i, j, probability that i fits better than j); index K is "none".
    hidden : ndarray of shape (n, D), optional
        Hidden state at the position that predicts the first label.
    coverage : ndarray of shape (n,), optional
        Probability mass that the model put on the classes, in [0, 1].
    status : array of shape (n,) of str, optional
        One of "ok", "refused", "parse_error", "transport_error", "missing". By default "ok"
        where there is an answer, "missing" where votes and probs are NaN.
    multilabel : bool, default=False
        Whether several classes can hold at once.
    meta : dict
        How the answers were made: model, strategy, prompt version, counts.

    See Also
    --------
    LLMScorer : Makes them with ``annotate``.
    RecordedScorer : Scores texts with them.
    LabelRepairClassifier : Repairs the labels in them.

    Examples
    --------
    >>> from sklfusion import Annotations
    >>> a = Annotations(["ham", "spam"], probs=[[0.9, 0.1], [float("nan")] * 2])
    >>> a.labels().tolist()
    ['ham', None]
    >>> a.status.tolist()
    ['ok', 'missing']
    """

    classes: tuple
    # Array-likes go in, arrays or None come out; a dataclass has one type for both.
    votes: Any = None
    probs: Any = None
    repeats: Any = None
    first_step_logits: Any = None
    step_probs: list | None = None
    unary_logits: Any = None
    pair_probs: Any = None
    hidden: Any = None
    coverage: Any = None
    status: Any = None
    multilabel: bool = False
    meta: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        def store(name, value):
            object.__setattr__(self, name, value)

        store("classes", check_classes(self.classes, caller="Annotations"))
        for name in (*_ROW_FIELDS[:-1], "repeats"):
            if getattr(self, name) is not None:
                store(name, np.asarray(getattr(self, name), dtype=np.float64))
        n, given = self._infer_length(), self.status
        store("status", np.asarray(["ok"] * n if given is None else given, dtype="<U15"))
        self._check(n)
        if given is None:
            store("status", np.where(self._answered(n), "ok", "missing").astype("<U15"))

    def _answered(self, n):
        answered = np.ones(n, dtype=bool)
        for name in ("votes", "probs"):
            if getattr(self, name) is not None:
                answered &= ~np.isnan(getattr(self, name)).any(axis=1)
        if self.repeats is not None and len(self.repeats):
            answered &= ~np.isnan(self.repeats).any(axis=2).all(axis=0)
        return answered

    def _infer_length(self):
        for name in _ROW_FIELDS:
            if getattr(self, name) is not None:
                return len(getattr(self, name))
        if self.step_probs is not None:
            return len(self.step_probs)
        if self.repeats is not None:
            return self.repeats.shape[1]
        raise ValueError("Annotations got no content; pass votes, probs or another field.")

    def _check(self, n):
        k = len(self.classes)
        tails: dict[str, list[tuple[int, ...]]] = {
            "votes": [(k,)],
            "probs": [(k,)],
            "first_step_logits": [(k + 1,)],
            "unary_logits": [(k, 2), (k + 1, 2)],
            "coverage": [()],
            "status": [()],
        }
        for name in (*_ROW_FIELDS, "step_probs"):
            value = getattr(self, name)
            if value is None:
                continue
            if len(value) != n:
                raise ValueError(f"Annotations.{name} has {len(value)} rows; the others have {n}.")
            if name in tails and value.shape[1:] not in tails[name]:
                raise ValueError(
                    f"Annotations.{name} has shape {value.shape}; with {k} classes it needs "
                    f"(n, {', '.join(map(str, tails[name][0]))})."
                )
        if self.repeats is not None and self.repeats.shape[1:] != (n, k):
            raise ValueError(
                f"Annotations.repeats has shape {self.repeats.shape}; it needs (R, {n}, {k})."
            )
        unknown = set(self.status.tolist()) - set(STATUSES)
        if unknown:
            raise ValueError(f"Annotations.status has {sorted(unknown)}; known are {STATUSES}.")

    def __len__(self) -> int:
        return len(self.status)

    def __getitem__(self, rows: Any) -> Annotations:
        """Return the annotations of some rows (slice, boolean mask or integer array)."""
        if isinstance(rows, tuple):  # scikit-learn's splitters ask for X[rows, ...]
            rows = rows[0]
        rows = np.arange(len(self))[rows]
        rows = np.atleast_1d(rows)
        changes = {
            name: getattr(self, name)[rows]
            for name in _ROW_FIELDS
            if getattr(self, name) is not None
        }
        if self.step_probs is not None:
            changes["step_probs"] = [self.step_probs[i] for i in rows]
        if self.repeats is not None:
            changes["repeats"] = self.repeats[:, rows]
        return replace(self, **changes)

    @property
    def shape(self) -> tuple[int, int]:
        """(n, K). It lets scikit-learn cut annotations into folds."""
        return (len(self), len(self.classes))

    @property
    def ok(self) -> np.ndarray:
        """Boolean array of shape (n,): which rows have an answer."""
        return self.status == "ok"

    def scores(self, kind: str = "auto") -> np.ndarray:
        """Return a score per text and class.

        Rows without an answer are NaN.

        Parameters
        ----------
        kind : {"auto", "probs", "votes", "repeats"}, default="auto"
            Which scores; "repeats" are shares of the votes, "auto" the first kind that is
            there.

        Returns
        -------
        ndarray of shape (n, K)
            Columns as ``classes``.
        """
        if kind == "auto":
            present = [n for n in ("probs", "votes", "repeats") if getattr(self, n) is not None]
            if not present:
                raise ValueError("These annotations hold neither probs nor votes nor repeats.")
            kind = present[0]
        if kind not in ("probs", "votes", "repeats"):
            raise ValueError(f"kind={kind!r}; use 'auto', 'probs', 'votes' or 'repeats'.")
        value = getattr(self, kind)
        if value is None:
            raise ValueError(f"These annotations hold no {kind}.")
        if kind == "repeats":  # the mean of the votes that came
            came = ~np.isnan(value)
            value = np.where(came, value, 0).sum(axis=0) / np.maximum(came.sum(axis=0), 1)
        else:
            value = value.copy()
        value[~self.ok] = np.nan
        return value

    def labels(self) -> np.ndarray:
        """Return what was said, as labels.

        None, or for multi-label a row of -1, where there is no answer.

        Returns
        -------
        ndarray of shape (n,) of object, or (n, K) of int
            Labels, or for multi-label a 0/1 matrix.
        """
        scores = self.scores("votes" if self.votes is not None else "auto")
        if self.multilabel:
            return np.where(np.isnan(scores), -1, scores > 0.5).astype(int)
        out = np.full(len(self), None, dtype=object)
        ok = ~np.isnan(scores).any(axis=1)
        names = np.empty(len(self.classes), dtype=object)
        names[:] = self.classes
        out[ok] = names[scores[ok].argmax(axis=1)]
        return out

    def codes(self) -> np.ndarray:
        """Return class indices of shape (n,), -1 where there is no answer (multi-class only).

        Returns
        -------
        ndarray of shape (n,) of int
            Places in ``classes``.
        """
        if self.multilabel:
            raise ValueError("codes() is for multi-class annotations; use labels().")
        scores = self.scores("votes" if self.votes is not None else "auto")
        ok = ~np.isnan(scores).any(axis=1)
        out = np.full(len(self), -1)
        out[ok] = scores[ok].argmax(axis=1)
        return out

    def entropy(self) -> np.ndarray:
        """Return the entropy of each row's class distribution in nats, shape (n,).

        Multi-label rows give the sum of the labels' binary entropies. NaN without an answer.

        Returns
        -------
        ndarray of shape (n,)
            Nats; 0 where one class has all.
        """
        p = np.clip(self.scores(), 1e-12, 1.0)
        if self.multilabel:
            q = np.clip(1 - self.scores(), 1e-12, 1.0)
            return -(p * np.log(p) + q * np.log(q)).sum(axis=1)
        p = p / p.sum(axis=1, keepdims=True)
        return -(p * np.log(p)).sum(axis=1)

    def to_npz(self, path: str | os.PathLike[str] | IO[bytes]) -> None:
        """Write the annotations to an ``.npz`` file without pickle.

        Parameters
        ----------
        path : str, Path or binary file
            Where to write.
        """
        arrays = {
            f.name: getattr(self, f.name)
            for f in fields(self)
            if isinstance(getattr(self, f.name), np.ndarray)
        }
        if self.step_probs is not None:
            arrays["step_lengths"] = np.array([len(s) for s in self.step_probs])
            arrays["step_values"] = (
                np.concatenate([np.asarray(s, dtype=float) for s in self.step_probs])
                if self.step_probs
                else np.zeros((0, len(self.classes) + 1))
            )
        header = {
            "classes": [c.item() if isinstance(c, np.generic) else c for c in self.classes],
            "multilabel": self.multilabel,
            "meta": self.meta,
        }
        np.savez_compressed(path, header=np.array(json.dumps(header)), **arrays)

    @classmethod
    def from_npz(cls, path: str | os.PathLike[str] | IO[bytes]) -> Self:
        """Read annotations written by :meth:`to_npz`.

        Parameters
        ----------
        path : str, Path or binary file
            Where they lie.

        Returns
        -------
        Annotations
            As they were written.
        """
        with np.load(path, allow_pickle=False) as data:
            arrays = {name: data[name] for name in data.files}
        header = json.loads(str(arrays.pop("header")))
        if "step_lengths" in arrays:
            ends = np.cumsum(arrays.pop("step_lengths"))
            arrays["step_probs"] = np.split(arrays.pop("step_values"), ends[:-1])
        return cls(**header, **arrays)

    @classmethod
    def from_labels(cls, labels: Any, classes: Any, **kwargs: Any) -> Self:
        """Make annotations from one label per text; None, NaN, -1 or an unknown label is missing.

        Parameters
        ----------
        labels : sequence of n labels
            One per text.
        classes : sequence of K labels
            In the order of the columns.
        **kwargs : dict
            Other fields of the annotations, such as ``meta``.

        Returns
        -------
        Annotations
            With ``votes``, a row of NaN where there is no label.

        Examples
        --------
        >>> from sklfusion import Annotations
        >>> Annotations.from_labels(["b", None, "a"], classes=["a", "b"]).codes().tolist()
        [1, -1, 0]
        """
        classes = check_classes(classes, caller="Annotations")
        index = {c: i for i, c in enumerate(classes)}
        votes = np.full((len(labels), len(classes)), np.nan)
        for row, label in enumerate(labels):
            column = index.get(plain_label(label))
            if column is not None:
                votes[row] = 0.0
                votes[row, column] = 1.0
        return cls(classes, votes=votes, **kwargs)
