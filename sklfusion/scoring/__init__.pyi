from sklfusion.scoring._classifier import LLMClassifier as LLMClassifier
from sklfusion.scoring._collector import LabelDistributionCollector as LabelDistributionCollector
from sklfusion.scoring._recorded import RecordedScorer as RecordedScorer
from sklfusion.scoring._scorer import LLMScorer as LLMScorer
