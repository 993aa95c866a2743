"""Parameters of a `RobertaEmbedder`: which are legal, and which decide a vector."""

import json
import numbers

from sklfusion._idle import warn_if_set
from sklfusion.embedding._cache import open_cache

_CHOICES = {
    "fine_tune": (False, True, "contrastive"),
    "pooling": ("auto", "mean", "cls", "max"),
    "output": ("auto", "embedding", "scores", "both"),
    "store_weights": ("auto", True, False),
}
_COUNTS = ("batch_size", "train_batch_size", "max_epochs", "contrastive_steps", "max_length")
# Parameters of the training, and which of them each way of training does not use.
_OF_TRAINING = (
    "cv",
    "lr",
    "head_lr",
    "max_epochs",
    "contrastive_steps",
    "train_batch_size",
    "freeze_layers",
    "lora",
    "validation_fraction",
    "patience",
    "amp",
)
_IDLE = {
    False: _OF_TRAINING,
    True: ("contrastive_steps",),
    "contrastive": ("head_lr", "max_epochs", "validation_fraction", "patience"),
}
_KEY_VERSION = 1  # raise when the same settings give other vectors


def check_embedder(embedder):
    """Raise a ValueError or TypeError that names the first parameter without a legal value."""
    from sklfusion.embedding._backbone import resolve_device, resolve_dtype

    for name, known in _CHOICES.items():
        if getattr(embedder, name) not in known:
            raise ValueError(
                f"{name}={getattr(embedder, name)!r}; it must be one of "
                f"{', '.join(map(repr, known))}."
            )
    for name in _COUNTS:
        value = getattr(embedder, name)
        if name == "max_length" and value is None:
            continue
        if not isinstance(value, numbers.Integral) or isinstance(value, bool) or value < 1:
            raise ValueError(f"{name}={value!r}; it must be an integer of at least 1.")
    _check_training(embedder)
    how = embedder.fine_tune
    warn_if_set(embedder, _IDLE[how], f"fine_tune={how!r} does not use it")
    resolve_dtype(embedder.dtype, resolve_device(embedder.device))
    open_cache(embedder.memory)


def _check_training(embedder):
    if embedder.output in ("scores", "both") and not embedder.fine_tune:
        raise ValueError(
            f"output={embedder.output!r} needs fine_tune=True: a frozen encoder has no classes."
        )
    if not embedder.fine_tune:
        return
    if embedder.output == "embedding":
        raise ValueError(
            "output='embedding' cannot be fine-tuned: vectors of encoders trained on different "
            "folds do not fit together. Use output='scores' or 'both'."
        )
    for name in ("lr", "head_lr"):
        value = getattr(embedder, name)
        if not isinstance(value, numbers.Real) or not value > 0:
            raise ValueError(f"{name}={value!r}; it must be a positive number.")
    fraction = embedder.validation_fraction
    if not isinstance(fraction, numbers.Real) or not 0 <= fraction < 1:
        raise ValueError(f"validation_fraction={fraction!r}; it must be a number in [0, 1).")


def key_space(embedder):
    """What a cached vector depends on besides its text, as bytes."""
    from sklfusion.embedding._backbone import resolve_device, resolve_dtype

    settings = {
        "version": _KEY_VERSION,
        "model": embedder.model_digest_,
        "pooling": embedder.pooling,
        "max_length": embedder.max_length,
        "dtype": str(resolve_dtype(embedder.dtype, resolve_device(embedder.device))),
        "normalize": bool(embedder.normalize),
    }
    return json.dumps(settings, sort_keys=True).encode()
