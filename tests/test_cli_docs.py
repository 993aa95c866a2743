"""The commands in the docs are commands, and the five of the README do what they say."""

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from sklfusion.cli import load_app

typer_main = pytest.importorskip("typer.main", reason="the command line needs typer")

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
TYPED = re.compile(r"^(?:\$ )?sklfusion ([a-z].*)$", re.MULTILINE)


def typed_in(page):
    """The words of every command in the blocks of a page."""
    blocks = re.findall(r"^```(.*?)\n(.*?)^```", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    for line in (
        line for kind, block in blocks if kind != "python" for line in TYPED.findall(block)
    ):
        yield shlex.split(line.partition(" |")[0], comments=True)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_and_options_in_the_docs_exist(page):
    """A page that names an option that is gone would end with status 2."""
    app = typer_main.get_command(load_app())
    for words in typed_in(page):
        command = app.commands[words[0]]
        if hasattr(command, "commands"):
            command = command.commands[words[1]]
        known = {option for parameter in command.params for option in parameter.opts}
        said = {word for word in words if re.fullmatch(r"--?[a-z][a-z-]*", word)}
        assert said <= known | {"--help"}, (words, said - known)


def test_the_commands_are_found():
    """Five in the README, more on their page."""
    readme = [words[0] for words in typed_in(ROOT / "README.md")]
    assert readme[:5] == ["estimate", "fit", "evaluate", "predict", "serve"]
    assert len(list(typed_in(ROOT / "docs" / "command_line.md"))) > 12


def _free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.mark.nightly
@pytest.mark.models
def test_five_commands_from_a_table_to_a_served_model(tmp_path):
    """300 rows, the README's commands with a column's name and a port, in under four minutes.

    Of the processor, since others may want it at the same time.
    """
    table = (ROOT / "sklfusion" / "data" / "newsdesk.csv").read_text("utf-8")
    (tmp_path / "labelled.csv").write_text(table, "utf-8")
    (tmp_path / "new.csv").write_text("".join(table.splitlines(keepends=True)[:20]), "utf-8")
    env = {**os.environ, "SKLFUSION_MEMORY": str(tmp_path / "kept")}
    command = [sys.executable, "-m", "sklfusion.cli"]
    *first, last = list(typed_in(ROOT / "README.md"))[:5]
    start, port = _seconds_of_children(), _free_port()
    for words in first:
        more = [] if words[0] == "predict" else ["--label", "desk"]
        done = subprocess.run(
            [*command, *words, *more], cwd=tmp_path, env=env, capture_output=True, check=False
        )
        assert done.returncode == 0, done.stderr.decode()
    service = subprocess.Popen([*command, *last, "--port", str(port)], cwd=tmp_path, env=env)
    try:
        answer = _ask(f"http://127.0.0.1:{port}", {"texts": ["A late goal wins the cup."]})
        service.send_signal(signal.SIGTERM)
        service.wait(timeout=60)
    finally:
        service.kill()
    assert "Sports" in json.dumps(answer)
    assert (tmp_path / "report.html").stat().st_size > 10_000
    assert "prediction" in (tmp_path / "predicted.csv").read_text("utf-8").splitlines()[0]
    assert _seconds_of_children() - start < 240


def _seconds_of_children():
    """Return the processor seconds of all processes that have ended."""
    used = os.times()
    return used.children_user + used.children_system


def _ask(origin, question):
    """Ask for predictions, once the service answers."""
    end = time.monotonic() + 120
    while True:
        try:
            with urllib.request.urlopen(f"{origin}/health", timeout=10) as reply:
                reply.read()
            break
        except urllib.error.URLError:
            assert time.monotonic() < end, "the service does not answer"
            time.sleep(0.2)
    request = urllib.request.Request(
        f"{origin}/predict", json.dumps(question).encode(), {"content-type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as reply:
        return json.load(reply)
