"""Fuse an LLM and a transformer encoder into one scikit-learn text classifier.

Public names load on first use, so that ``import sklfusion`` brings in neither torch nor
transformers nor openai.
"""

from importlib import import_module as _import_module

__version__ = "0.1.0"

# module -> the public names that live in it
_EXPORTS = {
    "alignment": ["LabelDistributionEstimator", "AlignmentDisplay"],
    "annotations": ["Annotations"],
    "fusion": ["FusionClassifier", "FusionMLP"],
    "calibration": ["MultiLabelCalibrator"],
    "collector": ["LabelDistributionCollector"],
    "cascade": ["CascadeClassifier"],
    "routing": ["ClassRoutingClassifier"],
    "splitting": ["IterativeStratifiedKFold"],
    "embedding": ["RobertaEmbedder"],
    "joint": ["JointFusionClassifier"],
    "thresholds": ["MultiLabelThresholds"],
    "auto": ["AutoFusionClassifier", "make_fusion_pipeline"],
    "plotting": [
        "CostCurveDisplay",
        "DataEfficiencyDisplay",
        "ReliabilityDisplay",
        "SourceTrustDisplay",
    ],
    "noise._display": ["StabilityDisplay"],
    "noise._encoder": ["MLPTrajectoryEncoder"],
    "noise._fine_tuned_encoder": ["FineTunedTrajectoryEncoder"],
    "noise.diffusion": ["SimplexDiffusionClassifier"],
    "noise.dynamics": ["TrainingDynamicsNoiseDetector"],
    "noise.prior": ["KNNLabelPrior", "NoisyLabelKNNClassifier"],
    "noise.repair": ["LabelRepairClassifier"],
    "noise.sidyp": ["SiDyPClassifier"],
    "noise.stability": ["StabilityReport"],
    "semisupervised": ["VoteStudent"],
    "llm.endpoint": ["LLMEndpoint"],
    "scoring": ["LLMScorer", "LLMClassifier", "RecordedScorer"],
    "exceptions": [
        "SklFusionError",
        "EndpointError",
        "AuthenticationError",
        "ModelNotFoundError",
        "QuotaError",
        "BudgetExceededError",
        "ScoringFailedError",
        "CacheError",
        "CacheMissError",
        "ModelLoadError",
        "TrainingDivergedError",
        "PersistenceError",
        "SklFusionWarning",
        "ScoringWarning",
        "CacheWarning",
        "DataWarning",
    ],
}
_HOME = {name: module for module, names in _EXPORTS.items() for name in names}

__all__ = sorted(_HOME)


def __getattr__(name):
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(_import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__():
    return sorted([*globals(), *__all__])
