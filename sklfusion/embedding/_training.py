"""`EncoderTraining`: how a transformer encoder is trained, for all that train one."""

from __future__ import annotations

from sklearn.base import BaseEstimator

from sklfusion._idle import warn_if_set
from sklfusion._sklearn_compat import check_parameters, integer, number, one_of

#: Texts per batch where nothing is trained: speed and memory only.
EVAL_BATCH_SIZE = 32
_CROSS_ENTROPY, _CONTRASTIVE = "cross_entropy", "contrastive"
#: Way of training -> parameters that it does not use.
_UNUSED = {
    _CROSS_ENTROPY: ("contrastive_steps",),
    _CONTRASTIVE: ("head_lr", "max_epochs", "validation_fraction", "patience"),
}


class EncoderTraining(BaseEstimator):
    """How a transformer encoder is trained.

    A settings object: it goes to ``RobertaEmbedder(fine_tune=)``,
    ``JointFusionClassifier(training=)`` and ``FineTunedTrajectoryEncoder(training=)``, and a grid
    search reaches into it there, as in ``fine_tune__lr`` or ``training__max_epochs``.

    Parameters
    ----------
    method : {"cross_entropy", "contrastive"}, default="cross_entropy"
        "cross_entropy" (binary for label indicators) is for a thousand texts or more.
        "contrastive", for a few dozen to a few hundred, trains on pairs of texts, as SetFit [1]_
        does, and reads the vectors with a penalised linear model.
    lr : float, default=5e-5
        Peak learning rate of the encoder's weights; AdamW, linear rise, linear decay.
    head_lr : float, default=1e-3
        Peak learning rate of what stands on the encoder; "contrastive" solves for it.
    max_epochs : int, default=4
        Passes over the training texts at most; "contrastive" counts steps instead.
    contrastive_steps : int, default=40
        Training steps of "contrastive"; every pair of texts in a batch counts in each.
    batch_size : int, default=16
        Texts per training step.
    freeze_layers : int, default=0
        How many of the lowest layers keep their weights. The table of token embeddings keeps its
        weights too, unless this is -1: it is half of a small model, and text data sets of a few
        thousand rows do not improve it.
    lora : bool or dict, default=False
        Train low-rank adapters instead of the weights themselves (extra ``lora``). A dict gives
        arguments of ``peft.LoraConfig``.
    warmup : float, default=0.1
        Share of the steps in which the learning rates rise.
    weight_decay : float, default=0.01
        Decoupled weight decay.
    gradient_clipping : float, default=1.0
        Largest norm of the gradient.
    validation_fraction : float, default=0.1
        Share of the training texts on which the best epoch is found; 0 trains all epochs and
        keeps the last. "contrastive" trains on all.
    patience : int, default=2
        Epochs without a better validation loss after which training stops.
    amp : bool or "auto", default="auto"
        Mixed precision. "auto": on an accelerator only.

    See Also
    --------
    RobertaEmbedder : Takes it as ``fine_tune``.
    JointFusionClassifier : Takes it as ``training``.

    References
    ----------
    .. [1] Efficient Few-Shot Learning Without Prompts, arXiv 2209.11055.

    Examples
    --------
    >>> from sklfusion import EncoderTraining, RobertaEmbedder
    >>> embedder = RobertaEmbedder(fine_tune=EncoderTraining(max_epochs=2))
    >>> embedder.set_params(fine_tune__lr=1e-4).fine_tune
    EncoderTraining(lr=0.0001, max_epochs=2)
    """

    # freeze_layers has a bound that only the encoder knows: it is checked where that is at hand
    _parameter_constraints: dict = {
        "method": [one_of(*_UNUSED)],
        "lr": [number(0, closed="neither")],
        "head_lr": [number(0, closed="neither")],
        "max_epochs": [integer(1)],
        "contrastive_steps": [integer(1)],
        "batch_size": [integer(1)],
        "lora": ["boolean", dict],
        "warmup": [number(0, 1, closed="left")],
        "weight_decay": [number(0)],
        "gradient_clipping": [number(0, closed="neither")],
        "validation_fraction": [number(0, 1, closed="left")],
        "patience": [integer(1)],
        "amp": [one_of("auto", True, False)],
    }

    def __init__(
        self,
        method: str = "cross_entropy",
        *,
        lr: float = 5e-5,
        head_lr: float = 1e-3,
        max_epochs: int = 4,
        contrastive_steps: int = 40,
        batch_size: int = 16,
        freeze_layers: int = 0,
        lora: bool | dict = False,
        warmup: float = 0.1,
        weight_decay: float = 0.01,
        gradient_clipping: float = 1.0,
        validation_fraction: float = 0.1,
        patience: int = 2,
        amp: bool | str = "auto",
    ) -> None:
        self.method = method
        self.lr = lr
        self.head_lr = head_lr
        self.max_epochs = max_epochs
        self.contrastive_steps = contrastive_steps
        self.batch_size = batch_size
        self.freeze_layers = freeze_layers
        self.lora = lora
        self.warmup = warmup
        self.weight_decay = weight_decay
        self.gradient_clipping = gradient_clipping
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.amp = amp


def resolve_training(value, default, *, name):
    """Return the `EncoderTraining` that a parameter stands for: its value, or for None a default.

    Raises
    ------
    TypeError
        If it is something else; the message says which parameter (`name`).
    """
    training = default if value is None else value
    if not isinstance(training, EncoderTraining):
        raise TypeError(
            f"{name} is {type(training).__name__}; it must be an EncoderTraining or None."
        )
    return training


def check_training(training, *, name, methods=tuple(_UNUSED)):
    """Check the parameters of a training.

    Parameters
    ----------
    training : EncoderTraining
        What is checked.
    name : str
        The parameter that holds it, for messages.
    methods : tuple of str
        Ways of training that its user has.

    Raises
    ------
    ValueError
        If a parameter has no legal value.

    Warns
    -----
    DataWarning
        If parameters are set that its way of training does not use.
    """
    check_parameters(training)
    if training.method not in methods:
        raise ValueError(
            f"{name} has method={training.method!r}; here it must be {' or '.join(methods)}."
        )
    why = f"method={training.method!r} does not use it"
    warn_if_set(training, _UNUSED[training.method], why)
    if training.method == _CROSS_ENTROPY and training.validation_fraction == 0:
        warn_if_set(training, ("patience",), "validation_fraction=0 watches no loss")


def trainer_settings(training, **others):
    """Settings of an `EncoderTrainer`: those of the training, and what its user adds."""
    settings = training.get_params(deep=False)
    if settings.pop("method") == _CONTRASTIVE:
        settings["validation_fraction"] = 0  # there are no epochs to choose from
    else:
        del settings["contrastive_steps"]
    return settings | others
