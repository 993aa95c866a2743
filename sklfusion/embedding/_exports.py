"""Exported encoders on disk: one ONNX file per weights and pooling, and what was found out."""

import atexit
import hashlib
import json
import logging
import os
import tempfile
import threading
import warnings
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from sklfusion._fork import ForkLock
from sklfusion._memory import memory_folder
from sklfusion._optional import import_optional
from sklfusion.exceptions import CacheError, CacheWarning, ModelLoadError

_EXPORT_FORMAT = 1  # raise when the exported graph changes
_MOST_BYTES = 1_900_000_000  # an ONNX file holds less than 2 GiB
_lock = ForkLock()
_substitutes: dict[Path, tempfile.TemporaryDirectory] = {}  # of folders that cannot be written


class Exports:
    """The exported copy of one encoder.

    Parameters
    ----------
    memory : None, str, Path or joblib.Memory
        Where it is kept, in a folder ``encoders``; None is the user's cache folder.
    digest : str
        Digest of the encoder's files.
    pooling : str
        Pooling as it was asked for.
    normalize : bool
        Whether the graph scales vectors to length 1.
    """

    def __init__(self, memory, digest, pooling, normalize):
        import torch
        import transformers

        base = memory_folder(memory) or _user_cache()
        self.folder = base / "encoders"
        parts = [_EXPORT_FORMAT, digest, pooling, bool(normalize)]
        parts += [torch.__version__, transformers.__version__]
        self.name = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]

    def file(self, write):
        """Path of the ONNX file; `write` (a function of a path) makes one that is missing or bad.

        Raises
        ------
        CacheError
            If it can be written nowhere.
        """
        with _lock:
            for folder in self._places():
                path = folder / f"{self.name}.onnx"
                if path.is_file() and _sha256_of(path) == self._record(folder).get("sha256"):
                    return path
            try:
                return self._write(self.folder, write)
            except OSError as error:
                return self._write_elsewhere(write, error)

    def note(self, **values):
        """Keep what was found out about the export; lost where nothing can be written."""
        with suppress(OSError):
            self._note(self._home(), values)

    def recall(self, name):
        """What `note` kept under that name, or None."""
        return self._record(self._home()).get(name)

    def _home(self):
        return self._places()[-1]

    def _places(self):
        other = _substitutes.get(self.folder)
        return [self.folder] if other is None else [self.folder, Path(other.name)]

    def _write(self, folder, write):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = folder / f"{self.name}.onnx"
        partial = folder / f"{self.name}.{os.getpid()}-{threading.get_ident()}.partial"
        try:
            write(partial)
            digest = _sha256_of(partial)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
        # what was measured of an earlier file says nothing about this one
        self._replace(folder, {"sha256": digest})
        return path

    def _write_elsewhere(self, write, error):
        """Write into a folder that lives as long as the process."""
        why = error.strerror or error
        warnings.warn(
            f"the exported encoder cannot be kept in {self.folder} ({why}); it is made for this "
            "process only. Free or name a folder that can be written (memory=).",
            CacheWarning,
            stacklevel=5,
        )
        try:
            if self.folder not in _substitutes:
                holder = tempfile.TemporaryDirectory(prefix="sklfusion-")
                atexit.register(holder.cleanup)
                _substitutes[self.folder] = holder
            return self._write(Path(_substitutes[self.folder].name), write)
        except OSError as second:
            raise CacheError(
                f"the exported encoder can be written neither to {self.folder} ({why}) nor to a "
                f"temporary folder ({second.strerror or second}). Free some space, or use "
                "backend='torch'."
            ) from second

    def _record(self, folder) -> dict[str, Any]:
        try:
            found = json.loads((folder / f"{self.name}.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def _note(self, folder, values):
        with _lock:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._replace(folder, self._record(folder) | values)

    def _replace(self, folder, record):
        partial = folder / f"{self.name}.{os.getpid()}-{threading.get_ident()}.json.partial"
        partial.write_text(json.dumps(record, indent=1), encoding="utf-8")
        partial.replace(folder / f"{self.name}.json")


def _user_cache():
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "sklfusion"


def _sha256_of(path):
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def export(backbone, pooling, normalize, path):
    """Write an encoder with pooling (and scaling) as ONNX; any batch, any length.

    Takes some seconds for an encoder of 23 M parameters.

    Raises
    ------
    ImportError
        If the packages for it are not installed.
    ModelLoadError
        If torch cannot export this architecture, or it is too large for one file.
    """
    import torch

    for package in ("onnx", "onnxscript"):
        import_optional(package, extra="onnx", purpose="Exporting an encoder")
    n_bytes = sum(p.numel() * p.element_size() for p in backbone.model.parameters())
    if n_bytes > _MOST_BYTES:
        raise ModelLoadError(
            f"this encoder has {n_bytes / 1e9:.1f} GB of weights; an ONNX file holds less than 2. "
            "Use backend='torch'."
        )
    example = torch.ones((2, 8), dtype=torch.int64) * (backbone.pad_id + 1)
    any_size = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
    names = ["input_ids", "attention_mask"]
    try:
        with _quiet(), torch.no_grad():
            program = torch.onnx.export(
                _Graph(backbone, pooling, normalize).eval(),
                (example, torch.ones_like(example)),
                dynamo=True,
                dynamic_shapes=dict.fromkeys(names, any_size),
                input_names=names,
                output_names=["vectors"],
                verbose=False,
            )
            program.save(str(path), external_data=False)
    except OSError:
        raise
    except Exception as error:  # of torch.export or onnxscript, by what they cannot translate
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise ModelLoadError(
            f"torch cannot export this encoder ({type(error).__name__}: {reason}). Use "
            "backend='torch'."
        ) from error


def _Graph(backbone, pooling, normalize):
    """The module that is exported: encoder, pooling, scaling."""
    import torch

    from sklfusion.embedding._encode import pooled

    class Graph(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder = backbone.model

        def forward(self, input_ids, attention_mask):
            vectors = pooled(self.encoder, backbone.inputs, input_ids, attention_mask, pooling)
            return torch.nn.functional.normalize(vectors, dim=1) if normalize else vectors

    return Graph()


@contextmanager
def _quiet():
    """Without what exporter and tracer say of packages that an encoder does not need."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)
