"""A Llama in plain torch: the numbers of transformers, without the seconds of its import."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self

import torch
from torch.nn import functional

# What a configuration may say here; what it does not name counts as None.
_KNOWN: dict[str, set[Any]] = {
    "model_type": {"llama"},
    "hidden_act": {"silu"},
    "attention_bias": {False, None},
    "mlp_bias": {False, None},
    "tie_word_embeddings": {True, False},
    "quantization_config": {None},
    "rope_scaling": {None},
}
_DESCRIBING = ("config", "tokenizer_config")
_PLAIN_TOKENIZERS = ("TokenizersBackend", "PreTrainedTokenizerFast")
# Marks where the last turn ends, so that what a template puts behind it can be cut off.
_TO_GO_ON = "\x00"


def loads_plainly(folder: str | Path) -> bool:
    """Tell whether a transformers folder holds a model and a tokenizer that are read here.

    Those are Llamas without scaled positions, with a tokenizer of no class of its own and a chat
    template of loops and conditions only, as this package's copies of GGUF files are.
    """
    folder = Path(folder)
    config, tokenizer = (_settings_in(folder / f"{name}.json") for name in _DESCRIBING)
    template = folder / "chat_template.jinja"
    rope = config.get("rope_parameters") or {}
    return (
        all(not isinstance(config.get(k), dict) and config.get(k) in v for k, v in _KNOWN.items())
        and set(rope) == {"rope_theta", "rope_type"}
        and rope["rope_type"] == "default"
        and tokenizer.get("tokenizer_class") in _PLAIN_TOKENIZERS
        and not (folder / "generation_config.json").exists()
        and all((folder / name).is_file() for name in ("model.safetensors", "tokenizer.json"))
        and template.is_file()
        and _is_plain_template(template.read_text(encoding="utf-8"))
    )


def _settings_in(file: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return {}  # transformers says what is wrong with it


def _is_plain_template(source: str) -> bool:
    """Tell whether a template needs nothing that transformers adds to jinja."""
    from jinja2 import TemplateSyntaxError, meta, nodes

    try:
        tree = _environment().parse(source)
    except TemplateSyntaxError:
        return False
    free = meta.find_undeclared_variables(tree)
    return free <= {"messages", "add_generation_prompt"} and not any(
        tree.find_all((nodes.Filter, nodes.Call))
    )


def _environment() -> Any:
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    return ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)


class KeyValues:
    """What a model has read: keys and values of every layer; only added to, so cheap to copy."""

    def __init__(self) -> None:
        self._layers: list[tuple[torch.Tensor, torch.Tensor]] = []

    def __deepcopy__(self, _memo: object) -> Self:
        copied = type(self)()
        copied._layers = list(self._layers)
        return copied

    def __len__(self) -> int:
        """Number of tokens read."""
        return self._layers[0][0].shape[2] if self._layers else 0

    def extend(
        self, layer: int, keys: torch.Tensor, values: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Add the keys and values of further tokens to a layer and return all of it."""
        if layer == len(self._layers):
            self._layers.append((keys, values))
        else:
            k, v = self._layers[layer]
            self._layers[layer] = (torch.cat((k, keys), dim=2), torch.cat((v, values), dim=2))
        return self._layers[layer]

    def batch_repeat_interleave(self, times: int) -> None:
        """Let every row stand for several that begin alike."""
        self._layers = [
            (k.repeat_interleave(times, dim=0), v.repeat_interleave(times, dim=0))
            for k, v in self._layers
        ]

    def crop(self, length: int) -> None:
        """Forget the last ``-length`` tokens."""
        self._layers = [(k[:, :, :length], v[:, :, :length]) for k, v in self._layers]


