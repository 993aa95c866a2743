"""Fixtures shared by all tests."""

import os
from pathlib import Path

# Before any test imports torch or transformers: no hub, no bars, and one thread (what the
# tests fit is small; OMP_NUM_THREADS=2 in the environment shows that more do no harm).
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from hypothesis import settings

# A busy machine is slow; what hangs is ended by pytest's own time limit.
settings.register_profile("any-machine", deadline=None)
settings.load_profile("any-machine")


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


@pytest.fixture
def deciding_client(fault_server):
    """The openai client at that endpoint, where it has a call for decisions."""
    openai = pytest.importorskip("openai")
    with openai.OpenAI(base_url=fault_server.base_url, api_key="none", max_retries=0) as client:
        if not hasattr(client, "decisions"):
            pytest.skip("this openai client has no call for decisions")
        yield client


@pytest.fixture(scope="session")
def tiny_roberta(tmp_path_factory):
    """Folder of a randomly initialised RoBERTa: 2 layers, 16 dimensions, 40 tokens at most."""
    import torch
    from tokenizers import ByteLevelBPETokenizer
    from transformers import RobertaConfig, RobertaModel, RobertaTokenizer

    folder = tmp_path_factory.mktemp("tiny-roberta")
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    learner = ByteLevelBPETokenizer()
    learner.train_from_iterator(
        ["the market rises, the bank cuts its rate", "a late goal wins the cup for the team"] * 3,
        vocab_size=300,
        special_tokens=special,
        show_progress=False,
    )
    learner.save_model(str(folder))
    tokenizer = RobertaTokenizer.from_pretrained(str(folder), model_max_length=40)
    tokenizer.save_pretrained(str(folder))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = RobertaModel(
            RobertaConfig(
                vocab_size=len(tokenizer),
                hidden_size=16,
                num_hidden_layers=2,
                num_attention_heads=2,
                intermediate_size=32,
                max_position_embeddings=42,
                type_vocab_size=1,
            )
        )
    model.save_pretrained(str(folder))
    return folder
