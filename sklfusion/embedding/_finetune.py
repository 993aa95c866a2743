"""Fine-tune an encoder on labelled texts; class scores in and out of fold."""

import numbers
import warnings

import numpy as np
import torch
from sklearn.model_selection import check_cv, train_test_split
from sklearn.utils import check_random_state

from sklfusion._validation import check_class_target, check_indicator, is_multilabel
from sklfusion.embedding._backbone import load, resolve_device
from sklfusion.embedding._encode import tokenize
from sklfusion.embedding._net import EncoderWithHead, TextRows, predict_logits, train_net
from sklfusion.fusion import FusionMLP

_MIN_VALIDATION = 8  # with fewer rows the best epoch is a matter of luck


class Target:
    """Classes and one-hot or indicator matrix of a target.

    Parameters
    ----------
    y : array-like of shape (n,) or (n, K)
        Class labels or a label indicator matrix.
    n : int
        Number of texts.
    caller : str
        Name of the estimator, for messages.
    """

    def __init__(self, y, n, caller):
        if y is None:
            raise ValueError(
                f"{caller} requires y to be passed, but the target y is None. It needs class "
                "labels or a label indicator matrix."
            )
        self.multilabel = is_multilabel(y)
        if self.multilabel:
            self.matrix = check_indicator(y, caller=caller)
            columns = getattr(y, "columns", range(self.matrix.shape[1]))
            self.classes = np.asarray(list(columns))
            self.labels = None
        else:
            labels = np.asarray(y)
            if labels.ndim == 2 and labels.shape[1] == 1:
                labels = labels.ravel()
            check_class_target(labels, caller=caller)
            self.classes, self.labels = np.unique(labels, return_inverse=True)
            self.matrix = np.eye(len(self.classes), dtype=np.float32)[self.labels]
        if len(self.matrix) != n:
            raise ValueError(
                f"{caller} got {n} texts and {len(self.matrix)} targets; it needs one target per "
                "text (found input variables with inconsistent numbers of samples)."
            )
        if len(self.classes) < 2:
            raise ValueError(
                f"{caller} got 1 class in y ({self.classes.tolist()}); it needs at least two "
                "classes."
            )

    def holdout(self, rows, fraction, rng):
        """Split `rows` into training and validation rows (or None when there are too few)."""
        n_valid = round(fraction * len(rows))
        if n_valid < max(_MIN_VALIDATION, 0 if self.multilabel else len(self.classes)):
            return rows, None
        stratify = None
        if not self.multilabel and np.bincount(self.labels[rows]).min(initial=2) >= 2:
            stratify = self.labels[rows]
        return train_test_split(rows, test_size=n_valid, stratify=stratify, random_state=rng)


