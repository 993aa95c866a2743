"""Where a model of this process lies: found, named and not yet loaded."""

from __future__ import annotations

import hashlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path

from sklfusion.exceptions import ModelLoadError

_KINDS_OF_NUMBER = ("gguf", "fp32", "bf16")


@dataclass(frozen=True)
class LocalSpec:
    """A local model that was found but not loaded.

    Parameters
    ----------
    numbers : {"gguf", "fp32", "bf16"}
        What it computes with: a GGUF file's own numbers in llama.cpp, or float32 or bfloat16 in
        transformers.
    location : str
        File, folder or hub id.
    name : str
        What the reply store knows it by: an alias, a hub id, or a name with a digest of the
        weights, so that a folder may move and must not change. Scores of other numbers differ,
        so they have another name.
    """

    numbers: str
    location: str
    name: str

    @property
    def dtype(self) -> str:
        """torch's name of the numbers."""
        return {"fp32": "float32", "bf16": "bfloat16"}[self.numbers]

    def folder(self) -> str:
        """Return what transformers reads; a GGUF file is converted once."""
        if not Path(self.location).is_file():
            return self.location
        from sklfusion.llm._gguf_copy import transformers_folder

        return str(transformers_folder(self.location, None)[0])


def find_local(model: str, numbers: str | None = None) -> LocalSpec:
    """Find a local model: an alias of an embedded one, a file, a folder, or a hub id.

    Parameters
    ----------
    model : str
        What follows ``local/``. It may end in what to compute with: ``:gguf``, ``:fp32`` or
        ``:bf16``.
    numbers : {"gguf", "fp32", "bf16"}, optional
        What to compute with where the name does not say it. By default what is quickest here:
        llama.cpp for GGUF files except the embedded model, which transformers reads quicker, in
        bfloat16 where the processor has the unit, and float32 elsewhere.

    Raises
    ------
    ModelLoadError
        If it is a path that does not exist, or an embedded model that is not installed.
    """
    from sklfusion.models import EMBEDDED_MODELS, find_model

    base, _, said = model.rpartition(":")
    model, numbers = (base, said) if base and said in _KINDS_OF_NUMBER else (model, numbers)
    if model in EMBEDDED_MODELS:
        if EMBEDDED_MODELS[model].kind != "llm":
            raise ModelLoadError(f"{model!r} is an encoder; a scorer needs a language model.")
        numbers = numbers or (_quick_numbers() if _can_convert() else "gguf")
        return _spec(numbers, find_model(model), model, plain="gguf")
    path = Path(model).expanduser()
    if path.is_file():
        return _spec(numbers or "gguf", path, _named_file(path), plain="gguf")
    if numbers == "gguf":
        numbers = "fp32"  # what was fitted with another model
    if path.is_dir():
        return _spec(numbers or _quick_numbers(), path, _named_folder(path), plain="fp32")
    if model.startswith((".", "~", "/")) or model.count("/") != 1:
        known = [name for name, m in EMBEDDED_MODELS.items() if m.kind == "llm"]
        raise ModelLoadError(
            f"local/{model} is no embedded model ({', '.join(known)}), no file and no folder on "
            "this machine, and no hub id of the form 'local/owner/name'."
        )
    return _spec(numbers or _quick_numbers(), model, model, plain="fp32")


def _spec(numbers: str, location: Path | str, name: str, *, plain: str) -> LocalSpec:
    """Name a model by its numbers too, except those that it has always been read with."""
    return LocalSpec(numbers, str(location), name if numbers == plain else f"{name}:{numbers}")


def _quick_numbers() -> str:
    from sklfusion._dtype import has_bfloat16

    return "bf16" if has_bfloat16() else "fp32"


def _can_convert() -> bool:
    """Tell whether a GGUF file can be read in transformers."""
    return importlib.util.find_spec("gguf") is not None


def _named_file(path: Path) -> str:
    from sklfusion.models import file_digest

    return f"{path.stem}@{file_digest(path)[:16]}"


def _named_folder(path: Path) -> str:
    from sklfusion.models import file_digest

    weights = sorted([*path.glob("*.safetensors"), *path.glob("*.bin"), path / "config.json"])
    digests = [file_digest(file)[:16] for file in weights if file.is_file()]
    if not digests:
        raise ModelLoadError(f"The folder {path} holds no model (no config.json, no weights).")
    digest = hashlib.sha256("".join(digests).encode()).hexdigest()
    return f"{path.name}@{digest[:16]}"
