"""The two ways of fitting `FusionMLP`: anchored and concatenated."""

from dataclasses import dataclass, field

import numpy as np
import torch
from scipy.special import expit

from sklfusion.fusion._anchored import beats, fit_trust
from sklfusion.fusion._cut import apply_cut, choose_cut
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
    chosen: str
    source_weights: dict | None = None
    oof_logits: np.ndarray | None = None
    oof_losses: dict = field(default_factory=dict)


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
    watching = assign_folds(rows, Y, family, n_folds, rng) == 0
    # many repeats of one text may fill the watching fold; what is left must be able to teach
    return watching if watching.mean() < 0.5 else None


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
    trainer = _Trainer(fitted_inputs, inputs, Y, weights, family, settings, rng)
    net = trainer.fit(np.arange(len(Y)), {"anchor": False})
    return Fitted(_finish(net), source_names(fitted_inputs), chosen="concat")


def source_names(fitted_inputs):
    """Names of the sources: "encoder" for the embedding, then one per block."""
    names = ["encoder"] if len(fitted_inputs.encoder) else []
    return names + [block.name for block in fitted_inputs.blocks]


class _Trainer:
    """Trains nets on subsets of the rows, for held-out logits and for good."""

    def __init__(self, fitted_inputs, inputs, Y, weights, family, settings, rng):
        self.data = _as_float32(inputs)
        self.Y, self.weights, self.family = Y, weights / weights.mean(), family
        self.settings, self.rng = settings, rng
        self.seed = int(rng.randint(2**31 - 1))
        self.shape = {
            "n_encoder": inputs["encoder"].shape[1],
            "block_sizes": fitted_inputs.block_sizes(Y.shape[1]),
            "n_classes": Y.shape[1],
            "input_scale": fitted_inputs.input_scale(inputs),
        }

    def untrained(self, shape):
        """An initialised net."""
        shape = self.shape | shape
        n_rows = len(self.Y)
        return _net(self.settings, shape, self.family, n_rows, self.seed, False).initialize()

    def fit(self, rows, shape, offset=None):
        """A net trained on ``rows``; with an offset only the residual MLP learns."""
        data = self._rows(rows, offset)
        watch = _watch_rows(data, self.Y[rows], self.family, self.settings, self.rng)
        net = _net(
            self.settings, self.shape | shape, self.family, len(rows), self.seed, watch is not None
        )
        net.initialize()
        if offset is not None:
            for parameter in net.module_.anchor.parameters():
                parameter.requires_grad_(False)
        train(net, data, self.Y[rows], self.weights[rows], watch, self.seed)
        net.module_.to("cpu").requires_grad_(True)
        return net

    def held_out(self, folds, shape, offset=None):
        """Logits of each row from a net that did not see it; three folds compare well enough."""
        merged = folds % 3
        logits = np.empty_like(self.Y)
        for fold in np.unique(merged):
            net = self.fit(np.flatnonzero(merged != fold), shape, offset)
            rows = np.flatnonzero(merged == fold)
            logits[rows] = forward(net.module_, self._rows(rows, offset))
        return logits

    def _rows(self, rows, offset):
        data = {name: value[rows] for name, value in self.data.items()}
        return data if offset is None else data | {"offset": offset[rows].astype(np.float32)}


@dataclass
class _Sources:
    """Out-of-fold evidence of every source, and what a mixing matrix may use."""

    parts: list
    evidence: np.ndarray
    mixing: np.ndarray
    kinds: np.ndarray
    log_prior: np.ndarray


def _fit_sources(X, fitted_inputs, inputs, Y, weights, folds, family):
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
    kinds = ["probe"] * bool(len(fitted_inputs.encoder))
    kinds += ["proba" if own else "llm" for own in fitted_inputs.is_encoder]
    evidence = np.stack([part.oof_evidence for part in parts])
    return _Sources(parts, evidence, np.hstack(mixing), np.array(kinds), log_prior)


def _part_trust(sources, of_encoder, Y, weights, folds, family):
    """Trusts when only the encoder, or only the LLMs, may speak; None without such sources."""
    kept = (sources.kinds != "llm") == of_encoder
    if not kept.any() or kept.all():
        return None
    found = fit_trust(
        sources.evidence[kept],
        sources.mixing,
        sources.kinds[kept],
        sources.log_prior,
        Y,
        weights,
        folds,
        family,
        allow_mix=False,
    )
    trusts = np.zeros(len(kept))
    trusts[kept] = found.weights
    found.weights = trusts
    return found


