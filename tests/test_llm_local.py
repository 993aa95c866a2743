"""Language models in this process, and a real model server behind the HTTP adapter."""

import json
import os
import subprocess
import sys
import time

import numpy as np
import pytest

from sklfusion import LLMClassifier, LLMScorer
from sklfusion._chat import ChatRequest
from sklfusion.exceptions import ModelLoadError, ScoringWarning
from sklfusion.llm import _cores
from sklfusion.llm._cores import FreeCores, busy_seconds, thread_limit
from sklfusion.llm._faults import CallError
from sklfusion.llm._local import LocalBackend, load_runtime
from sklfusion.llm._local_spec import find_local
from sklfusion.prompts import Task, render

CLASSES = ["World", "Sports", "Business", "Technology"]
NEWS = {
    "Shares fell on Wall Street after the bank's profit warning": "Business",
    "The striker scored twice as the team won the cup final": "Sports",
    "The prime minister resigned after talks on the war failed": "World",
    "A new phone chip runs software twice as fast": "Technology",
}
TEXTS = list(NEWS)


def ask(spec, text, *, system="Name the colour.", **params):
    """Return the reply of a local model."""
    messages = (("system", system), ("user", json.dumps(text)), ("assistant", "Answer:"))
    request = ChatRequest("local", spec.name, messages, {"max_tokens": 1, **params})
    return LocalBackend(spec).complete(request, deadline=time.monotonic() + 60)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A random causal LM with 16 hidden units and its tokenizer, saved as a folder."""
    torch = pytest.importorskip("torch")
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    words = ["[UNK]", "<s>", "</s>", "Answer", ":", '"', "red", "green", "blue", "sky", "grass"]
    words += [str(i) for i in range(20)]
    raw = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="[UNK]"))
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, unk_token="[UNK]", eos_token="</s>")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(words), hidden_size=16, intermediate_size=32, num_hidden_layers=2,
        num_attention_heads=2, max_position_embeddings=128, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("tiny")
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


class TestTransformers:
    """A causal model of the transformers library."""

    def test_every_label_gets_its_exact_probability(self, tiny):
        """Forced tokens are listed whatever their rank, and all tokens together sum to 1."""
        spec = find_local(f"{tiny}:fp32")
        few = ask(spec, "sky", logprobs=True, top_logprobs=1, score_tokens=["red", "blue"])
        names = {token.strip() for token, _ in few.logprobs[0].top}
        assert {"red", "blue"} <= names
        whole = ask(spec, "sky", logprobs=True, top_logprobs=100)
        top = dict(whole.logprobs[0].top)
        assert sum(np.exp(list(top.values()))) == pytest.approx(1, abs=1e-4)
        for token, logprob in few.logprobs[0].top:
            assert logprob == pytest.approx(top[token], abs=1e-6)

    def test_reused_state_changes_nothing(self, tiny):
        """Scores with the shared prefix equal those of one whole forward pass."""
        import torch
        from transformers import AutoModelForCausalLM

        spec = find_local(f"{tiny}:fp32")
        ask(spec, "grass")  # the prefix is there now
        reply = ask(spec, "sky", logprobs=True, top_logprobs=5)
        assert reply.usage.cached_tokens > 0
        runtime = load_runtime(spec)
        messages = (("system", "Name the colour."), ("user", '"sky"'), ("assistant", "Answer:"))
        ids = torch.tensor([runtime._encode(messages)])
        model = AutoModelForCausalLM.from_pretrained(tiny).eval()
        with torch.inference_mode():
            wanted = torch.log_softmax(model(ids).logits[0, -1], dim=-1)
        got = reply.logprobs[0].logprob
        assert got == pytest.approx(float(wanted.max()), abs=1e-5)

    @pytest.mark.parametrize("numbers", ["fp32", "bf16"])
    @pytest.mark.parametrize("classes", [["red", "green", "blue"], ["red 1", "red 2", "green"]])
    def test_results_do_not_depend_on_neighbours(self, tiny, numbers, classes):
        """Alone, in a batch and in another order a text has the same scores, however long."""
        scorer = LLMScorer(f"local/{tiny}:{numbers}", classes=classes, calibrate=False)
        texts = ["sky", "grass", "sky 1 2", "7", "1 2 3 4 5 6 7 8 9 10 " * 3]
        together = scorer.fit(texts).transform(texts)
        backwards = scorer.fit(texts).transform(texts[::-1])[::-1]
        alone = np.concatenate([scorer.fit(texts).transform([text]) for text in texts])
        np.testing.assert_allclose(together, backwards, atol=1e-3)
        np.testing.assert_allclose(together, alone, atol=1e-3)

    def test_texts_are_read_together(self, tiny, monkeypatch):
        """Fewer passes through the model than texts, and the prefix in none of them."""
        runtime = load_runtime(find_local(f"{tiny}:fp32"))
        read = []
        forward = runtime.model.forward

        def counted(input_ids, **kwargs):
            read.append(tuple(input_ids.shape))
            return forward(input_ids=input_ids, **kwargs)

        scorer = LLMScorer(f"local/{tiny}:fp32", classes=["red", "green"], calibrate=False)
        scorer.fit(["sky"]).transform(["sky"])
        monkeypatch.setattr(runtime.model, "forward", counted)
        texts = [f"{n} sky" for n in range(20)]
        prompt = len(runtime._encode((("system", "Name the colour."), ("user", '"sky"'))))
        scorer.fit(texts).transform(texts)
        assert len(read) < len(texts) / 3
        assert sum(rows for rows, _ in read) == len(texts)
        assert all(width < prompt + 40 for _, width in read)

    def test_kinds_of_number_are_kept_apart(self, tiny, tmp_path):
        """Another kind is another model to the store, and a fitted scorer stays with its own."""
        names = {n: find_local(f"{tiny}:{n}").name for n in ("fp32", "bf16")}
        assert names["bf16"] == f"{names['fp32']}:bf16"
        scorer = LLMScorer(f"local/{tiny}", classes=["red", "green"], memory=tmp_path)
        for numbers in names:
            scorer.fit(["sky"])
            scorer._numbers = numbers  # fitted on another machine
            scorer.transform(["grass"])
            assert scorer.annotate(["grass"]).meta["model"] == names[numbers]

    def test_a_scorer_of_an_older_version_goes_on_as_it_was(self, tiny, tmp_path):
        """It knows of no kinds: a folder was read in float32, the embedded model by llama.cpp."""
        scorer = LLMScorer(f"local/{tiny}", classes=["red", "green"], memory=tmp_path)
        scorer.fit(["sky"])
        del scorer._numbers
        assert scorer.annotate(["sky"]).meta["model"] == find_local(f"{tiny}:fp32").name

    @pytest.mark.parametrize(("bf16", "kind"), [(True, "bf16"), (False, "fp32")])
    def test_the_processor_decides(self, tiny, monkeypatch, bf16, kind):
        """bfloat16 where there is a unit for it, float32 elsewhere; a name that says it wins."""
        monkeypatch.setattr("sklfusion._dtype.has_bfloat16", lambda: bf16)
        assert find_local(str(tiny)).numbers == kind
        assert find_local(f"{tiny}:fp32").numbers == "fp32"

    def test_one_long_text_costs_the_others_nothing(self, tiny):
        """A text longer than the context has no answer, says a warning; the others have theirs."""
        scorer = LLMScorer(
            f"local/{tiny}", classes=["red", "green"], calibrate=False, output="proba",
            max_text_tokens=None,
        ).fit(["sky"])  # fmt: skip
        with pytest.warns(ScoringWarning, match=r"1 of 3 texts \(too_long: 1\)"):
            found = scorer.annotate(["sky", "1 " * 400, "grass"])
        assert found.ok.tolist() == [True, False, True]

    @pytest.mark.parametrize("strategy", ["logprobs", "label", "votes"])
    def test_strategies(self, tiny, strategy):
        """A random model gives scores or abstains; it never breaks the run."""
        scorer = LLMScorer(
            f"local/{tiny}", classes=["red", "green"], strategy=strategy, output="proba"
        )
        import warnings

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ScoringWarning)
            scores = scorer.fit(TEXTS).transform(TEXTS)
        np.testing.assert_allclose(scores.sum(axis=1), 1, atol=1e-5)

    def test_samples_are_seeded(self, tiny):
        """Sampling the same request twice gives the same samples, and n of them."""
        spec = find_local(f"{tiny}:fp32")
        one, two = (ask(spec, "sky", temperature=1.0, n=4, max_tokens=3) for _ in range(2))
        assert one.contents == two.contents
        assert len(one.contents) == 4
        assert len(set(one.contents)) > 1

    def test_too_long_and_unsupported(self, tiny):
        """Limits are faults of the text, with their cause."""
        spec = find_local(f"{tiny}:fp32")
        with pytest.raises(CallError) as caught:
            ask(spec, "1 " * 200)
        assert caught.value.fault.cause == "too_long"
        with pytest.raises(CallError) as caught:
            ask(spec, "1", response_format={"type": "json_object"})
        assert caught.value.fault.cause == "unsupported"

    def test_the_name_follows_the_weights(self, tiny, tmp_path):
        """A copied folder is the same model to the reply store, a changed one is not."""
        import shutil

        copy = shutil.copytree(tiny, tmp_path / tiny.name)
        assert find_local(str(copy)).name == find_local(str(tiny)).name
        config = copy / "config.json"
        config.write_text(config.read_text().replace("128", "129"))
        assert find_local(str(copy)).name != find_local(str(tiny)).name

    def test_answers_and_states_share_one_model(self, tiny):
        """The two uses of a folder hold its weights once; other files are another model."""
        import shutil

        from sklfusion.llm._prefix_scorer import PrefixScorer

        runtime = load_runtime(find_local(f"{tiny}:fp32"))
        assert PrefixScorer.load(str(tiny)).model is runtime.model
        copy = shutil.copytree(tiny, tiny.parent / "changing")
        first = PrefixScorer.load(str(copy)).model
        config = copy / "config.json"
        config.write_text(config.read_text() + " ")
        assert PrefixScorer.load(str(copy)).model is not first

    def test_broken_folders(self, tmp_path):
        """An empty folder and a folder that is no model are clear errors."""
        with pytest.raises(ModelLoadError, match="holds no model"):
            find_local(str(tmp_path))
        (tmp_path / "config.json").write_text("{}")
        with pytest.raises(ModelLoadError, match="cannot load a causal language model"):
            LocalBackend(find_local(str(tmp_path))).complete(
                ChatRequest("local", "x", (("user", "x"),)), deadline=0.0
            )


def test_workers_share_the_cores(monkeypatch):
    """joblib sets OMP_NUM_THREADS in its workers, and a variable of our own goes before it."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert thread_limit() == (1, False)
    monkeypatch.setenv("SKLFUSION_LOCAL_THREADS", "nonsense")
    assert thread_limit() == (1, False)
    monkeypatch.setenv("SKLFUSION_LOCAL_THREADS", "10000")
    assert thread_limit() == (len(os.sched_getaffinity(0)), True)


