"""Several labels per text: thresholds, calibration and folds. Numbers only."""

from sklfusion.multilabel._calibration import MultiLabelCalibrator
from sklfusion.multilabel._splitting import IterativeStratifiedKFold
from sklfusion.multilabel._thresholds import MultiLabelThresholds

__all__ = ["IterativeStratifiedKFold", "MultiLabelCalibrator", "MultiLabelThresholds"]
