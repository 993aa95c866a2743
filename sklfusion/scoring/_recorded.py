"""`RecordedScorer`: LLM outputs that somebody already has, looked up by text."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils import Tags
from sklearn.utils.validation import check_consistent_length, check_is_fitted

from sklfusion._class_labels import read_labels, refuse_bare_numbers
from sklfusion._scores import score_columns, score_names
from sklfusion._sklearn_compat import check_parameters, one_of
from sklfusion._text_input import TextInputMixin, check_texts
from sklfusion._unanswered import tell_unanswered
from sklfusion._validation import check_classes, is_multilabel, plain_label, plain_labels
from sklfusion._whole import whole
from sklfusion.annotations import Annotations
from sklfusion.exceptions import ScoringFailedError, ScoringWarning


class RecordedScorer(TextInputMixin, TransformerMixin, BaseEstimator):
    """Score texts with recorded LLM outputs, so that an experiment re-runs with no endpoint.

    Parameters
    ----------
    table : mapping or Annotations
        Text to a label (multi-label: a collection of labels), or text to a dict of class to
        score; or annotations of ``texts``. A value of None is a recorded failure.
    classes : sequence of labels, optional
        The classes, in the order of the columns. By default those of the annotations, else the
        sorted labels of ``y``, which must not be bare numbers unless the table has them too.
    texts : sequence of str, optional
        The texts that the annotations are about, in their order.
    multilabel : bool, default=False
        Whether several classes can hold at once. Annotations know it themselves.
    output : {"log_proba", "proba"}, default="log_proba"
        What ``transform`` returns.
    add_indicator : bool, default=False
        Whether to add a column ``llm__abstained``, 1 where there is no answer.
    on_failure : {"abstain", "raise"}, default="abstain"
        What to do with texts that are not in the table.

    Attributes
    ----------
    classes_ : ndarray of shape (K,)
        The classes in column order.

    See Also
    --------
    LLMScorer : Asks an LLM.
    Annotations : What scorers return and this reads.
    sklfusion.datasets.load_newsdesk : Bundled texts with recorded answers.

    Notes
    -----
    Cost: one dict lookup per text.

    Examples
    --------
    >>> from sklfusion import RecordedScorer
    >>> table = {"win money": "spam", "see you at 5": {"ham": 0.9, "spam": 0.1}}
    >>> scorer = RecordedScorer(table, classes=["ham", "spam"], output="proba").fit(list(table))
    >>> scorer.transform(["win money"]).tolist()
    [[0.0, 1.0]]
    """

    _parameter_constraints: dict = {
        "multilabel": ["boolean"],
        "output": [one_of("log_proba", "proba")],
        "add_indicator": ["boolean"],
        "on_failure": [one_of("abstain", "raise")],
    }

    def __init__(
        self,
        table: Any,
        *,
        classes: Any = None,
        texts: Any = None,
        multilabel: bool = False,
        output: str = "log_proba",
        add_indicator: bool = False,
        on_failure: str = "abstain",
    ) -> None:
        self.table = table
        self.classes = classes
        self.texts = texts
        self.multilabel = multilabel
        self.output = output
        self.add_indicator = add_indicator
        self.on_failure = on_failure

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = self.classes is None and not isinstance(
            self.table, Annotations
        )
        return tags

    @whole
    def fit(self, X: Any, y: Any = None) -> Self:
        """Check the table and learn the classes.

        Parameters
        ----------
        X : sequence of n str
            Texts; only looked at.
        y : array-like of shape (n,), optional
            Labels, which name the classes where the table does not.

        Returns
        -------
        self
            Fitted.

        Raises
        ------
        ValueError
            If the classes are not known or the table has other ones.
        """
        check_parameters(self)
        texts = check_texts(X, caller="RecordedScorer")
        if y is not None:
            check_consistent_length(texts, y)
        recorded = isinstance(self.table, Annotations)
        checked = check_classes(self._find_classes(y, recorded), caller="RecordedScorer")
        self.classes_ = np.array(checked)
        self._multilabel = self.table.multilabel if recorded else self.multilabel
        self._rows = self._from_annotations(checked) if recorded else self._from_mapping(checked)
        return self

    def _find_classes(self, y, recorded):
        if self.classes is not None:
            return self.classes
        if recorded:
            return self.table.classes
        if y is None:
            raise ValueError(
                "RecordedScorer does not know the classes; pass classes=[...] or fit with y."
            )
        if self.multilabel or is_multilabel(y):
            raise ValueError(
                "RecordedScorer cannot take the class names from a label indicator matrix; pass "
                "classes=[...] in the order of its columns."
            )
        classes = np.unique(read_labels(y, caller="RecordedScorer"))
        # numbers are names where the table has them; elsewhere they are codes of its names
        if isinstance(self.table, Mapping) and not self._table_labels() <= set(classes.tolist()):
            refuse_bare_numbers(classes, caller="RecordedScorer")
        return classes

    def _table_labels(self):
        """Return the set of all labels in a table of one label, or scores, per text."""
        labels = set()
        for value in self.table.values():
            labels.update(plain_labels(value if isinstance(value, Mapping) else [value]))
        return labels - {None}

    def _from_annotations(self, classes):
        if self.texts is None:
            raise ValueError("RecordedScorer with annotations needs the texts= they are about.")
        texts = check_texts(self.texts, caller="RecordedScorer(texts=...)")
        if len(texts) != len(self.table):
            raise ValueError(f"Found {len(texts)} texts and {len(self.table)} annotations.")
        if set(classes) != set(self.table.classes):
            raise ValueError(
                f"classes={list(classes)!r} are not those of the annotations: "
                f"{list(self.table.classes)!r}."
            )
        columns = [self.table.classes.index(c) for c in classes]
        scores = self.table.scores()[:, columns]
        return {text: row for text, row in zip(texts, scores, strict=True)}

    def _from_mapping(self, classes):
        if not isinstance(self.table, Mapping):
            raise ValueError(
                f"RecordedScorer got a table of type {type(self.table).__name__}; it needs a "
                "mapping from text to label or scores, or Annotations with texts=."
            )
        index = {c: i for i, c in enumerate(classes)}
        return {text: self._row(text, value, index) for text, value in self.table.items()}

    def _row(self, text, value, index):
        row = np.zeros(len(index))
        if value is None:
            return np.full(len(index), np.nan)
        try:
            if isinstance(value, Mapping):
                for label, score in value.items():
                    row[index[plain_label(label)]] = float(score)
                if not ((row >= 0) & (row <= 1)).all():
                    raise ValueError("scores have to be numbers in [0, 1]")
                if self.multilabel:
                    return row
                if row.sum() <= 0:
                    raise ValueError("all scores are 0")
                return row / row.sum()
            for label in value if self.multilabel else [value]:
                row[index[plain_label(label)]] = 1.0
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"The table entry of a text of {len(text)} characters is not usable ({error}); "
                f"it needs a label or scores of {list(index)!r}."
            ) from None
        return row

    def annotate(self, X: Any) -> Annotations:
        """Return the recorded outputs for texts as :class:`~sklfusion.Annotations`.

        Parameters
        ----------
        X : sequence of n str
            Texts.

        Returns
        -------
        Annotations
            Rows as the texts; those not in the table have no answer.

        Raises
        ------
        ScoringFailedError
            If a text is not in the table and ``on_failure="raise"``.
        """
        check_is_fitted(self, "classes_")
        texts = check_texts(X, caller="RecordedScorer", allow_empty=True)
        nothing = np.full(len(self.classes_), np.nan)
        rows = [self._rows.get(text, nothing) for text in texts]
        probs = np.array(rows, dtype=float).reshape(-1, len(self.classes_))
        missing = int(np.isnan(probs).any(axis=1).sum())
        if missing:
            message = f"RecordedScorer has no output for {missing} of {len(texts)} texts."
            if self.on_failure == "raise":
                raise ScoringFailedError(message + " Record them, or set on_failure='abstain'.")
            warnings.warn(message + " They get the uniform prior.", ScoringWarning, stacklevel=3)
        found = Annotations(
            self.classes_.tolist(),
            probs=probs,
            multilabel=self._multilabel,
            meta={"strategy": "recorded"},
        )
        tell_unanswered(texts, found.status)
        return found

    def transform(self, X: Any) -> Any:
        """Return the recorded scores; see :meth:`LLMScorer.transform`.

        Parameters
        ----------
        X : sequence of n str
            Texts.

        Returns
        -------
        ndarray or DataFrame of shape (n, K)
            One column per class, and the indicator where it is asked for.
        """
        return score_columns(
            self.annotate(X), output=self.output, add_indicator=self.add_indicator
        )

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Return ``llm_<class>`` per class, and ``llm__abstained`` with ``add_indicator=True``.

        Parameters
        ----------
        input_features : None
            Ignored; scikit-learn passes it.

        Returns
        -------
        ndarray of str
            One name per column.
        """
        check_is_fitted(self, "classes_")
        return score_names(self.classes_, self.add_indicator)