class Machine:
    """Four cores, the clock and what others do on them, as Linux would tell it."""

    def __init__(self, tmp_path, monkeypatch):
        self.seconds, self.busy, self.load = 0.0, 0.0, 0.0
        self.stat = tmp_path / "stat"
        monkeypatch.setattr(_cores, "_STAT", self.stat)
        monkeypatch.setattr(_cores, "usable_cores", lambda: {0, 1, 2, 3})
        monkeypatch.setattr(_cores.time, "monotonic", lambda: self.seconds)
        monkeypatch.setattr(_cores.time, "sleep", self.wait)
        monkeypatch.setattr(_cores.os, "times", lambda: os.times_result((0, 0, 0, 0, 0)))
        self.wait(1000.0)

    def wait(self, seconds):
        self.seconds += seconds
        self.busy += seconds * self.load * 100
        counts = f"{int(self.busy)} 0 0 5 5 0 0 0 0 0"
        self.stat.write_text(f"cpu {counts}\ncpu0 {counts}\ncpu9 {counts}\nintr 5\n")


@pytest.mark.parametrize(("load", "threads"), [(0.0, 4), (1.0, 3), (2.0, 2), (4.0, 1), (9.0, 1)])
def test_a_local_model_leaves_busy_cores_alone(tmp_path, monkeypatch, load, threads):
    machine = Machine(tmp_path, monkeypatch)
    machine.load = load
    assert FreeCores(4, False).threads == threads
    assert FreeCores(4, True).threads == 4  # the user's wish
    assert FreeCores(2, False).threads == min(2, threads)


