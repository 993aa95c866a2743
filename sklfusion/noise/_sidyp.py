"""`SiDyPClassifier`: learn from LLM labels by diffusion on the label simplex."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.utils import Tags, check_random_state
from sklearn.utils.validation import check_consistent_length, check_is_fitted, validate_data

from sklfusion._sklearn_compat import HasMethods, check_parameters, number, one_of
from sklfusion._text_input import check_texts
from sklfusion._whole import whole
from sklfusion.noise._annotators import tells_more
from sklfusion.noise._dynamics import _make_encoder, flat_epochs, mark_suspicious, suspicion_scores
from sklfusion.noise._label_diffusion import LabelDiffusion
from sklfusion.noise._labels import noisy_target, validation_split
from sklfusion.noise._noisy_label import NoisyLabelClassifier
from sklfusion.noise._prior import KNNLabelPrior

#: Parts of the guard's cross-fit.
_GUARD_PARTS = 5


class SiDyPClassifier(ClassifierMixin, BaseEstimator):
    """Classifier for noisy (LLM) labels: simplex diffusion with a dynamic prior.

    Four steps [1]_, none of which sees a gold label. (1) Train a small encoder on the noisy labels
    and keep its state after every epoch. (2) Give each text a set of candidate labels with
    weights, from the labels of its neighbours. (3) Train denoisers that rebuild a candidate label
    from noise, told the noisy label and how the encoder saw the text over the epochs; late in
    training their own answers sharpen the weights. (4) Predict by summing over what label the
    encoder expects: ``p(y | x) = sum_c p(label = c | x) p(y | label = c, x)``.

    Parameters
    ----------
    encoder : object, optional
        Stage I; :class:`~sklfusion.MLPTrajectoryEncoder` by default, which documents the
        methods that any other must have. Its branches are those of stage II.
    embedder : transformer, optional
        Turns X into the embeddings of the neighbour search. With it, X may be texts and the
        encoder gets them as they are.
    noise_ratio : float or "auto", default=0.0
        Share of rows whose own label is not believed at all and that are nobody's neighbour,
        chosen by training dynamics. The reference marks 0.3; with ``correction="transition"``
        marking is superfluous. ``"auto"`` marks the noise rate that the prior estimates.
    prior : KNNLabelPrior, optional
        Finds the candidates; :class:`~sklfusion.KNNLabelPrior` by default.
    diffusion : LabelDiffusion, optional
        How stage II learns and is asked; :class:`~sklfusion.LabelDiffusion` by default.
    guard : bool, default=True
        Predict by :class:`~sklfusion.NoisyLabelClassifier`, a corrected logistic regression on
        the embeddings, unless the neighbours' candidates tell more of the labels of rows that
        they were not made from: over all rows, by a standard error of the paired difference.
        Where they do not, stage II is not trained; and where it learnt so badly that its answers
        tell less of the validation rows' labels than the simple way's, it does not predict.
    validation_fraction : float, default=0.1
        Share of the rows whose noisy labels choose the encoder's epoch, and whose best candidates
        choose the denoisers'.
    missing_label : scalar or None, default=-1
        Label of a text that the LLM refused; None and NaN always are. Such rows train no encoder,
        are nobody's neighbour and have their neighbours' candidates.
    legacy : bool, default=False
        Behave as the published code where that differs; all parts are told. Encoder: no agreement
        term, no shuffling, the learning rate restarts each epoch, the last epoch predicts. Prior:
        10 neighbours by distance, a row is its own, no correction. Refused rows get a random
        label. Diffusion: see :class:`~sklfusion.LabelDiffusion`.
    random_state : int, RandomState or None, default=None
        Seed of everything, the encoder included where it has none of its own.

    Attributes
    ----------
    classes_ : ndarray of shape (K,)
        Classes among the noisy labels.
    prior_ : ndarray of shape (n, M, K)
        Candidate weights before stage II.
    candidate_mask_ : ndarray of shape (n, M, K) of bool
        The candidates.
    uncertain_ : ndarray of shape (n, M) of bool
        Rows with several candidates.
    suspicion_scores_, noise_markers_ : ndarray of shape (n, M)
        See :class:`~sklfusion.TrainingDynamicsNoiseDetector`.
    refined_labels_ : ndarray of shape (n,)
        Best candidate, after stage II where it took part.
    prior_history_ : list of ndarray
        Branch means of the weights before and after stage II, rows of ``train_rows_``.
    val_scores_ : list of float
        Agreement with the validation rows' best candidates per epoch of stage II.
    transition_matrix_ : ndarray of shape (K, K)
        Estimated confusions of the annotator.
    train_rows_ : ndarray of int
        Rows that were trained on; the others validate.
    encoder_, diffusion_ : objects
        The fitted stages. ``diffusion_`` is None where it was not trained.
    uses_diffusion_ : bool
        Whether stage II predicts, see ``guard``.
    simple_ : NoisyLabelClassifier or None
        What the guard compares with, on class numbers; it predicts where stage II does not.
    n_corrected_ : int
        Wrong labels that ``refined_labels_`` sets right, if gold labels were passed.

    See Also
    --------
    NoisyLabelClassifier : The simple way, and on most sets the better one.
    NoisyLabelKNNClassifier : The published method without diffusion.
    LabelRepairClassifier : If some gold labels can be had.

    Notes
    -----
    Cost on 2,000 texts with 384 columns: about 10 to 20 s on one core. A prediction costs
    ``M * K * n_chains`` reverse chains of ``infer_timesteps`` passes through a small network.

    References
    ----------
    .. [1] SiDyP: simplex diffusion with dynamic prior for denoising LLM-generated labels,
       arXiv 2505.19675.

    Examples
    --------
    >>> from sklearn.datasets import make_blobs
    >>> from sklfusion import LabelDiffusion, SiDyPClassifier
    >>> X, gold = make_blobs(150, centers=2, n_features=4, random_state=0)
    >>> llm = gold.copy()
    >>> llm[:20] = 1 - llm[:20]
    >>> model = SiDyPClassifier(diffusion=LabelDiffusion(n_epochs=10), random_state=0)
    >>> model.fit(X, llm).score(X, gold) > 0.9
    True
    """

    _parameter_constraints = {
        "encoder": [HasMethods(["fit", "transform_epochs", "predict_proba_epochs"]), None],
        "embedder": [HasMethods(["fit", "transform"]), None],
        "noise_ratio": [number(0, 1), one_of("auto")],
        "prior": [KNNLabelPrior, None],
        "diffusion": [LabelDiffusion, None],
        "guard": ["boolean"],
        "validation_fraction": [number(0, 1, closed="left")],
        "legacy": ["boolean"],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        encoder: Any = None,
        *,
        embedder: Any = None,
        noise_ratio: float | str = 0.0,
        prior: KNNLabelPrior | None = None,
        diffusion: LabelDiffusion | None = None,
        guard: bool = True,
        validation_fraction: float = 0.1,
        missing_label: Any = -1,
        legacy: bool = False,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.encoder = encoder
        self.embedder = embedder
        self.noise_ratio = noise_ratio
        self.prior = prior
        self.diffusion = diffusion
        self.guard = guard
        self.validation_fraction = validation_fraction
        self.missing_label = missing_label
        self.legacy = legacy
        self.random_state = random_state

    @whole
    def fit(self, X: Any, y: Any = None, *, noisy: Any = None) -> Self:
        """Run the stages.

        Parameters
        ----------
        X : array-like of shape (n, d), or texts if there is an embedder
            Embeddings.
        y : array-like of shape (n,) or Annotations
            Noisy labels; gold labels (for diagnosis only) when ``noisy`` is passed.
        noisy : array-like of shape (n,) or Annotations, optional
            Noisy labels, as routable metadata.

        Returns
        -------
        self
        """
        check_parameters(self)
        settings = self._diffusion_settings()
        X = self._check_X(X, reset=True)
        codes, self.classes_, gold = noisy_target(
            y, noisy, missing_label=self.missing_label, caller=type(self).__name__
        )
        check_consistent_length(X, codes)
        self._seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        if self.legacy:
            draws = np.random.default_rng(self._seed).integers(len(self.classes_), size=len(codes))
            codes = np.where(codes < 0, draws, codes)
        self.train_rows_, val = validation_split(
            codes, len(self.classes_), self.validation_fraction, self._seed
        )
        features = self._fit_encoder(X, codes, val)
        embeddings = self._embed(X, fit=True)
        self._fit_prior(embeddings, codes, features)
        self.uses_diffusion_ = self._wants_diffusion(embeddings, codes)
        self._fit_diffusion(settings, flat_epochs(features), codes, val)
        if self.uses_diffusion_ and self.simple_ is not None and len(val):
            self.uses_diffusion_ = not self._is_behind(self.simple_, X, codes, val)
        if gold is not None:
            said = np.r_[self.classes_, self.classes_[:1]][codes]
            self.n_corrected_ = int(((said != gold) & (self.refined_labels_ == gold)).sum())
        return self

    def _check_X(self, X, reset):
        if self.embedder is None:
            return validate_data(
                self, X, dtype=np.float32, reset=reset, ensure_min_samples=2 if reset else 1
            )
        return np.array(check_texts(X, caller=type(self).__name__), dtype=object)

    def _embed(self, X, fit=False):
        if self.embedder is None:
            return X
        if fit:
            self.embedder_ = clone(self.embedder).fit(list(X))
        return np.asarray(self.embedder_.transform(list(X)), dtype=np.float32)

    def _fit_encoder(self, X, codes, val):
        self.encoder_ = _make_encoder(self.encoder, self._seed, legacy=self.legacy)
        train = self.train_rows_
        held_out = {"X_val": X[val], "codes_val": codes[val]} if len(val) else {}
        self.encoder_.fit(X[train], codes[train], n_classes=len(self.classes_), **held_out)
        return self.encoder_.transform_epochs(X)

    def _prior(self):
        prior = KNNLabelPrior() if self.prior is None else clone(self.prior)
        prior.set_params(missing_label=-1)  # it is given codes
        if self.legacy:
            own = prior.n_neighbors
            prior.set_params(n_neighbors=10 if own == "auto" else own, weights="distance")
            prior.set_params(correction=None, exclude_self=False)
        return prior

    def _diffusion_settings(self):
        settings = LabelDiffusion() if self.diffusion is None else self.diffusion
        check_parameters(settings)
        return clone(settings).set_params(legacy=True) if self.legacy else settings

    def _fit_prior(self, embeddings, codes, features):
        prior = self._prior()
        scores = suspicion_scores(features, codes, len(self.classes_))
        ratio = self.noise_ratio
        if ratio == "auto":
            ratio = clone(prior).fit(embeddings, codes).noise_rate_
        marks = mark_suspicious(scores, ratio)
        fitted = {}
        for mark in marks:
            key = mark.tobytes()  # branches that mark the same rows share one prior
            if key not in fitted:
                fitted[key] = clone(prior).fit(embeddings, codes, suspicious=mark)
        priors = [fitted[mark.tobytes()] for mark in marks]
        self.suspicion_scores_, self.noise_markers_ = scores.T, marks.T
        self.prior_ = np.stack([p.prior_ for p in priors], axis=1)
        self.candidate_mask_ = np.stack([p.candidate_mask_ for p in priors], axis=1)
        self.uncertain_ = np.stack([p.uncertain_ for p in priors], axis=1)
        self.transition_matrix_ = np.mean([p.transition_matrix_ for p in priors], axis=0)

    def _wants_diffusion(self, embeddings, codes):
        self.simple_: NoisyLabelClassifier | None = None
        if not self.guard or self.legacy:
            return True
        simple = NoisyLabelClassifier(random_state=self._seed)
        self.simple_ = simple.fit(embeddings, codes)
        rng = np.random.default_rng(self._seed)
        part = rng.permutation(len(codes)) % _GUARD_PARTS
        said = np.full(len(codes), -1)
        for fold in range(_GUARD_PARTS):
            seen = (part != fold) & (codes >= 0)
            if len(np.unique(codes[seen])) < len(self.classes_):
                return False  # a class of a row or two: too few to say how it is confused
            prior = self._prior().fit(embeddings[seen], codes[seen])
            held = part == fold
            if held.any():
                said[held] = prior.predict_proba(embeddings[held]).argmax(axis=1)
        other = simple.oof_proba_.argmax(axis=1)
        return tells_more(other, said, codes, len(self.classes_), rng)

    def _is_behind(self, simple, X, codes, val):
        """Whether the simple way tells more of the validation labels than stage II."""
        said = self.predict_proba(X[val]).argmax(axis=1)
        other = simple.oof_proba_[val].argmax(axis=1)
        rng = np.random.default_rng(self._seed)
        return tells_more(said, other, codes[val], len(self.classes_), rng)

    def _fit_diffusion(self, settings, features, codes, val):
        from sklfusion.noise._diffusion_trainer import DiffusionTrainer

        train = self.train_rows_
        best = self.prior_.mean(axis=1)
        pseudo = best.argmax(axis=1)
        self.refined_labels_ = self.classes_[pseudo]
        if not self.uses_diffusion_:
            self.diffusion_: Any = None
            self.prior_history_, self.val_scores_ = [best[train]], []
            return
        self.diffusion_ = DiffusionTrainer(settings, len(self.classes_), self._seed)
        self.diffusion_.fit(
            features[:, train],
            codes[train],
            self.prior_[train].transpose(1, 0, 2),
            validation=(features[:, val], codes[val], pseudo[val]) if len(val) else None,
        )
        self.prior_history_ = self.diffusion_.prior_history
        self.val_scores_ = self.diffusion_.val_scores
        best[train] = self.diffusion_.prior.mean(axis=0)
        self.refined_labels_ = self.classes_[best.argmax(axis=1)]

    def encoder_proba(self, X: Any) -> np.ndarray:
        """Return stage I's own probabilities of shape (n, K): the baseline to beat.

        Parameters
        ----------
        X : array-like of shape (n, d)
            Rows with the columns of ``fit``.

        Returns
        -------
        ndarray of shape (n, K)
            Columns as ``classes_``.
        """
        check_is_fitted(self)
        return self._branch_proba(self._check_X(X, reset=False)).mean(axis=0)

    def _branch_proba(self, X):
        epoch = getattr(self.encoder_, "best_epoch_", -1)
        return self.encoder_.predict_proba_epochs(X)[:, epoch]

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return class probabilities of shape (n, K).

        Parameters
        ----------
        X : array-like of shape (n, d)
            Rows with the columns of ``fit``.

        Returns
        -------
        ndarray of shape (n, K)
            Columns as ``classes_``.
        """
        check_is_fitted(self)
        X = self._check_X(X, reset=False)
        if not self.uses_diffusion_:
            simple = getattr(self, "simple_", None)  # models saved before there was one have none
            if simple is not None:
                return simple.predict_proba(self._embed(X))
            return self._branch_proba(X).mean(axis=0)
        features = flat_epochs(self.encoder_.transform_epochs(X))
        return self.diffusion_.predict_proba(features, self._branch_proba(X))

    def predict(self, X: Any) -> np.ndarray:
        """Return the most probable class per row.

        Parameters
        ----------
        X : array-like of shape (n, d)
            Rows with the columns of ``fit``.

        Returns
        -------
        ndarray of shape (n,)
            Labels out of ``classes_``.
        """
        proba = self.predict_proba(X)
        return self.classes_[proba.argmax(axis=1)]

    def __sklearn_tags__(self) -> Tags:
        tags, has_texts = super().__sklearn_tags__(), self.embedder is not None
        tags.input_tags.two_d_array, tags.input_tags.string = not has_texts, has_texts
        return tags
