"""What a score column means: its class, its scale, and what stands for "no answer".

The convention, in one place. An LLM's scores of n texts are one column per class, named
``llm_<class>``, on one of three scales; ``llm__abstained`` beside them is 1 where there is no
answer, and a row of NaN is no answer either. Whoever makes such columns hands them along as
`ScoreColumns`, an array that remembers all this; arrays from elsewhere are read by their values.
"""

import re
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

#: Scales of a score: a probability, its logarithm, or log-odds.
SCALES = ("proba", "log_proba", "logit")
#: Least probability that a score column shows: 0 has no logarithm, and this is below anything that
#: a vote of many can show.
LEAST_SHOWN = 1e-6
#: Least probability that is read from columns which others have made.
LEAST_READ = {"softmax": 1e-12, "sigmoid": 1e-9}
#: Scores of a row that differ by less are equal, which says nothing.
SAME_SCORE = 1e-6
#: Several labels, all this near to one half, say nothing either.
NEAR_HALF = 1e-3
HALF = {"proba": 0.5, "log_proba": np.log(0.5), "logit": 0.0}
#: Rows of a distribution sum to 1 within this: single precision, or floored logarithms.
SUM_TOLERANCE = 1e-3
#: Least probability of a vote in a head that gradient descent trains: it counts as odds of about
#: fifty to one at the start, and the head learns the true odds.
_LEAST_IN_HEAD = 0.02

_NAME = re.compile(r"^((?:.*__)?llm\d*_)(.+)$")
_FLAG = "_abstained"


def score_names(classes, add_indicator):
    """Return the names of the score columns as an object array of str."""
    names = [f"llm_{label}" for label in classes]
    return np.asarray(names + [f"llm_{_FLAG}"] * bool(add_indicator), dtype=object)


def read_name(name):
    """Return prefix and class of a column's name (None for the flag), or None if it has neither.

    Examples
    --------
    >>> read_name("llm_ham"), read_name("union__llm2__abstained"), read_name("length")
    (('llm_', 'ham'), ('union__llm2_', None), None)
    """
    match = _NAME.match(str(name))
    if match is None:
        return None
    prefix, label = match.groups()
    return prefix, None if label == _FLAG else label


class ScoreTable(NamedTuple):
    """What one LLM says about n texts, as numbers to reckon with.

    ``scores`` (n, J) are log-probabilities, or log-odds in class order; ``answered`` (n,) is False
    where there is no answer, and the scores mean nothing.
    """

    scores: np.ndarray
    answered: np.ndarray


@dataclass
class ScoreBlock:
    """The columns of one LLM: one per class, and perhaps a 0/1 column "gave no answer".

    ``mapping`` is the number in y of each column's class, -1 for a class that y does not show.
    ``silence`` is ``"told"`` where the flag or NaN says who gave no answer, ``"flat"`` where equal
    scores have to be taken for none.
    """

    name: str
    columns: Any
    flag: int | None = None
    classes: Any = None
    scale: str = "log_proba"
    mapping: Any = None
    silence: str = "flat"

    def __post_init__(self):
        if self.scale == "log":  # in models that were saved earlier
            self.scale = "log_proba"

    @property
    def all_columns(self):
        """List of the columns with the flag."""
        return [*self.columns, *([] if self.flag is None else [self.flag])]

    def answered(self, X, multilabel):
        """Tell which rows of X hold an answer, shape (n,); the columns may know it themselves."""
        told = told_by(X)
        known = None if told is None else told.answered_in(self.columns)
        if known is not None:
            return known
        values = np.asarray(X)[:, self.columns]
        answered = np.isfinite(values).all(axis=1)
        if self.silence == "flat":
            answered &= ~is_flat(values, self.scale, multilabel)
        if self.flag is not None:
            answered &= np.asarray(X)[:, self.flag] < 0.5
        return answered

    def read(self, X, family, multilabel):
        """Return the `ScoreTable` of rows of X.

        Parameters
        ----------
        X : ndarray of shape (n, p)
            All columns.
        family : {"softmax", "sigmoid"}
            Log-probabilities of the block's classes, or log-odds in the order of y's classes.
        multilabel : bool
            Whether y holds several labels.
        """
        answered = self.answered(X, multilabel)
        raw = X[:, self.columns].astype(np.float64)
        raw[~np.isfinite(raw).all(axis=1)] = 0.0
        if family == "softmax":
            return ScoreTable(_log_proba(raw, self.scale), answered)
        known = self.mapping >= 0
        order = np.empty(self.mapping.max() + 1, dtype=int)
        order[self.mapping[known]] = np.flatnonzero(known)
        return ScoreTable(_log_odds(raw, self.scale)[:, order], answered)


def _log_proba(raw, scale):
    if scale == "proba":
        raw = np.log(np.maximum(raw, LEAST_READ["softmax"]))
    raw = raw - raw.max(axis=1, keepdims=True, initial=-np.inf)
    return raw - np.log(np.exp(raw).sum(axis=1, keepdims=True))