def test_a_local_model_follows_the_machine(tmp_path, monkeypatch):
    """Fewer threads at once when others come, more only after they have been gone a while."""
    machine = Machine(tmp_path, monkeypatch)
    cores = FreeCores(4, False)
    machine.load = 3.0
    machine.wait(0.5)
    assert not cores.recheck()
    machine.wait(1.0)
    assert cores.recheck()
    assert cores.threads == 1
    machine.load = 0.0
    machine.wait(5.0)
    assert not cores.recheck()
    machine.wait(60.0)
    assert cores.recheck()
    assert cores.threads == 4


def test_without_the_kernels_word_the_limit_holds(tmp_path, monkeypatch):
    monkeypatch.setattr(_cores, "_STAT", tmp_path / "missing")
    cores = FreeCores(4, False)
    assert cores.threads == 4
    assert not cores.recheck()


def test_only_our_cores_count():
    stat = "cpu 900 0 0 0\ncpu0 100 50 50 7 7 100 0 0 0 0\ncpu1 500 0 0 0 0 0 0 0\n"
    assert busy_seconds(stat, {0}) == 300 / os.sysconf("SC_CLK_TCK")
    with pytest.raises(ValueError, match="no line"):
        busy_seconds(stat, {7})


@pytest.mark.models
class TestEmbedded:
    """The embedded model in llama.cpp."""

    def test_scores_news(self, tmp_path):
        """Words, a prefilled answer and the batch prior find the desks of plain news."""
        scorer = LLMScorer(classes=CLASSES, memory=tmp_path, output="proba").fit(TEXTS)
        annotations = scorer.annotate(TEXTS)
        assert annotations.labels().tolist() == list(NEWS.values())
        assert annotations.meta["strategy"] == "logprobs"
        assert annotations.meta["origin"] == "local"
        assert scorer.bias_ is not None
        assert scorer.usage_.requests == 4
        assert scorer.usage_.cost == 0.0
        clf = LLMClassifier(classes=CLASSES, memory=tmp_path, cache_only=True).fit(TEXTS)
        assert clf.predict(TEXTS).tolist() == list(NEWS.values())

    def test_multilabel_takes_one_request(self):
        """One question a text, independent scores, calibrated per label."""
        scorer = LLMScorer(classes=CLASSES, multilabel=True, output="proba").fit(TEXTS)
        scores = scorer.transform(TEXTS)
        assert scorer.usage_.requests == len(TEXTS)
        assert [CLASSES[i] for i in scores.argmax(axis=1)] == list(NEWS.values())

    @pytest.mark.parametrize("kind", ["", ":fp32"])
    def test_order_does_not_matter(self, kind):
        """Neither the order nor the neighbours move a score."""
        torch = pytest.importorskip("torch")
        if not kind and torch.cpu.get_capabilities().get("amx_bf16"):
            pytest.skip("the kernels of this unit were never measured here; :fp32 is held to it")
        scorer = LLMScorer(f"local/smollm2-135m{kind}", classes=CLASSES, calibrate=False)
        first = scorer.fit(TEXTS).transform(TEXTS[:3])
        second = scorer.fit(TEXTS).transform(TEXTS[2::-1])[::-1]
        alone = np.concatenate([scorer.fit(TEXTS).transform([text]) for text in TEXTS[:3]])
        np.testing.assert_allclose(first, second, atol=1e-3)
        np.testing.assert_allclose(first, alone, atol=1e-3)

    def test_llama_cpp_by_name(self, tmp_path):
        """The file's own numbers: other scores, the same desks, under the name it always had."""
        scorer = LLMScorer("local/smollm2-135m:gguf", classes=CLASSES, memory=tmp_path)
        found = scorer.fit(TEXTS).annotate(TEXTS)
        assert found.labels().tolist() == list(NEWS.values())
        assert found.meta["model"] == "smollm2-135m"

    def test_too_long(self):
        """More than the context is a fault of the text."""
        with pytest.raises(CallError) as caught:
            ask(find_local("smollm2-135m:gguf"), "word " * 5000)
        assert caught.value.fault.cause == "too_long"
        with pytest.raises(CallError) as caught:
            ask(find_local("smollm2-135m:fp32"), "word " * 10_000)
        assert caught.value.fault.cause == "too_long"

    def test_an_encoder_is_no_llm(self):
        """The other kind of embedded model is refused."""
        with pytest.raises(ModelLoadError, match="is an encoder"):
            LLMScorer("local/all-minilm-l6-v2", classes=CLASSES).fit(TEXTS)


