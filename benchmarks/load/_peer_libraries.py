"""The libraries of `benchmarks.load.peers`, each behind the same four calls.

Runs in the environment of the library, so nothing but the standard library, numpy and
scikit-learn is imported at the top. Every library gets what its documentation offers for the
purpose: a label of its own for texts without an answer, workers, timeouts where there are any.
"""

import json
import os
from importlib.metadata import version

import numpy as np

CLASSES = ("sport", "food")
UNKNOWN = "unknown"
WORKERS = 8
KEY = "sk-canary-5d1f27aa90"
TRAIN = [f"training note {n} about {word}" for n in range(4) for word in CLASSES]
TARGET = np.array(list(CLASSES) * 4)


class Library:
    """What the rows need of a library.

    Attributes
    ----------
    packages : tuple of str
        Distributions whose versions are told.
    name : str
        Of the library.
    port, adapter : int
        Of the fault server, and of the Ollama adapter before it.
    folder : str
        Empty at the start of a row.
    local : bool
        Whether the model runs in the process, so that nothing goes over the wire.
    timed : bool
        Whether a timeout can be set.
    """

    packages = ()
    local = False
    timed = False

    def __init__(self, name, port, adapter, folder):
        self.name, self.port, self.adapter, self.folder = name, port, adapter, folder
        self.base_url = f"http://127.0.0.1:{port}/v1"

    def make(self, **options):
        """Return an unfitted estimator. Options: port, model, own_key, timeout, deadline."""
        raise AssertionError("each library makes its own")

    def predict(self, estimator, X):
        """Return the labels, asking with several workers where that is possible."""
        return list(estimator.predict(X))

    def say(self, label):
        """Return the reply that means this label."""
        return json.dumps({"label": label})

    def fallback(self):
        """Return rules that make the endpoint answer properly in this library's format."""
        rules = []
        for label in (*CLASSES, ""):
            fault = {"kind": "content", "content": self.say(label or "sport"), "usable": True}
            rules.append({"fault": fault, "contains": label, "attempts": "all"})
        return rules

    def abstained(self, label):
        """Tell whether a label means that there is no answer."""
        return label is None or label == UNKNOWN

    def versions(self):
        """Return the version of each package."""
        return {name: version(name) for name in self.packages}


class Ours(Library):
    """`LLMClassifier`."""

    packages = ("sklfusion", "scikit-learn", "openai")
    timed = True

    def make(
        self,
        *,
        port=None,
        model="loopback",
        own_key=False,
        timeout=5.0,
        deadline=20.0,
        strategy="label",
    ):
        """See `Library`."""
        from sklfusion import LLMClassifier

        os.environ["PEERS_API_KEY"] = KEY
        return LLMClassifier(
            model,
            base_url=f"http://127.0.0.1:{port}/v1" if port else self.base_url,
            strategy=strategy,
            abstain_label=UNKNOWN,
            api_key_env="PEERS_API_KEY",
            memory=os.path.join(self.folder, "memory"),
            max_concurrency=WORKERS,
            timeout=timeout,
            deadline=deadline,
        )

    def say(self, label):
        """The label alone."""
        return str(label)

    def fallback(self):
        """The endpoint speaks our format by itself."""
        return []


class ScikitLLM(Library):
    """`ZeroShotGPTClassifier` with a URL of its own."""

    packages = ("scikit-llm", "scikit-learn", "openai")

    def make(self, *, port=None, model="loopback", own_key=False, **_):
        """See `Library`. The key goes where the documentation puts it: into SKLLMConfig."""
        from skllm.config import SKLLMConfig
        from skllm.models.gpt.classification.zero_shot import ZeroShotGPTClassifier

        SKLLMConfig.set_openai_key(KEY)
        SKLLMConfig.set_gpt_url(f"http://127.0.0.1:{port}/v1" if port else self.base_url)
        keys = {"key": KEY} if own_key else {}
        return ZeroShotGPTClassifier(f"custom_url::{model}", default_label=UNKNOWN, **keys)

    def predict(self, estimator, X):
        """See `Library`."""
        return list(estimator.predict(X, num_workers=WORKERS))


class ScikitOllama(ScikitLLM):
    """`ZeroShotOllamaClassifier` behind the adapter. There is no key."""

    packages = ("scikit-ollama", "ollama", "scikit-learn")

    def make(self, *, port=None, model="loopback", **_):
        """See `Library`."""
        from skollama.models.ollama.classification.zero_shot import ZeroShotOllamaClassifier

        host = f"http://127.0.0.1:{port if port else self.adapter}"
        return ZeroShotOllamaClassifier(model, host=host, default_label=UNKNOWN)


class SkorchLLM(Library):
    """`ZeroShotClassifier` with a tiny random GPT-2: the contract is judged, not the answers."""

    packages = ("skorch", "transformers", "torch", "scikit-learn")
    local = True

    def make(self, **_):
        """See `Library`."""
        from skorch.llm import ZeroShotClassifier

        shared = os.path.join(os.path.dirname(self.folder), "tiny")
        return ZeroShotClassifier(tiny_checkpoint(shared))


def tiny_checkpoint(folder):
    """Make a GPT-2 of one layer with a byte tokenizer, unless it is there; return its folder."""
    if os.path.exists(os.path.join(folder, "config.json")):
        return folder
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: n for n, letter in enumerate([*letters, "<end>"])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<end>", pad_token="<end>"
    )
    fast.save_pretrained(folder)
    torch.manual_seed(0)
    end = vocabulary["<end>"]
    config = GPT2Config(
        vocab_size=len(vocabulary),
        n_positions=8192,
        n_embd=32,
        n_layer=1,
        n_head=2,
        bos_token_id=end,
        eos_token_id=end,
    )
    GPT2LMHeadModel(config).save_pretrained(folder)
    return folder


LIBRARIES = {
    "sklfusion": Ours,
    "scikit-llm": ScikitLLM,
    "skorch.llm": SkorchLLM,
    "scikit-ollama": ScikitOllama,
}
