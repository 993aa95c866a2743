"""The two ways of fitting `FusionMLP`: anchored and concatenated."""

from dataclasses import dataclass, field

import numpy as np
import torch

from sklfusion.fusion._anchored import beats, fit_trust
from sklfusion.fusion._evidence import fit_evidence
from sklfusion.fusion._folds import assign_folds
from sklfusion.fusion._linear import row_losses, smoothed_log_prior
from sklfusion.fusion._net import forward, make_net, train
from sklfusion.fusion._probe import fit_probe


@dataclass
class Settings:
    """What the parts need of the estimator's parameters, resolved."""

    hidden_layer_sizes: tuple
    activation: str
    dropout: float
    lr: float
    weight_decay: float
    max_epochs: int
    batch_size: object
    early_stopping: bool
    validation_fraction: float
    n_iter_no_change: int
    n_folds: int
    device: str
    verbose: int
    net_params: dict | None


@dataclass
class Fitted:
    """A net with its parameters set, and what was learnt about the sources on the way."""

    net: object
    source_names: list
    source_weights: dict | None = None
    oof_logits: np.ndarray | None = None
    oof_losses: dict = field(default_factory=dict)
    folds: np.ndarray | None = None
    residual: bool = False


def _net(settings, module_params, family, n_rows, seed, watched):
    size = settings.batch_size
    if size == "auto":
        size = int(np.clip(n_rows // 8, 16, 256))
    return make_net(
        {
            "hidden_layer_sizes": settings.hidden_layer_sizes,
            "activation": settings.activation,
            "dropout": settings.dropout,
            "seed": seed,
            **module_params,
        },
        family=family,
        lr=settings.lr,
        weight_decay=settings.weight_decay,
        max_epochs=settings.max_epochs,
        batch_size=size,
        patience=settings.n_iter_no_change if watched else None,
        seed=seed,
        device=settings.device,
        verbose=settings.verbose,
        net_params=settings.net_params,
    )


def _watch_rows(inputs, Y, family, settings, rng):
    """Rows that watch for early stopping, or None when there are too few to spare."""
    n = len(Y)
    if not settings.early_stopping or n * settings.validation_fraction < 4:
        return None
    n_folds = max(2, round(1 / settings.validation_fraction))
    rows = np.hstack([inputs["encoder"], inputs["codes"]])
    return assign_folds(rows, Y, family, n_folds, rng) == 0


def _as_float32(inputs):
    return {name: np.ascontiguousarray(v, dtype=np.float32) for name, v in inputs.items()}


def _finish(net):
    """Ready to predict: on the CPU, in double precision, without training rows."""
    net.module_.to("cpu").double().eval()
    net.device = "cpu"
    return net


def module_shape(inputs, fitted_inputs, n_classes):
    """Constructor arguments of `FusionMLP` that the data decide."""
    return {
        "n_encoder": inputs["encoder"].shape[1],
        "block_sizes": fitted_inputs.block_sizes(n_classes),
        "n_classes": n_classes,
        "input_scale": fitted_inputs.input_scale(inputs),
    }


def fit_concat(fitted_inputs, inputs, Y, weights, family, settings, rng):
    """The network of the paper, on scaled blocks."""
    seed = int(rng.randint(2**31 - 1))
    watch = _watch_rows(inputs, Y, family, settings, rng)
    shape = module_shape(inputs, fitted_inputs, Y.shape[1])
    net = _net(settings, shape, family, len(Y), seed, watch is not None)
    train(net, _as_float32(inputs), Y, weights / weights.mean(), watch, seed)
    return Fitted(_finish(net), source_names(fitted_inputs))


def source_names(fitted_inputs):
    """Names of the sources: "encoder" for the embedding, then one per block."""
    names = ["encoder"] if len(fitted_inputs.encoder) else []
    return names + [block.name for block in fitted_inputs.blocks]


def fit_anchored(X, fitted_inputs, inputs, Y, weights, family, settings, rng, residual):
    """Evidence per source, trust per source, and a residual if it earns its place."""
    n_folds = settings.n_folds if len(Y) > 60 else max(settings.n_folds, 10)
    folds = assign_folds(X, Y, family, n_folds, rng)
    log_prior = smoothed_log_prior(Y, weights, family)
    parts, mixing = [], []
    if len(fitted_inputs.encoder):
        probe = fit_probe(inputs["encoder"], Y, weights, folds, log_prior, family)
        parts.append(probe)
        mixing.append(probe.oof_evidence)
    for block, own in zip(fitted_inputs.blocks, fitted_inputs.is_encoder, strict=True):
        scores, answered = fitted_inputs.scores(X, block)
        mapping = block.mapping if family == "softmax" else np.arange(Y.shape[1])
        coding = "score" if own else None
        parts.append(
            fit_evidence(scores, answered, mapping, Y, weights, folds, log_prior, family, coding)
        )
    mixing.append(inputs["codes"])
    is_encoder = [True] * bool(len(fitted_inputs.encoder)) + list(fitted_inputs.is_encoder)
    sources = np.stack([part.oof_evidence for part in parts])
    trust = fit_trust(sources, np.hstack(mixing), is_encoder, log_prior, Y, weights, folds, family)
    names = source_names(fitted_inputs)
    losses = {
        name: row_losses(log_prior + part.oof_evidence, Y, family)
        for name, part in zip(names, parts, strict=True)
    }
    losses["anchored"] = trust.oof_losses
    seed = int(rng.randint(2**31 - 1))
    logits, keep = trust.oof_logits, False
    shape = module_shape(inputs, fitted_inputs, Y.shape[1])
    shape |= {"anchor": True, "mix": trust.mix is not None}
    net = None
    if residual:
        net, better = _try_residual(
            inputs, logits, Y, weights, folds, family, settings, shape, seed, rng
        )
        if better is not None:
            logits, losses["residual"], keep = better[0], better[1], True
    if not keep:
        net = _net(settings, shape | {"mlp": False}, family, len(Y), seed, False).initialize()
    _set_anchor(net.module_, log_prior, parts, trust, bool(len(fitted_inputs.encoder)))
    return Fitted(
        _finish(net),
        names,
        dict(zip(names, trust.weights.tolist(), strict=True)),
        logits,
        losses,
        folds,
        keep,
    )


def _set_anchor(module, log_prior, parts, trust, has_encoder):
    values = {"bias": log_prior + trust.bias}
    blocks = parts
    if has_encoder:
        values |= {
            "probe": parts[0].coef,
            "probe_bias": parts[0].bias,
            "trust_encoder": trust.weights[:1],
        }
        blocks = parts[1:]
    values["trust_llm"] = trust.weights[int(has_encoder) :]
    for m, part in enumerate(blocks):
        values |= {f"table_{m}": part.coef, f"table_bias_{m}": part.bias}
    if trust.mix is not None:
        values["mix"] = trust.mix
    module.double()
    with torch.no_grad():
        for name, value in values.items():
            module.anchor[name].copy_(torch.as_tensor(np.asarray(value)))


def _try_residual(inputs, logits, Y, weights, folds, family, settings, shape, seed, rng):
    """Train the residual MLP on out-of-fold logits; keep it if its own held-out loss is better.

    Returns the net trained on all rows and (logits, losses) out of fold, or (None, None).
    """
    data = _as_float32({**inputs, "offset": logits})
    scaled = weights / weights.mean()

    def fit(rows):
        part = {name: value[rows] for name, value in data.items()}
        watch = _watch_rows(part, Y[rows], family, settings, rng)
        net = _net(settings, shape, family, len(rows), seed, watch is not None)
        net.initialize()
        for parameter in net.module_.anchor.parameters():
            parameter.requires_grad_(False)
        return train(net, part, Y[rows], scaled[rows], watch, seed)

    held_out = np.empty_like(logits)
    merged = folds % 3  # three folds are enough to compare two models
    for fold in np.unique(merged):
        net = fit(np.flatnonzero(merged != fold))
        rows = merged == fold
        net.module_.to("cpu")
        held_out[rows] = forward(net.module_, {k: v[rows] for k, v in data.items()})
    losses = row_losses(held_out, Y, family)
    if not beats(losses, row_losses(logits, Y, family), weights):
        return None, None
    net = fit(np.arange(len(Y)))
    for parameter in net.module_.anchor.parameters():
        parameter.requires_grad_(True)
    return net, (held_out, losses)


def continue_training(net, inputs, Y, weights, settings, rng):
    """One more epoch on further rows, every parameter free."""
    seed = int(rng.randint(2**31 - 1))
    net.device = settings.device
    watcher = dict(net.callbacks_).get("early_stopping")
    if watcher is not None:
        net.callbacks_ = [c for c in net.callbacks_ if c[0] != "early_stopping"]
    train(net, _as_float32(inputs), Y, weights / weights.mean(), None, seed, epochs=1)
    return _finish(net)
