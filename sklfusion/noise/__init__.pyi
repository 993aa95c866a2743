from sklfusion.noise._diffusion import SimplexDiffusionClassifier as SimplexDiffusionClassifier
from sklfusion.noise._display import StabilityDisplay as StabilityDisplay
from sklfusion.noise._dynamics import (
    TrainingDynamicsNoiseDetector as TrainingDynamicsNoiseDetector,
)
from sklfusion.noise._encoder import MLPTrajectoryEncoder as MLPTrajectoryEncoder
from sklfusion.noise._fine_tuned_encoder import (
    FineTunedTrajectoryEncoder as FineTunedTrajectoryEncoder,
)
from sklfusion.noise._label_diffusion import LabelDiffusion as LabelDiffusion
from sklfusion.noise._noisy_label import NoisyLabelClassifier as NoisyLabelClassifier
from sklfusion.noise._prior import KNNLabelPrior as KNNLabelPrior
from sklfusion.noise._prior import NoisyLabelKNNClassifier as NoisyLabelKNNClassifier
from sklfusion.noise._repair import LabelRepairClassifier as LabelRepairClassifier
from sklfusion.noise._sidyp import SiDyPClassifier as SiDyPClassifier
from sklfusion.noise._stability import StabilityReport as StabilityReport
