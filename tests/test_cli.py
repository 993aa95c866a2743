"""The command line, run as a person runs it."""

import subprocess
import sys

import pytest

from sklfusion.llm._types import ChatRequest, Reply
from sklfusion.replies import open_store, request_key


def run(*args):
    return subprocess.run(
        [sys.executable, "-m", "sklfusion.cli", *args],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def store(tmp_path):
    """A folder with one stored reply."""
    request = ChatRequest("http://127.0.0.1:1/v1", "m", (("user", "hello"),), {})
    with open_store(tmp_path / "memory") as opened:
        opened.put(request_key(request), Reply(("ham",), ("stop",), model="m", created=1.0))
    return tmp_path / "memory"


def test_version():
    """One line, the version."""
    import sklfusion

    assert run("--version").stdout.strip() == sklfusion.__version__


def test_a_wrong_command_is_told_in_a_line_with_status_2():
    """No traceback for a typing error."""
    done = run("nonsense")
    assert done.returncode == 2
    assert "No such command 'nonsense'" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_wrong_option_names_what_is_wanted():
    """The option and the kind of value."""
    done = run("demo", "--draws", "many")
    assert done.returncode == 2
    assert "--draws" in done.stderr


def test_models_are_listed_with_their_aliases():
    """Both embedded models, installed or not."""
    out = run("models", "list").stdout
    assert "all-minilm-l6-v2" in out
    assert "smollm2-135m" in out


def test_cache_info_counts_replies(store):
    """What is in the store, without touching it."""
    out = run("cache", "info", str(store)).stdout
    assert "replies: 1" in out


def test_cache_verify_ends_with_status_0_on_a_sound_store(store):
    """For scripts."""
    assert run("cache", "verify", str(store)).returncode == 0


def test_cache_travels_by_export_and_import(store, tmp_path):
    """A paper can ship its answers."""
    lines = tmp_path / "replies.jsonl"
    assert "1 replies" in run("cache", "export", str(store), str(lines)).stdout
    other = tmp_path / "other"
    assert run("cache", "import", str(other), str(lines)).returncode == 0
    assert "replies: 1" in run("cache", "info", str(other)).stdout


def test_cache_info_creates_nothing(tmp_path):
    """Looking at a folder that is not there is an error in one line."""
    missing = tmp_path / "missing"
    done = run("cache", "info", str(missing))
    assert done.returncode == 1
    assert done.stderr.startswith("sklfusion: ")
    assert "Traceback" not in done.stderr
    assert not missing.exists()
