"""A causal language model in this process, with its states at hand."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np

from sklfusion._optional import import_optional
from sklfusion.exceptions import ModelLoadError

_PACKED_TOKENS = 512


class CausalLM:
    """A transformers causal language model that keeps the state of what it has read.

    There is one key-value cache. ``read`` extends it, ``rewind`` cuts it back, and ``branch``
    looks at several continuations of the same state in one forward pass: they are packed into
    one sequence, a tree whose attention mask hides its branches from each other. So a shared
    beginning is computed once, for all texts, for all questions about a text, and for questions
    that begin alike.

    Parameters
    ----------
    model : transformers causal LM
        In float32, on any device.
    tokenizer : transformers tokenizer
        Its tokenizer.
    name : str
        Name in cache keys.

    Attributes
    ----------
    tokens_computed : int
        Tokens that went through the model so far.
    """

    def __init__(self, model: Any, tokenizer: Any, name: str) -> None:
        self.model = model.eval()
        self.tokenizer = tokenizer
        self.name = name
        self.tokens_computed = 0
        ends = model.generation_config.eos_token_id
        self._ends = set(ends if isinstance(ends, list) else [ends]) - {None}
        self._cache: Any = None
        self._hidden: Any = None

    @classmethod
    def load(
        cls, model: str = "smollm2-135m", *, cache_dir: str | os.PathLike[str] | None = None
    ) -> Self:
        """Load an embedded model, a GGUF file or a transformers folder.

        A GGUF file takes a minute to read in transformers, so it is converted once and the copy
        (540 MB for the embedded model) kept under ``cache_dir``.

        Raises
        ------
        ModelLoadError
            If it is not there or cannot be read.
        """
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer
        from transformers.utils import logging

        folder, name = _model_folder(model, cache_dir)
        bars = logging.is_progress_bar_enabled()
        logging.disable_progress_bar()
        try:
            tokenizer = AutoTokenizer.from_pretrained(folder)
            loaded = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        except Exception as error:
            raise ModelLoadError(
                f"transformers cannot load a causal language model from {folder}: "
                f"{type(error).__name__}: {str(error)[:300]}"
            ) from None
        finally:
            if bars:
                logging.enable_progress_bar()
        return cls(loaded, tokenizer, name)

    @property
    def length(self) -> int:
        """Number of tokens in the state."""
        return 0 if self._cache is None else self._cache.get_seq_length()

    @property
    def hidden(self) -> np.ndarray[Any, Any]:
        """Last hidden state at the last token read, shape (D,), float32."""
        return np.asarray(self._hidden.float().cpu())

    def tokenize(self, text: str) -> list[int]:
        """Return the ids of a text, without special tokens."""
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of some ids."""
        return str(self.tokenizer.decode(ids))

    def read(self, ids: Sequence[int]) -> None:
        """Extend the state by some tokens."""
        import torch
        from transformers import DynamicCache

        if self._cache is None:
            self._cache = DynamicCache()
        with torch.inference_mode():
            out = self._forward(torch.tensor([list(ids)], device=self.model.device))
        self._hidden = out.last_hidden_state[0, -1]
        self.tokens_computed += len(ids)

    def rewind(self, length: int) -> None:
        """Forget all but the first ``length`` tokens."""
        if length == 0:
            self._cache = None
        elif self._cache is not None and length < self.length:
            self._cache.crop(length - self.length)  # negative: how many to drop

    def branch(self, continuations: Sequence[Sequence[int]]) -> np.ndarray[Any, Any]:
        """Return the hidden state after each continuation, shape (m, D); the state stays.

        What continuations begin with alike is computed once.

        Parameters
        ----------
        continuations : list of m lists of ids
        """
        rows, tree = [], _TokenTree()
        for ids in continuations:
            if len(tree) and len(tree) + len(ids) > _PACKED_TOKENS:
                rows.append(self._branch_packed(tree))
                tree = _TokenTree()
            tree.add(ids)
        return np.concatenate([*rows, self._branch_packed(tree)])

    def _branch_packed(self, tree: _TokenTree) -> np.ndarray[Any, Any]:
        import torch

        past = self.length
        visible = torch.from_numpy(tree.visible())
        place = visible.sum(dim=1) - 1
        visible = torch.cat([torch.ones(len(tree), past, dtype=torch.bool), visible], dim=1)
        hidden_score = torch.finfo(self.model.dtype).min
        mask = torch.zeros(visible.shape, dtype=self.model.dtype).masked_fill(
            ~visible, hidden_score
        )
        device = self.model.device
        with torch.inference_mode():
            out = self._forward(
                torch.tensor([tree.tokens], device=device),
                attention_mask=mask[None, None].to(device),
                position_ids=(past + place)[None].to(device),
            )
        self.rewind(past)
        self.tokens_computed += len(tree)
        return np.asarray(out.last_hidden_state[0, tree.ends].float().cpu())

    def _forward(self, tokens: Any, **kwargs: Any) -> Any:
        return self.model.base_model(
            input_ids=tokens, past_key_values=self._cache, use_cache=True, **kwargs
        )

    def logits(self, hidden: Any, ids: Any = None) -> np.ndarray[Any, Any]:
        """Return logits of hidden states (..., D), of some tokens or of the whole vocabulary."""
        weight = self._output_weight
        weight = weight if ids is None else weight[np.asarray(ids)]
        return np.asarray(np.matmul(hidden, weight.T))

    @cached_property
    def _output_weight(self) -> np.ndarray[Any, Any]:
        weight = self.model.get_output_embeddings().weight.detach()
        return np.asarray(weight.float().cpu())

    def generate(
        self, max_tokens: int, stop: str = "\n"
    ) -> tuple[list[str], list[int], list[np.ndarray[Any, Any]]]:
        """Continue greedily and return (token texts, ids, logits before each token).

        Ends at the end token, after a token that contains ``stop``, or after ``max_tokens``.
        The state is rewound to where it was.
        """
        texts: list[str] = []
        ids: list[int] = []
        steps: list[np.ndarray[Any, Any]] = []
        start, hidden = self.length, self._hidden
        while len(ids) < max_tokens:
            logits = self.logits(self.hidden)
            token = int(logits.argmax())
            if token in self._ends:
                break
            texts.append(self.decode([token]))
            ids.append(token)
            steps.append(logits)
            if stop in texts[-1] or len(ids) == max_tokens:
                break
            self.read([token])
        self.rewind(start)
        self._hidden = hidden
        return texts, ids, steps


