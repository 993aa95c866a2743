"""Train an encoder and a head on texts, score texts with them, and carry both in a pickle."""

import hashlib
import numbers
import warnings
from dataclasses import replace

import numpy as np
import torch
from sklearn.base import BaseEstimator

from sklfusion._optional import import_optional
from sklfusion._text_input import distinct
from sklfusion._whole import whole
from sklfusion.embedding._archive import plain_files, unpack
from sklfusion.embedding._backbone import empty_backbone, load_backbone, resolve_device
from sklfusion.embedding._checks import warn_of_cut
from sklfusion.embedding._encode import tokenize
from sklfusion.embedding._frozen_layers import longest_layers, lower_layers_once
from sklfusion.embedding._net import (
    EncoderWithHead,
    TextRows,
    predict_logits,
    restore_net,
    train_net,
    train_pairs,
)
from sklfusion.embedding._windows import longer_than
from sklfusion.fusion import FusionMLP


class EncoderTrainer(BaseEstimator):
    """Train an encoder and a head on texts, and score texts with them.

    Parameters
    ----------
    source : str or Path
        Alias, folder or hub id.
    revision : str or None
        Revision of a hub id.
    settings : dict
        Everything else: ``pooling``, ``max_length``, ``device``, ``amp``, ``lr``, ``head_lr``,
        ``freeze_layers``, ``lora``, ``validation_fraction``, ``eval_batch_size``, the parameters
        of the head (``head``) and the options of `train_net`. With ``contrastive_steps`` the
        encoder is trained on pairs of texts, for that many batches.

    Attributes
    ----------
    net_ : skorch.NeuralNet
        The trained net; ``net_.history`` has the losses by epoch.
    history_ : list of dict
        Training and validation loss by epoch.
    multilabel_ : bool
        Whether scores are log-odds per label.
    """

    def __init__(self, source, revision, settings):
        self.source = source
        self.revision = revision
        self.settings = settings

    @whole
    def fit(self, texts, target, rows=None, *, codes=None, answered=None, weights=None, seed=0):
        """Train on the texts at `rows` (all by default).

        `codes` (n, S) are LLM scores, `answered` (n, m) tells which LLM answered, `weights` (n,)
        are row weights.
        """
        rng = np.random.RandomState(seed)
        device = resolve_device(self.settings["device"])
        backbone = load_backbone(self.source, self.revision, shared=False)
        self.multilabel_ = target.multilabel
        self.n_classes_ = len(target.classes)
        self._attach(backbone)
        wanted = np.column_stack([target.matrix, _ones(weights, len(texts))])
        data = self._rows(texts, codes, answered, wanted, tell=rows is None)
        rows = np.arange(len(texts)) if rows is None else np.asarray(rows)
        if weights is not None:
            rows = rows[np.asarray(weights)[rows] > 0]
        train, valid = target.holdout(rows, self.settings["validation_fraction"], rng)
        module = self._module(backbone, seed)
        adapt(module.encoder, self.settings["freeze_layers"])
        if self.settings["lora"]:
            module.encoder = add_adapters(module.encoder, self.settings["lora"])
        self.net_ = self._train(module, data, train, valid, device, seed)
        if self.settings["lora"]:
            # Merged, the weights need no peft where the model is used.
            module.encoder = module.encoder.merge_and_unload()
        keep = ("epoch", "train_loss", "valid_loss", "dur")
        self.history_ = [{k: row[k] for k in keep if k in row} for row in self.net_.history]
        return self

    def _train(self, module, data, train, valid, device, seed):
        settings = self.settings
        once = device.type == "cpu" and not settings["lora"]  # an accelerator is fast anyway
        frozen = settings["freeze_layers"] if once else 0
        common = {
            "multilabel": self.multilabel_,
            "lr": settings["lr"],
            "options": settings,
            "device": device,
            "amp": use_amp(settings["amp"], device),
            "seed": seed,
        }
        with lower_layers_once(module.encoder, data, frozen, settings["eval_batch_size"]) as data:
            rows = data.subset(train)
            if self._on_pairs():
                return train_pairs(module, rows, **common)
            watched = None if valid is None else data.subset(valid)
            return train_net(module, rows, watched, head_lr=settings["head_lr"], **common)

    def _on_pairs(self):
        return bool(self.settings.get("contrastive_steps"))

    def logits(self, texts, codes=None, answered=None, *, tell=True):
        """Logits of shape (n, K); `tell` warns of texts that lose their end."""
        target = np.zeros((len(texts), self.n_classes_ + 1))
        data = self._rows(texts, codes, answered, target, tell)
        device = resolve_device(self.settings["device"])
        return predict_logits(self.net_, data, self.settings["eval_batch_size"], device)

    def scores(self, texts, *, tell=True):
        """Log-probabilities (one class per text) or log-odds per label, (n, K) float32."""
        different, places = distinct(texts)
        logits = self.logits(different, tell=tell)[places]
        return logits if self.multilabel_ else log_softmax(logits)

    def __getstate__(self):
        """Plain values and arrays only: needs neither skorch's pickles nor the model's folder."""
        state = super().__getstate__().copy()
        if "net_" in state:
            module = state.pop("net_").module_
            state["_weights"] = {
                name: value.cpu().numpy() for name, value in module.state_dict().items()
            }
            state["_files"] = plain_files(state.pop("tokens_").tokenizer, module.encoder.config)
        return state

    def __setstate__(self, state):
        state = dict(state)
        weights, files = state.pop("_weights", None), state.pop("_files", None)
        super().__setstate__(state)
        if weights is not None:
            self._rebuild(weights, files)

    def _rebuild(self, weights, files):
        """Module and tokenizer from what a pickle carries."""
        digest = hashlib.sha256(b"".join(files[name] for name in sorted(files))).hexdigest()
        n_weights = sum(np.size(value) for value in weights.values())
        backbone = empty_backbone(unpack(files, digest), self.inputs_, self.pad_id_, n_weights)
        module = self._module(backbone, 0)
        tensors = {name: torch.tensor(value) for name, value in weights.items()}
        module.load_state_dict(tensors)
        self.net_ = restore_net(module, self.history_, self.multilabel_)
        self.tokens_ = replace(backbone, model=None)

    def _attach(self, backbone):
        """Keep what is needed to tokenise; the weights go into the net."""
        self.tokens_ = replace(backbone, model=None)
        self.inputs_: list[str] = sorted(backbone.inputs)
        self.pad_id_: int = backbone.pad_id
        self.width_ = backbone.width
        self.pooling_ = self.settings["pooling"]
        if self.pooling_ == "auto":
            self.pooling_ = backbone.pooling
        limit = self.settings["max_length"] or backbone.max_positions
        self.max_length_ = min(limit, backbone.max_positions)

    def _rows(self, texts, codes, answered, target, tell=False):
        n = len(texts)
        codes = np.zeros((n, 0)) if codes is None else codes
        answered = np.zeros((n, 0)) if answered is None else answered
        rows = tokenize(self.tokens_, texts, self.max_length_) if n else []
        if tell:
            cut = len(longer_than(self.tokens_, texts, rows, self.max_length_))
            warn_of_cut(cut, f"the {self.max_length_} tokens that an encoder in training reads")
        return TextRows(rows, codes, answered, target, self.tokens_.pad_id)

    def _module(self, backbone, seed):
        head = self._head(backbone.width, seed)
        return EncoderWithHead(
            backbone.model, head, backbone.inputs, self.pooling_, unit=self._on_pairs()
        )

    def _head(self, width, seed):
        head = FusionMLP(width, n_classes=self.n_classes_, seed=seed, **self.settings["head"])
        if head.anchor is not None:
            with torch.no_grad():  # start where the LLM is believed
                for m in range(len(head.block_sizes)):
                    head.anchor[f"table_{m}"].copy_(torch.eye(self.n_classes_))
        return head


