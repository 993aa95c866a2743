"""Training of the label diffusion: M denoisers that learn candidate labels together."""

import numpy as np
import torch
from sklearn.base import clone
from torch import nn

from sklfusion._threads import one_thread
from sklfusion.exceptions import TrainingDivergedError
from sklfusion.noise._encoder import agreement_penalty
from sklfusion.noise._simplex import (
    Denoisers,
    cosine_schedule,
    reverse_chain,
    simplex_points,
    update_weights,
)

# rows; with fewer than 16 such batches an epoch goes through the rows again
_SMALL_BATCH = 16


class DiffusionTrainer:
    """M denoisers over K classes; state is plain arrays.

    Parameters
    ----------
    settings : LabelDiffusion
        How they learn; a copy is kept.
    n_classes : int
        K.
    seed : int
        Seed of weights, draws, batches and chains.

    Attributes
    ----------
    weights : dict of ndarray
        Parameters and buffers of the denoisers, of the best epoch.
    prior : ndarray of shape (M, n, K)
        Candidate weights at the end.
    prior_history : list of ndarray
        Mean over branches of the weights at the start and at the end.
    val_scores : list of float
        Agreement with the validation pseudo-labels per epoch.
    """

    def __init__(self, settings, n_classes, seed):
        self.settings = clone(settings)
        self.n_classes = n_classes
        self.seed = seed

    @one_thread()
    def fit(self, features, codes, prior, *, validation=None):
        """Train.

        Parameters
        ----------
        features : ndarray of shape (M, n, D)
            What the denoisers know of each text.
        codes : ndarray of shape (n,)
            Noisy labels, -1 where there is none.
        prior : ndarray of shape (M, n, K)
            Candidate weights; rows sum to 1. Rows with one candidate are certain.
        validation : tuple (features, codes, pseudo_labels), optional
            Chooses the epoch.

        Returns
        -------
        self
        """
        s = self.settings
        self.prior = np.array(prior, dtype=np.float64)
        self.prior_history, self.val_scores = [self.prior.mean(axis=0)], []
        self._dims = (len(features), self.n_classes, features.shape[2], s.hidden_dim)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            self._rng = np.random.default_rng(self.seed)
            self._generator = torch.Generator().manual_seed(self.seed)
            nets = Denoisers(*self._dims, s.train_timesteps)
            self._run(nets, _rows_first(features), codes, validation)
        self.prior_history.append(self.prior.mean(axis=0))
        return self

    def _run(self, nets, features, codes, validation):
        s = self.settings
        # fused: the time tables make the plain loop over parameters half of the cost of a step
        optimizer = torch.optim.Adam(nets.parameters(), lr=1.0, fused=True)
        certain = (self.prior > 0).sum(axis=2) == 1
        sharpen_from = 0 if s.legacy else s.resample_start * s.n_epochs
        n_warm, best = max(1, round(s.warmup * s.n_epochs)), -1.0
        for epoch in range(s.n_epochs):
            # in the warm-up the nets see only rows that are certain for them; none: no warm-up
            warm = epoch < n_warm and certain.any(axis=1).all()
            if not warm and s.n_resample and epoch >= sharpen_from:
                self._sharpen(nets, features, codes, certain)
            rows = self._epoch_rows(certain, warm)
            targets, weights = self._draw_targets()
            for batch, share in self._batches(rows):
                for group in optimizer.param_groups:
                    group["lr"] = s.lr * _rate_of_epoch(epoch + share, n_warm, s.n_epochs)
                loss = self._loss(nets, features, codes, targets, weights, batch, warm)
                self._descend(nets, optimizer, loss)
            if validation is not None:
                self.val_scores.append(self._agreement(nets, *validation))
            if validation is None or self.val_scores[-1] >= best:
                best = self.val_scores[-1] if self.val_scores else best
                self.weights = _arrays_of(nets)

    def _epoch_rows(self, certain, warm):
        """Row numbers per branch, (r, M); branches short of certain rows repeat theirs."""
        s, n = self.settings, certain.shape[1]
        # it is the number of steps that makes a denoiser: small sets are gone through repeatedly
        least = 0 if s.legacy else 16 * _SMALL_BATCH
        if not warm:
            order = np.resize(np.arange(n), max(n, least))
            order = order if s.legacy else self._rng.permutation(order)
            return np.tile(order[:, None], (1, len(certain)))
        count = max(certain.sum(axis=1).max(), least)
        rows = [np.resize(np.flatnonzero(c), count) for c in certain]
        return np.stack(rows if s.legacy else [self._rng.permutation(r) for r in rows], axis=1)

    def _batches(self, rows):
        """Yield (batch of rows, share of the epoch done)."""
        size = self.settings.batch_size
        if not self.settings.legacy:
            size = min(size, max(_SMALL_BATCH, len(rows) // 16))
        for start in range(0, len(rows), size):
            batch = rows[start : start + size]
            if len(batch) > 1:  # batch normalisation needs two rows
                yield batch, start / len(rows)

    def _draw_targets(self):
        """Draw one training label per row and branch from the weights; both of shape (n, M)."""
        cumulative = self.prior.cumsum(axis=2)
        draws = self._rng.random((*self.prior.shape[:2], 1))
        targets = (draws > cumulative / cumulative[..., -1:]).sum(axis=2)
        weights = np.take_along_axis(self.prior, targets[..., None], axis=2)[..., 0]
        return targets.T, weights.T

    def _loss(self, nets, features, codes, targets, weights, batch, warm):
        s, branch = self.settings, np.arange(batch.shape[1])
        nets.train()
        goal = torch.from_numpy(targets[batch, branch])
        given = torch.from_numpy(self._conditions(codes, batch))
        time = torch.randint(s.train_timesteps, goal.shape)
        keep = torch.from_numpy(cosine_schedule(s.train_timesteps)).float()[time][..., None]
        clean = simplex_points(goal, self.n_classes, s.simplex_value)
        noise = s.simplex_value * torch.randn_like(clean)
        noised = keep.sqrt() * clean + (1 - keep).sqrt() * noise
        condition = simplex_points(given, self.n_classes, s.simplex_value)
        logits = nets(noised, condition, nets.features(features[batch, branch]), time)
        row_loss = nn.functional.cross_entropy(
            logits.flatten(0, 1), goal.flatten(), reduction="none"
        ).view_as(goal)
        if not warm:
            row_loss = row_loss * torch.from_numpy(weights[batch, branch]).float()
        total = s.legacy and not warm  # the reference sums here and averages in the warm-up
        loss = row_loss.sum(dim=0).mean() if total else row_loss.mean()
        if not warm and s.lambda_coreg and len(branch) > 1:
            penalty = agreement_penalty(logits.transpose(0, 1))
            loss = loss + s.lambda_coreg * (penalty.sum() if total else penalty.mean())
        return loss

    def _descend(self, nets, optimizer, loss):
        if not torch.isfinite(loss):
            raise TrainingDivergedError(
                f"The loss of the label diffusion became {loss.item()}; lower its lr "
                f"(now {self.settings.lr})."
            )
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(nets.parameters(), 1.0)
        optimizer.step()

    def _conditions(self, codes, rows):
        """Noisy labels of rows (r, M); where there is none, a draw from the candidates."""
        out = codes[rows]
        for i, branch in zip(*np.nonzero(out < 0), strict=True):
            weights = self.prior[branch, rows[i, branch]]
            out[i, branch] = self._rng.choice(self.n_classes, p=weights / weights.sum())
        return out

    def _sharpen(self, nets, features, codes, certain):
        """Let the nets' own answers sharpen the weights of uncertain rows."""
        s = self.settings
        rows = np.flatnonzero(~certain.all(axis=0))
        if not len(rows):
            return
        nets.eval()
        with torch.no_grad():
            known = nets.features(features[rows])
        given = self._conditions(codes, np.tile(rows[:, None], (1, len(certain))))
        for _ in range(s.n_resample):
            if s.legacy:  # the reference seeds anew each time: one answer counted many times
                self._generator.manual_seed(self.seed)
            logits = reverse_chain(nets, torch.from_numpy(given), known, s, self._generator)
            hits = logits.argmax(dim=2).numpy()
            for branch in range(len(certain)):
                # certain rows have no other candidate, so a hit cannot move them
                self.prior[branch, rows] = update_weights(
                    self.prior[branch, rows], hits[:, branch], s.n_resample
                )

    def _agreement(self, nets, features, codes, pseudo):
        nets.eval()
        generator = torch.Generator().manual_seed(self.seed)
        with torch.no_grad():
            known = nets.features(_rows_first(features))
        given = torch.from_numpy(np.where(codes < 0, pseudo, codes))[:, None]
        given = given.expand(-1, known.shape[1])
        logits = reverse_chain(nets, given, known, self.settings, generator)
        return float((logits.argmax(dim=2).numpy() == pseudo[:, None]).mean())

    def predict_proba(self, features, label_proba):
        """Return ``sum_c p(label = c | x) p(y | label = c, x)``, averaged over branches, (n, K).

        Parameters
        ----------
        features : ndarray of shape (M, n, D)
        label_proba : ndarray of shape (M, n, K)
            What an encoder trained on the noisy labels expects the noisy label to be.
        """
        relabel = self.relabel_proba(features)
        return np.einsum("mnc,mncy->ny", label_proba, relabel) / len(features)

    @one_thread()
    def relabel_proba(self, features):
        """Return q(y | label = c, x) of shape (M, n, K, K): axis 2 is c, axis 3 is y."""
        s, k, m = self.settings, self.n_classes, len(features)
        nets = Denoisers(*self._dims, s.train_timesteps)
        nets.load_state_dict({name: torch.from_numpy(v) for name, v in self.weights.items()})
        # double precision: a row's answer must not depend on the rows beside it
        nets = nets.eval().double()
        generator = torch.Generator().manual_seed(self.seed)
        with torch.no_grad():
            known = nets.features(_rows_first(features).double())
        out = np.zeros((m, features.shape[1], k, k))
        for c in range(k):
            given = torch.full(known.shape[:2], c)
            for _ in range(s.n_chains):
                logits = reverse_chain(nets, given, known, s, generator, shared_noise=True)
                out[:, :, c] += self._read(logits).numpy().transpose(1, 0, 2) / s.n_chains
        return out

    def _read(self, logits):
        if self.settings.readout == "onehot" or self.settings.legacy:
            logits = simplex_points(
                logits.argmax(dim=-1), self.n_classes, self.settings.simplex_value
            )
        return torch.softmax(logits.double(), dim=-1)


def _rows_first(features):
    """(M, n, D) array to (n, M, D) tensor."""
    return torch.from_numpy(np.asarray(features, np.float32)).transpose(0, 1).contiguous()


def _arrays_of(net):
    return {name: value.detach().numpy().copy() for name, value in net.state_dict().items()}


def _rate_of_epoch(epoch, n_warm, n_epochs):
    """Linear rise over the warm-up epochs, then half a cosine to 0."""
    if epoch < n_warm:
        return max(epoch, 0.02) / n_warm
    return 0.5 * (1 + np.cos(np.pi * (epoch - n_warm) / max(n_epochs - n_warm, 1)))
