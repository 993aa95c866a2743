from sklfusion.fusion._classifier import FusionClassifier as FusionClassifier
from sklfusion.fusion._module import FusionMLP as FusionMLP
from sklfusion.fusion._onnx import to_onnx as to_onnx
from sklfusion.fusion._student import VoteStudent as VoteStudent
