"""Find an encoder, say what it is without loading it, and load it once per process."""

import hashlib
import inspect
import json
import os
import threading
from collections import OrderedDict
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoConfig, AutoModel, AutoTokenizer

from sklfusion._dtype import has_bfloat16
from sklfusion.exceptions import ModelLoadError
from sklfusion.models import EMBEDDED_MODELS, file_digest, find_model

_WEIGHT_PATTERNS = ("*.safetensors", "pytorch_model*.bin")
_TOKENIZER_PATTERNS = ("tokenizer.json", "vocab.*", "merges.txt", "*.model")
_POOLING_FILE = "1_Pooling/config.json"
_KEEP_LOADED = 2

_shared: OrderedDict = OrderedDict()
_lock = threading.RLock()


def _after_fork():
    # The lock may have been held by a thread that does not exist in the child.
    global _lock
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


@dataclass
class Backbone:
    """A loaded encoder with what is needed to use it right."""

    tokenizer: Any
    model: Any
    digest: str
    width: int
    max_positions: int
    pooling: str
    inputs: frozenset
    pad_id: int
    lock: object

    @property
    def device(self):
        return next(self.model.parameters()).device

    def __getstate__(self):
        return {name: value for name, value in self.__dict__.items() if name != "lock"}

    def __setstate__(self, state):
        self.__dict__.update(state, lock=threading.Lock())


@dataclass(frozen=True)
class Description:
    """What is known of an encoder before its weights are loaded."""

    digest: str
    width: int


def resolve_device(device):
    """Return a torch.device; "auto" takes the accelerator where there is one."""
    if isinstance(device, torch.device):
        return device
    if device != "auto":
        try:
            return torch.device(device)
        except (RuntimeError, TypeError) as error:
            raise ValueError(f"device={device!r} is no torch device: {error}") from error
    if torch.accelerator.is_available():
        return torch.device(torch.accelerator.current_accelerator().type)
    return torch.device("cpu")


def resolve_dtype(dtype, device):
    """Return a torch dtype; "auto" is half precision where the hardware multiplies it.

    On a CPU without the unit for it, bfloat16 is about four times slower than float32.
    """
    known = ("float32", "float16", "bfloat16", "auto")
    if dtype not in known:
        raise ValueError(f"dtype={dtype!r}; it must be one of {', '.join(known)}.")
    on_cpu = device.type == "cpu"
    if dtype == "auto":
        if on_cpu:
            return torch.bfloat16 if has_bfloat16() else torch.float32
        bf16 = device.type != "cuda" or torch.cuda.is_bf16_supported()
        return torch.bfloat16 if bf16 else torch.float16
    if on_cpu and (dtype == "float16" or (dtype == "bfloat16" and not has_bfloat16())):
        raise ValueError(
            f"dtype={dtype!r} on a CPU without a unit for it, as here, is several times slower "
            "than float32. Use dtype='auto' for half precision where the hardware has it, or "
            "dtype='float32'."
        )
    return getattr(torch, dtype)


def locate(model):
    """Return ``(source, is_folder, named)`` for an alias, a folder or a hub id.

    `named` says whether the name alone is enough to find the model again elsewhere.
    """
    if isinstance(model, str) and model in EMBEDDED_MODELS:
        if EMBEDDED_MODELS[model].kind != "encoder":
            raise ModelLoadError(
                f"{model!r} is a language model, not an encoder. Use it in LLMScorer"
                f"(model='local/{model}'); embedded encoders are {', '.join(_encoders())}."
            )
        return find_model(model), True, True
    if not isinstance(model, str | os.PathLike) or not str(model):
        raise ModelLoadError(
            f"model={model!r} ({type(model).__name__}); it must be the alias of an embedded model "
            f"({', '.join(_encoders())}), a folder, or a hub id."
        )
    folder = Path(model).expanduser()
    if folder.is_dir():
        return folder, True, False
    if isinstance(model, os.PathLike) or model.startswith((".", "/", "~")):
        raise ModelLoadError(f"there is no folder {str(folder)!r}. Check the path of the model.")
    return model, False, True


def _encoders():
    return [name for name, model in EMBEDDED_MODELS.items() if model.kind == "encoder"]


