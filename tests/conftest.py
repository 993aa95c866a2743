"""Fixtures shared by all tests."""

import os
from pathlib import Path

# Before any test imports torch or transformers: no hub, few threads, no bars.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("OMP_NUM_THREADS", "2")

import pytest


@pytest.fixture(scope="session")
def data_dir():
    """Folder of the benchmark data; the test is skipped where it is missing."""
    path = Path(os.environ.get("SKLFUSION_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not (path / "manifest.json").exists():
        pytest.skip(f"benchmark data not found at {path}; set SKLFUSION_DATA to its folder")
    return path


@pytest.fixture(scope="session")
def _fault_server_process():
    from sklfusion.testing import FaultServer

    with FaultServer() as server:
        yield server


@pytest.fixture
def fault_server(_fault_server_process):
    """A loopback LLM endpoint in another process, with an empty ledger and no faults."""
    _fault_server_process.reset()
    return _fault_server_process
