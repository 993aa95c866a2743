"""Places where models live: skops, MLflow, a card, a container."""

import re
import warnings
from pathlib import Path

import numpy as np
import pytest
from _topics import make_texts
from sklearn.exceptions import NotFittedError
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from sklfusion import (
    AutoFusionClassifier,
    CascadeClassifier,
    FusionClassifier,
    LLMScorer,
    RecordedScorer,
    StudentClassifier,
    distill,
    persistence,
)
from sklfusion.exceptions import PersistenceError
from sklfusion.persistence import model_card, trusted_types

ROOT = Path(__file__).parents[1]


def numbers(n=90, n_classes=3):
    rng = np.random.RandomState(0)
    y = rng.randint(n_classes, size=n)
    votes = np.eye(n_classes)[np.where(rng.random(n) < 0.8, y, rng.randint(n_classes, size=n))]
    return np.hstack([rng.normal(size=(n, 8)) + y[:, None], votes]), y


def first():
    return make_pipeline(CountVectorizer(), LogisticRegression())


def recorded(texts, labels):
    return RecordedScorer(dict(zip(texts, labels, strict=True)), classes=["money", "sport"])


def fusion(**params):
    X, y = numbers()
    return FusionClassifier(random_state=0, **params).fit(X, y), X


def cascade():
    texts, labels = make_texts(60)
    llm = recorded(texts, labels)
    return CascadeClassifier(first(), llm, budget=0.5, random_state=0).fit(texts, labels), texts


def auto():
    texts, labels = make_texts(60)
    made = AutoFusionClassifier(recorded(texts, labels), CountVectorizer(), random_state=0)
    return made.fit(texts, labels), texts


def student():
    texts, labels = make_texts(60)
    made = distill(first().fit(texts, labels), texts, embedder=CountVectorizer(), random_state=0)
    return made, texts


MODELS = {
    "anchored": fusion,
    "residual": lambda: fusion(residual=True, guard=False, max_epochs=2),
    "concatenated": lambda: fusion(fusion="concat", max_epochs=2),
    "cascade": cascade,
    "auto": auto,
    "student": student,
}


# -- skops and MLflow ----------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_skops_needs_to_trust_our_types_only(name):
    """What is read back answers alike, and no function had to be trusted."""
    skops = pytest.importorskip("skops.io")
    model, X = MODELS[name]()
    data = skops.dumps(model)
    assert set(skops.get_untrusted_types(data=data)) <= set(trusted_types())
    again = skops.loads(data, trusted=trusted_types())
    np.testing.assert_allclose(again.predict_proba(X), model.predict_proba(X), atol=1e-9)


def test_the_list_holds_nothing_but_classes_of_ours():
    """A list that trusts a function of another package would trust anything."""
    assert all(name.startswith("sklfusion.") for name in trusted_types())
    assert trusted_types() == sorted(set(trusted_types()))
    assert "sklfusion.fusion._net.FusionNet" in trusted_types()


def test_training_goes_on_where_a_skops_file_ended():
    """Weights, moments of the optimizer and epochs are all in the state."""
    skops = pytest.importorskip("skops.io")
    model, X = fusion(fusion="concat", max_epochs=3, early_stopping=False)
    y = numbers()[1]
    again = skops.loads(skops.dumps(model), trusted=trusted_types())
    for one in (model, again):
        one.partial_fit(X, y)
    assert again.n_iter_ == model.n_iter_ == 4
    np.testing.assert_allclose(again.predict_proba(X), model.predict_proba(X), atol=1e-6)


def test_an_optimizer_of_the_users_own_is_not_lost():
    """Such a net keeps the state that skorch gives it."""
    import pickle

    import torch

    settings = {"optimizer": torch.optim.SGD, "optimizer__weight_decay": 0.0}
    model, X = fusion(fusion="concat", max_epochs=2, net_params=settings)
    again = pickle.loads(pickle.dumps(model))
    assert isinstance(again.net_.optimizer_, torch.optim.SGD)
    np.testing.assert_allclose(again.predict_proba(X), model.predict_proba(X), atol=1e-9)


def test_mlflow_logs_and_loads(tmp_path, monkeypatch):
    """To a folder, in the format of skops, without a network."""
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    model, X = fusion()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow's own, of its file store
        import mlflow.sklearn

        mlflow.set_tracking_uri((tmp_path / "runs").as_uri())
        with mlflow.start_run():
            logged = mlflow.sklearn.log_model(
                model,
                name="model",
                serialization_format="skops",
                skops_trusted_types=trusted_types(),
                pip_requirements=["sklfusion"],
            )
        again = mlflow.sklearn.load_model(logged.model_uri)
    np.testing.assert_allclose(again.predict_proba(X), model.predict_proba(X), atol=1e-9)
    assert not list(tmp_path.rglob("*.pkl"))


