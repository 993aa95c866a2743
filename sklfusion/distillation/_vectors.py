"""One vector per token, made from an encoder once and kept on disk.

The recipe of model2vec: every token of the vocabulary goes through the encoder alone, principal
axes shorten what comes out, and frequent tokens count less. Their rank stands for their
frequency, since vocabularies are written in that order. One byte per number is enough.
"""

import hashlib
import os
import re
import warnings
from dataclasses import dataclass

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file
from scipy import sparse

from sklfusion._memory import memory_folder, require_folder, user_cache
from sklfusion.exceptions import CacheWarning, ModelLoadError

_VECTORS_VERSION = 1  # raise when the same encoder gives other vectors
#: Frequency at which a token counts half (smooth inverse frequency of Arora et al.).
_HALF_WEIGHT_FREQUENCY = 1e-4
_LARGEST_BYTE = 127
_TOKENS_PER_BATCH = 512
#: Tokens that no text holds.
_PLACEHOLDER = re.compile(r"\[unused\d+\]|<unused\d+>|madeupword\d+")
#: Texts whose tokens are counted at a time; bounds the memory of a long list.
_TEXTS_PER_BATCH = 4096


@dataclass(frozen=True)
class TokenVectors:
    """Vectors of all tokens, and the tokenizer that finds them.

    Parameters
    ----------
    vectors : ndarray of shape (V, d), int8
        Row i belongs to token i; zeros where a token has none.
    tokenizer : str
        JSON of a ``tokenizers.Tokenizer``.
    digest : str
        Digest of the encoder they were made from.
    """

    vectors: np.ndarray
    tokenizer: str
    digest: str


def token_vectors(model, dimensions, memory):
    """Return the `TokenVectors` of an encoder: from disk, else made and put there.

    Raises
    ------
    ModelLoadError
        If the encoder cannot be loaded, or its tokenizer is not a fast one.
    ValueError
        If it is narrower than ``dimensions``.

    Warns
    -----
    CacheWarning
        If a file on disk is damaged (it is made anew) or none can be written.
    """
    from sklfusion.embedding._backbone import describe

    description = describe(model)
    if dimensions > description.width:
        raise ValueError(
            f"dimensions={dimensions}; the encoder {model!r} gives {description.width}. Take at "
            "most as many."
        )
    folder = (memory_folder(memory) or user_cache()) / "static"
    path = folder / f"{description.digest[:32]}-{dimensions}-{_VECTORS_VERSION}.safetensors"
    found = _read(path) if require_folder(folder.parent) and require_folder(folder) else None
    if found is None:
        found = _make(model, dimensions, description.digest)
        _write(path, found)
    return found


def _read(path):
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="numpy") as file:
            told, vectors = file.metadata(), file.get_tensor("vectors")
        found = TokenVectors(vectors, told["tokenizer"], told["digest"])
        if told["sha256"] == _checksum(found):
            return found
        reason = "its checksum is wrong"
    except (SafetensorError, KeyError, TypeError, OSError) as error:
        reason = str(error)
    warnings.warn(
        f"the token vectors {path} cannot be read ({reason}); they are made anew.",
        CacheWarning,
        stacklevel=5,
    )
    return None


def _write(path, made):
    partial = path.with_suffix(f".{os.getpid()}.partial")
    told = {"tokenizer": made.tokenizer, "digest": made.digest, "sha256": _checksum(made)}
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        save_file({"vectors": made.vectors}, partial, metadata=told)
        os.replace(partial, path)
    except (OSError, SafetensorError) as error:
        warnings.warn(
            f"token vectors cannot be written to {path.parent} ({error}); they are made anew "
            "next time. Give a folder that can be written as memory=.",
            CacheWarning,
            stacklevel=5,
        )


def _checksum(made):
    digest = hashlib.sha256(np.ascontiguousarray(made.vectors).tobytes())
    digest.update(made.tokenizer.encode())
    return digest.hexdigest()