def _log_odds(raw, scale):
    if scale == "logit":
        return raw
    proba = np.exp(np.minimum(raw, 0.0)) if scale == "log_proba" else raw
    proba = np.clip(proba, LEAST_READ["sigmoid"], 1 - LEAST_READ["sigmoid"])
    return np.log(proba) - np.log1p(-proba)


class ScoreColumns(np.ndarray):
    """Score columns that know what they mean; for all else an array like any other.

    Rows keep the meaning, and so do columns that numpy puts beside each other, as a
    ``FeatureUnion`` does. Any other computation gives an array that
    claims nothing.

    Parameters
    ----------
    values : ndarray of shape (n, p)
        The numbers.
    blocks : sequence of m ScoreBlock
        Where the scores stand.
    answers : ndarray of shape (n, m) of bool
        Which rows hold an answer, by block.
    """

    blocks: tuple[ScoreBlock, ...]
    answers: Any

    def __new__(cls, values, blocks, answers):
        made = np.asarray(values).view(cls)
        made.blocks, made.answers = tuple(blocks), answers
        return made

    def __array_finalize__(self, source):
        self.blocks, self.answers = (), None

    def __array_wrap__(self, array, context=None, return_scalar=False):
        return array[()] if return_scalar else np.asarray(array)

    def __array_function__(self, func, types, args, kwargs):
        found = super().__array_function__(func, types, args, kwargs)
        axis = kwargs.get("axis", args[1] if len(args) > 1 else 0)
        if func is np.concatenate and axis == 1:  # np.hstack comes here too
            return _side_by_side(args[0], np.asarray(found))
        return found

    def __getitem__(self, key):
        found = np.asarray(self)[key]
        if isinstance(key, tuple) and len(key) == 2 and key[1] is Ellipsis:
            key = key[0]  # scikit-learn's splitters ask for X[rows, ...]
        if not self.blocks or found.ndim != 2 or isinstance(key, tuple):
            return found
        return ScoreColumns(found, self.blocks, self.answers[key])

    def __reduce__(self):
        return ScoreColumns, (np.asarray(self), self.blocks, self.answers)

    def __repr__(self):
        return repr(np.asarray(self))

    def answered_in(self, columns):
        """Tell which rows hold an answer in these columns (n,), or None if they are no block."""
        for number, block in enumerate(self.blocks):
            if set(block.columns) == set(columns):
                return self.answers[:, number]
        return None

    def has_all(self, classes):
        """Tell whether every block has a column for each class."""
        wanted = {str(label) for label in classes}
        return all(wanted <= {str(label) for label in block.classes} for block in self.blocks)

    def arranged(self, classes):
        """Return the scores of every block in the order of ``classes``, NaN for no answer.

        Parameters
        ----------
        classes : sequence of K labels or None
            Compared as text; None leaves the columns in their order.

        Returns
        -------
        ndarray of shape (n, m * K)

        Raises
        ------
        ValueError
            If a class has no column.
        """
        parts, values = [], np.asarray(self, dtype=np.float64)
        for number, block in enumerate(self.blocks):
            own = [str(label) for label in block.classes]
            wanted = own if classes is None else [str(label) for label in classes]
            missing = [label for label in wanted if label not in own]
            if missing:
                raise ValueError(
                    f"the scorer knows the classes {own}; y also has {missing}. Give the scorer "
                    "all classes."
                )
            part = values[:, block.columns[[own.index(label) for label in wanted]]]
            parts.append(np.where(self.answers[:, [number]], part, np.nan))
        return np.hstack(parts)


def told_by(X):
    """Return X if its columns know what they mean, else None."""
    return X if isinstance(X, ScoreColumns) and X.blocks else None


def tell_again(X, before):
    """Return an array that was made of ``before``, row by row, with what that knew."""
    told = told_by(before)
    return X if told is None else ScoreColumns(X, told.blocks, told.answers)


def _side_by_side(parts, matrix):
    """The matrix made of ``parts``, with the blocks of those that know theirs."""
    blocks, answers, start = [], [], 0
    for part in parts:
        for number, block in enumerate(getattr(part, "blocks", ())):
            flag = None if block.flag is None else block.flag + start
            place = {"columns": block.columns + start, "flag": flag}
            blocks.append(
                ScoreBlock(block.name, classes=block.classes, scale=block.scale, **place)
            )
            answers.append(part.answers[:, number])
        start += np.shape(part)[1] if np.ndim(part) > 1 else 1
    return ScoreColumns(matrix, blocks, np.column_stack(answers)) if blocks else matrix


