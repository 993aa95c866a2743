"""Typed questions at servers that others wrote: jevcompat, transformers, llama.cpp, LiteLLM."""

import contextlib
import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import warnings

import numpy as np
import pytest

from sklfusion import LLMClassifier, LLMScorer
from sklfusion.datasets import load_newsdesk
from sklfusion.exceptions import ScoringWarning
from sklfusion.models import find_model

#: Seconds within which a server has to be there; some load a model on a busy machine.
PATIENCE = 300
DESK = ["Business", "Health", "Politics", "Sports"]

#: llama.cpp answers typed questions about any model that says so in two strings.
TEMPLATE = """{%- macro t(x) -%}{{ x if x is string else x|tojson }}{%- endmacro -%}
<|im_start|>user
{{ t(state) }}

{{ t(instructions) }}
{% for o in options -%}
{{ o.label }}. {{ o.key }}{% if o.description is not none %}: {{ t(o.description) }}{% endif %}
{% endfor -%}
Answer with the letter of the option that fits best.<|im_end|>
<|im_start|>assistant
"""
LLAMA_SERVER = """
import sys, time, xllamacpp
p = xllamacpp.CommonParams()
p.model.path, p.n_ctx = sys.argv[1], 8192
p.cpuparams.n_threads = p.cpuparams_batch.n_threads = 1
server = xllamacpp.Server(p)
print(server.listening_address, flush=True)
sys.stdin.read()
"""


def free_port():
    """A port that nobody listens at."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def until_answers(process, port):
    """Wait until a server takes connections and answers something."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        assert process.poll() is None, f"the server ended with {process.returncode}"
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        with (
            contextlib.closing(connection),
            contextlib.suppress(OSError, http.client.HTTPException),
        ):
            connection.request(
                "POST", "/v1/systemone", b"{}", {"Content-Type": "application/json"}
            )
            connection.getresponse().read()
            return
        time.sleep(0.2)
    raise AssertionError("the server was not there in time")


@contextlib.contextmanager
def served(command, port, log, **env):
    """Run a server until the end of the block; yield its base address."""
    with (
        open(log, "wb") as out,
        subprocess.Popen(
            command, stdout=out, stderr=out, env={**os.environ, **env}, cwd=log.parent
        ) as process,
    ):
        try:
            until_answers(process, port)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            process.kill()


def program(name, how):
    """Path of a program of another project, or a skip that says how to get it."""
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not on the PATH; {how}")
    return path


