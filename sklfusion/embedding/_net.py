"""The skorch net that trains an encoder under a fusion head, and its batches and callbacks."""

import math

import numpy as np
import torch
from skorch import NeuralNet
from skorch.callbacks import Callback, GradientNormClipping, LRScheduler
from skorch.helper import predefined_split
from skorch.utils import to_tensor
from torch.optim.lr_scheduler import LambdaLR

from sklfusion._whole import WholeTraining
from sklfusion.embedding._contrastive import PairBatches, PairLoss, Vectors, fit_head
from sklfusion.embedding._encode import pad, pad_states, pooled
from sklfusion.exceptions import TrainingDivergedError

_POOL = 40  # batches whose texts are sorted by length among themselves


class EncoderWithHead(torch.nn.Module):
    """An encoder and, on its pooled vector and the LLM scores, a :class:`FusionMLP`.

    Parameters
    ----------
    encoder : torch.nn.Module
        A transformers model.
    head : FusionMLP
        Gives the logits.
    inputs : frozenset of str
        Inputs that the encoder takes.
    pooling : {"mean", "cls", "max"}
        How token vectors become one.
    unit : bool, default=False
        Whether the head gets vectors of length 1.
    """

    def __init__(self, encoder, head, inputs, pooling, unit=False):
        super().__init__()
        self.encoder = encoder
        self.head = head
        self.inputs = inputs
        self.pooling = pooling
        self.unit = unit

    def forward(self, ids, mask, codes, answered):
        """Class logits of shape (b, K)."""
        vectors = pooled(self.encoder, self.inputs, ids, mask, self.pooling)
        if self.unit:
            vectors = torch.nn.functional.normalize(vectors, dim=1)
        return self.head(vectors, codes, answered)


class TextRows(torch.utils.data.Dataset):
    """Tokenised texts with their score columns and targets.

    Parameters
    ----------
    rows : list of n lists of int, or of n arrays of shape (tokens, d)
        Token ids, or hidden states after the frozen layers.
    codes : ndarray of shape (n, S)
        LLM scores; S may be 0.
    answered : ndarray of shape (n, m)
        1 where an LLM gave an answer.
    target : ndarray of shape (n, K + 1)
        One-hot or indicator targets, and the row weight as last column.
    pad_id : int
        Token id of the padding.
    """

    def __init__(self, rows, codes, answered, target, pad_id):
        self.rows = rows
        self.codes = torch.as_tensor(codes, dtype=torch.float32)
        self.answered = torch.as_tensor(answered, dtype=torch.float32)
        self.target = torch.as_tensor(target, dtype=torch.float32)
        self.pad_id = pad_id

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, index):
        batch, target = self.batch([index])
        return {name: value[0] for name, value in batch.items()}, target[0]

    def batch(self, index):
        """Inputs and targets of the texts at `index`, padded to the longest of them."""
        rows = [self.rows[i] for i in index]
        ids, mask = pad_states(rows) if np.ndim(rows[0]) == 2 else pad(rows, self.pad_id)
        inputs = {
            "ids": ids,
            "mask": mask,
            "codes": self.codes[index],
            "answered": self.answered[index],
        }
        return inputs, self.target[index]

    def with_rows(self, rows):
        """The same texts in another form."""
        return TextRows(rows, self.codes, self.answered, self.target, self.pad_id)

    def subset(self, index):
        """The texts at `index` as a data set of their own."""
        rows = [self.rows[i] for i in index]
        arrays = (self.codes[index], self.answered[index], self.target[index])
        return TextRows(rows, *arrays, self.pad_id)


