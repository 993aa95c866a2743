"""The embedded language model without transformers: the same numbers, the same tokens."""

import copy
import json
import subprocess
import sys

import numpy as np
import pytest

from sklfusion._chat import ChatRequest
from sklfusion.exceptions import ModelLoadError

torch = pytest.importorskip("torch")

from sklfusion.llm._causal_lm import load_weights  # noqa: E402
from sklfusion.llm._local import load_runtime  # noqa: E402
from sklfusion.llm._local_spec import find_local  # noqa: E402
from sklfusion.llm._plain_llama import (  # noqa: E402
    PlainLlama,
    PlainTokenizer,
    loads_plainly,
)

TEMPLATE = "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}</s>{% endfor %}"
TURNS = [
    {"role": "system", "content": "Name the desk.\n"},
    {"role": "user", "content": '"Löwe 🦁 scored \\n twice"'},
    {"role": "assistant", "content": "The desk: "},
]


def save(folder, *, template=TEMPLATE, tokens=29, **settings):
    """Write a random Llama with grouped heads, and a tokenizer of single letters."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    raw = Tokenizer(models.WordLevel({chr(97 + i): i for i in range(tokens)}, unk_token="a"))
    raw.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    torch.manual_seed(0)
    shape = {
        "vocab_size": tokens, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 128,
        "initializer_range": 0.5,
    }  # fmt: skip
    model = LlamaForCausalLM(LlamaConfig(**shape | settings))
    model.save_pretrained(folder)
    (folder / "generation_config.json").unlink()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, unk_token="a")
    tokenizer.chat_template = template
    tokenizer.save_pretrained(folder)
    return model.eval()


@pytest.mark.parametrize("tied", [False, True])
def test_logits_are_those_of_transformers(tmp_path, tied):
    """In one piece, behind a state, and in padded rows that share it."""
    theirs = save(tmp_path, tie_word_embeddings=tied)
    ours = PlainLlama(tmp_path, torch.float32)
    ids = torch.randint(29, (1, 12), generator=torch.Generator().manual_seed(1))
    rest = torch.randint(29, (3, 5), generator=torch.Generator().manual_seed(2))
    mask = torch.ones(3, 17, dtype=torch.long)
    mask[0, 14:] = mask[1, 16:] = 0
    places = torch.arange(12, 17)[None].expand(3, 5)
    with torch.inference_mode():
        found = []
        for model in (theirs, ours):
            whole = model(input_ids=ids, use_cache=True)
            state = copy.deepcopy(whole.past_key_values)
            state.batch_repeat_interleave(3)
            batch = model(
                input_ids=rest, attention_mask=mask, position_ids=places, past_key_values=state,
                logits_to_keep=torch.tensor([1, 4]),
            )  # fmt: skip
            state.crop(-5)
            again = model(input_ids=rest[:, :1], past_key_values=state, logits_to_keep=1)
            found.append([whole.logits, batch.logits[:2, 0], batch.logits[2], again.logits])
    for one, other in zip(*found, strict=True):
        assert one.abs().max() > 0.1
        torch.testing.assert_close(other, one, atol=1e-4, rtol=1e-4)


def test_a_copied_state_is_not_extended(tmp_path):
    """What is read behind a copy leaves the shared beginning as it is."""
    save(tmp_path)
    model = PlainLlama(tmp_path, torch.float32)
    with torch.inference_mode():
        state = model(input_ids=torch.tensor([[1, 2, 3]])).past_key_values
        model(input_ids=torch.tensor([[4, 5]]), past_key_values=copy.deepcopy(state))
        assert len(state) == 3
        model(input_ids=torch.tensor([[4, 5]]), past_key_values=state)
    assert len(state) == 5


@pytest.fixture(scope="module")
def embedded():
    """Folder of the embedded model as transformers reads it."""
    try:
        return find_local("smollm2-135m:fp32").folder()
    except ModelLoadError as error:
        pytest.skip(str(error))


def test_tokens_and_prompts_are_those_of_transformers(embedded):
    """Of the embedded model: ids, text, entries of the vocabulary, conversations."""
    from transformers import AutoTokenizer

    assert loads_plainly(embedded)
    ours, theirs = PlainTokenizer(embedded), AutoTokenizer.from_pretrained(embedded)
    text = "Löwe 🦁  scored\n twice <|im_end|> 42%"
    for special in (False, True):
        ids = ours(text, add_special_tokens=special)["input_ids"]
        assert ids == theirs(text, add_special_tokens=special)["input_ids"]
        assert ours.decode(ids, skip_special_tokens=special) == theirs.decode(
            ids, skip_special_tokens=special
        )
    entries = [ours.convert_ids_to_tokens(i) for i in ids]
    assert entries == theirs.convert_ids_to_tokens(ids)
    for turns, goes_on in [(TURNS[:2], False), (TURNS[1:2], False), (TURNS, True)]:
        how = {"add_generation_prompt": not goes_on, "continue_final_message": goes_on}
        prompt = ours.apply_chat_template(turns, tokenize=False, **how)
        assert prompt == theirs.apply_chat_template(turns, tokenize=False, **how)


def test_scores_do_not_depend_on_who_read_the_weights(embedded):
    """Log-probabilities of the embedded model agree with transformers to a thousandth."""
    ours, tokenizer = load_weights(embedded, to_score=True)
    theirs, _ = load_weights(embedded)
    assert isinstance(ours, PlainLlama)
    assert not isinstance(theirs, PlainLlama)
    ids = torch.tensor([tokenizer("The team won the cup after")["input_ids"]])
    with torch.inference_mode():
        one, other = (
            torch.log_softmax(model(input_ids=ids).logits[0, -1].float(), -1).numpy()
            for model in (ours, theirs)
        )
    np.testing.assert_allclose(one, other, atol=1e-3)


def test_a_first_score_does_not_import_transformers(embedded):
    """The embedded model answers in a process that never loads that library."""
    code = (
        "import sys; from sklfusion import LLMClassifier; "
        "found = LLMClassifier('local/smollm2-135m:fp32', classes=['Sports', 'World'])"
        ".fit(['x']).predict_proba(['The team won the cup.']); "
        "assert abs(found.sum() - 1) < 1e-6, found; "
        "sys.exit('transformers' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "settings",
    [
        {"attention_bias": True},
        {"hidden_act": "gelu"},
        {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}},
        {"template": TEMPLATE.replace("m['content']", "m['content'] | trim")},
        {"template": TEMPLATE + "{{ raise_exception('no') }}"},
        {"template": TEMPLATE + "{{ bos_token }}"},
        {"template": TEMPLATE + "{% generation %}{% endgeneration %}"},
    ],
    ids=str,
)
def test_other_models_go_through_transformers(tmp_path, settings):
    """What is not computed here is not computed wrongly."""
    theirs = save(tmp_path, **settings)
    assert not loads_plainly(tmp_path)
    model, _ = load_weights(tmp_path, to_score=True)
    assert type(model) is type(theirs)


def test_a_folder_says_what_it_is(tmp_path):
    """A plain one is read here; with settings for generation, or without a template, it isn't."""
    assert not loads_plainly(tmp_path)
    save(tmp_path)
    assert loads_plainly(tmp_path)
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": [3, 4]}))
    assert not loads_plainly(tmp_path)
    (tmp_path / "generation_config.json").unlink()
    (tmp_path / "chat_template.jinja").unlink()
    assert not loads_plainly(tmp_path)


