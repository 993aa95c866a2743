"""Fuse an LLM and a transformer encoder into one scikit-learn text classifier.

Public names load on first use, so that ``import sklfusion`` brings in neither torch nor
transformers nor openai.
"""

from sklfusion._lazy import attach as _attach

__version__ = "0.1.0"

# module -> the public names that live in it
_EXPORTS = {
    "alignment": ["LabelDistributionEstimator"],
    "annotations": ["Annotations"],
    "fusion": ["FusionClassifier", "FusionMLP", "VoteStudent"],
    "cascade": ["CascadeClassifier"],
    "routing": ["ClassRoutingClassifier"],
    "embedding": ["JointFusionClassifier", "RobertaEmbedder"],
    "multilabel": ["IterativeStratifiedKFold", "MultiLabelCalibrator", "MultiLabelThresholds"],
    "auto": ["AutoFusionClassifier", "make_fusion_pipeline"],
    "noise": [
        "FineTunedTrajectoryEncoder",
        "KNNLabelPrior",
        "LabelRepairClassifier",
        "MLPTrajectoryEncoder",
        "NoisyLabelKNNClassifier",
        "SiDyPClassifier",
        "SimplexDiffusionClassifier",
        "StabilityReport",
        "TrainingDynamicsNoiseDetector",
    ],
    "llm.endpoint": ["LLMEndpoint"],
    "scoring": ["LLMClassifier", "LLMScorer", "LabelDistributionCollector", "RecordedScorer"],
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
__getattr__, __dir__, __all__ = _attach(__name__, _EXPORTS)
