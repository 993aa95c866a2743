from sklfusion.distillation._classifier import StudentClassifier as StudentClassifier
from sklfusion.distillation._distill import distill as distill
from sklfusion.distillation._embedder import StaticEmbedder as StaticEmbedder