def describe(model, revision=None):
    """Return the `Description` of an encoder, without its weights where it lies in a folder."""
    source, is_folder, _ = locate(model)
    if not is_folder:
        backbone = load_backbone(model, revision)
        return Description(backbone.digest, backbone.width)
    with _loading(model, source):
        config = AutoConfig.from_pretrained(str(source))
    return Description(folder_digest(source), _width(config))


def load_backbone(model, revision=None, *, device="cpu", dtype=torch.float32, shared=True):
    """Load tokenizer and weights.

    Parameters
    ----------
    model : str or Path
        Alias, folder or hub id.
    revision : str or None
        Branch, tag or commit of a hub id.
    device : torch.device or str
        Where the weights go.
    dtype : torch.dtype
        Precision of the weights.
    shared : bool
        Whether this process may hand the same object to others. Clones in a grid search would
        otherwise each load it. A model that is to be trained must not be shared.
    """
    source, is_folder, _ = locate(model)
    device = torch.device(device)
    version = folder_digest(source) if is_folder else revision
    key = (str(source), version, str(device), dtype)
    with _lock:
        if shared and key in _shared:
            _shared.move_to_end(key)
            return _shared[key]
        backbone = _load_checked(model, source, None if is_folder else revision, device, dtype)
        if shared:
            _shared[key] = backbone
            while len(_shared) > _KEEP_LOADED:
                _shared.popitem(last=False)
        return backbone


def _load_checked(model, source, revision, device, dtype):
    options = {} if revision is None else {"revision": revision}
    with _loading(model, source):
        config = AutoConfig.from_pretrained(str(source), **options)
        tokenizer = AutoTokenizer.from_pretrained(str(source), **options)
        # Without dtype= transformers takes the precision of the file, which may be half.
        net = AutoModel.from_pretrained(str(source), dtype=dtype, **options)
        folder = source if isinstance(source, Path) else _snapshot(source, config)
    net = net.eval().to(device)
    return Backbone(
        tokenizer=tokenizer,
        model=net,
        digest=folder_digest(folder),
        width=_width(config),
        max_positions=max_positions(net, tokenizer),
        pooling=declared_pooling(folder),
        inputs=_inputs(net, config),
        pad_id=_pad_id(config, tokenizer),
        lock=threading.Lock(),
    )


def empty_backbone(folder, inputs, pad_id, n_weights):
    """Backbone of the architecture in `folder`, with `n_weights` weights still to be filled in.

    A configuration that asks for more of them than there are is refused before they take memory.
    """
    with _loading(folder, Path(folder)):
        config = AutoConfig.from_pretrained(str(folder))
        with torch.device("meta"):
            asked = sum(p.numel() for p in AutoModel.from_config(config).parameters())
        if asked > n_weights:
            raise ValueError(f"its configuration asks for {asked} weights; {n_weights} are there")
        tokenizer = AutoTokenizer.from_pretrained(str(folder))
        with torch.random.fork_rng(devices=[]):  # weights are drawn, and then overwritten
            net = AutoModel.from_config(config, dtype=torch.float32).eval()
    return Backbone(
        tokenizer=tokenizer,
        model=net,
        digest="",
        width=_width(config),
        max_positions=max_positions(net, tokenizer),
        pooling="mean",
        inputs=frozenset(inputs),
        pad_id=pad_id,
        lock=threading.Lock(),
    )


def _snapshot(hub_id, config):
    """Folder of a hub model in the local hub cache."""
    from transformers.utils import cached_file

    options = {"revision": config._commit_hash, "_raise_exceptions_for_missing_entries": False}
    cached_file(hub_id, _POOLING_FILE, **options)  # fetched if the model has one
    return Path(cached_file(hub_id, "config.json", revision=config._commit_hash)).parent


def model_folder(model, revision=None):
    """Folder in which the files of an encoder lie, hub cache included."""
    source, is_folder, _ = locate(model)
    if is_folder:
        return source
    options = {} if revision is None else {"revision": revision}
    with _loading(model, source):
        return _snapshot(source, AutoConfig.from_pretrained(source, **options))


