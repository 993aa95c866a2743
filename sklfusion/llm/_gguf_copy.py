"""A GGUF file as a transformers folder: converted once, kept beside the replies."""

from __future__ import annotations

import json
import os
from pathlib import Path

from sklfusion._optional import import_optional
from sklfusion.exceptions import ModelLoadError


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
