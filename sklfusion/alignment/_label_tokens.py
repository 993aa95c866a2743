"""Where labels begin in a generated list, and which tokens they begin with."""

import numpy as np
from scipy.special import logsumexp, softmax

from sklfusion._validation import normalize_label

_SEPARATORS = set(",;|\n[]{}")
_NEUTRAL = set(" \t\r\"'`“”‘’-*•")

#: Log-probability below the smallest one seen that stands for "not among the top tokens".
FLOOR_MARGIN = 1.0


def label_starts(tokens):
    """Return the positions of the tokens with which a label of a list begins.

    A label begins at the first word character after the start of the answer or after a
    separator (comma, semicolon, bar, line end, bracket). What follows within the label is a
    continuation, whatever it looks like: "express" in "joy express" starts no label. A token
    that ends one label and begins the next in one piece is left out: its probability is not
    that of a label's first token.

    Parameters
    ----------
    tokens : sequence of str
        Text of each generated token, in order.

    Examples
    --------
    >>> from sklfusion.scoring._distributions import label_starts
    >>> label_starts([' ["', "joy", '",', ' "', "ang", "er", '"]'])
    [1, 4]
    """
    starts, at_start = [], True
    for position, token in enumerate(tokens):
        clean = True  # no word character of an earlier label in this token yet
        for character in token:
            if character in _SEPARATORS:
                at_start = True
            elif character not in _NEUTRAL:
                if at_start and clean:
                    starts.append(position)
                at_start = clean = False
    return starts


def parse_label_list(text, labels, none_label="none"):
    """Return the labels that a generated list names, as a 0/1 array of shape (K,), or None.

    Only exact names count, after case, spaces and quotes are folded. None means that the text
    names neither a label nor ``none_label``.
    """
    index = {normalize_label(str(label)): k for k, label in enumerate(labels)}
    votes, known = np.zeros(len(labels)), False
    for separator in _SEPARATORS:
        text = text.replace(separator, ",")
    for part in text.split(","):
        name = normalize_label(part)
        known |= name in index or name == normalize_label(none_label)
        if name in index:
            votes[index[name]] = 1.0
    return votes if known else None


def label_forms(label):
    """Return the surface forms of a label, the one that a list continues with first."""
    label = str(label)
    return [" " + label, label, " " + label.capitalize(), label.capitalize()]


def first_token_ids(tokenize, labels):
    """Return the ids of the tokens that each label can begin with.

    Parameters
    ----------
    tokenize : callable
        Text to a list of ids, without special tokens.
    labels : sequence of str
        Labels, "none" included.

    Returns
    -------
    list of list of int
        For each label the first id of its form with a leading space, then those of other forms
        (no space, capitalised) that no other label begins with.

    Raises
    ------
    ValueError
        If two labels begin with the same token in the form with a leading space: the model's
        first step cannot tell them apart.
    """
    table = [[tokenize(form)[0] for form in label_forms(label)] for label in labels]
    owners: dict[int, list[str]] = {}
    for label, row in zip(labels, table, strict=True):
        owners.setdefault(row[0], []).append(str(label))
    _refuse_collisions({key: names for key, names in owners.items() if len(names) > 1})
    claimed: dict = {}
    for k, row in enumerate(table):
        for token in row:
            claimed.setdefault(token, set()).add(k)
    primary = {row[0] for row in table}
    return [
        [row[0], *dict.fromkeys(t for t in row[1:] if claimed[t] == {k} and t not in primary)]
        for k, row in enumerate(table)
    ]


def _refuse_collisions(groups):
    if groups:
        shown = "; ".join(f"{', '.join(names)} ({key!r})" for key, names in groups.items())
        raise ValueError(
            f"These labels begin with the same token: {shown}. First-token probabilities cannot "
            "tell them apart. Show the model other words for them (aliases={label: word}), for "
            "example short ids."
        )


def label_logits(logits, ids):
    """Return the score of each label, the largest over its first tokens, shape (..., K)."""
    logits = np.asarray(logits)
    return np.stack([logits[..., list(own)].max(axis=-1) for own in ids], axis=-1)


def label_start_probabilities(tokens, label_scores):
    """Return the softmax over labels and none at every label start of a generation.

    Parameters
    ----------
    tokens : sequence of S str
        Generated tokens.
    label_scores : array of shape (S, K + 1)
        Logits or log-probabilities of the labels' first tokens *before* each token was chosen.

    Returns
    -------
    ndarray of shape (number of label starts, K + 1)
    """
    scores = np.asarray(label_scores, dtype=float)
    return softmax(scores[label_starts(tokens)], axis=1)


def scores_from_top(top, labels):
    """Return the log-probability of each label's first token from the listed top tokens.

    An endpoint names tokens by their text and lists some twenty of them. A listed token counts
    for a label that begins with it; several forms of one label add up. A label that is not
    listed gets the smaller of two floors: an equal share of the mass that is not listed, and
    the smallest listed value less a margin.

    Parameters
    ----------
    top : sequence of (str, float)
        Token text and natural log-probability.
    labels : sequence of str
        Labels as the model writes them, none last.

    Returns
    -------
    ndarray of shape (K + 1,)

    Raises
    ------
    ValueError
        If a listed token is the beginning of two labels.
    """
    names = [normalize_label(str(label)) for label in labels]
    found: list[list[float]] = [[] for _ in names]
    clashes: dict = {}
    for token, logprob in top:
        piece = token.strip(" \t\r\n\"'`[(").casefold()
        if not piece:
            continue
        owners = [k for k, name in enumerate(names) if name.startswith(piece)]
        whole = [k for k in owners if names[k] == piece]
        if len(whole or owners) > 1:
            clashes[token] = [str(labels[k]) for k in owners]
        elif owners:
            found[(whole or owners)[0]].append(logprob)
    # A collision matters once the clashing token carries mass; far down the list it is noise.
    best = max((value for _, value in top), default=0.0)
    _refuse_collisions(
        {token: names for token, names in clashes.items() if dict(top)[token] > best - 3}
    )
    unseen = sum(not values for values in found)
    listed = [value for _, value in top]
    rest = np.log(max(1 - np.exp(listed).sum(), 1e-12)) - np.log(max(unseen, 1))
    floor = min(rest, min(listed, default=0.0) - FLOOR_MARGIN)
    return np.array([logsumexp(values) if values else floor for values in found])