# -- the card ------------------------------------------------------------------------------


def test_card_of_a_file(tmp_path):
    """Classes, figures, settings and versions of what lies on disk."""
    model, _ = cascade()
    persistence.save(model, tmp_path / "news.sklf")
    card = model_card(tmp_path / "news.sklf")
    assert card.startswith("---\nlibrary_name: sklfusion\n")
    assert "# news.sklf" in card
    assert "2 classes: money, sport." in card
    assert f"asked about | {model.share_:.0%} |" in card
    assert "trust in" in card
    assert "Nowhere" in card
    assert "sklfusion 0." in card


def test_card_of_a_student_states_its_gap():
    """With the interval."""
    model, _ = student()
    agreement = model.report_["agreement"]
    told = "{mean:.3f} [{low:.3f}, {high:.3f}]".format(**agreement)
    assert f"| agreement (accuracy, held out) | {told} |" in model_card(model)


def test_card_says_where_a_model_sends(tmp_path):
    """Address and name of the variable; loading it for the card sends nothing."""
    scorer = LLMScorer("m", base_url="https://llm.example/v1", api_key_env="OUR_KEY")
    scorer.set_params(classes=["a", "b"]).fit(["x"])
    persistence.save(scorer, tmp_path / "m.sklf")
    card = model_card(tmp_path / "m.sklf")
    assert "https://llm.example/v1" in card
    assert "`OUR_KEY`" in card


def test_names_of_classes_cannot_write_markdown():
    """A class name is data: it opens no tag, cell or heading."""
    names = np.array(["<script>x</script>", "a|b\n# top"])
    model = LogisticRegression().fit([[0.0], [1.0]], names)
    card = model_card(model, title="<b>")
    assert not re.search(r"(?<!\\)<", card)
    assert "\n# top" not in card
    assert "# \\<b\\>" in card


def test_no_card_of_what_is_not_fitted(tmp_path):
    """Nor of a file that is none."""
    with pytest.raises(NotFittedError):
        model_card(StudentClassifier())
    with pytest.raises((PersistenceError, OSError)):
        model_card(tmp_path / "nothing.sklf")


# -- the container -------------------------------------------------------------------------


def instructions():
    """(keyword, rest) of each instruction of the Dockerfile."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    text = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    lines = re.sub(r"\\\n\s*", " ", text).splitlines()
    return [tuple(line.split(None, 1)) for line in lines if line.strip()]


def test_the_container_serves_as_nobody():
    """The last user before the entry is a number that is not root, and no file is its own."""
    found = instructions()
    last = found[[i for i, (word, _) in enumerate(found) if word == "FROM"][-1] :]
    users = [rest for word, rest in last if word == "USER"]
    assert users
    assert all(int(part) >= 1000 for part in users[-1].split(":"))
    assert not [rest for word, rest in last if word in ("ADD", "COPY") and "--chown" in rest]
    entry = [rest for word, rest in last if word == "ENTRYPOINT"]
    assert entry == ['["sklfusion", "serve"]']


def test_the_container_copies_what_is_there_and_no_secret():
    """Each source exists, is let in by .dockerignore, and no variable is a key."""
    allowed = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert "*" in allowed
    copied = [rest for word, rest in instructions() if word == "COPY" and "--from" not in rest]
    sources = [source.removeprefix("./") for rest in copied for source in rest.split()[:-1]]
    assert "pyproject.toml" in sources
    for source in sources:
        assert (ROOT / source).exists(), source
        assert f"!{source}" in allowed, source
    values = " ".join(rest for word, rest in instructions() if word in ("ENV", "ARG"))
    assert not re.search("KEY|TOKEN|SECRET|PASSWORD", values, re.IGNORECASE)


def test_the_container_installs_extras_that_exist():
    """A misspelt extra would only warn in the build, and fail when it runs."""
    import tomllib

    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    extras = extras["project"]["optional-dependencies"]
    text = " ".join(rest for _, rest in instructions())
    (wanted,) = re.findall(r'"\.\[([\w,]+)\]"', text)
    assert set(wanted.split(",")) <= set(extras)
