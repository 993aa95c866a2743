"""A causal language model of the transformers library that answers chat requests."""

from __future__ import annotations

import contextlib
import copy
import hashlib
import json
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from sklfusion._chat import ChatRequest, DecisionRequest, Reply, TokenLogprobs, Usage
from sklfusion._threads import one_thread
from sklfusion.llm._causal_lm import CausalLM, load_weights
from sklfusion.llm._cores import FreeCores, thread_limit
from sklfusion.llm._decision_reply import told_as_reply
from sklfusion.llm._faults import CallError, answer_or_fault, unusable_text
from sklfusion.llm._label_scores import LabelSteps, label_steps, labels_reply
from sklfusion.llm._local_decisions import (
    forks,
    option_ids,
    read_forks,
    shares,
)
from sklfusion.llm._local_spec import LocalSpec
from sklfusion.llm._prompt_batch import PromptBatch, batches
from sklfusion.prompts._local_questions import question_messages
from sklfusion.prompts._render import Messages

# Tokens of an answer where the request sets no limit.
_MAX_TOKENS = 64
# Key-value states of shared prompt beginnings that are kept; each takes some megabytes.
_MAX_PREFIXES = 4


class TransformersRuntime(CausalLM):
    """Scores with a ``transformers`` causal model, several texts at a time, and generates.

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
        super().__init__(*load_weights(spec.folder(), spec.dtype, to_score=True), spec.name)
        self._lock = threading.Lock()
        self._cores = FreeCores(*thread_limit())
        self._prefixes: OrderedDict[str, tuple[list[int], Any]] = OrderedDict()
        self._context = getattr(self.model.config, "max_position_embeddings", None) or 1 << 20

    def complete(self, requests: Sequence[ChatRequest]) -> list[Reply | CallError]:
        """Answer requests: those that only score what may come next are read together."""
        replies: list[Any] = [None] * len(requests)
        together: dict[str, list[tuple[int, list[int]]]] = {}
        with self._lock, torch.inference_mode(), self._threads():
            for place, request in enumerate(requests):
                if isinstance(request, DecisionRequest):
                    replies[place] = answer_or_fault(self._decide, request)
                    continue
                ids = answer_or_fault(self._fitting, request)
                if isinstance(ids, CallError):
                    replies[place] = ids
                elif _scores_only(request.params):
                    together.setdefault(_prefix_key(request.messages), []).append((place, ids))
                else:
                    replies[place] = self._answer(request, ids)
            for alike in together.values():
                for batch in batches(self._lengths(requests[alike[0][0]].messages, alike)):
                    chosen = [alike[n] for n in batch]
                    found = self._score([(requests[place], ids) for place, ids in chosen])
                    for (place, _), reply in zip(chosen, found, strict=True):
                        replies[place] = reply
        return replies

    def _lengths(self, messages: Messages, alike: Sequence[tuple[int, list[int]]]) -> list[int]:
        """Return how many tokens of each prompt are still to be read behind the shared ones."""
        shared = len(self._prefix(messages)[0])
        return [max(len(ids) - shared, 1) for _, ids in alike]

    def _fitting(self, request: ChatRequest) -> list[int]:
        """Return the ids of a prompt that the model can answer."""
        params = request.params
        if "response_format" in params:
            raise unusable_text("unsupported", "a transformers model cannot be held to a schema")
        ids = self._encode(request.messages)
        if len(ids) + int(params.get("max_tokens", _MAX_TOKENS)) > self._context:
            raise unusable_text("too_long", "the text is longer than the model's context")
        return ids

    def _answer(self, request: ChatRequest, ids: list[int]) -> Reply:
        """Write an answer, or several."""
        params = dict(request.params)
        max_tokens = int(params.get("max_tokens", _MAX_TOKENS))
        choices = []
        for number in range(int(params.get("n", 1))):
            logits, cache, reused = self._prefill(ids, request.messages)
            choices.append(self._generate(logits, cache, max_tokens, params, number))
        return self._reply(choices, len(ids), reused, params)

    def _decide(self, request: DecisionRequest) -> Reply:
        """Answer all questions about a text in one pass."""
        shared = request.messages
        prefix, state = self._prefix(question_messages(shared, request.questions[0]))
        options = [option_ids(self._encode, shared, q) for q in request.questions]
        if max(len(ids) for asked in options for ids in asked) > self._context:
            raise unusable_text("too_long", "the text is longer than the model's context")
        found = [forks(asked) for asked in options]
        cut = len(prefix)
        if any(f.said[:cut] != prefix or len(f.said) <= cut for asked in found for f in asked):
            prefix, state, cut = [], None, 0
        together = [fork for asked in found for fork in asked]
        logprobs, computed = read_forks(self.model, prefix, state, together)
        ends = self._ends | set(self.tokenize("\n")[-1:])
        rows = iter(logprobs)
        answers = [
            shares(forked, [next(rows) for _ in forked], ends, len(asked))
            for forked, asked in zip(found, options, strict=True)
        ]
        usage = Usage(cut + computed, len(together), cut)
        reply = told_as_reply(request, answers, usage, self.name)
        return replace(reply, created=time.time())

    def _threads(self) -> contextlib.AbstractContextManager[None]:
        """One thread while others leave no second core: threads of torch wait for one another."""
        self._cores.recheck()
        return one_thread() if self._cores.threads == 1 else contextlib.nullcontext()

    def _score(self, asked: Sequence[tuple[ChatRequest, list[int]]]) -> list[Reply]:
        """Score what may follow prompts that begin alike, in one pass and one more per label step.

        A label that is not told by its first token is followed to where it parts from others.
        """
        batch, reused = self._read_together([ids for _, ids in asked], asked[0][0].messages)
        replies: dict[int, Reply] = {}
        walks: dict[int, LabelSteps] = {}
        for row, (request, ids) in enumerate(asked):
            if request.params.get("score_labels"):
                walks[row] = label_steps(request.params["score_labels"])
            else:
                replies[row] = self._first_token(request, len(ids), batch.logits[row], reused)
        said = {row: next(walk) for row, walk in walks.items()}
        while said:
            logits = self._after(batch, asked, said)
            for row, text in list(said.items()):
                request, ids = asked[row]
                tokens = self._listed(logits[row], text, request.params)
                try:
                    said[row] = walks[row].send(tokens)
                except StopIteration as end:
                    del said[row]
                    probs, coverage, steps = end.value
                    usage = Usage(len(ids), steps, reused)
                    labels = request.params["score_labels"]
                    reply = labels_reply(probs, coverage, labels, usage, self.name)
                    replies[row] = replace(reply, created=time.time())
        return [replies[row] for row in range(len(asked))]

    def _read_together(
        self, prompts: Sequence[list[int]], messages: Messages
    ) -> tuple[PromptBatch, int]:
        """Read prompts that begin alike; return their state and how much they shared."""
        prefix, state = self._prefix(messages)
        cut = len(prefix)
        if any(ids[:cut] != prefix or len(ids) <= cut for ids in prompts):
            cut, state = 0, None
        return PromptBatch(self.model, state, cut, [ids[cut:] for ids in prompts]), cut

    def _after(
        self,
        batch: PromptBatch,
        asked: Sequence[tuple[ChatRequest, list[int]]],
        said: dict[int, str],
    ) -> dict[int, torch.Tensor]:
        """Return the logits of each row after what is said of its answer."""
        found, going_on = {}, {}
        for row, text in said.items():
            request, ids = asked[row]
            if not text:
                found[row] = batch.logits[row]
                continue
            *before, (role, opening) = request.messages
            whole = self._encode((*before, (role, f"{opening} {text}")))
            if whole[: len(ids)] == ids and len(whole) > len(ids):
                going_on[row] = whole[len(ids) :]
            else:  # the tokenizer joins the end of the prompt with what follows
                alone, _ = self._read_together([whole], request.messages)
                found[row] = alone.logits[0]
        return {**found, **(batch.after(going_on) if going_on else {})}

    def _listed(
        self, logits: torch.Tensor, said: str, params: Mapping[str, Any]
    ) -> list[tuple[bytes, float]]:
        """Return the most probable next tokens and the first ones of the labels."""
        logprobs = torch.log_softmax(logits, dim=-1).cpu()
        labels = params["score_labels"]
        rest = [key[len(said) :] for key in labels if key.startswith(said)]
        best = torch.topk(logprobs, min(int(params.get("top_logprobs", 0)), len(logprobs)))
        listed = {*best.indices.tolist(), *self.first_tokens(rest)}
        return [(self.token_bytes(i), float(logprobs[i])) for i in sorted(listed)]

    def _first_token(
        self, request: ChatRequest, length: int, logits: torch.Tensor, reused: int
    ) -> Reply:
        """Return the most probable token as the answer, with what else was to be listed."""
        logprobs = torch.log_softmax(logits, dim=-1).cpu()
        token = int(logprobs.argmax())
        choice = ([token], [logprobs], "stop" if token in self._ends else "length")
        return self._reply([choice], length, reused, dict(request.params))

    def _encode(self, messages: Messages) -> list[int]:
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

    def _prefill(self, ids: list[int], messages: Messages) -> tuple[torch.Tensor, Any, int]:
        """Return the logits after the prompt, its cache, and how many tokens were reused."""
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

    def _prefix(self, messages: Messages) -> tuple[list[int], Any]:
        """Return the tokens shared by all prompts that differ in the last user message only."""
        user = _last_user(messages)
        if user is None:
            return [], None
        before, after = messages[:user], messages[user + 1 :]
        opening = messages[user][1][:1]
        key = _prefix_key(messages)
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


def _scores_only(params: Mapping[str, Any]) -> bool:
    """Tell whether a request is about the next token's probabilities, or those of labels."""
    if params.get("score_labels"):
        return True
    greedy = float(params.get("temperature", 0.0)) == 0.0 and int(params.get("n", 1)) == 1
    return bool(params.get("logprobs")) and greedy and params.get("max_tokens") == 1


def _last_user(messages: Messages) -> int | None:
    users = [place for place, (role, _) in enumerate(messages) if role == "user"]
    return users[-1] if users else None


def _prefix_key(messages: Messages) -> str:
    """Return what prompts have in common that differ in the last user message only."""
    user = _last_user(messages)
    if user is None:
        shared: list[Any] = [messages]
    else:
        shared = [messages[:user], messages[user][1][:1], messages[user + 1 :]]
    return hashlib.sha256(json.dumps(shared).encode()).hexdigest()
