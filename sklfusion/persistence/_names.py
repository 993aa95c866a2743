"""The table of names: what a saved model may hold, and where that lives today.

Files carry the names on the left and nothing else, so a class that moves changes one line here
(public estimators not even that: they are found through ``sklfusion`` itself). A name that was
ever written stays for good.
"""

import dataclasses
import importlib
import inspect
import re
from typing import Any

from sklearn.base import BaseEstimator

import sklfusion
from sklfusion.exceptions import PersistenceError

#: Estimators that ``sklfusion`` exports.
ESTIMATORS = frozenset(
    {
        "AutoFusionClassifier",
        "CascadeClassifier",
        "ClassRoutingClassifier",
        "EncoderTraining",
        "FineTunedTrajectoryEncoder",
        "FusionClassifier",
        "JointFusionClassifier",
        "KNNLabelPrior",
        "LLMClassifier",
        "LLMEndpoint",
        "LLMScorer",
        "LabelAcquirer",
        "LabelDiffusion",
        "LabelDistributionCollector",
        "LabelDistributionEstimator",
        "LabelRepairClassifier",
        "MLPTrajectoryEncoder",
        "MultiLabelCalibrator",
        "MultiLabelThresholds",
        "MultiTargetFusionClassifier",
        "MultilingualEmbedder",
        "NoisyLabelClassifier",
        "NoisyLabelKNNClassifier",
        "PrevalenceEstimator",
        "RecordedScorer",
        "RobertaEmbedder",
        "SelectiveClassifier",
        "SiDyPClassifier",
        "SimplexDiffusionClassifier",
        "StaticEmbedder",
        "StudentClassifier",
        "TrainingDynamicsNoiseDetector",
        "VoteStudent",
    }
)

#: Parts inside fitted estimators: name in the file -> "module:class".
PARTS = {
    "annotations": "sklfusion.annotations:Annotations",
    "cascade_answers": "sklfusion.cascade._cost_curve:Answers",
    "distribution_pool": "sklfusion.alignment._pool:DistributionPool",
    "encoder_trainer": "sklfusion.embedding._trainer:EncoderTrainer",
    "fixed_scores": "sklfusion.multilabel._threshold_search:_Fixed",
    "fusion_net": "sklfusion.fusion._net:FusionNet",
    "inputs": "sklfusion.fusion._inputs:Inputs",
    "isotonic_scaling": "sklfusion.multilabel._calibration:IsotonicScaling",
    "label_entry": "sklfusion.promises._labelling:LabelEntry",
    "linear_probe": "sklfusion.alignment._probe:LinearProbe",
    "platt_scaling": "sklfusion.multilabel._calibration:PlattScaling",
    "price": "sklfusion.llm._prices:Price",
    "prompt_template": "sklfusion.prompts._templates:PromptTemplate",
    "score_block": "sklfusion._scores:ScoreBlock",
    "shot_selector": "sklfusion.scoring._examples:ShotSelector",
    "soft_probe": "sklfusion.fusion._soft_probe:SoftProbe",
    "target": "sklfusion._target_columns:TargetColumn",
    "task": "sklfusion.prompts._render:Task",
    "temperature_scaling": "sklfusion.multilabel._calibration:TemperatureScaling",
    "usage_report": "sklfusion.llm._usage:UsageReport",
    "weighed_head": "sklfusion.distillation._head:WeighedHead",
}

#: Public modules of scikit-learn that hold estimators; no other module of it is imported.
SKLEARN_MODULES = frozenset(
    {
        "sklearn.calibration",
        "sklearn.cluster",
        "sklearn.compose",
        "sklearn.covariance",
        "sklearn.cross_decomposition",
        "sklearn.decomposition",
        "sklearn.discriminant_analysis",
        "sklearn.dummy",
        "sklearn.ensemble",
        "sklearn.feature_extraction",
        "sklearn.feature_extraction.image",
        "sklearn.feature_extraction.text",
        "sklearn.feature_selection",
        "sklearn.frozen",
        "sklearn.gaussian_process",
        "sklearn.impute",
        "sklearn.isotonic",
        "sklearn.kernel_approximation",
        "sklearn.kernel_ridge",
        "sklearn.linear_model",
        "sklearn.manifold",
        "sklearn.mixture",
        "sklearn.model_selection",
        "sklearn.multiclass",
        "sklearn.multioutput",
        "sklearn.naive_bayes",
        "sklearn.neighbors",
        "sklearn.neural_network",
        "sklearn.pipeline",
        "sklearn.preprocessing",
        "sklearn.random_projection",
        "sklearn.semi_supervised",
        "sklearn.svm",
        "sklearn.tree",
    }
)
_SKLEARN_NAME = re.compile(r"(sklearn\.[a-z_.]+)\.(_?[A-Z][A-Za-z0-9_]*)")


def is_known(name: str) -> bool:
    """Tell whether a name may stand in a file; imports nothing."""
    if name in ESTIMATORS or name in PARTS:
        return True
    match = _SKLEARN_NAME.fullmatch(name)
    return match is not None and match[1] in SKLEARN_MODULES


def class_of(name: str) -> type:
    """Return the class that a known name stands for.

    Raises
    ------
    PersistenceError
        If there is no such class here, or it is not one that may be built.
    """
    try:
        if name in PARTS:
            module, _, attribute = PARTS[name].partition(":")
            return getattr(importlib.import_module(module), attribute)
        if name in ESTIMATORS:
            return getattr(sklfusion, name)
        module, _, attribute = name.rpartition(".")
        cls = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError):
        raise PersistenceError(f"The model holds {name!r}, which does not exist here.") from None
    if not (isinstance(cls, type) and issubclass(cls, BaseEstimator)):
        raise PersistenceError(f"The model holds {name!r}, which is not an estimator.")
    return cls


def name_of(cls: type) -> str | None:
    """Return the name of a class in files, or None if it has none."""
    path = f"{cls.__module__}:{cls.__qualname__}"
    for name, home in PARTS.items():
        if home == path:
            return name
    if cls.__module__.startswith("sklfusion."):
        found = cls.__name__ in ESTIMATORS and getattr(sklfusion, cls.__name__) is cls
        return cls.__name__ if found else None
    name = public_sklearn_name(f"{cls.__module__}.{cls.__qualname__}")
    if not is_known(name) or not issubclass(cls, BaseEstimator):
        return None
    module, _, attribute = name.rpartition(".")
    public = getattr(importlib.import_module(module), attribute, None)
    return name if public is cls else None


def public_sklearn_name(path: str) -> str:
    """Return ``sklearn.svm.SVC`` for ``sklearn.svm._classes.SVC``."""
    *modules, name = path.split(".")
    public = []
    for module in modules:
        if module.startswith("_"):
            break
        public.append(module)
    return ".".join([*public, name])


def build(cls: Any, state: dict[str, Any]) -> Any:
    """Return an instance of a record or estimator with that state, without its constructor.

    Raises
    ------
    TypeError
        If the state lacks a field of a dataclass or has one too many.
    """
    if dataclasses.is_dataclass(cls):
        return cls(**state)  # type: ignore[operator]
    instance = cls.__new__(cls)
    if issubclass(cls, BaseEstimator):
        # a parameter that came after the file was written has its default
        instance.__setstate__({**_defaults(cls), **state})
    else:
        instance.__dict__.update(state)
    return instance


def _defaults(cls):
    """Defaults of the parameters of an estimator of ours; scikit-learn looks after its own."""
    if cls.__name__ not in ESTIMATORS:
        return {}
    parameters = inspect.signature(cls.__init__).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not p.empty}
