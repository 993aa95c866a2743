"""The two ways of fitting `FusionMLP`: anchored and concatenated."""

from dataclasses import dataclass, field

import numpy as np
import torch

from sklfusion._logistic import row_losses
from sklfusion._threads import one_thread
from sklfusion._validation import check_layers
from sklfusion.fusion._folds import N_FOLDS, assign_folds, equal_rows
from sklfusion.fusion._levels import places
from sklfusion.fusion._net import forward, make_net, train
from sklfusion.fusion._own_rows import warn_of_own_rows
from sklfusion.fusion._probe import fit_probe
from sklfusion.fusion._problem import Problem
from sklfusion.fusion._reuse import reused_fit
from sklfusion.fusion._trust import beats, fit_trust
from sklfusion.fusion._votes import fit_evidence

#: Folds in which an MLP is judged: fewer, since each takes a training.
_MLP_FOLDS = 3
#: Paired standard errors by which the residual MLP must lower the out-of-fold log-loss.
_MARGIN = 2.0
#: Steps per epoch that batch_size="auto" aims at, within these bounds of rows per step.
_STEPS, _BATCH_BOUNDS = 8, (16, 256)
#: Fewer rows than this cannot watch for early stopping.
_LEAST_WATCHING = 4


@dataclass
class Settings:
    """What the parts need of the estimator's parameters, resolved."""

    hidden_layer_sizes: tuple
    dropout: float
    lr: float
    max_epochs: int
    batch_size: object
    early_stopping: bool
    validation_fraction: float
    n_iter_no_change: int
    device: str
    verbose: int
    net_params: dict | None

    @classmethod
    def of(cls, est):
        """Settings of a `FusionClassifier`."""
        values = {name: getattr(est, name) for name in cls.__dataclass_fields__}
        values["hidden_layer_sizes"] = check_layers(est.hidden_layer_sizes)
        if est.device == "auto":
            values["device"] = "cuda" if torch.cuda.is_available() else "cpu"
        return cls(**values)


@dataclass
class Fitted:
    """A net with its parameters set, and what was learnt about the sources on the way."""

    net: object
    source_names: list
    chosen: str
    source_weights: dict | None = None
    oof_logits: np.ndarray | None = None
    oof_losses: dict = field(default_factory=dict)
    encoder_logits: list = field(default_factory=list)  # out of fold, of each encoder alone