SERVE = """
import sys, time, xllamacpp
p = xllamacpp.CommonParams()
p.model.path = sys.argv[1]
p.n_ctx, p.n_parallel, p.warmup, p.verbosity, p.port = 2048, 1, False, -1, 0
p.cpuparams.n_threads = p.cpuparams_batch.n_threads = 1
server = xllamacpp.Server(p)
print(server.listening_address, flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def model_server():
    """A real llama.cpp server in another process; yields its base URL."""
    pytest.importorskip("xllamacpp")
    path = find_local("smollm2-135m").location
    command = [sys.executable, "-c", SERVE, path]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        line = process.stdout.readline()
        while line and not line.startswith("http"):
            line = process.stdout.readline()
        yield f"{line.strip()}/v1"
        process.stdin.close()
        process.wait()


@pytest.mark.models
class TestRealServer:
    """An endpoint that nobody wrote for these tests."""

    def test_auto_takes_logprobs(self, model_server):
        """The probe finds log-probabilities, over HTTP with the adapter's own prompt."""
        scorer = LLMScorer("smollm2", base_url=model_server, classes=CLASSES, timeout=120)
        annotations = scorer.fit(TEXTS).annotate(TEXTS[:2])
        assert annotations.meta["strategy"] == "logprobs"
        assert annotations.ok.all()
        assert (annotations.coverage > 0).all()
        assert scorer.usage_.prompt_tokens > 50
        assert scorer.usage_.uncounted == 0

    def test_the_schema_holds(self, model_server):
        """A 135 M model held to a schema answers with one number per class."""
        scorer = LLMScorer(
            "smollm2", base_url=model_server, classes=["a", "b"], strategy="probabilities",
            timeout=120, multilabel=True, output="proba", request_params={"max_tokens": 60},
        )  # fmt: skip
        import warnings

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ScoringWarning)
            scores = scorer.fit(TEXTS).transform(TEXTS[:1])
        assert scores.shape == (1, 2)
        assert set(scorer.usage_.failures) <= {"bad_number", "truncated"}


