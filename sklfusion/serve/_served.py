"""What a fitted model says about texts: labels, probabilities, and each source's part."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.special import expit

from sklfusion._scores import ScoreColumns, told_by
from sklfusion.cascade import CascadeClassifier
from sklfusion.cascade._stages import stages
from sklfusion.fusion._probabilities import probabilities
from sklfusion.multilabel._cut import apply_cut
from sklfusion.multilabel._targets import label_scores


@dataclass
class SourceView:
    """What one source said about one text.

    ``says`` (K,) are its own probabilities, None where it gave no answer; ``trust`` is the factor
    on its evidence; ``adds`` (K,) what it adds to the log-odds.
    """

    name: str
    says: np.ndarray | None
    trust: float | None = None
    adds: np.ndarray | None = None


@dataclass
class TextAnswer:
    """What the model says about one text; ``proba`` is None where it has no opinion."""

    label: Any
    proba: np.ndarray | None
    sources: list[SourceView] = field(default_factory=list)
    asked: bool | None = None
    doubt: float | None = None


class ServedModel:
    """A fitted classifier of texts, made ready to be asked.

    Parameters
    ----------
    model : estimator
        With ``predict_proba`` and ``classes_``. `AutoFusionClassifier`, pipelines that end in a
        `FusionClassifier`, and `CascadeClassifier` also tell what each source says.

    Raises
    ------
    TypeError
        If it is none.
    """

    def __init__(self, model: Any) -> None:
        if not (hasattr(model, "predict_proba") and hasattr(model, "classes_")):
            raise TypeError(
                f"A served model needs predict_proba and classes_; {type(model).__name__} has "
                "not both. Fit a classifier of texts, such as AutoFusionClassifier."
            )
        self.model = model
        self.classes = np.asarray(model.classes_).tolist()
        self.names = [str(label) for label in self.classes]
        self.is_cascade = isinstance(model, CascadeClassifier)
        pipeline = getattr(model, "pipeline_", model)
        last = pipeline.steps[-1][1] if hasattr(pipeline, "steps") else None
        self._pipeline: Any = pipeline if getattr(last, "source_weights_", None) else None
        self._fusion: Any = last if self._pipeline is not None else None
        kinds = (getattr(part, "multilabel_", None) for part in (model, last))
        known = next((kind for kind in kinds if kind is not None), None)
        self.multilabel = bool(getattr(model, "multilabel", False) if known is None else known)
        # The budget of a strict cascade is that of one call, so requests must not share one.
        strict = self.is_cascade and model.strict and model.budget is not None
        self.may_share_calls = not strict

    @property
    def thresholds(self) -> dict[str, float]:
        """What the model cuts at: ``label`` for several labels, ``ask_llm`` for a cascade."""
        found = {}
        cut: Any = getattr(self.model if self.is_cascade else self._fusion, "threshold_", None)
        if self.is_cascade and np.isfinite(cut):
            found["ask_llm"] = float(cut)
        if self.multilabel:
            label = self.model.cut_ if self.is_cascade else cut
            found["label"] = 0.5 if label is None else float(label)
        return found

    def answer(self, texts: list[str], ask: bool = True) -> list[TextAnswer]:
        """Return one answer per text.

        Parameters
        ----------
        texts : list of n str
        ask : bool
            Whether a cascade may ask its LLM. No other model can leave it out.
        """
        if self.is_cascade:
            return self._of_cascade(texts, ask)
        if self._pipeline is not None:
            return self._of_pipeline(texts)
        proba = label_scores(self.model, texts)
        chosen = self.model.predict(texts) if self.multilabel else None
        return [TextAnswer(*pair) for pair in self._labelled(proba, chosen)]

    def _labelled(self, proba, chosen):
        """Yield label and probabilities of each row; ``chosen`` is the label indicator."""
        for row, values in enumerate(np.asarray(proba, dtype=np.float64)):
            if not np.isfinite(values).all():
                yield None, None
            elif self.multilabel:
                yield [self.classes[k] for k in np.flatnonzero(chosen[row])], values
            else:
                yield self.classes[int(values.argmax())], values

    def _of_pipeline(self, texts):
        features = self._pipeline[:-1].transform(texts)
        proba = self._fusion.predict_proba(features)
        chosen = self._fusion.predict(features) if self.multilabel else None
        answers = [TextAnswer(*pair) for pair in self._labelled(proba, chosen)]
        told = said_by(told_by(features), self.names, self.multilabel)
        self._add_sources(answers, self._fusion.contributions(features), told)
        return answers

    def _add_sources(self, answers, added, told):
        """Give each answer the view of every source; scores that nobody named go by evidence."""
        blocks = iter(told)
        for name, weight in self._fusion.source_weights_.items():
            if name not in added:
                continue
            adds = np.asarray(added[name], dtype=np.float64)
            said = None if name == "encoder" else next(blocks, None)
            family = self._fusion._family
            evidence = probabilities(adds / (weight or 1.0), family, self.multilabel)
            for row, answer in enumerate(answers):
                if said is not None:
                    says = said[row] if np.isfinite(said[row]).all() else None
                else:
                    says = evidence[row] if weight > 0 else None
                answer.sources.append(SourceView(name, says, float(weight), adds[row]))

    def _of_cascade(self, texts, ask):
        found = stages(self.model, texts, ask=ask)
        chosen = apply_cut(found.proba, self.model.cut_, self.model.fill_empty_)
        pairs = self._labelled(found.proba, chosen if self.multilabel else None)
        trust = getattr(self.model.fusion_, "source_weights_", None) or {}
        llm_trust = next((v for name, v in trust.items() if name != "encoder"), None)
        told = said_by(found.scores, self.names, self.multilabel)
        answers = []
        for row, (label, proba) in enumerate(pairs):
            doubt = float(found.doubt[row]) if np.isfinite(found.doubt[row]) else None
            views = [SourceView("first stage", found.first[row], trust.get("encoder"))]
            if found.asked[row]:
                said = told[0][row] if told else None
                says = said if said is not None and np.isfinite(said).all() else None
                views.append(SourceView("llm", says, llm_trust))
            answers.append(TextAnswer(label, proba, views, bool(found.asked[row]), doubt))
        return answers


def said_by(scores: ScoreColumns | None, names: list[str], multilabel: bool) -> list[np.ndarray]:
    """Return the probabilities (n, K) of each LLM in the order of ``names``, NaN for no answer."""
    if scores is None:
        return []
    found = []
    for number, block in enumerate(scores.blocks):
        values = np.asarray(scores, dtype=np.float64)[:, block.columns]
        if block.scale != "proba":
            values = np.exp(values) if block.scale == "log_proba" else expit(values)
        own = [str(label) for label in block.classes]
        if set(names) <= set(own):
            values = values[:, [own.index(name) for name in names]]
        elif len(own) == len(names):  # y held codes of the sorted names
            values = values[:, np.argsort(own)]
        else:
            continue
        if not multilabel:
            total = values.sum(axis=1, keepdims=True)
            values = np.divide(values, total, out=np.full_like(values, np.nan), where=total > 0)
        found.append(np.where(scores.answers[:, [number]], values, np.nan))
    return found
