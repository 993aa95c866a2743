"""The skorch net around `FusionMLP`: in-memory batches, weighted losses, early stopping."""

import contextlib
import copy
from itertools import pairwise

import numpy as np
import torch
from skorch import NeuralNet
from skorch.callbacks import EarlyStopping
from skorch.dataset import Dataset
from skorch.helper import predefined_split
from skorch.history import History
from skorch.utils import to_tensor

from sklfusion._threads import one_thread
from sklfusion._whole import WholeTraining
from sklfusion.exceptions import TrainingDivergedError
from sklfusion.fusion._module import FusionMLP, SeededDropout

#: Decoupled weight decay of AdamW, torch's own default: hardly felt in a hundred epochs.
_WEIGHT_DECAY = 0.01


class MemoryBatches:
    """Batches of arrays that are in memory already; much cheaper than a `DataLoader`."""

    def __init__(self, dataset, batch_size, shuffle=False, seed=0):
        self.X = {name: torch.as_tensor(value) for name, value in dataset.X.items()}
        self.y = torch.as_tensor(dataset.y)
        self.batch_size = batch_size
        self.rng = np.random.RandomState(seed) if shuffle else None

    def __len__(self):
        return -(-len(self.y) // self.batch_size)

    def __iter__(self):
        n = len(self.y)
        order = None if self.rng is None else torch.from_numpy(self.rng.permutation(n))
        for start in range(0, n, self.batch_size):
            rows = slice(start, start + self.batch_size)
            if order is not None:
                rows = order[rows]
            yield {name: value[rows] for name, value in self.X.items()}, self.y[rows]


class FusionNet(WholeTraining, NeuralNet):
    """A skorch net whose targets carry the row weight in their last column."""

    def get_loss(self, y_pred, y_true, X=None, training=False):
        """Weighted mean of the row losses; raises once it is not finite."""
        y_true = to_tensor(y_true, device=self.device)
        target, weight = y_true[:, :-1], y_true[:, -1]
        losses = self.criterion_(y_pred, target)
        if losses.ndim == 2:
            losses = losses.mean(dim=1)
        loss = (losses * weight).sum() / weight.sum().clamp_min(1e-12)
        if not torch.isfinite(loss):
            raise TrainingDivergedError(
                f"The loss became {loss.item()} in epoch {len(self.history)}; no model was kept. "
                "Lower lr, and check the features for extreme values."
            )
        return loss

    def __getstate__(self):
        """Plain values and arrays, unless the user chose an optimizer or callbacks of their own.

        So the state holds no functions, and tools that list what they load find nothing to fear.
        """
        if not self.initialized_ or not _is_standard(self):
            return super().__getstate__()
        epochs = [{k: v for k, v in row.items() if k != "batches"} for row in self.history]
        optimizer = _with_arrays(self.optimizer_.state_dict())
        return {
            "plain": net_state(self),
            "epochs": epochs,
            "optimizer": optimizer,
            "seed": self.iterator_train__seed,
            "verbose": self.verbose,
        }

    def __setstate__(self, state):
        if "plain" not in state:
            super().__setstate__(state)
            return
        net = net_from_state(state["plain"])
        net.iterator_train__seed, net.verbose = state["seed"], state["verbose"]
        net.history = History(state["epochs"])
        net.optimizer_.load_state_dict(_with_tensors(state["optimizer"]))
        for moments in net.optimizer_.state.values():  # torch gave them the dtype of the weights
            moments.update({name: value.float() for name, value in moments.items()})
        self.__dict__.update(vars(net))

    def __deepcopy__(self, memo):
        other = type(self).__new__(type(self))
        other.__dict__.update(copy.deepcopy(vars(self), memo))
        return other


#: Settings beside those of the module that :func:`net_from_state` gives again.
_STANDARD = {
    "callbacks__print_log",
    "criterion__reduction",
    "iterator_train__seed",
    "iterator_train__shuffle",
    "optimizer__weight_decay",
}


def _is_standard(net):
    # skorch keeps settings of the parts as attributes with two underscores in their names
    own = {name for name in vars(net) if "__" in name and not name.startswith("module__")}
    return own <= _STANDARD and net.optimizer is torch.optim.AdamW


def _with_arrays(tree):
    """The state of an optimizer with arrays in place of tensors."""
    if isinstance(tree, dict):
        return {key: _with_arrays(value) for key, value in tree.items()}
    return tree.detach().cpu().numpy() if isinstance(tree, torch.Tensor) else tree


def _with_tensors(tree):
    if isinstance(tree, dict):
        return {key: _with_tensors(value) for key, value in tree.items()}
    return torch.as_tensor(tree) if isinstance(tree, np.ndarray) else tree


def make_net(
    module_params,
    *,
    family,
    lr,
    max_epochs,
    batch_size,
    patience,
    seed,
    device,
    verbose,
    weight_decay=_WEIGHT_DECAY,
    net_params=None,
):
    """Return an untrained `FusionNet`; ``patience=None`` trains for ``max_epochs``."""
    criterion = torch.nn.CrossEntropyLoss if family == "softmax" else torch.nn.BCEWithLogitsLoss
    callbacks = []
    if patience is not None:
        callbacks.append(("early_stopping", EarlyStopping(patience=patience, load_best=True)))
    settings = {
        "criterion": criterion,
        "criterion__reduction": "none",
        "optimizer": torch.optim.AdamW,
        "optimizer__weight_decay": weight_decay,
        "lr": lr,
        "max_epochs": max_epochs,
        "batch_size": batch_size,
        "iterator_train": MemoryBatches,
        "iterator_train__shuffle": True,
        "iterator_train__seed": seed,
        "iterator_valid": MemoryBatches,
        "train_split": None,
        "callbacks": callbacks,
        "device": device,
        "verbose": verbose,
        **{f"module__{name}": value for name, value in module_params.items()},
        **(net_params or {}),
    }
    if not verbose:
        settings.setdefault("callbacks__print_log", None)
    return FusionNet(FusionMLP, **settings)


def train(net, inputs, Y, weights, valid_rows, seed, epochs=None):
    """Train ``net`` and return it in evaluation mode, on the CPU.

    Parameters
    ----------
    net : FusionNet
        Initialised or not; an initialised one goes on from its weights.
    inputs : dict of ndarray
        Arguments of :meth:`FusionMLP.forward`, float32.
    Y : ndarray of shape (n, K)
        Targets.
    weights : ndarray of shape (n,)
        Row weights.
    valid_rows : ndarray of bool or None
        Rows that watch for early stopping and do not train.
    seed : int
        Seed of dropout.
    epochs : int, optional
        Overrides the net's ``max_epochs``.

    Raises
    ------
    TrainingDivergedError
        If the loss is not finite, or ends far above that of a constant guess.
    """
    target = np.column_stack([Y, weights]).astype(np.float32)
    if not net.initialized_:
        net.initialize()
    net.module_.float().to(net.device)
    generator = torch.Generator().manual_seed(seed)
    for layer in net.module_.modules():
        if isinstance(layer, SeededDropout):
            layer.generator = generator
    train_inputs, split = inputs, None
    if valid_rows is not None:
        watch = {name: value[valid_rows] for name, value in inputs.items()}
        split = predefined_split(Dataset(watch, target[valid_rows]))
        train_inputs = {name: value[~valid_rows] for name, value in inputs.items()}
        target = target[~valid_rows]
    net.train_split = split
    net.partial_fit(train_inputs, target, epochs=epochs)
    net.train_split = None  # a pickle must not carry rows
    _check_converged(net, Y.shape[1])
    return net


def _check_converged(net, n_classes):
    last = net.history[-1]["train_loss"] if len(net.history) else 0.0
    limit = 10 * max(1.0, np.log(n_classes))
    finite = all(torch.isfinite(p).all() for p in net.module_.parameters())
    if not finite or not np.isfinite(last) or last > limit:
        raise TrainingDivergedError(
            f"Training diverged: the last training loss is {last:.3g}, a constant guess has about "
            f"{np.log(n_classes):.3g}. Lower lr (now {net.lr:g})."
        )


def forward(module, inputs, batch_rows=16384):
    """Logits (n, K) as float64, in blocks of rows so that memory stays flat."""
    module.eval()
    n = len(inputs["codes"])
    dtype = next(module.parameters()).dtype
    blocks = []
    small = n <= batch_rows  # several blocks are worth several threads
    with torch.inference_mode(), one_thread() if small else contextlib.nullcontext():
        for start in range(0, max(n, 1), batch_rows):
            part = {
                name: torch.as_tensor(value[start : start + batch_rows], dtype=dtype)
                for name, value in inputs.items()
            }
            blocks.append(module(**part).double().numpy())
    return np.concatenate(blocks)


def contributions(module, inputs, source_names):
    """What each source adds to the logits, as a dict of arrays (n, K); see `FusionClassifier`."""
    module.eval()
    with torch.inference_mode():
        parts = module.contributions(**{k: torch.as_tensor(v) for k, v in inputs.items()})
    blocks = [n for n in source_names if n != "encoder" or not module.n_encoder]
    rename = {f"block_{m}": name for m, name in enumerate(blocks)} | {"mlp": "residual"}
    return {rename.get(name, name): part.detach().numpy().copy() for name, part in parts}


def net_state(net):
    """Return what rebuilds an initialised `FusionNet` for prediction and further training.

    Plain values and arrays only, so that a model can be saved without pickle.
    """
    softmax = net.criterion is torch.nn.CrossEntropyLoss
    return {
        "module": dict(net.get_params_for("module")),
        "family": "softmax" if softmax else "sigmoid",
        "lr": net.lr,
        "weight_decay": net.get_params_for("optimizer").get("weight_decay", 0.0),
        "max_epochs": net.max_epochs,
        "batch_size": net.batch_size,
        "weights": {
            name: value.detach().cpu().numpy() for name, value in net.module_.state_dict().items()
        },
    }


def net_from_state(state):
    """Rebuild a net from :func:`net_state`; it predicts the same to 1e-12.

    Raises
    ------
    ValueError
        If the weights do not have the shapes that the module's parameters ask for. Nothing has
        been allocated then.
    """
    weights = {name: torch.as_tensor(value) for name, value in state["weights"].items()}
    wanted = _weight_shapes(**state["module"])
    found = {name: tuple(value.shape) for name, value in weights.items()}
    if found != wanted:
        wrong = sorted(set(found.items()) ^ set(wanted.items()))[0]
        raise ValueError(f"the weights of the net do not fit its parameters, first at {wrong}")
    net = make_net(
        state["module"],
        family=state["family"],
        lr=state["lr"],
        weight_decay=state["weight_decay"],
        max_epochs=state["max_epochs"],
        batch_size=state["batch_size"],
        patience=None,
        seed=0,
        device="cpu",
        verbose=0,
    ).initialize()
    dtypes = {value.dtype for value in weights.values() if value.is_floating_point()}
    net.module_.to(torch.float64 if torch.float64 in dtypes else torch.float32)
    net.module_.load_state_dict(weights)
    net.module_.eval()
    return net


def _weight_shapes(
    n_encoder,
    block_sizes=(),
    n_classes=2,
    *,
    hidden_layer_sizes=(64, 32),
    anchor=False,
    mlp=True,
    mix=False,
    trust_by_label=False,
    input_scale=None,
    **others,
):
    """Shapes of all weights of a `FusionMLP` with these parameters, by name."""
    k, total = n_classes, sum(block_sizes)
    shapes = {"input_scale": (1,) if input_scale is None else np.shape(input_scale)}
    if mlp:
        widths = [n_encoder + total + len(block_sizes), *hidden_layer_sizes, k]
        for number, (wide, narrow) in enumerate(pairwise(widths)):
            place = 3 * number  # a layer, its activation, its dropout
            shapes |= {f"mlp.{place}.weight": (narrow, wide), f"mlp.{place}.bias": (narrow,)}
    if not anchor:
        return shapes
    each = (k,) if trust_by_label else ()
    shapes |= {"anchor.bias": (k,), "anchor.trust_llm": (len(block_sizes), *each)}
    if n_encoder:
        shapes |= {"anchor.trust_encoder": (1, *each), "anchor.probe_bias": (k,)}
        shapes["anchor.probe"] = (n_encoder, k)
    for m, size in enumerate(block_sizes):
        shapes |= {f"anchor.table_{m}": (size, k), f"anchor.table_bias_{m}": (k,)}
    if mix:
        shapes["anchor.mix"] = ((k if n_encoder else 0) + total, k)
    return shapes