class _TokenTree:
    """Continuations of one state, merged where they begin alike."""

    def __init__(self) -> None:
        self.tokens: list[int] = []
        self.ends: list[int] = []
        self._parents: list[int] = []
        self._nodes: dict[tuple[int, int], int] = {}

    def __len__(self) -> int:
        return len(self.tokens)

    def add(self, ids: Sequence[int]) -> None:
        node = -1
        for token in ids:
            key = (node, token)
            if key not in self._nodes:
                self._nodes[key] = len(self.tokens)
                self.tokens.append(token)
                self._parents.append(node)
            node = self._nodes[key]
        self.ends.append(node)

    def visible(self) -> np.ndarray[Any, Any]:
        """Each token sees itself and what led to it, as a boolean matrix."""
        seen = np.eye(len(self.tokens), dtype=bool)
        for node, parent in enumerate(self._parents):  # parents come first
            if parent >= 0:
                seen[node] |= seen[parent]
        return seen


def _model_folder(model: str, cache_dir: str | os.PathLike[str] | None) -> tuple[Path, str]:
    """Return the transformers folder of a model and its name, converting a GGUF file once."""
    from sklfusion.models import EMBEDDED_MODELS, file_digest, find_model

    path = find_model(model) if model in EMBEDDED_MODELS else Path(model).expanduser()
    if path.is_dir():
        return path, path.name
    if not path.is_file():
        raise ModelLoadError(
            f"{model!r} is no embedded model ({', '.join(EMBEDDED_MODELS)}), no GGUF file and no "
            "folder of a transformers model on this machine."
        )
    digest = file_digest(path)[:16]
    name = f"{model if model in EMBEDDED_MODELS else path.stem}-{digest}"
    folder = _cache_root(cache_dir) / "converted" / name
    if not (folder / "config.json").is_file():
        _convert(path, folder)
    return folder, name


def _cache_root(cache_dir: str | os.PathLike[str] | None) -> Path:
    if cache_dir is not None:
        return Path(cache_dir).expanduser()
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "sklfusion"


def _convert(path: Path, folder: Path) -> None:
    """Write a transformers copy of a GGUF file; the config last, as the mark of completeness."""
    import torch
    from safetensors.torch import save_file
    from transformers import AutoModelForCausalLM, AutoTokenizer

    for package in ("gguf", "accelerate"):
        import_optional(package, extra="local", purpose="Reading a GGUF file in transformers")
    options = {"gguf_file": path.name}
    tokenizer = AutoTokenizer.from_pretrained(path.parent, **options)
    model = AutoModelForCausalLM.from_pretrained(path.parent, dtype=torch.float32, **options)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save_pretrained(folder)
    weights = {name: t.contiguous() for name, t in model.state_dict().items()}
    if model.config.tie_word_embeddings:
        weights.pop("lm_head.weight", None)
    # save_pretrained refuses a model that came from GGUF, although its weights are plain floats.
    partial = folder / f"model.{os.getpid()}.partial"  # two processes may convert at once
    save_file(weights, partial, metadata={"format": "pt"})
    partial.replace(folder / "model.safetensors")
    config = model.config.to_dict()
    config.pop("quantization_config", None)
    config["architectures"] = [type(model).__name__]
    config["dtype"] = "float32"
    partial.write_text(json.dumps(config, default=str), encoding="utf-8")
    partial.replace(folder / "config.json")