def _net(settings, module_params, family, n_rows, seed, watched):
    size = settings.batch_size
    if size == "auto":
        size = int(np.clip(n_rows // _STEPS, *_BATCH_BOUNDS))
    return make_net(
        {
            "hidden_layer_sizes": settings.hidden_layer_sizes,
            "dropout": settings.dropout,
            "seed": seed,
            **module_params,
        },
        family=family,
        lr=settings.lr,
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
    if not settings.early_stopping or n * settings.validation_fraction < _LEAST_WATCHING:
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


def fit_fusion(est, X, Y, weights, rng, cross_fit=True):
    """Fit the net of a `FusionClassifier` whose inputs are fitted, and set what it learnt.

    Without ``cross_fit`` a lone MLP is trained once, and there are no ``oof_logits``.

    Returns
    -------
    Fitted
    """
    fitted = _fit_as_asked(est, X, Y, weights, rng, cross_fit)
    est.chosen_ = fitted.chosen
    est.source_names_ = fitted.source_names
    est.source_weights_ = fitted.source_weights
    total = weights.sum()
    est.oof_scores_ = {k: float(weights @ v / total) for k, v in fitted.oof_losses.items()}
    est.n_iter_ = len(fitted.net.history)
    if cross_fit:
        warn_of_own_rows(est, X, Y, fitted)
    return fitted


def _fit_as_asked(est, X, Y, weights, rng, cross_fit):
    inputs, settings = est.inputs_.transform(X), Settings.of(est)
    common = (est.inputs_, inputs, Y, weights, est._family, settings, rng)
    with one_thread(X):
        if est.fusion == "concat":
            return fit_concat(X, *common, cross_fit=cross_fit)
        line = None if est.levels_ is None else places(est.classes_, est.levels_)
        return fit_anchored(X, *common, residual=est.residual, guard=est.guard, levels=line)


def fit_concat(X, fitted_inputs, inputs, Y, weights, family, settings, rng, *, cross_fit):
    """The network of the paper, on scaled blocks."""
    trainer = _Trainer(fitted_inputs, inputs, Y, weights, family, settings, rng)
    shape = {"anchor": False}
    net, logits = trainer.fit(np.arange(len(Y)), shape), None
    if cross_fit:
        votes_alone = not _sees_texts(fitted_inputs)
        folds = assign_folds(X, Y, family, _MLP_FOLDS, rng, votes_alone=votes_alone)
        logits = trainer.held_out(folds, shape)
    return Fitted(_finish(net), source_names(fitted_inputs), chosen="concat", oof_logits=logits)


def _sees_texts(fitted_inputs):
    """Whether columns come from an encoder, so that equal rows are the same text."""
    return len(fitted_inputs.encoder) > 0 or any(fitted_inputs.is_encoder)


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
        """Logits of each row from a net that did not see it; few folds compare well enough."""
        merged = folds % _MLP_FOLDS
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
    """What each source says, in the order of `source_names`."""

    parts: list
    is_encoder: np.ndarray

    @property
    def evidence(self):
        """Out-of-fold evidence of every source, shape (J, n, K)."""
        return np.stack([part.oof_evidence for part in self.parts])


def _fit_sources(X, fitted_inputs, inputs, problem):
    parts, is_encoder = [], list(fitted_inputs.is_encoder)
    if len(fitted_inputs.encoder):
        parts.append(reused_fit(fit_probe, inputs["encoder"], problem))
        is_encoder.insert(0, True)
    for block, own in zip(fitted_inputs.blocks, fitted_inputs.is_encoder, strict=True):
        scores, answered = fitted_inputs.scores(X, block)
        by_class = problem.family == "sigmoid"
        mapping = np.arange(problem.Y.shape[1]) if by_class else block.mapping
        coding = "score" if own else None
        parts.append(reused_fit(fit_evidence, scores, answered, mapping, problem, coding))
    return _Sources(parts, np.array(is_encoder))


def _mix_features(fitted_inputs, sources, inputs):
    """What the module multiplies with its mixing matrix, the probe's part out of fold."""
    probe = sources.parts[:1] if len(fitted_inputs.encoder) else []
    return np.hstack([*(part.oof_evidence for part in probe), inputs["codes"]])


def fit_anchored(
    X, fitted_inputs, inputs, Y, weights, family, settings, rng, *, residual, guard, levels=None
):
    """Evidence per source, trust per source, and a residual MLP if it earns its place.

    Parameters
    ----------
    X, fitted_inputs, inputs
        Features, the fitted `Inputs`, and what they made of X.
    Y, weights, family, settings, rng
        Targets, row weights, link, `Settings`, RandomState.
    residual : bool
        Whether to try the residual MLP.
    guard : bool
        Whether it stays only if it lowers the out-of-fold log-loss clearly.
    levels : ndarray of shape (K,), optional
        Place of each class on a line, where classes are ordered.

    Returns
    -------
    Fitted
    """
    votes_alone = not _sees_texts(fitted_inputs)
    folds = assign_folds(X, Y, family, N_FOLDS, rng, votes_alone=votes_alone)
    texts = equal_rows(X, N_FOLDS, votes_alone)
    texts = texts if texts.max() + 1 < len(Y) else None
    problem = Problem(Y, weights, folds, family, texts, levels)
    sources = _fit_sources(X, fitted_inputs, inputs, problem)
    mixing = _mix_features(fitted_inputs, sources, inputs)
    trust = reused_fit(fit_trust, sources.evidence, sources.is_encoder, problem, mixing)
    by_label = family == "sigmoid"
    shape = {"anchor": True, "mix": trust.mix is not None, "trust_by_label": by_label}
    names = source_names(fitted_inputs)
    logits = {"anchored": trust.oof_logits}
    trainer = _Trainer(fitted_inputs, inputs, Y, weights, family, settings, rng)
    if residual:
        with_mlp = trainer.held_out(problem.folds, shape, trust.oof_logits)
        logits["anchored+residual"] = with_mlp
    losses = {name: row_losses(value, Y, family) for name, value in logits.items()}
    chosen = "anchored"
    if residual and (not guard or _residual_pays(losses, weights)):
        chosen = "anchored+residual"
        net = trainer.fit(np.arange(len(Y)), shape, trust.oof_logits)
    else:
        net = trainer.untrained(shape | {"mlp": False})
    _set_anchor(net.module_, problem, sources, trust)
    evidence = zip(names, sources.parts, strict=True)
    losses |= {f"{name} evidence": problem.losses(part.oof_evidence) for name, part in evidence}
    weights_by_name = dict(zip(names, trust.weights.tolist(), strict=True))
    parts = zip(sources.is_encoder, sources.parts, strict=True)
    alone = [problem.log_prior + part.oof_evidence for own, part in parts if own]
    return Fitted(_finish(net), names, chosen, weights_by_name, logits[chosen], losses, alone)


def _residual_pays(losses, weights):
    return beats(losses["anchored+residual"], losses["anchored"], weights, _MARGIN)


def _set_anchor(module, problem, sources, trust):
    parts = sources.parts
    weights = trust.by_label if module.trust_by_label else trust.weights
    values = {"bias": problem.log_prior + trust.bias}
    if module.n_encoder > 0:
        probe, *parts = parts
        values |= {"probe": probe.coef, "probe_bias": probe.bias, "trust_encoder": weights[:1]}
        weights = weights[1:]
    values["trust_llm"] = weights
    for m, part in enumerate(parts):
        values |= {f"table_{m}": part.coef, f"table_bias_{m}": part.bias}
    if trust.mix is not None:
        values["mix"] = trust.mix
    module.double()
    with torch.no_grad():
        for name, value in values.items():
            module.anchor[name].copy_(torch.tensor(value))


def continue_training(net, inputs, Y, weights, settings, rng):
    """One more epoch on further rows, every parameter free."""
    seed = int(rng.randint(2**31 - 1))
    net.device = settings.device
    watcher = dict(net.callbacks_).get("early_stopping")
    if watcher is not None:
        net.callbacks_ = [c for c in net.callbacks_ if c[0] != "early_stopping"]
    train(net, _as_float32(inputs), Y, weights / weights.mean(), None, seed, epochs=1)
    return _finish(net)
