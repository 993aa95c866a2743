"""A command typed in this process, which spares the seconds that a process takes to start."""

from types import SimpleNamespace

from typer.testing import CliRunner

from sklfusion.cli import load_app


def type_here(*args):
    """Run a command; an error that it does not tell in its own words fails the test."""
    done = CliRunner().invoke(load_app(), [str(arg) for arg in args])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return SimpleNamespace(returncode=done.exit_code, stdout=done.stdout, stderr=done.stderr)
