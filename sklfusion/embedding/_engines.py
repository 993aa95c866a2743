"""What runs an encoder: torch, or an exported copy in ONNX Runtime or OpenVINO."""

import functools
import importlib.util
import os
import platform
import threading
import time
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from typing import Any

import numpy as np
import torch

from sklfusion._dtype import has_bfloat16
from sklfusion._fork import ForkLock
from sklfusion._optional import import_optional
from sklfusion._progress import progress_logger
from sklfusion.embedding._backbone import resolve_device, resolve_dtype
from sklfusion.embedding._encode import encode, padded, tokenize, torch_run
from sklfusion.embedding._exports import Exports, export
from sklfusion.exceptions import CacheError, ModelLoadError, SklFusionWarning

#: Back end -> the package that runs it; torch is always there.
_RUN_BY = {"onnx": "onnxruntime", "openvino": "openvino"}
#: Texts from which "auto" looks for a faster back end: to export and compare takes some 15 s,
#: which is what it saves on this many short texts.
WORTH_AN_EXPORT = 2000
_CHECKED = 16  # texts that a back end is checked on against torch
_TIMED = 64  # texts that "auto" times the back ends on
_ROUNDS = 3
#: Numeric kind -> least cosine to torch in float32 that an export must reach.
_LEAST_COSINE = {"float32": 0.9999, "bfloat16": 0.999}

# By process too: a child of a fork lacks the threads of its parent's sessions, and they stay here
# because to drop one is to wait for its threads.
_sessions: dict = {}
_opening_lock = ForkLock()


@dataclass(frozen=True)
class Engine:
    """A back end and the numeric kind that it computes in."""

    backend: str
    dtype: str

    def __str__(self):
        return f"{self.backend} {self.dtype}"


def possible(embedder):
    """Back ends that a `RobertaEmbedder` may use here, torch first or the one that it names.

    Raises
    ------
    ValueError
        If back end, device and numeric kind do not go together.
    ImportError
        If a back end is named that is not installed.
    """
    device = resolve_device(embedder.device)
    if embedder.backend in _RUN_BY:
        return [_asked_for(embedder, device)]
    dtype = str(resolve_dtype(embedder.dtype, device)).removeprefix("torch.")
    engines = [Engine("torch", dtype)]
    if embedder.backend == "auto" and device.type == "cpu" and _there("onnx", "onnxscript"):
        engines += [Engine("onnx", dtype)] * (dtype == "float32" and _there("onnxruntime"))
        engines += [Engine("openvino", dtype)] * _there("openvino")
    return engines


def _there(*packages):
    return all(map(_is_installed, packages))


@functools.cache
def _is_installed(package):
    return importlib.util.find_spec(package) is not None


def _asked_for(embedder, device):
    backend, dtype = embedder.backend, embedder.dtype
    if device.type != "cpu" and embedder.device != "auto":
        raise ValueError(
            f"backend={backend!r} runs on the CPU, but device={embedder.device!r}. Use "
            "backend='torch' or device='cpu'."
        )
    import_optional(_RUN_BY[backend], extra=backend, purpose=f"backend={backend!r}")
    known = {"onnx": ("float32",), "openvino": ("float32", "bfloat16")}[backend]
    if dtype == "auto":
        return Engine(
            backend, "bfloat16" if backend == "openvino" and has_bfloat16() else "float32"
        )
    if dtype not in known:
        raise ValueError(
            f"dtype={dtype!r} with backend={backend!r}; there it must be auto or "
            f"{' or '.join(known)}."
        )
    return Engine(backend, str(resolve_dtype(dtype, torch.device("cpu"))).removeprefix("torch."))


def exports_of(embedder):
    """Where the exported copy of a fitted `RobertaEmbedder` is kept."""
    return Exports(embedder.memory, embedder.model_digest_, embedder.pooling, embedder.normalize)


def chosen(embedder):
    """The engine of a fitted embedder, or None where "auto" has still to find the fastest."""
    engines = possible(embedder)
    if len(engines) == 1:
        return engines[0]
    told = exports_of(embedder).recall(_measured_under(engines))
    best = told.get("fastest") if isinstance(told, dict) else None
    return next((engine for engine in engines if str(engine) == best), None)


def _measured_under(engines):
    """What a measurement holds for: processor, threads, versions, back ends."""
    told = getattr(torch.cpu, "get_capabilities", dict[str, Any])().get("cpu_name")
    versions = [f"{name} {_package_version(name)}" for name in map(str, engines)]
    return f"{told or platform.processor()} {torch.get_num_threads()} threads: " + ", ".join(
        versions
    )


@functools.cache
def _package_version(name):
    backend = name.split()[0]
    return metadata.version(_RUN_BY.get(backend, backend))


