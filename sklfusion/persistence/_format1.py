"""Files of format 1: their tree becomes one of format 2, to be looked at and built like that.

Format 1 named classes by the module they lay in. The table says what those are called now; it is
history and does not change when code moves.
"""

import base64
import io
import math
import re
import zipfile

import numpy as np

from sklfusion.annotations import Annotations
from sklfusion.exceptions import PersistenceError
from sklfusion.persistence._names import public_sklearn_name
from sklfusion.persistence._write import MAX_DEPTH, Encoder

_PUBLIC_NAMES = {
    "sklfusion._cost_curve.Answers": "cascade_answers",
    "sklfusion.alignment._estimator.LabelDistributionEstimator": "LabelDistributionEstimator",
    "sklfusion.alignment._pool.DistributionPool": "distribution_pool",
    "sklfusion.auto.AutoFusionClassifier": "AutoFusionClassifier",
    "sklfusion.calibration.MultiLabelCalibrator": "MultiLabelCalibrator",
    "sklfusion.cascade.CascadeClassifier": "CascadeClassifier",
    "sklfusion.collector.LabelDistributionCollector": "LabelDistributionCollector",
    "sklfusion.embedding._embedder.RobertaEmbedder": "RobertaEmbedder",
    "sklfusion.embedding._trainer.EncoderTrainer": "encoder_trainer",
    "sklfusion.fusion._classifier.FusionClassifier": "FusionClassifier",
    "sklfusion.fusion._columns.ScoreBlock": "score_block",
    "sklfusion.fusion._inputs.Inputs": "inputs",
    "sklfusion.joint.JointFusionClassifier": "JointFusionClassifier",
    "sklfusion.llm._prices.Price": "price",
    "sklfusion.llm._usage.UsageReport": "usage_report",
    "sklfusion.noise._encoder.MLPTrajectoryEncoder": "MLPTrajectoryEncoder",
    "sklfusion.noise._fine_tuned_encoder.FineTunedTrajectoryEncoder": "FineTunedTrajectoryEncoder",
    "sklfusion.noise.diffusion.SimplexDiffusionClassifier": "SimplexDiffusionClassifier",
    "sklfusion.noise.dynamics.TrainingDynamicsNoiseDetector": "TrainingDynamicsNoiseDetector",
    "sklfusion.noise.prior.KNNLabelPrior": "KNNLabelPrior",
    "sklfusion.noise.prior.NoisyLabelKNNClassifier": "NoisyLabelKNNClassifier",
    "sklfusion.noise.repair.LabelRepairClassifier": "LabelRepairClassifier",
    "sklfusion.noise.sidyp.SiDyPClassifier": "SiDyPClassifier",
    "sklfusion.prompts._render.Task": "task",
    "sklfusion.prompts._templates.PromptTemplate": "prompt_template",
    "sklfusion.routing.ClassRoutingClassifier": "ClassRoutingClassifier",
    "sklfusion.scoring._classifier.LLMClassifier": "LLMClassifier",
    "sklfusion.scoring._recorded.RecordedScorer": "RecordedScorer",
    "sklfusion.scoring._scorer.LLMScorer": "LLMScorer",
    "sklfusion.scoring._shots.ShotSelector": "shot_selector",
    "sklfusion.semisupervised.VoteStudent": "VoteStudent",
    "sklfusion.thresholds.MultiLabelThresholds": "MultiLabelThresholds",
    "sklfusion.thresholds._Fixed": "fixed_scores",
}
_STRING_DTYPE = re.compile(r"[<>|=]?([US])([0-9]{1,9})")


def upgrade(tree, tensors, room):
    """Return the tree in format 2; arrays that format 1 kept inside it go to ``tensors``.

    Parameters
    ----------
    tree : object
        From ``model.json``.
    tensors : dict of str to ndarray
        The arrays of the file; grows.
    room : int
        Bytes that unpacked arrays may take.

    Raises
    ------
    PersistenceError
        If a node is not one of format 1, or asks for more room.
    """
    try:
        return _Upgrade(tensors, room).node(tree, 0)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, EOFError) as error:
        raise PersistenceError(f"The model cannot be rebuilt: {error!r}") from None
    except zipfile.BadZipFile as error:
        raise PersistenceError(f"The model cannot be rebuilt: {error}") from None