class PlainLlama(torch.nn.Module):
    """A Llama for reading and scoring; called as transformers' own is.

    Computes step by step what ``LlamaForCausalLM`` does, so that scores do not depend on which
    of the two computed them.

    Parameters
    ----------
    folder : str or Path
        With ``config.json`` and ``model.safetensors``.
    dtype : torch.dtype
        What to compute with.
    device : str
        Where.
    """

    #: Rows without padding are computed as those with it are.
    always_masks = True

    def __init__(self, folder: str | Path, dtype: torch.dtype, device: str = "cpu") -> None:
        from safetensors.torch import load_file

        super().__init__()
        settings = json.loads((Path(folder) / "config.json").read_text(encoding="utf-8"))
        self.config = SimpleNamespace(**settings)
        self.generation_config = SimpleNamespace(eos_token_id=settings.get("eos_token_id"))
        weights = load_file(Path(folder) / "model.safetensors")
        self._weights = {name: w.to(device, dtype) for name, w in weights.items()}
        self._head = settings.get("head_dim") or (
            settings["hidden_size"] // settings["num_attention_heads"]
        )
        theta = settings["rope_parameters"]["rope_theta"]
        turns = torch.arange(0, self._head, 2, dtype=torch.float) / self._head
        self._frequencies = (1.0 / theta**turns).to(device)

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        return self._frequencies.device

    @property
    def dtype(self) -> torch.dtype:
        """What it computes with."""
        return self._weights["model.embed_tokens.weight"].dtype

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        past_key_values: KeyValues | None = None,
        use_cache: bool = True,
        logits_to_keep: int | torch.Tensor = 0,
    ) -> SimpleNamespace:
        """Return ``logits`` and ``past_key_values``, which is extended in place.

        Parameters
        ----------
        input_ids : tensor of shape (n, t)
            What follows the state.
        attention_mask : tensor of shape (n, past + t) or (n, 1, t, past + t), optional
            0 for padding; or what is added to the attention scores.
        position_ids : tensor of shape (n, t), optional
            By default one after the other.
        past_key_values : KeyValues, optional
            What was read before.
        use_cache : bool, default=True
            Whether to return the state.
        logits_to_keep : int or tensor, default=0
            How many of the last tokens, or which places, are to have logits; 0 for all.
        """
        state = KeyValues() if past_key_values is None else past_key_values
        past, new = len(state), input_ids.shape[1]
        if position_ids is None:
            position_ids = torch.arange(past, past + new, device=self.device)[None]
        angles = position_ids[..., None].float() * self._frequencies
        hidden = functional.embedding(input_ids, self._weights["model.embed_tokens.weight"])
        angles = torch.cat((angles, angles), dim=-1)[:, None]
        turn = (angles.cos().to(hidden.dtype), angles.sin().to(hidden.dtype))
        visible = torch.ones(new, past + new, dtype=torch.bool, device=self.device).tril(past)
        if attention_mask is not None and attention_mask.dim() == 4:
            visible = attention_mask
        elif attention_mask is not None:
            visible = visible & attention_mask[:, None, None].bool()
        for layer in range(self.config.num_hidden_layers):
            hidden = self._layer(layer, hidden, turn, visible, state)
        kept = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        hidden = self._norm("model.norm", hidden[:, kept])
        output = "model.embed_tokens" if self.config.tie_word_embeddings else "lm_head"
        return SimpleNamespace(
            logits=self._linear(output, hidden), past_key_values=state if use_cache else None
        )

    def _layer(
        self,
        layer: int,
        hidden: torch.Tensor,
        turn: tuple[torch.Tensor, torch.Tensor],
        visible: torch.Tensor,
        state: KeyValues,
    ) -> torch.Tensor:
        name = f"model.layers.{layer}"
        normed = self._norm(f"{name}.input_layernorm", hidden)
        queries, keys, values = (
            self._linear(f"{name}.self_attn.{part}_proj", normed)
            .unflatten(-1, (-1, self._head))
            .transpose(1, 2)
            for part in "qkv"
        )
        queries, keys = _turned(queries, *turn), _turned(keys, *turn)
        keys, values = state.extend(layer, keys, values)
        groups = queries.shape[1] // keys.shape[1]  # of heads that share a key
        seen = functional.scaled_dot_product_attention(
            queries,
            keys.repeat_interleave(groups, dim=1),
            values.repeat_interleave(groups, dim=1),
            attn_mask=visible,
        )
        seen = seen.transpose(1, 2).flatten(2)
        hidden = hidden + self._linear(f"{name}.self_attn.o_proj", seen)
        normed = self._norm(f"{name}.post_attention_layernorm", hidden)
        gate = functional.silu(self._linear(f"{name}.mlp.gate_proj", normed))
        wide = gate * self._linear(f"{name}.mlp.up_proj", normed)
        return hidden + self._linear(f"{name}.mlp.down_proj", wide)

    def _linear(self, name: str, hidden: torch.Tensor) -> torch.Tensor:
        return functional.linear(hidden, self._weights[f"{name}.weight"])

    def _norm(self, name: str, hidden: torch.Tensor) -> torch.Tensor:
        exact = hidden.float()
        scale = torch.rsqrt(exact.pow(2).mean(-1, keepdim=True) + self.config.rms_norm_eps)
        return self._weights[f"{name}.weight"] * (exact * scale).to(hidden.dtype)


def _turned(heads: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Turn queries or keys by their positions."""
    first, second = heads.chunk(2, dim=-1)
    return heads * cos + torch.cat((-second, first), dim=-1) * sin


class PlainTokenizer:
    """The tokenizer of a folder with the few methods that are used here.

    Parameters
    ----------
    folder : str or Path
        With ``tokenizer.json``, ``tokenizer_config.json`` and ``chat_template.jinja``.
    """

    def __init__(self, folder: str | Path) -> None:
        from tokenizers import Tokenizer

        folder = Path(folder)
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.chat_template = (folder / "chat_template.jinja").read_text(encoding="utf-8")
        self._template = _environment().from_string(self.chat_template)

    def __call__(self, text: str, add_special_tokens: bool = True) -> dict[str, list[int]]:
        """Return the ids of a text."""
        encoded = self._tokenizer.encode(text, add_special_tokens=add_special_tokens)
        return {"input_ids": encoded.ids}

    def decode(self, ids: Sequence[int], skip_special_tokens: bool = False) -> str:
        """Return the text of ids."""
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=skip_special_tokens))

    def convert_ids_to_tokens(self, token: int) -> str:
        """Return the entry of the vocabulary."""
        return str(self._tokenizer.id_to_token(token))

    def apply_chat_template(self, turns: Sequence[dict[str, str]], **how: bool) -> str:
        """Return the prompt of a conversation.

        Parameters
        ----------
        turns : sequence of dict
            Each with ``role`` and ``content``.
        **how : bool
            As of transformers' method: ``add_generation_prompt``; ``continue_final_message``, to
            end within the last turn; ``tokenize``, which is False.
        """
        turns = [dict(turn) for turn in turns]
        if how["continue_final_message"]:
            turns[-1]["content"] += _TO_GO_ON
        text: str = self._template.render(
            messages=turns, add_generation_prompt=how["add_generation_prompt"]
        )
        return text[: text.rindex(_TO_GO_ON)] if how["continue_final_message"] else text
