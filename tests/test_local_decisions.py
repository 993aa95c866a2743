"""Typed questions to a model in this process: one pass, each question by itself."""

import json
import time

import numpy as np
import pytest

from sklfusion import LLMClassifier, LLMScorer
from sklfusion._chat import DecisionRequest
from sklfusion.llm._faults import CallError
from sklfusion.llm._local import LocalBackend, load_runtime
from sklfusion.llm._local_spec import find_local
from sklfusion.prompts import DEFAULT_TEMPLATE, Task
from sklfusion.prompts._decisions import choice_question, predicate_question, read_decisions
from sklfusion.prompts._local_questions import in_words, question_messages, text_messages

LABELS = ("red", "green", "green sky", "blue")
SCORE = {
    "type": "score",
    "instructions": "how blue ?",
    "levels": [{"label": "sky"}, {"label": "grass", "description": "7 8"}],
}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A random causal LM that knows a few words, saved as a folder."""
    torch = pytest.importorskip("torch")
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    words = ["[UNK]", "<s>", "</s>", "Answer", "Category", ":", '"', "red", "green", "blue", "sky"]
    words += ["grass", "yes", "no", "text", "label", "fit", "Does", *map(str, range(20))]
    raw = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="[UNK]"))
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, unk_token="[UNK]", eos_token="</s>")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(words), hidden_size=16, intermediate_size=32, num_hidden_layers=2,
        num_attention_heads=2, max_position_embeddings=160, bos_token_id=1, eos_token_id=2,
        initializer_range=0.5,  # answers that differ from question to question
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("tiny")
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def spec(tiny):
    return find_local(str(tiny), "fp32")


def questions(labels=LABELS):
    """Return a choice, a predicate for each label and a score, in words."""
    task = Task(labels)
    asked = [choice_question(task, (), DEFAULT_TEMPLATE)]
    asked += [predicate_question(task, k, (), DEFAULT_TEMPLATE) for k in range(len(labels))]
    return [in_words(question, DEFAULT_TEMPLATE) for question in [*asked, SCORE]]


def ask(spec, text, asked):
    """Return the reply of a local model to some questions."""
    messages = text_messages(text, DEFAULT_TEMPLATE)
    request = DecisionRequest("local", spec.name, messages, {"questions": asked})
    return LocalBackend(spec).complete(request, deadline=time.monotonic() + 60)


def probabilities(reply, asked):
    """Return one array per question."""
    score = [json.loads(reply.contents[0])["answers"][n] for n, q in enumerate(asked)]
    return [
        np.array([level["probability"] for level in answer["probabilities"]])
        if question["type"] == "score"
        else np.array(read_decisions(_only(answer), [question]).values[0])
        for question, answer in zip(asked, score, strict=True)
    ]


def _only(answer):
    return json.dumps({"dialect": "openai", "answers": [answer]})


def reference(spec, text, question):
    """Return each option's probability by reading its whole prompt, token by token, alone."""
    import torch

    runtime = load_runtime(spec)
    *before, (role, opening) = question_messages(text_messages(text, DEFAULT_TEMPLATE), question)
    start = runtime._encode((*before, (role, opening)))

    def logprob(said, tokens):
        with torch.inference_mode():
            logits = runtime.model(torch.tensor([said])).logits[0, -1]
        return logits.log_softmax(dim=-1)[tokens].logsumexp(dim=0)

    first = {word: runtime.tokenize(word)[0] for word in question["words"]}
    distinct = sorted(set(first.values()))
    at_first = torch.stack([logprob(start, [token]) for token in distinct]).softmax(dim=0)
    likely = {word: float(at_first[distinct.index(token)]) for word, token in first.items()}
    if "green sky" in first:  # "green" ends, or goes on
        green = [*start, first["green"]]
        ends = sorted({2, *runtime.tokenize("\n")[-1:]})
        parted = torch.stack([logprob(green, ends), logprob(green, runtime.tokenize("sky"))])
        for word, share in zip(("green", "green sky"), parted.softmax(dim=0), strict=True):
            likely[word] *= float(share)
    return np.array([likely[word] for word in question["words"]])


def test_probabilities_are_those_of_the_words(spec):
    asked = questions()
    found = probabilities(ask(spec, "sky 7 grass", asked), asked)
    for question, probs in zip(asked, found, strict=True):
        wanted = reference(spec, "sky 7 grass", question)
        np.testing.assert_allclose(probs, wanted[: len(probs)], atol=1e-4)


