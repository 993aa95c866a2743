"""`FusionClassifier`: fuse encoder features and LLM scores, multi-class and multi-label."""

from __future__ import annotations

import copy
from typing import Any, Self

import numpy as np
from scipy.special import expit
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import Tags, check_random_state
from sklearn.utils.validation import check_is_fitted

from sklfusion._threads import one_thread
from sklfusion._whole import whole
from sklfusion.fusion._certificate import against_parts, compare
from sklfusion.fusion._checks import (
    CONSTRAINTS,
    check_rows,
    check_two_classes,
    fit_rows,
    warn_of_idle_parameters,
)
from sklfusion.fusion._inputs import find_inputs
from sklfusion.fusion._probabilities import fit_cut, log_odds, of_all_rows, probabilities
from sklfusion.multilabel._cut import apply_cut


class FusionClassifier(ClassifierMixin, BaseEstimator):
    """Fuse encoder features with LLM scores into one classifier.

    Some columns of X are what an encoder saw in each text (an embedding, or class
    probabilities), others what one or several LLMs said about it (one score per class).
    ``fusion="anchored"`` learns how far to trust each source and starts from "the LLM is usually
    right, the encoder adds its part"; ``fusion="concat"`` is the plain MLP of [1]_ on all columns.

    Parameters
    ----------
    fusion : {"anchored", "concat"}, default="anchored"
        How the sources meet. Without score columns ``"anchored"`` is the encoder's evidence alone,
        an average of logistic regressions.
    loss : {"auto", "cross_entropy", "binary_cross_entropy", "ordinal"}, default="auto"
        Cross-entropy for one class per row, binary cross-entropy for label indicators. Binary
        cross-entropy on one class per row is one-vs-rest, with probabilities normalised.
        ``"ordinal"`` is cross-entropy for classes in an order, such as ratings: that of
        ``classes``, of an ordered pandas Categorical in y, or of numbers.
    score_columns : "auto", None, slice, or list of int or str, default="auto"
        The columns that are LLM scores: m blocks of one column per class, each perhaps followed
        by a 0/1 column that marks rows without an answer. ``"auto"`` asks the columns, which know
        it if a scorer of ours made them, else feature names (``llm_<class>``, also prefixed), else
        takes trailing blocks whose values are probabilities or log-probabilities.
    score_classes : list, optional
        Class of each column within a block, y may lack some. By default what the columns know of
        themselves or are named, else the order of ``classes_``.
    classes : list, optional
        All classes, where y may show only some: a class without a labelled row can then still be
        predicted, on the word of the LLM. By default the classes in y. From lowest to highest with
        ``loss="ordinal"``. Numbers 0..K-1 in y that are none of them are codes of the sorted ones.
    features : {"auto", "embedding", "proba", "both"}, default="auto"
        Which of the other columns to use. Class probabilities are the first or last K of them.
    hidden_layer_sizes : tuple of int, default=(64, 32)
        Hidden layers of the MLP. There is one with ``fusion="concat"``, and as the residual of
        anchored fusion with ``residual=True``; elsewhere this and what follows on training
        (``dropout`` to ``n_iter_no_change``, ``net_params``) has no effect, and setting it warns.
    dropout : float, default=0.1
        Its dropout rate.
    residual : bool, default=False
        Whether anchored fusion tries a residual MLP, for what no sum of evidence can say.
    guard : bool, default=True
        Whether the residual MLP stays only if it lowers the out-of-fold log-loss by more than two
        paired standard errors; False keeps it always.
    lr : float, default=1e-3
        Learning rate of AdamW.
    max_epochs : int, default=100
        Bound on epochs.
    batch_size : int or "auto", default="auto"
        Rows per step; ``"auto"`` is an eighth of the rows, between 16 and 256.
    early_stopping : bool, default=True
        Whether a validation split ends the training and the best weights come back.
    validation_fraction : float, default=0.1
        Share of rows in that split; with fewer than 4 such rows there is none.
    n_iter_no_change : int, default=10
        Epochs without improvement before training ends.
    threshold : "auto" or float, default="auto"
        Cut of multi-label predictions. ``"auto"`` chooses a shared cut for exact match on
        out-of-fold probabilities, and gives empty sets their likeliest label when no training
        row is empty.
    class_weight : dict, "balanced" or None, default=None
        As in scikit-learn.
    random_state : int, RandomState or None, default=None
        Seeds folds, splits, initial weights, batches and dropout. Torch's global generator is
        not touched.
    device : str, default="cpu"
        Where the MLP trains; ``"auto"`` takes CUDA if there is one. Predictions run on the CPU.
    net_params : dict, optional
        Further settings of the skorch net, such as ``{"module__activation": "gelu",
        "optimizer__weight_decay": 0.1}`` in place of "relu" and 0.01.
    verbose : int, default=0
        Passed to skorch.

    Attributes
    ----------
    classes_ : ndarray of shape (K,)
        Class labels; for label indicators the column names of y, or 0 to K - 1.
    levels_ : ndarray of shape (K,) or None
        With ``loss="ordinal"`` the classes from the lowest to the highest.
    n_features_in_ : int
        Number of features seen in ``fit``.
    score_columns_ : ndarray of int
        Columns taken as LLM scores or their flags; ``found_by_`` says what told them.
    found_by_ : {"columns", "names", "numbers", "values", "nothing"}
    source_names_ : list of str
        The sources: "encoder", then one per block of scores.
    source_weights_ : dict or None
        Trust per source (anchored only): the factor on its evidence in log-odds. Labels without
        a positive row have others: they are left to the LLM alone.
    oof_proba_ : ndarray of shape (n, K) or None
        What :meth:`predict_proba` would say of each training row had it not been in the fit: rows
        as given to ``fit``, equal ones in one fold. NaN for rows of weight 0; None after
        ``partial_fit``.
    certificate_ : dict or None
        ``llm`` and ``encoder``: how much accuracy the fusion loses at most to that part alone (to
        the best of several LLMs; 1.0 if nothing can be said, None without such a part), ``eps``
        the larger, with probability 1 - ``delta`` over draws of the ``n`` different rows. None
        without LLM scores, with unequal sample weights, and after ``partial_fit``.
    oof_scores_ : dict
        Out-of-fold log-loss per source and candidate, on the training rows.
    chosen_ : str
        The candidate in use.
    threshold_ : float or None
        Cut of multi-label predictions.
    net_ : skorch net
        The fitted net; ``net_.module_`` is the :class:`FusionMLP`.
    n_iter_ : int
        Epochs that the MLP trained for, 0 when there is none.

    See Also
    --------
    AutoFusionClassifier : From texts, with encoder and LLM.
    JointFusionClassifier : Trains the encoder along.
    RecordedScorer : Makes columns of answers that you have.
    sklfusion.plotting.SourceTrustDisplay : Draws whom it trusts.

    Notes
    -----
    Cost: anchored fusion is convex and takes about 0.2 s for 250 rows of 384 columns; the MLP
    takes up to ``max_epochs`` passes, and three shorter trainings for ``oof_proba_``.

    References
    ----------
    .. [1] LabelFusion: Learning to Fuse LLMs and Transformer Classifiers for Robust Text
       Classification, arXiv 2512.10793.

    Examples
    --------
    >>> import numpy as np
    >>> from sklfusion import FusionClassifier
    >>> rng = np.random.default_rng(0)
    >>> y = rng.integers(3, size=90)
    >>> embedding = rng.normal(size=(90, 8)) + y[:, None]
    >>> votes = np.eye(3)[np.where(rng.random(90) < 0.8, y, rng.integers(3, size=90))]
    >>> X = np.hstack([embedding, votes])
    >>> clf = FusionClassifier(random_state=0).fit(X[:60], y[:60])
    >>> clf.score_columns_.tolist()
    [8, 9, 10]
    >>> bool(clf.score(X[60:], y[60:]) > 0.8)
    True
    """

    _parameter_constraints: dict = CONSTRAINTS

    def __init__(
        self,
        *,
        fusion: Any = "anchored",
        loss: str = "auto",
        score_columns: Any = "auto",
        score_classes: Any = None,
        classes: Any = None,
        features: Any = "auto",
        hidden_layer_sizes: Any = (64, 32),
        dropout: float = 0.1,
        residual: Any = False,
        guard: bool = True,
        lr: float = 1e-3,
        max_epochs: int = 100,
        batch_size: int | str = "auto",
        early_stopping: bool = True,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        threshold: str | float = "auto",
        class_weight: Any = None,
        random_state: int | np.random.RandomState | None = None,
        device: Any = "cpu",
        net_params: dict | None = None,
        verbose: int = 0,
    ) -> None:
        self.fusion = fusion
        self.loss = loss
        self.score_columns = score_columns
        self.score_classes = score_classes
        self.classes = classes
        self.features = features
        self.hidden_layer_sizes = hidden_layer_sizes
        self.dropout = dropout
        self.residual = residual
        self.guard = guard
        self.lr = lr
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.threshold = threshold
        self.class_weight = class_weight
        self.random_state = random_state
        self.device = device
        self.net_params = net_params
        self.verbose = verbose

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        tags.input_tags.sparse = True
        return tags

    @whole
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Fit on features and targets.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n, p)
            Features and LLM scores; NaN is "no answer" where a name, the columns themselves or
            ``score_columns`` make it a score. Sparse input is made dense.
        y : array-like of shape (n,), or indicator matrix of shape (n, K)
            Classes, or label indicators (array, sparse or DataFrame).
        sample_weight : array-like of shape (n,), optional
            Row weights.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            For NaN elsewhere, infinite features, fewer than two classes, a loss that does not
            suit y, an order that nobody told, or score columns that do not match the classes.
        TrainingDivergedError
            If the loss of the MLP is not finite.

        Warns
        -----
        DataWarning
            If parameters are set that change nothing here, such as those of an MLP where none is
            trained; if numbers in ``y`` can be read in two ways as codes of ``classes``; or if
            columns look like scores and are not taken so, or like an encoder trained on the rows.
        """
        self._fit(X, y, sample_weight, cross_fit=True)
        warn_of_idle_parameters(self)
        return self

    def _fit(self, X, y, sample_weight, classes=None, *, cross_fit):
        from sklfusion.fusion._fit import fit_fusion

        X, Y, weights, live = fit_rows(self, X, y, sample_weight, classes)
        if classes is None:
            check_two_classes(self, Y)
        self.score_columns_, self.found_by_, self.inputs_ = find_inputs(self, X, Y)
        rng = check_random_state(self.random_state)
        fitted = fit_fusion(self, X, Y, weights, rng, cross_fit)
        self.net_: Any = fitted.net
        fit_cut(self, fitted.oof_logits, Y, weights)
        told = (self._family, self.multilabel_)
        self.oof_proba_ = of_all_rows(fitted.oof_logits, live, *told) if cross_fit else None
        alike = sample_weight is None or np.ptp(np.asarray(sample_weight)[live]) == 0
        self._against_parts = compare(self, X, Y, fitted) if cross_fit and alike else None
        return self

    @property
    def _family(self):
        if self.loss == "auto":
            return "sigmoid" if self.multilabel_ else "softmax"
        return "sigmoid" if self.loss == "binary_cross_entropy" else "softmax"

    @property
    def certificate_(self) -> dict | None:
        """What the fusion loses at most to its parts, with probability 1 - ``delta``."""
        check_is_fitted(self, "net_")
        return against_parts(vars(self).get("_against_parts"))

    @whole
    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> Self:
        """Fit on a first batch, then train on each further one.

        The first call is :meth:`fit` on its batch. Further calls train every parameter of the
        net, the trusts and tables included, for one epoch.

        Parameters
        ----------
        X : array-like of shape (n, p)
        y : array-like of shape (n,) or (n, K)
        classes : array-like of shape (K,), optional
            All classes; needed in the first call when its batch does not show them all.
        sample_weight : array-like of shape (n,), optional

        Returns
        -------
        self
        """
        from sklfusion.fusion._fit import Settings, continue_training

        if not hasattr(self, "net_"):
            return self._fit(X, y, sample_weight, classes, cross_fit=False)
        X, Y, weights, _ = fit_rows(self, X, y, sample_weight, classes, reset=False)
        inputs, rng = self.inputs_.transform(X), check_random_state(self.random_state)
        # a copy, so that a broken-off epoch leaves the net of before
        net = copy.deepcopy(self.net_)
        with one_thread(X):
            self.net_ = continue_training(net, inputs, Y, weights, Settings.of(self), rng)
        self.n_iter_ = len(self.net_.history)
        self.oof_proba_ = self._against_parts = None  # they were of another model
        return self

    def _prepare(self, X):
        check_is_fitted(self, "net_")
        return self.inputs_.transform(check_rows(self, X))

    def _logits(self, X):
        from sklfusion.fusion._net import forward

        inputs = self._prepare(X)
        return forward(self.net_.module_, inputs)

    def decision_function(self, X: Any) -> np.ndarray:
        """Log-odds: shape (n,) for two classes, else (n, K).

        Parameters
        ----------
        X : array-like of shape (n, p)

        Returns
        -------
        ndarray
        """
        logits = self._logits(X)
        if self.multilabel_:
            return logits
        logits = log_odds(logits, self._family)
        return logits[:, 1] - logits[:, 0] if len(self.classes_) == 2 else logits

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probabilities, shape (n, K); rows sum to 1 unless y was a label indicator.

        Parameters
        ----------
        X : array-like of shape (n, p)

        Returns
        -------
        ndarray of shape (n, K)
        """
        return probabilities(self._logits(X), self._family, self.multilabel_)

    def predict(self, X: Any) -> np.ndarray:
        """Predict the class of each row, or its label indicator.

        Parameters
        ----------
        X : array-like of shape (n, p)

        Returns
        -------
        ndarray
        """
        logits = self._logits(X)
        if self.multilabel_:
            return apply_cut(expit(logits), self.threshold_, self.fill_empty_)
        return self.classes_[logits.argmax(axis=1)]

    def contributions(self, X: Any) -> Any:
        """What each source adds to the log-odds of each class, row by row.

        Parameters
        ----------
        X : array-like of shape (n, p)

        Returns
        -------
        dict of str to ndarray of shape (n, K)
            ``"prior"``, one entry per source, and ``"mix"`` and ``"residual"`` where there are
            such. They sum to the logits.

        Raises
        ------
        AttributeError
            For concatenated fusion, whose sources do not add up.
        """
        from sklfusion.fusion._net import contributions

        inputs = self._prepare(X)
        if self.source_weights_ is None:
            raise AttributeError(
                "contributions needs anchored fusion; this model concatenates its sources."
            )
        return contributions(self.net_.module_, inputs, self.source_names_)
