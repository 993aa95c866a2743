"""What a notebook shows of a fitted fusion: its sources side by side, with trust and spend."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils._repr_html.estimator import _VisualBlock as VisualBlock
from sklearn.utils.metaestimators import available_if


class DiagramMixin:
    """Draws a fitted ``embedder_``, ``scorer_`` and ``fusion_`` as scikit-learn draws a stack.

    Before ``fit`` scikit-learn's own view of the parameters is shown. Every word of a caption is
    escaped by scikit-learn.
    """

    embedder_: Any
    scorer_: Any
    fusion_: Any
    report_: dict

    @available_if(lambda self: hasattr(self, "fusion_"))
    def _sk_visual_block_(self) -> Any:
        trust = _of(self.fusion_, "source_weights_", {})
        trust = {source: f"trust {np.mean(weight):.2f}" for source, weight in trust.items()}
        sources = [("embedding", self.embedder_, "encoder"), ("llm", self.scorer_, "llm")]
        there = {
            name: _Captioned(part, _model(part), trust.get(source), _bill(part))
            for name, part, source in sources
            if part is not None
        }
        labels = f"{self.report_['n_labelled']} labelled texts"
        fusion = _Captioned(self.fusion_, _of(self.fusion_, "chosen_", None), labels)
        rows = [
            VisualBlock("parallel", list(parts.values()), names=list(parts), dash_wrapped=False)
            for parts in (there, {"fusion": fusion})
        ]
        return VisualBlock("serial", rows, dash_wrapped=False)


class _Captioned(VisualBlock):
    """A part with a caption; its parameters and attributes are those of the part."""

    def __init__(self, part, *caption):
        super().__init__(
            "single",
            part,
            names=type(part).__name__,
            name_details=str(part),
            name_caption=", ".join(filter(None, caption)),
        )

    def __getattr__(self, name):
        return getattr(self.estimators, name)


def _of(estimator, name, default):
    found = getattr(estimator, name, None)
    return default if found is None else found


def _model(part):
    """Return the name of a part's model, if it has one."""
    model = _of(part, "model", None)
    model = _of(model, "model", model)  # of an endpoint
    return model if isinstance(model, str) else None


def _bill(part):
    """Return what was asked of an LLM since ``fit``, and what it cost."""
    usage = _of(part, "usage_", None)
    if usage is None:
        return None
    cost = "cost unknown" if usage.cost is None else f"cost {usage.cost:.4g}"
    return f"{usage.requests} paid requests, {usage.cached} kept, {cost}"
