"""What the tests of saved models share: files with members or trees of one's choice."""

import hashlib
import json
import zipfile
from pathlib import Path

from safetensors.numpy import save as to_safetensors
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import Pipeline

from sklfusion import AutoFusionClassifier, RecordedScorer
from sklfusion.persistence._archive import MEMBERS

#: Models that earlier versions wrote, and what they predict.
STORED = Path(__file__).parent / "data" / "models"


def rewrite(path, *, manifest=None, **members):
    """Write a file again with some members replaced; digests fit unless a manifest is given."""
    with zipfile.ZipFile(path) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    contents.update({name.replace("__", "."): data for name, data in members.items()})
    told = json.loads(contents["manifest.json"]) if manifest is None else manifest
    if manifest is None:
        for name in MEMBERS[1:]:
            told["sha256"][name] = hashlib.sha256(contents[name]).hexdigest()
    contents["manifest.json"] = json.dumps(told).encode()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in contents.items():
            archive.writestr(name, data)


def with_tree(path, tree, **tensors):
    """Write a file again with another tree, and other arrays if there are any."""
    arrays = {"tensors__safetensors": to_safetensors(tensors)} if tensors else {}
    rewrite(path, model__json=json.dumps(tree).encode(), **arrays)


def tree_of(path):
    with zipfile.ZipFile(path) as archive:
        return json.loads(archive.read("model.json"))


def make_auto(texts, labels, **params):
    """Recorded answers, a small embedder, a fusion; fitted."""
    embedder = Pipeline([("tfidf", TfidfVectorizer()), ("svd", TruncatedSVD(3, random_state=0))])
    scorer = RecordedScorer(dict(zip(texts, labels, strict=True)), classes=["ham", "spam"])
    return AutoFusionClassifier(scorer, embedder, random_state=0, **params).fit(texts, labels)