def fastest(embedder, texts):
    """Time every possible engine on some of the texts, keep the outcome, return the fastest.

    An engine that cannot be made or does not give torch's vectors is told in a warning and left
    out; torch always remains.
    """
    engines = possible(embedder)
    sample = _of_all_lengths(texts, _TIMED)
    runs = {}
    for engine in engines:
        try:
            runs[engine] = runner(embedder, engine, sample)
        except (ModelLoadError, CacheError, ImportError) as error:
            warnings.warn(
                f"backend='auto' goes on without {engine}: {error}", SklFusionWarning, stacklevel=6
            )
    seconds = dict.fromkeys(runs, np.inf)
    for _ in range(_ROUNDS):
        for engine, (backbone, run) in runs.items():
            rows = tokenize(backbone, sample, embedder._length(backbone))
            start = time.perf_counter()
            encode(backbone, rows, run=run, batch_size=embedder.batch_size)
            seconds[engine] = min(seconds[engine], time.perf_counter() - start)
    best = min(seconds, key=seconds.__getitem__)
    rates = {str(engine): round(len(sample) / value, 1) for engine, value in seconds.items()}
    told = {"fastest": str(best), "texts_per_second": rates}
    exports_of(embedder).note(**{_measured_under(engines): told})
    progress_logger.info("embedding by %s; texts per second: %s", best, rates)
    return best


def _of_all_lengths(texts, n):
    """At most n of the texts, evenly from the shortest to the longest."""
    order = np.argsort([len(text) for text in texts], kind="stable")
    picks = np.unique(np.linspace(0, len(order) - 1, min(n, len(order))).astype(int))
    return [texts[order[i]] for i in picks]


def runner(embedder, engine, texts):
    """Return ``(backbone, run)`` of an engine; a session is opened and checked once.

    `texts` are what it is checked on against torch when it is opened the first time.
    """
    if engine.backend == "torch":
        backbone = embedder._backbone()
        return backbone, torch_run(backbone, embedder._pooling(backbone), embedder.normalize)
    backbone = embedder._backbone(on_cpu=True)
    exports = exports_of(embedder)
    threads = torch.get_num_threads()
    key = (os.getpid(), str(exports.folder), exports.name, engine, threads)
    with _opening_lock:
        if key not in _sessions:
            pooling = embedder._pooling(backbone)

            def write(path):
                export(backbone, pooling, embedder.normalize, path)

            run = _OPENERS[engine.backend](exports.file(write), threads, engine.dtype)
            reference = torch_run(backbone, pooling, embedder.normalize)
            _check(exports, engine, backbone, run, reference, texts, embedder._length(backbone))
            _sessions[key] = run
        return backbone, _sessions[key]


def _check(exports, engine, backbone, run, reference, texts, max_length):
    """Raise ModelLoadError if an export does not give torch's vectors; once per engine."""
    name = f"cosine of {_measured_under([engine])}"
    if exports.recall(name) is not None:
        return
    rows = tokenize(backbone, [*_of_all_lengths(texts, _CHECKED), ""], max_length)
    batch = padded(rows, backbone.pad_id)
    cosine = float(likeness(run(*batch), reference(*batch)).min())
    if not cosine >= _LEAST_COSINE[engine.dtype]:  # NaN is no match either
        raise ModelLoadError(
            f"vectors of {engine} do not match those of torch: the least cosine of {len(rows)} "
            f"texts is {cosine:.5f}, wanted {_LEAST_COSINE[engine.dtype]}. Use backend='torch'."
        )
    exports.note(**{name: cosine})


def likeness(a, b):
    """Cosine of the rows of a and b, less by what their lengths differ; (n,)."""
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return 1 - ((a - b) ** 2).sum(axis=1) / (2 * np.maximum(lengths, np.finfo(np.float32).tiny))


def _open_onnx(path, threads, _):
    ort = import_optional("onnxruntime", extra="onnx", purpose="backend='onnx'")
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # A thread that waits by spinning takes the core from whoever has work.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    with _one_error(path):
        session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda ids, mask: session.run(None, {"input_ids": ids, "attention_mask": mask})[0]


def _open_openvino(path, threads, dtype):
    ov = import_optional("openvino", extra="openvino", purpose="backend='openvino'")
    config = {
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "INFERENCE_PRECISION_HINT": {"float32": "f32", "bfloat16": "bf16"}[dtype],
    }
    with _one_error(path):
        request = ov.Core().compile_model(str(path), "CPU", config).create_infer_request()
    lock = threading.Lock()

    def run(ids, mask):
        with lock:  # a request serves one thread at a time, and its output is overwritten
            return request.infer({"input_ids": ids, "attention_mask": mask})[0].copy()

    return run


_OPENERS = {"onnx": _open_onnx, "openvino": _open_openvino}


@contextmanager
def _one_error(path):
    """Turn the errors of an engine that cannot take a file into one of ours."""
    try:
        yield
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise ModelLoadError(
            f"the exported encoder {path} cannot be opened ({type(error).__name__}: {reason}). "
            "Use backend='torch'."
        ) from error
