"""A fitted fusion as an ONNX graph: numbers in, probabilities out, with its scaling and coding."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted
from torch import nn

from sklfusion._optional import import_optional
from sklfusion._scores import HALF, LEAST_READ, NEAR_HALF, SAME_SCORE
from sklfusion.fusion._votes import EVIDENCE_FLOOR, SAME_VOTE

_OPSET = 18


class FusionGraph(nn.Module):
    """What `FusionClassifier.predict_proba` computes, in double precision."""

    def __init__(self, clf):
        super().__init__()
        self.inputs, self.multilabel, self.family = clf.inputs_, clf.multilabel_, clf._family
        self.net = clf.net_.module_
        self.register_buffer("mean", torch.as_tensor(np.asarray(clf.inputs_.mean)))
        self.register_buffer("scale", torch.as_tensor(np.asarray(clf.inputs_.scale)))

    def forward(self, X):
        """Probabilities (n, K) of features (n, p)."""
        X = X.double()
        encoder = (_columns(X, self.inputs.encoder) - self.mean) * self.scale
        codes, marks = [X[:, :0]], [X[:, :0]]
        for block, coding in zip(self.inputs.blocks, self.inputs.codings, strict=True):
            code, mark = self._read(X, block, coding)
            codes.append(code * mark)
            marks.append(mark)
        logits = self.net(
            encoder=encoder, codes=torch.cat(codes, dim=1), answered=torch.cat(marks, dim=1)
        )
        if self.multilabel:
            return torch.sigmoid(logits)
        logits = logits if self.family == "softmax" else nn.functional.logsigmoid(logits)
        return torch.softmax(logits, dim=1)

    def _read(self, X, block, coding):
        """Codes of a block and a column of 1 where there is an answer; see `ScoreBlock`."""
        raw = _columns(X, block.columns)
        # NaN and infinity times 0 are NaN, which differs from itself
        finite = ((raw * 0) == 0).all(dim=1, keepdim=True)
        raw = torch.where(finite, raw, torch.zeros_like(raw))
        answered = finite
        if block.silence == "flat" and len(block.columns) > 1:
            answered = answered & ~self._flat(raw, block.scale)
        if block.flag is not None:
            answered = answered & (_columns(X, [block.flag]) < 0.5)
        if self.family == "softmax":
            scores = _log_proba_of(raw, block.scale)
            return _softmax_code(scores, coding), answered.double()
        known = block.mapping >= 0
        order = np.empty(block.mapping.max() + 1, dtype=int)
        order[block.mapping[known]] = np.flatnonzero(known)
        scores = _columns(_log_odds_of(raw, block.scale), order)
        if coding == "vote":
            return (scores > 0).double(), answered.double()
        return scores.clamp(EVIDENCE_FLOOR, -EVIDENCE_FLOOR), answered.double()

    def _flat(self, raw, scale):
        flat = _range(raw) <= SAME_SCORE
        if not self.multilabel:
            return flat
        return flat & ((raw[:, :1] - float(HALF[scale])).abs() <= NEAR_HALF)


def _columns(X, columns):
    return torch.index_select(X, 1, torch.as_tensor(np.asarray(columns, dtype=np.int64)))


def _range(values):
    return values.amax(dim=1, keepdim=True) - values.amin(dim=1, keepdim=True)


def _log_proba_of(raw, scale):
    if scale == "proba":
        raw = raw.clamp_min(LEAST_READ["softmax"]).log()
    return torch.log_softmax(raw, dim=1)


def _log_odds_of(raw, scale):
    if scale == "logit":
        return raw
    proba = raw.clamp_max(0.0).exp() if scale == "log_proba" else raw
    proba = proba.clamp(LEAST_READ["sigmoid"], 1 - LEAST_READ["sigmoid"])
    return proba.log() - torch.log1p(-proba)


def _softmax_code(scores, coding):
    if coding == "vote":
        votes = nn.functional.one_hot(scores.argmax(dim=1), scores.shape[1]).double()
        return votes * (_range(scores) > SAME_VOTE).double()
    clipped = scores.clamp_min(EVIDENCE_FLOOR)
    return clipped - clipped.mean(dim=1, keepdim=True)


def to_onnx(clf: Any, path: str | Path | None = None) -> bytes:
    """Return a fitted fusion as an ONNX model, and write it to ``path`` if there is one.

    Parameters
    ----------
    clf : FusionClassifier
        Fitted.
    path : str or Path, optional
        File to write.

    Returns
    -------
    bytes
        The model. Its input ``X`` is float32 of shape (n, p), the columns that ``clf`` was fitted
        on, NaN for no answer where ``clf`` takes it so; its output ``probabilities`` is float64
        of shape (n, K), columns as ``clf.classes_``, which are in the metadata.

    Raises
    ------
    TypeError
        If ``clf`` is no FusionClassifier.
    NotFittedError
        If it is not fitted.
    ImportError
        If the extra ``onnx`` is not installed.

    See Also
    --------
    FusionClassifier : What it takes.
    sklfusion.persistence.save : Keeps the whole model.

    Notes
    -----
    Scaling, coding and the net are in the graph; encoder and LLM are not. The probabilities equal
    those of ``clf.predict_proba`` to 1e-5 (they are computed in double precision, from features in
    single). Cost: a few seconds, most of which torch takes to trace.

    Examples
    --------
    >>> from sklfusion import FusionClassifier
    >>> from sklearn.datasets import make_blobs
    >>> from sklfusion.fusion import to_onnx
    >>> X, y = make_blobs(60, n_features=5, random_state=0)
    >>> clf = FusionClassifier(score_columns=None, random_state=0).fit(X, y)
    >>> graph = to_onnx(clf, "head.onnx")  # doctest: +SKIP
    """
    from sklfusion.fusion._classifier import FusionClassifier

    if not isinstance(clf, FusionClassifier):
        raise TypeError(
            f"to_onnx got {type(clf).__name__}; it needs a fitted FusionClassifier, such as the "
            "fusion_ of an AutoFusionClassifier."
        )
    check_is_fitted(clf, "net_")
    onnx = import_optional("onnx", extra="onnx", purpose="Writing a head as ONNX")
    import_optional("onnxscript", extra="onnx", purpose="Writing a head as ONNX")
    graph = FusionGraph(clf).double().eval()
    model = _export(graph, clf.n_features_in_)
    model.metadata_props.add(key="classes", value=repr(clf.classes_.tolist()))
    onnx.checker.check_model(model)
    data = model.SerializeToString()
    if path is not None:
        Path(path).write_bytes(data)
    return data


def _export(graph, n_features):
    rows = torch.export.Dim("rows", min=1)
    example = torch.zeros(3, n_features, dtype=torch.float32)
    with torch.no_grad():
        program = torch.onnx.export(
            graph,
            (example,),
            dynamo=True,
            opset_version=_OPSET,
            input_names=["X"],
            output_names=["probabilities"],
            dynamic_shapes=({0: rows},),
            verbose=False,
        )
    return program.model_proto
