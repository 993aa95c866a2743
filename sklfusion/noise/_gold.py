"""What a repair does with the rows it picked: read gold labels, soften, weight."""

import numpy as np
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import has_fit_parameter

from sklfusion.noise._labels import missing_mask


class Asker:
    """Reads gold labels, selected rows only, each at most once."""

    def __init__(self, gold, classes, missing_label):
        self.gold = gold
        self.missing_label = missing_label
        self._names = classes.tolist()
        self._answers = {}

    def ask(self, indices):
        """Return codes of the gold labels of these rows, -1 where unknown."""
        new = [i for i in indices.tolist() if i not in self._answers]
        if new:
            said = self.gold(np.array(new)) if callable(self.gold) else np.asarray(self.gold)[new]
            said = np.asarray(said)
            if len(said) != len(new):
                raise ValueError(f"gold gave {len(said)} labels for {len(new)} rows.")
            missing = missing_mask(said, self.missing_label)
            for i, label, gone in zip(new, said.tolist(), missing, strict=True):
                if not gone and label not in self._names:
                    self._names.append(label)  # a class that the LLM never used
                self._answers[i] = -1 if gone else self._names.index(label)
        return np.array([self._answers[i] for i in indices.tolist()], dtype=int)

    def names(self):
        """All classes seen so far, in the order of the codes."""
        return np.array(self._names)


def soften(codes, proba, picked):
    """Replace each picked row by one copy per class, weighted by its probability."""
    k = proba.shape[1]
    proba = np.where(np.isnan(proba), 1 / k, proba)
    hard = np.setdiff1d(np.arange(len(codes)), picked)
    rows = np.r_[hard, np.repeat(picked, k)]
    labels = np.r_[codes[hard], np.tile(np.arange(k), len(picked))]
    weights = np.r_[np.ones(len(hard)), proba[picked].ravel()]
    keep = weights > 1e-6
    return rows[keep], labels[keep], weights[keep]


def weight_kwargs(student, weights):
    if weights is None:
        return {}
    if isinstance(student, Pipeline):
        name, last = student.steps[-1]
        if has_fit_parameter(last, "sample_weight"):
            return {f"{name}__sample_weight": weights}
    elif has_fit_parameter(student, "sample_weight"):
        return {"sample_weight": weights}
    raise ValueError(
        f'{type(student).__name__} takes no sample_weight, which action="soft" and '
        'action="weight" need. Use another student or action="drop".'
    )