def log_softmax(logits):
    """Log-probabilities of logits, row by row, in the precision of `logits`."""
    return torch.log_softmax(torch.from_numpy(logits), dim=1).numpy()


def use_amp(amp, device):
    """Whether to train in mixed precision: asked for, on an accelerator that has bfloat16."""
    if amp not in (True, False, "auto"):
        raise ValueError(f"amp={amp!r}; it must be True, False or 'auto'.")
    if device.type == "cpu" or amp is False:
        return False
    return device.type != "cuda" or torch.cuda.is_bf16_supported()


def adapt(encoder, freeze_layers):
    """Set which weights are trained: all (-1), all but embeddings (0), or upper layers only."""
    encoder.requires_grad_(True)
    layers = longest_layers(encoder)[2]
    if (
        not isinstance(freeze_layers, numbers.Integral)
        or isinstance(freeze_layers, bool)
        or not -1 <= int(freeze_layers) <= len(layers)
    ):
        raise ValueError(
            f"freeze_layers={freeze_layers!r}; it must be an integer from -1 to {len(layers)}, "
            "the number of layers of this encoder."
        )
    if int(freeze_layers) >= 0:
        getattr(encoder, "embeddings", encoder.get_input_embeddings()).requires_grad_(False)
    for layer in layers[: max(int(freeze_layers), 0)]:
        layer.requires_grad_(False)
    # A pooler after the last hidden state gets no gradient here.
    if isinstance(getattr(encoder, "pooler", None), torch.nn.Module):
        encoder.pooler.requires_grad_(False)


def add_adapters(encoder, options):
    """Wrap the encoder's linear layers in low-rank adapters (LoRA)."""
    peft = import_optional("peft", extra="lora", purpose="lora=True")
    arguments = {"r": 8, "lora_alpha": 16, "lora_dropout": 0.05, "target_modules": "all-linear"}
    arguments |= {} if options is True else dict(options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft asks transformers for old names
        return peft.get_peft_model(encoder, peft.LoraConfig(**arguments))


def _ones(weights, n):
    return np.ones(n) if weights is None else np.asarray(weights, dtype=float)