def test_prefill_is_the_last_message():
    """What begins the answer of a local model is a closing assistant message."""
    messages = render(Task(("yes", "no")), "x", prefill=True)
    assert messages[-1] == ("assistant", "Category:")


class TestWholeLabels:
    """Labels that begin alike are scored to where they part."""

    def test_transformers_scores_continuations(self, tiny):
        """The product of the probabilities among the labels at each branching, and no others."""
        import torch
        from transformers import AutoModelForCausalLM

        labels = ["red 1", "red 2", "green"]
        spec = find_local(f"{tiny}:fp32")
        reply = ask(spec, "sky", logprobs=True, top_logprobs=100, score_labels=labels)
        found = dict(reply.logprobs[0].top)
        runtime = load_runtime(spec)
        model = AutoModelForCausalLM.from_pretrained(tiny).eval()

        def next_tokens(said):
            messages = (("system", "Name the colour."), ("user", '"sky"'), ("assistant", said))
            with torch.inference_mode():
                logits = model(torch.tensor([runtime._encode(messages)])).logits[0, -1]
            p = torch.softmax(logits, dim=-1)
            return {t: float(p[runtime.tokenizer.convert_tokens_to_ids(t)])
                    for t in ("red", "green", "1", "2")}  # fmt: skip

        first, second = next_tokens("Answer:"), next_tokens("Answer: red")
        wanted = np.array([first["red"] * second[n] / (second["1"] + second["2"]) for n in "12"])
        np.testing.assert_allclose(np.exp([found[n] for n in labels[:2]]), wanted, rtol=1e-4)
        assert np.exp(found["green"]) == pytest.approx(first["green"], rel=1e-4)
        assert reply.contents == (max(found, key=found.get),)

    @pytest.mark.models
    def test_many_classes_on_the_embedded_model(self):
        """60 classes that begin alike: every text is answered, and the scores differ by text."""
        things = ("car", "house", "coat", "door", "boat", "book", "bird", "flag", "chair", "cup")
        classes = [f"{colour} {thing}" for colour in ("red", "green", "blue") for thing in things]
        classes += [f"old_{thing}_{n}" for thing in things for n in (1, 2, 3)]
        texts = ["A blue boat sails over the lake", "An old_book_2 lay on the table"]
        clf = LLMClassifier(classes=classes, calibrate=False).fit(texts)
        found = clf.annotate(texts)
        assert found.ok.all()
        assert found.meta["label_form"] == "words"
        assert len({round(float(p), 9) for p in found.probs[0]}) > 10
        assert not np.allclose(found.probs[0], found.probs[1])