def score_columns(annotations, *, output, add_indicator):
    """Return the float32 score columns of annotations.

    Parameters
    ----------
    annotations : Annotations
        Of n texts and K classes.
    output : {"proba", "log_proba"}
        Scale. A text without an answer has the uniform prior.
    add_indicator : bool
        Whether a last column is 1 where there is no answer.

    Returns
    -------
    ScoreColumns of shape (n, K) or (n, K + 1)
    """
    k = len(annotations.classes)
    probs = annotations.scores()
    failed = np.isnan(probs).any(axis=1)
    probs[failed] = 0.5 if annotations.multilabel else 1.0 / k
    scores = np.log(np.clip(probs, LEAST_SHOWN, 1.0)) if output == "log_proba" else probs
    if add_indicator:
        scores = np.column_stack([scores, failed])
    flag = k if add_indicator else None
    block = ScoreBlock("", np.arange(k), flag, list(annotations.classes), output)
    return ScoreColumns(scores.astype(np.float32), [block], ~failed[:, None])


def as_told(columns, classes, multilabel):
    """Return the columns of any scorer as `ScoreColumns`.

    A scorer that is not of sklfusion hands bare numbers: one column for each of ``classes``, and
    perhaps a flag. Scale and answers are then read from the values.

    Raises
    ------
    ValueError
        If the columns are not as many as the classes.
    """
    if told_by(columns) is not None:
        return columns
    values, k = as_matrix(columns), len(classes)
    if values.shape[1] - k not in (0, 1):
        raise ValueError(
            f"got scores of shape {values.shape} for the {k} classes {list(classes)}; they need "
            "one column per class, and perhaps one that marks texts without an answer."
        )
    block = ScoreBlock("", np.arange(k), k if values.shape[1] > k else None, list(classes))
    block.scale = scale_of(values[:, :k], multilabel)
    return ScoreColumns(values, [block], block.answered(values, multilabel)[:, None])


def as_matrix(scores):
    """Return scores as a float matrix that claims nothing; one column may come as a vector."""
    matrix = np.asarray(scores, dtype=np.float64)
    return matrix[:, None] if matrix.ndim == 1 else matrix


def on_simplex(S):
    """``"proba"`` or ``"log_proba"`` if rows are distributions over the columns, else None."""
    if not len(S):
        return None
    if (S >= 0).all() and np.abs(S.sum(axis=1) - 1).max() < SUM_TOLERANCE:
        return "proba"
    if (S <= SAME_SCORE).all() and np.abs(np.exp(S).sum(axis=1) - 1).max() < SUM_TOLERANCE:
        return "log_proba"
    return None


def scale_of(S, multilabel):
    """Return the scale of scores (n, K) as their values have it; rows of NaN do not count."""
    S = S[np.isfinite(S).all(axis=1)]
    if not multilabel and (kind := on_simplex(S)) is not None:
        return kind
    if (S >= 0).all() and (S <= 1).all():
        return "proba"
    return "log_proba" if (S <= SAME_SCORE).all() else "logit"


def is_flat(values, scale, multilabel):
    """Tell which rows of scores (n, K) are equal for all classes, shape (n,).

    For several labels per row, all refused is an answer, and all at one half is not.
    """
    if values.shape[1] < 2:
        return np.zeros(len(values), dtype=bool)
    flat = np.ptp(values, axis=1) <= SAME_SCORE
    return flat & (np.abs(values[:, 0] - HALF[scale]) <= NEAR_HALF) if multilabel else flat


def bounded_codes(columns, n_classes, multilabel):
    """Return evidence per class and LLM for a head that is trained by gradient descent.

    Parameters
    ----------
    columns : ndarray of shape (n, m * n_classes)
        Probabilities or log-probabilities of m LLMs; a row of NaN in a block is no answer.
    n_classes : int
        K.
    multilabel : bool
        Log-odds per label instead of centred log-probabilities.

    Returns
    -------
    codes : ndarray of shape (n, m * K)
        0 where there is no answer, and where an LLM has no opinion.
    answered : ndarray of shape (n, m)
        1 where the LLM answered.

    Raises
    ------
    ValueError
        If values are neither probabilities nor log-probabilities.
    """
    coded, answered = [], []
    for block in np.split(columns, columns.shape[1] // n_classes, axis=1):
        present = np.isfinite(block).all(axis=1)
        block = np.where(present[:, None], block, 0.0)
        proba = np.exp(block) if (block < 0).any() else block
        if (proba > 1 + SAME_SCORE).any():
            raise ValueError(
                "scores must be probabilities or log-probabilities; the largest value is "
                f"{block.max():.3g} and the smallest {block.min():.3g}."
            )
        proba = np.clip(proba, _LEAST_IN_HEAD, 1 - _LEAST_IN_HEAD)
        code = np.log(proba)
        code = code - np.log1p(-proba) if multilabel else code - code.mean(axis=1, keepdims=True)
        coded.append(code * present[:, None])
        answered.append(present)
    return np.hstack(coded), np.column_stack(answered).astype(float)
