"""The numeric part of a student: a linear head on vectors, learnt from a `Lesson`."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from sklfusion.fusion._classifier import FusionClassifier
from sklfusion.fusion._soft_probe import fit_soft_probe
from sklfusion.fusion._student import VoteStudent
from sklfusion.noise._noisy_label import NoisyLabelClassifier

#: Rows without a label that a probe of the teacher alone is worth fitting on.
_FEWEST_UNLABELED = 10
#: Gold rows with a label (of several) whose word on it counts as much as the teacher's: what a
#: handful of them shows of a rare label is mostly luck.
_EVEN_POSITIVES = 3.0


@dataclass
class WeighedHead:
    """A probe of the teacher's answers on unlabelled rows, weighed on the labelled ones.

    ``votes`` is the :class:`VoteStudent`, ``fusion`` the :class:`FusionClassifier` that joins
    its probabilities with the vectors, ``share`` (K,) what the fusion has to say of each label
    where there are several, the rest being the probe's. With one class per row ``pooled``, the
    :class:`NoisyLabelClassifier` of all rows at once, has the other half of the say; models saved
    by earlier versions have none.
    """

    votes: Any
    fusion: Any
    share: Any = None
    pooled: Any = None

    def proba(self, E):
        """Probabilities (n, K) of vectors (n, d)."""
        columns = self.votes.transform(E)
        weighed = self.fusion.predict_proba(columns)
        if self.pooled is not None:
            pooled = np.zeros_like(weighed)
            pooled[:, self.pooled.classes_] = self.pooled.predict_proba(E)
            return (weighed + pooled) / 2
        if self.share is None:
            return weighed
        return self.share * weighed + (1 - self.share) * columns[:, -len(self.share) :]


def fit_student_head(E, lesson, rng):
    """Return what gives probabilities, by a method ``proba``, of vectors (n, d).

    With labels on some rows only, the others teach a probe what the teacher says, and the
    labelled rows decide how far that is to be trusted beside what they show themselves. With one
    class per row this is averaged with a model of the classes that labels and answers make likely
    together: the first is better where the teacher is worth little, the second where labels are
    few, and their mean is hardly ever below either's parts. Of several labels, a rare one is left
    to the probe. Else one probe learns from all rows: labels, probabilities, or the mean of both.
    """
    apart = lesson.told & ~lesson.known
    varied = (lesson.gold[lesson.known & lesson.told].max(axis=0, initial=0) > 0).sum() > 1
    if varied and apart.sum() >= _FEWEST_UNLABELED:
        return _weigh(E, lesson, apart, rng)
    used = lesson.known | lesson.told
    sources = lesson.known.astype(float) + lesson.told
    targets = (lesson.gold + lesson.taught)[used] / sources[used, None]
    return fit_soft_probe(E[used], targets, "sigmoid" if lesson.multilabel else "softmax", rng)


def _weigh(E, lesson, apart, rng):
    known, k = lesson.known, len(lesson.classes)
    seeds = rng.randint(2**31, size=3)
    y = lesson.gold[known].astype(int)
    taught = np.where(lesson.told[:, None], lesson.taught, np.nan)
    numbers = None
    if not lesson.multilabel:
        y, numbers = y.argmax(axis=1), list(range(k))
    votes = VoteStudent(random_state=int(seeds[0])).fit(
        E[known],
        y,
        scores=taught[known],
        X_unlabeled=E[apart],
        scores_unlabeled=taught[apart],
        classes=numbers,
    )
    d = E.shape[1]
    fusion = FusionClassifier(
        score_columns=slice(d, d + k),
        score_classes=numbers,
        classes=numbers,
        features="embedding",
        random_state=int(seeds[1]),
    )
    fusion.fit(votes.transform(E[known]), y)
    if lesson.multilabel:
        positives = lesson.gold[known].sum(axis=0)
        return WeighedHead(votes, fusion, share=positives / (positives + _EVEN_POSITIVES))
    answers = np.where(lesson.told, lesson.taught.argmax(axis=1), -1)
    gold = np.where(known, lesson.gold.argmax(axis=1), -1)
    pooled = NoisyLabelClassifier(random_state=int(seeds[2])).fit(E, answers, gold=gold)
    return WeighedHead(votes, fusion, pooled=pooled)
