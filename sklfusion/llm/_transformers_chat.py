"""A causal language model of the transformers library that answers chat requests."""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
import time
from collections import OrderedDict
from dataclasses import replace
from typing import Any

import torch

from sklfusion._chat import ChatRequest, Reply, TokenLogprobs, Usage
from sklfusion._threads import one_thread
from sklfusion.llm._causal_lm import CausalLM, load_weights
from sklfusion.llm._cores import FreeCores, thread_limit
from sklfusion.llm._faults import unusable_text
from sklfusion.llm._label_scores import labels_reply, score_labels
from sklfusion.llm._local_spec import LocalSpec

# Key-value states of shared prompt beginnings that are kept; each takes some megabytes.
_MAX_PREFIXES = 4


class TransformersRuntime(CausalLM):
    """Scores and generates with a ``transformers`` causal model, one request at a time.

    What a request shares with all others of its kind (everything before the text) is computed
    once and its key-value state reused. The cut is where the prompts of two different texts part,
    so it does not depend on which texts came before, and neither do the results.

    Parameters
    ----------
    spec : LocalSpec
        Folder or hub id.

    Raises
    ------
    ModelLoadError
        If the folder or hub id cannot be loaded.
    """

    def __init__(self, spec: LocalSpec) -> None:
        super().__init__(*load_weights(spec.location), spec.name)
        self._lock = threading.Lock()
        self._cores = FreeCores(*thread_limit())
        self._prefixes: OrderedDict[str, tuple[list[int], Any]] = OrderedDict()
        self._context = getattr(self.model.config, "max_position_embeddings", None) or 1 << 20

    def complete(self, request: ChatRequest) -> Reply:
        """Answer one request."""
        params = dict(request.params)
        if "response_format" in params:
            raise unusable_text("unsupported", "a transformers model cannot be held to a schema")
        max_tokens = int(params.get("max_tokens", 64))
        ids = self._encode(request.messages)
        if len(ids) + max_tokens > self._context:
            raise unusable_text("too_long", "the text is longer than the model's context")
        labels = params.get("score_labels")
        with self._lock, torch.inference_mode(), self._threads():
            logits, cache, reused = self._prefill(ids, request.messages)
            if labels:
                return self._score(request, labels, (ids, logits, cache), reused)
            choices = []
            for number in range(int(params.get("n", 1))):
                if number:
                    logits, cache, _ = self._prefill(ids, request.messages)
                choices.append(self._generate(logits, cache, max_tokens, params, number))
        return self._reply(choices, len(ids), reused, params)

    def _threads(self) -> contextlib.AbstractContextManager[None]:
        """One thread while others leave no second core: threads of torch wait for one another."""
        self._cores.recheck()
        return one_thread() if self._cores.threads == 1 else contextlib.nullcontext()

    def _score(
        self,
        request: ChatRequest,
        labels: list[str],
        prompt: tuple[list[int], torch.Tensor, Any],
        reused: int,
    ) -> Reply:
        """Score whole labels, after the prompt and after what labels have in common."""
        *before, (role, opening) = request.messages
        top = int(request.params.get("top_logprobs", 0))

        def ask(said: str) -> list[tuple[bytes, float]]:
            messages = (*before, (role, f"{opening} {said}" if said else opening))
            logprobs = torch.log_softmax(self._after(prompt, messages), dim=-1).cpu()
            rest = [key[len(said) :] for key in labels if key.startswith(said)]
            best = torch.topk(logprobs, min(top, len(logprobs))).indices.tolist()
            listed = {*best, *self.first_tokens(rest)}
            return [(self.token_bytes(i), float(logprobs[i])) for i in sorted(listed)]

        probs, coverage, steps = score_labels(ask, labels)
        usage = Usage(len(prompt[0]), steps, reused)
        reply = labels_reply(probs, coverage, labels, usage, self.name)
        return replace(reply, created=time.time())

    def _after(
        self, prompt: tuple[list[int], torch.Tensor, Any], messages: tuple[tuple[str, str], ...]
    ) -> torch.Tensor:
        """Return the logits after messages that go on where a prompt ends."""
        import copy

        known, logits, cache = prompt
        ids = self._encode(messages)
        if ids == known:
            return logits
        going_on = ids[: len(known)] == known
        out = self._forward(
            ids[len(known) :] if going_on else ids, copy.deepcopy(cache) if going_on else None
        )
        after: torch.Tensor = out.logits[0, -1].float()
        return after

    def _encode(self, messages: tuple[tuple[str, str], ...]) -> list[int]:
        turns = [{"role": role, "content": content} for role, content in messages]
        if getattr(self.tokenizer, "chat_template", None):
            prefilled = messages[-1][0] == "assistant"
            text = self.tokenizer.apply_chat_template(
                turns,
                tokenize=False,
                add_generation_prompt=not prefilled,
                continue_final_message=prefilled,
            )
            encoded = self.tokenizer(text, add_special_tokens=False)
        else:  # a base model
            encoded = self.tokenizer("\n\n".join(content for _, content in messages))
        return list(encoded["input_ids"])

    def _prefill(
        self, ids: list[int], messages: tuple[tuple[str, str], ...]
    ) -> tuple[torch.Tensor, Any, int]:
        """Return the logits after the prompt, its cache, and how many tokens were reused."""
        import copy

        prefix, state = self._prefix(messages)
        cut = len(prefix)
        if state is None or ids[:cut] != prefix or cut >= len(ids):
            cut, cache = 0, None
        else:
            cache = copy.deepcopy(state)
        out = self._forward(ids[cut:], cache)
        return out.logits[0, -1].float(), out.past_key_values, cut

    def _forward(self, ids: list[int], cache: Any) -> Any:
        tokens = torch.tensor([ids], device=self.model.device)
        return self.model(input_ids=tokens, past_key_values=cache, use_cache=True)

    def _prefix(self, messages: tuple[tuple[str, str], ...]) -> tuple[list[int], Any]:
        """Return the tokens shared by all prompts that differ in the last user message only."""
        users = [i for i, (role, _) in enumerate(messages) if role == "user"]
        if not users:
            return [], None
        before, after = messages[: users[-1]], messages[users[-1] + 1 :]
        opening = messages[users[-1]][1][:1]
        key = hashlib.sha256(json.dumps([before, opening, after]).encode()).hexdigest()
        if key in self._prefixes:
            self._prefixes.move_to_end(key)
            return self._prefixes[key]
        # Beginnings of different kinds, so that no tokenizer joins the cut with all of them.
        probes = [
            self._encode((*before, ("user", opening + start), *after))
            for start in ("a", "Zz", "7", " x", "?")
        ]
        shared = 0
        while all(len(ids) > shared + 1 for ids in probes):
            if len({ids[shared] for ids in probes}) > 1:
                break
            shared += 1
        prefix = probes[0][:shared]
        state = self._forward(prefix, None).past_key_values if prefix else None
        self._prefixes[key] = (prefix, state)
        if len(self._prefixes) > _MAX_PREFIXES:
            self._prefixes.popitem(last=False)
        return self._prefixes[key]

    def _generate(
        self,
        logits: torch.Tensor,
        cache: Any,
        max_tokens: int,
        params: dict[str, Any],
        number: int,
    ) -> tuple[list[int], list[torch.Tensor], str]:
        """Return the tokens, the log-probabilities at each step, and why it ended."""
        temperature = float(params.get("temperature", 0.0))
        generator = torch.Generator().manual_seed(int(params.get("seed", 0)) + number)
        tokens: list[int] = []
        steps = []
        while True:
            logprobs = torch.log_softmax(logits, dim=-1).cpu()
            if temperature > 0:
                weights = torch.softmax(logits.cpu() / temperature, dim=-1)
                token = int(torch.multinomial(weights, 1, generator=generator))
            else:
                token = int(logprobs.argmax())
            steps.append(logprobs)
            tokens.append(token)
            if token in self._ends:
                return tokens, steps, "stop"
            if len(tokens) >= max_tokens:
                return tokens, steps, "length"
            out = self._forward([token], cache)
            logits, cache = out.logits[0, -1].float(), out.past_key_values

    def _reply(
        self,
        choices: list[tuple[list[int], list[torch.Tensor], str]],
        prompt_tokens: int,
        reused: int,
        params: dict[str, Any],
    ) -> Reply:
        logprobs = None
        if params.get("logprobs"):
            tokens, steps, _ = choices[0]
            forced = self.first_tokens(params.get("score_tokens", ()))
            top = int(params.get("top_logprobs", 0))
            logprobs = tuple(
                self._token_logprobs(token, step, top, forced)
                for token, step in zip(tokens, steps, strict=True)
            )
        texts = tuple(
            self.tokenizer.decode(
                tokens[:-1] if reason == "stop" else tokens, skip_special_tokens=True
            )
            for tokens, _, reason in choices
        )
        return Reply(
            contents=texts,
            finish_reasons=tuple(reason for _, _, reason in choices),
            model=self.name,
            usage=Usage(prompt_tokens, sum(len(t) for t, _, _ in choices), reused),
            logprobs=logprobs,
            created=time.time(),
        )

    def _token_logprobs(
        self, token: int, step: torch.Tensor, top: int, forced: set[int]
    ) -> TokenLogprobs:
        best = torch.topk(step, min(top, len(step))).indices.tolist() if top else []
        listed = [*best, *sorted(forced - set(best))]
        decode = self.tokenizer.decode
        return TokenLogprobs(
            decode([token]),
            float(step[token]),
            tuple((decode([i]), float(step[i])) for i in listed),
        )
