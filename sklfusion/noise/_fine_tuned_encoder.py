"""A fine-tuned transformer as stage I of SiDyP: accurate, slow, and large."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from torch import nn

from sklfusion._idle import warn_if_set
from sklfusion._sklearn_compat import check_parameters, integer, number
from sklfusion._text_input import check_texts
from sklfusion._whole import whole
from sklfusion.embedding._training import EncoderTraining, check_training, resolve_training
from sklfusion.exceptions import TrainingDivergedError
from sklfusion.noise._encoder import agreement_penalty

_MODULE_CACHE = "_net"
#: What None stands for: the published settings, in which the whole encoder learns.
_DEFAULT_TRAINING = EncoderTraining(max_epochs=3, batch_size=32, warmup=0.06, freeze_layers=-1)
_WITHOUT_EFFECT = ("validation_fraction", "patience", "amp", "lora")


class FineTunedTrajectoryEncoder(BaseEstimator):
    """Transformer that is fine-tuned on the noisy labels, with its state kept per epoch.

    The branches share one encoder and differ by their heads and dropout; after each epoch the
    pooled vectors are the trajectory. X is texts: use it in
    :class:`~sklfusion.SiDyPClassifier` together with an ``embedder``.

    Parameters
    ----------
    model : str or Path, default="all-minilm-l6-v2"
        See :class:`~sklfusion.RobertaEmbedder`.
    n_branches : int, default=3
        Heads.
    training : EncoderTraining, optional
        How encoder and heads are trained. By default ``EncoderTraining(max_epochs=3,
        batch_size=32, warmup=0.06, freeze_layers=-1)``. All epochs are trained and kept, in full
        precision, and every one costs a copy of the weights in memory (90 MB for MiniLM);
        ``validation_fraction``, ``patience``, ``amp`` and ``lora`` have no effect.
    alpha_coreg : float, default=5.0
        Agreement between the heads after the first epoch.
    dropout : float, default=0.1
        Before each head.
    max_length : int, default=128
        Tokens per text.
    device : str, default="cpu"
        Where to train.
    random_state : int, RandomState or None, default=None
        Seed.

    Attributes
    ----------
    snapshots_ : list of dict of ndarray
        Weights after each epoch.
    best_epoch_ : int
        Epoch with the best accuracy on the noisy validation labels.

    See Also
    --------
    MLPTrajectoryEncoder : On embeddings, in seconds.
    SiDyPClassifier : Takes either.

    Notes
    -----
    Cost on a CPU: about a minute per epoch and 1,000 short texts with MiniLM.

    Examples
    --------
    >>> from sklfusion import EncoderTraining, FineTunedTrajectoryEncoder, SiDyPClassifier
    >>> training = EncoderTraining(max_epochs=2, freeze_layers=-1)
    >>> model = SiDyPClassifier(encoder=FineTunedTrajectoryEncoder(training=training))
    >>> model.fit(texts, llm_labels)  # doctest: +SKIP
    """

    _parameter_constraints: dict = {
        "n_branches": [integer(1)],
        "alpha_coreg": [number(0)],
        "dropout": [number(0, 1, closed="left")],
        "max_length": [integer(1)],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        model: Any = "all-minilm-l6-v2",
        *,
        n_branches: int = 3,
        training: Any = None,
        alpha_coreg: float = 5.0,
        dropout: float = 0.1,
        max_length: int = 128,
        device: Any = "cpu",
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.model = model
        self.n_branches = n_branches
        self.training = training
        self.alpha_coreg = alpha_coreg
        self.dropout = dropout
        self.max_length = max_length
        self.device = device
        self.random_state = random_state

    def __getstate__(self):
        return {k: v for k, v in super().__getstate__().items() if k != _MODULE_CACHE}

    @whole
    def fit(
        self, X: Any, codes: Any, *, n_classes: int, X_val: Any = None, codes_val: Any = None
    ) -> Self:
        """Fine-tune on texts with a label; see :meth:`MLPTrajectoryEncoder.fit`.

        Parameters
        ----------
        X : sequence of n str
            Texts with a label.
        codes : array-like of shape (n,) of int
            Labels as places of the classes.
        n_classes : int
            How many classes there are.
        X_val : sequence of str, optional
            Texts that choose the epoch.
        codes_val : array-like of int, optional
            Their labels.

        Returns
        -------
        self
            Fitted.
        """
        check_parameters(self)
        training = self._check_training()
        texts = check_texts(X, caller=type(self).__name__)
        known = np.flatnonzero(codes >= 0)
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        self.n_classes_ = n_classes
        self.snapshots_: list = []
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            net = self._network(fresh=True)
            goal = torch.from_numpy(codes[known])
            self._train(net, [texts[i] for i in known], goal, training)
        self.best_epoch_, self.val_scores_ = training.max_epochs - 1, []
        if codes_val is not None and (codes_val >= 0).any():
            told = np.flatnonzero(codes_val >= 0)
            proba = self.predict_proba_epochs([X_val[i] for i in told]).mean(axis=0)
            hits = (proba.argmax(axis=2) == codes_val[told]).mean(axis=1)
            self.val_scores_ = hits.tolist()
            self.best_epoch_ = int(len(hits) - 1 - hits[::-1].argmax())
        return self

    def _network(self, fresh=False):
        if fresh or getattr(self, _MODULE_CACHE, None) is None:
            from sklfusion.embedding._backbone import load_backbone

            backbone = load_backbone(self.model, device=self.device, shared=False)
            net = _HeadedEncoder(backbone, self.n_branches, self.n_classes_, self.dropout)
            setattr(self, _MODULE_CACHE, net.to(self.device))
        return getattr(self, _MODULE_CACHE)

    def _check_training(self):
        training = resolve_training(self.training, _DEFAULT_TRAINING, name="training")
        check_training(training, name="training", methods=("cross_entropy",))
        warn_if_set(training, _WITHOUT_EFFECT, "all epochs of all weights are trained and kept")
        return training

    def _train(self, net, texts, targets, training):
        from sklfusion.embedding._trainer import adapt

        adapt(net.encoder, training.freeze_layers)
        optimizer, schedule = _optimizer(net, training, -(-len(texts) // training.batch_size))
        for epoch in range(training.max_epochs):
            net.train()
            for rows in torch.randperm(len(texts)).split(training.batch_size):
                _, logits = net([texts[i] for i in rows], self.max_length)
                loss = self._loss(logits, targets[rows].to(self.device), agree=epoch > 0)
                if not torch.isfinite(loss):
                    raise TrainingDivergedError(
                        f"The loss of {type(self).__name__} became {loss.item()}; lower "
                        f"lr (now {training.lr}) or head_lr (now {training.head_lr})."
                    )
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(net.parameters(), training.gradient_clipping)
                optimizer.step()
                schedule.step()
            self.snapshots_.append(
                {k: v.detach().cpu().numpy().copy() for k, v in net.state_dict().items()}
            )

    def _loss(self, logits, goal, agree):
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), goal.repeat(self.n_branches))
        if agree and self.n_branches > 1:
            loss = loss + self.alpha_coreg * agreement_penalty(logits).mean()
        return loss

    def transform_epochs(self, X: Any) -> np.ndarray:
        """Return pooled vectors of shape (n_branches, n_epochs, n, d); equal for all branches.

        Parameters
        ----------
        X : sequence of n str
            Texts.

        Returns
        -------
        ndarray of shape (n_branches, n_epochs, n, d)
            Of every epoch.
        """
        vectors = np.stack([z for z, _ in self._epochs(X)])
        return np.repeat(vectors[None], self.n_branches, axis=0)

    def predict_proba_epochs(self, X: Any) -> np.ndarray:
        """Return class probabilities of shape (n_branches, n_epochs, n, K).

        Parameters
        ----------
        X : sequence of n str
            Texts.

        Returns
        -------
        ndarray of shape (n_branches, n_epochs, n, K)
            Of every epoch.
        """
        return np.stack([p for _, p in self._epochs(X)], axis=1)

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return the heads' mean probabilities at the chosen epoch, shape (n, K).

        Parameters
        ----------
        X : sequence of n str
            Texts.

        Returns
        -------
        ndarray of shape (n, K)
            One column per class.
        """
        return self.predict_proba_epochs(X)[:, self.best_epoch_].mean(axis=0)

    def _epochs(self, X):
        texts, net = check_texts(X, caller=type(self).__name__), self._network()
        for arrays in self.snapshots_:
            net.load_state_dict({k: torch.from_numpy(v) for k, v in arrays.items()})
            net.eval()
            vectors, proba = [], []
            for start in range(0, len(texts), 64):
                with torch.inference_mode():
                    z, logits = net(texts[start : start + 64], self.max_length)
                vectors.append(z.cpu().numpy())
                proba.append(torch.softmax(logits.double(), dim=2).cpu().numpy())
            yield np.concatenate(vectors), np.concatenate(proba, axis=1)


