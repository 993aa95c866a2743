"""Where a model of this process lies: found, named and not yet loaded."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from sklfusion.exceptions import ModelLoadError


@dataclass(frozen=True)
class LocalSpec:
    """A local model that was found but not loaded.

    Parameters
    ----------
    kind : {"gguf", "transformers"}
        Which runtime reads it.
    location : str
        File, folder or hub id.
    name : str
        What the reply store knows it by: an alias, a hub id, or a name with a digest of the
        weights, so that a folder may move and must not change.
    """

    kind: str
    location: str
    name: str


def find_local(model: str) -> LocalSpec:
    """Find a local model: an alias of an embedded one, a file, a folder, or a hub id.

    Parameters
    ----------
    model : str
        What follows ``local/``.

    Raises
    ------
    ModelLoadError
        If it is a path that does not exist, or an embedded model that is not installed.
    """
    from sklfusion.models import EMBEDDED_MODELS, file_digest, find_model

    if model in EMBEDDED_MODELS:
        if EMBEDDED_MODELS[model].kind != "llm":
            raise ModelLoadError(f"{model!r} is an encoder; a scorer needs a language model.")
        return LocalSpec("gguf", str(find_model(model)), model)
    path = Path(model).expanduser()
    if path.is_file():
        return LocalSpec("gguf", str(path), f"{path.stem}@{file_digest(path)[:16]}")
    if path.is_dir():
        weights = sorted([*path.glob("*.safetensors"), *path.glob("*.bin"), path / "config.json"])
        digests = [file_digest(file)[:16] for file in weights if file.is_file()]
        if not digests:
            raise ModelLoadError(f"The folder {path} holds no model (no config.json, no weights).")
        digest = hashlib.sha256("".join(digests).encode()).hexdigest()
        return LocalSpec("transformers", str(path), f"{path.name}@{digest[:16]}")
    if model.startswith((".", "~", "/")) or model.count("/") != 1:
        known = [name for name, m in EMBEDDED_MODELS.items() if m.kind == "llm"]
        raise ModelLoadError(
            f"local/{model} is no embedded model ({', '.join(known)}), no file and no folder on "
            "this machine, and no hub id of the form 'local/owner/name'."
        )
    return LocalSpec("transformers", model, model)