def folder_digest(folder):
    """Digest of the files that decide the vectors: configuration, tokenizer, weights."""
    folder = Path(folder)
    files = [folder / "config.json", folder / _POOLING_FILE]
    # A folder may hold the same weights, or the same tokenizer, in two formats.
    for pattern in _WEIGHT_PATTERNS:
        if found := sorted(folder.glob(pattern)):
            files += found
            break
    for pattern in _TOKENIZER_PATTERNS:
        found = sorted(folder.glob(pattern))
        files += found
        if found and pattern == "tokenizer.json":
            break
    digest = hashlib.sha256()
    for file in files:
        if file.is_file():
            digest.update(f"{file.name}:{file_digest(file)};".encode())
    return digest.hexdigest()


def max_positions(net, tokenizer):
    """Longest input in tokens, special tokens included.

    RoBERTa and its kin number positions from ``padding_idx + 1``, so that a table of 514 rows
    holds 512 tokens; reading the table tells it for all of them.
    """
    limits = []
    for name, module in net.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, torch.nn.Embedding):
            offset = 0 if module.padding_idx is None else module.padding_idx + 1
            limits.append(module.num_embeddings - offset)
    if not limits:  # rotary or relative positions: no table that could overflow
        limits.append(getattr(net.config, "max_position_embeddings", None) or 0)
    limits.append(getattr(tokenizer, "model_max_length", 0) or 0)
    limits = [limit for limit in limits if 0 < limit < 10**9]
    return min(limits, default=512)


def declared_pooling(folder):
    """Pooling that a sentence model's own file asks for; "mean" where there is none.

    Also for RoBERTa: its first token was never trained to stand for the text, so before
    fine-tuning the mean is the better vector.
    """
    file = Path(folder) / _POOLING_FILE
    if file.is_file():
        options = json.loads(file.read_text())
        for pooling, key in (("cls", "cls_token"), ("max", "max_tokens"), ("mean", "mean_tokens")):
            if options.get(f"pooling_mode_{key}"):
                return pooling
    return "mean"


def _width(config):
    width = getattr(config, "hidden_size", None) or getattr(config, "d_model", None)
    if width is None:
        raise ModelLoadError(
            f"the configuration {type(config).__name__} has no hidden_size; it is no text encoder."
        )
    return int(width)


def _inputs(net, config):
    accepted = set(inspect.signature(net.forward).parameters)
    if getattr(config, "type_vocab_size", 0) < 2:  # RoBERTa has one row; an id of 1 overflows it
        accepted.discard("token_type_ids")
    return frozenset(accepted & {"input_ids", "attention_mask", "token_type_ids"})


def _pad_id(config, tokenizer):
    # RoBERTa derives positions from the model's padding id, so the model's has precedence.
    for holder in (config, tokenizer):
        pad_id = getattr(holder, "pad_token_id", None)
        if pad_id is not None:
            return int(pad_id)
    return 0


@contextmanager
def _loading(model, source):
    """Silence transformers' bars and reports; turn its many errors into one."""
    log = transformers.utils.logging
    bars, level = log.is_progress_bar_enabled(), log.get_verbosity()
    log.disable_progress_bar()
    log.set_verbosity_error()
    try:
        yield
    except ModelLoadError:
        raise
    except Exception as error:  # from OSError to KeyError, by version and by what is wrong
        raise ModelLoadError(_load_message(model, source, error)) from error
    finally:
        log.set_verbosity(level)
        if bars:
            log.enable_progress_bar()


def _load_message(model, source, error):
    reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
    if isinstance(source, Path):
        return (
            f"the folder {str(source)!r} holds no encoder that transformers can load "
            f"({type(error).__name__}: {reason}). It needs config.json, a tokenizer and weights, "
            "as written by save_pretrained of both the model and its tokenizer."
        )
    offline = " HF_HUB_OFFLINE is set." if os.environ.get("HF_HUB_OFFLINE") else ""
    return (
        f"cannot load the encoder {model!r} ({type(error).__name__}: {reason}). It is neither an "
        f"embedded model ({', '.join(_encoders())}: sklfusion models install) nor a folder here. "
        "As a hub id it may be misspelt, it may be private (log in first), or the hub cannot be "
        f"reached from here.{offline}"
    )
