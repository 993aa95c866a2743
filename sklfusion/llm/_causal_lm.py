"""A causal language model of the transformers library: loaded once, text to tokens and back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from sklfusion.exceptions import ModelLoadError
from sklfusion.llm._loaded import load_once
from sklfusion.prompts._spelling import entry_bytes

# Vocabularies write the space before a word as one of these.
_SPACE_MARKS = ("\u0120", "\u2581")


def load_weights(
    location: str | Path, dtype: str = "float32", *, to_score: bool = False
) -> tuple[Any, Any]:
    """Return the model and the tokenizer of a folder or hub id; a process loads each once.

    Parameters
    ----------
    location : str or Path
        Folder or hub id.
    dtype : str, default="float32"
        torch's name of the numbers to compute with.
    to_score : bool, default=False
        Whether logits are all that is asked of the model: a plain Llama is then read without
        transformers, in less than half the time that a process takes to its first score.

    Raises
    ------
    ModelLoadError
        If it cannot be loaded.
    """
    files = sorted(Path(location).glob("*")) if Path(location).is_dir() else []
    # Other files under the same name are another model.
    stamps = tuple((file.name, file.stat().st_mtime_ns, file.stat().st_size) for file in files)
    plain = to_score and _is_plain(location)
    key = ("weights", str(location), dtype, stamps, plain)
    return load_once(key, lambda: _load_or_say(location, dtype, plain))


def _is_plain(location: str | Path) -> bool:
    from sklfusion.llm._plain_llama import loads_plainly

    return loads_plainly(location)


def _load_or_say(location: str | Path, dtype: str, plain: bool) -> tuple[Any, Any]:
    try:
        return (_load_plainly if plain else _load_weights)(location, dtype)
    except Exception as error:
        raise ModelLoadError(
            f"transformers cannot load a causal language model from {str(location)!r}: "
            f"{type(error).__name__}: {str(error)[:300]}"
        ) from None


def _load_plainly(location: str | Path, dtype: str) -> tuple[Any, Any]:
    import torch

    from sklfusion.llm._plain_llama import PlainLlama, PlainTokenizer

    return PlainLlama(location, getattr(torch, dtype), _device()), PlainTokenizer(location)


def _device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _load_weights(location: str | Path, dtype: str) -> tuple[Any, Any]:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        tokenizer = AutoTokenizer.from_pretrained(location)
        model = AutoModelForCausalLM.from_pretrained(location, dtype=getattr(torch, dtype))
    finally:
        if bars:
            logging.enable_progress_bar()
    return model.to(_device()), tokenizer


class CausalLM:
    """A model with its tokenizer; what answering requests and scoring states have in common.

    Parameters
    ----------
    model : transformers causal LM
        On any device.
    tokenizer : transformers tokenizer
        Its tokenizer.
    name : str
        What the reply store knows it by.
    """

    def __init__(self, model: Any, tokenizer: Any, name: str) -> None:
        self.model = model.eval()
        self.tokenizer = tokenizer
        self.name = name
        ends = model.generation_config.eos_token_id
        self._ends = set(ends if isinstance(ends, list) else [ends]) - {None}

    def tokenize(self, text: str) -> list[int]:
        """Return the ids of a text, without special tokens."""
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of some ids."""
        return str(self.tokenizer.decode(ids))

    def token_bytes(self, token: int) -> bytes:
        """Return the bytes of a token: its text, or its vocabulary entry for half a character."""
        entry = str(self.tokenizer.convert_ids_to_tokens(token))
        text = self.decode([token])
        if "\ufffd" in text:
            return entry_bytes(entry)
        # Decoded alone, a token may lose the space before it.
        space = " " if entry[:1] in _SPACE_MARKS and not text.startswith(" ") else ""
        return f"{space}{text}".encode("utf-8", "replace")

    def first_tokens(self, words: Iterable[str]) -> set[int]:
        """Return the first token of every word, with and without a space before it."""
        found = set()
        for word in words:
            for text in (word, " " + word):
                # A tokenizer may split the space off; the token after it is then meant.
                found.update([i for i in self.tokenize(text) if self.decode([i]).strip()][:1])
        return found
