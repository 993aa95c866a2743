"""Which columns are LLM scores, and which class each of them stands for."""

import warnings
from dataclasses import dataclass, field, replace

import numpy as np
from scipy.optimize import linear_sum_assignment

from sklfusion._class_labels import are_codes, in_names, sort_labels
from sklfusion._scores import ScoreBlock, on_simplex, read_name, scale_of, told_by
from sklfusion._validation import plain_labels
from sklfusion.exceptions import DataWarning
from sklfusion.fusion._score_values import is_score, warn_of_scores_elsewhere

#: An order of the columns is pointed out when it agrees with y on this share of the rows more than
#: the one taken, which is hardly better than chance (as a multiple of it); with fewer rows than
#: this it may be luck.
_MORE_AGREEMENT, _NEAR_CHANCE, _LEAST_ROWS = 0.25, 1.5, 20


@dataclass
class Columns:
    """Split of the columns of X into encoder features and score blocks.

    ``found_by`` says who told the score columns from the others: "columns" (they know what they
    mean), "names", "numbers" (of the user), "values", or "nothing" where there are none.
    """

    encoder: np.ndarray
    blocks: list = field(default_factory=list)
    found_by: str = "nothing"

    @property
    def scores(self):
        """Indices of all score and flag columns, ascending."""
        return np.sort(np.array([c for b in self.blocks for c in b.all_columns], dtype=int))


def find_columns(X, Y, score_columns, score_classes, classes, names, multilabel):
    """Resolve ``score_columns`` against X.

    Parameters
    ----------
    X : ndarray of shape (n, p)
        Features; as `ScoreColumns` they know what they mean.
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
    indices = _chosen_columns(score_columns, X.shape[1], names)
    known = {
        "columns": _blocks_told(told_by(X), classes, multilabel),
        "names": _blocks_by_name(names),
    }
    blocks, found_by = _pick(known, indices)
    if indices is None and not blocks:
        blocks, found_by = _blocks_by_value(X, Y, width, multilabel), "values"
        if not blocks:
            warn_of_scores_elsewhere(X, Y, width, multilabel)
    elif indices is not None and not blocks:
        blocks, found_by = _blocks_by_count(X, indices, width, classes), "numbers"
    _name(blocks)
    for block in blocks:
        values = X[:, block.columns]
        if found_by != "columns":
            block.scale = scale_of(values, multilabel)
        if block.flag is not None or np.isnan(values).any():
            block.silence = "told"
        block.mapping = _mapping(block, wanted, classes, multilabel)
        if wanted is None and block.classes is None:
            _warn_if_permuted(X, Y, block, classes, multilabel)
    found = Columns(np.empty(0, dtype=int), blocks, found_by if blocks else "nothing")
    found.encoder = np.setdiff1d(np.arange(X.shape[1]), found.scores)
    return found


def _pick(known, indices):
    """The blocks of the best source; if the user chose columns, they must be just these."""
    for found_by, blocks in known.items():
        if indices is not None:
            blocks = [_within(block, set(indices)) for block in blocks]
        blocks = [block for block in blocks if len(block.columns) > 1]
        chosen = indices is None or sum(len(b.all_columns) for b in blocks) == len(indices)
        if blocks and chosen:
            return blocks, found_by
    return [], "nothing"


def _within(block, indices):
    """The part of a block that lies in these columns."""
    kept = [place for place, column in enumerate(block.columns) if column in indices]
    return replace(
        block,
        columns=np.asarray(block.columns)[kept],
        classes=None if block.classes is None else [block.classes[place] for place in kept],
        flag=block.flag if block.flag in indices else None,
    )


def _chosen_columns(score_columns, n_features, names):
    """Return the numbers of the columns that the user chose as scores, or None for "auto"."""
    if score_columns is None:
        return []
    if isinstance(score_columns, str):
        if score_columns == "auto":
            return None
        raise _not_known(score_columns)
    return _indices(score_columns, n_features, names)


def known_scores(score_columns, n_features, names, told):
    """Return the numbers of the columns that are scores whatever their values are."""
    chosen = _chosen_columns(score_columns, n_features, names)
    if chosen is not None:
        return chosen
    blocks = _blocks_by_name(names) if told is None else told.blocks
    return [column for b in blocks if len(b.columns) > 1 for column in b.columns]


def _not_known(score_columns):
    return ValueError(
        f"score_columns={score_columns!r} is not known; it must be 'auto', None, a slice, or a "
        "list of column numbers or names."
    )


def _indices(score_columns, n_features, names):
    if isinstance(score_columns, slice):
        return list(range(n_features))[score_columns]
    try:
        chosen = list(score_columns)
    except TypeError:
        raise _not_known(score_columns) from None
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
        chosen = np.flatnonzero(chosen).tolist()
    bad = [int(c) for c in chosen if not -n_features <= c < n_features]
    if bad:
        raise ValueError(f"score_columns {bad} are outside X, which has {n_features} columns.")
    return [int(c) % n_features for c in chosen]


def _blocks_told(told, classes, multilabel):
    """The blocks that the columns know of themselves.

    Labels of an indicator may have other names than those of the scores, or none: the order of
    the columns counts then. With some names in common, others not, the scores are not of y.
    """
    blocks = [] if told is None else list(told.blocks)
    if not multilabel:
        return blocks
    unnamed, of_y = list(classes) == list(range(len(classes))), {str(c) for c in classes}
    fitting = []
    for block in blocks:
        own, as_many = {str(c) for c in block.classes}, len(block.columns) == len(classes)
        if unnamed and as_many:
            fitting.append(replace(block, classes=None))
        elif not unnamed and (of_y <= own or (as_many and not of_y & own)):
            fitting.append(block)
    return fitting


def _blocks_by_name(names):
    """Group columns named ``<prefix>llm<i>_<class>`` by prefix."""
    blocks: dict[str, ScoreBlock] = {}
    for index, name in enumerate([] if names is None else names):
        found = read_name(name)
        if found is None:
            continue
        prefix, label = found
        block = blocks.setdefault(prefix, ScoreBlock(prefix.rstrip("_"), [], None, []))
        if label is None:
            block.flag = index
        else:
            block.columns.append(index)
            block.classes.append(label)
    for block in blocks.values():
        block.columns = np.asarray(block.columns, dtype=int)
    return list(blocks.values())


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
    cut = (X[:, indices[i : i + width]] for i in range(0, len(indices), width))
    return all(on_simplex(S[np.isfinite(S).all(axis=1)]) is not None for S in cut)


def _blocks_by_value(X, Y, width, multilabel):
    """Trailing blocks whose values are probabilities or log-probabilities."""
    blocks: list[ScoreBlock] = []
    end = X.shape[1]
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
    S = X[:, block.columns]
    told = np.isfinite(S).all(axis=1)
    S, Y = S[told], Y[told]
    if multilabel or len(Y) < _LEAST_ROWS:
        return
    votes = np.eye(S.shape[1])[S.argmax(axis=1)]
    agreement = votes.T @ Y
    rows, order = linear_sum_assignment(-agreement)
    now, then = np.trace(agreement) / len(Y), agreement[rows, order].sum() / len(Y)
    if then - now > _MORE_AGREEMENT and now < _NEAR_CHANCE / len(classes):
        warnings.warn(
            f"The score columns of {block.name} agree with y on {now:.0%} of the rows in the "
            f"order of the classes, but on {then:.0%} in the order "
            f"{[str(classes[k]) for k in order]}. If that is their order, pass it as "
            "score_classes.",
            DataWarning,
        )
