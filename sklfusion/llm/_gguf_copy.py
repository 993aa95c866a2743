"""A GGUF file as a transformers folder: converted once, kept beside the replies."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

from sklfusion._optional import import_optional
from sklfusion.exceptions import ModelLoadError

_PURPOSE = "Reading a GGUF file in transformers"
# What the two libraries call the weights of a Llama: whole ones, and those of a block.
_LLAMA_NAMES = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}
_LLAMA_BLOCK = re.compile(r"blk\.(\d+)\.(\w+)\.weight")
_LLAMA_PARTS = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def transformers_folder(model: str, cache_dir: str | os.PathLike[str] | None) -> tuple[Path, str]:
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
    from transformers import AutoConfig, AutoTokenizer
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

    import_optional("gguf", extra="local", purpose=_PURPOSE)
    options = {"gguf_file": path.name}
    tokenizer = AutoTokenizer.from_pretrained(path.parent, **options)
    config = AutoConfig.from_pretrained(path.parent, **options)
    weights = _llama_weights(path, config) if config.model_type == "llama" else None
    weights = weights or _any_weights(path)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save_pretrained(folder)
    if config.tie_word_embeddings:
        weights.pop("lm_head.weight", None)
    # save_pretrained refuses a model that came from GGUF, although its weights are plain floats.
    partial = folder / f"model.{os.getpid()}.partial"  # two processes may convert at once
    save_file(weights, partial, metadata={"format": "pt"})
    partial.replace(folder / "model.safetensors")
    described = config.to_dict()
    described.pop("quantization_config", None)
    described["architectures"] = [MODEL_FOR_CAUSAL_LM_MAPPING[type(config)].__name__]
    described["dtype"] = str(torch.float32).removeprefix("torch.")
    partial.write_text(json.dumps(described, default=str), encoding="utf-8")
    partial.replace(folder / "config.json")


def _any_weights(path: Path) -> dict[str, Any]:
    """Read the weights of any architecture that transformers knows; slow."""
    import torch
    from transformers import AutoModelForCausalLM

    import_optional("accelerate", extra="local", purpose=_PURPOSE)
    model = AutoModelForCausalLM.from_pretrained(
        path.parent, gguf_file=path.name, dtype=torch.float32
    )
    return {name: tensor.contiguous() for name, tensor in model.state_dict().items()}


def _llama_weights(path: Path, config: Any) -> dict[str, Any] | None:
    """Read the weights of a Llama in a tenth of the time; None if it has others than known."""
    import torch
    from gguf import GGUFReader
    from gguf.quants import dequantize

    weights = {}
    for tensor in GGUFReader(str(path)).tensors:
        name = _LLAMA_NAMES.get(tensor.name)
        block = _LLAMA_BLOCK.fullmatch(tensor.name)
        if block and block[2] in _LLAMA_PARTS:
            name = f"model.layers.{block[1]}.{_LLAMA_PARTS[block[2]]}.weight"
        if name is None:
            return None
        values = dequantize(tensor.data, tensor.tensor_type).astype("float32", copy=False)
        heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}
        if block and block[2] in heads:
            # llama.cpp turns neighbouring rows of a head together, transformers its two halves.
            pairs = values.reshape(heads[block[2]], -1, 2, values.shape[1])
            values = pairs.swapaxes(1, 2).reshape(values.shape)
        weights[name] = torch.from_numpy(values.copy())
    return weights