class LengthBatches:
    """Batches of texts of like length.

    When shuffling, texts are sorted within random pools of 40 batches, and the batches come in
    random order: nearly as random as plain shuffling, and with hardly any padding.
    """

    def __init__(self, dataset, batch_size, shuffle=False, seed=0):
        self.dataset = dataset
        self.batch_size = batch_size
        self.rng = np.random.RandomState(seed) if shuffle else None

    def __len__(self):
        return -(-len(self.dataset) // self.batch_size)

    def __iter__(self):
        for index in self._order():
            yield self.dataset.batch(index)

    def _order(self):
        lengths = np.array([len(row) for row in self.dataset.rows])
        if self.rng is None:
            order = np.argsort(-lengths, kind="stable")
            return [order[i : i + self.batch_size] for i in range(0, len(order), self.batch_size)]
        order = self.rng.permutation(len(lengths))
        batches = []
        for start in range(0, len(order), _POOL * self.batch_size):
            pool = order[start : start + _POOL * self.batch_size]
            pool = pool[np.argsort(lengths[pool], kind="stable")]
            batches += [
                pool[i : i + self.batch_size] for i in range(0, len(pool), self.batch_size)
            ]
        self.rng.shuffle(batches)
        return batches


class BestWeights(Callback):
    """Keep the weights of the epoch with the lowest validation loss, and stop after `patience`.

    Only weights that are trained are copied, so that a frozen encoder costs nothing.
    """

    def __init__(self, patience):
        self.patience = patience

    def on_train_begin(self, net, **kwargs):
        """Forget the best of an earlier training."""
        self.best_, self.weights_, self.epoch_ = math.inf, None, 0

    def on_epoch_end(self, net, **kwargs):
        """Compare this epoch with the best so far."""
        loss, epoch = net.history[-1, "valid_loss"], len(net.history)
        if loss < self.best_:
            self.best_, self.epoch_ = loss, epoch
            self.weights_ = [p.detach().clone() for p in _trained(net.module_)]
        elif epoch - self.epoch_ >= self.patience:
            raise KeyboardInterrupt  # skorch's way to end training early

    def on_train_end(self, net, **kwargs):
        """Bring the best weights back."""
        if self.weights_ is not None:
            with torch.no_grad():
                for parameter, value in zip(_trained(net.module_), self.weights_, strict=True):
                    parameter.copy_(value)
        self.weights_ = None


class EncoderNet(WholeTraining, NeuralNet):
    """A skorch net with weighted rows and, on an accelerator, mixed precision.

    Parameters
    ----------
    module : torch.nn.Module
        An `EncoderWithHead`.
    amp : bool, default=False
        Whether the forward pass runs in bfloat16 where that is safe.
    **kwargs
        Parameters of :class:`skorch.NeuralNet`.
    """

    def __init__(self, module, *args, amp=False, **kwargs):
        super().__init__(module, *args, **kwargs)
        self.amp = amp

    def infer(self, x, **fit_params):
        """Logits of a batch, in float32."""
        device = torch.device(self.device)
        with torch.autocast(device.type, torch.bfloat16, enabled=self.amp):
            return super().infer(x, **fit_params).float()

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
                f"the loss became {loss.item()} in epoch {len(self.history)}; no model was kept. "
                "Lower lr and head_lr."
            )
        return loss