def test_a_question_does_not_know_of_the_others(spec):
    asked = questions()
    for text in ("sky", "grass 3 sky 4 5 6 7 8"):
        together = probabilities(ask(spec, text, asked), asked)
        backwards = probabilities(ask(spec, text, asked[::-1]), asked[::-1])[::-1]
        alone = [probabilities(ask(spec, text, [q]), [q])[0] for q in asked]
        for one, other, own in zip(together, backwards, alone, strict=True):
            np.testing.assert_allclose(one, own, atol=1e-3)
            np.testing.assert_allclose(other, own, atol=1e-3)
    assert np.ptp([probs[0] for probs in together[1:5]]) > 0.01  # and they do differ


def test_the_text_is_read_once_in_one_pass(spec):
    asked = questions()
    text = " ".join(["sky", "grass"] * 20)
    model = load_runtime(spec).model
    ask(spec, text, asked)  # the beginning that all texts share is kept
    passes = []
    hook = model.register_forward_hook(lambda *_: passes.append(1))
    try:
        together = computed(ask(spec, text, asked))
        assert len(passes) == 1
        alone = sum(computed(ask(spec, text, [question])) for question in asked)
    finally:
        hook.remove()
    assert len(passes) == 1 + len(asked)
    assert together < alone - (len(asked) - 1) * 40  # the text's own tokens


def computed(reply):
    return reply.usage.prompt_tokens - reply.usage.cached_tokens


def test_a_score_is_the_expected_level(spec):
    asked = [in_words(SCORE, DEFAULT_TEMPLATE)]
    answer = json.loads(ask(spec, "sky", asked).contents[0])["answers"][0]
    likely = [level["probability"] for level in answer["probabilities"]]
    assert sum(likely) == pytest.approx(1)
    assert answer["score"] == pytest.approx(likely[1])
    assert [level["label"] for level in answer["probabilities"]] == ["sky", "grass"]


def test_a_text_beyond_the_context_has_no_answer(spec):
    with pytest.raises(CallError) as caught:
        ask(spec, " ".join(["sky"] * 200), questions())
    assert caught.value.fault.cause == "too_long"


@pytest.mark.parametrize("multilabel", [False, True])
def test_the_strategy_asks_once_and_keeps_the_answers(tiny, tmp_path, multilabel):
    texts = ["sky 7", "grass", "red red", "grass"]
    classes = [*LABELS]
    s = LLMScorer(
        f"local/{tiny}:fp32", classes=classes, multilabel=multilabel, strategy="decision",
        calibrate=False, output="proba", memory=str(tmp_path),
    )  # fmt: skip
    first = s.fit(texts).annotate(texts)
    assert first.probs.shape == (4, 4)
    assert set(first.status) == {"ok"}
    if not multilabel:
        np.testing.assert_allclose(first.probs.sum(axis=1), 1)
    np.testing.assert_allclose(first.probs[1], first.probs[3])
    assert first.meta["strategy"] == "decision"
    assert first.meta["asked_as"] == ("predicates" if multilabel else "choice")
    assert s.estimate(texts)["requests"] == 0
    again = s.fit(texts).annotate(texts)
    np.testing.assert_array_equal(again.probs, first.probs)


def test_other_numbers_have_their_own_answers(tiny, tmp_path):
    texts = ["sky 7", "grass"]
    made = {"classes": [*LABELS], "strategy": "decision", "memory": str(tmp_path)}
    LLMScorer(f"local/{tiny}:fp32", **made).fit(texts).transform(texts)
    other = LLMScorer(f"local/{tiny}:bf16", **made).fit(texts)
    assert other.estimate(texts)["requests"] == 0  # fit has asked, under a name of its own
    assert other.annotate(texts).meta["model"].endswith(":bf16")


@pytest.mark.models
def test_the_embedded_model_by_either_runtime():
    """Each question by itself in float32; llama.cpp rounds the same weights in its own way."""
    asked = questions(("World", "Sports", "Business", "Technology"))
    text = "Shares fell on Wall Street after the bank's profit warning"
    exact, quantised = (find_local(f"smollm2-135m:{numbers}") for numbers in ("fp32", "gguf"))
    together = probabilities(ask(exact, text, asked), asked)
    for question, probs in zip(asked[:3], together, strict=False):
        alone = probabilities(ask(exact, text, [question]), [question])[0]
        np.testing.assert_allclose(probs, alone, atol=1e-3)
    assert together[0].argmax() == 2
    other = probabilities(ask(quantised, text, asked), asked)
    np.testing.assert_allclose(other[0], together[0], atol=0.15)
    assert other[0].argmax() == 2


@pytest.mark.models
def test_float32_is_the_default_of_typed_questions():
    texts = ["Shares fell on Wall Street", "The striker scored twice"]
    c = LLMClassifier(classes=["Business", "Sports"], strategy="decision").fit(texts)
    assert c.annotate(texts).meta["model"].endswith(":fp32")
