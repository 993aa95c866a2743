"""Texts longer than an encoder reads: cut at its length, or read window by window."""

from dataclasses import dataclass

import numpy as np

from sklfusion.embedding._encode import CHARACTERS_PER_TOKEN, tokenize


@dataclass
class Windows:
    """Token rows, the text that each belongs to, and how many texts lose their end."""

    rows: list
    owner: np.ndarray
    cut: int


def longer_than(backbone, texts, rows, max_length):
    """Indices of the texts of which `rows`, cut at `max_length` tokens, are not all."""
    full = [i for i, row in enumerate(rows) if len(row) >= max_length]
    again = tokenize(backbone, [texts[i] for i in full], max_length + 1) if full else []
    return [i for i, row in zip(full, again, strict=True) if len(row) > max_length]


def windows(backbone, texts, max_length, long_texts, most):
    """Token rows of at most `max_length` tokens, in the order of the texts.

    Parameters
    ----------
    backbone : Backbone
        Holds the tokenizer.
    texts : list of n str
        Texts.
    max_length : int
        Tokens per row, special tokens included.
    long_texts : {"truncate", "mean", "max"}
        "truncate" gives one row per text. The others split a longer text into as few windows as
        hold it, of even length, each with the tokenizer's special tokens around it.
    most : int
        Windows of one text at most; what is beyond them is cut.

    Returns
    -------
    Windows
    """
    rows = tokenize(backbone, texts, max_length)
    longer = longer_than(backbone, texts, rows, max_length)
    if long_texts == "truncate" or not longer:
        return Windows(rows, np.arange(len(rows)), len(longer))
    groups, cut = [[row] for row in rows], 0
    limit = most * max_length * CHARACTERS_PER_TOKEN
    for i in longer:
        whole, special = _untruncated(backbone, texts[i][:limit])
        groups[i], rest = _split_evenly(whole, special, max_length, most) or ([rows[i]], True)
        cut += rest or len(texts[i]) > limit
    owner = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
    return Windows([row for group in groups for row in group], owner, cut)


def _untruncated(backbone, text):
    with backbone.lock:
        told = backbone.tokenizer(
            text,
            truncation=False,
            padding=False,
            return_special_tokens_mask=True,
            return_attention_mask=False,
            return_token_type_ids=False,
            verbose=False,  # that it is longer than the model reads is known here
        )
    return told["input_ids"], told["special_tokens_mask"]


def _split_evenly(ids, special, max_length, most):
    """Windows of one text and whether more is left; None without room for any plain token."""
    plain = np.flatnonzero(np.asarray(special) == 0)
    start, end = plain[0], plain[-1] + 1
    before, body, after = ids[:start], ids[start:end], ids[end:]
    size = max_length - len(before) - len(after)
    if size < 1:
        return None
    kept = body[: size * most]
    pieces = np.array_split(kept, -(-len(kept) // size))
    return [[*before, *piece.tolist(), *after] for piece in pieces], len(body) > len(kept)


def combine(vectors, owner, long_texts, normalize):
    """One vector per text of those of its windows, (n, d) float32.

    Parameters
    ----------
    vectors : ndarray of shape (w, d)
        Vectors of the windows.
    owner : ndarray of shape (w,)
        The text that each window belongs to, ascending, every text at least once.
    long_texts : {"mean", "max"}
        Mean of the vectors, or their largest value by dimension.
    normalize : bool
        Whether vectors have length 1, so that what is made of several gets that length too.
    """
    first = np.flatnonzero(np.r_[True, owner[1:] != owner[:-1]])
    if len(first) == len(vectors):
        return vectors
    counts = np.diff(np.r_[first, len(owner)])
    if long_texts == "max":
        out = np.maximum.reduceat(vectors, first, axis=0)
    else:
        out = np.add.reduceat(vectors, first, axis=0) / counts[:, None]
    several = counts > 1
    if normalize:
        length = np.linalg.norm(out[several], axis=1, keepdims=True)
        out[several] /= np.maximum(length, np.finfo(np.float32).tiny)
    return out.astype(np.float32, copy=False)