def fit_anchored(X, fitted_inputs, inputs, Y, weights, family, settings, rng, *, mlp, guard):
    """Evidence per source, trust per source, and whatever earns its place out of fold.

    Parameters
    ----------
    X, fitted_inputs, inputs
        Features, the fitted `Inputs`, and what they made of X.
    Y, weights, family, settings, rng
        Targets, row weights, link, `Settings`, RandomState.
    mlp : bool
        Whether to try the residual MLP (and, with ``guard``, the plain MLP).
    guard : bool
        Whether single sources and the plain MLP compete with the anchored fusion.

    Returns
    -------
    Fitted
    """
    n_folds = settings.n_folds if len(Y) > 60 else max(settings.n_folds, 10)
    folds = assign_folds(X, Y, family, n_folds, rng)
    sources = _fit_sources(X, fitted_inputs, inputs, Y, weights, folds, family)
    common = (sources.log_prior, Y, weights, folds, family)
    trust = fit_trust(sources.evidence, sources.mixing, sources.kinds, *common)
    names = source_names(fitted_inputs)
    trusts = {"anchored": trust}
    if guard:
        found = {
            "llm": _part_trust(sources, False, Y, weights, folds, family),
            "encoder": _part_trust(sources, True, Y, weights, folds, family),
        }
        trusts = {k: v for k, v in found.items() if v is not None} | trusts
    logits = {name: found.oof_logits for name, found in trusts.items()}
    trainer = _Trainer(fitted_inputs, inputs, Y, weights, family, settings, rng)
    shape = {"anchor": True, "mix": trust.mix is not None}
    if mlp:
        logits["anchored+residual"] = trainer.held_out(folds, shape, trust.oof_logits)
        if guard:
            logits["concat"] = trainer.held_out(folds, {"anchor": False})
    losses = {name: row_losses(value, Y, family) for name, value in logits.items()}
    right = {name: _share_right(value, Y, weights, family) for name, value in logits.items()}
    chosen = choose(losses, right, weights)
    net = _build(chosen, trainer, sources, trusts, trust, shape)
    kept = trusts.get(chosen, trust)
    source_losses = {
        f"{name} evidence": row_losses(sources.log_prior + part.oof_evidence, Y, family)
        for name, part in zip(names, sources.parts, strict=True)
    }
    weights_by_name = dict(zip(names, kept.weights.tolist(), strict=True))
    return Fitted(
        _finish(net),
        names,
        chosen,
        None if chosen == "concat" else weights_by_name,
        logits[chosen],
        {**losses, **source_losses},
    )


#: Paired standard errors by which a challenger must win.
_MARGIN = 2.0


def choose(losses, right, weights):
    """Name of the candidate to use, from out-of-fold losses per row.

    Anchored fusion is the incumbent: its few trusts are drawn towards their prior and contain
    each single source as a special case. A source alone or an MLP takes its place only with a
    loss lower by more than two paired standard errors, and only if no smaller share of rows
    is ``right`` (class or label set); among such, the lowest loss wins.
    """
    better = [
        name
        for name, loss in losses.items()
        if name != "anchored"
        and right[name] >= right["anchored"]
        and beats(loss, losses["anchored"], weights, _MARGIN)
    ]
    return min(better, key=lambda name: weights @ losses[name], default="anchored")


def _share_right(logits, Y, weights, family):
    """Weighted share of rows whose class or label set is right at the cut in use."""
    if family == "softmax" or (Y.sum(axis=1) == 1).all():
        right = Y[np.arange(len(Y)), logits.argmax(axis=1)] > 0
    else:
        proba = expit(logits)
        right = (apply_cut(proba, *choose_cut(proba, Y, weights)) == Y).all(axis=1)
    return weights @ right / weights.sum()


def _build(chosen, trainer, sources, trusts, trust, shape):
    rows = np.arange(len(trainer.Y))
    if chosen == "concat":
        return trainer.fit(rows, {"anchor": False})
    if chosen == "anchored+residual":
        net = trainer.fit(rows, shape, trust.oof_logits)
    else:
        trust = trusts[chosen]
        net = trainer.untrained(shape | {"mlp": False, "mix": trust.mix is not None})
    _set_anchor(net.module_, sources, trust)
    return net


def _set_anchor(module, sources, trust):
    has_encoder = module.n_encoder > 0
    values = {"bias": sources.log_prior + trust.bias}
    blocks = sources.parts
    if has_encoder:
        values |= {
            "probe": blocks[0].coef,
            "probe_bias": blocks[0].bias,
            "trust_encoder": trust.weights[:1],
        }
        blocks = blocks[1:]
    values["trust_llm"] = trust.weights[int(has_encoder) :]
    for m, part in enumerate(blocks):
        values |= {f"table_{m}": part.coef, f"table_bias_{m}": part.bias}
    if trust.mix is not None:
        values["mix"] = trust.mix
    module.double()
    with torch.no_grad():
        for name, value in values.items():
            module.anchor[name].copy_(torch.as_tensor(np.asarray(value)))


def continue_training(net, inputs, Y, weights, settings, rng):
    """One more epoch on further rows, every parameter free."""
    seed = int(rng.randint(2**31 - 1))
    net.device = settings.device
    watcher = dict(net.callbacks_).get("early_stopping")
    if watcher is not None:
        net.callbacks_ = [c for c in net.callbacks_ if c[0] != "early_stopping"]
    train(net, _as_float32(inputs), Y, weights / weights.mean(), None, seed, epochs=1)
    return _finish(net)
