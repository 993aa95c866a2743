"""The suite under the oldest versions that pyproject.toml allows.

::

    python -m benchmarks.load.versions                  # an environment of its own, then tests
    python -m benchmarks.load.versions --folder X       # keep the environment there

The newest versions are those of the environment that runs everything else, or of the one whose
interpreter ``$SKLFUSION_OTHER_PYTHON`` names (``--python`` here), perhaps of another Python. torch
is installed first and in the version that runs here, since its oldest wheels for Linux bring
several GB of CUDA libraries; ``--torch`` takes the oldest one all the same.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
import tomllib
from importlib import metadata
from pathlib import Path

from benchmarks._common import ROOT

#: What is run: the parts that touch a dependency, without models and data.
TESTS = [
    "test_llm.py",
    "test_scoring.py",
    "test_scoring_recall.py",
    "test_replies.py",
    "test_replies_store.py",
    "test_prompts.py",
    "test_testing_server.py",
    "test_fusion.py",
    "test_calibration.py",
    "test_thresholds.py",
    "test_persistence.py",
    "test_text_estimators.py",
]
_TOOLS = ["pytest", "pytest-timeout", "hypothesis", "psutil", "trustme", "pandas"]


def oldest(requirements):
    """Return ``name==lower bound`` of every requirement.

    Examples
    --------
    >>> oldest(["openai>=2,<4"])
    ['openai==2']
    """
    pins = []
    for requirement in requirements:
        name, bound = re.match(r"([\w.-]+)(?:\[.*\])?>=([\d.]+)", requirement).groups()
        pins.append(f"{name}=={bound}")
    return pins


def requirements():
    """Return the dependencies that pyproject.toml names."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]


def make(folder, *, torch=False):
    """Make the environment of the oldest versions, unless it is there; return its Python."""
    python = Path(folder) / "bin" / "python"
    done = Path(folder) / "pins.txt"
    pins = [pin for pin in oldest(requirements()) if torch or not pin.startswith("torch==")]
    wanted = "\n".join(pins)
    if done.exists() and done.read_text() == wanted:
        return python
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
    install = [str(python), "-m", "pip", "install", "--quiet"]
    if not torch:
        version = metadata.version("torch").partition("+")[0]
        subprocess.run([*install, f"torch=={version}"], check=True, stderr=subprocess.DEVNULL)
    subprocess.run([*install, *pins, *_TOOLS], check=True, stderr=subprocess.DEVNULL)
    done.write_text(wanted)
    return python


def versions(python):
    """Return "name version, ..." of the dependencies in an environment."""
    names = [re.match(r"[\w.-]+", requirement)[0] for requirement in requirements()]
    code = "import platform; from importlib.metadata import version as v; "
    code += f"print(platform.python_version(), *(v(n) for n in {names!r}))"
    found = subprocess.run([str(python), "-c", code], capture_output=True, text=True, check=True)
    return ", ".join(
        f"{n} {v}" for n, v in zip(["Python", *names], found.stdout.split(), strict=True)
    )


def run_tests(python, timeout=1500):
    """Run the tests in an environment; return (passed, last line)."""
    command = [str(python), "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "--no-header"]
    command += ["-m", "not slow and not models and not data and not nightly"]
    # Old versions warn about things that new ones have changed; that is no failure.
    command += ["-W", "ignore::DeprecationWarning", "-W", "ignore::FutureWarning"]
    command += [str(ROOT / "tests" / name) for name in TESTS]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, env=env, timeout=timeout, check=False
    )
    lines = [line for line in done.stdout.splitlines() if line.strip()] or [done.stderr[-300:]]
    failed = [line for line in lines if line.startswith(("FAILED", "ERROR"))]
    return done.returncode == 0, "; ".join([*failed[:3], lines[-1].strip("= ")])


def folder():
    """Return where environments are kept between runs, None if nowhere."""
    cache = os.environ.get("SKLFUSION_BENCH_CACHE")
    return Path(cache) / "versions" / "oldest" if cache else None


def main():
    """Run the program."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.load.versions")
    parser.add_argument("--folder", default=folder(), help="keep the environment here")
    parser.add_argument("--python", help="run the tests with this interpreter instead")
    parser.add_argument("--torch", action="store_true", help="the oldest torch as well")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        start = time.monotonic()
        python = arguments.python or make(
            arguments.folder or Path(temporary) / "oldest", torch=arguments.torch
        )
        print(f"{versions(python)} (made in {time.monotonic() - start:.0f} s)", flush=True)
        passed, line = run_tests(python)
    print(line)
    sys.exit(not passed)


if __name__ == "__main__":
    main()
