"""What a student loses: scores of decisions on held-out rows, with intervals."""

import numpy as np

_QUANTILE = 1.96  # of the normal distribution, for intervals of 95 %
#: Rows added before an interval is taken, so that it is not empty where all rows agree: two hits
#: and two misses for a share (Agresti and Coull), half of either sign for a difference and as
#: many zeros (Agresti and Min). Each is (sum, sum of squares, rows).
_SHARE, _DIFFERENCE = (2.0, 2.0, 4.0), (0.0, 1.0, 2.0)


def gap_report(answers, said, lesson):
    """Return the report of :func:`sklfusion.distill`.

    Parameters
    ----------
    answers, said : ndarray of shape (n, K) of 0 and 1
        Decisions of the student, held out, and of the teacher.
    lesson : Lesson
    """
    told, known = lesson.told, lesson.known
    report = {
        "measure": "samples F1" if lesson.multilabel else "accuracy",
        "n_texts": len(told),
        "n_gold": int(known.sum()),
        "n_silent": int((~told).sum()),
        "agreement": interval(row_scores(answers, said)[told], _SHARE),
    }
    if known.any():
        gold = lesson.gold[known]
        student = row_scores(answers[known], gold)
        # no answer is no hit
        teacher = row_scores(said[known], gold) * told[known]
        report["student"] = interval(student, _SHARE)
        report["teacher"] = interval(teacher, _SHARE)
        report["gap"] = interval(student - teacher, _DIFFERENCE)
    return report


def row_scores(answers, wanted):
    """F1 of each row's label sets, 1 where both are empty; with one label a hit or a miss."""
    both = (answers * wanted).sum(axis=1)
    total = answers.sum(axis=1) + wanted.sum(axis=1)
    return np.where(total == 0, 1.0, 2 * both / np.maximum(total, 1))


def interval(values, added):
    """Mean of row scores and its 95 % interval, as a dict of float; NaN without rows."""
    if not len(values):
        return dict.fromkeys(("mean", "low", "high"), float("nan"))
    total, squares, rows = added
    n = len(values) + rows
    center = (values.sum() + total) / n
    error = np.sqrt(max(((values**2).sum() + squares) / n - center**2, 0.0) / n)
    low, high = center - _QUANTILE * error, center + _QUANTILE * error
    least = -1.0 if total == 0 else 0.0
    return {
        "mean": float(values.mean()),
        "low": float(max(low, least)),
        "high": float(min(high, 1.0)),
    }
