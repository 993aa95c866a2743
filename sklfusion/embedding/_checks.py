"""Parameters of a `RobertaEmbedder`: which are legal, and which decide a vector."""

import json
import warnings

from sklfusion._idle import warn_if_set
from sklfusion._sklearn_compat import check_parameters, integer, one_of
from sklfusion.embedding._cache import open_cache
from sklfusion.embedding._training import EncoderTraining, check_training
from sklfusion.exceptions import DataWarning

#: What the parameters of a RobertaEmbedder may be; `fine_tune`, `device` and `dtype` are looked at
#: where they are used.
CONSTRAINTS_OF_EMBEDDER = {
    "revision": [str, None],
    "pooling": [one_of("auto", "mean", "cls", "max")],
    "max_length": [integer(1), None],
    "long_texts": [one_of("mean", "truncate", "max")],
    "batch_size": [integer(1), one_of("auto")],
    "backend": [one_of("auto", "torch", "onnx", "openvino")],
    "normalize": ["boolean"],
    "output": [one_of("auto", "embedding", "scores", "both")],
    "random_state": ["random_state"],
    "store_weights": [one_of("auto", True, False)],
}
#: What a plain value of ``fine_tune`` stands for.
_TRAININGS = {
    False: None,
    True: EncoderTraining(),
    "contrastive": EncoderTraining("contrastive"),
}
_KEY_VERSION = 1  # raise when the same settings give other vectors


def check_embedder(embedder):
    """Raise a ValueError or TypeError that names the first parameter without a legal value."""
    from sklfusion.embedding._engines import possible

    check_parameters(embedder)
    _check_training(embedder)
    possible(embedder)
    open_cache(embedder.memory)


def _check_training(embedder):
    training = training_of(embedder)
    if training is None:
        if embedder.output in ("scores", "both"):
            raise ValueError(
                f"output={embedder.output!r} needs fine_tune=True: a frozen encoder has no "
                "classes."
            )
        warn_if_set(embedder, ("cv",), "fine_tune=False does not use it")
        return
    if embedder.output == "embedding":
        raise ValueError(
            "output='embedding' cannot be fine-tuned: vectors of encoders trained on different "
            "folds do not fit together. Use output='scores' or 'both'."
        )
    if embedder.backend not in ("auto", "torch"):
        raise ValueError(
            f"backend={embedder.backend!r} runs a frozen encoder; with fine_tune it is torch. "
            "Use backend='torch'."
        )
    check_training(training, name="fine_tune")


def training_of(embedder):
    """Return the `EncoderTraining` of a `RobertaEmbedder`, or None where it is frozen."""
    value = embedder.fine_tune
    if isinstance(value, EncoderTraining):
        return value
    if value not in _TRAININGS:
        raise ValueError(
            f"fine_tune={value!r}; it must be one of {', '.join(map(repr, _TRAININGS))}, or an "
            "EncoderTraining."
        )
    return _TRAININGS[value]


def key_space(embedder, engine):
    """What a cached vector depends on besides its text, as bytes; `engine` is what encodes."""
    settings = {
        "version": _KEY_VERSION,
        "model": embedder.model_digest_,
        "pooling": embedder.pooling,
        "max_length": embedder.max_length,
        "dtype": f"torch.{engine.dtype}",
        "normalize": bool(embedder.normalize),
    }
    # as without these parameters where they change nothing, so that older caches hold
    if engine.backend != "torch":
        settings["backend"] = engine.backend
    if embedder.long_texts != "truncate":
        settings["long_texts"] = embedder.long_texts
    return json.dumps(settings, sort_keys=True).encode()


def warn_of_cut(n, how):
    """Say how many texts lost their end; `how` says what they are too long for."""
    if n:
        warnings.warn(
            f"{n} text(s) are longer than {how}; their end is not read.", DataWarning, stacklevel=5
        )