def _make(model, dimensions, digest):
    from sklfusion.embedding._backbone import load_backbone

    backbone = load_backbone(model)
    fast = getattr(backbone.tokenizer, "backend_tokenizer", None)
    if fast is None:
        raise ModelLoadError(
            f"the tokenizer of {model!r} has no fast form, which static vectors need. Take an "
            "encoder whose folder has a tokenizer.json."
        )
    with backbone.lock:  # truncation is a setting of the object
        text = _plain_tokenizer(fast)
    vocabulary = fast.get_vocab(with_added_tokens=True)
    special = set(backbone.tokenizer.all_special_ids)
    kept = sorted(
        number
        for token, number in vocabulary.items()
        if number not in special and not _PLACEHOLDER.fullmatch(token)
    )
    rows = _shorten(_encode_tokens(backbone, kept), dimensions)
    frequency = 1 / np.arange(2, len(kept) + 2)
    frequency /= frequency.sum()
    rows *= (_HALF_WEIGHT_FREQUENCY / (_HALF_WEIGHT_FREQUENCY + frequency))[:, None]
    vectors = np.zeros((max(vocabulary.values()) + 1, rows.shape[1]), dtype=np.int8)
    vectors[kept] = np.rint(rows * (_LARGEST_BYTE / max(np.abs(rows).max(), 1e-12)))
    return TokenVectors(vectors, text, digest)


def _plain_tokenizer(fast):
    """JSON of a tokenizer that neither cuts nor pads."""
    from tokenizers import Tokenizer

    plain = Tokenizer.from_str(fast.to_str())
    plain.no_truncation()
    plain.no_padding()
    return plain.to_str()


def _encode_tokens(backbone, numbers):
    """Mean hidden state (V, width) of each token between the marks of beginning and end."""
    import torch

    from sklfusion.embedding._encode import pad, pooled

    before, after = _marks(backbone.tokenizer)
    out = np.empty((len(numbers), backbone.width))
    with torch.inference_mode():
        for start in range(0, len(numbers), _TOKENS_PER_BATCH):
            rows = [[*before, n, *after] for n in numbers[start : start + _TOKENS_PER_BATCH]]
            ids, mask = pad(rows, backbone.pad_id, backbone.device)
            states = pooled(backbone.model, backbone.inputs, ids, mask, "mean")
            out[start : start + len(rows)] = states.cpu().numpy()
    return out


def _marks(tokenizer):
    """Ids that the tokenizer puts before and after a text."""
    inner = tokenizer("a", add_special_tokens=False)["input_ids"]
    whole_row = tokenizer("a")["input_ids"]
    for start in range(len(whole_row) - len(inner) + 1):
        if whole_row[start : start + len(inner)] == inner:
            return whole_row[:start], whole_row[start + len(inner) :]
    return [], []


def _shorten(rows, dimensions):
    """Rows on their principal axes, the first ``dimensions`` of them."""
    centred = rows - rows.mean(axis=0)
    axes = np.linalg.eigh(centred.T @ centred)[1][:, ::-1][:, :dimensions]
    # an axis has no sign of its own; this one does not change from machine to machine
    axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])])
    return centred @ axes


def mean_vectors(tokenizer, vectors, texts):
    """Mean token vector of each text at unit length; zeros where no token is known.

    Parameters
    ----------
    tokenizer : tokenizers.Tokenizer
    vectors : ndarray of shape (V, d), int8
    texts : list of n str

    Returns
    -------
    ndarray of shape (n, d), float32
    """
    out = np.empty((len(texts), vectors.shape[1]), dtype=np.float32)
    for start in range(0, len(texts), _TEXTS_PER_BATCH):
        part = texts[start : start + _TEXTS_PER_BATCH]
        rows = [row.ids for row in tokenizer.encode_batch_fast(part, add_special_tokens=False)]
        ends = np.cumsum([0, *map(len, rows)])
        ids = np.fromiter((i for row in rows for i in row), dtype=np.int32, count=ends[-1])
        ids, places = np.unique(ids, return_inverse=True)
        ones = np.ones(len(places), dtype=np.float32)
        counts = sparse.csr_matrix((ones, places, ends), shape=(len(rows), len(ids)))
        out[start : start + len(part)] = counts @ vectors[ids].astype(np.float32)
    length = np.linalg.norm(out, axis=1, keepdims=True)
    return out / np.where(length > 0, length, 1)