def train_net(module, data, valid, *, multilabel, lr, head_lr, options, device, amp, seed):
    """Train `module` on `data` and return the net, in evaluation mode and without the data.

    Parameters
    ----------
    module : EncoderWithHead
        What to train.
    data, valid : TextRows
        Training rows, and the rows that find the best epoch (or None).
    multilabel : bool
        Binary cross-entropy per label instead of cross-entropy.
    lr, head_lr : float
        Peak learning rates of encoder and head.
    options : dict
        ``max_epochs``, ``batch_size``, ``patience``, ``warmup``, ``weight_decay``,
        ``gradient_clipping``, ``verbose``.
    device : torch.device
        Where to train.
    amp : bool
        Mixed precision.
    seed : int
        Seed of batches and dropout. The global generator is left as it was.
    """
    steps = options["max_epochs"] * -(-len(data) // options["batch_size"])
    arguments = {
        **_criterion(multilabel),
        "optimizer__param_groups": [("encoder.*", {"lr": lr})],
        "lr": head_lr,
        "max_epochs": options["max_epochs"],
        "iterator_train": LengthBatches,
        "iterator_train__shuffle": True,
    }
    return _train(module, data, arguments, steps, options, device, amp, seed, valid)


def train_pairs(module, data, *, multilabel, lr, options, device, amp, seed):
    """Train the encoder of `module` on pairs of texts, then set its head; see `_contrastive`.

    Parameters are those of `train_net`; of the options, ``contrastive_steps`` is the number of
    batches.
    """
    head, module.head = module.head, Vectors()
    steps = options["contrastive_steps"]
    arguments = {
        "criterion": PairLoss,
        "lr": lr,
        "max_epochs": 1,
        "iterator_train": PairBatches,
        "iterator_train__n_steps": steps,
    }
    net = _train(module, data, arguments, steps, options, device, amp, seed)
    vectors = predict_logits(net, data, options["eval_batch_size"], device, head.n_encoder)
    target, weights = data.target[:, :-1].numpy(), data.target[:, -1].numpy()
    weight, bias = fit_head(vectors, target, weights, multilabel)
    module.head = head.to(device)
    with torch.no_grad():
        module.head.mlp[-1].weight.copy_(torch.as_tensor(weight))
        module.head.mlp[-1].bias.copy_(torch.as_tensor(bias))
    return net


def _train(module, data, arguments, steps, options, device, amp, seed, valid=None):
    """Fit a net with the given arguments, and what every training has in common."""
    warmup = max(1, round(options["warmup"] * steps))
    callbacks = [
        ("clip", GradientNormClipping(options["gradient_clipping"])),
        ("rate", LRScheduler(LambdaLR, lr_lambda=_ramp(warmup, steps), step_every="batch")),
    ]
    if valid is not None:
        callbacks.append(("best", BestWeights(options["patience"])))
    net = EncoderNet(
        module,
        amp=amp,
        optimizer=torch.optim.AdamW,
        optimizer__weight_decay=options["weight_decay"],
        batch_size=options["batch_size"],
        iterator_train__seed=seed,
        iterator_valid=LengthBatches,
        train_split=None if valid is None else predefined_split(valid),
        callbacks=callbacks,
        device=str(device),
        verbose=options["verbose"],
        **({} if options["verbose"] else {"callbacks__print_log": None}),
        **arguments,
    )
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        net.fit(data, None)
    return _slim(net)


def _criterion(multilabel):
    loss = torch.nn.BCEWithLogitsLoss if multilabel else torch.nn.CrossEntropyLoss
    return {"criterion": loss, "criterion__reduction": "none"}


def restore_net(module, history, multilabel):
    """A net around trained weights, good for prediction."""
    net = EncoderNet(
        module,
        **_criterion(multilabel),
        callbacks=None,
        train_split=None,
        verbose=0,
    ).initialize()
    for row in history:
        net.history.new_epoch()
        for name, value in row.items():
            net.history.record(name, value)
    return _slim(net)


def predict_logits(net, data, batch_size, device, width=None):
    """Logits (n, K) of the rows of `data`, float32; or whatever `width` columns the head gives."""
    net.module_.to(device).eval()
    net.device = str(device)
    width = data.target.shape[1] - 1 if width is None else width
    out = np.empty((len(data), width), dtype=np.float32)
    batches = LengthBatches(data, batch_size)
    with torch.inference_mode():
        for index, (inputs, _) in zip(batches._order(), batches, strict=True):
            out[index] = net.infer(inputs).cpu().numpy()
    return out


def _ramp(warmup, steps):
    """Factor of the learning rate: linear warm-up, then linear decay to zero."""

    def factor(step):
        if step < warmup:
            return (step + 1) / warmup
        return max(0.0, (steps - step) / max(1, steps - warmup))

    return factor


def _trained(module):
    return [p for p in module.parameters() if p.requires_grad]


def _slim(net):
    """Drop what only training needs; a pickle would carry the weights three times and the rows."""
    net.module_.eval()
    net.module = type(net.module_)
    net.optimizer_ = None
    net.callbacks, net.callbacks_ = None, []
    net.train_split = None
    return net