def decide(url, X, kind=LLMScorer, **params):
    """A fitted estimator that asks for decisions, and what it says of some texts."""
    made = {"strategy": "decision", "base_url": url, "max_concurrency": 2, "timeout": 120.0}
    model = params.pop("model", "jev-latest")
    estimator = kind(model, **{**made, "deadline": 600.0, **params}).fit(["any"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ScoringWarning)
        return estimator, estimator.annotate(X)


def check_distributions(annotations):
    """Every row has an answer that is a distribution, and not always the same."""
    assert annotations.ok.all(), annotations.meta
    np.testing.assert_allclose(annotations.probs.sum(axis=1), 1, atol=1e-9)
    assert (annotations.probs >= 0).all()
    assert np.ptp(annotations.probs, axis=0).max() > 0.01


# ------------------------------------------------------------------------------------ jevcompat


@pytest.fixture
def mock(tmp_path):
    """The reference server of the jevcompat suite, as a function of its faults."""
    path = program("jevcompat", "pip install jevcompat==0.1.1 serves the reference of System One")

    def start(*faults):
        port = free_port()
        chosen = [word for fault in faults for word in ("--fault", fault)]
        command = [path, "mock", "--port", str(port), *chosen]
        return served(command, port, tmp_path / f"mock{port}.log")

    return start


def test_the_reference_of_system_one_answers(mock):
    """Dialect and path are found; several labels are one request."""
    X = ["win money now", "see you at five", "the match was a draw"]
    described = {"spam": "advertising", "ham": "anything else"}
    with mock() as url:
        s, one = decide(url, X, classes=["ham", "spam"], class_descriptions=described)
        check_distributions(one)
        assert one.meta["adapted"] == {"path": "systemone", "dialect": "systemone"}
        assert one.meta["answered_by"] == ["jevcompat-mock-0.1"]
        assert s.usage_.requests == 3
        assert s.usage_.uncounted == 0
        assert s.usage_.prompt_tokens > 0
        labels = [f"topic {n}" for n in range(12)]
        s, several = decide(url, X, classes=labels, multilabel=True)
        assert several.ok.all()
        assert s.usage_.requests == 3
        # Questions are independent there: asked alone, a label gets the same probability.
        _, chunks = decide(
            url, X, classes=labels, multilabel=True, decision_limits={"questions": 5}
        )
        np.testing.assert_allclose(several.probs, chunks.probs, atol=1e-9)


def test_auto_takes_the_reference(mock):
    """By its model's name, and for any other because nobody chats there."""
    with mock() as url:
        for model in ("jev-latest", "whoever"):
            _, annotations = decide(
                url, ["a", "b"], model=model, strategy="auto", classes=["ham", "spam"]
            )
            if annotations.ok.all():
                assert annotations.meta["strategy"] == "decision"


# ----------------------------------------------------------------------------------- heavy ones


@pytest.fixture(scope="module")
def smol_gguf():
    """The embedded model's file."""
    return find_model("smollm2-135m")


@pytest.fixture(scope="module")
def desk():
    """News of four desks, twelve of each."""
    data = load_newsdesk()
    named = data.target
    rows = np.concatenate([np.flatnonzero(named == name)[:12] for name in DESK])
    return [data.data[row] for row in rows], named[rows]


def check_desk(url, desk, model="smol", **params):
    """Words for letters carry signal once the labels' own frequencies are taken off."""
    X, y = desk
    clf = LLMClassifier(
        model,
        classes=DESK,
        strategy="decision",
        base_url=url,
        calibrate="prior",
        instructions="What is this text about?",
        timeout=120.0,
        deadline=900.0,
        max_concurrency=2,
        **params,
    ).fit(X)
    annotations = clf.annotate(X)
    check_distributions(annotations)
    assert clf.usage_.requests == len(X)
    return float(np.mean(clf.predict(X) == y))


@pytest.mark.nightly
@pytest.mark.models
@pytest.mark.filterwarnings("ignore:The endpoint was asked for")
def test_transformers_with_a_decision_config(tmp_path, smol_gguf, desk):
    """A decision server with words for letters: better than chance, which letters are not."""
    pytest.importorskip("fastapi", reason="transformers serves with fastapi")
    from sklfusion.llm._gguf_copy import transformers_folder

    folder, _ = transformers_folder("smollm2-135m", None)
    config = tmp_path / "words.json"
    template = (
        "<|im_start|>user\n{{ state }}\n\n{{ question.instructions }} Answer with one of: "
        "{{ question.options|join(', ') }}.<|im_end|>\n<|im_start|>assistant\nCategory:"
    )
    labels = {"choice": [f" {name}" for name in DESK]}
    config.write_text(json.dumps({"labels": labels, "chat_template": template}))
    port = free_port()
    command = [sys.executable, "-m", "transformers.cli.transformers", "serve", str(folder)]
    command += ["--host", "127.0.0.1", "--port", str(port), "--device", "cpu"]
    command += ["--decision-config", str(config)]
    with served(command, port, tmp_path / "serve.log", HF_HUB_OFFLINE="1") as url:
        right = check_desk(url, desk, model=str(folder), path="systemone")
        assert right > 0.4, right
        # It takes 26 options and 64 questions; what is beyond is asked otherwise, not cut.
        names = [f"class {n}" for n in range(28)]
        _, wide = decide(url, desk[0][:1], model=str(folder), classes=names)
        assert wide.ok.all(), wide.meta
        assert wide.meta["asked_as"] == "predicates"


@pytest.mark.nightly
@pytest.mark.models
@pytest.mark.filterwarnings("ignore:The endpoint was asked for")
def test_llama_cpp_with_two_strings_more(tmp_path, smol_gguf, desk):
    """A GGUF file that calls itself a decision model; without them it says it is none."""
    pytest.importorskip("xllamacpp")
    pytest.importorskip("gguf")
    made = tmp_path / "decider.gguf"
    add_strings(smol_gguf, made)
    with llama(made) as url:
        check_desk(url, desk)
        X = desk[0][:4]
        s, several = decide(url, X, model="smol", classes=DESK, multilabel=True)
        assert several.ok.all(), several.meta
        assert s.usage_.requests == 4
    with llama(smol_gguf) as url:
        _, none = decide(url, desk[0][:2], model="smol", classes=DESK)
        assert none.meta["causes"] == {"no_route": 2}
        _, chat = decide(url, desk[0][:2], model="smol", classes=DESK, strategy="auto")
        assert chat.meta["strategy"] == "logprobs"


@contextlib.contextmanager
def llama(model):
    """A llama.cpp server in another process; yields its base address."""
    with subprocess.Popen(
        [sys.executable, "-c", LLAMA_SERVER, str(model)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        try:
            line = process.stdout.readline()
            while line and not line.startswith("http"):
                line = process.stdout.readline()
            yield f"{line.strip()}/v1"
        finally:
            process.kill()


def add_strings(source, target):
    """Copy a GGUF file and add what makes llama.cpp answer typed questions."""
    from gguf import GGUFReader, GGUFValueType, GGUFWriter

    reader = GGUFReader(str(source))
    family = reader.get_field("general.architecture").contents()
    writer = GGUFWriter(str(target), family)
    for name, field in reader.fields.items():
        if name == "general.architecture" or name.startswith("GGUF."):
            continue
        kind = field.types[0]
        inner = field.types[-1] if kind == GGUFValueType.ARRAY else None
        writer.add_key_value(name, field.contents(), kind, sub_type=inner)
    writer.add_string(f"{family}.decision.type", "pplx-decider")
    writer.add_string("tokenizer.chat_template.systemone", TEMPLATE)
    for tensor in reader.tensors:
        writer.add_tensor_info(
            tensor.name,
            tensor.data.shape,
            tensor.data.dtype,
            tensor.data.nbytes,
            tensor.tensor_type,
        )
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for tensor in reader.tensors:
        writer.write_tensor_data(tensor.data)
    writer.close()


@pytest.mark.nightly
def test_litellm_speaks_the_openai_dialect(tmp_path, mock, monkeypatch):
    """In front of a server of the other dialect: order, names, booleans and usage."""
    path = program("litellm", "a virtual environment with litellm[proxy]==1.106.0 has it")
    port = free_port()
    with mock() as behind:
        listed = {"model": "typesafe/jev-latest", "api_base": behind.removesuffix("/v1")}
        models = [{"model_name": "jev", "litellm_params": {**listed, "api_key": "k"}}]
        config = tmp_path / "litellm.yaml"
        config.write_text(json.dumps({"model_list": models}))
        command = [path, "--config", str(config), "--host", "127.0.0.1", "--port", str(port)]
        key = "sk-of-this-test-alone"
        env = {"LITELLM_MASTER_KEY": key, "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
        monkeypatch.setenv("GATEWAY_KEY", key)
        with served([*command, "--telemetry", "False"], port, tmp_path / "l.log", **env) as url:
            X = ["win money", "see you at five"]
            for classes in (["ham", "spam"], ["true", "false"]):
                s, one = decide(url, X, model="jev", classes=classes, api_key_env="GATEWAY_KEY")
                check_distributions(one)
                assert one.meta["adapted"] == {"path": "decisions", "dialect": "openai"}
                assert s.usage_.prompt_tokens > 0
            labels = [f"topic {n}" for n in range(12)]
            s, several = decide(
                url, X, model="jev", classes=labels, multilabel=True, api_key_env="GATEWAY_KEY"
            )
            assert several.ok.all(), several.meta
            assert s.usage_.requests == 2
            _, direct = decide(behind, X, classes=labels, multilabel=True)
            np.testing.assert_allclose(several.probs, direct.probs, atol=1e-6)