def test_damaged_weights_are_an_error(tmp_path):
    """The message names the folder and what is wrong with it."""
    save(tmp_path)
    file = tmp_path / "model.safetensors"
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(ModelLoadError, match=f"cannot load.*{tmp_path.name}.*SafetensorError"):
        load_weights(tmp_path, to_score=True)


def test_a_long_shared_beginning_does_not_make_batches_small(tmp_path, monkeypatch):
    """Twelve short texts behind the same 300 tokens are read in one pass, and scored as alone."""
    template = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
    save(tmp_path, template=template, max_position_embeddings=1024)
    runtime = load_runtime(find_local(f"{tmp_path}:fp32"))
    shapes = []
    forward = PlainLlama.forward

    def counted(self, input_ids, **how):
        shapes.append(tuple(input_ids.shape))
        return forward(self, input_ids, **how)

    monkeypatch.setattr(PlainLlama, "forward", counted)
    wanted = {"max_tokens": 1, "logprobs": True, "top_logprobs": 5}
    requests = [
        ChatRequest("local", "m", (("system", "ab" * 150), ("user", f"c{x}de{x}")), wanted)
        for x in "fghijklmnopq"
    ]
    together = runtime.complete(requests)
    assert [rows for rows, _ in shapes] == [1, 12]
    for request, reply in zip(requests, together, strict=True):
        (alone,) = runtime.complete([request])
        for one, other in zip(reply.logprobs[0].top, alone.logprobs[0].top, strict=True):
            assert one[0] == other[0]
            assert one[1] == pytest.approx(other[1], abs=1e-3)