class EncoderTrainer:
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
        of the head (``head``) and the options of `train_net`.

    Attributes
    ----------
    net_ : skorch.NeuralNet
        The trained net; ``net_.history`` has the losses by epoch.
    multilabel_ : bool
        Whether scores are log-odds per label.
    """

    def __init__(self, source, revision, settings):
        self.source = source
        self.revision = revision
        self.settings = settings

    def fit(self, texts, target, rows=None, *, codes=None, answered=None, weights=None, seed=0):
        """Train on the texts at `rows` (all by default).

        `codes` (n, S) are LLM scores, `answered` (n, m) tells which LLM answered, `weights` (n,)
        are row weights.
        """
        rng = np.random.RandomState(seed)
        device = resolve_device(self.settings["device"])
        backbone = load(self.source, self.revision, shared=False)
        self.multilabel_ = target.multilabel
        self.n_classes_ = len(target.classes)
        self._attach(backbone)
        data = self._rows(
            texts, codes, answered, np.column_stack([target.matrix, _ones(weights, len(texts))])
        )
        rows = np.arange(len(texts)) if rows is None else np.asarray(rows)
        if weights is not None:
            rows = rows[np.asarray(weights)[rows] > 0]
        train, valid = target.holdout(rows, self.settings["validation_fraction"], rng)
        module = EncoderWithHead(
            backbone.model, self._head(backbone.width, seed), backbone.inputs, self.pooling_
        )
        adapt(module.encoder, self.settings["freeze_layers"])
        if self.settings["lora"]:
            module.encoder = add_adapters(module.encoder, self.settings["lora"])
        self.net_ = train_net(
            module,
            data.subset(train),
            None if valid is None else data.subset(valid),
            multilabel=target.multilabel,
            lr=self.settings["lr"],
            head_lr=self.settings["head_lr"],
            options=self.settings,
            device=device,
            amp=use_amp(self.settings["amp"], device),
            seed=seed,
        )
        if self.settings["lora"]:
            # Merged, the weights need no peft where the model is used.
            module.encoder = module.encoder.merge_and_unload()
        return self

    def logits(self, texts, codes=None, answered=None):
        """Logits of shape (n, K)."""
        data = self._rows(texts, codes, answered, np.zeros((len(texts), self.n_classes_ + 1)))
        device = resolve_device(self.settings["device"])
        return predict_logits(self.net_, data, self.settings["eval_batch_size"], device)

    def scores(self, texts):
        """Log-probabilities (one class per text) or log-odds per label, (n, K) float32."""
        position = {}
        index = [position.setdefault(text, len(position)) for text in texts]
        logits = self.logits(list(position))[index]
        return logits if self.multilabel_ else log_softmax(logits)

    def __getstate__(self):
        state = self.__dict__.copy()
        if "net_" in state:
            state["net_"].module_.to("cpu")  # a pickle must load where there is no accelerator
            state["net_"].device = "cpu"
        return state

    def _attach(self, backbone):
        """Keep what is needed to tokenise; the weights go into the net."""
        from dataclasses import replace

        self.tokens_ = replace(backbone, model=None)
        self.pooling_ = self.settings["pooling"]
        if self.pooling_ == "auto":
            self.pooling_ = backbone.pooling
        limit = self.settings["max_length"] or backbone.max_positions
        self.max_length_ = min(limit, backbone.max_positions)

    def _rows(self, texts, codes, answered, target):
        n = len(texts)
        codes = np.zeros((n, 0)) if codes is None else codes
        answered = np.zeros((n, 0)) if answered is None else answered
        rows = tokenize(self.tokens_, texts, self.max_length_) if n else []
        return TextRows(rows, codes, answered, target, self.tokens_.pad_id)

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
    layers = _layers(encoder)
    if (
        not isinstance(freeze_layers, numbers.Integral)
        or isinstance(freeze_layers, bool)
        or not -1 <= freeze_layers <= len(layers)
    ):
        raise ValueError(
            f"freeze_layers={freeze_layers!r}; it must be an integer from -1 to {len(layers)}, "
            "the number of layers of this encoder."
        )
    if freeze_layers >= 0:
        getattr(encoder, "embeddings", encoder.get_input_embeddings()).requires_grad_(False)
    for layer in layers[: max(freeze_layers, 0)]:
        layer.requires_grad_(False)
    # A pooler after the last hidden state gets no gradient here.
    if isinstance(getattr(encoder, "pooler", None), torch.nn.Module):
        encoder.pooler.requires_grad_(False)


def _layers(encoder):
    lists = [m for m in encoder.modules() if isinstance(m, torch.nn.ModuleList)]
    return max(lists, key=len, default=[])


def add_adapters(encoder, options):
    """Wrap the encoder's linear layers in low-rank adapters (LoRA)."""
    from sklfusion._optional import import_optional

    peft = import_optional("peft", extra="lora", purpose="lora=True")
    arguments = {"r": 8, "lora_alpha": 16, "lora_dropout": 0.05, "target_modules": "all-linear"}
    arguments |= {} if options is True else dict(options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft asks transformers for old names
        return peft.get_peft_model(encoder, peft.LoraConfig(**arguments))


def fit_encoder(embedder, texts, y):
    """Train the final encoder of a `RobertaEmbedder` and set its fitted attributes."""
    target = Target(y, len(texts), type(embedder).__name__)
    seed = check_random_state(embedder.random_state).randint(2**31 - 1)
    embedder.classes_ = target.classes
    embedder.trainer_ = _trainer(embedder).fit(texts, target, seed=seed)
    embedder.n_features_out_ = len(target.classes)
    if embedder.output == "both":
        embedder.n_features_out_ += embedder._width
    return target, seed


def cross_fit(embedder, texts, y):
    """Fit a `RobertaEmbedder` and return the out-of-fold scores of its training texts.

    Equal texts stay in one fold: a copy in the training part would tell the label.
    """
    target, seed = fit_encoder(embedder, texts, y)
    scores = np.empty((len(texts), len(target.classes)), dtype=np.float32)
    for train, test in folds(embedder.cv, texts, target, seed):
        trainer = _trainer(embedder).fit(texts, target, train, seed=seed)
        scores[test] = trainer.scores([texts[i] for i in test])
    return scores


def folds(cv, texts, target, seed):
    """Train and test rows of each fold; every row is tested once."""
    n = len(texts)
    if not isinstance(cv, numbers.Integral):
        cv = check_cv(cv, target.labels if target.labels is not None else target.matrix)
        groups = np.zeros(n) if target.labels is None else target.labels
        pairs = list(cv.split(texts, groups))
        tested = np.bincount(np.concatenate([test for _, test in pairs]), minlength=n)
        if (tested != 1).any():
            raise ValueError("cv must test every text exactly once, as KFold does.")
        return pairs
    if cv < 2:
        raise ValueError(f"cv={cv!r}; it must be at least 2, or a splitter.")
    fold = _fold_of_texts(texts, target, min(int(cv), n), seed)
    return [(np.flatnonzero(fold != k), np.flatnonzero(fold == k)) for k in np.unique(fold)]


def _fold_of_texts(texts, target, n_folds, seed):
    """Fold number per text: equal texts together, classes spread evenly."""
    rng = np.random.RandomState(seed)
    position = {}
    group = np.array([position.setdefault(text, len(position)) for text in texts])
    _, first = np.unique(group, return_index=True)
    shuffled = rng.permutation(len(first))
    if target.labels is not None:
        by_class = np.argsort(target.labels[first][shuffled], kind="stable")
        shuffled = shuffled[by_class]
    fold = np.empty(len(first), dtype=int)
    fold[shuffled] = np.arange(len(first)) % min(n_folds, max(2, len(first)))
    return fold[group]


def _trainer(embedder):
    settings = {
        "head": {"hidden_layer_sizes": (), "dropout": 0.0},
        "batch_size": embedder.train_batch_size,
        "eval_batch_size": embedder.batch_size,
        "warmup": 0.1,
        "weight_decay": 0.01,
        "gradient_clipping": 1.0,
    }
    for name in (
        "pooling",
        "max_length",
        "device",
        "amp",
        "lr",
        "head_lr",
        "max_epochs",
        "patience",
        "freeze_layers",
        "lora",
        "validation_fraction",
        "verbose",
    ):
        settings[name] = getattr(embedder, name)
    return EncoderTrainer(embedder._source(), embedder.revision, settings)


def _ones(weights, n):
    return np.ones(n) if weights is None else np.asarray(weights, dtype=float)
