"""Which columns are LLM scores, and which class each of them stands for."""

import re
import warnings
from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import linear_sum_assignment

from sklfusion._class_labels import are_codes, in_names, sort_labels
from sklfusion._validation import plain_labels
from sklfusion.exceptions import DataWarning
from sklfusion.fusion._score_values import is_score, on_simplex, warn_of_scores_elsewhere

_SCORE_NAME = re.compile(r"^((?:.*__)?llm\d*_)(.+)$")
_FLAG_NAME = "_abstained"


@dataclass
class ScoreBlock:
    """The columns of one LLM: one per class, and perhaps a 0/1 column "gave no answer"."""

    name: str
    columns: np.ndarray
    flag: int | None = None
    classes: list | None = None
    scale: str = "log"
    mapping: np.ndarray | None = None


@dataclass
class Columns:
    """Split of the columns of X into encoder features and score blocks."""

    encoder: np.ndarray
    blocks: list = field(default_factory=list)

    @property
    def scores(self):
        """Indices of all score and flag columns, ascending."""
        taken = [b.columns for b in self.blocks]
        taken += [[b.flag] for b in self.blocks if b.flag is not None]
        return np.sort(np.concatenate(taken).astype(int)) if taken else np.empty(0, dtype=int)


def find_columns(X, Y, score_columns, score_classes, classes, names, multilabel):
    """Resolve ``score_columns`` against X.

    Parameters
    ----------
    X : ndarray of shape (n, p)
        Features.
    Y : ndarray of shape (n, K)
        Targets, 0 and 1.
    score_columns : "auto", None, slice, or list of int or str
        What the user said.
    score_classes : sequence or None
        Class of each column within a block.
    classes : sequence of K labels
        Classes, in the order of Y's columns.
    names : sequence of str or None
        Feature names of X.
    multilabel : bool
        Whether scores are independent per label.

    Returns
    -------
    Columns

    Raises
    ------
    ValueError
        If the number of columns does not match the classes, or a class has no score column.
    """
    wanted = None if score_classes is None else plain_labels(score_classes)
    width = len(wanted) if wanted is not None else len(classes)
    if score_columns is None:
        blocks = []
    elif isinstance(score_columns, str):
        if score_columns != "auto":
            raise ValueError(
                f"score_columns={score_columns!r} is not known; it must be 'auto', None, a slice, "
                "or a list of column numbers or names."
            )
        blocks = _blocks_by_name(range(X.shape[1]), names) if names is not None else []
        if not blocks:
            blocks = _blocks_by_value(X, Y, width, multilabel)
        if not blocks:
            warn_of_scores_elsewhere(X, Y, width, multilabel)
    else:
        indices = _indices(score_columns, X.shape[1], names)
        blocks = _blocks_by_name(indices, names) if names is not None else []
        if sum(len(b.columns) + (b.flag is not None) for b in blocks) != len(indices):
            blocks = _blocks_by_count(X, indices, width, classes)
    _name(blocks)
    for block in blocks:
        block.scale = _scale_of(X[:, block.columns], multilabel)
        block.mapping = _mapping(block, wanted, classes, multilabel)
    found = Columns(np.empty(0, dtype=int), blocks)
    found.encoder = np.setdiff1d(np.arange(X.shape[1]), found.scores)
    for block in blocks:
        if wanted is None and block.classes is None:
            _warn_if_permuted(X, Y, block, classes, multilabel)
    return found


def _indices(score_columns, n_features, names):
    if isinstance(score_columns, slice):
        return list(range(n_features))[score_columns]
    try:
        chosen = list(score_columns)
    except TypeError:
        raise ValueError(
            f"score_columns={score_columns!r} is not known; it must be 'auto', None, a slice, or "
            "a list of column numbers or names."
        ) from None
    if any(isinstance(c, str) for c in chosen):
        if names is None:
            raise ValueError(
                "score_columns holds names, but X has no column names. Pass a DataFrame "
                "(set_output(transform='pandas')), or column numbers."
            )
        position = {name: i for i, name in enumerate(names)}
        missing = [c for c in chosen if c not in position]
        if missing:
            raise ValueError(f"score_columns names {missing}, which X does not have.")
        return [position[c] for c in chosen]
    if chosen and isinstance(chosen[0], bool | np.bool_):
        chosen = np.flatnonzero(chosen)
    bad = [int(c) for c in chosen if not -n_features <= c < n_features]
    if bad:
        raise ValueError(f"score_columns {bad} are outside X, which has {n_features} columns.")
    return [int(c) % n_features for c in chosen]


def _blocks_by_name(indices, names):
    """Group columns named ``<prefix>llm<i>_<class>`` by prefix."""
    blocks = {}
    for index in indices:
        match = _SCORE_NAME.match(str(names[index]))
        if match is None:
            continue
        prefix, label = match.groups()
        block = blocks.setdefault(prefix, ScoreBlock(prefix.rstrip("_"), [], None, []))
        if label == _FLAG_NAME:
            block.flag = index
        else:
            block.columns.append(index)
            block.classes.append(label)
    found = [b for b in blocks.values() if len(b.columns) > 1]
    for block in found:
        block.columns = np.asarray(block.columns)
    return found


