"""`CascadeClassifier`: a cheap classifier answers, and the LLM is asked only where it pays."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.utils import Tags, check_random_state
from sklearn.utils.validation import check_consistent_length, check_is_fitted

from sklfusion._class_labels import declared_classes, in_names, read_labels, refuse_bare_numbers
from sklfusion._hand_over import asks_unnamed
from sklfusion._scores import as_told
from sklfusion._sklearn_compat import check_parameters, integer, number
from sklfusion._text_input import TextInputMixin, check_texts, distinct
from sklfusion._threads import one_thread
from sklfusion._validation import check_class_target, is_multilabel
from sklfusion._whole import whole
from sklfusion.cascade import _budget, _certificate, _cost_curve, _make, _spend
from sklfusion.cascade._stages import stages
from sklfusion.models import DEFAULT_LLM
from sklfusion.multilabel._cut import apply_cut, choose_cut
from sklfusion.multilabel._targets import check_target, label_scores


class CascadeClassifier(TextInputMixin, ClassifierMixin, BaseEstimator):
    """Answer with a cheap classifier; ask the LLM about the texts where that pays.

    The texts that the first stage is least sure of are asked about, and what the LLM says is
    fused with its answer, not put in its place. How many texts that are is read off a cost curve:
    the score of the whole cascade, on out-of-fold predictions, at every share of texts asked
    about.

    Parameters
    ----------
    first : classifier of texts with ``predict_proba``, optional
        The cheap stage. By default a logistic regression on the embedded encoder.
    llm : str, LLMEndpoint, transformer or classifier, default="local/smollm2-135m"
        ``"provider/model"`` or :class:`LLMEndpoint` of an :class:`LLMScorer`, any scorer of
        texts (:class:`LLMScorer`, :class:`RecordedScorer`), or a classifier with
        ``predict_proba`` (:class:`LLMClassifier`).
        For several labels per text a scorer that declares them, in the order of y's columns.
    fusion : estimator, optional
        What joins the two, fitted on the columns ``[probabilities of the first stage, LLM
        scores]``. By default a :class:`FusionClassifier` that is told which are which.
    budget : float, dict or None, default=None
        Most that asking may take: a share of the texts in [0, 1], or ``{"money": x}`` for x per
        1,000 texts in the currency of the LLM's prices. It is spent as far as asking further does
        not clearly lose; None has no bound and takes the best share. 0 never asks, not even in
        ``fit``.
    cost : float, default=0.0
        What asking about every text costs, in units of the score: a share s of the texts is asked
        about only if that adds more than ``cost * s`` to the score.
    risk : float in (0, 0.3], optional
        Asks about as few texts as lose at most this much accuracy to asking about all of them,
        with probability 1 - ``delta`` over draws of the training texts. Needs about 50 texts for
        .05, 200 for .02, 500 for .01, drawn at random.
    delta : float, default=0.1
        Probability that the promise of ``risk``, or ``certificate_``, is broken.
    strict : bool, default=True
        Whether every call is held to the budget of its own texts, rounded down: a call for one
        text never asks at a budget below 1. False holds the budget on average, over texts like
        those of ``fit``; the answer to a text then does not depend on the texts beside it.
    scoring : str, callable or None, default="accuracy"
        A scikit-learn scorer; what the cost curve measures.
    cv : int, splitter or None, default=None
        Folds of the out-of-fold predictions; None is 5, or fewer where a class has fewer rows.
    n_fit : int or None, default=None
        Number of training texts that the LLM is asked about in ``fit``, two of each class or
        more; None is all of them.
    memory : None, str or joblib.Memory, default=None
        Where replies and embeddings are kept. A scorer or first stage of sklfusion gets it where
        it has no ``memory`` of its own; another one is an error.
    random_state : int, RandomState or None, default=None
        Folds, the choice of ``n_fit`` texts, and the default fusion.

    Attributes
    ----------
    classes_ : ndarray of shape (K,)
        Sorted labels; for label indicators the names of y's columns.
    first_, llm_, fusion_ : estimators
        The fitted parts; ``llm_`` and ``fusion_`` are None if the budget is 0.
    cost_curve_ : dict of str to ndarray of shape (m,), or None if the budget is 0
        ``share`` of texts asked about, out-of-fold ``score``, ``threshold`` on the uncertainty of
        the first stage, and ``cost`` per 1,000 texts (NaN where prices are not known).
    share_ : float
        The share chosen.
    threshold_ : float
        Uncertainty (one minus the largest probability) above which a text is asked about, within
        the budget of its call with ``strict``.
    certificate_ : dict or None
        ``eps``, the accuracy that the cascade loses at most to asking about every text (1.0 if
        nothing can be said), with probability 1 - ``delta``; ``n``, the texts that say so.
        Whatever chose the share.
    price_ : float or None
        Mean price of asking about one text that is not stored; None if prices are not known.
    oof_proba_, oof_proba_first_ : ndarray of shape (n, K), or None if the budget is 0
        What the fusion, and the first stage alone, would say of each training text had it not
        been in the fit; rows as given to ``fit``. Those of the fusion are NaN for texts that
        ``n_fit`` left out, and those of the first stage where the LLM has no answer.
    prior_ : ndarray of shape (K,)
        Frequency of each class in y: the answer where neither stage has one.
    asked_ : dict
        Distinct texts given to the LLM in ``"fit"`` and, since then, in ``"predict"``, of
        ``"texts"`` distinct texts predicted. Those that ``memory`` already knew are counted too.

    See Also
    --------
    AutoFusionClassifier : Asks about every text.
    sklfusion.plotting.CostCurveDisplay : Draws ``cost_curve_``.

    Notes
    -----
    Cost: ``fit`` asks about every distinct training text, or ``n_fit`` of them, since the curve
    has to see where the LLM is right; ``predict`` at most about the budget. With a ``memory`` a
    second fit, a grid search included, pays for nothing again. The first stage is fitted once per
    fold and once more.

    A first stage without an opinion (equal or NaN probabilities) abstains: its answer is
    ``prior_``, and the text is first in the queue. An LLM without an answer leaves the answer of
    the first stage; where both abstain it is ``prior_``.

    Examples
    --------
    >>> from sklearn.feature_extraction.text import CountVectorizer
    >>> from sklearn.naive_bayes import MultinomialNB
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklfusion import CascadeClassifier, RecordedScorer
    >>> texts = [f"{word} number {n}" for n in range(10) for word in ("ham", "spam", "eggs")]
    >>> y = ["good", "bad", "good"] * 10
    >>> recorded = RecordedScorer(dict(zip(texts, y, strict=True)))
    >>> first = make_pipeline(CountVectorizer(), MultinomialNB())
    >>> clf = CascadeClassifier(first, recorded, budget=0.2, random_state=0).fit(texts, y)
    >>> bool(clf.share_ <= 0.2), clf.asked_["fit"]
    (True, 30)
    >>> clf.predict(["spam again"]).tolist()
    ['bad']
    """

    _parameter_constraints: dict = {
        "cost": [number(0)],
        "risk": [number(0, 0.3, "right"), None],
        "delta": [number(0, 1, "neither")],
        "strict": ["boolean"],
        "scoring": [str, callable, None],
        "cv": ["cv_object"],
        "n_fit": [integer(2), None],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        first: Any = None,
        llm: Any = DEFAULT_LLM,
        *,
        fusion: Any = None,
        budget: float | dict | None = None,
        cost: Any = 0.0,
        risk: float | None = None,
        delta: float = 0.1,
        strict: bool = True,
        scoring: Any = "accuracy",
        cv: Any = None,
        n_fit: int | None = None,
        memory: Any = None,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.first = first
        self.llm = llm
        self.fusion = fusion
        self.budget = budget
        self.cost = cost
        self.risk = risk
        self.delta = delta
        self.strict = strict
        self.scoring = scoring
        self.cv = cv
        self.n_fit = n_fit
        self.memory = memory
        self.random_state = random_state

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        tags.target_tags.required = True
        return tags

    @whole
    def fit(self, X: Any, y: Any) -> Self:
        """Fit both stages, join them, and choose how many texts to ask about.

        Parameters
        ----------
        X : sequence of n str
        y : array-like of shape (n,), or indicator of shape (n, K)
            Classes, or label indicators. Numbers 0..K-1 are codes of the sorted names where
            ``llm`` declares ``classes``; the LLM is asked about the names.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If a parameter, the texts or the labels are not usable, or if the budget is money and
            the LLM has no price.
        EndpointError, BudgetExceededError, CacheMissError
            From the LLM.
        """
        check_parameters(self)
        limit = _budget.read_budget(self.budget)[1]
        texts = check_texts(X, caller="CascadeClassifier")
        y = self._read_target(texts, y)
        rng = check_random_state(self.random_state)
        named = y if limit == 0 else self._in_names(y)
        first = _make.make_first(self.first, self.memory, self.multilabel_)
        # Our own first stage ends in a small linear model, and its encoder does not use BLAS.
        X = None if self.first is None else texts
        with one_thread(X, openmp=False):
            self.first_ = clone(first).fit(texts, y)
        self.llm_: Any = None
        self.fusion_ = self.price_ = self.cost_curve_ = None
        self.oof_proba_ = self.oof_proba_first_ = self.certificate_ = None
        self.share_, self.threshold_, self.cut_, self.fill_empty_ = 0.0, np.inf, 0.5, False
        self.asked_ = {"fit": 0, "predict": 0, "texts": 0}
        if limit == 0:
            return self
        rows = _budget.rows_to_ask(self.n_fit, y, self.multilabel_, rng)
        asked = [texts[row] for row in rows]
        _certificate.check_risk(self.risk, self.delta, self.cost, self.scoring, len(set(asked)))
        self.llm_ = _make.make_llm(self.llm, self.memory, self.multilabel_)
        self.llm_.fit(asked, named[rows])
        self.price_ = _budget.mean_price(self.llm_, asked)
        most = _budget.largest_share(self.budget, self.price_)
        with one_thread(X, openmp=False):
            proba = _cost_curve.out_of_fold(first, texts, y, self.cv, self.multilabel_, rng, texts)
        proba, silent = _cost_curve.usable(proba, self.prior_, self.multilabel_)
        scores, told = self._ask(asked, "fit")
        fused = self._join(proba[rows], silent[rows], scores, told, y[rows], rng, most, asked)
        self.oof_proba_first_, self.oof_proba_ = proba, np.full(proba.shape, np.nan)
        self.oof_proba_[rows] = fused
        return self

    def _read_target(self, texts, y):
        if y is None:
            raise ValueError(
                "CascadeClassifier requires y to be passed, but the target y is None."
            )
        self.multilabel_ = is_multilabel(y)
        if self.multilabel_:
            y, self.classes_ = check_target(y, caller="CascadeClassifier")
            self.prior_ = y.mean(axis=0)
        else:
            y = read_labels(y, caller="CascadeClassifier")
            check_class_target(y, caller="CascadeClassifier")
            self.classes_, counts = np.unique(y, return_counts=True)
            self.prior_ = counts / counts.sum()
            if len(counts) < 2:
                raise ValueError(
                    f"CascadeClassifier got y with one class, {self.classes_[0]!r}; it needs two."
                )
        check_consistent_length(texts, y)
        return y

    def _in_names(self, y):
        """Return the labels as the LLM has to hear them: y may hold codes of its classes."""
        self._names = {}
        if self.multilabel_:
            return y
        if asks_unnamed(self.llm):
            refuse_bare_numbers(
                self.classes_,
                caller="CascadeClassifier",
                give="llm=LLMScorer(..., classes=[...])",
            )
        named, _ = in_names(y, declared_classes(self.llm), caller="The llm of CascadeClassifier")
        self._names = dict(zip(y.tolist(), named.tolist(), strict=True))
        return named

    def _join(self, proba, silent, scores, told, y, rng, most, texts):
        """Fit the fusion; choose the share by its out-of-fold answers, which are returned."""
        fusion = self._make_fusion(rng.randint(2**31) if self.fusion is None else None)
        columns = np.hstack([proba, scores])
        # Classes by number, since cross_val_predict hides their names from the fusion.
        target = y if self.multilabel_ else np.searchsorted(self.classes_, y)
        own = (self.cv, self.multilabel_, rng, texts)
        fused = _cost_curve.out_of_fold(fusion, columns, target, *own)
        fused[~told] = proba[~told]
        self.fusion_ = clone(fusion).fit(columns, target)
        unsure = _cost_curve.doubt(proba, silent, self.multilabel_)
        self.cost_curve_ = curve = _cost_curve.cost_curve(
            proba,
            fused,
            unsure,
            y,
            self.classes_,
            multilabel=self.multilabel_,
            scoring=self.scoring,
            price=self.price_,
            most=most,
        )
        verdicts = _certificate.Verdicts.of(proba, fused, unsure, target, texts, self.multilabel_)
        rows = (proba, fused, unsure, y, self.classes_, texts)
        self.share_, worth = _spend.chosen_shares(self, curve, most, verdicts, rows)
        self.threshold_ = _cost_curve.threshold(unsure, int(worth * len(y) + 1e-9))
        self.certificate_ = _certificate.certificate(verdicts, self.share_, self.delta)
        if self.multilabel_:
            answers = _cost_curve.mixed(proba, fused, unsure, int(self.share_ * len(y) + 1e-9))
            self.cut_, self.fill_empty_ = choose_cut(answers, y, np.ones(len(y)))
        return fused

    def _make_fusion(self, seed):
        names = None
        if not self.multilabel_:
            names = [self._names[label] for label in self.classes_.tolist()]
        told = (self.fusion, len(self.classes_), self.llm_.classes_, names, seed)
        return _make.make_fusion(*told)

    def _ask(self, texts, occasion):
        """Return LLM scores, as `ScoreColumns`, and which rows have an answer."""
        self.asked_[occasion] += len(set(texts))
        knows = hasattr(self.llm_, "predict_proba")
        scores = label_scores(self.llm_, texts) if knows else self.llm_.transform(texts)
        scores = as_told(scores, self.llm_.classes_, self.multilabel_)
        return scores, scores.answers[:, 0]

    def _first_answers(self, X):
        """Return distinct texts, the row of each text in X, their probabilities and doubts."""
        check_is_fitted(self, "first_")
        texts = check_texts(X, caller="CascadeClassifier", allow_empty=True)
        different, rows = distinct(texts)
        if not different:
            return different, rows, np.empty((0, len(self.classes_))), np.empty(0)
        proba = label_scores(self.first_, different)
        proba, silent = _cost_curve.usable(proba, self.prior_, self.multilabel_)
        return different, rows, proba, _cost_curve.doubt(proba, silent, self.multilabel_)

    def _choose(self, texts, doubt):
        """Return the rows to ask about, most doubtful first, within the budget."""
        # Ties go by text, so that the order of the texts does not matter.
        order = np.array(sorted(range(len(texts)), key=lambda i: (-doubt[i], texts[i])), dtype=int)
        order = order[doubt[order] > self.threshold_]
        if not self.strict or not len(order):
            return order
        return _budget.affordable(self.budget, self.llm_, order, texts)

    def asks(self, X: Any) -> np.ndarray:
        """Tell which texts ``predict`` would ask the LLM about. Sends nothing.

        Parameters
        ----------
        X : sequence of n str

        Returns
        -------
        ndarray of shape (n,) of bool
        """
        texts, rows, _, doubt = self._first_answers(X)
        mask = np.zeros(len(texts), dtype=bool)
        mask[self._choose(texts, doubt)] = True
        return mask[rows]

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return probabilities: fused where the LLM has answered, else those of the first stage.

        Parameters
        ----------
        X : sequence of n str

        Returns
        -------
        ndarray of shape (n, K)
            Columns as ``classes_``.
        """
        return stages(self, X).proba

    def predict(self, X: Any) -> np.ndarray:
        """Return classes of shape (n,), or an indicator of shape (n, K).

        Parameters
        ----------
        X : sequence of n str
            Texts.

        Returns
        -------
        ndarray of shape (n,), or (n, K) of int
            Labels out of ``classes_``, or a label indicator.
        """
        proba = self.predict_proba(X)
        if self.multilabel_:
            return apply_cut(proba, self.cut_, self.fill_empty_)
        return self.classes_[proba.argmax(axis=1)]