def _optimizer(net, training, steps_per_epoch):
    """AdamW with a rate each for encoder and heads, and their rise and fall over the steps."""
    groups = [
        {"params": net.encoder.parameters(), "lr": training.lr},
        {"params": net.heads.parameters(), "lr": training.head_lr},
    ]
    optimizer = torch.optim.AdamW(groups, weight_decay=training.weight_decay)
    total = training.max_epochs * steps_per_epoch
    rise = max(training.warmup * total, 1)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda t: min((t + 1) / rise, (total - t) / total)
    )
    return optimizer, schedule


class _HeadedEncoder(nn.Module):
    """A transformer with M linear heads on its pooled output."""

    def __init__(self, backbone, n_branches, n_classes, dropout):
        super().__init__()
        self.encoder = backbone.model
        self.dropout = nn.Dropout(dropout)
        self.heads = nn.ModuleList(
            [nn.Linear(backbone.width, n_classes) for _ in range(n_branches)]
        )
        # not registered: the tokenizer is no part of the weights
        object.__setattr__(self, "backbone", backbone)

    def forward(self, texts, max_length):
        from sklfusion.embedding._encode import pad, pool, tokenize

        rows = tokenize(self.backbone, texts, max_length)
        device = next(self.parameters()).device
        ids, mask = pad(rows, self.backbone.pad_id, device)
        hidden = self.encoder(input_ids=ids, attention_mask=mask).last_hidden_state
        pooled = pool(hidden, mask, self.backbone.pooling)
        logits = torch.stack([head(self.dropout(pooled)) for head in self.heads])
        return pooled, logits
