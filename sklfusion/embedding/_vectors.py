"""Vectors of a frozen encoder: from the cache, or by the engine and windows that fit."""

from functools import partial

import numpy as np

from sklfusion._progress import progress_bar
from sklfusion._text_input import distinct
from sklfusion.embedding._cache import open_cache, through_cache, unknown
from sklfusion.embedding._checks import key_space, warn_of_cut

#: Windows of one text at most: 16,000 tokens where a window has 256, a long article.
MOST_WINDOWS = 64
_CHUNK = 8192  # texts tokenised at once: bounds memory, and what an interruption can lose


def frozen_vectors(embedder, texts):
    """Vectors of the frozen encoder of a fitted `RobertaEmbedder`, (n, d) float32.

    Distinct texts are encoded once, and those that the cache has not at all.
    """
    different, index = distinct(texts)
    vectors = np.empty((len(different), embedder._width), dtype=np.float32)
    cache = open_cache(embedder.memory)
    engine = _engine(embedder, cache, different)
    space = key_space(embedder, engine)
    progress = progress_bar(len(different), "embedding") if embedder.verbose else None
    cut: list[int] = []
    encode = partial(_encode_new, embedder, engine, cut)
    for start in range(0, len(different), _CHUNK):
        part = slice(start, start + _CHUNK)
        vectors[part] = through_cache(
            cache, space, different[part], embedder._width, encode, progress
        )
    if progress is not None:
        progress.close()
    warn_of_cut(sum(cut), _reads(embedder))
    return vectors[index]


def _engine(embedder, cache, texts):
    """What encodes; "auto" measures once a call brings enough texts that the cache has not."""
    from sklfusion.embedding._engines import WORTH_AN_EXPORT, chosen, fastest, possible

    engine = chosen(embedder)
    if engine is not None:
        return engine
    by_torch = possible(embedder)[0]
    if len(texts) >= WORTH_AN_EXPORT:
        new = unknown(cache, key_space(embedder, by_torch), texts, embedder._width)
        if len(new) >= WORTH_AN_EXPORT:
            return fastest(embedder, new)
    return by_torch


def _encode_new(embedder, engine, cut, texts, progress):
    from sklfusion.embedding._encode import encode
    from sklfusion.embedding._engines import runner
    from sklfusion.embedding._windows import combine, windows

    backbone, run = runner(embedder, engine, texts)
    length = embedder._length(backbone)
    read = windows(backbone, texts, length, embedder.long_texts, MOST_WINDOWS)
    cut.append(read.cut)
    first = np.r_[True, read.owner[1:] != read.owner[:-1]]
    done = None if progress is None else lambda index: progress.update(int(first[index].sum()))
    vectors = encode(backbone, read.rows, run=run, batch_size=embedder.batch_size, done=done)
    return combine(vectors, read.owner, embedder.long_texts, embedder.normalize)


def _reads(embedder):
    tokens = f"the {embedder.max_length or 'most'} tokens that the encoder reads at once"
    if embedder.long_texts == "truncate":
        return f"{tokens} (long_texts='mean' reads longer ones in windows)"
    return f"{MOST_WINDOWS} times {tokens}"