def _blocks_by_count(X, indices, width, classes):
    """Cut the named columns into blocks of ``width``, or of ``width`` and a 0/1 flag."""
    n = len(indices)
    if n == 0:
        return []
    if n % (width + 1) == 0:
        cut = [indices[i : i + width + 1] for i in range(0, n, width + 1)]
        flagged = all(np.isin(X[:, part[-1]], (0, 1)).all() for part in cut)
        if flagged and (n % width or not _looks_like_scores_everywhere(X, indices, width)):
            return [ScoreBlock("", np.asarray(p[:-1]), p[-1]) for p in cut]
    if n % width == 0:
        return [ScoreBlock("", np.asarray(indices[i : i + width])) for i in range(0, n, width)]
    raise ValueError(
        f"score_columns names {n} columns, but there are {width} classes "
        f"({', '.join(map(str, list(classes)[:6]))}{', ...' if len(classes) > 6 else ''}): it "
        f"needs a multiple of {width} (or of {width + 1} with a 0/1 'no answer' column each). "
        "Check score_columns, or name the class of each column in score_classes."
    )


def _looks_like_scores_everywhere(X, indices, width):
    return all(
        on_simplex(X[:, indices[i : i + width]]) is not None for i in range(0, len(indices), width)
    )


def _blocks_by_value(X, Y, width, multilabel):
    """Trailing blocks whose values are probabilities or log-probabilities."""
    blocks, end = [], X.shape[1]
    while end >= width:
        flag = None
        block = np.arange(end - width, end)
        if not is_score(X[:, block], Y, multilabel):
            if end <= width or not np.isin(X[:, end - 1], (0, 1)).all():
                break
            flag, block = end - 1, block - 1
            if not is_score(X[:, block], Y, multilabel):
                break
        blocks.insert(0, ScoreBlock("", block, flag))
        end = int(block[0])
    return blocks


def _scale_of(S, multilabel):
    if not multilabel and (kind := on_simplex(S)) is not None:
        return kind
    if (S >= 0).all() and (S <= 1).all():
        return "proba"
    if (S <= 1e-6).all():
        return "log"
    return "logit"


def _name(blocks):
    for m, block in enumerate(blocks):
        if not block.name or [b.name for b in blocks].count(block.name) > 1:
            block.name = "llm" if len(blocks) == 1 else f"llm_{m + 1}"


def _mapping(block, wanted, classes, multilabel):
    """Class index of each score column; -1 for a class that the targets never show."""
    declared = wanted if wanted is not None else block.classes
    if declared is None:
        if len(block.columns) != len(classes):
            raise ValueError(
                f"{block.name} has {len(block.columns)} score columns, but y has {len(classes)} "
                "classes. Name the class of each column in score_classes."
            )
        return np.arange(len(classes))
    if len(declared) != len(block.columns):
        raise ValueError(
            f"score_classes names {len(declared)} classes, but {block.name} has "
            f"{len(block.columns)} columns; they must be as many."
        )
    position = {label: i for i, label in enumerate(classes)}
    by_text = {str(label): i for i, label in enumerate(classes)}
    mapping = np.array([position.get(c, by_text.get(str(c), -1)) for c in declared])
    absent = [str(label) for i, label in enumerate(classes) if i not in mapping]
    if absent and not multilabel and are_codes(classes, len(declared)):
        return _of_codes(declared, classes)
    if absent and wanted is None and len(declared) == len(classes) and (mapping < 0).all():
        return np.arange(len(classes))  # names of another kind: keep the order
    if absent:
        raise ValueError(
            f"y has the classes {absent}, for which {block.name} has no score column (it has "
            f"{[str(c) for c in declared]}). Score these classes too, or pass score_classes."
        )
    return mapping


def _of_codes(declared, classes):
    """Class index of each score column where y holds codes of the sorted column names."""
    by_number = all(isinstance(c, str) and c.lstrip("-").isdigit() for c in declared)
    ordered = sorted(declared, key=int) if by_number else sort_labels(declared)
    named, _ = in_names(np.asarray(classes), ordered, caller="FusionClassifier")
    position = {name: i for i, name in enumerate(named.tolist())}
    return np.array([position.get(name, -1) for name in declared])


def _warn_if_permuted(X, Y, block, classes, multilabel):
    """Warn when another order of the columns agrees far better with the training rows."""
    if multilabel or len(Y) < 20:
        return
    S = X[:, block.columns]
    votes = np.eye(S.shape[1])[S.argmax(axis=1)]
    agreement = votes.T @ Y
    rows, order = linear_sum_assignment(-agreement)
    now, then = np.trace(agreement) / len(Y), agreement[rows, order].sum() / len(Y)
    if then - now > 0.25 and now < 1.5 / len(classes):
        warnings.warn(
            f"The score columns of {block.name} agree with y on {now:.0%} of the rows in the "
            f"order of the classes, but on {then:.0%} in the order "
            f"{[str(classes[k]) for k in order]}. If that is their order, pass it as "
            "score_classes.",
            DataWarning,
        )
