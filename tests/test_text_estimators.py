"""Every public estimator that takes texts keeps the text contract: 32 checks each."""

import inspect

import numpy as np
import pytest
from sklearn.base import BaseEstimator
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.utils import get_tags

import sklfusion
from sklfusion.testing import N_TEXT_CHECKS, iter_text_checks
from sklfusion.testing.text_checks import LABELS, TEXTS

CLASSES = ["sport", "food"]
INDICATOR = np.array([[label == name for name in CLASSES] for label in LABELS], dtype=int)


def scorer(server, folder, **params):
    return sklfusion.LLMScorer("m", base_url=server.base_url, memory=folder, **params)


def auto(server, folder, **params):
    return sklfusion.AutoFusionClassifier(
        scorer(server, folder, **params),
        sklfusion.RobertaEmbedder(memory=folder),
        fusion=sklfusion.FusionClassifier(random_state=0),
        classes=CLASSES,
        random_state=0,
    )


def pipeline(server, folder):
    return sklfusion.make_fusion_pipeline(
        sklfusion.RobertaEmbedder(memory=folder),
        scorer(server, folder, classes=CLASSES),
        sklfusion.FusionClassifier(random_state=0),
        classes=CLASSES,
    )


def cascade(server, folder):
    first = make_pipeline(CountVectorizer(), LogisticRegression())
    llm = scorer(server, folder, classes=CLASSES)
    return sklfusion.CascadeClassifier(first, llm, random_state=0)


RECORDED = dict(zip(TEXTS, LABELS, strict=True))
MULTI = {
    text: {name: float(name == label) for name in CLASSES} for text, label in RECORDED.items()
}
# id -> (maker, target, needs the embedded models)
CASES = {
    "LLMScorer": (lambda s, d: scorer(s, d, classes=CLASSES), None, False),
    "LLMScorer-classes-from-y": (lambda s, d: scorer(s, d, add_indicator=True), None, False),
    "LLMScorer-probabilities-calibrated": (
        lambda s, d: scorer(s, d, strategy="probabilities", calibrate="prior", output="proba"),
        None,
        False,
    ),
    "LLMScorer-multilabel": (
        lambda s, d: scorer(s, d, classes=CLASSES, multilabel=True),
        INDICATOR,
        False,
    ),
    "LLMClassifier": (
        lambda s, d: sklfusion.LLMClassifier("m", classes=CLASSES, base_url=s.base_url, memory=d),
        None,
        False,
    ),
    "RecordedScorer": (
        lambda s, d: sklfusion.RecordedScorer(RECORDED, classes=CLASSES),
        None,
        False,
    ),
    "RecordedScorer-multilabel": (
        lambda s, d: sklfusion.RecordedScorer(MULTI, classes=CLASSES, multilabel=True),
        INDICATOR,
        False,
    ),
    "CascadeClassifier": (cascade, None, False),
    "RobertaEmbedder": (lambda s, d: sklfusion.RobertaEmbedder(memory=d), None, True),
    "AutoFusionClassifier": (auto, None, True),
}
# A fresh process that imports torch takes seconds; once per kind is enough by default.
SLOW_PICKLES = {"LLMScorer-probabilities-calibrated", "RecordedScorer-multilabel"}


def _parameters():
    for name, (_, _, needs_models) in CASES.items():
        for check, _ in iter_text_checks(BaseEstimator()):
            marks = [pytest.mark.models] if needs_models else []
            if check.startswith("28") and name in SLOW_PICKLES:
                marks.append(pytest.mark.slow)
            yield pytest.param(name, int(check[:2]), id=f"{name}-{check[:2]}", marks=marks)


@pytest.fixture(scope="session")
def checks_of(_fault_server_process, tmp_path_factory):
    """One set of checks per estimator, so that the fitted copy is shared."""
    made = {}

    def get(name):
        if name not in made:
            make, y, needs_models = CASES[name]
            if needs_models:
                pytest.importorskip("sklfusion.models").find_model("all-minilm-l6-v2")
            folder = str(tmp_path_factory.mktemp("memory"))
            estimator = make(_fault_server_process, folder)
            texts = list(TEXTS)
            target = np.array(LABELS) if y is None else y
            made[name] = dict(
                (int(label[:2]), check)
                for label, check in iter_text_checks(estimator, texts=texts, y=target)
            )
        return made[name]

    return get


@pytest.mark.parametrize(("name", "number"), list(_parameters()))
def test_text_contract(checks_of, fault_server, name, number):
    """See sklfusion.testing.text_checks for what each number says."""
    checks_of(name)[number]()


def test_every_check_is_in_the_list():
    """32 checks for each of the estimators; a lost parameter would be a lost check."""
    assert len(list(_parameters())) == N_TEXT_CHECKS * len(CASES)


def test_every_public_text_estimator_is_in_the_list():
    """An estimator whose tags say that it takes strings is checked here."""
    covered = {name.partition("-")[0] for name in CASES}
    covered.add("JointFusionClassifier")  # in test_joint.py, with an encoder small enough to train
    covered |= {"StaticEmbedder", "StudentClassifier"}  # likewise in test_distillation.py
    covered.add("MultilingualEmbedder")  # in test_embedding_multilingual.py
    covered.add("MultiTargetFusionClassifier")  # in test_targets.py: its y is a frame
    for name in sklfusion.__all__:
        value = getattr(sklfusion, name)
        if not (inspect.isclass(value) and issubclass(value, BaseEstimator)):
            continue
        try:
            takes_texts = get_tags(value()).input_tags.string
        except TypeError:  # needs an argument: of these only RecordedScorer takes texts
            takes_texts = name == "RecordedScorer"
        if takes_texts:
            assert name in covered, f"{name} takes texts and is not checked"