class _Upgrade:
    def __init__(self, tensors, room):
        self.tensors = tensors
        self.room = room

    def node(self, value, depth):
        if depth > MAX_DEPTH:
            raise PersistenceError(f"The model is nested more than {MAX_DEPTH} deep.")
        if isinstance(value, list):
            return self._all(value, depth)
        if not isinstance(value, dict):
            return value
        tag = next(iter(value), "")
        read = getattr(self, f"_read{tag.rstrip('_')}", None) if tag.startswith("__") else None
        if read is None:
            raise PersistenceError(f"The model holds an unknown tag {tag[:40]!r}.")
        return read(value, depth + 1)

    def _all(self, values, depth):
        if not isinstance(values, list):
            raise TypeError(f"a list was expected, not {type(values).__name__}")
        return [self.node(item, depth + 1) for item in values]

    def _named(self, path, state, depth):
        name = _PUBLIC_NAMES.get(path)
        if name is None and isinstance(path, str) and path.startswith("sklearn."):
            name = public_sklearn_name(path)
        items = {str(k): self.node(v, depth) for k, v in state.items()}
        return {"type": str(path) if name is None else name, "state": items}

    def _read__estimator(self, value, depth):
        return self._named(value["__estimator__"], value["state"], depth)

    def _read__record(self, value, depth):
        return self._named(value["__record__"], value["state"], depth)

    def _read__net(self, value, depth):
        pairs = value["__net__"]["__dict__"]
        return {"type": "fusion_net", "state": {str(k): self.node(v, depth) for k, v in pairs}}

    def _read__tensor(self, value, depth):
        name, shape = value["__tensor__"], value["shape"]
        return {"type": "array", "tensor": name, "shape": shape, "order": "C"}

    def _read__scalar(self, value, depth):
        return {"type": "scalar", "value": self.node(value["__scalar__"], depth)}

    def _read__objects(self, value, depth):
        items, shape, dtype = value["__objects__"], value["shape"], value["dtype"]
        found = _STRING_DTYPE.fullmatch(dtype)
        if found is None:
            return {"type": "objects", "items": self._all(items, depth), "shape": shape}
        width = int(found[2]) * (4 if found[1] == "U" else 1)
        self._take(len(items) * width)
        native = "<" if found[1] == "U" else "|"
        kind = f"{native}{found[1]}{max(int(found[2]), 1)}"
        strings = [self.node(item, depth) for item in items]
        if found[1] == "S":
            strings = [base64.b64decode(item["base64"]) for item in strings]
        array = np.array(strings, dtype=kind)
        raw = np.frombuffer(array.tobytes(), dtype=np.uint8)
        return {"type": "strings", "tensor": self._add(raw), "dtype": kind, "shape": shape}

    def _take(self, size):
        """Count bytes against the room before they are allocated."""
        self.room -= size
        if self.room < 0:
            raise PersistenceError(
                "The model asks for more memory than a file of its size may; it is refused."
            )

    def _add(self, flat):
        name = f"unpacked {len(self.tensors)}"
        self.tensors[name] = flat
        return name

    def _read__tuple(self, value, depth):
        return {"type": "tuple", "items": self._all(value["__tuple__"], depth)}

    def _read__set(self, value, depth):
        return {"type": "set", "items": self._all(value["__set__"], depth)}

    def _read__dict(self, value, depth):
        return {"type": "dict", "items": [self._all(pair, depth) for pair in value["__dict__"]]}

    def _read__slice(self, value, depth):
        return {"type": "slice", "items": value["__slice__"]}

    def _read__bytes(self, value, depth):
        return {"type": "bytes", "base64": value["__bytes__"]}

    def _read__path(self, value, depth):
        return {"type": "path", "path": value["__path__"]}

    def _read__dtype(self, value, depth):
        return {"type": "dtype", "dtype": value["__dtype__"], "scalar": value["type"]}

    def _read__annotations(self, value, depth):
        """An ``.npz`` within the tree: unpacked in bounds, field by field."""
        data = base64.b64decode(value["__annotations__"], validate=True)
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for member in archive.infolist():
                self._take(member.file_size)
                _check_member(archive, member)
        annotations = Annotations.from_npz(io.BytesIO(data))
        encoder = Encoder()
        node = encoder.encode(annotations, "annotations")
        return self._renamed(node, {k: self._add(v) for k, v in encoder.tensors.items()})

    def _renamed(self, node, names):
        """The node with its arrays under the names that they have here."""
        if isinstance(node, list):
            return [self._renamed(item, names) for item in node]
        if not isinstance(node, dict):
            return node
        return {
            key: names[item] if key == "tensor" else self._renamed(item, names)
            for key, item in node.items()
        }


def _check_member(archive, member):
    """Raise ValueError if the array in an npz claims more than the member holds."""
    with archive.open(member) as handle:
        version = np.lib.format.read_magic(handle)
        read = {(1, 0): np.lib.format.read_array_header_1_0}.get(version)
        if read is None:
            raise ValueError(f"an array of version {version}")
        shape, _, dtype = read(handle)
        if math.prod(shape) * dtype.itemsize > member.file_size:
            raise ValueError(f"an array of shape {shape} in {member.file_size} bytes")
