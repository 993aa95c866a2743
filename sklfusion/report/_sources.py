"""A fitted fusion taken apart: its columns, and what each source says of a row by itself."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import expit, softmax
from sklearn.pipeline import Pipeline
from sklearn.utils import check_random_state

from sklfusion.auto import AutoFusionClassifier
from sklfusion.cascade import CascadeClassifier
from sklfusion.cascade._cost_curve import SHARES
from sklfusion.cascade._stages import stages
from sklfusion.fusion import FusionClassifier
from sklfusion.fusion._checks import check_rows
from sklfusion.fusion._folds import assign_folds
from sklfusion.fusion._probe import fit_probe
from sklfusion.fusion._problem import Problem
from sklfusion.multilabel._cut import apply_cut, choose_cut

#: Inner folds on which the penalty of a logistic regression and the cut of its labels are chosen.
_INNER_FOLDS = 5


@dataclass
class Opinion:
    """What a method says about n test rows.

    ``proba`` is (n, K), or None where it gives none; ``labels`` (n,) are numbers of classes, or
    (n, K) is a label set. ``answered`` is False where an LLM gave no answer.
    """

    role: str
    proba: np.ndarray | None
    labels: np.ndarray
    answered: np.ndarray | None = None


def fusion_in(fitted: Any, X: Any) -> tuple[Any, Any]:
    """Return the fitted `FusionClassifier` in an estimator and its columns of X, else (None, X).

    Each text is encoded, and looked up at the LLM, once.
    """
    if isinstance(fitted, Pipeline):
        return fusion_in(fitted[-1], fitted[:-1].transform(X) if len(fitted) > 1 else X)
    if isinstance(fitted, AutoFusionClassifier):
        return fusion_in(fitted.fusion_, fitted.pipeline_.named_steps["features"].transform(X))
    if hasattr(fitted, "best_estimator_"):
        return fusion_in(fitted.best_estimator_, X)
    if isinstance(fitted, FusionClassifier):
        return fitted, check_rows(fitted, X)
    return None, X


def may_hold_a_fusion(estimator: Any) -> bool:
    """Tell whether an unfitted estimator is, or ends in, or searches for, a fusion."""
    if isinstance(estimator, Pipeline):
        return may_hold_a_fusion(estimator[-1])
    if hasattr(estimator, "refit") and hasattr(estimator, "estimator"):
        return may_hold_a_fusion(estimator.estimator)
    return isinstance(estimator, FusionClassifier | AutoFusionClassifier)


class LogisticProbe:
    """Logistic regression whose penalty is chosen in inner folds; multi-class and multi-label.

    Parameters
    ----------
    Z : ndarray of shape (n, d)
        Features; they are scaled to a mean squared row norm of 1.
    Y : ndarray of shape (n, K)
        Targets, 0 and 1.
    multilabel : bool
    seed : int or None
    """

    def __init__(self, Z, Y, multilabel, seed):
        self.multilabel = multilabel
        self.center = Z.mean(axis=0)
        norm = np.sqrt(((Z - self.center) ** 2).sum(axis=1).mean())
        self.scale = 1 / max(norm, 1e-12)
        family = "sigmoid" if multilabel else "softmax"
        rng = check_random_state(seed)
        folds = assign_folds(Z, Y, family, _INNER_FOLDS, rng)
        problem = Problem(Y.astype(float), np.ones(len(Y)), folds, family)
        self.prior = problem.log_prior
        self.probe = fit_probe(self._scaled(Z), problem)
        self.cut = None
        if multilabel:
            held_out = expit(self.prior + self.probe.oof_evidence)
            self.cut = choose_cut(held_out, Y, np.ones(len(Y)))

    def _scaled(self, Z):
        return (Z - self.center) * self.scale

    def opinion(self, Z, role):
        """Return its `Opinion` of rows (m, d)."""
        logits = self.prior + self.probe.evidence(self._scaled(Z))
        proba = expit(logits) if self.multilabel else softmax(logits, axis=1)
        return decided(role, proba, self.cut)


def decided(role, proba, cut=None, answered=None):
    """Return the `Opinion` of probabilities; ``cut`` is (threshold, fill empty sets) of labels."""
    labels = proba.argmax(axis=1) if cut is None else apply_cut(proba, *cut)
    return Opinion(role, proba, labels, answered)


def opinions_of_parts(head, train, test, Y, seed):
    """Return what fusion, its sources alone and logistic regression on both say.

    Parameters
    ----------
    head : FusionClassifier
        Fitted.
    train, test : ndarray of shape (n, p) and (m, p)
        Its columns.
    Y : ndarray of shape (n, K)
        Targets of the training rows in the order of its classes.
    seed : int or None

    Returns
    -------
    dict of str to Opinion
    """
    several, inputs = head.multilabel_, head.inputs_
    found = {"fusion": _of_head(head, test)}
    if not inputs.blocks:
        found["encoder alone"] = _probed(inputs, train, test, Y, several, seed)
        return found
    prior = Y.mean(axis=0)
    llms = len(inputs.is_encoder) - sum(inputs.is_encoder)
    for block, own in zip(inputs.blocks, inputs.is_encoder, strict=True):
        name = (
            "encoder alone" if own else "LLM alone" if llms == 1 else f"LLM alone ({block.name})"
        )
        found[name] = _of_block(head, block, train, test, Y, prior)
    if len(inputs.encoder):
        name = "encoder alone"
        if name in found:
            found["encoder's probabilities alone"] = found.pop(name)
        found[name] = _probed(inputs, train, test, Y, several, seed)
    if len(inputs.encoder) and llms:
        given = [inputs.transform(X) for X in (train, test)]
        like = inputs.input_scale(given[0])  # each source with a like weight
        Z, Z_test = (np.hstack([g["encoder"], g["codes"], g["answered"]]) * like for g in given)
        model = LogisticProbe(Z, Y, several, seed)
        found["logistic regression on embedding and scores"] = model.opinion(Z_test, "rival")
    return found


def opinions_of_stages(cascade: CascadeClassifier, X: Any) -> dict[str, Opinion]:
    """Return what a fitted cascade and its first stage say; the LLM is asked as it asks it."""
    found = stages(cascade, X)
    several = cascade.multilabel_
    cut = (cascade.cut_, cascade.fill_empty_) if several else None
    return {
        "cascade": decided("fusion", found.proba, cut),
        "first stage alone": decided("part", found.first, (0.5, False) if several else None),
    }


def curve_of_cascade(cascade: CascadeClassifier) -> np.ndarray | None:
    """Return the accuracy that a cascade expects at each of ``SHARES``, None if it has none."""
    curve = cascade.cost_curve_
    if curve is None or cascade.scoring not in (None, "accuracy"):
        return None
    return np.interp(SHARES, curve["share"], curve["score"])


def _probed(inputs, train, test, Y, several, seed):
    model = LogisticProbe(inputs.features(train), Y, several, seed)
    return model.opinion(inputs.features(test), "part")


def _of_head(head, X):
    proba = head.predict_proba(X)
    labels = head.predict(X)
    if not head.multilabel_:
        labels = np.searchsorted(head.classes_, labels)
    return Opinion("fusion", proba, labels)


def _of_block(head, block, train, test, Y, prior):
    proba, answered = _block_proba(head, block, test, prior)
    cut = None
    if head.multilabel_:
        told, known = _block_proba(head, block, train, prior)
        cut = choose_cut(told, Y, known.astype(float)) if known.any() else (0.5, False)
    return decided("part", proba, cut, answered)


def _block_proba(head, block, X, prior):
    """Probabilities (n, K) of an LLM in the order of the classes; ``prior`` where it is silent."""
    family = head.inputs_.family
    scores, answered = head.inputs_.scores(X, block)
    if head.multilabel_:
        proba = expit(scores)
    elif family == "sigmoid":
        proba = expit(scores)
        proba = proba / np.maximum(proba.sum(axis=1, keepdims=True), 1e-12)
    else:
        proba = _by_class(np.exp(scores), block.mapping, len(prior))
    return np.where(answered[:, None], proba, prior), answered


def _by_class(proba, mapping, n_classes):
    """Columns of the block to columns of y, over the classes that y has; rows sum to 1."""
    found = np.zeros((len(proba), n_classes))
    known = mapping >= 0
    found[:, mapping[known]] = proba[:, known]
    total = found.sum(axis=1, keepdims=True)
    return np.where(total > 0, found / np.maximum(total, 1e-300), 1 / n_classes)
